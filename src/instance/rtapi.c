/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime's half of the Runtime API, and the owner's calls.
 *
 *      INIT ──next──► IDLE ──event──► BUSY ──response, error──► ANSWERED ──next──► IDLE
 *        └──init/error──► FAILED
 *
 * ready() is told when the runtime is IDLE and every extension waits. The path of an event (next, response)
 * allocates nothing once its buffer has grown. Status codes and error types are those that runtimes know from Lambda.
 */
#include <assert.h>
#include <stdio.h>
#include "instance/rtapi_int.h"

#define BODY_MAX (2 * LIM_PAYLOAD_BYTES)   /* so that an answer somewhat too large gets Lambda's own words */
#define IDLE_US	 (365LL * 86400 * 1000000) /* a program may wait for its next event for as long as it likes */

static const char *const rt_state_name[RT_N] = {"Started", "Ready", "Running", "ResponseSent", "InitError"};

/* --- answers --- */

void rtapi_reply(struct http_req *q, int status, struct str body)
{
	struct http_reply a = {.status = status, .content_type = "application/json", .body = body};

	http_reply(q, &a);
}

void rtapi_reply_ok(struct http_req *q)
{
	rtapi_reply(q, 202, STR("{\"status\":\"OK\"}\n"));
}

/* type and text are ours: no quoting is needed. */
void rtapi_refuse(struct http_req *q, int status, const char *type, const char *text)
{
	auto_buf b = {0};

	buf_addf(&b, "{\"errorMessage\":\"%s\",\"errorType\":\"%s\"}\n", text, type);
	rtapi_reply(q, status, buf_str(&b));
}

static void refuse_state(struct rtapi *r, struct http_req *q, const char *to)
{
	char text[128];

	snprintf(text, sizeof(text),
		 "State transition from %s to %s failed for runtime. Error: State transition is not allowed",
		 rt_state_name[r->state], to);
	rtapi_refuse(q, 403, "InvalidStateTransition", text);
}

/* --- ready --- */

static bool all_back(const struct rtapi *r)
{
	if (r->state != RT_IDLE || r->n_ext < r->info->n_extensions)
		return false;
	for (unsigned i = 0; i < r->n_ext; i++)
		if (r->ext[i]->state == EXT_REGISTERED || r->ext[i]->state == EXT_RUNNING)
			return false;
	return true;
}

static void tell_ready(void *arg)
{
	struct rtapi *r = arg;

	if (r->told_ready || !all_back(r))
		return;
	r->told_ready = r->init_done = true;
	r->ev->ready(r->arg);
}

void rtapi_maybe_ready(struct rtapi *r)
{
	if (r->inside)
		loop_defer(r->loop, &r->defer, tell_ready, r);
	else
		tell_ready(r);
}

/* --- the runtime --- */

static void next_gone(void *arg)
{
	struct rtapi *r = arg;

	r->next = NULL;
}

static void give_event(struct rtapi *r, struct str payload)
{
	struct http_reply a = {
		.status = 200, .content_type = "application/json", .headers = buf_str(&r->head), .body = payload};
	struct http_req *q = r->next;

	r->next = NULL;
	r->event_waits = false;
	http_reply(q, &a);
}

static void on_next(struct rtapi *r, struct http_req *q)
{
	if (r->next || r->state == RT_FAILED || (r->state == RT_BUSY && !r->event_waits)) {
		refuse_state(r, q, "Ready");
		return;
	}
	r->next = q;
	http_on_gone(q, next_gone, r);
	if (r->event_waits) {
		give_event(r, buf_str(&r->event));
		return;
	}
	r->state = RT_IDLE;
	rtapi_maybe_ready(r);
}

/* "Runtime.X..." or "Function.X...", as AWS keeps them. */
static struct str error_type_of(const struct http_req *q)
{
	struct str t = http_header(q, "Lambda-Runtime-Function-Error-Type");
	size_t at = str_starts(t, "Runtime.") ? 8 : 9;

	if ((!str_starts(t, "Runtime.") && !str_starts(t, "Function.")) || t.n <= at || t.n > 128)
		return STR("Runtime.Unknown");
	if (t.p[at] < 'A' || t.p[at] > 'Z')
		return STR("Runtime.Unknown");
	for (size_t i = at; i < t.n; i++)
		if ((t.p[i] | 32) < 'a' || (t.p[i] | 32) > 'z')
			return STR("Runtime.Unknown");
	return t;
}

#define TOO_LARGE_(n) "Response payload size exceeded maximum allowed payload size (" #n " bytes)."
#define TOO_LARGE(n)  TOO_LARGE_(n)

