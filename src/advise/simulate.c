/* SPDX-License-Identifier: Apache-2.0 */
#include "advise/simulate.h"
#include <math.h>
#include "advise/hybrid.h"
#include "advise/simulate_int.h"

#define MINUTE_US 60000000ll
enum { BLOCK = 2048 }; /* calls that one way takes before the next does: both stay in the cache */

/* Memory that is held, in bytes * us of each minute: an instance is two edges. */
struct series {
	size_t n;
	double *part, *step; /* of the minute in which an edge lies; of each one after it */
};

/* One way, and the function that it is applied to. */
struct trial {
	const struct simulate_way *way;
	struct line line;
	struct ring idle;	    /* since when; us: 1 for one that had no event yet. The one used last is the last */
	struct heap starting, busy; /* when it will be ready, or free */
	int64_t start_us, keep_us;  /* of this function */
	int64_t held_bytes, held_us; /* held_us: the sum of the ends minus that of the starts, which needs no names */
	int64_t busy_us, starting_us, vain_us;
	int64_t rest_since_us, prewarm_us; /* hybrid: since when nothing is to do; when to load again. Or NEVER */
	struct hybrid hybrid;
	struct simulate_use use, sum;
	struct series held;
	struct tally added, latency;
};

struct simulate {
	size_t n, n_calls;
	uint64_t random;
	struct item calls[BLOCK];
	struct trial trials[];
};

static void edge(struct trial *t, int64_t at_us, int sign)
{
	size_t m = (size_t)(at_us / MINUTE_US);
	double bytes = sign * (double)t->held_bytes;

	t->held_us -= sign * at_us;
	if (m >= t->held.n) {
		size_t n = m + TRACE_MINUTES_MAX;

		t->held.part = xrealloc(t->held.part, n * sizeof(*t->held.part));
		t->held.step = xrealloc(t->held.step, n * sizeof(*t->held.step));
		for (; t->held.n < n; t->held.n++)
			t->held.part[t->held.n] = t->held.step[t->held.n] = 0;
	}
	t->held.part[m] += bytes * (double)(MINUTE_US - at_us % MINUTE_US);
	t->held.step[m] += bytes;
}

static void start(struct simulate *s, struct trial *t, int64_t now)
{
	int64_t us = t->way->starts ? dist_draw(t->way->starts, &s->random) : t->start_us;
	int64_t n = (int64_t)(t->idle.n + t->starting.n + t->busy.n + 1);

	heap_push(&t->starting, now + us, 1);
	t->starting_us += us;
	t->use.starts++;
	t->use.instances_most = n > t->use.instances_most ? n : t->use.instances_most;
	edge(t, now, 1);
}

static void stop_first(struct trial *t, int64_t at_us)
{
	int64_t since = ring_first(&t->idle).at_us;

	if (t->way->rule == SIMULATE_FORESIGHT)
		at_us = since;
	t->vain_us += at_us - since;
	edge(t, at_us, -1);
}

static inline void stop_rested(struct trial *t, int64_t now)
{
	while (t->idle.n && now - ring_at(&t->idle, 0)->at_us >= t->keep_us &&
	       (!t->way->min || (int)(t->idle.n + t->starting.n + t->busy.n) > t->way->min))
		stop_first(t, ring_at(&t->idle, 0)->at_us + t->keep_us);
}

static inline void begin(struct trial *t, int64_t now, struct item event)
{
	int64_t added = now - event.at_us;

	t->use.cold += ring_last(&t->idle).us;
	tally_add(&t->added, added);
	tally_add(&t->latency, added + event.us);
	t->busy_us += event.us;
	heap_push(&t->busy, now + event.us, event.us);
}

static inline void count(struct trial *t)
{
	t->line.load.idle = (int)t->idle.n;
	t->line.load.starting = (int)t->starting.n;
	t->line.load.busy = (int)t->busy.n;
}

/* What workload_dispatch does. */
static void dispatch(struct simulate *s, struct trial *t, int64_t now)
{
	while (t->line.waiting.n) {
		enum policy_move m;

		count(t);
		m = line_ask(&t->line, now);
		if (m == POLICY_REUSE)
			begin(t, now, ring_first(&t->line.waiting));
		else if (m == POLICY_START)
			start(s, t, now);
		else if (m == POLICY_REFUSE)
			ring_last(&t->line.waiting), t->use.refused++;
		else
			break;
	}
	line_settle(&t->line, now);
}

