/* SPDX-License-Identifier: Apache-2.0 */
/* All services: by name and by route, as records, and whose a running task is. */
#include <string.h>
#include "base/log.h"
#include "service/service_int.h"

#define INACTIVE_KEPT 20

/* ---- finding ---- */

struct service *service_next(const struct services *ss, const struct service *after)
{
	struct list *n = after ? after->node.next : ss->all.next;

	return n == &ss->all ? NULL : container_of(n, struct service, node);
}

struct service *service_get(const struct services *ss, struct str cluster, struct str name)
{
	auto_free char *key = xasprintf(STR_FMT "/" STR_FMT, STR_ARG(cluster), STR_ARG(name));

	return map_get(&ss->by_name, str_of(key));
}

const struct service_spec *service_spec_of(const struct service *sv)
{
	return &sv->spec;
}

struct service *service_by_route(const struct services *ss, struct str path)
{
	struct service *best = NULL;
	size_t best_n = 0;

	for (struct service *sv = ss->n_routes ? service_next(ss, NULL) : NULL; sv; sv = service_next(ss, sv)) {
		size_t n = strlen(sv->spec.route);
		bool star = n && sv->spec.route[n - 1] == '*';

		if (sv->state != SERVICE_ACTIVE || !n || n <= best_n || path.n < n - star ||
		    memcmp(path.p, sv->spec.route, n - star) || (!star && path.n > n))
			continue;
		if (!star)
			return sv;
		best = sv, best_n = n;
	}
	return best;
}

static void insert(struct services *ss, struct service *sv)
{
	struct service *at = service_next(ss, NULL);

	while (at && strcmp(at->key, sv->key) < 0)
		at = service_next(ss, at);
	list_push(at ? &at->node : &ss->all, &sv->node); /* before it */
	map_put(&ss->by_name, str_of(sv->key), sv);
}

static void take_out(struct service *sv)
{
	map_del(&sv->ss->by_name, str_of(sv->key));
	service_free(sv);
}

/* The oldest of those that are gone for long enough; sv stays for those who wait for its end. */
void service_gone(struct service *sv)
{
	struct service *oldest = NULL;
	unsigned n = 0;

	sv->state = SERVICE_INACTIVE;
	ports_free(sv);
	for (struct service *x = service_next(sv->ss, NULL); x; x = service_next(sv->ss, x)) {
		n += x->state == SERVICE_INACTIVE;
		if (x->state == SERVICE_INACTIVE && (!oldest || x->events[0]->id < oldest->events[0]->id))
			oldest = x;
	}
	if (n > INACTIVE_KEPT && oldest != sv)
		take_out(oldest);
}

/* ---- records ---- */

char *deployment_text(const struct deployment *d)
{
	struct buf out = {0};
	struct jw w = jw_object(&out);

	jw_strc(&w, "id", d->id);
	jw_strc(&w, "family", d->family);
	jw_int(&w, "revision", d->revision);
	jw_int(&w, "port", d->port);
	jw_int(&w, "created_us", d->created_wall_us);
	jw_end(&w, '}');
	return buf_take(&out);
}

static void put_text(struct jw *w, const char *key, char *text)
{
	jw_raw(w, key, str_of(text));
	free(text);
}

void service_save(struct service *sv, struct store_op *op)
{
	auto_free char *key = xasprintf(SERVICE_RECORD "%s", sv->key);
	auto_buf out = {0};
	struct jw w = jw_object(&out);

	jw_obj(&w, "spec");
	service_spec_record(&sv->spec, &w);
	jw_end(&w, '}');
	put_text(&w, "deployment", deployment_text(service_primary(sv)));
	if (sv->rolling && sv->old)
		put_text(&w, "old", deployment_text(sv->old));
	jw_bool(&w, "rolling", sv->rolling);
	jw_strc(&w, "lane", lane_name[sv->lane]);
	if (sv->previous)
		jw_raw(&w, "previous", str_of(sv->previous));
	jw_int(&w, "created_us", sv->created_wall_us);
	jw_end(&w, '}');
	record_put(sv->ss->o.store, op, key, out.p);
}

static struct deployment *load_deployment(struct service *sv, const struct json *j, struct err *e)
{
	struct str family = json_get_str(j, "family");
	struct deployment *d = deployment_new(sv, family.p ? family.p : "", (int)json_get_int(j, "revision", 0),
					      (uint16_t)json_get_int(j, "port", 0), json_get_str(j, "id").p, e);

	if (d) {
		d->state = DEPLOYMENT_COMPLETED;
		d->created_wall_us = json_get_int(j, "created_us", d->created_wall_us);
	}
	return d;
}

