/* SPDX-License-Identifier: Apache-2.0 */
#include "service/policy.h"
#include <stdio.h>

#define BACKOFF_MIN_US 100000
#define BACKOFF_MAX_US 30000000
#define STEADY_STARTS  3
#define STEADY_MIN_US  1000000
#define GIVE_UP_AFTER  3 /* failures in a row: what waits is told, rather than held to the end */
/* As ECS's circuit breaker counts: half of what is desired, within these. */
#define BREAKER_MIN   3
#define BREAKER_MAX   200
#define WATCH_US      30000000
#define JUDGED_AFTER  20 /* requests to one side say something about it */
#define WORSE_PERCENT 5	 /* points more of errors than the old revision has */
#define WORSE_TIMES   3	 /* as slow as the old revision, and */
#define WORSE_US      100000

static int divide_up(int a, int b)
{
	return a / b + (a % b > 0);
}

static int within(int n, int min, int max)
{
	return n < min ? min : n > max ? max : n;
}

static int needed(const struct service_load *l, int open)
{
	int n = !open ? 0 : l->concurrency ? divide_up(open, l->concurrency) : 1, by_cpu;

	if (l->cpu_percent && l->cpu >= 0 && open) {
		by_cpu = divide_up(l->cpu, l->cpu_percent);
		n = n > by_cpu ? n : by_cpu;
	}
	return within(n, l->min, l->max);
}

int service_wanted(struct service_slack *s, const struct service_load *l, int64_t now_us, int64_t *ret_next_us)
{
	int need = needed(l, l->open);

	*ret_next_us = -1;
	if (need >= l->have) {
		*s = (struct service_slack){0};
		return need;
	}
	if (!s->since_us)
		*s = (struct service_slack){.since_us = now_us};
	if (s->peak < l->open)
		s->peak = l->open;
	if (l->have > l->max)
		return l->max;
	if (now_us - s->since_us >= l->idle_us) {
		int kept = needed(l, s->peak);

		*s = kept > need ? (struct service_slack){now_us, l->open} : (struct service_slack){0};
		*ret_next_us = kept > need ? l->idle_us : -1; /* fewer may do from here on, too */
		return kept;
	}
	*ret_next_us = s->since_us + l->idle_us - now_us;
	return l->have;
}

int64_t service_backoff_us(int failures)
{
	int64_t us = BACKOFF_MIN_US;

	while (--failures > 0 && us < BACKOFF_MAX_US)
		us *= 2;
	return failures < 0 ? 0 : us < BACKOFF_MAX_US ? us : BACKOFF_MAX_US;
}

int64_t service_steady_us(int64_t start_us)
{
	int64_t us = start_us > SERVICE_STEADY_US ? SERVICE_STEADY_US : STEADY_STARTS * start_us;

	return us < STEADY_MIN_US ? STEADY_MIN_US : us < SERVICE_STEADY_US ? us : SERVICE_STEADY_US;
}

enum service_move service_place(const struct service_line *l)
{
	if (l->held > SERVICE_HELD_MAX)
		return SERVICE_REFUSE;
	if (!l->ready) {
		bool in_vain = l->none || (l->failures >= GIVE_UP_AFTER && !l->starting);

		return in_vain || l->waited_us >= SERVICE_HOLD_US ? SERVICE_REFUSE : SERVICE_WAIT;
	}
	if (l->concurrency && l->least >= l->concurrency && l->starting && l->waited_us < SERVICE_PATIENCE_US)
		return SERVICE_WAIT;
	return SERVICE_USE;
}

/* ---- rollouts ---- */

static double share(const struct rollout_side *s)
{
	return s->requests ? 100.0 * (double)s->errors / (double)s->requests : 0;
}

static int64_t mean_us(const struct rollout_side *s)
{
	return s->requests ? s->total_us / (int64_t)s->requests : 0;
}

