/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a worker: its states, its one timer, what its instance says, its end. The drawing is in sched_int.h. */
#include <stdio.h>
#include <sys/wait.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/moves.h"
#include "json/read.h"
#include "sched/deploy.h"
#include "sched/sched_int.h"

static const uint8_t worker_next[WORKER_N] = {
	[WORKER_CODE] = 1 << WORKER_TAKE | 1 << WORKER_INIT | 1 << WORKER_ENDING, /* to INIT: adopted */
	[WORKER_TAKE] = 1 << WORKER_ASSIGN | 1 << WORKER_ENDING,
	[WORKER_ASSIGN] = 1 << WORKER_INIT | 1 << WORKER_ENDING,
	[WORKER_INIT] = 1 << WORKER_LIVE | 1 << WORKER_ENDING,
	[WORKER_LIVE] = 1 << WORKER_ENDING,
};

static const char *const worker_step_name[WORKER_N] = {"CODE", "TAKE", "ASSIGN", "INIT", "LIVE", "ENDING"};

void worker_move(struct worker *wk, enum worker_step to)
{
	move_note("instance", wk->id, worker_step_name[to]);
	if (!(worker_next[wk->step] & 1 << to))
		abort(); /* our bug: never reached by input */
	wk->step = to;
}

struct loop *worker_loop(struct worker *wk)
{
	return wk->w->s->o.loop;
}

/* --- the one timer: init limit, deadline, idleness --- */

/* What the client of one of its events hears: the runtime's own words, or Lambda's error object; that text is ours, no
 * quoting is needed. id: of the event, or "". */
static struct str verdict(const struct worker *wk, const char *id, struct buf *out)
{
	if (!wk->fault)
		return buf_str(&wk->verdict);
	buf_clear(out);
	buf_addf(out, "{\"errorType\":\"%s\",\"errorMessage\":\"%s%s%sError: " STR_FMT "\"}", wk->fault,
		 *id ? "RequestId: " : "", id, *id ? " " : "", STR_ARG(buf_str(&wk->verdict)));
	return buf_str(out);
}

static void on_broken(void *arg, const struct err *e);

static void due(void *arg)
{
	struct worker *wk = arg;
	int64_t now = loop_now_us(worker_loop(wk)), late_us = wk->run->begun_us + event_limit_us(wk);
	struct err e;

	wk->timer_at_us = 0;
	if (!wk->due_us)
		return;
	if (now < wk->due_us) {
		worker_due(wk, wk->due_us);
		return;
	}
	if (wk->step == WORKER_ENDING) {
		spawn_end(wk->w->s->o.spawn, wk->id);
	} else if (wk->prepares) {
		err_set(&e, ERR_TIMEOUT, "it was not made within %d s", (int)(PREPARE_LIMIT_US / 1000000));
		worker_end(wk, INVOKE_FAILED, OUTCOME_FAILED, STR_NULL, &e);
	} else if (wk->restoring) {
		prepare_failed(wk, "it took too long", false);
	} else if (wk->after && now < late_us) {
		lane_due(wk, late_us);
	} else if (wk->after) {
		err_set(&e, ERR_TIMEOUT, "an extension, or an exit, took longer than the event's time");
		worker_end(wk, INVOKE_TIMEOUT, OUTCOME_TIMEOUT, STR_NULL, &e);
	} else if (wk->step == WORKER_LIVE && wk->lane == LANE_CONTAINER) {
		lane_tick(wk);
	} else if (wk->step == WORKER_LIVE && !wk->n_open) {
		worker_rest(wk);
	} else if (wk->step == WORKER_LIVE) {
		err_set(&e, ERR_TIMEOUT, "Task timed out after %d.00 seconds", wk->revision->timeout_s);
		wk->fault = "Sandbox.Timedout";
		worker_end(wk, INVOKE_TIMEOUT, OUTCOME_TIMEOUT, str_of(e.text), &e);
	} else if (wk->adopted) {
		err_set(&e, ERR_TIMEOUT, "its runtime did not come back from what it did for the daemon before");
		on_broken(wk, &e);
	} else {
		err_set(&e, ERR_TIMEOUT, "initialisation took longer than %d s", (int)(INIT_LIMIT_US / 1000000));
		wk->fault = "Sandbox.Timedout";
		worker_end(wk, INVOKE_INIT_FAILED, OUTCOME_INIT_FAILED, str_of(e.text), &e);
	}
}

