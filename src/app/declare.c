/* SPDX-License-Identifier: Apache-2.0 */
/* Services and tasks of a plan: what differs from what is there, and how it is made so. */
#include <stdio.h>
#include "app/apply_int.h"
#include "base/clock.h"
#include "base/mem.h"
#include "image/image.h"
#include "json/write.h"

#define REVISIONS_KEPT 10

/* ---- the plan ---- */

static struct service *service_of(const struct plan_world *is, const char *name)
{
	struct service *sv = service_get(is->services, STR("default"), str_of(name));
	struct service_info i;

	if (sv)
		service_info(sv, &i);
	return sv && i.state == SERVICE_ACTIVE ? sv : NULL;
}

/* Images by their digest: what is built or pulled anew under the same name is another revision, and the one before can
 * still be gone back to. */
static char *pinned(const struct plan_world *is, const struct workload *w)
{
	char *doc = xstrdup(w->doc);

	for (unsigned i = 0; i < w->n_images; i++) {
		const struct image *im = image_find(is->images, w->images[i].reference);
		auto_buf was = {0}, now = {0};
		char *at;

		buf_adds(&was, "\"image\":");
		jw_quote(&was, str_of(w->images[i].reference));
		at = im && !strchr(w->images[i].reference, '@') ? strstr(doc, was.p) : NULL;
		if (!at)
			continue;
		buf_addstr(&now, (struct str){doc, (size_t)(at - doc)});
		was.p[was.n - 1] = 0;
		buf_addf(&now, "%s@sha256:%s\"%s", was.p, im->digest, at + was.n);
		free(doc);
		doc = buf_take(&now);
	}
	return doc;
}

static char *spec_text(const struct service_spec *s)
{
	struct buf out = {0};
	struct jw w = jw_object(&out);

	service_spec_write(s, &w);
	jw_end(&w, '}');
	return buf_take(&out);
}

static int compare_service(struct plan *p, const struct plan_world *is, struct plan_entry *en, struct err *e)
{
	const struct workload *w = en->workload;
	struct service *sv = service_of(is, w->name), *at = service_by_route(is->services, str_of(w->spec.route));
	const struct service_spec *have = sv ? service_spec_of(sv) : NULL, *theirs = at ? service_spec_of(at) : NULL;
	auto_free char *was = have ? spec_text(have) : NULL, *wanted = spec_text(&w->spec);
	char text[300];

	if (have && strcmp(have->project, p->project)) {
		snprintf(text, sizeof(text), "%s \"%s\" has a service of this name",
			 strcmp(have->project, "api") ? "the project" : "what was made through the", have->project);
		return plan_fail(p, w->name, w->line, w->col, e, text);
	}
	if (*w->spec.route && at && at != sv && !strcmp(theirs->route, w->spec.route) &&
	    strcmp(theirs->project, p->project)) {
		snprintf(text, sizeof(text), "the route %.100s belongs to the service \"%.100s\"", w->spec.route,
			 theirs->name);
		return plan_fail(p, w->name, w->line, w->col, e, text);
	}
	if (!have)
		en->action = PLAN_CREATE;
	else if (strcmp(was, wanted))
		plan_changed(en, xstrdup("how it is served"));
	else if (strcmp(have->source ? have->source : "", w->spec.source ? w->spec.source : ""))
		plan_changed(en, xstrdup("tags"));
	else if (have->revision != en->revision && !en->doc)
		plan_changed(en, xasprintf("revision %d -> %d", have->revision, en->revision));
	return 0;
}

int plan_workload(struct plan *p, const struct plan_world *is, const struct workload *w, struct err *e)
{
	struct plan_entry *en = &p->entries[p->n++];
	auto_definition have = definition_get(is->store, str_of(w->name), 0);
	auto_free char *doc = pinned(is, w);
	char text[200];

	*en = (struct plan_entry){.is_workload = true, .workload = w, .action = have ? PLAN_UNCHANGED : PLAN_CREATE};
	strlcpy_(en->name, w->name, sizeof(en->name));
	en->revision = have ? have->revision : 0;
	if (have && strcmp(have->project, p->project)) {
		snprintf(text, sizeof(text), "%s%.64s%s of this name",
			 *have->project ? "the project \"" : "ECS has a task definition", have->project,
			 *have->project ? "\" has a service or task" : "");
		return plan_fail(p, w->name, w->line, w->col, e, text);
	}
	if (function_get(is->store, str_of(w->name)))
		return plan_fail(p, w->name, w->line, w->col, e, "a function has this name");
	if (!have || strcmp(have->doc, doc)) {
		if (have)
			plan_changed(en, xstrdup("what it is made of"));
		en->doc = take_ptr(doc);
	}
	if (have && !w->is_service && strcmp(have->tags ? have->tags : "", w->tags ? w->tags : ""))
		plan_changed(en, xstrdup("tags"));
	if (w->is_service && compare_service(p, is, en, e) < 0)
		return -1;
	if (en->n_changes && en->action == PLAN_UNCHANGED)
		en->action = PLAN_UPDATE;
	return 0;
}

/* Each family of the project, once: its latest revision that is active. */
static struct definition *next_of(const struct plan_world *is, const char *project, const char *after)
{
	struct definition *d = definition_next(is->store, NULL, after, after ? INT32_MAX : 0), *latest;