static bool worse(const struct rollout_load *l, char *why, size_t size)
{
	const struct rollout_side *n = &l->new, *o = &l->old;
	int allowed = within(divide_up(l->desired, 2), BREAKER_MIN, BREAKER_MAX);
	bool beside = o->requests >= JUDGED_AFTER; /* what the old one has to say for comparison */

	if (n->failed >= allowed) {
		snprintf(why, size, "%d of its instances failed", n->failed);
		return true;
	}
	if (n->requests < JUDGED_AFTER || !l->has_old)
		return false;
	if (share(n) > (beside ? share(o) + WORSE_PERCENT : 50)) {
		snprintf(why, size, "%.1f %% of its answers are errors (5xx), of the old revision's %.1f %%", share(n),
			 share(o));
		return true;
	}
	if (beside && mean_us(n) > mean_us(o) * WORSE_TIMES + WORSE_US) {
		snprintf(why, size, "its answers take %.1f ms on average, the old revision's %.1f",
			 (double)mean_us(n) / 1e3, (double)mean_us(o) / 1e3);
		return true;
	}
	return false;
}

/* The share of the requests in a step, from 1; 0 in the first. */
static int percent_at(const struct rollout_spec *s, int step)
{
	if (s->strategy == ROLLOUT_BLUE_GREEN || step > s->n_steps)
		return step ? 100 : 0;
	return step ? s->steps[step - 1] : 0;
}

/* How long a step is watched: where shares are moved, that is what they are moved for. */
static int64_t watch_us(const struct rollout_spec *s)
{
	bool steps = s->strategy == ROLLOUT_BLUE_GREEN || s->strategy == ROLLOUT_CANARY;

	return s->wait_us >= 0 ? s->wait_us : steps ? WATCH_US : 0;
}

static int steps_of(const struct rollout_spec *s)
{
	return s->strategy == ROLLOUT_BLUE_GREEN ? 1 : s->n_steps;
}

static void by_steps(const struct rollout_load *l, struct rollout_plan *p)
{
	bool last = l->step >= steps_of(l->spec), watched = !l->step || l->step_us >= watch_us(l->spec) || l->promote;

	p->weight = percent_at(l->spec, l->step);
	/* What the next step needs is there before it begins. */
	p->want_new = within(divide_up(l->desired * percent_at(l->spec, l->step + 1), 100), 1, l->desired);
	p->want_old = l->old.have > l->desired ? l->desired : l->old.have;
	if (l->promote)
		p->want_new = l->desired;
	if (!watched)
		p->next_us = watch_us(l->spec) - l->step_us;
	else if (l->new.ready >= p->want_new)
		p->move = last || (l->promote && l->new.ready >= l->desired) ? ROLLOUT_DONE : ROLLOUT_STEP;
}

/* Instances change sides as they become ready. One more or one less than is desired must be possible. */
static void by_instances(const struct rollout_load *l, struct rollout_plan *p)
{
	const struct rollout_spec *s = l->spec;
	int at_least = divide_up(l->desired * s->min_percent, 100), at_most = l->desired * s->max_percent / 100;
	int missing;

	if (at_least > l->desired)
		at_least = l->desired;
	if (at_most <= at_least)
		at_most = at_least + 1;
	missing = s->strategy == ROLLOUT_REPLACE ? 0 : at_least - l->new.ready;
	p->want_old = within(missing, 0, l->old.have);
	p->want_new = at_most - l->old.have;
	if (p->want_new < l->new.have)
		p->want_new = l->new.have;
	if (s->strategy == ROLLOUT_REPLACE) /* never both */
		p->want_new = l->old.have || l->old.going ? l->new.have : l->desired;
	if (p->want_new > l->desired)
		p->want_new = l->desired;
	if (l->new.ready < l->desired || l->old.have)
		return;
	if (!l->step)
		p->move = watch_us(s) && l->has_old ? ROLLOUT_STEP : ROLLOUT_DONE;
	else if (l->step_us >= watch_us(s) || l->promote)
		p->move = ROLLOUT_DONE;
	else
		p->next_us = watch_us(s) - l->step_us;
}

void rollout_plan(const struct rollout_load *l, struct rollout_plan *ret)
{
	bool steps = l->has_old && (l->spec->strategy == ROLLOUT_BLUE_GREEN || l->spec->strategy == ROLLOUT_CANARY);

	*ret = (struct rollout_plan){.move = ROLLOUT_WAIT, .weight = -1, .next_us = -1};
	if (!l->desired) {
		ret->move = ROLLOUT_DONE;
		return;
	}
	if (steps)
		by_steps(l, ret);
	else
		by_instances(l, ret);
	if (l->spec->breaker && !l->promote && worse(l, ret->reason, sizeof(ret->reason)))
		ret->move = ROLLOUT_FAILED;
}
