/* SPDX-License-Identifier: Apache-2.0 */
/* The Runtime API and the Extensions API over loopback, as a runtime and its extensions would call them. */
#include "instance/rtapi.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "test.h"

/* One rtapi with its owner; what the owner was told lies in log, like "ready;answer {};". */
struct bench {
	struct loop *loop;
	struct http_server *http;
	struct rtapi_info info;
	struct rtapi *r;
	struct loop_timer *limit;
	struct sockaddr_in at;
	int listener;
	bool late;
	struct buf log;
};

struct client {
	struct bench *b;
	int fd;
	struct loop_fd *w;
	struct buf in;
	size_t whole; /* length of the answer that lies in in, 0: not all of it is there */
	bool gone;
};

static void on_late(void *arg)
{
	struct bench *b = arg;

	b->late = true;
	loop_stop(b->loop);
}

static void ready(void *arg)
{
	struct bench *b = arg;

	buf_adds(&b->log, "ready;");
}

static void answer(void *arg, struct str body)
{
	struct bench *b = arg;

	buf_addf(&b->log, "answer " STR_FMT ";", STR_ARG(body));
}

static void error(void *arg, struct str type, struct str body)
{
	struct bench *b = arg;

	buf_addf(&b->log, "error " STR_FMT " " STR_FMT ";", STR_ARG(type), STR_ARG(body));
}

static void init_error(void *arg, struct str type, struct str body)
{
	struct bench *b = arg;

	buf_addf(&b->log, "init_error " STR_FMT " " STR_FMT ";", STR_ARG(type), STR_ARG(body));
}

static void late(void *arg, struct str request_id, bool is_error, struct str body)
{
	struct bench *b = arg;

	buf_addf(&b->log, "late " STR_FMT ";", STR_ARG(request_id));
}

static void piece(void *arg, struct str piece)
{
	struct bench *b = arg;

	buf_addf(&b->log, "piece " STR_FMT ";", STR_ARG(piece));
}

static const struct rtapi_events events = {ready, answer, error, init_error, late, piece};

static struct bench *bench_new(bool has_runtime, unsigned n_extensions)
{
	struct bench *b = xcalloc(1, sizeof(*b));
	socklen_t n = sizeof(b->at);

	b->at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	b->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK(bind(b->listener, (struct sockaddr *)&b->at, sizeof(b->at)) == 0);
	CHECK(listen(b->listener, 64) == 0);
	CHECK(getsockname(b->listener, (struct sockaddr *)&b->at, &n) == 0);
	b->loop = loop_new();
	b->http = http_server_new(b->loop);
	b->info = (struct rtapi_info){"hello",	   "$LATEST",	 "app.handler", "000000000000",
				      has_runtime, n_extensions, false};
	b->r = rtapi_new(b->http, b->loop, b->listener, &b->info, &events, b);
	b->limit = loop_timer_new(b->loop, on_late, b);
	return b;
}

static void bench_free(struct bench *b)
{
	CHECK(!b->late);
	rtapi_free(b->r);
	http_server_free(b->http);
	loop_timer_free(b->limit);
	loop_free(b->loop);
	close(b->listener);
	buf_done(&b->log);
	free(b);
}

static size_t whole_answer(struct buf *in)
{
	const char *end = in->n ? memmem(in->p, in->n, "\r\n\r\n", 4) : NULL;
	const char *length = end ? strcasestr(in->p, "\r\nContent-Length:") : NULL;
	size_t n;

	if (!end || !length)
		return 0;
	n = end + 4 - in->p + strtoul(length + strlen("\r\nContent-Length:"), NULL, 10);
	return in->n >= n ? n : 0;
}

static void on_client(void *arg, int what)
{
	struct client *c = arg;
	char piece[65536];
	ssize_t n = recv(c->fd, piece, sizeof(piece), MSG_DONTWAIT);

	if (n > 0)
		buf_add(&c->in, piece, n);
	if (n == 0) {
		c->gone = true;
		loop_fd_want(c->w, 0);
	}
	c->whole = whole_answer(&c->in);
	if (c->whole || c->gone || (what & LOOP_WRITE))
		loop_stop(c->b->loop);
}

static struct client *client_new(struct bench *b)
{
	struct client *c = xcalloc(1, sizeof(*c));

	c->b = b;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(connect(c->fd, (struct sockaddr *)&b->at, sizeof(b->at)) == 0);
	c->w = loop_fd_new(b->loop, c->fd, LOOP_READ, on_client, c);
	return c;
}

