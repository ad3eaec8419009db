/* SPDX-License-Identifier: Apache-2.0 */
/* For this folder: files.c (threads, names, what is to be removed), body.c (bytes that come), read.c, list.c, write.c,
 * bucket.c, upload.c. */
#pragma once
#include "base/list.h"
#include "base/map.h"
#include "http/file.h"
#include "object/object.h"

#define FILE_NAME_MAX 32

/* What may wait for the disk, each kind apart from the others, each user always on the same thread. */
enum object_thread { THREAD_WRITE, THREAD_HASH, THREAD_SYNC, THREAD_READ, THREAD_REMOVE, THREAD_N };
#define THREADS_EACH 2

struct objects {
	struct objects_opts opts;
	int dirfd;
	char birth[9]; /* begins the names of all files made since our start */
	uint64_t last_file;
	int64_t last_id;
	struct map buckets;
	struct list bodies, full; /* full: those that wait until there is less in flight */
	int64_t in_flight;	  /* bytes on their way to threads */
	struct list reads, doomed;
	uint64_t turn;
	struct loop_thread *threads[THREAD_N][THREADS_EACH]; /* made when first used */
	unsigned next_thread;
	struct sweep *sweep; /* under way, or NULL */
	struct loop_timer *sweep_timer;
};

/* What a done hears: e, or that the store has gone, and whoever else was there. */
static inline const struct err *object_heard(const struct store_op *op, const struct err *e)
{
	static const struct err closing = {.kind = ERR_CANCELED, .text = "the store is closing"};

	return op->s ? e : &closing;
}

/* files.c */
struct loop_thread *objects_thread(struct objects *o, enum object_thread kind);
int files_open(struct objects *o, struct err *e); /* start-up */
void files_sweep(struct objects *o);		  /* at start; and once more when what is left was too young */
void files_free(struct objects *o);
void file_name(struct objects *o, char ret[FILE_NAME_MAX]);
int file_keep(int dirfd, int fd, const char *name, struct err *e); /* blocking: safe, by that name */
/* "NAME:SIZE NAME:SIZE ...": none is named by a committed row any more. Takes what is in it. */
void files_doom(struct objects *o, struct buf *files);
void files_undoom(struct objects *o); /* a read is over: perhaps there is something to remove now */
bool file_next(struct str *rest, struct str *ret_name, int64_t *ret_size);

/* body.c: what a row says of the bytes; they stay when the body is dropped. */
void object_body_keep(struct object_body *b);
bool object_body_small(const struct object_body *b, struct buf *ret); /* moved there; false: a file */
const char *object_body_file(const struct object_body *b);
void object_body_orphan(struct list *node); /* the store goes: what threads still have is only freed */

/* read.c */
void object_pump(struct object_read *r, int64_t at, int64_t n, bool (*piece)(void *arg, struct str data),
		 void (*done)(void *arg, const struct err *e), void *arg);
void object_pump_more(struct object_read *r); /* piece said false */
void object_read_orphan(struct list *node);
