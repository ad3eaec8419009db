/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same usage, priced at clouds. Sums are by workload then, whatever is asked for: sizes and minimums are a workload's.
 * What charges for requests is priced by group; what charges for instances by workload, and groups (hours, triggers) have
 * a share by the time that they were busy, so that all groupings add up to the same.
 */
#include <math.h>
#include <string.h>
#include "base/mem.h"
#include "ledger/query_int.h"

/* Of one workload, or of a group of one. */
struct use {
	double requests, busy_s, step_s; /* step_s: what durations are rounded to already */
	double up_s, up_billed_s,
		lives; /* instances: their time, as Fargate rounds each, how many; 0: none was measured */
	double size_s, gib_s, vcpu_s; /* memory and vCPU are of so many seconds */
	uint64_t peak_bytes;
	bool is_task; /* or a service, when there are requests */
};

static void use_add(struct use *u, const struct sum *s)
{
	double billed_s = (double)s->billed_ms / 1000, idle_s = (double)s->idle_ms / 1000;

	if (u->peak_bytes < s->mem_peak_bytes)
		u->peak_bytes = s->mem_peak_bytes;
	switch (s->key.kind) {
	case LEDGER_INVOKE:
		if (s->key.outcome == OUTCOME_THROTTLED || s->key.outcome == OUTCOME_FAILED)
			return; /* nobody charges for it */
		u->requests += (double)s->invocations;
		u->busy_s += billed_s;
		u->step_s = 0.001;
		break;
	case LEDGER_REQUESTS:
		u->requests += (double)s->invocations;
		u->busy_s += (double)s->handler_us / 1e6;
		u->step_s = 1e-6;
		return;
	case LEDGER_TASK:
		u->is_task = true;
		u->up_s += idle_s;
		u->up_billed_s += billed_s;
		u->lives += (double)s->start_us;
		u->vcpu_s += (double)s->handler_us / 1e6;
		break;
	case LEDGER_IDLE:
		if (s->key.lane != LANE_CONTAINER)
			return;
		u->up_s += idle_s;
		u->up_billed_s += idle_s;
		return;
	default:
		return;
	}
	u->size_s += billed_s;
	u->gib_s += s->gb_s;
}

/* Functions have no instances elsewhere but those that were up here in the container lane; where there are none, one that
 * is kept up for the whole of the time asked for, or as many as were busy on average. The rows of instances have no trigger
 * of their own. */
static double instance_s(const struct ledger_scan *s, const struct use *group, const struct use *whole, double window_s)
{
	double n = ceil(whole->busy_s / window_s - 1e-9);
	double all = whole->up_s > 0 ? whole->up_billed_s : window_s * fmax(n, 1);

	if (whole->busy_s <= 0 || (whole->up_s > 0 && s->by != BY_TRIGGER))
		return group->up_billed_s;
	return all * group->busy_s / whole->busy_s;
}

static struct price_use price_use_of(const struct ledger_scan *s, const struct use *g, const struct use *whole,
				     double window_s, enum price_offer o)
{
	bool by_instance = price_offer_by_instance(o), up = by_instance || o == PRICE_CONTAINER_APPS;
	const struct use *size = g->size_s > 0 && !up ? g : whole;
	bool task = whole->requests <= 0 && g->is_task;
	double gib = size->size_s > 0 ? size->gib_s / size->size_s : (double)whole->peak_bytes / (1 << 30);

	return (struct price_use){
		.requests = by_instance ? 0 : g->requests,
		.billed_s = by_instance ? 0 : g->busy_s,
		.step_s = g->step_s,
		.memory_mb = gib * 1024,
		.vcpu = size->size_s > 0 ? size->vcpu_s / size->size_s : 0,
		.used_mb = (double)whole->peak_bytes / 1048576,
		.instance_s = by_instance || !task ? instance_s(s, g, whole, window_s) : g->up_s,
		.instances = by_instance || !task ? 0 : fmax(g->lives, 1),
		.months = window_s / PRICE_MONTH_S,
	};
}

/* Sums of one group stand together, and in it those of one workload. */
static bool apart(const struct ledger_scan *s, const struct sum *sum)
{
	return s->by == BY_TRIGGER && sum->key.kind == LEDGER_IDLE;
}

static int order(const void *a, const void *b, void *scan)
{
	const struct ledger_scan *s = scan;
	const struct sum_key *x = &((const struct sum *)a)->key, *y = &((const struct sum *)b)->key;
	const int64_t xs[] = {x->hour_us,  x->tags,    x->trigger, s->by == BY_LANE ? x->lane : 0,
			      apart(s, a), x->workload};
	const int64_t ys[] = {y->hour_us,  y->tags,    y->trigger, s->by == BY_LANE ? y->lane : 0,
			      apart(s, b), y->workload};

	for (size_t i = 0; i < ARRAY_SIZE(xs); i++)
		if (xs[i] != ys[i])
			return xs[i] < ys[i] ? -1 : 1;
	return 0;
}

/* Whether it can run there is said of the workload, not of the part of a task that fell into some hour. */
static void price(const struct ledger_scan *s, const struct use *g, const struct use *whole, double window_s,
		  struct query_priced *ret)
{
	for (enum price_offer o = 0; o < PRICE_NAMED_N; o++) {
		struct price_use u, all;

		if (!(s->q->on & 1u << o))
			continue;
		u = price_use_of(s, g, whole, window_s, o);
		all = price_use_of(s, whole, whole, window_s, o);
		ret->cannot[o] = price_offer_cannot(o, &all) ?: price_offer_cannot(o, &u);
		ret->usd[o] = ret->cannot[o] ? NAN : price_offer_usd(&s->prices->book, o, s->prices->arch, &u);
	}
}

void query_on(struct ledger_scan *s, void (*each)(void *arg, const struct query_priced *p), void *arg)
{
	int64_t from = s->q->since_wall_us > s->first_wall_us ? s->q->since_wall_us : s->first_wall_us;
	double window_s = fmax((double)(s->until_wall_us - from) / 1e6, 1);
	struct use *whole = xcalloc(s->names.n + 1u, sizeof(*whole));

	for (size_t i = 0; i < s->sums.n; i++)
		if (s->sums.v[i].key.workload < s->names.n)
			use_add(&whole[s->sums.v[i].key.workload], &s->sums.v[i]);
	if (s->sums.n)
		qsort_r(s->sums.v, s->sums.n, sizeof(*s->sums.v), order, s);
	for (size_t i = 0, n; i < s->sums.n; i += n) {
		struct query_priced p = {.of = &s->sums.v[i]};
		struct use group = {0};

		for (n = 0; i + n < s->sums.n && order(&s->sums.v[i], &s->sums.v[i + n], s) == 0; n++)
			use_add(&group, &s->sums.v[i + n]);
		if (p.of->key.workload >= s->names.n || (group.requests <= 0 && group.up_s <= 0))
			continue;
		price(s, &group, &whole[p.of->key.workload], window_s, &p);
		each(arg, &p);
	}
	free(whole);
}
