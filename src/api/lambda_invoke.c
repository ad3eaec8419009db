/* SPDX-License-Identifier: Apache-2.0 */
/* Invoke. The hot path: one allocation, the payload is neither copied nor parsed into a tree, headers are built on the
 * stack. */
#include <stdio.h>
#include "api/api_int.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/limits.h"
#include "base/mem.h"
#include "json/read.h"
#include "object/hash.h"
#include "sched/async.h"

#define CLIENT_CONTEXT_MAX 3583
#define INVOKE_ASYNC_BYTES 262144
#define STREAM_QUEUED	   262144 /* so much a client may have still to take before the handler's writes wait */

struct invoke {
	struct api_call c;
	struct invocation inv;
	struct buf context;	   /* decoded client context */
	struct function *function; /* async: a reference */
	char trace[100];
	bool begun, held; /* InvokeWithResponseStream: the answer; the handler */
};

static void invoke_free(struct invoke *i)
{
	buf_done(&i->context);
	function_unref(i->function);
	free(i);
}

/* The client's own trace id, if it looks like one (it goes into a header again), else one made from the request's id.
 */
static void make_trace(struct invoke *i)
{
	struct str sent = http_header(i->c.r, "x-amzn-trace-id");
	const char *id = i->c.request_id;

	if (i->c.trace[0] && (!sent.n || i->c.r->trace || http_header(i->c.r, "traceparent").n)) {
		strlcpy_(i->trace, i->c.trace, sizeof(i->trace));
		return;
	}
	if (sent.n && sent.n < sizeof(i->trace) && str_name_ok(sent, sizeof(i->trace), "=;-:")) {
		memcpy(i->trace, sent.p, sent.n);
		return;
	}
	snprintf(i->trace, sizeof(i->trace), "Root=1-%08llx-%.8s%.4s%.12s;Sampled=0",
		 (unsigned long long)clock_wall_us() / 1000000, id, id + 9, id + 24);
}

static int head(const struct invoke *i, char *h, size_t size, bool is_error)
{
	char version[VERSION_TEXT];

	return snprintf(h, size,
			"x-amzn-RequestId: %s\r\nX-Amz-Executed-Version: %s\r\nX-Amzn-Trace-Id: %s\r\n"
			"X-Amzn-Remapped-Content-Length: 0\r\n%s",
			i->c.request_id, version_name(i->inv.revision ? i->inv.revision->version : 0, version),
			i->trace, is_error ? "X-Amz-Function-Error: Unhandled\r\n" : "");
}

static void answer(struct invoke *i, struct str body, bool is_error)
{
	struct api_call *c = &i->c;
	char h[512 + 4096 * 4 / 3 + 8];
	struct buf log = {0};
	int n = head(i, h, sizeof(h), is_error);

	if (i->inv.want_log_tail && i->inv.log_tail.n <= 4096) {
		enc_b64(&log, i->inv.log_tail.p, i->inv.log_tail.n);
		n += snprintf(h + n, sizeof(h) - (size_t)n, "X-Amz-Log-Result: %s\r\n", log.p ? log.p : "");
		buf_done(&log);
	}
	http_reply(c->r,
		   &(struct http_reply){
			   .status = 200, .content_type = "application/json", .headers = {h, (size_t)n}, .body = body});
	c->r = NULL;
}

static void failed(struct invoke *i)
{
	struct api_call *c = &i->c;

	if (i->inv.e.kind == ERR_NOT_FOUND && (!function_get(c->a->o.store, str_of(c->name.name)) ||
					       (i->inv.revision && i->inv.revision->deleted))) /* meanwhile */
		api_no_function(c, c->name.qualifier);
	else
		api_fail(&c->e, API_SERVICE, "%s", i->inv.e.kind ? i->inv.e.text : "The function could not be run.");
	api_reply_err(c);
}

static void invoked(struct invocation *inv)
{
	struct invoke *i = container_of(inv, struct invoke, inv);
	static const char too_large[] =
		"{\"errorMessage\":\"Response payload size exceeded maximum allowed payload size (6291556 bytes).\","
		"\"errorType\":\"Function.ResponseSizeTooLarge\"}";

	switch (inv->outcome) {
	case INVOKE_OK:
		if (inv->body.n > LIM_PAYLOAD_BYTES)
			answer(i, str_of(too_large), true);
		else
			answer(i, inv->body.n ? inv->body : STR("null"), false);
		break;
	case INVOKE_ERROR:
	case INVOKE_TIMEOUT:
	case INVOKE_CRASHED:
	case INVOKE_INIT_FAILED:
		answer(i, inv->body, true);
		break;
	case INVOKE_THROTTLED:
		api_reply_fail(&i->c, inv->e.kind == ERR_LIMIT ? API_THROTTLED_RESERVED : API_THROTTLED, "%s",
			       inv->e.kind == ERR_DENIED ? inv->e.text : "Rate Exceeded.");
		break;
	case INVOKE_FAILED:
	case INVOKE_OUTCOME_N:
		failed(i);
		break;
	}
	invoke_free(i);
}

