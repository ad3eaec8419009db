/* SPDX-License-Identifier: Apache-2.0 */
/* Queries by everything, and the text of the metrics. */
#include <math.h>

#include "tests/ledger/fixture.h"

#define T0 1763766000000000 /* 2025-11-21T23:00:00Z */

static const struct {
	const char *workload, *tags;
	int minute;
	uint8_t kind, trigger, outcome, cold;
	uint32_t handler_us, idle_ms;
} rows[] = {
	{"shop/iris", "env=prod,team=a", 0, LEDGER_INVOKE, TRIGGER_HTTP, OUTCOME_OK, 1, 1500, 0},
	{"shop/iris", "env=prod,team=a", 1, LEDGER_INVOKE, TRIGGER_HTTP, OUTCOME_CANCELED, 0, 500, 0},
	{"shop/iris", "env=prod,team=a", 61, LEDGER_INVOKE, TRIGGER_API, OUTCOME_ERROR, 0, 99, 0},
	{"shop/mail", "env=prod", 62, LEDGER_INVOKE, TRIGGER_ASYNC, OUTCOME_TIMEOUT, 0, 3000000, 0},
	{"shop/mail", NULL, 63, LEDGER_INVOKE, TRIGGER_CHECK, OUTCOME_OK, 1, 0, 0},
	{"shop/mail", NULL, 125, LEDGER_IDLE, TRIGGER_API, OUTCOME_OK, 0, 0, 60000},
};

static void fill_rows(struct fixture *x)
{
	fixture_init(x);
	fixture_ledger(x);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ledger_row r = {
			.start_wall_us = T0 + rows[i].minute * 60000000ll,
			.workload = ledger_intern(x->ledger, rows[i].workload),
			.tags = rows[i].tags ? ledger_intern(x->ledger, rows[i].tags) : 0,
			.kind = rows[i].kind,
			.trigger = rows[i].trigger,
			.outcome = rows[i].outcome,
			.cold = rows[i].cold,
			.handler_us = rows[i].handler_us,
			.idle_ms = rows[i].idle_ms,
			.memory_mb = 1024,
			.init_us = rows[i].cold ? 20000 : 0,
		};

		ledger_add(x->ledger, &r);
	}
}

TEST(sums)
{
	static const struct {
		const char *by, *workload;
		int minute;
		const char *key;
		int invocations, cold, errors, billed_ms, total_invocations, n_sums;
	} t[] = {
		{"workload", "", 0, "shop/iris", 3, 1, 1, 22 + 1 + 1, 4, 2},
		{"workload", "", 0, "shop/mail", 1, 0, 1, 3000, 4, 2},
		{"workload", "shop/mail", 0, "shop/mail", 1, 0, 1, 3000, 1, 1},
		{"workload", "shop/none", 0, NULL, 0, 0, 0, 0, 0, 0},
		{"workload", "", 2, "shop/iris", 1, 0, 1, 1, 2, 2},
		{"workload", "", 126, NULL, 0, 0, 0, 0, 0, 0},
		{"tag", "", 0, "env=prod", 4, 1, 2, 3024, 4, 3},
		{"tag", "", 0, "team=a", 3, 1, 1, 24, 4, 3},
		{"tag", "", 0, "", 0, 0, 0, 0, 4, 3},
		{"trigger", "", 0, "http", 2, 1, 0, 23, 4, 5},
		{"trigger", "", 0, "async", 1, 0, 1, 3000, 4, 5},
		{"trigger", "", 0, "check", 0, 0, 0, 0, 4, 5},
		{"trigger", "", 0, "idle", 0, 0, 0, 0, 4, 5},
		{"lane", "", 0, "function", 4, 1, 2, 3024, 4, 1},
		{"hour", "", 0, "2025-11-21T23:00:00Z", 2, 1, 0, 23, 4, 3},
		{"hour", "", 0, "2025-11-22T00:00:00Z", 2, 0, 2, 3001, 4, 3},
		{"hour", "shop/iris", 0, "2025-11-22T00:00:00Z", 1, 0, 1, 1, 3, 2},
	};
	struct fixture x;

	fill_rows(&x);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		int64_t since = t[i].minute ? T0 + t[i].minute * 60000000ll : 0;
		auto_json j = query(&x, t[i].by, t[i].workload, since, NULL);
		const struct json *s = t[i].key ? sum_of(j, t[i].key) : NULL;
		int before = test_failures;

		CHECK(json_get_int(json_get(j, "total"), "invocations", -1) == t[i].total_invocations);
		CHECK((int)json_len(json_get(j, "sums")) == t[i].n_sums);
		CHECK(!t[i].key || s);
		if (s) {
			CHECK(json_get_int(s, "invocations", -1) == t[i].invocations);
			CHECK(json_get_int(s, "cold", -1) == t[i].cold);
			CHECK(json_get_int(s, "errors", -1) == t[i].errors);
			CHECK(json_get_int(s, "billed_ms", -1) == t[i].billed_ms);
			CHECK(fabs(json_real(json_get(s, "gb_s"), -1) - t[i].billed_ms / 1000.0) < 1e-9);
		}
		if (test_failures > before)
			printf("in row %zu of the table\n", i);
	}
	fixture_done(&x);
}

