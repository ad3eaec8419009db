/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP requests to services: each is passed to an instance, tried at another one where that is harmless, and counted. */
#include "base/clock.h"
#include "http/proxy.h"
#include "ledger/metrics.h"
#include "service/service_int.h"

#define SPARE_MAX 256
#define TRIES	  5
#define ROW_US	  10000000 /* so long requests are put together for the ledger */

/* What requests of one outcome took since the last row. */
struct stretch {
	uint64_t n, queue_us, took_us, bytes_in, bytes_out;
};
struct service_figures {
	struct service *sv;
	uint64_t requests[6]; /* by the first digit of the status; [0]: nobody could answer */
	uint64_t took_us;
	struct took took;
	struct stretch ok, error;
	struct loop_timer *row; /* armed: there is something for a row */
	int64_t since_wall_us;
};
struct call {
	struct list node;
	struct service *sv; /* also when use has none any more */
	struct http_req *req;
	struct service_use use;
	struct proxy proxy;
	unsigned tries;
	int64_t since_us;
	bool traced;
	char traceparent[TRACEPARENT_BYTES];
	struct trace_context at;
	uint8_t span[8];
};

static void pass(struct call *c);

static void call_give(struct call *c)
{
	struct services *ss = c->sv->ss;

	service_unuse(&c->use);
	ss->n_calls--;
	services_look(ss);
	if (ss->n_spare == SPARE_MAX) {
		proxy_release(&c->proxy);
		free(c);
		return;
	}
	list_push_front(&ss->spare, &c->node);
	ss->n_spare++;
}

void calls_free(struct services *ss)
{
	list_each(&ss->spare, it)
	{
		struct call *c = container_of(it, struct call, node);

		proxy_release(&c->proxy);
		free(c);
	}
}

/* ---- figures ---- */

