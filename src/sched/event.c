/* SPDX-License-Identifier: Apache-2.0 */
/* One event in a worker, from the moment it is handed in until its row is in the ledger. The warm path: no allocation.
 */
#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/enc.h"
#include "json/read.h"
#include "sched/policy.h"
#include "sched/sched_int.h"

#define TAIL_BYTES  4096 /* X-Amz-Log-Result holds the last 4 KB */
#define IDLE_ROW_US (60 * 1000000ll)

static void uuid_bytes(const char *uuid, uint8_t out[16])
{
	char hex[33];
	int n = 0;

	for (const char *p = uuid; *p && n < 32; p++)
		if (*p != '-')
			hex[n++] = *p;
	if (n != 32 || dec_hex((struct str){hex, 32}, out, 16) < 0)
		memset(out, 0, 16);
}

static void keep_tail(struct run *run, struct str text)
{
	if (!run->want_tail)
		return;
	buf_addstr(&run->tail, text);
	if (run->tail.n && run->tail.p[run->tail.n - 1] != '\n')
		buf_addc(&run->tail, '\n');
	if (run->tail.n > 2 * TAIL_BYTES)
		buf_drop(&run->tail, run->tail.n - TAIL_BYTES);
}

/* The lines in s->text, which is put together anew each time: no allocation, and no printf. */
static void say(struct workload *w, struct run *run)
{
	struct str s = buf_str(&w->s->text);

	log_stream_add(w->log, "platform", run->request_id, s);
	keep_tail(run, s);
}

static void put_ms(struct buf *b, int64_t us)
{
	buf_add_i64(b, us / 1000);
	buf_addc(b, '.');
	buf_addc(b, (char)('0' + us / 100 % 10));
	buf_addc(b, (char)('0' + us / 10 % 10));
	buf_adds(b, " ms");
}

struct run *event_only_run(struct worker *wk)
{
	struct run *run = wk->run;

	while (wk->n_open == 1 && !run->on && run + 1 < wk->run + wk->seats)
		run++;
	return run;
}

void event_output(struct worker *wk, int seat, struct str text)
{
	struct run *run = seat >= 0 && seat < wk->seats ? &wk->run[seat] : event_only_run(wk);
	bool known = run->on && (seat >= 0 || wk->n_open == 1);

	log_stream_add(wk->w->log, "fn", known ? run->request_id : "-", text);
	if (known)
		keep_tail(run, text);
}

static void say_start(struct worker *wk, struct run *run)
{
	struct buf *b = &wk->w->s->text;
	char version[VERSION_TEXT];

	buf_clear(b);
	if (wk->cold)
		buf_addf(b, "%s_START Runtime Version: %s\tLog Stream: %s\n", wk->restored ? "RESTORE" : "INIT",
			 wk->revision->runtime, instance_log_stream(wk->instance));
	buf_adds(b, "START RequestId: ");
	buf_adds(b, run->request_id);
	buf_adds(b, " Version: ");
	buf_adds(b, revision_version(wk->revision, version));
	say(wk->w, run);
}

static struct ledger_row row_of(const struct worker *wk, enum ledger_kind kind)
{
	return (struct ledger_row){.start_wall_us = clock_wall_us(),
				   .workload = wk->w->name_id,
				   .tags = wk->w->tags_id,
				   .revision = wk->revision->serial,
				   .instance = wk->id,
				   .kind = (uint8_t)kind,
				   .lane = (uint8_t)wk->lane,
				   .memory_mb = (uint32_t)wk->revision->memory_mb,
				   .version = (uint32_t)wk->revision->version};
}

static void put_event(struct ledger_row *row, const struct invocation *inv, int64_t now)
{
	int64_t waited = now - inv->accepted_us - row->start_us - row->init_us;

	row->trigger = (uint8_t)inv->trigger;
	row->bytes_in = (uint32_t)inv->payload.n;
	uuid_bytes(inv->request_id, row->request_id);
	row->queue_us = waited > 0 ? (uint32_t)waited : 0;
}

