/* SPDX-License-Identifier: Apache-2.0 */
/* Who speaks: clients that leave, that are too many, too slow or too large, and the end of the server. */
#include <arpa/inet.h>

#include "base/clock.h"
#include "tests/http/fixture.h"

TEST(gone)
{
	struct side x;

	/* While the answer is awaited. */
	side_held(&x);
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

static void hold_only(void *arg, struct http_req *r)
{
	struct side *x = arg;

	x->calls++;
	x->held = r;
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

static void say_drained(void *arg)
{
	*(bool *)arg = true;
}

TEST(drain)
{
	bool drained = false;
	struct side x, y, z;

	side_open(&x, hold, 64);
	/* One that was answered before, one that has not asked yet, and one that waits for its answer. */
	y = z = (struct side){.l = x.l, .listener = x.listener, .fd = -1};
	dial(&y);
	say(&y, STR("GET /y HTTP/1.1\r\n" H "\r\n"));
	for (int i = 0; i < 10 && x.calls < 1; i++)
		turn(&x);
	http_reply(x.held, &(struct http_reply){.status = 200, .body = STR("before")});
	wait_for(&y, "before");
	dial(&z);
	turn(&x), turn(&x);
	dial(&x);
	say(&x, STR("GET /x HTTP/1.1\r\n" H "\r\n"));
	for (int i = 0; i < 10 && x.calls < 2; i++)
		turn(&x);
	CHECK(http_server_conns(x.s) == 3);
	http_server_drain(x.s, 1000000000, say_drained, &drained);
	wait_for(&y, NULL);
	CHECK(y.eof && http_server_conns(x.s) == 2 && !drained);
	http_reply(x.held, &(struct http_reply){.status = 200, .body = STR("last")});
	wait_for(&x, NULL);
	CHECK(strstr(x.got.p, "Connection: close\r\n") && str_ends(buf_str(&x.got), "last") && !drained);
	say(&z, STR("GET /z HTTP/1.1\r\n" H "\r\n"));
	for (int i = 0; i < 10 && !drained; i++)
		turn(&x);
	CHECK(drained && x.calls == 3 && str_eqc(x.held->path, "/z")); /* an answer is not ours to wait for */
	http_reply(x.held, &(struct http_reply){.status = 200, .body = STR("new")});
	wait_for(&z, NULL);
	CHECK(str_ends(buf_str(&z.got), "new") && http_server_conns(x.s) == 0);
	hang_up(&y);
	hang_up(&z);
	buf_done(&y.got);
	buf_done(&z.got);
	side_close(&x);
}

TEST(drain_does_not_wait_for_ever)
{
	bool drained = false;
	struct side x;

	side_open(&x, hold, 64);
	dial(&x);
	turn(&x), turn(&x);
	http_server_drain(x.s, 1, say_drained, &drained);
	CHECK(!drained);
	while (!drained)
		turn(&x);
	CHECK(x.calls == 0);
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
	bool drained = false;
	struct side x, y;

	answer_together(&x, &y);
	hang_up(&y);
	http_server_drain(x.s, 1000000, say_drained, &drained); /* what was answered arrives all the same */
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

	side_held(&x);
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
