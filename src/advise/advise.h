/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which lane a workload belongs in: hard facts first (rules.h), then what is left by cost, at this machine's price or a
 * cloud's, with the rate from which on the container lane costs less. docs/deciding.md has the model in words.
 *
 * Always true: no lane that a hard fact takes away is ever chosen, and at the same facts a higher rate never leads from
 * the container lane to the function lane: the choice is the rate against one number that does not depend on it.
 * Pure: no clock, no file. Tests: tests/advise/test_advise.c.
 */
#pragma once
#include "advise/rules.h"
#include "base/lane.h"
#include "sched/lane_model.h"

enum place { PLACE_HERE, PLACE_AWS, PLACE_EC2, PLACE_GCP, PLACE_AZURE, PLACE_N };
extern const char *const place_name[PLACE_N];

struct advise_market {
	const struct prices *prices;
	struct price_machine machine; /* PLACE_HERE */
	enum price_arch arch;
	double vcpus, memory_bytes; /* of this machine */
	enum place decides;	    /* whose price chooses */
};

#define ADVISE_SURE 0.95 /* so sure a container must cost less before it is chosen: a function keeps nothing up */

struct advise_place {
	bool function, container;    /* can it be had there? */
	enum price_offer offer[2];   /* but PLACE_HERE */
	double usd_hour[LANE_VM];    /* at the present rate */
	struct lane_break_even even; /* crosses: false also where one of them cannot be had */
	double share[FACT_N];	     /* of the variance of the logarithm of rate over even.rate */
};
struct advice {
	uint64_t hold;	/* rules */
	uint32_t lanes; /* that are left */
	const struct clash *clash;
	bool none; /* nothing is left, or facts exclude each other */
	enum lane lane;
	bool job;    /* runs to an end: in the container lane a task for each, or a worker that is kept up */
	bool worker; /* that */
	bool same;   /* by cost: a run costs the same in both lanes */
	bool unsure; /* a task for each run, for a function's limit may be too small (riskiest), and costs are the same */
	double needs[2];  /* of this machine at this rate, in that lane: CPUs, bytes */
	bool fits;	  /* they are there */
	bool by_cost;	  /* both were left */
	double certainty; /* of the choice by cost: 0.5 to 1 */
	struct advise_place place[PLACE_N];
	enum fact riskiest;
	double risk_share; /* of the variance; 0: no number can change the verdict */
	bool simulated[LANE_VM];
	double cold_share[LANE_VM], latency_p99_s[LANE_VM];
};
/* Adds how long requests wait in each lane, where there are not too many of them to try. Some milliseconds. */
void advise_latency(const struct facts *f, struct advice *a);
void advise(const struct facts *f, const struct advise_market *m, struct advice *ret); /* f: settled */
/* USD an hour; lane: LANE_FUNCTION or LANE_CONTAINER. */
double advise_cost(const struct facts *f, const struct advise_market *m, enum place p, enum lane lane, double rate);
/* What would settle the riskiest assumption: a command for NAME, and what it measures. */
const char *advise_benchmark(enum fact what);
