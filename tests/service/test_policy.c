/* SPDX-License-Identifier: Apache-2.0 */
#include "base/def.h"
#include "service/policy.h"
#include "tests/test.h"

#define SECOND 1000000ll

TEST(wanted)
{
	static const struct {
		const char *what;
		struct service_load l;
		int want;
	} t[] = {
		{"nothing to do, nothing there", {.max = 4, .concurrency = 10}, 0},
		{"one request wakes one", {.max = 4, .concurrency = 10, .open = 1}, 1},
		{"one more than one takes", {.max = 4, .concurrency = 10, .open = 11, .have = 1}, 2},
		{"no more than max", {.max = 4, .concurrency = 10, .open = 1000, .have = 1}, 4},
		{"min without anything to do", {.min = 2, .max = 4, .concurrency = 10}, 2},
		{"any number is for one", {.max = 4, .open = 1000}, 1},
		{"max has become less: at once",
		 {.max = 2, .concurrency = 1, .open = 9, .have = 4, .idle_us = SECOND},
		 2},
		{"too many, but not for long",
		 {.max = 4, .concurrency = 1, .open = 1, .have = 4, .idle_us = SECOND},
		 4},
		{"what they do is too much for their processors",
		 {.max = 8, .open = 2, .have = 2, .cpu_percent = 50, .cpu = 160},
		 4},
		{"what they do is unknown", {.max = 8, .open = 2, .have = 1, .cpu_percent = 50, .cpu = -1}, 1},
		{"max of 0 is none", {.max = 0, .open = 5, .have = 1}, 0},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct service_slack s = {0};
		int64_t again;
		int got = service_wanted(&s, &t[k].l, 1, &again);

		if (got != t[k].want)
			printf("%s: got %d, want %d\n", t[k].what, got, t[k].want);
		CHECK(got == t[k].want);
	}
}

/* A day of a service: at each time so much is open. */
TEST(wanted_less_after_a_while)
{
	static const struct {
		int64_t at_us;
		int open, want;
		int64_t again_us;
	} t[] = {
		{1, 25, 3, -1},
		{10 * SECOND, 5, 3, 60 * SECOND},
		{20 * SECOND, 15, 3, 50 * SECOND}, /* two would have done since 10 s, for this too */
		{70 * SECOND, 5, 2, 60 * SECOND},  /* and one would do from here on */
		{71 * SECOND, 5, 2, 59 * SECOND},
		{100 * SECOND, 12, 2, -1}, /* needs two again: counts anew */
		{101 * SECOND, 0, 2, 60 * SECOND},
		{161 * SECOND, 0, 0, -1},
	};
	struct service_slack s = {0};
	struct service_load l = {.max = 9, .concurrency = 10, .idle_us = 60 * SECOND};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		int64_t again;

		l.open = t[k].open;
		l.have = service_wanted(&s, &l, t[k].at_us, &again);
		if (l.have != t[k].want || again != t[k].again_us)
			printf("at %lld s: got %d, %lld\n", (long long)(t[k].at_us / SECOND), l.have, (long long)again);
		CHECK(l.have == t[k].want && again == t[k].again_us);
	}
}

TEST(backoff)
{
	static const int64_t want[] = {0,	100000,	 200000,   400000,   800000,   1600000,
				       3200000, 6400000, 12800000, 25600000, 30000000, 30000000};

	for (int n = 0; n < (int)ARRAY_SIZE(want); n++)
		CHECK(service_backoff_us(n) == want[n]);
	CHECK(service_backoff_us(1000000) == 30000000);
}

TEST(steady)
{
	CHECK(service_steady_us(0) == 1000000 && service_steady_us(333333) == 1000000);
	CHECK(service_steady_us(500000) == 1500000 && service_steady_us(3333333) == 9999999);
	CHECK(service_steady_us(4000000) == SERVICE_STEADY_US && service_steady_us(INT64_MAX) == SERVICE_STEADY_US);
}