/* Wanted at at_us (0: not at all). An armed timer that fires too early is cheaper than re-arming on every event. */
void worker_due(struct worker *wk, int64_t at_us)
{
	wk->due_us = at_us;
	if (!at_us || (wk->timer_at_us && wk->timer_at_us <= at_us))
		return;
	wk->timer_at_us = at_us;
	loop_timer_in(wk->timer, at_us - loop_now_us(worker_loop(wk)));
}

struct worker *worker_new(struct workload *w, struct revision *r, enum lane lane, int seats)
{
	struct worker *wk = xcalloc(1, sizeof(*wk) + (size_t)seats * sizeof(wk->run[0]));

	wk->w = w;
	wk->lane = lane;
	wk->asked = wk->seats = seats;
	wk->revision = revision_ref(r);
	list_init(&wk->idle_node);
	list_init(&wk->lru_node);
	list_init(&wk->unasked_node);
	list_push(&w->workers, &wk->node);
	w->n_workers++;
	w->s->n_workers++;
	wk->timer = loop_timer_new(w->s->o.loop, due, wk);
	wk->begun_us = loop_now_us(w->s->o.loop);
	return wk;
}

void worker_uncount(struct worker *wk)
{
	if (wk->counted)
		wk->w->n_starting--;
	if (wk->counted && !wk->cold)
		wk->w->s->n_keep_starting--;
	wk->counted = false;
}

/* It is at a boundary, or will never be: what it was doing for the daemon before is settled. */
static void settle(struct worker *wk)
{
	if (!wk->adopted)
		return;
	wk->adopted = false;
	if (--wk->w->n_adopted == 0)
		async_look(wk->w->f);
}

void worker_failed(struct worker *wk, const struct err *e)
{
	log_error("sched", "instance of %s could not be started: %s", wk->w->f->name, e->text);
	worker_end(wk, INVOKE_FAILED, OUTCOME_FAILED, STR_NULL, e);
}

/* --- the instance's events --- */

/* It has nothing to do: the next event, or rest. */
static void serve(struct worker *wk)
{
	worker_become_idle(wk);
	if (!worker_stale(wk))
		workload_dispatch(wk->w);
	if (wk->step == WORKER_LIVE && !wk->n_open)
		worker_rest(wk);
	room_share(wk->w->s);
}

static void on_ready(void *arg)
{
	struct worker *wk = arg;
	struct workload *w = wk->w;
	struct invocation *check = take_ptr(wk->check);
	bool deployed = check != NULL;
	int64_t now = loop_now_us(worker_loop(wk));

	if (wk->step != WORKER_INIT)
		return;
	worker_move(wk, WORKER_LIVE);
	wk->ready_us = now;
	if (wk->prepares) {
		prepare_ready(wk);
		return;
	}
	wk->restored = wk->restoring;
	wk->restoring = false;
	event_init_cpu(wk, instance_cpu_us(wk->instance));
	if (wk->counted || wk->run->early || check)
		workload_note_start(w, wk->restored, now - wk->begun_us);
	worker_uncount(wk);
	if (wk->kept) {
		w->keep_failures = 0;
		w->keep_reason = NULL;
		keep_soon(w);
	}
	if (check) { /* first: the deploy makes this revision the present one, or the instance would be stale */
		event_check_row(wk, OUTCOME_OK, instance_mem_peak_bytes(wk->instance));
		check->worker = NULL;
		check->outcome = INVOKE_OK;
		invocation_tell(check);
	} else {
		deploy_works(w->s, w->f, wk->revision);
	}
	settle(wk);
	lane_ready(wk);
	if (wk->run->early)
		event_early_runs(wk);
	if (wk->step == WORKER_LIVE && wk->n_open < wk->seats)
		serve(wk);
	if (wk->step == WORKER_LIVE)
		spawn_live(w->s->o.spawn, wk->id); /* after the event: nobody is to wait for it */
	if (deployed && wk->step == WORKER_LIVE && !wk->n_open)
		worker_become_unasked(wk);
}

static void on_late(void *arg, struct str request_id, bool is_error, struct str body)
{
	event_late(arg, request_id, is_error, body);
}

