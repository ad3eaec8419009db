/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/def.h"
#include "sched/lane_model.h"
#include "tests/test.h"

static bool near(double got, double want, double share)
{
	bool ok = got == want || fabs(got - want) <= share * fabs(want);

	if (!ok)
		printf("got %.9g, want %.9g\n", got, want);
	return ok;
}

static double uniform(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return ((double)(*seed >> 11) + 0.5) / 9007199254740992.0;
}

/* ---- what is held, against values of a pocket calculator ---- */

TEST(held)
{
	static const struct {
		double rate, open_s, keep_s;
		int seats, always;
		double instances, starts;
	} t[] = {
		{0, 0.1, 10, 1, 0, 0, 0},
		{0, 0.1, 10, 1, 3, 3, 0},
		/* One at a time, without length: up while the last request is less than keep_s ago. */
		{0.1, 0, 10, 1, 0, 0.632121, 0.0367879},
		{0.001, 0, 10, 1, 0, 0.00995017, 0.000990050},
		/* Nothing is kept: as many as are open, each started. */
		{2, 0.5, 0, 1, 0, 1, 2},
		{100, 0.5, 0, 1, 0, 50, 100},
		/* Kept for ever, two seats: only what never was open is not there; a thousand levels are bounded. */
		{1, 1, 0, 2, 0, 1 - 0.3678794 + 1 - 0.9196986 + 1 - 0.9963402 + 1 - 0.9999168, NAN},
		/* All levels of a crowd beside those that never go. */
		{100, 1, 0, 10, 40, 40, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct lane_held h = lane_held(t[i].rate, t[i].open_s, t[i].keep_s, t[i].seats, t[i].always);

		CHECK(near(h.instances, t[i].instances, 2e-5));
		CHECK(isnan(t[i].starts) || fabs(h.starts - t[i].starts) < 1e-6 + 1e-5 * t[i].starts);
	}
	CHECK(near(lane_held(20000, 0.1, 600, 9999, 0).instances, 1,
		   1e-9)); /* its first terms are too small to be numbers */
	CHECK(lane_held(1e5, 100, 600, 1, 0).instances < 1e7 * 1.02);
}

/* The same by drawing: a stack of instances, the one used last first. */
static struct lane_held drawn(double rate, double open_s, double keep_s, uint64_t seed)
{
	enum { N = 200000, LEVELS = 200 };
	static double free_at[LEVELS];
	double now = 0, held = 0, starts = 0;

	for (int j = 0; j < LEVELS; j++)
		free_at[j] = -1e18;
	for (int i = 0; i < N; i++) {
		int best = -1, empty = -1;

		now -= log(uniform(&seed)) / rate;
		for (int j = 0; j < LEVELS; j++) {
			if (free_at[j] > -1e17 && free_at[j] + keep_s < now) { /* gone meanwhile */
				held += keep_s;
				free_at[j] = -1e18;
			}
			if (free_at[j] < -1e17)
				empty = j;
			else if (free_at[j] <= now && (best < 0 || free_at[j] > free_at[best]))
				best = j;
		}
		if (best < 0) {
			best = empty;
			starts++;
		} else {
			held += now - free_at[best];
		}
		held += open_s;
		free_at[best] = now + open_s;
	}
	return (struct lane_held){held / now, starts / now};
}

TEST(held_as_drawn)
{
	static const double t[][3] = {/* rate, open_s, keep_s */
				      {0.05, 0.2, 10},
				      {1, 0.05, 3},
				      {10, 0.1, 0.5},
				      {20, 0.5, 30},
				      {2, 2, 20}};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct lane_held want = drawn(t[i][0], t[i][1], t[i][2], 1);
		struct lane_held got = lane_held(t[i][0], t[i][1], t[i][2], 1, 0);

		CHECK(near(got.instances, want.instances, 0.08));
		CHECK(fabs(got.starts - want.starts) < 0.1 * want.starts + 0.002 * t[i][0]);
	}
}

/* ---- costs ---- */

/* A machine of 1 USD for 1,000 CPU-seconds and 1 USD for 1,000 GB-seconds. */
static const struct lane_price machine = {.usd_per_cpu_s = 1e-3, .usd_per_byte_s = 1e-12};
#define IS(x)                                                                                                          \
	{                                                                                                              \
		.v = (x), .low = (x), .high = (x)                                                                      \
	}