static void client_free(struct client *c)
{
	loop_fd_free(c->w);
	close(c->fd);
	buf_done(&c->in);
	free(c);
}

static void ask(struct client *c, const char *method, const char *path, const char *headers, struct str body)
{
	auto_buf b = {0};

	buf_addf(&b, "%s %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n", method, path, headers, body.n);
	buf_addstr(&b, body);
	for (size_t at = 0; at < b.n;) {
		ssize_t n = send(c->fd, b.p + at, b.n - at, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			at += n;
		} else { /* the other side runs on this thread */
			loop_fd_want(c->w, LOOP_WRITE);
			loop_run(c->b->loop);
			loop_fd_want(c->w, LOOP_READ);
		}
	}
}

/* The next whole answer, status line first; it stays until the next call. */
static const char *get(struct client *c)
{
	static struct buf text;

	loop_timer_in(c->b->limit, 10 * 1000000);
	c->whole = whole_answer(&c->in);
	while (!c->whole && !c->gone && !c->b->late)
		loop_run(c->b->loop);
	loop_timer_stop(c->b->limit);
	buf_clear(&text);
	if (c->whole)
		buf_add(&text, c->in.p, c->whole);
	buf_drop(&c->in, c->whole);
	return text.n ? text.p : "";
}

static int status_of(const char *answer_text)
{
	return strlen(answer_text) > 12 ? atoi(answer_text + 9) : 0;
}

static const char *body_of(const char *answer_text)
{
	const char *end = strstr(answer_text, "\r\n\r\n");

	return end ? end + 4 : "";
}

/* The value of a header, in a buffer of its own for each of two calls. */
static const char *header_of(const char *answer_text, const char *name, char out[256])
{
	auto_free char *key = xasprintf("\r\n%s: ", name);
	const char *p = strcasestr(answer_text, key);

	out[0] = 0;
	if (p) {
		p += strlen(key);
		strlcpy_(out, p, 256);
		out[strcspn(out, "\r")] = 0;
	}
	return out;
}

static const char *call(struct client *c, const char *method, const char *path, const char *headers, const char *body)
{
	ask(c, method, path, headers, str_of(body));
	return get(c);
}

static void log_is(struct bench *b, const char *want)
{
	CHECK_STR(b->log.n ? b->log.p : "", want);
	buf_clear(&b->log);
}

static struct instance_event event_of(const char *id, const char *payload)
{
	return (struct instance_event){.request_id = id,
				       .function_arn = "arn:aws:lambda:us-east-1:000000000000:function:hello",
				       .trace_id = "Root=1-2",
				       .payload = str_of(payload),
				       .deadline_wall_ms = 1700000000123};
}

#define RUNTIME	  "/2018-06-01/runtime/"
#define EXTENSION "/2020-01-01/extension/"
#define NEXT	  RUNTIME "invocation/next"

/* Lets the loop serve what was sent, by a call that changes nothing. */
static void settle(struct bench *b)
{
	struct client *c = client_new(b);

	CHECK(status_of(call(c, "GET", "/2018-06-01/ping", "", "")) == 200);
	client_free(c);
}

static void start_next(struct bench *b, struct client *c)
{
	ask(c, "GET", NEXT, "", STR_NULL);
	settle(b);
}

TEST(events_one_after_the_other)
{
	struct bench *b = bench_new(true, 0);
	struct client *c = client_new(b);

	for (int i = 0; i < 3; i++) {
		char id[64], path[128], v[256], payload[64];
		struct instance_event ev = event_of(id, payload);

		snprintf(id, sizeof(id), "id-%d", i);
		snprintf(payload, sizeof(payload), "{\"n\":%d}", i);
		ev.payload = str_of(payload);
		start_next(b, c);
		log_is(b, "ready;");
		rtapi_event(b->r, &ev);
		const char *a = get(c);
		CHECK(status_of(a) == 200);
		CHECK_STR(body_of(a), payload);
		CHECK_STR(header_of(a, "Content-Type", v), "application/json");
		CHECK_STR(header_of(a, "Lambda-Runtime-Aws-Request-Id", v), id);
		CHECK_STR(header_of(a, "Lambda-Runtime-Deadline-Ms", v), "1700000000123");
		CHECK_STR(header_of(a, "Lambda-Runtime-Invoked-Function-Arn", v), ev.function_arn);
		CHECK_STR(header_of(a, "Lambda-Runtime-Trace-Id", v), "Root=1-2");
		snprintf(path, sizeof(path), RUNTIME "invocation/%s/response", id);
		a = call(c, "POST", path, "", "{\"ok\":1}");
		CHECK(status_of(a) == 202);
		CHECK_STR(body_of(a), "{\"status\":\"OK\"}\n");
		log_is(b, "answer {\"ok\":1};");
	}
	client_free(c);
	bench_free(b);
}