static int load(struct services *ss, const char *text, struct err *e)
{
	auto_(service_spec_done) struct service_spec spec = {0};
	auto_json j = json_parse(str_of(text), e);
	struct deployment *old = NULL;
	struct service *sv;

	if (!j || service_spec_read(&spec, json_get(j, "spec"), e) < 0)
		return -1;
	sv = service_new(ss, &spec);
	spec.source = NULL;
	if (json_get(j, "old"))
		old = load_deployment(sv, json_get(j, "old"), NULL);
	if (!load_deployment(sv, json_get(j, "deployment"), e)) {
		service_free(sv);
		return -1;
	}
	sv->lane = str_eqc(json_get_str(j, "lane"), lane_name[LANE_FUNCTION]) ? LANE_FUNCTION : LANE_CONTAINER;
	service_tag(sv);
	service_lane_begin(sv);
	if (json_get_bool(j, "rolling", false)) {
		service_primary(sv)->state = DEPLOYMENT_IN_PROGRESS;
		rollout_begin(sv, old);
	}
	sv->created_wall_us = json_get_int(j, "created_us", 0);
	if (json_get(j, "previous")) {
		auto_buf out = {0};
		const struct json *p = json_get(j, "previous");
		struct jw w = jw_object(&out);

		jw_str(&w, "family", json_get_str(p, "family"));
		jw_int(&w, "revision", json_get_int(p, "revision", 0));
		jw_int(&w, "port", json_get_int(p, "port", 0));
		jw_end(&w, '}');
		sv->previous = buf_take(&out);
	}
	ss->n_routes += *sv->spec.route != 0;
	insert(ss, sv);
	ports_fit(sv);
	return 0;
}

/* ---- making and changing ---- */

void service_spec_revision(struct service_spec *s, const struct deployment *d)
{
	strlcpy_(s->family, d->family, sizeof(s->family));
	s->revision = d->revision;
	s->port = d->port;
}

/* Another deployment becomes the primary. The one that was complete last is what a rollout goes back to. */
int service_change(struct service *sv, const char *family, int revision, uint16_t port, struct err *e)
{
	struct deployment *was = service_primary(sv), *d = deployment_new(sv, family, revision, port, NULL, e);

	if (!d)
		return -1;
	/* One that has not been complete only ends, unless it is all that serves. */
	if (sv->rolling && (sv->old || !deployment_count(was, COUNT_READY)))
		was = sv->old;
	service_spec_revision(&sv->spec, d);
	rollout_begin(sv, was);
	service_say(sv, "%s:%d is started%s", family, revision, was ? " beside the revision before" : "");
	service_save(sv, NULL);
	return 0;
}

static int check(struct services *ss, const struct service_spec *spec, struct err *e)
{
	auto_definition def = definition_get(ss->o.store, str_of(spec->family), spec->revision);
	char why[200];

	if (service_spec_check(spec, e) < 0)
		return -1;
	if (def && spec->lane == LANE_WISH_FUNCTION && service_lane_cannot(spec, def->doc, why, sizeof(why)))
		return err_set(e, ERR_INVALID, "lane: function: %s", why);
	for (struct service *sv = *spec->route ? service_next(ss, NULL) : NULL; sv; sv = service_next(ss, sv))
		if (sv->state == SERVICE_ACTIVE && !strcmp(sv->spec.route, spec->route) &&
		    (strcmp(sv->spec.name, spec->name) || strcmp(sv->spec.cluster, spec->cluster)))
			return err_set(e, ERR_CONFLICT, "the route %s belongs to the service %s", spec->route, sv->key);
	return 0;
}

static int update(struct service *sv, const struct service_spec *spec, bool again, struct err *e)
{
	struct deployment *d = service_primary(sv);
	auto_free char *source = xstrdup(spec->source);
	struct service_spec was = sv->spec;
	bool changed =
		again || strcmp(d->family, spec->family) || d->revision != spec->revision || d->port != spec->port;

	sv->spec = *spec;
	sv->spec.source = NULL;
	if (changed && service_change(sv, spec->family, spec->revision, spec->port, e) < 0) {
		sv->spec = was;
		return -1;
	}
	free(was.source);
	sv->spec.source = take_ptr(source);
	sv->ss->n_routes += (*spec->route != 0) - (*was.route != 0);
	service_wake(sv);
	return 0;
}

int service_put(struct services *ss, struct store_op *op, const struct service_spec *spec, bool again, struct err *e)
{
	struct service *sv = service_get(ss, str_of(spec->cluster), str_of(spec->name));

	if (check(ss, spec, e) < 0)
		return -1;
	if (sv && sv->state == SERVICE_DRAINING)
		return err_set(e, ERR_CONFLICT, "the service %s is being deleted; its last instances end", sv->key);
	if (sv && sv->state == SERVICE_INACTIVE) {
		take_out(sv);
		sv = NULL;
	}
	if (sv) {
		if (update(sv, spec, again, e) < 0)
			return -1;
	} else {
		sv = service_new(ss, spec);
		sv->spec.source = xstrdup(spec->source);
		if (!deployment_new(sv, spec->family, spec->revision, spec->port, NULL, e)) {
			service_free(sv);
			return -1;
		}
		ss->n_routes += *spec->route != 0;
		insert(ss, sv);
		rollout_begin(sv, NULL);
	}
	service_tag(sv);
	service_lane_begin(sv);
	ports_fit(sv);
	for (struct task *k = task_next(ss->o.tasks, NULL); k; k = task_next(ss->o.tasks, k))
		ports_task(ss, k); /* it may be what they have been looking for */
	service_save(sv, op);
	return 0;
}

