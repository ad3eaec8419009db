/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies: a function or a service a second time, for those who measure it (tandem bench, tandem tune). A copy has the
 * code and the configuration of what it is of, with what the request has in place; nothing leads to it: no route, port,
 * trigger or dead-letter queue. It lives as long as the request that asked for it is open. Its record "copy/NAME" is
 * durable before it is, so that what a crash leaves behind is removed at the next start.
 */
#include <stdio.h>
#include "api/admin_int.h"
#include "api/shape.h"
#include "base/rand.h"
#include "sched/deploy.h"
#include "store/definition.h"
#include "store/record.h"

#define COPIES_MAX    32
#define MEMORY_MB_MIN 128 /* of a function, as tandem.yaml has it */
#define MEMORY_MB_MAX 10240

static const char shape[] =
	"{of!:s,lane:s(function|container),concurrency:i(1..64),memory:i(4..1048576),cpu:n,min:i(0..100),"
	"max:i(0..1000),reserved:i(0..1000),fails:b}";

/*
 *   MAKE ───► LIVE ───► GO
 *     └─────────────────┘
 *
 *   MAKE  the deploy, or the service's first instance
 *   LIVE  the client's leaving
 *   GO    the store's commit that it is gone
 */
struct copy {
	struct admin *a;
	struct http_req *r; /* NULL: the client left */
	char name[16], key[24];
	struct function *f; /* a reference, or NULL: a service */
	struct deploy deploy;
	struct service_wait wait;
	struct store_op op;
	struct json *spec;
	bool made, waits;
	int revision; /* of a definition of its own; 0: it has none */
};

static void copy_free(struct copy *c)
{
	json_free(c->spec);
	function_unref(c->f);
	admin_unref(c->a);
	free(c);
}

static void gone(struct store_op *op, const struct err *e)
{
	if (op->s) /* else the daemon ends, and all that we would need is gone */
		copy_free(container_of(op, struct copy, op));
}

static void remove_service(struct admin *a, const char *name, int revision)
{
	struct service *sv = service_get(a->o.services, STR("default"), str_of(name));
	auto_free char *group = xasprintf("service:%s", name);

	if (sv)
		service_del(a->o.services, NULL, sv);
	tasks_forget(a->o.tasks, group);
	if (!revision)
		return;

	auto_free char *family = xasprintf("family/%s", name);

	definition_del(a->o.store, NULL, name, revision);
	record_del(a->o.store, NULL, family); /* its number may be given again: there is no other of this name */
}

static void copy_go(struct copy *c)
{
	struct store *st = c->a->o.store;

	c->op.done = gone;
	if (c->f)
		sched_stop_function(c->a->o.sched, c->f); /* nobody waits for a call that is under way */
	if (c->f && !c->f->deleted && function_get(st, str_of(c->name)) == c->f)
		function_del(st, NULL, c->f);
	else if (!c->f)
		remove_service(c->a, c->name, c->revision);
	record_del(st, &c->op, c->key); /* last: until then the next start looks after what is left */
}

static void left(void *arg)
{
	struct copy *c = arg;

	c->r = NULL;
	if (c->made)
		copy_go(c);
}

static void say(struct copy *c, const struct err *e)
{
	auto_object(w, line);

	jw_strc(&w, "event", e ? "failed" : "ready");
	jw_strc(&w, "name", c->name);
	jw_strc(&w, "kind", c->f ? "function" : "service");
	if (e)
		jw_strc(&w, "error", e->text);
	jw_end(&w, '}');
	buf_addc(&line, '\n');
	http_stream_write(c->r, buf_str(&line));
	if (!e)
		return;
	http_stream_end(c->r);
	c->r = NULL;
}

/* It is there, or cannot be. */
static void made(struct copy *c, const struct err *e)
{
	c->made = true;
	if (c->r)
		say(c, e->kind ? e : NULL);
	if (!c->r)
		copy_go(c);
}

static enum lane lane_of(const struct copy *c, enum lane present)
{
	struct str lane = json_get_str(c->spec, "lane");

	return !lane.p ? present : str_eqc(lane, lane_name[LANE_CONTAINER]) ? LANE_CONTAINER : LANE_FUNCTION;
}

/* ---- of a function ---- */

static void deployed(struct deploy *d, const struct err *e)
{
	struct copy *c = container_of(d, struct copy, deploy);
	struct err why = *e;

	if (!e->kind && c->f->state == FUNCTION_FAILED && !json_get_bool(c->spec, "fails", false))
		err_set(&why, ERR_INVALID, "it cannot be started: %s", c->f->reason);
	if (e->kind && !c->f->deleted && function_get(c->a->o.store, str_of(c->name)) != c->f)
		function_unref(c->f); /* the one that the table never got */
	made(c, &why);
}

