/* SPDX-License-Identifier: Apache-2.0 */
/* One service: its deployments, and the look at everything that follows each change. */
#include "service/service.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "image/image.h"
#include "store/function.h"
#include "service/service_int.h"

struct deployment *service_primary(const struct service *sv)
{
	return list_first(&sv->deployments, struct deployment, node);
}

void service_say(struct service *sv, const char *fmt, ...)
{
	unsigned last = SERVICE_EVENTS - 1;
	char text[400], subject[SERVICE_NAME_MAX + LIM_NAME_BYTES + 2];
	struct service_event *ev;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_info("service", "%s: %s", sv->key, text);
	if (sv->n_events && !strcmp(sv->events[0]->text, text)) { /* again and again: the last time is kept */
		sv->events[0]->wall_us = clock_wall_us();
		return;
	}
	ev = xmalloc(sizeof(*ev) + strlen(text) + 1);
	ev->id = ++sv->ss->next_event;
	ev->wall_us = clock_wall_us();
	memcpy(ev->text, text, strlen(text) + 1);
	if (sv->n_events <= last)
		last = sv->n_events++;
	free(sv->events[last]);
	memmove(sv->events + 1, sv->events, last * sizeof(*sv->events));
	sv->events[0] = ev;
	snprintf(subject, sizeof(subject), "%s/%s", sv->spec.project, sv->spec.name);
	journal_add(sv->ss->o.journal, subject, "service", "%s", text);
}

#define CPU_LOOK_US  2000000
#define PULL_LOOK_US 200000 /* an image is on its way: whether it has come */

/* ---- deployments ---- */

void deployment_hold(struct deployment *d)
{
	auto_json doc = json_parse(str_of(d->doc), NULL);
	unsigned n = task_doc_n(doc);

	if (!d->images)
		d->images = xcalloc(n, sizeof(struct image *));
	d->all_held = true;
	for (unsigned i = 0; i < n; i++) {
		struct str name = json_get_str(task_doc_container(doc, i), "image");
		struct image *im = name.p ? image_find(d->sv->ss->o.images, name.p) : NULL;

		if (im && !d->images[i])
			d->images[i] = image_use(im);
		d->all_held &= d->images[i] != NULL;
	}
	d->n_images = n;
}

static void new_id(char out[32])
{
	uint64_t n;

	rand_bytes(&n, sizeof(n));
	snprintf(out, 32, "ecs-svc/%019llu", (unsigned long long)(n % 10000000000000000000ull));
}

struct deployment *deployment_new(struct service *sv, const char *family, int revision, uint16_t port, const char *id,
				  struct err *e)
{
	auto_definition def = definition_get(sv->ss->o.store, str_of(family), revision);
	auto_json doc = def ? json_parse(str_of(def->doc), e) : NULL;
	struct deployment *d;

	if (!def)
		err_set(e, ERR_NOT_FOUND, "there is no definition %s:%d", family, revision);
	if (!doc)
		return NULL;
	d = xcalloc(1, sizeof(*d));
	d->sv = sv;
	d->family = xstrdup(family);
	d->revision = revision;
	d->port = port;
	d->doc = xstrdup(def->doc);
	deployment_hold(d);
	d->created_wall_us = d->updated_wall_us = clock_wall_us();
	list_init(&d->instances);
	if (id && *id)
		strlcpy_(d->id, id, sizeof(d->id));
	else
		new_id(d->id);
	list_push_front(&sv->deployments, &d->node);
	return d;
}

void deployment_free(struct deployment *d)
{
	list_each(&d->instances, it) replica_free(container_of(it, struct replica, node));
	list_del(&d->node);
	for (unsigned i = 0; i < d->n_images; i++)
		if (d->images[i])
			image_unuse(d->images[i]);
	free(d->images);
	free(d->family);
	free(d->doc);
	free(d);
}

