/* SPDX-License-Identifier: Apache-2.0 */
#include "base/def.h"
#include "sched/policy.h"
#include "tests/test.h"

struct place {
	const char *what;
	struct policy_load l;
	enum policy_move want;
};

static void check_places(const struct place *t, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		enum policy_move got = policy_place(&t[k].l);

		if (got != t[k].want)
			printf("%s: got %d, want %d\n", t[k].what, got, t[k].want);
		CHECK(got == t[k].want);
	}
}

TEST(place)
{
	static const struct place t[] = {
		{"an idle one is used", {.idle = 1, .waiting = 1, .room = 5, .queue_max = 10, .cpus = 2}, POLICY_REUSE},
		{"nothing runs: start", {.waiting = 1, .room = 5, .queue_max = 10, .cpus = 2}, POLICY_START},
		{"one is on its way for each that waits",
		 {.starting = 2, .waiting = 2, .room = 5, .queue_max = 10, .cpus = 2},
		 POLICY_WAIT},
		{"two wait, one is on its way",
		 {.starting = 1, .waiting = 2, .room = 5, .queue_max = 10, .cpus = 2},
		 POLICY_START},
		{"no room", {.waiting = 1, .room = 0, .queue_max = 10, .cpus = 2}, POLICY_WAIT},
		{"of eight seats one is free",
		 {.idle = 1,
		  .busy = 7,
		  .waiting = 1,
		  .max_instances = 8,
		  .room = 9,
		  .queue_max = 10,
		  .cpus = 2,
		  .handler_us = 10000},
		 POLICY_REUSE},
		{"eight more are on their way: five wait for them",
		 {.busy = 8, .starting = 8, .waiting = 5, .room = 9, .queue_max = 10, .cpus = 2, .handler_us = 1000000},
		 POLICY_WAIT},
		{"all eight seats are taken for longer than a start takes",
		 {.busy = 8, .waiting = 1, .room = 9, .queue_max = 10, .cpus = 2, .handler_us = 1000000},
		 POLICY_START},
		{"two instances of eight seats at most, and all are taken",
		 {.busy = 16,
		  .waiting = 1,
		  .max_instances = 16,
		  .room = 9,
		  .queue_max = 10,
		  .cpus = 2,
		  .handler_us = 1000000},
		 POLICY_WAIT},
		{"own limit reached",
		 {.busy = 3, .waiting = 1, .max_instances = 3, .room = 9, .queue_max = 10, .cpus = 2},
		 POLICY_WAIT},
		{"queue full", {.busy = 3, .waiting = 11, .room = 9, .queue_max = 10, .cpus = 2}, POLICY_REFUSE},
		{"not measured yet: start",
		 {.busy = 2, .waiting = 1, .room = 9, .queue_max = 100, .cpus = 2},
		 POLICY_START},
	};

	check_places(t, ARRAY_SIZE(t));
}

#define CROWD .room = 9, .queue_max = 100, .cpus = 2, .start_us = 20000

/* A start, or to wait for those that work. */
TEST(place_while_all_are_busy)
{
	static const struct place t[] = {
		{"handlers of 100 us on all processors: waiting is shorter",
		 {CROWD, .busy = 2, .waiting = 30, .handler_us = 100},
		 POLICY_WAIT},
		{"the same, but the head has waited longer than a start takes",
		 {CROWD, .busy = 2, .waiting = 30, .handler_us = 100, .oldest_wait_us = 20000},
		 POLICY_START},
		{"handlers of 1 s: start", {CROWD, .busy = 2, .waiting = 1, .handler_us = 1000000}, POLICY_START},
		{"the same, one is on its way already",
		 {CROWD, .busy = 3, .starting = 1, .waiting = 30, .handler_us = 100, .oldest_wait_us = 20000},
		 POLICY_WAIT},
		{"one works, and events have waited for as long as a start takes",
		 {CROWD, .busy = 1, .waiting = 30, .handler_us = 30, .oldest_wait_us = 900, .backlog_us = 20000},
		 POLICY_START},
		{"one more than processors work already: waiting without a break changes nothing",
		 {CROWD, .busy = 3, .waiting = 30, .handler_us = 30, .oldest_wait_us = 900, .backlog_us = 900000},
		 POLICY_WAIT},
		{"... unless the handler waits for something itself",
		 {CROWD, .busy = 3, .waiting = 29, .handler_us = 400, .off_cpu_us = 350, .oldest_wait_us = 900,
		  .backlog_us = 20000},
		 POLICY_START},
	};

	check_places(t, ARRAY_SIZE(t));
}

