/* SPDX-License-Identifier: Apache-2.0 */
/* Short days whose sums were made by hand. An instance holds 1 GB, so that idle seconds are GB*s. */
#include "advise/simulate.h"

#include <math.h>

#include "advise/chance.h"
#include "advise/hybrid.h"
#include "base/def.h"
#include "tests/test.h"

#define GB	(1ll << 30)
#define SECONDS 1000000ll
#define WAY(rule_, keep_us_, ...)                                                                                      \
	{                                                                                                              \
		.rule = rule_, .keep_us = keep_us_, .start = { __VA_ARGS__ }                                           \
	}

struct event {
	double at_s, takes_s;
};
struct sum {
	int64_t cold;
	double idle_s, vain_s;
	int64_t p50_us, p99_us;
};

static void replay(const struct simulate_way *way, const struct event *ev, size_t n, double end_s,
		   struct simulate_result *r)
{
	struct simulate *s = simulate_new(way, 1, 0);

	simulate_open(s, GB);
	for (size_t k = 0; k < n; k++)
		simulate_call(s, llround(ev[k].at_s * 1e6), llround(ev[k].takes_s * 1e6));
	simulate_close(s, llround(end_s * 1e6));
	simulate_result(s, 0, r);
	simulate_free(s);
}

static double gb(double bytes)
{
	return bytes / GB;
}

static bool near(double a, double b)
{
	return fabs(a - b) < 1e-6;
}

static void check(const char *what, const struct simulate_result *r, const struct sum *want)
{
	bool ok = r->use.cold == want->cold && near(gb(r->use.idle_byte_s), want->idle_s) &&
		  near(gb(r->use.vain_byte_s), want->vain_s) && r->added.p50_us == want->p50_us &&
		  r->added.p99_us == want->p99_us;

	if (!ok)
		printf("%s: %lld cold, %.6f idle, %.6f in vain, p50 %lld, p99 %lld\n", what, (long long)r->use.cold,
		       gb(r->use.idle_byte_s), gb(r->use.vain_byte_s), (long long)r->added.p50_us,
		       (long long)r->added.p99_us);
	CHECK(ok);
}

/* Three calls of a second, 10 and 48 s of nothing after two of them. A start of 100 ms is worth holding 1,024 MB for
 * 100 * 200 / 1025 = 19.512195 s; one of a second for ten times that. */
TEST(ways)
{
	static const struct event day[] = {{0, 1}, {11, 1}, {60, 1}};
	static const struct {
		const char *what;
		struct simulate_way way;
		struct sum want;
	} t[] = {
		/* 1.1 to 11; 12 to 31.51 for nothing; 61.1 to 80.61 for nothing */
		{"policy", WAY(SIMULATE_KEEP, -1, 100, 0), {2, 9.9 + 2 * 19.512195, 2 * 19.512195, 100000, 100000}},
		/* ... to 11; 12 to 60; 61 to the end */
		{"10 minutes", WAY(SIMULATE_KEEP, 600 * SECONDS, 100, 0), {1, 9.9 + 48 + 39, 39, 0, 100000}},
		{"30 s", WAY(SIMULATE_KEEP, 30 * SECONDS, 100, 0), {2, 9.9 + 30 + 30, 60, 100000, 100000}},
		{"not at all", WAY(SIMULATE_KEEP, 0, 100, 0), {3, 0, 0, 100000, 100000}},
		{"foresight", WAY(SIMULATE_FORESIGHT, -1, 100, 0), {2, 9.9, 0, 100000, 100000}},
		{"plain starts", WAY(SIMULATE_KEEP, -1, 1000, 0), {1, 9 + 48 + 39, 39, 0, 1000000}},
		{"a start by memory: 4 + 1024 / 256 ms", WAY(SIMULATE_KEEP, 0, 4, 1.0 / 256), {3, 0, 0, 8000, 8000}},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct simulate_result r;

		replay(&t[k].way, day, ARRAY_SIZE(day), 100, &r);
		check(t[k].what, &r, &t[k].want);
		CHECK(r.use.calls == 3 && r.use.refused == 0);
		CHECK(near(gb(r.use.busy_byte_s), 3));
	}
}