TEST(answer_and_next_in_one_write)
{
	struct bench *b = bench_new(true, 0);
	struct client *c = client_new(b);
	struct instance_event ev = event_of("id-1", "{}");

	start_next(b, c);
	rtapi_event(b->r, &ev);
	CHECK(status_of(get(c)) == 200);
	log_is(b, "ready;");
	ask(c, "POST", RUNTIME "invocation/id-1/response", "", STR("1"));
	ask(c, "GET", NEXT, "", STR_NULL);
	CHECK(status_of(get(c)) == 202);
	settle(b);
	log_is(b, "answer 1;ready;");
	client_free(c);
	bench_free(b);
}

TEST(headers_cannot_be_broken)
{
	struct bench *b = bench_new(true, 0);
	struct client *c = client_new(b);
	struct instance_event ev = event_of("id-1", "{}");
	char v[256];

	ev.trace_id = "a\r\nX-Evil: 1";
	ev.client_context = STR("{\"k\":\r\n 1}");
	start_next(b, c);
	rtapi_event(b->r, &ev);
	const char *a = get(c);
	CHECK_STR(header_of(a, "Lambda-Runtime-Trace-Id", v), "a  X-Evil: 1");
	CHECK_STR(header_of(a, "Lambda-Runtime-Client-Context", v), "{\"k\":   1}");
	CHECK_STR(header_of(a, "X-Evil", v), "");
	client_free(c);
	bench_free(b);
}

TEST(errors_of_the_handler)
{
	static const struct {
		const char *given, *kept;
	} table[] = {
		{"Runtime.UserError", "Runtime.UserError"},
		{"Function.Odd", "Function.Odd"},
		{"Runtime.lower", "Runtime.Unknown"},
		{"Other.Kind", "Runtime.Unknown"},
		{"Runtime.", "Runtime.Unknown"},
		{"Runtime.A1", "Runtime.Unknown"},
		{NULL, "Runtime.Unknown"},
	};
	struct bench *b = bench_new(true, 0);
	struct client *c = client_new(b);
	struct instance_event ev = event_of("id-1", "{}");

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		auto_free char *head = table[i].given
					       ? xasprintf("Lambda-Runtime-Function-Error-Type: %s\r\n", table[i].given)
					       : xstrdup("");
		auto_free char *want = xasprintf("ready;error %s {\"errorMessage\":\"m\"};", table[i].kept);

		start_next(b, c);
		rtapi_event(b->r, &ev);
		get(c);
		CHECK(status_of(call(c, "POST", RUNTIME "invocation/id-1/error", head, "{\"errorMessage\":\"m\"}")) ==
		      202);
		log_is(b, want);
	}
	client_free(c);
	bench_free(b);
}

