/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/lane_policy.h"
#include <math.h>

#define LOOK_US	      10000000ll
#define DOUBLINGS_MAX 6
#define WINDOW_SAMPLE 16 /* requests at the break-even: who is not sure by then hovers */
#define FORGET_US     3600000000ll
#define MARGIN	      1.1
#define ROOT_SHIFT    0.375 /* Anscombe: the root of a Poisson count so shifted has a deviation of 1/2, also of few; */
#define ROOT_ERROR    1.5   /* three of them: a window is looked at several times */

int64_t policy_lane_look_us(const struct policy_lane_state *s)
{
	return LOOK_US << (s->moves < DOUBLINGS_MAX ? s->moves : DOUBLINGS_MAX);
}

static double square(double x)
{
	return x * x;
}

static void begin_window(struct policy_lane_state *s)
{
	s->requests = 0;
	s->window_us = 0;
}

enum lane_move policy_lane_see(struct policy_lane_state *s, const struct lane_break_even *b, double requests,
			       int64_t us)
{
	double n = s->requests += requests, seconds = (double)(s->window_us += us) / 1e6, root = sqrt(n + ROOT_SHIFT);
	bool above = square(fmax(root - ROOT_ERROR, 0)) > b->high * MARGIN * seconds;
	/* Where nobody asks, a function costs nothing: of that the bar's end is no doubt. */
	bool below = square(root + ROOT_ERROR) < (n > 0 ? b->low : b->rate) / MARGIN * seconds;

	for (s->calm_us += us; s->calm_us >= FORGET_US && s->moves; s->calm_us -= FORGET_US)
		s->moves--;
	s->rate = seconds > 0 ? n / seconds : 0;
	if (!above && !below && (b->rate > 0 ? b->rate : b->high) * seconds < WINDOW_SAMPLE)
		return LANE_HOVERS;
	begin_window(s);
	if (s->lane == LANE_FUNCTION ? !above : !below) {
		s->votes = 0;
		return above || below ? LANE_STAY : LANE_HOVERS;
	}
	return ++s->votes < POLICY_LANE_VOTES ? LANE_WAITS : LANE_MOVES;
}

void policy_lane_moved(struct policy_lane_state *s, enum lane to)
{
	s->lane = to;
	s->votes = 0;
	s->calm_us = 0;
	s->moves++;
	begin_window(s);
}