static void answer_too_large(struct rtapi *r, struct http_req *q)
{
	r->state = RT_ANSWERED;
	r->ev->error(r->arg, STR("Function.ResponseSizeTooLarge"),
		     STR("{\"errorMessage\":\"" TOO_LARGE(
			     LIM_PAYLOAD_BYTES) "\","
						"\"errorType\":\"Function.ResponseSizeTooLarge\"}"));
	rtapi_refuse(q, 413, "RequestEntityTooLarge", "Exceeded maximum allowed payload size (6291556 bytes).");
}

/* --- an answer in pieces --- */

static void stream_gone(void *arg)
{
	struct rtapi *r = arg;

	r->stream = NULL;
	if (r->state != RT_BUSY)
		return;
	r->state = RT_ANSWERED;
	r->ev->error(r->arg, STR("Runtime.TruncatedResponse"),
		     STR("{\"errorMessage\":\"The response ended before its "
			 "end\",\"errorType\":\"Runtime.TruncatedResponse\"}"));
}

static void stream_piece(struct http_sink *s, struct str piece)
{
	struct rtapi *r = container_of(s, struct rtapi, sink);

	if (r->state == RT_BUSY)
		r->ev->piece(r->arg, piece);
}

static void stream_end(struct http_sink *s)
{
	struct rtapi *r = container_of(s, struct rtapi, sink);
	struct http_req *q = take_ptr(r->stream);

	if (r->state == RT_BUSY) {
		r->state = RT_ANSWERED;
		r->ev->answer(r->arg, STR_NULL);
	}
	rtapi_reply_ok(q);
}

static void stream_begin(struct rtapi *r, struct http_req *q)
{
	r->stream = q;
	r->sink = (struct http_sink){.piece = stream_piece, .end = stream_end};
	http_on_gone(q, stream_gone, r);
	http_body_start(q, &r->sink);
}

void rtapi_hold(struct rtapi *r, bool held)
{
	if (r->stream)
		(held ? http_body_pause : http_body_resume)(r->stream);
}

static bool streams(void *arg, const struct http_req *q)
{
	return str_caseeqc(http_header(q, "Lambda-Runtime-Function-Response-Mode"), "streaming") &&
	       str_ends(q->path, "/response");
}

static void on_answer(struct rtapi *r, struct http_req *q, struct str id, bool is_error)
{
	struct str mode = is_error ? STR_NULL : http_header(q, "Lambda-Runtime-Function-Response-Mode");

	if (r->state == RT_INIT && r->info->adopted) {
		r->ev->late(r->arg, id, is_error, q->body);
		rtapi_reply_ok(q);
	} else if (r->state == RT_INIT || r->state == RT_FAILED || !str_eqc(id, r->request_id)) {
		rtapi_refuse(q, 400, "InvalidRequestID", "Invalid request ID");
	} else if (r->state != RT_BUSY || r->event_waits || r->stream) {
		refuse_state(r, q, is_error ? "InvocationErrorResponse" : "InvocationResponse");
	} else if (mode.n && !str_caseeqc(mode, "streaming") && !str_caseeqc(mode, "buffered")) {
		rtapi_refuse(q, 400, "InvalidFunctionResponseMode", "Invalid function response mode");
	} else if (q->streams) {
		stream_begin(r, q);
	} else if (q->body.n > LIM_PAYLOAD_BYTES) {
		answer_too_large(r, q);
	} else {
		r->state = RT_ANSWERED;
		if (is_error)
			r->ev->error(r->arg, error_type_of(q), q->body);
		else
			r->ev->answer(r->arg, q->body);
		rtapi_reply_ok(q);
	}
}

static void on_init_error(struct rtapi *r, struct http_req *q)
{
	if (r->state != RT_INIT) {
		refuse_state(r, q, "InitError");
		return;
	}
	r->state = RT_FAILED;
	r->ev->init_error(r->arg, error_type_of(q), q->body);
	rtapi_reply_ok(q);
}

/* --- which call is it? --- */

bool rtapi_method_is(struct http_req *q, const char *method)
{
	if (str_eqc(q->method, method))
		return true;
	rtapi_refuse(q, 405, "MethodNotAllowed", "This method is not allowed here");
	return false;
}

static struct str after(struct str s, size_t n)
{
	return (struct str){s.p + n, s.n - n};
}

void rtapi_not_found(struct http_req *q)
{
	struct http_reply a = {.status = 404, .content_type = "text/plain", .body = STR("404 page not found\n")};

	http_reply(q, &a);
}

static void route_runtime(struct rtapi *r, struct http_req *q, struct str path)
{
	struct str id, what;

	if (str_starts(path, "invocation/")) {
		path = after(path, strlen("invocation/"));
		if (str_eqc(path, "next")) {
			if (rtapi_method_is(q, "GET"))
				on_next(r, q);
			return;
		}
		if (str_cut(path, '/', &id, &what) && (str_eqc(what, "response") || str_eqc(what, "error"))) {
			if (rtapi_method_is(q, "POST"))
				on_answer(r, q, id, str_eqc(what, "error"));
			return;
		}
	} else if (str_eqc(path, "init/error")) {
		if (rtapi_method_is(q, "POST"))
			on_init_error(r, q);
		return;
	}
	rtapi_not_found(q); /* restore/next, restore/error too: no runtime of ours is one that restores by itself */
}

