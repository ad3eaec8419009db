/* SPDX-License-Identifier: Apache-2.0 */
/* One request through the proxy: what goes on, what comes back, and upstreams that misbehave. */
#include <arpa/inet.h>

#include "base/clock.h"
#include "base/limits.h"
#include "http/proxy.h"
#include "tests/http/fixture.h"

struct world;
struct peer { /* a connection that the upstream has accepted */
	struct world *w;
	struct loop_fd *watch;
	int fd;
	struct buf got;
	size_t took; /* of got, by answers */
};
struct world {
	struct side x;
	int up;
	uint16_t port;
	struct loop_fd *watch;
	struct peer peers[8];
	unsigned n_peers;
	struct upstream *u;
	struct proxy p, second; /* while p is busy */
	struct proxy_opts o;
	struct str answer; /* to each request */
	const char *ends;  /* with this a request is whole; NULL: an empty line */
	bool close_after, close_first, deaf, no_sockets;
	int results[PROXY_N], status;
	int64_t request_bytes, answer_bytes;
};

static void peer_close(struct peer *p)
{
	loop_fd_free(take_ptr(p->watch));
	if (p->fd >= 0)
		close(take_fd(p->fd));
}

static void put(struct peer *p, struct str text)
{
	ssize_t n = 0;

	while (text.n && (n = send(p->fd, text.p, text.n, MSG_NOSIGNAL)) > 0)
		text = (struct str){text.p + n, text.n - (size_t)n};
}

static void on_peer(void *arg, int events)
{
	struct peer *p = arg;
	char tmp[65536];
	ssize_t n = recv(p->fd, tmp, sizeof(tmp), MSG_DONTWAIT);
	const char *end = p->w->ends ? p->w->ends : "\r\n\r\n";
	size_t from;

	if (n <= 0) {
		peer_close(p);
		return;
	}
	from = p->got.n > p->took + strlen(end) ? p->got.n - strlen(end) : p->took;
	buf_add(&p->got, tmp, (size_t)n);
	if (!memmem(p->got.p + from, p->got.n - from, end, strlen(end)))
		return;
	p->took = p->got.n;
	put(p, p->w->answer);
	if (p->w->close_after)
		peer_close(p);
}

static void on_accepted(void *arg, int events)
{
	struct world *w = arg;
	struct peer *p = &w->peers[w->n_peers];
	int fd = accept4(w->up, NULL, NULL, SOCK_CLOEXEC);

	CHECK(fd >= 0 && w->n_peers < ARRAY_SIZE(w->peers));
	w->n_peers++;
	*p = (struct peer){.w = w, .fd = fd};
	p->watch = loop_fd_new(w->x.l, fd, w->deaf ? 0 : LOOP_READ, on_peer, p);
	if (w->close_first)
		peer_close(p);
}

static int new_socket(void *arg)
{
	struct world *w = arg;

	return w->no_sockets ? -1 : socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void on_result(struct proxy *p, enum proxy_result r)
{
	struct world *w = container_of(p, struct world, p);
	auto_buf why = {0};

	w->results[r]++;
	w->status = p->status;
	w->request_bytes = p->request_bytes;
	w->answer_bytes = p->answer_bytes;
	CHECK((r == PROXY_NOT_SENT || r == PROXY_FAILED) == (p->reason != NULL));
	if (r != PROXY_NOT_SENT)
		return;
	buf_addf(&why, "not sent: %s", p->reason);
	http_reply(w->x.held, &(struct http_reply){.status = 503, .body = buf_str(&why)});
}

static void on_second(struct proxy *p, enum proxy_result r)
{
	container_of(p, struct world, second)->results[r]++;
}

static bool all_stream(void *arg, const struct http_req *r)
{
	return true;
}

static void pass_on(void *arg, struct http_req *r)
{
	struct world *w = container_of(arg, struct world, x);

	w->x.calls++;
	w->x.held = r;
	w->p.done = on_result;
	w->second.done = on_second;
	proxy_start(w->p.state == PROXY_OVER ? &w->p : &w->second, r, w->u, &w->o);
}

static void world_open(struct world *w)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(sin);

	*w = (struct world){0};
	side_open(&w->x, pass_on, 64);
	http_listener_free(w->x.hl);
	close(w->x.listener);
	w->x.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(!bind(w->x.listener, (struct sockaddr *)&sin, n) && !listen(w->x.listener, 8));
	w->x.hl = http_listen(w->x.s, w->x.listener,
			      &(struct http_listener_opts){
				      .body_max = 1024, .handler = pass_on, .streams = all_stream, .arg = &w->x});
	w->up = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CHECK(!bind(w->up, (struct sockaddr *)&sin, n) && !listen(w->up, 8));
	CHECK(!getsockname(w->up, (struct sockaddr *)&sin, &n));
	w->port = ntohs(sin.sin_port);
	w->watch = loop_fd_new(w->x.l, w->up, LOOP_READ, on_accepted, w);
	w->u = upstream_new(&(struct upstream_opts){.loop = w->x.l, .socket = new_socket, .arg = w, .port = w->port});
	dial(&w->x);
}

