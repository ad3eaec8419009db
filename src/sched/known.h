/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A number that is not known exactly: its value, where it is with 95 %, and who says so; and from sums of what was measured
 * such a number. What is measured here is positive and leans to one side (times, memory), so that the range of a mean goes by
 * factors: Student's t of the standard error beside the mean, up to KNOWN_FACTOR_MAX to both sides, which is also what is known of
 * a single value. Tests: tests/sched/test_lane_model.c, which draws.
 */
#pragma once

enum known_from { KNOWN_ASSUMED, KNOWN_DECLARED, KNOWN_SIMULATED, KNOWN_MEASURED, KNOWN_FROM_N };
extern const char *const known_from_name[KNOWN_FROM_N];
struct known {
	double v, low, high;
	enum known_from from;
};
struct moments {
	double n, sum, squares;
};
#define KNOWN_Z_95	 1.959964
#define KNOWN_FACTOR_MAX 20
#define MOMENTS_MAX	 4096 /* then all that was added counts half */

void moments_add(struct moments *s, double x);
double moments_mean(const struct moments *s);	  /* of n 0: 0 */
double known_student(double n);			  /* Student's t of n values, 95 %; n 1: infinite */
struct known known_mean(const struct moments *s); /* of n 0: all 0 */
/* What an instance holds, on average over all: n looks at so many instances. Looks at one are much the same; others hold other
 * amounts, by a tenth at least (assumed). */
struct known known_held(const struct moments *s, double instances);
struct known known_within(double v, double factor, enum known_from from); /* v / factor to v * factor */
struct known known_less(struct known a, struct known b); /* a - b, as if independent; never below 0; a high 0: all 0 */