static void put_start(struct ledger_row *row, const struct worker *wk, int64_t now)
{
	int64_t ready = wk->ready_us ? wk->ready_us : now, assigned = wk->assigned_us ? wk->assigned_us : ready;

	row->cold = wk->restored ? LEDGER_RESTORED : LEDGER_STARTED;
	row->start_us = (uint32_t)(assigned - wk->begun_us);
	row->init_us = (uint32_t)(ready - assigned);
}

static void fill_row(struct worker *wk, struct run *run, struct invocation *inv, int64_t now)
{
	run->row = row_of(wk, LEDGER_INVOKE);
	if (wk->cold)
		put_start(&run->row, wk, now);
	put_event(&run->row, inv, now);
}

static void refused(struct worker *wk, const struct err *e)
{
	worker_end(wk, INVOKE_FAILED, OUTCOME_FAILED, STR_NULL, e);
}

int64_t event_limit_us(const struct worker *wk)
{
	return (int64_t)wk->revision->timeout_s * 1000000;
}

/* "Root=1-<second>-<24 digits>;Sampled=0"; a request id of ours ends in twelve digits. */
static void make_trace(char out[80], int64_t wall_us, const char *request_id)
{
	uint32_t second = htobe32((uint32_t)(wall_us / 1000000));
	char *p = stpcpy(out, "Root=1-");

	enc_hex(&second, sizeof(second), p);
	p[8] = '-';
	memcpy(p + 9, request_id + 24, 12);
	memcpy(p + 21, request_id + 24, 12);
	memcpy(p + 33, ";Sampled=0", sizeof(";Sampled=0"));
}

/* It is this worker's, though it may not run yet. */
static struct run *take(struct worker *wk, struct invocation *inv, int64_t now)
{
	struct run *run = wk->run;

	while (run->on)
		run++;
	memcpy(run->request_id, inv->request_id, sizeof(run->request_id));
	run->streamed_bytes = 0;
	fill_row(wk, run, inv, now);
	traced_begin(wk->w->s, inv, &run->traced);
	inv->worker = wk;
	run->inv = inv;
	run->want_tail = inv->want_log_tail;
	if (wk->lane == LANE_CONTAINER) {
		lane_share(wk, -1);
		run->share_ns = wk->share_ns;
	}
	wk->n_open++;
	wk->w->n_busy++;
	return run;
}

static int hand_over(struct worker *wk, const struct run *run, const struct invocation *inv, struct err *e)
{
	int64_t wall_us = run->row.start_wall_us;
	char trace[80], qualified[200 + LIM_QUALIFIER_BYTES];
	struct instance_event ev = {.request_id = run->request_id,
				    .function_arn = wk->w->arn,
				    .trace_id = inv->trace_id ? inv->trace_id : trace,
				    .client_context = inv->client_context,
				    .payload = inv->payload,
				    .deadline_wall_ms = (wall_us + event_limit_us(wk)) / 1000,
				    .seat = (unsigned)(run - wk->run),
				    .streams = inv->piece};

	if (inv->qualifier) {
		snprintf(qualified, sizeof(qualified), "%s:%s", wk->w->arn, inv->qualifier);
		ev.function_arn = qualified;
	}
	if (run->traced.on)
		ev.trace_id = traced_header(&run->traced, trace);
	else if (!inv->trace_id)
		make_trace(trace, wall_us, inv->request_id);
	return instance_event(wk->instance, &ev, e);
}

static void runs(struct worker *wk, struct run *run, int64_t now)
{
	run->on = true;
	run->begun_us = now;
	run->slept_us = loop_slept_us(wk->w->s->o.loop);
	if (wk->idle_pending_us >= IDLE_ROW_US)
		event_idle_row(wk, instance_mem_peak_bytes(wk->instance));
	if (wk->n_open == 1) /* all have the same time: what began first is due first */
		lane_due(wk, now + event_limit_us(wk));
}