/* More at work than processors: to use it, or to wait. */
TEST(place_with_an_idle_one)
{
	static const struct place t[] = {
		{"one idle, one more than processors at work with short handlers: switches are no progress",
		 {CROWD, .idle = 1, .busy = 3, .waiting = 1, .handler_us = 100},
		 POLICY_WAIT},
		{"the same, but the head has waited longer than a start takes",
		 {CROWD, .idle = 1, .busy = 3, .waiting = 1, .handler_us = 100, .oldest_wait_us = 20000},
		 POLICY_REUSE},
		{"the same with handlers of 10 ms: processors are shared",
		 {CROWD, .idle = 1, .busy = 3, .waiting = 1, .handler_us = 10000},
		 POLICY_REUSE},
	};

	check_places(t, ARRAY_SIZE(t));
}

#define SLOW .keep_us = -1, .start_us = 500000, .held_bytes = 95 << 20 /* scikit-learn, started plainly */

TEST(rest)
{
	static const struct {
		struct policy_idle i;
		enum policy_idle_move want;
		int64_t next;
	} t[] = {
		{{SLOW, .idle_us = 0}, POLICY_KEEP, 50000},
		{{SLOW, .idle_us = 50000}, POLICY_FREEZE, 600000000},
		{{SLOW, .idle_us = 60000, .frozen = true}, POLICY_KEEP, 600000000},
		{{SLOW, .idle_us = 600000000, .frozen = true}, POLICY_STOP, -1},
		{{SLOW, .idle_us = 0, .stale = true}, POLICY_STOP, -1},
		{{SLOW, .idle_us = 0, .pressed = true}, POLICY_STOP, -1},
		{{.idle_us = 2000000, .keep_us = 1000000, .frozen = true}, POLICY_STOP, -1},
		{{.idle_us = 0, .keep_us = 0}, POLICY_STOP, -1},
		{{.idle_us = 0, .keep_us = 20000}, POLICY_KEEP, 20000},
		{{.idle_us = 700000000, .keep_us = 700000001, .frozen = true}, POLICY_KEEP, 700000001},
		{{SLOW, .idle_us = 0, .held = true}, POLICY_KEEP, 50000},
		{{SLOW, .idle_us = 50000, .held = true}, POLICY_FREEZE, -1},
		{{.keep_us = 0, .idle_us = 900000000, .held = true, .frozen = true}, POLICY_KEEP, -1},
		{{SLOW, .idle_us = 0, .held = true, .stale = true}, POLICY_STOP, -1},
		{{SLOW, .idle_us = 0, .warm = true}, POLICY_KEEP, 600000000}, /* of the container lane */
		{{SLOW, .idle_us = 60000, .warm = true}, POLICY_KEEP, 600000000},
		{{SLOW, .idle_us = 600000000, .warm = true}, POLICY_STOP, -1},
		{{SLOW, .idle_us = 900000000, .warm = true, .held = true}, POLICY_KEEP, -1},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		int64_t next = 0;

		CHECK(policy_rest(&t[k].i, &next) == t[k].want);
		CHECK(next == t[k].next);
	}
}

TEST(numbers)
{
	CHECK(policy_cpu_weight(1769) == 100);
	CHECK(policy_cpu_weight(128) == 7);
	CHECK(policy_cpu_weight(1) == 1);
	CHECK(policy_average(0, 800) == 800);
	CHECK(policy_average(800, 0) < 800);
	CHECK(policy_usual(0, 800) == 800);
	CHECK(policy_usual(800, 400) == 700);  /* shorter ones count much, */
	CHECK(policy_usual(800, 1440) == 811); /* longer ones little, */
	CHECK(policy_usual(800, 801) == 801);  /* but never nothing */
	CHECK(policy_usual(4, 0) == 4);
	CHECK(policy_blanks(0, 0, 0, 2) == 24);
	CHECK(policy_blanks(40, 0, 0, 2) == 34);
	CHECK(policy_blanks(40, 5, 0, 2) == 39);
	CHECK(policy_blanks(400, 0, 0, 2) == 48);
	CHECK(policy_blanks(0, 0, 500, 2) == 500);
	CHECK(policy_blanks(0, 3, 500, 2) == 503);
	CHECK(policy_blanks(40, 3, 500, 2) == 37); /* not while a burst goes on */
	CHECK(policy_blanks(0, 0, 10, 2) == 24);
	CHECK(policy_blanks(0, 0, 0, 64) == 48); /* many processors make one quickly enough */
}

