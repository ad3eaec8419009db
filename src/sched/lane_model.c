/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/lane_model.h"

#include <assert.h>
#include <math.h>
#include "base/def.h"
#include "sched/policy.h"

#define PER_DECADE    8 /* where a crossing is looked for */
#define HALVINGS      24
#define NEVER	      1e-16	 /* a chance that counts for nothing, */
#define NEVER_LOG     40	 /* and exp of minus this, too */
#define HELD_ASSUMED  (16 << 20) /* as policy_keep_us does */
#define START_ASSUMED 0.02	 /* from an image 2 to 30 ms, plainly 30 to 300 (README) */

/*
 * An instance at level j is in use while at least j are open, and held in vain for keep_s after that. It begins to be
 * used rate * P(open = j-1) times a second, and is not for P(open < j) of the time; how long each such pause is is taken as
 * exponential, which for j = 1 it is. The levels of an instance's first seats are 1, seats + 1, 2 seats + 1 ...
 */
struct lane_held lane_held(double rate, double open_s, double keep_s, int seats, int always)
{
	double open = rate * open_s, wide = 8 * sqrt(open) + 10, first = open > wide ? floor(open - wide) : 0;
	double at, below = 0; /* P(open = n), P(open <= n): nothing worth counting lies below `first` */
	double next;	      /* the first seat of an instance, less one */
	struct lane_held h = {0};

	if (seats < 1)
		seats = 1;
	h.instances = fmax(ceil(first / seats), always);
	next = h.instances * seats;
	at = open > 0 ? exp(first * log(open) - open - lgamma(first + 1)) : 1;
	for (double n = first; n <= open || at > NEVER; n++, at *= open / n) { /* n: one less than the level */
		double kept, gone;

		below = below + at < 1 ? below + at : 1;
		if (n < next || at <= 0)
			continue;
		next += seats;
		kept = rate * at / below * keep_s;
		gone = kept < NEVER_LOG ? exp(-kept) : 0;
		h.instances += 1 - below * gone;
		h.starts += rate * at * gone;
	}
	return h;
}

static int always_of(const struct lane_facts *f, enum lane lane)
{
	return lane == LANE_FUNCTION ? f->min : f->min > 1 ? f->min : 1;
}

static double reserved(const struct lane_facts *f, const struct lane_price *p, enum lane lane, double rate,
		       const struct lane_held *h)
{
	double instance = p->vcpu * p->usd_per_cpu_s + p->memory_bytes * p->usd_per_byte_s, up = h->instances;

	if (lane == LANE_FUNCTION)
		up = fmax(rate * f->wall_s.v + h->starts * f->start_s.v, f->min);
	else if (p->vcpu > 0)
		up = fmax(up, rate * f->cpu_s.v / p->vcpu);
	return up * instance;
}

static double kept_s(const struct lane_facts *f)
{
	if (f->keep_s >= 0)
		return f->keep_s;
	return (double)policy_keep_us((int64_t)(f->start_s.v * 1e6), (int64_t)f->held_bytes.v) / 1e6;
}

static double used(const struct lane_facts *f, const struct lane_price *p, enum lane lane, double rate,
		   const struct lane_held *h, const struct lane_held *single)
{
	double cpu = rate * f->cpu_s.v + h->starts * f->start_cpu_s.v, bytes;

	if (lane == LANE_FUNCTION) {
		bytes = (h->instances + h->starts * f->start_s.v) * f->held_bytes.v;
	} else {
		cpu += h->instances * f->overhead_cpu_share.v;
		bytes = (h->instances + h->starts * f->c_start_s.v) * f->base_bytes.v +
			single->instances * f->seat_bytes.v;
	}
	return cpu * p->usd_per_cpu_s + bytes * p->usd_per_byte_s;
}

/* Of instances with one seat, of which none is always there: the costs of both lanes are made of it, and it is most of the work. */
static struct lane_held single_held(const struct lane_facts *f, double rate)
{
	return lane_held(rate, f->wall_s.v, kept_s(f), 1, 0);
}

static double cost_hour(const struct lane_facts *f, const struct lane_price *p, enum lane lane, double rate,
			const struct lane_held *single)
{
	int seats = lane == LANE_FUNCTION ? 1 : f->seats, always = always_of(f, lane);
	struct lane_held h = seats == 1 && !always ? *single : lane_held(rate, f->wall_s.v, kept_s(f), seats, always);
	double a_second = p->by_reservation ? reserved(f, p, lane, rate, &h) : used(f, p, lane, rate, &h, single);

	return 3600 * (a_second + rate * p->usd_per_request);
}

double lane_cost_hour(const struct lane_facts *f, const struct lane_price *p, enum lane lane, double rate)
{
	struct lane_held single = single_held(f, rate);

	return cost_hour(f, p, lane, rate, &single);
}

/* ---- where it no longer matters ---- */

struct search {
	lane_gain *gain;
	const void *arg;
	double most; /* looked for up to there */
};

/* Between low, where it is not so yet, and high, where it is. */
static double halved(const struct search *s, double low, double high)
{
	for (int i = 0; i < HALVINGS; i++) {
		double middle = sqrt(low * high);

		*(s->gain(s->arg, middle) > 0 ? &high : &low) = middle;
	}
	return high;
}

