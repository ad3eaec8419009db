/* SPDX-License-Identifier: Apache-2.0 */
#include "task/doc.h"
#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include "store/egress.h"
#include "task/given.h"

#define WORDS_MAX 4096 /* of one list */
#define TEXT_MAX  65536

enum kind { TEXT, WORDS, TEXTS, BOOL, WHOLE, REAL, NUMBERS, PAIRS, ITEM, ITEMS, KIND_N };
static const char *const kind_name[] = {"a text",
					"a list of texts",
					"an object of texts, none with an empty name or one that holds a \"=\"",
					"true or false",
					"a whole number",
					"a number",
					"a list of whole numbers",
					"an object of lists of two whole numbers",
					"an object",
					"a list of objects"};
static_assert(ARRAY_SIZE(kind_name) == KIND_N, "names of kinds");

struct member {
	const char *name;
	enum kind kind;
	double min, max; /* of numbers; of texts and lists the length; max 0: no bounds but ours */
	const struct member *inside;
	bool required;
};

static const struct member mount_members[] = {
	{"path", TEXT, 1, 1024, NULL, true},	{"volume", TEXT, 1, TASK_NAME_MAX, NULL, false},
	{"host", TEXT, 1, 1024, NULL, false},	{"tmpfs_mb", WHOLE, 1, TASK_MEMORY_MB_MAX, NULL, false},
	{"read_only", BOOL, 0, 0, NULL, false}, {0},
};
static const struct member secret_members[] = {
	{"name", TEXT, 1, TASK_NAME_MAX, NULL, true},
	{"path", TEXT, 1, 1024, NULL, false},
	{"env", TEXT, 1, 128, NULL, false},
	{0},
};
static const struct member depends_members[] = {
	{"container", TEXT, 1, 255, NULL, true},
	{"condition", TEXT, 1, 16, NULL, false},
	{0},
};
static const struct member health_members[] = {
	{"command", WORDS, 1, 256, NULL, false},
	{"http", TEXT, 1, 1024, NULL, false},
	{"port", WHOLE, 1, 65535, NULL, false},
	{"tcp", WHOLE, 1, 65535, NULL, false},
	{"interval_s", WHOLE, 1, 3600, NULL, false},
	{"timeout_s", WHOLE, 1, 3600, NULL, false},
	{"retries", WHOLE, 1, 100, NULL, false},
	{"start_period_s", WHOLE, 0, 3600, NULL, false},
	{0},
};
static const struct member container_members[] = {
	{"name", TEXT, 1, 255, NULL, false},
	{"image", TEXT, 1, 1024, NULL, true},
	{"command", WORDS, 0, 0, NULL, false},
	{"entrypoint", WORDS, 0, 0, NULL, false},
	{"env", TEXTS, 0, 0, NULL, false},
	{"user", TEXT, 0, 0, NULL, false},
	{"workdir", TEXT, 0, 0, NULL, false},
	{"memory_mb", WHOLE, TASK_MEMORY_MB_MIN, TASK_MEMORY_MB_MAX, NULL, false},
	{"cpu", REAL, 0.01, 256, NULL, false},
	{"read_only", BOOL, 0, 0, NULL, false},
	{"essential", BOOL, 0, 0, NULL, false},
	{"stop_signal", WHOLE, 1, 64, NULL, false},
	{"stop_timeout_s", WHOLE, 0, 3600, NULL, false},
	{"ports", NUMBERS, 1, 65535, NULL, false},
	{"mounts", ITEMS, 0, GIVEN_EACH, mount_members, false},
	{"secrets", ITEMS, 0, GIVEN_EACH, secret_members, false},
	{"devices", WORDS, 0, GIVEN_EACH, NULL, false},
	{"cap_add", WORDS, 0, 64, NULL, false},
	{"cap_drop", WORDS, 0, 64, NULL, false},
	{"ulimits", PAIRS, 0, 0, NULL, false},
	{"tty", BOOL, 0, 0, NULL, false},
	{"stdin", BOOL, 0, 0, NULL, false},
	{"depends_on", ITEMS, 0, TASK_CONTAINERS, depends_members, false},
	{"health", ITEM, 0, 0, health_members, false},
	{0},
};
static const struct member uses_members[] = {
	{"service", TEXT, 1, 255, NULL, true},
	{"port", WHOLE, 1, 65535, NULL, false},
	{0},
};
static const struct member allow_members[] = {
	{"action", TEXT, 1, 128, NULL, true},
	{"resource", TEXT, 1, 512, NULL, true},
	{0},
};
static const struct member task_members[] = {
	{"memory_mb", WHOLE, TASK_MEMORY_MB_MIN, TASK_MEMORY_MB_MAX, NULL, false},
	{"cpu", REAL, 0.01, 256, NULL, false},
	{"egress", TEXT, 1, 1024, NULL, false},
	{"uses", ITEMS, 0, GIVEN_EACH, uses_members, false},
	{"allow", ITEMS, 0, 100, allow_members, false},
	{"runtime", TEXT, 1, 16, NULL, false},
	{"containers", ITEMS, 1, TASK_CONTAINERS, container_members, false},
	{0},
};
/* Beside those of the one container: of tandem run. */
static const struct member run_members[] = {
	{"attach", BOOL, 0, 0, NULL, false},
	{"rows", WHOLE, 0, 65535, NULL, false},
	{"cols", WHOLE, 0, 65535, NULL, false},
	{0},
};
static const struct member exec_members[] = {
	{"command", WORDS, 1, WORDS_MAX, NULL, true},
	{"env", TEXTS, 0, 0, NULL, false},
	{"user", TEXT, 0, 0, NULL, false},
	{"workdir", TEXT, 0, 0, NULL, false},
	{"tty", BOOL, 0, 0, NULL, false},
	{"stdin", BOOL, 0, 0, NULL, false},
	{"rows", WHOLE, 0, 65535, NULL, false},
	{"cols", WHOLE, 0, 65535, NULL, false},
	{0},
};
static const struct member over_container_members[] = {
	{"name", TEXT, 1, 255, NULL, true},
	{"command", WORDS, 0, 0, NULL, false},
	{"env", TEXTS, 0, 0, NULL, false},
	{"memory_mb", WHOLE, TASK_MEMORY_MB_MIN, TASK_MEMORY_MB_MAX, NULL, false},
	{"cpu", REAL, 0.01, 256, NULL, false},
	{0},
};
static const struct member over_members[] = {
	{"containers", ITEMS, 0, TASK_CONTAINERS, over_container_members, false},
	{"memory_mb", WHOLE, TASK_MEMORY_MB_MIN, TASK_MEMORY_MB_MAX, NULL, false},
	{"cpu", REAL, 0.01, 256, NULL, false},
	{0},
};

