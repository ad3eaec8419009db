/* SPDX-License-Identifier: Apache-2.0 */
/* What the simulations of this folder share: lists that grow, times that are counted, and the line of events that wait,
 * for which policy_place decides as in sched/workload.c. Inline: a simulated event costs some 40 ns. */
#pragma once
#include <stdlib.h>
#include "advise/lanes.h"
#include "base/limits.h"
#include "base/mem.h"
#include "sched/policy.h"

#define NEVER INT64_MAX

struct item {
	int64_t at_us, us; /* when it came, began or is over; how long it takes or took */
};
struct ring {
	struct item *v;
	size_t head, n, cap; /* cap: a power of two */
};
struct heap {
	struct item *v; /* the earliest first */
	size_t n, cap;
};

void ring_grow(struct ring *r);
struct item heap_first(struct heap *h); /* takes it */

static inline struct item *ring_at(const struct ring *r, size_t i)
{
	return &r->v[(r->head + i) & (r->cap - 1)];
}

static inline void ring_push(struct ring *r, int64_t at_us, int64_t us)
{
	if (r->n == r->cap)
		ring_grow(r);
	*ring_at(r, r->n++) = (struct item){at_us, us};
}

static inline struct item ring_first(struct ring *r)
{
	struct item i = *ring_at(r, 0);

	r->head++;
	r->n--;
	return i;
}

static inline struct item ring_last(struct ring *r)
{
	return *ring_at(r, --r->n);
}

static inline void heap_push(struct heap *h, int64_t at_us, int64_t us)
{
	size_t i = h->n++;

	if (i == h->cap) {
		h->cap = h->cap ? 2 * h->cap : 16;
		h->v = xrealloc(h->v, h->cap * sizeof(*h->v));
	}
	for (; i && h->v[(i - 1) / 2].at_us > at_us; i = (i - 1) / 2)
		h->v[i] = h->v[(i - 1) / 2];
	h->v[i] = (struct item){at_us, us};
}

static inline int64_t heap_at(const struct heap *h)
{
	return h->n ? h->v[0].at_us : NEVER;
}

/* Times: 32 steps to every doubling. */
enum { TALLY_STEPS = 32, TALLY_BUCKETS = 60 * TALLY_STEPS };
struct tally {
	int64_t n, sum_us, max_us, buckets[TALLY_BUCKETS];
};
struct lane_times tally_times(const struct tally *t); /* the longest of a bucket stands for all of it */

static inline void tally_add(struct tally *t, int64_t us)
{
	int shift = us < TALLY_STEPS ? 0 : 63 - __builtin_clzll((uint64_t)us) - 5;

	t->buckets[(us >> shift) + (int64_t)shift * TALLY_STEPS]++;
	t->n++;
	t->sum_us += us;
	t->max_us = us > t->max_us ? us : t->max_us;
}

/* Events that wait. load: what does not change is filled in by the owner, and idle, starting, busy before each ask. */
struct line {
	struct policy_load load;
	struct ring waiting;
	int64_t backlog_since_us, patience_us; /* NEVER: no backlog; when to ask again */
};

static inline void line_open(struct line *l, int64_t start_us, int max)
{
	l->load = (struct policy_load){
		.room = 1, .queue_max = LIM_QUEUE_PER_WORKLOAD, .cpus = 1, .start_us = start_us, .max_instances = max};
	l->waiting.n = 0;
	l->backlog_since_us = l->patience_us = NEVER;
}

/* An event took so long. Processors are no part of the model: none of it counts as work, so that no more than there
 * are of these may be wanted at once. */
static inline void line_served(struct line *l, int64_t us)
{
	l->load.handler_us = l->load.off_cpu_us = policy_usual(l->load.handler_us, us);
}

/* For the first that waits. */
static inline enum policy_move line_ask(struct line *l, int64_t now)
{
	l->load.waiting = (int)l->waiting.n;
	l->load.oldest_wait_us = now - ring_at(&l->waiting, 0)->at_us;
	l->load.backlog_us = l->backlog_since_us < NEVER ? now - l->backlog_since_us : 0;
	return policy_place(&l->load);
}

/* After all that could be done. */
static inline void line_settle(struct line *l, int64_t now)
{
	if (!l->waiting.n) {
		l->backlog_since_us = l->patience_us = NEVER;
		return;
	}
	if (l->backlog_since_us == NEVER)
		l->backlog_since_us = now;
	if (l->patience_us == NEVER)
		l->patience_us = now + policy_patience_us(&l->load);
}

/* How long policy_rest lets an instance have nothing to do. */
int64_t line_keep_us(int64_t wish_us, int64_t start_us, int64_t held_bytes);
