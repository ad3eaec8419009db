/* SPDX-License-Identifier: Apache-2.0 */
/*
 *      COMMIT ───► READY ───► RUN ───► FORGET
 *         └─► store ─┘◄────────┴► RETRY ─► store
 *
 *   COMMIT  the store's word that the event is durable
 *   READY   its turn in the line of its function
 *   RUN     the invocation's outcome
 *   RETRY   the store's word that its next try is durable: until then the store alone has it
 *   FORGET  the store's word that the event is gone, and that what follows from it is there
 */
#include "sched/async.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "json/read.h"
#include "sched/line.h"
#include "store/record.h"
#include "store/version.h"

#define SECOND_US 1000000ll
#define PAUSE_MAX (300 * SECOND_US)

/* The store has done what was asked of it. False: the scheduler is gone meanwhile, and so is a now. */
static bool is_there(struct async *a)
{
	a->saving = false;
	if (a->line)
		return true;
	async_free(a);
	return false;
}

static struct store_tx *tx_of(struct async *a, void (*done)(struct store_op *op, const struct err *e))
{
	store_tx_init(&a->tx);
	a->tx.op.done = done;
	a->saving = true;
	return &a->tx;
}

static struct async *async_of(struct store_op *op)
{
	return container_of(op, struct async, tx.op);
}

static void forgotten(struct store_op *op, const struct err *e)
{
	struct async *a = async_of(op);

	if (!is_there(a))
		return;
	if (e->kind) {
		log_error("async", "event %s stays in the store and will run again: %s", a->ev.request_id, e->text);
		line_due(a->line, clock_steady_us() + 60 * SECOND_US);
	} else {
		a->line->stored--;
	}
	async_drop(a);
}

static void over(struct async *a, const struct revision *r, enum async_condition condition, struct str response,
		 const struct err *e)
{
	struct sched *s = a->line->s;
	struct store_tx *tx = tx_of(a, forgotten);
	struct async_over o = {&a->ev, a->line->function, r, condition, response, e};
	bool gone = o.function && o.function->deleted;

	if (condition != ASYNC_SUCCESS && !gone)
		log_warn("async", "event %s for %s is given up after %d tries: %s", a->ev.request_id, a->line->name,
			 a->ev.attempts, e ? e->text : "");
	if (condition != ASYNC_SUCCESS && o.function && !gone)
		workload_say(s, o.function, "given-up", "event %s after %d tries: %s", a->ev.request_id, a->ev.attempts,
			     e ? e->text : "the function failed");
	store_event_del_add(tx, a->ev.id);
	if (s->o.async && !gone)
		s->o.async->over(s->o.async->arg, &o, tx);
	store_tx_start(s->o.store, tx);
}

static void postponed(struct store_op *op, const struct err *e)
{
	struct async *a = async_of(op);

	if (!is_there(a))
		return;
	if (e->kind)
		log_error("async", "retry of %s is not durable: %s", a->ev.request_id, e->text);
	line_due(a->line, a->ev.not_before_wall_us);
	async_drop(a);
}

/* Not more because somebody set the clock. */
static int64_t age_us(const struct async *a)
{
	int64_t wall = clock_wall_us(), steady = clock_steady_us(), since = a->ev.accepted_wall_us;

	if (since < a->line->opened_us)
		since = a->line->opened_us;
	return (wall < steady ? wall : steady) - since;
}

static void postpone(struct async *a, int64_t wait_us, const struct async_rules *r)
{
	int64_t left_us = r->max_age_us - age_us(a);

	a->ev.not_before_wall_us = clock_steady_us() + (wait_us < left_us ? wait_us : left_us);
	store_event_retry_add(tx_of(a, postponed), &a->ev);
	store_tx_start(a->line->s->o.store, &a->tx);
}

static int64_t doubling(int n)
{
	int64_t us = SECOND_US << (n < 9 ? n : 9);

	return us < PAUSE_MAX ? us : PAUSE_MAX;
}

/* There was no room for it: what waits behind it need not try. */
static void throttled(struct async *a, const struct err *e)
{
	struct line *l = a->line;
	int64_t now = clock_steady_us();

	strlcpy_(l->why, e->text, sizeof(l->why));
	list_del(&a->node);
	list_push_front(&l->ready, &a->node);
	if (l->pause_us <= now)
		l->pause_us = now + doubling(l->pauses++);
}

