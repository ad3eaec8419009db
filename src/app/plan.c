/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include "app/plan.h"
#include "base/enc.h"
#include "base/mem.h"
#include "sched/deploy.h"

const char *const plan_action_name[PLAN_ACTION_N] = {
	[PLAN_CREATE] = "create", [PLAN_UPDATE] = "update", [PLAN_UNCHANGED] = "unchanged", [PLAN_DELETE] = "delete"};

int plan_fail(const struct plan *p, const char *name, unsigned line, unsigned col, struct err *e, const char *text)
{
	return err_set(e, ERR_INVALID, "%s:%u:%u: \"%s\": %s", p->manifest->file, line, col, name, text);
}

static int fail(const struct plan *p, const struct manifest_function *f, struct err *e, const char *text)
{
	return plan_fail(p, f->name, f->line, f->col, e, text);
}

static const char *digest_of(const struct plan *p, const char *folder)
{
	for (size_t i = 0; i < p->n_digests; i++)
		if (!strcmp(p->digests[i].folder, folder))
			return p->digests[i].sha256;
	return NULL;
}

static bool same_text(const char *a, const char *b)
{
	return !strcmp(a ? a : "", b ? b : "");
}

void plan_changed(struct plan_entry *en, char *what)
{
	if (en->n_changes < ARRAY_SIZE(en->changes))
		en->changes[en->n_changes++] = what;
	else
		free(what);
}

static void compare_int(struct plan_entry *en, const char *name, const char *unit, int have, int want)
{
	if (have != want)
		plan_changed(en, xasprintf("%s %d%s -> %d%s", name, have, unit, want, unit));
}

/* What need not be there: none stands for that. */
static void compare_limit(struct plan_entry *en, const char *name, const char *unit, int64_t none, int64_t have,
			  int64_t want)
{
	auto_free char *was = have == none ? xstrdup("(none)") : xasprintf("%lld%s", (long long)have, unit);
	auto_free char *is = want == none ? xstrdup("(none)") : xasprintf("%lld%s", (long long)want, unit);

	if (have != want)
		plan_changed(en, xasprintf("%s %s -> %s", name, was, is));
}

static void compare_text(struct plan_entry *en, const char *name, const char *have, const char *want)
{
	if (!same_text(have, want))
		plan_changed(en, xasprintf("%s %.60s -> %.60s", name, have && *have ? have : "(none)",
					   want && *want ? want : "(none)"));
}

/* Values of environment variables may be secrets: only that they differ is said. */
static void compare(struct plan_entry *en)
{
	const struct manifest_function *w = en->want;
	const struct function *f = en->have;
	const struct revision *r = f->latest;
	bool layers = false;

	if (strcmp(r->code_sha256, en->code_sha256) || !r->image != !w->image.reference)
		plan_changed(en, xstrdup(w->image.reference ? "image" : "code"));
	compare_text(en, "runtime", r->runtime, w->runtime);
	compare_text(en, "handler", r->handler, w->handler);
	compare_int(en, "memory", "Mi", r->memory_mb, w->memory_mb);
	compare_int(en, "timeout", "s", r->timeout_s, w->timeout_s);
	compare_int(en, "tmp", "Mi", r->tmp_mb, w->tmp_mb);
	if (r->cpu_quota_us != w->cpu_quota_us)
		plan_changed(en, xasprintf("cpu %g -> %g", r->cpu_quota_us / 1e5, w->cpu_quota_us / 1e5));
	for (unsigned i = 0; i < LIM_LAYERS; i++)
		layers |= strcmp(r->layers[i], en->layer_sha256[i] ? en->layer_sha256[i] : "") != 0;
	if (layers)
		plan_changed(en, xstrdup("layers"));
	if (!same_text(r->description, w->description))
		plan_changed(en, xstrdup("description"));
	if (!pairs_same(&r->env, &w->env))
		plan_changed(en, xstrdup("environment"));
	if (!pairs_same(&f->tags, &w->tags))
		plan_changed(en, xstrdup("tags"));
	compare_int(en, "min", "", f->scale.min, w->scale.min);
	compare_limit(en, "max", "", 0, f->scale.max, w->scale.max);
	compare_limit(en, "keep", " ms", -1, f->scale.keep_us < 0 ? -1 : f->scale.keep_us / 1000,
		      w->scale.keep_us < 0 ? -1 : w->scale.keep_us / 1000);
	compare_text(en, "snapshot", snapshot_wish_name[f->scale.snapshot], snapshot_wish_name[w->scale.snapshot]);
	compare_text(en, "lane", lane_wish_name[f->scale.lane], lane_wish_name[w->scale.lane]);
	compare_limit(en, "concurrency", "", 0, f->scale.concurrency, w->scale.concurrency);
	compare_int(en, "pool", "", f->scale.pool, w->scale.pool);
	compare_text(en, "route", f->route, w->route);
	compare_text(en, "egress", r->egress ? r->egress : "internet", w->egress ? w->egress : "internet");
	compare_text(en, "dead_letter", r->dead_letter, w->dead_letter);
	if (!same_text(f->allow, w->allow))
		plan_changed(en, xstrdup("allow"));
	if (!en->n_changes && f->state == FUNCTION_FAILED)
		plan_changed(en, xstrdup("again, it failed before"));
}

