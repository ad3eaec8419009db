/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mapping of a queue: one puller that collects, and as many hauls (batches) under way as there is work and room for.
 *
 *      RECEIVE ───► (enough, or the window is over) ───► RECEIVE, or for a haul to end
 *         ▲              └─► haul: INVOKE ───► DELETE ───► (over)
 *         └── PAUSE ◄───────────────┘            what is not deleted is visible again when its time-out is over
 *
 *   RECEIVE  for messages, for ever: it costs nothing
 *   INVOKE   the function's answer; when it could not be called the messages are put back as if never received
 *   DELETE   the queue's word that what was done is gone
 *   PAUSE    after that, and when the queue is gone
 *
 * How many hauls: BATCHES at first, one more after each that went well while the machine keeps up, half after one that
 * could not be called. Of a FIFO queue the queue itself gives out one batch of a group at a time.
 */

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "trigger/mapping_int.h"

#define BATCHES 5 /* Lambda's */

struct puller {
	struct mapping *m;
	struct queue_receive r;
	bool receiving, paused;
	struct queue_got *first, **last; /* collected */
	unsigned n;
	size_t bytes;
	int64_t until_us; /* when the window is over */
	unsigned limit, running, tries;
	struct loop_timer *pause;
	struct list hauls;
};

struct haul {
	struct list node;
	struct puller *p; /* NULL: all ends, only this is left */
	struct batch b;
	struct queue_got *got;
	struct queue_change change;
	struct queue_receipt receipts[]; /* of those that are to be deleted */
};

static void pull(struct puller *p);

static struct queue *queue_of(struct puller *p)
{
	return queue_by_arn(p->m->all->o.queues, str_of(p->m->set.source));
}

static void unpause(void *arg)
{
	struct puller *p = arg;

	p->paused = false;
	pull(p);
}

static void pause_now(struct puller *p)
{
	if (p->paused || !p->m->on)
		return;
	p->paused = true;
	loop_timer_in(p->pause, mapping_pause_us(&p->tries));
}

/* --- hauls --- */

static void haul_free(struct haul *h)
{
	list_del(&h->node);
	queue_got_free(h->got);
	buf_done(&h->b.payload);
	free(h);
}

static void over(struct haul *h)
{
	struct puller *p = h->p;
	struct mapping *m = p->m;

	haul_free(h);
	pull(p);
	mapping_ends(m); /* p may be gone */
}

static void deleted(struct queue_change *c, const struct err *e)
{
	struct haul *h = container_of(c, struct haul, change);

	if (!h->p) {
		haul_free(h);
		return;
	}
	if (e->kind)
		log_warn("mapping", "messages of %s were done, and come again: %s", h->p->m->set.source, e->text);
	over(h);
}

static bool mark(void *failed_by_id, struct str id)
{
	bool *failed = map_get(failed_by_id, id);

	return failed && (*failed = true);
}

/* A function may name as many as its answer holds. */
static int read_failures(const struct haul *h, bool *failed)
{
	struct map by_id = {0};
	int r;

	for (const struct queue_got *g = h->got; g; g = g->next)
		map_put(&by_id, str_of(g->id), failed++);
	r = batch_failures(h->b.inv.body, mark, &by_id);
	map_done(&by_id);
	return r;
}

/* What comes after a failure in its FIFO group has failed with it: order is kept. */
static bool behind(const struct haul *h, const bool *failed, const struct queue_got *of)
{
	size_t i = 0;

	for (const struct queue_got *g = h->got; g != of; g = g->next, i++)
		if (failed[i] && str_eq(g->group, of->group))
			return true;
	return false;
}

