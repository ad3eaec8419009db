/* SPDX-License-Identifier: Apache-2.0 */
#include "app/manifest.h"
#include "app/value.h"
#include "base/mem.h"
#include "image/reference.h"
#include "store/egress.h"

#define MEMORY_MIN    128
#define MEMORY_MAX    10240
#define TMP_MIN	      16
#define INSTANCES_MAX 10000
#define KEEP_MAX      (7 * 86400)
#define TIMEOUT_MAX   900 /* Lambda's; longer work is a task, which comes later */

struct key;
typedef int read_value(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e);
struct key {
	const char *name;
	read_value *read;
	size_t at;    /* where it is kept; what is read for its own sake knows that itself */
	int min, max; /* of text: the longest */
	bool required;
};
static int read_keys(const struct tree_opts *o, const struct node *map, const struct key *keys, const char *of,
		     void *into, struct err *e);

static int fail(const struct tree_opts *o, const struct node *v, struct err *e, const char *what)
{
	return tree_error(o, v->line, v->col, e, "%s", what);
}

static void *at(const struct key *k, void *into)
{
	return (char *)into + k->at;
}

static int read_text(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e)
{
	return value_text(o, v, (size_t)k->max, at(k, into), e);
}

static int read_mb(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e)
{
	return value_mb(o, v, k->name, k->min, k->max, at(k, into), e);
}

static int read_seconds(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e)
{
	return value_seconds(o, v, k->name, k->min, k->max, at(k, into), e);
}

static int read_count(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e)
{
	return value_count(o, v, k->name, k->min, k->max, at(k, into), e);
}

static int read_keep(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e)
{
	int seconds;

	if (value_seconds(o, v, k->name, k->min, k->max, &seconds, e) < 0)
		return -1;
	*(int64_t *)at(k, into) = seconds * 1000000ll;
	return 0;
}

static int read_cpu(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e)
{
	return value_cpu(o, v, at(k, into), e);
}

static int read_handler(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e)
{
	if (read_text(o, k, v, into, e) < 0)
		return -1;
	return strpbrk(v->text, " \t\n") ? fail(o, v, e, "a handler has no spaces; it looks like app.handler") : 0;
}

static int read_word(const struct tree_opts *o, const struct node *v, const char *const *words, int n,
		     const char *wrong, struct err *e)
{
	auto_free char *text = NULL;

	if (value_text(o, v, 16, &text, e) < 0)
		return -1;
	for (int i = 0; i < n; i++)
		if (!strcmp(text, words[i]))
			return i;
	return fail(o, v, e, wrong);
}

static int read_snapshot(const struct tree_opts *o, const struct key *k, const struct node *v, void *into,
			 struct err *e)
{
	int i = read_word(o, v, snapshot_wish_name, SNAPSHOT_N, "snapshot is auto, on or off", e);

	if (i >= 0)
		((struct manifest_function *)into)->scale.snapshot = (enum snapshot_wish)i;
	return i < 0 ? -1 : 0;
}

static int read_lane(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e)
{
	int i = read_word(o, v, lane_wish_name, LANE_WISH_N, "lane is function, container, auto or auto-dry", e);

	if (i >= 0)
		((struct manifest_function *)into)->scale.lane = (enum lane_wish)i;
	return i < 0 ? -1 : 0;
}

static int read_route(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e)
{
	const char *star;

	if (read_text(o, k, v, into, e) < 0)
		return -1;
	if (v->text[0] != '/')
		return fail(o, v, e, "a route begins with a slash, like /predict or /shop/*");
	for (const char *p = v->text; *p; p++)
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 127 || strchr("?#%\"<>\\^`{|}", *p))
			return fail(o, v, e,
				    "a route holds plain characters of a path only, no ?, #, %, braces or spaces; all "
				    "below a prefix is /prefix/*");
	star = strchr(v->text, '*');
	if (star && (star[1] || star[-1] != '/'))
		return fail(o, v, e, "a star may only stand at the end of a route, after a slash: /shop/*");
	return 0;
}

