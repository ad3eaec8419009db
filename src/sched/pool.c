/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/pool.h"
#include "base/log.h"
#include "base/mem.h"
#include "sched/policy.h"

#define REFILL_AFTER_US 30000 /* what was taken is to begin first, be it a whole pool */
#define REFILL_LOW_US	20000
#define RETRY_AFTER_US	500000
#define CALM_AFTER_US	1000000 /* without a take: what is held for bursts is made again */
#define IN_FLIGHT_MAX	4	/* the spawner makes one at a time: more only lengthens its queue before ASSIGNs */

struct blank {
	struct list node;
	struct spawn_req req; /* while it is being made */
	struct pool *pool;
	uint64_t id;
	pid_t pid;
	struct sandbox_fds fds;
};

struct pool {
	struct loop *loop;
	struct spawn *spawn;
	struct list ready, making, takers;
	struct list ending; /* not wanted any more; the spawner has still to say that they are gone */
	struct list given;  /* takers who have a sandbox and hear of it on the next turn */
	int n_ready, n_making, n_takers, held, cpus;
	bool stopped;
	struct loop_timer *refill;
	int64_t refill_at_us; /* 0: after no take */
	int64_t second_us;    /* start of the second that takes counts */
	int takes, takes_before;
};

static void refill(void *arg);

static int recent_takes(struct pool *p)
{
	int64_t now = loop_now_us(p->loop);

	if (now - p->second_us >= 1000000) {
		p->takes_before = now - p->second_us < 2000000 ? p->takes : 0;
		p->takes = 0;
		p->second_us = now;
	}
	return p->takes > p->takes_before ? p->takes : p->takes_before;
}

static void give(struct pool_take *t, struct blank *b)
{
	t->id = b->id;
	t->pid = b->pid;
	t->fds = b->fds;
	t->waiting = false;
	t->e.kind = ERR_NONE;
	free(b);
}

static void made(struct spawn_req *r, const struct err *e)
{
	struct blank *b = container_of(r, struct blank, req);
	struct pool *p = b->pool;
	struct pool_take *t = list_first(&p->takers, struct pool_take, node);

	list_del(&b->node);
	p->n_making--;
	if (e->kind) {
		free(b);
		log_warn("pool", "no sandbox could be made: %s", e->text);
		if (t) {
			list_del(&t->node);
			p->n_takers--;
			t->waiting = false;
			t->done(t, e);
		}
		loop_timer_in(p->refill, RETRY_AFTER_US);
		return;
	}
	b->id = r->id;
	b->pid = r->pid;
	b->fds = r->fds;
	if (t) {
		struct err none = {.kind = ERR_NONE};

		list_del(&t->node);
		p->n_takers--;
		give(t, b);
		t->done(t, &none);
	} else {
		list_push(&p->ready, &b->node);
		p->n_ready++;
	}
	refill(p);
}

static void make_one(struct pool *p)
{
	struct blank *b = xcalloc(1, sizeof(*b));

	b->pool = p;
	b->req.done = made;
	list_push(&p->making, &b->node);
	p->n_making++;
	spawn_blank_start(p->spawn, &b->req, false);
}

static int wanted(struct pool *p)
{
	return policy_blanks(recent_takes(p), p->n_takers, p->held, p->cpus);
}

/* Sooner when few are left; further takes do not put it off. */
static void refill_later(struct pool *p)
{
	int64_t after = p->n_ready < wanted(p) / 4 ? REFILL_LOW_US : REFILL_AFTER_US;
	int64_t at = loop_now_us(p->loop) + after;

	if (p->refill_at_us && p->refill_at_us <= at)
		return;
	p->refill_at_us = at;
	loop_timer_in(p->refill, after);
}

static void refill(void *arg)
{
	struct pool *p = arg;
	int want;

	p->refill_at_us = 0;
	/* While it drains: none ahead of need. */
	want = p->stopped ? p->n_takers : wanted(p);
	while (p->n_making < IN_FLIGHT_MAX && p->n_ready + p->n_making < want)
		make_one(p);
	if (p->n_ready + p->n_making < p->held && p->n_making < IN_FLIGHT_MAX && !p->stopped)
		loop_timer_in(p->refill, CALM_AFTER_US);
}

struct pool *pool_new(struct loop *l, struct spawn *s, int cpus)
{
	struct pool *p = xcalloc(1, sizeof(*p));