int deployment_count(const struct deployment *d, enum deployment_count what)
{
	static const uint8_t of[] = {
		[COUNT_LIVE] = 1 << SI_START | 1 << SI_PROBE | 1 << SI_READY,
		[COUNT_ON_THE_WAY] = 1 << SI_START | 1 << SI_PROBE,
		[COUNT_READY] = 1 << SI_READY,
		[COUNT_GOING] = 1 << SI_DRAIN | 1 << SI_STOP,
	};
	int n = 0;

	list_each(&d->instances, it) n += of[what] >> container_of(it, struct replica, node)->state & 1;
	return n;
}

/* Those with the least to lose go first. */
static void end_some(struct deployment *d, int n)
{
	while (n-- > 0) {
		struct replica *victim = NULL;

		list_each(&d->instances, it)
		{
			struct replica *in = container_of(it, struct replica, node);

			if (in->state <= SI_READY && (!victim || in->state < victim->state ||
						      (in->state == victim->state && in->open < victim->open)))
				victim = in;
		}
		if (!victim)
			return;
		replica_end(victim);
	}
}

int service_stop(struct service *sv)
{
	int n = 0;

	list_each(&sv->deployments, it)
	{
		list_each(&container_of(it, struct deployment, node)->instances, k)
		{
			replica_end(container_of(k, struct replica, node));
			n++;
		}
	}
	service_wake(sv);
	return n;
}

/* As many instances as are wanted; when to try again after failures. */
static int64_t fit(struct deployment *d)
{
	int live = deployment_count(d, COUNT_LIVE), missing = d->want - d->over - live;
	int64_t since = loop_now_us(d->sv->ss->o.loop) - d->failed_us, wait;
	struct err e;

	if (since >= SERVICE_STEADY_US && deployment_count(d, COUNT_READY))
		d->failures = 0;
	wait = service_backoff_us(d->failures) - since;

	list_each(&d->instances, it)
	{
		struct replica *in = container_of(it, struct replica, node);

		if (in->state == SI_DRAIN && !in->open)
			replica_end(in);
		missing -= in->state == SI_STOP && !in->asked; /* how it ended says what follows */
	}
	end_some(d, live - d->want);
	if (missing <= 0 || d->sv->ss->draining)
		return -1;
	if (d->failures && deployment_count(d, COUNT_ON_THE_WAY))
		return -1; /* one tries whether it works again */
	if (d->failures && wait > 0)
		return wait;
	for (missing = d->failures ? 1 : missing; missing > 0; missing--)
		if (replica_add(d, &e) < 0)
			return d->failures ? service_backoff_us(d->failures) : PULL_LOOK_US;
	return -1;
}

/* ---- the look at everything ---- */

static void earlier(int64_t *at, int64_t us)
{
	if (us >= 0 && (*at < 0 || us < *at))
		*at = us;
}

/* Every CPU_LOOK_US, where somebody wants to know. */
static void look_at_cpu(struct service *sv, int64_t *next_us)
{
	int64_t now = loop_now_us(sv->ss->o.loop);

	if (!sv->spec.cpu_percent || !sv->open) {
		sv->cpu = -1;
		return;
	}
	if (now >= sv->cpu_due_us) {
		sv->cpu_due_us = now + CPU_LOOK_US;
		sv->cpu = 0;
		list_each(&service_primary(sv)->instances, it)
		{
			struct replica *in = container_of(it, struct replica, node);
			int percent = in->state == SI_READY ? replica_cpu_percent(in) : -1;

			sv->cpu += percent > 0 ? percent : 0;
		}
	}
	earlier(next_us, sv->cpu_due_us - now);
}

bool service_closed(const struct service *sv, bool *ret_stops, char why[320])
{
	const struct services_opts *o = &sv->ss->o;
	auto_free char *name = o->closed ? xasprintf("service/%s", sv->spec.name) : NULL;

	*ret_stops = false;
	return name && o->closed(o->closed_arg, name, service_tags(sv), ret_stops, why);
}

const char *service_tags(const struct service *sv)
{
	return ledger_text(sv->ss->o.ledger, sv->tags);
}