void service_del(struct services *ss, struct store_op *op, struct service *sv)
{
	auto_free char *key = xasprintf(SERVICE_RECORD "%s", sv->key),
		       *measured = xasprintf(SERVICE_MEASURED "%s", sv->key);

	sv->state = SERVICE_DRAINING;
	sv->rolling = false;
	ss->n_routes -= *sv->spec.route != 0;
	service_say(sv, "it is deleted; its instances end");
	line_refuse(sv, ERR_NOT_FOUND, "the service was deleted");
	service_wake(sv);
	if (record_get(ss->o.store, measured))
		record_del(ss->o.store, NULL, measured);
	record_del(ss->o.store, op, key);
}

/* ---- tasks ---- */

static struct deployment *deployment_of(const struct services *ss, const struct task *k)
{
	struct task_info i;
	auto_json note = NULL;
	struct service *sv;

	task_info(k, &i);
	if (!str_starts(str_of(i.group), "service:") || !(note = json_parse(str_of(i.note), NULL)))
		return NULL;
	sv = service_get(ss, json_get_str(note, "cluster"), json_get_str(note, "service"));
	if (!sv)
		return NULL;
	list_each(&sv->deployments, it)
	{
		struct deployment *d = container_of(it, struct deployment, node);

		if (str_eqc(json_get_str(note, "startedBy"), d->id))
			return d;
	}
	return NULL;
}

struct service *service_of_task(const struct services *ss, const struct task *k, const char **ret_deployment)
{
	struct deployment *d = deployment_of(ss, k);

	if (d)
		*ret_deployment = d->id;
	return d ? d->sv : NULL;
}

static void changed(struct task_watch *w, struct task *k)
{
	struct services *ss = container_of(w, struct services, watch);
	struct deployment *d = deployment_of(ss, k);

	ports_task(ss, k);
	if (!d)
		return;
	list_each(&d->instances, it)
	{
		struct replica *in = container_of(it, struct replica, node);

		if (in->task != k)
			continue;
		replica_changed(in);
		return;
	}
}

/* ---- life ---- */

struct services *services_new(const struct services_opts *o)
{
	struct services *ss = xcalloc(1, sizeof(*ss));
	const struct record *r = NULL;
	struct err e;

	ss->o = *o;
	list_init(&ss->all);
	list_init(&ss->spare);
	list_init(&ss->inside);
	ss->watch.changed = changed;
	task_watch(o->tasks, &ss->watch);
	while ((r = record_next(o->store, SERVICE_RECORD, r ? r->key : NULL)))
		if (load(ss, r->value, &e) < 0)
			log_error("service", "%s cannot be read, and is left alone: %s", r->key, e.text);
	return ss;
}

void services_ready(struct services *ss)
{
	struct task_info i;

	for (struct task *k = task_next(ss->o.tasks, NULL); k; k = task_next(ss->o.tasks, k)) {
		struct deployment *d = deployment_of(ss, k);

		task_info(k, &i);
		if (i.state == TASK_STOPPED)
			continue;
		ports_task(ss, k);
		if (d) {
			replica_adopt(d, k);
			d->sv->desired++;
		} else if (str_starts(str_of(i.group), "service:")) {
			task_stop(k, -1); /* its service is gone */
		}
	}
	ss->ready = true;
	for (struct service *sv = service_next(ss, NULL); sv; sv = service_next(ss, sv))
		service_wake(sv);
}

static void drained(void *arg)
{
	struct services *ss = arg;
	void (*done)(void *arg) = take_ptr(ss->drain_done);

	loop_timer_stop(ss->drain_limit);
	if (done)
		done(ss->drain_arg);
}

void services_budgets_changed(struct services *ss)
{
	for (struct service *sv = service_next(ss, NULL); sv; sv = service_next(ss, sv))
		service_wake(sv);
}

void services_look(struct services *ss)
{
	if (ss->drain_done && !ss->n_calls && !ss->drained.queued)
		loop_defer(ss->o.loop, &ss->drained, drained, ss);
}

void services_drain(struct services *ss, bool successor, void (*done)(void *arg), void *arg)
{
	ss->draining = !successor;
	ss->drain_done = done;
	ss->drain_arg = arg;
	ss->drain_limit = loop_timer_new(ss->o.loop, drained, ss);
	loop_timer_in(ss->drain_limit, SERVICE_DRAIN_US);
	for (struct service *sv = service_next(ss, NULL); sv && !successor; sv = service_next(ss, sv))
		line_refuse(sv, ERR_UNAVAILABLE, "the daemon is on its way out");
	services_look(ss);
}

void services_free(struct services *ss)
{
	if (!ss)
		return;
	task_unwatch(&ss->watch);
	loop_defer_cancel(ss->o.loop, &ss->drained);
	loop_timer_free(ss->drain_limit);
	doors_free(ss);
	list_each(&ss->all, it) service_free(container_of(it, struct service, node));
	calls_free(ss);
	map_done(&ss->by_name);
	free(ss);
}