static bool env_name_ok(const char *name)
{
	size_t n = strlen(name);

	if (!n || !((name[0] | 32) >= 'a' && (name[0] | 32) <= 'z') || n > 128)
		return name[0] == '_' && n > 1 && n <= 128 && str_name_ok(str_of(name), 128, "_");
	return str_name_ok(str_of(name), 128, "_");
}

/* What the platform itself sets (Lambda's list of reserved variables). */
static bool env_reserved(const char *name)
{
	static const char *const fixed[] = {"_HANDLER",		 "_X_AMZN_TRACE_ID",	  "AWS_DEFAULT_REGION",
					    "AWS_REGION",	 "AWS_EXECUTION_ENV",	  "AWS_ACCESS_KEY",
					    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
					    "LAMBDA_TASK_ROOT",	 "LAMBDA_RUNTIME_DIR",	  "TANDEM_FD"};

	for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
		if (!strcmp(name, fixed[i]))
			return true;
	return str_starts(str_of(name), "AWS_LAMBDA_");
}

static int read_environment(const struct tree_opts *o, const struct key *k, const struct node *v, void *into,
			    struct err *e)
{
	struct manifest_function *f = into;
	size_t bytes = 0;

	if (value_pairs(o, v, "environment", &f->env, e) < 0)
		return -1;
	for (size_t i = 0; i < v->n; i++) {
		const struct node *c = &v->child[i];

		if (!env_name_ok(c->key))
			return tree_error(o, c->key_line, c->key_col, e,
					  "\"%.80s\" is no name of an environment variable", c->key);
		if (env_reserved(c->key))
			return tree_error(o, c->key_line, c->key_col, e, "%s is set by the platform itself", c->key);
		bytes += strlen(c->key) + strlen(c->text);
	}
	if (bytes > LIM_ENV_BYTES)
		return tree_error(o, v->line, v->col, e, "the environment has %zu bytes; at most %d are taken", bytes,
				  LIM_ENV_BYTES);
	return 0;
}

int manifest_tags(const struct tree_opts *o, const struct node *v, struct pairs *ret, struct err *e)
{
	if (value_pairs(o, v, "tags", ret, e) < 0)
		return -1;
	if (ret->n > LIM_TAGS)
		return tree_error(o, v->line, v->col, e, "%u tags; at most %d are taken", ret->n, LIM_TAGS);
	for (size_t i = 0; i < v->n; i++) {
		const struct node *c = &v->child[i];

		if (strlen(c->key) > 128 || strlen(c->text) > 256 || !strncmp(c->key, "aws:", 4))
			return tree_error(o, c->key_line, c->key_col, e,
					  "a tag has a name of at most 128 bytes, not beginning with aws:, and a value "
					  "of at most 256");
	}
	return 0;
}

static int read_tags(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e)
{
	return manifest_tags(o, v, &((struct manifest_function *)into)->tags, e);
}

static int read_layers(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e)
{
	struct manifest_function *f = into;

	if (v->kind != NODE_LIST)
		return fail(o, v, e, "layers is a list of folders");
	if (v->n > LIM_LAYERS)
		return tree_error(o, v->line, v->col, e, "%zu layers; at most %d are taken", v->n, LIM_LAYERS);
	for (size_t i = 0; i < v->n; i++) {
		if (value_text(o, &v->child[i], 1024, &f->layers[i], e) < 0)
			return -1;
		f->n_layers++;
	}
	return 0;
}

/* What read_keys checks; put_patterns writes it. */
static int read_resource(const struct tree_opts *o, const struct key *k, const struct node *v, void *into,
			 struct err *e)
{
	auto_free char *text = NULL;

	if (v->kind != NODE_LIST || !v->n)
		return value_text(o, v, 512, &text, e);
	for (size_t i = 0; i < v->n; i++) {
		auto_free char *one = NULL;

		if (value_text(o, &v->child[i], 512, &one, e) < 0)
			return -1;
	}
	return 0;
}

