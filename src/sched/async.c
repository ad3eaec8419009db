/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asynchronous events: committed before the caller hears "accepted", run at least once, tried again as Lambda does.
 *
 *      COMMIT ───► RUN ◄──► WAIT ───► FORGET
 *
 *   COMMIT  the store's word that the event is durable
 *   RUN     the invocation's outcome
 *   WAIT    the time of the next try (1 min, then 2 min after a function error; 1 s doubling to 5 min when throttled)
 *   FORGET  the store's word that the event is gone
 * An event that is over, or was tried MAX_TRIES times, is forgotten; its row and its log lines stay.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "sched/sched_int.h"
#include "store/version.h"

#define MAX_TRIES  3
#define MAX_AGE_US (6 * 3600 * 1000000ll)
#define EVENT_COST 1024 /* what one takes beside its payload */

struct async {
	struct list node;
	struct sched *s;
	struct store_op op;
	struct store_event ev;
	struct function *function;
	struct invocation inv;
	struct loop_timer *timer;
	bool before; /* of the daemon before: may be under way in an adopted instance */
	bool held;   /* until that is known */
	bool saving; /* op is under way: the store has ev, too */
	int throttles;
	void (*accepted)(void *arg, const struct err *e);
	void *arg;
	struct loop_defer refuse;
};

static void count(struct async *a, int sign)
{
	int64_t n = sign * (int64_t)(a->ev.payload_n + EVENT_COST);

	a->function->async_bytes += n;
	if (a->s)
		a->s->async_bytes += n;
}

static void async_free(struct async *a)
{
	count(a, -1);
	list_del(&a->node);
	loop_timer_free(a->timer);
	function_unref(a->function);
	store_event_done(&a->ev);
	free(a);
}

/* The store has done what was asked of it. True: the scheduler is gone meanwhile, and so is a now. */
static bool is_last(struct async *a)
{
	a->saving = false;
	if (a->s)
		return false;
	async_free(a);
	return true;
}

static void forgotten(struct store_op *op, const struct err *e)
{
	struct async *a = container_of(op, struct async, op);

	if (is_last(a))
		return;
	if (e->kind)
		log_error("async", "event %s stays in the store and may run again: %s", a->ev.request_id, e->text);
	async_free(a);
}

static void forget(struct async *a)
{
	a->op.done = forgotten;
	a->saving = true;
	store_event_del(a->s->o.store, &a->op, a->ev.id);
}

static void run(void *arg);

static void postponed(struct store_op *op, const struct err *e)
{
	struct async *a = container_of(op, struct async, op);
	int64_t wait = a->ev.not_before_wall_us - clock_wall_us();

	if (is_last(a))
		return;
	if (e->kind)
		log_error("async", "retry of %s is not durable: %s", a->ev.request_id, e->text);
	loop_timer_in(a->timer, wait > 0 ? wait : 0);
}

static void postpone(struct async *a, int64_t wait_us)
{
	a->ev.not_before_wall_us = clock_wall_us() + wait_us;
	a->op.done = postponed;
	a->saving = true;
	store_event_retry(a->s->o.store, &a->op, a->ev.id, a->ev.attempts, a->ev.not_before_wall_us);
}

static void ran(struct invocation *inv)
{
	struct async *a = container_of(inv, struct async, inv);
	bool ours = inv->outcome == INVOKE_THROTTLED || inv->outcome == INVOKE_FAILED;

	inv->s = NULL; /* over */
	if (inv->outcome == INVOKE_OK || a->function->deleted) {
		forget(a);
		return;
	}
	if (ours && clock_wall_us() - a->ev.accepted_wall_us < MAX_AGE_US) {
		int shift = a->throttles < 8 ? a->throttles++ : 8;
		int64_t wait = 1000000ll << shift;

		postpone(a, wait < 300 * 1000000ll ? wait : 300 * 1000000ll);
		return;
	}
	a->ev.attempts++;
	if (ours || a->ev.attempts >= MAX_TRIES) {
		log_warn("async", "event %s of %s is given up after %d tries", a->ev.request_id, a->ev.function,
			 a->ev.attempts);
		forget(a);
		return;
	}
	postpone(a, a->ev.attempts * 60 * 1000000ll);
}

static void prepare(struct async *a, struct revision *r)
{
	a->inv = (struct invocation){.function = a->function,
				     .revision = r->version ? r : NULL,
				     .qualifier = a->ev.qualifier[0] ? a->ev.qualifier : NULL,
				     .trigger = TRIGGER_ASYNC,
				     .payload = {a->ev.payload, a->ev.payload_n},
				     .done = ran};
	memcpy(a->inv.request_id, a->ev.request_id, sizeof(a->inv.request_id));
}

static bool adopting(const struct function *f)
{
	unsigned pos = 0;

	for (struct workload *w; (w = workload_next(f, &pos));)
		if (w->n_adopted)
			return true;
	return false;
}

