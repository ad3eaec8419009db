/* SPDX-License-Identifier: Apache-2.0 */
/* The same usage at clouds: whatever it is grouped by, it adds up to the same, and to what rows were priced with. */
#include <math.h>

#include "base/clock.h"
#include "tests/ledger/fixture.h"

#define HOUR 3600000000ll

static const struct {
	const char *workload, *tags;
	int minute; /* ago */
	uint8_t kind, lane, trigger, outcome;
	uint32_t handler_us, idle_ms, version, memory_mb;
} rows[] = {
	{"shop/iris", "team=a", 190, LEDGER_INVOKE, LANE_FUNCTION, TRIGGER_HTTP, OUTCOME_OK, 1500000, 0, 0, 512},
	{"shop/iris", "team=a", 100, LEDGER_INVOKE, LANE_FUNCTION, TRIGGER_QUEUE, OUTCOME_ERROR, 150000, 0, 0, 512},
	{"shop/iris", "team=a", 99, LEDGER_INVOKE, LANE_FUNCTION, TRIGGER_HTTP, OUTCOME_THROTTLED, 0, 0, 0, 512},
	{"shop/iris", "team=a", 98, LEDGER_IDLE, LANE_FUNCTION, TRIGGER_API, OUTCOME_OK, 0, 60000, 0, 512},
	/* In the container lane: the instance's own rows say how long it was up. */
	{"shop/mail", "team=b", 80, LEDGER_INVOKE, LANE_CONTAINER, TRIGGER_ASYNC, OUTCOME_OK, 40000, 0, 0, 256},
	{"shop/mail", "team=b", 80, LEDGER_IDLE, LANE_CONTAINER, TRIGGER_API, OUTCOME_OK, 0, 1800000, 0, 256},
	/* A service of one vCPU and 2 GB, two hours long, and its requests. */
	{"service/web", NULL, 150, LEDGER_TASK, LANE_CONTAINER, TRIGGER_API, OUTCOME_OK, 0, 7200000, 1000, 2048},
	{"service/web", NULL, 140, LEDGER_REQUESTS, LANE_CONTAINER, TRIGGER_HTTP, OUTCOME_OK, 5000000, 0, 100, 0},
	/* Longer than a request may be anywhere but at who charges for instances. */
	{"task/train", NULL, 130, LEDGER_TASK, LANE_CONTAINER, TRIGGER_API, OUTCOME_OK, 0, 4000000, 2000, 4096},
	{"tandem/daemon", NULL, 50, LEDGER_PLATFORM, LANE_FUNCTION, TRIGGER_API, OUTCOME_OK, 0, 60000, 0, 0},
};

static struct json *on(struct fixture *x, const char *by, uint32_t offers)
{
	struct waiting w = {.loop = x->loop};
	struct json *j;

	strlcpy_(w.query.by, by, sizeof(w.query.by));
	w.query.on = offers;
	w.query.done = waiting_query;
	ledger_query_so_far(&w.query,
			    &(struct ledger_row){.kind = LEDGER_TASK,
						 .start_wall_us = clock_wall_us() - HOUR,
						 .instance = 99,
						 .idle_ms = 3000,
						 .version = 1000,
						 .memory_mb = 2048},
			    "task/new");
	ledger_query_start(x->ledger, &w.query);
	loop_run(x->loop);
	CHECK(w.e.kind == ERR_NONE);
	j = json_parse(buf_str(&w.text), NULL);
	buf_done(&w.text);
	return j;
}

static double at(const struct json *sum, enum price_offer o)
{
	return json_real(json_get(json_get(sum, "on"), price_offer_name[o]), -1);
}

static void begin(struct fixture *x)
{
	fixture_init(x);
	fixture_ledger(x);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ledger_row r = {.start_wall_us = clock_wall_us() - rows[i].minute * 60000000ll,
				       .workload = ledger_intern(x->ledger, rows[i].workload),
				       .tags = rows[i].tags ? ledger_intern(x->ledger, rows[i].tags) : 0,
				       .instance = i + 1,
				       .kind = rows[i].kind,
				       .lane = rows[i].lane,
				       .trigger = rows[i].trigger,
				       .outcome = rows[i].outcome,
				       .handler_us = rows[i].handler_us,
				       .idle_ms = rows[i].idle_ms,
				       .version = rows[i].version,
				       .memory_mb = rows[i].memory_mb};

		ledger_add(x->ledger, &r);
	}
}

