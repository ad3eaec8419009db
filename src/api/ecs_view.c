/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks as ECS shows them. */
#include <stdio.h>
#include "api/ecs_task.h"
#include "base/mem.h"

void ecs_view_own(const struct ecs_task *t, struct ecs_view *ret)
{
	*ret = (struct ecs_view){
		.t = t,
	};
	snprintf(ret->cluster, sizeof(ret->cluster), "%s", json_get_str(t->facts, "cluster").p);
	snprintf(ret->group, sizeof(ret->group), "%s", json_get_str(t->facts, "group").p);
	snprintf(ret->started_by, sizeof(ret->started_by), STR_FMT, STR_ARG(json_get_str(t->facts, "startedBy")));
	if (t->state == ECS_TASK_HANDED)
		ret->k = task_find(t->ecs->a->o.tasks, str_of(t->id));
}

/* By its note, which is the service's (service/replica.c). */
bool ecs_view_service(struct task *k, struct ecs_view *ret)
{
	struct task_info i;
	auto_json note = NULL;

	task_info(k, &i);
	if (!str_starts(str_of(i.group), "service:") || !(note = json_parse(str_of(i.note), NULL)))
		return false;
	*ret = (struct ecs_view){.k = k};
	snprintf(ret->cluster, sizeof(ret->cluster), STR_FMT, STR_ARG(json_get_str(note, "cluster")));
	snprintf(ret->group, sizeof(ret->group), "%s", i.group);
	snprintf(ret->started_by, sizeof(ret->started_by), STR_FMT, STR_ARG(json_get_str(note, "startedBy")));
	return true;
}

bool ecs_view_next(const struct ecs *ecs, struct ecs_view *v)
{
	struct list *next = v->t ? v->t->node.next : ecs->tasks.next;
	struct task *k = v->t ? NULL : v->k;

	if ((v->t || !v->k) && next != &ecs->tasks) {
		ecs_view_own(container_of(next, struct ecs_task, node), v);
		return true;
	}
	while ((k = task_next(ecs->a->o.tasks, k)))
		if (ecs_view_service(k, v))
			return true;
	return false;
}

bool ecs_view_find(const struct api *a, struct str id, struct ecs_view *ret)
{
	struct ecs_view v = {0};

	while (ecs_view_next(a->ecs, &v))
		if (str_eqc(id, ecs_view_id(&v))) {
			*ret = v;
			return true;
		}
	return false;
}

const char *ecs_view_id(const struct ecs_view *v)
{
	struct task_info i;

	if (v->t)
		return v->t->id;
	task_info(v->k, &i);
	return i.id;
}

enum task_state ecs_view_state(const struct ecs_view *v)
{
	struct task_info i = {0};

	if (v->k)
		task_info(v->k, &i);
	return v->t && v->t->state == ECS_TASK_STOPPED ? TASK_STOPPED : i.state;
}

bool ecs_view_stopping(const struct ecs_view *v)
{
	return ecs_view_state(v) >= TASK_STOPPING || (v->t && json_get(v->t->facts, "stop_code"));
}

static const char *status_of(const struct ecs_view *v)
{
	static const char *const names[TASK_N] = {"PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPED"};
	enum task_state state = ecs_view_state(v);

	return !v->k && state != TASK_STOPPED ? "PROVISIONING" : names[state];
}

struct where {
	const struct api *a;
	const struct ecs_view *v;
	const char *id;
};

static void put_ids(struct jw *w, const struct where *at, unsigned n, const char *name, const char *image)
{
	const struct image *im = image_find(at->a->o.images, image);
	auto_free char *digest = im ? xasprintf("sha256:%s", im->digest) : NULL;
	char runtime[TASK_ID_MAX + 16];

	snprintf(runtime, sizeof(runtime), "%s-%u", at->id, n);
	ecs_put_arn(w, "containerArn", at->a, "container/%s/%s/%s", at->v->cluster, at->id, name);
	ecs_put_arn(w, "taskArn", at->a, "task/%s/%s", at->v->cluster, at->id);
	jw_strc(w, "name", name);
	jw_strc(w, "image", image);
	if (digest)
		jw_strc(w, "imageDigest", digest);
	jw_strc(w, "runtimeId", runtime);
	jw_raw(w, "networkBindings", STR("[]"));
	jw_raw(w, "networkInterfaces", STR("[]"));
}

static void put_running(struct jw *w, const struct where *at, const struct json *said, unsigned n)
{
	static const char *const names[TASK_N] = {"PENDING", "PENDING", "RUNNING", "RUNNING", "STOPPED"};
	struct task_info i;

	task_container_info(at->v->k, n, &i);
	jw_obj(w, NULL);
	put_ids(w, at, n, task_doc_name(i.doc, n), said ? json_get_str(said, "image").p : i.image);
	jw_strc(w, "lastStatus", names[i.state]);
	jw_strc(w, "healthStatus", i.health == TASK_NOT_CHECKED ? "UNKNOWN" : task_health_name[i.health]);
	if (i.state == TASK_STOPPED && i.started_wall_us)
		jw_int(w, "exitCode", i.exit_code);
	if (i.state == TASK_STOPPED && i.oom)
		jw_strc(w, "reason", "OutOfMemoryError: Container killed due to memory usage");
	else if (i.state == TASK_STOPPED && !i.started_wall_us)
		jw_strc(w, "reason", i.reason);
	jw_strc(w, "cpu", "0");
	jw_end(w, '}');
}

