/* SPDX-License-Identifier: Apache-2.0 */
/* plan, blobs, apply, down, backup: the daemon's half of `tandem up`. */
#include <errno.h>
#include <sys/stat.h>
#include "api/admin_int.h"
#include "api/authz.h"
#include "app/apply.h"
#include "base/enc.h"
#include "base/map.h"
#include "image/image.h"
#include "store/digest.h"
#include "store/record.h"
#include "trigger/url.h"

static const char *lookup(void *arg, const char *name)
{
	return json_get_str(arg, name).p;
}

static int read_manifest(const struct admin *a, const struct json *body, struct manifest **ret, struct err *e)
{
	struct str file = json_get_str(body, "file"), yaml = json_get_str(body, "yaml");
	auto_free char *where = xasprintf("%s:%s", a->o.region, a->o.account);
	struct tree_opts o = {
		.file = file.n && file.n < 4096 ? file.p : "tandem.yaml", .lookup = lookup, .where = where};

	if (!yaml.p)
		return err_set(e, ERR_INVALID, "the request holds no \"yaml\"");
	o.arg = (void *)json_get(body, "vars");
	o.dir = json_get_str(body, "dir").p;
	return manifest_parse(&o, yaml, ret, e);
}

struct digests {
	struct plan_digest *p;
	size_t n;
};

static int take_digest(void *arg, const char *folder, const struct json *value)
{
	struct digests *d = arg;

	d->p = xrealloc(d->p, sizeof(*d->p) * (d->n + 1));
	d->p[d->n].folder = xstrdup(folder);
	/* A value that is too long or no text becomes one that is not a digest, and plan_up says so. */
	strlcpy_(d->p[d->n++].sha256, json_str(value).p ? json_str(value).p : "", sizeof(d->p->sha256));
	return 0;
}

static int make_plan(struct admin *a, const struct json *body, struct plan **ret, struct err *e)
{
	struct manifest *m = NULL;
	struct digests d = {0};

	if (read_manifest(a, body, &m, e) < 0)
		return -1;
	json_each(json_get(body, "code"), take_digest, &d);
	return plan_up(&a->o.is, m, d.p, d.n, ret, e);
}

static void put_once(struct jw *w, struct map *seen, char *folder)
{
	if (!folder || map_get(seen, str_of(folder)))
		return;
	map_put(seen, str_of(folder), folder);
	jw_strc(w, NULL, folder);
}

static void put_images(const struct admin *a, const struct workload_image *images, unsigned n, struct jw *w)
{
	for (const struct workload_image *im = images; im < images + n; im++) {
		jw_obj(w, NULL);
		jw_strc(w, "reference", im->reference);
		if (im->build)
			jw_strc(w, "build", im->build);
		jw_bool(w, "here", image_find(a->o.images, im->reference) != NULL);
		jw_end(w, '}');
	}
}

/* Paths of the host that its containers are to be given: only root can allow them, so only the tool. */
static void put_host(const struct workload *wl, struct jw *w)
{
	auto_json doc = json_parse(str_of(wl->doc), NULL);

	for (unsigned i = 0; i < task_doc_n(doc); i++) {
		const struct json *c = task_doc_container(doc, i);
		const struct json *mounts = json_get(c, "mounts"), *devices = json_get(c, "devices");

		for (size_t k = 0; k < json_len(mounts); k++)
			if (json_get(json_at(mounts, k), "host"))
				jw_str(w, NULL, json_get_str(json_at(mounts, k), "host"));
		for (size_t k = 0; k < json_len(devices); k++)
			if (str_starts(json_str(json_at(devices, k)), "/"))
				jw_str(w, NULL, json_str(json_at(devices, k)));
	}
}

