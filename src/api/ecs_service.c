/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Services, which service/service.h keeps up. What a request said and nobody here reads is kept as the spec's source, and
 * shown. A tag "tandem:route" says which paths of the gateway lead to the service, at its first container port: there are
 * no load balancers.
 */
#include <stdio.h>

#include "api/ecs_task.h"
#include "base/mem.h"
#include "service/service.h"

#define SERVICES_AT_ONCE 10 /* of DescribeServices */
#define ROUTE_TAG	 "tandem:route"

static struct service *get(const struct api *a, const char *cluster, struct str given)
{
	struct str name = ecs_name(a, "service", given), before, after;

	if (str_cut(name, '/', &before, &after)) {
		if (!str_eqc(before, cluster))
			return NULL;
		name = after;
	}
	return service_get(a->o.services, str_of(cluster), name);
}

static void put_deployment(struct jw *w, const struct api *a, const struct service *sv, unsigned n,
			   const struct json *source)
{
	struct deployment_info d;

	service_deployment(sv, n, &d);
	jw_obj(w, NULL);
	jw_strc(w, "id", d.id);
	jw_strc(w, "status", d.primary ? "PRIMARY" : "ACTIVE");
	ecs_put_arn(w, "taskDefinition", a, "task-definition/%s:%d", d.family, d.revision);
	jw_int(w, "desiredCount", d.desired);
	jw_int(w, "pendingCount", d.pending);
	jw_int(w, "runningCount", d.running);
	jw_int(w, "failedTasks", d.failed);
	ecs_put_time(w, "createdAt", d.created_wall_us);
	ecs_put_time(w, "updatedAt", d.updated_wall_us);
	ecs_put_json(w, "launchType", json_get(source, "launchType"));
	ecs_put_json(w, "networkConfiguration", json_get(source, "networkConfiguration"));
	jw_strc(w, "rolloutState", deployment_state_name[d.state]);
	if (d.reason && *d.reason)
		jw_strc(w, "rolloutStateReason", d.reason);
	jw_end(w, '}');
}