void event_begin(struct worker *wk, struct invocation *inv)
{
	int64_t now = clock_now_us();
	struct run *run = take(wk, inv, now);
	struct err e;

	runs(wk, run, now);
	if (hand_over(wk, run, inv, &e) < 0)
		refused(wk, &e);
	say_start(wk, run); /* after the event is on its way: nothing of it is printed before */
	wk->cold = false;
}

void event_early(struct worker *wk)
{
	struct workload *w = wk->w;
	struct invocation *inv;
	struct run *run;

	if (!wk->restoring || !wk->cold || w->n_busy || w->n_idle || !(inv = workload_head(w)))
		return;
	run = take(wk, inv, clock_now_us());
	run->early = true;
	worker_uncount(wk);
	if (hand_over(wk, run, inv, NULL) < 0)
		event_give_back(wk);
}

void event_early_runs(struct worker *wk)
{
	int64_t now = clock_now_us();
	struct run *run = wk->run;

	run->early = false;
	run->row.start_wall_us = clock_wall_us();
	put_start(&run->row, wk, now);
	runs(wk, run, now);
	say_start(wk, run);
	wk->cold = false;
}

void event_give_back(struct worker *wk)
{
	struct workload *w = wk->w;
	struct invocation *inv;

	if (!wk->run->early)
		return;
	wk->run->early = false;
	wk->n_open--;
	w->n_busy--;
	inv = take_ptr(wk->run->inv);
	if (!inv)
		return;
	inv->worker = NULL;
	list_push_front(&w->waiting, &inv->node);
	w->n_waiting++;
	workload_note_backlog(w);
}

/* Duration, memory and the rest, as Lambda writes it; existing parsers read this line. */
static void say_report(struct worker *wk, struct run *run, int64_t handler_us, uint8_t outcome)
{
	const struct ledger_row *row = &run->row;
	struct buf *b = &wk->w->s->text;

	buf_clear(b);
	if (outcome != OUTCOME_OK && outcome != OUTCOME_ERROR && wk->why.kind)
		buf_addf(b, "RequestId: %s Error: %.250s\n", run->request_id, wk->why.text);
	buf_adds(b, "END RequestId: ");
	buf_adds(b, run->request_id);
	buf_adds(b, "\nREPORT RequestId: ");
	buf_adds(b, run->request_id);
	buf_adds(b, "\tDuration: ");
	put_ms(b, handler_us);
	buf_adds(b, "\tBilled Duration: ");
	buf_add_i64(b, row->billed_ms);
	buf_adds(b, " ms\tMemory Size: ");
	buf_add_i64(b, row->memory_mb);
	buf_adds(b, " MB\tMax Memory Used: ");
	buf_add_i64(b, (int64_t)((row->mem_peak_bytes + (1 << 20) - 1) >> 20));
	buf_adds(b, " MB\t");
	if (row->cold) {
		buf_adds(b, row->cold == LEDGER_RESTORED ? "Restore Duration: " : "Init Duration: ");
		put_ms(b, row->init_us);
		buf_addc(b, '\t');
	}
	if (outcome == OUTCOME_TIMEOUT)
		buf_adds(b, "Status: timeout\t");
	else if (outcome == OUTCOME_CRASH || outcome == OUTCOME_OOM)
		buf_addf(b, "Status: error\tError Type: Runtime.%s\t",
			 outcome == OUTCOME_OOM ? "OutOfMemory" : "ExitError");
	say(wk->w, run);
}

/* What the group used since somebody asked last. */
int64_t event_new_cpu(struct worker *wk, int64_t cpu_us)
{
	int64_t us = cpu_us - wk->cpu_seen_us;

	if (us <= 0)
		return 0;
	wk->cpu_seen_us = cpu_us;
	return us;
}

static int64_t take_us(int64_t *us)
{
	int64_t v = *us;

	*us = 0;
	return v;
}

void event_init_cpu(struct worker *wk, int64_t cpu_us)
{
	wk->init_cpu_us += event_new_cpu(wk, cpu_us);
}