TEST(wrong_calls)
{
	struct bench *b = bench_new(true, 0);
	struct client *c = client_new(b), *other = client_new(b);
	struct instance_event ev = event_of("id-1", "{}");
	const char *a;

	a = call(c, "POST", RUNTIME "invocation/id-1/response", "", "1");
	CHECK(status_of(a) == 400 && strstr(a, "InvalidRequestID"));
	start_next(b, c);
	a = call(other, "GET", NEXT, "", "");
	CHECK(status_of(a) == 403 && strstr(a, "InvalidStateTransition"));
	rtapi_event(b->r, &ev);
	get(c);
	a = call(other, "GET", NEXT, "", "");
	CHECK(status_of(a) == 403 && strstr(a, "InvalidStateTransition"));
	a = call(other, "POST", RUNTIME "invocation/id-2/response", "", "1");
	CHECK(status_of(a) == 400 && strstr(a, "InvalidRequestID"));
	a = call(other, "POST", RUNTIME "invocation/id-1/response", "Lambda-Runtime-Function-Response-Mode: odd\r\n",
		 "1");
	CHECK(status_of(a) == 400 && strstr(a, "InvalidFunctionResponseMode"));
	a = call(other, "POST", RUNTIME "init/error", "", "{}");
	CHECK(status_of(a) == 403 && strstr(a, "InvalidStateTransition"));
	CHECK(status_of(call(other, "GET", RUNTIME "invocation/id-1/response", "", "")) == 405);
	log_is(b, "ready;");
	a = call(c, "POST", RUNTIME "invocation/id-1/response", "Lambda-Runtime-Function-Response-Mode: streaming\r\n",
		 "1");
	CHECK(status_of(a) == 202);
	a = call(c, "POST", RUNTIME "invocation/id-1/response", "", "1");
	CHECK(status_of(a) == 403 && strstr(a, "InvalidStateTransition"));
	log_is(b, "answer 1;");
	static const char *const unknown[] = {
		RUNTIME "restore/next", RUNTIME "nothing",   "/",
		RUNTIME "invocation/",	EXTENSION "nothing", "/2099-01-01/runtime/invocation/next"};
	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++)
		CHECK(status_of(call(other, "GET", unknown[i], "", "")) == 404);
	client_free(c);
	client_free(other);
	bench_free(b);
}

TEST(answers_of_the_largest_size)
{
	struct bench *b = bench_new(true, 0);
	struct client *c = client_new(b);
	struct instance_event ev = event_of("id-1", "{}");
	auto_free char *big = xmalloc(LIM_PAYLOAD_BYTES + 1);

	memset(big, '1', LIM_PAYLOAD_BYTES + 1);
	for (int over = 0; over < 2; over++) {
		start_next(b, c);
		rtapi_event(b->r, &ev);
		get(c);
		buf_clear(&b->log);
		ask(c, "POST", RUNTIME "invocation/id-1/response", "", (struct str){big, LIM_PAYLOAD_BYTES + over});
		const char *a = get(c);
		CHECK(status_of(a) == (over ? 413 : 202));
		if (!over)
			CHECK(b->log.n == strlen("answer ;") + LIM_PAYLOAD_BYTES);
		else
			CHECK(strstr(a, "\"RequestEntityTooLarge\"") && strstr(a, "(6291556 bytes)"));
	}
	log_is(b,
	       "error Function.ResponseSizeTooLarge {\"errorMessage\":\"Response payload size exceeded maximum allowed "
	       "payload size (6291556 bytes).\",\"errorType\":\"Function.ResponseSizeTooLarge\"};");
	start_next(b, c);
	log_is(b, "ready;");
	client_free(c);
	bench_free(b);
}

/* The daemon ends, or the sandbox: its owner hears of nothing any more. */
TEST(a_stream_that_is_cut_off_at_the_end_is_not_told)
{
	static const char half[] = "POST " RUNTIME "invocation/id-1/response HTTP/1.1\r\nHost: x\r\n"
				   "Lambda-Runtime-Function-Response-Mode: streaming\r\n"
				   "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n";
	struct bench *b = bench_new(true, 0);
	struct client *c = client_new(b);
	struct instance_event ev = event_of("id-1", "{}");

	start_next(b, c);
	rtapi_event(b->r, &ev);
	get(c);
	CHECK(send(c->fd, half, sizeof(half) - 1, 0) == sizeof(half) - 1);
	while (!strstr(b->log.p, "piece one;"))
		settle(b);
	buf_clear(&b->log);
	rtapi_free(take_ptr(b->r));
	log_is(b, "");
	client_free(c);
	bench_free(b);
}

TEST(init_error)
{
	struct bench *b = bench_new(true, 0);
	struct client *c = client_new(b);
	const char *head = "Lambda-Runtime-Function-Error-Type: Runtime.NoSuchHandler\r\n";

	CHECK(status_of(call(c, "POST", RUNTIME "init/error", head, "{\"a\":1}")) == 202);
	CHECK(status_of(call(c, "POST", RUNTIME "init/error", head, "{\"a\":1}")) == 403);
	CHECK(status_of(call(c, "GET", NEXT, "", "")) == 403);
	log_is(b, "init_error Runtime.NoSuchHandler {\"a\":1};");
	client_free(c);
	bench_free(b);
}

