/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies that are pulled, and answers that are drained. */
#include "base/clock.h"
#include "tests/http/fixture.h"

struct pull {
	struct side x;
	struct http_sink sink;
	struct buf body;
	size_t most; /* the largest piece */
	int ends, drains;
	bool pausing;  /* after each piece */
	bool refusing; /* answers from inside the first piece */
	bool hold;     /* the body is not asked for */
};

static void on_piece(struct http_sink *s, struct str piece)
{
	struct pull *p = container_of(s, struct pull, sink);

	CHECK(piece.n && !p->ends);
	p->most = piece.n > p->most ? piece.n : p->most;
	buf_addstr(&p->body, piece);
	if (p->refusing)
		http_reply(p->x.held, &(struct http_reply){.status = 413, .body = STR("no")});
	else if (p->pausing)
		http_body_pause(p->x.held);
}

static void on_end(struct http_sink *s)
{
	struct pull *p = container_of(s, struct pull, sink);

	p->ends++;
	http_reply(p->x.held, &(struct http_reply){.status = 200, .body = STR("all")});
}

static bool yes(void *arg, const struct http_req *r)
{
	return !str_eqc(r->path, "/whole");
}

static void pull(void *arg, struct http_req *r)
{
	struct pull *p = container_of(arg, struct pull, x);

	hold(arg, r);
	if (!r->streams) {
		buf_addstr(&p->body, r->body);
		http_reply(r, &(struct http_reply){.status = 200, .body = STR("small")});
	} else if (!p->hold) {
		CHECK(!r->body.n);
		http_body_start(r, &p->sink);
	}
}

static void pull_open(struct pull *p)
{
	*p = (struct pull){.sink = {on_piece, on_end}};
	side_open(&p->x, pull, 64);
	http_listener_free(p->x.hl);
	p->x.hl = http_listen(
		p->x.s, p->x.listener,
		&(struct http_listener_opts){.body_max = 64, .handler = pull, .streams = yes, .arg = &p->x});
	dial(&p->x);
}

static void pull_close(struct pull *p)
{
	side_close(&p->x);
	buf_done(&p->body);
}

static struct conn *conn_of(struct pull *p)
{
	return container_of(p->x.held, struct conn, req);
}

