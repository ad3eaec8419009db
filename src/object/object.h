/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The object store: buckets in memory, objects as rows in the order of their keys (store/object.h), their bytes in the row
 * when they are few, otherwise in files under objects/ that never change. An object appears with the commit of its row,
 * which also holds all that it starts (objects_opts.notify): whole or not at all. Files that no row names are removed when
 * nobody reads them any more; those that a crash left, at the next start.
 *
 * Bytes come and go in pieces: memory does not depend on the size of an object. Files, digests and rows are the business
 * of threads; no client that is slow holds one. done of all operations is called exactly once, never before the start
 * has returned. Checked by the caller: names of buckets (bucket_name_ok), keys (object_key_ok), limits of S3.
 */
#pragma once
#include "http/server.h"
#include "json/read.h"
#include "object/hash.h"
#include "store/object.h"

#define OBJECT_PUT_MAX (5ll << 30) /* in one piece */
#define OBJECT_KEY_MAX 1024
#define OBJECT_SMALL   32768 /* up to here the bytes are in the row: one fsync */

struct objects;
struct object_event {
	const char *bucket, *key, *etag; /* etag: without quotes */
	int64_t size;
	const char *what;   /* "Put", "Post", "Copy", "CompleteMultipartUpload", "Delete" */
	char sequencer[17]; /* hex; grows with each change of the key */
	const char *request_id, *peer, *principal;
	const char *trace_id; /* X-Amzn-Trace-Id, or NULL */
};
struct objects_opts {
	struct loop *loop;
	struct store *store;
	/* Before a change is committed: adds what it starts. -1: the change fails with e. NULL: nothing is started. */
	int (*notify)(void *arg, const struct object_event *ev, struct store_tx *tx, struct err *e);
	void *arg;
};
int objects_open(const struct objects_opts *o, struct objects **ret, struct err *e); /* blocking: start-up only */
void objects_free(struct objects *o); /* before the store's; operations on their way are not told any more */

/* --- buckets; a document of each in AWS's names is the record "bucket/NAME" --- */

struct bucket {
	char *name;
	struct json *doc; /* CreationDate, project, and what other files keep there */
	bool deleting;
};
bool bucket_name_ok(struct str name);
struct bucket *bucket_get(const struct objects *o, struct str name);	/* NULL: none, or it is being deleted */
struct bucket *bucket_next(const struct objects *o, const char *after); /* by name; after NULL: the first */
/* Makes or changes it. project NULL: of none. In memory at once, durable with the tx. */
int bucket_put(struct objects *o, struct str name, const struct json *doc, const char *project, struct store_tx *tx,
	       struct err *e);
struct bucket_del {
	void (*done)(struct bucket_del *x, const struct err *e); /* ERR_CONFLICT: it is not empty */
	struct objects *o;
	char name[64];
	struct buf doomed;
	struct store_tx tx;
	struct store_part part;
};
void bucket_del_start(struct objects *o, struct bucket_del *x, const char *name); /* which is there */

/* --- reading --- */

bool object_key_ok(struct str key);

struct object_read {
	void (*done)(struct object_read *r, const struct err *e); /* ERR_NOT_FOUND */
	char *bucket, *key;					  /* set by the start */
	struct object_row row;
	/* The owner's no more: */
	struct objects *o;
	struct list node;
	uint64_t turn;
	bool pinned, body;
	struct store_tx tx;
	struct store_part part;
	struct object_pump *pump;
};
/* What there is by that key; with its body it can be sent or pumped until object_read_done, whatever becomes of the key. */
void object_read_start(struct objects *o, struct object_read *r, const char *bucket, struct str key, bool body);
void object_read_done(struct object_read *r); /* after done; also ends what is pumped */
/* How many parts it was put in, 0: as a whole; and where one of them lies. -1: there is no such part. */
int object_parts(const struct object_row *row);
int object_part(const struct object_row *row, int number, int64_t *ret_at, int64_t *ret_n);
/* Sends so many bytes as the body of an answer that was begun (http_stream_begin_sized), and ends it. done: r is over; the
 * client has it, or is gone. */
