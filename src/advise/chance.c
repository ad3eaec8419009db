/* SPDX-License-Identifier: Apache-2.0 */
#include "advise/chance.h"
#include <math.h>
#include <stdlib.h>

void dist_points(struct dist *d, const double *percent, const double *us, size_t n)
{
	size_t k = 0;

	for (int i = 0; i <= DIST_CELLS; i++) {
		double p = 100.0 * i / DIST_CELLS;

		while (k < n && p > percent[k])
			k++;
		if (k == 0 || k == n)
			d->us[i] = us[k ? n - 1 : 0];
		else
			d->us[i] =
				us[k - 1] + (us[k] - us[k - 1]) * (p - percent[k - 1]) / (percent[k] - percent[k - 1]);
	}
}

void dist_fixed(struct dist *d, double us)
{
	for (int i = 0; i <= DIST_CELLS; i++)
		d->us[i] = us;
}

void dist_exponential(struct dist *d, double mean_us)
{
	for (int i = 0; i < DIST_CELLS; i++)
		d->us[i] = -mean_us * log1p(-(double)i / DIST_CELLS);
	/* The tail has no end; one with the same mean lies two means beyond. */
	d->us[DIST_CELLS] = d->us[DIST_CELLS - 1] + 2 * mean_us;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void dist_samples(struct dist *d, double *us, size_t n)
{
	qsort(us, n, sizeof(*us), by_size);
	for (int i = 0; i <= DIST_CELLS; i++) {
		double at = (double)i * (double)(n - 1) / DIST_CELLS;
		size_t k = (size_t)at;

		d->us[i] = k + 1 < n ? us[k] + (at - (double)k) * (us[k + 1] - us[k]) : us[n - 1];
	}
}

double dist_mean(const struct dist *d)
{
	double sum = (d->us[0] + d->us[DIST_CELLS]) / 2;

	for (int i = 1; i < DIST_CELLS; i++)
		sum += d->us[i];
	return sum / DIST_CELLS;
}

double dist_percentile(const struct dist *d, double percent)
{
	double at = percent / 100 * DIST_CELLS;
	int k = at >= DIST_CELLS ? DIST_CELLS - 1 : (int)at;

	return d->us[k] + (at - k) * (d->us[k + 1] - d->us[k]);
}
