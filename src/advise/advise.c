/* SPDX-License-Identifier: Apache-2.0 */
#include "advise/advise.h"

#include <math.h>

/* Of clouds: what an instance without requests is kept, and what a container takes until it runs. Assumed; neither
 * moves a break-even by much. */
#define CLOUD_KEEP_S  300.0
#define CLOUD_START_S 30.0
#define WORKER_OPEN   0.2 /* jobs under way on average, from which on somebody would keep a worker up for them */

const char *const place_name[PLACE_N] = {"here", "aws", "aws-ec2", "gcp", "azure"};
static const enum price_offer offers[PLACE_N][2] = {
	[PLACE_AWS] = {PRICE_LAMBDA, PRICE_FARGATE},
	[PLACE_EC2] = {PRICE_LAMBDA, PRICE_EC2},
	[PLACE_GCP] = {PRICE_CLOUD_RUN_REQUEST, PRICE_CLOUD_RUN_INSTANCE},
	[PLACE_AZURE] = {PRICE_AZURE_FUNCTIONS, PRICE_CONTAINER_APPS},
};

/* ---- cost ---- */

/* In the container lane it can be a task for each run. */
static bool each_run(const struct facts *f)
{
	return f->word[WORD_KIND] != KIND_API && !(f->flags & FLAG_WARM);
}

static double here(const struct facts *f, const struct advise_market *m, enum lane lane, double rate)
{
	const struct known *n = f->n;
	double held = n[FACT_MEMORY].v, base = held + n[FACT_BASE].v;
	struct lane_price p = {.usd_per_cpu_s = m->machine.usd_per_cpu_us * 1e6,
			       .usd_per_byte_s = m->machine.usd_per_byte_us * 1e6};
	struct lane_facts l;
	double kept;

	if (f->now == LANE_CONTAINER && n[FACT_MEMORY].from == KNOWN_MEASURED)
		held *= held / base, base = n[FACT_MEMORY].v; /* as many times less in the other lane */
	l = (struct lane_facts){
		.cpu_s = n[FACT_CPU],
		.wall_s = n[FACT_DURATION],
		.held_bytes = {.v = held},
		.start_s = n[FACT_START],
		.start_cpu_s = f->start_cpu_s.v > 0 ? f->start_cpu_s : n[FACT_START],
		.keep_s = -1,
		.base_bytes = {.v = base},
		.seat_bytes = n[FACT_SEAT],
		.c_start_s = f->container_start_s.v > 0 ? f->container_start_s : n[FACT_START],
		.seats = (int)n[FACT_SEATS].v,
	};
	kept = lane_cost_hour(&l, &p, lane, rate);
	if (lane == LANE_FUNCTION || !each_run(f))
		return kept;
	/* A task for each run has the same sandbox as a function's run, and costs what that costs. */
	return fmin(kept, lane_cost_hour(&l, &p, LANE_FUNCTION, rate));
}

/* An hour at a cloud, from the price of a month: some have steps. NAN: it cannot be had there. */
static double cloud(const struct facts *f, const struct advise_market *m, enum place p, enum lane lane, double rate)
{
	const struct known *n = f->n;
	enum price_offer offer = offers[p][lane];
	double wall = n[FACT_DURATION].v;
	int seats = (int)n[FACT_SEATS].v;
	struct price_use u = {.requests = fmax(rate, LANE_RATE_MIN * 1e-3) * PRICE_MONTH_S,
			      .memory_mb = (f->configured_bytes > 0 ? f->configured_bytes : n[FACT_MEMORY].v) / 1048576,
			      .used_mb = n[FACT_MEMORY].v / 1048576,
			      .vcpu = fmax(n[FACT_VCPU].v, 0.25)};
	struct price_use task = {
		.memory_mb = u.memory_mb, .vcpu = u.vcpu, .instance_s = wall + CLOUD_START_S, .instances = 1};
	bool by_instance = lane == LANE_CONTAINER || offer == PRICE_CLOUD_RUN_REQUEST;
	struct lane_held kept = lane_held(rate, wall, CLOUD_KEEP_S, by_instance ? seats : 1, lane == LANE_CONTAINER);
	double usd;

	u.billed_s = u.requests * wall + kept.starts * PRICE_MONTH_S * n[FACT_START].v;
	if (by_instance) { /* several at once in one instance are billed once */
		u.billed_s = lane_held(rate, wall, 0, seats, 0).instances * PRICE_MONTH_S;
		u.step_s = offer == PRICE_CLOUD_RUN_REQUEST ? 0.1 : 1;
	}
	if (lane == LANE_CONTAINER)
		u.instance_s = fmax(kept.instances, rate * n[FACT_CPU].v / u.vcpu) * PRICE_MONTH_S;
	usd = price_offer_usd(m->prices, offer, m->arch, &u) / PRICE_MONTH_S;
	if (lane == LANE_CONTAINER && each_run(f))
		usd = fmin(usd, price_offer_usd(m->prices, offer, m->arch, &task) * rate);
	return usd * 3600;
}