TEST(every_way_costs_the_same)
{
	static const char *const by[] = {"workload", "lane", "tag", "trigger", "hour"};
	double first[PRICE_OFFER_N];
	struct fixture x;

	begin(&x);
	for (size_t i = 0; i < ARRAY_SIZE(by); i++) {
		auto_json j = on(&x, by[i], (1u << PRICE_OFFER_N) - 1);
		const struct json *sums = json_get(j, "sums"), *total = json_get(j, "total");

		for (int o = 0; o < PRICE_OFFER_N; o++) {
			double usd = at(total, (enum price_offer)o), sum = 0;
			bool all = true;

			for (size_t k = 0; k < json_len(sums); k++) {
				double v = at(json_at(sums, k), (enum price_offer)o);

				all = all && v >= 0;
				sum += v;
			}
			if (!i)
				first[o] = usd;
			CHECK(usd > 0);
			/* The window grows while this runs, rounding is of means: a hair. */
			if (fabs(usd - first[o]) > first[o] * 1e-2 || (all && fabs(sum - usd) > usd * 1e-9)) {
				printf("%s by %s: %.10g, first %.10g, sum %.10g\n", price_offer_name[o], by[i], usd,
				       first[o], sum);
				CHECK(false);
			}
		}
	}
	fixture_done(&x);
}

TEST(what_each_costs)
{
	struct fixture x;
	double window_h, fargate;

	begin(&x);
	auto_json j =
		on(&x, "workload", (1u << PRICE_LAMBDA) | (1u << PRICE_FARGATE) | (1u << PRICE_CLOUD_RUN_REQUEST));
	const struct json *iris = sum_of(j, "shop/iris"), *mail = sum_of(j, "shop/mail"),
			  *web = sum_of(j, "service/web");
	const struct json *offers = json_get(j, "offers"), *cannot = json_get(json_at(offers, 0), "cannot");

	CHECK(json_len(offers) == 3);
	/* What the rows were priced with, one by one. */
	CHECK(fabs(at(iris, PRICE_LAMBDA) - json_real(json_get(iris, "usd_aws"), 0)) < 1e-12);
	CHECK(fabs(at(web, PRICE_FARGATE) - json_real(json_get(web, "usd_aws"), 0)) < 1e-12);
	/* One instance for the whole time (since the first row, 190 minutes ago); 512 MB buy 0.29 vCPU. */
	window_h = 190 / 60.0;
	fargate = 0.5 * 0.04048 + 1 * 0.004445;
	CHECK(fabs(at(iris, PRICE_FARGATE) / (window_h * fargate) - 1) < 0.01);
	fargate = 0.25 * 0.04048 + 0.5 * 0.004445;
	/* Half an hour, as it was up here. */
	CHECK(fabs(at(mail, PRICE_FARGATE) - 0.5 * fargate) < 1e-9);
	/* 100 requests of 50 ms, and memory that buys a vCPU is not less than it has. */
	CHECK(fabs(at(web, PRICE_LAMBDA) - (100 * 2e-7 + 2 * 5 * 1.66667e-5)) < 100 * 2 * 0.001 * 1.66667e-5);
	CHECK(at(sum_of(j, "tandem/daemon"), PRICE_LAMBDA) == 0);
	/* 3 seconds, one request; at Fargate a minute. */
	CHECK(fabs(at(sum_of(j, "task/new"), PRICE_LAMBDA) - (2e-7 + 2 * 3 * 1.66667e-5)) < 1e-9);
	CHECK(fabs(at(sum_of(j, "task/new"), PRICE_FARGATE) - 0.04937 / 60) < 1e-9);
	CHECK(json_type(json_get(json_get(sum_of(j, "task/train"), "on"), "aws-lambda")) == JSON_NULL);
	CHECK(json_len(cannot) == 1 && str_eqc(json_get_str(json_at(cannot, 0), "workload"), "task/train"));
	CHECK(str_eqc(json_get_str(json_at(cannot, 0), "why"), "a request lasts longer than Lambda's 900 s"));
	CHECK(str_eqc(json_get_str(json_at(offers, 2), "unverified"), "request, gib_s"));
	fixture_done(&x);
}

TEST(not_asked_not_there)
{
	struct fixture x;

	begin(&x);
	auto_json j = on(&x, "workload", 0);

	CHECK(!json_get(j, "offers") && !json_get(json_get(j, "total"), "on"));
	fixture_done(&x);
}
