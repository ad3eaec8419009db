/* SPDX-License-Identifier: Apache-2.0 */
#include "advise/measure.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"

/* Times between calls (or calls in a minute) that differ by more than this, squared and beside their mean, are bursts:
 * independent ones have 1. */
#define BURSTY 4.0

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void measure_mean(struct facts *f, enum fact what, const double *v, size_t n, double instances)
{
	struct moments s = {0};

	for (size_t i = 0; i < n; i++)
		moments_add(&s, v[i]);
	if (!n)
		return;
	f->n[what] = instances > 0 ? known_held(&s, instances) : known_mean(&s);
	f->known |= 1u << what;
}

/* The variance of one beside the mean, squared: of independent times between calls 1. */
static double dispersion(const double *v, size_t n, double *ret_mean)
{
	double mean = 0, squares = 0;

	for (size_t i = 0; i < n; i++)
		mean += v[i] / (double)n, squares += v[i] * v[i] / (double)n;
	*ret_mean = mean;
	return n > 1 && mean > 0 ? fmax(squares / mean / mean - 1, 0) * (double)n / (double)(n - 1) : 0;
}

void measure_durations(struct facts *f, double *v, size_t n)
{
	if (!n)
		return;
	for (size_t i = 0; i < n; i++)
		v[i] = fmax(v[i], 1e-6);
	measure_mean(f, FACT_DURATION, v, n, 0);
	qsort(v, n, sizeof(*v), by_size);
	facts_set(f, FACT_LONGEST, v[n - 1], v[n - 1], v[n - 1], KNOWN_MEASURED);
	for (int i = 0; i < FACT_SPREAD; i++)
		f->spread_s[i] = v[(size_t)(fact_spread[i] / 100.0 * (double)(n - 1))];
}

/* count calls within time_s, with that dispersion; peak: the rate while there are many. */
static void set_rate(struct facts *f, double count, double time_s, double dispersion, double peak)
{
	double rate = count / time_s, wide = KNOWN_Z_95 * sqrt(fmax(dispersion, 1) / fmax(count, 1));

	facts_set(f, FACT_RATE, rate, rate / exp(wide), rate * exp(wide), KNOWN_MEASURED);
	f->events = count;
	f->over_s = time_s;
	f->said |= 1u << WORD_PATTERN;
	f->word[WORD_PATTERN] = PATTERN_STEADY;
	if (dispersion > BURSTY && peak > rate) {
		f->word[WORD_PATTERN] = PATTERN_BURSTY;
		facts_set(f, FACT_PEAK, peak, peak / 1.5, peak * 1.5, KNOWN_MEASURED);
	}
}

void measure_times(struct facts *f, double *at_s, size_t n, double from_s, double now_s)
{
	auto_free double *gap = NULL;
	double half = 0, mean, differ;

	if (!n)
		return;
	qsort(at_s, n, sizeof(*at_s), by_size);
	from_s = fmin(from_s, at_s[0]), now_s = fmax(now_s, at_s[n - 1]);
	if (!(now_s > from_s))
		return;
	gap = xcalloc(n, sizeof(*gap));
	for (size_t i = 0; i + 1 < n; i++)
		gap[i] = fmax(at_s[i + 1] - at_s[i], 0);
	differ = dispersion(gap, n - 1, &mean);
	qsort(gap, n - 1, sizeof(*gap), by_size);
	for (size_t i = 0; i < n / 2; i++)
		half += gap[i];
	/* Of independent calls the shorter half of the times between takes 0.307 of what half of the time is. */
	set_rate(f, (double)n, now_s - from_s, differ, half > 0 ? 0.307 * (double)(n / 2) / half : 0);
}

void measure_none(struct facts *f, double time_s)
{
	if (!(time_s > 0))
		return;
	facts_set(f, FACT_RATE, 0, 0, 3 / time_s, KNOWN_MEASURED);
	f->over_s = time_s;
}

void measure_sums(struct facts *f, double n, double duration_s, double cpu_s, double time_s)
{
	double wide = exp(KNOWN_Z_95 / sqrt(fmax(n, 1))), each = fmax(duration_s / fmax(n, 1), 1e-6),
	       cpu = cpu_s / fmax(n, 1);

	if (!(n >= 1) || !(time_s > 0))
		return;
	set_rate(f, n, time_s, 1, 0);
	facts_set(f, FACT_DURATION, each, each / wide, each * wide, KNOWN_MEASURED);
	cpu = fmin(cpu, each); /* its starts are in the sum, too */
	facts_set(f, FACT_CPU, cpu, cpu / wide / 2, cpu * wide, KNOWN_MEASURED);
}

void measure_trace(struct facts *f, const struct trace_function *t)
{
	double minutes[TRACE_MINUTES_MAX], calls = 0, many, held, mean, differ, average = (double)t->average_us / 1e6;

	for (int i = 0; i < t->minutes; i++)
		calls += minutes[i] = t->calls[i];
	snprintf(f->name, sizeof(f->name), STR_FMT, STR_ARG(t->name));
	for (char *p = f->name; *p; p++) /* it is printed, and names a file */
		*p = *p > ' ' && *p < 0x7f ? *p : '?';
	if (!(calls > 0))
		return;
	differ = dispersion(minutes, (size_t)t->minutes, &mean);
	qsort(minutes, (size_t)t->minutes, sizeof(*minutes), by_size);
	many = minutes[t->minutes - 1 - t->minutes / 20];
	set_rate(f, calls, t->minutes * 60.0, differ * mean, fmax(many, mean) / 60);
	held = fmax((double)t->held_bytes, 65536); /* as in a declaration: nothing runs in no memory */
	facts_set(f, FACT_MEMORY, held, held, held, KNOWN_MEASURED);
	average = fmax(average, 1e-6);
	facts_set(f, FACT_DURATION, average, average, average, KNOWN_MEASURED);
	/* The trace has its own percentiles; the largest of an hour-long day's is the longest. */
	average = fmax((double)t->duration_us[TRACE_POINTS - 1] / 1e6, average);
	facts_set(f, FACT_LONGEST, average, average, average, KNOWN_MEASURED);
	f->spread_s[0] = (double)t->duration_us[0] / 1e6;
	f->spread_s[1] = (double)t->duration_us[3] / 1e6;
	f->spread_s[2] = (double)t->duration_us[4] / 1e6 * 0.2 + (double)t->duration_us[5] / 1e6 * 0.8;
	f->spread_s[3] = (double)t->duration_us[5] / 1e6;
	f->spread_s[4] = (double)t->duration_us[6] / 1e6;
}
