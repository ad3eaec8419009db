/* SPDX-License-Identifier: Apache-2.0 */
#include "api/admin_int.h"
#include "base/rand.h"
#include "sched/async.h"

static const char *const outcome_name[INVOKE_OUTCOME_N] = {
	[INVOKE_OK] = "ok",
	[INVOKE_ERROR] = "error",
	[INVOKE_TIMEOUT] = "timeout",
	[INVOKE_CRASHED] = "crashed",
	[INVOKE_INIT_FAILED] = "init_failed",
	[INVOKE_THROTTLED] = "throttled",
	[INVOKE_FAILED] = "failed",
};

/* One call of the tool. inv.payload is borrowed from r, which lives until the reply. */
struct call {
	struct invocation inv;
	struct http_req *r;
};

static void put_reason(struct jw *w, const struct invocation *inv)
{
	static const char *const fixed[INVOKE_OUTCOME_N] = {
		[INVOKE_TIMEOUT] = "it ran out of time",
		[INVOKE_THROTTLED] = "too many events wait for this function already",
	};
	struct err e = {0};
	auto_json j = NULL;
	struct str type, msg;
	auto_buf text = {0};

	if (inv->outcome == INVOKE_OK)
		return;
	if (inv->outcome == INVOKE_FAILED || fixed[inv->outcome])
		return jw_strc(w, "reason",
			       inv->outcome != INVOKE_TIMEOUT && inv->e.kind ? inv->e.text : fixed[inv->outcome]);
	j = json_parse(inv->body, &e);
	type = json_get_str(j, "errorType"), msg = json_get_str(j, "errorMessage");
	buf_addf(&text, STR_FMT "%s" STR_FMT, STR_ARG(type), type.n && msg.n ? ": " : "", STR_ARG(msg));
	jw_strc(w, "reason", text.n ? text.p : "the function failed");
}

static void put_timing(struct jw *w, const struct ledger_row *row)
{
	jw_obj(w, "timing");
	jw_bool(w, "cold", row->cold);
	jw_int(w, "queue_us", row->queue_us);
	jw_int(w, "start_us", row->start_us);
	jw_int(w, "init_us", row->init_us);
	jw_int(w, "handler_us", row->handler_us);
	jw_int(w, "billed_ms", row->billed_ms);
	jw_int(w, "cpu_us", (int64_t)row->cpu_us);
	jw_int(w, "mem_peak_bytes", (int64_t)row->mem_peak_bytes);
	jw_int(w, "memory_mb", row->memory_mb);
	jw_end(w, '}');
}

static void answered(struct invocation *inv)
{
	struct call *c = container_of(inv, struct call, inv);
	auto_object(w, out);

	jw_strc(&w, "request_id", inv->request_id);
	jw_strc(&w, "outcome", outcome_name[inv->outcome]);
	put_reason(&w, inv);
	jw_str(&w, "body", inv->body);
	if (inv->want_log_tail)
		jw_str(&w, "log", inv->log_tail);
	if (inv->want_row)
		put_timing(&w, &inv->row);
	admin_object(c->r, 200, &w);
	free(c);
}

static void left(void *arg)
{
	struct call *c = arg;

	sched_invoke_cancel(&c->inv);
	free(c);
}

struct accept {
	struct http_req *r; /* NULL: the client left */
	char request_id[37];
};

static void accepted(void *arg, const struct err *e)
{
	struct accept *ac = arg;
	auto_object(w, out);

	if (ac->r && e->kind) {
		admin_error(ac->r, e);
	} else if (ac->r) {
		jw_strc(&w, "request_id", ac->request_id);
		jw_strc(&w, "outcome", "accepted");
		admin_object(ac->r, 202, &w);
	}
	free(ac);
}

static void invoke_async(struct admin *a, struct http_req *r, struct function *f, struct str payload)
{
	struct accept *ac = xcalloc(1, sizeof(*ac));

	ac->r = r;
	id_uuid(ac->request_id);
	http_on_gone_clear(&ac->r);
	sched_async_start(a->o.sched,
			  &(struct async_new){.function = f, .payload = payload, .request_id = ac->request_id},
			  accepted, ac);
}

void admin_invoke(struct admin *a, struct http_req *r, struct str name)
{
	bool async = admin_query_is(r, "async", "1");
	struct function *f = admin_function(a, r, name); /* NULL: r is answered, and gone */
	size_t max = async ? LIM_ASYNC_PAYLOAD_BYTES : LIM_PAYLOAD_BYTES;
	struct str payload;
	struct err e = {0};
	struct call *c;

	if (!f)
		return;
	payload = r->body.n ? r->body : STR("{}");
	if (payload.n > max)
		return admin_errorf(r, ERR_LIMIT, "the payload has %zu bytes; at most %zu are taken", payload.n, max);
	if (json_check(payload, &e) < 0) {
		err_wrap(&e, "the payload is not JSON");
		admin_error(r, &e);
		return;
	}
	if (async)
		return invoke_async(a, r, f, payload);
	c = xcalloc(1, sizeof(*c));
	c->r = r;
	c->inv.function = f;
	c->inv.trigger = TRIGGER_API;
	c->inv.payload = payload;
	c->inv.want_log_tail = admin_query_is(r, "log", "1");
	c->inv.want_row = !admin_query_is(r, "row", "0"); /* without it the answer need not wait for the measuring */
	c->inv.done = answered;
	id_uuid(c->inv.request_id);
	http_on_gone(r, left, c);
	sched_invoke_start(a->o.sched, &c->inv);
}

void admin_stop(struct admin *a, struct http_req *r, struct str name)
{
	struct service *sv = function_get(a->o.store, name) ? NULL : admin_service_find(a, name);
	struct function *f = sv ? NULL : admin_function(a, r, name);
	auto_object(w, out);

	if (!f && !sv)
		return;
	jw_int(&w, "stopped", sv ? service_stop(sv) : sched_stop_function(a->o.sched, f));
	admin_object(r, 200, &w);
}
