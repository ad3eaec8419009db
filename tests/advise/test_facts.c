/* SPDX-License-Identifier: Apache-2.0 */
#include "advise/measure.h"

#include <math.h>

#include "tests/test.h"

static int reads(const char *text, struct facts_list *ret, struct err *e)
{
	struct tree_opts o = {.file = "d.yaml"};

	return facts_read(&o, str_of(text), ret, e);
}

static const struct {
	const char *text, *error;
} bad[] = {
	{"[]\n", "d.yaml:1:1: a declaration is names with workloads, like shop: {kind: api, rate: 40/s}"},
	{"shop: 1\n", "d.yaml:1:7: a workload is keys with values, like kind: api"},
	{"shop:\n  knid: api\n", "d.yaml:2:3: unknown key \"knid\"; did you mean \"kind\"?"},
	{"shop:\n  kind: web\n", "d.yaml:2:9: kind is one of api batch training schedule admin"},
	{"shop:\n  kind: [api]\n", "d.yaml:2:9: kind is one of api batch training schedule admin"},
	{"shop: {rate: fast}\n",
	 "d.yaml:1:14: rate is a number with a unit, not too small and not too large, like 40/s"},
	{"shop: {rate: 40ms}\n", "d.yaml:1:14: rate is a number with a unit"},
	{"shop: {rate: -1/s}\n", "d.yaml:1:14: rate is a number with a unit"},
	{"shop: {rate: 1e99/s}\n", "d.yaml:1:14: rate is a number with a unit"},
	{"shop: {rate: nan}\n", "d.yaml:1:14: rate is a number with a unit"},
	{"shop: {duration: 0x10ms}\n", "d.yaml:1:18: duration is a number with a unit"},
	{"shop: {duration: 0ms}\n", "d.yaml:1:18: duration is a number with a unit"},
	{"shop: {duration: 90ms..40ms}\n", "d.yaml:1:18: duration is a range from less to more, like"},
	{"shop: {duration: 40ms..}\n", "d.yaml:1:18: duration is a number, or two with .. between them"},
	{"shop: {duration: [40ms]}\n", "d.yaml:1:18: duration is one value like"},
	{"shop: {memory: 256 parsecs}\n", "d.yaml:1:16: memory is a number with a unit"},
	{"shop: {root: maybe}\n", "d.yaml:1:14: root is true or false"},
	{"shop: {compliance: [isolation, gdpr]}\n", "d.yaml:1:32: compliance is "},
	{"shop: {lanes: serverless}\n", "d.yaml:1:15: lanes is one or a list of function container vm"},
	{"shop: {kind: api, kind: batch}\n", "d.yaml:1:19: the key \"kind\" stands here twice (first in line 1)"},
	{"- kind: api\n- [x]\n", "d.yaml:2:3: a workload is keys with values, like kind: api"},
	{"\"a b\": {kind: api}\n", "d.yaml:1:8: a name is made of letters, digits and -_./:"},
};

TEST(what_is_wrong_is_said_with_its_line)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct facts_list l = {0};
		struct err e = {0};

		CHECK(reads(bad[i].text, &l, &e) < 0);
		if (strncmp(e.text, bad[i].error, strlen(bad[i].error)) != 0)
			CHECK_STR(e.text, bad[i].error);
	}
}

TEST(forms)
{
	static const char *const one[] = {
		"shop: {kind: batch, rate: 2/min}", "workloads:\n  shop:\n    kind: batch\n    rate: 2/min\n",
		"- name: shop\n  kind: batch\n  rate: 2/min\n", "name: shop\nkind: Batch\nrate: 120/h\n",
		"{\"shop\": {\"kind\": \"batch\", \"rate\": \"2/min\"}}"};

	for (size_t i = 0; i < ARRAY_SIZE(one); i++) {
		auto_(facts_list_done) struct facts_list l = {0};
		struct err e = {0};

		CHECK(!reads(one[i], &l, &e));
		CHECK_STR(e.text, "");
		CHECK(l.n == 1 && l.v[0].word[WORD_KIND] == KIND_BATCH &&
		      fabs(l.v[0].n[FACT_RATE].v - 2 / 60.0) < 1e-9);
		CHECK_STR(l.v[0].name, "shop");
	}
}

