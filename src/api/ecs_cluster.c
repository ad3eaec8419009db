/* SPDX-License-Identifier: Apache-2.0 */
/* Clusters: names that tasks and services are grouped by. Records "cluster/NAME" hold what their makers said. */
#include <stdio.h>
#include "api/ecs_task.h"
#include "base/mem.h"

static char *key_of(const char *name)
{
	return xasprintf("cluster/%s", name);
}

const char *ecs_cluster_record(const struct api *a, const char *name)
{
	auto_free char *key = key_of(name);
	const char *text = record_get(a->o.store, key);

	return text || strcmp(name, "default") != 0 ? text : "{}";
}

static bool exists(const struct api *a, struct str given, char ret[ECS_NAME_MAX + 1])
{
	struct str name = given.n ? ecs_name(a, "cluster", given) : STR("default");

	if (!str_name_ok(name, ECS_NAME_MAX, "-_"))
		return false;
	snprintf(ret, ECS_NAME_MAX + 1, STR_FMT, STR_ARG(name));
	return ecs_cluster_record(a, ret) != NULL;
}

int ecs_cluster(struct api_call *c, struct str given, char ret[ECS_NAME_MAX + 1])
{
	return exists(c->a, given, ret) ? 0 : api_fail(&c->e, API_ECS_NO_CLUSTER, "Cluster not found.");
}

/* Those that have not stopped. */
static void count_tasks(const struct api *a, const char *cluster, int *ret_running, int *ret_pending)
{
	for (struct ecs_view v = {0}; ecs_view_next(a->ecs, &v);) {
		enum task_state state = ecs_view_state(&v);

		if (state == TASK_STOPPED || strcmp(v.cluster, cluster) != 0)
			continue;
		*(state == TASK_RUNNING || state == TASK_STOPPING ? ret_running : ret_pending) += 1;
	}
}

static void put_cluster(struct jw *w, const char *key, const struct api *a, const char *name, const char *text,
			const char *status)
{
	auto_json said = json_parse(str_of(text), NULL);
	int running = 0, pending = 0;

	count_tasks(a, name, &running, &pending);
	jw_obj(w, key);
	ecs_put_arn(w, "clusterArn", a, "cluster/%s", name);
	jw_strc(w, "clusterName", name);
	jw_strc(w, "status", status);
	jw_int(w, "registeredContainerInstancesCount", 0);
	jw_int(w, "runningTasksCount", running);
	jw_int(w, "pendingTasksCount", pending);
	jw_int(w, "activeServicesCount", ecs_service_count(a, name));
	jw_raw(w, "statistics", STR("[]"));
	ecs_put_members(w, said, NULL);
	jw_end(w, '}');
}

struct merge {
	struct jw *w;
	const struct json *over;
};

static int put_unless_over(void *arg, const char *key, const struct json *j)
{
	const struct merge *m = arg;

	if (!json_get(m->over, key))
		ecs_put_json(m->w, key, j);
	return 0;
}

void ecs_merge(struct buf *ret, const char *before, const struct json *over, const char *but)
{
	auto_json old = json_parse(str_of(before), NULL);
	struct jw w = jw_object(ret);
	struct merge m = {&w, over};

	json_each(old, put_unless_over, &m);
	ecs_put_members(&w, over, but);
	jw_end(&w, '}');
}

/* What the request says, without the member that names the cluster, in place of what was said before. */
static int change(struct api_call *c, const char *name, const char *but)
{
	auto_free char *key = key_of(name);
	auto_buf text = {0};
	auto_object(w, out);
	const char *before = ecs_cluster_record(c->a, name);

	ecs_merge(&text, before ? before : "{}", c->in, but);
	put_cluster(&w, "cluster", c->a, name, text.p, "ACTIVE");
	jw_end(&w, '}');
	record_put(c->a->o.store, api_saving(c, 200, buf_str(&out), false), key, text.p);
	return 0;
}

