/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/sample.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

void sample_add(struct sample *s, double v)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 64;
		s->v = xrealloc(s->v, s->cap * sizeof(*s->v));
	}
	s->v[s->n++] = v;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void sample_sort(struct sample *s)
{
	if (s->n)
		qsort(s->v, s->n, sizeof(*s->v), by_value);
}

/* The value of a rank that need not be one: the nearest. */
static double at(const struct sample *s, double rank)
{
	double last = (double)s->n - 1;

	return s->v[(size_t)(rank < 0 ? 0 : rank > last ? last : rank)];
}

struct estimate sample_quantile(const struct sample *s, double q)
{
	double n = (double)s->n, half = KNOWN_Z_95 * sqrt(n * q * (1 - q));

	if (!s->n)
		return (struct estimate){0};
	/* The smallest value that is not below a share of q of all. */
	return (struct estimate){.value = at(s, ceil(n * q) - 1),
				 .low = at(s, floor(n * q - half)),
				 .high = at(s, ceil(n * q + half)),
				 .n = s->n};
}

struct estimate sample_mean(const struct sample *s)
{
	struct moments sums = {0};
	struct known k;

	for (size_t i = 0; i < s->n; i++)
		sums.sum += s->v[i], sums.squares += s->v[i] * s->v[i]; /* none counts half */
	sums.n = (double)s->n;
	k = known_mean(&sums);
	return (struct estimate){k.v, k.low, k.high, s->n};
}

struct known estimate_known(struct estimate v)
{
	return (struct known){v.value, v.low, v.high, KNOWN_MEASURED};
}

void sample_done(struct sample *s)
{
	free(s->v);
	*s = (struct sample){0};
}
