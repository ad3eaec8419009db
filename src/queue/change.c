/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of what was received: deleted, visible again, put back. And the sweep of rows that are no queue's. */

#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "queue/queue_int.h"

enum what { DELETE, SHOW, PUT_BACK };
struct changing {
	struct store_tx tx;
	struct store_part part;
	struct queue *q; /* a reference */
	int64_t number, now_us;
	enum what what;
	struct queue_receipt *receipts;
	unsigned n;
	struct queue_change *caller; /* NULL: receipts are our own */
};

/* "born id receives" */
enum queue_said queue_read_handle(const struct queue *q, struct queue_receipt *r)
{
	struct str rest, part[3];
	auto_buf text = {0};
	int64_t born;

	if (r->handle.n >= QUEUE_HANDLE_BYTES || dec_b64(&text, r->handle) < 0)
		return QUEUE_BAD_HANDLE;
	rest = buf_str(&text);
	if (!str_cut(rest, ' ', &part[0], &rest) || !str_cut(rest, ' ', &part[1], &part[2]) ||
	    str_to_i64(part[0], 1, INT64_MAX, &born) < 0 || str_to_i64(part[1], 1, INT64_MAX, &r->id) < 0 ||
	    str_to_i64(part[2], 1, INT32_MAX, &r->receives) < 0 || born != q->born)
		return QUEUE_BAD_HANDLE;
	return QUEUE_OK;
}

static int change_one(struct changing *k, struct queue_receipt *r, struct db *d, struct err *e)
{
	struct message_was was;
	int64_t until = k->now_us + (k->what == SHOW ? r->visibility_us : 0);
	bool fifo = k->q->fifo;
	int rc;

	rc = k->what == DELETE ? message_delete(d, k->number, r->id, r->receives, fifo, k->now_us, &was, e)
			       : message_visibility(d, k->number, r->id, r->receives, fifo, k->now_us, until,
						    k->what == PUT_BACK, &was, e);
	r->was_us = was.visible_us;
	r->found = was.found;
	if (!was.found)
		r->said = k->what == DELETE ? QUEUE_OK : QUEUE_EXPIRED;
	else if (was.receives != r->receives && (fifo || k->what != DELETE))
		r->said = QUEUE_EXPIRED;
	else if (was.visible_us <= k->now_us && (fifo || k->what != DELETE))
		r->said = k->what == DELETE ? QUEUE_EXPIRED : QUEUE_NOT_IN_FLIGHT;
	return rc;
}

static int apply(struct store_part *p, struct db *d, struct err *e)
{
	struct changing *k = container_of(p, struct changing, part);

	for (unsigned i = 0; i < k->n; i++) {
		struct queue_receipt *r = &k->receipts[i];

		if (r->said == QUEUE_BAD_HANDLE)
			continue;
		r->said = QUEUE_OK;
		if (change_one(k, r, d, e) < 0)
			return -1;
	}
	return 0;
}

static void count(struct changing *k, const struct queue_receipt *r)
{
	struct queue *q = k->q;
	int64_t until = k->now_us + (k->what == SHOW ? r->visibility_us : 0);

	if (r->said != QUEUE_OK || !r->found)
		return;
	later_add(&q->later, LATER_IN_FLIGHT, r->was_us, -1, k->now_us);
	if (k->what == DELETE) {
		q->all--;
		q->deleted++;
	} else if (until > k->now_us) {
		later_add(&q->later, LATER_IN_FLIGHT, until, 1, k->now_us);
		queue_due(q, until);
	}
	if (until <= k->now_us || q->fifo) /* of a group the next */
		queue_wake(q);
}

static void changed(struct store_op *op, const struct err *e)
{
	struct changing *k = container_of(op, struct changing, tx.op);

	for (unsigned i = 0; op->s && !e->kind && i < k->n; i++)
		if (!k->q->gone && k->q->number == k->number)
			count(k, &k->receipts[i]);
	if (k->caller)
		k->caller->done(k->caller, e);
	else
		free(k->receipts);
	queue_unref(k->q);
	free(k);
}

static void start(struct queue *q, enum what what, struct queue_receipt *receipts, unsigned n, struct queue_change *c)
{
	struct changing *k = xcalloc(1, sizeof(*k));

	store_tx_init(&k->tx);
	k->tx.op.done = changed;
	k->part.apply = apply;
	k->q = queue_ref(q);
	k->number = q->number;
	k->now_us = clock_steady_us();
	k->what = what;
	k->receipts = receipts;
	k->n = n;
	k->caller = c;
	for (unsigned i = 0; i < n; i++)
		receipts[i].said = queue_read_handle(q, &receipts[i]);
	store_tx_add(&k->tx, &k->part);
	store_tx_start(q->qs->o.store, &k->tx);
}

void queue_delete_start(struct queue_change *c)
{
	start(c->queue, DELETE, c->receipts, c->n, c);
}

void queue_visibility_start(struct queue_change *c)
{
	start(c->queue, SHOW, c->receipts, c->n, c);
}

void queue_put_back(struct queue *q, const struct queue_got *first)
{
	struct queue_receipt *receipts;
	unsigned n = 0;

	for (const struct queue_got *g = first; g; g = g->next)
		n++;
	receipts = xcalloc(n, sizeof(*receipts));
	n = 0;
	for (const struct queue_got *g = first; g; g = g->next)
		receipts[n++].handle = str_of(g->handle);
	start(q, PUT_BACK, receipts, n, NULL);
}

/* --- rows of queues that are no more --- */

struct sweeping {
	struct store_tx tx;
	struct store_part part, after; /* after: of the transaction that made it necessary */
	struct queues *qs;
	int64_t number;
	int rows;
};

static int sweep_some(struct store_part *p, struct db *d, struct err *e)
{
	struct sweeping *w = container_of(p, struct sweeping, part);

	w->rows = message_sweep(d, w->number, e);
	return w->rows < 0 ? -1 : 0;
}

static void sweep_start(struct sweeping *w);

static void swept(struct store_op *op, const struct err *e)
{
	struct sweeping *w = container_of(op, struct sweeping, tx.op);

	if (op->s && !e->kind && w->rows > 0)
		return sweep_start(w);
	if (op->s && e->kind) /* the next start does it */
		log_warn("queue", "messages of a queue that is no more stay for now: %s", e->text);
	free(w);
}

static void sweep_start(struct sweeping *w)
{
	store_tx_init(&w->tx);
	w->tx.op.done = swept;
	w->part.apply = sweep_some;
	store_tx_add(&w->tx, &w->part);
	store_tx_start(w->qs->o.store, &w->tx);
}

void queue_sweep(struct queues *qs, int64_t number)
{
	struct sweeping *w = xcalloc(1, sizeof(*w));

	w->qs = qs;
	w->number = number;
	sweep_start(w);
}

static int nothing(struct store_part *p, struct db *d, struct err *e)
{
	return 0;
}

static void now_sweep(struct store_part *p, const struct err *e)
{
	struct sweeping *w = container_of(p, struct sweeping, after);

	if (e->kind)
		free(w);
	else
		sweep_start(w);
}

void queue_sweep_after(struct queues *qs, struct store_tx *tx, int64_t number)
{
	struct sweeping *w = xcalloc(1, sizeof(*w));

	w->qs = qs;
	w->number = number;
	w->after.apply = nothing;
	w->after.done = now_sweep;
	store_tx_add(tx, &w->after);
}