static int find_digests(struct plan *p, struct plan_entry *en, const struct images *images, struct err *e)
{
	const struct manifest_function *w = en->want;

	if (w->image.reference) {
		const struct image *im = image_find(images, w->image.reference);

		if (!im)
			return fail(p, w, e, "its image is not here; tandem pull brings it");
		strlcpy_(en->image_sha256, im->digest, sizeof(en->image_sha256));
		en->code_sha256 = en->image_sha256;
		return 0;
	}
	en->code_sha256 = digest_of(p, w->code);
	if (!en->code_sha256)
		return fail(p, w, e, "the digest of its code was not sent");
	for (unsigned i = 0; i < w->n_layers; i++) {
		en->layer_sha256[i] = digest_of(p, w->layers[i]);
		if (!en->layer_sha256[i])
			return fail(p, w, e, "the digest of a layer was not sent");
	}
	return 0;
}

/* A route of a function that this plan removes or changes is free. */
static int check_route(struct plan *p, const struct store *s, const struct manifest_function *w, struct err *e)
{
	for (const struct function *f = w->route ? function_next(s, NULL) : NULL; f; f = function_next(s, f)) {
		char text[300];

		if (!f->route || strcmp(f->route, w->route) || !strcmp(f->project, p->project))
			continue;
		snprintf(text, sizeof(text), "the route %.100s belongs to \"%s\" of %s \"%s\"", w->route, f->name,
			 strcmp(f->project, "api") ? "the project" : "what was made through the", f->project);
		return fail(p, w, e, text);
	}
	return 0;
}

static int plan_one(struct plan *p, const struct plan_world *is, const struct manifest_function *w, struct err *e)
{
	const struct store *s = is->store;
	struct plan_entry *en = &p->entries[p->n++];
	struct function *have = function_get(s, str_of(w->name));
	struct err why = {0};
	char text[300];

	*en = (struct plan_entry){.want = w, .have = have ? function_ref(have) : NULL};
	strlcpy_(en->name, w->name, sizeof(en->name));
	if (have && strcmp(have->project, p->project)) {
		if (strcmp(have->project, "api"))
			snprintf(text, sizeof(text),
				 "the project \"%s\" has a function of this name; rename one of them", have->project);
		else
			snprintf(text, sizeof(text),
				 "a function of this name was made through the AWS API; delete it there, or rename "
				 "this one");
		return fail(p, w, e, text);
	}
	if (w->image.reference)
		en->runtime = RUNTIME_IMAGE;
	else if (deploy_runtime(w->runtime, &en->runtime, &why) < 0)
		return fail(p, w, e, why.text);
	if (w->dead_letter && plan_arn(p, is, str_of(w->dead_letter), &why) < 0)
		return fail(p, w, e, why.text);
	if (find_digests(p, en, is->images, e) < 0 || check_route(p, s, w, e) < 0)
		return -1;
	if (have)
		compare(en);
	en->action = !have ? PLAN_CREATE : en->n_changes ? PLAN_UPDATE : PLAN_UNCHANGED;
	return 0;
}