/* More calls than instances. */
TEST(crowds)
{
	static const struct {
		const char *what;
		struct event ev[4];
		size_t n;
		struct sum want;
	} t[] = {
		{"two at once start two; the one used last is used again: 5.1 to 10 and 8.1 to 20, 11 to 20",
		 {{0, 5}, {0, 8}, {10, 1}},
		 3,
		 {2, 1.9 + 14.9 + 9, 14.9 + 9, 100000, 100000}},
		{"one that works for a millisecond is waited for: 0.1 + 0.001 to 0.2, 0.202 to 20",
		 {{0, 0.001}, {0.2, 0.001}, {0.200497, 0.001}},
		 3,
		 {1, 0.099 + 19.798, 19.798, 503, 100000}},
		{"one that works for long is not: a start; 1.1 to 2, 2.1 to 20 and 7 to 20",
		 {{0, 1}, {2, 5}, {2, 5}},
		 3,
		 {2, 0.9 + 13 + 12.9, 13 + 12.9, 100000, 100000}},
		{"nothing happens", {{0, 0}}, 0, {0}},
		{"work goes on at the end: nothing idles", {{0, 50}}, 1, {1, 0, 0, 100000, 100000}},
	};
	static const struct simulate_way way = WAY(SIMULATE_KEEP, 600 * SECONDS, 100, 0);

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct simulate_result r;

		replay(&way, t[k].ev, t[k].n, 20, &r);
		check(t[k].what, &r, &t[k].want);
	}
}

/* A full queue refuses as the daemon's does. */
TEST(refused)
{
	static const struct simulate_way way = WAY(SIMULATE_KEEP, 0, 30000, 0);
	static struct event ev[5000];
	struct simulate_result r;

	replay(&way, ev, ARRAY_SIZE(ev), 20, &r);
	CHECK(r.use.calls == 5000 && r.use.refused == 5000 - 4096);
	CHECK(r.use.cold == 0); /* none has begun at the end */
}

TEST(recorded_day)
{
	static const struct simulate_way ways[] = {WAY(SIMULATE_KEEP, 600 * SECONDS, 0, 0),
						   WAY(SIMULATE_KEEP, 0, 100, 0)};
	static struct trace_function f = {.held_bytes = GB, .minutes = 180};
	struct simulate_result r[2][2];

	for (int k = 0; k < TRACE_POINTS; k++)
		f.duration_us[k] = 200000;
	for (int k = 0; k < 120; k++)
		f.calls[k] = 1;
	for (int round = 0; round < 2; round++) {
		struct simulate *s = simulate_new(ways, 2, 7);

		simulate_function(s, &f);
		simulate_result(s, 0, &r[round][0]);
		simulate_result(s, 1, &r[round][1]);
		simulate_free(s);
	}
	CHECK(gb(r[0][0].use.idle_byte_s) == gb(r[1][0].use.idle_byte_s)); /* the seed is all there is of chance */
	CHECK(r[0][0].use.calls == 120 && near(gb(r[0][0].use.busy_byte_s), 24));
	/* One instance, or two when calls stood close; kept for ten minutes after the 120th minute. */
	CHECK(r[0][0].use.cold >= 1 && r[0][0].use.cold <= 3);
	CHECK(gb(r[0][0].use.vain_byte_s) >= 600 && gb(r[0][0].use.vain_byte_s) <= 3 * 600);
	CHECK(gb(r[0][0].use.idle_byte_s) >= 119 * 60 - 60 - 24 + 600 &&
	      gb(r[0][0].use.idle_byte_s) <= 120 * 60 + 3 * 600);
	CHECK(gb(r[0][1].use.idle_byte_s) == 0 && r[0][1].use.cold >= 115 && r[0][1].added.p50_us == 100000);
}

