/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/spool.h"
#include <assert.h>
#include "base/mem.h"

/* A recycled batch keeps this much memory; a burst's growth goes back. */
#define KEEP_FACTOR 2

struct spool {
	struct spool_opts o;
	struct loop_thread *thread;
	struct loop_timer *timer;
	struct spool_batch *active, *spare;
	size_t waiting_bytes; /* with the thread */
	unsigned in_flight;
	bool armed, closing;
};

static struct spool_batch *batch_new(struct spool *sp)
{
	struct spool_batch *b = xcalloc(1, sizeof(*b));

	b->spool = sp;
	return b;
}

static void batch_free(struct spool_batch *b)
{
	if (!b)
		return;
	buf_done(&b->data);
	buf_done(&b->head);
	free(b);
}

static void on_timer(void *arg)
{
	struct spool *sp = arg;

	sp->armed = false;
	/* Behind a slow disk the batch grows instead: it goes when the one before is done. */
	if (sp->in_flight == 0)
		spool_flush(sp);
}

struct spool *spool_new(const struct spool_opts *o)
{
	struct spool *sp = xcalloc(1, sizeof(*sp));

	sp->o = *o;
	sp->thread = loop_thread_new(o->loop, o->name);
	sp->timer = loop_timer_new(o->loop, on_timer, sp);
	sp->active = batch_new(sp);
	return sp;
}

static void spool_end(struct spool *sp)
{
	batch_free(sp->active);
	batch_free(sp->spare);
	free(sp);
}

void spool_free(struct spool *sp)
{
	if (!sp)
		return;
	spool_flush(sp);
	sp->closing = true;
	loop_timer_free(sp->timer);
	loop_thread_free(sp->thread);
	/* done of the last batches may still be on its way through the loop: it ends the spool then. */
	if (sp->in_flight == 0)
		spool_end(sp);
}

static void batch_work(struct loop_work *w)
{
	struct spool_batch *b = container_of(w, struct spool_batch, work);

	b->spool->o.write(b->spool->o.arg, b);
}

static void batch_recycle(struct spool *sp, struct spool_batch *b)
{
	if (sp->spare || b->data.cap > KEEP_FACTOR * sp->o.flush_bytes) {
		batch_free(b);
		return;
	}
	buf_clear(&b->data);
	buf_done(&b->head);
	b->items = 0;
	sp->spare = b;
}

static void batch_done(struct loop_work *w)
{
	struct spool_batch *b = container_of(w, struct spool_batch, work);
	struct spool *sp = b->spool;

	sp->in_flight--;
	sp->waiting_bytes -= b->data.n;
	batch_recycle(sp, b);
	if (sp->closing) {
		if (sp->in_flight == 0)
			spool_end(sp);
		return;
	}
	if (sp->o.written)
		sp->o.written(sp->o.arg);
	if (sp->in_flight == 0 && (sp->active->data.n >= sp->o.flush_bytes || (sp->active->data.n && !sp->armed)))
		spool_flush(sp);
}

struct spool_batch *spool_room(struct spool *sp, size_t n)
{
	struct buf *d = &sp->active->data;

	if (d->n + n < d->cap)
		return sp->active;
	if (sp->waiting_bytes + d->n > sp->o.max_bytes || n > sp->o.max_bytes - sp->waiting_bytes - d->n)
		return NULL;
	buf_reserve(d, n);
	return sp->active;
}

void spool_added(struct spool *sp)
{
	if (sp->active->data.n >= sp->o.flush_bytes && sp->in_flight == 0) {
		spool_flush(sp);
	} else if (!sp->armed && sp->active->data.n) {
		sp->armed = true;
		loop_timer_in(sp->timer, sp->o.delay_us);
	}
}

void spool_flush(struct spool *sp)
{
	struct spool_batch *b = sp->active;

	assert(!sp->closing);
	if (sp->armed) {
		sp->armed = false;
		loop_timer_stop(sp->timer);
	}
	if (b->data.n + b->head.n == 0)
		return;
	sp->active = sp->spare ? take_ptr(sp->spare) : batch_new(sp);
	sp->in_flight++;
	sp->waiting_bytes += b->data.n;
	b->work = (struct loop_work){.work = batch_work, .done = batch_done};
	loop_thread_push(sp->thread, &b->work);
}

void spool_push(struct spool *sp, struct loop_work *w)
{
	spool_flush(sp);
	loop_thread_push(sp->thread, w);
}

void spool_push_behind(struct spool *sp, struct loop_work *w)
{
	loop_thread_push(sp->thread, w);
}