TEST(runtime_connects_again)
{
	struct bench *b = bench_new(true, 0);
	struct client *c = client_new(b);
	struct instance_event ev = event_of("id-1", "{\"a\":1}");

	start_next(b, c);
	client_free(c);
	settle(b);
	settle(b);
	rtapi_event(b->r, &ev);
	c = client_new(b);
	const char *a = call(c, "GET", NEXT, "", "");
	CHECK(status_of(a) == 200);
	CHECK_STR(body_of(a), "{\"a\":1}");
	CHECK(status_of(call(c, "POST", RUNTIME "invocation/id-1/response", "", "2")) == 202);
	log_is(b, "ready;answer 2;");
	client_free(c);
	bench_free(b);
}

/* Registers; the identifier as a header line. */
static void enroll(struct client *c, const char *name, const char *what, char out[256])
{
	auto_free char *head =
		xasprintf("Lambda-Extension-Name: %s\r\nLambda-Extension-Accept-Feature: accountId\r\n", name);
	auto_free char *body = xasprintf("{\"events\":[%s]}", what);
	const char *a = call(c, "POST", EXTENSION "register", head, body);
	char id[256];

	CHECK(status_of(a) == 200);
	CHECK_STR(body_of(a), "{\"functionName\":\"hello\",\"functionVersion\":\"$LATEST\",\"handler\":\"app.handler\","
			      "\"accountId\":\"000000000000\"}");
	CHECK(strlen(header_of(a, "Lambda-Extension-Identifier", id)) == 36);
	snprintf(out, 256, "Lambda-Extension-Identifier: %.36s\r\n", id);
}

TEST(extensions_take_part)
{
	struct bench *b = bench_new(true, 2);
	struct client *rt = client_new(b), *x = client_new(b), *y = client_new(b);
	struct instance_event ev = event_of("id-1", "{}");
	char idx[256], idy[256], v[256];

	enroll(x, "both", "\"INVOKE\",\"SHUTDOWN\"", idx);
	start_next(b, rt);
	enroll(y, "last", "\"SHUTDOWN\"", idy);
	ask(x, "GET", EXTENSION "event/next", idx, STR_NULL);
	settle(b);
	log_is(b, "");
	ask(y, "GET", EXTENSION "event/next", idy, STR_NULL);
	settle(b);
	log_is(b, "ready;");
	CHECK(rtapi_has_extensions(b->r));
	rtapi_event(b->r, &ev);
	const char *a = get(x);
	CHECK(strlen(header_of(a, "Lambda-Extension-Event-Identifier", v)) == 36);
	CHECK_STR(body_of(a), "{\"eventType\":\"INVOKE\",\"deadlineMs\":1700000000123,\"requestId\":\"id-1\","
			      "\"invokedFunctionArn\":\"arn:aws:lambda:us-east-1:000000000000:function:hello\","
			      "\"tracing\":{\"type\":\"X-Amzn-Trace-Id\",\"value\":\"Root=1-2\"}}");
	get(rt);
	call(rt, "POST", RUNTIME "invocation/id-1/response", "", "1");
	start_next(b, rt);
	log_is(b, "answer 1;");
	ask(x, "GET", EXTENSION "event/next", idx, STR_NULL);
	settle(b);
	log_is(b, "ready;");
	rtapi_shutdown(b->r, "SPINDOWN", 5);
	CHECK_STR(body_of(get(x)), "{\"eventType\":\"SHUTDOWN\",\"shutdownReason\":\"SPINDOWN\",\"deadlineMs\":5}");
	CHECK_STR(body_of(get(y)), "{\"eventType\":\"SHUTDOWN\",\"shutdownReason\":\"SPINDOWN\",\"deadlineMs\":5}");
	client_free(rt);
	client_free(x);
	client_free(y);
	bench_free(b);
}

TEST(extensions_of_an_in_house_runtime)
{
	struct bench *b = bench_new(false, 1);
	struct client *x = client_new(b);
	struct instance_event ev = event_of("id-1", "{}");
	char id[256];

	CHECK(status_of(call(x, "GET", NEXT, "", "")) == 404);
	rtapi_runtime_done(b->r);
	settle(b);
	enroll(x, "x", "\"INVOKE\"", id);
	log_is(b, "");
	ask(x, "GET", EXTENSION "event/next", id, STR_NULL);
	settle(b);
	log_is(b, "ready;");
	rtapi_event(b->r, &ev);
	CHECK(strstr(get(x), "INVOKE"));
	ask(x, "GET", EXTENSION "event/next", id, STR_NULL);
	settle(b);
	log_is(b, "");
	rtapi_runtime_done(b->r);
	log_is(b, ""); /* never from inside the call */
	settle(b);
	log_is(b, "ready;");
	rtapi_event(b->r, &ev);
	CHECK(strstr(get(x), "INVOKE"));
	rtapi_shutdown(b->r, "TIMEOUT", 7);
	client_free(x);
	bench_free(b);
}