static void put_containers(struct jw *w, const struct where *at)
{
	const struct ecs_view *v = at->v;
	const struct json *said = v->t ? json_get(v->t->facts, "containers") : NULL, *one;
	struct task_info i = {0};

	jw_arr(w, "containers");
	if (v->k)
		task_info(v->k, &i);
	for (unsigned n = 0; v->k && n < i.n_containers; n++)
		put_running(w, at, json_at(said, n), n);
	for (unsigned n = 0; !v->k && (one = json_at(said, n)); n++) {
		jw_obj(w, NULL);
		put_ids(w, at, n, json_get_str(one, "name").p, json_get_str(one, "image").p);
		jw_strc(w, "lastStatus", v->t->state == ECS_TASK_STOPPED ? "STOPPED" : "PENDING");
		jw_strc(w, "healthStatus", "UNKNOWN");
		jw_strc(w, "cpu", "0");
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

/* The interface that awsvpc would have: its subnet is what was asked for, and what it is worth. */
static void put_attachments(struct jw *w, const struct json *facts, const char *id, bool over)
{
	const struct json *vpc = json_get(json_get(facts, "networkConfiguration"), "awsvpcConfiguration");

	jw_arr(w, "attachments");
	if (vpc) {
		jw_obj(w, NULL);
		jw_strc(w, "id", id);
		jw_strc(w, "type", "ElasticNetworkInterface");
		jw_strc(w, "status", over ? "DELETED" : "ATTACHED");
		jw_arr(w, "details");
		jw_obj(w, NULL);
		jw_strc(w, "name", "subnetId");
		jw_str(w, "value", json_str(json_at(json_get(vpc, "subnets"), 0)));
		jw_end(w, '}');
		jw_end(w, ']');
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

static void put_asked(struct jw *w, const struct json *facts)
{
	static const char *const names[] = {"launchType", "platformVersion", "enableExecuteCommand", "overrides",
					    "cpu",	  "memory"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		ecs_put_json(w, names[i], json_get(facts, names[i]));
	if (str_eqc(json_get_str(facts, "launchType"), "FARGATE"))
		jw_strc(w, "platformFamily", "Linux");
}

static void put_times(struct jw *w, const struct ecs_view *v)
{
	const struct json *facts = v->t ? v->t->facts : NULL;
	struct task_info i = {0};
	int64_t stopped;

	if (v->k)
		task_info(v->k, &i);
	stopped = json_get_int(facts, "stopped_us", i.stopped_wall_us);
	ecs_put_time(w, "createdAt", json_get_int(facts, "created_us", i.created_wall_us));
	ecs_put_time(w, "startedAt", i.started_wall_us);
	ecs_put_time(w, "stoppingAt", json_get_int(facts, "stopping_us", stopped));
	ecs_put_time(w, "executionStoppedAt", i.stopped_wall_us);
	ecs_put_time(w, "stoppedAt", stopped);
	if (v->k) {
		jw_strc(w, "connectivity", "CONNECTED");
		ecs_put_time(w, "connectivityAt", i.created_wall_us);
	}
	jw_strc(w, "healthStatus", i.health == TASK_NOT_CHECKED ? "UNKNOWN" : task_health_name[i.health]);
}

static void put_end(struct jw *w, const struct ecs_view *v)
{
	const struct json *facts = v->t ? v->t->facts : NULL;
	struct task_info i;

	if (json_get(facts, "stop_code")) {
		jw_str(w, "stopCode", json_get_str(facts, "stop_code"));
		jw_str(w, "stoppedReason", json_get_str(facts, "stop_reason"));
	} else if (!facts && ecs_view_state(v) == TASK_STOPPED) {
		task_info(v->k, &i);
		jw_strc(w, "stopCode", i.started_wall_us ? "EssentialContainerExited" : "TaskFailedToStart");
		jw_strc(w, "stoppedReason", i.reason);
	}
}

void ecs_put_task(struct jw *w, const char *key, const struct api *a, const struct ecs_view *v, bool tags)
{
	const struct json *facts = v->t ? v->t->facts : NULL, *final = json_get(facts, "final");
	const char *id = ecs_view_id(v), *status = final ? "STOPPED" : status_of(v);
	struct task_info i = {.definition = json_get_str(facts, "definition").p};

	jw_obj(w, key);
	if (final) {
		ecs_put_members(w, final, NULL);
	} else {
		if (v->k)
			task_info(v->k, &i);
		ecs_put_arn(w, "taskArn", a, "task/%s/%s", v->cluster, id);
		ecs_put_arn(w, "clusterArn", a, "cluster/%s", v->cluster);
		ecs_put_arn(w, "taskDefinitionArn", a, "task-definition/%s", i.definition);
		jw_strc(w, "group", v->group);
		if (*v->started_by)
			jw_strc(w, "startedBy", v->started_by);
		jw_strc(w, "lastStatus", status);
		jw_strc(w, "desiredStatus", ecs_view_stopping(v) ? "STOPPED" : "RUNNING");
		jw_int(w, "version", 1);
		auto_free char *zone = xasprintf("%sa", a->where.region);

		jw_strc(w, "availabilityZone", zone);
		jw_raw(w, "attributes", STR("[{\"name\":\"ecs.cpu-architecture\",\"value\":\"" ECS_ARCH_NAME "\"}]"));
		put_asked(w, facts);
		put_times(w, v);
		put_attachments(w, facts, id, !strcmp(status, "STOPPED"));
		put_containers(w, &(struct where){a, v, id});
		put_end(w, v);
	}
	if (tags && facts && json_get(facts, "tags"))
		ecs_put_json(w, "tags", json_get(facts, "tags"));
	else if (tags)
		jw_raw(w, "tags", STR("[]"));
	jw_end(w, '}');
}