TEST(pieces)
{
	static const struct {
		struct str text;
		const char *statuses, *body;
	} cases[] = {
		{STR("PUT / HTTP/1.1\r\n" H "Connection: close\r\nContent-Length: 5\r\n\r\nhello"), "200", "hello"},
		{STR("PUT / HTTP/1.1\r\n" H "Content-Length: 100\r\n\r\n"
		     "0123456789012345678901234567890123456789012345678901234567890123456789"
		     "012345678901234567890123456789GET /whole HTTP/1.1\r\n" H "Connection: close\r\n\r\n"),
		 "200 200",
		 "0123456789012345678901234567890123456789012345678901234567890123456789"
		 "012345678901234567890123456789"},
		{STR("PUT / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\nX: "
		     "y\r\n\r\nGET /whole HTTP/1.1\r\n" H "Connection: close\r\n\r\n"),
		 "200 200", "hello!"},
		{STR("PUT / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n"), "400", "hello"},
		{STR("PUT /whole HTTP/1.1\r\n" H "Content-Length: 65\r\n\r\n"), "413", ""},
		{STR("PUT / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), "400", ""},
	};
	struct pull p;
	char st[128];

	/* Cut up in every way: the body is whole when it comes in one piece with its head. */
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (size_t cut = 0; cut < cases[i].text.n; cut++) {
			struct str t = cases[i].text;

			pull_open(&p);
			say(&p.x, (struct str){t.p, cut});
			turn(&p.x), turn(&p.x);
			say(&p.x, (struct str){t.p + cut, t.n - cut});
			wait_for(&p.x, NULL);
			statuses(&p.x, st);
			CHECK_STR(st, cases[i].statuses);
			CHECK(p.x.gones <= (st[0] != '2'));
			if (st[0] == '2')
				CHECK_STR(p.body.p, cases[i].body);
			pull_close(&p);
		}
	}
}

static size_t push(struct pull *p, size_t left)
{
	static const char waste[65536];
	size_t sent = 0;
	ssize_t n;

	while (left &&
	       (n = send(p->x.fd, waste, left < sizeof(waste) ? left : sizeof(waste), MSG_NOSIGNAL | MSG_DONTWAIT)) > 0)
		sent += (size_t)n, left -= (size_t)n;
	return sent;
}

TEST(client_waits_for_the_sink)
{
	const size_t size = 8 << 20;
	struct pull p;
	size_t left = size, took, sent;

	pull_open(&p);
	p.pausing = true;
	say(&p.x, STR("PUT / HTTP/1.1\r\n" H "Content-Length: 8388608\r\n\r\n"));
	while (!p.most) {
		left -= push(&p, left);
		turn(&p.x);
	}
	/* It takes nothing more: the client comes to a halt, long before its end. */
	do {
		sent = push(&p, left);
		left -= sent;
		turn(&p.x), turn(&p.x);
	} while (sent);
	CHECK(p.body.n == p.most && left > size / 2);
	while (!p.ends && !p.x.late) {
		took = p.body.n;
		http_body_resume(p.x.held);
		while (p.body.n == took && !p.ends) {
			left -= push(&p, left);
			turn(&p.x);
		}
		CHECK(p.ends || (p.body.n - took <= 65536 && conn_of(&p)->p.in.cap < 2 * 65536));
	}
	wait_for(&p.x, "all");
	CHECK(p.body.n == size && p.ends == 1 && p.most <= 65536);
	pull_close(&p);
}

TEST(answered_before_the_end)
{
	struct pull p;
	char st[128];

	/* From inside of a piece; what follows is no request. */
	pull_open(&p);
	p.refusing = true;
	say(&p.x, STR("PUT / HTTP/1.1\r\n" H "Content-Length: 100\r\n\r\nGET /whole HTTP/1.1\r\n" H "\r\n"));
	wait_for(&p.x, NULL);
	CHECK_STR(statuses(&p.x, st), "413");
	CHECK(strstr(p.x.got.p, "Connection: close\r\n") && p.x.calls == 1 && p.x.gones == 0);
	pull_close(&p);
	/* Before it is asked for: then nobody is told to go on. */
	pull_open(&p);
	p.hold = true;
	say(&p.x, STR("PUT / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 100\r\n\r\n"));
	while (!p.x.held)
		turn(&p.x);
	http_reply(p.x.held, &(struct http_reply){.status = 401});
	wait_for(&p.x, NULL);
	CHECK_STR(statuses(&p.x, st), "401");
	pull_close(&p);
	/* Or asked for. */
	pull_open(&p);
	say(&p.x, STR("PUT / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"));
	wait_for(&p.x, "100 Continue\r\n\r\n");
	say(&p.x, STR("hello"));
	wait_for(&p.x, "all");
	CHECK_STR(statuses(&p.x, st), "100 200");
	pull_close(&p);
	/* In the middle of a streamed answer. */
	pull_open(&p);
	say(&p.x, STR("PUT / HTTP/1.1\r\n" H "Content-Length: 100\r\n\r\n"));
	while (!p.x.held)
		turn(&p.x);
	http_stream_begin(p.x.held, 200, NULL, STR(""));
	http_stream_write(p.x.held, STR("early"));
	http_stream_end(p.x.held);
	wait_for(&p.x, NULL);
	CHECK(str_ends(buf_str(&p.x.got), "5\r\nearly\r\n0\r\n\r\n") && p.x.gones == 0);
	pull_close(&p);
}

TEST(client_leaves)
{
	struct pull p;

	pull_open(&p);
	say(&p.x, STR("PUT / HTTP/1.1\r\n" H "Content-Length: 100\r\n\r\nabc"));
	while (!p.body.n)
		turn(&p.x);
	hang_up(&p.x);
	while (!p.x.gones)
		turn(&p.x);
	CHECK(!p.ends && !http_server_conns(p.x.s));
	/* Before the body was asked for. */
	p.hold = true;
	p.x.held = NULL;
	dial(&p.x);
	say(&p.x, STR("PUT / HTTP/1.1\r\n" H "Content-Length: 100\r\n\r\n"));
	while (!p.x.held)
		turn(&p.x);
	hang_up(&p.x);
	http_body_start(p.x.held, &p.sink);
	while (p.x.gones < 2)
		turn(&p.x);
	CHECK(!p.ends);
	/* One that stays, but gives nothing. */
	p.hold = false;
	dial(&p.x);
	say(&p.x, STR("PUT / HTTP/1.1\r\n" H "Content-Length: 100\r\n\r\n"));
	while (!p.x.held)
		turn(&p.x);
	turn(&p.x);
	clock_test_stop();
	clock_test_step(61000000);
	loop_clock_changed(p.x.l);
	wait_for(&p.x, NULL);
	clock_test_resume();
	loop_clock_changed(p.x.l);
	CHECK(p.x.gones == 3 && !p.ends);
	pull_close(&p);
}

static void on_drained(void *arg)
{
	struct pull *p = arg;

	p->drains++;
	CHECK(!http_stream_queued(p->x.held));
}

TEST(drained_and_sized)
{
	static char piece[65536];
	struct pull p;
	size_t n = 0;

	pull_open(&p);
	p.hold = true;
	say(&p.x, STR("GET / HTTP/1.1\r\n" H "\r\n"));
	side_close(&p.x);
	side_open(&p.x, hold, 64);
	dial(&p.x);
	say(&p.x, STR("GET / HTTP/1.1\r\n" H "\r\n"));
	while (!p.x.held)
		turn(&p.x);
	http_stream_begin_sized(p.x.held, 200, NULL, STR(""), 100 * (int64_t)sizeof(piece));
	http_on_drained(p.x.held, on_drained, &p);
	loop_fd_want(p.x.w, 0);
	while (n < 100 * sizeof(piece)) {
		while (n < 100 * sizeof(piece) && http_stream_queued(p.x.held) < sizeof(piece)) {
			CHECK(http_stream_write(p.x.held, (struct str){piece, sizeof(piece)}));
			n += sizeof(piece);
		}
		loop_fd_want(p.x.w, LOOP_READ);
		turn(&p.x);
	}
	CHECK(p.drains > 0);
	http_stream_end(p.x.held);
	while (p.x.got.n < n)
		turn(&p.x);
	CHECK(strstr(p.x.got.p, "Content-Length: 6553600\r\n\r\n"));
	/* The connection goes on; and ends when the length does not come true. */
	buf_clear(&p.x.got);
	p.x.held = NULL;
	say(&p.x, STR("GET / HTTP/1.1\r\n" H "\r\n"));
	while (!p.x.held)
		turn(&p.x);
	http_stream_begin_sized(p.x.held, 200, NULL, STR(""), 4);
	http_stream_write(p.x.held, STR("abc"));
	http_stream_end(p.x.held);
	wait_for(&p.x, NULL);
	CHECK(str_ends(buf_str(&p.x.got), "Content-Length: 4\r\n\r\nabc"));
	pull_close(&p);
}