TEST(place)
{
	static const struct {
		const char *what;
		struct service_line l;
		enum service_move want;
	} t[] = {
		{"one is ready", {.ready = 1, .concurrency = 2, .least = 1}, SERVICE_USE},
		{"none is ready", {.starting = 1}, SERVICE_WAIT},
		{"none, and none could be started again and again", {.failures = 3}, SERVICE_REFUSE},
		{"the same, but one is just on its way", {.failures = 3, .starting = 1}, SERVICE_WAIT},
		{"none will come", {.none = true, .starting = 1}, SERVICE_REFUSE},
		{"for too long", {.starting = 1, .waited_us = SERVICE_HOLD_US}, SERVICE_REFUSE},
		{"all are full, one more comes",
		 {.ready = 1, .starting = 1, .concurrency = 2, .least = 2},
		 SERVICE_WAIT},
		{"all are full, and no more come", {.ready = 4, .concurrency = 2, .least = 2}, SERVICE_USE},
		{"the one that comes takes its time",
		 {.ready = 1, .starting = 1, .concurrency = 2, .least = 2, .waited_us = SERVICE_PATIENCE_US},
		 SERVICE_USE},
		{"there is no measure of full", {.ready = 1, .starting = 1, .least = 900}, SERVICE_USE},
		{"too many wait", {.starting = 1, .held = SERVICE_HELD_MAX + 1}, SERVICE_REFUSE},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		enum service_move got = service_place(&t[k].l);

		if (got != t[k].want)
			printf("%s: got %d, want %d\n", t[k].what, got, t[k].want);
		CHECK(got == t[k].want);
	}
}

#define ROLLING .max_percent = 200, .min_percent = 100, .breaker = true
static const struct rollout_spec rolling = {ROLLING, .wait_us = -1},
				 slim = {.max_percent = 100, .min_percent = 50, .wait_us = -1},
				 stuck = {.max_percent = 100, .min_percent = 100, .wait_us = -1},
				 watched = {ROLLING, .wait_us = SECOND},
				 replace = {ROLLING, .wait_us = -1, .strategy = ROLLOUT_REPLACE},
				 blue = {ROLLING, .strategy = ROLLOUT_BLUE_GREEN, .wait_us = SECOND},
				 canary = {ROLLING, .strategy = ROLLOUT_CANARY, .wait_us = SECOND, .steps = {10, 50},
					   .n_steps = 2},
				 trusting = {.max_percent = 200, .min_percent = 100, .wait_us = -1};

#define OLD .has_old = true
#define SIDE(h, r)                                                                                                     \
	{                                                                                                              \
		.have = h, .ready = r                                                                                  \
	}

