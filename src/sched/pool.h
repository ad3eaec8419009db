/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blanks: sandboxes made ahead of need that belong to no workload yet. Taking one is immediate while the pool holds
 * some; otherwise the taker waits for the spawner. Refilled after a take, off the request path.
 */
#pragma once
#include "base/list.h"
#include "spawn/spawn.h"
struct pool;
struct pool_take { /* embedded; done exactly once, never before pool_take_start returned */
	struct list node;
	void (*done)(struct pool_take *t, const struct err *e);
	uint64_t id;
	struct sandbox_fds fds; /* ownership moves with done */
	pid_t pid;
	struct pool *pool;
	bool waiting;
	struct loop_defer defer;
	struct err e;
};
struct pool *pool_new(struct loop *l, struct spawn *s, int cpus);
void pool_free(struct pool *p);
void pool_take_start(struct pool *p, struct pool_take *t);
void pool_take_cancel(struct pool_take *t);
bool pool_ended(struct pool *p, uint64_t id); /* true: it was a blank of this pool, and is forgotten */
void pool_blanks(struct pool *p, int *ret_ready, int *ret_missing); /* missing: to be made before it is full */
int64_t pool_bytes(const struct pool *p);			    /* what those that are ready hold, at their peak */
void pool_hold(struct pool *p, int n); /* at least so many are ready, but for a second after a burst */
void pool_start(struct pool *p);       /* fills for the first time */
void pool_stop(struct pool *p);	       /* no more ahead of need */