static bool declared(const struct plan *p, const char *name)
{
	for (size_t i = 0; p->manifest && i < p->manifest->n; i++)
		if (!strcmp(p->manifest->functions[i].name, name))
			return true;
	return false;
}

static void plan_deletions(struct plan *p, const struct store *s)
{
	for (struct function *f = function_next(s, NULL); f; f = function_next(s, f)) {
		struct plan_entry *en;

		if (strcmp(f->project, p->project) || declared(p, f->name))
			continue;
		en = &p->entries[p->n++];
		*en = (struct plan_entry){.action = PLAN_DELETE, .have = function_ref(f)};
		strlcpy_(en->name, f->name, sizeof(en->name));
	}
}

static struct plan *plan_new(const struct plan_world *is, const char *project, size_t wanted)
{
	struct plan *p = xcalloc(1, sizeof(*p));

	strlcpy_(p->project, project, sizeof(p->project));
	/* Room for every deletion that there can be. */
	p->entries = xcalloc(wanted + function_count(is->store) + plan_workloads(is, project) + 1, sizeof(*p->entries));
	return p;
}

static int check_room(const struct plan *p, const struct store *s, struct err *e)
{
	size_t more = 0;

	for (size_t i = 0; i < p->n; i++)
		more += p->entries[i].action == PLAN_CREATE && !p->entries[i].is_workload && !p->entries[i].is_resource;
	if (function_count(s) + more > LIM_FUNCTIONS)
		return err_set(e, ERR_LIMIT, "at most %d functions can be declared", LIM_FUNCTIONS);
	return 0;
}

int plan_up(const struct plan_world *is, struct manifest *m, struct plan_digest *digests, size_t n_digests,
	    struct plan **ret, struct err *e)
{
	auto_(plan_free_p) struct plan *p = plan_new(is, m->name, m->n + m->n_workloads + m->resources.n);
	const struct store *s = is->store;
	uint8_t raw[32];

	p->manifest = m;
	p->digests = digests, p->n_digests = n_digests;
	for (size_t i = 0; i < n_digests; i++)
		if (dec_hex(str_of(digests[i].sha256), raw, sizeof(raw)) < 0)
			return err_set(e, ERR_INVALID, "the digest of %.80s is not 64 hexadecimal digits",
				       digests[i].folder);
	for (size_t i = 0; i < m->n; i++)
		if (plan_one(p, is, &m->functions[i], e) < 0)
			return -1;
	for (size_t i = 0; i < m->n_workloads; i++)
		if (plan_workload(p, is, &m->workloads[i], e) < 0)
			return -1;
	for (size_t i = 0; i < m->resources.n; i++)
		if (plan_resource(p, is, &m->resources.p[i], e) < 0)
			return -1;
	plan_deletions(p, s);
	plan_workload_deletions(p, is);
	plan_resource_deletions(p, is);
	if (check_room(p, s, e) < 0)
		return -1;
	*ret = take_ptr(p);
	return 0;
}

struct plan *plan_down(const struct plan_world *is, const char *project)
{
	struct plan *p = plan_new(is, project, 0);

	plan_deletions(p, is->store);
	plan_workload_deletions(p, is);
	plan_resource_deletions(p, is);
	return p;
}

void plan_missing(const struct plan *p, const struct store *s, void (*each)(void *arg, const char *sha256), void *arg)
{
	for (size_t i = 0; i < p->n_digests; i++) {
		bool before = false;

		for (size_t k = 0; k < i; k++)
			before |= !strcmp(p->digests[k].sha256, p->digests[i].sha256);
		if (!before && !store_blob_has(s, p->digests[i].sha256))
			each(arg, p->digests[i].sha256);
	}
}

void plan_free(struct plan *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n; i++) {
		for (unsigned k = 0; k < p->entries[i].n_changes; k++)
			free(p->entries[i].changes[k]);
		function_unref(p->entries[i].have);
		free(p->entries[i].doc);
		free(p->entries[i].key);
		free(p->entries[i].title);
	}
	for (size_t i = 0; i < p->n_digests; i++)
		free(p->digests[i].folder);
	free(p->digests);
	free(p->entries);
	manifest_free(p->manifest);
	free(p);
}