static const struct plan {
	const char *what;
	struct rollout_load l;
	struct {
		enum rollout_move move;
		int want_new, want_old, weight;
		int64_t next_us;
	} want;
} plans[] = {
	{"the first revision", {&rolling, .desired = 3}, {ROLLOUT_WAIT, 3, 0, -1, -1}},
	{"... is there", {&rolling, .desired = 3, .new = SIDE(3, 3)}, {ROLLOUT_DONE, 3, 0, -1, -1}},
	{"none is wanted", {&rolling, .desired = 0, OLD, .old = SIDE(1, 1)}, {ROLLOUT_DONE, 0, 0, -1, -1}},
	{"rolling: all new ones beside the old",
	 {&rolling, .desired = 2, OLD, .old = SIDE(2, 2)},
	 {ROLLOUT_WAIT, 2, 2, -1, -1}},
	{"... one is ready, one old may go",
	 {&rolling, .desired = 2, OLD, .old = SIDE(2, 2), .new = SIDE(2, 1)},
	 {ROLLOUT_WAIT, 2, 1, -1, -1}},
	{"... both", {&rolling, .desired = 2, OLD, .old = SIDE(2, 2), .new = SIDE(2, 2)}, {ROLLOUT_WAIT, 2, 0, -1, -1}},
	{"... the old are gone", {&rolling, .desired = 2, OLD, .new = SIDE(2, 2)}, {ROLLOUT_DONE, 2, 0, -1, -1}},
	{"watched afterwards", {&watched, .desired = 2, OLD, .new = SIDE(2, 2)}, {ROLLOUT_STEP, 2, 0, -1, -1}},
	{"... not for long enough",
	 {&watched, .desired = 2, OLD, .step = 1, .step_us = 1, .new = SIDE(2, 2)},
	 {ROLLOUT_WAIT, 2, 0, -1, SECOND - 1}},
	{"... somebody is sure of it",
	 {&watched, .desired = 2, OLD, .step = 1, .step_us = 1, .promote = true, .new = SIDE(2, 2)},
	 {ROLLOUT_DONE, 2, 0, -1, -1}},
	{"no more at once than before: half of the old go first",
	 {&slim, .desired = 4, OLD, .old = SIDE(4, 4)},
	 {ROLLOUT_WAIT, 0, 2, -1, -1}},
	{"... then new ones come", {&slim, .desired = 4, OLD, .old = SIDE(2, 2)}, {ROLLOUT_WAIT, 2, 2, -1, -1}},
	{"neither more nor less is no rollout: one more",
	 {&stuck, .desired = 2, OLD, .old = SIDE(2, 2)},
	 {ROLLOUT_WAIT, 1, 2, -1, -1}},
	{"replace: the old go", {&replace, .desired = 2, OLD, .old = SIDE(2, 2)}, {ROLLOUT_WAIT, 0, 0, -1, -1}},
	{"... one still ends", {&replace, .desired = 2, OLD, .old = {.going = 1}}, {ROLLOUT_WAIT, 0, 0, -1, -1}},
	{"... it has ended", {&replace, .desired = 2, OLD}, {ROLLOUT_WAIT, 2, 0, -1, -1}},
	{"blue-green: all new ones, no request",
	 {&blue, .desired = 2, OLD, .old = SIDE(2, 2), .new = SIDE(2, 1)},
	 {ROLLOUT_WAIT, 2, 2, 0, -1}},
	{"... the switch",
	 {&blue, .desired = 2, OLD, .old = SIDE(2, 2), .new = SIDE(2, 2)},
	 {ROLLOUT_STEP, 2, 2, 0, -1}},
	{"... watched, the old ones stand by",
	 {&blue, .desired = 2, OLD, .step = 1, .old = SIDE(2, 2), .new = SIDE(2, 2)},
	 {ROLLOUT_WAIT, 2, 2, 100, SECOND}},
	{"... and over",
	 {&blue, .desired = 2, OLD, .step = 1, .step_us = SECOND, .old = SIDE(2, 2), .new = SIDE(2, 2)},
	 {ROLLOUT_DONE, 2, 2, 100, -1}},
	{"canary: one of ten", {&canary, .desired = 10, OLD, .old = SIDE(10, 10)}, {ROLLOUT_WAIT, 1, 10, 0, -1}},
	{"... is ready",
	 {&canary, .desired = 10, OLD, .old = SIDE(10, 10), .new = SIDE(1, 1)},
	 {ROLLOUT_STEP, 1, 10, 0, -1}},
	{"... gets a tenth, and is watched",
	 {&canary, .desired = 10, OLD, .step = 1, .old = SIDE(10, 10), .new = SIDE(1, 1)},
	 {ROLLOUT_WAIT, 5, 10, 10, SECOND}},
	{"... half must be ready first",
	 {&canary, .desired = 10, OLD, .step = 1, .step_us = SECOND, .old = SIDE(10, 10), .new = SIDE(5, 4)},
	 {ROLLOUT_WAIT, 5, 10, 10, -1}},
	{"... half",
	 {&canary, .desired = 10, OLD, .step = 2, .step_us = SECOND, .old = SIDE(10, 10), .new = SIDE(10, 10)},
	 {ROLLOUT_DONE, 10, 10, 50, -1}},
	{"... promoted: all of it, but only when it is there",
	 {&canary, .desired = 10, OLD, .step = 1, .promote = true, .old = SIDE(10, 10), .new = SIDE(5, 5)},
	 {ROLLOUT_WAIT, 10, 10, 10, -1}},
	{"... promoted",
	 {&canary, .desired = 10, OLD, .step = 1, .promote = true, .old = SIDE(10, 10), .new = SIDE(10, 10)},
	 {ROLLOUT_DONE, 10, 10, 10, -1}},
	{"... half of it done, and somebody takes the steps away: the end, no further step",
	 {&blue, .desired = 1, OLD, .step = 2, .step_us = SECOND, .old = SIDE(1, 1), .new = SIDE(1, 1)},
	 {ROLLOUT_DONE, 1, 1, 100, -1}},
	{"its instances fail",
	 {&rolling, .desired = 1, OLD, .old = SIDE(1, 1), .new = {.failed = 3}},
	 {ROLLOUT_FAILED, 1, 1, -1, -1}},
	{"... in a large service more may",
	 {&rolling, .desired = 20, OLD, .old = SIDE(20, 20), .new = {.failed = 9}},
	 {ROLLOUT_WAIT, 20, 20, -1, -1}},
	{"... nobody asked to have that judged",
	 {&trusting, .desired = 1, OLD, .old = SIDE(1, 1), .new = {.failed = 9}},
	 {ROLLOUT_WAIT, 1, 1, -1, -1}},
	{"more errors than before",
	 {&canary, .desired = 1, OLD, .step = 1, .old = {1, 1, .requests = 100, .errors = 1},
	  .new = {1, 1, .requests = 100, .errors = 7}},
	 {ROLLOUT_FAILED, 1, 1, 10, SECOND}},
	{"... the old one has as many",
	 {&canary, .desired = 1, OLD, .step = 1, .old = {1, 1, .requests = 100, .errors = 9},
	  .new = {1, 1, .requests = 100, .errors = 7}},
	 {ROLLOUT_WAIT, 1, 1, 10, SECOND}},
	{"... too few to say",
	 {&canary, .desired = 1, OLD, .step = 1, .old = {1, 1, .requests = 100},
	  .new = {1, 1, .requests = 19, .errors = 19}},
	 {ROLLOUT_WAIT, 1, 1, 10, SECOND}},
	{"... the old one has nothing to compare with",
	 {&canary, .desired = 1, OLD, .step = 1, .old = SIDE(1, 1), .new = {1, 1, .requests = 20, .errors = 11}},
	 {ROLLOUT_FAILED, 1, 1, 10, SECOND}},
	{"slower",
	 {&canary, .desired = 1, OLD, .step = 1, .old = {1, 1, .requests = 100, .total_us = 1 * SECOND},
	  .new = {1, 1, .requests = 100, .total_us = 14 * SECOND}},
	 {ROLLOUT_FAILED, 1, 1, 10, SECOND}},
	{"... not by much",
	 {&canary, .desired = 1, OLD, .step = 1, .old = {1, 1, .requests = 100, .total_us = 1 * SECOND},
	  .new = {1, 1, .requests = 100, .total_us = 12 * SECOND}},
	 {ROLLOUT_WAIT, 1, 1, 10, SECOND}},
};

TEST(rollout)
{
	for (size_t k = 0; k < ARRAY_SIZE(plans); k++) {
		struct rollout_plan got;
		bool same;

		rollout_plan(&plans[k].l, &got);
		same = got.move == plans[k].want.move && got.want_new == plans[k].want.want_new &&
		       got.want_old == plans[k].want.want_old && got.weight == plans[k].want.weight &&
		       got.next_us == plans[k].want.next_us;
		if (!same)
			printf("%s: got move %d, new %d, old %d, weight %d, next %lld\n", plans[k].what, got.move,
			       got.want_new, got.want_old, got.weight, (long long)got.next_us);
		CHECK(same);
		CHECK((got.move == ROLLOUT_FAILED) == (*got.reason != 0));
	}
}