static int read_action(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e)
{
	if (read_resource(o, k, v, into, e) < 0)
		return -1;
	for (size_t i = 0; i < (v->kind == NODE_LIST ? v->n : 1); i++) {
		const struct node *one = v->kind == NODE_LIST ? &v->child[i] : v;

		if (strcmp(one->text, "*") && !strchr(one->text, ':'))
			return fail(o, one, e, "an action looks like lambda:InvokeFunction, lambda:* or *");
	}
	return 0;
}

static void put_patterns(struct jw *w, const char *key, const struct node *v)
{
	if (v->kind != NODE_LIST)
		return jw_strc(w, key, v->text);
	jw_arr(w, key);
	for (size_t i = 0; i < v->n; i++)
		jw_strc(w, NULL, v->child[i].text);
	jw_end(w, ']');
}

static const struct key allow_keys[] = {
	{.name = "action", .read = read_action, .required = true},
	{.name = "resource", .read = read_resource, .required = true},
	{0},
};

int manifest_allow(const struct tree_opts *o, const struct node *v, char **ret, struct err *e)
{
	auto_buf out = {0};
	struct jw w;

	if (v->kind != NODE_LIST)
		return fail(o, v, e, "allow is a list of items with action and resource");
	if (v->n > 100)
		return fail(o, v, e, "allow holds more than 100 items");
	jw_init(&w, &out);
	jw_arr(&w, NULL);
	for (size_t i = 0; i < v->n; i++) {
		const struct node *item = &v->child[i];

		if (read_keys(o, item, allow_keys, "an item of allow", NULL, e) < 0)
			return -1;
		jw_obj(&w, NULL);
		put_patterns(&w, "action", tree_get(item, "action"));
		put_patterns(&w, "resource", tree_get(item, "resource"));
		jw_end(&w, '}');
	}
	jw_end(&w, ']');
	*ret = v->n ? buf_take(&out) : NULL;
	return 0;
}

static int read_allow(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e)
{
	return manifest_allow(o, v, at(k, into), e);
}

static int read_way(const struct tree_opts *o, const struct node *v, struct spawner_egress *to, struct err *e)
{
	auto_free char *word = NULL;
	struct err why;

	if (value_text(o, v, 40, &word, e) < 0)
		return -1;
	return egress_add(to, str_of(word), &why) < 0 ? fail(o, v, e, why.text) : 0;
}

int manifest_egress(const struct tree_opts *o, const struct node *v, char **ret, struct err *e)
{
	struct spawner_egress g = {0};

	if (v->kind == NODE_MAP || (v->kind == NODE_LIST && !v->n))
		return fail(o, v, e, "egress is internet, none, or a list of addresses and ranges like 10.1.0.0/16");
	if (v->kind == NODE_LIST) {
		for (size_t i = 0; i < v->n; i++)
			if (read_way(o, &v->child[i], &g, e) < 0)
				return -1;
	} else if (strcmp(v->text, "none") && read_way(o, v, &g, e) < 0) {
		return -1;
	}
	*ret = egress_text(&g);
	return 0;
}

static int read_egress(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e)
{
	return manifest_egress(o, v, at(k, into), e);
}

static int read_dead_letter(const struct tree_opts *o, const struct key *k, const struct node *v, void *into,
			    struct err *e)
{
	auto_free char *queue = NULL;

	if (value_text(o, v, 80, &queue, e) < 0)
		return -1;
	*(char **)at(k, into) = xasprintf("arn:aws:sqs:%s:%s", o->where, queue);
	return 0;
}

