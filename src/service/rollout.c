/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From one revision of a service to another. What is to happen is policy.c's; here it happens.
 *
 *      (complete) ───► step 0 ───► step 1 ... ───► (complete)
 *                        └───────────┴───► (back: the old one is the primary again)
 */
#include <stdio.h>
#include "base/clock.h"
#include "service/service_int.h"

/* The primary is there; old goes on until it is complete. */
void rollout_begin(struct service *sv, struct deployment *old)
{
	sv->old = old;
	sv->rolling = true;
	sv->promote = false;
	sv->step = 0;
	sv->weight = old ? 0 : -1;
	sv->step_us = loop_now_us(sv->ss->o.loop);
	service_wake(sv);
}

static struct rollout_side side(const struct deployment *d)
{
	struct rollout_side s = {0};

	if (!d)
		return s;
	s = d->seen;
	s.have = deployment_count(d, COUNT_LIVE);
	s.ready = deployment_count(d, COUNT_READY);
	s.going = deployment_count(d, COUNT_GOING);
	return s;
}

static void step(struct service *sv)
{
	sv->step++;
	sv->step_us = loop_now_us(sv->ss->o.loop);
	list_each(&sv->deployments, it)
	{
		struct rollout_side *seen = &container_of(it, struct deployment, node)->seen;

		*seen = (struct rollout_side){.failed = seen->failed};
	}
}

static void settle(struct deployment *d, enum deployment_state st)
{
	d->state = st;
	d->updated_wall_us = clock_wall_us();
}

static void complete(struct service *sv)
{
	struct deployment *d = service_primary(sv);

	settle(d, DEPLOYMENT_COMPLETED);
	*d->reason = 0;
	d->seen = (struct rollout_side){0};
	if (sv->old) {
		free(sv->previous);
		sv->previous = deployment_text(sv->old);
	}
	sv->old = NULL;
	sv->rolling = false;
	service_save(sv, NULL);
	service_say(sv, "%s:%d is complete", d->family, d->revision);
}

void rollout_back(struct service *sv, const char *why)
{
	struct deployment *bad = service_primary(sv), *old = sv->old;
	auto_free char *last = *bad->reason ? xasprintf("; %s", bad->reason) : xstrdup("");

	settle(bad, DEPLOYMENT_FAILED);
	snprintf(bad->reason, sizeof(bad->reason), "%s%s", why, last);
	service_say(sv, "%s:%d is taken back: %s", bad->family, bad->revision, bad->reason);
	list_del(&old->node);
	list_push_front(&sv->deployments, &old->node);
	service_spec_revision(&sv->spec, old);
	free(sv->previous);
	sv->previous = deployment_text(bad);
	sv->old = NULL;
	sv->rolling = false;
	service_save(sv, NULL);
}

/* false: it was known, and goes on being tried. */
static bool failed(struct service *sv, const char *why)
{
	struct deployment *d = service_primary(sv);

	if (sv->old && sv->spec.rollout.rollback) {
		rollout_back(sv, why);
		return true;
	}
	if (d->state != DEPLOYMENT_FAILED) {
		settle(d, DEPLOYMENT_FAILED);
		service_say(sv, "%s:%d failed: %s", d->family, d->revision, why);
	}
	return false;
}

/* Whether it was changed so that it must be looked at once more. */
static bool act(struct service *sv, const struct rollout_plan *p)
{
	switch (p->move) {
	case ROLLOUT_STEP:
		step(sv);
		break;
	case ROLLOUT_DONE:
		complete(sv);
		break;
	case ROLLOUT_FAILED:
		if (!failed(sv, p->reason))
			return false;
		break;
	default:
		return false;
	}
	service_wake(sv);
	return sv->rolling;
}

int64_t rollout_tick(struct service *sv)
{
	struct rollout_plan p = {.next_us = -1};
	struct rollout_load l;

	while (sv->rolling) {
		struct deployment *d = service_primary(sv);

		l = (struct rollout_load){.spec = &sv->spec.rollout,
					  .has_old = sv->old != NULL,
					  .promote = sv->promote,
					  .desired = sv->desired - d->over,
					  .step = sv->step,
					  .step_us = loop_now_us(sv->ss->o.loop) - sv->step_us,
					  .new = side(d),
					  .old = side(sv->old)};
		rollout_plan(&l, &p);
		if (!act(sv, &p))
			break;
	}
	sv->weight = sv->rolling ? p.weight : -1;
	list_each(&sv->deployments, it)
	{
		struct deployment *d = container_of(it, struct deployment, node);
		bool primary = d == service_primary(sv);

		d->want = sv->rolling ? (primary	? p.want_new
					 : d == sv->old ? p.want_old
							: 0)
			  : primary   ? sv->desired
				      : 0;
	}
	return sv->rolling ? p.next_us : -1;
}
