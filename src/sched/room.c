/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room on the machine, and who gets it when there is not enough: every start of an instance for a waiting event goes
 * through the line, one instance a turn, so a flood of one workload does not keep another from its first. When nothing
 * idle is left to end, a workload with more instances gives one up between two events for one that has fewer.
 */
#include <limits.h>
#include "base/io.h"
#include "sched/policy.h"
#include "sched/sched_int.h"
#include "store/version.h"

#define MEMORY_FLOOR_KB (192 * 1024) /* below this nothing is started, and the longest idle goes */

#define MEMORY_FOR_US (10 * 1000) /* one look is good for so long: the kernel takes as long as for a fork */

static int64_t memory_available_kb(struct sched *s)
{
	int64_t now = loop_now_us(s->o.loop);
	auto_buf text = {0};
	const char *p = NULL;

	if (s->memory_seen_us && now - s->memory_seen_us < MEMORY_FOR_US)
		return s->memory_kb;
	if (io_read_file(-1, "/proc/meminfo", 16384, &text, NULL) == 0)
		p = strstr(text.p, "MemAvailable:");
	s->memory_kb = p ? strtoll(p + strlen("MemAvailable:"), NULL, 10) : INT64_MAX;
	s->memory_seen_us = now;
	return s->memory_kb;
}

int room_free(struct sched *s)
{
	int left = s->max_workers - s->held_blanks - s->n_workers;

	return left > 0 && memory_available_kb(s) >= MEMORY_FLOOR_KB ? left : 0;
}

int room_left(struct sched *s)
{
	struct worker *oldest = list_first(&s->lru, struct worker, lru_node);
	int left = room_free(s);

	if (left)
		return left;
	if (oldest && s->n_evicting <= s->n_line)
		worker_evict(oldest);
	return 0;
}

void room_leave(struct workload *w)
{
	if (list_empty(&w->line_node))
		return;
	list_del(&w->line_node);
	w->s->n_line--;
}

static void stand_last(struct workload *w)
{
	list_push(&w->s->line, &w->line_node);
	w->s->n_line++;
}

/* Each leaves an idle instance behind, which room_left() ends for the next one. Nothing left to end: the memory is
 * others'.
 */
static void start_checks(struct sched *s)
{
	struct invocation *inv;

	while ((inv = list_first(&s->checks, struct invocation, node))) {
		bool fits = room_left(s) > 0;
		struct err e;

		if (!fits && s->n_workers)
			return;
		list_del(&inv->node);
		if (fits) {
			worker_start(workload_of(s, inv->function, NULL), inv->revision, inv, false);
			continue;
		}
		err_set(&e, ERR_UNAVAILABLE, "this machine has no memory left to start an instance");
		workload_fail(inv, INVOKE_FAILED, STR_NULL, &e);
	}
}

static void checks_late(void *arg)
{
	struct sched *s = arg;
	int64_t now = loop_now_us(s->o.loop);
	struct invocation *inv;

	while ((inv = list_first(&s->checks, struct invocation, node)) && inv->deadline_us <= now) {
		struct err e;

		list_del(&inv->node);
		err_set(&e, ERR_UNAVAILABLE, "this machine had no room for another instance for %d s",
			(int)(QUEUE_LIMIT_US / 1000000));
		workload_fail(inv, INVOKE_FAILED, STR_NULL, &e);
	}
	if (inv)
		loop_timer_in(s->checks_timer, inv->deadline_us - now);
}

void room_check(struct sched *s, struct invocation *inv)
{
	struct invocation *first;

	if (!s->checks_timer)
		s->checks_timer = loop_timer_new(s->o.loop, checks_late, s);
	list_push(&s->checks, &inv->node);
	room_share(s);
	first = list_first(&s->checks, struct invocation, node);
	if (first)
		loop_timer_in(s->checks_timer, first->deadline_us - loop_now_us(s->o.loop));
}

void room_share(struct sched *s)
{
	struct workload *w;

	start_checks(s);
	while ((w = list_first(&s->line, struct workload, line_node))) {
		if (workload_wants(w) && room_left(s) <= 0)
			return;
		room_leave(w);
		if (!workload_wants(w))
			continue;
		worker_start(w, workload_revision(w), NULL, false);
		stand_last(w);
	}
}

void room_want(struct workload *w)
{
	if (list_empty(&w->line_node))
		stand_last(w);
	room_share(w->s);
}

void room_expect(struct sched *s, struct function *f, const char *qualifier)
{
	struct revision *r = function_resolve(f, str_of(qualifier), 1);
	struct workload *w;

	if (!r || r->deleted || f->deleted || f->state == FUNCTION_PENDING || !f->reserved || !f->scale.keep_us ||
	    s->adopting || s->draining || !list_empty(&s->line) || !list_empty(&s->checks) || !room_free(s))
		return;
	w = workload_of(s, f, r->version ? r : NULL);
	if (!w->n_workers)
		worker_start(w, workload_revision(w), NULL, false);
}

bool room_yields(const struct worker *wk)
{
	struct sched *s = wk->w->s;
	bool check = !list_empty(&s->checks);
	int least = INT_MAX - 1;

	if (wk->kept || (!wk->n_open && !wk->w->n_waiting) || s->n_evicting >= s->n_line + check)
		return false;
	list_each(&s->line, it)
	{
		struct workload *w = container_of(it, struct workload, line_node);

		if (w->n_workers < least)
			least = w->n_workers;
	}
	return check || policy_yields(wk->w->n_workers, least);
}
