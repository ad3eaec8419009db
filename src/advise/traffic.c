/* SPDX-License-Identifier: Apache-2.0 */
#include "advise/traffic.h"
#include <math.h>
#include "advise/chance.h"
#include "base/mem.h"
#include "base/str.h"

#define MINUTE_US	60000000ll
#define MINUTES_PER_DAY 1440
#define RATE_MAX	1e6
#define TIME_MAX_US	(366 * 86400e6)

/* The rate is constant for a while, then the next one's; after the last comes the first again. */
struct stretch {
	double per_us, us;
};

struct traffic {
	bool even; /* requests come as evenly as they can: no chance */
	uint64_t seed, random;
	size_t n_stretches, stretch;
	double begin_us, spent_us; /* of the present stretch: when it began, how much of it is over */
	double cycle_n, cycle_us;  /* all stretches together: requests and time */
	struct stretch *stretches;
	const int64_t *recorded;
	size_t n_recorded, next_recorded;
};

/* r: a rate; t: a time; anything else stands for itself. */
static const struct kind {
	const char *name, *form, *example;
} kinds[] = {
	{"steady", "r", "steady:20"},
	{"poisson", "r", "poisson:20"},
	{"burst", "r,r,t/t", "burst:5,200,30s/10m"},
	{"daily", "r,r", "daily:2,40"},
};
enum { STEADY, POISSON, BURST, DAILY };

static const char *number(const char *p, char what, double *ret)
{
	static const struct {
		const char *unit;
		double s;
	} units[] = {{"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
	char *end;
	double v = strtod(p, &end);

	if (end == p || *p == '-' || *p == '+' || !isfinite(v))
		return NULL;
	if (what == 'r') {
		*ret = v / 1e6;
		return v <= RATE_MAX ? end : NULL;
	}
	for (size_t k = 0; k < ARRAY_SIZE(units); k++) {
		size_t n = strlen(units[k].unit);

		if (strncmp(end, units[k].unit, n) || (end[n] && end[n] != '/'))
			continue;
		*ret = v * units[k].s * 1e6;
		return *ret >= 1 && *ret <= TIME_MAX_US ? end + n : NULL;
	}
	return NULL;
}

static bool numbers(const char *p, const char *form, double *ret)
{
	for (; p && *form; form++)
		if (*form == 'r' || *form == 't')
			p = number(p, *form, ret++);
		else
			p = *p == *form ? p + 1 : NULL;
	return p && !*p;
}

static void stretch(struct traffic *t, double per_us, double us)
{
	t->stretches[t->n_stretches++] = (struct stretch){per_us, us};
	t->cycle_n += per_us * us;
	t->cycle_us += us;
}

/* NULL: nothing would ever come, or the burst is longer than what it is part of. */
static struct traffic *make(int kind, const double *v, uint64_t seed)
{
	struct traffic *t;

	if (kind == BURST   ? v[2] > v[3] || v[0] * (v[3] - v[2]) + v[1] * v[2] <= 0
	    : kind == DAILY ? v[0] + v[1] <= 0
			    : v[0] <= 0)
		return NULL;
	t = xcalloc(1, sizeof(*t));
	t->even = kind == STEADY;
	t->seed = t->random = seed;
	t->stretches = xcalloc(MINUTES_PER_DAY, sizeof(*t->stretches));
	if (kind == BURST) {
		stretch(t, v[1], v[2]);
		if (v[3] > v[2])
			stretch(t, v[0], v[3] - v[2]);
	} else if (kind == DAILY) {
		for (int m = 0; m < MINUTES_PER_DAY; m++)
			stretch(t, v[0] + (v[1] - v[0]) * (1 - cos(2 * M_PI * (m + 0.5) / MINUTES_PER_DAY)) / 2,
				MINUTE_US);
	} else {
		stretch(t, v[0], INFINITY);
	}
	return t;
}

int traffic_parse(const char *spec, uint64_t seed, struct traffic **ret, struct err *e)
{
	const char *colon = strchr(spec, ':');

	for (size_t k = 0; colon && k < ARRAY_SIZE(kinds); k++) {
		double v[4] = {0};
		struct traffic *t;

		if (!str_eqc((struct str){spec, (size_t)(colon - spec)}, kinds[k].name))
			continue;
		if (!numbers(colon + 1, kinds[k].form, v))
			return err_set(
				e, ERR_INVALID,
				"traffic \"%.100s\" is not like %s (rates up to %.0f/s; times like 30s, 10m, 2h)", spec,
				kinds[k].example, RATE_MAX);
		t = make((int)k, v, seed);
		if (!t)
			return err_set(e, ERR_INVALID, "traffic \"%.100s\": %s", spec,
				       k == BURST && v[2] > v[3]
					       ? "a burst is longer than the time from one to the next"
					       : "a rate is above 0");
		*ret = t;
		return 0;
	}
	return err_set(
		e, ERR_INVALID,
		"traffic \"%.100s\" is not steady:RATE, poisson:RATE, burst:LOW,HIGH,LENGTH/EVERY or daily:LOW,HIGH",
		spec);
}

struct traffic *traffic_recorded(const int64_t *at_us, size_t n)
{
	struct traffic *t = xcalloc(1, sizeof(*t));

	t->recorded = at_us;
	t->n_recorded = n;
	return t;
}

bool traffic_next(struct traffic *t, int64_t *ret_at_us)
{
	double wait;

	if (!t->stretches) {
		if (t->next_recorded == t->n_recorded)
			return false;
		*ret_at_us = t->recorded[t->next_recorded++];
		return true;
	}
	/* So many requests from now: one, or as many as an exponential draw says. */
	wait = t->even ? 1 : -log1p(-chance_unit(&t->random));
	if (wait > t->cycle_n) {
		double cycles = floor(wait / t->cycle_n);

		wait = fmax(0, wait - cycles * t->cycle_n);
		t->begin_us += cycles * t->cycle_us;
		if (t->begin_us >
		    TIME_MAX_US) /* what is left by rounding may be more cycles than can be gone through */
			return false;
	}
	for (;;) {
		const struct stretch *s = &t->stretches[t->stretch];
		double left = s->per_us * (s->us - t->spent_us);

		if (wait < left || s->us == INFINITY)
			break;
		wait -= left;
		t->begin_us += s->us;
		t->spent_us = 0;
		t->stretch = (t->stretch + 1) % t->n_stretches;
	}
	if (wait > 0)
		t->spent_us += wait / t->stretches[t->stretch].per_us;
	if (t->begin_us + t->spent_us > TIME_MAX_US)
		return false;
	*ret_at_us = (int64_t)(t->begin_us + t->spent_us);
	return true;
}

void traffic_again(struct traffic *t)
{
	t->random = t->seed;
	t->stretch = t->next_recorded = 0;
	t->begin_us = t->spent_us = 0;
}

double traffic_mean(const struct traffic *t)
{
	double us;

	if (t->stretches)
		return (t->n_stretches > 1 ? t->cycle_n / t->cycle_us : t->stretches[0].per_us) * 1e6;
	us = t->n_recorded ? (double)(t->recorded[t->n_recorded - 1] - t->recorded[0]) : 0;
	return us > 0 ? (double)(t->n_recorded - 1) * 1e6 / us : 0;
}

void traffic_free(struct traffic *t)
{
	if (t)
		free(t->stretches);
	free(t);
}