const char *const task_condition_name[TASK_ON_N] = {"START", "COMPLETE", "SUCCESS", "HEALTHY"};

struct walk {
	char path[200];
	const struct member *tables[3]; /* of the object at hand: a member of any of them is known */
	struct err *e;
};

static int wrong(struct walk *w, const char *fmt, ...) PRINTF(2, 3);
static int wrong(struct walk *w, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(w->e, ERR_INVALID, "%s%s%s", w->path, *w->path ? ": " : "", text);
}

/* No text of JSON holds a NUL: json/read.h refuses it. */
static int check_text(struct walk *w, struct str s, const struct member *m)
{
	if (m->kind == TEXT && (s.n < m->min || s.n > (m->max ? m->max : TEXT_MAX)))
		return wrong(w, "is of %.0f to %.0f bytes", m->min, m->max ? m->max : TEXT_MAX);
	return 0;
}

static int check_number(struct walk *w, const struct json *v, const struct member *m)
{
	double n = json_real(v, NAN);

	if ((m->kind != REAL && json_type(v) != JSON_INT) || isnan(n))
		return wrong(w, "is %s", kind_name[m->kind]);
	return m->max && (n < m->min || n > m->max) ? wrong(w, "is from %g to %.10g", m->min, m->max) : 0;
}

static int check_object(struct walk *w, const struct json *v, const struct member *a, const struct member *b,
			const struct member *c);