static void run(void *arg)
{
	struct async *a = arg;
	struct revision *r = function_resolve(a->function, str_of(a->ev.qualifier), rand_unit());

	a->held = a->before && adopting(a->function);
	if (a->held || a->s->draining)
		return;
	a->before = false;
	if (!r) { /* the alias or version is gone: nobody could run it any more */
		log_warn("async", "event %s is given up: %s has no %s", a->ev.request_id, a->ev.function,
			 a->ev.qualifier);
		forget(a);
		return;
	}
	prepare(a, r);
	sched_invoke_start(a->s, &a->inv);
}

/* The event of that id that the daemon before had begun, as an invocation that waits for its outcome; or NULL. */
struct invocation *async_under_way(struct worker *wk, struct str request_id)
{
	struct sched *s = wk->w->s;

	list_each(&s->async, it)
	{
		struct async *a = container_of(it, struct async, node);

		if (!a->before || a->function != wk->w->f || !str_eqc(request_id, a->ev.request_id))
			continue;
		a->before = a->held = false;
		loop_timer_stop(a->timer);
		prepare(a, wk->revision);
		invocation_accept(s, &a->inv);
		return &a->inv;
	}
	return NULL;
}

void async_settled(struct workload *w)
{
	list_each(&w->s->async, it)
	{
		struct async *a = container_of(it, struct async, node);

		if (a->held && a->function == w->f)
			loop_timer_in(a->timer, 0);
	}
}

/* Those that wait for an instance need not be waited for; what is under way may finish. */
void async_stop(struct sched *s)
{
	list_each(&s->async, it)
	{
		struct async *a = container_of(it, struct async, node);

		loop_timer_stop(a->timer);
		if (a->inv.s && !a->inv.worker)
			sched_invoke_cancel(&a->inv);
	}
}

static void committed(struct store_op *op, const struct err *e)
{
	struct async *a = container_of(op, struct async, op);

	a->accepted(a->arg, e);
	if (is_last(a))
		return;
	if (e->kind)
		async_free(a);
	else
		run(a);
}

static void refuse(void *arg)
{
	struct async *a = arg;
	struct err e;

	err_set(&e, ERR_LIMIT, "too many asynchronous events of function %s wait", a->function->name);
	a->accepted(a->arg, &e);
	async_free(a);
}

static struct async *async_new(struct sched *s, struct function *f, struct str payload)
{
	struct async *a = xcalloc(1, sizeof(*a));

	a->s = s;
	a->function = function_ref(f);
	a->ev.payload = xmemdup(payload.n ? payload.p : "", payload.n);
	a->ev.payload_n = payload.n;
	count(a, 1);
	a->timer = loop_timer_new(s->o.loop, run, a);
	list_push(&s->async, &a->node);
	return a;
}

void sched_async_start(struct sched *s, struct function *f, const char *qualifier, struct str payload,
		       const char request_id[37], void (*accepted)(void *arg, const struct err *e), void *arg)
{
	bool full = s->async_bytes > LIM_ASYNC_BYTES || f->async_bytes > LIM_ASYNC_BYTES / 4;
	struct async *a = async_new(s, f, full ? STR_NULL : payload);

	a->accepted = accepted;
	a->arg = arg;
	if (full) {
		loop_defer(s->o.loop, &a->refuse, refuse, a);
		return;
	}
	if (request_id && request_id[0])
		memcpy(a->ev.request_id, request_id, sizeof(a->ev.request_id));
	else
		id_uuid(a->ev.request_id);
	strlcpy_(a->ev.function, f->name, sizeof(a->ev.function));
	strlcpy_(a->ev.qualifier, qualifier, sizeof(a->ev.qualifier));
	a->ev.accepted_wall_us = a->ev.not_before_wall_us = clock_wall_us();
	a->op.done = committed;
	a->saving = true;
	store_event_put(s->o.store, &a->op, &a->ev);
}

static void recover_one(void *arg, const struct store_event *ev)
{
	struct sched *s = arg;
	struct function *f = function_get(s->o.store, str_of(ev->function));
	struct async *a;
	char *payload;
	int64_t wait;

	if (!f)
		return; /* deleted with its function; the store sweeps it */
	a = async_new(s, f, (struct str){ev->payload, ev->payload_n});
	a->before = true;
	payload = a->ev.payload;
	a->ev = *ev;
	a->ev.payload = payload;
	wait = ev->not_before_wall_us - clock_wall_us();
	loop_timer_in(a->timer, wait > 0 ? wait : 0);
}

int sched_async_recover(struct sched *s, struct err *e)
{
	return store_event_each(s->o.store, recover_one, s, e);
}

void async_free_all(struct sched *s)
{
	list_each(&s->async, it)
	{
		struct async *a = container_of(it, struct async, node);

		list_del(it);
		loop_timer_free(take_ptr(a->timer));
		loop_defer_cancel(s->o.loop, &a->refuse);
		a->s = NULL;
		if (!a->saving)
			async_free(a);
	}
}
