/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiving. A receive is with the store (a taking), or in its queue's list, where it waits:
 *
 *      start ───► TAKING ◄──── woken ──── WAITING     somebody sent, or what was invisible is visible again
 *                  │   └──── nothing ──────►│
 *                  └────────────────────────┴───► done     messages, its time is over, or the queue is gone
 *
 * No word is lost between the two: what a taking did not find was committed after it, and is told after it.
 */
#include <stdio.h>
#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "queue/queue_int.h"

#define TAKE_LIMIT	 500 /* thrown away or moved in one commit */
#define TRIM_AT_LEAST_US 60000000
#define AGAIN_US	 1000000

struct taking {
	struct store_tx tx;
	struct store_part part;
	struct queue *q, *dead;	 /* references */
	struct queue_receive *r; /* NULL: cancelled, or nobody's: it only throws away what is too old */
	struct message_take t;
	struct queue_got *first, **last;
	bool trims, full; /* full: too many are in flight */
};

/* --- what is received --- */

static struct str copy(char **at, struct str s)
{
	char *p = *at;

	if (!s.n)
		return STR_NULL;
	memcpy(p, s.p, s.n);
	p[s.n] = 0;
	*at += s.n + 1;
	return (struct str){p, s.n};
}

/* On the store's thread: touches the taking and q's constants. */
static void got(struct message_take *t, const struct message *m)
{
	struct taking *k = container_of(t, struct taking, t);
	size_t n = m->body.n + m->attributes.n + m->group.n + m->dedup.n + m->sender.n + m->trace.n + m->source.n + 7;
	struct queue_got *g = xmalloc(sizeof(*g) + n);
	char *at = (char *)(g + 1), text[80];
	auto_buf handle = {0};

	*g = (struct queue_got){.sent_us = m->sent_us, .first_received_us = m->first_us, .receives = (int)m->receives};
	g->body = copy(&at, m->body);
	g->attributes = copy(&at, m->attributes);
	g->group = copy(&at, m->group);
	g->deduplication = copy(&at, m->dedup);
	g->sender = copy(&at, m->sender);
	g->trace = copy(&at, m->trace);
	g->source = copy(&at, m->source);
	strlcpy_(g->id, m->uuid, sizeof(g->id));
	queue_sequence(k->q, m->id, g->sequence);
	queue_md5(m->body, g->md5_body);
	snprintf(text, sizeof(text), "%lld %lld %lld", (long long)k->q->born, (long long)m->id, (long long)m->receives);
	enc_b64(&handle, text, strlen(text));
	strlcpy_(g->handle, handle.p, sizeof(g->handle));
	*k->last = g;
	k->last = &g->next;
}

void queue_got_free(struct queue_got *g)
{
	while (g) {
		struct queue_got *next = g->next;

		free(g);
		g = next;
	}
}

/* --- a taking --- */

static int apply(struct store_part *p, struct db *d, struct err *e)
{
	struct taking *k = container_of(p, struct taking, part);

	queue_got_free(k->first); /* of an attempt that was rolled back */
	k->first = NULL;
	k->last = &k->first;
	return message_take(d, &k->t, e);
}

static void taking_free(struct taking *k)
{
	queue_got_free(k->first);
	queue_unref(k->q);
	queue_unref(k->dead);
	free(k);
}

static void end(struct queue_receive *r, struct queue_got *first, const struct err *e)
{
	loop_timer_free(take_ptr(r->timer));
	r->done(r, first, e);
}

static void timed_out(void *arg)
{
	struct queue_receive *r = arg;

	if (r->taking)
		return; /* it ends when that does */
	list_del(&r->node);
	end(r, NULL, &(struct err){0});
}

static void wait(struct queue_receive *r)
{
	if (r->wait_us != INT64_MAX && r->queue->qs->draining)
		return end(r, NULL, &(struct err){0});
	list_push(&r->queue->waiting, &r->node);
	if (r->wait_us != INT64_MAX && !r->timer) {
		r->timer = loop_timer_new(r->queue->qs->o.loop, timed_out, r);
		loop_timer_in(r->timer, r->wait_us);
	}
	queue_arm(r->queue);
}

static void count(struct taking *k)
{
	struct queue *q = k->q;

	q->all -= k->t.moved + k->t.dropped;
	q->received += (uint64_t)k->t.taken;
	later_add(&q->later, LATER_IN_FLIGHT, k->t.until_us, k->t.taken, k->t.now_us);
	if (k->t.moved && k->dead && !k->dead->gone) {
		k->dead->all += k->t.moved;
		if (k->dead->trim_us == MESSAGE_NEVER)
			k->dead->trim_us = k->t.now_us;
		queue_wake(k->dead);
		queue_arm(k->dead);
	}
	if (k->t.taken)
		queue_due(q, k->t.until_us);
	else if (k->t.first_due_us != MESSAGE_NEVER)
		queue_due(q, k->t.first_due_us);
	if (!k->trims)
		return;
	q->trim_us =
		k->t.first_due_us == MESSAGE_NEVER ? MESSAGE_NEVER : k->t.first_due_us + q->set.retention_s * 1000000;
	if (q->trim_us < k->t.now_us + TRIM_AT_LEAST_US)
		q->trim_us = k->t.now_us + (k->t.more ? 0 : TRIM_AT_LEAST_US);
}

static void taking_start(struct queue *q, struct queue_receive *r);

