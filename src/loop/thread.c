/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/loop_int.h"
#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include "base/mem.h"
#include "base/str.h"

struct queue {
	struct loop_work *first, **last;
};

struct loop_thread {
	pthread_t id;
	char name[16];
	uv_async_t async;
	pthread_mutex_t lock; /* over all below */
	pthread_cond_t more;
	struct queue todo, done;
	struct loop_work *batch; /* taken by the work that runs now */
	bool ending;		 /* finish what is queued, then leave */
	bool joined;		 /* nothing comes any more: only the loop is left */
};

static void queue_init(struct queue *q)
{
	q->first = NULL;
	q->last = &q->first;
}

static void queue_add(struct queue *q, struct loop_work *w)
{
	w->next = NULL;
	*q->last = w;
	q->last = &w->next;
}

static struct loop_work *queue_all(struct queue *q)
{
	struct loop_work *w = q->first;

	queue_init(q);
	return w;
}

/* With the lock held, and given back held. */
static void work_one(struct loop_thread *t)
{
	struct loop_work *w = t->todo.first, *rest;
	bool was_empty;

	t->todo.first = w->next;
	if (!t->todo.first)
		t->todo.last = &t->todo.first;
	w->next = NULL;
	pthread_mutex_unlock(&t->lock);
	w->work(w);
	pthread_mutex_lock(&t->lock);
	was_empty = !t->done.first;
	queue_add(&t->done, w);
	for (w = take_ptr(t->batch); w; w = rest) {
		rest = w->next;
		queue_add(&t->done, w);
	}
	if (was_empty)
		uv_async_send(&t->async);
}

static void *thread_main(void *arg)
{
	struct loop_thread *t = arg;

	pthread_setname_np(pthread_self(), t->name);
	pthread_mutex_lock(&t->lock);
	for (;;) {
		if (t->todo.first)
			work_one(t);
		else if (t->ending)
			break;
		else
			pthread_cond_wait(&t->more, &t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static void closed(uv_handle_t *h)
{
	struct loop_thread *t = container_of((uv_async_t *)h, struct loop_thread, async);

	pthread_cond_destroy(&t->more);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static void on_async(uv_async_t *a)
{
	struct loop_thread *t = container_of(a, struct loop_thread, async);
	struct loop_work *w, *rest;

	pthread_mutex_lock(&t->lock);
	w = queue_all(&t->done);
	pthread_mutex_unlock(&t->lock);
	for (; w; w = rest) {
		rest = w->next; /* done may free it, or push it again */
		w->next = NULL;
		w->done(w);
	}
	if (t->joined && !uv_is_closing((uv_handle_t *)a))
		uv_close((uv_handle_t *)a, closed);
}

struct loop_thread *loop_thread_new(struct loop *l, const char *name)
{
	struct loop_thread *t = xcalloc(1, sizeof(*t));
	sigset_t all, old;
	int r;

	strlcpy_(t->name, name, sizeof(t->name));
	queue_init(&t->todo);
	queue_init(&t->done);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->more, NULL);
	r = uv_async_init(&l->uv, &t->async, on_async);
	assert(!r);
	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&t->id, NULL, thread_main, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	assert(!r);
	return t;
}

void loop_thread_push(struct loop_thread *t, struct loop_work *w)
{
	bool was_empty;

	pthread_mutex_lock(&t->lock);
	assert(!t->ending);
	was_empty = !t->todo.first;
	queue_add(&t->todo, w);
	if (was_empty)
		pthread_cond_signal(&t->more);
	pthread_mutex_unlock(&t->lock);
}

size_t loop_thread_take_batch(struct loop_thread *t, struct loop_work **ret)
{
	size_t n = 0;

	pthread_mutex_lock(&t->lock);
	assert(!t->batch); /* once per work */
	t->batch = queue_all(&t->todo);
	for (struct loop_work *w = t->batch; w; w = w->next)
		n++;
	*ret = t->batch;
	pthread_mutex_unlock(&t->lock);
	return n;
}

void loop_thread_free(struct loop_thread *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->ending = true;
	pthread_cond_signal(&t->more);
	pthread_mutex_unlock(&t->lock);
	pthread_join(t->id, NULL);
	/* The rest of the done callbacks, and the end of t itself, come from the loop. */
	t->joined = true;
	uv_async_send(&t->async);
}