/* Times within a minute and durations between percentiles are even draws. */
TEST(draws)
{
	static const struct simulate_way way = WAY(SIMULATE_KEEP, 600 * SECONDS, 0, 0);
	static struct trace_function f = {
		.held_bytes = GB,
		.duration_us = {0, 10000, 250000, 500000, 750000, 990000, 1000000}, /* 0 to 1 s, evenly */
		.minutes = 10,
	};
	struct simulate *s = simulate_new(&way, 1, 1);
	struct simulate_result r;

	f.calls[0] = 10000;
	simulate_function(s, &f);
	simulate_result(s, 0, &r);
	simulate_free(s);
	CHECK(fabs(gb(r.use.busy_byte_s) / 10000 - 0.5) < 0.015);
	/* 10,000 a minute for 0.5 s are 83 at a time; by chance somewhat more at the worst. */
	CHECK(r.use.cold > 83 && r.use.cold < 140);
}

/* How much is held, in the minute that holds most: one instance of 1 GB from 30 s to the end of the first minute, and
 * two through the third. */
TEST(most_held)
{
	static const struct simulate_way way = WAY(SIMULATE_KEEP, 600 * SECONDS, 0, 0);
	static const struct event one[] = {{30, 1}}, two[] = {{10, 50}, {70, 100}, {80, 100}};
	struct simulate_result r;

	replay(&way, one, 1, 60, &r);
	CHECK(near(r.held_most_bytes / GB, 0.5));
	replay(&way, two, 3, 180, &r);
	CHECK(near(r.held_most_bytes / GB, 2) && r.use.instances_most == 2);
	CHECK(near(r.use.held_s, 170 + 100) && r.latency.max_us == 100 * SECONDS);
}

/* Every 30 minutes: after five times the histogram knows it, unloads at once and loads again 10 % before the bin of 29
 * minutes begins. */
TEST(hybrid)
{
	static const struct simulate_way way = {.rule = SIMULATE_HYBRID, .start = {100, 0}};
	struct simulate *s = simulate_new(&way, 1, 0);
	struct simulate_result r;
	double before, after;

	simulate_open(s, GB);
	for (int k = 0; k < 20; k++)
		simulate_call(s, k * 1800 * SECONDS, SECONDS);
	simulate_close(s, 19 * 1800 * SECONDS + 40 * SECONDS);
	simulate_result(s, 0, &r);
	simulate_free(s);
	CHECK(r.use.cold == 1 && r.added.p50_us == 0 && r.added.max_us == 100000);
	before = 5 * 1799 - 0.1; /* the first call waited for a start */
	after = 14 * (1799 - 29 * 54);
	CHECK(near(gb(r.use.idle_byte_s), before + after));
}

TEST(hybrid_windows)
{
	static const struct {
		int n;
		int minutes[12];
		int64_t prewarm_s, keep_s;
	} t[] = {
		{0, {0}, 0, 240 * 60},						   /* nothing known */
		{4, {7, 7, 7, 7}, 0, 240 * 60},					   /* too little */
		{5, {7, 7, 7, 7, 7}, 7 * 54, 8 * 66 - 7 * 54},			   /* always the same */
		{6, {0, 0, 0, 0, 0, 9}, 0, 10 * 66},				   /* mostly at once */
		{6, {7, 7, 7, 300, 300, 300}, 0, 240 * 60},			   /* too few within bounds */
		{9, {7, 7, 7, 7, 7, 300, 300, 300, 300}, 7 * 54, 8 * 66 - 7 * 54}, /* most are */
	};
	struct hybrid even = {0};
	int64_t prewarm, keep;

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct hybrid h = {0};

		for (int i = 0; i < t[k].n; i++)
			hybrid_add(&h, t[k].minutes[i] * 60 * SECONDS);
		hybrid_windows(&h, &prewarm, &keep);
		if (prewarm != t[k].prewarm_s * SECONDS || keep != t[k].keep_s * SECONDS)
			printf("case %zu: %lld, %lld s\n", k, (long long)(prewarm / SECONDS),
			       (long long)(keep / SECONDS));
		CHECK(prewarm == t[k].prewarm_s * SECONDS && keep == t[k].keep_s * SECONDS);
	}
	/* 100 bins of the same height say nothing: the coefficient of variation is 1.2. */
	for (int i = 0; i < 1000; i++)
		hybrid_add(&even, i % 100 * 60 * SECONDS);
	CHECK(even.head == 4 && even.tail == 98);
	hybrid_windows(&even, &prewarm, &keep);
	CHECK(prewarm == 0 && keep == 240 * 60 * SECONDS);
}

