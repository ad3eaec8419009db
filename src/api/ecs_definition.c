/* SPDX-License-Identifier: Apache-2.0 */
/* Task definitions, as store/definition.h keeps them. */

#include "api/ecs_int.h"
#include "base/clock.h"
#include "base/mem.h"

struct definition *ecs_definition(const struct api *a, struct str given)
{
	struct str name = ecs_name(a, "task-definition", given), family = name, number;
	int64_t revision = 0;

	if (str_cut(name, ':', &family, &number) && str_to_i64(number, 1, INT32_MAX, &revision) < 0)
		return NULL;
	return str_name_ok(family, DEFINITION_FAMILY_MAX, "-_") ? definition_get(a->o.store, family, (int)revision)
								: NULL;
}

static struct definition *find(struct api_call *c)
{
	struct definition *d = ecs_definition(c->a, json_get_str(c->in, "taskDefinition"));

	if (!d)
		api_fail(&c->e, API_ECS_CLIENT, "Unable to describe task definition.");
	else if (ecs_allowed(c, "task-definition/%s:%d", d->family, d->revision) == 0)
		return d;
	definition_free(d);
	return NULL;
}

/* One that was not made by ECS's words, in them: what is needed to see what it is. */
static void put_doc(struct jw *w, const struct definition *d)
{
	auto_json doc = json_parse(str_of(d->doc), NULL);
	const struct json *all = json_get(doc, "containers"), *j;

	jw_strc(w, "family", d->family);
	jw_arr(w, "containerDefinitions");
	for (size_t i = 0; (j = json_at(all, i)); i++) {
		jw_obj(w, NULL);
		jw_str(w, "name", json_get_str(j, "name"));
		jw_str(w, "image", json_get_str(j, "image"));
		jw_bool(w, "essential", json_get_bool(j, "essential", true));
		if (json_get(j, "memory_mb"))
			jw_int(w, "memory", json_get_int(j, "memory_mb", 0));
		ecs_put_json(w, "command", json_get(j, "command"));
		ecs_put_json(w, "entryPoint", json_get(j, "entrypoint"));
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

static void put_definition(struct jw *w, const char *key, const struct api *a, const struct definition *d,
			   const char *status)
{
	auto_json source = d->source ? json_parse(str_of(d->source), NULL) : NULL;

	jw_obj(w, key);
	if (source)
		ecs_put_members(w, source, "tags");
	else
		put_doc(w, d);
	ecs_put_arn(w, "taskDefinitionArn", a, "task-definition/%s:%d", d->family, d->revision);
	jw_int(w, "revision", d->revision);
	jw_strc(w, "status", status ? status : d->active ? "ACTIVE" : "INACTIVE");
	jw_raw(w, "requiresAttributes", STR("[]"));
	jw_raw(w, "compatibilities",
	       ecs_fargate_size(ecs_units(json_get_str(source, "cpu"), "vcpu"),
				ecs_units(json_get_str(source, "memory"), "gb"))
		       ? STR("[\"EXTERNAL\",\"EC2\",\"FARGATE\"]")
		       : STR("[\"EXTERNAL\",\"EC2\"]"));
	ecs_put_time(w, "registeredAt", d->registered_wall_us);
	ecs_put_time(w, "deregisteredAt", d->deregistered_wall_us);
	jw_end(w, '}');
}

int ecs_register_definition(struct api_call *c)
{
	struct str family = json_get_str(c->in, "family");
	auto_free char *source = json_text(c->in), *name = str_dup(family);
	auto_free char *tags = json_get(c->in, "tags") ? json_text(json_get(c->in, "tags")) : NULL;
	struct definition d = {.family = name, .project = "api", .source = source, .tags = tags, .active = true};
	auto_buf doc = {0};
	auto_object(w, out);
	struct store_op *op;

	if (!str_name_ok(family, DEFINITION_FAMILY_MAX, "-_"))
		return api_fail(&c->e, API_ECS_CLIENT,
				"Family contains invalid characters: letters, digits, hyphens and underscores are "
				"possible, at most %d.",
				DEFINITION_FAMILY_MAX);
	if (ecs_allowed(c, "task-definition/%s", name) < 0 || ecs_check_tags(c, json_get(c->in, "tags")) < 0 ||
	    ecs_translate(c, &doc) < 0)
		return -1;
	d.doc = doc.p;
	definition_number(c->a->o.store, &d);
	put_definition(&w, "taskDefinition", c->a, &d, NULL);
	ecs_put_json(&w, "tags", json_get(c->in, "tags"));
	jw_end(&w, '}');
	op = api_saving(c, 200, buf_str(&out), false);
	definition_update(c->a->o.store, op, &d);
	return 0;
}

int ecs_describe_definition(struct api_call *c)
{
	auto_definition d = find(c);
	auto_object(w, out);

	if (!d)
		return -1;
	put_definition(&w, "taskDefinition", c->a, d, NULL);
	if (api_has(json_get(c->in, "include"), "TAGS"))
		jw_raw(&w, "tags", str_of(d->tags ? d->tags : "[]"));
	return api_reply_object(c, 200, &w);
}

int ecs_deregister_definition(struct api_call *c)
{
	auto_definition d = find(c);
	auto_object(w, out);

	if (!d)
		return -1;
	if (!strchr(ecs_name(c->a, "task-definition", json_get_str(c->in, "taskDefinition")).p, ':'))
		return api_fail(&c->e, API_ECS_CLIENT, "taskDefinition needs a revision: family:number.");
	if (d->active)
		d->deregistered_wall_us = clock_wall_us();
	d->active = false;
	put_definition(&w, "taskDefinition", c->a, d, NULL);
	jw_end(&w, '}');
	definition_update(c->a->o.store, api_saving(c, 200, buf_str(&out), false), d);
	return 0;
}

int ecs_delete_definitions(struct api_call *c)
{
	const struct json *list = json_get(c->in, "taskDefinitions");
	auto_buf failed = {0};
	auto_object(w, out);
	struct jw f;

	if (json_len(list) > 10)
		return api_fail(&c->e, API_INVALID_MEMBER, "taskDefinitions: at most 10 at once.");
	jw_init(&f, &failed);
	jw_arr(&f, NULL);
	jw_arr(&w, "taskDefinitions");
	for (size_t i = 0; i < json_len(list); i++) {
		struct str given = json_str(json_at(list, i));
		auto_definition d = ecs_definition(c->a, given);

		if (!d || d->active || ecs_service_uses(c->a, d->family, d->revision)) {
			ecs_fail(&f, given.p,
				 d && !d->active ? "A service uses it."
				 : d ? "The specified task definition is still in ACTIVE status. Deregister it first."
				     : "The specified task definition does not exist. Specify a valid account, family, "
				       "revision and try again.");
			continue;
		}
		put_definition(&w, NULL, c->a, d, "DELETE_IN_PROGRESS");
		definition_del(c->a->o.store, NULL, d->family, d->revision);
	}
	jw_end(&w, ']');
	jw_end(&f, ']');
	jw_raw(&w, "failures", buf_str(&failed));
	return api_reply_object(c, 200, &w);
}

struct listed {
	char *family;
	int revision;
};

static void put_arns(struct api_call *c, struct jw *w, const struct listed *all, size_t n, bool down,
		     struct ecs_page *p)
{
	jw_arr(w, "taskDefinitionArns");
	for (size_t i = 0; i < n; i++) {
		const struct listed *l = &all[down ? n - 1 - i : i];

		if (ecs_page_has(p))
			ecs_put_arn(w, NULL, c->a, "task-definition/%s:%d", l->family, l->revision);
	}
	jw_end(w, ']');
	ecs_page_end(p, w);
}

int ecs_list_definitions(struct api_call *c)
{
	struct str family = json_get_str(c->in, "familyPrefix"), status = json_get_str(c->in, "status");
	struct listed *all = NULL;
	size_t n = 0, cap = 0;
	struct ecs_page p;
	auto_object(w, out);

	if (ecs_page(c, &p) < 0)
		return -1;
	for (struct definition *d = definition_next(c->a->o.store, family.p, NULL, 0), *next; d; d = next) {
		if (str_eqc(status, d->active ? "ACTIVE" : "INACTIVE")) {
			if (n == cap)
				all = xrealloc(all, (cap = cap ? cap * 2 : 64) * sizeof(*all));
			all[n++] = (struct listed){xstrdup(d->family), d->revision};
		}
		next = definition_next(c->a->o.store, family.p, d->family, d->revision);
		definition_free(d);
	}
	put_arns(c, &w, all, n, str_eqc(json_get_str(c->in, "sort"), "DESC"), &p);
	while (n)
		free(all[--n].family);
	free(all);
	return api_reply_object(c, 200, &w);
}

int ecs_list_families(struct api_call *c)
{
	struct str begin = json_get_str(c->in, "familyPrefix"), status = json_get_str(c->in, "status");
	auto_free char *prefix = xasprintf("family/%s", begin.p);
	struct store *s = c->a->o.store;
	struct ecs_page p;
	auto_object(w, out);

	if (ecs_page(c, &p) < 0)
		return -1;
	jw_arr(&w, "families");
	for (const struct record *r = NULL; (r = record_next(s, prefix, r ? r->key : NULL));) {
		const char *family = r->key + strlen("family/");
		auto_definition active = definition_get(s, str_of(family), 0);
		auto_definition any = definition_next(s, family, NULL, 0);

		if ((active ? !str_eqc(status, "INACTIVE") : any && !str_eqc(status, "ACTIVE")) && ecs_page_has(&p))
			jw_strc(&w, NULL, family);
	}
	jw_end(&w, ']');
	ecs_page_end(&p, &w);
	return api_reply_object(c, 200, &w);
}
