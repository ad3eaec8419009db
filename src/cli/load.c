/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/load.h"
#include <errno.h>
#include <math.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "http/client.h"
#include "http/parse.h"

#define ANSWER_MAX_BYTES (16 << 20)
#define LOOK_US		 1000000  /* how often deadlines are looked at */
#define REST_US		 10000	  /* of a connection that broke */
#define AGAIN_US	 60000000 /* so long a run goes on until something is answered after once() */
#define EVENTS		 64

struct conn {
	struct parse in;
	int fd; /* -1: none */
	bool open;
	struct str request;
	size_t sent;
	int64_t at_us;	 /* of the request that is open */
	int64_t rest_us; /* no request before */
};

struct run {
	const struct load_opts *o;
	struct load *out;
	struct conn *conns;
	int64_t *due; /* open: when each request becomes due */
	int ep;
	size_t begun, open, max;
	int64_t start_us, looked_us;
	bool once, again; /* again: a call that began after once() was answered well */
};

static int64_t now(const struct run *r)
{
	return clock_now_us() - r->start_us;
}

static void conn_close(struct conn *c)
{
	if (c->fd >= 0)
		close(c->fd); /* which takes it out of the epoll set */
	c->fd = -1;
	parse_done(&c->in);
	parse_init(&c->in);
}

static int conn_open(struct run *r, struct conn *c, struct err *e)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

	if (c->fd >= 0)
		return 0;
	c->fd = http_connect_unix(r->o->sock, e);
	if (c->fd < 0)
		return -1;
	parse_begin_answer(&c->in, false);
	c->in.body_max = ANSWER_MAX_BYTES;
	return epoll_ctl(r->ep, EPOLL_CTL_ADD, c->fd, &ev) < 0 ? err_sys(e, errno, "epoll") : 0;
}

static void finish(struct run *r, struct conn *c, int status, struct str body, const char *why)
{
	struct load_call *call = &r->out->calls[r->out->n++];

	*call = (struct load_call){.at_us = c->at_us, .us = now(r) - c->at_us};
	call->wait_us = call->start_us = call->init_us = call->handler_us = -1;
	call->cpu_us = call->billed_ms = call->memory_bytes = -1;
	c->open = false;
	r->open--;
	if (!why)
		call->ok = r->o->judge(call, status, body, &r->out->why);
	else if (!r->out->why.n)
		buf_adds(&r->out->why, why);
	r->out->failed += !call->ok;
	r->again |= call->ok && r->once && c->at_us >= r->out->once_us;
}

static void broken(struct run *r, struct conn *c, const char *why)
{
	conn_close(c);
	c->rest_us = now(r) + REST_US;
	finish(r, c, 0, STR_NULL, why);
}

