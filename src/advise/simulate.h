/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls on virtual time, decided by the object file that decides in the daemon (sched/policy.c): what a way of keeping
 * instances costs in memory that waits, and in calls that wait.
 *
 * What the model says: functions do not disturb each other, and the machine has room for all instances; a call takes
 * as long as the trace says, however many run; calls of a minute come at times drawn evenly over it (from a seed: the
 * same for all ways that are compared); a start takes base + per MB held, always the same. An instance that starts or
 * works is not idle. An event takes the idle instance used last, waits or starts one: policy_place, as in
 * sched/workload.c. A call costs some 40 ns in each way. Tests: tests/advise.
 */
#pragma once
#include "advise/lanes.h"
#include "advise/trace.h"

struct simulate_start {
	double base_ms, ms_per_mb;
};
enum simulate_rule {
	SIMULATE_KEEP,	    /* for keep_us */
	SIMULATE_FORESIGHT, /* holds nothing that is not used again within keep_us: the best that one who knows the
			       calls can do at the same price of memory and waiting */
	SIMULATE_HYBRID,    /* advise/hybrid.h; keep_us is not looked at */
};
struct simulate_way {
	enum simulate_rule rule;
	int64_t keep_us;	     /* as keep: of the file; -1: policy_keep_us */
	struct simulate_start start; /* of one instance */
	const struct dist *starts;   /* instead, when not NULL */
	int min, max;		     /* instances; max 0: no limit */
};
struct simulate_use {
	int64_t calls, cold, refused, starts; /* cold: the first call of its instance */
	double busy_s, start_s, held_s;	      /* of instances: at work, starting, and from start to end */
	double vain_s;			      /* idle before an end instead of a call */
	double held_byte_s, busy_byte_s, idle_byte_s, vain_byte_s;
	int64_t instances_most; /* of one function */
};
struct simulate_result {
	struct simulate_use use;
	struct lane_times added, latency; /* from arrival to handler, and to its end */
	double held_most_bytes;		  /* in the minute that held most */
};

struct simulate;
struct simulate *simulate_new(const struct simulate_way *ways, size_t n, uint64_t seed); /* ways: borrowed */
/* One function under all ways: its calls in order of time, then the end of the time that is looked at. */
void simulate_open(struct simulate *s, int64_t held_bytes);
void simulate_call(struct simulate *s, int64_t at_us, int64_t duration_us);
void simulate_close(struct simulate *s, int64_t end_us);
/* The calls of the minutes from..to-1, in order of time from the first of them on. */
void simulate_draw(const struct trace_function *f, int from, int to, uint64_t *random,
		   void (*call)(void *arg, int64_t at_us, int64_t duration_us), void *arg);
/* The same with a recorded day. */
void simulate_function(struct simulate *s, const struct trace_function *f);
/* What the function that was closed last took. */
void simulate_last(const struct simulate *s, size_t way, struct simulate_use *ret);
/* All functions until now. */
void simulate_result(const struct simulate *s, size_t way, struct simulate_result *ret);
void simulate_free(struct simulate *s);