int64_t event_cpu_so_far(const struct worker *wk)
{
	int64_t now = wk->instance ? instance_cpu_us(wk->instance) : 0;
	int64_t us = wk->init_cpu_us + wk->idle_cpu_us + (now > wk->cpu_seen_us ? now - wk->cpu_seen_us : 0);

	for (const struct run *run = wk->run; wk->lane == LANE_CONTAINER && run < wk->run + wk->seats; run++)
		us += run->on ? (wk->share_ns - run->share_ns) / 1000 : 0;
	return us;
}

void event_idle_cpu(struct worker *wk, int64_t cpu_us)
{
	wk->idle_cpu_us += event_new_cpu(wk, cpu_us);
}

static void measure(struct worker *wk, struct run *run, int64_t now, int64_t cpu_us, int64_t mem_peak_bytes)
{
	struct ledger_row *row = &run->row;
	int64_t handler = now - run->begun_us;

	if (cpu_us < 0)
		cpu_us = instance_cpu_us(wk->instance);
	if (mem_peak_bytes < 0)
		mem_peak_bytes = instance_mem_peak_bytes(wk->instance);
	if (wk->lane == LANE_CONTAINER) {
		lane_share(wk, cpu_us);
		row->cpu_us = (uint64_t)((wk->share_ns - run->share_ns) / 1000);
	} else {
		row->cpu_us = (uint64_t)(event_new_cpu(wk, cpu_us) + take_us(&wk->init_cpu_us));
	}
	row->mem_peak_bytes = mem_peak_bytes > 0 ? (uint64_t)mem_peak_bytes : 0;
	wk->held_bytes = (int64_t)row->mem_peak_bytes;
	row->handler_us = (uint32_t)handler;
	row->billed_ms = ledger_billed_ms(row->init_us, handler, row->cold);
}

static struct str oversized(void)
{
	return STR("{\"errorMessage\":\"Response payload size exceeded maximum allowed payload size (6291556 bytes).\","
		   "\"errorType\":\"Function.ResponseSizeTooLarge\"}");
}

/* What a handler was off the processor counts as its own waiting only while this loop had nothing to do either: else it
 * was waiting for us, or for a processor. */
static void learn(struct workload *w, const struct run *run)
{
	int64_t took = run->row.handler_us, off_cpu = took - (int64_t)run->row.cpu_us;
	int64_t slept = loop_slept_us(w->s->o.loop) - run->slept_us;

	if (run->row.cold)
		return;
	if (off_cpu > slept)
		off_cpu = slept;
	w->handler_us = policy_usual(w->handler_us, took);
	w->off_cpu_us = policy_usual(w->off_cpu_us, off_cpu);
}

static void tell(struct invocation *inv, const struct worker *wk, enum invoke_outcome outcome, struct str body)
{
	inv->worker = NULL;
	inv->outcome = outcome;
	inv->others_wait = wk->w->n_waiting > 0;
	inv->body = body;
	inv->e = wk->why;
	invocation_tell(inv);
}

static void tell_all(struct invocation *inv, const struct worker *wk, enum invoke_outcome outcome, struct str body,
		     const struct run *run)
{
	size_t cut = run->tail.n > TAIL_BYTES ? run->tail.n - TAIL_BYTES : 0;

	inv->log_tail = (struct str){run->tail.p + cut, run->tail.n - cut};
	inv->row = run->row;
	tell(inv, wk, outcome, body);
}

/* Memory is held by the instance, whichever events it has: in the container lane its own rows say it. */
static void put_row(struct worker *wk, struct ledger_row row)
{
	if (wk->lane == LANE_CONTAINER)
		row.mem_peak_bytes = 0;
	ledger_add(wk->w->s->o.ledger, &row);
}

/*
 * The event is over. Order: answer the client, unless it asked for what is known only later; read what was printed;
 * measure; write lines and row (into buffers: no system call); and only then let the worker take the next event, which
 * reuses the memory that body may lie in.
 */
