/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extensions of one sandbox:
 *
 *      REGISTERED ──next──► WAITING ──INVOKE, SHUTDOWN──► RUNNING ──next──► WAITING
 *           └──────────────────┴──── init/error, exit/error ──┴──► LEFT
 */
#include <stdio.h>
#include "base/rand.h"
#include "instance/rtapi_int.h"
#include "json/read.h"
#include "json/write.h"

static void ext_gone(void *arg)
{
	struct extension *x = arg;

	x->next = NULL;
}

static void put_event(struct rtapi *r, const struct instance_event *ev, const char *reason, int64_t deadline_ms)
{
	struct jw w;

	buf_clear(&r->text);
	w = jw_object(&r->text);
	jw_strc(&w, "eventType", ev ? "INVOKE" : "SHUTDOWN");
	if (!ev)
		jw_strc(&w, "shutdownReason", reason);
	jw_int(&w, "deadlineMs", deadline_ms);
	if (ev) {
		jw_strc(&w, "requestId", ev->request_id);
		jw_strc(&w, "invokedFunctionArn", ev->function_arn);
		jw_obj(&w, "tracing");
		jw_strc(&w, "type", "X-Amzn-Trace-Id");
		jw_strc(&w, "value", ev->trace_id);
		jw_end(&w, '}');
	}
	jw_end(&w, '}');
}

/* r->text goes to the extension's waiting next. */
static void give_ext(struct extension *x)
{
	struct http_req *q = x->next;
	char head[192], event_id[37];
	struct http_reply a = {.status = 200, .content_type = "application/json", .body = buf_str(&x->r->text)};
	int n;

	id_uuid(event_id);
	n = snprintf(head, sizeof(head),
		     "Lambda-Extension-Identifier: %s\r\n"
		     "Lambda-Extension-Event-Identifier: %s\r\n",
		     x->id, event_id);
	a.headers = (struct str){head, n};
	x->next = NULL;
	x->state = EXT_RUNNING;
	http_reply(q, &a);
}

static void on_ext_next(struct extension *x, struct http_req *q)
{
	struct rtapi *r = x->r;

	if (x->next || x->state == EXT_LEFT) {
		rtapi_refuse(q, 403, "Extension.InvalidExtensionState", "The extension may not ask for an event now");
		return;
	}
	x->next = q;
	x->state = EXT_WAITING;
	http_on_gone(q, ext_gone, x);
	if (x->shutdown) {
		x->shutdown = false;
		put_event(r, NULL, r->shutdown_reason, r->shutdown_deadline_ms);
		give_ext(x);
		return;
	}
	rtapi_maybe_ready(r);
}

static int read_events(struct str body, unsigned *ret)
{
	auto_json root = json_parse(body, NULL);
	const struct json *events = json_get(root, "events");
	unsigned got = 0;

	if (json_type(root) != JSON_OBJECT)
		return -1;
	for (size_t i = 0; i < json_len(events); i++) {
		struct str s = json_str(json_at(events, i));

		if (str_eqc(s, "INVOKE"))
			got |= ON_INVOKE;
		else if (str_eqc(s, "SHUTDOWN"))
			got |= ON_SHUTDOWN;
		else
			return -1;
	}
	*ret = got;
	return 0;
}

static void reply_registered(struct rtapi *r, struct http_req *q, const struct extension *x)
{
	auto_buf body = {0};
	char head[80];
	struct http_reply a = {.status = 200, .content_type = "application/json"};
	struct jw w = jw_object(&body);

	jw_strc(&w, "functionName", r->info->function_name);
	jw_strc(&w, "functionVersion", r->info->function_version);
	jw_strc(&w, "handler", r->info->handler);
	if (str_eqc(http_header(q, "Lambda-Extension-Accept-Feature"), "accountId"))
		jw_strc(&w, "accountId", r->info->account_id);
	jw_end(&w, '}');
	a.headers = (struct str){head, snprintf(head, sizeof(head), "Lambda-Extension-Identifier: %s\r\n", x->id)};
	a.body = buf_str(&body);
	http_reply(q, &a);
}

