/* SPDX-License-Identifier: Apache-2.0 */
/* One workload in one lane beside the closed forms of queueing theory. The seeds are fixed: what is drawn is always the
 * same, and tolerances are for that, not for luck. */
#include "advise/lanes.h"

#include <math.h>

#include "advise/traffic.h"
#include "base/def.h"
#include "tests/test.h"

#define SECONDS 1000000ll

static struct dist none, ms10, expo10;

static void dists(void)
{
	dist_fixed(&none, 0);
	dist_fixed(&ms10, 10000);
	dist_exponential(&expo10, 10000);
}

static struct lane_run_out run(const struct lane_run_in *in, const char *spec, int64_t seconds)
{
	struct traffic *t = NULL;
	struct lane_run_out out;
	struct err e = {0};

	CHECK(traffic_parse(spec, 1, &t, &e) == 0);
	lane_run(in, t, seconds * SECONDS, &out);
	traffic_free(t);
	return out;
}

static bool close_to(const char *what, double got, double want, double within)
{
	bool ok = fabs(got - want) <= within * fabs(want);

	if (!ok)
		printf("%s: %g instead of %g\n", what, got, want);
	return ok;
}

/* Mean wait in M/M/c by Erlang's C; a is the load in servers. */
static double erlang_wait(int c, double a, double service_us)
{
	double b = 1; /* Erlang's B, by its recursion */

	for (int k = 1; k <= c; k++)
		b = a * b / (k + a * b);
	return b / (1 - a / c * (1 - b)) * service_us / (c - a);
}

/* Seats that wait for something else than a processor, and one instance: servers with one line. */
TEST(servers)
{
	static const struct {
		const char *what, *traffic;
		int seats;
		const struct dist *service;
		double a; /* load */
	} t[] = {
		{"M/M/1, half", "poisson:50", 1, &expo10, 0.5}, {"M/M/1, 80 %", "poisson:80", 1, &expo10, 0.8},
		{"M/M/4, 75 %", "poisson:300", 4, &expo10, 3},	{"M/M/16, 90 %", "poisson:1440", 16, &expo10, 14.4},
		{"M/D/1, half", "poisson:50", 1, &ms10, 0.5},	{"M/D/1, 80 %", "poisson:80", 1, &ms10, 0.8},
		{"D/D/1, 80 %", "steady:80", 1, &ms10, 0.8},
	};

	dists();
	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct lane_run_in in = {LANE_CONTAINER, .seats = t[k].seats, .max = 1, .service = t[k].service,
					 .start = &none};
		double want = t[k].service == &expo10 ? erlang_wait(t[k].seats, t[k].a, 10000)
						      : 10000 * t[k].a / (2 * (1 - t[k].a));
		struct lane_run_out out = run(&in, t[k].traffic, 4000);

		if (t[k].traffic[0] == 's')
			CHECK(out.added.max_us == 0);
		else
			CHECK(close_to(t[k].what, out.added.mean_us, want, 0.04));
		CHECK(close_to(t[k].what, out.latency.mean_us, out.added.mean_us + 10000, 0.01));
		CHECK(out.instances_most == 1 && out.starts == 0 && out.refused == 0);
		CHECK(close_to("up", out.instance_s, 4000, 1e-9));
	}
}

/* One instance at a time in the function lane is the same line, after its only start. */
TEST(one_function)
{
	struct lane_run_in in = {LANE_FUNCTION, .max = 1, .keep_us = 600 * SECONDS, .start = &none};

	dists();
	in.service = &ms10;
	CHECK(close_to("M/D/1", run(&in, "poisson:80", 4000).added.mean_us, 20000, 0.04));
	in.service = &expo10;
	CHECK(close_to("M/M/1", run(&in, "poisson:50", 4000).added.mean_us, 10000, 0.04));
}

/* All seats share one processor: the mean time is s / (1 - load), whatever the distribution is. */
TEST(shared_processor)
{
	static const struct {
		const char *what, *traffic;
		const struct dist *service;
		double vcpu, share, want_us;
	} t[] = {
		{"M/M/1-PS", "poisson:50", &expo10, 1, 1, 20000},
		{"M/D/1-PS", "poisson:50", &ms10, 1, 1, 20000},
		{"80 %", "poisson:80", &ms10, 1, 1, 50000},
		{"half a processor, at a rate at which nothing meets", "poisson:0.1", &ms10, 0.5, 1, 20000},
		{"a processor is enough for four that work a quarter", "steady:100", &ms10, 1, 0.25, 10000},
		{"nothing is shared where nothing works", "poisson:500", &ms10, 1, 0, 10000},
	};

	dists();
	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct lane_run_in in = {
			LANE_CONTAINER,		 .seats = 256,	.max = 1, .vcpu = t[k].vcpu, .cpu_share = t[k].share,
			.service = t[k].service, .start = &none};
		struct lane_run_out out = run(&in, t[k].traffic, 4000);

		CHECK(close_to(t[k].what, out.latency.mean_us, t[k].want_us, 0.04));
	}
}

