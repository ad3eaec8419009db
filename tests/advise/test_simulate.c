/* SPDX-License-Identifier: Apache-2.0 */
/* Short days whose sums were made by hand. An instance holds 1 GB, so that idle seconds are GB*s. */
#include "advise/simulate.h"

#include <math.h>

#include "base/def.h"
#include "tests/test.h"

#define GB	(1ll << 30)
#define SECONDS 1000000ll

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

static bool near(double a, double b)
{
	return fabs(a - b) < 1e-6;
}

static void check(const char *what, const struct simulate_result *r, const struct sum *want)
{
	bool ok = r->cold == want->cold && near(r->idle_gb_s, want->idle_s) && near(r->vain_gb_s, want->vain_s) &&
		  r->added_p50_us == want->p50_us && r->added_p99_us == want->p99_us;

	if (!ok)
		printf("%s: %lld cold, %.6f idle, %.6f in vain, p50 %lld, p99 %lld\n", what, (long long)r->cold,
		       r->idle_gb_s, r->vain_gb_s, (long long)r->added_p50_us, (long long)r->added_p99_us);
	CHECK(ok);
}

/* Three calls of a second, 10 and 48 s of nothing after two of them. A start of 100 ms is worth holding 1,024 MB for
 * 100 * 200 / 1025 = 19.512195 s; one of a second for ten times that. */
TEST(ways)
{
	static const struct event day[] = {{0, 1}, {11, 1}, {60, 1}};
	static const struct {
		struct simulate_way way;
		struct sum want;
	} t[] = {
		/* 1.1 to 11; 12 to 31.51 for nothing; 61.1 to 80.61 for nothing */
		{{"policy", -1, {100, 0}, false}, {2, 9.9 + 2 * 19.512195, 2 * 19.512195, 100000, 100000}},
		/* ... to 11; 12 to 60; 61 to the end */
		{{"10 minutes", 600 * SECONDS, {100, 0}, false}, {1, 9.9 + 48 + 39, 39, 0, 100000}},
		{{"30 s", 30 * SECONDS, {100, 0}, false}, {2, 9.9 + 30 + 30, 60, 100000, 100000}},
		{{"not at all", 0, {100, 0}, false}, {3, 0, 0, 100000, 100000}},
		{{"foresight", -1, {100, 0}, true}, {2, 9.9, 0, 100000, 100000}},
		{{"plain starts", -1, {1000, 0}, false}, {1, 9 + 48 + 39, 39, 0, 1000000}},
		{{"a start by memory: 4 + 1024 / 256 ms", 0, {4, 1.0 / 256}, false}, {3, 0, 0, 8000, 8000}},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct simulate_result r;

		replay(&t[k].way, day, ARRAY_SIZE(day), 100, &r);
		check(t[k].way.name, &r, &t[k].want);
		CHECK(r.calls == 3 && r.refused == 0);
		CHECK(near(r.busy_gb_s, 3));
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
	static const struct simulate_way way = {"10 minutes", 600 * SECONDS, {100, 0}, false};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct simulate_result r;

		replay(&way, t[k].ev, t[k].n, 20, &r);
		check(t[k].what, &r, &t[k].want);
	}
}

/* A full queue refuses as the daemon's does. */
TEST(refused)
{
	static const struct simulate_way way = {"no start is over", 0, {30000, 0}, false};
	static struct event ev[5000];
	struct simulate_result r;

	replay(&way, ev, ARRAY_SIZE(ev), 20, &r);
	CHECK(r.calls == 5000 && r.refused == 5000 - 4096);
	CHECK(r.cold == 0); /* none has begun at the end */
}

TEST(recorded_day)
{
	static const struct simulate_way ways[] = {{"10 minutes", 600 * SECONDS, {0, 0}, false},
						   {"not at all", 0, {100, 0}, false}};
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
	CHECK(r[0][0].idle_gb_s == r[1][0].idle_gb_s); /* the seed is all there is of chance */
	CHECK(r[0][0].calls == 120 && near(r[0][0].busy_gb_s, 24));
	/* One instance, or two when calls stood close; kept for ten minutes after the 120th minute. */
	CHECK(r[0][0].cold >= 1 && r[0][0].cold <= 3);
	CHECK(r[0][0].vain_gb_s >= 600 && r[0][0].vain_gb_s <= 3 * 600);
	CHECK(r[0][0].idle_gb_s >= 119 * 60 - 60 - 24 + 600 && r[0][0].idle_gb_s <= 120 * 60 + 3 * 600);
	CHECK(r[0][1].idle_gb_s == 0 && r[0][1].cold >= 115 && r[0][1].added_p50_us == 100000);
}

/* Times within a minute and durations between percentiles are even draws. */
TEST(draws)
{
	static const struct simulate_way way = {"10 minutes", 600 * SECONDS, {0, 0}, false};
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
	CHECK(fabs(r.busy_gb_s / 10000 - 0.5) < 0.015);
	/* 10,000 a minute for 0.5 s are 83 at a time; by chance somewhat more at the worst. */
	CHECK(r.cold > 83 && r.cold < 140);
}