TEST(extensions_refused)
{
	struct bench *b = bench_new(true, 0);
	struct client *c = client_new(b), *rt = client_new(b);
	char id[256], name[128];
	const char *a;

	a = call(c, "POST", EXTENSION "register", "", "{\"events\":[]}");
	CHECK(status_of(a) == 403 && strstr(a, "Extension.InvalidExtensionName"));
	static const char *const bad[] = {"{", "[]", "{\"events\":[\"ODD\"]}", "{\"events\":[1]}", ""};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK(status_of(call(c, "POST", EXTENSION "register", "Lambda-Extension-Name: x\r\n", bad[i])) == 400);
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "x%d", i);
		enroll(c, name, "\"INVOKE\"", id);
	}
	a = call(c, "POST", EXTENSION "register", "Lambda-Extension-Name: x0\r\n", "{\"events\":[]}");
	CHECK(status_of(a) == 403 && strstr(a, "Extension.AlreadyRegistered"));
	a = call(c, "POST", EXTENSION "register", "Lambda-Extension-Name: x10\r\n", "{\"events\":[]}");
	CHECK(status_of(a) == 403 && strstr(a, "Extension.TooManyExtensions"));
	static const struct {
		const char *head, *kind;
	} who[] = {
		{"", "Extension.MissingExtensionIdentifier"},
		{"Lambda-Extension-Identifier: 1\r\n", "Extension.InvalidExtensionIdentifier"},
		{"Lambda-Extension-Identifier: 00000000-0000-4000-8000-000000000000\r\n",
		 "Extension.UnknownExtensionIdentifier"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(who); i++) {
		a = call(c, "GET", EXTENSION "event/next", who[i].head, "");
		CHECK(status_of(a) == 403 && strstr(a, who[i].kind));
		a = call(c, "PUT", "/2022-07-01/telemetry", who[i].head, "{}");
		CHECK(status_of(a) == 403 && strstr(a, who[i].kind));
	}
	CHECK(status_of(call(c, "PUT", "/2020-08-15/logs", id, "{}")) == 200);
	a = call(c, "PUT", "/2022-07-01/telemetry", id, "{}");
	CHECK(status_of(a) == 200);
	CHECK_STR(body_of(a), "\"OK\"");
	a = call(c, "POST", EXTENSION "init/error", id, "{}");
	CHECK(status_of(a) == 403 && strstr(a, "Extension.MissingHeader"));
	auto_free char *typed = xasprintf("%sLambda-Extension-Function-Error-Type: Extension.Bad\r\n", id);
	CHECK(status_of(call(c, "POST", EXTENSION "init/error", typed, "{\"why\":1}")) == 202);
	log_is(b, "init_error Extension.InitError {\"why\":1};");
	CHECK(status_of(call(c, "POST", EXTENSION "exit/error", typed, "{}")) == 403);
	CHECK(status_of(call(c, "GET", EXTENSION "event/next", id, "")) == 403);
	client_free(c);
	client_free(rt);
	bench_free(b);
}

TEST(registration_closes)
{
	struct bench *b = bench_new(true, 0);
	struct client *c = client_new(b), *rt = client_new(b);

	start_next(b, rt);
	log_is(b, "ready;");
	const char *a = call(c, "POST", EXTENSION "register", "Lambda-Extension-Name: x\r\n", "{\"events\":[]}");
	CHECK(status_of(a) == 403 && strstr(a, "Extension.RegistrationClosed"));
	client_free(c);
	client_free(rt);
	bench_free(b);
}

TEST(freed_while_everybody_waits)
{
	struct bench *b = bench_new(true, 1);
	struct client *x = client_new(b), *rt = client_new(b);
	char id[256];

	enroll(x, "x", "\"INVOKE\"", id);
	ask(x, "GET", EXTENSION "event/next", id, STR_NULL);
	start_next(b, rt);
	log_is(b, "ready;");
	loop_fd_free(x->w);
	loop_fd_free(rt->w);
	x->w = rt->w = NULL;
	bench_free(b);
	client_free(x);
	client_free(rt);
}