/* Few requests: who comes later than the keep after the last one starts an instance. */
TEST(cold_share)
{
	struct lane_run_in in = {LANE_FUNCTION, .keep_us = 20 * SECONDS, .start = &ms10, .service = &ms10,
				 .held_bytes = 1 << 20};
	struct lane_run_out out;
	double rate = 0.05, held;

	dists();
	out = run(&in, "poisson:0.05", 2000000);
	CHECK(close_to("cold", (double)out.cold / (double)out.calls, exp(-rate * 20), 0.01));
	CHECK(out.added.p50_us == 0 && out.added.p99_us == 10000 && out.added.max_us < 20001);
	/* An exponential gap, cut at 20 s. */
	held = (double)out.calls * (1 - exp(-rate * 20)) / rate;
	CHECK(close_to("held", out.instance_s, held, 0.01));
	CHECK(close_to("bytes", out.held_byte_s, out.instance_s * (1 << 20), 1e-9));
	in.min = 1;
	out = run(&in, "poisson:0.05", 2000000);
	CHECK(out.cold < 10 && out.instance_s >= 2000000 && out.added.p99_us == 0);
}

/* What a burst starts, and what is there afterwards: 100/s for 10 s, each of half a second. */
TEST(burst)
{
	static struct dist start, half;
	struct lane_run_in in = {LANE_CONTAINER,	  .seats = 8,		.min = 2,
				 .keep_us = 30 * SECONDS, .start = &start,	.service = &half,
				 .held_bytes = 100 << 20, .seat_bytes = 1 << 20};
	struct lane_run_out out;

	dist_fixed(&start, 2e6);
	dist_fixed(&half, 5e5);
	out = run(&in, "burst:0,100,10s/1h", 3600);
	CHECK(out.calls > 900 && out.calls < 1100 && out.refused == 0);
	CHECK(out.starts >= 5 && out.starts < 40 && out.instances_most == 2 + out.starts);
	CHECK(out.cold > 0 && out.cold <= out.starts && out.latency.max_us < 5 * SECONDS);
	/* Two all the time, the others for their start, the burst and what they are kept. */
	CHECK(out.instance_s > 2 * 3600 + (double)out.starts * 32);
	CHECK(out.instance_s < 2 * 3600 + (double)out.starts * 45);
	CHECK(out.held_byte_s >= out.instance_s * (100 << 20) && out.held_byte_s <= out.instance_s * (107 << 20));
	in.max = 2; /* 32/s: the last of 1,000 waits until 31 s are over, who came 21 s ago */
	out = run(&in, "burst:0,100,10s/1h", 3600);
	CHECK(out.instances_most == 2 && out.starts == 0 && out.refused == 0);
	CHECK(close_to("the last", (double)out.latency.max_us, (double)out.calls / 32 * SECONDS - 10 * SECONDS, 0.1));
	out = run(&in, "burst:0,1000,10s/1h", 3600); /* more than the line takes */
	CHECK(out.calls > 9700 && out.refused > 5000 && out.refused < 6000);
}

/* The same seed, the same answer; nothing comes, nothing is counted. */
TEST(again)
{
	struct lane_run_in in = {LANE_CONTAINER, .seats = 4, .vcpu = 1, .cpu_share = 0.5};
	struct lane_run_out a, b;

	dists();
	in.service = &expo10;
	in.start = &ms10;
	for (int lane = 0; lane < 2; lane++) {
		in.lane = lane ? LANE_CONTAINER : LANE_FUNCTION;
		a = run(&in, "poisson:200", 100);
		b = run(&in, "poisson:200", 100);
		CHECK(!memcmp(&a, &b, sizeof(a)));
		a = run(&in, "poisson:0.000001", 100);
		CHECK(a.calls == 0 && a.latency.max_us == 0 && a.instance_s == (lane ? 100 : 0));
	}
}
