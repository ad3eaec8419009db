/* SPDX-License-Identifier: Apache-2.0 */
#include "http/client.h"

#include <stdio.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "tests/test.h"

/* The answer lies in the socket before the question is asked. */
static int answer_with(struct str text, int *ret_server, bool close_it)
{
	int sv[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv));
	CHECK(send(sv[1], text.p, text.n, 0) == (ssize_t)text.n);
	if (close_it)
		shutdown(sv[1], SHUT_WR);
	*ret_server = sv[1];
	return sv[0];
}

TEST(answers)
{
	static const struct {
		struct str text;
		const char *method;
		int status; /* 0: refused, with */
		enum err_kind kind;
		const char *body;
	} table[] = {
		{STR("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A:  b \r\n\r\nhello"), "GET", 200, 0, "hello"},
		{STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x\r\n0123456789\r\n0\r\nT: "
		     "u\r\n\r\n"),
		 "GET", 200, 0, "hello0123456789"},
		{STR("HTTP/1.0 404 Not Found\r\n\r\nuntil the end"), "GET", 404, 0, "until the end"},
		{STR("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 \r\nContent-Length: 1\r\n\r\nx"), "PUT", 201, 0, "x"},
		{STR("HTTP/1.1 204 No Content\r\n\r\n"), "POST", 204, 0, ""},
		{STR("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), "HEAD", 200, 0, ""},
		{STR(""), "GET", 0, ERR_UNAVAILABLE, NULL},
		{STR("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"), "GET", 0, ERR_UNAVAILABLE, NULL},
		{STR("SSH-2.0-x\r\n"), "GET", 0, ERR_CORRUPT, NULL},
		{STR("HTTP/1.1 2x0 OK\r\n\r\n"), "GET", 0, ERR_CORRUPT, NULL},
		{STR("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), "GET", 0, ERR_CORRUPT, NULL},
		{STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"), "GET", 0, ERR_CORRUPT, NULL},
		{STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n"), "GET", 0,
		 ERR_CORRUPT, NULL},
		{STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"), "GET", 0, ERR_CORRUPT, NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct http_answer a = {0};
		struct err e = {0};
		int server, fd = answer_with(table[i].text, &server, true);
		int r = http_call(fd, table[i].method, "/p", NULL, STR(""), 2000000, &a, &e);

		CHECK(r == (table[i].status ? 0 : -1) && a.status == table[i].status && e.kind == table[i].kind);
		if (table[i].body)
			CHECK(str_eqc(buf_str(&a.body), table[i].body));
		http_answer_done(&a);
		close(fd), close(server);
	}
}

TEST(request_as_sent)
{
	struct http_answer a = {0};
	char got[512];
	int server, fd = answer_with(STR("HTTP/1.1 200 OK\r\nX-A: b \r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 "
					 "OK\r\nContent-Length: 2\r\n\r\nok"),
				     &server, false);
	ssize_t n;

	CHECK(!http_call(fd, "POST", "/p?q", "X-B: c\r\n", STR("body"), 0, &a, NULL));
	n = recv(server, got, sizeof(got) - 1, MSG_DONTWAIT);
	got[n > 0 ? n : 0] = 0;
	CHECK_STR(got, "POST /p?q HTTP/1.1\r\nHost: localhost\r\nX-B: c\r\nContent-Length: 4\r\n\r\nbody");
	http_answer_done(&a);
	CHECK(http_call(fd, "GET", "/a\r\nX-Evil: 1", NULL, STR(""), 0, &a, NULL) == -1);
	CHECK(http_call(fd, "GET", "/a b", NULL, STR(""), 0, &a, NULL) == -1);
	CHECK(recv(server, got, sizeof(got), MSG_DONTWAIT) == -1);
	close(fd), close(server);
}

TEST(early_refusal_and_timeout)
{
	struct http_answer a = {0};
	struct err e = {0};
	size_t n = 8000000;
	char *big = xcalloc(n, 1);
	int server, fd = answer_with(STR("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"), &server, false);

	CHECK(!http_call(fd, "PUT", "/", NULL, (struct str){big, n}, 2000000, &a, NULL) && a.status == 413);
	http_answer_done(&a);
	CHECK(http_call(fd, "PUT", "/", NULL, STR(""), 3000, &a, &e) == -1 && e.kind == ERR_TIMEOUT);
	close(fd), close(server);
	free(big);
}

static int sink(void *arg, int status, struct str piece)
{
	struct buf *b = arg;

	buf_addf(b, "%d:", status);
	buf_addstr(b, piece);
	buf_addc(b, '|');
	return piece.n && piece.p[0] == 's';
}

TEST(stream)
{
	auto_buf b = {0};
	int server, fd = answer_with(STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: "
					 "chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n1\r\ns\r\n1\r\nd\r\n0\r\n\r\n"),
				     &server, false);

	CHECK(!http_call_stream(fd, "GET", "/", NULL, STR(""), sink, &b, NULL));
	CHECK_STR(b.p, "200:|200:a|200:bc|200:s|");
	close(fd), close(server);
}

TEST(nobody_there)
{
	struct err e = {0};

	CHECK(http_connect_unix("/tmp/tandem-test-no-such-socket", &e) == -1 && e.kind == ERR_UNAVAILABLE);
}