void service_tag(struct service *sv)
{
	auto_json source = sv->spec.source ? json_parse(str_of(sv->spec.source), NULL) : NULL;
	uint32_t was = sv->tags;
	auto_buf text = {0};

	pairs_list_tags(json_get(source, "tags"), &text);
	figures_account(sv); /* what it had until now */
	sv->tags = text.n ? ledger_intern(sv->ss->o.ledger, text.p) : 0;
	ledger_release(sv->ss->o.ledger, was);
	list_each(&sv->deployments, it)
	{
		struct deployment *d = container_of(it, struct deployment, node);

		list_each(&d->instances, i) task_tags_set(container_of(i, struct replica, node)->task, text.p);
	}
}

static void want(struct service *sv, int64_t *next_us)
{
	char why[320];
	bool stops;

	struct service_shape s = service_shape(sv);
	struct service_load l = {.min = sv->rolling && !s.min && s.max ? 1 : s.min, /* one shows whether it works */
				 .max = s.max,
				 .concurrency = s.concurrency,
				 .cpu_percent = sv->spec.cpu_percent,
				 .idle_us = s.idle_us,
				 .have = sv->desired,
				 .open = sv->open,
				 .cpu = sv->cpu};
	int64_t again = -1;
	int n = sv->state == SERVICE_ACTIVE ? service_wanted(&sv->slack, &l, loop_now_us(sv->ss->o.loop), &again) : 0;

	if (sv->state == SERVICE_ACTIVE)
		earlier(next_us, again);
	if (again >= 0)
		service_lane_look(sv);
	sv->desired = service_closed(sv, &stops, why) && stops ? 0 : n;
}

/* ---- those who wait for a revision ---- */

#define GIVE_UP_AFTER 3 /* failures, where no breaker says so */

void service_wait_start(struct service *sv, struct service_wait *w)
{
	strlcpy_(w->id, service_primary(sv)->id, sizeof(w->id));
	w->since_us = w->said_us = loop_now_us(sv->ss->o.loop);
	list_push(&sv->waits, &w->node);
	service_wake(sv);
}

/* false: nothing to say yet. */
static bool verdict(const struct service *sv, const struct service_wait *w, struct err *e)
{
	const struct deployment *d = service_primary(sv), *theirs = NULL;
	char why[320];
	bool stops;

	list_each(&sv->deployments, it)
	{
		const struct deployment *x = container_of(it, struct deployment, node);

		theirs = strcmp(x->id, w->id) ? theirs : x;
	}
	if (sv->state != SERVICE_ACTIVE)
		err_set(e, ERR_CANCELED, "the service was deleted meanwhile");
	else if (!theirs || (theirs != d && theirs->state != DEPLOYMENT_FAILED))
		err_set(e, ERR_CANCELED, "another revision took its place");
	else if (theirs->state == DEPLOYMENT_FAILED || theirs->failures >= GIVE_UP_AFTER)
		err_set(e, ERR_UNAVAILABLE, "%s%s", theirs->reason,
			theirs == d ? "" : "; the revision before goes on serving");
	else if (service_closed(sv, &stops, why) && stops)
		err_set(e, ERR_UNAVAILABLE, "nothing of it may run: %s", why);
	else
		return !sv->rolling || sv->step;
	return true;
}

/* The same, where there is nothing to say: what it waits for, from time to time, and not for ever. */
static bool patience(const struct service *sv, struct service_wait *w, int64_t *next_us, struct err *e)
{
	int64_t now = loop_now_us(sv->ss->o.loop), left = w->said_us + SERVICE_STILL_US - now;
	char why[SERVICE_WHY_BYTES];

	if (left <= 0) {
		line_waits_for(sv, why, sizeof(why));
		if (now - w->since_us >= SERVICE_WAIT_US)
			err_set(e, ERR_TIMEOUT, "not ready after %lld s: it waits for %s", SERVICE_WAIT_US / 1000000,
				why);
		else if (!w->still(w, why))
			err_set(e, ERR_CANCELED, "nobody waits for it any more");
		w->said_us = now;
		left = SERVICE_STILL_US;
	}
	earlier(next_us, left);
	return e->kind;
}

