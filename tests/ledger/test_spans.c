/* SPDX-License-Identifier: Apache-2.0 */
/* Spans: which are sampled, what is kept, what a collector is given, and when again. */
#include "base/clock.h"
#include "ledger/spans.h"
#include "tests/ledger/fixture.h"

#define AWS "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled="

struct taker {
	struct loop *loop;
	unsigned n; /* batches */
	struct buf last;
};

static void take(void *arg, struct buf *body)
{
	struct taker *t = arg;

	t->n++;
	buf_done(&t->last);
	t->last = *body;
	*body = (struct buf){0};
	loop_stop(t->loop);
}

static size_t spans_in(const struct buf *body)
{
	struct err e;
	auto_json j = json_parse(buf_str(body), &e);
	const struct json *scope = json_at(json_get(json_at(json_get(j, "resourceSpans"), 0), "scopeSpans"), 0);

	CHECK(json_get_str(scope, "spans").p == NULL && json_get(scope, "spans"));
	return json_len(json_get(scope, "spans"));
}

static void add(struct spans *s, unsigned n)
{
	struct span sp = {.name = "f", .kind = SPAN_SERVER, .error = "bad \"thing\"", .start_wall_us = 5, .n_attrs = 2};

	sp.attrs[0] = (struct span_attr){"cold", "true", 0};
	sp.attrs[1] = (struct span_attr){"n", NULL, -7};
	CHECK(trace_from_aws(str_of(AWS "1"), &sp.at) == 0);
	while (n--) {
		spans_id(sp.id);
		spans_add(s, &sp);
	}
}

/* Until the next batch. */
static void step(struct taker *t, int64_t us)
{
	clock_test_step(us);
	loop_clock_changed(t->loop);
	loop_run(t->loop);
}

TEST(sampled)
{
	struct loop *l = loop_new();
	struct spans_opts o = {.loop = l, .service = "x"};
	struct spans *s = spans_new(&o);
	struct trace_context t;
	unsigned n = 0;

	CHECK(!spans_sampled(NULL, AWS "1", &t) && !spans_sampled(s, NULL, &t) && !spans_sampled(s, AWS "0", &t));
	CHECK(spans_sampled(s, AWS "1", &t) && t.sampled && t.parent[0] == 0xb7);
	CHECK(!spans_sampled(s, "Sampled=1;Root=none", &t));
	spans_free(s);
	o.ratio = 0.25;
	s = spans_new(&o);
	for (int i = 0; i < 4000; i++) {
		char said[TRACE_HEADER_BYTES];
		bool on = spans_sampled(s, NULL, &t);

		n += on;
		CHECK(t.sampled == on && spans_sampled(s, trace_to_aws(&t, said), &t) == on); /* drawn once */
	}
	CHECK(n > 800 && n < 1200); /* 1000 expected, 27 the deviation */
	spans_free(s);
	o.ratio = 0, o.ignore_parent = true;
	s = spans_new(&o);
	CHECK(!spans_sampled(s, AWS "1", &t));
	spans_free(s);
	loop_free(l);
}

TEST(kept)
{
	struct loop *l = loop_new();
	struct spans *s = spans_new(&(struct spans_opts){.loop = l, .service = "x"});
	struct trace_context t;
	auto_buf out = {0}, none = {0};
	struct err e;

	add(s, SPANS_KEPT + 10);
	CHECK(trace_from_aws(str_of(AWS "1"), &t) == 0);
	spans_read(s, t.id, &out);

	auto_json j = json_parse(buf_str(&out), &e);

	CHECK(json_len(j) == SPANS_KEPT);
	CHECK(str_eqc(json_get_str(json_at(j, 0), "traceId"), "0af7651916cd43dd8448eb211c80319c"));
	CHECK(str_eqc(json_get_str(json_at(j, 0), "endTimeUnixNano"), "5000"));
	CHECK(str_eqc(json_get_str(json_get(json_at(j, 0), "status"), "message"), "bad \"thing\""));
	t.id[0]++;
	spans_read(s, t.id, &none);
	CHECK_STR(none.p, "[]");
	spans_free(s);
	loop_free(l);
}

TEST(given)
{
	struct taker t = {.loop = loop_new()};
	struct spans *s = spans_new(&(struct spans_opts){.loop = t.loop, .service = "x", .send = take, .arg = &t});
	auto_buf figures = {0};

	clock_test_stop();
	add(s, 3);
	step(&t, 1100000);
	CHECK(t.n == 1 && spans_in(&t.last) == 3);
	add(s, SPANS_QUEUED + 5); /* 8 too many; one batch at a time */
	spans_sent(s, SPANS_LATER, 5000000);
	step(&t, 5100000);
	CHECK(t.n == 2 && spans_in(&t.last) == SPANS_BATCH);
	spans_sent(s, SPANS_TAKEN, 0);
	step(&t, 1000); /* a full batch waits for nothing */
	spans_sent(s, SPANS_NEVER, 0);
	spans_metrics(s, &figures);
	CHECK(strstr(figures.p, "tandem_spans_recorded_total 2056\n"));
	CHECK(strstr(figures.p, "tandem_spans_exported_total 512\n"));
	CHECK(strstr(figures.p, "tandem_spans_dropped_total 520\n"));
	clock_test_resume();
	spans_free(s);
	buf_done(&t.last);
	loop_free(t.loop);
}
