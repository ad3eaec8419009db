/* SPDX-License-Identifier: Apache-2.0 */
#include "http/server_int.h"
#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include "base/mem.h"

#define HEAD_US		  20000000 /* from the first byte to the end of the head */
#define BODY_US		  60000000 /* from the first byte to the end, and more for more bytes: */
#define BODY_BYTES_PER_MS 16
#define STUCK_US	  60000000 /* without the client taking a byte of the answer, or giving one that is awaited */
#define LINGER_US	  2000000
#define SHAKE_US	  10000000 /* from connecting to the end of the TLS handshake */

static void on_event(void *arg, int events);
static void conn_run(struct conn *c);
static void receive(struct conn *c);

/* ---- states and time ---- */

void conn_touch(struct conn *c)
{
	c->since_us = loop_now_us(c->l);
	if (c->hl)
		server_sweep_by(c->hl->s, conn_deadline_us(c));
}

void conn_move(struct conn *c, enum conn_state to)
{
	c->state = to;
	conn_touch(c);
	if (c->hl)
		server_drain_look(c->hl->s);
}

int64_t conn_deadline_us(const struct conn *c)
{
	switch (c->state) {
	case CONN_IDLE:
		if (c->tls && !tls_shaken(c->tls))
			return c->req.start_us + (c->hl->o.idle_us < SHAKE_US ? c->hl->o.idle_us : SHAKE_US);
		return c->since_us + c->hl->o.idle_us;
	case CONN_RECV:
		if (!c->p.head_done)
			return c->req.start_us + HEAD_US;
		return c->req.start_us + BODY_US + (int64_t)(c->p.body_n / BODY_BYTES_PER_MS) * 1000;
	case CONN_PENDING:
		return c->blocked || conn_body_awaited(c) ? c->since_us + STUCK_US : INT64_MAX;
	case CONN_FLUSH:
		return c->since_us + STUCK_US;
	case CONN_LINGER:
		return c->since_us + LINGER_US;
	default:
		return INT64_MAX;
	}
}

void conn_timeout(struct conn *c)
{
	if (c->state == CONN_RECV)
		reply_refuse(c, 408);
	else if (c->state == CONN_PENDING)
		conn_lost(c);
	else
		conn_close(c);
}

void conn_want(struct conn *c)
{
	int events = c->blocked ? LOOP_WRITE : 0;

	if (c->state != CONN_FLUSH)
		events |= LOOP_READ;
	loop_fd_want(c->w, events);
}

/* ---- making and ending ---- */

static bool ask_streams(struct parse *p)
{
	struct conn *c = container_of(p, struct conn, p);

	parse_fill(p, &c->req);
	return c->hl->o.streams(c->hl->o.arg, &c->req);
}

void conn_new(struct http_listener *hl, int fd, const char *peer, int peer_uid)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	c->l = hl->s->l;
	c->hl = hl;
	c->fd = fd;
	c->req.start_us = loop_now_us(c->l);
	if (hl->o.tls) {
		c->tls = tls_new(hl->o.tls, fd);
		if (!c->tls)
			abort(); /* no memory for small things, as in base/mem.h */
	}
	strlcpy_(c->req.peer, peer, sizeof(c->req.peer));
	c->req.peer_uid = peer_uid;
	c->req.tls = hl->o.tls != NULL;
	parse_init(&c->p);
	c->p.streams = hl->o.streams ? ask_streams : NULL;
	parse_begin(&c->p, hl->o.body_max);
	c->w = loop_fd_new(c->l, fd, LOOP_READ, on_event, c);
	list_push(&hl->conns, &c->node);
	conn_move(c, CONN_IDLE);
}

static void destroy(struct conn *c)
{
	loop_defer_cancel(c->l, &c->later);
	if (c->busy || c->pumping) {
		c->freed = true;
		return;
	}
	parse_done(&c->p);
	buf_done(&c->out);
	free(c);
}

void conn_unref(struct conn *c)
{
	if (c->freed)
		destroy(c);
}

void http_on_over(struct http_req *r, void (*over)(void *arg, int status), void *arg)
{
	struct conn *c = container_of(r, struct conn, req);

	c->over = over;
	c->over_arg = arg;
}

void conn_over(struct conn *c)
{
	void (*over)(void *arg, int status) = c->over;

	c->over = NULL;
	c->req.trace = NULL;
	if (over)
		over(c->over_arg, c->status);
}