static void tell_waits(struct service *sv, int64_t *next_us)
{
	list_each(&sv->waits, it)
	{
		struct service_wait *w = container_of(it, struct service_wait, node);
		struct err e = {0};

		if (!verdict(sv, w, &e) && !patience(sv, w, next_us, &e))
			continue;
		list_del(&w->node);
		w->done(w, &e);
	}
}

static void tick(void *arg)
{
	struct service *sv = arg;
	int64_t next_us = -1;
	bool any = false;

	look_at_cpu(sv, &next_us);
	want(sv, &next_us);
	earlier(&next_us, rollout_tick(sv));
	tell_waits(sv, &next_us); /* before deployments of which there is nothing more to say go */
	list_each(&sv->deployments, it)
	{
		struct deployment *d = container_of(it, struct deployment, node);

		if (sv->ss->ready)
			earlier(&next_us, fit(d));
		if (d != service_primary(sv) && d != sv->old && list_empty(&d->instances))
			deployment_free(d);
	}
	line_serve(sv, &next_us);
	if (next_us >= 0)
		loop_timer_in(sv->timer, next_us);
	list_each(&sv->deployments, it) any |= !list_empty(&container_of(it, struct deployment, node)->instances);
	if (sv->state == SERVICE_DRAINING && !any)
		service_gone(sv);
}

static void due(void *arg)
{
	service_wake(arg);
}

void service_wake(struct service *sv)
{
	if (!sv->tick.queued)
		loop_defer(sv->ss->o.loop, &sv->tick, tick, sv);
}

struct service *service_new(struct services *ss, const struct service_spec *spec)
{
	struct service *sv = xcalloc(1, sizeof(*sv));

	sv->ss = ss;
	sv->spec = *spec;
	sv->key = xasprintf("%s/%s", spec->cluster, spec->name);
	sv->weight = sv->cpu = -1;
	sv->created_wall_us = clock_wall_us();
	list_init(&sv->node);
	list_init(&sv->deployments);
	list_init(&sv->held);
	list_init(&sv->waits);
	list_init(&sv->ports);
	sv->timer = loop_timer_new(ss->o.loop, due, sv);
	return sv;
}

void service_free(struct service *sv)
{
	list_each(&sv->deployments, it) deployment_free(container_of(it, struct deployment, node));
	ports_free(sv);
	figures_free(sv);
	ledger_release(sv->ss->o.ledger, sv->tags);
	loop_timer_free(sv->timer);
	loop_defer_cancel(sv->ss->o.loop, &sv->tick);
	while (sv->n_events)
		free(sv->events[--sv->n_events]);
	service_spec_done(&sv->spec);
	list_del(&sv->node);
	free(sv->previous);
	free(sv->key);
	free(sv);
}

/* ---- what people ask for ---- */

int service_promote(struct service *sv, struct err *e)
{
	if (!sv->rolling || !sv->old)
		return err_set(e, ERR_CONFLICT, "no rollout is under way");
	sv->promote = true;
	service_say(sv, "%s:%d is promoted", service_primary(sv)->family, service_primary(sv)->revision);
	service_wake(sv);
	return 0;
}

int service_undo(struct service *sv, struct err *e)
{
	auto_json was = NULL;

	if (sv->rolling && sv->old) {
		rollout_back(sv, "somebody asked for it");
		service_wake(sv);
		return 0;
	}
	if (!sv->previous)
		return err_set(e, ERR_CONFLICT, "there is no revision before this one");
	was = json_parse(str_of(sv->previous), e);
	return was ? service_change(sv, json_get_str(was, "family").p, (int)json_get_int(was, "revision", 0),
				    (uint16_t)json_get_int(was, "port", 0), e)
		   : -1;
}
