/* SPDX-License-Identifier: Apache-2.0 */
#include "app/workload.h"
#include <signal.h>
#include "app/manifest.h"
#include "app/value.h"
#include "base/mem.h"

#define TMPFS_MB 64
#define CPU_UNIT 100000.0 /* value_cpu: microseconds in 100 ms */

struct reader {
	const struct tree_opts *o;
	const struct node *whole; /* the workload */
	struct err *e;
};
typedef int put(const struct reader *r, const struct node *v, const char *member, struct jw *w);
/* Whose a key is: of the task, of its first container, of one beside that, of a service alone, of what is none. */
enum { TASK = 1, MAIN = 2, SIDE = 4, SERVICE = 8, ENDS = 16 };
struct key {
	const char *name, *member; /* in the file; in the document */
	put *put;		   /* NULL: read together with others */
	unsigned of;
};

static int fail(const struct reader *r, const struct node *v, const char *what)
{
	return tree_error(r->o, v->line, v->col, r->e, "%s", what);
}

/* ---- values ---- */

static int put_text(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	auto_free char *text = NULL;

	if (value_text(r->o, v, 4096, &text, r->e) < 0)
		return -1;
	jw_strc(w, member, text);
	return 0;
}

static int put_bool(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	bool yes;

	if (value_bool(r->o, v, &yes, r->e) < 0)
		return -1;
	jw_bool(w, member, yes);
	return 0;
}

static int put_mb(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	int mb;

	if (value_mb(r->o, v, v->key, TASK_MEMORY_MB_MIN, TASK_MEMORY_MB_MAX, &mb, r->e) < 0)
		return -1;
	jw_int(w, member, mb);
	return 0;
}

static int put_cpu(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	uint32_t quota_us;

	if (value_cpu(r->o, v, &quota_us, r->e) < 0)
		return -1;
	jw_real(w, member, quota_us / CPU_UNIT);
	return 0;
}

static int put_seconds(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	int seconds;

	if (value_seconds(r->o, v, v->key, 0, 3600, &seconds, r->e) < 0)
		return -1;
	jw_int(w, member, seconds);
	return 0;
}

static int put_count(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	int n;

	if (value_count(r->o, v, v->key, 1, 65535, &n, r->e) < 0)
		return -1;
	jw_int(w, member, n);
	return 0;
}

static int put_signal(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	auto_free char *text = NULL;
	int64_t n = 0;

	if (value_text(r->o, v, 32, &text, r->e) < 0)
		return -1;
	for (int sig = 1; sig < SIGRTMIN && !n; sig++)
		if (sigabbrev_np(sig) && !strcmp(sigabbrev_np(sig), text + (strncmp(text, "SIG", 3) ? 0 : 3)))
			n = sig;
	if (!n && str_to_i64(str_of(text), 1, 64, &n) < 0)
		return fail(r, v, "a signal is a name like SIGTERM, or a number from 1 to 64");
	jw_int(w, member, n);
	return 0;
}

static int put_words(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	if (v->kind != NODE_LIST)
		return tree_error(r->o, v->line, v->col, r->e, "%s is a list", v->key);
	jw_arr(w, member);
	for (size_t i = 0; i < v->n; i++)
		if (put_text(r, &v->child[i], NULL, w) < 0)
			return -1;
	jw_end(w, ']');
	return 0;
}

/* A list, or a line for the image's shell. */
static int put_command(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	if (v->kind == NODE_LIST)
		return put_words(r, v, member, w);
	jw_arr(w, member);
	jw_strc(w, NULL, "/bin/sh");
	jw_strc(w, NULL, "-c");
	if (put_text(r, v, NULL, w) < 0)
		return -1;
	jw_end(w, ']');
	return 0;
}

static int put_env(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	struct pairs p = {0};
	int ret = value_pairs(r->o, v, v->key, &p, r->e);

	jw_obj(w, member);
	for (unsigned i = 0; i < p.n; i++)
		jw_strc(w, p.p[i].name, p.p[i].value);
	jw_end(w, '}');
	pairs_done(&p);
	return ret;
}