static void put_events(struct jw *w, const struct service *sv, unsigned n)
{
	char id[32];

	jw_arr(w, "events");
	for (unsigned i = 0; i < n; i++) {
		const struct service_event *ev = service_event(sv, i);

		snprintf(id, sizeof(id), "%llu", (unsigned long long)ev->id);
		jw_obj(w, NULL);
		jw_strc(w, "id", id);
		ecs_put_time(w, "createdAt", ev->wall_us);
		jw_strc(w, "message", ev->text);
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

static void put_rollout(struct jw *w, const struct rollout_spec *r)
{
	jw_obj(w, "deploymentConfiguration");
	jw_obj(w, "deploymentCircuitBreaker");
	jw_bool(w, "enable", r->breaker);
	jw_bool(w, "rollback", r->rollback);
	jw_end(w, '}');
	jw_int(w, "maximumPercent", r->max_percent);
	jw_int(w, "minimumHealthyPercent", r->min_percent);
	jw_end(w, '}');
}

static void put_service(struct jw *w, const char *key, const struct api *a, const struct service *sv, bool tags)
{
	static const char *const shown[] = {"launchType",
					    "platformVersion",
					    "capacityProviderStrategy",
					    "networkConfiguration",
					    "healthCheckGracePeriodSeconds",
					    "placementConstraints",
					    "placementStrategy",
					    "propagateTags",
					    "enableECSManagedTags",
					    "enableExecuteCommand"};
	const struct service_spec *s = service_spec_of(sv);
	auto_json source = s->source ? json_parse(str_of(s->source), NULL) : NULL;
	struct service_info i;

	service_info(sv, &i);
	jw_obj(w, key);
	ecs_put_arn(w, "serviceArn", a, "service/%s/%s", s->cluster, s->name);
	jw_strc(w, "serviceName", s->name);
	ecs_put_arn(w, "clusterArn", a, "cluster/%s", s->cluster);
	jw_raw(w, "loadBalancers", STR("[]"));
	jw_raw(w, "serviceRegistries", STR("[]"));
	jw_strc(w, "status", service_state_name[i.state]);
	jw_int(w, "desiredCount", i.state != SERVICE_ACTIVE ? 0 : s->min == s->max ? s->min : i.desired);
	jw_int(w, "runningCount", i.running);
	jw_int(w, "pendingCount", i.pending);
	ecs_put_arn(w, "taskDefinition", a, "task-definition/%s:%d", s->family, s->revision);
	put_rollout(w, &s->rollout);
	jw_arr(w, "deployments");
	for (unsigned n = 0; n < i.n_deployments && i.state != SERVICE_INACTIVE; n++)
		put_deployment(w, a, sv, n, source);
	jw_end(w, ']');
	put_events(w, sv, i.n_events);
	ecs_put_time(w, "createdAt", i.created_wall_us);
	jw_strc(w, "schedulingStrategy", "REPLICA");
	jw_raw(w, "deploymentController", STR("{\"type\":\"ECS\"}"));
	for (size_t n = 0; n < ARRAY_SIZE(shown); n++)
		ecs_put_json(w, shown[n], json_get(source, shown[n]));
	if (tags && json_get(source, "tags"))
		ecs_put_json(w, "tags", json_get(source, "tags"));
	jw_end(w, '}');
}

/* ---- changes: answered with the service when they are durable ---- */

struct saved {
	struct api_call c;
	struct store_op op;
	char cluster[ECS_NAME_MAX + 1], name[ECS_NAME_MAX + 1];
	bool quiet; /* answered with {} */
};

static void durable(struct store_op *op, const struct err *e)
{
	struct saved *x = container_of(op, struct saved, op);
	struct service *sv = op->s ? service_get(x->c.a->o.services, str_of(x->cluster), str_of(x->name)) : NULL;
	auto_object(w, out);

	if (sv && !x->quiet)
		put_service(&w, "service", x->c.a, sv, true);
	if (e->kind || !op->s)
		api_reply_fail(&x->c, API_SERVICE, "It is so until the next start only: %s", e->text);
	else
		api_reply_object(&x->c, 200, &w);
	free(x);
}

static struct saved *saving(struct api_call *c, const char *cluster, const char *name)
{
	struct saved *x = xcalloc(1, sizeof(*x));

	x->c = *c;
	x->op.done = durable;
	snprintf(x->cluster, sizeof(x->cluster), "%s", cluster);
	snprintf(x->name, sizeof(x->name), "%s", name);
	if (c->r)
		http_on_gone_clear(&x->c.r);
	return x;
}

static int put(struct api_call *c, const struct service_spec *s, bool again, bool quiet)
{
	struct saved *x = saving(c, s->cluster, s->name);
	struct err e = {0};

	x->quiet = quiet;
	if (service_put(c->a->o.services, &x->op, s, again, &e) == 0)
		return 0;
	if (c->r)
		http_on_gone(c->r, NULL, NULL);
	free(x);
	return api_fail(&c->e, API_INVALID_MEMBER, "%s", e.text);
}

/* ---- what a request wants, in the spec's words ---- */

static int read_definition(struct api_call *c, struct service_spec *s)
{
	struct str given = json_get_str(c->in, "taskDefinition");
	auto_definition d = given.n ? ecs_definition(c->a, given) : NULL;
	auto_json source = d && d->source ? json_parse(str_of(d->source), NULL) : NULL;

	if (!given.n)
		return *s->family ? 0 : api_fail(&c->e, API_INVALID_MEMBER, "TaskDefinition can not be blank.");
	if (!d || !d->active)
		return api_fail(&c->e, API_ECS_CLIENT, d ? "TaskDefinition is inactive" : "TaskDefinition not found.");
	if (str_eqc(json_get_str(c->in, "launchType"), "FARGATE") &&
	    !ecs_fargate_size(ecs_units(json_get_str(source, "cpu"), "vcpu"),
			      ecs_units(json_get_str(source, "memory"), "gb")))
		return api_fail(&c->e, API_ECS_CLIENT, "No Fargate configuration exists for given values.");
	snprintf(s->family, sizeof(s->family), "%s", d->family);
	s->revision = d->revision;
	return ecs_allowed(c, "task-definition/%s:%d", d->family, d->revision);
}

static int read_rollout(struct api_call *c, struct rollout_spec *r)
{
	const struct json *how = json_get(c->in, "deploymentConfiguration"),
			  *b = json_get(how, "deploymentCircuitBreaker");

	r->max_percent = (int)json_get_int(how, "maximumPercent", r->max_percent);
	r->min_percent = (int)json_get_int(how, "minimumHealthyPercent", r->min_percent);
	r->breaker = json_get_bool(b, "enable", r->breaker);
	r->rollback = json_get_bool(b, "rollback", r->rollback);
	if (r->max_percent < 100 || (r->max_percent == 100 && r->min_percent == 100))
		return api_fail(&c->e, API_INVALID_MEMBER,
				"deploymentConfiguration: a maximumPercent of 100 with a minimumHealthyPercent of 100, "
				"or less, "
				"leaves no room for a deployment.");
	return 0;
}

/* The port is that of the definition's first mapping. */
static int read_route(struct api_call *c, struct service_spec *s, const struct json *tags)
{
	auto_definition d = definition_get(c->a->o.store, str_of(s->family), s->revision);
	auto_json doc = d ? json_parse(str_of(d->doc), NULL) : NULL;
	struct err e = {0};

	*s->route = 0;
	s->port = 0;
	for (size_t i = 0; i < json_len(tags); i++) {
		const struct json *tag = json_at(tags, i);

		if (!str_eqc(json_get_str(tag, "key"), ROUTE_TAG))
			continue;
		for (unsigned n = 0; n < task_doc_n(doc) && !s->port; n++)
			s->port = (uint16_t)json_int(json_at(json_get(task_doc_container(doc, n), "ports"), 0), 0);
		if (service_spec_set(s, "route", json_get(tag, "value"), &e) < 0)
			return api_fail(&c->e, API_INVALID_MEMBER, "tags: " ROUTE_TAG ": %s", e.text);
	}
	return 0;
}

static int read_spec(struct api_call *c, struct service_spec *s)
{
	auto_buf text = {0};
	auto_json source = NULL;
	const char *before = s->source ? s->source : "{}";

	s->min = s->max = (int)json_get_int(c->in, "desiredCount", s->min);
	ecs_merge(&text, before, c->in, NULL);
	source = json_parse(buf_str(&text), NULL);
	free(s->source);
	s->source = buf_take(&text);
	if (read_definition(c, s) < 0 || read_rollout(c, &s->rollout) < 0)
		return -1;
	return read_route(c, s, json_get(source, "tags"));
}

/* One that is there already: the same request again, or c->e. */
static int again(struct api_call *c, const struct service *sv)
{
	const struct service_spec *s = service_spec_of(sv);
	auto_free char *asked = json_text(c->in);
	auto_object(w, out);

	if (!json_get(c->in, "clientToken") || !s->source || strcmp(asked, s->source) != 0)
		return api_fail(&c->e, API_INVALID_MEMBER, "Creation of service was not idempotent.");
	put_service(&w, "service", c->a, sv, true);
	return api_reply_object(c, 200, &w);
}

int ecs_create_service(struct api_call *c)
{
	auto_(service_spec_done) struct service_spec s;
	struct str name = json_get_str(c->in, "serviceName");
	struct service_info i = {0};
	struct service *sv;

	service_spec_default(&s);
	s.min = s.max = 1;
	s.rollout.breaker = s.rollout.rollback = false;
	if (ecs_cluster(c, json_get_str(c->in, "cluster"), s.cluster) < 0)
		return -1;
	if (!str_name_ok(name, ECS_NAME_MAX, "-_"))
		return api_fail(&c->e, API_INVALID_MEMBER,
				"serviceName: letters, digits, hyphens and underscores, at most 255.");
	snprintf(s.name, sizeof(s.name), STR_FMT, STR_ARG(name));
	if (ecs_allowed(c, "service/%s/%s", s.cluster, s.name) < 0 || ecs_check_tags(c, json_get(c->in, "tags")) < 0)
		return -1;
	sv = service_get(c->a->o.services, str_of(s.cluster), name);
	if (sv)
		service_info(sv, &i);
	if (sv && i.state == SERVICE_ACTIVE)
		return again(c, sv);
	if (sv && i.state == SERVICE_DRAINING)
		return api_fail(&c->e, API_INVALID_MEMBER, "Unable to Start a service that is still Draining.");
	return read_spec(c, &s) < 0 ? -1 : put(c, &s, false, false);
}

/* The one that "service" names, which is the API's to change; NULL: c->e. */
static struct service *mine(struct api_call *c)
{
	char cluster[ECS_NAME_MAX + 1];
	struct service_info i = {0};
	struct service *sv;

	if (ecs_cluster(c, json_get_str(c->in, "cluster"), cluster) < 0)
		return NULL;
	sv = get(c->a, cluster, json_get_str(c->in, "service"));
	if (sv)
		service_info(sv, &i);
	if (!sv || i.state == SERVICE_INACTIVE)
		api_fail(&c->e, API_ECS_NO_SERVICE, "Service not found.");
	else if (i.state != SERVICE_ACTIVE)
		api_fail(&c->e, API_ECS_SERVICE_INACTIVE, "Service was not ACTIVE.");
	else if (strcmp(service_spec_of(sv)->project, "api") != 0)
		api_fail(&c->e, API_ECS_CLIENT, "The service is declared by the tandem.yaml of %s: change it there.",
			 service_spec_of(sv)->project);
	else if (ecs_allowed(c, "service/%s/%s", cluster, service_spec_of(sv)->name) == 0)
		return sv;
	return NULL;
}

static void copy_spec(const struct service *sv, struct service_spec *ret)
{
	*ret = *service_spec_of(sv);
	ret->source = xstrdup(ret->source);
}

int ecs_update_service(struct api_call *c)
{
	auto_(service_spec_done) struct service_spec s = {0};
	struct service *sv = mine(c);

	if (!sv)
		return -1;
	copy_spec(sv, &s);
	return read_spec(c, &s) < 0 ? -1 : put(c, &s, json_get_bool(c->in, "forceNewDeployment", false), false);
}

int ecs_delete_service(struct api_call *c)
{
	struct service *sv = mine(c);
	const struct service_spec *s;

	if (!sv)
		return -1;
	s = service_spec_of(sv);
	if (s->min && !json_get_bool(c->in, "force", false))
		return api_fail(&c->e, API_INVALID_MEMBER, "The service cannot be stopped while it is scaled above 0.");
	service_del(c->a->o.services, &saving(c, s->cluster, s->name)->op, sv);
	return 0;
}

int ecs_describe_services(struct api_call *c)
{
	const struct json *list = json_get(c->in, "services");
	bool tags = api_has(json_get(c->in, "include"), "TAGS");
	char cluster[ECS_NAME_MAX + 1];
	auto_buf failed = {0};
	auto_object(w, out);
	struct jw f;

	if (ecs_cluster(c, json_get_str(c->in, "cluster"), cluster) < 0)
		return -1;
	if (json_len(list) > SERVICES_AT_ONCE)
		return api_fail(&c->e, API_INVALID_MEMBER, "services: at most %d at once.", SERVICES_AT_ONCE);
	jw_init(&f, &failed);
	jw_arr(&f, NULL);
	jw_arr(&w, "services");
	for (size_t i = 0; i < json_len(list); i++) {
		struct str given = json_str(json_at(list, i));
		const struct service *sv = get(c->a, cluster, given);
		auto_free char *arn =
			str_starts(given, "arn:") ? str_dup(given) : ecs_arn(c->a, "service/%s/%s", cluster, given.p);

		if (sv)
			put_service(&w, NULL, c->a, sv, tags);
		else
			ecs_fail(&f, arn, "MISSING");
	}
	jw_end(&w, ']');
	jw_end(&f, ']');
	jw_raw(&w, "failures", buf_str(&failed));
	return api_reply_object(c, 200, &w);
}

int ecs_list_services(struct api_call *c)
{
	struct str launch = json_get_str(c->in, "launchType");
	char cluster[ECS_NAME_MAX + 1];
	struct ecs_page p;
	auto_object(w, out);

	if (ecs_cluster(c, json_get_str(c->in, "cluster"), cluster) < 0 || ecs_page(c, &p) < 0)
		return -1;
	jw_arr(&w, "serviceArns");
	for (struct service *sv = NULL; (sv = service_next(c->a->o.services, sv));) {
		const struct service_spec *s = service_spec_of(sv);
		auto_json source = s->source ? json_parse(str_of(s->source), NULL) : NULL;
		struct service_info i;

		service_info(sv, &i);
		if (i.state == SERVICE_INACTIVE || strcmp(s->cluster, cluster) != 0 ||
		    (launch.n && !str_eq(launch, json_get_str(source, "launchType"))))
			continue;
		if (ecs_page_has(&p))
			ecs_put_arn(&w, NULL, c->a, "service/%s/%s", cluster, s->name);
	}
	jw_end(&w, ']');
	ecs_page_end(&p, &w);
	return api_reply_object(c, 200, &w);
}

/* ---- deployments by themselves ---- */

static void put_service_deployment(struct jw *w, const struct api *a, const struct service *sv, unsigned n, bool whole)
{
	static const char *const status[DEPLOYMENT_STATE_N] = {"IN_PROGRESS", "SUCCESSFUL", "ROLLBACK_SUCCESSFUL"};
	const struct service_spec *s = service_spec_of(sv);
	struct deployment_info d;
	const char *id;

	service_deployment(sv, n, &d);
	id = strchr(d.id, '/') + 1;
	jw_obj(w, NULL);
	ecs_put_arn(w, "serviceDeploymentArn", a, "service-deployment/%s/%s/%s", s->cluster, s->name, id);
	ecs_put_arn(w, "serviceArn", a, "service/%s/%s", s->cluster, s->name);
	ecs_put_arn(w, "clusterArn", a, "cluster/%s", s->cluster);
	jw_strc(w, "status", status[d.state]);
	ecs_put_time(w, "createdAt", d.created_wall_us);
	ecs_put_time(w, "startedAt", d.created_wall_us);
	if (d.state != DEPLOYMENT_IN_PROGRESS)
		ecs_put_time(w, "finishedAt", d.updated_wall_us);
	if (d.reason && *d.reason)
		jw_strc(w, "statusReason", d.reason);
	if (!whole) {
		ecs_put_arn(w, "targetServiceRevisionArn", a, "service-revision/%s/%s/%s", s->cluster, s->name, id);
		jw_end(w, '}');
		return;
	}
	ecs_put_time(w, "updatedAt", d.updated_wall_us);
	jw_obj(w, "targetServiceRevision");
	ecs_put_arn(w, "arn", a, "service-revision/%s/%s/%s", s->cluster, s->name, id);
	jw_int(w, "requestedTaskCount", d.desired);
	jw_int(w, "runningTaskCount", d.running);
	jw_int(w, "pendingTaskCount", d.pending);
	jw_end(w, '}');
	put_rollout(w, &s->rollout);
	jw_end(w, '}');
}

int ecs_list_service_deployments(struct api_call *c)
{
	char cluster[ECS_NAME_MAX + 1];
	const struct service *sv;
	struct service_info i;
	struct ecs_page p;
	auto_object(w, out);

	if (ecs_cluster(c, json_get_str(c->in, "cluster"), cluster) < 0 || ecs_page(c, &p) < 0)
		return -1;
	sv = get(c->a, cluster, json_get_str(c->in, "service"));
	if (!sv)
		return api_fail(&c->e, API_ECS_NO_SERVICE, "Service not found.");
	service_info(sv, &i);
	jw_arr(&w, "serviceDeployments");
	for (unsigned n = 0; n < i.n_deployments; n++)
		if (ecs_page_has(&p))
			put_service_deployment(&w, c->a, sv, n, false);
	jw_end(&w, ']');
	ecs_page_end(&p, &w);
	return api_reply_object(c, 200, &w);
}

/* By "service-deployment/CLUSTER/NAME/ID"; NULL: there is none. */
static const struct service *deployment_named(const struct api *a, struct str given, unsigned *ret)
{
	struct str rest = ecs_name(a, "service-deployment", given), cluster, name, id;
	const struct service *sv;
	struct deployment_info d;
	struct service_info i;

	if (!str_cut(rest, '/', &cluster, &rest) || !str_cut(rest, '/', &name, &id))
		return NULL;
	sv = service_get(a->o.services, cluster, name);
	if (!sv)
		return NULL;
	service_info(sv, &i);
	for (*ret = 0; *ret < i.n_deployments; ++*ret) {
		service_deployment(sv, *ret, &d);
		if (str_eqc(id, strchr(d.id, '/') + 1))
			return sv;
	}
	return NULL;
}

int ecs_describe_service_deployments(struct api_call *c)
{
	const struct json *list = json_get(c->in, "serviceDeploymentArns");
	auto_buf failed = {0};
	auto_object(w, out);
	struct jw f;
	unsigned n;

	jw_init(&f, &failed);
	jw_arr(&f, NULL);
	jw_arr(&w, "serviceDeployments");
	for (size_t i = 0; i < json_len(list); i++) {
		struct str given = json_str(json_at(list, i));
		const struct service *sv = deployment_named(c->a, given, &n);

		if (sv)
			put_service_deployment(&w, c->a, sv, n, true);
		else
			ecs_fail(&f, given.p, "MISSING");
	}
	jw_end(&w, ']');
	jw_end(&f, ']');
	jw_raw(&w, "failures", buf_str(&failed));
	return api_reply_object(c, 200, &w);
}

/* ---- for others ---- */

const char *ecs_service_source(const struct api *a, struct str name)
{
	struct str cluster, rest;
	const struct service *sv =
		str_cut(name, '/', &cluster, &rest) ? service_get(a->o.services, cluster, rest) : NULL;

	if (!sv)
		return NULL;
	return service_spec_of(sv)->source ? service_spec_of(sv)->source : "{}";
}

int ecs_service_tag(struct api_call *c, struct str name, const struct json *tags)
{
	auto_(service_spec_done) struct service_spec s = {0};
	struct str cluster, rest;
	auto_buf text = {0};

	str_cut(name, '/', &cluster, &rest);
	copy_spec(service_get(c->a->o.services, cluster, rest), &s);
	ecs_merge(&text, s.source ? s.source : "{}", tags, NULL);
	free(s.source);
	s.source = buf_take(&text);
	if (!strcmp(s.project, "api") &&
	    read_route(c, &s, json_get(tags, "tags")) < 0) /* a tandem.yaml says it itself */
		return -1;
	return put(c, &s, false, true);
}

bool ecs_service_uses(const struct api *a, const char *family, int revision)
{
	struct deployment_info d;
	struct service_info i;

	for (struct service *sv = NULL; (sv = service_next(a->o.services, sv));) {
		service_info(sv, &i);
		for (unsigned n = 0; i.state != SERVICE_INACTIVE && n < i.n_deployments; n++) {
			service_deployment(sv, n, &d);
			if (d.revision == revision && !strcmp(d.family, family))
				return true;
		}
	}
	return false;
}

int ecs_service_count(const struct api *a, const char *cluster)
{
	struct service_info i;
	int n = 0;

	for (struct service *sv = NULL; (sv = service_next(a->o.services, sv));) {
		service_info(sv, &i);
		n += i.state == SERVICE_ACTIVE && !strcmp(service_spec_of(sv)->cluster, cluster);
	}
	return n;
}
