/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include "base/def.h"
#include "sched/lane_policy.h"
#include "tests/test.h"

static const struct lane_break_even line = {.crosses = true, .rate = 4, .low = 3.2, .high = 5};

static double uniform(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return ((double)(*seed >> 11) + 0.5) / 9007199254740992.0;
}

static int drawn(double mean, uint64_t *seed)
{
	int n = -1;

	for (double sum = 0; sum < mean; n++)
		sum -= log(uniform(seed));
	return n < 0 ? 0 : n;
}

/* The moves that so much time takes, with requests at random: at rate[i] for each[i] seconds; many times over. */
struct phase {
	double rate, seconds;
};

static int moves(struct policy_lane_state *s, const struct lane_break_even *b, const struct phase *p, size_t n,
		 int times, uint64_t seed)
{
	double at = 0, until = 0;
	size_t i = 0;
	int made = 0;

	while (times) {
		int64_t window = policy_lane_look_us(s);
		double left = (double)window / 1e6, count = 0;

		while (left > 0 && times) { /* a window sees parts of several phases */
			double part = fmin(left, until + p[i].seconds - at);

			count += drawn(p[i].rate * part, &seed);
			left -= part;
			at += part;
			if (at < until + p[i].seconds)
				continue;
			until = at;
			i = (i + 1) % n;
			times -= i == 0;
		}
		if (policy_lane_see(s, b, count, window) != LANE_MOVES)
			continue;
		policy_lane_moved(s, s->lane == LANE_FUNCTION ? LANE_CONTAINER : LANE_FUNCTION);
		made++;
	}
	return made;
}
#define MOVES(s, times, ...)                                                                                           \
	moves(s, &line, (struct phase[]){__VA_ARGS__}, sizeof((struct phase[]){__VA_ARGS__}) / sizeof(struct phase),   \
	      times, 3)

TEST(rates_that_move_nothing)
{
	for (int lane = LANE_FUNCTION; lane <= LANE_CONTAINER; lane++) {
		struct policy_lane_state s = {.lane = (enum lane)lane};

		CHECK(MOVES(&s, 1, {4, 5e5}) == 0);			  /* at the line for six days */
		CHECK(MOVES(&s, 1000, {3.3, 200}, {4.9, 200}) == 0);	  /* about it, within the error bar */
		CHECK(MOVES(&s, 500, {400, 12}, {0, 48}, {4, 240}) == 0); /* bursts, and pauses, of seconds */
	}
	struct policy_lane_state s = {.lane = LANE_FUNCTION};

	CHECK(MOVES(&s, 100, {0.4, 3000}, {200, 20}) == 0);
	CHECK(s.moves == 0);
	s.lane = LANE_CONTAINER;
	CHECK(MOVES(&s, 100, {40, 3000}, {0, 40}) == 0);
}

TEST(a_step_moves_once)
{
	struct policy_lane_state s = {.lane = LANE_FUNCTION};

	CHECK(MOVES(&s, 1, {0.5, 100}, {20, 49}) == 0);
	CHECK(MOVES(&s, 1, {20, 19}) == 1 && s.lane == LANE_CONTAINER && s.moves == 1);
	CHECK(MOVES(&s, 1, {20, 100000}) == 0 && s.moves == 0); /* and it is forgotten */
	CHECK(MOVES(&s, 1, {0, 75}) == 1 && s.lane == LANE_FUNCTION);
}

/* Twenty crossings, long ones and short ones: never more moves than crossings, the fewer the faster they follow. */
TEST(steps)
{
	static const struct {
		double seconds;
		int least;
	} t[] = {{30, 0}, {90, 1}, {600, 4}, {7200, 20}, {43200, 20}};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct policy_lane_state s = {.lane = LANE_FUNCTION};
		int n = MOVES(&s, 10, {40, t[i].seconds}, {0.2, t[i].seconds});

		if (n < t[i].least || n > 20)
			printf("%g s: %d moves\n", t[i].seconds, n);
		CHECK(n >= t[i].least && n <= 20);
	}
}