static int check_one(struct walk *w, const struct json *v, const struct member *m)
{
	switch (m->kind) {
	case TEXT:
	case WORDS:
	case TEXTS:
		return json_type(v) != JSON_STRING ? wrong(w, "is %s", kind_name[m->kind])
						   : check_text(w, json_str(v), m);
	case ITEM:
	case ITEMS:
		return check_object(w, v, m->inside, NULL, NULL);
	case BOOL:
		return json_type(v) != JSON_BOOL ? wrong(w, "is true or false") : 0;
	case PAIRS:
		if (json_len(v) != 2 || check_number(w, json_at(v, 0), m) < 0 || check_number(w, json_at(v, 1), m) < 0)
			return wrong(w, "is [soft, hard], two whole numbers");
		return 0;
	default:
		return check_number(w, v, m);
	}
}

static int check_list(struct walk *w, const struct json *v, const struct member *m)
{
	size_t n = json_len(v), at = strlen(w->path), max = m->max && m->kind != NUMBERS ? (size_t)m->max : WORDS_MAX;

	if (json_type(v) != JSON_ARRAY)
		return wrong(w, "is %s", kind_name[m->kind]);
	if (n > max || (m->kind != NUMBERS && n < m->min))
		return wrong(w, "holds %.0f to %zu", m->kind == NUMBERS ? 0 : m->min, max);
	for (size_t i = 0; i < n; i++) {
		snprintf(w->path + at, sizeof(w->path) - at, "[%zu]", i);
		if (check_one(w, json_at(v, i), m) < 0)
			return -1;
	}
	w->path[at] = 0;
	return 0;
}

struct named {
	struct walk *w;
	const struct member *m;
};

static int check_named(void *arg, const char *key, const struct json *value)
{
	struct named *n = arg;

	if (!*key || strchr(key, '='))
		return wrong(n->w, "is %s", kind_name[n->m->kind]);
	return check_one(n->w, value, n->m);
}

static const struct member *find_member(const struct walk *w, const char *key)
{
	for (unsigned t = 0; t < ARRAY_SIZE(w->tables); t++)
		for (const struct member *m = w->tables[t]; m && m->name; m++)
			if (!strcmp(m->name, key))
				return m;
	return NULL;
}

static int check_member(void *arg, const char *key, const struct json *v)
{
	struct walk *w = arg, inner = {.e = w->e};
	const struct member *m = find_member(w, key);

	if (!m)
		return wrong(w, "\"%.60s\" is not known here", key);
	snprintf(inner.path, sizeof(inner.path), "%.120s%s%.60s", w->path, *w->path ? "." : "", key);
	switch (m->kind) {
	case WORDS:
	case NUMBERS:
	case ITEMS:
		return check_list(&inner, v, m);
	case TEXTS:
	case PAIRS:
		if (json_type(v) != JSON_OBJECT)
			return wrong(&inner, "is %s", kind_name[m->kind]);
		return json_each(v, check_named, &(struct named){&inner, m});
	default:
		return check_one(&inner, v, m);
	}
}

static int check_object(struct walk *w, const struct json *v, const struct member *a, const struct member *b,
			const struct member *c)
{
	struct walk inner = {.tables = {a, b, c}, .e = w->e};

	if (json_type(v) != JSON_OBJECT)
		return wrong(w, "is an object");
	snprintf(inner.path, sizeof(inner.path), "%s", w->path);
	if (json_each(v, check_member, &inner))
		return -1;
	for (unsigned t = 0; t < ARRAY_SIZE(inner.tables); t++)
		for (const struct member *m = inner.tables[t]; m && m->name; m++)
			if (m->required && !json_get(v, m->name))
				return wrong(w, "\"%s\" is missing", m->name);
	return 0;
}

unsigned task_doc_n(const struct json *doc)
{
	const struct json *list = json_get(doc, "containers");

	return list ? (unsigned)json_len(list) : 1;
}

const struct json *task_doc_container(const struct json *doc, unsigned i)
{
	const struct json *list = json_get(doc, "containers");

	return list ? json_at(list, i) : doc;
}

const char *task_doc_name(const struct json *doc, unsigned i)
{
	struct str name = json_get_str(task_doc_container(doc, i), "name");

	return name.p ? name.p : "main";
}

int task_doc_find(const struct json *doc, struct str name)
{
	for (unsigned i = 0; i < task_doc_n(doc); i++)
		if (str_eqc(name, task_doc_name(doc, i)))
			return (int)i;
	return -1;
}

