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

#define CLIENT_CONTEXT_MAX 3583

struct invoke {
	struct api_call c;
	struct invocation inv;
	struct buf context;	   /* decoded client context */
	struct function *function; /* async: a reference */
	char trace[100];
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

	if (sent.n && sent.n < sizeof(i->trace) && str_name_ok(sent, sizeof(i->trace), "=;-:")) {
		memcpy(i->trace, sent.p, sent.n);
		return;
	}
	snprintf(i->trace, sizeof(i->trace), "Root=1-%08llx-%.8s%.4s%.12s;Sampled=0",
		 (unsigned long long)clock_wall_us() / 1000000, id, id + 9, id + 24);
}

static void answer(struct invoke *i, struct str body, bool is_error)
{
	struct api_call *c = &i->c;
	char h[512 + 4096 * 4 / 3 + 8], version[VERSION_TEXT];
	struct buf log = {0};
	int n;

	n = snprintf(h, sizeof(h),
		     "x-amzn-RequestId: %s\r\nX-Amz-Executed-Version: %s\r\nX-Amzn-Trace-Id: %s\r\n"
		     "X-Amzn-Remapped-Content-Length: 0\r\n%s",
		     c->request_id, version_name(i->inv.revision ? i->inv.revision->version : 0, version), i->trace,
		     is_error ? "X-Amz-Function-Error: Unhandled\r\n" : "");
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
		api_reply_fail(&i->c, inv->e.kind == ERR_LIMIT ? API_THROTTLED_RESERVED : API_THROTTLED,
			       "Rate Exceeded.");
		break;
	case INVOKE_FAILED:
	case INVOKE_OUTCOME_N:
		failed(i);
		break;
	}
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

static int start_sync(struct api_call *c, struct function *f, struct revision *r, struct str payload)
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
	i->inv.done = invoked;
	http_on_gone(i->c.r, client_gone, i);
	sched_invoke_start(c->a->o.sched, &i->inv);
	return 0;
}

static void accepted(void *arg, const struct err *e)
{
	struct invoke *i = arg;

	if (e->kind == ERR_LIMIT)
		api_reply_fail(&i->c, API_THROTTLED, "Rate Exceeded.");
	else if (e->kind)
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
	http_on_gone_clear(&i->c.r); /* the event is taken all the same */
	sched_async_start(c->a->o.sched, f, i->c.name.qualifier, payload, c->request_id, accepted, i);
	return 0;
}

int lambda_invoke(struct api_call *c)
{
	struct str type = http_header(c->r, "x-amz-invocation-type"), payload = c->r->body.n ? c->r->body : STR("{}");
	bool event = str_eqc(type, "Event"), dry = str_eqc(type, "DryRun");
	size_t max = event ? LIM_ASYNC_PAYLOAD_BYTES : LIM_PAYLOAD_BYTES;
	struct revision *r;
	struct function *f = api_target(c, &r);
	struct err e = {0};

	if (!f)
		return -1;
	if (type.n && !event && !dry && !str_eqc(type, "RequestResponse"))
		return api_invalid(&c->e, "invocationType", type, 64,
				   "satisfy enum value set: [Event, RequestResponse, DryRun]");
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
	return event ? start_async(c, f, payload) : start_sync(c, f, r, payload);
}
