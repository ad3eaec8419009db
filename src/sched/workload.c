/* SPDX-License-Identifier: Apache-2.0 */
/* A workload: its queue, its idle instances, its names in the ledger. Which of its events goes where, policy.c decides. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "sched/policy.h"
#include "sched/sched_int.h"

const char *const sched_wait_name[WAIT_N] = {
	[WAIT_NONE] = "nothing",
	[WAIT_BLANK] = "a sandbox",
	[WAIT_ROOM] = "room on this machine: no memory is left, or as many instances run as can",
	[WAIT_INIT] = "an instance that initialises",
	[WAIT_INSTANCE] = "a busy instance to become free",
	[WAIT_MAX] = "a busy instance to become free, for there may be no more (max)",
	[WAIT_CODE] = "the code to be unpacked",
};

static void arm_patience(struct workload *w);

static void patience_over(void *arg)
{
	struct workload *w = arg;
	int64_t now = loop_now_us(w->s->o.loop);

	workload_note_reasons(w);

	for (;;) {
		struct invocation *inv = list_first(&w->waiting, struct invocation, node);
		struct err e;

		if (!inv || now < inv->deadline_us)
			break;
		err_set(&e, ERR_TIMEOUT, "waited %lld s for %s", (long long)(QUEUE_LIMIT_US / 1000000),
			sched_wait_name[inv->wait]);
		event_refused_row(w, inv, OUTCOME_THROTTLED);
		workload_fail(workload_head(w), INVOKE_THROTTLED, STR_NULL, &e);
	}
	workload_dispatch(w);
	if (w->n_waiting)
		arm_patience(w);
}

static uint32_t intern_tags(struct ledger *lg, const struct pairs *tags)
{
	auto_buf text = {0};

	pairs_tags(tags, &text);
	return text.n ? ledger_intern(lg, text.p) : 0;
}

bool workload_closed(const struct sched *s, const struct function *f, bool or_unknown, struct budget_stop *ret)
{
	auto_buf tags = {0};
	char name[WORKLOAD_NAME];

	if (!budgets_any_closed(s->o.budgets))
		return false;
	pairs_tags(&f->tags, &tags);
	return budgets_closed(s->o.budgets, workload_ledger_name(f, name), tags.n ? tags.p : "", or_unknown, ret);
}

bool workload_stopped(const struct workload *w)
{
	struct budget_stop stop;

	return workload_closed(w->s, w->f, false, &stop) && stop.stops;
}

const char *workload_ledger_name(const struct function *f, char out[WORKLOAD_NAME])
{
	snprintf(out, WORKLOAD_NAME, "%s/%s", f->project, f->name);
	return out;
}

void workload_say(const struct sched *s, const struct function *f, const char *kind, const char *fmt, ...)
{
	char name[WORKLOAD_NAME], text[JOURNAL_TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	journal_add(s->o.journal, workload_ledger_name(f, name), kind, "%s", text);
}

/* The new ones first: what stays the same keeps its number. */
void workload_rename(struct workload *w)
{
	struct ledger *lg = w->s->o.ledger;
	uint32_t name_id = w->name_id, tags_id = w->tags_id;
	char name[WORKLOAD_NAME];

	w->name_id = ledger_intern(lg, workload_ledger_name(w->f, name));
	w->tags_id = intern_tags(lg, &w->f->tags);
	ledger_watch(lg, w->name_id, w->f->scale.lane >= LANE_WISH_AUTO);
	ledger_release(lg, name_id);
	ledger_release(lg, tags_id);
}

/* A function that was deleted takes its log and its metrics along, unless another one has its name by now. */
void workloads_forget(struct sched *s, const struct function *f)
{
	const struct function *heir = function_get(s->o.store, str_of(f->name));
	char name[WORKLOAD_NAME];

	workload_say(s, f, "delete", "it is deleted, and nothing of it runs any more");
	if (!heir)
		log_stream_remove(s->o.logs, f->name);
	if (!heir || strcmp(heir->project, f->project))
		ledger_forget(s->o.ledger, workload_ledger_name(f, name));
}

/* A published version has its own; everything else is of $LATEST. */
struct workload **workload_slot(struct function *f, struct revision *r)
{
	return (struct workload **)(r && r->version ? &r->sched : &f->sched);
}