void event_answer(struct worker *wk, struct run *was, enum invoke_outcome outcome, uint8_t ledger_outcome,
		  struct str body, int64_t cpu_us, int64_t mem_peak_bytes)
{
	int64_t now = clock_now_us();
	struct workload *w = wk->w;
	struct sched *s = w->s;
	struct invocation *inv = take_ptr(was->inv);
	struct run run;
	bool wanted = inv, later = inv && (inv->want_row || inv->want_log_tail);

	if (!was->on)
		return;
	if (body.n > LIM_PAYLOAD_BYTES) {
		body = oversized();
		outcome = INVOKE_ERROR;
		ledger_outcome = OUTCOME_ERROR;
	}
	if (inv && !later)
		tell(inv, wk, outcome, body);
	if (wk->instance)
		instance_drain_output(wk->instance);
	run = *was;
	measure(wk, &run, now, cpu_us, mem_peak_bytes);
	run.row.outcome = wanted || ledger_outcome != OUTCOME_OK ? ledger_outcome : OUTCOME_CANCELED;
	run.row.bytes_out = run.streamed_bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)(run.streamed_bytes + body.n);
	was->on = false;
	was->tail = (struct buf){0};
	wk->served++;
	wk->n_open--;
	w->n_busy--;
	learn(w, &run);
	wk->after = wk->step == WORKER_LIVE && instance_state(wk->instance) == INSTANCE_RESPONDED;
	w->n_after += wk->after;
	say_report(wk, &run, now - run.begun_us, ledger_outcome);
	put_row(wk, run.row);
	traced_end(w, &run.traced, &run.row, run.request_id);
	if (later)
		tell_all(inv, wk, outcome, body, &run);
	buf_done(&run.tail);
	if (wk->step == WORKER_LIVE && !wk->after)
		worker_instance_events.idle(wk);
	sched_check_drained(s);
}

/*
 * An adopted instance has answered an event that the daemon before had given it. Its row holds what we know: the time
 * since the adoption. An asynchronous event's result counts; of a synchronous one only the row is left.
 */
void event_late(struct worker *wk, struct str request_id, bool is_error, struct str body)
{
	struct invocation *inv = async_under_way(wk, request_id);
	struct invocation gone = {.trigger = TRIGGER_API, .accepted_us = wk->begun_us};
	struct run *run;

	if (request_id.n >= sizeof(gone.request_id))
		return; /* a sandbox said it */
	memcpy(gone.request_id, request_id.p, request_id.n);
	run = take(wk, inv ? inv : &gone, wk->begun_us);
	run->inv = inv;
	run->on = true;
	run->begun_us = wk->begun_us;
	if (json_check(body, NULL) < 0) /* only the end of it */
		body = STR_NULL;
	event_answer(wk, run, is_error ? INVOKE_ERROR : INVOKE_OK, is_error ? OUTCOME_ERROR : OUTCOME_OK, body, -1, -1);
}

/* --- rows without a handler --- */

void event_refused_row(struct workload *w, struct invocation *inv, uint8_t outcome)
{
	struct ledger_row row = {.start_wall_us = clock_wall_us(),
				 .workload = w->name_id,
				 .tags = w->tags_id,
				 .revision = workload_revision(w)->serial,
				 .kind = LEDGER_INVOKE,
				 .lane = (uint8_t)lane_of(w),
				 .outcome = outcome,
				 .memory_mb = (uint32_t)workload_revision(w)->memory_mb,
				 .version = (uint32_t)workload_revision(w)->version};

	put_event(&row, inv, clock_now_us());
	ledger_add(w->s->o.ledger, &row);
	traced_refused(w, inv, &row);
	inv->row = row;
}