static int put_egress(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	auto_free char *text = NULL;

	if (manifest_egress(r->o, v, &text, r->e) < 0)
		return -1;
	if (text)
		jw_strc(w, member, text);
	return 0;
}

static int put_allow(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	auto_free char *json = NULL;

	if (manifest_allow(r->o, v, &json, r->e) < 0)
		return -1;
	if (json)
		jw_raw(w, member, str_of(json));
	return 0;
}

/* "db", or "db:5432". */
static int put_uses(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	if (v->kind != NODE_LIST)
		return fail(r, v, "uses is a list of services, like db or db:5432");
	jw_arr(w, member);
	for (size_t i = 0; i < v->n; i++) {
		auto_free char *text = NULL;
		struct str name, port;
		int64_t n;

		if (value_text(r->o, &v->child[i], 300, &text, r->e) < 0)
			return -1;
		jw_obj(w, NULL);
		if (str_cut(str_of(text), ':', &name, &port)) {
			if (str_to_i64(port, 1, 65535, &n) < 0)
				return fail(r, &v->child[i], "what follows the colon is a port, from 1 to 65535");
			jw_int(w, "port", n);
		} else {
			name = str_of(text);
		}
		jw_str(w, "service", name);
		jw_end(w, '}');
	}
	jw_end(w, ']');
	return 0;
}

/* "name": a file below /run/secrets; {name:, path: or env:} */
static int put_secrets(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	static const char *const keys[] = {"name", "path", "env"};

	if (v->kind != NODE_LIST)
		return fail(r, v, "secrets is a list of names, or of items with name and path or env");
	jw_arr(w, member);
	for (size_t i = 0; i < v->n; i++) {
		const struct node *item = &v->child[i];

		jw_obj(w, NULL);
		if (item->kind != NODE_MAP && put_text(r, item, "name", w) < 0)
			return -1;
		for (size_t k = 0; item->kind == NODE_MAP && k < item->n; k++) {
			if (strcmp(item->child[k].key, keys[0]) && strcmp(item->child[k].key, keys[1]) &&
			    strcmp(item->child[k].key, keys[2]))
				return fail(r, item, "a secret has name, and path or env");
			if (put_text(r, &item->child[k], item->child[k].key, w) < 0)
				return -1;
		}
		jw_end(w, '}');
	}
	jw_end(w, ']');
	return 0;
}

/* nofile: 1024, or [soft, hard]; unlimited is no number here, as the kernel has none for most. */
static int put_ulimits(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	if (v->kind != NODE_MAP)
		return fail(r, v, "ulimits is names with numbers, like nofile: 1024 or nofile: [1024, 2048]");
	jw_obj(w, member);
	for (size_t i = 0; i < v->n; i++) {
		const struct node *c = &v->child[i];
		bool two = c->kind == NODE_LIST && c->n == 2;

		jw_arr(w, c->key);
		for (unsigned k = 0; k < 2; k++) {
			const struct node *one = two ? &c->child[k] : c;
			int64_t n;

			if (one->kind != NODE_SCALAR || str_to_i64(str_of(one->text), 0, INT64_MAX, &n) < 0)
				return fail(r, c, "a limit is a whole number, or [soft, hard]");
			jw_int(w, NULL, n);
		}
		jw_end(w, ']');
	}
	jw_end(w, '}');
	return 0;
}

/* [db], which then has started; {db: healthy} */
static int put_depends(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	if (v->kind == NODE_SCALAR)
		return fail(r, v,
			    "depends_on is a list of containers, or names with start, complete, success or healthy");
	jw_arr(w, member);
	for (size_t i = 0; i < v->n; i++) {
		const struct node *c = &v->child[i];
		auto_free char *when = NULL;

		jw_obj(w, NULL);
		if (v->kind == NODE_LIST && put_text(r, c, "container", w) < 0)
			return -1;
		if (v->kind == NODE_MAP) {
			if (value_text(r->o, c, 16, &when, r->e) < 0)
				return -1;
			for (char *p = when; *p; p++)
				*p = *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
			jw_strc(w, "container", c->key);
			jw_strc(w, "condition", when);
		}
		jw_end(w, '}');
	}
	jw_end(w, ']');
	return 0;
}