static void answer_folders(const struct admin *a, struct http_req *r, const struct manifest *m)
{
	struct map seen = {0};
	auto_object(w, out);

	jw_strc(&w, "project", m->name);
	jw_arr(&w, "folders");
	for (size_t i = 0; i < m->n; i++) {
		put_once(&w, &seen, m->functions[i].code);
		for (unsigned k = 0; k < m->functions[i].n_layers; k++)
			put_once(&w, &seen, m->functions[i].layers[k]);
	}
	jw_end(&w, ']');
	jw_arr(&w, "images");
	for (size_t i = 0; i < m->n_workloads; i++)
		put_images(a, m->workloads[i].images, m->workloads[i].n_images, &w);
	for (size_t i = 0; i < m->n; i++)
		put_images(a, &m->functions[i].image, m->functions[i].image.reference != NULL, &w);
	jw_end(&w, ']');
	jw_arr(&w, "host");
	for (size_t i = 0; i < m->n_workloads; i++)
		put_host(&m->workloads[i], &w);
	jw_end(&w, ']');
	jw_end(&w, '}');
	map_done(&seen);
	admin_json(r, 200, &out);
}

static void put_missing(void *arg, const char *sha256)
{
	jw_strc(arg, NULL, sha256);
}

/* A function that may write what starts it can start itself for ever. */
static void put_loops(const struct plan *p, const struct resource *x, struct jw *w)
{
	auto_json doc = json_parse(str_of(x->doc), NULL);
	const struct json *all = json_get(doc, "LambdaFunctionConfigurations"), *c, *r;

	for (size_t i = 0; (c = json_at(all, i)); i++) {
		const struct json *rules = json_get(json_get(json_get(c, "Filter"), "Key"), "FilterRules");
		struct str part[2] = {STR_NULL, STR_NULL}, name = STR_NULL;
		auto_free char *key = NULL, *text = NULL;
		struct principal who = {.kind = PRINCIPAL_WORKLOAD};
		struct api_err e;

		for (size_t k = 0; (r = json_at(rules, k)); k++)
			part[str_eqc(json_get_str(r, "Name"), "suffix")] = json_get_str(r, "Value");
		(void)resource_of_arn(json_get_str(c, "LambdaFunctionArn"), &name);
		for (size_t k = 0; k < p->manifest->n; k++)
			if (str_eqc(name, p->manifest->functions[k].name))
				who.allow = p->manifest->functions[k].allow;
		key = xasprintf("arn:aws:s3:::%.*s/" STR_FMT "x" STR_FMT, (int)strcspn(x->name, "/"), x->name,
				STR_ARG(part[0]), STR_ARG(part[1]));
		if (authz_check(&who, "", "s3:PutObject", key, &e) < 0)
			continue;
		text = xasprintf("%s:%u: " STR_FMT
				 " may write (allow:) such objects as start it: it can start itself for ever",
				 p->manifest->file, x->line, STR_ARG(name));
		jw_strc(w, NULL, text);
	}
}

static void answer_plan(struct admin *a, struct http_req *r, const struct plan *p)
{
	auto_object(w, out);

	jw_strc(&w, "project", p->project);
	jw_arr(&w, "entries");
	for (size_t i = 0; i < p->n; i++) {
		jw_obj(&w, NULL);
		jw_strc(&w, "name", plan_title(&p->entries[i]));
		jw_strc(&w, "action", plan_action_name[p->entries[i].action]);
		jw_arr(&w, "changes");
		for (unsigned k = 0; k < p->entries[i].n_changes; k++)
			jw_strc(&w, NULL, p->entries[i].changes[k]);
		jw_end(&w, ']');
		jw_end(&w, '}');
	}
	jw_end(&w, ']');
	jw_arr(&w, "warnings");
	for (size_t i = 0; i < p->manifest->resources.n; i++)
		if (p->manifest->resources.p[i].kind == RESOURCE_NOTIFICATION)
			put_loops(p, &p->manifest->resources.p[i], &w);
	jw_end(&w, ']');
	admin_put_kept(a, p, &w);
	jw_arr(&w, "missing");
	plan_missing(p, a->o.store, put_missing, &w);
	jw_end(&w, ']');
	admin_object(r, 200, &w);
}