static void on_init_failed(void *arg, struct str error)
{
	struct worker *wk = arg;
	struct err e;

	err_set(&e, ERR_INVALID, "initialisation failed");
	if (error.n > LIM_PAYLOAD_BYTES)
		error = STR_NULL;
	worker_end(wk, INVOKE_INIT_FAILED, OUTCOME_INIT_FAILED, error, &e);
}

static void after_event(struct worker *wk)
{
	if (!worker_stale(wk) && room_yields(wk))
		worker_evict(wk);
	if (wk->step == WORKER_LIVE)
		serve(wk);
}

static void on_answer(void *arg, unsigned seat, struct str body, bool is_error)
{
	struct worker *wk = arg;

	event_answer(wk, &wk->run[seat], is_error ? INVOKE_ERROR : INVOKE_OK, is_error ? OUTCOME_ERROR : OUTCOME_OK,
		     body, -1, -1);
}

static void on_piece(void *arg, struct str piece)
{
	struct worker *wk = arg;

	wk->run->streamed_bytes += piece.n;
	if (wk->run->inv && wk->run->inv->piece)
		wk->run->inv->piece(wk->run->inv, piece);
}

static void on_idle(void *arg)
{
	struct worker *wk = arg;

	if (wk->step == WORKER_LIVE)
		after_event(wk);
}

static void on_output(void *arg, int seat, struct str text)
{
	event_output(arg, seat, text);
}

/* The text Lambda gives: "exit status N" or "signal: name", as Go writes it. */
static void exit_text(bool extension, int st, char *out, size_t n)
{
	const char *prefix = extension ? "" : "Runtime exited with error: ";
	char name[64];

	if (WIFSIGNALED(st)) {
		snprintf(name, sizeof(name), "%s", strsignal(WTERMSIG(st)));
		name[0] |= 32; /* "Segmentation fault" */
		snprintf(out, n, "%ssignal: %s", prefix, name);
	} else if (WEXITSTATUS(st)) {
		snprintf(out, n, "%sexit status %d", prefix, WEXITSTATUS(st));
	} else {
		snprintf(out, n, "%s", extension ? "exit code 0" : "Runtime exited without providing a reason");
	}
}

static void on_exited(void *arg, bool extension, int wait_status)
{
	struct worker *wk = arg;
	bool live = wk->step == WORKER_LIVE && !wk->prepares;
	char text[128];
	struct err e;

	if (wk->step == WORKER_ENDING) {
		spawn_end(wk->w->s->o.spawn, wk->id);
		return;
	}
	exit_text(extension, wait_status, text, sizeof(text));
	if (wk->restoring) {
		prepare_failed(wk, text, false);
		return;
	}
	err_set(&e, ERR_UNAVAILABLE, "%s%s", extension ? "an extension ended: " : "", text);
	wk->fault = extension ? "Extension.Crash" : "Runtime.ExitError";
	worker_end(wk, live ? INVOKE_CRASHED : INVOKE_INIT_FAILED, live ? OUTCOME_CRASH : OUTCOME_INIT_FAILED,
		   str_of(text), &e);
}

static void on_broken(void *arg, const struct err *e)
{
	struct worker *wk = arg;

	if (wk->restoring) {
		prepare_failed(wk, e->text, false);
		return;
	}
	wk->fault = "Runtime.ExitError";
	log_warn("sched", "instance %llu of %s is ended: %s", (unsigned long long)wk->id, wk->w->f->name, e->text);
	worker_end(wk, wk->step == WORKER_LIVE ? INVOKE_CRASHED : INVOKE_INIT_FAILED, OUTCOME_CRASH,
		   STR("Runtime broke its protocol"), e);
}

static void on_taken(void *arg, const struct init_snap *s)
{
	prepare_taken(arg, s);
}

static void on_not_restored(void *arg, const char *why)
{
	prepare_failed(arg, why, true);
}

static void on_pages(void *arg, struct str list)
{
	struct worker *wk = arg;

	snapshot_pages(wk->w->s->o.store, wk->revision->serial, list);
	if (wk->step == WORKER_LIVE && !list_empty(&wk->idle_node))
		worker_rest(wk);
}

const struct instance_events worker_instance_events = {on_ready,  on_late,  on_init_failed,  on_answer,
						       on_piece,  on_idle,  on_output,	     on_exited,
						       on_broken, on_taken, on_not_restored, on_pages};

/* --- the end --- */