struct workload *workload_of(struct sched *s, struct function *f, struct revision *r)
{
	struct workload *w = *workload_slot(f, r);

	if (w)
		return w;
	w = xcalloc(1, sizeof(*w));
	w->s = s;
	w->f = function_ref(f);
	w->published = r && r->version ? revision_ref(r) : NULL;
	w->lane = lane_of(w);
	*workload_slot(f, r) = w;
	list_init(&w->workers);
	list_init(&w->idle);
	list_init(&w->idle_kept);
	list_init(&w->waiting);
	list_init(&w->line_node);
	list_init(&w->keep_node);
	list_push(&s->workloads, &w->node);
	w->patience = loop_timer_new(s->o.loop, patience_over, w);
	w->log = logs_get(s->o.logs, f->name);
	snprintf(w->arn, sizeof(w->arn), "arn:aws:lambda:%s:%s:function:%s", s->o.region, s->o.account, f->name);
	workload_rename(w);
	return w;
}

struct workload *workload_next(const struct function *f, unsigned *pos)
{
	while (*pos <= f->n_versions) {
		unsigned at = (*pos)++;
		struct workload *w = at ? f->versions[at - 1]->sched : f->sched;

		if (w)
			return w;
	}
	return NULL;
}

struct revision *workload_revision(const struct workload *w)
{
	return w->published ? w->published : w->f->latest;
}

/* A workload without workers and waiting events is forgotten: what sleeps costs nothing here. */
void workload_maybe_free(struct workload *w)
{
	if (!w->n_workers && !w->n_waiting && !w->wanted && (!w->calm || w->f->deleted))
		workload_free(w);
}

void workload_free(struct workload *w)
{
	struct sched *s = w->s;
	unsigned pos = 0;

	list_del(&w->node);
	list_del(&w->keep_node);
	room_leave(w);
	loop_timer_free(w->patience);
	loop_timer_free(w->calm);
	ledger_release(s->o.ledger, w->name_id);
	ledger_release(s->o.ledger, w->tags_id);
	log_stream_release(w->log);
	*workload_slot(w->f, w->published) = NULL;
	if (w->f->deleted && !workload_next(w->f, &pos))
		workloads_forget(s, w->f);
	revision_unref(w->published);
	function_unref(w->f);
	free(w);
}

static void fill_load(struct workload *w, struct policy_load *l)
{
	struct invocation *head = list_first(&w->waiting, struct invocation, node);
	int64_t now = loop_now_us(w->s->o.loop);
	int seats = lane_seats(w);

	*l = (struct policy_load){.idle = w->n_idle,
				  .starting = w->n_starting * seats,
				  .busy = w->n_busy + w->n_after,
				  .waiting = w->n_waiting,
				  .max_instances = w->f->scale.max * seats,
				  .room = 1, /* room.c asks for it when it comes to that */
				  .queue_max = LIM_QUEUE_PER_WORKLOAD,
				  .cpus = w->s->cpus,
				  .handler_us = w->handler_us,
				  .off_cpu_us = w->off_cpu_us,
				  .start_us = w->start_us,
				  .oldest_wait_us = head ? now - head->accepted_us : 0,
				  .backlog_us = w->backlog_since_us ? now - w->backlog_since_us : 0};
}

/* What plain starts took says nothing of restores, nor the other way round. */
void workload_note_start(struct workload *w, bool restored, int64_t took_us)
{
	w->start_us = policy_average(restored == w->restores ? w->start_us : 0, took_us);
	w->restores = restored;
}

void workload_note_image(struct workload *w)
{
	if (w->restores)
		return;
	workload_note_start(w, true, POLICY_RESTORE_US);
	list_each(&w->idle, it)
		worker_due(container_of(it, struct worker, idle_node), loop_now_us(w->s->o.loop)); /* asks again */
}

struct worker *workload_take_idle(struct workload *w)
{
	/* Those that are held ready anyway; of each kind the one used last: its caches are warm. */
	struct list *from = list_empty(&w->idle_kept) ? &w->idle : &w->idle_kept;
	struct worker *wk = list_last(from, struct worker, idle_node);
	struct policy_load load;

	fill_load(w, &load);
	if (policy_place(&load) != POLICY_REUSE)
		return NULL;
	worker_take_seat(wk);
	return wk;
}

