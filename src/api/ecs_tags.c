/* SPDX-License-Identifier: Apache-2.0 */
/* Tags of definitions, clusters, tasks and services, each kept where the rest of it is. */

#include "api/ecs_task.h"
#include "base/mem.h"

enum kind { OF_DEFINITION, OF_CLUSTER, OF_TASK, OF_SERVICE, OF_N };
static const char *const kind_name[OF_N] = {"task-definition", "cluster", "task", "service"};

/* Whose tags: what is behind "KIND/", and what holds them, as JSON with a member tags; the caller frees. NULL: c->e. */
static char *find(struct api_call *c, enum kind *ret, struct str *ret_name)
{
	struct str arn = json_get_str(c->in, "resourceArn"), cluster, id = {0};
	const char *text = NULL;

	for (*ret = 0; *ret < OF_N; ++*ret) {
		*ret_name = ecs_name(c->a, kind_name[*ret], arn);
		if (ret_name->p != arn.p)
			break;
	}
	if (*ret == OF_N)
		return api_fail(&c->e, API_INVALID_MEMBER,
				"resourceArn is no ARN of a cluster, task, service or task definition here."),
		       NULL;
	if (ecs_allowed(c, "%s/" STR_FMT, kind_name[*ret], STR_ARG(*ret_name)) < 0)
		return NULL;
	if (*ret == OF_DEFINITION) {
		auto_definition d = ecs_definition(c->a, arn);

		if (d && strchr(ret_name->p, ':'))
			return xasprintf("{\"tags\":%s}", d->tags ? d->tags : "[]");
	} else if (*ret == OF_CLUSTER) {
		text = ecs_cluster_record(c->a, ret_name->p);
	} else if (*ret == OF_SERVICE) {
		text = ecs_service_source(c->a, *ret_name);
	} else if (str_cut(*ret_name, '/', &cluster, &id)) {
		const struct ecs_task *t = ecs_task_find(c->a->ecs, id);

		if (t)
			return json_text(t->facts);
	}
	if (!text)
		api_fail(&c->e, API_INVALID_MEMBER, "The specified resource was not found.");
	return xstrdup(text);
}

static int keep(struct api_call *c, enum kind kind, struct str name, const struct json *tags)
{
	auto_free char *text = json_text(tags), *key = NULL;
	auto_buf merged = {0};
	struct str cluster, id;

	if (kind == OF_SERVICE)
		return ecs_service_tag(c, name, tags);
	struct store_op *op = api_saving(c, 200, STR("{}"), false);

	if (kind == OF_TASK) {
		str_cut(name, '/', &cluster, &id);
		ecs_task_change(ecs_task_find(c->a->ecs, id), op, str_of(text));
	} else if (kind == OF_CLUSTER) {
		key = xasprintf("cluster/%s", name.p);
		ecs_merge(&merged, ecs_cluster_record(c->a, name.p), tags, NULL);
		record_put(c->a->o.store, op, key, merged.p);
	} else {
		auto_definition d = ecs_definition(c->a, name);
		auto_free char *list = json_text(json_get(tags, "tags"));

		d->tags = list;
		definition_update(c->a->o.store, op, d);
	}
	return 0;
}

static bool among(struct str key, const struct json *tags, const struct json *keys)
{
	for (size_t i = 0; i < json_len(tags); i++)
		if (str_eq(key, json_get_str(json_at(tags, i), "key")))
			return true;
	for (size_t i = 0; i < json_len(keys); i++)
		if (str_eq(key, json_str(json_at(keys, i))))
			return true;
	return false;
}

void ecs_put_tags(struct jw *w, const struct json *old, const struct json *more, const struct json *less)
{
	jw_arr(w, "tags");
	for (size_t i = 0; i < json_len(old); i++)
		if (!among(json_get_str(json_at(old, i), "key"), more, less))
			ecs_put_json(w, NULL, json_at(old, i));
	for (size_t i = 0; i < json_len(more); i++)
		ecs_put_json(w, NULL, json_at(more, i));
	jw_end(w, ']');
}

/* Those that are there without the named ones, and the given ones. */
int ecs_tag(struct api_call *c)
{
	enum kind kind;
	struct str name;
	auto_free char *text = find(c, &kind, &name);
	auto_json before = text ? json_parse(str_of(text), NULL) : NULL;
	auto_json after = NULL;
	auto_object(w, out);

	if (!text)
		return -1;
	ecs_put_tags(&w, json_get(before, "tags"), json_get(c->in, "tags"), json_get(c->in, "tagKeys"));
	jw_end(&w, '}');
	after = json_parse(buf_str(&out), NULL);
	return ecs_check_tags(c, json_get(after, "tags")) < 0 ? -1 : keep(c, kind, name, after);
}

int ecs_list_tags(struct api_call *c)
{
	enum kind kind;
	struct str name;
	auto_free char *text = find(c, &kind, &name);
	auto_json all = text ? json_parse(str_of(text), NULL) : NULL;
	auto_object(w, out);

	if (!text)
		return -1;
	if (json_get(all, "tags"))
		ecs_put_json(&w, "tags", json_get(all, "tags"));
	else
		jw_raw(&w, "tags", STR("[]"));
	return api_reply_object(c, 200, &w);
}