static void gone_without_sandbox(void *arg)
{
	worker_gone(arg, 0, 0, 0, 0);
}

void worker_retire(struct worker *wk)
{
	worker_forget_idle(wk);
	wk->retired = wk->stopping = true;
	if (wk->kept)
		keep_ended(wk);
}

/* Asks for the end. What the client will hear is kept until the kernel's own word is there: out of memory is known only
 * then. */
void worker_end(struct worker *wk, enum invoke_outcome outcome, uint8_t ledger_outcome, struct str body,
		const struct err *why)
{
	enum worker_step was = wk->step;
	bool leaving = false;

	if (was == WORKER_ENDING)
		return;
	if (was == WORKER_LIVE && !list_empty(&wk->idle_node))
		worker_forget_idle(wk);
	event_give_back(wk);
	worker_uncount(wk);
	worker_after_is_over(wk);
	settle(wk);
	wk->outcome = outcome;
	if (wk->kept)
		keep_ended(wk);
	wk->ledger_outcome = ledger_outcome;
	buf_addstr(&wk->verdict, body);
	if (why)
		wk->why = *why;
	worker_due(wk, 0);
	worker_move(wk, WORKER_ENDING);
	if (was == WORKER_ASSIGN) /* its sandbox may be gone before the answer comes */
		spawn_cancel(&wk->assign);
	if (!wk->id) { /* there is no sandbox whose end the spawner could tell */
		code_cancel(&wk->code);
		if (was == WORKER_TAKE && (wk->prepares || wk->revision->image))
			spawn_cancel(&wk->assign);
		else if (was == WORKER_TAKE)
			pool_take_cancel(&wk->take);
		loop_defer(worker_loop(wk), &wk->gone, gone_without_sandbox, wk);
	}
	if (wk->instance) {
		instance_drain_output(wk->instance);
		leaving = instance_ending(wk->instance, wk->stopping && !wk->n_open);
	}
	if (leaving)
		worker_due(wk, loop_now_us(worker_loop(wk)) + INSTANCE_SHUTDOWN_US);
	else if (wk->id)
		spawn_end(wk->w->s->o.spawn, wk->id);
}

static void out_of_memory(struct worker *wk)
{
	char text[128];

	err_set(&wk->why, ERR_LIMIT, "out of memory: %d MB and %d MB of /tmp were not enough", wk->revision->memory_mb,
		wk->revision->tmp_mb);
	snprintf(text, sizeof(text), "Runtime exited with error: signal: killed (memory limit of %d MB)",
		 wk->revision->memory_mb);
	wk->fault = "Runtime.OutOfMemory";
	buf_clear(&wk->verdict);
	buf_adds(&wk->verdict, text);
	wk->ledger_outcome = OUTCOME_OOM;
	if (wk->outcome != INVOKE_INIT_FAILED)
		wk->outcome = INVOKE_CRASHED;
}

static void tell_check(struct worker *wk)
{
	struct invocation *inv = take_ptr(wk->check);
	auto_buf text = {0};

	inv->outcome = wk->outcome == INVOKE_FAILED ? INVOKE_FAILED : INVOKE_INIT_FAILED;
	inv->body = verdict(wk, "", &text);
	inv->e = wk->why;
	invocation_tell(inv);
}

/* What ended it, when nobody wanted that. */
static void say_end(const struct worker *wk)
{
	static const char *const kind[OUTCOME_N] = {[OUTCOME_TIMEOUT] = "timeout",
						    [OUTCOME_CRASH] = "crash",
						    [OUTCOME_OOM] = "oom",
						    [OUTCOME_INIT_FAILED] = "init",
						    [OUTCOME_FAILED] = "start"};
	const struct workload *w = wk->w;
	auto_json said = json_parse(buf_str(&wk->verdict), NULL);
	struct str more = json_get_str(said, "errorMessage");

	if (wk->stopping || wk->prepares || wk->check || !kind[wk->ledger_outcome] || !wk->why.kind)
		return;
	workload_say(w->s, w->f, kind[wk->ledger_outcome], "%s%s%.*s", wk->why.text,
		     wk->ledger_outcome == OUTCOME_INIT_FAILED ? ": " : "",
		     wk->ledger_outcome == OUTCOME_INIT_FAILED ? (int)(more.n < 300 ? more.n : 300) : 0, more.p);
}