static int put_port(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	jw_arr(w, member);
	if (put_count(r, v, NULL, w) < 0)
		return -1;
	jw_end(w, ']');
	return 0;
}

static int put_json(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	return value_json(r->o, v, member, w, r->e);
}

/* ---- tables ---- */

static put put_health;

static const struct key keys[] = {
	{"image", NULL, NULL, MAIN | SIDE},
	{"build", NULL, NULL, MAIN | SIDE},
	{"command", "command", put_command, MAIN | SIDE},
	{"entrypoint", "entrypoint", put_words, MAIN | SIDE},
	{"environment", "env", put_env, MAIN | SIDE},
	{"user", "user", put_text, MAIN | SIDE},
	{"workdir", "workdir", put_text, MAIN | SIDE},
	{"memory", "memory_mb", put_mb, TASK | SIDE},
	{"cpu", "cpu", put_cpu, TASK | SIDE},
	{"read_only", "read_only", put_bool, MAIN | SIDE},
	{"essential", "essential", put_bool, SIDE},
	{"stop_signal", "stop_signal", put_signal, MAIN | SIDE},
	{"stop_timeout", "stop_timeout_s", put_seconds, MAIN | SIDE},
	{"volumes", NULL, NULL, MAIN | SIDE},
	{"tmpfs", NULL, NULL, MAIN | SIDE},
	{"secrets", "secrets", put_secrets, MAIN | SIDE},
	{"devices", "devices", put_words, MAIN | SIDE},
	{"cap_add", "cap_add", put_words, MAIN | SIDE},
	{"cap_drop", "cap_drop", put_words, MAIN | SIDE},
	{"ulimits", "ulimits", put_ulimits, MAIN | SIDE},
	{"depends_on", "depends_on", put_depends, MAIN | SIDE},
	{"health", "health", put_health, MAIN | SIDE},
	{"egress", "egress", put_egress, TASK},
	{"uses", "uses", put_uses, TASK},
	{"allow", "allow", put_allow, TASK},
	{"runtime", "runtime", put_text, TASK},
	{"containers", NULL, NULL, TASK},
	{"tags", NULL, NULL, TASK},
	{"on", NULL, NULL, ENDS},
	{"port", "ports", put_port, SERVICE | MAIN},
	{"route", "route", put_json, SERVICE},
	{"ports", "ports", put_json, SERVICE},
	{"min", "min", put_json, SERVICE},
	{"max", "max", put_json, SERVICE},
	{"concurrency", "concurrency", put_json, SERVICE},
	{"cpu_percent", "cpu_percent", put_json, SERVICE},
	{"idle", "idle", put_json, SERVICE},
	{"restart", "restart", put_json, SERVICE},
	{"rollout", "rollout", put_json, SERVICE},
	{"lane", "lane", put_json, SERVICE},
	{0},
};
static const struct key health_keys[] = {
	{"command", "command", put_command, 0},
	{"http", "http", put_text, 0},
	{"port", "port", put_count, 0},
	{"tcp", "tcp", put_count, 0},
	{"interval", "interval_s", put_seconds, 0},
	{"timeout", "timeout_s", put_seconds, 0},
	{"retries", "retries", put_count, 0},
	{"start_period", "start_period_s", put_seconds, 0},
	{0},
};