/* Those that the function has done; how many. */
static unsigned receipts_of(struct haul *h)
{
	auto_free bool *failed = xcalloc(h->b.n, sizeof(*failed));
	bool fifo = h->p->m->set.fifo;
	unsigned n = 0, i = 0;

	if (h->p->m->set.partial && read_failures(h, failed) < 0)
		return 0;
	for (const struct queue_got *g = h->got; g; g = g->next, i++) {
		if (fifo && !failed[i])
			failed[i] = behind(h, failed, g);
		if (!failed[i])
			h->receipts[n++].handle = str_of(g->handle);
	}
	return n;
}

static void delete (struct haul *h, struct queue *q)
{
	h->change = (struct queue_change){.queue = q, .receipts = h->receipts, .n = h->change.n, .done = deleted};
	queue_delete_start(&h->change);
}

static void invoked(struct batch *b, enum batch_said said)
{
	struct haul *h = container_of(b, struct haul, b);
	struct puller *p = h->p;
	struct queue *q = queue_of(p);

	p->running--;
	if (said == BATCH_NOT_NOW) {
		p->limit = p->limit > 1 ? p->limit / 2 : 1;
		pause_now(p);
		if (q)
			queue_put_back(q, h->got);
	} else {
		p->tries = 0;
		if (said == BATCH_OK && !b->inv.others_wait && p->limit < p->m->set.concurrency)
			p->limit++;
	}
	h->change.n = said == BATCH_OK ? receipts_of(h) : 0;
	buf_done(&b->payload);
	if (!h->change.n || !q) {
		over(h);
		return;
	}
	delete (h, q);
	pull(p);
}

static struct haul *haul_new(struct puller *p, unsigned n)
{
	struct haul *h = xcalloc(1, sizeof(*h) + n * sizeof(*h->receipts));

	h->p = p;
	h->b.m = p->m;
	h->b.done = invoked;
	list_push(&p->hauls, &h->node);
	mapping_begins(p->m);
	return h;
}

static void drop_collected(struct puller *p)
{
	struct queue *q = p->first ? queue_of(p) : NULL;

	if (q)
		queue_put_back(q, p->first);
	queue_got_free(p->first);
	p->first = NULL;
	p->last = &p->first;
	p->n = 0;
	p->bytes = 0;
}

/* All that was collected, or as much of it as an invocation may have. */
static void go(struct puller *p)
{
	struct haul *h = haul_new(p, p->n);
	struct queue_got **last = &h->got;

	while (p->first) {
		struct queue_got *g = p->first;
		auto_buf record = {0};
		struct jw w;

		jw_init(&w, &record);
		mapping_write_message(&w, p->m, g, false);
		if (!batch_add(&h->b, &record))
			break;
		door_batch_add(&h->b.door, g->trace);
		p->first = g->next;
		g->next = NULL;
		*last = g;
		last = &g->next;
	}
	batch_close(&h->b);
	drop_collected(p);
	p->running++;
	if (!batch_start(&h->b)) {
		p->running--;
		queue_put_back(p->r.queue, h->got);
		pause_now(p);
		over(h);
	}
}

/* --- receiving --- */

/* What filters do not let pass is gone, as if done. */
static void discard(struct puller *p, struct queue_got *got, unsigned n)
{
	struct haul *h = haul_new(p, n);

	h->got = got;
	for (const struct queue_got *g = got; g; g = g->next)
		h->receipts[h->change.n++].handle = str_of(g->handle);
	delete (h, p->r.queue);
}

static void collect(struct puller *p, struct queue_got *got)
{
	struct queue_got *out = NULL, **out_last = &out;
	unsigned out_n = 0;

	for (struct queue_got *next; got; got = next) {
		auto_buf text = {0};
		struct jw w;
		bool passes = true;

		next = got->next;
		got->next = NULL;
		if (p->m->set.n_filters) {
			jw_init(&w, &text);
			mapping_write_message(&w, p->m, got, true);
			passes = mapping_passes(&p->m->set, &text);
		}
		if (passes) {
			*p->last = got;
			p->last = &got->next;
			p->n++;
			p->bytes += got->body.n + got->attributes.n;
		} else {
			*out_last = got;
			out_last = &got->next;
			out_n++;
		}
	}
	if (out)
		discard(p, out, out_n);
}

