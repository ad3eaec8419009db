/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/spans.h"
#include <stdio.h>
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "base/rand.h"
#include "json/write.h"

#define DELAY_US 1000000
#define RETRY_US 30000000

struct kept { /* as it is sent */
	unsigned refs;
	uint8_t trace[16];
	char json[];
};
struct spans {
	struct spans_opts o;
	char *service;
	struct kept *ring[SPANS_KEPT];
	size_t next;
	struct kept *queue[SPANS_QUEUED]; /* the oldest first */
	size_t n, in_flight;
	struct loop_timer *timer;
	bool armed;
	int64_t retry_us; /* 0: the last one was taken */
	uint64_t added, taken, dropped;
};

static void due(void *arg);

struct spans *spans_new(const struct spans_opts *o)
{
	struct spans *s = xcalloc(1, sizeof(*s));

	s->o = *o;
	s->service = xstrdup(o->service);
	s->timer = loop_timer_new(o->loop, due, s);
	return s;
}

static void kept_unref(struct kept *k)
{
	if (k && !--k->refs)
		free(k);
}

void spans_free(struct spans *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < SPANS_KEPT; i++)
		kept_unref(s->ring[i]);
	for (size_t i = 0; i < s->n; i++)
		kept_unref(s->queue[i]);
	loop_timer_free(s->timer);
	free(s->service);
	free(s);
}

/* ---- which ---- */

static bool chosen(const struct spans *s, const uint8_t id[16])
{
	uint64_t low = 0;

	for (int i = 9; i < 16; i++) /* the digits that are random in every form of an id */
		low = low << 8 | id[i];
	return (double)low < s->o.ratio * (double)(1ull << 56);
}

bool spans_sampled(struct spans *s, const char *header, struct trace_context *ret)
{
	struct trace_context t = {.sampled = false};
	uint32_t second;

	*ret = t;
	if (!s || (header && !s->o.ignore_parent && !strstr(header, "Sampled=1")) || (!header && s->o.ratio <= 0))
		return false;
	if (!header) {
		rand_bytes(t.id, sizeof(t.id));
		second = __builtin_bswap32((uint32_t)(clock_wall_us() / 1000000));
		memcpy(t.id, &second, sizeof(second));
	} else if (trace_from_aws(str_of(header), &t) < 0) {
		return false;
	}
	t.sampled = (header && !s->o.ignore_parent) || chosen(s, t.id);
	*ret = t;
	return t.sampled;
}

void spans_id(uint8_t ret[8])
{
	uint64_t v;

	do
		v = rand_u64();
	while (!v);
	memcpy(ret, &v, sizeof(v));
}

/* ---- adding ---- */

static void put_hex(struct jw *w, const char *key, const uint8_t *p, size_t n)
{
	char text[33];

	enc_hex(p, n, text);
	jw_strc(w, key, text);
}

/* 64-bit numbers are strings in protobuf's JSON. */
static void put_long(struct jw *w, const char *key, int64_t v, const char *zeros)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld%s", (long long)v, zeros);
	jw_strc(w, key, text);
}

static void put_attr(struct jw *w, const struct span_attr *a)
{
	jw_obj(w, NULL);
	jw_strc(w, "key", a->key);
	jw_obj(w, "value");
	if (!a->text)
		put_long(w, "intValue", a->n, "");
	else if (!strcmp(a->text, "true") || !strcmp(a->text, "false"))
		jw_bool(w, "boolValue", *a->text == 't');
	else
		jw_strc(w, "stringValue", a->text);
	jw_end(w, '}');
	jw_end(w, '}');
}

static void write_span(const struct span *sp, struct buf *out)
{
	static const uint8_t none[8];
	struct jw w = jw_object(out);

	put_hex(&w, "traceId", sp->at.id, 16);
	put_hex(&w, "spanId", sp->id, 8);
	if (memcmp(sp->at.parent, none, 8))
		put_hex(&w, "parentSpanId", sp->at.parent, 8);
	jw_strc(&w, "name", sp->name);
	jw_int(&w, "kind", sp->kind);
	put_long(&w, "startTimeUnixNano", sp->start_wall_us, "000");
	put_long(&w, "endTimeUnixNano", sp->end_wall_us > sp->start_wall_us ? sp->end_wall_us : sp->start_wall_us,
		 "000");
	jw_arr(&w, "attributes");
	for (unsigned i = 0; i < sp->n_attrs; i++)
		put_attr(&w, &sp->attrs[i]);
	jw_end(&w, ']');
	if (sp->n_links)
		jw_arr(&w, "links");
	for (unsigned i = 0; i < sp->n_links; i++) {
		jw_obj(&w, NULL);
		put_hex(&w, "traceId", sp->links[i].id, 16);
		put_hex(&w, "spanId", sp->links[i].parent, 8);
		jw_end(&w, '}');
	}
	if (sp->n_links)
		jw_end(&w, ']');
	jw_obj(&w, "status");
	if (sp->error) {
		jw_int(&w, "code", 2);
		jw_strc(&w, "message", sp->error);
	}
	jw_end(&w, '}');
	jw_end(&w, '}');
}