static struct async_rules rules_of(const struct async *a)
{
	const char *q = a->ev.qualifier[0] ? a->ev.qualifier : "$LATEST";
	auto_free char *key = xasprintf("async/%s:%s", a->line->name, q);
	const char *text = record_get(a->line->s->o.store, key);
	auto_json j = text ? json_parse(str_of(text), NULL) : NULL;

	return (struct async_rules){(int)json_get_int(j, "MaximumRetryAttempts", 2),
				    json_get_int(j, "MaximumEventAgeInSeconds", 21600) * SECOND_US};
}

static void ran(struct invocation *inv)
{
	static const char *const what[INVOKE_OUTCOME_N] = {
		[INVOKE_ERROR] = "the function failed",
		[INVOKE_TIMEOUT] = "the function ran out of time",
		[INVOKE_CRASHED] = "the function's process ended",
		[INVOKE_INIT_FAILED] = "the function could not be initialised",
	};
	struct async *a = container_of(inv, struct async, inv);
	struct line *l = a->line;
	struct revision *r = inv->revision ? inv->revision : l->function->latest;
	struct async_rules rules = rules_of(a);

	inv->s = NULL; /* over */
	l->n_running--;
	line_kick(l); /* the next one need not wait for the store */
	if (inv->outcome == INVOKE_THROTTLED && !l->function->reserved) {
		over(a, r, ASYNC_ZERO_RESERVED, STR_NULL, &inv->e);
		return;
	}
	if ((inv->outcome == INVOKE_THROTTLED || inv->outcome == INVOKE_FAILED) && !l->function->deleted) {
		throttled(a, &inv->e);
		return;
	}
	l->pauses = 0;
	a->ev.attempts++;
	if (inv->outcome == INVOKE_OK) {
		over(a, r, ASYNC_SUCCESS, inv->body, NULL);
		return;
	}
	strlcpy_(l->why, what[inv->outcome] ? what[inv->outcome] : inv->e.text, sizeof(l->why));
	if (a->ev.attempts > rules.retries || l->function->deleted)
		over(a, r, ASYNC_RETRIES_EXHAUSTED, inv->body, &inv->e);
	else
		postpone(a, a->ev.attempts * 60 * SECOND_US, &rules);
}

static void prepare(struct async *a, struct revision *r)
{
	a->before = false;
	list_del(&a->node);
	list_push(&a->line->busy, &a->node);
	a->inv = (struct invocation){.function = a->line->function,
				     .revision = r->version ? r : NULL,
				     .qualifier = a->ev.qualifier[0] ? a->ev.qualifier : NULL,
				     .trigger = TRIGGER_ASYNC,
				     .payload = {a->ev.payload, a->ev.payload_n},
				     .trace_id = a->ev.trace_id[0] ? a->ev.trace_id : NULL,
				     .done = ran};
	memcpy(a->inv.request_id, a->ev.request_id, sizeof(a->inv.request_id));
	a->line->n_running++;
}

static void give_up(struct async *a, enum async_condition condition, const char *why)
{
	struct err e;

	list_del(&a->node);
	list_push(&a->line->busy, &a->node);
	err_set(&e, ERR_UNAVAILABLE, "%s", why);
	over(a, NULL, condition, STR_NULL, &e);
}

static void run_other(struct async *a)
{
	struct sched *s = a->line->s;
	struct async_rules rules = {0};
	struct err e = {0};

	list_del(&a->node);
	list_push(&a->line->busy, &a->node);
	a->ev.attempts++;
	store_event_del_add(tx_of(a, forgotten), a->ev.id);
	if (s->o.async->other(s->o.async->arg, &a->ev, &a->tx, &rules, &e) == 0) {
		store_tx_start(s->o.store, &a->tx);
		return;
	}
	store_tx_drop(&a->tx, &e);
	strlcpy_(a->line->why, e.text, sizeof(a->line->why));
	if (a->ev.attempts > rules.retries)
		over(a, NULL, ASYNC_RETRIES_EXHAUSTED, STR_NULL, &e);
	else if (age_us(a) >= rules.max_age_us)
		over(a, NULL, ASYNC_TOO_OLD, STR_NULL, &e);
	else
		postpone(a, doubling(a->ev.attempts), &rules);
}

