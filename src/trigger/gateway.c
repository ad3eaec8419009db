/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/gateway.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "json/write.h"
#include "trigger/door.h"
#include "trigger/event.h"
#include "trigger/url.h"

#define SPARE_MAX 256 /* of those used again; the rest of a crowd leaves no memory behind */

struct gateway {
	struct sched *sched;
	struct services *services;
	struct store *store;
	const char *account;
	struct gateway_time time;
	struct list spare; /* calls to use again: no allocation per request in steady state */
	unsigned n_spare;
	http_handler *url;
	void *url_arg;
};

struct call {
	struct list node;
	struct gateway *g;
	struct http_req *req;
	struct invocation inv;
	struct buf event;
	char trace[TRACE_HEADER_BYTES];
};

static struct call *call_take(struct gateway *g)
{
	struct call *c = list_first(&g->spare, struct call, node);

	if (c) {
		list_del(&c->node);
		g->n_spare--;
	} else {
		c = xcalloc(1, sizeof(*c));
	}
	c->g = g;
	return c;
}

static void call_give(struct call *c)
{
	if (c->g->n_spare == SPARE_MAX) {
		buf_done(&c->event);
		free(c);
		return;
	}
	if (c->event.cap > 65536)
		buf_done(&c->event);
	buf_clear(&c->event);
	list_push_front(&c->g->spare, &c->node);
	c->g->n_spare++;
}

static void reply_text(struct http_req *r, int status, const char *message, const char *why)
{
	auto_buf body = {0};
	struct jw w = jw_object(&body);

	jw_strc(&w, "message", message);
	if (why)
		jw_strc(&w, "reason", why);
	jw_end(&w, '}');
	http_reply(r,
		   &(struct http_reply){.status = status, .content_type = "application/json", .body = buf_str(&body)});
}

static void reply_result(struct call *c, struct str json)
{
	struct event_answer_parts p;
	struct err e;

	if (event_to_http(&p, json, &e) < 0) {
		log_info("gateway", "answer of %s is not an HTTP answer: %s", c->inv.function->name, e.text);
		reply_text(c->req, 502, "Internal Server Error", e.text);
		return;
	}
	http_reply(c->req, &(struct http_reply){.status = p.status,
						.content_type = p.content_type,
						.headers = buf_str(&p.headers),
						.body = buf_str(&p.body),
						.together = c->inv.others_wait});
	event_parts_done(&p);
}

static void done(struct invocation *inv)
{
	struct call *c = inv->user;

	switch (inv->outcome) {
	case INVOKE_OK:
		reply_result(c, inv->body);
		break;
	case INVOKE_TIMEOUT:
		reply_text(c->req, 504, "Endpoint request timed out", inv->e.kind ? inv->e.text : NULL);
		break;
	case INVOKE_THROTTLED:
		if (inv->e.kind == ERR_TIMEOUT)
			reply_text(c->req, 503, "Service Unavailable", inv->e.text);
		else
			reply_text(c->req, 429, "Too Many Requests", inv->e.text);
		break;
	case INVOKE_FAILED:
		reply_text(c->req, 503, "Service Unavailable",
			   inv->e.kind ? inv->e.text : "the platform could not run it");
		break;
	default: /* what the function said of its failure is for its log, not for the client */
		reply_text(c->req, 500, "Internal Server Error", NULL);
	}
	call_give(c);
}

static void gone(void *arg)
{
	struct call *c = arg;

	sched_invoke_cancel(&c->inv);
	call_give(c);
}

static bool for_platform(struct http_req *r)
{
	if (!str_eqc(r->path, "/healthz") && !str_eqc(r->path, "/readyz"))
		return false;
	http_reply(r, &(struct http_reply){.status = 200, .content_type = "text/plain", .body = STR("ok\n")});
	return true;
}

/* A service, or else *ret_f, or nobody. An exact route is longer than what ends in a star. */
static struct service *route(const struct gateway *g, struct str path, struct function **ret_f)
{
	struct service *sv = service_by_route(g->services, path);
	const char *theirs = sv ? service_spec_of(sv)->route : NULL;

	*ret_f = function_by_route(g->store, path);
	return sv && *ret_f && !str_eqc(path, theirs) && strlen((*ret_f)->route) > strlen(theirs) ? NULL : sv;
}

bool gateway_streams(void *arg, const struct http_req *r)
{
	struct function *f;

	return !url_is(r) && route(arg, r->path, &f) != NULL;
}

void gateway_handle(void *arg, struct http_req *r)
{
	struct gateway *g = arg;
	struct function *f;
	struct service *sv = route(g, r->path, &f);
	struct gateway_facts facts;
	struct call *c;

	if (url_is(r)) {
		g->url(g->url_arg, r);
		return;
	}
	if (sv) {
		door_route(g->sched, r, service_spec_of(sv)->route);
		service_request(sv, r);
		return;
	}
	if (!f) {
		if (!for_platform(r))
			reply_text(r, 404, "Not Found", "no function and no service has a route for this path");
		return;
	}
	door_route(g->sched, r, f->route);
	c = call_take(g);
	c->req = r;
	c->inv = (struct invocation){.function = f, .trigger = TRIGGER_HTTP, .done = done, .user = c};
	c->inv.trace_id = http_trace(r, c->trace);
	id_uuid(c->inv.request_id);
	facts = (struct gateway_facts){
		.account = g->account, .route = f->route, .request_id = c->inv.request_id, .time = &g->time};
	event_from_http(&c->event, r, &facts);
	c->inv.payload = buf_str(&c->event);
	if (c->inv.payload.n > LIM_PAYLOAD_BYTES) {
		reply_text(r, 413, "Request Too Long", NULL);
		call_give(c);
		return;
	}
	http_on_gone(r, gone, c);
	sched_invoke_start(g->sched, &c->inv);
}

struct gateway *gateway_new(struct sched *s, struct services *ss, struct store *st, const char *account)
{
	struct gateway *g = xcalloc(1, sizeof(*g));

	g->sched = s;
	g->services = ss;
	g->store = st;
	g->account = account;
	list_init(&g->spare);
	return g;
}

void gateway_on_url(struct gateway *g, http_handler *h, void *arg)
{
	g->url = h;
	g->url_arg = arg;
}

void gateway_free(struct gateway *g)
{
	if (!g)
		return;
	list_each(&g->spare, it)
	{
		struct call *c = container_of(it, struct call, node);

		buf_done(&c->event);
		free(c);
	}
	free(g);
}