static int condition_of(struct str s)
{
	for (int i = 0; i < TASK_ON_N; i++)
		if (str_eqc(s, task_condition_name[i]))
			return i;
	return s.p ? -1 : TASK_ON_START;
}

void task_doc_needs(const struct json *doc, unsigned i, unsigned ret[TASK_ON_N])
{
	const struct json *list = json_get(task_doc_container(doc, i), "depends_on");

	memset(ret, 0, sizeof(*ret) * TASK_ON_N);
	for (size_t k = 0; k < json_len(list); k++)
		ret[condition_of(json_get_str(json_at(list, k), "condition"))] |=
			1u << task_doc_find(doc, json_get_str(json_at(list, k), "container"));
}

/* ---- what no table says ---- */

static int check_depends(struct walk *w, const struct json *doc, unsigned i)
{
	const struct json *list = json_get(task_doc_container(doc, i), "depends_on");

	for (size_t k = 0; k < json_len(list); k++) {
		struct str whom = json_get_str(json_at(list, k), "container");
		int on = task_doc_find(doc, whom), when = condition_of(json_get_str(json_at(list, k), "condition"));

		if (on < 0)
			return wrong(w, "depends_on: there is no container \"" STR_FMT "\" in this task",
				     STR_ARG(whom));
		if (when < 0)
			return wrong(w, "depends_on: a condition is START, COMPLETE, SUCCESS or HEALTHY");
		if (when == TASK_ON_HEALTHY && !json_get(task_doc_container(doc, (unsigned)on), "health"))
			return wrong(w, "depends_on: \"" STR_FMT "\" has no health check that could say HEALTHY",
				     STR_ARG(whom));
		if ((when == TASK_ON_COMPLETE || when == TASK_ON_SUCCESS) &&
		    json_get_bool(task_doc_container(doc, (unsigned)on), "essential", true))
			return wrong(w,
				     "depends_on: the end of \"" STR_FMT
				     "\" is the end of the task; say that it is not essential",
				     STR_ARG(whom));
	}
	return 0;
}

static int check_mounts(struct walk *w, const struct json *c)
{
	const struct json *mounts = json_get(c, "mounts"), *secrets = json_get(c, "secrets");

	for (size_t i = 0; i < json_len(mounts); i++) {
		const struct json *m = json_at(mounts, i);
		struct str path = json_get_str(m, "path"), host = json_get_str(m, "host");

		if (*path.p != '/' || (host.p && *host.p != '/'))
			return wrong(w, "mounts: paths begin with \"/\"");
		if (!json_get(m, "volume") + !json_get(m, "host") + !json_get(m, "tmpfs_mb") != 2)
			return wrong(w, "mounts: %s wants one of volume, host and tmpfs_mb", path.p);
		if (json_get(m, "volume") && !str_name_ok(json_get_str(m, "volume"), TASK_NAME_MAX, "-_."))
			return wrong(w, "mounts: a volume's name is of letters, digits, \"-\", \"_\" and \".\"");
	}
	for (size_t i = 0; i < json_len(secrets); i++) {
		const struct json *s = json_at(secrets, i);
		struct str path = json_get_str(s, "path");

		if (json_get(s, "path") && json_get(s, "env"))
			return wrong(w, "secrets: one is given in a file or in the environment, not both");
		if (path.p && *path.p != '/')
			return wrong(w, "secrets: paths begin with \"/\"");
		if (!str_name_ok(json_get_str(s, "name"), TASK_NAME_MAX, "-_."))
			return wrong(w, "secrets: names are of letters, digits, \"-\", \"_\" and \".\"");
	}
	return 0;
}