	while (d) {
		latest = definition_get(is->store, str_of(d->family), 0);
		if (latest && !strcmp(latest->project, project)) {
			definition_free(d);
			return latest;
		}
		definition_free(latest);
		latest = definition_next(is->store, NULL, d->family, INT32_MAX);
		definition_free(d);
		d = latest;
	}
	return NULL;
}

static struct definition *step(const struct plan_world *is, const char *project, struct definition *d)
{
	struct definition *n = next_of(is, project, d ? d->family : NULL);

	definition_free(d);
	return n;
}

size_t plan_workloads(const struct plan_world *is, const char *project)
{
	size_t n = 0;

	for (struct definition *d = step(is, project, NULL); d; d = step(is, project, d))
		n++;
	return n;
}

void plan_workload_deletions(struct plan *p, const struct plan_world *is)
{
	for (struct definition *d = step(is, p->project, NULL); d; d = step(is, p->project, d)) {
		struct plan_entry *en = &p->entries[p->n];
		bool declared = false;

		for (size_t i = 0; p->manifest && i < p->manifest->n_workloads; i++)
			declared |= !strcmp(p->manifest->workloads[i].name, d->family);
		if (declared)
			continue;
		*en = (struct plan_entry){.is_workload = true, .action = PLAN_DELETE, .revision = d->revision};
		strlcpy_(en->name, d->family, sizeof(en->name));
		p->n++;
	}
}

/* ---- apply ---- */

struct item {
	struct store_op op;
	struct service_wait wait;
	struct apply *a;
	struct plan_entry *entry;
	int64_t started_us;
};

static void over(struct item *it, const struct err *e)
{
	struct apply *a = it->a;

	apply_told(a, it->entry, e->kind ? e->text : NULL, it->started_us);
	free(it);
	apply_tick(a);
}

static void settled(struct service_wait *w, const struct err *e)
{
	over(container_of(w, struct item, wait), e);
}

static bool waits(struct service_wait *w, const char *why)
{
	struct item *it = container_of(w, struct item, wait);

	return apply_waits(it->a, it->entry, why, it->started_us);
}

/* Durable. A service has then to show that it works. */
static void stored(struct store_op *op, const struct err *e)
{
	struct item *it = container_of(op, struct item, op);
	struct service *sv;

	if (!op->s)
		return; /* the daemon ends, and all that we would need is gone */
	sv = it->entry->workload && it->entry->workload->is_service ? service_of(&it->a->o.is, it->entry->name) : NULL;
	if (e->kind || !sv)
		return over(it, e);
	it->wait.still = waits;
	it->wait.done = settled;
	service_wait_start(sv, &it->wait);
}

/* Those that a service runs, or may go back to, stay. */
static void prune(const struct plan_world *is, const char *family, int revision)
{
	struct service *sv = service_of(is, family);
	struct service_info i = {0};
	struct deployment_info d;

	if (sv)
		service_info(sv, &i);
	for (unsigned n = 0; n < i.n_deployments; n++) {
		service_deployment(sv, n, &d);
		if (d.revision >= 0 && d.revision <= revision)
			return;
	}
	for (int r = revision; r > 0; r--) {
		auto_definition old = definition_get(is->store, str_of(family), r);

		if (!old)
			return;
		definition_del(is->store, NULL, family, r);
	}
}

static int declare(struct item *it, struct err *e)
{
	struct plan_entry *en = it->entry;
	const struct workload *w = en->workload;
	const struct plan_world *is = &it->a->o.is;
	struct store_op *op = w->is_service ? NULL : &it->op; /* a service's own write is the last of it */
	auto_definition have = en->doc ? NULL : definition_get(is->store, str_of(w->name), 0);
	struct service_spec spec = w->spec;

	if (en->doc)
		en->revision = definition_put(is->store, op,
					      &(struct definition){.family = w->name,
								   .project = it->a->o.plan->project,
								   .doc = en->doc,
								   .tags = w->tags,
								   .active = true});
	if (have) { /* all that may have changed of it */
		have->tags = w->tags;
		definition_update(is->store, op, have);
	}
	prune(is, w->name, en->revision - REVISIONS_KEPT);
	if (!w->is_service)
		return 0;
	strlcpy_(spec.name, w->name, sizeof(spec.name));
	strlcpy_(spec.project, it->a->o.plan->project, sizeof(spec.project));
	strlcpy_(spec.family, w->name, sizeof(spec.family));
	spec.revision = en->revision;
	return service_put(is->services, &it->op, &spec, false, e);
}

/* All its revisions; writes are durable in the order in which they are asked for. */
static void retract(struct item *it)
{
	const struct plan_world *is = &it->a->o.is;
	const char *family = it->entry->name;
	struct service *sv = service_of(is, family);
	struct definition *d = definition_next(is->store, family, family, 0), *next;

	if (sv && !strcmp(service_spec_of(sv)->project, it->a->o.plan->project))
		service_del(is->services, NULL, sv);
	for (; d; d = next) {
		next = definition_next(is->store, family, family, d->revision);
		d->active = false;
		d->deregistered_wall_us = clock_wall_us();
		definition_update(is->store, next ? NULL : &it->op, d);
		definition_free(d);
	}
}

void declare_start(struct apply *a, struct plan_entry *en)
{
	struct item *it = xcalloc(1, sizeof(*it));
	struct err e = {0};

	it->a = a, it->entry = en, it->started_us = apply_begin(a, en);
	it->op.done = stored;
	if (en->action == PLAN_DELETE)
		retract(it);
	else if (declare(it, &e) < 0) {
		apply_told(a, en, e.text, it->started_us);
		free(it);
	}
}
