/* SPDX-License-Identifier: Apache-2.0 */
/* What decides about services: time and load in, numbers out. No clock, no socket; tests are tables (tests/service). */
#pragma once
#include <stdbool.h>
#include "service/service.h"

/* How many instances, by what is open. Growing is at once; shrinking, once idle_us long fewer would have done. */
struct service_slack {	  /* zero at first */
	int64_t since_us; /* fewer would have done from then on; 0: not so */
	int peak;	  /* the most that was open meanwhile */
};
struct service_load {
	int min, max, concurrency, cpu_percent;
	int64_t idle_us;
	int have; /* instances that are not to go: ready or on their way */
	int open; /* requests and tunnels, those that wait too */
	int cpu;  /* percent of what one may use, over all that are ready; -1: not measured */
};
int service_wanted(struct service_slack *s, const struct service_load *l, int64_t now_us, int64_t *ret_next_us);

/* So long after the last of so many failures in a row the next instance is started. */
int64_t service_backoff_us(int failures);
#define SERVICE_STEADY_US 10000000 /* up for so long: its end is the first failure again */
/* One that was up for so long that starting it was little of its life: the same, and who asks is held, not refused. */
int64_t service_steady_us(int64_t start_us);

enum service_move { SERVICE_USE, SERVICE_WAIT, SERVICE_REFUSE };
struct service_line {	     /* of what waits for an instance */
	int ready, starting; /* instances; to be started counts as starting */
	int least;	     /* open at the least loaded one that is ready */
	int concurrency, held, failures;
	bool none; /* will come */
	int64_t waited_us;
};
enum service_move service_place(const struct service_line *l);
#define SERVICE_PATIENCE_US 100000 /* so long work waits for an instance that is on its way while others are full */

/* A rollout: the new revision beside the one that was complete. */
struct rollout_side {
	int have, ready, going;	   /* have: not to go */
	int failed;		   /* of it: ended before they were ready, or while the rollout is watched */
	uint64_t requests, errors; /* since the step began */
	int64_t total_us;	   /* what the requests took */
};
struct rollout_load {
	const struct rollout_spec *spec;
	bool has_old, promote;
	int desired; /* instances that the service is to have */
	int step;    /* 0: the first instances of the new are to become ready */
	int64_t step_us;
	struct rollout_side new, old;
};
enum rollout_move { ROLLOUT_WAIT, ROLLOUT_STEP, ROLLOUT_DONE, ROLLOUT_FAILED };
struct rollout_plan {
	enum rollout_move move;
	int want_new, want_old;
	int weight;	  /* percent of the requests for the new; -1: all that are ready are alike */
	int64_t next_us;  /* ask again after this time; -1: when something happens */
	char reason[160]; /* FAILED */
};
void rollout_plan(const struct rollout_load *l, struct rollout_plan *ret);