void event_failed_row(struct worker *wk, struct invocation *inv, int64_t mem_peak_bytes)
{
	struct ledger_row row = row_of(wk, inv ? LEDGER_INVOKE : LEDGER_IDLE);
	int64_t now = clock_now_us();

	if (!inv && !wk->id)
		return; /* stopped before there was anything to use */
	put_start(&row, wk, now);
	if (inv)
		put_event(&row, inv, now);
	row.outcome = wk->ledger_outcome;
	row.idle_ms = inv ? 0 : (uint32_t)((now - wk->begun_us) / 1000);
	row.cpu_us = (uint64_t)take_us(&wk->init_cpu_us);
	row.mem_peak_bytes = (uint64_t)(mem_peak_bytes > 0 ? mem_peak_bytes : 0);
	ledger_add(wk->w->s->o.ledger, &row);
	if (!inv)
		return;
	traced_refused(wk->w, inv, &row);
	inv->row = row;
}

/* A deploy's own start: the platform wanted it. */
void event_check_row(struct worker *wk, uint8_t outcome, int64_t mem_peak_bytes)
{
	struct ledger_row row = row_of(wk, LEDGER_PLATFORM);
	int64_t now = clock_now_us();

	put_start(&row, wk, now);
	row.workload = wk->prepares ? wk->w->s->snapshot_id : wk->w->s->deploy_id;
	row.tags = 0;
	row.trigger = TRIGGER_CHECK;
	row.outcome = outcome;
	row.idle_ms = (uint32_t)((now - wk->begun_us) / 1000);
	row.cpu_us = (uint64_t)take_us(&wk->init_cpu_us);
	row.mem_peak_bytes = (uint64_t)(mem_peak_bytes > 0 ? mem_peak_bytes : 0);
	ledger_add(wk->w->s->o.ledger, &row);
}

/* Idle time is a row of its own: one for each stretch that ends in a freeze, an end, or a minute of it. With the last
 * one goes what an initialisation took that no event ever asked for. */
void event_idle_row(struct worker *wk, int64_t mem_peak_bytes)
{
	struct ledger_row row = row_of(wk, LEDGER_IDLE);

	if (wk->step == WORKER_ENDING)
		wk->idle_cpu_us += take_us(&wk->init_cpu_us);
	if (wk->lane == LANE_CONTAINER)
		wk->idle_pending_us = lane_stretch_us(wk);
	if (wk->idle_pending_us < 1000 && !wk->idle_cpu_us)
		return;
	row.start_wall_us -= wk->idle_pending_us;
	row.idle_ms = (uint32_t)(wk->idle_pending_us > 0 ? take_us(&wk->idle_pending_us) / 1000 : 0);
	row.cpu_us = (uint64_t)take_us(&wk->idle_cpu_us);
	row.mem_peak_bytes = (uint64_t)(mem_peak_bytes > 0 ? mem_peak_bytes : 0);
	ledger_add(wk->w->s->o.ledger, &row);
}

void event_idle_so_far(const struct worker *wk, struct ledger_query *q)
{
	struct ledger_row row = row_of(wk, LEDGER_IDLE);
	bool own = wk->lane == LANE_CONTAINER;
	int64_t now = loop_now_us(wk->w->s->o.loop);
	int64_t held_us = own ? now - wk->row_us : wk->idle_pending_us + now - wk->idle_since_us;
	int64_t cpu_us = wk->idle_cpu_us + (wk->n_open ? 0 : instance_cpu_us(wk->instance) - wk->cpu_seen_us);
	char name[WORKLOAD_NAME];
	int64_t held;

	if (held_us < 1000)
		return;
	row.start_wall_us -= held_us;
	row.idle_ms = (uint32_t)(held_us / 1000);
	row.cpu_us = (uint64_t)(cpu_us > 0 ? cpu_us : 0);
	/* One that had no event yet has shown nothing; 0 would be taken for all that it may have. */
	held = own || !wk->held_bytes ? instance_mem_peak_bytes(wk->instance) : wk->held_bytes;
	row.mem_peak_bytes = (uint64_t)(held > 0 ? held : 0);
	ledger_query_so_far(q, &row, workload_ledger_name(wk->w->f, name));
}
