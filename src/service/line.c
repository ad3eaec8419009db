/* SPDX-License-Identifier: Apache-2.0 */
/* What waits for an instance, and what is open at one. */
#include <stdio.h>
#include "service/service_int.h"

/* Of those of one deployment, or (NULL) of all: the least loaded that is ready; among equals the one that has waited
 * longest. */
static struct replica *least(const struct service *sv, const struct deployment *only)
{
	struct replica *best = NULL;

	list_each(&sv->deployments, dn)
	{
		struct deployment *d = container_of(dn, struct deployment, node);

		if (only && only != d)
			continue;
		list_each(&d->instances, it)
		{
			struct replica *in = container_of(it, struct replica, node);

			if (in->state == SI_READY && (!best || in->open < best->open))
				best = in;
		}
	}
	return best;
}

struct replica *line_pick(struct service *sv, int *ret_least)
{
	struct replica *in = NULL;

	if (sv->rolling && sv->weight >= 0 && sv->old) {
		bool is_new = sv->credit + sv->weight >= 100;

		in = least(sv, is_new ? service_primary(sv) : sv->old);
	}
	if (!in)
		in = least(sv, NULL);
	*ret_least = in ? in->open : 0;
	return in;
}

static enum service_move place(struct service *sv, int64_t waited_us, struct replica **ret)
{
	struct deployment *d = service_primary(sv);
	struct service_shape s = service_shape(sv);
	struct service_line l = {.concurrency = s.concurrency, .waited_us = waited_us, .held = (int)sv->n_held};

	*ret = line_pick(sv, &l.least);
	if (*ret && !s.concurrency)
		return SERVICE_USE; /* the usual, without counting */
	l.failures = d->failures;
	l.none = !s.max || sv->state != SERVICE_ACTIVE || (d->over && d->over >= d->want);
	list_each(&sv->deployments, it)
	{
		struct deployment *x = container_of(it, struct deployment, node);

		l.ready += deployment_count(x, COUNT_READY);
		l.starting += deployment_count(x, COUNT_ON_THE_WAY);
	}
	if (!d->failures && d->want > deployment_count(d, COUNT_LIVE))
		l.starting++;
	return service_place(&l);
}

static void begin(struct service *sv, struct service_use *u, struct replica *in)
{
	if (sv->rolling && sv->weight >= 0)
		sv->credit = (sv->credit + sv->weight) % 100;
	u->at = in;
	list_push(&in->uses, &u->node);
	/* Round robin among those that are equally loaded. */
	list_del(&in->node);
	list_push(&in->d->instances, &in->node);
	in->open++;
}

/* Wakes the service when more or fewer instances may be wanted now. */
static void look(struct service *sv)
{
	struct service_shape s = service_shape(sv);
	int wanted = !sv->open ? 0 : s.concurrency ? (sv->open + s.concurrency - 1) / s.concurrency : 1;

	if (sv->slack.peak < sv->open)
		sv->slack.peak = sv->open;
	if (wanted >= sv->desired && sv->slack.since_us)
		sv->slack = (struct service_slack){0};
	if ((sv->spec.cpu_percent && sv->cpu < 0 && sv->open) || (wanted > sv->desired && sv->desired < s.max) ||
	    (wanted < sv->desired && !sv->slack.since_us))
		service_wake(sv);
}

void line_opened(struct service *sv, int more)
{
	int64_t now = loop_now_us(sv->ss->o.loop);

	sv->open_us += (sv->open - (int64_t)sv->n_held) * (now - sv->open_seen_us);
	sv->open_seen_us = now;
	sv->open += more;
	sv->asked += more > 0;
}

bool service_use(struct service *sv, struct service_use *u)
{
	struct replica *in = NULL;
	enum service_move m = sv->n_held ? SERVICE_WAIT : place(sv, 0, &in);

	u->service = sv;
	u->at = NULL;
	u->since_us = loop_now_us(sv->ss->o.loop);
	line_opened(sv, 1);
	look(sv);
	if (m == SERVICE_USE) {
		begin(sv, u, in);
		return true;
	}
	list_push(&sv->held, &u->node);
	sv->n_held++;
	service_wake(sv);
	return false;
}