bool workload_wants(struct workload *w)
{
	struct policy_load load;

	fill_load(w, &load);
	return w->n_waiting && policy_place(&load) == POLICY_START;
}

void workload_note_reasons(struct workload *w)
{
	enum sched_wait why = w->n_busy ? WAIT_INSTANCE : WAIT_BLANK;
	struct policy_load load;

	fill_load(w, &load);
	if (load.max_instances && load.busy + load.starting >= load.max_instances)
		why = WAIT_MAX;
	else if (!list_empty(&w->line_node) && policy_place(&load) == POLICY_START)
		why = WAIT_ROOM;
	list_each(&w->workers, it)
	{
		struct worker *wk = container_of(it, struct worker, node);

		if (wk->step == WORKER_INIT)
			why = WAIT_INIT;
		else if (wk->step == WORKER_CODE)
			why = WAIT_CODE;
	}
	list_each(&w->waiting, it) container_of(it, struct invocation, node)->wait = why;
}

static void arm_patience(struct workload *w)
{
	struct policy_load load;

	fill_load(w, &load);
	loop_timer_in(w->patience, policy_patience_us(&load));
}

/* The queue has become empty, or is no longer: while events wait, the policy is asked again now and then. */
void workload_note_backlog(struct workload *w)
{
	if (w->n_waiting && !w->backlog_since_us) {
		w->backlog_since_us = loop_now_us(w->s->o.loop);
		arm_patience(w);
	} else if (!w->n_waiting && w->backlog_since_us) {
		w->backlog_since_us = 0;
		loop_timer_stop(w->patience);
	}
}

/* Every instance of it is stale, and so would be each that were started. */
static void fail_waiting(struct workload *w)
{
	while (w->n_waiting) {
		event_refused_row(w, list_first(&w->waiting, struct invocation, node), OUTCOME_FAILED);
		workload_fail_deleted(workload_head(w));
	}
	workload_note_backlog(w);
}

/* Nobody waits any more: what has no sandbox yet would come too late. */
static void give_up_starts(struct workload *w)
{
	list_each(&w->workers, it)
	{
		struct worker *wk = container_of(it, struct worker, node);

		if (!wk->counted || wk->kept || wk->step != WORKER_TAKE || !wk->take.waiting)
			continue;
		wk->stopping = true;
		worker_end(wk, INVOKE_FAILED, OUTCOME_OK, STR_NULL, NULL);
	}
}

/* Gives waiting events to idle instances, and starts what the policy wants. */
void workload_dispatch(struct workload *w)
{
	struct worker *wk;

	if (w->f->deleted || workload_revision(w)->deleted) {
		fail_waiting(w);
		return;
	}
	if (w->s->adopting)
		return;
	while (w->n_waiting && (wk = workload_take_idle(w)))
		event_begin(wk, workload_head(w));
	if (workload_wants(w))
		room_want(w);
	else if (!w->n_waiting && w->n_starting)
		give_up_starts(w);
	workload_note_backlog(w);
}

void invocation_accept(struct sched *s, struct invocation *inv)
{
	inv->s = s;
	function_ref(inv->function);
	if (inv->revision)
		revision_ref(inv->revision);
	inv->accepted_us = loop_now_us(s->o.loop);
}

void invocation_tell(struct invocation *inv)
{
	struct function *f = inv->function;
	struct revision *r = inv->revision;

	inv->done(inv);
	revision_unref(r);
	function_unref(f);
}

struct invocation *workload_head(struct workload *w)
{
	struct invocation *inv = list_first(&w->waiting, struct invocation, node);

	if (inv) {
		list_del(&inv->node);
		w->n_waiting--;
	}
	return inv;
}

void workload_fail(struct invocation *inv, enum invoke_outcome outcome, struct str body, const struct err *e)
{
	inv->outcome = outcome;
	inv->body = body;
	inv->e = e ? *e : (struct err){.kind = ERR_NONE};
	invocation_tell(inv);
}

void workload_fail_deleted(struct invocation *inv)
{
	struct err gone;

	err_set(&gone, ERR_NOT_FOUND, "function %s was deleted", inv->function->name);
	workload_fail(inv, INVOKE_FAILED, STR_NULL, &gone);
}
