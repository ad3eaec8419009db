/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/door.h"
#include <stdio.h>
#include "base/clock.h"
#include "base/mem.h"

#define PATH_BYTES 512 /* of one that is shown */

/* ---- a request ---- */

struct door {
	struct spans *spans;
	struct span span;
	char header[TRACE_HEADER_BYTES], name[160], method[24], path[PATH_BYTES], route[128], peer[56];
};

static void put(struct span *sp, const char *key, const char *text, int64_t n)
{
	sp->attrs[sp->n_attrs++] = (struct span_attr){key, text, n};
}

static const char *below(const struct trace_context *at, const uint8_t id[8], char out[TRACE_HEADER_BYTES])
{
	struct trace_context t = *at;

	memcpy(t.parent, id, sizeof(t.parent));
	return trace_to_aws(&t, out);
}

static void over(void *arg, int status)
{
	struct door *d = arg;

	d->span.end_wall_us = clock_wall_us();
	if (status)
		put(&d->span, "http.response.status_code", NULL, status);
	d->span.error = !status ? "the client left, or was cut off" : status >= 500 ? http_status_text(status) : NULL;
	spans_add(d->spans, &d->span);
	free(d);
}

static void not_sampled(void *arg, int status)
{
	(void)status;
	free(arg);
}

static struct door *door_new(struct sched *s, struct http_req *r, const char *header)
{
	const struct trace_context none = {0};
	struct trace_context at;
	struct door *d;

	if (r->trace || (!spans_sampled(sched_spans(s), header, &at) && (header || !memcmp(&at, &none, sizeof(at)))))
		return NULL;
	d = xcalloc(1, sizeof(*d));
	if (!at.sampled) { /* drawn: what it leads to is not to draw again */
		r->trace = trace_to_aws(&at, d->header);
		http_on_over(r, not_sampled, d);
		return NULL;
	}
	d->spans = sched_spans(s);
	d->span = (struct span){.at = at,
				.kind = SPAN_SERVER,
				.name = d->name,
				.start_wall_us = clock_wall_us() - (clock_now_us() - r->start_us)};
	spans_id(d->span.id);
	snprintf(d->method, sizeof(d->method), STR_FMT, STR_ARG(r->method));
	snprintf(d->path, sizeof(d->path), STR_FMT, STR_ARG(r->path));
	strlcpy_(d->peer, r->peer, sizeof(d->peer));
	put(&d->span, "http.request.method", d->method, 0);
	put(&d->span, "url.path", d->path, 0); /* without the query: a signature may be in it */
	put(&d->span, "url.scheme", r->tls ? "https" : "http", 0);
	if (*d->peer)
		put(&d->span, "client.address", d->peer, 0);
	r->trace = below(&d->span.at, d->span.id, d->header);
	http_on_over(r, over, d);
	return d;
}

void door_route(struct sched *s, struct http_req *r, const char *route)
{
	char header[TRACE_HEADER_BYTES];
	struct door *d = door_new(s, r, http_trace(r, header));

	if (!d)
		return;
	strlcpy_(d->route, route, sizeof(d->route));
	snprintf(d->name, sizeof(d->name), "%s %s", d->method, d->route);
	put(&d->span, "http.route", d->route, 0);
}

void door_operation(struct sched *s, struct http_req *r, const char *header, const char *service, const char *operation)
{
	struct door *d = door_new(s, r, header);

	if (!d)
		return;
	snprintf(d->name, sizeof(d->name), "%s/%s", service, operation);
	put(&d->span, "rpc.system", "aws-api", 0);
	put(&d->span, "rpc.service", service, 0); /* of a table, as the next */
	put(&d->span, "rpc.method", operation, 0);
}

/* ---- a batch ---- */

void door_batch_add(struct door_batch *b, struct str header)
{
	const struct trace_context *all = (const void *)b->members.p;
	size_t n = b->members.n / sizeof(*all);
	struct trace_context t;

	if (n == SPANS_LINKS || trace_from_aws(header, &t) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (!memcmp(all[i].id, t.id, sizeof(t.id)) && !memcmp(all[i].parent, t.parent, sizeof(t.parent)))
			return;
	buf_add(&b->members, &t, sizeof(t));
}

void door_batch_begin(struct door_batch *b, struct sched *s, char ret[TRACE_HEADER_BYTES])
{
	const struct trace_context *t = (const void *)b->members.p, *end = t + b->members.n / sizeof(*t), *first = t;

	*ret = 0;
	b->on = false;
	for (; t < end && !b->on; t++)
		b->on = spans_sampled(sched_spans(s), trace_to_aws(t, ret), &b->at);
	if (b->on) {
		spans_id(b->id);
		b->begun_wall_us = clock_wall_us();
		below(&b->at, b->id, ret);
	} else if (first < end) {
		trace_to_aws(first, ret);
	}
}

void door_batch_end(struct door_batch *b, struct sched *s, const char *system, const char *source, unsigned n,
		    const char *error)
{
	const char *colon = strrchr(source, ':'), *slash = strrchr(source, '/'), *from = slash > colon ? slash : colon;
	auto_free char *name = xasprintf("process %s", from ? from + 1 : source);
	struct span sp = {.at = b->at,
			  .name = name,
			  .kind = SPAN_CONSUMER,
			  .start_wall_us = b->begun_wall_us,
			  .end_wall_us = clock_wall_us(),
			  .error = error,
			  .attrs = {{"messaging.system", system, 0},
				    {"messaging.operation.type", "process", 0},
				    {"messaging.operation.name", "process", 0},
				    {"messaging.destination.name", from ? from + 1 : source, 0},
				    {"messaging.batch.message_count", NULL, n}},
			  .n_attrs = 5,
			  .links = (const void *)b->members.p,
			  .n_links = (unsigned)(b->members.n / sizeof(struct trace_context))};

	if (b->on) {
		memcpy(sp.id, b->id, sizeof(sp.id));
		spans_add(sched_spans(s), &sp);
	}
	door_batch_done(b);
}

void door_batch_done(struct door_batch *b)
{
	b->on = false;
	buf_done(&b->members);
}