static const struct lane_facts facts = {.cpu_s = {0.02, 0.018, 0.022, KNOWN_MEASURED},
					.wall_s = {0.05, 0.046, 0.054, KNOWN_MEASURED},
					.held_bytes = IS(20e6),
					.start_s = IS(0.005),
					.start_cpu_s = IS(0.004),
					.keep_s = 30,
					.base_bytes = IS(40e6),
					.seat_bytes = IS(1e6),
					.c_start_s = IS(0.2),
					.overhead_cpu_share = IS(1e-4),
					.seats = 8};

static void exactly(struct known *x, double v)
{
	*x = (struct known)IS(v);
}

TEST(cost_by_hand)
{
	/* Lambda, 1 GB, and Fargate, 1 vCPU and 2 GB, with round prices. */
	static const struct lane_price lambda = {
		.usd_per_byte_s = 1.6e-14, .usd_per_request = 2e-7, .by_reservation = true, .memory_bytes = 1e9};
	static const struct lane_price fargate = {
		.usd_per_cpu_s = 1e-5, .usd_per_byte_s = 1e-15, .by_reservation = true, .vcpu = 1, .memory_bytes = 2e9};
	struct lane_facts f = facts;

	exactly(&f.overhead_cpu_share, 0);
	CHECK(lane_cost_hour(&f, &machine, LANE_FUNCTION, 0) == 0);
	CHECK(near(lane_cost_hour(&f, &machine, LANE_CONTAINER, 0), 3600 * 40e6 * 1e-12, 1e-9));
	f.min = 2;
	CHECK(near(lane_cost_hour(&f, &machine, LANE_FUNCTION, 0), 3600 * 2 * 20e6 * 1e-12, 1e-9));
	CHECK(near(lane_cost_hour(&f, &machine, LANE_CONTAINER, 0), 3600 * 2 * 40e6 * 1e-12, 1e-9));
	f.min = 0;
	/* Rare requests: each starts one, that is then kept. */
	CHECK(near(lane_cost_hour(&f, &machine, LANE_FUNCTION, 1e-6),
		   3.6e-3 * (0.024 * 1e-3 + (30 + 0.05 + 0.005) * 20e6 * 1e-12), 1e-4));
	exactly(&f.start_s, 0);
	CHECK(near(lane_cost_hour(&f, &lambda, LANE_FUNCTION, 10), 36000 * (2e-7 + 0.05 * 1.6e-5), 1e-9));
	CHECK(near(lane_cost_hour(&f, &fargate, LANE_CONTAINER, 10), 3600 * (1e-5 + 2e-6), 1e-4));
	/* As many as the CPU time takes. */
	CHECK(near(lane_cost_hour(&f, &fargate, LANE_CONTAINER, 500), 3600 * 10 * (1e-5 + 2e-6), 1e-4));
}

TEST(cost_rises)
{
	for (int lane = LANE_FUNCTION; lane <= LANE_CONTAINER; lane++) {
		double was = -1;

		for (double rate = 1e-6; rate < 1e5; rate *= 1.07) {
			double now = lane_cost_hour(&facts, &machine, (enum lane)lane, rate);

			CHECK(isfinite(now) && now >= was);
			was = now;
		}
	}
}

/* ---- where it no longer matters ---- */