/* Gives back all that belongs to the server; the request may live on. */
static void detach(struct conn *c)
{
	struct http_listener *hl = c->hl;

	conn_over(c);
	loop_defer_cancel(c->l, &c->later);
	conn_body_over(c);
	loop_fd_free(take_ptr(c->w));
	if (c->tls)
		tls_bye(c->tls);
	tls_free(take_ptr(c->tls));
	if (c->fd >= 0)
		close(take_fd(c->fd));
	conn_uncount_bytes(c, c->counted);
	list_del(&c->node);
	list_del(&c->together);
	c->hl = NULL;
	c->blocked = false;
	server_conn_closed(hl);
}

static void tell_gone(void *arg)
{
	struct conn *c = arg;

	c->gone(c->gone_arg);
	destroy(c);
}

void conn_close(struct conn *c)
{
	bool pending = c->state == CONN_PENDING;

	detach(c);
	c->state = CONN_GONE;
	if (!pending)
		destroy(c);
	else if (c->gone)
		tell_gone(c);
}

void conn_lost(struct conn *c)
{
	detach(c);
	c->state = CONN_GONE;
	if (c->gone)
		loop_defer(c->l, &c->later, tell_gone, c);
}

void conn_release(struct conn *c)
{
	assert(c->state == CONN_GONE);
	destroy(c);
}

void http_on_gone(struct http_req *r, void (*gone)(void *arg), void *arg)
{
	struct conn *c = container_of(r, struct conn, req);

	c->gone = gone;
	c->gone_arg = arg;
	if (c->state != CONN_GONE)
		return;
	/* It left before anybody asked. */
	loop_defer_cancel(c->l, &c->later);
	if (gone)
		loop_defer(c->l, &c->later, tell_gone, c);
}

int http_take_socket(struct http_req *r, struct buf *unsent, struct str *ret_early)
{
	struct conn *c = container_of(r, struct conn, req);

	assert(c->state == CONN_PENDING && !c->tls);
	buf_add(unsent, c->out.p + c->out_at, c->out.n - c->out_at);
	c->out_at = c->out.n;
	c->blocked = false;
	c->status = 101;
	*ret_early = (struct str){c->p.in.p + c->p.fed, c->p.in.n - c->p.fed};
	loop_fd_free(take_ptr(c->w));
	return take_fd(c->fd);
}

static void clear(void *r)
{
	*(struct http_req **)r = NULL;
}

void http_on_gone_clear(struct http_req **r)
{
	http_on_gone(*r, clear, r);
}

/* ---- after the answer ---- */

static void run_later(void *arg)
{
	struct conn *c = arg;

	if (c->p.in.n)
		conn_run(c);
	else
		receive(c);
}

void conn_next(struct conn *c)
{
	if (c->linger) {
		if (c->tls)
			tls_bye(c->tls);
		shutdown(c->fd, SHUT_WR);
		conn_move(c, CONN_LINGER);
		conn_want(c);
		return;
	}
	if (c->close_after || c->hl->draining)
		return conn_close(c);
	c->served = true;
	parse_next(&c->p);
	parse_begin(&c->p, c->hl->o.body_max);
	(void)conn_count_bytes(c);
	conn_move(c, CONN_IDLE);
	conn_want(c);
	/* Decrypted while it was looked for the end: the socket will not say so. */
	if ((c->p.in.n || (c->tls && tls_pending(c->tls))) && !c->busy)
		loop_defer(c->l, &c->later, run_later, c);
}

/* ---- receiving ---- */

static void dispatch(struct conn *c)
{
	size_t head = c->p.in.n + 1;

	/* The strings of the request lie in the same buffer: from now on it must not move. */
	if (conn_body_open(c))
		buf_reserve(&c->p.in, head < BODY_PIECE_BYTES / 2 ? BODY_PIECE_BYTES - head : BODY_PIECE_BYTES);
	parse_fill(&c->p, &c->req);
	c->req.streams = conn_body_open(c);
	if (c->req.streams)
		c->req.body = STR_NULL;
	c->req.user = NULL;
	c->req.listener_arg = c->hl->o.arg;
	c->gone = c->drained = NULL;
	c->streaming = false;
	c->held = false;
	c->status = 0;
	if (!c->p.keep_alive)
		c->close_after = true;
	conn_move(c, CONN_PENDING);
	c->hl->o.handler(c->hl->o.arg, &c->req);
}

static void say_continue(struct conn *c)
{
	static const struct str line = {"HTTP/1.1 100 Continue\r\n\r\n", 25};

	c->p.wants_continue = false;
	/* Whoever sends the body already does not wait for it. */
	if (!c->p.body_n && conn_send(c, &line, 1) < 0)
		conn_close(c);
}

