/* SPDX-License-Identifier: Apache-2.0 */
#include "http/proxy.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "http/server_int.h"

#define KEEP_BYTES  16384   /* of each buffer, between requests */
#define ROOM_BYTES  65536   /* of an answer that is longer than that */
#define CONTINUE_US 1000000 /* so long a client that expects 100 Continue waits for an upstream that knows it not */
#define STALE_US    1000000 /* idle for longer, it may be about to be closed: not for what cannot be sent twice */
#define DEFAULT_US  60000000
#define CONNECT_US  5000000

/* ---- the end ---- */

static void forget(struct buf *b)
{
	if (b->cap > KEEP_BYTES)
		buf_done(b);
	buf_clear(b);
}

static void finish(struct proxy *p, enum proxy_result r)
{
	p->state = PROXY_OVER;
	if (p->c)
		upstream_drop(take_ptr(p->c));
	tunnel_cancel(&p->tunnel);
	upstream_leave(p->u, p);
	loop_timer_stop(p->timer);
	loop_defer_cancel(upstream_loop(p->u), &p->later);
	forget(&p->out);
	forget(&p->in.in);
	p->r = NULL;
	p->done(p, r);
}

static void fail(struct proxy *p, int status, const char *why)
{
	char text[256];
	int n = snprintf(text, sizeof(text), "{\"message\": \"%s\", \"reason\": \"%s\"}\n", http_status_text(status),
			 why);

	p->reason = why;
	if (p->state >= PROXY_BODY)
		http_stream_abort(p->r);
	else
		http_reply(p->r, &(struct http_reply){.status = status,
						      .content_type = "application/json",
						      .body = {text, (size_t)n}});
	finish(p, PROXY_FAILED);
}

/* Nothing of an answer came. */
static void not_answered(struct proxy *p, int status, const char *why)
{
	p->reason = why;
	if (p->state != PROXY_CONNECT && !p->again)
		return fail(p, status, why);
	http_on_gone(p->r, NULL, NULL);
	finish(p, PROXY_NOT_SENT);
}

static void on_gone(void *arg)
{
	finish(arg, PROXY_GONE);
}

/* The upstream closed, or the connection broke. */
static void broken(struct proxy *p)
{
	bool used = p->c->used;

	if (p->state == PROXY_BODY) {
		fail(p, 502, "the service's answer broke off");
	} else if (p->in.in.n || p->first_byte_us) {
		fail(p, 502, "the service closed the connection in the head of its answer");
	} else if (used && p->again && !p->fresh) {
		upstream_drop(take_ptr(p->c));
		p->fresh = true;
		p->state = PROXY_CONNECT;
		proxy_connect(p);
	} else {
		not_answered(p, 502, "the service closed the connection and did not answer");
	}
}

static void pull(struct proxy *p)
{
	p->expecting = p->again = false;
	p->pulled = true;
	loop_timer_in(p->timer, p->o.answer_us);
	http_body_start(p->r, &p->sink);
}

static void on_timer(void *arg)
{
	struct proxy *p = arg;

	if (p->state == PROXY_CONNECT) {
		not_answered(p, 504,
			     p->c ? "the service does not accept connections" : "no instance of the service is there");
	} else if (p->state == PROXY_ANSWER && p->expecting) {
		pull(p);
	} else if (p->state == PROXY_ANSWER && p->pulling && p->out.n == p->out_at) {
		loop_timer_in(p->timer, p->o.answer_us); /* the client is slow: that has a limit of its own */
	} else if (p->state == PROXY_ANSWER) {
		fail(p, 504, "the service did not answer in time");
	} else {
		fail(p, 504, "the service stopped in the middle of its answer");
	}
}

/* ---- the request ---- */

static void want(struct proxy *p)
{
	int events = p->full ? 0 : LOOP_READ;

	if (!p->deaf && (p->out.n > p->out_at || p->body.n))
		events |= LOOP_WRITE;
	loop_fd_want(p->c->w, events);
}