static int copy_function(struct copy *c, const struct function *of, struct err *e)
{
	struct revision *r = revision_clone(of->latest);
	struct scale scale = of->scale;

	r->memory_mb = (int)json_get_int(c->spec, "memory", r->memory_mb);
	if (json_get(c->spec, "cpu"))
		r->cpu_quota_us = (uint32_t)(json_real(json_get(c->spec, "cpu"), 0) * 100000 + 0.5);
	/* One that moved meanwhile would be no measure of either lane. */
	scale.lane = lane_of(c, of->lane) == LANE_CONTAINER ? LANE_WISH_CONTAINER : LANE_WISH_FUNCTION;
	scale.concurrency = (int)json_get_int(c->spec, "concurrency", scale.concurrency);
	scale.min = (int)json_get_int(c->spec, "min", 0);
	scale.max = (int)json_get_int(c->spec, "max", scale.max);
	strlcpy_(r->name, c->name, sizeof(r->name));
	r->version = 0, r->snapstart = false;
	free(take_ptr(r->dead_letter));
	if (json_get_bool(c->spec, "fails", false)) {
		free(r->handler);
		r->handler = xstrdup("tandem_bench.fails");
	}
	c->f = function_ref(function_new(c->name, "bench"));
	c->f->reserved = (int)json_get_int(c->spec, "reserved", -1);
	c->deploy = (struct deploy){.function = c->f,
				    .revision = r,
				    .is_new = true,
				    .scale = &scale,
				    .allow = of->allow ? of->allow : "",
				    .done = deployed};
	deploy_start(c->a->o.sched, &c->deploy);
	return 0;
}

static int check_function(const struct copy *c, const struct function *of, struct err *e)
{
	int64_t mb = json_get_int(c->spec, "memory", of->latest->memory_mb);

	if (of->state != FUNCTION_ACTIVE)
		return err_set(e, ERR_CONFLICT, "%s does not work: %s", of->name,
			       of->reason ? of->reason : "it is being deployed");
	if (mb < MEMORY_MB_MIN || mb > MEMORY_MB_MAX)
		return err_set(e, ERR_INVALID, "the memory of a function is from %d to %d MB", MEMORY_MB_MIN,
			       MEMORY_MB_MAX);
	if (of->latest->image && json_get_bool(c->spec, "fails", false))
		return err_set(e, ERR_INVALID, "what its image does cannot be made to fail from outside");
	if (function_count(c->a->o.store) >= LIM_FUNCTIONS)
		return err_set(e, ERR_LIMIT, "there are %d functions already, which is the limit", LIM_FUNCTIONS);
	return 0;
}

/* ---- of a service ---- */

static bool still(struct service_wait *w, const char *why)
{
	return container_of(w, struct copy, wait)->r != NULL;
}

static void settled(struct service_wait *w, const struct err *e)
{
	made(container_of(w, struct copy, wait), e);
}

/* Two that write the same files would spoil them. */
static int check_service(const struct json *doc, struct err *e)
{
	const struct json *m;

	for (unsigned i = 0; i < task_doc_n(doc); i++)
		for (size_t k = 0; (m = json_at(json_get(task_doc_container(doc, i), "mounts"), k)); k++)
			if (!json_get_bool(m, "read_only", false) && (json_get(m, "volume") || json_get(m, "host")))
				return err_set(e, ERR_INVALID, "it writes to " STR_FMT ", which a copy would share",
					       STR_ARG(json_get_str(m, json_get(m, "volume") ? "volume" : "host")));
	return 0;
}

/* A size of its own is a definition of its own. */
static int resize(struct copy *c, struct service_spec *spec, const struct json *doc, struct err *e)
{
	const struct json *mb = json_get(c->spec, "memory"), *cpu = json_get(c->spec, "cpu");
	auto_buf text = {0};
	auto_object(w, over);

	if (!mb && !cpu)
		return 0;
	if (mb)
		jw_int(&w, "memory_mb", json_int(mb, 0));
	if (cpu)
		jw_real(&w, "cpu", json_real(cpu, 0));
	jw_end(&w, '}');

	auto_json sizes = json_parse(buf_str(&over), NULL);

	json_merge(&text, doc, sizes, NULL);

	auto_json whole = json_parse(buf_str(&text), e);

	if (!whole || task_doc_check(whole, e) < 0)
		return -1;
	c->revision = definition_put(
		c->a->o.store, NULL,
		&(struct definition){.family = c->name, .project = "bench", .doc = text.p, .active = true});
	strlcpy_(spec->family, c->name, sizeof(spec->family));
	spec->revision = c->revision;
	return 0;
}