static void world_close(struct world *w)
{
	hang_up(&w->x);
	while (http_server_conns(w->x.s))
		turn(&w->x);
	CHECK(upstream_outstanding(w->u) == 0);
	upstream_free(w->u);
	proxy_release(&w->p);
	proxy_release(&w->second);
	for (unsigned i = 0; i < w->n_peers; i++) {
		peer_close(&w->peers[i]);
		buf_done(&w->peers[i].got);
	}
	loop_fd_free(w->watch);
	close(w->up);
	side_close(&w->x);
}

static int results(const struct world *w)
{
	int n = 0;

	for (int i = 0; i < PROXY_N; i++)
		n += w->results[i];
	return n;
}

static void step_clock(struct world *w, int64_t us)
{
	clock_test_stop();
	clock_test_step(us);
	loop_clock_changed(w->x.l);
	turn(&w->x), turn(&w->x);
	clock_test_resume();
	loop_clock_changed(w->x.l);
}

#define OK    "HTTP/1.1 200 OK\r\n"
#define GET_X "GET /x HTTP/1.1\r\n" H "\r\n"

static const struct {
	struct str request, answer;
	bool eof;
	enum proxy_result result;
	const char *got; /* what the client's text has to contain */
	bool kept;	 /* the connection to the upstream */
} talks[] = {
	{STR(GET_X), STR(OK "Content-Length: 5\r\nX-B: c\r\n\r\nhello"), false, PROXY_DONE,
	 "X-B: c\r\nContent-Length: 5\r\n\r\nhello", true},
	{STR(GET_X), STR(OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"), false, PROXY_DONE,
	 "Content-Length: 5\r\n\r\nhello", true},
	{STR(GET_X), STR(OK "Content-Length: 5\r\nConnection: close\r\n\r\nhello"), false, PROXY_DONE, "hello", false},
	{STR(GET_X), STR("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"), false, PROXY_DONE, "hello", false},
	{STR(GET_X), STR(OK "\r\nhello"), true, PROXY_DONE, "5\r\nhello\r\n0\r\n\r\n", false},
	{STR("GET / HTTP/1.0\r\n\r\n"), STR(OK "\r\nhello"), true, PROXY_DONE, "\r\n\r\nhello", false},
	{STR("HEAD / HTTP/1.1\r\n" H "\r\n"), STR(OK "Content-Length: 5\r\n\r\n"), false, PROXY_DONE,
	 "Content-Length: 5\r\n\r\n", true},
	{STR(GET_X), STR("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: a\r\n\r\n"), false, PROXY_DONE,
	 "304 Not Modified\r\n", true},
	{STR(GET_X), STR("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"), false, PROXY_DONE,
	 "204 No Content\r\n", true},
	{STR(GET_X), STR("HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n"), false, PROXY_DONE, "404 Not Found\r\n", true},
	{STR(GET_X),
	 STR("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" OK
	     "Content-Length: 2\r\n\r\nhi"),
	 false, PROXY_DONE, "\r\n\r\nhi", true},
	/* more than was asked for is no answer to anybody */
	{STR(GET_X), STR(OK "Content-Length: 2\r\n\r\nhi" OK "Content-Length: 4\r\n\r\nevil"), false, PROXY_DONE,
	 "\r\n\r\nhi", false},
	/* headers of one hop */
	{STR(GET_X),
	 STR(OK "Connection: X-A\r\nX-A: secret\r\nKeep-Alive: 3\r\nUpgrade: x\r\nX-B: c\r\nContent-Length: 0\r\n\r\n"),
	 false, PROXY_DONE, "GMT\r\nX-B: c\r\nContent-Length: 0\r\n\r\n", true},
	/* what could be read in two ways */
	{STR(GET_X), STR("hello\r\n\r\n"), false, PROXY_FAILED, "502 Bad Gateway\r\n", false},
	{STR(GET_X), STR("HTTP/2 200 OK\r\n\r\n"), false, PROXY_FAILED, "502 Bad Gateway\r\n", false},
	{STR(GET_X), STR(OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"), false, PROXY_FAILED,
	 "502 Bad Gateway\r\n", false},
	{STR(GET_X), STR(OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), false, PROXY_FAILED,
	 "502 Bad Gateway\r\n", false},
	{STR(GET_X), STR(OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), false,
	 PROXY_FAILED, "502 Bad Gateway\r\n", false},
	{STR(GET_X), STR(OK "Transfer-Encoding: gzip\r\n\r\nhello"), true, PROXY_FAILED, "502 Bad Gateway\r\n", false},
	{STR(GET_X), STR(OK "Content-Length: -5\r\n\r\nhello"), false, PROXY_FAILED, "502 Bad Gateway\r\n", false},
	{STR(GET_X), STR(OK "X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n"), false, PROXY_FAILED, "502 Bad Gateway\r\n",
	 false},
	{STR(GET_X), STR(OK "X-A: b\nContent-Length: 0\r\n\r\n"), false, PROXY_FAILED, "502 Bad Gateway\r\n", false},
	{STR(GET_X), STR("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"), false, PROXY_FAILED, "502 Bad Gateway\r\n",
	 false},
	{STR(GET_X), STR(OK "X A: b\r\nContent-Length: 0\r\n\r\n"), false, PROXY_FAILED, "502 Bad Gateway\r\n", false},
	{STR(GET_X), STR(OK "X-A: a\0b\r\nContent-Length: 0\r\n\r\n"), false, PROXY_FAILED, "502 Bad Gateway\r\n",
	 false},
	{STR(GET_X), STR("HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n"), false, PROXY_FAILED, "502 Bad Gateway\r\n",
	 false},
	{STR(GET_X), STR("HTTP/1.1 2000 X\r\nContent-Length: 0\r\n\r\n"), false, PROXY_FAILED, "502 Bad Gateway\r\n",
	 false},
	{STR(GET_X), STR("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), false, PROXY_FAILED,
	 "502 Bad Gateway\r\n", false},
	/* ends too early */
	{STR(GET_X), STR("HTTP/1.1 200 O"), true, PROXY_FAILED, "502 Bad Gateway\r\n", false},
	{STR(GET_X), STR(OK "Content-Length: 5\r\n\r\nhel"), true, PROXY_FAILED, "Content-Length: 5\r\n\r\nhel", false},
	{STR(GET_X), STR(OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), true, PROXY_FAILED,
	 "chunked\r\n\r\n5\r\nhello\r\n", false},
	{STR(GET_X), STR(OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX"), false, PROXY_FAILED, "\r\n\r\n", false},
	{STR(GET_X), STR(""), true, PROXY_NOT_SENT, "not sent: the service closed the connection and did not answer",
	 false},
	{STR("POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n"), STR(""), true, PROXY_FAILED, "502 Bad Gateway\r\n",
	 false},
};

static void check_talk(size_t i, size_t step)
{
	struct world w;
	struct str all = talks[i].answer;
	struct peer *peer = &w.peers[0];

	world_open(&w);
	say(&w.x, talks[i].request);
	while (!peer->got.n || !memmem(peer->got.p, peer->got.n, "\r\n\r\n", 4))
		turn(&w.x);
	for (size_t at = 0; at < all.n; at += step) {
		put(peer, (struct str){all.p + at, all.n - at < step ? all.n - at : step});
		turn(&w.x), turn(&w.x);
	}
	if (talks[i].eof && !results(&w))
		peer_close(peer);
	while (!results(&w))
		turn(&w.x);
	if (step > 1) {
		wait_for(&w.x, talks[i].got);
		if (!strstr(w.x.got.p, talks[i].got))
			printf("#%zu: " STR_FMT "\n-> %s\n", i, STR_ARG(all), w.x.got.p);
		CHECK(strstr(w.x.got.p, talks[i].got));
	}
	while (!talks[i].kept && peer->watch)
		turn(&w.x);
	CHECK(!talks[i].kept || peer->watch);
	CHECK(w.results[talks[i].result] == 1 && results(&w) == 1);
	world_close(&w);
}

TEST(talks_at_once)
{
	for (size_t i = 0; i < ARRAY_SIZE(talks); i++)
		check_talk(i, 1000000);
}

TEST(talks_byte_by_byte)
{
	for (size_t i = 0; i < ARRAY_SIZE(talks); i++)
		check_talk(i, 1);
}

TEST(deadlines)
{
	struct world w;

	/* No socket, ever. */
	world_open(&w);
	w.no_sockets = true;
	say(&w.x, STR(GET_X));
	while (!w.x.calls)
		turn(&w.x);
	step_clock(&w, 5100000);
	wait_for(&w.x, "not sent: no instance of the service is there");
	/* No answer. */
	w.no_sockets = false;
	say(&w.x, STR(GET_X));
	while (!w.n_peers || !w.peers[0].got.n)
		turn(&w.x);
	step_clock(&w, 61000000);
	wait_for(&w.x, "504 Gateway Timeout");
	CHECK(strstr(w.x.got.p, "the service did not answer in time"));
	/* Half of an answer: the client sees that it is cut. */
	w.answer = STR(OK "Content-Length: 5\r\n\r\nhel");
	say(&w.x, STR(GET_X));
	wait_for(&w.x, "\r\n\r\nhel");
	step_clock(&w, 61000000);
	wait_for(&w.x, NULL);
	CHECK(w.x.eof && w.results[PROXY_FAILED] == 2 && results(&w) == 3);
	world_close(&w);
}

/* No answer to half of a request is no fault of the service. */
TEST(request_that_stops)
{
	struct world w;

	world_open(&w);
	w.ends = "hello";
	say(&w.x, STR("POST / HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nhello"));
	while (!w.n_peers || !w.peers[0].took)
		turn(&w.x);
	step_clock(&w, 61000000);
	while (!results(&w))
		turn(&w.x);
	CHECK(w.results[PROXY_GONE] == 1);
	world_close(&w);
}

static void ask(struct world *w, struct str request, const char *until)
{
	buf_clear(&w->x.got);
	say(&w->x, request);
	wait_for(&w->x, until);
}

TEST(heads)
{
	static const struct {
		struct str request;
		const char *want; /* "ours": the caller has a traceparent of its own */
	} cases[] = {
		{STR("GET / HTTP/1.1\r\nHost: x\r\nTraceparent: theirs\r\nTracestate: a=b\r\n\r\n"),
		 "GET / HTTP/1.1\r\nHost: x\r\nTracestate: a=b\r\ntraceparent: ours\r\nX-Forwarded-For: 127.0.0.1\r\n"
		 "X-Forwarded-Proto: http\r\nX-Forwarded-Host: x\r\n\r\n"},
		{STR("GET / HTTP/1.1\r\nHost: x\r\nTraceparent: theirs\r\n\r\n"),
		 "GET / HTTP/1.1\r\nHost: x\r\nTraceparent: theirs\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: "
		 "http\r\n"
		 "X-Forwarded-Host: x\r\n\r\n"},
		{STR("GET http://h/p?q=1 HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\nX-A: b\r\nForwarded: "
		     "for=me\r\n"
		     "Connection: x-c, host, keep-alive\r\nX-C: d\r\nTE: trailers\r\nProxy: evil\r\nKeep-Alive: 5\r\n"
		     "X-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Proto: https\r\n\r\n"),
		 "GET /p?q=1 HTTP/1.1\r\nHost: x\r\nX-A: b\r\nX-Forwarded-Proto: https\r\n"
		 "X-Forwarded-For: 1.2.3.4, 5.6.7.8, 127.0.0.1\r\nX-Forwarded-Host: x\r\n\r\n"},
		{STR("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"),
		 "POST / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"
		 "X-Forwarded-Host: x\r\nContent-Length: 2\r\n\r\nhi"},
		{STR("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
		 "PUT / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"
		 "X-Forwarded-Host: x\r\nContent-Length: 2\r\n\r\nhi"},
		{STR("GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"),
		 "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"
		 "X-Forwarded-Host: x\r\n\r\n"},
		{STR("GET / HTTP/1.0\r\n\r\n"),
		 "GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\r\n"},
	};
	struct world w;

	world_open(&w);
	w.answer = STR(OK "Content-Length: 3\r\n\r\nyes");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (w.peers[0].got.n)
			buf_clear(&w.peers[0].got);
		w.peers[0].took = 0;
		w.o.traceparent = strstr(cases[i].want, "ours") ? "ours" : NULL;
		ask(&w, cases[i].request, "yes");
		CHECK_STR(w.peers[0].got.p, cases[i].want);
	}
	CHECK(w.n_peers == 1 && w.results[PROXY_DONE] == ARRAY_SIZE(cases)); /* one connection for all */
	world_close(&w);
}

#define POST_X "POST /x HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nhi"

TEST(connections)
{
	struct world w;

	world_open(&w);
	w.answer = STR(OK "Content-Length: 3\r\n\r\nyes");
	ask(&w, STR(GET_X), "yes");
	/* The upstream closes it, which is not noticed before it is used: over a new one. */
	peer_close(&w.peers[0]);
	ask(&w, STR(GET_X), "yes");
	CHECK(w.n_peers == 2 && w.results[PROXY_DONE] == 2);
	/* What cannot be repeated does not use one that was idle for long. */
	clock_test_stop();
	clock_test_step(2000000);
	loop_clock_changed(w.x.l);
	ask(&w, STR(POST_X), "yes");
	clock_test_resume();
	loop_clock_changed(w.x.l);
	CHECK(w.n_peers == 3 && w.results[PROXY_DONE] == 3);
	/* A connection that dies each time: once more over a new one, and no more. */
	w.close_first = true;
	peer_close(&w.peers[2]);
	ask(&w, STR(GET_X), "not sent: ");
	CHECK(w.n_peers == 4 && w.results[PROXY_NOT_SENT] == 1);
	ask(&w, STR(POST_X), "502 Bad");
	CHECK(w.n_peers == 5 && w.results[PROXY_FAILED] == 1);
	/* Nobody listens. */
	loop_fd_free(take_ptr(w.watch));
	close(take_fd(w.up));
	ask(&w, STR(POST_X), "not sent: the service refused the connection");
	CHECK(w.results[PROXY_NOT_SENT] == 2);
	world_close(&w);
}

/* Bodies that come behind their heads, as from a client that is slow or sends them apart: over the same connection all the same. */
TEST(bodies_behind_their_heads)
{
	static const struct str heads[] = {STR("POST /x HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n"),
					   STR("PUT /x HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n")};
	struct world w;

	world_open(&w);
	w.answer = STR(OK "Content-Length: 3\r\n\r\nyes");
	w.ends = "hi";
	clock_test_stop();
	for (int i = 0; i < 10; i++) {
		say(&w.x, heads[i % 2]);
		while (w.x.calls <= i)
			turn(&w.x);
		ask(&w, STR("hi"), "yes");
		/* One that was idle for long may be about to be closed: another one, and it is. */
		if (i == 5 || i == 8)
			step_clock(&w, 2000000);
	}
	CHECK(w.results[PROXY_DONE] == 10 && w.n_peers == 3);
	while (w.peers[0].fd >= 0 || w.peers[1].fd >= 0)
		turn(&w.x);
	CHECK(w.peers[2].fd >= 0);
	clock_test_resume();
	loop_clock_changed(w.x.l);
	world_close(&w);
}

TEST(sockets_come_later)
{
	struct world w;

	world_open(&w);
	w.answer = STR(OK "Content-Length: 3\r\n\r\nyes");
	w.no_sockets = true;
	say(&w.x, STR(GET_X));
	while (!w.x.calls)
		turn(&w.x);
	upstream_sockets(w.u); /* a mistake: there are none */
	CHECK(upstream_outstanding(w.u) == 1 && !results(&w));
	w.no_sockets = false;
	upstream_sockets(w.u);
	wait_for(&w.x, "yes");
	CHECK(upstream_outstanding(w.u) == 0 && w.results[PROXY_DONE] == 1);
	/* The upstream goes while a request waits, and while one is on its way. */
	w.no_sockets = true;
	peer_close(&w.peers[0]);
	buf_clear(&w.x.got);
	say(&w.x, STR(GET_X));
	while (w.x.calls < 2)
		turn(&w.x);
	proxy_cancel(&w.p);
	proxy_cancel(&w.p);
	wait_for(&w.x, "not sent: the instance of the service was ended");
	CHECK(w.results[PROXY_NOT_SENT] == 1 && results(&w) == 2);
	world_close(&w);
}

/* Two requests, one socket: the second takes the connection over. */
TEST(connection_is_passed_on)
{
	struct side y;
	struct world w;

	world_open(&w);
	say(&w.x, STR(GET_X));
	while (!w.n_peers || !w.peers[0].took)
		turn(&w.x);
	w.no_sockets = true;
	y = (struct side){.l = w.x.l, .listener = w.x.listener, .fd = -1};
	dial(&y);
	say(&y, STR(GET_X));
	while (w.x.calls < 2)
		turn(&w.x);
	CHECK(upstream_outstanding(w.u) == 2);
	w.answer = STR(OK "Content-Length: 3\r\n\r\nyes");
	put(&w.peers[0], w.answer);
	wait_for(&w.x, "yes");
	wait_for(&y, "yes");
	CHECK(w.n_peers == 1 && results(&w) == 2);
	hang_up(&y);
	buf_done(&y.got);
	world_close(&w);
}

TEST(heads_that_are_too_large)
{
	for (int how = 0; how < 3; how++) {
		auto_buf text = {0};
		struct world w;

		buf_adds(&text, OK);
		for (int k = 0; k < (how ? LIM_HTTP_HEADERS + 1 : LIM_HTTP_HEAD_BYTES); k++)
			buf_adds(&text, how ? "X-A: b\r\n" : "a");
		world_open(&w);
		w.answer = buf_str(&text);
		if (how < 2) {
			ask(&w, STR(GET_X), "502 Bad Gateway\r\n");
		} else { /* or too slow: pieces do not buy it time */
			w.answer.n = 10;
			say(&w.x, STR(GET_X));
			while (w.p.in.in.n < 10)
				turn(&w.x);
			clock_test_stop();
			clock_test_step(40000000);
			put(&w.peers[0], STR("00 O"));
			while (w.p.in.in.n < 14)
				turn(&w.x);
			step_clock(&w, 25000000);
			wait_for(&w.x, "504 Gateway Timeout\r\n");
		}
		CHECK(w.results[PROXY_FAILED] == 1);
		world_close(&w);
	}
}

TEST(client_leaves)
{
	struct world w;

	world_open(&w);
	for (int begun = 0; begun < 2; begun++) {
		w.answer = begun ? STR(OK "Content-Length: 5\r\n\r\nhel") : STR_NULL;
		say(&w.x, STR(GET_X));
		while (w.n_peers <= (unsigned)begun || !w.peers[begun].took)
			turn(&w.x);
		if (begun)
			wait_for(&w.x, "hel");
		hang_up(&w.x);
		while (w.peers[begun].watch)
			turn(&w.x);
		CHECK(w.results[PROXY_GONE] == begun + 1 && upstream_outstanding(w.u) == 0);
		dial(&w.x);
	}
	world_close(&w);
}

/* As much as the socket takes for now. */
static size_t gush(int fd, size_t left)
{
	static const char waste[65536];
	size_t sent = 0;
	ssize_t n;

	while (left &&
	       (n = send(fd, waste, left < sizeof(waste) ? left : sizeof(waste), MSG_NOSIGNAL | MSG_DONTWAIT)) > 0)
		sent += (size_t)n, left -= (size_t)n;
	return sent;
}

static void check_bounded(const struct world *w)
{
	const struct conn *c = container_of(w->x.held, struct conn, req);

	CHECK(w->p.in.in.cap <= 2 * 65536 && w->p.out.cap <= 2 * 65536 + 4096);
	CHECK(c->p.in.cap <= 2 * 65536 && c->out.cap <= 2 * 65536);
}

#define LARGE (32 << 20)

TEST(large_request)
{
	static const char *const heads[] = {"Content-Length: 33554432\r\n\r\n",
					    "Transfer-Encoding: chunked\r\n\r\n2000000\r\n"};
	struct world w;
	size_t left, put_now;

	for (int i = 0; i < 2; i++) {
		auto_buf head = {0};

		world_open(&w);
		w.deaf = true;
		w.ends = i ? "\r\n0\r\n\r\n" : "EOB";
		w.answer = STR(OK "Content-Length: 3\r\n\r\nyes");
		buf_addf(&head, "POST / HTTP/1.1\r\n" H "%s", heads[i]);
		say(&w.x, buf_str(&head));
		while (!w.n_peers)
			turn(&w.x);
		/* The upstream does not read: neither do we, long before the end. */
		left = LARGE - 3;
		do {
			put_now = gush(w.x.fd, left);
			left -= put_now;
			turn(&w.x), turn(&w.x), turn(&w.x);
			check_bounded(&w);
		} while (put_now);
		CHECK(left);
		loop_fd_want(w.peers[0].watch, LOOP_READ);
		while (left) {
			left -= gush(w.x.fd, left);
			turn(&w.x);
			check_bounded(&w);
		}
		say(&w.x, i ? STR("EOB\r\n0\r\n\r\n") : STR("EOB"));
		wait_for(&w.x, "yes");
		CHECK(w.results[PROXY_DONE] == 1 && w.request_bytes == LARGE && w.peers[0].got.n >= LARGE);
		world_close(&w);
	}
}

TEST(large_answer)
{
	static const char *const heads[] = {"Content-Length: 33554432\r\n\r\n",
					    "Transfer-Encoding: chunked\r\n\r\n2000000\r\n"};
	struct world w;
	size_t left, put_now;

	for (int i = 0; i < 2; i++) {
		auto_buf head = {0};

		world_open(&w);
		say(&w.x, STR(GET_X));
		while (!w.n_peers || !w.peers[0].took)
			turn(&w.x);
		loop_fd_want(w.x.w, 0);
		buf_addf(&head, OK "%s", heads[i]);
		put(&w.peers[0], buf_str(&head));
		left = LARGE;
		do {
			put_now = gush(w.peers[0].fd, left);
			left -= put_now;
			turn(&w.x), turn(&w.x), turn(&w.x);
			check_bounded(&w);
		} while (put_now);
		CHECK(left && !results(&w));
		loop_fd_want(w.x.w, LOOP_READ);
		while (left) {
			left -= gush(w.peers[0].fd, left);
			turn(&w.x);
			check_bounded(&w);
		}
		put(&w.peers[0], i ? STR("\r\n0\r\n\r\n") : STR_NULL);
		while (w.x.got.n < LARGE || !results(&w))
			turn(&w.x);
		CHECK(w.results[PROXY_DONE] == 1 && w.answer_bytes == LARGE);
		world_close(&w);
	}
}

#define EXPECT "POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"

TEST(upstream_decides_about_continue)
{
	struct world w;
	char st[128];
	size_t had;

	world_open(&w);
	w.answer = STR("HTTP/1.1 100 Continue\r\n\r\n");
	ask(&w, STR(EXPECT), "100 Continue\r\n\r\n");
	CHECK(strstr(w.peers[0].got.p, "Expect: 100-continue\r\n"));
	w.ends = "hi";
	w.answer = STR(OK "Content-Length: 3\r\n\r\nyes");
	say(&w.x, STR("hi"));
	wait_for(&w.x, "yes");
	/* One that knows nothing of it: after a second the body is asked for all the same. */
	buf_clear(&w.x.got);
	had = w.peers[0].got.n;
	say(&w.x, STR(EXPECT));
	while (!strstr(w.peers[0].got.p + had, "\r\n\r\n"))
		turn(&w.x);
	CHECK(!w.x.got.n);
	step_clock(&w, 1100000);
	wait_for(&w.x, "100 Continue\r\n\r\n");
	say(&w.x, STR("hi"));
	wait_for(&w.x, "yes");
	/* It wants none. */
	w.ends = NULL;
	w.answer = STR("HTTP/1.1 413 X\r\nContent-Length: 2\r\n\r\nno");
	ask(&w, STR(EXPECT), "no");
	wait_for(&w.x, NULL);
	CHECK_STR(statuses(&w.x, st), "413");
	CHECK(w.x.eof && w.results[PROXY_DONE] == 3);
	world_close(&w);
}

#define UPGRADE                                                                                                        \
	"GET /ws HTTP/1.1\r\n" H "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: "        \
	"k\r\n\r\n"
#define SWITCH                                                                                                         \
	"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "      \
	"a\r\n\r\n"

/* Up to the tunnel; both sides have said something early. */
static void open_websocket(struct world *w)
{
	world_open(w);
	w->answer = STR(SWITCH "early");
	say(&w->x, STR(UPGRADE "frame"));
	wait_for(&w->x, "\r\n\r\nearly");
	CHECK(strstr(w->peers[0].got.p, "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
	CHECK(strstr(w->peers[0].got.p, "Sec-WebSocket-Key: k\r\n"));
	CHECK(strstr(w->x.got.p, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
				 "Sec-WebSocket-Accept: a\r\n\r\nearly"));
	while (!strstr(w->peers[0].got.p, "\r\n\r\nframe"))
		turn(&w->x);
	CHECK(upstream_outstanding(w->u) == 1 && !results(w) && http_server_conns(w->x.s) == 1);
}

static void nobody_waits(void *arg)
{
}

TEST(websocket)
{
	struct world w;

	open_websocket(&w);
	w.ends = "ping";
	w.answer = STR("pong");
	http_server_drain(w.x.s, 1, nobody_waits, NULL); /* it is open work */
	ask(&w, STR("ping"), "pong");
	/* However long it says nothing. */
	step_clock(&w, 3600000000);
	ask(&w, STR("ping"), "pong");
	hang_up(&w.x);
	while (w.peers[0].watch || !results(&w))
		turn(&w.x);
	CHECK(w.results[PROXY_DONE] == 1 && w.status == 101 && http_server_conns(w.x.s) == 0);
	world_close(&w);
}

TEST(websocket_is_ended)
{
	struct world w;

	/* By its upstream, by us, and with the server. */
	for (int how = 0; how < 3; how++) {
		open_websocket(&w);
		if (how == 0)
			peer_close(&w.peers[0]);
		else if (how == 1)
			proxy_cancel(&w.p);
		else
			http_server_close(w.x.s);
		wait_for(&w.x, NULL);
		while (w.peers[0].watch || !results(&w))
			turn(&w.x);
		CHECK(w.results[how == 0 ? PROXY_DONE : how == 1 ? PROXY_FAILED : PROXY_GONE] == 1);
		world_close(&w);
	}
}