static void push(struct run *r, struct conn *c)
{
	struct str rest = {c->request.p + c->sent, c->request.n - c->sent};
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
	ssize_t n = rest.n ? send(c->fd, rest.p, rest.n, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return broken(r, c, "the connection broke");
	if ((size_t)(n > 0 ? n : 0) == rest.n && c->sent == 0) {
		c->sent = c->request.n;
		return; /* at once, as nearly always */
	}
	c->sent += n > 0 ? (size_t)n : 0;
	if (c->sent < c->request.n)
		ev.events |= EPOLLOUT;
	epoll_ctl(r->ep, EPOLL_CTL_MOD, c->fd, &ev);
}

static void begin(struct run *r, struct conn *c)
{
	struct err e;

	c->at_us = r->due ? r->due[r->begun] : now(r);
	c->request = r->o->due ? r->o->due[r->begun].request : r->o->request;
	c->open = true;
	c->sent = 0;
	r->begun++;
	r->open++;
	if (conn_open(r, c, &e) < 0)
		broken(r, c, e.text);
	else
		push(r, c);
}

static void pull(struct run *r, struct conn *c)
{
	struct parse *p = &c->in;
	enum parse_result got;
	ssize_t n;

	buf_reserve(&p->in, parse_room(p) + 1);
	n = recv(c->fd, p->in.p + p->in.n, p->in.cap - p->in.n - 1, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (!c->open) { /* between two requests there is nothing to say but goodbye */
		conn_close(c);
		return;
	}
	if (n > 0)
		p->in.n += (size_t)n;
	got = n > 0 ? parse_run(p) : PARSE_MORE;
	if (n <= 0 ? !parse_eof(p) : got == PARSE_FAIL)
		return broken(r, c,
			      n <= 0 ? "the connection was closed before the answer" : "this is not an HTTP answer");
	if (n > 0 && got == PARSE_MORE)
		return;
	if (p->hp.status_code >= 200)
		finish(r, c, p->hp.status_code, (struct str){p->in.p + p->head_n, p->body_n}, NULL);
	if (n <= 0 || (!c->open && (!p->keep_alive || c->sent < c->request.n)))
		return conn_close(c);
	parse_next(p);
	parse_begin_answer(p, false);
	p->body_max = ANSWER_MAX_BYTES;
}

/* What follows once() is what the run is for. */
static bool is_over(const struct run *r, int64_t t)
{
	return r->begun == r->max ||
	       (t >= r->o->duration_us && (!r->o->once || r->again || t >= r->o->duration_us + AGAIN_US));
}

/* Whoever is free begins what is due. -1: nothing more will be. */
static int64_t feed(struct run *r)
{
	int64_t t = now(r), wait = LOOK_US, next;

	for (unsigned i = 0; i < r->o->connections; i++) {
		struct conn *c = &r->conns[i];

		if (c->open)
			continue;
		if (is_over(r, t))
			return -1;
		next = r->due && r->due[r->begun] > c->rest_us ? r->due[r->begun] : c->rest_us;
		if (next <= t)
			begin(r, c);
		else if (next - t < wait)
			wait = next - t;
	}
	return wait;
}

static void look(struct run *r)
{
	int64_t t = now(r);

	if (!r->once && r->o->once && t >= r->o->once_us) {
		r->once = true;
		r->out->once_us = t;
		r->o->once(r->o->arg); /* nothing is begun meanwhile: this is the only thread */
	}
	if (t - r->looked_us < LOOK_US)
		return;
	r->looked_us = t;
	for (unsigned i = 0; i < r->o->connections; i++)
		if (r->conns[i].open && t - r->conns[i].at_us > r->o->timeout_us)
			broken(r, &r->conns[i], "no answer in time");
}

static void turn(struct run *r, int64_t wait_us)
{
	struct epoll_event ev[EVENTS];
	struct timespec ts;
	int n;

	if (!r->once && r->o->once && wait_us > r->o->once_us - now(r))
		wait_us = r->o->once_us - now(r);
	if (wait_us < 0)
		wait_us = 0;
	ts = (struct timespec){wait_us / 1000000, wait_us % 1000000 * 1000};
	n = epoll_pwait2(r->ep, ev, EVENTS, &ts, NULL);
	for (int i = 0; i < n; i++) {
		struct conn *c = ev[i].data.ptr;

		if (c->open && c->sent < c->request.n && (ev[i].events & EPOLLOUT))
			push(r, c);
		if (c->fd >= 0 && (ev[i].events & ~(unsigned)EPOLLOUT))
			pull(r, c);
	}
	look(r);
}

static void plan(struct run *r)
{
	double t = 0;
	size_t n = r->o->due ? r->max
			     : (size_t)fmin(r->o->rate * (double)r->o->duration_us / 1e6 * 1.2 + 50, (double)r->max);

	r->due = xmalloc(sizeof(*r->due) * n);
	for (size_t i = 0; i < n; i++)
		r->due[i] = r->o->due ? r->o->due[i].at_us : (int64_t)(t -= log(1 - rand_unit()) / r->o->rate * 1e6);
	r->max = n;
}

int load_run(const struct load_opts *o, struct load *ret, struct err *e)
{
	struct load out = {0};
	struct run r = {.o = o, .out = &out, .ep = epoll_create1(EPOLL_CLOEXEC)};
	int64_t wait_us;
	int rc = 0;

	r.max = o->calls && o->calls < LOAD_CALLS_MAX ? (size_t)o->calls : LOAD_CALLS_MAX;
	if (o->due || o->rate > 0)
		plan(&r);
	out.calls = xmalloc(sizeof(*out.calls) * r.max);
	r.conns = xcalloc(o->connections, sizeof(*r.conns));
	for (unsigned i = 0; i < o->connections; i++)
		r.conns[i].fd = -1;
	for (unsigned i = 0; i < o->connections && !rc; i++)
		rc = conn_open(&r, &r.conns[i], e);
	r.start_us = clock_now_us();
	while (!rc && ((wait_us = feed(&r)) >= 0 || r.open))
		turn(&r, wait_us >= 0 ? wait_us : LOOK_US);
	out.took_us = now(&r);
	for (unsigned i = 0; i < o->connections; i++)
		conn_close(&r.conns[i]);
	free(r.conns);
	free(r.due);
	close(r.ep);
	if (rc)
		load_done(&out);
	else
		*ret = out;
	return rc;
}

void load_done(struct load *l)
{
	free(l->calls);
	buf_done(&l->why);
	*l = (struct load){0};
}