int ecs_create_cluster(struct api_call *c)
{
	struct str name = json_get_str(c->in, "clusterName");
	char kept[ECS_NAME_MAX + 1];
	auto_object(w, out);

	if (!str_name_ok(name, ECS_NAME_MAX, "-_"))
		return api_fail(&c->e, API_INVALID_MEMBER,
				"Cluster names can contain only letters, digits, hyphens and "
				"underscores, at most 255 in all.");
	snprintf(kept, sizeof(kept), STR_FMT, STR_ARG(name));
	if (ecs_allowed(c, "cluster/%s", kept) < 0 || ecs_check_tags(c, json_get(c->in, "tags")) < 0)
		return -1;
	if (!ecs_cluster_record(c->a, kept) || !strcmp(kept, "default"))
		return change(c, kept, "clusterName");
	put_cluster(&w, "cluster", c->a, kept, ecs_cluster_record(c->a, kept), "ACTIVE"); /* again: as it is */
	return api_reply_object(c, 200, &w);
}

int ecs_describe_clusters(struct api_call *c)
{
	const struct json *list = json_get(c->in, "clusters");
	size_t n = json_len(list);
	char name[ECS_NAME_MAX + 1];
	auto_object(w, out);

	jw_arr(&w, "clusters");
	for (size_t i = 0; i < (n ? n : 1); i++)
		if (exists(c->a, n ? json_str(json_at(list, i)) : STR("default"), name))
			put_cluster(&w, NULL, c->a, name, ecs_cluster_record(c->a, name), "ACTIVE");
	jw_end(&w, ']');
	jw_arr(&w, "failures");
	for (size_t i = 0; i < n; i++) {
		struct str given = json_str(json_at(list, i));
		auto_free char *arn = str_starts(given, "arn:") ? str_dup(given) : ecs_arn(c->a, "cluster/%s", given.p);

		if (!exists(c->a, given, name))
			ecs_fail(&w, arn, "MISSING");
	}
	jw_end(&w, ']');
	return api_reply_object(c, 200, &w);
}

int ecs_list_clusters(struct api_call *c)
{
	struct ecs_page p;
	auto_object(w, out);

	if (ecs_page(c, &p) < 0)
		return -1;
	jw_arr(&w, "clusterArns");
	if (!record_get(c->a->o.store, "cluster/default") && ecs_page_has(&p))
		ecs_put_arn(&w, NULL, c->a, "cluster/default");
	for (const struct record *r = NULL; (r = record_next(c->a->o.store, "cluster/", r ? r->key : NULL));)
		if (ecs_page_has(&p))
			ecs_put_arn(&w, NULL, c->a, "%s", r->key);
	jw_end(&w, ']');
	ecs_page_end(&p, &w);
	return api_reply_object(c, 200, &w);
}

int ecs_update_cluster(struct api_call *c)
{
	char name[ECS_NAME_MAX + 1];

	if (ecs_cluster(c, json_get_str(c->in, "cluster"), name) < 0 || ecs_allowed(c, "cluster/%s", name) < 0)
		return -1;
	return change(c, name, "cluster");
}

int ecs_delete_cluster(struct api_call *c)
{
	int running = 0;
	char name[ECS_NAME_MAX + 1];
	auto_free char *key = NULL;
	auto_object(w, out);

	if (ecs_cluster(c, json_get_str(c->in, "cluster"), name) < 0 || ecs_allowed(c, "cluster/%s", name) < 0)
		return -1;
	count_tasks(c->a, name, &running, &running);
	if (running)
		return api_fail(&c->e, API_ECS_CLUSTER_TASKS, "The Cluster cannot be deleted while Tasks are active.");
	if (ecs_service_count(c->a, name))
		return api_fail(&c->e, API_ECS_CLUSTER_SERVICES,
				"The Cluster cannot be deleted while Services are active.");
	key = key_of(name);
	put_cluster(&w, "cluster", c->a, name, ecs_cluster_record(c->a, name), "INACTIVE");
	jw_end(&w, '}');
	record_del(c->a->o.store, api_saving(c, 200, buf_str(&out), false), key);
	return 0;
}
