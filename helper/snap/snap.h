/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Process snapshots (docs/snapshots.md): tandem-init takes an image of its child, and a tandem-init in another sandbox
 * makes a process of it. Neither has any right that the function has not; the image is as hostile as the function.
 */
#pragma once
#include <sys/types.h>
#include "image.h"

/* Memory that only grows, in address space that is reserved but not used: tandem-init has no heap. */
struct snap_mem {
	char *base;
	size_t used, room;
};
int mem_init(struct snap_mem *m, size_t room, struct err *e);
void mem_done(struct snap_mem *m);
void *mem_take(struct snap_mem *m, size_t n); /* zeroed, 64-aligned; NULL: room is used up */

/* Of this machine and this tandem-init. Takes some 100 µs: done when a blank is made. */
int ident_make(struct snap_ident *ret, struct err *e);
/* What differs, in words; NULL: nothing. */
const char *ident_differs(const struct snap_ident *a, const struct snap_ident *b);

struct snap_stats {
	uint64_t bytes;
	uint32_t pages, mappings, files, took_us;
	bool unlisted; /* restored from a disk, page by page: what it touches is worth a list (ahead.h) */
};

struct snap_take {
	pid_t pid;	     /* our child */
	int image;	     /* empty, written from its beginning */
	int channel, log;    /* ours: what the child has of the same inode is its own channel or log */
	int64_t deadline_us; /* CLOCK_MONOTONIC */
	uint64_t max_bytes;
	bool as_is;		       /* files in /tmp and /dev/shm, or use of the network, are no reason to refuse */
	uint64_t image_dev, image_ino; /* of what the child itself was restored from; 0: of nothing */
	unsigned filters;	       /* system call filters that the child has by us */
	const struct snap_ident *ident;
};
/* Stops the child at its safe point, writes it, and lets it go on. A child that cannot be written is left as it was. */
int snap_take(const struct snap_take *t, struct snap_stats *ret, struct err *e);

struct snap_restore {
	int image, channel, log;
	bool waits; /* the sandbox may not be the function's yet: it is when something arrives in the channel */
	int told;   /* pipe: closed when all is done, else a struct snap_told */
	const struct snap_ident *ident;
};
struct snap_told {
	struct snap_stats stats;
	int32_t failed; /* 0: stats alone, the arena comes next */
	char text[200];
};
/* In a child of tandem-init: becomes the process, or tells why not and exits with 127. */
void snap_restore(const struct snap_restore *r) __attribute__((noreturn));
/* The parent's side of told, after its end: 0 and stats, or the reason. n bytes were read from it. */
#define SNAP_TOLD_MAX (sizeof(struct snap_told) + 64)
int snap_told(const void *bytes, size_t n, struct snap_stats *ret, struct err *e);
