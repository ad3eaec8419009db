/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thin face over libuv: descriptors, timers, work on threads, posts from
 * other threads. One loop per process; everything not said otherwise runs on
 * its thread. libuv's asynchronous close is hidden: _free works at once, from
 * inside any callback too, and no callback comes after it.
 */
#pragma once
#include <stdbool.h>
#include "base/err.h"
struct loop;
struct loop *loop_new(void);
void loop_free(struct loop *l); /* everything on it must be freed before; runs pending closes */
void loop_run(struct loop *l);	/* until loop_stop */
void loop_stop(struct loop *l);
void *loop_uv(struct loop *l);		     /* the uv_loop_t */
int64_t loop_now_us(struct loop *l);	     /* clock_now_us cached at the start of this turn */
bool loop_quiet(const struct loop *l);	     /* the last look at the descriptors found nothing to do */
int64_t loop_slept_us(const struct loop *l); /* how long it had nothing to do until now, from a callback */

enum { LOOP_READ = 1, LOOP_WRITE = 2 };
struct loop_fd;					/* watches, never closes, a descriptor */
typedef void loop_fd_cb(void *arg, int events); /* hangup and error come as all that was asked for */
struct loop_fd *loop_fd_new(struct loop *l, int fd, int events, loop_fd_cb *cb, void *arg);
void loop_fd_want(struct loop_fd *w, int events); /* 0 pauses; no system call when nothing changes */
void loop_fd_free(struct loop_fd *w);		  /* NULL is fine; close(fd) only after this */

struct loop_timer; /* one shot; loop_timer_at again to re-arm, cheap (a heap in memory) */
typedef void loop_timer_cb(void *arg);
struct loop_timer *loop_timer_new(struct loop *l, loop_timer_cb *cb, void *arg);
void loop_timer_in(struct loop_timer *t, int64_t us); /* rounded up to ms; re-arms */
void loop_timer_stop(struct loop_timer *t);
void loop_timer_free(struct loop_timer *t);
#if TANDEM_DEBUG
void loop_clock_changed(struct loop *l); /* after clock_test_*: what is due by the clock fires on the next turn */
#endif

/* Runs cb on the next turn of the loop, in order. Used so that _start never calls back before it returns. */
struct loop_defer {
	struct loop_defer *next;
	void (*cb)(void *arg);
	void *arg;
	bool queued;
};
void loop_defer(struct loop *l, struct loop_defer *d, void (*cb)(void *), void *arg);
void loop_defer_cancel(struct loop *l, struct loop_defer *d);

/* A thread of its own with a queue: file work, SQLite. work runs on the thread, done on the loop, in order. */
struct loop_thread;
struct loop_work {
	struct loop_work *next;
	void (*work)(struct loop_work *);
	void (*done)(struct loop_work *);
};
struct loop_thread *loop_thread_new(struct loop *l, const char *name);
void loop_thread_push(struct loop_thread *t, struct loop_work *w);
size_t loop_thread_take_batch(
	struct loop_thread *t,
	struct loop_work **ret); /* on the thread, inside work: the rest of the queue, for group commit; the caller
				    works them in place and leaves next alone, done follows as usual */
void loop_thread_free(struct loop_thread *t); /* finishes what is queued; done of the rest runs in loop_run */
typedef void loop_signal_cb(void *arg, int sig);
void loop_signal(struct loop *l, int sig, loop_signal_cb *cb, void *arg);
