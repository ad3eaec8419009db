/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of a trace that can be made for real, for simulate_check.c: short ones, of few functions, and not too many. */

#include "advise/traffic.h"
#include "base/mem.h"
#include "cli/simulate.h"

#define NOON		 720 /* minute of a recorded day */
#define AVERAGE_MAX_US	 1000000
#define SLICE_FUNCTIONS	 8
#define SLICE_CALLS_MAX	 20000
#define SLICE_PER_SECOND 100

struct taking {
	struct sim_slice *s;
	int64_t until_us;
};

static void take(void *arg, int64_t at_us, int64_t us)
{
	const struct taking *t = arg;
	struct sim_slice *s = t->s;

	if (at_us >= t->until_us)
		return;
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 256;
		s->calls = xrealloc(s->calls, s->cap * sizeof(*s->calls));
	}
	s->calls[s->n++] = (struct sim_call){at_us, us, s->functions};
}

static int by_time(const void *a, const void *b)
{
	const struct sim_call *x = a, *y = b;

	return (x->at_us > y->at_us) - (x->at_us < y->at_us);
}

static int settle(struct sim_slice *s, const char *what, struct err *e)
{
	if (!s->n)
		return err_set(e, ERR_INVALID,
			       "%s: no call in this time that could be made for real; --for says how long", what);
	if (s->n > SLICE_CALLS_MAX)
		return err_set(e, ERR_LIMIT, "%s: more than %d calls to make for real; --for says how long", what,
			       SLICE_CALLS_MAX);
	qsort(s->calls, s->n, sizeof(*s->calls), by_time);
	return 0;
}

static void trace_free_p(struct trace **t)
{
	trace_free(*t);
}

int sim_slice_folder(struct sim *m, const char *folder, struct sim_slice *ret, struct err *e)
{
	auto_(trace_free_p) struct trace *t = NULL;
	auto_free struct trace_function *f = xmalloc(sizeof(*f));
	const struct taking to = {ret, m->o.for_us};
	const size_t most = (size_t)(m->o.for_us / 1000000 + 1) * SLICE_PER_SECOND;
	int minutes = (int)((m->o.for_us + 59999999) / 60000000), r = trace_open(folder, &t, e);
	uint64_t random = (uint64_t)m->o.seed;

	while (!r && ret->functions < SLICE_FUNCTIONS && (r = trace_next(t, f, e)) > 0) {
		int from = f->minutes > NOON ? NOON : 0;
		size_t before = ret->n;

		r = 0;
		if (f->average_us > AVERAGE_MAX_US)
			continue;
		simulate_draw(f, from, from + minutes, &random, take, (void *)&to);
		if (ret->n > most)
			ret->n = before; /* one that would be most of it */
		ret->functions += ret->n > before;
	}
	return r < 0 ? -1 : settle(ret, folder, e);
}

int sim_slice_traffic(struct sim *m, const char *spec, struct sim_slice *ret, struct err *e)
{
	const struct taking to = {ret, m->o.for_us};
	uint64_t random = (uint64_t)m->o.seed;
	struct traffic *t = NULL;
	struct dist service;
	int64_t at;

	if (sim_service(m->o.service, &service, e) < 0 || traffic_parse(spec, ~random, &t, e) < 0)
		return -1;
	while (ret->n <= SLICE_CALLS_MAX && traffic_next(t, &at) && at < m->o.for_us)
		take((void *)&to, at, dist_draw(&service, &random));
	traffic_free(t);
	ret->functions = 1;
	return settle(ret, spec, e);
}