/* Of table i: those that a task has, that a container beside its first has, that a health check has, and a service. */
static const char *key_at(const void *table, size_t i)
{
	static const unsigned of[] = {TASK | MAIN | ENDS, SIDE, 0, TASK | MAIN | SERVICE};
	unsigned t = *(const unsigned *)table;
	const struct key *k = t == 2 ? health_keys : keys;

	for (; k->name; k++) {
		bool known = t == 2 || (k->of & of[t] && (t == 3 || !(k->of & SERVICE)));

		if (known && !i--)
			return k->name;
	}
	return NULL;
}

const char *workload_key(int table, size_t i)
{
	return key_at(&(unsigned){(unsigned)table}, i);
}

static int check_known(const struct reader *r, const struct node *map, unsigned table, const char *what)
{
	if (map->kind != NODE_MAP)
		return tree_error(r->o, map->line, map->col, r->e, "here stands %s, which is keys with values", what);
	for (size_t i = 0; i < map->n; i++) {
		const char *name;

		for (size_t k = 0; (name = key_at(&table, k)) && strcmp(name, map->child[i].key);)
			k++;
		if (!name)
			return tree_unknown_key(r->o, &map->child[i], key_at, &table, r->e);
	}
	return 0;
}

/* Members in the order of the table, so that the order in the file makes no difference. */
static int put_all(const struct reader *r, const struct node *map, const struct key *k, unsigned of, struct jw *w)
{
	for (; k->name; k++) {
		const struct node *v = tree_get(map, k->name);

		if (v && k->put && (!of || (of == SERVICE ? k->of == of : k->of & of)) &&
		    k->put(r, v, k->member, w) < 0)
			return -1;
	}
	return 0;
}

static int put_health(const struct reader *r, const struct node *v, const char *member, struct jw *w)
{
	const struct node *port = tree_get(r->whole, "port");

	if (check_known(r, v, 2, "a health check") < 0)
		return -1;
	jw_obj(w, member);
	if (put_all(r, v, health_keys, 0, w) < 0)
		return -1;
	if (tree_get(v, "http") && !tree_get(v, "port") && port && put_count(r, port, "port", w) < 0)
		return -1;
	jw_end(w, '}');
	return 0;
}

/* ---- mounts ---- */

/* Of the path's pieces "." goes, and ".." takes one with it. */
static char *below(const char *dir, struct str more)
{
	auto_buf out = {0};
	struct str piece;

	buf_adds(&out, dir);
	while (str_next(&more, '/', &piece)) {
		if (!piece.n || str_eqc(piece, "."))
			continue;
		if (!str_eqc(piece, ".."))
			buf_addf(&out, "/" STR_FMT, STR_ARG(piece));
		else if (out.n && strrchr(out.p, '/'))
			*strrchr(out.p, '/') = 0, out.n = strlen(out.p);
	}
	return buf_take(&out);
}

static int put_volume(const struct reader *r, const struct node *v, struct jw *w)
{
	auto_free char *text = NULL;
	struct str from, rest, to, how = STR_NULL;

	if (value_text(r->o, v, 2048, &text, r->e) < 0)
		return -1;
	if (!str_cut(str_of(text), ':', &from, &rest))
		return fail(r, v, "a volume looks like data:/var/lib/x, or ./conf:/etc/x:ro");
	if (!str_cut(rest, ':', &to, &how))
		to = rest;
	if (how.n && !str_eqc(how, "ro") && !str_eqc(how, "rw"))
		return fail(r, v, "what follows the second colon is ro or rw");
	jw_obj(w, NULL);
	if (*from.p == '.') {
		auto_free char *path = below(r->o->dir ? r->o->dir : "", from);

		if (!r->o->dir)
			return fail(r, v, "whoever sent this file did not say in which folder it lies; begin with /");
		jw_strc(w, "host", path);
	} else {
		jw_str(w, *from.p == '/' ? "host" : "volume", from);
	}
	jw_str(w, "path", to);
	if (str_eqc(how, "ro"))
		jw_bool(w, "read_only", true);
	jw_end(w, '}');
	return 0;
}