void admin_plan(struct admin *a, struct http_req *r, struct str name)
{
	auto_(manifest_free_p) struct manifest *m = NULL;
	auto_(plan_free_p) struct plan *p = NULL;
	struct err e = {0};
	auto_json body = json_parse(r->body, &e);

	if (!body) {
		admin_error(r, &e);
	} else if (!json_get(body, "code")) {
		if (read_manifest(a, body, &m, &e) < 0)
			admin_error(r, &e);
		else
			answer_folders(a, r, m);
	} else if (make_plan(a, body, &p, &e) < 0) {
		admin_error(r, &e);
	} else {
		answer_plan(a, r, p);
	}
}

/* A write to the store for one request. The bytes are the request's own, so it is answered only by done; a client that
 * leaves before makes the server keep nothing: the copy is ours then. */
struct put {
	struct store_op op;
	struct http_req *r;
	char *copy;
};

static void put_done(struct store_op *op, const struct err *e)
{
	struct put *p = container_of(op, struct put, op);
	auto_buf out = {0};

	buf_adds(&out, "{}");
	if (p->r && e->kind)
		admin_error(p->r, e);
	else if (p->r)
		admin_json(p->r, 201, &out);
	free(p->copy);
	free(p);
}

void admin_blob(struct admin *a, struct http_req *r, struct str name)
{
	char have[65];
	uint8_t raw[32];
	struct put *p;

	if (dec_hex(name, raw, sizeof(raw)) < 0)
		return admin_errorf(r, ERR_INVALID, "a blob is named by 64 hexadecimal digits");
	digest_sha256_hex(r->body.p, r->body.n, have);
	if (!str_eqc(name, have))
		return admin_errorf(r, ERR_INVALID, "the blob's digest is %s, not the one it was sent under", have);
	p = xcalloc(1, sizeof(*p));
	p->r = r;
	/* gone() may come while the store's thread still reads. */
	p->copy = xmemdup(r->body.p, r->body.n);
	p->op.done = put_done;
	http_on_gone_clear(&p->r);
	store_blob_put(a->o.store, &p->op, have, p->copy, r->body.n);
}

struct run {
	struct admin *a;
	struct http_req *r; /* NULL: the client left; the work goes on */
};

static void stream_line(struct run *run, struct buf *line)
{
	buf_addc(line, '\n');
	if (run->r)
		http_stream_write(run->r, buf_str(line));
}

static bool on_event(void *arg, const struct apply_event *ev)
{
	static const char *const name[] = {"start", "waits", "done", "failed", "kept"};
	struct run *run = arg;
	const struct workload *wl = ev->entry->workload;
	bool deleted = ev->entry->action == PLAN_DELETE;
	const char *route = ev->function ? ev->function->route : wl && ev->kind == APPLY_DONE ? wl->spec.route : NULL;
	auto_buf url = {0};
	auto_object(w, line);

	jw_strc(&w, "event", name[ev->kind]);
	jw_strc(&w, "name", plan_title(ev->entry));
	jw_strc(&w, "action", plan_action_name[ev->entry->action]);
	if (ev->kind == APPLY_DONE)
		jw_strc(&w, "state",
			ev->function ? admin_function_state[ev->function->state]
			: deleted    ? "Deleted"
				     : "Ready");
	if (route && *route) {
		buf_addf(&url, "%s%s", run->a->gateway, route);
		jw_str(&w, "url", buf_str(&url));
	}
	if (ev->kind == APPLY_DONE && ev->entry->resource && ev->entry->kind == RESOURCE_URL) {
		auto_json doc = json_parse(str_of(record_get(run->a->o.store, ev->entry->key)), NULL);

		buf_addf(&url, "%s" URL_PREFIX STR_FMT "/", run->a->endpoint, STR_ARG(json_get_str(doc, "UrlId")));
		jw_str(&w, "url", buf_str(&url));
	}
	if (ev->reason)
		jw_strc(&w, "reason", ev->reason);
	if (ev->kind != APPLY_START)
		jw_int(&w, "us", ev->took_us);
	jw_end(&w, '}');
	stream_line(run, &line);
	return run->r;
}