static void on_register(struct rtapi *r, struct http_req *q)
{
	struct str name = http_header(q, "Lambda-Extension-Name");
	struct extension *x;
	unsigned events;

	if (!name.n || name.n >= sizeof(x->name)) {
		rtapi_refuse(q, 403, "Extension.InvalidExtensionName", "Empty or too long extension name");
		return;
	}
	if (read_events(q->body, &events) < 0) {
		rtapi_refuse(q, 400, "InvalidRequestFormat",
			     "The body has to be {\\\"events\\\": [\\\"INVOKE\\\", \\\"SHUTDOWN\\\"]}");
		return;
	}
	for (unsigned i = 0; i < r->n_ext; i++) {
		if (str_eqc(name, r->ext[i]->name)) {
			rtapi_refuse(q, 403, "Extension.AlreadyRegistered", "An extension of this name is registered");
			return;
		}
	}
	if (r->init_done || r->state == RT_FAILED) {
		rtapi_refuse(q, 403, "Extension.RegistrationClosed",
			     "Extensions register before the function is ready");
		return;
	}
	if (r->n_ext == EXTENSIONS_MAX) {
		rtapi_refuse(q, 403, "Extension.TooManyExtensions", "Extension limit reached");
		return;
	}
	x = xcalloc(1, sizeof(*x));
	x->r = r;
	x->events = events;
	memcpy(x->name, name.p, name.n);
	id_uuid(x->id);
	r->ext[r->n_ext++] = x;
	reply_registered(r, q, x);
}

/* The extension that the request is from; NULL: it was refused. */
static struct extension *ext_of(struct rtapi *r, struct http_req *q)
{
	struct str id = http_header(q, "Lambda-Extension-Identifier");

	if (!id.n) {
		rtapi_refuse(q, 403, "Extension.MissingExtensionIdentifier",
			     "Missing Lambda-Extension-Identifier header");
		return NULL;
	}
	if (id.n != 36) {
		rtapi_refuse(q, 403, "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier");
		return NULL;
	}
	for (unsigned i = 0; i < r->n_ext; i++)
		if (str_eqc(id, r->ext[i]->id))
			return r->ext[i];
	rtapi_refuse(q, 403, "Extension.UnknownExtensionIdentifier", "Unknown extension");
	return NULL;
}

static void on_ext_error(struct extension *x, struct http_req *q, bool init)
{
	struct rtapi *r = x->r;
	struct str type = http_header(q, "Lambda-Extension-Function-Error-Type");
	bool initialising = !r->init_done && r->state != RT_FAILED;

	if (!type.n) {
		rtapi_refuse(q, 403, "Extension.MissingHeader", "Missing Lambda-Extension-Function-Error-Type header");
		return;
	}
	if (x->state == EXT_LEFT || (init && x->state != EXT_REGISTERED)) {
		rtapi_refuse(q, 403, "Extension.InvalidExtensionState", "The extension may not report this now");
		return;
	}
	x->state = EXT_LEFT;
	if (initialising) {
		r->state = RT_FAILED;
		r->ev->init_error(r->arg, init ? STR("Extension.InitError") : STR("Extension.Crash"), q->body);
	}
	rtapi_reply_ok(q);
	if (!initialising)
		rtapi_maybe_ready(r);
}

void rtapi_ext_route(struct rtapi *r, struct http_req *q, struct str path)
{
	struct extension *x;
	bool init = str_eqc(path, "init/error");

	if (str_eqc(path, "register")) {
		if (rtapi_method_is(q, "POST"))
			on_register(r, q);
	} else if (str_eqc(path, "event/next")) {
		if (rtapi_method_is(q, "GET") && (x = ext_of(r, q)))
			on_ext_next(x, q);
	} else if (init || str_eqc(path, "exit/error")) {
		if (rtapi_method_is(q, "POST") && (x = ext_of(r, q)))
			on_ext_error(x, q, init);
	} else {
		rtapi_not_found(q);
	}
}

/* Accepted, not delivered: the logs are the platform's to keep, and extensions end when this is refused. */
void rtapi_ext_subscribe(struct rtapi *r, struct http_req *q)
{
	if (rtapi_method_is(q, "PUT") && ext_of(r, q))
		rtapi_reply(q, 200, STR("\"OK\""));
}

void rtapi_ext_invoke(struct rtapi *r, const struct instance_event *ev)
{
	bool put = false;

	for (unsigned i = 0; i < r->n_ext; i++) {
		struct extension *x = r->ext[i];

		if (!(x->events & ON_INVOKE) || !x->next)
			continue;
		if (!put)
			put_event(r, ev, NULL, ev->deadline_wall_ms);
		put = true;
		give_ext(x);
	}
}

bool rtapi_has_extensions(const struct rtapi *r)
{
	return r->n_ext > 0;
}

unsigned rtapi_shutdown(struct rtapi *r, const char *reason, int64_t deadline_wall_ms)
{
	bool inside = r->inside;
	unsigned told = 0;

	r->inside = true;
	r->shutdown_reason = reason;
	r->shutdown_deadline_ms = deadline_wall_ms;
	put_event(r, NULL, reason, deadline_wall_ms);
	for (unsigned i = 0; i < r->n_ext; i++) {
		struct extension *x = r->ext[i];

		if (!(x->events & ON_SHUTDOWN) || x->state == EXT_LEFT)
			continue;
		told++;
		if (x->next)
			give_ext(x);
		else
			x->shutdown = true;
	}
	r->inside = inside;
	return told;
}
