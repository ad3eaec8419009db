/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/loop_int.h"
#include <assert.h>
#include "base/clock.h"
#include "base/mem.h"

struct loop_sig {
	uv_signal_t uv;
	struct loop_sig *next;
	loop_signal_cb *cb;
	void *arg;
};

struct loop_fd {
	uv_poll_t uv;
	loop_fd_cb *cb; /* NULL once freed */
	void *arg;
	int events;
};

struct loop_timer {
	uv_timer_t uv;
	loop_timer_cb *cb; /* NULL once freed */
	void *arg;
#if TANDEM_DEBUG
	struct list node; /* loop.timers, while armed */
	int64_t at_us;	  /* by clock_now_us, which may stand */
#endif
};

/* ---- the loop ---- */

/* Right before the loop sleeps: whatever comes after is another turn. */
static void on_prepare(uv_prepare_t *p)
{
	struct loop *l = container_of(p, struct loop, prepare);

	l->now_us = 0;
	l->found = false;
	l->slept_us -= clock_now_us();
}

/* The turn begins. libuv calls check only after what the descriptors had to say. */
static void wake(struct loop *l)
{
	l->now_us = clock_now_us();
	l->slept_us += l->now_us;
}

static void on_check(uv_check_t *c)
{
	struct loop *l = container_of(c, struct loop, check);

	if (!l->found)
		wake(l);
}

static void on_idle(uv_idle_t *i)
{
	struct loop *l = container_of(i, struct loop, idle);

	/* What these queue belongs to the next turn. */
	l->running = l->first;
	l->first = NULL;
	l->last = &l->first;
	while (l->running) {
		struct loop_defer *d = l->running;

		l->running = d->next;
		d->next = NULL;
		d->queued = false;
		d->cb(d->arg);
	}
	if (!l->first)
		uv_idle_stop(&l->idle);
}

struct loop *loop_new(void)
{
	struct loop *l = xcalloc(1, sizeof(*l));
	int r = uv_loop_init(&l->uv);

	assert(!r);
	l->last = &l->first;
#if TANDEM_DEBUG
	list_init(&l->timers);
#endif
	uv_prepare_init(&l->uv, &l->prepare);
	uv_idle_init(&l->uv, &l->idle);
	/* Keeps loop_run running too, however little there is to watch. */
	uv_prepare_start(&l->prepare, on_prepare);
	uv_check_init(&l->uv, &l->check);
	uv_check_start(&l->check, on_check);
	return l;
}

static void sig_closed(uv_handle_t *h)
{
	free(container_of((uv_signal_t *)h, struct loop_sig, uv));
}

void loop_free(struct loop *l)
{
	int r, turns = 0;

	if (!l)
		return;
	while (l->sigs) {
		struct loop_sig *s = l->sigs;

		l->sigs = s->next;
		uv_close((uv_handle_t *)&s->uv, sig_closed);
	}
	uv_close((uv_handle_t *)&l->prepare, NULL);
	uv_close((uv_handle_t *)&l->check, NULL);
	uv_close((uv_handle_t *)&l->idle, NULL);
	do {
		uv_run(&l->uv, UV_RUN_NOWAIT);
		r = uv_loop_close(&l->uv);
	} while (r == UV_EBUSY && ++turns < 100);
	assert(!r); /* else somebody has a handle left */
	free(l);
}

void loop_run(struct loop *l)
{
	uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *l)
{
	uv_stop(&l->uv);
}

void *loop_uv(struct loop *l)
{
	return &l->uv;
}

int64_t loop_now_us(struct loop *l)
{
	if (!l->now_us)
		l->now_us = clock_now_us();
	return l->now_us;
}

bool loop_quiet(const struct loop *l)
{
	return !l->found;
}

int64_t loop_slept_us(const struct loop *l)
{
	return l->slept_us;
}

/* ---- descriptors ---- */

static void poll_start(struct loop_fd *w);

static void on_poll(uv_poll_t *p, int status, int events)
{
	struct loop_fd *w = container_of(p, struct loop_fd, uv);
	struct loop *l = container_of(p->loop, struct loop, uv);
	int got = (events & UV_READABLE ? LOOP_READ : 0) | (events & UV_WRITABLE ? LOOP_WRITE : 0);

	if (!l->found)
		wake(l);
	l->found = true;
	/* libuv stops watching at an error; the owner finds out which when it reads or writes. */
	if (status < 0)
		got = w->events;
	w->cb(w->arg, got);
	if (status < 0 && w->cb && w->events && !uv_is_active((uv_handle_t *)p))
		poll_start(w);
}

static void poll_start(struct loop_fd *w)
{
	int r = uv_poll_start(&w->uv,
			      (w->events & LOOP_READ ? UV_READABLE : 0) | (w->events & LOOP_WRITE ? UV_WRITABLE : 0),
			      on_poll);

	assert(!r);
}

struct loop_fd *loop_fd_new(struct loop *l, int fd, int events, loop_fd_cb *cb, void *arg)
{
	struct loop_fd *w = xcalloc(1, sizeof(*w));
	int r = uv_poll_init(&l->uv, &w->uv, fd);