/* The lowest rate from which on the container lane costs less: from near to both sides. */
static double crossing(const struct search *s, double near)
{
	double low = near, step = pow(10, 1.0 / PER_DECADE);

	if (s->gain(s->arg, low) > 0) {
		do {
			if (low <= LANE_RATE_MIN)
				return 0;
			low /= step;
		} while (s->gain(s->arg, low) > 0);
		return halved(s, low, low * step);
	}
	for (; low < s->most; low *= step)
		if (s->gain(s->arg, low * step) > 0)
			return halved(s, low, low * step);
	return INFINITY;
}

static double logarithm(double rate)
{
	return log(fmin(fmax(rate, LANE_RATE_MIN), LANE_RATE_MAX));
}

void lane_even_find(lane_gain *gain, const void *arg, double open_s, struct lane_unsure *u, size_t n,
		    struct lane_break_even *ret)
{
	struct search s = {gain, arg, open_s > 0 ? fmin(LANE_RATE_MAX, LANE_OPEN_MAX / open_s) : LANE_RATE_MAX};
	double rate = crossing(&s, LANE_RATE_MIN), at = logarithm(rate), up = 0, down = 0;
	bool crosses = rate > 0 && isfinite(rate);

	for (size_t i = 0; i < n; i++) {
		double was = *u[i].v, high = at, low = at;

		for (int end = 0; end < 2 && u[i].high > u[i].low; end++) {
			double there;

			*u[i].v = end ? u[i].high : u[i].low;
			there = logarithm(crossing(&s, crosses ? rate : LANE_RATE_MIN));
			high = fmax(high, there), low = fmin(low, there);
		}
		*u[i].v = was;
		u[i].moves = (high - low) / 2 / KNOWN_Z_95;
		up = hypot(up, high - at), down = hypot(down, at - low);
	}
	*ret = (struct lane_break_even){crosses, rate, rate, rate};
	if (down > 0)
		ret->low = exp(at - down) < 2 * LANE_RATE_MIN ? 0 : exp(at - down);
	if (up > 0)
		ret->high = exp(at + up) > LANE_RATE_MAX / 2 ? INFINITY : exp(at + up);
}

struct priced {
	struct lane_facts f;
	const struct lane_price *function, *container;
};

static double gain(const void *arg, double rate)
{
	const struct priced *p = arg;
	struct lane_held single = single_held(&p->f, rate);

	return cost_hour(&p->f, p->function, LANE_FUNCTION, rate, &single) -
	       cost_hour(&p->f, p->container, LANE_CONTAINER, rate, &single);
}

void lane_break_even(const struct lane_facts *f, const struct lane_price *function, const struct lane_price *container,
		     struct lane_break_even *ret)
{
	struct priced p = {*f, function, container};
	struct lane_unsure u[ARRAY_SIZE(p.f.all)];

	static_assert(sizeof(p.f.all) == offsetof(struct lane_facts, keep_s), "all of them");
	for (size_t i = 0; i < ARRAY_SIZE(u); i++)
		u[i] = (struct lane_unsure){&p.f.all[i].v, f->all[i].low, f->all[i].high, 0};
	lane_even_find(gain, &p, f->wall_s.v, u, ARRAY_SIZE(u), ret);
}

void lane_break_even_text(struct buf *out, const struct lane_break_even *b)
{
	bool low = b->low > 0 && isfinite(b->low), high = isfinite(b->high) && b->high > 0;

	if (b->crosses)
		buf_addf(out, "%.3g", b->rate);
	else
		buf_adds(out, b->rate > 0 ? "none" : "0");
	if (low && high)
		buf_addf(out, " (%.3g to %.3g)", b->low, b->high);
	else if (low || high)
		buf_addf(out, low ? " (%.3g or more)" : " (%.3g or less)", low ? b->low : b->high);
	else if (b->low < b->high)
		buf_adds(out, " (or any other)");
}

/* ---- what nobody has looked at ---- */

static void assume(struct known *x, double v, double low, double high)
{
	if (!(x->v > 0) && !(x->high > 0))
		*x = (struct known){v, low, high, KNOWN_ASSUMED};
}

const char *const lane_fact_name[LANE_FACT_N] = {
	"cpu", "wall", "held", "start", "start_cpu", "base", "seat", "container_start", "overhead", "seats"};

struct known lane_seat_assumed(double held_bytes)
{
	return known_within(held_bytes / 20, 4, KNOWN_ASSUMED); /* a thread, and what it works on */
}

void lane_facts_settle(struct lane_facts *f)
{
	double base = f->base_bytes.v, held, times = LANE_BASE_TIMES;

	assume(&f->held_bytes, base > 0 ? base / times : HELD_ASSUMED, base > 0 ? base / 5 : HELD_ASSUMED / 8.0,
	       base > 0 ? base : HELD_ASSUMED * 8.0);
	held = f->held_bytes.v;
	assume(&f->base_bytes, held * times, held, held * 5);
	if (!(f->seat_bytes.high > 0))
		f->seat_bytes = lane_seat_assumed(held);
	assume(&f->start_s, START_ASSUMED, START_ASSUMED / 10, START_ASSUMED * 10);
	assume(&f->start_cpu_s, f->start_s.v, f->start_s.low / 4, f->start_s.high);
	assume(&f->c_start_s, f->start_s.v, f->start_s.low, f->start_s.high);
	assume(&f->overhead_cpu_share, 0, 0, 5e-4);
}
