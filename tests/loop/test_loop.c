/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/loop.h"

#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/clock.h"
#include "tests/test.h"

struct ctx {
	struct loop *l;
	struct loop_fd *w;
	struct loop_timer *t, *t2;
	struct loop_defer d[3];
	struct buf seen;
	int sv[2], n;
	int64_t at_us;
};

static void stop(void *arg)
{
	struct ctx *c = arg;

	loop_stop(c->l);
}

static void note_fd(void *arg, int events)
{
	struct ctx *c = arg;
	char byte = 0;

	buf_addf(&c->seen, "%s%s", events & LOOP_READ ? "r" : "", events & LOOP_WRITE ? "w" : "");
	if (events & LOOP_WRITE) {
		loop_fd_want(c->w, LOOP_READ);
		CHECK(write(c->sv[1], "x", 1) == 1);
		return;
	}
	if (read(c->sv[0], &byte, 1) == 1) {
		buf_addc(&c->seen, byte);
		close(take_fd(c->sv[1]));
		return;
	}
	/* Freed from inside its own callback, and the descriptor closed at once. */
	loop_fd_free(take_ptr(c->w));
	close(take_fd(c->sv[0]));
	loop_stop(c->l);
}

TEST(descriptor)
{
	struct ctx c = {.l = loop_new()};

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c.sv));
	c.w = loop_fd_new(c.l, c.sv[0], LOOP_READ | LOOP_WRITE, note_fd, &c);
	loop_run(c.l);
	CHECK_STR(c.seen.p, "wrxr");
	loop_free(c.l);
	buf_done(&c.seen);
}

/* Sleeps until a timer is due, then works, is woken at once, and looks. */
static void look_at_sleep(void *arg, int events)
{
	struct ctx *c = arg;
	int64_t slept = loop_slept_us(c->l);
	char byte;

	CHECK(read(c->sv[0], &byte, 1) == 1);
	if (c->n++) {
		CHECK(slept - c->at_us < 50000); /* it worked, and slept no moment */
		loop_stop(c->l);
		return;
	}
	CHECK(slept >= 29000 && slept < 10000000);
	c->at_us = slept;
	for (int64_t end = clock_now_us() + 50000; clock_now_us() < end;)
		continue;
	CHECK(loop_slept_us(c->l) == slept && write(c->sv[1], "x", 1) == 1);
}

static void send_byte(void *arg)
{
	struct ctx *c = arg;

	CHECK(write(c->sv[1], "x", 1) == 1);
}

TEST(sleep_is_measured)
{
	struct ctx c = {.l = loop_new()};

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c.sv));
	c.w = loop_fd_new(c.l, c.sv[0], LOOP_READ, look_at_sleep, &c);
	c.t = loop_timer_new(c.l, send_byte, &c);
	loop_timer_in(c.t, 30000);
	loop_run(c.l);
	CHECK(c.n == 2);
	loop_fd_free(c.w);
	loop_timer_free(c.t);
	close(c.sv[0]);
	close(c.sv[1]);
	loop_free(c.l);
}

static void never(void *arg)
{
	CHECK(!"must not run");
}

static void never_fd(void *arg, int events)
{
	CHECK(!"must not run");
}

static void free_both(void *arg)
{
	struct ctx *c = arg;

	/* The timer is due and the descriptor is readable, but neither was seen yet. */
	loop_timer_free(take_ptr(c->t2));
	loop_fd_free(take_ptr(c->w));
}

static void again(void *arg)
{
	struct ctx *c = arg;

	loop_timer_in(c->t, 1000);
	if (++c->n == 2) {
		loop_timer_free(take_ptr(c->t));
		loop_stop(c->l);
	}
}

TEST(nothing_after_free)
{
	struct ctx c = {.l = loop_new()};

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c.sv));
	CHECK(write(c.sv[1], "x", 1) == 1);
	c.w = loop_fd_new(c.l, c.sv[0], LOOP_READ, never_fd, &c);
	c.t = loop_timer_new(c.l, again, &c);
	c.t2 = loop_timer_new(c.l, never, &c);
	loop_timer_in(c.t, 0);
	loop_timer_in(c.t2, 0);
	loop_defer(c.l, &c.d[0], free_both, &c);
	loop_run(c.l);
	CHECK(c.n == 2);
	close(c.sv[0]), close(c.sv[1]);
	loop_free(c.l);
	loop_fd_free(NULL), loop_timer_free(NULL), loop_free(NULL);
}

