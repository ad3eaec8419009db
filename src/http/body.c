/* SPDX-License-Identifier: Apache-2.0 */
/* The body of a request that is handed over as it comes. */
#include "http/server_int.h"
#include <errno.h>

bool conn_body_awaited(const struct conn *c)
{
	return c->sink && !c->paused && !c->p.whole;
}

void conn_body_over(struct conn *c)
{
	c->sink = NULL;
	loop_defer_cancel(c->l, &c->body_later);
}

/* One read. True: there is more of which the socket says nothing. */
static bool receive(struct conn *c)
{
	static const struct str bad = STR("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
	size_t room = c->p.in.cap - c->p.in.n - 1;
	ssize_t got = conn_recv(c, room < BODY_PIECE_BYTES ? room : BODY_PIECE_BYTES);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0) {
		conn_close(c);
		return false;
	}
	conn_touch(c);
	if (parse_run(&c->p) == PARSE_FAIL) {
		if (!c->streaming)
			(void)conn_send(c, &bad, 1);
		conn_close(c);
		return false;
	}
	return c->tls && tls_pending(c->tls);
}

/* The sink may answer, pause, or lose the client from inside of each call. */
void conn_body_read(struct conn *c)
{
	bool more = true;

	c->pumping = true;
	do {
		while (c->sink && !c->paused && (c->p.body_n || c->p.whole)) {
			struct str piece = {c->p.in.p + c->p.head_n, c->p.body_n};
			struct http_sink *s = c->sink;

			if (piece.n) {
				parse_drop_body(&c->p);
				s->piece(s, piece);
			} else {
				c->sink = NULL;
				s->end(s);
			}
		}
		more = more && conn_body_awaited(c) && receive(c);
	} while (c->sink && !c->paused && (more || c->p.body_n || c->p.whole));
	c->pumping = false;
	conn_unref(c);
}

static void read_later(void *arg)
{
	conn_body_read(arg);
}

static void go_on(struct conn *c)
{
	c->paused = false;
	conn_touch(c);
	conn_want(c);
	if (!c->body_later.queued)
		loop_defer(c->l, &c->body_later, read_later, c);
}

void http_body_start(struct http_req *r, struct http_sink *s)
{
	static const struct str line = STR("HTTP/1.1 100 Continue\r\n\r\n");
	struct conn *c = container_of(r, struct conn, req);
	bool say = c->p.wants_continue && !c->p.body_n && !c->streaming;

	if (c->state == CONN_GONE)
		return;
	c->p.wants_continue = false;
	if (say && conn_send(c, &line, 1) < 0)
		return conn_lost(c);
	c->sink = s;
	go_on(c);
}

void http_body_pause(struct http_req *r)
{
	container_of(r, struct conn, req)->paused = true;
}

void http_body_resume(struct http_req *r)
{
	struct conn *c = container_of(r, struct conn, req);

	if (c->paused && c->sink && c->state != CONN_GONE)
		go_on(c);
}