static int copy_service(struct copy *c, struct service *of, struct err *e)
{
	struct service_spec spec = *service_spec_of(of);
	auto_definition d = definition_get(c->a->o.store, str_of(spec.family), spec.revision);
	auto_json doc = d ? json_parse(str_of(d->doc), NULL) : NULL;
	struct service_lane_info l;
	enum lane lane;

	service_lane_info(of, &l);
	lane = lane_of(c, l.lane);
	if (!doc)
		return err_set(e, ERR_NOT_FOUND, "what %s is made of is gone", spec.name);
	if (!spec.port)
		return err_set(e, ERR_INVALID, "%s has no port for requests", spec.name);
	if (lane == LANE_FUNCTION && *l.cannot)
		return err_set(e, ERR_INVALID, "%s", l.cannot);
	if (check_service(doc, e) < 0)
		return -1;
	strlcpy_(spec.cluster, "default", sizeof(spec.cluster));
	strlcpy_(spec.name, c->name, sizeof(spec.name));
	strlcpy_(spec.project, "bench", sizeof(spec.project));
	/* One that a request has to guess; without a route there is no function lane. */
	snprintf(spec.route, sizeof(spec.route), "/.tandem/copy/%s", c->name);
	spec.n_ports = 0, spec.source = NULL;
	spec.lane = lane == LANE_FUNCTION ? LANE_WISH_FUNCTION : LANE_WISH_CONTAINER;
	spec.min = (int)json_get_int(c->spec, "min", lane == LANE_FUNCTION ? 0 : spec.min);
	spec.concurrency = (int)json_get_int(c->spec, "concurrency", spec.concurrency);
	spec.max = (int)json_get_int(c->spec, "max", spec.max > spec.min ? spec.max : spec.min);
	if (resize(c, &spec, doc, e) < 0)
		return -1;
	if (service_put(c->a->o.services, NULL, &spec, false, e) < 0) {
		remove_service(c->a, c->name, c->revision);
		return -1;
	}
	c->wait.still = still, c->wait.done = settled;
	service_wait_start(service_get(c->a->o.services, STR("default"), str_of(c->name)), &c->wait);
	return 0;
}

/* ---- the request ---- */

static unsigned copies(const struct store *st)
{
	unsigned n = 0;

	for (const struct record *r = record_next(st, "copy/", NULL); r; r = record_next(st, "copy/", r->key))
		n++;
	return n;
}

static int read_spec(struct copy *c, struct str body, struct err *e)
{
	auto_json all = json_parse(body, e);
	struct api_err why;
	auto_buf text = {0};
	double cpu;

	if (!all)
		return -1;
	if (shape_copy(shape, all, &text, &why) < 0)
		return err_set(e, ERR_INVALID, "%s", why.text);
	c->spec = json_parse(buf_str(&text), e);
	cpu = json_real(json_get(c->spec, "cpu"), 1);
	if (!c->spec || !(cpu >= 0.01 && cpu <= 64))
		return err_set(e, ERR_INVALID, "cpu is a number of CPUs from 0.01 to 64");
	if (copies(c->a->o.store) >= COPIES_MAX)
		return err_set(e, ERR_LIMIT, "there are %d copies already, which is the limit", COPIES_MAX);
	return 0;
}

/* "shop/iris" or "iris". */
static int find(struct copy *c, struct function **ret_f, struct service **ret_sv, struct err *e)
{
	struct str of = json_get_str(c->spec, "of"), project = STR_NULL, name = of;

	if (!str_cut(of, '/', &project, &name))
		project = STR_NULL, name = of;
	*ret_f = function_get(c->a->o.store, name);
	*ret_sv = *ret_f ? NULL : admin_service_find(c->a, name);
	if ((!*ret_f && !*ret_sv) ||
	    (project.n && !str_eqc(project, *ret_f ? (*ret_f)->project : service_spec_of(*ret_sv)->project)))
		return err_set(e, ERR_NOT_FOUND,
			       "there is no function and no service \"" STR_FMT
			       "\"; tandem ls lists those that are there",
			       (int)(of.n < 80 ? of.n : 80), of.p);
	return 0;
}

void admin_copy(struct admin *a, struct http_req *r, struct str unused)
{
	struct copy *c = xcalloc(1, sizeof(*c));
	struct function *f = NULL;
	struct service *sv = NULL;
	struct err e = {0};

	c->a = a;
	a->refs++;
	snprintf(c->name, sizeof(c->name), "bench-%08x", (unsigned)rand_u64());
	snprintf(c->key, sizeof(c->key), "copy/%s", c->name);
	if (read_spec(c, r->body, &e) < 0 || find(c, &f, &sv, &e) < 0 || (f && check_function(c, f, &e) < 0)) {
		admin_error(r, &e);
		copy_free(c);
		return;
	}
	record_put(a->o.store, NULL, c->key, f ? "function" : "service");
	if ((f ? copy_function(c, f, &e) : copy_service(c, sv, &e)) < 0) {
		record_del(a->o.store, NULL, c->key);
		admin_error(r, &e);
		copy_free(c);
		return;
	}
	c->r = r;
	http_on_gone(r, left, c);
	http_stream_begin(r, 200, "application/x-ndjson", STR_NULL);
}

void admin_copies_sweep(struct admin *a)
{
	struct store *st = a->o.store;
	const struct record *r;

	while ((r = record_next(st, "copy/", NULL))) {
		auto_free char *key = xstrdup(r->key);
		const char *name = key + strlen("copy/");
		struct function *f = function_get(st, str_of(name));
		auto_definition d = definition_get(st, str_of(name), 0);

		if (f)
			function_del(st, NULL, f);
		else
			remove_service(a, name, d ? d->revision : 0);
		record_del(st, NULL, key);
	}
}