static void note_time(void *arg)
{
	struct ctx *c = arg;
	int64_t now = loop_now_us(c->l);

	c->at_us = clock_now_us();
	CHECK(now <= c->at_us && loop_now_us(c->l) == now);
	loop_stop(c->l);
}

TEST(timers_are_never_early)
{
	struct ctx c = {.l = loop_new()};

	c.t = loop_timer_new(c.l, note_time, &c);
	for (int i = 0; i < 20; i++) {
		int64_t start = clock_now_us();

		loop_timer_in(c.t, 1300);
		loop_run(c.l);
		CHECK(c.at_us - start >= 1300);
	}
	c.t2 = loop_timer_new(c.l, never, &c);
	loop_timer_in(c.t2, 0);
	loop_timer_stop(c.t2);
	loop_timer_in(c.t, 3000);
	loop_run(c.l);
	loop_timer_free(c.t), loop_timer_free(c.t2);
	loop_free(c.l);
}

static void second(void *arg)
{
	struct ctx *c = arg;

	buf_addc(&c->seen, '2');
	if (c->n++ < 2) {
		loop_defer(c->l, &c->d[1], second, c);
		return;
	}
	loop_stop(c->l);
}

static void first(void *arg)
{
	struct ctx *c = arg;

	buf_addc(&c->seen, '1');
	loop_defer_cancel(c->l, &c->d[2]);
	loop_defer_cancel(c->l, &c->d[2]);
}

TEST(defer)
{
	struct ctx c = {.l = loop_new()};

	loop_defer(c.l, &c.d[0], first, &c);
	loop_defer(c.l, &c.d[1], second, &c);
	loop_defer(c.l, &c.d[2], never, &c);
	CHECK(!c.seen.n && c.d[0].queued);
	loop_run(c.l);
	CHECK_STR(c.seen.p, "1222");
	loop_defer(c.l, &c.d[2], never, &c);
	loop_defer_cancel(c.l, &c.d[2]);
	loop_defer(c.l, &c.d[0], stop, &c);
	loop_run(c.l);
	loop_free(c.l);
	buf_done(&c.seen);
}

struct job {
	struct loop_work w;
	struct ctx *c;
	struct loop_thread *t;
	pthread_mutex_t *gate;
	char name;
	size_t batch;
};

static void job_work(struct loop_work *w)
{
	struct job *j = container_of(w, struct job, w);
	struct loop_work *rest;

	CHECK(pthread_self() != (pthread_t)0);
	if (j->gate) {
		pthread_mutex_lock(j->gate); /* until all are pushed */
		pthread_mutex_unlock(j->gate);
		j->batch = loop_thread_take_batch(j->t, &rest);
		for (; rest; rest = rest->next)
			container_of(rest, struct job, w)->batch = 100;
	}
}

static void job_done(struct loop_work *w)
{
	struct job *j = container_of(w, struct job, w);

	buf_addc(&j->c->seen, j->name);
	if (j->name == 'e')
		loop_stop(j->c->l);
}

TEST(thread)
{
	struct ctx c = {.l = loop_new()};
	struct loop_thread *t = loop_thread_new(c.l, "a name that is too long");
	pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
	struct job jobs[5] = {0};

	pthread_mutex_lock(&gate);
	for (int i = 0; i < 5; i++) {
		jobs[i] = (struct job){
			.w = {.work = job_work, .done = job_done}, .c = &c, .t = t, .name = (char)('a' + i)};
		jobs[i].gate = i == 0 ? &gate : NULL;
		loop_thread_push(t, &jobs[i].w);
	}
	pthread_mutex_unlock(&gate);
	loop_run(c.l);
	CHECK_STR(c.seen.p, "abcde");
	CHECK(jobs[0].batch == 4 && jobs[4].batch == 100);
	/* What is queued at the end is still done, and told. */
	jobs[1].batch = 0;
	loop_thread_push(t, &jobs[1].w);
	loop_thread_free(t);
	CHECK_STR(c.seen.p, "abcde");
	loop_free(c.l);
	CHECK_STR(c.seen.p, "abcdeb");
	buf_done(&c.seen);
}

static void on_sig(void *arg, int sig)
{
	struct ctx *c = arg;

	c->n = sig;
	loop_stop(c->l);
}

TEST(signals)
{
	struct ctx c = {.l = loop_new()};

	loop_signal(c.l, SIGUSR1, on_sig, &c);
	kill(getpid(), SIGUSR1);
	loop_run(c.l);
	CHECK(c.n == SIGUSR1);
	loop_free(c.l);
}