#define AT(member) offsetof(struct manifest_function, member)
/* Without a reader: app/resource.c's. */
static const struct key function_keys[] = {
	{"code", read_text, AT(code), 0, 1024, false},
	{"image", read_text, AT(image.reference), 0, REFERENCE_MAX, false},
	{"build", read_text, AT(image.build), 0, 1024, false},
	{"runtime", read_text, AT(runtime), 0, 64, false},
	{"handler", read_handler, AT(handler), 0, 128, false},
	{"memory", read_mb, AT(memory_mb), MEMORY_MIN, MEMORY_MAX, false},
	{"timeout", read_seconds, AT(timeout_s), 1, TIMEOUT_MAX, false},
	{"tmp", read_mb, AT(tmp_mb), TMP_MIN, MEMORY_MAX, false},
	{.name = "cpu", .read = read_cpu, .at = AT(cpu_quota_us)},
	{"min", read_count, AT(scale.min), 0, INSTANCES_MAX, false},
	{"max", read_count, AT(scale.max), 1, INSTANCES_MAX, false},
	{"keep", read_keep, AT(scale.keep_us), 0, KEEP_MAX, false},
	{.name = "snapshot", .read = read_snapshot},
	{"pool", read_count, AT(scale.pool), 0, INSTANCES_MAX, false},
	{.name = "lane", .read = read_lane},
	{"concurrency", read_count, AT(scale.concurrency), 1, LANE_SEATS_MAX, false},
	{.name = "environment", .read = read_environment},
	{.name = "tags", .read = read_tags},
	{"route", read_route, AT(route), 0, 256, false},
	{.name = "allow", .read = read_allow, .at = AT(allow)},
	{.name = "egress", .read = read_egress, .at = AT(egress)},
	{.name = "layers", .read = read_layers},
	{"description", read_text, AT(description), 0, 256, false},
	{.name = "on"},
	{.name = "retries"},
	{.name = "max_age"},
	{.name = "on_success"},
	{.name = "on_failure"},
	{.name = "dead_letter", .read = read_dead_letter, .at = AT(dead_letter)},
	{.name = "url"},
	{0},
};

static int check_image(const struct tree_opts *o, const struct node *v, struct manifest_function *f, struct err *e)
{
	struct reference r;

	if (f->code || f->runtime || f->handler || f->n_layers || (f->image.reference && f->image.build))
		return tree_error(
			o, v->key_line, v->key_col, e,
			"\"%s\" is an image: with one of image and build go no code, runtime, handler or layers",
			f->name);
	if (f->image.reference && reference_parse(f->image.reference, &r, NULL) < 0)
		return tree_error(o, v->key_line, v->key_col, e, "\"%s\": %s is no name of an image", f->name,
				  f->image.reference);
	f->runtime = xstrdup("image");
	return 0;
}

/* What is built has the project's name in its own, which may follow the functions in the file. */
static int name_builds(struct manifest *m, struct err *e)
{
	for (size_t i = 0; i < m->n; i++) {
		struct manifest_function *f = &m->functions[i];
		struct reference r;

		if (!f->image.build)
			continue;
		f->image.reference = xasprintf("localhost/%s/%s:latest", m->name, f->name);
		if (reference_parse(f->image.reference, &r, NULL) < 0)
			return err_set(e, ERR_INVALID,
				       "%s:%u:%u: \"%s\": what is built has a name of small letters, digits, - and _",
				       m->file, f->line, f->col, f->name);
	}
	return 0;
}

