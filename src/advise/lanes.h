/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One workload in one lane, on virtual time: who waits for how long, and what is held for it.
 *
 * Function lane: an instance takes one event at a time; policy_place starts more of them, policy_rest ends them.
 * Container lane: at least max(1, min) instances are there from the beginning to the end; each takes `seats` events at
 * once, which share its processors (vcpu) when they want more than there is: an event is alone as fast as `service`
 * says, and the part of it that works (cpu_share) goes slower as more work beside it. When all seats are taken,
 * policy_place starts one more. Events take a seat of the kept instance with the fewest, else of the other one used
 * last.
 *
 * Not in the model: other workloads, and the machine's end. Costs some 100 ns per event. Tests: tests/advise, against
 * the closed forms of queueing theory.
 */
#pragma once
#include <stdint.h>
#include "advise/chance.h"
#include "base/lane.h"

struct traffic;
enum { LANE_SEATS_MAX = 1024, LANE_INSTANCES_MAX = 4096 };

struct lane_run_in {
	enum lane lane;	  /* LANE_FUNCTION or LANE_CONTAINER */
	int seats;	  /* container lane; less than 1 is 1 */
	int min, max;	  /* instances; max 0: no limit (LANE_INSTANCES_MAX) */
	double vcpu;	  /* of an instance in the container lane; 0: as many as it wants */
	double cpu_share; /* of service, 0 to 1 */
	double start_cpu_s;
	const struct dist *service, *start; /* of an event alone; from the decision to start until it can take one */
	int64_t keep_us;		    /* how long idle ones are kept; -1: policy_keep_us decides */
	int64_t held_bytes, seat_bytes;	    /* of an instance; of each seat beyond the first that was ever taken */
	uint64_t seed;
};
struct lane_times {
	int64_t p50_us, p95_us, p99_us, max_us; /* percentiles within 3 % */
	double mean_us;
};
struct lane_run_out {
	int64_t calls; /* that were over or refused by the end */
	int64_t cold, refused, starts;
	struct lane_times latency, added; /* from arrival to answer; what of it was not `service` */
	int instances_most;
	double busy_s;	    /* with at least one event open, all instances together */
	double instance_s;  /* up, starting included */
	double held_byte_s; /* the memory of it */
	double cpu_s;	    /* of events and starts */
};
/* Takes what comes before until_us, and looks at that time: what is held afterwards is not counted. */
void lane_run(const struct lane_run_in *in, struct traffic *traffic, int64_t until_us, struct lane_run_out *ret);
