/* SPDX-License-Identifier: Apache-2.0 */
/* What goes out of a connection, and when. */
#include "http/server_int.h"
#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "base/limits.h"

#define OUT_KEEP_BYTES 65536
#define PARTS_MAX      4
/* Answers to pipelined requests are gathered up to here. */
#define HELD_BYTES 16384

void conn_uncount_bytes(struct conn *c, size_t n)
{
	c->hl->bytes -= n;
	if (c->hl->tcp && !c->hl->o.guest)
		c->hl->s->tcp_bytes -= n;
}

bool conn_count_bytes(struct conn *c)
{
	size_t now = c->p.in.cap + c->out.cap, before = c->counted;

	conn_uncount_bytes(c, before - now);
	c->counted = now;
	if (now <= before) /* it is not this one's fault */
		return true;
	if (c->hl->o.guest)
		return c->hl->bytes <= LIM_HTTP_GUEST_BYTES;
	return !c->hl->tcp || now <= LIM_HTTP_SMALL_BYTES || c->hl->s->tcp_bytes <= c->hl->s->max_bytes;
}

static ssize_t socket_send(struct conn *c, struct msghdr *mh)
{
	ssize_t total = 0;

	if (!c->tls && mh->msg_iovlen == 1)
		return send(c->fd, mh->msg_iov[0].iov_base, mh->msg_iov[0].iov_len, MSG_NOSIGNAL);
	if (!c->tls)
		return sendmsg(c->fd, mh, MSG_NOSIGNAL);
	for (size_t i = 0, at = 0; i < mh->msg_iovlen;) {
		const struct iovec *v = &mh->msg_iov[i];
		ssize_t put = tls_send(c->tls, (const char *)v->iov_base + at, v->iov_len - at);

		if (put < 0)
			return total ? total : -1;
		total += put;
		at += (size_t)put;
		if (at == v->iov_len)
			i++, at = 0;
	}
	return total;
}

static void sent(struct conn *c, size_t n)
{
	c->out_at += n;
	if (c->out_at < c->out.n)
		return;
	c->out_at = 0;
	if (c->out.cap > OUT_KEEP_BYTES)
		buf_done(&c->out);
	else
		buf_clear(&c->out);
}

/* Bytes taken, 0 when none for now, -1. */
static ssize_t send_now(struct conn *c, const struct str *parts, unsigned n)
{
	struct iovec iov[PARTS_MAX + 1];
	struct msghdr mh = {.msg_iov = iov};
	ssize_t put;

	if (c->out.n > c->out_at)
		iov[mh.msg_iovlen++] = (struct iovec){c->out.p + c->out_at, c->out.n - c->out_at};
	for (unsigned i = 0; i < n; i++)
		if (parts[i].n)
			iov[mh.msg_iovlen++] = (struct iovec){(void *)(uintptr_t)parts[i].p, parts[i].n};
	if (!mh.msg_iovlen)
		return 0;
	do
		put = socket_send(c, &mh);
	while (put < 0 && errno == EINTR);
	if (put < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS))
		return 0;
	return put;
}

int conn_send(struct conn *c, const struct str *parts, unsigned n)
{
	size_t queued = c->out.n - c->out_at, took = 0;
	ssize_t put;

	assert(n <= PARTS_MAX);
	if (!c->blocked) {
		put = send_now(c, parts, n);
		if (put < 0)
			return -1;
		took = (size_t)put;
		if (queued) {
			size_t of_queue = took < queued ? took : queued;

			sent(c, of_queue);
			took -= of_queue;
		}
	}
	for (unsigned i = 0; i < n; i++) {
		size_t of_part = took < parts[i].n ? took : parts[i].n;

		took -= of_part;
		if (of_part < parts[i].n)
			buf_add(&c->out, parts[i].p + of_part, parts[i].n - of_part);
	}
	if (!conn_count_bytes(c))
		return -1;
	if (!c->blocked && c->out.n > c->out_at) {
		c->blocked = true;
		conn_touch(c);
		conn_want(c);
	}
	return 0;
}

static void send_queued(void *arg)
{
	struct conn *c = arg;

	if (c->blocked || c->out.n == c->out_at)
		return;
	if (conn_send(c, NULL, 0) < 0)
		conn_close(c);
	else if (!c->blocked && c->drained)
		c->drained(c->drained_arg);
}

void conn_queue(struct conn *c)
{
	if (!c->later.queued)
		loop_defer(c->l, &c->later, send_queued, c);
}

bool conn_may_hold(const struct conn *c)
{
	return c->busy && !c->blocked && !c->close_after && !c->hl->draining && c->p.in.n > c->p.fed &&
	       c->out.n - c->out_at <= HELD_BYTES;
}

void conn_answered(struct conn *c)
{
	conn_over(c);
	loop_defer_cancel(c->l, &c->later);
	c->gone = NULL;
	c->streaming = false;
	conn_move(c, CONN_FLUSH);
	if (c->out.n == c->out_at || c->held)
		conn_next(c);
	else
		conn_want(c);
}

/*
 * Answers that may leave together do so when the loop finds nothing else to do, or after some turns. To wake a client
 * costs more than all else of a send: one that sleeps is woken once for many of its connections.
 */
#define TOGETHER_TURNS 8

static void send_together(void *arg)
{
	struct http_server *s = arg;
	struct conn *c;

	if (!loop_quiet(s->l) && ++s->together_turns < TOGETHER_TURNS)
		return loop_defer(s->l, &s->later, send_together, s);
	s->together_turns = 0;
	while ((c = list_first(&s->together, struct conn, together))) {
		list_del(&c->together);
		if (conn_send(c, NULL, 0) < 0)
			conn_close(c);
		else if (!c->blocked)
			conn_next(c);
	}
}

void conn_answered_later(struct conn *c)
{
	struct http_server *s = c->hl->s;

	conn_over(c);
	loop_defer_cancel(c->l, &c->later);
	c->gone = NULL;
	conn_move(c, CONN_FLUSH);
	list_push(&s->together, &c->together);
	if (!s->later.queued)
		loop_defer(s->l, &s->later, send_together, s);
}
