/* SPDX-License-Identifier: Apache-2.0 */
#include "http/client.h"
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "base/clock.h"
#include "base/limits.h"

#define ANSWER_MAX_BYTES LIM_UNZIPPED_BYTES /* larger ones are for http_call_stream */

struct call {
	int fd;
	int64_t deadline_us; /* 0: none */
	struct buf in;	     /* come, not used yet */
	struct buf head;
	int status;
	bool eof, no_body, stopped;
	int (*sink)(void *arg, int status, struct str piece);
	void *arg;
	struct err *e;
};

static void call_done(struct call *c)
{
	buf_done(&c->in);
	buf_done(&c->head);
}

void http_answer_done(struct http_answer *a)
{
	buf_done(&a->head);
	buf_done(&a->body);
}

/* ---- connecting ---- */

int http_connect_unix(const char *path, struct err *e)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	auto_close int fd = -1;

	if (strlen(path) >= sizeof(sun.sun_path))
		return err_set(e, ERR_INVALID, "socket path is too long: %s", path);
	strlcpy_(sun.sun_path, path, sizeof(sun.sun_path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, errno, "socket");
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
		if (errno == ENOENT || errno == ECONNREFUSED)
			return err_set(e, ERR_UNAVAILABLE, "nobody listens on %s", path);
		return err_sys(e, errno, "connect to %s", path);
	}
	return take_fd(fd);
}

static int connect_in(int fd, const struct addrinfo *ai, int64_t timeout_us)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	int sys = 0;
	socklen_t n = sizeof(sys);

	if (connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return -1;
	if (poll(&p, 1, (int)(timeout_us / 1000)) <= 0)
		errno = ETIMEDOUT;
	else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &sys, &n) == 0)
		errno = sys;
	return errno ? -1 : 0;
}