/* Goes as far as the bytes that are there allow. May free c. */
static void conn_run(struct conn *c)
{
	bool whole = true, held = false;

	loop_defer_cancel(c->l, &c->later);
	c->busy = true;
	while (whole && !c->freed && (c->state == CONN_IDLE || c->state == CONN_RECV) && c->p.in.n > c->p.fed) {
		enum parse_result r;

		if (c->state == CONN_IDLE)
			c->req.start_us = loop_now_us(c->l);
		r = parse_run(&c->p);
		whole = r == PARSE_WHOLE;
		if (r == PARSE_FAIL) {
			reply_refuse(c, c->p.fail);
		} else if (whole || c->p.streamed) {
			/* Of no bytes, which nobody has to wait for; but botocore then never sends a body again. */
			if (whole && c->p.wants_continue && !c->p.length)
				say_continue(c);
			if (c->freed || c->state == CONN_GONE)
				break;
			dispatch(c);
			held |= c->held;
		} else if (c->p.in.n) {
			conn_move(c, CONN_RECV);
			if (c->p.head_done && c->p.wants_continue)
				say_continue(c);
		}
	}
	if (held && !c->freed && c->state != CONN_GONE && !c->blocked && c->out.n > c->out_at &&
	    conn_send(c, NULL, 0) < 0)
		conn_close(c);
	c->busy = false;
	conn_unref(c);
}

ssize_t conn_recv(struct conn *c, size_t room)
{
	struct buf *in = &c->p.in;
	ssize_t got = c->tls ? tls_recv(c->tls, in->p + in->n, room) : recv(c->fd, in->p + in->n, room, 0);

	if (got > 0) {
		in->n += (size_t)got;
	} else if (got < 0 && errno == EAGAIN && c->tls && tls_wants_write(c->tls)) {
		c->blocked = true;
		conn_want(c);
	}
	return got;
}

static void receive(struct conn *c)
{
	struct buf *in = &c->p.in;
	ssize_t got;

	buf_reserve(in, parse_room(&c->p));
	if (!conn_count_bytes(c))
		return reply_refuse(c, 503);
	got = conn_recv(c, in->cap - in->n - 1);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0)
		return conn_close(c);
	if (c->tls &&
	    tls_pending(c->tls)) { /* the rest of a record: at most 16 KiB, of which the socket says nothing */
		buf_reserve(in, tls_pending(c->tls));
		got = tls_recv(c->tls, in->p + in->n, tls_pending(c->tls));
		in->n += got > 0 ? (size_t)got : 0;
	}
	conn_run(c);
}

/* Something can be read while the request is with the handler: the end, or the next request, which must wait. */
static void look_for_end(struct conn *c)
{
	char byte;
	ssize_t got = c->tls ? tls_peek(c->tls, &byte, 1) : recv(c->fd, &byte, 1, MSG_PEEK);

	if (got > 0)
		loop_fd_want(c->w, c->blocked ? LOOP_WRITE : 0);
	else if (!got || (errno != EAGAIN && errno != EINTR))
		conn_close(c);
}

static void discard(struct conn *c)
{
	char waste[16384];
	ssize_t got = recv(c->fd, waste, sizeof(waste), 0);

	if (!got || (got < 0 && errno != EAGAIN && errno != EINTR))
		conn_close(c);
}

/* True when there is nothing more to do for this wake. */
static bool on_writable(struct conn *c)
{
	c->blocked = false;
	if (conn_send(c, NULL, 0) < 0) {
		conn_close(c);
		return true;
	}
	if (c->blocked)
		return false;
	if (c->state == CONN_FLUSH) {
		conn_next(c);
		return true;
	}
	conn_touch(c);
	conn_want(c);
	if (!c->drained)
		return false;
	c->drained(c->drained_arg);
	return true; /* it may be gone; what can be read is said again */
}

static void on_event(void *arg, int events)
{
	struct conn *c = arg;

	if ((events & LOOP_WRITE) && c->blocked && on_writable(c))
		return;
	if (!(events & LOOP_READ) && !c->tls)
		return;
	switch (c->state) {
	case CONN_IDLE:
	case CONN_RECV:
		receive(c);
		break;
	case CONN_PENDING:
		if (conn_body_awaited(c))
			conn_body_read(c);
		else
			look_for_end(c);
		break;
	case CONN_LINGER:
		discard(c);
		break;
	default:
		break;
	}
}
