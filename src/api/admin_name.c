/* SPDX-License-Identifier: Apache-2.0 */
/* What a NAME is: a function, a service, what holds events or leads them, a task or a budget; or what it may be meant to be. */
#include "api/admin_int.h"
#include "image/image.h"
#include "sched/budget.h"
#include "store/definition.h"
#include "store/record.h"

/* ---- tasks ---- */

static bool is_of(const char *definition, const char *family)
{
	size_t n = strlen(family);

	return definition && !strncmp(definition, family, n) && (definition[n] == ':' || !definition[n]);
}

/* Those that were accepted and are not begun, for an image of theirs is not here. */
static void put_waiting(struct admin *a, const char *family, struct jw *w)
{
	auto_buf what = {0};
	int64_t n = 0;

	for (const struct record *x = NULL; (x = record_next(a->o.store, "ecs-task/", x ? x->key : NULL));) {
		auto_json facts = json_parse(str_of(x->value), NULL);
		const struct json *all = json_get(facts, "containers");

		if (!is_of(json_get_str(facts, "definition").p, family) || json_get(facts, "stopped_us") ||
		    task_find(a->o.tasks, str_of(strchr(x->key, '/') + 1)))
			continue;
		n++;
		for (size_t i = 0; i < json_len(all) && !what.n; i++)
			if (!image_find(a->o.images, json_get_str(json_at(all, i), "image").p))
				buf_addf(&what, "the image " STR_FMT " to be brought here",
					 STR_ARG(json_get_str(json_at(all, i), "image")));
	}
	jw_int(w, "waiting", n);
	if (n)
		jw_str(w, "waiting_for", what.n ? buf_str(&what) : STR("its turn to begin"));
}

static void put_budget(struct admin *a, const char *family, const char *tags_text, struct jw *w)
{
	auto_json tags = tags_text ? json_parse(str_of(tags_text), NULL) : NULL;
	auto_free char *workload = xasprintf("task/%s", family);
	auto_buf text = {0};

	pairs_list_tags(tags, &text);
	admin_put_budget(a, workload, text.n ? text.p : "", w);
}

static bool describe_family(struct admin *a, struct http_req *r, struct str name, struct str project)
{
	auto_definition d = definition_get(a->o.store, name, 0);
	struct str of = d && d->project && *d->project ? str_of(d->project) : STR("api");
	auto_free char *about = str_dup(name), *title = xasprintf("task %s", about);
	struct task_info i;
	auto_object(w, out);

	if (!d || !d->active || (project.n && !str_eq(of, project)))
		return false;
	jw_str(&w, "name", name);
	jw_str(&w, "project", of);
	jw_int(&w, "revision", d->revision);
	put_budget(a, about, d->tags, &w);
	put_waiting(a, about, &w);
	admin_put_triggers(a, title, &w);
	jw_arr(&w, "tasks");
	for (struct task *k = task_next(a->o.tasks, NULL); k; k = task_next(a->o.tasks, k)) {
		task_info(k, &i);
		if (!is_of(i.definition, about))
			continue;
		jw_obj(&w, NULL);
		admin_put_task(&w, k);
		jw_end(&w, '}');
	}
	jw_end(&w, ']');
	if (admin_query_is(r, "values", "1")) /* it has those of environment variables */
		jw_raw(&w, "declared", str_of(d->doc));
	admin_object(r, 200, &w);
	return true;
}

static bool describe_one_task(struct admin *a, struct http_req *r, struct str name, struct str project)
{
	struct task *k = project.n ? NULL : task_find(a->o.tasks, name);
	auto_object(w, out);

	if (!k)
		return false;
	jw_str(&w, "name", name);
	jw_arr(&w, "tasks");
	jw_obj(&w, NULL);
	admin_put_task(&w, k);
	jw_end(&w, '}');
	jw_end(&w, ']');
	admin_object(r, 200, &w);
	return true;
}

/* ---- budgets, services ---- */

static bool describe_budget(struct admin *a, struct http_req *r, struct str name, struct str project)
{
	auto_object(w, out);

	budgets_json(a->o.is.budgets, &w);
	jw_end(&w, '}');

	auto_json all = json_parse(buf_str(&out), NULL);
	const struct json *list = json_get(all, "budgets"), *b;

	for (size_t i = 0; (b = json_at(list, i)); i++) {
		auto_free char *text = json_text(b);

		if (!str_eq(json_get_str(b, "name"), name) ||
		    (project.n && !str_eq(json_get_str(b, "project"), project)))
			continue;
		buf_clear(&out);
		buf_adds(&out, text);
		admin_json(r, 200, &out);
		return true;
	}
	return false;
}

