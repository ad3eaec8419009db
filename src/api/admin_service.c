/* SPDX-License-Identifier: Apache-2.0 */
/* Services for the tool: NAME is one of the cluster "default", or CLUSTER/NAME. */
#include <stdio.h>
#include "api/admin_int.h"
#include "base/clock.h"
#include "store/definition.h"

struct service *admin_service_find(struct admin *a, struct str name)
{
	struct str cluster = STR("default"), rest = name;
	struct service *sv;

	if (!str_cut(name, '/', &cluster, &rest))
		cluster = STR("default"), rest = name;
	sv = service_get(a->o.services, cluster, rest);
	if (sv) {
		struct service_info i;

		service_info(sv, &i);
		if (i.state == SERVICE_INACTIVE)
			return NULL;
	}
	return sv;
}

static void put_figures(struct admin *a, const struct service *sv, struct jw *w)
{
	const struct service_spec *s = service_spec_of(sv);
	struct service_lane_info l;
	char workload[SERVICE_NAME_MAX + 16];
	struct deployment_info d;
	struct service_info i;

	service_info(sv, &i);
	service_deployment(sv, 0, &d);
	service_lane_info(sv, &l);
	jw_strc(w, "name", s->name);
	jw_strc(w, "cluster", s->cluster);
	jw_strc(w, "project", s->project);
	jw_strc(w, "state", service_state_name[i.state]);
	jw_int(w, "instances", i.running);
	jw_int(w, "starting", i.pending);
	jw_int(w, "desired", i.desired);
	jw_int(w, "open", i.open);
	jw_int(w, "waiting", i.held);
	if (i.held || (!i.running && (i.desired || *d.reason)))
		jw_strc(w, "waiting_for", i.waits_for);
	if (i.held) {
		jw_int(w, "waited_us", i.held_us);
		jw_int(w, "waits_at_most_us", i.held_us < SERVICE_HOLD_US ? SERVICE_HOLD_US - i.held_us : 0);
	}
	snprintf(workload, sizeof(workload), "service/%s", s->name);
	admin_put_budget(a, workload, service_tags(sv), w);
	jw_int(w, "requests", (int64_t)i.requests);
	jw_int(w, "errors", (int64_t)i.errors);
	jw_strc(w, "route", *s->route ? s->route : NULL);
	jw_strc(w, "lane", lane_name[l.lane]);
	if (s->lane != LANE_WISH_N)
		jw_strc(w, "lane_wish", lane_wish_name[s->lane]);
	admin_lane_why(a, "service", s->name, w);
	if (s->lane == LANE_WISH_AUTO && *l.cannot)
		jw_strc(w, "lane_cannot", l.cannot);
}