/* Above so many at once both lanes cost in proportion to the rate, and the model would be slow. */
static double steady(const struct facts *f, const struct advise_market *m, enum place p, enum lane lane, double rate)
{
	double most = LANE_OPEN_MAX / f->n[FACT_DURATION].v, times = fmax(rate / most, 1);

	rate = fmin(rate, most);
	return times * (p == PLACE_HERE ? here(f, m, lane, rate) : cloud(f, m, p, lane, rate));
}

double advise_cost(const struct facts *f, const struct advise_market *m, enum place p, enum lane lane, double rate)
{
	double times = 1;

	/* In bursts: so many times the rate for a part of the time, and nothing for the rest of it. */
	if (f->word[WORD_PATTERN] == PATTERN_BURSTY && f->n[FACT_RATE].v > 0)
		times = fmax(f->n[FACT_PEAK].v / f->n[FACT_RATE].v, 1);
	if (times == 1)
		return steady(f, m, p, lane, rate);
	return steady(f, m, p, lane, rate * times) / times + steady(f, m, p, lane, 0) * (1 - 1 / times);
}

/* ---- the rate from which on the container lane costs less ---- */

struct placed {
	struct facts f;
	const struct advise_market *m;
	enum place p;
};

static double gain(const void *arg, double rate)
{
	const struct placed *x = arg;

	return advise_cost(&x->f, x->m, x->p, LANE_FUNCTION, rate) -
	       advise_cost(&x->f, x->m, x->p, LANE_CONTAINER, rate);
}

static double spread(const struct known *n)
{
	return n->v > 0 && n->low > 0 ? log(n->high / n->low) / 2 / KNOWN_Z_95 : 0;
}

static void find_even(const struct facts *f, const struct advise_market *m, enum place p, struct advise_place *ret)
{
	/* Those that costs come from. Of a burst what matters is how many times the average it is. */
	static const enum fact costs[] = {FACT_PEAK, FACT_DURATION, FACT_CPU,	 FACT_BASE,
					  FACT_SEAT, FACT_SEATS,    FACT_MEMORY, FACT_START};
	struct lane_unsure u[ARRAY_SIZE(costs)];
	struct placed x = {*f, m, p};
	double all = 0;

	for (size_t i = 0; i < ARRAY_SIZE(costs); i++)
		u[i] = (struct lane_unsure){&x.f.n[costs[i]].v, f->n[costs[i]].low, f->n[costs[i]].high, 0};
	lane_even_find(gain, &x, f->n[FACT_DURATION].v, u, ARRAY_SIZE(u), &ret->even);
	for (size_t i = 0; i < ARRAY_SIZE(costs); i++)
		all += ret->share[costs[i]] = u[i].moves * u[i].moves;
	if (all > 0) /* where it is the same at all rates, whatever the numbers are, none of them matters */
		all += ret->share[FACT_RATE] = spread(&f->n[FACT_RATE]) * spread(&f->n[FACT_RATE]);
	for (enum fact i = 0; i < FACT_N && all > 0; i++)
		ret->share[i] /= all;
}

static void look_at(const struct facts *f, const struct advise_market *m, uint32_t lanes, uint32_t away, enum place p,
		    struct advise_place *ret)
{
	ret->function = lanes & 1u << LANE_FUNCTION;
	ret->container = lanes & 1u << LANE_CONTAINER;
	if (p != PLACE_HERE) {
		ret->offer[0] = offers[p][0], ret->offer[1] = offers[p][1];
		ret->function = !(away & 1u << ret->offer[0]);
		ret->container = !(away & 1u << ret->offer[1]);
	}
	for (enum lane l = 0; l < LANE_VM; l++)
		ret->usd_hour[l] = advise_cost(f, m, p, l, f->n[FACT_RATE].v);
	ret->function &= !isnan(ret->usd_hour[LANE_FUNCTION]);
	ret->container &= !isnan(ret->usd_hour[LANE_CONTAINER]);
	find_even(f, m, p, ret);
	if (!ret->function || !ret->container)
		ret->even.crosses = false;
}

/* ---- the verdict ---- */