TEST(break_even)
{
	struct lane_break_even b;
	struct lane_facts f = facts;

	lane_break_even(&f, &machine, &machine, &b);
	CHECK(b.crosses && b.low < b.rate && b.rate < b.high);
	CHECK(near(lane_cost_hour(&f, &machine, LANE_FUNCTION, b.rate),
		   lane_cost_hour(&f, &machine, LANE_CONTAINER, b.rate), 1e-6));
	exactly(&f.cpu_s, 0.02), exactly(&f.wall_s, 0.05);
	lane_break_even(&f, &machine, &machine, &b);
	CHECK(b.crosses && b.low == b.rate && b.high == b.rate);
	f.held_bytes = known_within(20e6, 1.02, KNOWN_MEASURED); /* of what instances hold nobody is sure either */
	lane_break_even(&f, &machine, &machine, &b);
	CHECK(b.low < b.rate && b.rate < b.high && isfinite(b.high));
	f.held_bytes = known_within(20e6, 10, KNOWN_MEASURED); /* so little that there may be none */
	f.base_bytes = known_within(40e6, 10, KNOWN_MEASURED);
	lane_break_even(&f, &machine, &machine, &b);
	CHECK(b.crosses && b.low < b.rate / 10 && isinf(b.high));
	exactly(&f.held_bytes, 20e6), exactly(&f.base_bytes, 40e6);
	/* Lambda against Fargate in round prices, without starts: 12e-6 USD/s / 1e-6 USD/request. */
	exactly(&f.start_s, 0);
	lane_break_even(&f, &(struct lane_price){.usd_per_request = 1e-6, .by_reservation = true},
			&(struct lane_price){.usd_per_cpu_s = 12e-6, .by_reservation = true, .vcpu = 1}, &b);
	CHECK(b.crosses && near(b.rate, 12, 2e-4));
	f.min = 1; /* an instance in both lanes, and the container's is smaller */
	exactly(&f.base_bytes, 1e6);
	exactly(&f.overhead_cpu_share, 0);
	lane_break_even(&f, &machine, &machine, &b);
	CHECK(!b.crosses && b.rate == 0 && b.high == 0);
	f = facts; /* seats that cost more than instances of their own */
	exactly(&f.seat_bytes, 30e6);
	lane_break_even(&f, &machine, &machine, &b);
	CHECK(!b.crosses && isinf(b.rate) && isinf(b.low));
}

TEST(as_text)
{
	static const struct {
		struct lane_break_even b;
		const char *text;
	} t[] = {{{true, 3.14, 2.6, 3.9}, "3.14 (2.6 to 3.9)"},
		 {{true, 3.14, 2.6, INFINITY}, "3.14 (2.6 or more)"},
		 {{true, 3.14, 0, 3.9}, "3.14 (3.9 or less)"},
		 {{true, 3.14, 0, INFINITY}, "3.14 (or any other)"},
		 {{true, 3.14, 3.14, 3.14}, "3.14 (3.14 to 3.14)"},
		 {{false, INFINITY, 2.6, INFINITY}, "none (2.6 or more)"},
		 {{false, INFINITY, INFINITY, INFINITY}, "none"},
		 {{false, 0, 0, 3.9}, "0 (3.9 or less)"}};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		auto_buf out = {0};

		lane_break_even_text(&out, &t[i].b);
		CHECK_STR(out.p, t[i].text);
	}
}

TEST(students_t)
{
	static const double t[][2] = {{3, 4.303}, {4, 3.182}, {6, 2.571}, {11, 2.228}, {31, 2.042}, {1e9, 1.960}};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		CHECK(near(known_student(t[i][0]), t[i][1], 0.01));
	CHECK(known_student(2) > 11 && isinf(known_student(1)) && isinf(known_student(0)));
}

TEST(differences)
{
	struct known two = known_within(2, 1.1, KNOWN_MEASURED), one = known_within(1, 1.2, KNOWN_DECLARED), d;

	d = known_less(two, one);
	CHECK(near(d.v, 1, 1e-9) && d.low < 1 - 0.18 && d.low > 0 && d.high > 1.2 && d.from == KNOWN_DECLARED);
	d = known_less(one, two);
	CHECK(d.v == 0 && d.low == 0 && d.high > 0);
	d = known_less(one, (struct known){0});
	CHECK(d.v == one.v && d.low == one.low && d.high == one.high);
	d = known_less((struct known){0}, one); /* of what is not known nothing is known without a part of it, either */
	CHECK(d.v == 0 && d.high == 0 && d.from == KNOWN_ASSUMED);
}

