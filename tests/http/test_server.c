/* SPDX-License-Identifier: Apache-2.0 */
/* Server and client share one loop; the client's end of the talk is what the tests look at. */
#include "http/server_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/limits.h"
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

static void echo(void *arg, struct http_req *r)
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

static void on_gone(void *arg)
{
	struct side *x = arg;

	x->gones++;
	x->held = NULL;
	loop_stop(x->l);
}

static void hold(void *arg, struct http_req *r)
{
	struct side *x = arg;

	x->calls++;
	x->held = r;
	http_on_gone(r, on_gone, x);
}

static void hold_only(void *arg, struct http_req *r)
{
	struct side *x = arg;

	x->calls++;
	x->held = r;
}

static void side_open(struct side *x, http_handler *h, size_t body_max)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	socklen_t n = sizeof(sun);

	*x = (struct side){.l = loop_new(), .fd = -1};
	x->s = http_server_new(x->l);
	x->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* An address of no bytes: the kernel chooses an abstract one. */
	CHECK(!bind(x->listener, (struct sockaddr *)&sun, sizeof(sa_family_t)));
	CHECK(!listen(x->listener, 64));
	x->hl = http_listen(x->s, x->listener,
			    &(struct http_listener_opts){.body_max = body_max, .handler = h, .arg = x});
	(void)n;
}

static void on_client(void *arg, int events)
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

static void hang_up(struct side *x)
{
	loop_fd_free(take_ptr(x->w));
	if (x->fd >= 0)
		close(take_fd(x->fd));
	buf_clear(&x->got);
	x->eof = false;
}

static void dial(struct side *x)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof(ss);

	hang_up(x);
	CHECK(!getsockname(x->listener, (struct sockaddr *)&ss, &n));
	x->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(!connect(x->fd, (struct sockaddr *)&ss, n));
	x->w = loop_fd_new(x->l, x->fd, LOOP_READ, on_client, x);
}