static int read_function(const struct tree_opts *o, const struct node *v, struct manifest_function *f, struct err *e)
{
	if (!str_name_ok(str_of(v->key), LIM_NAME_BYTES, "-_"))
		return tree_error(o, v->key_line, v->key_col, e,
				  "\"%.80s\" is no name for a function: 1 to %d letters, digits, - and _", v->key,
				  LIM_NAME_BYTES);
	strlcpy_(f->name, v->key, sizeof(f->name));
	f->line = v->key_line, f->col = v->key_col;
	f->memory_mb = 128, f->timeout_s = 3, f->tmp_mb = 512, f->scale.keep_us = -1;
	if (read_keys(o, v, function_keys, "a function", f, e) < 0)
		return -1;
	if (f->scale.max && f->scale.min > f->scale.max)
		return tree_error(o, v->key_line, v->key_col, e, "\"%s\": min is %d, more than max, which is %d",
				  v->key, f->scale.min, f->scale.max);
	if (f->image.reference || f->image.build)
		return check_image(o, v, f, e);
	if (!f->code || !f->runtime)
		return tree_error(o, v->key_line, v->key_col, e,
				  f->code ? "a function needs the key \"runtime\""
					  : "a function needs the key \"code\", or one of image and build");
	if (f->handler)
		return 0;
	if (!str_starts(str_of(f->runtime), "provided"))
		return tree_error(o, v->key_line, v->key_col, e,
				  "\"%s\" has no handler; it looks like app.handler (file and function)", f->name);
	f->handler = xstrdup("bootstrap");
	return 0;
}

static int read_functions(const struct tree_opts *o, const struct key *k, const struct node *v, void *into,
			  struct err *e)
{
	struct manifest *m = into;

	if (v->kind != NODE_MAP)
		return fail(o, v, e, "functions is a map from names to what they are");
	m->functions = xcalloc(v->n + 1, sizeof(*m->functions));
	for (size_t i = 0; i < v->n; i++) {
		struct manifest_function *f = &m->functions[m->n++];

		if (read_function(o, &v->child[i], f, e) < 0)
			return -1;
		for (const struct manifest_function *x = m->functions; x < f; x++)
			if (f->route && x->route && !strcmp(f->route, x->route))
				return tree_error(o, f->line, f->col, e, "\"%s\" and \"%s\" have the same route %s",
						  x->name, f->name, f->route);
	}
	return 0;
}

static int read_name(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e)
{
	struct manifest *m = into;
	auto_free char *text = NULL;

	if (value_text(o, v, 1024, &text, e) < 0)
		return -1;
	for (const char *p = text; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '-'))
			return fail(o, v, e, "a project's name is made of small letters, digits and -");
	if (strlen(text) > LIM_NAME_BYTES)
		return tree_error(o, v->line, v->col, e, "a project's name has at most %d characters", LIM_NAME_BYTES);
	if (!strcmp(text, "api"))
		return fail(o, v, e, "the name api stands for what was made through the AWS API; choose another");
	if (!strcmp(text, "bench"))
		return fail(o, v, e, "the name bench stands for what tandem bench measures; choose another");
	strlcpy_(m->name, text, sizeof(m->name));
	return 0;
}

static int read_version(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e)
{
	auto_free char *text = NULL;

	if (value_text(o, v, 64, &text, e) < 0)
		return -1;
	return strcmp(text, "1") ? fail(o, v, e, "this Tandem reads version 1 of the file") : 0;
}

/* The project's name, which is in the names of their images, may follow. */
static int read_map(const struct tree_opts *o, const struct key *k, const struct node *v, void *into, struct err *e)
{
	return v->kind == NODE_MAP
		       ? 0
		       : tree_error(o, v->line, v->col, e, "%s is a map from names to what they are", v->key);
}

static const struct key top_keys[] = {
	{.name = "name", .read = read_name, .required = true},
	{.name = "version", .read = read_version},
	{.name = "functions", .read = read_functions},
	{.name = "services", .read = read_map},
	{.name = "tasks", .read = read_map},
	{.name = "buckets", .read = read_map},
	{.name = "queues", .read = read_map},
	{.name = "streams", .read = read_map},
	{.name = "topics", .read = read_map},
	{.name = "buses", .read = read_map},
	{.name = "budgets", .read = read_map},
	{0},
};

static const char *key_at(const void *keys, size_t i)
{
	return ((const struct key *)keys)[i].name;
}

