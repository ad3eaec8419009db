/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/known.h"

#include <math.h>

#define HELD_DIFFERS 0.1

const char *const known_from_name[KNOWN_FROM_N] = {"assumed", "declared", "simulated", "measured"};

void moments_add(struct moments *s, double x)
{
	if (s->n >= MOMENTS_MAX)
		*s = (struct moments){s->n / 2, s->sum / 2, s->squares / 2};
	s->n++;
	s->sum += x;
	s->squares += x * x;
}

double moments_mean(const struct moments *s)
{
	return s->n > 0 ? s->sum / s->n : 0;
}

double known_student(double n)
{
	double x = n > 1 ? 1 / (n - 1) : INFINITY;

	/* Cornish and Fisher's series: of two values 11.3, which should be 12.7. */
	return KNOWN_Z_95 + x * (2.3723 + x * (2.8225 + x * (2.5559 + x * 1.5896)));
}

/* Of one value, beside the mean, squared. */
static double variance(const struct moments *s, double mean)
{
	return s->n > 1 && mean > 0 ? fmax(s->squares / s->n / mean / mean - 1, 0) * s->n / (s->n - 1) : 0;
}

struct known known_within(double v, double factor, enum known_from from)
{
	factor = fmin(factor, KNOWN_FACTOR_MAX);
	return (struct known){v, v / factor, v * factor, from};
}

struct known known_mean(const struct moments *s)
{
	double mean = moments_mean(s);

	if (s->n <= 1)
		return known_within(mean, KNOWN_FACTOR_MAX, KNOWN_MEASURED);
	return known_within(mean, exp(known_student(s->n) * sqrt(variance(s, mean) / s->n)), KNOWN_MEASURED);
}

struct known known_held(const struct moments *s, double instances)
{
	double mean = moments_mean(s), differs = fmax(HELD_DIFFERS, sqrt(variance(s, mean)));

	return known_within(mean, exp(KNOWN_Z_95 * differs / sqrt(fmax(fmin(instances, s->n), 1))), KNOWN_MEASURED);
}

struct known known_less(struct known a, struct known b)
{
	double v = fmax(a.v - b.v, 0);

	if (!(a.high > 0)) /* else what nobody has measured would be known to be little */
		return (struct known){0};
	return (struct known){v, fmax(v - hypot(a.v - a.low, b.high - b.v), 0), v + hypot(a.high - a.v, b.v - b.low),
			      a.from < b.from ? a.from : b.from};
}