static void say(struct side *x, struct str text)
{
	while (text.n) {
		ssize_t n = send(x->fd, text.p, text.n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			return;
		text.p += n, text.n -= (size_t)n;
	}
}

static void stop(void *arg)
{
	struct side *x = arg;

	loop_stop(x->l);
}

static void guard(void *arg)
{
	struct side *x = arg;

	x->late = true;
	loop_stop(x->l);
}

/* One look at every descriptor, without waiting. */
static void turn(struct side *x)
{
	struct loop_defer d = {0};

	loop_defer(x->l, &d, stop, x);
	loop_run(x->l);
	loop_defer_cancel(x->l, &d); /* something else may have stopped it first */
}

static void wait_for(struct side *x, const char *until)
{
	struct loop_timer *t = loop_timer_new(x->l, guard, x);

	x->until = until;
	loop_timer_in(t, 5000000);
	if (!x->eof && !(until && x->got.n && strstr(x->got.p, until)))
		loop_run(x->l);
	CHECK(!x->late);
	loop_timer_free(t);
}

static void side_close(struct side *x)
{
	hang_up(x);
	http_server_free(x->s);
	close(x->listener);
	loop_free(x->l);
	buf_done(&x->got);
}

/* "200 200 400": the statuses in the order they came. */
static const char *statuses(struct side *x, char out[128])
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

#define H   "Host: x\r\n"
#define END "GET /end HTTP/1.1\r\n" H "Connection: close\r\n\r\n"

static const struct {
	struct str text;
	const char *want; /* statuses until the connection ends */
	const char *part; /* of what came */
} table[] = {
#define GOOD(text, part)                                                                                               \
	{                                                                                                              \
		STR(text END), "200 200", part                                                                         \
	}
#define BAD(text, status)                                                                                              \
	{                                                                                                              \
		STR(text END), status, "Connection: close"                                                             \
	}
	GOOD("GET / HTTP/1.1\r\n" H "\r\n", "GET [/] [] [] []"),
	GOOD("\r\n\r\nGET /a?b=c&d?e HTTP/1.1\r\n" H "X-A: v \t w \t\r\n\r\n", "GET [/a] [b=c&d?e] [v \t w] []"),
	GOOD("GET /%41?%20 HTTP/1.1\r\n" H "x-A:\r\n\r\n", "GET [/%41] [%20] [] []"),
	GOOD("GET http://h:80/p?q HTTP/1.1\r\n" H "\r\n", "GET [/p] [q]"),
	GOOD("GET http://h?p=/q HTTP/1.1\r\n" H "\r\n", "GET [/] [p=/q]"),
	GOOD("OPTIONS * HTTP/1.1\r\n" H "\r\n", "OPTIONS [*]"),
	GOOD("POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello", "[hello]"),
	GOOD("POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", "POST [/] [] [] []"),
	GOOD("POST / HTTP/1.1\r\n" H "content-length: 5\r\nX-A: a\r\n\r\nGET /", "[a] [GET /]"),
	GOOD("PUT / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
	     "[hello world]"),
	GOOD("PUT / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n" H "\r\nA\r\n0123456789\r\n0\r\nX-A: trailer\r\n\r\n",
	     "[] [0123456789]"),
	GOOD("PUT / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "PUT [/] [] [] []"),
	GOOD("GET / HTTP/1.1\r\n" H "Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "GET [/]"),
	GOOD("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "Connection: keep-alive"),
	GOOD("DELETE /d HTTP/1.1\r\n" H "X-A: 1\r\nX-A: 2\r\n\r\n", "DELETE [/d] [] [1] []"),
	GOOD("GET / HTTP/1.1\r\n" H "X-A: caf\xc3\xa9\r\n\r\n", "[caf\xc3\xa9]"),
	{STR("HEAD / HTTP/1.1\r\n" H "\r\n" END), "200 200", "Content-Length: 17\r\n\r\nHTTP/1.1 200 OK"},
	{STR("GET / HTTP/1.0\r\n\r\n"), "200", "Connection: close"},
	{STR("GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n" END), "200", "Connection: close"},
	/* two readings of where a message ends */
	BAD("POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\nhello", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\nhello", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\nhello", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Content-Length: 5 5\r\n\r\nhello", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\nhello", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551617\r\n\r\nh", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Content-Length : 5\r\n\r\nhello", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501"),
	BAD("POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", "501"),
	BAD("POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "501"),
	BAD("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
	BAD("POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\ng\r\n\r\n", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "400"),
	BAD("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", "400"),
	/* lines */
	BAD("GET / HTTP/1.1\r\n" H "X-A: b\r\n c\r\n\r\n", "400"),
	BAD("GET / HTTP/1.1\r\n" H "X-A: b\r\n \r\n\r\n", "400"),
	BAD("GET / HTTP/1.1\r\n" H "X-A:\r\n\tc\r\nX-B: d\r\n\r\n", "400"),
	BAD("GET / HTTP/1.1\r\n " H "\r\n", "400"),
	BAD("GET / HTTP/1.1\n" H "\r\n", "400"),
	BAD("GET / HTTP/1.1\r\nHost: x\nX-A: b\r\n\r\n", "400"),
	BAD("GET / HTTP/1.1\r\nHost: x\rX-A: b\r\n\r\n", "400"),
	BAD("GET / HTTP/1.1\r\n" H "\n", "400"),
	BAD("GET / HTTP/1.1\r\n" H "X-A: a\0b\r\n\r\n", "400"),
	BAD("GET / HTTP/1.1\r\n" H "X\0A: b\r\n\r\n", "400"),
	BAD("GET / HTTP/1.1\r\n" H "X-A: a\x01\r\n\r\n", "400"),
	BAD("GET / HTTP/1.1\r\n" H "X A: b\r\n\r\n", "400"),
	BAD("GET / HTTP/1.1\r\n" H ": b\r\n\r\n", "400"),
	BAD("GET / HTTP/1.1\r\n" H "X-A\r\n\r\n", "400"),
	BAD("GET  / HTTP/1.1\r\n" H "\r\n", "400"),
	BAD("GET /  HTTP/1.1\r\n" H "\r\n", "400"),
	BAD("GET / HTTP/1.1 \r\n" H "\r\n", "505"),
	BAD("GET /a\0b HTTP/1.1\r\n" H "\r\n", "400"),
	BAD("GET /\r\n\r\n", "505"),
	BAD("GET / http/1.1\r\n" H "\r\n", "400"),
	BAD(" GET / HTTP/1.1\r\n" H "\r\n", "400"),
	BAD("\x16\x03\x01\x02\x00\x01", "400"),
	/* others */
	BAD("GET / HTTP/1.1\r\n\r\n", "400"),
	BAD("GET / HTTP/1.1\r\n" H H "\r\n", "400"),
	BAD("GET / HTTP/1.2\r\n" H "\r\n", "505"),
	BAD("GET / HTTP/3.0\r\n" H "\r\n", "505"),
	BAD("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"),
	BAD("NONSENSE / HTTP/1.1\r\n" H "\r\n", "501"),
	BAD("CONNECT a:1 HTTP/1.1\r\n" H "\r\n", "501"),
	BAD("POST / HTTP/1.1\r\n" H "Expect: tea\r\nContent-Length: 1\r\n\r\nx", "417"),
	BAD("POST / HTTP/1.1\r\n" H "Content-Length: 65\r\n\r\n", "413"),
	BAD("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n41\r\n", "413"),
	BAD("POST / HTTP/1.1\r\n" H
	    "Transfer-Encoding: chunked\r\n\r\n20\r\n01234567890123456789012345678901\r\n21\r\n",
	    "413"),
};

static void check_talk(struct side *x, size_t i, const char *how)
{
	char st[128];

	wait_for(x, NULL);
	if (strcmp(statuses(x, st), table[i].want) || !memmem(x->got.p, x->got.n, table[i].part, strlen(table[i].part)))
		printf("%s #%zu: " STR_FMT "\n-> %s\n%s\n", how, i, STR_ARG(table[i].text), st,
		       x->got.p ? x->got.p : "");
	CHECK_STR(st, table[i].want);
	CHECK(x->got.n && memmem(x->got.p, x->got.n, table[i].part, strlen(table[i].part)));
}

TEST(talks_at_once)
{
	struct side x;

	side_open(&x, echo, 64);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		dial(&x);
		say(&x, table[i].text);
		check_talk(&x, i, "at once");
	}
	hang_up(&x);
	turn(&x), turn(&x);
	CHECK(http_server_conns(x.s) == 0);
	side_close(&x);
}

TEST(talks_byte_by_byte)
{
	struct side x;

	side_open(&x, echo, 64);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		dial(&x);
		for (size_t k = 0; k < table[i].text.n && !x.eof; k++) {
			say(&x, (struct str){table[i].text.p + k, 1});
			turn(&x);
		}
		check_talk(&x, i, "byte by byte");
	}
	side_close(&x);
}

TEST(pipeline)
{
	struct side x;
	auto_buf b = {0};
	char want[32];
	const char *p;

	side_open(&x, echo, 64);
	dial(&x);
	for (int i = 0; i < 500; i++)
		buf_addf(&b, "POST /%d HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", i);
	buf_adds(&b, END);
	say(&x, buf_str(&b));
	wait_for(&x, NULL);
	CHECK(x.calls == 501);
	p = x.got.p;
	for (int i = 0; i < 500 && p; i++) {
		snprintf(want, sizeof(want), "POST [/%d] ", i);
		p = strstr(p, want);
	}
	CHECK(p);
	side_close(&x);
}

TEST(pipeline_waits_for_a_late_answer)
{
	struct side x;
	char st[128];

	side_open(&x, hold, 64);
	dial(&x);
	say(&x, STR("GET /1 HTTP/1.1\r\n" H "\r\nGET /2 HTTP/1.1\r\n" H "\r\nGET /3"));
	turn(&x), turn(&x), turn(&x);
	CHECK(x.calls == 1 && x.held && str_eqc(x.held->path, "/1"));
	say(&x, STR(" HTTP/1.1\r\n" H "\r\n"));
	turn(&x);
	http_reply(x.held, &(struct http_reply){.status = 204});
	CHECK(x.calls == 1); /* no call back from inside the reply */
	turn(&x);
	CHECK(x.calls == 2 && str_eqc(x.held->path, "/2"));
	http_reply(x.held, &(struct http_reply){.status = 201, .body = STR("two")});
	turn(&x), turn(&x);
	CHECK(x.calls == 3 && str_eqc(x.held->path, "/3"));
	http_reply(x.held, &(struct http_reply){.status = 418, .headers = STR("X-B: c\r\n"), .body = STR("three")});
	wait_for(&x, "three");
	CHECK_STR(statuses(&x, st), "204 201 418");
	CHECK(strstr(x.got.p, "X-B: c\r\n") && !strstr(x.got.p, "204 No Content\r\nContent-Length"));
	CHECK(x.gones == 0);
	side_close(&x);
}

TEST(expect_continue)
{
	struct side x;
	char st[128];

	side_open(&x, echo, 64);
	dial(&x);
	say(&x, STR("POST / HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 5\r\n\r\n"));
	wait_for(&x, "100 Continue\r\n\r\n");
	CHECK(x.calls == 0);
	say(&x, STR("hello"));
	wait_for(&x, "[hello]");
	/* Not when the body is there already, nor when it is too large. */
	say(&x, STR("POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nagain"));
	wait_for(&x, "[again]");
	say(&x, STR("POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 500\r\n\r\n"));
	wait_for(&x, NULL);
	CHECK_STR(statuses(&x, st), "100 200 200 413");
	side_close(&x);
}

TEST(large_body_both_ways)
{
	struct side x;
	auto_buf b = {0};
	const size_t n = 3000000;
	size_t at = 0;

	side_open(&x, echo, n);
	dial(&x);
	buf_addf(&b, "POST /big HTTP/1.1\r\n" H "Content-Length: %zu\r\nConnection: close\r\n\r\n", n);
	for (size_t i = 0; i < n; i++)
		buf_addc(&b, (char)('a' + i % 23));
	while (at < b.n && !x.eof) {
		ssize_t put = send(x.fd, b.p + at, b.n - at, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (put > 0)
			at += (size_t)put;
		turn(&x);
	}
	wait_for(&x, NULL);
	CHECK(x.calls == 1 && x.got.n > n && !memcmp(x.got.p + x.got.n - n - 1, b.p + b.n - n, n));
	side_close(&x);
}

TEST(head_limits)
{
	static const struct {
		const char *piece;
		int times;
		const char *want;
	} cases[] = {
		{"GET /", 1, "414"},
		{"GET / HTTP/1.1\r\n" H "X-A: ", 1, "431"},
		{"GET / HTTP/1.1\r\n" H, LIM_HTTP_HEADERS, "431"},
	};
	struct side x;

	side_open(&x, echo, 64);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		auto_buf b = {0};
		char st[128];

		buf_adds(&b, cases[i].piece);
		if (cases[i].times > 1)
			for (int k = 0; k < cases[i].times; k++)
				buf_addf(&b, "X-%d: y\r\n", k);
		else
			for (int k = 0; k < LIM_HTTP_HEAD_BYTES; k++)
				buf_addc(&b, 'a');
		if (i)
			buf_adds(&b, "\r\n\r\n");
		dial(&x);
		say(&x, buf_str(&b));
		wait_for(&x, NULL);
		CHECK_STR(statuses(&x, st), cases[i].want);
	}
	CHECK(x.calls == 0);
	side_close(&x);
}

TEST(stream)
{
	struct side x;

	side_open(&x, hold, 64);
	dial(&x);
	say(&x, STR("GET / HTTP/1.1\r\n" H "\r\n"));
	turn(&x), turn(&x);
	http_stream_begin(x.held, 200, "text/event-stream", STR("X-B: c\r\n"));
	wait_for(&x, "\r\n\r\n"); /* the head does not wait for the body */
	CHECK(strstr(x.got.p, "Transfer-Encoding: chunked\r\n") && strstr(x.got.p, "X-B: c\r\n"));
	CHECK(http_stream_write(x.held, STR("hello")) && http_stream_write(x.held, STR("")) &&
	      http_stream_write(x.held, STR("0123456789abcdef")));
	http_stream_end(x.held);
	wait_for(&x, "0\r\n\r\n");
	CHECK(str_ends(buf_str(&x.got), "\r\n\r\n5\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"));
	/* The same connection goes on; HTTP/1.0 has no chunks, HEAD no body. */
	say(&x, STR("HEAD / HTTP/1.1\r\n" H "\r\n"));
	turn(&x), turn(&x);
	buf_clear(&x.got);
	http_stream_begin(x.held, 200, NULL, STR(""));
	CHECK(http_stream_write(x.held, STR("hello")));
	http_stream_end(x.held);
	wait_for(&x, "\r\n\r\n");
	CHECK(!strstr(x.got.p, "hello") && str_ends(buf_str(&x.got), "chunked\r\n\r\n"));
	say(&x, STR("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
	turn(&x), turn(&x);
	buf_clear(&x.got);
	http_stream_begin(x.held, 200, NULL, STR(""));
	CHECK(http_stream_write(x.held, STR("hello")));
	http_stream_end(x.held);
	wait_for(&x, NULL);
	CHECK(str_ends(buf_str(&x.got), "Connection: close\r\n\r\nhello"));
	CHECK(x.gones == 0);
	side_close(&x);
}

TEST(stream_to_a_slow_client)
{
	struct side x;
	static char piece[65536];
	size_t n = 0;

	side_open(&x, hold, 64);
	dial(&x);
	say(&x, STR("GET / HTTP/1.0\r\n\r\n"));
	turn(&x), turn(&x);
	http_stream_begin(x.held, 200, NULL, STR(""));
	while (!http_stream_queued(x.held) || n < 20 * sizeof(piece)) {
		CHECK(http_stream_write(x.held, (struct str){piece, sizeof(piece)}));
		n += sizeof(piece);
	}
	CHECK(http_stream_queued(x.held) > 0);
	http_stream_end(x.held);
	wait_for(&x, NULL);
	CHECK(x.got.n > n && x.gones == 0);
	side_close(&x);
}

TEST(gone)
{
	struct side x;

	/* While the answer is awaited. */
	side_open(&x, hold, 64);
	dial(&x);
	say(&x, STR("GET / HTTP/1.1\r\n" H "\r\n"));
	turn(&x), turn(&x);
	CHECK(x.held);
	hang_up(&x);
	turn(&x);
	CHECK(x.gones == 1 && http_server_conns(x.s) == 0);
	/* In the middle of a stream. */
	dial(&x);
	say(&x, STR("GET / HTTP/1.1\r\n" H "\r\n"));
	turn(&x), turn(&x);
	http_stream_begin(x.held, 200, NULL, STR(""));
	turn(&x);
	hang_up(&x);
	CHECK(!http_stream_write(x.held, STR("more")));
	CHECK(!http_stream_write(x.held, STR("more")));
	http_stream_end(x.held);
	turn(&x), turn(&x);
	CHECK(x.gones == 1 && http_server_conns(x.s) == 0);
	/* Told by write, but not let go: then it is called. */
	dial(&x);
	say(&x, STR("GET / HTTP/1.1\r\n" H "\r\n"));
	turn(&x), turn(&x);
	http_stream_begin(x.held, 200, NULL, STR(""));
	hang_up(&x);
	CHECK(!http_stream_write(x.held, STR("more")));
	turn(&x);
	CHECK(x.gones == 2);
	/* With the server itself. */
	dial(&x);
	say(&x, STR("GET / HTTP/1.1\r\n" H "\r\n"));
	turn(&x), turn(&x);
	http_listener_free(x.hl);
	CHECK(x.gones == 3);
	side_close(&x);
}

TEST(gone_nobody_asked)
{
	struct side x;
	struct http_req *r;

	side_open(&x, hold_only, 64);
	for (int how = 0; how < 4; how++) {
		dial(&x);
		say(&x, STR("POST / HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nbody"));
		turn(&x), turn(&x);
		r = x.held;
		hang_up(&x);
		turn(&x);
		CHECK(http_server_conns(x.s) == 0 && str_eqc(r->body, "body"));
		if (how == 0) {
			http_reply(r, &(struct http_reply){.status = 200});
		} else if (how == 1) {
			http_stream_begin(r, 200, NULL, STR(""));
			CHECK(!http_stream_write(r, STR("x")));
			http_stream_end(r);
		} else if (how == 2) {
			http_on_gone(r, on_gone, &x);
			CHECK(x.gones == 0);
			turn(&x);
			CHECK(x.gones == 1);
		}
	}
	/* The last one outlives the server. */
	r = x.held;
	hang_up(&x);
	http_server_free(x.s);
	http_reply(r, &(struct http_reply){.status = 200});
	x.s = NULL;
	side_close(&x);
}

TEST(drain)
{
	struct side x, y;

	side_open(&x, hold, 64);
	dial(&x);
	say(&x, STR("GET / HTTP/1.1\r\n" H "\r\n"));
	turn(&x), turn(&x);
	/* A second client, idle, of the same server. */
	y = (struct side){.l = x.l, .listener = x.listener, .fd = -1};
	dial(&y);
	turn(&x), turn(&x);
	CHECK(http_server_conns(x.s) == 2);
	http_server_drain(x.s);
	wait_for(&y, NULL);
	CHECK(y.eof && http_server_conns(x.s) == 1);
	http_reply(x.held, &(struct http_reply){.status = 200, .body = STR("last")});
	wait_for(&x, NULL);
	CHECK(strstr(x.got.p, "Connection: close\r\n") && str_ends(buf_str(&x.got), "last"));
	CHECK(http_server_conns(x.s) == 0);
	hang_up(&y);
	buf_done(&y.got);
	side_close(&x);
}

/* Requests of two clients; both answers are given before any may leave. */
static void answer_together(struct side *x, struct side *y)
{
	struct http_req *first;

	side_open(x, hold, 64);
	*y = (struct side){.l = x->l, .listener = x->listener, .fd = -1};
	dial(x);
	say(x, STR("GET /x HTTP/1.1\r\n" H "\r\n"));
	for (int i = 0; i < 10 && x->calls < 1; i++)
		turn(x);
	first = x->held;
	dial(y);
	say(y, STR("GET /y HTTP/1.1\r\n" H "\r\n"));
	for (int i = 0; i < 10 && x->calls < 2; i++)
		turn(x);
	CHECK(first && x->held && first != x->held);
	http_reply(first, &(struct http_reply){.status = 200, .body = STR("one"), .together = true});
	http_reply(x->held, &(struct http_reply){.status = 200, .body = STR("two"), .together = true});
	CHECK(recv(x->fd, &(char){0}, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

TEST(together)
{
	struct side x, y;

	answer_together(&x, &y);
	say(&x, STR("GET /z HTTP/1.1\r\n" H "\r\n")); /* before its answer: it waits */
	wait_for(&x, "one");
	wait_for(&y, "two");
	for (int i = 0; i < 10 && x.calls < 3; i++)
		turn(&x);
	CHECK(x.calls == 3 && str_eqc(x.held->path, "/z"));
	http_reply(x.held, &(struct http_reply){.status = 200, .body = STR("three"), .together = true});
	wait_for(&x, "three");
	CHECK(x.gones == 0);
	hang_up(&y);
	buf_done(&y.got);
	side_close(&x);
}

TEST(together_at_the_end)
{
	struct side x, y;

	answer_together(&x, &y);
	hang_up(&y);
	http_server_drain(x.s); /* what was answered arrives all the same */
	wait_for(&x, NULL);
	CHECK(x.eof && str_ends(buf_str(&x.got), "one") && x.gones == 0);
	for (int i = 0; i < 10 && http_server_conns(x.s); i++)
		turn(&x);
	CHECK(http_server_conns(x.s) == 0);
	buf_done(&y.got);
	side_close(&x);
}

TEST(times_out)
{
	struct side x;
	char st[128];

	side_open(&x, echo, 64);
	http_listener_free(x.hl);
	x.hl = http_listen(x.s, x.listener,
			   &(struct http_listener_opts){.body_max = 64, .idle_us = 1000, .handler = echo, .arg = &x});
	dial(&x);
	wait_for(&x, NULL);
	CHECK(x.eof && !x.got.n);
	/* The clock is moved on before the sweep that the first byte asked for. */
	dial(&x);
	say(&x, STR("GET / HTTP/1.1\r\nHo"));
	turn(&x), turn(&x);
	clock_test_stop();
	clock_test_step(21000000);
	loop_clock_changed(x.l);
	wait_for(&x, NULL);
	clock_test_resume();
	loop_clock_changed(x.l);
	CHECK_STR(statuses(&x, st), "408");
	side_close(&x);
}

/* As dial, from now on, over TCP. */
static struct http_listener *listen_tcp(struct side *x, http_handler *h, size_t body_max)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	x->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(!bind(x->listener, (struct sockaddr *)&sin, sizeof(sin)) && !listen(x->listener, 512));
	return http_listen(x->s, x->listener,
			   &(struct http_listener_opts){.body_max = body_max, .handler = h, .arg = x});
}

/* The operator gets through, whatever clients over TCP hold. */
TEST(too_many_connections)
{
	struct side x;
	int local, fds[300];

	side_open(&x, echo, 64);
	local = x.listener;
	listen_tcp(&x, echo, 64);
	x.s->max_conns = 256;
	for (size_t k = 0; k < ARRAY_SIZE(fds); k++) {
		dial(&x);
		loop_fd_free(take_ptr(x.w));
		fds[k] = take_fd(x.fd);
		turn(&x);
	}
	while (x.s->n_conns < 256)
		turn(&x);
	turn(&x);
	CHECK(x.s->n_conns == 256);
	close(x.listener);
	x.listener = local;
	dial(&x);
	say(&x, STR("GET / HTTP/1.1\r\n" H "\r\n"));
	wait_for(&x, "\r\n\r\n");
	CHECK(!strncmp(x.got.p, "HTTP/1.1 200", 12));
	for (size_t k = 0; k < ARRAY_SIZE(fds); k++)
		close(fds[k]);
	side_close(&x);
}

/* Large bodies that never become whole; then a small request. */
TEST(too_much_held)
{
	static char body[200000];
	struct side x;
	int local, fds[6];
	char st[128];

	side_open(&x, echo, 1 << 20);
	local = x.listener;
	listen_tcp(&x, echo, 1 << 20);
	x.s->max_bytes = 1 << 20;
	for (size_t k = 0; k < ARRAY_SIZE(fds); k++) {
		size_t held = x.s->tcp_bytes, sent = 0;

		dial(&x);
		say(&x, STR("PUT / HTTP/1.1\r\n" H "Content-Length: 1000000\r\n\r\n"));
		while (sent < sizeof(body) && !x.eof && !x.got.n) {
			ssize_t n = send(x.fd, body + sent, sizeof(body) - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

			sent += n > 0 ? (size_t)n : 0;
			turn(&x);
		}
		while (x.s->tcp_bytes < held + sizeof(body) && !x.eof && !x.got.n)
			turn(&x);
		if (x.got.n)
			break;
		loop_fd_free(take_ptr(x.w));
		fds[k] = take_fd(x.fd);
	}
	CHECK_STR(statuses(&x, st), "503");
	CHECK(x.s->tcp_bytes <= (1 << 20) + sizeof(body));
	dial(&x);
	say(&x, STR("PUT / HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nhi"));
	wait_for(&x, "hi");
	CHECK_STR(statuses(&x, st), "200");
	http_server_close(x.s);
	CHECK(!x.s->tcp_bytes && !x.s->n_conns && !x.s->n_tcp);
	close(local);
	side_close(&x);
}

TEST(tcp_peer)
{
	struct side x;

	side_open(&x, hold, 64);
	dial(&x);
	say(&x, STR("GET / HTTP/1.1\r\n" H "\r\n"));
	turn(&x), turn(&x);
	CHECK(x.held && x.held->peer_uid == (int)getuid() && !x.held->peer[0]);
	http_listener_free(x.hl);
	close(x.listener);
	x.hl = listen_tcp(&x, hold, 64);
	dial(&x);
	say(&x, STR("GET / HTTP/1.1\r\n" H "\r\n"));
	for (int i = 0; i < 1000 && !x.held; i++)
		turn(&x);
	CHECK(x.held && x.held->peer_uid == -1);
	CHECK_STR(x.held->peer, "127.0.0.1");
	CHECK(x.held->start_us > 0 && x.held->start_us <= clock_now_us());
	side_close(&x);
}