	p->loop = l;
	p->spawn = s;
	p->cpus = cpus;
	list_init(&p->ready);
	list_init(&p->making);
	list_init(&p->takers);
	list_init(&p->given);
	list_init(&p->ending);
	p->refill = loop_timer_new(l, refill, p);
	return p;
}

static void blank_free(struct blank *b)
{
	list_del(&b->node);
	sandbox_fds_close(&b->fds);
	free(b);
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	list_each(&p->making, it)
	{
		struct blank *b = container_of(it, struct blank, node);

		spawn_cancel(&b->req);
		free(b);
	}
	list_each(&p->ready, it) blank_free(container_of(it, struct blank, node));
	list_each(&p->ending, it) blank_free(container_of(it, struct blank, node));
	loop_timer_free(p->refill);
	free(p);
}

static void given(void *arg)
{
	struct pool_take *t = arg;

	list_del(&t->node);
	t->done(t, &t->e);
}

static void look_for_one(struct pool *p, struct pool_take *t)
{
	struct blank *b = list_last(&p->ready, struct blank, node);

	if (b) {
		list_del(&b->node);
		p->n_ready--;
		give(t, b);
		list_push(&p->given, &t->node);
		loop_defer(p->loop, &t->defer, given, t);
		refill_later(p);
		return;
	}
	t->waiting = true;
	list_push(&p->takers, &t->node);
	p->n_takers++;
	refill(p);
}

void pool_take_start(struct pool *p, struct pool_take *t)
{
	recent_takes(p);
	p->takes++;
	t->pool = p;
	list_init(&t->node);
	t->defer = (struct loop_defer){0};
	look_for_one(p, t);
}

static void put_back(const struct pool_take *t)
{
	struct blank *b = xcalloc(1, sizeof(*b));

	b->pool = t->pool;
	b->id = t->id;
	b->pid = t->pid;
	b->fds = t->fds;
	list_push(&t->pool->ready, &b->node);
	t->pool->n_ready++;
}

void pool_take_cancel(struct pool_take *t)
{
	if (t->waiting) {
		list_del(&t->node);
		t->waiting = false;
		t->pool->n_takers--;
	} else if (t->defer.queued) {
		loop_defer_cancel(t->pool->loop, &t->defer);
		list_del(&t->node);
		put_back(t);
	}
}

bool pool_ended(struct pool *p, uint64_t id)
{
	list_each(&p->ready, it)
	{
		struct blank *b = container_of(it, struct blank, node);

		if (b->id != id)
			continue;
		p->n_ready--;
		blank_free(b);
		loop_timer_in(p->refill, RETRY_AFTER_US);
		return true;
	}
	list_each(&p->ending, it)
	{
		struct blank *b = container_of(it, struct blank, node);

		if (b->id != id)
			continue;
		blank_free(b);
		return true;
	}
	list_each(&p->given, it)
	{
		struct pool_take *t = container_of(it, struct pool_take, node);

		if (t->id != id)
			continue;
		loop_defer_cancel(p->loop, &t->defer);
		list_del(&t->node);
		sandbox_fds_close(&t->fds);
		t->id = 0;
		look_for_one(p, t);
		return true;
	}
	return false;
}

void pool_blanks(struct pool *p, int *ret_ready, int *ret_missing)
{
	int missing = wanted(p) - p->n_ready;

	*ret_ready = p->n_ready;
	*ret_missing = missing > 0 ? missing : 0;
}

int64_t pool_bytes(const struct pool *p)
{
	int64_t sum = 0, bytes;

	list_each(&p->ready, it)
	{
		bytes = sandbox_bytes(&container_of(it, struct blank, node)->fds, SB_MEM_PEAK);
		sum += bytes > 0 ? bytes : 0;
	}
	return sum;
}

void pool_hold(struct pool *p, int n)
{
	p->held = n;
	while (p->n_ready > wanted(p)) {
		struct blank *b = list_first(&p->ready, struct blank, node);

		list_del(&b->node);
		list_push(&p->ending, &b->node);
		p->n_ready--;
		spawn_end(p->spawn, b->id);
	}
	refill_later(p);
}

void pool_start(struct pool *p)
{
	refill(p);
}

void pool_stop(struct pool *p)
{
	p->stopped = true;
	loop_timer_stop(p->refill);
}