void service_unuse(struct service_use *u)
{
	struct service *sv = u->service;
	struct replica *in = u->at;

	if (!sv)
		return;
	u->service = NULL;
	line_opened(sv, -1);
	list_del(&u->node);
	if (!in) {
		sv->n_held--;
		look(sv);
		return;
	}
	u->at = NULL;
	in->open--;
	if (!in->open && in->state == SI_DRAIN)
		service_wake(sv);
	if (sv->n_held)
		service_wake(sv);
	look(sv);
}

static void tell(struct service *sv, struct service_use *u, const struct err *e)
{
	list_del(&u->node);
	line_opened(sv, e->kind ? -1 : 0);
	sv->n_held--;
	if (e->kind)
		u->service = NULL;
	u->ready(u, e);
}

enum wait {
	WAIT_DAEMON,
	WAIT_DELETED,
	WAIT_NO_INSTANCE,
	WAIT_BUDGET,
	WAIT_FAILED,
	WAIT_IMAGE,
	WAIT_PORT,
	WAIT_START,
	WAIT_N
};
static const char *const wait_name[WAIT_N] = {
	[WAIT_DAEMON] = "the daemon is on its way out",
	[WAIT_DELETED] = "the service was deleted",
	[WAIT_NO_INSTANCE] = "the service is to have no instance (max: 0)",
	[WAIT_BUDGET] = "a budget that is used up",
	[WAIT_FAILED] = "no instance is ready",
	[WAIT_IMAGE] = "its image to be brought here",
	[WAIT_PORT] = "an instance, which starts, to listen on port",
	[WAIT_START] = "an instance, which starts",
};

/* ret_text: in figures, "" for none. */
static enum wait waits_for(const struct service *sv, char ret_text[400])
{
	const struct deployment *d = service_primary(sv);
	int64_t again = service_backoff_us(d->failures) - (loop_now_us(sv->ss->o.loop) - d->failed_us);
	int coming = deployment_count(d, COUNT_ON_THE_WAY);
	char why[320];
	bool stops;

	*ret_text = 0;
	if (sv->ss->draining)
		return WAIT_DAEMON;
	if (sv->state != SERVICE_ACTIVE)
		return WAIT_DELETED;
	if (!sv->spec.max)
		return WAIT_NO_INSTANCE;
	if (service_closed(sv, &stops, why) && stops) {
		snprintf(ret_text, 400, ": %s", why);
		return WAIT_BUDGET;
	}
	if (*d->reason && !deployment_count(d, COUNT_READY)) {
		if (d->failures && !coming && again > 0)
			snprintf(ret_text, 400, "; %s; the next try is in %.1f s", d->reason, (double)again / 1e6);
		else
			snprintf(ret_text, 400, "; %s%s", d->reason, coming ? "; the next one starts" : "");
		return WAIT_FAILED;
	}
	if (d->pulling)
		return WAIT_IMAGE;
	if (!d->port || !coming)
		return WAIT_START;
	snprintf(ret_text, 400, " %u", d->port);
	return WAIT_PORT;
}

const char *line_waits_for(const struct service *sv, char *out, size_t size)
{
	char text[400];
	enum wait w = waits_for(sv, text);

	snprintf(out, size, "%s%s", wait_name[w], text);
	return out;
}

void line_refuse(struct service *sv, enum err_kind kind, const char *why)
{
	struct service_use *u;
	struct err e;

	err_set(&e, kind, "%s", why);
	while ((u = list_first(&sv->held, struct service_use, node)))
		tell(sv, u, &e);
}

void line_serve(struct service *sv, int64_t *next_us)
{
	struct service_use *u;
	char why[SERVICE_WHY_BYTES];
	struct err e = {0};

	/* ready() may end others' use or begin its own: from the head each time. */
	while ((u = list_first(&sv->held, struct service_use, node))) {
		int64_t waited = loop_now_us(sv->ss->o.loop) - u->since_us, left;
		struct replica *in;
		enum service_move m = place(sv, waited, &in);

		if (m == SERVICE_WAIT) {
			left = (in ? SERVICE_PATIENCE_US : SERVICE_HOLD_US) - waited;
			if (*next_us < 0 || left < *next_us)
				*next_us = left < 1000 ? 1000 : left;
			return;
		}
		if (m == SERVICE_USE) {
			list_del(&u->node);
			line_opened(sv, 0);
			sv->n_held--;
			begin(sv, u, in);
			u->ready(u, &e);
			continue;
		}
		err_set(&e, ERR_UNAVAILABLE, "%s", line_waits_for(sv, why, sizeof(why)));
		tell(sv, u, &e);
		e = (struct err){0};
	}
}