static bool describe_service(struct admin *a, struct http_req *r, struct str name, struct str project)
{
	struct service *sv = admin_service_find(a, name);

	if (!sv || (project.n && !str_eqc(project, service_spec_of(sv)->project)))
		return false;
	admin_service_describe(a, r, sv);
	return true;
}

/* ---- names ---- */

static const struct kind {
	const char *prefix; /* may stand before the name, as tandem top has it */
	bool (*describe)(struct admin *a, struct http_req *r, struct str name, struct str project);
} kinds[] = {{"function/", admin_describe_function},
	     {"service/", describe_service},
	     {"", admin_describe_holder},
	     {"task/", describe_family},
	     {"task/", describe_one_task},
	     {"schedule/", admin_describe_schedule},
	     {"budget/", describe_budget}};
#define CALLED_OR_HELD 3 /* of them */

static bool describe(struct admin *a, struct http_req *r, struct str name, struct str project, size_t n_kinds)
{
	for (const struct kind *k = kinds; k < kinds + n_kinds; k++) {
		size_t n = str_starts(name, k->prefix) ? strlen(k->prefix) : 0;

		if (k->describe(a, r, (struct str){name.p + n, name.n - n}, project))
			return true;
	}
	return false;
}

void admin_describe(struct admin *a, struct http_req *r, struct str name)
{
	if (!describe(a, r, name, STR_NULL, CALLED_OR_HELD))
		admin_unknown(a, r, name);
}

/* NAME, KIND/NAME or PROJECT/NAME */
void admin_name(struct admin *a, struct http_req *r, struct str name)
{
	const size_t n = ARRAY_SIZE(kinds);
	struct str project, rest;

	if (!describe(a, r, name, STR_NULL, n) &&
	    !(str_cut(name, '/', &project, &rest) && project.n && describe(a, r, rest, project, n)))
		admin_unknown(a, r, name);
}

struct names {
	const char **v;
	size_t n;
};

static void add(struct names *all, const char *name)
{
	all->v = xrealloc(all->v, (all->n + 2) * sizeof(*all->v));
	all->v[all->n++] = name;
	all->v[all->n] = NULL;
}

static const char *at(const void *names, size_t i)
{
	return ((const struct names *)names)->v[i];
}

static bool is_there(struct admin *a, const char *family)
{
	auto_definition d = definition_get(a->o.store, str_of(family), 0);

	return d && d->active;
}

void admin_unknown(struct admin *a, struct http_req *r, struct str name)
{
	static const char *const prefixes[] = {"bucket/", "queue/",  "stream/", "topic/",
					       "bus/",	  "family/", "budget/", "schedule/default/"};
	auto_free char *word = str_dup((struct str){name.p, name.n < 80 ? name.n : 80});
	struct names all = {.v = xcalloc(1, sizeof(*all.v))};
	struct service_info i;
	const char *best;

	for (struct function *f = function_next(a->o.store, NULL); f; f = function_next(a->o.store, f))
		add(&all, f->name);
	for (struct service *sv = service_next(a->o.services, NULL); sv; sv = service_next(a->o.services, sv)) {
		service_info(sv, &i);
		if (i.state != SERVICE_INACTIVE)
			add(&all, service_spec_of(sv)->name);
	}
	for (size_t k = 0; k < ARRAY_SIZE(prefixes); k++)
		for (const struct record *x = NULL; (x = record_next(a->o.store, prefixes[k], x ? x->key : NULL));)
			if (strcmp(prefixes[k], "family/") != 0 || is_there(a, x->key + strlen("family/")))
				add(&all, x->key + strlen(prefixes[k]));
	best = str_nearest(strchr(word, '/') ? strrchr(word, '/') + 1 : word, at, &all);
	admin_errorf(r, ERR_NOT_FOUND,
		     "there is no function and no service \"%s\", nor anything else of that name; %s%.80s%s"
		     "tandem ls lists what is there",
		     word, best ? "did you mean \"" : "", best ? best : "", best ? "\"? " : "");
	free(all.v);
}