/* Sixty days like those of the Azure trace: a curve over the day, minutes that vary far more than by chance. */
TEST(days)
{
	struct policy_lane_state s = {.lane = LANE_FUNCTION};
	struct phase minute[1440];
	uint64_t seed = 5;
	int n;

	for (int i = 0; i < 1440; i++) {
		double curve = 4 * exp(2 * sin(2 * M_PI * i / 1440)), noise = exp(1.5 * (uniform(&seed) - 0.5));

		minute[i] = (struct phase){curve * noise, 60};
	}
	n = moves(&s, &line, minute, 1440, 60, 9);
	printf("60 noisy days: %d moves\n", n);
	CHECK(n >= 60 && n <= 2 * 60 + 1);
}

TEST(one_lane_always_costs_less)
{
	static const struct lane_break_even never = {.rate = INFINITY, .low = INFINITY, .high = INFINITY}, always = {0};
	struct policy_lane_state s = {.lane = LANE_FUNCTION};
	struct phase p = {100, 3600};

	CHECK(moves(&s, &never, &p, 1, 1, 1) == 0);
	s.lane = LANE_CONTAINER;
	CHECK(moves(&s, &never, &p, 1, 1, 1) == 1 && s.lane == LANE_FUNCTION);
	CHECK(moves(&s, &always, &p, 1, 3, 1) == 1 && s.lane == LANE_CONTAINER);
	CHECK(moves(&s, &always, &p, 1, 3, 1) == 0);
}

TEST(looks)
{
	static const struct {
		int moves;
		int64_t s;
	} t[] = {{0, 10}, {1, 20}, {6, 640}, {60, 640}};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct policy_lane_state s = {.moves = t[i].moves};

		CHECK(policy_lane_look_us(&s) / 1000000 == t[i].s);
	}
}

/* Where the break-even is a request in a minute, it is soon clear that many are more, and later that none are fewer. */
/* A bar that says little of low rates, or has no end there: what nobody asks for leaves the container lane all the same. */
TEST(nobody_asks)
{
	static const struct lane_break_even wide[] = {{.crosses = true, .rate = 1, .low = 0.001, .high = 3},
						      {.crosses = true, .rate = 1, .low = 0, .high = 3}};

	for (size_t k = 0; k < ARRAY_SIZE(wide); k++) {
		struct policy_lane_state s = {.lane = LANE_CONTAINER};
		enum lane_move m;
		int looks = 0;

		do
			m = policy_lane_see(&s, &wide[k], 0, policy_lane_look_us(&s));
		while (m != LANE_MOVES && ++looks < 100);
		CHECK(m == LANE_MOVES && looks >= POLICY_LANE_VOTES - 1);
		s = (struct policy_lane_state){.lane = LANE_CONTAINER};
		for (looks = 0; looks < 100; looks++)
			CHECK(policy_lane_see(&s, &wide[k], 1, policy_lane_look_us(&s)) != LANE_MOVES);
	}
}

TEST(rare_requests)
{
	static const struct lane_break_even slow = {
		.crosses = true, .rate = 1 / 60.0, .low = 1 / 70.0, .high = 1 / 50.0};
	struct policy_lane_state s = {.lane = LANE_FUNCTION};
	struct phase at = {1 / 60.0, 86400 * 30}, many = {2, 60}, none = {0, 4200}, few = {1 / 600.0, 86400};

	CHECK(moves(&s, &slow, &at, 1, 1, 4) == 0);
	s = (struct policy_lane_state){.lane = LANE_FUNCTION};
	CHECK(moves(&s, &slow, &many, 1, 1, 4) == 1 && s.lane == LANE_CONTAINER);
	CHECK(moves(&s, &slow, &none, 1, 1, 4) == 1 && s.lane == LANE_FUNCTION);
	CHECK(moves(&s, &slow, &few, 1, 1, 4) == 0);
}