/* Holding for as long as it costs what the start would. */
TEST(keep)
{
	static const struct {
		const char *what;
		int64_t start_us, held_bytes, want_us;
	} t[] = {
		{"a plain start, small: the longest", 40000, 8 << 20, 600000000},
		{"restored, small: half a minute", 1000, 5 << 20, 33333333},
		{"restored, scikit-learn", 3400, 18 << 20, 35789473},
		{"restored, much memory", 3000, 500 << 20, 1197604},
		{"never less than a second", 500, 2000ll << 20, 1000000},
		{"nothing measured", 0, 0, 235294117},
		{"nothing measured, but there is an image", POLICY_RESTORE_US, 0, 29411764},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		int64_t got = policy_keep_us(t[k].start_us, t[k].held_bytes);

		if (got != t[k].want_us)
			printf("%s: got %lld, want %lld\n", t[k].what, (long long)got, (long long)t[k].want_us);
		CHECK(got == t[k].want_us);
	}
}

TEST(hold)
{
	static const struct {
		const char *what;
		struct policy_hold h;
		int want;
		int64_t next;
	} t[] = {
		{"all there", {.wanted = 2, .have = 2, .cpus = 2}, 0, -1},
		{"more than wanted", {.wanted = 1, .have = 3, .cpus = 2}, 0, -1},
		{"three missing", {.wanted = 5, .have = 2, .cpus = 2}, 3, -1},
		{"many missing: a few at a time", {.wanted = 500, .cpus = 2}, 4, -1},
		{"others start as many already", {.wanted = 5, .starting = 4, .cpus = 2}, 0, -1},
		{"failed just now", {.wanted = 5, .cpus = 2, .failures = 1}, 0, 1000000},
		{"failed a second ago: one tries",
		 {.wanted = 5, .cpus = 2, .failures = 1, .since_failure_us = 1000000},
		 1,
		 -1},
		{"and nobody beside it",
		 {.wanted = 5, .have = 1, .starting = 1, .cpus = 2, .failures = 1, .since_failure_us = 1000000},
		 0,
		 -1},
		{"the fourth time", {.wanted = 5, .cpus = 2, .failures = 4, .since_failure_us = 500000}, 0, 7500000},
		{"the hundredth", {.wanted = 5, .cpus = 2, .failures = 100}, 0, 64000000},
		{"failed, but nothing is missing", {.wanted = 1, .have = 1, .cpus = 2, .failures = 1}, 0, -1},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		int64_t next = -2;
		int got = policy_hold(&t[k].h, &next);

		if (got != t[k].want || next != t[k].next)
			printf("%s: got %d, %lld\n", t[k].what, got, (long long)next);
		CHECK(got == t[k].want && next == t[k].next);
	}
}

TEST(admits)
{
	static const struct {
		const char *what;
		struct policy_admission a;
		bool want;
	} t[] = {
		{"none is reserved for anybody", {.reserved = 0}, false},
		{"the first of one", {.reserved = 1}, true},
		{"the second of one", {.reserved = 1, .on_demand = 1, .in_flight = 1}, false},
		{"another version has it", {.reserved = 1, .on_demand = 1}, false},
		{"all is provisioned for another version", {.reserved = 1, .provisioned_all = 1}, false},
		{"all is provisioned for this one", {.reserved = 1, .provisioned_all = 1, .provisioned = 1}, true},
		{"beyond what is provisioned, on demand",
		 {.reserved = 3, .provisioned_all = 2, .provisioned = 2, .in_flight = 2},
		 true},
		{"beyond both",
		 {.reserved = 3, .provisioned_all = 2, .provisioned = 2, .in_flight = 3, .on_demand = 1},
		 false},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		if (policy_admits(&t[k].a) != t[k].want)
			printf("%s\n", t[k].what);
		CHECK(policy_admits(&t[k].a) == t[k].want);
	}
}

/* Two floods on a machine for sixteen: whoever has more gives up until nobody has two more than another. */
TEST(shares)
{
	int have[3] = {16, 0, 0}, moves = 0;

	for (bool moved = true; moved;) {
		moved = false;
		for (int from = 0; from < 3; from++)
			for (int to = 0; to < 3; to++)
				if (policy_yields(have[from], have[to])) {
					have[from]--;
					have[to]++;
					moves++;
					moved = true;
				}
	}
	for (int k = 0; k < 3; k++)
		CHECK(have[k] == 5 || have[k] == 6);
	CHECK(moves < 16); /* it comes to rest */
}