static void on_done(void *arg, bool ok)
{
	struct run *run = arg;
	auto_object(w, line);

	jw_strc(&w, "event", "end");
	jw_bool(&w, "ok", ok);
	jw_end(&w, '}');
	stream_line(run, &line);
	if (run->r)
		http_stream_end(run->r);
	run->a->applying = false;
	if (!run->a->closed)
		store_gc(run->a->o.store);
	admin_unref(run->a);
	free(run);
}

static void start(struct admin *a, struct http_req *r, struct plan *p)
{
	struct run *run = xcalloc(1, sizeof(*run));
	struct apply_opts o = {.loop = a->o.loop, .is = a->o.is, .sched = a->o.sched, .plan = p};

	run->a = a, run->r = r;
	o.event = on_event, o.done = on_done, o.arg = run;
	a->applying = true;
	a->refs++;
	http_on_gone_clear(&run->r);
	http_stream_begin(r, 200, "application/x-ndjson", STR_NULL);
	apply_start(&o);
}

static void count_missing(void *arg, const char *sha256)
{
	(*(unsigned *)arg)++;
}

static bool busy(struct admin *a, struct http_req *r)
{
	if (a->applying)
		admin_errorf(r, ERR_CONFLICT, "another up or down is under way; try again when it is done");
	return a->applying;
}

void admin_apply(struct admin *a, struct http_req *r, struct str name)
{
	struct plan *p = NULL;
	struct err e = {0};
	auto_json body = NULL;
	unsigned lack = 0;

	if (busy(a, r))
		return;
	body = json_parse(r->body, &e);
	if (!body || make_plan(a, body, &p, &e) < 0)
		return admin_error(r, &e);
	plan_missing(p, a->o.store, count_missing, &lack);
	if (lack) {
		admin_errorf(r, ERR_CONFLICT, "%u code archives were not sent", lack);
		plan_free(p);
		return;
	}
	start(a, r, p);
}

void admin_down(struct admin *a, struct http_req *r, struct str name)
{
	auto_(manifest_free_p) struct manifest *m = NULL;
	auto_free char *project = NULL;
	struct err e = {0};
	auto_json body = NULL;

	if (busy(a, r))
		return;
	body = json_parse(r->body, &e);
	if (!body)
		return admin_error(r, &e);
	project = json_get_str(body, "project").p ? str_dup(json_get_str(body, "project")) : NULL;
	if (!project && read_manifest(a, body, &m, &e) < 0)
		return admin_error(r, &e);
	if (!project)
		project = xstrdup(m->name);
	if (!strcmp(project, "api"))
		return admin_errorf(r, ERR_INVALID, "what was made through the AWS API is deleted there");
	start(a, r, plan_down(&a->o.is, project));
}

void admin_backup(struct admin *a, struct http_req *r, struct str name)
{
	auto_buf to = {0};
	auto_free char *dir = NULL;
	struct put *p;

	if (!admin_query(r, "name", &to) || !str_name_ok(buf_str(&to), 64, "-_"))
		return admin_errorf(r, ERR_INVALID, "a backup's name is made of letters, digits, - and _");
	if (mkdirat(store_dirfd(a->o.store), "backups", 0700) < 0 && errno != EEXIST)
		return admin_errorf(r, ERR_SYS, "the folder for backups cannot be made");
	/* By descriptor: the path of the state as it is for the tool need not be the daemon's. */
	dir = xasprintf("/proc/self/fd/%d/backups/%s", store_dirfd(a->o.store), to.p);
	ledger_flush(a->o.ledger);
	p = xcalloc(1, sizeof(*p));
	p->r = r;
	p->op.done = put_done;
	http_on_gone_clear(&p->r);
	store_backup(a->o.store, &p->op, dir);
}