static int read_keys(const struct tree_opts *o, const struct node *map, const struct key *keys, const char *of,
		     void *into, struct err *e)
{
	if (map->kind != NODE_MAP)
		return tree_error(o, map->line, map->col, e, "here stands %s, which is keys with values", of);
	for (size_t i = 0; i < map->n; i++) {
		const struct node *c = &map->child[i];
		const struct key *k = keys;

		while (k->name && strcmp(k->name, c->key))
			k++;
		if (!k->name)
			return tree_unknown_key(o, c, key_at, keys, e);
		if (k->read && k->read(o, k, c, into, e) < 0)
			return -1;
	}
	for (const struct key *k = keys; k->name; k++)
		if (k->required && !tree_get(map, k->name))
			return tree_error(o, map->key ? map->key_line : map->line, map->key ? map->key_col : map->col,
					  e, "%s needs the key \"%s\"", of, k->name);
	return 0;
}

static int check_route(const struct tree_opts *o, const struct manifest *m, const struct workload *w, struct err *e)
{
	const char *other = NULL;

	for (size_t i = 0; *w->spec.route && i < m->n; i++)
		if (m->functions[i].route && !strcmp(m->functions[i].route, w->spec.route))
			other = m->functions[i].name;
	for (const struct workload *x = m->workloads; *w->spec.route && x < w; x++)
		if (!strcmp(x->spec.route, w->spec.route))
			other = x->name;
	return other ? tree_error(o, w->line, w->col, e, "\"%s\" and \"%s\" have the same route %s", other, w->name,
				  w->spec.route)
		     : 0;
}

static int read_workloads(const struct tree_opts *o, const struct node *root, struct manifest *m, struct err *e)
{
	const struct node *maps[] = {tree_get(root, "services"), tree_get(root, "tasks")};

	m->workloads = xcalloc((maps[0] ? maps[0]->n : 0) + (maps[1] ? maps[1]->n : 0) + 1, sizeof(*m->workloads));
	for (size_t k = 0; k < ARRAY_SIZE(maps); k++)
		for (size_t i = 0; maps[k] && i < maps[k]->n; i++) {
			const struct node *v = &maps[k]->child[i];

			if (k && tree_get(maps[0], v->key))
				return tree_error(o, v->key_line, v->key_col, e, "\"%s\" is a service already", v->key);
			if (workload_read(o, m->name, v, !k, &m->workloads[m->n_workloads++], e) < 0 ||
			    check_route(o, m, &m->workloads[m->n_workloads - 1], e) < 0)
				return -1;
		}
	return 0;
}

int manifest_parse(const struct tree_opts *o, struct str text, struct manifest **ret, struct err *e)
{
	auto_(tree_free_p) struct node *root = NULL;
	auto_(manifest_free_p) struct manifest *m = xcalloc(1, sizeof(*m));

	if (tree_parse(o, text, &root, e) < 0)
		return -1;
	m->file = xstrdup(o->file);
	if (read_keys(o, root, top_keys, "tandem.yaml", m, e) < 0 || name_builds(m, e) < 0 ||
	    read_workloads(o, root, m, e) < 0 || resources_read(o, root, m, e) < 0)
		return -1;
	*ret = take_ptr(m);
	return 0;
}

void manifest_free(struct manifest *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n; i++) {
		struct manifest_function *f = &m->functions[i];
		char *texts[] = {f->code,	 f->image.reference, f->image.build, f->runtime, f->handler,
				 f->description, f->route,	     f->allow,	     f->egress,	 f->dead_letter};

		for (size_t k = 0; k < ARRAY_SIZE(texts); k++)
			free(texts[k]);
		for (unsigned k = 0; k < LIM_LAYERS; k++)
			free(f->layers[k]);
		pairs_done(&f->env);
		pairs_done(&f->tags);
	}
	for (size_t i = 0; i < m->n_workloads; i++)
		workload_done(&m->workloads[i]);
	resources_done(&m->resources);
	free(m->workloads);
	free(m->functions);
	free(m->file);
	free(m);
}

const char *manifest_key(int table, size_t i)
{
	const struct key *const tables[] = {top_keys, function_keys, allow_keys};

	return tables[table][i].name;
}