/* What is added up by anything is the same money. */
TEST(every_way_adds_up)
{
	static const char *const by[] = {"workload", "trigger", "hour"};
	struct fixture x;
	double want = 0;

	fill_rows(&x);
	auto_json all = query(&x, "rows", "", 0, NULL);
	for (size_t i = 0; i < json_len(json_get(all, "rows")); i++)
		want += json_real(json_get(json_at(json_get(all, "rows"), i), "usd_aws"), 1e9);
	CHECK(want > 0);
	for (size_t b = 0; b < ARRAY_SIZE(by); b++) {
		auto_json j = query(&x, by[b], "", 0, NULL);
		double sum = 0;

		for (size_t i = 0; i < json_len(json_get(j, "sums")); i++)
			sum += json_real(json_get(json_at(json_get(j, "sums"), i), "usd_aws"), 1e9);
		CHECK(fabs(sum - want) < 1e-15);
		CHECK(fabs(json_real(json_get(json_get(j, "total"), "usd_aws"), -1) - want) < 1e-15);
	}
	fixture_done(&x);
}

/* Fargate's sizes and a minute at least, beside a function, and of one that has not ended. */
TEST(tasks)
{
	struct ledger_row r = {.start_wall_us = T0,
			       .kind = LEDGER_TASK,
			       .lane = LANE_CONTAINER,
			       .version = 300,
			       .memory_mb = 1536,
			       .bytes_in = 3 << 20, /* 3 GB: more than a row of bytes could say of some */
			       .idle_ms = 90100};
	struct fixture x;

	fill_rows(&x);
	r.workload = ledger_intern(x.ledger, "service/web");
	ledger_add(x.ledger, &r);
	r.idle_ms = 1;
	ledger_add(x.ledger, &r);
	r.bytes_in = 5;
	r.kind = LEDGER_REQUESTS, r.trigger = TRIGGER_HTTP, r.version = 7, r.memory_mb = 0;
	ledger_add(x.ledger, &r);
	x.so_far = xcalloc(1, sizeof(*x.so_far));
	x.so_far->row = (struct ledger_row){
		.start_wall_us = T0, .kind = LEDGER_TASK, .version = 1000, .memory_mb = 2048, .idle_ms = 3600000};
	strlcpy_(x.so_far->workload, "service/new", sizeof(x.so_far->workload));
	auto_json j = query(&x, "workload", "", 0, NULL);
	const struct json *web = sum_of(j, "service/web"), *new = sum_of(j, "service/new"), *all = json_get(j, "total");

	CHECK(json_get_int(web, "invocations", -1) == 7);
	CHECK(json_get_int(web, "billed_ms", -1) == 151000);
	CHECK(fabs(json_real(json_get(web, "vcpu_s"), -1) - 0.5 * 151) < 1e-6);
	CHECK(fabs(json_real(json_get(web, "gb_s"), -1) - 2.0 * 151) < 1e-6);
	CHECK(json_get_int(web, "handler_us", -1) == 0);
	CHECK(json_get_int(web, "bytes_in", -1) == (6ll << 30) + 5);
	CHECK(fabs(json_real(json_get(web, "usd_aws"), -1) - (0.5 * 0.04048 + 2 * 0.004445) * 151 / 3600) < 1e-9);
	CHECK(fabs(json_real(json_get(new, "usd_aws"), -1) - 36.04 / 730) < 1e-4);
	CHECK(fabs(json_real(json_get(all, "vcpu_s"), -1) - 0.5 * 151 - 3600) < 1e-6);
	CHECK(json_get_int(all, "invocations", -1) == 4 + 7);
	CHECK(json_get_int(all, "handler_us", -1) == 3002099);
	fixture_done(&x);
}

TEST(last_rows)
{
	struct fixture x;

	fixture_init(&x);
	fixture_ledger(&x);
	for (int i = 0; i < 5000; i++) {
		struct ledger_row r = {.start_wall_us = T0 + i,
				       .workload = ledger_intern(x.ledger, i % 10 ? "p/a" : "p/b"),
				       .revision = (uint64_t)i};

		ledger_add(x.ledger, &r);
	}
	auto_json j = query(&x, "rows", "p/b", 0, NULL);
	const struct json *r = json_get(j, "rows");
	CHECK(json_len(r) == 100);
	CHECK(json_get_int(json_at(r, 99), "revision", 0) == 4990);
	CHECK(json_get_int(json_at(r, 0), "revision", 0) == 4000);
	auto_json late = query(&x, "rows", "", T0 + 4998, NULL);
	CHECK(json_len(json_get(late, "rows")) == 2);
	fixture_done(&x);
}