static int check_container(struct walk *w, const struct json *doc, unsigned i)
{
	const struct json *c = task_doc_container(doc, i), *health = json_get(c, "health");
	struct str name = str_of(task_doc_name(doc, i)), cwd = json_get_str(c, "workdir");
	struct given given;
	struct err why;

	if (json_get(doc, "containers"))
		snprintf(w->path, sizeof(w->path), "containers[%u]", i);
	if (!str_name_ok(name, 255, "-_."))
		return wrong(w, "a name is of letters, digits, \"-\", \"_\" and \".\"");
	if (task_doc_find(doc, name) != (int)i)
		return wrong(w, "two containers have the name \"" STR_FMT "\"", STR_ARG(name));
	if (cwd.n && *cwd.p != '/')
		return wrong(w, "workdir begins with \"/\"");
	if (health && !json_get(health, "command") + !json_get(health, "http") + !json_get(health, "tcp") != 2)
		return wrong(w, "health: one of command, http and tcp says how to look");
	if (json_get(health, "http") && (!json_get(health, "port") || *json_get_str(health, "http").p != '/'))
		return wrong(w, "health: http is a path like /healthz, and wants the port");
	if (json_len(json_get(c, "ulimits")) > GIVEN_EACH)
		return wrong(w, "ulimits: there are not so many");
	if (check_depends(w, doc, i) < 0 || check_mounts(w, c) < 0)
		return -1;
	return given_read(c, &given, &why) < 0 ? wrong(w, "%.250s", why.text) : 0;
}

/* Those whose needs are all settled settle themselves, until none is left or nothing moves. */
static int check_rings(struct walk *w, const struct json *doc)
{
	unsigned n = task_doc_n(doc), settled = 0, before;

	do {
		before = settled;
		for (unsigned i = 0; i < n; i++) {
			unsigned needs[TASK_ON_N];

			task_doc_needs(doc, i, needs);
			if (!((needs[0] | needs[1] | needs[2] | needs[3]) & ~settled))
				settled |= 1u << i;
		}
	} while (settled != before);
	for (unsigned i = 0; i < n; i++)
		if (!(settled >> i & 1))
			return wrong(w, "depends_on: \"%s\" waits for itself in the end", task_doc_name(doc, i));
	return 0;
}

int task_doc_runtime(const struct json *doc)
{
	static const char *const names[SPAWNER_RUNTIMES] = {"tandem", "crun", "runc"};
	struct str is = json_get_str(doc, "runtime");
	int n = is.p ? SPAWNER_RUNTIMES - 1 : 0;

	while (n >= 0 && is.p && !str_eqc(is, names[n]))
		n--;
	return n;
}

static int check_whole(struct walk *w, const struct json *doc)
{
	struct str egress = json_get_str(doc, "egress"), word;
	struct spawner_egress way = {0};
	struct err why;
	int64_t mb = 0, all = json_get_int(doc, "memory_mb", 0);
	bool essential = false;

	for (unsigned i = 0; i < task_doc_n(doc); i++) {
		const struct json *c = task_doc_container(doc, i);

		if (check_container(w, doc, i) < 0)
			return -1;
		essential |= json_get_bool(c, "essential", true);
		mb += json_get_int(c, "memory_mb", TASK_MEMORY_MB_MIN);
	}
	*w->path = 0;
	if (!essential)
		return wrong(w, "one container at least is essential");
	if (all && mb > all)
		return wrong(w, "memory_mb: its containers want more than the %lld MB of the task", (long long)all);
	if (task_doc_runtime(doc) < 0)
		return wrong(w, "runtime is tandem, crun or runc");
	while (str_next(&egress, ' ', &word))
		if (!str_eqc(word, "none") && egress_add(&way, word, &why) < 0)
			return wrong(w, "egress: %.200s", why.text);
	return check_rings(w, doc);
}

int task_doc_check(const struct json *doc, struct err *e)
{
	struct walk w = {.e = e};

	if (json_type(doc) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "a task is a JSON object");
	if (json_get(doc, "containers") ? check_object(&w, doc, task_members, NULL, NULL)
					: check_object(&w, doc, container_members, task_members, run_members))
		return -1;
	return check_whole(&w, doc);
}

int task_overrides_check(const struct json *over, const struct json *doc, struct err *e)
{
	const struct json *list = json_get(over, "containers");
	struct walk w = {.path = "overrides", .e = e};

	if (check_object(&w, over, over_members, NULL, NULL) < 0)
		return -1;
	for (size_t i = 0; i < json_len(list); i++)
		if (task_doc_find(doc, json_get_str(json_at(list, i), "name")) < 0)
			return wrong(&w, "there is no container \"" STR_FMT "\" in this task",
				     STR_ARG(json_get_str(json_at(list, i), "name")));
	return 0;
}

int task_exec_check(const struct json *what, struct err *e)
{
	return check_object(&(struct walk){.e = e}, what, exec_members, NULL, NULL);
}