/*
 * A day of functions as different as those of the Azure trace: rates, durations and memory over several powers of ten,
 * most of them rare, some of them around a minute of the hour. What has to be so, whatever was drawn.
 */
TEST(many_functions)
{
	enum { TANDEM, ONE, TEN, TWENTY, HYBRID, FORESIGHT, WAYS };
	static const struct simulate_way ways[WAYS] = {WAY(SIMULATE_KEEP, -1, 1.6, 0.056),
						       WAY(SIMULATE_KEEP, 60 * SECONDS, 1.6, 0.056),
						       WAY(SIMULATE_KEEP, 600 * SECONDS, 1.6, 0.056),
						       WAY(SIMULATE_KEEP, 1200 * SECONDS, 1.6, 0.056),
						       WAY(SIMULATE_HYBRID, 0, 1.6, 0.056),
						       WAY(SIMULATE_FORESIGHT, -1, 1.6, 0.056)};
	static struct trace_function f;
	struct simulate *s = simulate_new(ways, WAYS, 3);
	struct simulate_result r[WAYS];
	uint64_t random = 11;
	int64_t calls = 0;

	for (int n = 0; n < 150; n++) {
		double per_minute = pow(10, -3 + 4.5 * chance_unit(&random)), ms = pow(10, 4 * chance_unit(&random));
		bool cron = n % 4 == 0;

		f.held_bytes = (int64_t)(pow(10, 1 + 1.5 * chance_unit(&random)) * (1 << 20));
		f.minutes = TRACE_MINUTES_MAX;
		for (int k = 0; k < TRACE_POINTS; k++)
			f.duration_us[k] = llround(ms * 1000 * (1 + k * k / 10.0));
		for (int m = 0; m < f.minutes; m++) {
			double mean = cron ? m % 60 == n % 60 : per_minute;

			f.calls[m] = (uint32_t)(mean + chance_unit(&random));
			calls += f.calls[m];
		}
		simulate_function(s, &f);
	}
	for (size_t k = 0; k < WAYS; k++) {
		simulate_result(s, k, &r[k]);
		CHECK(r[k].use.calls == calls && fabs(r[k].use.busy_s / r[0].use.busy_s - 1) < 0.01);
		CHECK(r[k].use.cold <= r[k].use.starts && r[k].latency.p50_us >= r[k].added.p50_us);
		CHECK(r[k].held_most_bytes * 86400 >= r[k].use.busy_byte_s);
	}
	simulate_free(s);
	CHECK(r[ONE].use.idle_byte_s < r[TEN].use.idle_byte_s && r[TEN].use.idle_byte_s < r[TWENTY].use.idle_byte_s);
	CHECK(r[ONE].use.cold > r[TEN].use.cold && r[TEN].use.cold > r[TWENTY].use.cold);
	CHECK(r[FORESIGHT].use.cold == r[TANDEM].use.cold);
	CHECK(r[FORESIGHT].use.idle_byte_s < r[TANDEM].use.idle_byte_s && r[FORESIGHT].use.vain_byte_s == 0);
	CHECK(r[TANDEM].use.idle_byte_s < 0.5 * r[TEN].use.idle_byte_s); /* what it was chosen for */
	/* It knows the hour: it holds as much as the longest, and less of that for nothing. */
	CHECK(r[HYBRID].use.vain_byte_s < r[TEN].use.vain_byte_s && r[HYBRID].use.cold < r[ONE].use.cold);
}