int http_connect_tcp(const char *host, const char *port, int64_t timeout_us, struct err *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *all;
	int fd = -1, r = getaddrinfo(host, port, &hints, &all);

	if (r)
		return err_set(e, ERR_UNAVAILABLE, "%s, port %s: %s", host, port, gai_strerror(r));
	for (struct addrinfo *ai = all; ai && fd < 0; ai = ai->ai_next) {
		fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd >= 0 && connect_in(fd, ai, timeout_us) < 0) {
			err_sys(e, errno, "connect to %s, port %s", host, port);
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(all);
	return fd;
}

/* ---- bytes ---- */

static int wait_for(struct call *c, short events, short *ret)
{
	for (;;) {
		struct pollfd p = {.fd = c->fd, .events = events};
		int64_t left_ms = -1;
		int r;

		if (c->deadline_us) {
			left_ms = (c->deadline_us - clock_now_us() + 999) / 1000;
			if (left_ms <= 0)
				return err_set(c->e, ERR_TIMEOUT, "no answer in time");
		}
		r = poll(&p, 1, left_ms > 1000000 ? 1000000 : (int)left_ms);
		if (r > 0) {
			*ret = p.revents;
			return 0;
		}
		if (r < 0 && errno != EINTR)
			return err_sys(c->e, errno, "poll");
	}
}

/* An answer can come before everything is sent: then the rest is not wanted. */
static int send_all(struct call *c, struct str s)
{
	while (s.n) {
		short got = 0;
		ssize_t n = send(c->fd, s.p, s.n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n >= 0) {
			s.p += n, s.n -= (size_t)n;
			continue;
		}
		if (errno == EPIPE || errno == ECONNRESET)
			return 0; /* it may have said why */
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return err_sys(c->e, errno, "send");
		if (wait_for(c, POLLOUT | POLLIN, &got) < 0)
			return -1;
		if (got & POLLIN)
			return 0;
	}
	return 0;
}

/* More bytes into c->in; eof instead when there are none. */
static int fill(struct call *c)
{
	short events;
	ssize_t n;

	if (c->eof)
		return err_set(c->e, ERR_UNAVAILABLE, "connection closed before the end of the answer");
	if (wait_for(c, POLLIN, &events) < 0)
		return -1;
	buf_reserve(&c->in, 65536);
	do
		n = recv(c->fd, c->in.p + c->in.n, c->in.cap - c->in.n - 1, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? err_set(c->e, ERR_UNAVAILABLE, "connection was reset")
					   : err_sys(c->e, errno, "receive");
	c->eof = !n;
	c->in.n += (size_t)n;
	c->in.p[c->in.n] = 0;
	return 0;
}

/* One line without its CRLF; it stays in c->in until the caller drops ret->n + 2. */
static int line(struct call *c, struct str *ret)
{
	for (;;) {
		const char *end = c->in.n ? memmem(c->in.p, c->in.n, "\r\n", 2) : NULL;

		if (end) {
			*ret = (struct str){c->in.p, (size_t)(end - c->in.p)};
			return 0;
		}
		if (c->in.n > LIM_HTTP_HEAD_BYTES)
			return err_set(c->e, ERR_CORRUPT, "line of the answer is too long");
		if (fill(c) < 0)
			return -1;
	}
}

/* Hands over up to n bytes that are there. 1: the sink has had enough. */
static int give(struct call *c, size_t n, size_t *left)
{
	if (n > c->in.n)
		n = c->in.n;
	if (c->sink(c->arg, c->status, (struct str){c->in.p, n}))
		c->stopped = true;
	buf_drop(&c->in, n);
	*left -= n;
	return c->stopped;
}

/* ---- the answer ---- */

static struct str header_of(const struct buf *head, const char *name)
{
	struct str rest = buf_str(head), one, key, value;

	while (str_cut(rest, '\n', &one, &rest)) {
		if (one.n && one.p[one.n - 1] == '\r')
			one.n--;
		if (str_cut(one, ':', &key, &value) && str_caseeqc(key, name))
			return str_trim(value);
	}
	return STR_NULL;
}

struct str http_answer_header(const struct http_answer *a, const char *name)
{
	return header_of(&a->head, name);
}

static int read_head(struct call *c)
{
	struct str l;
	int64_t status;

	do {
		if (line(c, &l) < 0)
			return -1;
		if (!str_starts(l, "HTTP/1.") || l.n < 12 || l.p[8] != ' ' ||
		    str_to_i64((struct str){l.p + 9, 3}, 100, 999, &status) < 0)
			return err_set(c->e, ERR_CORRUPT, "this is not an HTTP answer");
		buf_drop(&c->in, l.n + 2);
		buf_clear(&c->head);
		for (;;) {
			if (line(c, &l) < 0)
				return -1;
			if (!l.n)
				break;
			buf_add(&c->head, l.p, l.n + 2);
			buf_drop(&c->in, l.n + 2);
			if (c->head.n > LIM_HTTP_HEAD_BYTES)
				return err_set(c->e, ERR_CORRUPT, "head of the answer is too long");
		}
		buf_drop(&c->in, 2);
	} while (status < 200);
	c->status = (int)status;
	if (status == 204 || status == 304)
		c->no_body = true;
	return 0;
}

static int chunk_size(struct call *c, size_t *ret)
{
	struct str l, ext;
	size_t v = 0;

	if (line(c, &l) < 0)
		return -1;
	ext = l;
	str_cut(l, ';', &ext, &(struct str){0});
	ext = str_trim(ext);
	if (!ext.n || ext.n > 15)
		goto bad;
	for (size_t i = 0; i < ext.n; i++) {
		char ch = ext.p[i];

		if (ch >= '0' && ch <= '9')
			v = v << 4 | (size_t)(ch - '0');
		else if ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'f')
			v = v << 4 | (size_t)((ch | 0x20) - 'a' + 10);
		else
			goto bad;
	}
	buf_drop(&c->in, l.n + 2);
	*ret = v;
	return 0;
bad:
	return err_set(c->e, ERR_CORRUPT, "bad chunk in the answer");
}

static int read_counted(struct call *c, size_t left)
{
	while (left) {
		if (!c->in.n && fill(c) < 0)
			return -1;
		if (c->in.n && give(c, left, &left))
			return 0;
	}
	return 0;
}

static int read_chunks(struct call *c)
{
	struct str l;
	size_t n = 0;

	for (;;) {
		if (chunk_size(c, &n) < 0)
			return -1;
		if (!n)
			break;
		if (read_counted(c, n) < 0)
			return -1;
		if (c->stopped)
			return 0;
		if (line(c, &l) < 0)
			return -1;
		if (l.n)
			return err_set(c->e, ERR_CORRUPT, "chunk of the answer is longer than it says");
		buf_drop(&c->in, 2);
	}
	do { /* trailers */
		if (line(c, &l) < 0)
			return -1;
		n = l.n;
		buf_drop(&c->in, n + 2);
	} while (n);
	return 0;
}

static int read_body(struct call *c)
{
	struct str te = header_of(&c->head, "transfer-encoding"), cl = header_of(&c->head, "content-length");
	size_t all = SIZE_MAX;
	int64_t n;

	if (c->no_body)
		return 0;
	if (te.p)
		return str_caseeqc(te, "chunked") ? read_chunks(c)
						  : err_set(c->e, ERR_CORRUPT, "unknown transfer coding");
	if (cl.p) {
		if (str_to_i64(cl, 0, INT64_MAX, &n) < 0)
			return err_set(c->e, ERR_CORRUPT, "bad Content-Length in the answer");
		return read_counted(c, (size_t)n);
	}
	while (!c->eof || c->in.n) {
		if (c->in.n && give(c, c->in.n, &all))
			return 0;
		if (!c->eof && fill(c) < 0)
			return -1;
	}
	return 0;
}

static int has_line_break(const char *s)
{
	return strpbrk(s, "\r\n") != NULL;
}

static int exchange(struct call *c, const char *method, const char *target, const char *headers, struct str body)
{
	struct buf host = {.p = (char *)(uintptr_t)headers, .n = headers ? strlen(headers) : 0};
	auto_buf req = {0};

	/* A name typed by a user must not become a header. */
	if (has_line_break(method) || has_line_break(target) || strchr(target, ' '))
		return err_set(c->e, ERR_INVALID, "bad request target");
	buf_addf(&req, "%s %s HTTP/1.1\r\n", method, target);
	if (!header_of(&host, "host").p)
		buf_adds(&req, "Host: localhost\r\n");
	if (headers)
		buf_adds(&req, headers);
	if (body.n || !strcmp(method, "POST") || !strcmp(method, "PUT"))
		buf_addf(&req, "Content-Length: %zu\r\n", body.n);
	buf_adds(&req, "\r\n");
	if (body.n <= 65536) {
		buf_addstr(&req, body);
		body.n = 0;
	}
	c->no_body = !strcmp(method, "HEAD");
	if (send_all(c, buf_str(&req)) < 0 || send_all(c, body) < 0)
		return -1;
	return read_head(c);
}

struct whole {
	struct buf body;
	bool too_large;
};

static int keep(void *arg, int status, struct str piece)
{
	struct whole *w = arg;

	(void)status;
	w->too_large = piece.n > ANSWER_MAX_BYTES - w->body.n;
	if (!w->too_large)
		buf_addstr(&w->body, piece);
	return w->too_large;
}

int http_call(int fd, const char *method, const char *target, const char *headers, struct str body, int64_t timeout_us,
	      struct http_answer *ret, struct err *e)
{
	struct whole w = {0};
	auto_(call_done) struct call c = {.fd = fd, .sink = keep, .arg = &w, .e = e};

	if (timeout_us)
		c.deadline_us = clock_now_us() + timeout_us;
	if (exchange(&c, method, target, headers, body) < 0 || read_body(&c) < 0) {
		buf_done(&w.body);
		return -1;
	}
	if (w.too_large) {
		buf_done(&w.body);
		return err_set(e, ERR_LIMIT, "answer is larger than %d bytes", ANSWER_MAX_BYTES);
	}
	*ret = (struct http_answer){.status = c.status, .head = c.head, .body = w.body};
	c.head = (struct buf){0};
	return 0;
}

static int enough(void *arg, int status, struct str piece)
{
	return 1;
}

int http_call_head(int fd, const char *method, const char *target, const char *headers, struct str body,
		   int64_t timeout_us, struct http_answer *ret, struct err *e)
{
	auto_(call_done) struct call c = {.fd = fd, .deadline_us = clock_now_us() + timeout_us, .sink = enough, .e = e};

	if (exchange(&c, method, target, headers, body) < 0)
		return -1;
	*ret = (struct http_answer){.status = c.status, .head = c.head};
	c.head = (struct buf){0};
	return 0;
}

int http_call_stream(int fd, const char *method, const char *target, const char *headers, struct str body,
		     int (*sink)(void *arg, int status, struct str piece), void *arg, struct err *e)
{
	auto_(call_done) struct call c = {.fd = fd, .sink = sink, .arg = arg, .e = e};

	if (exchange(&c, method, target, headers, body) < 0)
		return -1;
	/* Says the status even when no body ever comes. */
	if (sink(arg, c.status, STR("")))
		return 0;
	return read_body(&c);
}