void admin_put_services(struct admin *a, struct jw *w)
{
	jw_arr(w, "services");
	for (struct service *sv = service_next(a->o.services, NULL); sv; sv = service_next(a->o.services, sv)) {
		struct service_info i;
		struct deployment_info d;

		service_info(sv, &i);
		if (i.state == SERVICE_INACTIVE)
			continue;
		service_deployment(sv, 0, &d);
		jw_obj(w, NULL);
		put_figures(a, sv, w);
		jw_int(w, "created_us", i.created_wall_us);
		jw_strc(w, "rollout", deployment_state_name[d.state]);
		admin_put_measured(a, NULL, sv, w);
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

static void put_containers(struct admin *a, const struct deployment_info *d, struct jw *w)
{
	auto_definition def = definition_get(a->o.store, str_of(d->family), d->revision);
	struct err e = {0};
	auto_json doc = def ? json_parse(str_of(def->doc), &e) : NULL;

	jw_arr(w, "containers");
	for (unsigned i = 0; doc && i < task_doc_n(doc); i++) {
		const struct json *c = task_doc_container(doc, i), *health = json_get(c, "health");

		jw_obj(w, NULL);
		jw_strc(w, "name", task_doc_name(doc, i));
		jw_str(w, "image", json_get_str(c, "image"));
		if (json_get(c, "health"))
			jw_strc(w, "health",
				json_get(health, "http")  ? json_get_str(health, "http").p
				: json_get(health, "tcp") ? "tcp"
							  : "command");
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

static void put_deployment(struct admin *a, const struct service *sv, unsigned n, struct jw *w)
{
	struct deployment_info d;
	auto_buf definition = {0};
	char when[32];

	service_deployment(sv, n, &d);
	buf_addf(&definition, "%s:%d", d.family, d.revision);
	jw_obj(w, NULL);
	jw_strc(w, "id", d.id);
	jw_str(w, "definition", buf_str(&definition));
	jw_strc(w, "state", deployment_state_name[d.state]);
	jw_bool(w, "primary", d.primary);
	jw_int(w, "desired", d.desired);
	jw_int(w, "starting", d.pending);
	jw_int(w, "instances", d.running);
	jw_int(w, "failed", d.failed);
	if (d.weight >= 0)
		jw_int(w, "percent", d.weight);
	if (*d.reason)
		jw_strc(w, "reason", d.reason);
	jw_strc(w, "created", clock_fmt_iso(d.created_wall_us, when));
	put_containers(a, &d, w);
	jw_end(w, '}');
}

void admin_service_describe(struct admin *a, struct http_req *r, struct service *sv)
{
	const struct service_spec *s = service_spec_of(sv);
	struct service_info i;
	auto_buf text = {0};
	auto_object(w, out);
	char when[32];
	int shut = 0;

	service_info(sv, &i);
	put_figures(a, sv, &w);
	if (*s->route) {
		buf_addf(&text, "%s%s", a->gateway, s->route);
		jw_str(&w, "url", buf_str(&text));
	}
	for (unsigned n = 0; n < s->n_ports; n++)
		shut += !service_port_open(sv, n);
	if (shut)
		jw_int(&w, "ports_not_open", shut);
	jw_obj(&w, "declared");
	service_spec_write(s, &w);
	jw_end(&w, '}');
	jw_strc(&w, "tags", *service_tags(sv) ? service_tags(sv) : NULL);
	jw_arr(&w, "deployments");
	for (unsigned n = 0; n < i.n_deployments; n++)
		put_deployment(a, sv, n, &w);
	jw_end(&w, ']');
	jw_arr(&w, "events");
	for (unsigned n = 0; n < i.n_events; n++) {
		const struct service_event *ev = service_event(sv, n);

		buf_clear(&text);
		buf_addf(&text, "%s %s", clock_fmt_iso(ev->wall_us, when), ev->text);
		jw_str(&w, NULL, buf_str(&text));
	}
	jw_end(&w, ']');
	jw_strc(&w, "created", clock_fmt_iso(i.created_wall_us, when));
	admin_object(r, 200, &w);
}

/* Answers 404 itself when there is none. */
static struct service *find(struct admin *a, struct http_req *r, struct str name)
{
	struct service *sv = admin_service_find(a, name);

	if (!sv)
		admin_errorf(r, ERR_NOT_FOUND,
			     "there is no service \"" STR_FMT "\"; tandem ls lists those that are there",
			     (int)(name.n < 80 ? name.n : 80), name.p);
	return sv;
}

void admin_service(struct admin *a, struct http_req *r, struct str name)
{
	struct service *sv = find(a, r, name);

	if (sv)
		admin_service_describe(a, r, sv);
}

static void act(struct admin *a, struct http_req *r, struct str name, int (*what)(struct service *, struct err *))
{
	struct service *sv = find(a, r, name);
	struct err e;

	if (sv && what(sv, &e) < 0)
		admin_error(r, &e);
	else if (sv)
		admin_service_describe(a, r, sv);
}

void admin_service_promote(struct admin *a, struct http_req *r, struct str name)
{
	act(a, r, name, service_promote);
}

void admin_service_undo(struct admin *a, struct http_req *r, struct str name)
{
	act(a, r, name, service_undo);
}
