/* SPDX-License-Identifier: Apache-2.0 */
#include "advise/simulate.h"

#include <math.h>

#include "base/limits.h"
#include "base/mem.h"
#include "sched/policy.h"

#define MINUTE_US 60000000ll
#define NEVER	  INT64_MAX

struct item {
	int64_t at_us, us; /* when it came, began or is over; how long it takes or took */
};
struct ring {
	struct item *v;
	size_t head, n, cap; /* cap: a power of two */
};
struct heap {
	struct item *v; /* the earliest first */
	size_t n, cap;
};

/* Added latency: 32 steps to every doubling. */
enum { STEPS = 32, BUCKETS = 64 * STEPS };

/* One way, and the function that it is applied to. */
struct trial {
	const struct simulate_way *way;
	int64_t start_us, held_bytes, keep_us; /* of this function */
	int64_t handler_us, backlog_since_us, patience_us;
	struct ring idle;     /* since when; us: 1 for one that had no event yet. The one used last is the last */
	struct ring starting; /* when it will be ready */
	struct ring waiting;
	struct heap busy;
	int64_t calls, cold, refused;
	double idle_byte_us, vain_byte_us, busy_byte_us;
	int64_t added[BUCKETS], added_max_us;
};

struct simulate {
	size_t n;
	uint64_t random;
	struct trial trials[];
};

static struct item *ring_at(const struct ring *r, size_t i)
{
	return &r->v[(r->head + i) & (r->cap - 1)];
}

static void ring_push(struct ring *r, int64_t at_us, int64_t us)
{
	if (r->n == r->cap) {
		struct ring more = {.cap = r->cap ? 2 * r->cap : 16};

		more.v = xmalloc(more.cap * sizeof(*more.v));
		for (size_t i = 0; i < r->n; i++)
			more.v[i] = *ring_at(r, i);
		more.n = r->n;
		free(r->v);
		*r = more;
	}
	*ring_at(r, r->n++) = (struct item){at_us, us};
}

static struct item ring_first(struct ring *r)
{
	struct item i = *ring_at(r, 0);

	r->head++;
	r->n--;
	return i;
}

static struct item ring_last(struct ring *r)
{
	return *ring_at(r, --r->n);
}

static void heap_push(struct heap *h, int64_t at_us, int64_t us)
{
	size_t i = h->n++;

	if (i == h->cap) {
		h->cap = h->cap ? 2 * h->cap : 16;
		h->v = xrealloc(h->v, h->cap * sizeof(*h->v));
	}
	for (; i && h->v[(i - 1) / 2].at_us > at_us; i = (i - 1) / 2)
		h->v[i] = h->v[(i - 1) / 2];
	h->v[i] = (struct item){at_us, us};
}

static struct item heap_first(struct heap *h)
{
	struct item first = h->v[0], last = h->v[--h->n];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < h->n) {
		child += child + 1 < h->n && h->v[child + 1].at_us < h->v[child].at_us;
		if (h->v[child].at_us >= last.at_us)
			break;
		h->v[i] = h->v[child];
		i = child;
	}
	h->v[i] = last;
	return first;
}

static size_t bucket_of(int64_t us)
{
	int shift = us < STEPS ? 0 : 63 - __builtin_clzll((uint64_t)us) - 5;

	return (size_t)(us >> shift) + (size_t)shift * STEPS;
}

/* The longest time of a bucket. */
static int64_t bucket_us(size_t k)
{
	int shift = k < 2 * STEPS ? 0 : (int)(k / STEPS) - 1;

	return ((int64_t)(k - (size_t)shift * STEPS + 1) << shift) - 1;
}