void object_read_send(struct object_read *r, struct http_req *req, int64_t at, int64_t n,
		      void (*done)(struct object_read *r));

struct object_list {
	void (*done)(struct object_list *l, const struct err *e);
	/* In, copied by the start: */
	const char *bucket, *prefix, *delimiter; /* "": none */
	const char *after;			 /* "": from the start; may be a common prefix, which is skipped then */
	int max;
	/* Out: rows without bodies; those whose id is 0 are common prefixes. */
	struct object_row *rows;
	int n;
	bool truncated; /* there is more, after the last row's key */
	/* The owner's no more: */
	char *own[4];
	struct store_tx tx;
	struct store_part part;
	char *skip;
};
void object_list_start(struct objects *o, struct object_list *l);
void object_list_done(struct object_list *l);

/* --- bytes that come --- */

struct object_body;
struct object_body_opts {
	unsigned hashes; /* 1 << HASH_..., beside MD5 */
	bool file;	 /* in a file, however small: a part */
	/* Once, after object_body_end or sooner when it fails: the bytes are safe, and their digests are there. */
	void (*done)(void *arg, const struct err *e);
	void (*drained)(void *arg); /* more is wanted */
	void *arg;
};
struct object_body *object_body_new(struct objects *o, const struct object_body_opts *how);
bool object_body_add(struct object_body *b, struct str data); /* copied; false: not more before drained */
void object_body_end(struct object_body *b);
void object_body_drop(struct object_body *b); /* at any time, NULL is fine: what nothing names is removed */
int64_t object_body_size(const struct object_body *b);
const uint8_t *object_body_hash(const struct object_body *b, enum hash which);
/* Instead of add and end: a run of what is read, which must stay until done. All of a file is not copied but linked. */
void object_body_copy(struct object_body *b, struct object_read *from, int64_t at, int64_t n);

/* --- writing --- */

struct object_condition { /* ERR_CONFLICT when it is not met; a key that is not there meets no if_match: ERR_NOT_FOUND */
	bool if_none;	  /* only when there is none */
	char if_match[OBJECT_ETAG_MAX];
};
struct object_put {
	void (*done)(struct object_put *p, const struct err *e);
	/* In: */
	struct object_body *body; /* taken; its done was called */
	char *meta;		  /* taken */
	struct object_condition when;
	struct object_event ev;	    /* what, request_id, peer, principal: alive until done */
	char etag[OBJECT_ETAG_MAX]; /* "": its MD5 */
	char *files;		    /* taken; of an upload, instead of a body */
	int64_t size;		    /* of those */
	char upload[40]; /* which ends with it, "": none; ERR_UNAVAILABLE: its parts are not the same any more */
	/* Out, beside etag: */
	int64_t id, modified_us;
	/* The owner's no more: */
	struct objects *o;
	char *bucket;
	struct object_row row;
	struct buf doomed;
	struct err e;
	struct store_tx tx;
	struct store_part part;
};
void object_put_start(struct objects *o, struct object_put *p, const char *bucket, struct str key);

/* Deletes of one bucket in one commit. What is not there counts as deleted, and starts nothing. */
struct object_del {
	void (*done)(struct object_del *x, const struct err *e);
	/* In, taken: */
	char **keys;
	int n;
	struct object_event ev; /* as above */
	/* The owner's no more: */
	struct objects *o;
	char *bucket;
	int64_t *sizes; /* -1: it is not there */
	char (*etags)[OBJECT_ETAG_MAX];
	struct buf doomed;
	struct err e;
	struct store_tx tx;
	struct store_part part;
};
void object_del_start(struct objects *o, struct object_del *x, const char *bucket);

/* What is said of an object, and not its bytes: tags. id: of what was read; ERR_CONFLICT: it has changed since. */
struct object_edit {
	void (*done)(struct object_edit *x, const struct err *e);
	char *meta; /* taken */
	int64_t id;
	/* The owner's no more: */
	char *bucket, *key;
	struct store_tx tx;
	struct store_part part;
};
void object_edit_start(struct objects *o, struct object_edit *x, const char *bucket, struct str key);