/* As much as the socket takes. An upstream that takes no more may have said why: that is found when it is read. */
static void push(struct proxy *p, const struct str *parts, unsigned n)
{
	struct iovec iov[5];
	struct msghdr mh = {.msg_iov = iov};
	size_t queued = p->out.n - p->out_at, took = 0;
	ssize_t put;

	if (queued)
		iov[mh.msg_iovlen++] = (struct iovec){p->out.p + p->out_at, queued};
	for (unsigned i = 0; i < n; i++)
		if (parts[i].n)
			iov[mh.msg_iovlen++] = (struct iovec){(void *)(uintptr_t)parts[i].p, parts[i].n};
	do
		put = !mh.msg_iovlen || p->deaf ? 0
		      : mh.msg_iovlen == 1	? send(p->c->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
						: sendmsg(p->c->fd, &mh, MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	if (put < 0 && errno != EAGAIN && errno != ENOBUFS)
		p->deaf = true;
	took = put > 0 ? (size_t)put : 0;
	p->out_at += took < queued ? took : queued;
	took -= took < queued ? took : queued;
	for (unsigned i = 0; i < n && !p->deaf; i++) {
		size_t of = took < parts[i].n ? took : parts[i].n;

		took -= of;
		/* A whole body stays where it is. */
		if (&parts[i] == &p->body)
			p->body = (struct str){p->body.p + of, p->body.n - of};
		else if (of < parts[i].n)
			buf_add(&p->out, parts[i].p + of, parts[i].n - of);
	}
	if (p->pulled && p->out_at == p->out.n)
		buf_clear(&p->out), p->out_at = 0;
	want(p);
}

static void flush(struct proxy *p)
{
	push(p, &p->body, 1);
	if (p->pulled && p->pulling && p->out.n == p->out_at)
		http_body_resume(p->r);
}

static void on_piece(struct http_sink *s, struct str piece)
{
	struct proxy *p = container_of(s, struct proxy, sink);
	struct str parts[3] = {STR_NULL, piece, STR_NULL};
	char size[24];

	p->request_bytes += (int64_t)piece.n;
	if (p->chunked) {
		parts[0] = (struct str){size, (size_t)snprintf(size, sizeof(size), "%zx\r\n", piece.n)};
		parts[2] = STR("\r\n");
	}
	push(p, parts, 3);
	if (p->out.n > p->out_at)
		http_body_pause(p->r);
	if (p->state == PROXY_ANSWER)
		loop_timer_in(p->timer, p->o.answer_us);
}

static void on_end(struct http_sink *s)
{
	struct proxy *p = container_of(s, struct proxy, sink);
	struct str last = STR("0\r\n\r\n");

	p->pulling = false;
	push(p, &last, p->chunked);
}

static void send_request(struct proxy *p)
{
	p->state = PROXY_ANSWER;
	loop_timer_in(p->timer, p->expecting ? CONTINUE_US : p->o.answer_us);
	flush(p);
	if (p->pulling && !p->expecting)
		pull(p);
}

static void refused(void *arg)
{
	not_answered(arg, 502, "the service refused the connection");
}

void proxy_connect(struct proxy *p)
{
	int none;

	p->out_at = 0;
	p->body = p->r->body;
	p->deaf = false;
	parse_begin_answer(&p->in, str_eqc(p->r->method, "HEAD"));
	p->c = upstream_take(p->u, p, p->fresh);
	if (p->c && p->c->used && (!p->again || p->pulling) &&
	    loop_now_us(upstream_loop(p->u)) - p->c->idle_since_us > STALE_US) {
		upstream_drop(take_ptr(p->c));
		p->c = upstream_take(p->u, p, true);
	}
	none = errno;
	if (p->c && !p->c->connecting)
		return send_request(p);
	loop_timer_in(p->timer, p->start_us + p->o.connect_us - loop_now_us(upstream_loop(p->u)));
	if (!p->c && none != EAGAIN)
		loop_defer(upstream_loop(p->u), &p->later, refused, p);
}

static void on_connected(struct proxy *p)
{
	int sys = 0;
	socklen_t n = sizeof(sys);

	if (getsockopt(p->c->fd, SOL_SOCKET, SO_ERROR, &sys, &n) < 0 || sys)
		return refused(p);
	p->c->connecting = false;
	send_request(p);
}

/* ---- the answer ---- */

static void on_drained(void *arg)
{
	struct proxy *p = arg;

	if (!p->full)
		return;
	p->full = false;
	loop_timer_in(p->timer, p->o.idle_us);
	want(p);
}

/* All of it has gone to the client. */
static void answered(struct proxy *p)
{
	if (p->in.keep_alive && p->in.fed == p->in.in.n && !p->deaf && !p->pulling && p->out.n == p->out_at &&
	    !p->body.n)
		upstream_keep(take_ptr(p->c));
	finish(p, PROXY_DONE);
}

/* What is here of the body. */
static void pass_body(struct proxy *p)
{
	struct str piece = {p->in.in.p + p->in.head_n, p->in.body_n};

	p->answer_bytes += (int64_t)piece.n;
	parse_drop_body(&p->in);
	if (!http_stream_write(p->r, piece)) { /* it left */
		http_stream_abort(p->r);
		finish(p, PROXY_GONE);
	} else if (p->in.whole) {
		http_stream_end(p->r);
		answered(p);
	} else if (http_stream_queued(p->r)) {
		p->full = true;
		loop_timer_stop(p->timer);
		want(p);
	} else {
		loop_timer_in(p->timer, p->o.idle_us);
	}
}

static void begin_answer(struct proxy *p)
{
	auto_buf head = {0};
	struct str body = {p->in.in.p + p->in.head_n, p->in.body_n};

	p->status = p->in.hp.status_code;
	proxy_answer_head(p, &head);
	if (p->in.whole && !p->in.head_only) {
		p->answer_bytes = (int64_t)body.n;
		http_reply(p->r, &(struct http_reply){.status = p->status,
						      .headers = buf_str(&head),
						      .body = body,
						      .together = upstream_outstanding(p->u) > 1});
		answered(p);
		return;
	}
	p->state = PROXY_BODY;
	parse_drop_head(&p->in);
	http_stream_begin_sized(p->r, p->status, NULL, buf_str(&head), p->in.length);
	http_on_drained(p->r, on_drained, p);
	pass_body(p);
}

static void on_tunnel_over(struct tunnel *t)
{
	struct proxy *p = container_of(t, struct proxy, tunnel);

	p->request_bytes = t->bytes[0];
	p->answer_bytes = t->bytes[1];
	http_stream_abort(p->r);
	finish(p, PROXY_DONE);
}

static void upgrade(struct proxy *p)
{
	auto_buf head = {0};
	struct str first[2];
	int fds[2];

	if (!p->upgrade || !p->in.hp.upgrade)
		return fail(p, 502, "the service changed the protocol without being asked");
	p->status = 101;
	p->state = PROXY_TUNNEL;
	loop_timer_stop(p->timer);
	fds[0] = http_take_socket(p->r, &head, &first[0]);
	fds[1] = upstream_take_fd(take_ptr(p->c));
	buf_addstr(&head, STR("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"));
	proxy_answer_head(p, &head);
	buf_addstr(&head, STR("\r\n"));
	buf_add(&head, p->in.in.p + p->in.fed, p->in.in.n - p->in.fed);
	first[1] = buf_str(&head);
	p->tunnel.done = on_tunnel_over;
	p->tunnel.no_halves = true;
	tunnel_start(&p->tunnel, upstream_loop(p->u), fds, first);
}

/* New bytes are in p->in. */
static void digest(struct proxy *p)
{
	do {
		if (parse_run(&p->in) == PARSE_FAIL ||
		    (p->in.head_done && (p->in.hp.status_code < 100 || p->in.hp.status_code > 999)))
			return fail(p, 502, "the service's answer is not HTTP");
		if (!p->in.head_done)
			return;
		if (p->state == PROXY_BODY)
			return pass_body(p);
		if (p->in.hp.status_code >= 200)
			return begin_answer(p);
		if (p->in.hp.status_code == 101)
			return upgrade(p);
		if (p->in.hp.status_code == 100 && p->expecting)
			pull(p);
		parse_next(&p->in);
		parse_begin_answer(&p->in, p->in.head_only);
	} while (p->in.in.n);
}

static void on_readable(struct proxy *p)
{
	struct buf *in = &p->in.in;
	size_t room;
	ssize_t got;

	if (!in->cap)
		buf_reserve(in, KEEP_BYTES - 1);
	room = in->cap - in->n - 1;
	got = recv(p->c->fd, in->p + in->n, room, 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0 && !(got == 0 && p->state == PROXY_BODY && parse_eof(&p->in)))
		return broken(p);
	if (!got) { /* its end was the end of the connection: keep_alive is false */
		pass_body(p);
		return;
	}
	if (!p->first_byte_us)
		p->first_byte_us = loop_now_us(upstream_loop(p->u)) - p->start_us + 1;
	in->n += (size_t)got;
	if ((size_t)got == room && in->cap <= KEEP_BYTES)
		buf_reserve(in, ROOM_BYTES - in->n);
	digest(p);
}

void proxy_event(struct proxy *p, int events)
{
	if (p->state == PROXY_CONNECT)
		return on_connected(p);
	if (events & LOOP_WRITE)
		flush(p);
	if (events & LOOP_READ && !p->full)
		on_readable(p);
}

/* ---- from outside ---- */

static bool may_repeat(struct str method)
{
	static const char *const idempotent[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};

	for (size_t i = 0; i < ARRAY_SIZE(idempotent); i++)
		if (str_eqc(method, idempotent[i]))
			return true;
	return false;
}

void proxy_start(struct proxy *p, struct http_req *r, struct upstream *u, const struct proxy_opts *o)
{
	assert(p->state == PROXY_OVER && p->done);
	*p = (struct proxy){
		.done = p->done,
		.timer = p->timer,
		.out = p->out,
		.in = p->in,
		.r = r,
		.u = u,
		.o = {o->connect_us ? o->connect_us : CONNECT_US, o->answer_us ? o->answer_us : DEFAULT_US,
		      o->idle_us ? o->idle_us : DEFAULT_US, o->traceparent},
		.state = PROXY_CONNECT,
		.start_us = loop_now_us(upstream_loop(u)),
		.sink = {on_piece, on_end},
		.again = may_repeat(r->method),
		.pulling = r->streams,
	};
	if (!p->timer)
		p->timer = loop_timer_new(upstream_loop(u), on_timer, p);
	proxy_request_head(p, &p->out);
	p->o.traceparent = NULL;
	upstream_enter(u, p);
	http_on_gone(r, on_gone, p);
	proxy_connect(p);
}

void proxy_cancel(struct proxy *p)
{
	static const char why[] = "the instance of the service was ended";

	if (p->state == PROXY_CONNECT || (p->state == PROXY_ANSWER && !p->first_byte_us))
		not_answered(p, 502, why);
	else if (p->state != PROXY_OVER)
		fail(p, 502, why);
}

void proxy_release(struct proxy *p)
{
	assert(p->state == PROXY_OVER);
	loop_timer_free(p->timer);
	buf_done(&p->out);
	parse_done(&p->in);
	*p = (struct proxy){0};
}