TEST(many_rows_in_pieces)
{
	struct fixture x;

	fixture_init(&x);
	fixture_ledger(&x);
	uint32_t w = ledger_intern(x.ledger, "p/a");
	for (int i = 0; i < 100000; i++) {
		struct ledger_row r = {.start_wall_us = T0 + i * 100000ll, .workload = w, .handler_us = 1};

		ledger_add(x.ledger, &r);
	}
	auto_json j = query(&x, "hour", "", T0 + 36000 * 100000ll, NULL);
	CHECK(json_get_int(json_get(j, "total"), "invocations", 0) == 64000);
	CHECK(json_len(json_get(j, "sums")) == 2);
	fixture_done(&x);
}

TEST(bad_query)
{
	struct fixture x;
	struct err e = {0};

	fill_rows(&x);
	CHECK(query(&x, "colour", "", 0, &e) == NULL);
	CHECK(e.kind == ERR_INVALID);
	fixture_done(&x);
}

static void canceled(struct ledger_query *q, struct buf *json, const struct err *e)
{
	struct waiting *w = container_of(q, struct waiting, query);

	w->e = *e;
}

TEST(closing_ends_queries)
{
	struct fixture x;
	struct waiting w = {0};

	fill_rows(&x);
	strlcpy_(w.query.by, "hour", sizeof(w.query.by));
	w.query.done = canceled;
	ledger_query_start(x.ledger, &w.query);
	fixture_done(&x); /* its loop_free runs what is left */
	CHECK(w.e.kind == ERR_CANCELED);
}

TEST(metrics_text)
{
	static const char *const want[] = {
		"# TYPE tandem_invocations_total counter\n",
		"tandem_invocations_total{workload=\"shop/iris\",lane=\"function\",trigger=\"http\",outcome=\"ok\"} "
		"1\n",
		"tandem_invocations_total{workload=\"shop/iris\",lane=\"function\",trigger=\"api\",outcome=\"error\"} "
		"1\n",
		"# TYPE tandem_invocation_duration_seconds histogram\n",
		"tandem_invocation_duration_seconds_bucket{workload=\"shop/iris\",le=\"0.0001\"} 1\n",
		"tandem_invocation_duration_seconds_bucket{workload=\"shop/iris\",le=\"0.00025\"} 1\n",
		"tandem_invocation_duration_seconds_bucket{workload=\"shop/iris\",le=\"0.0005\"} 2\n",
		"tandem_invocation_duration_seconds_bucket{workload=\"shop/iris\",le=\"0.0025\"} 3\n",
		"tandem_invocation_duration_seconds_bucket{workload=\"shop/iris\",le=\"10\"} 3\n",
		"tandem_invocation_duration_seconds_bucket{workload=\"shop/iris\",le=\"+Inf\"} 3\n",
		"tandem_invocation_duration_seconds_sum{workload=\"shop/iris\"} 0.002099\n",
		"tandem_invocation_duration_seconds_count{workload=\"shop/iris\"} 3\n",
		"tandem_cold_starts_total{workload=\"shop/iris\"} 1\n",
		"tandem_cold_start_seconds_bucket{workload=\"shop/iris\",phase=\"init\",le=\"0.025\"} 1\n",
		"tandem_cost_usd_total{workload=\"shop/mail\",price=\"machine\"} ",
		"tandem_ledger_rows_total 6\n",
		"tandem_ledger_rows_dropped_total 0\n",
	};
	auto_buf text = {0};
	struct fixture x;
	struct str rest, line;

	fill_rows(&x);
	uint32_t odd = ledger_intern(x.ledger, "p/\"q\\\n");
	ledger_metrics(x.ledger, &text);
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		CHECK(strstr(text.p, want[i]) != NULL);
		if (!strstr(text.p, want[i]))
			printf("not there: %s\n", want[i]);
	}
	CHECK(strstr(text.p, "\\\"q") == NULL); /* no row yet: no series */
	struct ledger_row r = {.workload = odd};
	ledger_add(x.ledger, &r);
	buf_clear(&text);
	ledger_metrics(x.ledger, &text);
	CHECK(strstr(text.p, "workload=\"p/\\\"q\\\\\\n\"") != NULL);
	/* Every line is a comment or "name{...} number". */
	for (rest = buf_str(&text); str_cut(rest, '\n', &line, &rest);)
		CHECK(str_starts(line, "# ") || (str_starts(line, "tandem_") && memrchr(line.p, ' ', line.n)));
	CHECK(rest.n == 0);
	/* What sleeps is shown, what is deleted is not. */
	ledger_release(x.ledger, odd);
	buf_clear(&text);
	ledger_metrics(x.ledger, &text);
	CHECK(strstr(text.p, "\\\"q") != NULL);
	ledger_forget(x.ledger, "p/\"q\\\n");
	buf_clear(&text);
	ledger_metrics(x.ledger, &text);
	CHECK(strstr(text.p, "\\\"q") == NULL);
	fixture_done(&x);
}