static void arm(struct spans *s, int64_t in_us)
{
	s->armed = true;
	loop_timer_in(s->timer, in_us);
}

void spans_add(struct spans *s, const struct span *sp)
{
	auto_buf text = {0};
	struct kept *k;

	write_span(sp, &text);
	k = xmalloc(sizeof(*k) + text.n + 1);
	k->refs = 1;
	memcpy(k->trace, sp->at.id, 16);
	memcpy(k->json, text.p, text.n + 1);
	kept_unref(s->ring[s->next % SPANS_KEPT]);
	s->ring[s->next++ % SPANS_KEPT] = k;
	s->added++;
	if (!s->o.send)
		return;
	if (s->n == SPANS_QUEUED) {
		s->dropped++;
		return;
	}
	k->refs++;
	s->queue[s->n++] = k;
	if (!s->in_flight && !s->retry_us && (!s->armed || s->n == SPANS_BATCH))
		arm(s, s->n >= SPANS_BATCH ? 0 : DELAY_US);
}

/* ---- giving on ---- */

static void due(void *arg)
{
	struct spans *s = arg;
	auto_buf body = {0};

	s->armed = false;
	if (!s->n || s->in_flight)
		return;
	s->in_flight = s->n < SPANS_BATCH ? s->n : SPANS_BATCH;
	jw_fmt(&body,
	       "{'resourceSpans':[{'resource':{'attributes':[{'key':'service.name','value':{'stringValue':%s}}]},"
	       "'scopeSpans':[{'scope':{'name':'tandem','version':%s},'spans':[",
	       s->service, TANDEM_VERSION);
	for (size_t i = 0; i < s->in_flight; i++) {
		if (i)
			buf_addc(&body, ',');
		buf_adds(&body, s->queue[i]->json);
	}
	buf_adds(&body, "]}]}]}");
	s->o.send(s->o.arg, &body);
}

void spans_sent(struct spans *s, enum spans_verdict v, int64_t retry_us)
{
	size_t n = s->in_flight;

	s->in_flight = 0;
	if (v == SPANS_LATER) {
		s->retry_us = !s->retry_us ? DELAY_US : 2 * s->retry_us < RETRY_US ? 2 * s->retry_us : RETRY_US;
		arm(s, retry_us > s->retry_us ? retry_us : s->retry_us);
		return;
	}
	*(v == SPANS_TAKEN ? &s->taken : &s->dropped) += n;
	for (size_t i = 0; i < n; i++)
		kept_unref(s->queue[i]);
	s->n -= n;
	memmove(s->queue, s->queue + n, s->n * sizeof(*s->queue));
	s->retry_us = 0;
	if (s->n)
		arm(s, s->n >= SPANS_BATCH ? 0 : DELAY_US);
}

/* ---- reading ---- */

void spans_read(const struct spans *s, const uint8_t id[16], struct buf *out)
{
	bool any = false;

	buf_addc(out, '[');
	for (size_t i = 0; s && i < SPANS_KEPT; i++) {
		const struct kept *k = s->ring[(s->next + i) % SPANS_KEPT];

		if (!k || memcmp(k->trace, id, 16))
			continue;
		if (any)
			buf_addc(out, ',');
		buf_adds(out, k->json);
		any = true;
	}
	buf_addc(out, ']');
}

uint64_t spans_dropped(const struct spans *s)
{
	return s->dropped;
}

void spans_metrics(const struct spans *s, struct buf *out)
{
	static const char head[] = "# HELP tandem_spans_%s_total %s\n# TYPE tandem_spans_%s_total counter\n"
				   "tandem_spans_%s_total %llu\n";
	const struct {
		const char *name, *help;
		uint64_t n;
	} all[] = {{"recorded", "Spans of sampled traces.", s->added},
		   {"exported", "Spans that the collector took.", s->taken},
		   {"dropped", "Spans that nobody took: the queue was full, or they were refused.", s->dropped}};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		buf_addf(out, head, all[i].name, all[i].help, all[i].name, all[i].name, (unsigned long long)all[i].n);
}