/* "/path", or "/path:128Mi" */
static int put_tmpfs(const struct reader *r, const struct node *v, struct jw *w)
{
	auto_free char *text = NULL;
	struct str path, size;
	int mb = TMPFS_MB;

	if (value_text(r->o, v, 2048, &text, r->e) < 0)
		return -1;
	if (!str_cut(str_of(text), ':', &path, &size)) {
		path = str_of(text);
	} else {
		auto_free char *number = str_dup(size);
		struct node n = *v;

		n.text = number;
		if (value_mb(r->o, &n, "tmpfs", 1, TASK_MEMORY_MB_MAX, &mb, r->e) < 0)
			return -1;
	}
	jw_obj(w, NULL);
	jw_int(w, "tmpfs_mb", mb);
	jw_str(w, "path", path);
	jw_end(w, '}');
	return 0;
}

static int put_mounts(const struct reader *r, const struct node *map, struct jw *w)
{
	const struct node *volumes = tree_get(map, "volumes"), *tmpfs = tree_get(map, "tmpfs");

	if (!volumes && !tmpfs)
		return 0;
	if ((volumes && volumes->kind != NODE_LIST) || (tmpfs && tmpfs->kind == NODE_MAP))
		return fail(r, volumes ? volumes : tmpfs, "volumes and tmpfs are lists");
	jw_arr(w, "mounts");
	for (size_t i = 0; volumes && i < volumes->n; i++)
		if (put_volume(r, &volumes->child[i], w) < 0)
			return -1;
	if (tmpfs && tmpfs->kind == NODE_SCALAR && put_tmpfs(r, tmpfs, w) < 0)
		return -1;
	for (size_t i = 0; tmpfs && i < tmpfs->n; i++)
		if (put_tmpfs(r, &tmpfs->child[i], w) < 0)
			return -1;
	jw_end(w, ']');
	return 0;
}

/* ---- the whole ---- */

static int put_image(const struct reader *r, const struct node *map, const char *name, struct workload *ret,
		     struct jw *w)
{
	const struct node *image = tree_get(map, "image"), *build = tree_get(map, "build");
	struct workload_image *im = &ret->images[ret->n_images++];

	if (!image == !build)
		return tree_error(r->o, map->key_line, map->key_col, r->e, "\"%s\" needs one of image and build",
				  map->key);
	if (build && value_text(r->o, build, 1024, &im->build, r->e) < 0)
		return -1;
	if (build)
		im->reference = xasprintf("localhost/%s:latest", name);
	else if (value_text(r->o, image, 1024, &im->reference, r->e) < 0)
		return -1;
	jw_strc(w, "image", im->reference);
	return 0;
}

static int put_container(const struct reader *r, const struct node *map, const char *image, bool first,
			 struct workload *ret, struct jw *w)
{
	jw_obj(w, NULL);
	jw_strc(w, "name", map->key);
	if (put_image(r, map, image, ret, w) < 0 || put_all(r, map, keys, first ? MAIN : SIDE, w) < 0 ||
	    put_mounts(r, map, w) < 0)
		return -1;
	jw_end(w, '}');
	return 0;
}

static int put_containers(const struct reader *r, const char *project, struct workload *ret, struct jw *w)
{
	const struct node *more = tree_get(r->whole, "containers");
	auto_free char *image = xasprintf("%s-%s", project, ret->name);

	if (more && more->kind != NODE_MAP)
		return fail(r, more, "containers is a map from names to what they are");
	ret->images = xcalloc(1 + (more ? more->n : 0), sizeof(*ret->images));
	jw_arr(w, "containers");
	if (put_container(r, r->whole, image, true, ret, w) < 0)
		return -1;
	for (size_t i = 0; more && i < more->n; i++) {
		auto_free char *side = xasprintf("%s-%s", image, more->child[i].key);

		if (check_known(r, &more->child[i], 1, "a container") < 0 ||
		    put_container(r, &more->child[i], side, false, ret, w) < 0)
			return -1;
	}
	jw_end(w, ']');
	return 0;
}