/* --- InvokeWithResponseStream: an answer of "event stream" messages --- */

static void put32(struct buf *b, uint32_t v)
{
	uint8_t be[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

	buf_add(b, be, 4);
}

/* Of all that is in b. */
static void put_crc(struct buf *b)
{
	struct hash_state *h = hash_new(1 << HASH_CRC32);

	hash_add(h, b->p, b->n);
	hash_end(h);
	buf_add(b, hash_value(h, HASH_CRC32), 4);
	hash_free(h);
}

static void put_header(struct buf *b, const char *name, const char *value)
{
	size_t n = strlen(value);

	buf_addc(b, (char)strlen(name));
	buf_adds(b, name);
	buf_addc(b, 7); /* a string */
	buf_addc(b, (char)(n >> 8));
	buf_addc(b, (char)n);
	buf_adds(b, value);
}

/* Length of all, length of the headers, checksum; headers; payload; checksum. */
static void put_message(struct invoke *i, const char *event, const char *type, struct str payload)
{
	auto_buf headers = {0}, m = {0};

	put_header(&headers, ":event-type", event);
	put_header(&headers, ":content-type", type);
	put_header(&headers, ":message-type", "event");
	put32(&m, (uint32_t)(12 + headers.n + payload.n + 4));
	put32(&m, (uint32_t)headers.n);
	put_crc(&m);
	buf_addstr(&m, buf_str(&headers));
	buf_addstr(&m, payload);
	put_crc(&m);
	http_stream_write(i->c.r, buf_str(&m));
}

static void begin_stream(struct invoke *i)
{
	char h[512];
	int n = head(i, h, sizeof(h), false);

	if (!i->begun)
		http_stream_begin(i->c.r, 200, "application/vnd.amazon.eventstream", (struct str){h, (size_t)n});
	i->begun = true;
}

static void hold(struct invoke *i, bool held)
{
	if (i->held != held)
		sched_invoke_hold(&i->inv, held);
	i->held = held;
}

static void drained(void *arg)
{
	hold(arg, false);
}

static void piece(struct invocation *inv, struct str text)
{
	struct invoke *i = container_of(inv, struct invoke, inv);

	if (!i->begun) {
		begin_stream(i);
		http_on_drained(i->c.r, drained, i);
	}
	put_message(i, "PayloadChunk", "application/octet-stream", text);
	if (http_stream_queued(i->c.r) > STREAM_QUEUED)
		hold(i, true);
}

static void put_complete(struct invoke *i)
{
	auto_buf log = {0};
	auto_object(w, json);

	if (i->inv.outcome != INVOKE_OK) {
		jw_strc(&w, "ErrorCode", "Unhandled");
		jw_str(&w, "ErrorDetails", i->inv.body.n ? i->inv.body : str_of(i->inv.e.text));
	}
	if (i->inv.want_log_tail) {
		enc_b64(&log, i->inv.log_tail.p, i->inv.log_tail.n);
		jw_str(&w, "LogResult", buf_str(&log));
	}
	jw_end(&w, '}');
	put_message(i, "InvokeComplete", "application/json", buf_str(&json));
}

/* A handler that knows nothing of streams has its whole answer in the body. */
static void streamed(struct invocation *inv)
{
	struct invoke *i = container_of(inv, struct invoke, inv);
	bool ran = inv->outcome != INVOKE_THROTTLED && inv->outcome != INVOKE_FAILED;

	if (!i->begun && !ran) {
		invoked(inv);
		return;
	}
	begin_stream(i);
	if (inv->outcome == INVOKE_OK && inv->body.n)
		put_message(i, "PayloadChunk", "application/octet-stream", inv->body);
	put_complete(i);
	http_stream_end(i->c.r);
	invoke_free(i);
}

static void client_gone(void *arg)
{
	struct invoke *i = arg;

	i->c.r = NULL;
	sched_invoke_cancel(&i->inv);
	invoke_free(i);
}

/* X-Amz-Client-Context is base64 of a JSON object. */
static int read_context(struct api_call *c, struct invoke *i)
{
	struct str h = http_header(c->r, "x-amz-client-context");

	if (!h.n)
		return 0;
	if (h.n > CLIENT_CONTEXT_MAX)
		return api_fail(&c->e, API_INVALID_CONTENT,
				"Client context must be no more than %d bytes when base64-encoded.",
				CLIENT_CONTEXT_MAX);
	if (dec_b64(&i->context, h) < 0 || json_check(buf_str(&i->context), NULL) < 0)
		return api_fail(&c->e, API_INVALID_CONTENT,
				"Client context must be a valid Base64-encoded JSON object.");
	i->inv.client_context = buf_str(&i->context);
	return 0;
}

static int start_sync(struct api_call *c, struct function *f, struct revision *r, struct str payload, bool streams)
{
	struct invoke *i = xcalloc(1, sizeof(*i));

	i->c = *c;
	if (read_context(c, i) < 0) {
		invoke_free(i);
		return -1;
	}
	make_trace(i);
	i->inv.function = f;
	i->inv.revision = r->version ? r : NULL;
	i->inv.qualifier = i->c.name.qualifier[0] ? i->c.name.qualifier : NULL;
	i->inv.trigger = TRIGGER_API;
	i->inv.payload = payload;
	i->inv.trace_id = i->trace;
	memcpy(i->inv.request_id, c->request_id, sizeof(i->inv.request_id));
	i->inv.want_log_tail = str_eqc(http_header(c->r, "x-amz-log-type"), "Tail");
	i->inv.done = streams ? streamed : invoked;
	i->inv.piece = streams ? piece : NULL;
	http_on_gone(i->c.r, client_gone, i);
	sched_invoke_start(c->a->o.sched, &i->inv);
	return 0;
}

static void accepted(void *arg, const struct err *e)
{
	struct invoke *i = arg;

	if (e->kind)
		api_reply_fail(&i->c, API_SERVICE, "The event could not be stored: %s", e->text);
	else
		api_reply_empty(&i->c, 202);
	invoke_free(i);
}

static int start_async(struct api_call *c, struct function *f, struct str payload)
{
	struct invoke *i = xcalloc(1, sizeof(*i));

	i->c = *c;
	i->function = function_ref(f);
	make_trace(i);
	http_on_gone_clear(&i->c.r); /* the event is taken all the same */
	sched_async_start(c->a->o.sched,
			  &(struct async_new){.function = f,
					      .qualifier = i->c.name.qualifier,
					      .payload = payload,
					      .trace_id = i->trace,
					      .request_id = c->request_id},
			  accepted, i);
	return 0;
}

static int invoke(struct api_call *c, bool streams)
{
	struct str type = http_header(c->r, "x-amz-invocation-type"), payload = c->r->body.n ? c->r->body : STR("{}");
	bool event = str_eqc(type, "Event"), dry = str_eqc(type, "DryRun");
	size_t max = event ? LIM_ASYNC_PAYLOAD_BYTES : LIM_PAYLOAD_BYTES;
	struct revision *r;
	struct function *f = api_target(c, &r);
	struct err e = {0};

	if (!f)
		return -1;
	if (type.n && (!event || streams) && !dry && !str_eqc(type, "RequestResponse"))
		return api_invalid(&c->e, "invocationType", type, 64,
				   "satisfy enum value set: [%sRequestResponse, DryRun]", streams ? "" : "Event, ");
	if (payload.n > max)
		return api_fail(&c->e, API_TOO_LARGE,
				"Request must be smaller than %zu bytes for the InvokeFunction operation", max);
	if (json_check(payload, &e) < 0)
		return api_fail(&c->e, API_INVALID_CONTENT, "Could not parse request body into json: %s", e.text);
	if (dry)
		return api_reply_empty(c, 204);
	if (f->state == FUNCTION_PENDING && !r->version)
		return api_fail(&c->e, API_CONFLICT,
				"The operation cannot be performed at this time. The function is currently in the "
				"following state: Pending");
	return event ? start_async(c, f, payload) : start_sync(c, f, r, payload, streams);
}

int lambda_invoke(struct api_call *c)
{
	return invoke(c, false);
}

int lambda_invoke_stream(struct api_call *c)
{
	return invoke(c, true);
}

/* What there was before InvocationType: it is always asynchronous. */
int lambda_invoke_async(struct api_call *c)
{
	struct revision *r;
	struct function *f = api_target(c, &r);
	struct err e = {0};

	if (!f)
		return -1;
	if (c->r->body.n > INVOKE_ASYNC_BYTES)
		return api_fail(&c->e, API_TOO_LARGE,
				"Request must be smaller than %d bytes for the InvokeAsync operation",
				INVOKE_ASYNC_BYTES);
	if (json_check(c->r->body, &e) < 0)
		return api_fail(&c->e, API_INVALID_CONTENT, "Could not parse request body into json: %s", e.text);
	return start_async(c, f, c->r->body);
}
