/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workloads that hold instances ready: min: of tandem.yaml for $LATEST, provisioned concurrency for versions. Whatever
 * ends one of them calls keep_soon, and the timer's tick brings each workload to its number again; sched/policy.c says
 * how many at once, and how long to wait when starts fail.
 *
 * An instance of $LATEST counts however it was started. One of a version must have been started for it: its environment
 * says AWS_LAMBDA_INITIALIZATION_TYPE=provisioned-concurrency.
 */
#include "sched/policy.h"
#include "sched/sched_int.h"
#include "store/version.h"

#define SHORT_LIFE_US 1000000 /* who ends sooner after it was ready is taken for a failed start */
#define ROOM_AGAIN_US 1000000

static int wanted(const struct workload *w)
{
	if (workload_stopped(w) || w->f->deleted || workload_revision(w)->deleted ||
	    (!w->published && w->f->state == FUNCTION_PENDING))
		return 0;
	if (w->published)
		return function_provisioned_of(w->f, w->published->version);
	/* Kept up; or the first of the lane that it moves to. */
	if (!w->f->scale.min && (lane_of(w) == LANE_CONTAINER || lane_of(w) != w->lane))
		return 1;
	return w->f->scale.min;
}

static bool is_idle(const struct worker *wk)
{
	return wk->step == WORKER_LIVE && !list_empty(&wk->idle_node);
}

static void hold(struct worker *wk)
{
	wk->kept = true;
	wk->w->n_kept++;
	if (is_idle(wk))
		worker_list_idle(wk);
}

static void let_go(struct worker *wk)
{
	wk->kept = false;
	wk->w->n_kept--;
	keep_soon(wk->w);
	if (is_idle(wk)) {
		worker_list_idle(wk);
		worker_rest(wk);
	}
}

/* Too many. What is idle goes first; one that was provisioned has no other use. */
static void shed(struct workload *w)
{
	for (int busy_too = 0; busy_too < 2; busy_too++)
		list_each(&w->workers, it)
		{
			struct worker *wk = container_of(it, struct worker, node);

			if (w->n_kept <= w->wanted || !wk->kept || (!busy_too && !is_idle(wk)))
				continue;
			if (w->published && is_idle(wk))
				worker_evict(wk);
			else
				let_go(wk);
		}
}

static void hold_more(struct workload *w)
{
	list_each(&w->workers, it)
	{
		struct worker *wk = container_of(it, struct worker, node);

		if (w->n_kept < w->wanted && !wk->kept && !wk->check && !wk->prepares && wk->step != WORKER_ENDING &&
		    !worker_stale(wk) && lane_fits(wk))
			hold(wk);
	}
}

/* When to look again, from now; -1: something will call. */
static int64_t refill(struct workload *w)
{
	struct sched *s = w->s;
	struct policy_hold h = {.wanted = w->wanted,
				.have = w->n_kept,
				.starting = s->n_keep_starting,
				.cpus = s->cpus,
				.failures = w->keep_failures,
				.since_failure_us = loop_now_us(s->o.loop) - w->keep_failed_us};
	int64_t next;

	for (int n = policy_hold(&h, &next); n > 0; n--) {
		if (room_left(s) <= 0) {
			w->keep_reason = "This machine has no room for more instances.";
			return ROOM_AGAIN_US;
		}
		worker_start(w, workload_revision(w), NULL, true);
	}
	return next;
}

static void tick(void *arg)
{
	struct sched *s = arg;
	int64_t soonest = -1, next;

	if (s->adopting || s->draining)
		return;
	list_each(&s->keeping, it)
	{
		struct workload *w = container_of(it, struct workload, keep_node);

		shed(w);
		if (!w->published)
			hold_more(w);
		next = refill(w);
		if (next >= 0 && (soonest < 0 || next < soonest))
			soonest = next;
		if (w->wanted || w->n_kept)
			continue;
		list_del(&w->keep_node);
		workload_maybe_free(w);
	}
	if (soonest >= 0)
		loop_timer_in(s->keep_timer, soonest);
}

void keep_soon(struct workload *w)
{
	struct sched *s = w->s;

	if (list_empty(&w->keep_node) || s->adopting)
		return;
	loop_timer_in(s->keep_timer, 0);
}

void keep_init(struct sched *s)
{
	list_init(&s->keeping);
	s->keep_timer = loop_timer_new(s->o.loop, tick, s);
}

/* pool: of all functions. Their descriptors are not there for instances; half of all is. */
static void hold_blanks(struct sched *s)
{
	int64_t sum = 0;

	for (struct function *f = NULL; (f = function_next(s->o.store, f));)
		sum += f->scale.pool;
	s->held_blanks = sum < s->max_workers / 2 ? (int)sum : s->max_workers / 2;
	pool_hold(s->pool, s->held_blanks);
}

static void keep_instances(struct sched *s, struct function *f)
{
	struct workload *w;
	unsigned pos = 0;

	if ((f->scale.min || f->lane == LANE_CONTAINER) && !f->deleted)
		workload_of(s, f, NULL);
	for (unsigned i = 0; i < f->n_provisioned && !f->deleted; i++) {
		struct revision *r = function_resolve(f, str_of(f->provisioned[i].qualifier), 1);

		if (r && r->version && !r->deleted)
			workload_of(s, f, r);
	}
	while ((w = workload_next(f, &pos))) {
		int before = w->wanted;

		lane_settle(w);
		w->wanted = wanted(w);
		if (w->wanted != before) {
			w->keep_failures = 0;
			w->keep_reason = NULL;
		}
		list_each(&w->workers, it)
		{
			struct worker *wk = container_of(it, struct worker, node);

			if (!wk->kept || wk->step == WORKER_ENDING || (!worker_stale(wk) && lane_fits(wk)))
				continue;
			wk->kept = false;
			w->n_kept--;
			if (is_idle(wk))
				worker_list_idle(wk);
		}
		if ((w->wanted || w->n_kept) && list_empty(&w->keep_node))
			list_push(&s->keeping, &w->keep_node);
		keep_soon(w);
	}
}

void keep_function(struct sched *s, struct function *f)
{
	if (f->scale.pool || s->held_blanks)
		hold_blanks(s);
	keep_instances(s, f);
}

void keep_all(struct sched *s)
{
	bool pool = false;

	for (struct function *f = NULL; (f = function_next(s->o.store, f));) {
		pool |= f->scale.pool > 0;
		keep_instances(s, f);
	}
	if (pool)
		hold_blanks(s); /* once: it adds up those of all */
}

void keep_ended(struct worker *wk)
{
	struct workload *w = wk->w;
	int64_t now = loop_now_us(w->s->o.loop);

	let_go(wk);
	if (wk->stopping || (wk->ready_us && now - wk->ready_us >= SHORT_LIFE_US))
		return;
	w->keep_failures++;
	w->keep_failed_us = now;
	w->keep_reason = wk->outcome == INVOKE_FAILED ? "The platform could not start it; its log says why."
						      : "FUNCTION_ERROR_INIT_FAILURE";
}

void sched_kept(const struct sched *s, const struct function *f, const struct revision *r, struct sched_kept *ret)
{
	const struct workload *w = r->version ? r->sched : f->sched;

	*ret = (struct sched_kept){0};
	if (!w)
		return;
	ret->wanted = w->wanted;
	ret->reason = w->keep_reason;
	list_each(&w->workers, it)
	{
		const struct worker *wk = container_of(it, struct worker, node);

		ret->ready += wk->kept && wk->step == WORKER_LIVE;
	}
}