struct member {
	const struct reader *r;
	struct service_spec *spec;
};

static int read_member(void *arg, const char *key, const struct json *value)
{
	struct member *m = arg;
	struct err why;

	return service_spec_set(m->spec, key, value, &why) < 0 ? fail(m->r, tree_get(m->r->whole, key), why.text) : 0;
}

#define FUNCTION_LANE_MAX 10 /* instances, where an instance has one request at a time */

/* Nobody can wake what has no port; what is said of min is as many as there may be. */
static int read_spec(const struct reader *r, struct str more, struct service_spec *spec)
{
	auto_json json = json_parse(more, r->e);
	uint16_t port = spec->port;
	struct err why;

	service_spec_default(spec);
	spec->port = port;
	spec->min = !port;
	if (!json || json_each(json, read_member, &(struct member){r, spec}))
		return -1;
	if (!tree_get(r->whole, "max") && (spec->lane == LANE_WISH_FUNCTION || spec->lane == LANE_WISH_AUTO))
		spec->max = FUNCTION_LANE_MAX;
	if (!tree_get(r->whole, "max") && spec->max < spec->min)
		spec->max = spec->min;
	if (service_spec_check(spec, &why) < 0)
		return tree_error(r->o, r->whole->key_line, r->whole->key_col, r->e, "\"%s\": %s", r->whole->key,
				  why.text);
	return 0;
}

static int read_tags(const struct reader *r, struct workload *ret)
{
	const struct node *v = tree_get(r->whole, "tags");
	struct pairs p = {0};
	int done = v ? manifest_tags(r->o, v, &p, r->e) : 0;

	ret->tags = pairs_list(&p);
	pairs_done(&p);
	return done;
}

int workload_read(const struct tree_opts *o, const char *project, const struct node *v, bool is_service,
		  struct workload *ret, struct err *e)
{
	struct reader r = {o, v, e};
	auto_buf doc = {0}, more = {0};
	auto_json json = NULL;
	struct jw w;
	struct err why;

	if (!str_name_ok(str_of(v->key), LIM_NAME_BYTES, "-_"))
		return tree_error(o, v->key_line, v->key_col, e,
				  "\"%.80s\" is no name for a service or task: 1 to %d letters, digits, - and _",
				  v->key, LIM_NAME_BYTES);
	strlcpy_(ret->name, v->key, sizeof(ret->name));
	ret->line = v->key_line, ret->col = v->key_col, ret->is_service = is_service;
	if (check_known(&r, v, is_service ? 3 : 0, is_service ? "a service" : "a task") < 0)
		return -1;
	w = jw_object(&doc);
	if (read_tags(&r, ret) < 0 || put_containers(&r, project, ret, &w) < 0 || put_all(&r, v, keys, TASK, &w) < 0)
		return -1;
	jw_end(&w, '}');
	w = jw_object(&more);
	if (is_service && put_all(&r, v, keys, SERVICE, &w) < 0)
		return -1;
	jw_end(&w, '}');
	json = json_parse(buf_str(&doc), &why);
	if (!json || task_doc_check(json, &why) < 0)
		return tree_error(o, ret->line, ret->col, e, "\"%s\": %.300s", ret->name, why.text);
	ret->spec.port = (uint16_t)json_int(json_at(json_get(task_doc_container(json, 0), "ports"), 0), 0);
	ret->doc = buf_take(&doc);
	if (is_service && read_spec(&r, buf_str(&more), &ret->spec) < 0)
		return -1;
	ret->spec.source = is_service && ret->tags ? xasprintf("{\"tags\":%s}", ret->tags) : NULL;
	return 0;
}

void workload_done(struct workload *w)
{
	for (unsigned i = 0; i < w->n_images; i++) {
		free(w->images[i].reference);
		free(w->images[i].build);
	}
	free(w->images);
	free(w->doc);
	free(w->tags);
	service_spec_done(&w->spec);
}