/* Its check hears of it, or the event that it was started for. */
static void failed_start(struct worker *wk, int64_t cpu_us, int64_t mem_peak_bytes)
{
	struct invocation *inv = wk->check || wk->stopping || !wk->cold ? NULL : workload_head(wk->w);
	auto_buf text = {0};

	event_init_cpu(wk, cpu_us);
	if (wk->prepares) {
		event_check_row(wk, wk->ledger_outcome, mem_peak_bytes);
		return;
	}
	if (wk->check) {
		event_check_row(wk, wk->ledger_outcome, mem_peak_bytes);
		tell_check(wk);
		return;
	}
	event_failed_row(wk, inv, mem_peak_bytes);
	if (inv)
		workload_fail(inv, wk->outcome, verdict(wk, "", &text), &wk->why);
}

static void worker_free(struct worker *wk)
{
	list_del(&wk->node);
	loop_timer_free(wk->timer);
	instance_free(wk->instance);
	revision_unref(wk->revision);
	buf_done(&wk->verdict);
	for (int k = 0; k < wk->asked; k++)
		buf_done(&wk->run[k].tail);
	buf_done(&wk->extensions);
	free(wk);
}

/* All that were under way hear the same. */
static void tell_open(struct worker *wk, int64_t cpu_us, int64_t mem_peak_bytes)
{
	auto_buf text = {0};

	for (int k = 0; k < wk->asked; k++)
		if (wk->run[k].on)
			event_answer(wk, &wk->run[k], wk->outcome, wk->ledger_outcome,
				     verdict(wk, wk->run[k].request_id, &text), cpu_us, mem_peak_bytes);
}

void worker_gone(struct worker *wk, int wait_status, uint32_t oom_kills, int64_t cpu_us, int64_t mem_peak_bytes)
{
	struct workload *w = wk->w;
	struct sched *s = w->s;
	bool never_ready = !wk->ready_us, stopping = wk->stopping;

	if (wk->restoring && wk->step != WORKER_ENDING)
		prepare_failed(wk, "the sandbox ended by itself", false);
	if (wk->step != WORKER_ENDING) { /* pid 1 died by itself, or the group ran out of memory */
		struct err e;

		err_set(&e, ERR_UNAVAILABLE, "the sandbox ended by itself");
		worker_end(wk, never_ready ? INVOKE_INIT_FAILED : INVOKE_CRASHED, OUTCOME_CRASH,
			   STR("{\"errorType\":\"Runtime.ExitError\",\"errorMessage\":\"Error: Runtime exited with "
			       "error: signal: "
			       "killed\"}"),
			   &e);
	}
	if (oom_kills && wk->outcome != INVOKE_TIMEOUT)
		out_of_memory(wk);
	if (wk->instance)
		instance_drain_output(wk->instance);
	tell_open(wk, cpu_us, mem_peak_bytes);
	if (wk->prepares && !never_ready) {
		never_ready = true;
		stopping = true;
	}
	if (!never_ready) {
		event_idle_cpu(wk, cpu_us);
		event_idle_row(wk, mem_peak_bytes);
	}
	if (never_ready && wk->why.kind && !stopping)
		log_stream_add(w->log, "platform", "-", (struct str){wk->why.text, strlen(wk->why.text)});
	say_end(wk);
	if (never_ready)
		failed_start(wk, cpu_us, mem_peak_bytes);
	if (wk->prepares)
		prepare_gone(wk);
	if (wk->id)
		map_del(&s->by_id, (struct str){(const char *)&wk->id, sizeof(wk->id)});
	w->n_workers--;
	s->n_workers--;
	s->n_evicting -= wk->evicted;
	worker_free(wk);
	workload_dispatch(w);
	workload_maybe_free(w);
	loop_timer_in(s->trim, TRIM_AFTER_US);
	room_share(s);
	prepare_next(s); /* after those who wait */
	sched_check_drained(s);
}

void worker_drop(struct worker *wk)
{
	code_cancel(&wk->code);
	if (wk->step == WORKER_TAKE && !wk->prepares && !wk->revision->image)
		pool_take_cancel(&wk->take);
	else if (wk->step == WORKER_TAKE || wk->step == WORKER_ASSIGN)
		spawn_cancel(&wk->assign);
	loop_defer_cancel(worker_loop(wk), &wk->gone);
	worker_free(wk);
}
