/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker does while it has no event: wait, be frozen, end. */
#include "sched/policy.h"
#include "sched/sched_int.h"

#define PAGES_US    2000000 /* so long tandem-init may look, mostly some ms; then it is frozen in it */
#define IDLE_CPU_US 1000    /* a shorter pause is not worth a system call: its CPU counts for the next event */

static void unlist(struct worker *wk)
{
	list_del(&wk->idle_node);
	list_del(&wk->lru_node);
	if (!list_empty(&wk->unasked_node)) {
		list_del(&wk->unasked_node);
		wk->w->s->n_unasked--;
	}
}

static void rested(struct worker *wk)
{
	int64_t stretch_us = loop_now_us(worker_loop(wk)) - wk->idle_since_us;

	if (wk->lane == LANE_CONTAINER)
		return; /* its rows count otherwise (lane.c) */
	wk->idle_pending_us += stretch_us;
	if (stretch_us >= IDLE_CPU_US)
		event_idle_cpu(wk, instance_cpu_us(wk->instance));
}

void worker_forget_idle(struct worker *wk)
{
	if (list_empty(&wk->idle_node))
		return;
	unlist(wk);
	wk->w->n_idle -= wk->seats - wk->n_open;
	if (!wk->n_open)
		rested(wk);
}

/* What is held ready anyway shares the events out; beyond that the one used last fills up first, so that others can go. */
void worker_take_seat(struct worker *wk)
{
	unlist(wk);
	wk->w->n_idle--;
	if (!wk->n_open)
		rested(wk);
	if (wk->n_open + 1 == wk->seats)
		return;
	if (wk->kept)
		list_push_front(&wk->w->idle_kept, &wk->idle_node);
	else
		list_push(&wk->w->idle, &wk->idle_node);
}

void worker_after_is_over(struct worker *wk)
{
	wk->w->n_after -= wk->after;
	wk->after = false;
}

/* Those that are held ready are not ended to make room. */
void worker_list_idle(struct worker *wk)
{
	unlist(wk);
	list_push(wk->kept ? &wk->w->idle_kept : &wk->w->idle, &wk->idle_node);
	if (!wk->kept && !wk->n_open)
		list_push(&wk->w->s->lru, &wk->lru_node);
}

void worker_become_idle(struct worker *wk)
{
	worker_after_is_over(wk);
	if (!wk->n_open)
		wk->idle_since_us = loop_now_us(worker_loop(wk));
	else if (worker_stale(wk) || lane_left(wk))
		return; /* it ends with the last event that it has */
	wk->w->n_idle += list_empty(&wk->idle_node) ? wk->seats - wk->n_open : 1;
	worker_list_idle(wk);
}

/* It stays for the first event, but for not too many functions at once: the oldest goes. */
void worker_become_unasked(struct worker *wk)
{
	struct sched *s = wk->w->s;
	struct worker *oldest;

	if (wk->kept)
		return;
	list_push(&s->unasked, &wk->unasked_node);
	if (++s->n_unasked <= UNASKED_MAX)
		return;
	oldest = list_first(&s->unasked, struct worker, unasked_node);
	oldest->stopping = true;
	worker_end(oldest, INVOKE_FAILED, OUTCOME_FAILED, STR_NULL, NULL);
}

bool worker_stale(const struct worker *wk)
{
	return wk->retired || wk->revision != workload_revision(wk->w) || wk->revision->deleted || wk->w->f->deleted;
}

void worker_evict(struct worker *wk)
{
	wk->evicted = wk->stopping = true;
	wk->w->s->n_evicting++;
	if (wk->n_open) {
		worker_retire(wk);
		return;
	}
	worker_end(wk, INVOKE_FAILED, OUTCOME_FAILED, STR_NULL, NULL);
}

void worker_rest(struct worker *wk)
{
	struct policy_idle pi = {.idle_us = loop_now_us(worker_loop(wk)) - wk->idle_since_us,
				 .keep_us = wk->w->f->scale.keep_us,
				 .start_us = wk->w->start_us,
				 .held_bytes = wk->held_bytes,
				 .frozen = instance_frozen(wk->instance),
				 .stale = worker_stale(wk) || lane_left(wk) || workload_stopped(wk->w),
				 .warm = wk->lane == LANE_CONTAINER,
				 .held = wk->kept};
	int64_t next;
	enum policy_idle_move m = policy_rest(&pi, &next);

	if (wk->n_open)
		return;
	if (m != POLICY_KEEP && !pi.stale && wk->served && instance_ask_pages(wk->instance)) {
		worker_due(wk, loop_now_us(worker_loop(wk)) + PAGES_US);
		return;
	}
	if (m == POLICY_STOP) {
		wk->stopping = true;
		worker_end(wk, INVOKE_FAILED, OUTCOME_FAILED, STR_NULL, NULL);
		return;
	}
	if (m == POLICY_FREEZE) {
		instance_freeze(wk->instance);
		wk->idle_pending_us += loop_now_us(worker_loop(wk)) - wk->idle_since_us;
		event_idle_cpu(wk, instance_cpu_us(wk->instance));
		event_idle_row(wk, instance_mem_peak_bytes(wk->instance));
		wk->idle_since_us = loop_now_us(worker_loop(wk)) - (pi.idle_us);
		wk->idle_pending_us = -pi.idle_us; /* that part of the stretch has its row */
	}
	lane_due(wk, next < 0 ? 0 : wk->idle_since_us + next);
}
