/* SPDX-License-Identifier: Apache-2.0 */
/* RunTask and what is asked of tasks afterwards. */
#include <stdio.h>
#include <unistd.h>

#include "api/ecs_task.h"
#include "api/shape.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "store/digest.h"
#include "store/function.h"

#define TASKS_AT_ONCE 100 /* of DescribeTasks */

/* What all tasks of one request have in common. */
struct order {
	const struct definition *d;
	const char *cluster;
	int64_t cpu, memory_mb; /* of the definition, or what this run has in place of it; -1: not said */
	char asked[65];
};

static const struct json *either(const struct json *a, const struct json *b, const char *member)
{
	return json_get(a, member) ? json_get(a, member) : json_get(b, member);
}

static void put_images(struct jw *w, const struct json *doc)
{
	jw_arr(w, "containers");
	for (unsigned i = 0; i < task_doc_n(doc); i++) {
		jw_obj(w, NULL);
		jw_strc(w, "name", task_doc_name(doc, i));
		jw_str(w, "image", json_get_str(task_doc_container(doc, i), "image"));
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

/* Those of the definition too where that was asked for, or a tandem.yaml has declared them for its task. */
static void put_tags(struct jw *w, const struct json *in, const struct definition *d)
{
	bool both = *d->project || str_eqc(json_get_str(in, "propagateTags"), "TASK_DEFINITION");
	auto_json of = both && d->tags ? json_parse(str_of(d->tags), NULL) : NULL;

	if (of || json_get(in, "tags"))
		ecs_put_tags(w, of, json_get(in, "tags"), NULL);
}

static int check_budget(struct api_call *c, const struct order *o, struct str facts)
{
	auto_json j = json_parse(facts, NULL);
	auto_buf tags = {0};
	char why[320];

	if (ecs_check_tags(c, json_get(j, "tags")) < 0) /* with those of the definition */
		return -1;
	pairs_list_tags(json_get(j, "tags"), &tags);
	return tasks_closed(c->a->o.tasks, o->d->family, tags.p, why) ? api_fail(&c->e, API_THROTTLING, "%s", why) : 0;
}

static int put_facts(struct api_call *c, const struct order *o, const struct json *doc, struct buf *ret)
{
	static const char *const kept[] = {"startedBy", "launchType",  "platformVersion",     "networkConfiguration",
					   "overrides", "clientToken", "enableExecuteCommand"};
	auto_json source = o->d->source ? json_parse(str_of(o->d->source), NULL) : NULL;
	const struct json *over = json_get(c->in, "overrides");
	auto_free char *family = xasprintf("family:%s", o->d->family);
	auto_buf ours = {0};
	struct jw w = jw_object(ret);

	if (str_starts(json_get_str(c->in, "group"), "service:")) /* by it a service knows its own */
		return api_fail(&c->e, API_INVALID_MEMBER, "Invalid namespace for group.");
	if (ecs_translate_overrides(c, over, doc, &ours) < 0)
		return -1;
	jw_strc(&w, "cluster", o->cluster);
	auto_free char *name = xasprintf("%s:%d", o->d->family, o->d->revision);

	jw_strc(&w, "definition", name);
	jw_int(&w, "created_us", clock_wall_us());
	jw_strc(&w, "asked", o->asked);
	if (c->trace[0])
		jw_strc(&w, "trace", c->trace);
	jw_strc(&w, "over", ours.p);
	jw_strc(&w, "group", json_get(c->in, "group") ? json_get_str(c->in, "group").p : family);
	ecs_put_json(&w, "cpu", either(over, source, "cpu"));
	ecs_put_json(&w, "memory", either(over, source, "memory"));
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		ecs_put_json(&w, kept[i], json_get(c->in, kept[i]));
	put_tags(&w, c->in, o->d);
	put_images(&w, doc);
	jw_end(&w, '}');
	return check_budget(c, o, buf_str(ret));
}

/* The tasks of an earlier request with the same token: true, and answered or c->e. */
static bool again(struct api_call *c, const struct order *o, int *ret)
{
	struct str token = json_get_str(c->in, "clientToken");
	auto_object(w, out);
	bool found = false;

	jw_arr(&w, "tasks");
	for (struct ecs_view v = {0}; token.n && ecs_view_next(c->a->ecs, &v);) {
		if (!v.t || !str_eq(json_get_str(v.t->facts, "clientToken"), token) ||
		    strcmp(v.cluster, o->cluster) != 0)
			continue;
		found = true;
		if (!str_eqc(json_get_str(v.t->facts, "asked"), o->asked)) {
			*ret = api_fail(&c->e, API_ECS_CONFLICT,
					"The clientToken was used before, for a request with other parameters.");
			return true;
		}
		ecs_put_task(&w, NULL, c->a, &v, true);
	}
	if (!found)
		return false;
	jw_end(&w, ']');
	jw_raw(&w, "failures", STR("[]"));
	*ret = api_reply_object(c, 200, &w);
	return true;
}

static int read_order(struct api_call *c, struct order *o)
{
	auto_json source = o->d->source ? json_parse(str_of(o->d->source), NULL) : NULL;
	const struct json *over = json_get(c->in, "overrides");
	auto_free char *text = json_text(c->in);

	digest_sha256_hex(text, strlen(text), o->asked);
	o->cpu = ecs_units(json_str(either(over, source, "cpu")), "vcpu");
	o->memory_mb = ecs_units(json_str(either(over, source, "memory")), "gb");
	if ((json_get(over, "cpu") && o->cpu < 0) || (json_get(over, "memory") && o->memory_mb < 0))
		return api_fail(&c->e, API_ECS_CLIENT,
				"overrides: cpu is like 256 or .25 vCPU, memory like 512 or 0.5 GB.");
	if (str_eqc(json_get_str(c->in, "launchType"), "FARGATE") && !ecs_fargate_size(o->cpu, o->memory_mb))
		return api_fail(&c->e, API_ECS_CLIENT, "No Fargate configuration exists for given values.");
	return ecs_check_tags(c, json_get(c->in, "tags"));
}

/* A machine that could never give as much memory: the tasks are not accepted, which is no error. */
static int too_large(struct api_call *c, const struct order *o)
{
	auto_free char *arn = ecs_arn(c->a, "cluster/%s", o->cluster);
	auto_object(w, out);

	jw_raw(&w, "tasks", STR("[]"));
	jw_arr(&w, "failures");
	for (int64_t i = 0; i < json_get_int(c->in, "count", 1); i++)
		ecs_fail(&w, arn, "RESOURCE:MEMORY");
	jw_end(&w, ']');
	return api_reply_object(c, 200, &w);
}

struct accepted {
	struct api_call c;
	struct store_op op;
	unsigned n;
	char ids[10][TASK_ID_MAX + 1];
};

/* The others were asked for before the last one, and are durable with it. */
static void durable(struct store_op *op, const struct err *e)
{
	struct accepted *x = container_of(op, struct accepted, op);
	auto_object(w, out);
	struct ecs_task *t;
	struct ecs_view v;

	if (e->kind || !op->s) {
		for (unsigned i = 0; op->s && i < x->n; i++)
			if ((t = ecs_task_find(x->c.a->ecs, str_of(x->ids[i]))))
				ecs_task_stop(t, STR("It could not be saved."));
		api_reply_fail(&x->c, API_SERVICE, "The tasks cannot be saved: %s", e->text);
	} else {
		jw_arr(&w, "tasks");
		for (unsigned i = 0; i < x->n; i++) {
			if (ecs_view_find(x->c.a, str_of(x->ids[i]), &v))
				ecs_put_task(&w, NULL, x->c.a, &v, true);
		}
		jw_end(&w, ']');
		jw_raw(&w, "failures", STR("[]"));
		api_reply_object(&x->c, 200, &w);
	}
	free(x);
}

static int take_on(struct api_call *c, const struct order *o, const char *facts)
{
	struct accepted *x = xcalloc(1, sizeof(*x));
	unsigned n = (unsigned)json_get_int(c->in, "count", 1);

	x->c = *c;
	x->op.done = durable;
	if (c->r)
		http_on_gone_clear(&x->c.r);
	while (x->n < n) {
		struct ecs_task *t = ecs_task_add(c->a->ecs, x->n + 1 == n ? &x->op : NULL, facts);

		strlcpy_(x->ids[x->n++], t->id, sizeof(x->ids[0]));
	}
	return 0;
}

int ecs_run_task(struct api_call *c)
{
	auto_definition d = ecs_definition(c->a, json_get_str(c->in, "taskDefinition"));
	char cluster[ECS_NAME_MAX + 1];
	struct order o = {.d = d, .cluster = cluster};
	auto_json doc = NULL;
	auto_buf facts = {0};
	int ret;

	if (ecs_cluster(c, json_get_str(c->in, "cluster"), cluster) < 0)
		return -1;
	if (!d)
		return api_fail(&c->e, API_ECS_CLIENT, "TaskDefinition not found.");
	if (ecs_allowed(c, "task-definition/%s:%d", d->family, d->revision) < 0 || read_order(c, &o) < 0)
		return -1;
	if (again(c, &o, &ret))
		return ret;
	if (!d->active)
		return api_fail(&c->e, API_ECS_CLIENT, "TaskDefinition is inactive");
	if (o.memory_mb > (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) >> 20)
		return too_large(c, &o);
	doc = json_parse(str_of(d->doc), NULL);
	return put_facts(c, &o, doc, &facts) < 0 ? -1 : take_on(c, &o, facts.p);
}

/* --- tasks that an event starts --- */

/* RunTask's request, of the target's EcsParameters; the event itself, where it has containerOverrides, is the overrides. */
static struct json *request_of(const struct delivery *what)
{
	const struct json *p = json_get(what->params, "EcsParameters");
	auto_json input = json_parse(what->payload, NULL);
	auto_free char *tags = json_text(json_get(p, "Tags"));
	auto_object(w, b);

	jw_strc(&w, "cluster", what->target);
	jw_str(&w, "taskDefinition", json_get_str(p, "TaskDefinitionArn"));
	jw_int(&w, "count", json_get_int(p, "TaskCount", 1));
	if (json_get_str(p, "LaunchType").n)
		jw_str(&w, "launchType", json_get_str(p, "LaunchType"));
	if (json_get_str(p, "Group").n)
		jw_str(&w, "group", json_get_str(p, "Group"));
	if (json_get(input, "containerOverrides"))
		jw_raw(&w, "overrides", what->payload);
	if (tags && json_type(json_get(p, "Tags")) == JSON_ARRAY)
		jw_raw(&w, "tags", str_of(tags));
	jw_end(&w, '}');
	return json_parse(buf_str(&b), NULL);
}

static int read_request(struct api_call *c, const struct delivery *what)
{
	const struct api_op *op = ecs_ops;
	auto_json request = request_of(what);
	auto_buf copy = {0};

	while (strcmp(op->name, "RunTask") != 0)
		op++;
	if (shape_copy(op->path, request, &copy, &c->e) < 0)
		return -1;
	c->in = json_parse(buf_str(&copy), NULL);
	return 0;
}

static int run_in(struct api_call *c, struct store_tx *tx)
{
	auto_definition d = ecs_definition(c->a, json_get_str(c->in, "taskDefinition"));
	char cluster[ECS_NAME_MAX + 1];
	struct order o = {.d = d, .cluster = cluster};
	auto_json doc = d ? json_parse(str_of(d->doc), NULL) : NULL;
	auto_buf facts = {0};

	if (ecs_cluster(c, json_get_str(c->in, "cluster"), cluster) < 0)
		return -1;
	if (!d || !d->active)
		return api_fail(&c->e, API_ECS_CLIENT, "TaskDefinition not found, or inactive.");
	if (read_order(c, &o) < 0 || put_facts(c, &o, doc, &facts) < 0)
		return -1;
	for (int64_t n = json_get_int(c->in, "count", 1); n; n--)
		ecs_task_add_in(c->a->ecs, tx, facts.p);
	return 0;
}

static bool cluster_exists(void *arg, const char *target)
{
	struct api_call c = {.a = arg};
	char cluster[ECS_NAME_MAX + 1];

	return ecs_cluster(&c, str_of(target), cluster) == 0;
}

/* What is missing may be there later: whatever fails is tried again. */
static int run_event(void *arg, struct store_tx *tx, const struct delivery *what, struct err *e)
{
	struct api_call c = {.a = arg, .form = FORM_JSON};
	int r;

	strlcpy_(c.trace, what->trace_id ? what->trace_id : "", sizeof(c.trace));
	r = read_request(&c, what) < 0 || run_in(&c, tx) < 0 ? -1 : 0;

	json_free(c.in);
	return r < 0 ? err_set(e, ERR_UNAVAILABLE, "RunTask: %s", c.e.text) : 0;
}

void ecs_deliver(struct api *a, struct deliver *d)
{
	deliver_register(d, &(struct deliver_service){"ecs", a, cluster_exists, run_event});
}

static struct str last_of(struct str arn)
{
	const char *slash = arn.n ? memrchr(arn.p, '/', arn.n) : NULL;

	return slash ? (struct str){slash + 1, (size_t)(arn.p + arn.n - slash - 1)} : arn;
}

static bool find(struct api_call *c, const char *cluster, struct str given, struct ecs_view *ret)
{
	struct str name = ecs_name(c->a, "task", given), before, after;

	if (str_cut(name, '/', &before, &after)) {
		if (!str_eqc(before, cluster))
			return false;
		name = after;
	}
	return ecs_view_find(c->a, name, ret) && !strcmp(ret->cluster, cluster);
}

int ecs_describe_tasks(struct api_call *c)
{
	const struct json *list = json_get(c->in, "tasks");
	bool tags = api_has(json_get(c->in, "include"), "TAGS");
	char cluster[ECS_NAME_MAX + 1];
	auto_buf failed = {0};
	auto_object(w, out);
	struct jw f;
	struct ecs_view v;

	if (ecs_cluster(c, json_get_str(c->in, "cluster"), cluster) < 0)
		return -1;
	if (!json_len(list) || json_len(list) > TASKS_AT_ONCE)
		return api_fail(&c->e, API_INVALID_MEMBER, "Tasks cannot be empty, nor more than %d.", TASKS_AT_ONCE);
	jw_init(&f, &failed);
	jw_arr(&f, NULL);
	jw_arr(&w, "tasks");
	for (size_t i = 0; i < json_len(list); i++) {
		struct str given = json_str(json_at(list, i));
		auto_free char *arn =
			str_starts(given, "arn:") ? str_dup(given) : ecs_arn(c->a, "task/%s/%s", cluster, given.p);

		if (find(c, cluster, given, &v))
			ecs_put_task(&w, NULL, c->a, &v, tags);
		else
			ecs_fail(&f, arn, "MISSING");
	}
	jw_end(&w, ']');
	jw_end(&f, ']');
	jw_raw(&w, "failures", buf_str(&failed));
	return api_reply_object(c, 200, &w);
}

static bool wanted(const struct api_call *c, const struct ecs_view *v)
{
	struct str family = json_get_str(c->in, "family"), by = json_get_str(c->in, "startedBy"),
		   service = last_of(json_get_str(c->in, "serviceName")), launch = json_get_str(c->in, "launchType");
	struct task_info i = {.definition = v->t ? json_get_str(v->t->facts, "definition").p : ""};
	struct str definition;

	if (!v->t)
		task_info(v->k, &i);
	str_cut(str_of(i.definition), ':', &definition, &(struct str){0});
	if (service.n) {
		auto_free char *group = xasprintf("service:%s", service.p);

		if (strcmp(group, v->group) != 0)
			return false;
	}
	return (!family.n || str_eq(family, definition)) && (!by.n || str_eqc(by, v->started_by)) &&
	       (!launch.n || (v->t && str_eq(launch, json_get_str(v->t->facts, "launchType")))) &&
	       ecs_view_stopping(v) == str_eqc(json_get_str(c->in, "desiredStatus"), "STOPPED");
}

int ecs_list_tasks(struct api_call *c)
{
	char cluster[ECS_NAME_MAX + 1];
	struct ecs_page p;
	auto_object(w, out);

	if (ecs_cluster(c, json_get_str(c->in, "cluster"), cluster) < 0 || ecs_page(c, &p) < 0)
		return -1;
	jw_arr(&w, "taskArns");
	for (struct ecs_view v = {0}; ecs_view_next(c->a->ecs, &v);)
		if (!strcmp(v.cluster, cluster) && wanted(c, &v) && ecs_page_has(&p))
			ecs_put_arn(&w, NULL, c->a, "task/%s/%s", cluster, ecs_view_id(&v));
	jw_end(&w, ']');
	ecs_page_end(&p, &w);
	return api_reply_object(c, 200, &w);
}

int ecs_stop_task(struct api_call *c)
{
	struct str given = json_get_str(c->in, "task"), reason = json_get_str(c->in, "reason"), id = last_of(given);
	char cluster[ECS_NAME_MAX + 1];
	auto_object(w, out);
	struct ecs_view v;
	struct ecs_task *t;

	if (ecs_cluster(c, json_get_str(c->in, "cluster"), cluster) < 0)
		return -1;
	if (reason.n > 1024)
		return api_fail(&c->e, API_INVALID_MEMBER, "reason has at most 1024 bytes.");
	if (ecs_allowed(c, "task/%s/" STR_FMT, cluster, STR_ARG(id)) < 0)
		return -1;
	if (!find(c, cluster, given, &v))
		return api_fail(&c->e, API_INVALID_MEMBER, "The referenced task was not found.");
	t = ecs_task_find(c->a->ecs, str_of(ecs_view_id(&v)));
	if (t && t->state != ECS_TASK_STOPPED)
		ecs_task_stop(t, reason);
	else if (!t)
		task_stop(v.k, -1);
	find(c, cluster, given, &v);
	ecs_put_task(&w, "task", c->a, &v, true);
	if (!t)
		return api_reply_object(c, 200, &w);
	jw_end(&w, '}');
	ecs_task_change(t, api_saving(c, 200, buf_str(&out), false), STR("{}"));
	return 0;
}
