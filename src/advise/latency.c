/* SPDX-License-Identifier: Apache-2.0 */
/* How long requests wait in each lane: simulated, by the object file of the daemon's policy. */
#include <math.h>
#include <stdio.h>
#include "advise/advise.h"
#include "advise/lanes.h"
#include "advise/traffic.h"

#define CALLS	 20000 /* p99 within some percent, in milliseconds */
#define OPEN_MAX 300.0 /* at once: more would fill the simulation with instances, and show nothing else */
#define TIME_MAX 3e7   /* s */
#define PERIOD_S 600.0 /* of bursts, for nobody says how long they are */

static void dist_of(struct dist *d, const struct known *n)
{
	dist_points(d, (double[]){0, 50, 100}, (double[]){n->low * 1e6, n->v * 1e6, n->high * 1e6}, 3);
}

static struct traffic *traffic_of(const struct facts *f)
{
	double rate = f->n[FACT_RATE].v, peak = f->n[FACT_PEAK].v;
	struct traffic *t = NULL;
	char spec[128];

	if (f->word[WORD_PATTERN] == PATTERN_BURSTY && peak > 1.01 * rate)
		snprintf(spec, sizeof(spec), "burst:0,%.9f,%.6fs/%.6fs", peak, PERIOD_S * rate / peak, PERIOD_S);
	else
		snprintf(spec, sizeof(spec), "%s:%.9f",
			 f->word[WORD_PATTERN] == PATTERN_SCHEDULED ? "steady" : "poisson", rate);
	return traffic_parse(spec, 1, &t, NULL) < 0 ? NULL : t;
}

void advise_latency(const struct facts *f, struct advice *a)
{
	const struct known *n = f->n;
	double wall = n[FACT_DURATION].v, percent[FACT_SPREAD], us[FACT_SPREAD], until;
	struct dist service, start;
	struct traffic *t;

	if (a->none || (a->job && !a->worker) || !(n[FACT_RATE].v * CALLS > 1 / TIME_MAX) ||
	    n[FACT_PEAK].v * wall > OPEN_MAX)
		return;
	for (int i = 0; i < FACT_SPREAD; i++)
		percent[i] = fact_spread[i], us[i] = f->spread_s[i] * 1e6;
	if (us[FACT_SPREAD - 1] > 0)
		dist_points(&service, percent, us, FACT_SPREAD);
	else
		dist_of(&service, &n[FACT_DURATION]);
	dist_of(&start, &n[FACT_START]);
	t = traffic_of(f);
	until = fmin(fmax(CALLS / n[FACT_RATE].v, 50 * n[FACT_LONGEST].v), TIME_MAX);
	for (enum lane l = 0; t && l < LANE_VM; l++) {
		struct lane_run_in in = {.lane = l,
					 .seats = (int)n[FACT_SEATS].v,
					 .vcpu = fmax(n[FACT_VCPU].v, 1),
					 .cpu_share = fmin(n[FACT_CPU].v / wall, 1),
					 .start_cpu_s = n[FACT_START].v,
					 .service = &service,
					 .start = &start,
					 .keep_us = -1,
					 .held_bytes = (int64_t)fmin(n[FACT_MEMORY].v, 1e15),
					 .seat_bytes = (int64_t)fmin(n[FACT_SEAT].v, 1e15),
					 .seed = 1};
		struct lane_run_out out;

		if (l == LANE_CONTAINER && f->flags & FLAG_TO_ZERO)
			continue; /* it would sleep, too */
		traffic_again(t);
		lane_run(&in, t, (int64_t)(until * 1e6), &out);
		if (!out.calls)
			continue;
		a->simulated[l] = true;
		a->cold_share[l] = (double)out.cold / (double)out.calls;
		a->latency_p99_s[l] = (double)out.latency.p99_us / 1e6;
	}
	traffic_free(t);
}
