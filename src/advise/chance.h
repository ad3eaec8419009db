/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chance that repeats itself: the same seed draws the same. And how long things take, as the distribution that was
 * measured: percentiles, with straight lines between them. A draw costs some 3 ns. Tests: tests/advise.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* splitmix64 */
static inline uint64_t chance_u64(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static inline double chance_unit(uint64_t *state) /* 0 to 1, excluding 1 */
{
	return (double)(chance_u64(state) >> 11) * 0x1p-53;
}

enum { DIST_CELLS = 1000 };
struct dist {
	double us[DIST_CELLS + 1]; /* never less than the one before */
};
/* percent: from 0 to 100, rising, multiples of 0.1; what is before the first or after the last is as these are. */
void dist_points(struct dist *d, const double *percent, const double *us, size_t n);
void dist_fixed(struct dist *d, double us);
void dist_exponential(struct dist *d, double mean_us); /* for what is declared and not measured */
/* As they were measured: sorts them. n: at least 1. */
void dist_samples(struct dist *d, double *us, size_t n);
double dist_mean(const struct dist *d);
double dist_percentile(const struct dist *d, double percent);
static inline int64_t dist_draw(const struct dist *d, uint64_t *state)
{
	double at = chance_unit(state) * DIST_CELLS;
	int k = (int)at;

	return (int64_t)(d->us[k] + (at - k) * (d->us[k + 1] - d->us[k]) + 0.5);
}
