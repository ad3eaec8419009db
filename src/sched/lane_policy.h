/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a workload with lane: auto moves. No clock: requests are counted by looks, and this says when the next one is.
 *
 * Looks add up to a window. It is over when its rate is surely on one side of the break-even, or when so many requests were
 * to be expected at it that neither side is sure: then it hovers. Sure is beyond both errors, that of the break-even, at least
 * a tenth, and that of counting so few requests. A window on the other lane's side is a vote for it; POLICY_LANE_VOTES in a
 * row move the workload, any other one makes them begin anew. So a rate at the line never moves it, nor does a burst of less than a
 * minute. Each move doubles the time between looks; an hour without one halves it again.
 */
#pragma once
#include <stdint.h>
#include "sched/lane_model.h"

#define POLICY_LANE_VOTES  6
#define POLICY_LANE_SAMPLE 20 /* requests that must have been measured */

struct policy_lane_state { /* zero at first, but for lane */
	enum lane lane;
	double requests; /* in this window */
	int64_t window_us;
	double rate; /* of it */
	int votes, moves;
	int64_t calm_us; /* since the last move, or since one was forgotten */
};
enum lane_move {
	LANE_STAY,   /* this lane costs less */
	LANE_HOVERS, /* neither does for sure, as far as the window has gone */
	LANE_WAITS,  /* the other one does, and not for long enough yet */
	LANE_MOVES,  /* to the other one, now */
	LANE_MOVE_N
};
/* So many requests came within us since the last look. */
enum lane_move policy_lane_see(struct policy_lane_state *s, const struct lane_break_even *b, double requests,
			       int64_t us);
void policy_lane_moved(struct policy_lane_state *s, enum lane to);
int64_t policy_lane_look_us(const struct policy_lane_state *s);