/* Hybrid: there is nothing to do any more. */
static void rest(struct trial *t, int64_t now)
{
	int64_t prewarm;

	hybrid_windows(&t->hybrid, &prewarm, &t->keep_us);
	t->rest_since_us = now;
	if (!prewarm)
		return;
	t->prewarm_us = now + prewarm;
	while (t->idle.n)
		stop_first(t, now);
}

static void prewarm(struct trial *t, int64_t now)
{
	int64_t us = t->start_us < now ? t->start_us : now;

	t->prewarm_us = NEVER;
	t->starting_us += us;
	t->use.starts++;
	edge(t, now - us, 1);
	ring_push(&t->idle, now, 0);
}

/* Lets everything happen that happens until then. */
static void advance(struct simulate *s, struct trial *t, int64_t until)
{
	for (;;) {
		int64_t ready = heap_at(&t->starting), over = heap_at(&t->busy), now = over < ready ? over : ready;

		now = t->line.patience_us < now ? t->line.patience_us : now;
		now = t->prewarm_us < now ? t->prewarm_us : now;
		if (now > until)
			return;
		if (now == over) {
			line_served(&t->line, heap_first(&t->busy).us);
			stop_rested(t, now);
			ring_push(&t->idle, now, 0);
			if (t->way->rule == SIMULATE_HYBRID && !t->busy.n && !t->starting.n && !t->line.waiting.n)
				rest(t, now);
		} else if (now == ready) {
			heap_first(&t->starting);
			stop_rested(t, now);
			ring_push(&t->idle, now, 1);
		} else if (now == t->prewarm_us) {
			prewarm(t, now);
		} else {
			t->line.patience_us = NEVER;
		}
		if (!t->line.waiting.n)
			continue;
		dispatch(s, t, now);
	}
}

static void trial_call(struct simulate *s, struct trial *t, struct item call)
{
	advance(s, t, call.at_us);
	stop_rested(t, call.at_us);
	if (t->rest_since_us != NEVER) {
		hybrid_add(&t->hybrid, call.at_us - t->rest_since_us);
		t->rest_since_us = t->prewarm_us = NEVER;
	}
	ring_push(&t->line.waiting, call.at_us, call.us);
	dispatch(s, t, call.at_us);
}

static void trial_open(struct trial *t, int64_t held_bytes)
{
	const struct simulate_start *s = &t->way->start;

	t->held_bytes = held_bytes;
	t->start_us = t->way->starts ? llround(dist_mean(t->way->starts))
				     : llround((s->base_ms + s->ms_per_mb * (double)held_bytes / 1048576) * 1000);
	t->keep_us = line_keep_us(t->way->keep_us, t->start_us, held_bytes);
	line_open(&t->line, t->start_us, t->way->max);
	t->idle.n = t->starting.n = t->busy.n = 0;
	t->held_us = t->busy_us = t->starting_us = t->vain_us = 0;
	t->use = (struct simulate_use){.instances_most = t->way->min};
	t->rest_since_us = t->prewarm_us = NEVER;
	if (t->way->rule == SIMULATE_HYBRID) {
		int64_t none;

		t->hybrid = (struct hybrid){0};
		hybrid_windows(&t->hybrid, &none, &t->keep_us);
	}
	for (int k = 0; k < t->way->min; k++) {
		ring_push(&t->idle, 0, 0);
		edge(t, 0, 1);
	}
}

/* What is still held at the end has cost its memory, whatever it would have been good for; what works or starts ends
 * with that. */
static void trial_close(struct simulate *s, struct trial *t, int64_t end)
{
	struct simulate_use *u = &t->use;
	const double b = (double)t->held_bytes;

	advance(s, t, end);
	stop_rested(t, end);
	while (t->idle.n)
		stop_first(t, end);
	for (size_t k = 0; k < t->busy.n; k++)
		edge(t, t->busy.v[k].at_us, -1);
	for (size_t k = 0; k < t->starting.n; k++)
		edge(t, t->starting.v[k].at_us, -1);
	u->busy_s = (double)t->busy_us / 1e6;
	u->start_s = (double)t->starting_us / 1e6;
	u->held_s = (double)t->held_us / 1e6;
	u->vain_s = (double)t->vain_us / 1e6;
	u->held_byte_s = b * u->held_s;
	u->busy_byte_s = b * u->busy_s;
	u->vain_byte_s = b * u->vain_s;
	u->idle_byte_s = b * (double)(t->held_us - t->busy_us - t->starting_us) / 1e6;
}