void async_run(struct async *a)
{
	struct line *l = a->line;
	struct revision *r;

	if (!l->function) {
		run_other(a);
		return;
	}
	r = function_resolve(l->function, str_of(a->ev.qualifier), rand_unit());
	if (!r || l->function->deleted) { /* nobody could run it any more */
		give_up(a, ASYNC_RETRIES_EXHAUSTED, "the function, its version or its alias is gone");
	} else if (age_us(a) >= rules_of(a).max_age_us) {
		give_up(a, ASYNC_TOO_OLD, "it is older than its function wants");
	} else {
		prepare(a, r);
		sched_invoke_start(l->s, &a->inv);
	}
}

/* --- from outside --- */

static void committed(struct store_event *ev, const struct err *e)
{
	struct async *a = container_of(ev, struct async, ev);
	struct line *l = a->line;

	if (!is_there(a))
		return;
	if (e->kind) {
		async_drop(a);
		return;
	}
	l->stored++;
	if (l->loading || l->next_us <= ev->not_before_wall_us || ev->not_before_wall_us > clock_steady_us() ||
	    line_is_full(l)) {
		line_due(l, ev->not_before_wall_us); /* its turn comes */
		async_drop(a);
		return;
	}
	async_ready(a);
	line_kick(l);
}

void sched_async_add(struct sched *s, struct store_tx *tx, const struct async_new *n)
{
	struct line *l = line_of(s, n->function);
	struct store_event ev = {.accepted_wall_us = clock_wall_us(),
				 .not_before_wall_us = clock_steady_us() + n->wait_us,
				 .attempts = n->attempts,
				 .payload = xmemdup(n->payload.n ? n->payload.p : "", n->payload.n),
				 .payload_n = n->payload.n};
	struct async *a;

	strlcpy_(ev.target, l->name, sizeof(ev.target));
	strlcpy_(ev.qualifier, n->qualifier ? n->qualifier : "", sizeof(ev.qualifier));
	if (str_name_ok(str_of(n->trace_id), LIM_TRACE_ID_BYTES, "=;-:")) /* it goes into a header */
		strlcpy_(ev.trace_id, n->trace_id, sizeof(ev.trace_id));
	strlcpy_(ev.request_id, n->request_id ? n->request_id : "", sizeof(ev.request_id));
	if (!ev.request_id[0])
		id_uuid(ev.request_id);
	a = async_take(l, &ev);
	a->saving = true;
	if (n->function && !n->wait_us)
		room_expect(s, n->function, a->ev.qualifier);
	store_event_put_add(s->o.store, tx, &a->ev, committed);
}

struct accept {
	struct store_tx tx;
	void (*accepted)(void *arg, const struct err *e);
	void *arg;
};

static void accepted(struct store_op *op, const struct err *e)
{
	struct accept *ac = container_of(op, struct accept, tx.op);

	ac->accepted(ac->arg, e);
	free(ac);
}

void sched_async_start(struct sched *s, const struct async_new *n, void (*cb)(void *arg, const struct err *e),
		       void *arg)
{
	struct accept *ac = xcalloc(1, sizeof(*ac));

	store_tx_init(&ac->tx);
	ac->tx.op.done = accepted;
	ac->accepted = cb;
	ac->arg = arg;
	sched_async_add(s, &ac->tx, n);
	store_tx_start(s->o.store, &ac->tx);
}

/* --- start and end of the daemon --- */

struct invocation *async_under_way(struct worker *wk, struct str request_id)
{
	struct line *l = wk->w->f->async;

	if (!l)
		return NULL;
	list_each(&l->ready, it)
	{
		struct async *a = container_of(it, struct async, node);

		if (!a->before || !str_eqc(request_id, a->ev.request_id))
			continue;
		prepare(a, wk->revision);
		invocation_accept(l->s, &a->inv);
		return &a->inv;
	}
	return NULL;
}

/* Those that wait for an instance need not be waited for; what is under way may finish. */
void async_stop(struct sched *s)
{
	list_each(&s->lines, it)
	{
		struct line *l = container_of(it, struct line, node);

		list_each(&l->busy, jt)
		{
			struct async *a = container_of(jt, struct async, node);

			if (a->inv.s && !a->inv.worker)
				sched_invoke_cancel(&a->inv);
		}
	}
}
