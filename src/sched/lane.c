/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two lanes of a function's $LATEST, and the way from one to the other. An instance is of one lane for its life:
 *
 *   function    one event at a time; it is there while it is worth its memory, and frozen between two events
 *   container   several at a time, with fixed resources; as many as min: says are kept up, and at least one (keep.c)
 *
 * A workload serves in the lane w->lane. Where it is to be is lane_of(w): when the first instance there is ready it
 * serves from there, and what is left behind takes no new event and ends with its last one. Which instances are to be
 * ready counts in the new lane from the beginning, so the way is what keep.c does anyway.
 */

#include "base/log.h"
#include "sched/sched_int.h"

#define OWN_ROW_US 60000000ll

/* Why one event at a time is all that an instance serves, or NULL. */
static const char *alone(const struct revision *r)
{
	static const char *const why[RUNTIME_N] = {
		[RUNTIME_PROVIDED] = "a program that speaks the Runtime API asks for one event at a time",
		[RUNTIME_IMAGE] = "an image that speaks the Runtime API asks for one event at a time",
	};

	return why[r->kind];
}

enum lane lane_of(const struct workload *w)
{
	return w->published ? LANE_FUNCTION : w->f->lane;
}

int lane_asks(const struct workload *w, const struct revision *r)
{
	if (lane_of(w) != LANE_CONTAINER || alone(r))
		return 1;
	return w->f->scale.concurrency ? w->f->scale.concurrency : LANE_SEATS;
}

int lane_seats(const struct workload *w)
{
	return lane_of(w) != LANE_CONTAINER ? 1 : w->seats ? w->seats : lane_asks(w, workload_revision(w));
}

bool lane_fits(const struct worker *wk)
{
	return wk->lane == lane_of(wk->w) && wk->asked == lane_asks(wk->w, wk->revision);
}

bool lane_left(const struct worker *wk)
{
	if (wk->prepares) /* what it makes is for either */
		return false;
	return wk->lane != wk->w->lane || (wk->lane == lane_of(wk->w) && !lane_fits(wk));
}

void lane_settle(struct workload *w)
{
	bool arrived = false, holds = false;

	if (w->lane == lane_of(w))
		return;
	list_each(&w->workers, it)
	{
		struct worker *wk = container_of(it, struct worker, node);

		arrived |= wk->step == WORKER_LIVE && !wk->prepares && lane_fits(wk) && !worker_stale(wk);
		holds |= wk->lane == w->lane && wk->step != WORKER_ENDING && !wk->prepares;
	}
	if (holds && !arrived)
		return;
	w->lane = lane_of(w);
	workload_say(w->s, w->f, "lane", "serves in the %s lane", lane_name[w->lane]);
}

void lane_ready(struct worker *wk)
{
	struct workload *w = wk->w;
	int can = (int)instance_seats(wk->instance);

	if (wk->lane == LANE_CONTAINER) {
		wk->seats = can < wk->seats ? can : wk->seats;
		w->seats = wk->seats;
		wk->row_us = loop_now_us(worker_loop(wk));
		wk->idle_cpu_us += wk->init_cpu_us;
		wk->init_cpu_us = 0;
	}
	if (wk->lane == w->lane || !lane_fits(wk) || worker_stale(wk))
		return;
	keep_function(w->s, w->f); /* w->lane is this one now */
	sched_leave(w);
}

/* --- the container lane's share in events --- */

void lane_share(struct worker *wk, int64_t cpu_us)
{
	int64_t us = event_new_cpu(wk, cpu_us < 0 ? instance_cpu_us(wk->instance) : cpu_us);

	if (wk->n_open)
		wk->share_ns += us * 1000 / wk->n_open;
	else
		wk->idle_cpu_us += us;
}

int64_t lane_stretch_us(struct worker *wk)
{
	int64_t now = loop_now_us(worker_loop(wk)), us = now - wk->row_us;

	wk->row_us = now;
	return us;
}

void lane_due(struct worker *wk, int64_t at_us)
{
	int64_t row_us = wk->row_us + OWN_ROW_US;

	worker_due(wk, wk->lane == LANE_CONTAINER && (!at_us || row_us < at_us) ? row_us : at_us);
}

/* The others of the instance are not to suffer: it takes nothing new, and ends with the last of them. What the one that
 * is late still does until then is done for nobody. */
static void out_of_time(struct worker *wk, struct run *run)
{
	auto_buf json = {0};

	err_set(&wk->why, ERR_TIMEOUT, "Task timed out after %d.00 seconds", wk->revision->timeout_s);
	buf_addf(&json, "{\"errorType\":\"Sandbox.Timedout\",\"errorMessage\":\"RequestId: %s Error: %s\"}",
		 run->request_id, wk->why.text);
	workload_say(wk->w->s, wk->w->f, "timeout",
		     "%s; its instance takes no new event, and ends with the %d others that it has", wk->why.text,
		     wk->n_open - 1);
	worker_retire(wk);
	event_answer(wk, run, INVOKE_TIMEOUT, OUTCOME_TIMEOUT, buf_str(&json), -1, -1);
	wk->why = (struct err){0};
}

void lane_tick(struct worker *wk)
{
	int64_t now = loop_now_us(worker_loop(wk)), next = 0;

	if (now - wk->row_us >= OWN_ROW_US) {
		lane_share(wk, -1);
		event_idle_row(wk, instance_mem_peak_bytes(wk->instance));
	}
	for (struct run *run = wk->run; run < wk->run + wk->seats && wk->step == WORKER_LIVE; run++) {
		int64_t end = run->begun_us + event_limit_us(wk);

		if (run->on && end <= now)
			out_of_time(wk, run);
		else if (run->on && (!next || end < next))
			next = end;
	}
	if (wk->step != WORKER_LIVE)
		return;
	if (wk->n_open)
		lane_due(wk, next);
	else
		worker_rest(wk);
}

/* --- from outside --- */

int sched_lane_set(struct sched *s, struct function *f, enum lane to, struct err *e)
{
	if (to != LANE_FUNCTION && to != LANE_CONTAINER)
		return err_set(e, ERR_INVALID, "a function runs in the lanes function and container only");
	if (f->deleted)
		return err_set(e, ERR_INVALID, "function %s was deleted", f->name);
	if (f->lane == to)
		return 0;
	f->lane = to;
	function_put(s->o.store, NULL, f); /* who is told of it brings the instances to their number */
	return 0;
}

void sched_lane_info(const struct sched *s, const struct function *f, struct sched_lane_info *ret)
{
	const struct workload *w = f->sched;
	bool up = false;

	*ret = (struct sched_lane_info){.lane = f->lane, .alone = alone(f->latest)};
	ret->seats = ret->alone ? 1 : f->scale.concurrency ? f->scale.concurrency : LANE_SEATS;
	if (!w)
		return;
	list_each(&w->workers, it)
	{
		const struct worker *wk = container_of(it, struct worker, node);

		if (wk->prepares)
			continue;
		ret->instances[wk->lane]++;
		up |= wk->lane == f->lane && wk->step == WORKER_LIVE;
	}
	if (ret->seats > 1 && w->seats == 1)
		ret->alone = "its handler streams its answers, or has extensions";
	if (ret->alone)
		ret->seats = 1;
	ret->moving = w->lane != f->lane ||
		      ret->instances[f->lane == LANE_CONTAINER ? LANE_FUNCTION : LANE_CONTAINER] ||
		      (f->lane == LANE_CONTAINER && !up);
}