	assert(!r); /* only a descriptor that cannot be watched: our mistake */
	w->cb = cb;
	w->arg = arg;
	loop_fd_want(w, events);
	return w;
}

void loop_fd_want(struct loop_fd *w, int events)
{
	if (w->events == events)
		return;
	w->events = events;
	if (events)
		poll_start(w);
	else
		uv_poll_stop(&w->uv);
}

static void fd_closed(uv_handle_t *h)
{
	free(container_of((uv_poll_t *)h, struct loop_fd, uv));
}

void loop_fd_free(struct loop_fd *w)
{
	if (!w)
		return;
	assert(w->cb);
	w->cb = NULL;
	uv_close((uv_handle_t *)&w->uv, fd_closed);
}

/* ---- timers ---- */

/* In debug builds a timer remembers when it is due by the clock that tests stop; libuv knows only the real one. */
#if TANDEM_DEBUG
static void note_armed(struct loop_timer *t, int64_t us)
{
	list_del(&t->node);
	list_push(&container_of(t->uv.loop, struct loop, uv)->timers, &t->node);
	t->at_us = clock_now_us() + us;
	if (clock_test_stopped())
		uv_timer_stop(&t->uv);
}

static void note_disarmed(struct loop_timer *t)
{
	list_del(&t->node);
}

static void on_timer(uv_timer_t *u);

void loop_clock_changed(struct loop *l)
{
	int64_t now = clock_now_us();

	l->now_us = 0;
	uv_update_time(&l->uv);
	list_each(&l->timers, it)
	{
		struct loop_timer *t = container_of(it, struct loop_timer, node);
		int64_t left_us = t->at_us - now;

		if (left_us <= 0 || !clock_test_stopped())
			uv_timer_start(&t->uv, on_timer, left_us > 0 ? (uint64_t)(left_us + 999) / 1000 : 0, 0);
		else
			uv_timer_stop(&t->uv);
	}
}
#else
static void note_armed(struct loop_timer *t, int64_t us)
{
}

static void note_disarmed(struct loop_timer *t)
{
}
#endif

static void on_timer(uv_timer_t *u)
{
	struct loop_timer *t = container_of(u, struct loop_timer, uv);

	note_disarmed(t);
	t->cb(t->arg);
}

struct loop_timer *loop_timer_new(struct loop *l, loop_timer_cb *cb, void *arg)
{
	struct loop_timer *t = xcalloc(1, sizeof(*t));

	uv_timer_init(&l->uv, &t->uv);
	t->cb = cb;
	t->arg = arg;
	return t;
}

void loop_timer_in(struct loop_timer *t, int64_t us)
{
	uint64_t now_ms = uv_now(t->uv.loop), due_ms;

	/* libuv counts from the start of the turn, in whole ms: counted from there, a timer would be early. */
	due_ms = (uv_hrtime() / 1000 + (uint64_t)(us > 0 ? us : 0) + 999) / 1000;
	uv_timer_start(&t->uv, on_timer, due_ms > now_ms ? due_ms - now_ms : 0, 0);
	note_armed(t, us);
}

void loop_timer_stop(struct loop_timer *t)
{
	note_disarmed(t);
	uv_timer_stop(&t->uv);
}

static void timer_closed(uv_handle_t *h)
{
	free(container_of((uv_timer_t *)h, struct loop_timer, uv));
}

void loop_timer_free(struct loop_timer *t)
{
	if (!t)
		return;
	assert(t->cb);
	t->cb = NULL;
	note_disarmed(t);
	uv_close((uv_handle_t *)&t->uv, timer_closed);
}

/* ---- next turn ---- */

void loop_defer(struct loop *l, struct loop_defer *d, void (*cb)(void *), void *arg)
{
	assert(!d->queued);
	*d = (struct loop_defer){.cb = cb, .arg = arg, .queued = true};
	*l->last = d;
	l->last = &d->next;
	uv_idle_start(&l->idle, on_idle);
}

void loop_defer_cancel(struct loop *l, struct loop_defer *d)
{
	struct loop_defer **lists[] = {&l->running, &l->first};

	if (!d->queued)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		for (struct loop_defer **p = lists[i]; *p; p = &(*p)->next) {
			if (*p != d)
				continue;
			*p = d->next;
			if (l->last == &d->next)
				l->last = p;
			d->next = NULL;
			d->queued = false;
			return;
		}
	}
}

/* ---- signals ---- */

static void on_signal(uv_signal_t *u, int sig)
{
	struct loop_sig *s = container_of(u, struct loop_sig, uv);

	s->cb(s->arg, sig);
}

void loop_signal(struct loop *l, int sig, loop_signal_cb *cb, void *arg)
{
	struct loop_sig *s = xcalloc(1, sizeof(*s));
	int r;

	uv_signal_init(&l->uv, &s->uv);
	s->cb = cb;
	s->arg = arg;
	s->next = l->sigs;
	l->sigs = s;
	r = uv_signal_start(&s->uv, on_signal, sig);
	assert(!r);
}