TEST(numbers)
{
	static const struct {
		enum fact what;
		double v, low, high;
		enum known_from from;
		const char *text;
	} want[] = {
		{FACT_DURATION, 0.06, 0.04, 0.09, KNOWN_DECLARED, "60 ms"},
		{FACT_LONGEST, 0.09, 0.09, 0.09, KNOWN_DECLARED, "90 ms"},
		{FACT_RATE, 40, 40 / 1.5, 60, KNOWN_DECLARED, "40/s"},
		{FACT_PEAK, 400, 400 / 3.0, 1200, KNOWN_ASSUMED, "400/s"},
		{FACT_MEMORY, 3221225472, 3221225472 / 1.5, 3221225472 * 1.5, KNOWN_DECLARED, "3 GB"},
		{FACT_GPUS, 1, 1, 1, KNOWN_DECLARED, "1"},
		{FACT_DEVICES, 2, 2, 2, KNOWN_DECLARED, "2"},
		{FACT_COLD, 7200, 7200, 7200, KNOWN_DECLARED, "2 h"},
		{FACT_SIDECARS, 0, 0, 0, KNOWN_ASSUMED, "0"},
	};
	auto_(facts_list_done) struct facts_list l = {0};

	CHECK(!reads("a: {pattern: bursty, duration: 40ms..90ms, rate: 40/s, memory: 3GB, gpu: true, devices: [a, b], "
		     "cold_start: 2h}",
		     &l, NULL));
	facts_settle(&l.v[0]);
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		const struct known *n = &l.v[0].n[want[i].what];
		auto_buf text = {0};

		CHECK(fabs(n->v - want[i].v) <= 1e-9 * n->v && fabs(n->low - want[i].low) <= 1e-9 * n->v);
		CHECK(fabs(n->high - want[i].high) <= 1e-9 * n->v && n->from == want[i].from);
		fact_text(&text, want[i].what, n->v);
		CHECK_STR(text.p, want[i].text);
	}
}

TEST(measured)
{
	double even[101], bursts[100], took[4] = {0.1, 0.3, 0.2, 0.2};
	struct facts f = {0};

	for (int i = 0; i < 101; i++)
		even[i] = 1000 + 0.5 * (100 - i); /* in no order */
	measure_times(&f, even, 101, 1000, 1000);
	CHECK(fabs(f.n[FACT_RATE].v - 2.02) < 1e-9 && f.word[WORD_PATTERN] == PATTERN_STEADY);
	CHECK(f.n[FACT_RATE].low < 2 && f.n[FACT_RATE].high > 2 && f.n[FACT_RATE].from == KNOWN_MEASURED);
	for (int i = 0; i < 100; i++)
		bursts[i] = i / 10 * 600 + i % 10 * 0.1;
	measure_times(&f, bursts, 100, 0, 6000);
	CHECK(f.word[WORD_PATTERN] == PATTERN_BURSTY && f.n[FACT_PEAK].v > 1 && f.n[FACT_PEAK].v < 20);

	measure_durations(&f, took, 4);
	CHECK(fabs(f.n[FACT_DURATION].v - 0.2) < 1e-12 && f.n[FACT_LONGEST].v == 0.3);
	/* The error of the mean is 0.0408; Student's t of four is 3.18: exp(0.65). */
	CHECK(f.n[FACT_DURATION].high > 0.36 && f.n[FACT_DURATION].high < 0.39);
	CHECK(f.spread_s[0] == 0.1 && f.spread_s[1] == 0.2 && f.spread_s[FACT_SPREAD - 1] == 0.3);

	measure_times(&f, even, 0, 0, 5000);
	measure_mean(&f, FACT_START, took, 0, 0);
	CHECK(!(f.known & 1u << FACT_START) && f.word[WORD_PATTERN] == PATTERN_BURSTY);

	f = (struct facts){0};
	measure_sums(&f, 0, 1, 1, 60);
	CHECK(!f.known);
	measure_sums(&f, 100, 5, 20, 50);
	CHECK(f.n[FACT_RATE].v == 2 && f.n[FACT_DURATION].v == 0.05 && f.n[FACT_CPU].v == 0.05);
}

/* One call is not none: the rate is one in the time that was looked at, and may be seven times that. */
TEST(one_call)
{
	static const struct {
		double at_s[2];
		size_t n;
		double from_s, now_s, rate; /* rate 0: nothing is known */
	} t[] = {{{1000}, 1, 900, 1100, 1 / 200.0},
		 {{1000, 1000}, 2, 900, 1100, 2 / 200.0}, /* at one time */
		 {{1000}, 1, 1050, 1100, 1 / 100.0},	  /* before its workload was there: of one of the same name */
		 {{1000}, 1, 1000, 1000, 0}};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct facts f = {0};
		const struct known *rate = &f.n[FACT_RATE];
		double at_s[2];

		memcpy(at_s, t[i].at_s, sizeof(at_s));
		measure_times(&f, at_s, t[i].n, t[i].from_s, t[i].now_s);
		CHECK(rate->v == t[i].rate && !!(f.known & 1u << FACT_RATE) == (rate->v > 0));
		if (t[i].rate > 0)
			CHECK(f.events == (double)t[i].n && f.word[WORD_PATTERN] == PATTERN_STEADY &&
			      rate->low < rate->v / 3.9 && rate->low > rate->v / 7.2 && rate->high < 7.2 * rate->v);
	}
}
