/* SPDX-License-Identifier: Apache-2.0 */
/* What is said: requests and answers, good and bad, whole and in pieces. */
#include "base/limits.h"
#include "tests/http/fixture.h"

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

	side_held(&x);
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