static uint32_t narrow(uint64_t n)
{
	return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static void add_row(const struct service_figures *f, struct stretch *s, enum ledger_outcome outcome, uint32_t workload)
{
	struct ledger_row row = {.kind = LEDGER_REQUESTS,
				 .lane = (uint8_t)f->sv->lane,
				 .trigger = TRIGGER_HTTP,
				 .outcome = (uint8_t)outcome,
				 .workload = workload,
				 .tags = f->sv->tags,
				 .start_wall_us = f->since_wall_us,
				 .version = narrow(s->n),
				 .queue_us = narrow(s->queue_us),
				 .handler_us = narrow(s->took_us),
				 .bytes_in = narrow(s->bytes_in),
				 .bytes_out = narrow(s->bytes_out)};

	if (s->n)
		ledger_add(f->sv->ss->o.ledger, &row);
	*s = (struct stretch){0};
}

static void add_rows(void *arg)
{
	struct service_figures *f = arg;
	struct ledger *lg = f->sv->ss->o.ledger;
	auto_free char *name = xasprintf("service/%s", f->sv->spec.name);
	uint32_t workload = ledger_intern(lg, name);
	enum lane_wish wish = f->sv->spec.lane;

	ledger_watch(lg, workload, wish == LANE_WISH_AUTO || wish == LANE_WISH_DRY);
	add_row(f, &f->ok, OUTCOME_OK, workload);
	add_row(f, &f->error, OUTCOME_ERROR, workload);
	ledger_release(lg, workload);
}

void figures_account(struct service *sv)
{
	if (sv->figures)
		add_rows(sv->figures);
}

void services_account(struct services *ss)
{
	for (struct service *sv = service_next(ss, NULL); sv; sv = service_next(ss, sv))
		figures_account(sv);
}

static struct service_figures *figures(struct service *sv)
{
	struct service_figures *f = sv->figures;

	if (f)
		return f;
	f = sv->figures = xcalloc(1, sizeof(*f));
	f->sv = sv;
	f->row = loop_timer_new(sv->ss->o.loop, add_rows, f);
	return f;
}

void figures_free(struct service *sv)
{
	if (!sv->figures)
		return;
	add_rows(sv->figures);
	loop_timer_free(sv->figures->row);
	free(take_ptr(sv->figures));
}

void figures_sum(const struct service *sv, uint64_t *ret_requests, uint64_t *ret_errors)
{
	for (size_t i = 0; sv->figures && i < ARRAY_SIZE(sv->figures->requests); i++)
		*ret_requests += sv->figures->requests[i];
	if (sv->figures)
		*ret_errors = sv->figures->requests[0] + sv->figures->requests[5];
}

const struct took *service_took(const struct service *sv)
{
	return sv->figures ? &sv->figures->took : NULL;
}

static void count(struct call *c, int status, int64_t took_us)
{
	struct service_figures *f = figures(c->sv);
	bool bad = status < 100 || status >= 500;
	struct stretch *s = bad ? &f->error : &f->ok;

	if (!f->ok.n && !f->error.n) {
		f->since_wall_us = clock_wall_us();
		loop_timer_in(f->row, ROW_US);
	}
	f->requests[status < 100 || status > 599 ? 0 : status / 100]++;
	f->took_us += (uint64_t)took_us;
	took_add(&f->took, metrics_bucket(narrow((uint64_t)took_us)), narrow((uint64_t)took_us));
	s->n++;
	s->queue_us += (uint64_t)(c->use.since_us - c->since_us);
	s->took_us += (uint64_t)took_us;
	s->bytes_in += (uint64_t)c->proxy.request_bytes;
	s->bytes_out += (uint64_t)c->proxy.answer_bytes;
	if (c->use.at) {
		struct rollout_side *seen = &c->use.at->d->seen;

		seen->requests++;
		seen->errors += bad;
		seen->total_us += took_us;
	}
}

/* ---- its trace ---- */

/* A span of ours, which the service sees as its parent. Where nobody samples, it sees what the client said. */
static void trace_begin(struct call *c)
{
	char header[TRACE_HEADER_BYTES];
	struct trace_context below;

	c->traced = spans_sampled(c->sv->ss->o.spans, http_trace(c->req, header), &c->at);
	if (!c->traced)
		return;
	spans_id(c->span);
	below = c->at;
	memcpy(below.parent, c->span, sizeof(c->span));
	trace_to_w3c(&below, c->traceparent);
}

static void trace_end(const struct call *c, int status)
{
	int64_t now = clock_wall_us(), took = loop_now_us(c->sv->ss->o.loop) - c->since_us;
	struct span sp = {.at = c->at,
			  .name = c->sv->spec.name,
			  .kind = SPAN_CLIENT,
			  .start_wall_us = now - took,
			  .end_wall_us = now,
			  .error = status && status < 500 ? NULL : "no answer, or 5xx",
			  .attrs = {{"http.response.status_code", NULL, status},
				    {"tandem.project", c->sv->spec.project, 0},
				    {"tandem.waited_us", NULL, c->use.since_us - c->since_us}},
			  .n_attrs = 3};

	if (!c->traced)
		return;
	memcpy(sp.id, c->span, sizeof(sp.id));
	spans_add(c->sv->ss->o.spans, &sp);
}

/* ---- a request ---- */

static void reply_why(struct http_req *r, int status, const char *message, const char *why)
{
	auto_buf body = {0};
	struct jw w = jw_object(&body);
	struct http_reply a = {.status = status, .content_type = "application/json"};

	if (status == 503)
		a.headers = STR("Retry-After: 1\r\n");
	jw_strc(&w, "message", message);
	jw_strc(&w, "reason", why);
	jw_end(&w, '}');
	a.body = buf_str(&body);
	http_reply(r, &a);
}

static void refuse(struct call *c, const char *why)
{
	count(c, 0, loop_now_us(c->sv->ss->o.loop) - c->since_us);
	trace_end(c, 0);
	reply_why(c->req, 503, "Service Unavailable", why);
	call_give(c);
}

static void gone(void *arg)
{
	call_give(arg);
}

static void go_in(struct call *c)
{
	http_on_gone(c->req, gone, c);
	if (service_use(c->sv, &c->use))
		pass(c);
}

static void done(struct proxy *p, enum proxy_result r)
{
	struct call *c = container_of(p, struct call, proxy);

	if (r == PROXY_NOT_SENT) {
		if (c->use.at)
			replica_refused(c->use.at);
		service_unuse(&c->use);
		if (++c->tries < TRIES && c->sv->state == SERVICE_ACTIVE && !c->sv->ss->draining)
			go_in(c);
		else
			refuse(c, p->reason);
		return;
	}
	if (r != PROXY_GONE)
		count(c, r == PROXY_DONE ? p->status : 502, p->first_byte_us);
	trace_end(c, r == PROXY_FAILED ? 502 : p->status);
	call_give(c);
}

static void pass(struct call *c)
{
	struct replica *in = c->use.at;

	if (!in->up) {
		refuse(c, "the service has no port for requests");
		return;
	}
	c->proxy.done = done;
	proxy_start(&c->proxy, c->req, in->up, &(struct proxy_opts){.traceparent = c->traced ? c->traceparent : NULL});
}

static void ready(struct service_use *u, const struct err *e)
{
	struct call *c = container_of(u, struct call, use);

	u->since_us = loop_now_us(c->sv->ss->o.loop); /* it has waited until here */
	if (e->kind)
		refuse(c, e->text);
	else
		pass(c);
}

void service_request(struct service *sv, struct http_req *r)
{
	struct services *ss = sv->ss;
	struct call *c = list_first(&ss->spare, struct call, node);
	char why[320];
	bool stops;

	if (service_closed(sv, &stops, why)) { /* not counted: it says nothing about the service */
		reply_why(r, 429, "Too Many Requests", why);
		return;
	}
	if (c) {
		list_del(&c->node);
		ss->n_spare--;
	} else {
		c = xcalloc(1, sizeof(*c));
	}
	ss->n_calls++;
	c->sv = sv;
	c->req = r;
	c->tries = 0;
	c->since_us = loop_now_us(ss->o.loop);
	c->use.ready = ready;
	trace_begin(c);
	go_in(c);
}

void services_metrics(const struct services *ss, struct buf *out)
{
	static const char *const class[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};

	buf_addstr(
		out,
		STR("# HELP tandem_service_requests_total Requests to a service, by the class of their status; none: "
		    "nobody could answer.\n# TYPE tandem_service_requests_total counter\n"));
	for (const struct service *sv = service_next(ss, NULL); sv; sv = service_next(ss, sv))
		for (size_t i = 0; sv->figures && i < ARRAY_SIZE(class); i++)
			if (sv->figures->requests[i])
				buf_addf(out, "tandem_service_requests_total{service=\"%s\",status=\"%s\"} %llu\n",
					 sv->key, class[i], (unsigned long long)sv -> figures -> requests[i]);
	buf_addstr(out, STR("# HELP tandem_service_request_seconds To the first byte of the answer.\n"
			    "# TYPE tandem_service_request_seconds summary\n"));
	for (const struct service *sv = service_next(ss, NULL); sv; sv = service_next(ss, sv)) {
		uint64_t n = 0, errors;

		figures_sum(sv, &n, &errors);
		if (n)
			buf_addf(out,
				 "tandem_service_request_seconds_sum{service=\"%s\"} %.6f\n"
				 "tandem_service_request_seconds_count{service=\"%s\"} %llu\n",
				 sv->key, (double)sv->figures->took_us / 1e6, sv->key, (unsigned long long)n);
	}
	buf_addstr(out, STR("# HELP tandem_service_instances Instances of a service.\n# TYPE tandem_service_instances "
			    "gauge\n"));
	for (const struct service *sv = service_next(ss, NULL); sv; sv = service_next(ss, sv)) {
		struct service_info i;

		service_info(sv, &i);
		buf_addf(out,
			 "tandem_service_instances{service=\"%s\",state=\"ready\"} %d\n"
			 "tandem_service_instances{service=\"%s\",state=\"starting\"} %d\n",
			 sv->key, i.running, sv->key, i.pending);
	}
}
