/* SPDX-License-Identifier: Apache-2.0 */
#include "advise/traffic.h"

#include <math.h>
#include <string.h>

#include "advise/chance.h"
#include "base/mem.h"
#include "tests/test.h"

#define SECOND 1000000ll
#define HOUR   (3600 * SECOND)

/* Requests from..until, of a traffic that was read until there. */
static int64_t count(struct traffic *t, int64_t from_us, int64_t until_us)
{
	int64_t n = 0, last = 0, at;

	traffic_again(t);
	while (traffic_next(t, &at) && at < until_us) {
		CHECK(at >= last);
		last = at;
		n += at >= from_us;
	}
	return n;
}

TEST(rates)
{
	static const struct {
		const char *spec;
		double mean;
		int64_t from_us, until_us;
		double want, within;
	} t[] = {
		{"steady:20", 20, 0, HOUR, 20 * 3600 - 1, 1},
		{"poisson:20", 20, 0, HOUR, 20 * 3600, 3 * 268},
		{"poisson:0.01", 0.01, 0, 1000 * HOUR, 36000, 3 * 190},
		{"burst:5,200,30s/10m", 14.75, 0, 30 * SECOND, 6000, 3 * 77},
		{"burst:5,200,30s/10m", 14.75, 30 * SECOND, 600 * SECOND, 2850, 3 * 53},
		{"burst:5,200,30s/10m", 14.75, 600 * SECOND, 630 * SECOND, 6000, 3 * 77},
		{"burst:0,10,500ms/1h", 10 / 7200.0, 0, 1000 * HOUR, 5000, 3 * 71},
		{"burst:1,2,1m/1m", 2, 0, HOUR, 7200, 3 * 85},
		{"daily:2,40", 21, 0, HOUR, 2.217 * 3600, 3 * 90},
		{"daily:2,40", 21, 11 * HOUR + HOUR / 2, 12 * HOUR + HOUR / 2, 39.9 * 3600, 3 * 379},
		{"daily:0,40", 20, 24 * HOUR, 48 * HOUR, 20 * 86400, 3 * 1314},
		{"burst:0,0.000001,1ms/2ms", 5e-7, 0, 8000 * HOUR, 14, 12}, /* nothing in most turns */
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct traffic *tr = NULL;
		struct err e = {0};
		double n;

		CHECK(traffic_parse(t[k].spec, 1, &tr, &e) == 0);
		CHECK(fabs(traffic_mean(tr) / t[k].mean - 1) < 1e-3);
		n = (double)count(tr, t[k].from_us, t[k].until_us);
		if (fabs(n - t[k].want) > t[k].within)
			printf("%s: %.0f instead of %.0f\n", t[k].spec, n, t[k].want);
		CHECK(fabs(n - t[k].want) <= t[k].within);
		CHECK(count(tr, t[k].from_us, t[k].until_us) == (int64_t)n); /* again the same */
		traffic_free(tr);
	}
}

TEST(refused)
{
	static const struct {
		const char *spec, *says;
	} t[] = {
		{"", "is not steady:RATE"},
		{"poisson", "is not steady:RATE"},
		{"gamma:1", "is not steady:RATE"},
		{"poisson:", "is not like poisson:20"},
		{"poisson:-1", "is not like poisson:20"},
		{"poisson:nan", "is not like poisson:20"},
		{"poisson:inf", "is not like poisson:20"},
		{"poisson:1e7", "rates up to 1000000/s"},
		{"poisson:1,2", "is not like poisson:20"},
		{"poisson:0", "a rate is above 0"},
		{"steady:0", "a rate is above 0"},
		{"burst:1,2,3/4", "is not like burst:5,200,30s/10m"},
		{"burst:1,2,3s", "is not like burst"},
		{"burst:1,2,0s/1m", "is not like burst"},
		{"burst:1,2,2m/1m", "a burst is longer"},
		{"burst:0,0,1m/2m", "a rate is above 0"},
		{"burst:1,2,1m/1000d", "is not like burst"},
		{"daily:0,0", "a rate is above 0"},
		{"daily:1", "is not like daily:2,40"},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct traffic *tr = NULL;
		struct err e = {0};

		CHECK(traffic_parse(t[k].spec, 1, &tr, &e) < 0 && !tr);
		if (!strstr(e.text, t[k].says))
			printf("%s: %s\n", t[k].spec, e.text);
		CHECK(strstr(e.text, t[k].says) != NULL);
	}
}

TEST(recorded)
{
	static const int64_t at[] = {0, 500000, 2 * SECOND};
	struct traffic *t = traffic_recorded(at, 3);
	int64_t us;

	CHECK(traffic_mean(t) == 1 && count(t, 0, INT64_MAX) == 3 && !traffic_next(t, &us));
	traffic_free(t);
}

TEST(distributions)
{
	static const double percent[] = {1, 50, 99}, us[] = {10, 20, 120};
	double samples[] = {5, 1, 3};
	struct dist d;
	uint64_t seed = 1;
	double sum = 0, n = 100000;

	dist_points(&d, percent, us, 3);
	CHECK(dist_percentile(&d, 0) == 10 && dist_percentile(&d, 50) == 20 && dist_percentile(&d, 100) == 120);
	CHECK(fabs(dist_percentile(&d, 74.5) - 70) < 1e-9);
	for (int k = 0; k < n; k++)
		sum += (double)dist_draw(&d, &seed);
	CHECK(fabs(sum / n / dist_mean(&d) - 1) < 0.01);
	dist_samples(&d, samples, 3);
	CHECK(d.us[0] == 1 && dist_percentile(&d, 25) == 2 && d.us[DIST_CELLS] == 5);
	dist_exponential(&d, 1000);
	CHECK(fabs(dist_mean(&d) / 1000 - 1) < 0.001 && fabs(dist_percentile(&d, 99) / 4605 - 1) < 0.001);
	dist_fixed(&d, 7);
	CHECK(dist_draw(&d, &seed) == 7 && dist_mean(&d) == 7);
}