static void choose(const struct facts *f, const struct advise_market *m, struct advice *a)
{
	const struct advise_place *p = &a->place[m->decides];
	double rate = f->n[FACT_RATE].v;

	a->by_cost = a->lanes & 1u << LANE_FUNCTION && a->lanes & 1u << LANE_CONTAINER;
	a->certainty = 1;
	if (!a->by_cost) {
		a->lane = a->lanes ? (enum lane)__builtin_ctz(a->lanes) : LANE_N;
		return;
	}
	if (p->even.crosses && rate > 0) { /* as many standard errors apart as the bar's end on this side tells */
		double far = rate > p->even.rate ? log(p->even.high / p->even.rate) : log(p->even.rate / p->even.low);
		double wide = hypot(far / KNOWN_Z_95, spread(&f->n[FACT_RATE]));

		if (wide > 0)
			a->certainty = 0.5 * (1 + erf(fabs(log(rate / p->even.rate)) / wide / M_SQRT2));
	}
	a->lane = rate > 0 && rate >= p->even.rate && a->certainty >= ADVISE_SURE ? LANE_CONTAINER : LANE_FUNCTION;
	a->same = fabs(p->usd_hour[LANE_CONTAINER] - p->usd_hour[LANE_FUNCTION]) <= 0.005 * p->usd_hour[LANE_FUNCTION];
	for (unsigned i = 0; i < rules_n && m->decides == PLACE_HERE && each_run(f); i++)
		if (rules[i].lanes & 1u << LANE_FUNCTION && rule_distance(&rules[i], f) < KNOWN_Z_95) {
			a->lane = LANE_CONTAINER; /* which has no such limit, and costs no more here: see here() */
			a->unsure = true;
		}
}

/* What it takes at this rate, beyond one instance at least. */
static void find_needs(const struct facts *f, const struct advise_market *m, struct advice *a)
{
	const struct known *n = f->n;
	double open = n[FACT_RATE].v * n[FACT_DURATION].v, more = fmax(open - 1, 0);

	a->needs[0] = fmax(n[FACT_VCPU].v, n[FACT_RATE].v * n[FACT_CPU].v);
	a->needs[1] = a->lane == LANE_CONTAINER && !(a->job && !a->worker)
			      ? fmax(open / n[FACT_SEATS].v, 1) * n[FACT_MEMORY].low + more * n[FACT_SEAT].low
			      : fmax(open, 1) * n[FACT_MEMORY].low;
	a->fits = a->needs[0] <= m->vcpus && a->needs[1] <= m->memory_bytes;
}

/* The number that may be wrong by least until the verdict is another one. */
static void find_riskiest(const struct facts *f, const struct advise_market *m, struct advice *a)
{
	const struct advise_place *p = &a->place[m->decides];
	double nearest = 6; /* standard errors: beyond it nothing is a risk */

	for (unsigned i = 0; i < rules_n; i++) {
		double far = rule_distance(&rules[i], f);

		if (far < nearest && (rules_lanes(f, a->hold ^ (uint64_t)1 << i) ^ a->lanes) &
					     (1u << LANE_FUNCTION | 1u << LANE_CONTAINER)) {
			nearest = far;
			a->riskiest = rule_fact(&rules[i], f);
			a->risk_share = 1;
		}
	}
	if (!a->by_cost || (a->certainty > 0.999999 && nearest < 6))
		return;
	if (a->risk_share > 0 && 0.5 * (1 + erf(nearest / M_SQRT2)) < a->certainty)
		return;
	a->risk_share = 0;
	for (enum fact i = 0; i < FACT_N; i++)
		if (p->share[i] > a->risk_share) {
			a->riskiest = i;
			a->risk_share = p->share[i];
		}
}

void advise(const struct facts *f, const struct advise_market *m, struct advice *ret)
{
	*ret = (struct advice){.hold = rules_hold(f), .clash = rules_clash(f), .job = f->word[WORD_KIND] != KIND_API};
	ret->lanes = rules_lanes(f, ret->hold);
	for (enum place p = 0; p < PLACE_N; p++)
		look_at(f, m, ret->lanes, rules_offers(ret->hold), p, &ret->place[p]);
	choose(f, m, ret);
	ret->worker = ret->job && (!each_run(f) || (ret->by_cost && !ret->unsure &&
						    f->n[FACT_RATE].v * f->n[FACT_DURATION].v > WORKER_OPEN));
	find_needs(f, m, ret);
	ret->none = ret->clash || !ret->lanes;
	if (!ret->none)
		find_riskiest(f, m, ret);
}

const char *advise_benchmark(enum fact what)
{
	static const char *const by[FACT_N] = {
		[FACT_RATE] = "a day of its own traffic, then tandem advise NAME",
		[FACT_PEAK] = "a day of its own traffic, then tandem advise NAME",
		[FACT_DURATION] = "tandem bench NAME --only warm",
		[FACT_CPU] = "tandem bench NAME --only warm",
		[FACT_VCPU] = "tandem tune NAME",
		[FACT_MEMORY] = "tandem bench NAME --only warm",
		[FACT_BASE] = "tandem bench NAME --only warm",
		[FACT_SEAT] = "tandem bench NAME --only warm,steady",
		[FACT_SEATS] = "tandem bench NAME --only warm,steady",
		[FACT_START] = "tandem bench NAME --only start,warm",
		[FACT_COLD] = "tandem bench NAME --only start,warm",
	};
	return by[what] ? by[what] : "one run with the largest event, then tandem describe NAME";
}