static void taken(struct store_op *op, const struct err *e)
{
	struct taking *k = container_of(op, struct taking, tx.op);
	struct queue_receive *r = k->r;
	struct queue *q = k->q;
	struct err why;

	if (!op->s) { /* closing */
		taking_free(k);
		return;
	}
	if (!e->kind && !q->gone && q->number == k->t.queue)
		count(k);
	if (r)
		r->taking = NULL;
	else if (k->first && !q->gone)
		queue_put_back(q, k->first);
	if (e->kind && !q->gone) { /* whom this was to wake, and what it was to remove, are looked at again */
		queue_due(q, k->t.now_us + AGAIN_US);
		q->trim_us = k->trims ? k->t.now_us + TRIM_AT_LEAST_US : q->trim_us;
	}
	if (!r && k->trims && e->kind)
		log_warn("queue", "%s: what is too old is not removed: %s", q->name, e->text);
	if (r && (q->gone || k->full)) {
		err_set(&why, q->gone ? ERR_NOT_FOUND : ERR_LIMIT, "%s",
			q->gone ? "the queue was deleted" : "too many messages of the queue are in flight");
		end(r, NULL, &why);
	} else if (r && (k->first || e->kind)) {
		end(r, take_ptr(k->first), e);
	} else if (r && k->t.more) {
		taking_start(q, r);
	} else if (r && (r->wait_us == INT64_MAX || clock_now_us() < r->deadline_us)) {
		wait(r);
	} else if (r) {
		end(r, NULL, e);
	}
	if (k->t.taken && !q->gone)
		queue_wake(q); /* there may be more */
	if (!q->gone)
		queue_arm(q);
	taking_free(k);
}

static void taking_start(struct queue *q, struct queue_receive *r)
{
	struct taking *k = xcalloc(1, sizeof(*k));
	struct queue *dead = queue_dead_letter(q);
	int64_t now = clock_steady_us();

	store_tx_init(&k->tx);
	k->tx.op.done = taken;
	k->part.apply = apply;
	k->q = queue_ref(q);
	k->dead = dead ? queue_ref(dead) : NULL;
	k->r = r;
	k->trims = !r;
	k->t = (struct message_take){.queue = q->number,
				     .now_us = now,
				     .wall_us = clock_wall_us(),
				     .oldest_us = clock_wall_us() - q->set.retention_s * 1000000,
				     .dead = dead ? dead->number : 0,
				     .max_receives = q->set.max_receives,
				     .source = q->arn,
				     .limit = TAKE_LIMIT,
				     .fifo = q->fifo,
				     .got = got};
	if (r) {
		r->taking = k;
		k->full = later_count(&q->later, LATER_IN_FLIGHT, now) >= QUEUE_IN_FLIGHT;
		k->t.max = k->full ? 0 : r->max;
		k->t.max_bytes = (int64_t)(r->max_bytes ? r->max_bytes : QUEUE_BATCH * (size_t)QUEUE_MESSAGE_BYTES);
		k->t.until_us = now + (r->visibility_us >= 0 ? r->visibility_us : q->set.visibility_s * 1000000);
		k->t.until_us += k->t.until_us == now; /* not twice in one answer */
	}
	store_tx_add(&k->tx, &k->part);
	k->tx.lazy = true; /* undone, the message is there to be received again */
	store_tx_start(q->qs->o.store, &k->tx);
}

void queue_receive_start(struct queue_receive *r)
{
	r->timer = NULL;
	r->taking = NULL;
	list_init(&r->node);
	r->deadline_us = r->wait_us == INT64_MAX ? INT64_MAX : clock_now_us() + r->wait_us;
	if (r->wait_us && !r->queue->all && !r->queue->qs->draining)
		wait(r);
	else
		taking_start(r->queue, r);
}

void queue_receive_cancel(struct queue_receive *r)
{
	struct taking *k = r->taking;

	if (k)
		k->r = NULL;
	r->taking = NULL;
	list_del(&r->node);
	loop_timer_free(take_ptr(r->timer));
}

void queues_drain(struct queues *qs)
{
	struct queue *q;
	size_t pos = 0;

	qs->draining = true;
	while ((q = map_next(&qs->by_name, &pos)))
		list_each(&q->waiting, it)
		{
			struct queue_receive *r = container_of(it, struct queue_receive, node);

			if (r->wait_us == INT64_MAX)
				continue;
			list_del(it);
			end(r, NULL, &(struct err){0});
		}
}

/* --- who wakes them --- */

void queue_wake(struct queue *q)
{
	struct queue_receive *r = list_first(&q->waiting, struct queue_receive, node);

	if (!r)
		return;
	list_del(&r->node);
	taking_start(q, r);
}

void queue_due(struct queue *q, int64_t at_us)
{
	if (at_us >= q->next_due_us)
		return;
	q->next_due_us = at_us;
	queue_arm(q);
}

void queue_arm(struct queue *q)
{
	int64_t at = q->all ? q->trim_us : MESSAGE_NEVER, now = clock_steady_us();

	if (q->gone)
		return;
	if (!list_empty(&q->waiting) && q->next_due_us < at)
		at = q->next_due_us;
	if (at == MESSAGE_NEVER)
		loop_timer_stop(q->timer);
	else
		loop_timer_in(q->timer, at > now ? at - now : 0);
}

void queue_timer(void *arg)
{
	struct queue *q = arg;
	int64_t now = clock_steady_us();

	if (q->next_due_us <= now && !list_empty(&q->waiting)) {
		q->next_due_us = MESSAGE_NEVER; /* who finds nothing says it anew */
		queue_wake(q);
	}
	if (q->all && q->trim_us <= now) {
		q->trim_us = MESSAGE_NEVER;
		taking_start(q, NULL);
	}
	queue_arm(q);
}