static void add(struct simulate_use *sum, const struct simulate_use *u)
{
	sum->calls += u->calls;
	sum->cold += u->cold;
	sum->refused += u->refused;
	sum->starts += u->starts;
	sum->busy_s += u->busy_s;
	sum->start_s += u->start_s;
	sum->held_s += u->held_s;
	sum->vain_s += u->vain_s;
	sum->held_byte_s += u->held_byte_s;
	sum->busy_byte_s += u->busy_byte_s;
	sum->idle_byte_s += u->idle_byte_s;
	sum->vain_byte_s += u->vain_byte_s;
	if (u->instances_most > sum->instances_most)
		sum->instances_most = u->instances_most;
}

static void flush(struct simulate *s)
{
	for (size_t k = 0; k < s->n; k++) {
		for (size_t i = 0; i < s->n_calls; i++)
			trial_call(s, &s->trials[k], s->calls[i]);
		s->trials[k].use.calls += (int64_t)s->n_calls;
	}
	s->n_calls = 0;
}

void simulate_open(struct simulate *s, int64_t held_bytes)
{
	for (size_t k = 0; k < s->n; k++)
		trial_open(&s->trials[k], held_bytes);
}

void simulate_call(struct simulate *s, int64_t at_us, int64_t duration_us)
{
	s->calls[s->n_calls++] = (struct item){at_us, duration_us};
	if (s->n_calls == BLOCK)
		flush(s);
}

void simulate_close(struct simulate *s, int64_t end_us)
{
	flush(s);
	for (size_t k = 0; k < s->n; k++) {
		trial_close(s, &s->trials[k], end_us);
		add(&s->trials[k].sum, &s->trials[k].use);
	}
}

void simulate_draw(const struct trace_function *f, int from, int to, uint64_t *random,
		   void (*call)(void *arg, int64_t at_us, int64_t duration_us), void *arg)
{
	double us[TRACE_POINTS];
	struct dist d;

	for (int k = 0; k < TRACE_POINTS; k++)
		us[k] = (double)f->duration_us[k];
	dist_points(&d, trace_percent, us, TRACE_POINTS);
	for (int m = from; m < to && m < f->minutes; m++) {
		double left = 1; /* of the minute: the first of n even draws leaves u^(1/n) of it, and so on */

		for (uint32_t n = f->calls[m]; n; n--) {
			left *= exp(log(1 - chance_unit(random)) / n);
			call(arg, (m - from) * MINUTE_US + (int64_t)((1 - left) * MINUTE_US), dist_draw(&d, random));
		}
	}
}

static void drawn(void *arg, int64_t at_us, int64_t duration_us)
{
	simulate_call(arg, at_us, duration_us);
}

void simulate_function(struct simulate *s, const struct trace_function *f)
{
	simulate_open(s, f->held_bytes);
	simulate_draw(f, 0, f->minutes, &s->random, drawn, s);
	simulate_close(s, f->minutes * MINUTE_US);
}

void simulate_last(const struct simulate *s, size_t way, struct simulate_use *ret)
{
	*ret = s->trials[way].use;
}

static double most_bytes(const struct series *h)
{
	double level = 0, most = 0;

	for (size_t m = 0; m < h->n; m++) {
		double mean = level + h->part[m] / MINUTE_US;

		most = mean > most ? mean : most;
		level += h->step[m];
	}
	return most;
}

void simulate_result(const struct simulate *s, size_t way, struct simulate_result *ret)
{
	const struct trial *t = &s->trials[way];

	*ret = (struct simulate_result){t->sum, tally_times(&t->added), tally_times(&t->latency), most_bytes(&t->held)};
}

struct simulate *simulate_new(const struct simulate_way *ways, size_t n, uint64_t seed)
{
	struct simulate *s = xcalloc(1, sizeof(*s) + n * sizeof(s->trials[0]));

	s->n = n;
	s->random = seed;
	for (size_t k = 0; k < n; k++)
		s->trials[k].way = &ways[k];
	return s;
}

void simulate_free(struct simulate *s)
{
	for (size_t k = 0; s && k < s->n; k++) {
		struct trial *t = &s->trials[k];

		free(t->idle.v);
		free(t->starting.v);
		free(t->line.waiting.v);
		free(t->busy.v);
		free(t->held.part);
		free(t->held.step);
	}
	free(s);
}
