/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A spool: bytes gathered on the loop, written by a file thread. Shared by rows and logs.
 *
 *      added ──► active batch ──(delay, or flush_bytes)──► thread: write(batch) ──► recycled
 *
 * One batch at a time is with the thread, unless a flush is asked for; all that waits is bounded by max_bytes.
 * The timer is armed only while the active batch holds something, so an idle daemon is never woken.
 * All calls on the loop's thread; write runs on the file thread. Batches are written in order.
 */
#pragma once
#include "base/buf.h"
#include "loop/loop.h"
struct spool;
struct spool_batch {
	struct loop_work work;
	struct spool *spool;
	struct buf data; /* the bytes */
	struct buf head; /* what must reach the disk before them (names) */
	size_t items;	 /* the caller's count */
};
struct spool_opts {
	struct loop *loop;
	const char *name; /* of the thread */
	int64_t delay_us;
	size_t flush_bytes, max_bytes;
	void (*write)(void *arg, struct spool_batch *b); /* on the thread */
	void (*written)(void *arg);			 /* on the loop, after each batch; may be NULL */
	void *arg;
};
struct spool *spool_new(const struct spool_opts *o);
/* Writes everything and waits for the thread. No callback of the spool comes after it; works given to spool_push that
 * had not finished are finished by the thread, and their done may run in a later turn of the loop: they must be able to
 * stand alone. */
void spool_free(struct spool *sp);
/* The active batch with room for n more bytes of data, or NULL: the bound is reached. */
struct spool_batch *spool_room(struct spool *sp, size_t n);
void spool_added(struct spool *sp); /* after adding: arms the timer or hands the batch over */
void spool_flush(struct spool *sp);
void spool_push(struct spool *sp,
		struct loop_work *w); /* flushes; w runs on the thread after all that was added before */
void spool_push_behind(struct spool *sp,
		       struct loop_work *w); /* the same without a flush: behind what the thread has */
