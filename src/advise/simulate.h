/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls on virtual time, decided by the object file that decides in the daemon (sched/policy.c): what a way of keeping
 * instances costs in memory that waits, and in calls that wait.
 *
 * What the model says: functions do not disturb each other, and the machine has room for all instances; a call takes
 * as long as the trace says, however many run; calls of a minute come at times drawn evenly over it (from a seed: the
 * same for all ways that are compared); a start takes base + per MB held, always the same. An instance that starts or
 * works is not idle. An event takes the idle instance used last, waits or starts one: policy_place, as in
 * sched/workload.c. Tests: tests/advise.
 */
#pragma once
#include "advise/trace.h"

struct simulate_start {
	double base_ms, ms_per_mb;
};
struct simulate_way {
	const char *name;
	int64_t keep_us;	     /* as keep: of the file; -1: policy_keep_us */
	struct simulate_start start; /* of one instance */
	bool foresight;		     /* holds nothing that is not used again: the best that one who knows the calls
					can do at the same price of memory and waiting */
};
struct simulate_result {
	int64_t calls, cold, refused; /* cold: the first call of its instance */
	double idle_gb_s;	      /* held minus busy */
	double vain_gb_s;	      /* of it, before an end instead of a call */
	double busy_gb_s;
	int64_t added_p50_us, added_p99_us, added_max_us; /* from arrival to handler; within 3 % */
};

struct simulate;
struct simulate *simulate_new(const struct simulate_way *ways, size_t n, uint64_t seed); /* ways: borrowed */
/* One function under all ways: its calls in order of time, then the end of the time that is looked at. */
void simulate_open(struct simulate *s, int64_t held_bytes);
void simulate_call(struct simulate *s, int64_t at_us, int64_t duration_us);
void simulate_close(struct simulate *s, int64_t end_us);
/* The same with a recorded day. */
void simulate_function(struct simulate *s, const struct trace_function *f);
/* All functions until now. */
void simulate_result(const struct simulate *s, size_t way, struct simulate_result *ret);
void simulate_free(struct simulate *s);
