/* SPDX-License-Identifier: Apache-2.0 */
#include "http/tunnel.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define PIECE_BYTES 65536

static struct tunnel_end *other(struct tunnel_end *e)
{
	return &e->t->ends[e == e->t->ends];
}

static bool waiting(const struct tunnel_end *e)
{
	return e->out.n > e->out_at;
}

static void want(struct tunnel_end *e)
{
	loop_fd_want(e->w, (e->eof || waiting(other(e)) ? 0 : LOOP_READ) | (waiting(e) ? LOOP_WRITE : 0));
}

/* -1: it takes nothing more. What is not taken for now is kept. */
static int give(struct tunnel_end *e, struct str text)
{
	ssize_t n = send(e->fd, text.p, text.n, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
		return -1;
	n = n < 0 ? 0 : n;
	if (waiting(e))
		e->out_at += (size_t)n;
	else
		buf_add(&e->out, text.p + n, text.n - (size_t)n);
	if (!waiting(e)) {
		buf_done(&e->out);
		e->out_at = 0;
	}
	return 0;
}

/* 1: there may be more, 0: not for now, or never, -1: it broke. */
static int take(struct tunnel_end *e)
{
	char piece[PIECE_BYTES];
	ssize_t n = recv(e->fd, piece, sizeof(piece), 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	e->eof = !n;
	e->t->bytes[e != e->t->ends] += n;
	return n ? give(other(e), (struct str){piece, (size_t)n}) : 0;
}

/* It has all that was for it, and no more will come. */
static void pass_eof(struct tunnel_end *e)
{
	if (other(e)->eof && !waiting(e))
		shutdown(e->fd, SHUT_WR);
}

static void on_event(void *arg, int events)
{
	struct tunnel_end *e = arg, *o = other(e);
	struct tunnel *t = e->t;
	bool over;
	int r = 0;

	if (events & LOOP_WRITE && waiting(e)) {
		r = give(e, (struct str){e->out.p + e->out_at, e->out.n - e->out_at});
		if (!r)
			pass_eof(e);
	}
	if (!r && events & LOOP_READ && !e->eof && !waiting(o)) {
		r = take(e);
		if (!r)
			pass_eof(o);
	}
	over = t->no_halves ? e->eof || o->eof : e->eof && o->eof;
	if (r < 0 || (over && !waiting(e) && !waiting(o))) {
		tunnel_cancel(t);
		t->done(t);
		return;
	}
	want(e);
	want(o);
}

/* A peer that vanished is found after two minutes; small pieces do not wait for larger ones. On other sockets than TCP's
 * it has no effect. */
static void set_up(int fd)
{
	static const int idle_s = 60, step_s = 15, steps = 4, on = 1;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &step_s, sizeof(step_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &steps, sizeof(steps));
}

void tunnel_start(struct tunnel *t, struct loop *l, const int fds[2], const struct str first[2])
{
	t->bytes[0] = t->bytes[1] = 0;
	for (int i = 0; i < 2; i++) {
		t->ends[i] = (struct tunnel_end){.t = t, .fd = fds[i]};
		set_up(fds[i]);
		buf_addstr(&t->ends[i].out, first[!i]);
	}
	for (int i = 0; i < 2; i++)
		t->ends[i].w = loop_fd_new(l, fds[i], 0, on_event, &t->ends[i]);
	want(&t->ends[0]);
	want(&t->ends[1]);
}

void tunnel_cancel(struct tunnel *t)
{
	for (int i = 0; i < 2; i++) {
		struct tunnel_end *e = &t->ends[i];

		if (!e->w)
			continue;
		loop_fd_free(take_ptr(e->w));
		close(e->fd);
		buf_done(&e->out);
	}
}