/* What nobody looked at is filled in, widely, and nothing else is touched. */
TEST(settled)
{
	struct lane_facts f = {.cpu_s = IS(0.02), .wall_s = IS(0.05), .held_bytes = IS(20e6), .keep_s = -1, .seats = 8};
	struct lane_facts was, g = {.base_bytes = IS(50e6), .keep_s = -1};
	struct lane_break_even b;

	lane_facts_settle(&f);
	CHECK(f.held_bytes.v == 20e6 && f.base_bytes.v == 40e6 && f.base_bytes.low == 20e6 &&
	      f.base_bytes.high == 100e6);
	CHECK(f.base_bytes.from == KNOWN_ASSUMED && f.start_s.high >= 10 * f.start_s.v && f.seat_bytes.high < 20e6);
	lane_break_even(&f, &machine, &machine, &b);
	CHECK(b.crosses && b.high > 4 * b.low); /* it does not claim to know */
	was = f;
	lane_facts_settle(&f);
	CHECK(!memcmp(&was, &f, sizeof(f)));
	lane_facts_settle(&g);
	CHECK(g.held_bytes.v == 25e6 && g.held_bytes.low == 10e6 && g.held_bytes.high == 50e6);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The error bar is that of drawing the measured requests anew. */
TEST(error_bar_as_by_bootstrap)
{
	enum { N = 150, ROUNDS = 400 };
	static double cpu[N], wall[N], rates[ROUNDS];
	struct moments c = {0}, w = {0};
	uint64_t seed = 7;
	struct lane_facts f = facts;
	struct lane_break_even b;

	for (int i = 0; i < N; i++) {
		moments_add(&c, cpu[i] = -0.02 * log(uniform(&seed)));
		moments_add(&w, wall[i] = -0.05 * log(uniform(&seed)));
	}
	f.cpu_s = known_mean(&c);
	f.wall_s = known_mean(&w);
	lane_break_even(&f, &machine, &machine, &b);
	for (int r = 0; r < ROUNDS; r++) {
		struct lane_facts g = f;
		struct lane_break_even one;

		exactly(&g.cpu_s, 0), exactly(&g.wall_s, 0);
		for (int i = 0; i < N; i++) {
			int k = (int)(uniform(&seed) * N);

			g.cpu_s.v += cpu[k] / N, g.wall_s.v += wall[k] / N;
		}
		lane_break_even(&g, &machine, &machine, &one);
		rates[r] = one.rate;
	}
	qsort(rates, ROUNDS, sizeof(*rates), by_value);
	CHECK(near(b.low, rates[ROUNDS / 40], 0.1));
	CHECK(near(b.high, rates[ROUNDS - ROUNDS / 40], 0.1));
}

static double normal(uint64_t *seed)
{
	return sqrt(-2 * log(uniform(seed))) * cos(2 * M_PI * uniform(seed));
}

/* A machine that is known; what would be measured of it, drawn over and over: how often the bar holds the truth. */
TEST(of_a_hundred_bars_some_95_hold_the_truth)
{
	static const struct {
		int requests, starts, functions, containers; /* that were measured; instances that were looked at */
	} t[] = {{20, 3, 3, 1}, {50, 5, 5, 2}, {1000, 30, 30, 5}};
	enum { ROUNDS = 300 };
	uint64_t seed = 11;

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct lane_break_even truth, b;
		int held = 0;

		lane_break_even(&facts, &machine, &machine, &truth);
		for (int r = 0; r < ROUNDS; r++) {
			struct moments cpu = {0}, wall = {0}, start = {0}, start_cpu = {0}, fn = {0}, ct = {0};
			struct lane_facts f = facts;

			for (int k = 0; k < t[i].requests; k++) {
				double size = -log(uniform(&seed));

				moments_add(&cpu, facts.cpu_s.v * size);
				moments_add(&wall, facts.wall_s.v * -log(uniform(&seed)));
			}
			for (int k = 0; k < t[i].starts; k++) {
				moments_add(&start, facts.start_s.v * exp(0.4 * normal(&seed) - 0.08));
				moments_add(&start_cpu, facts.start_cpu_s.v * exp(0.4 * normal(&seed) - 0.08));
			}
			for (int k = 0; k < t[i].functions; k++) {
				double one = facts.held_bytes.v * exp(0.1 * normal(&seed) - 0.005);

				for (int again = 0; again < 10; again++) /* looks at the same one tell nothing new */
					moments_add(&fn, one);
			}
			for (int k = 0; k < t[i].containers; k++)
				moments_add(&ct, facts.base_bytes.v * exp(0.1 * normal(&seed) - 0.005));
			f.cpu_s = known_mean(&cpu), f.wall_s = known_mean(&wall);
			f.start_s = known_mean(&start), f.start_cpu_s = known_mean(&start_cpu);
			f.held_bytes = known_held(&fn, t[i].functions);
			f.base_bytes = known_held(&ct, t[i].containers);
			lane_break_even(&f, &machine, &machine, &b);
			held += b.low <= truth.rate && truth.rate <= b.high;
		}
		printf("%d requests, %d starts: %.1f %% of the bars\n", t[i].requests, t[i].starts,
		       100.0 * held / ROUNDS);
		CHECK(held >= 0.92 * ROUNDS && held <= 0.995 * ROUNDS);
	}
}