static void received(struct queue_receive *r, struct queue_got *got, const struct err *e)
{
	struct puller *p = container_of(r, struct puller, r);
	int64_t now = clock_now_us();

	p->receiving = false;
	if (e->kind) {
		p->m->problem = e->kind == ERR_NOT_FOUND ? "PROBLEM: The queue does not exist" : "PROBLEM: Queue error";
		pause_now(p);
	}
	if (got && !p->n)
		p->until_us = now + p->m->set.number[MAPPING_WINDOW] * 1000000;
	collect(p, got);
	if (p->n && (e->kind || !got || p->n >= p->m->set.number[MAPPING_BATCH] || now >= p->until_us ||
		     p->bytes >= LIM_PAYLOAD_BYTES / 2)) {
		if (e->kind == ERR_NOT_FOUND)
			drop_collected(p);
		else
			go(p);
	}
	pull(p);
}

/* What is collected for a while is out of sight for that while, too. */
static int64_t invisible_us(struct puller *p, struct queue *q)
{
	int64_t window = p->m->set.number[MAPPING_WINDOW], visible;
	auto_buf text = {0};

	if (!window || !queue_attribute(q, "VisibilityTimeout", &text) ||
	    str_to_i64(buf_str(&text), 0, INT32_MAX, &visible) < 0)
		return -1;
	return (visible + window) * 1000000;
}

static void pull(struct puller *p)
{
	struct mapping *m = p->m;
	const struct function *f = function_get(m->all->o.store, str_of(m->set.function));
	int64_t now = clock_now_us(), most = p->limit;

	if (f && f->reserved > 0 && f->reserved < most)
		most = f->reserved;
	if (!m->on || p->receiving || p->paused || p->running >= most ||
	    (p->running && m->all->bytes >= LIM_MAPPING_BYTES)) /* one each, in any case */
		return;
	p->r = (struct queue_receive){.queue = queue_of(p),
				      .max = (unsigned)m->set.number[MAPPING_BATCH] - p->n,
				      .max_bytes = LIM_PAYLOAD_BYTES / 2 - p->bytes,
				      .wait_us = !p->n		     ? INT64_MAX
						 : p->until_us > now ? p->until_us - now
								     : 0,
				      .done = received};
	if (!p->r.queue || !f) {
		m->problem = f ? "PROBLEM: The queue does not exist" : "PROBLEM: Function not found";
		pause_now(p);
		return;
	}
	p->r.visibility_us = invisible_us(p, p->r.queue);
	p->receiving = true;
	queue_receive_start(&p->r);
}

/* --- on and off --- */

void mapping_queue_start(struct mapping *m)
{
	struct puller *p = m->queue;

	if (!p) {
		p = m->queue = xcalloc(1, sizeof(*p));
		p->m = m;
		p->last = &p->first;
		p->pause = loop_timer_new(m->all->o.loop, unpause, p);
		list_init(&p->hauls);
	}
	p->limit = m->set.concurrency < BATCHES ? (unsigned)m->set.concurrency : BATCHES;
	p->tries = 0;
	pull(p);
}

void mapping_queue_stop(struct mapping *m)
{
	struct puller *p = m->queue;

	if (!p)
		return;
	if (p->receiving)
		queue_receive_cancel(&p->r);
	p->receiving = p->paused = false;
	loop_timer_stop(p->pause);
	drop_collected(p);
}

void mapping_queue_free(struct mapping *m)
{
	struct puller *p = m->queue;

	if (!p)
		return;
	list_each(&p->hauls, it)
	{
		struct haul *h = container_of(it, struct haul, node);

		list_del(it);
		h->p = NULL;
		if (h->change.done) /* the queue has it, and says so */
			continue;
		batch_cancel(&h->b);
		haul_free(h);
	}
	loop_timer_free(p->pause);
	free(p);
}
