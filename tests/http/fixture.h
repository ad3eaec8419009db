/* SPDX-License-Identifier: Apache-2.0 */
/* A server and its client share one loop; the client's end of the talk is what the tests look at. */
#pragma once
#include "http/server_int.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/io.h"
#include "tests/test.h"

struct side {
	struct loop *l;
	struct http_server *s;
	struct http_listener *hl;
	int listener, fd;
	struct loop_fd *w;
	struct buf got;
	bool eof;
	const char *until;     /* stop when got holds this */
	struct http_req *held; /* by hold() */
	int calls, gones;
	bool late; /* the guard fired */
};

static inline void echo(void *arg, struct http_req *r)
{
	struct side *x = arg;
	struct str a = http_header(r, "x-a");
	auto_buf b = {0};

	x->calls++;
	buf_addf(&b, STR_FMT " [" STR_FMT "] [" STR_FMT "] [" STR_FMT "] [", STR_ARG(r->method), STR_ARG(r->path),
		 STR_ARG(r->query), STR_ARG(a));
	buf_addstr(&b, r->body);
	buf_addc(&b, ']');
	http_reply(r, &(struct http_reply){.status = 200, .content_type = "text/plain", .body = buf_str(&b)});
}

static inline void on_gone(void *arg)
{
	struct side *x = arg;

	x->gones++;
	x->held = NULL;
	loop_stop(x->l);
}

static inline void hold(void *arg, struct http_req *r)
{
	struct side *x = arg;

	x->calls++;
	x->held = r;
	http_on_gone(r, on_gone, x);
}

static inline void side_open(struct side *x, http_handler *h, size_t body_max)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	*x = (struct side){.l = loop_new(), .fd = -1};
	x->s = http_server_new(x->l);
	x->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* An address of no bytes: the kernel chooses an abstract one. */
	CHECK(!bind(x->listener, (struct sockaddr *)&sun, sizeof(sa_family_t)));
	CHECK(!listen(x->listener, 64));
	x->hl = http_listen(x->s, x->listener,
			    &(struct http_listener_opts){.body_max = body_max, .handler = h, .arg = x});
}

static inline void on_client(void *arg, int events)
{
	struct side *x = arg;
	char tmp[4096];
	ssize_t n = recv(x->fd, tmp, sizeof(tmp), MSG_DONTWAIT);

	if (n > 0)
		buf_add(&x->got, tmp, (size_t)n);
	else if (!n || errno != EAGAIN)
		x->eof = true;
	if (x->eof)
		loop_fd_want(x->w, 0);
	if (x->eof || (x->until && x->got.n && strstr(x->got.p, x->until)))
		loop_stop(x->l);
}

static inline void hang_up(struct side *x)
{
	loop_fd_free(take_ptr(x->w));
	if (x->fd >= 0)
		close(take_fd(x->fd));
	buf_clear(&x->got);
	x->eof = false;
}

static inline void dial(struct side *x)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof(ss);

	hang_up(x);
	CHECK(!getsockname(x->listener, (struct sockaddr *)&ss, &n));
	x->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(!connect(x->fd, (struct sockaddr *)&ss, n));
	x->w = loop_fd_new(x->l, x->fd, LOOP_READ, on_client, x);
}

static inline void say(struct side *x, struct str text)
{
	while (text.n) {
		ssize_t n = send(x->fd, text.p, text.n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			return;
		text.p += n, text.n -= (size_t)n;
	}
}

static inline void stop(void *arg)
{
	struct side *x = arg;

	loop_stop(x->l);
}

static inline void guard(void *arg)
{
	struct side *x = arg;

	x->late = true;
	loop_stop(x->l);
}

/* One look at every descriptor, without waiting. */
static inline void turn(struct side *x)
{
	struct loop_defer d = {0};

	loop_defer(x->l, &d, stop, x);
	loop_run(x->l);
	loop_defer_cancel(x->l, &d); /* something else may have stopped it first */
}

static inline void wait_for(struct side *x, const char *until)
{
	struct loop_timer *t = loop_timer_new(x->l, guard, x);

	x->until = until;
	loop_timer_in(t, 5000000);
	if (!x->eof && !(until && x->got.n && strstr(x->got.p, until)))
		loop_run(x->l);
	CHECK(!x->late);
	loop_timer_free(t);
}

static inline void side_close(struct side *x)
{
	hang_up(x);
	http_server_free(x->s);
	close(x->listener);
	loop_free(x->l);
	buf_done(&x->got);
}

/* "200 200 400": the statuses in the order they came. */
static inline const char *statuses(struct side *x, char out[128])
{
	size_t n = 0;
	const char *p = x->got.p;

	out[0] = 0;
	while (p && n < 100 && (p = strstr(p, "HTTP/1.1 "))) {
		n += (size_t)snprintf(out + n, 128 - n, "%s%.3s", n ? " " : "", p + 9);
		p += 9;
	}
	return out;
}

#define H "Host: x\r\n"

/* A side whose first request waits in hold(). */
static inline void side_held(struct side *x)
{
	side_open(x, hold, 64);
	dial(x);
	say(x, STR("GET / HTTP/1.1\r\n" H "\r\n"));
	turn(x), turn(x);
}
