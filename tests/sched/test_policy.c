/* SPDX-License-Identifier: Apache-2.0 */
#include "base/def.h"
#include "sched/policy.h"
#include "tests/test.h"

TEST(place)
{
	static const struct {
		const char *what;
		struct policy_load l;
		enum policy_move want;
	} t[] = {
		{"an idle one is used", {.idle = 1, .waiting = 1, .room = 5, .queue_max = 10, .cpus = 2}, POLICY_REUSE},
		{"nothing runs: start", {.waiting = 1, .room = 5, .queue_max = 10, .cpus = 2}, POLICY_START},
		{"one is on its way for each that waits",
		 {.starting = 2, .waiting = 2, .room = 5, .queue_max = 10, .cpus = 2},
		 POLICY_WAIT},
		{"two wait, one is on its way",
		 {.starting = 1, .waiting = 2, .room = 5, .queue_max = 10, .cpus = 2},
		 POLICY_START},
		{"no room", {.waiting = 1, .room = 0, .queue_max = 10, .cpus = 2}, POLICY_WAIT},
		{"own limit reached",
		 {.busy = 3, .waiting = 1, .max_instances = 3, .room = 9, .queue_max = 10, .cpus = 2},
		 POLICY_WAIT},
		{"queue full", {.busy = 3, .waiting = 11, .room = 9, .queue_max = 10, .cpus = 2}, POLICY_REFUSE},
		{"handlers of 100 us on all processors: waiting is shorter",
		 {.busy = 2,
		  .waiting = 30,
		  .room = 9,
		  .queue_max = 100,
		  .cpus = 2,
		  .handler_us = 100,
		  .start_us = 20000},
		 POLICY_WAIT},
		{"the same, but the head has waited longer than a start takes",
		 {.busy = 2,
		  .waiting = 30,
		  .room = 9,
		  .queue_max = 100,
		  .cpus = 2,
		  .handler_us = 100,
		  .start_us = 20000,
		  .oldest_wait_us = 20000},
		 POLICY_START},
		{"handlers of 1 s: start",
		 {.busy = 2,
		  .waiting = 1,
		  .room = 9,
		  .queue_max = 100,
		  .cpus = 2,
		  .handler_us = 1000000,
		  .start_us = 20000},
		 POLICY_START},
		{"the same, one is on its way already",
		 {.busy = 3,
		  .starting = 1,
		  .waiting = 30,
		  .room = 9,
		  .queue_max = 100,
		  .cpus = 2,
		  .handler_us = 100,
		  .start_us = 20000,
		  .oldest_wait_us = 20000},
		 POLICY_WAIT},
		{"one works, and events have waited for as long as a start takes",
		 {.busy = 1,
		  .waiting = 30,
		  .room = 9,
		  .queue_max = 100,
		  .cpus = 2,
		  .handler_us = 30,
		  .start_us = 20000,
		  .oldest_wait_us = 900,
		  .backlog_us = 20000},
		 POLICY_START},
		{"one more than processors work already: waiting without a break changes nothing",
		 {.busy = 3,
		  .waiting = 30,
		  .room = 9,
		  .queue_max = 100,
		  .cpus = 2,
		  .handler_us = 30,
		  .start_us = 20000,
		  .oldest_wait_us = 900,
		  .backlog_us = 900000},
		 POLICY_WAIT},
		{"... unless the handler waits for something itself",
		 {.busy = 3,
		  .waiting = 29,
		  .room = 9,
		  .queue_max = 100,
		  .cpus = 2,
		  .handler_us = 400,
		  .off_cpu_us = 350,
		  .start_us = 20000,
		  .oldest_wait_us = 900,
		  .backlog_us = 20000},
		 POLICY_START},
		{"one idle, one more than processors at work with short handlers: switches are no progress",
		 {.idle = 1,
		  .busy = 3,
		  .waiting = 1,
		  .room = 9,
		  .queue_max = 100,
		  .cpus = 2,
		  .handler_us = 100,
		  .start_us = 20000},
		 POLICY_WAIT},
		{"the same, but the head has waited longer than a start takes",
		 {.idle = 1,
		  .busy = 3,
		  .waiting = 1,
		  .room = 9,
		  .queue_max = 100,
		  .cpus = 2,
		  .handler_us = 100,
		  .start_us = 20000,
		  .oldest_wait_us = 20000},
		 POLICY_REUSE},
		{"the same with handlers of 10 ms: processors are shared",
		 {.idle = 1,
		  .busy = 3,
		  .waiting = 1,
		  .room = 9,
		  .queue_max = 100,
		  .cpus = 2,
		  .handler_us = 10000,
		  .start_us = 20000},
		 POLICY_REUSE},
		{"not measured yet: start",
		 {.busy = 2, .waiting = 1, .room = 9, .queue_max = 100, .cpus = 2},
		 POLICY_START},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		enum policy_move got = policy_place(&t[k].l);

		if (got != t[k].want)
			printf("%s: got %d, want %d\n", t[k].what, got, t[k].want);
		CHECK(got == t[k].want);
	}
}

TEST(rest)
{
	static const struct {
		struct policy_idle i;
		enum policy_idle_move want;
		int64_t next;
	} t[] = {
		{{.idle_us = 0}, POLICY_KEEP, 50000},
		{{.idle_us = 50000}, POLICY_FREEZE, 600000000},
		{{.idle_us = 60000, .frozen = true}, POLICY_KEEP, 600000000},
		{{.idle_us = 600000000, .frozen = true}, POLICY_STOP, -1},
		{{.idle_us = 0, .stale = true}, POLICY_STOP, -1},
		{{.idle_us = 0, .pressed = true}, POLICY_STOP, -1},
		{{.idle_us = 2000000, .keep_us = 1000000, .frozen = true}, POLICY_STOP, -1},
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
	CHECK(policy_blanks(0, 0, 32) == 3);
	CHECK(policy_blanks(400, 0, 32) == 32);
}