static void on_request(void *arg, struct http_req *q)
{
	static const char runtime[] = "/2018-06-01/runtime/", extension[] = "/2020-01-01/extension/";
	struct rtapi *r = arg;

	if (str_starts(q->path, runtime) && r->info->has_runtime) {
		route_runtime(r, q, after(q->path, sizeof(runtime) - 1));
	} else if (str_starts(q->path, extension)) {
		rtapi_ext_route(r, q, after(q->path, sizeof(extension) - 1));
	} else if (str_eqc(q->path, "/2020-08-15/logs") || str_eqc(q->path, "/2022-07-01/telemetry")) {
		rtapi_ext_subscribe(r, q);
	} else if (str_eqc(q->path, "/2018-06-01/ping")) {
		rtapi_reply(q, 200, STR("pong"));
	} else {
		rtapi_not_found(q);
	}
}

/* --- the owner's calls --- */

struct rtapi *rtapi_new(struct http_server *s, struct loop *l, int listener, const struct rtapi_info *info,
			const struct rtapi_events *ev, void *arg)
{
	struct rtapi *r = xcalloc(1, sizeof(*r));
	struct http_listener_opts o = {.body_max = BODY_MAX,
				       .idle_us = IDLE_US,
				       .handler = on_request,
				       .streams = streams,
				       .arg = r,
				       .guest = true};

	r->loop = l;
	r->info = info;
	r->ev = ev;
	r->arg = arg;
	r->listener = http_listen(s, listener, &o);
	return r;
}

void rtapi_free(struct rtapi *r)
{
	if (!r)
		return;
	loop_defer_cancel(r->loop, &r->defer);
	r->state = RT_FAILED;		 /* an answer that breaks off now is nobody's any more */
	http_listener_free(r->listener); /* gone() of what waits still finds r and its extensions */
	for (unsigned i = 0; i < r->n_ext; i++)
		free(r->ext[i]);
	buf_done(&r->head);
	buf_done(&r->event);
	buf_done(&r->text);
	free(r);
}

/* A header line; what could end the line early becomes a space (the value may come from a client). */
static void add_header(struct buf *b, const char *name, size_t name_n, const char *value, size_t n)
{
	char *p;

	buf_reserve(b, name_n + n + 2);
	p = b->p + b->n;
	memcpy(p, name, name_n);
	p += name_n;
	memcpy(p, value, n);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p[i] < ' ')
			p[i] = ' ';
	memcpy(p + n, "\r\n", 2);
	b->n += name_n + n + 2;
}
#define ADD_HEADER(b, name, value, n) add_header(b, name ": ", sizeof(name ": ") - 1, value, n)

static void put_head(struct rtapi *r, const struct instance_event *ev)
{
	struct buf *b = &r->head;

	buf_clear(b);
	ADD_HEADER(b, "Lambda-Runtime-Aws-Request-Id", ev->request_id, strlen(ev->request_id));
	ADD_HEADER(b, "Lambda-Runtime-Invoked-Function-Arn", ev->function_arn, strlen(ev->function_arn));
	buf_adds(b, "Lambda-Runtime-Deadline-Ms: ");
	buf_add_i64(b, ev->deadline_wall_ms);
	buf_add(b, "\r\n", 2);
	if (ev->trace_id && ev->trace_id[0])
		ADD_HEADER(b, "Lambda-Runtime-Trace-Id", ev->trace_id, strlen(ev->trace_id));
	if (ev->client_context.n)
		ADD_HEADER(b, "Lambda-Runtime-Client-Context", ev->client_context.p, ev->client_context.n);
}

void rtapi_event(struct rtapi *r, const struct instance_event *ev)
{
	bool inside = r->inside;

	r->inside = true;
	r->told_ready = false;
	r->state = RT_BUSY;
	strlcpy_(r->request_id, ev->request_id, sizeof(r->request_id));
	rtapi_ext_invoke(r, ev);
	if (r->info->has_runtime) {
		put_head(r, ev);
		if (r->next) {
			give_event(r, ev->payload);
		} else { /* its connection broke since it was ready: it may come again */
			buf_clear(&r->event);
			buf_addstr(&r->event, ev->payload);
			r->event_waits = true;
		}
	}
	r->inside = inside;
}

void rtapi_init_over(struct rtapi *r)
{
	r->init_done = true;
}

void rtapi_runtime_done(struct rtapi *r)
{
	assert(!r->info->has_runtime);
	if (r->state == RT_FAILED)
		return;
	r->state = RT_IDLE;
	loop_defer(r->loop, &r->defer, tell_ready, r);
}