/* splitmix64 */
static uint64_t random_u64(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static double random_unit(uint64_t *state)
{
	return (double)(random_u64(state) >> 11) / (1ull << 53);
}

/* How long policy_rest lets an instance have nothing to do. */
static int64_t keep_us(int64_t wish_us, int64_t start_us, int64_t held_bytes)
{
	struct policy_idle i = {.keep_us = wish_us, .start_us = start_us, .held_bytes = held_bytes};
	enum policy_idle_move m;
	int64_t next;

	while ((m = policy_rest(&i, &next)) != POLICY_STOP && next >= 0) {
		i.frozen |= m == POLICY_FREEZE;
		i.idle_us = next;
	}
	return m == POLICY_STOP ? i.idle_us : NEVER;
}

static void hold(struct trial *t, int64_t us, bool vain)
{
	double byte_us = (double)us * (double)t->held_bytes;

	if (vain && t->way->foresight)
		return;
	t->idle_byte_us += byte_us;
	t->vain_byte_us += vain ? byte_us : 0;
}

static void stop_rested(struct trial *t, int64_t now)
{
	while (t->idle.n && now - ring_at(&t->idle, 0)->at_us >= t->keep_us) {
		ring_first(&t->idle);
		hold(t, t->keep_us, true);
	}
}

static void begin(struct trial *t, int64_t now, struct item event)
{
	struct item i = ring_last(&t->idle);
	int64_t added = now - event.at_us;

	hold(t, now - i.at_us, false);
	t->cold += i.us;
	t->added[bucket_of(added)]++;
	if (added > t->added_max_us)
		t->added_max_us = added;
	t->busy_byte_us += (double)event.us * (double)t->held_bytes;
	heap_push(&t->busy, now + event.us, event.us);
}

/* What workload_dispatch does. */
static void dispatch(struct trial *t, int64_t now)
{
	struct policy_load p = {.room = 1,
				.queue_max = LIM_QUEUE_PER_WORKLOAD,
				.cpus = 1,
				.handler_us = t->handler_us,
				.off_cpu_us = t->handler_us, /* processors are not part of the model */
				.start_us = t->start_us};

	while (t->waiting.n) {
		enum policy_move m;

		p.idle = (int)t->idle.n;
		p.starting = (int)t->starting.n;
		p.busy = (int)t->busy.n;
		p.waiting = (int)t->waiting.n;
		p.oldest_wait_us = now - ring_at(&t->waiting, 0)->at_us;
		p.backlog_us = t->backlog_since_us < NEVER ? now - t->backlog_since_us : 0;
		m = policy_place(&p);
		if (m == POLICY_REUSE)
			begin(t, now, ring_first(&t->waiting));
		else if (m == POLICY_START)
			ring_push(&t->starting, now + t->start_us, 0);
		else if (m == POLICY_REFUSE)
			ring_last(&t->waiting), t->refused++;
		else
			break;
	}
	if (!t->waiting.n) {
		t->backlog_since_us = t->patience_us = NEVER;
	} else if (t->backlog_since_us == NEVER) {
		t->backlog_since_us = now;
		t->patience_us = now + policy_patience_us(&p);
	}
}

/* Lets everything happen that happens until then. */
static void advance(struct trial *t, int64_t until)
{
	for (;;) {
		int64_t ready = t->starting.n ? ring_at(&t->starting, 0)->at_us : NEVER;
		int64_t over = t->busy.n ? t->busy.v[0].at_us : NEVER;
		int64_t now = over < ready ? over : ready;

		now = t->patience_us < now ? t->patience_us : now;
		if (now > until)
			return;
		if (now == over) {
			t->handler_us = policy_usual(t->handler_us, heap_first(&t->busy).us);
			stop_rested(t, now);
			ring_push(&t->idle, now, 0);
		} else if (now == ready) {
			ring_first(&t->starting);
			stop_rested(t, now);
			ring_push(&t->idle, now, 1);
		} else {
			t->patience_us = NEVER;
		}
		if (!t->waiting.n)
			continue;
		dispatch(t, now);
		if (t->waiting.n && t->patience_us == NEVER)
			t->patience_us = now + (t->start_us > 0 ? t->start_us : 1);
	}
}

static void trial_call(struct trial *t, int64_t now, int64_t us)
{
	advance(t, now);
	stop_rested(t, now);
	t->calls++;
	ring_push(&t->waiting, now, us);
	dispatch(t, now);
}

static void trial_open(struct trial *t, int64_t held_bytes)
{
	const struct simulate_start *s = &t->way->start;

	t->held_bytes = held_bytes;
	t->start_us = llround((s->base_ms + s->ms_per_mb * (double)held_bytes / 1048576) * 1000);
	t->keep_us = keep_us(t->way->keep_us, t->start_us, held_bytes);
	t->handler_us = 0;
	t->backlog_since_us = t->patience_us = NEVER;
	t->idle.n = t->starting.n = t->waiting.n = t->busy.n = 0;
}

/* What is still held at the end has cost its memory, whatever it would have been good for. */
static void trial_close(struct trial *t, int64_t end)
{
	advance(t, end);
	stop_rested(t, end);
	while (t->idle.n)
		hold(t, end - ring_first(&t->idle).at_us, true);
}

void simulate_open(struct simulate *s, int64_t held_bytes)
{
	for (size_t k = 0; k < s->n; k++)
		trial_open(&s->trials[k], held_bytes);
}

void simulate_call(struct simulate *s, int64_t at_us, int64_t duration_us)
{
	for (size_t k = 0; k < s->n; k++)
		trial_call(&s->trials[k], at_us, duration_us);
}

void simulate_close(struct simulate *s, int64_t end_us)
{
	for (size_t k = 0; k < s->n; k++)
		trial_close(&s->trials[k], end_us);
}

/* Straight lines between the percentiles. */
static int64_t duration(const struct trace_function *f, double percent)
{
	int k = 1;
	double share;

	while (k < TRACE_POINTS - 1 && percent > trace_percent[k])
		k++;
	share = (percent - trace_percent[k - 1]) / (trace_percent[k] - trace_percent[k - 1]);
	return f->duration_us[k - 1] + llround(share * (double)(f->duration_us[k] - f->duration_us[k - 1]));
}

void simulate_function(struct simulate *s, const struct trace_function *f)
{
	simulate_open(s, f->held_bytes);
	for (int m = 0; m < f->minutes; m++) {
		double left = 1; /* of the minute: the first of n even draws leaves u^(1/n) of it, and so on */

		for (uint32_t n = f->calls[m]; n; n--) {
			int64_t us = duration(f, 100 * random_unit(&s->random));

			left *= exp(log(1 - random_unit(&s->random)) / n);
			simulate_call(s, m * MINUTE_US + (int64_t)((1 - left) * MINUTE_US), us);
		}
	}
	simulate_close(s, f->minutes * MINUTE_US);
}

static int64_t percentile(const struct trial *t, int percent)
{
	int64_t served = 0, seen = 0;

	for (size_t k = 0; k < BUCKETS; k++)
		served += t->added[k];
	for (size_t k = 0; k < BUCKETS; k++) {
		seen += t->added[k];
		if (served && seen * 100 >= served * percent)
			return bucket_us(k) < t->added_max_us ? bucket_us(k) : t->added_max_us;
	}
	return 0;
}

void simulate_result(const struct simulate *s, size_t way, struct simulate_result *ret)
{
	const struct trial *t = &s->trials[way];
	static const double gb_s = 1024.0 * 1024 * 1024 * 1e6;

	*ret = (struct simulate_result){
		.calls = t->calls,
		.cold = t->cold,
		.refused = t->refused,
		.idle_gb_s = t->idle_byte_us / gb_s,
		.vain_gb_s = t->vain_byte_us / gb_s,
		.busy_gb_s = t->busy_byte_us / gb_s,
		.added_p50_us = percentile(t, 50),
		.added_p99_us = percentile(t, 99),
		.added_max_us = t->added_max_us,
	};
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
		free(t->waiting.v);
		free(t->busy.v);
	}
	free(s);
}
