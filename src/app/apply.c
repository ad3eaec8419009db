/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>
#include "app/apply_int.h"
#include "base/clock.h"
#include "base/mem.h"
#include "json/write.h"
#include "sched/deploy.h"

/* One entry under way. The deploy is the start of a heap block of its own, as deploy.h asks. */
struct item {
	struct deploy deploy;
	struct apply *a;
	struct plan_entry *entry;
	struct function *function; /* a reference */
	struct pairs tags;
	int64_t started_us;
};
struct removal {
	struct store_op op;
	struct apply *a;
	struct plan_entry *entry;
	int64_t started_us;
};
static bool tell(struct apply *a, enum apply_event_kind kind, const struct plan_entry *en, const struct function *f,
		 const char *reason, int64_t started_us)
{
	struct apply_event ev = {.kind = kind, .entry = en, .function = f, .reason = reason};

	ev.took_us = clock_now_us() - started_us;
	return a->o.event(a->o.arg, &ev);
}

int64_t apply_begin(struct apply *a, const struct plan_entry *en)
{
	a->running++;
	tell(a, APPLY_START, en, NULL, NULL, clock_now_us());
	return clock_now_us();
}

bool apply_waits(struct apply *a, const struct plan_entry *en, const char *why, int64_t started_us)
{
	return tell(a, APPLY_WAITS, en, NULL, why, started_us);
}

void apply_told(struct apply *a, const struct plan_entry *en, const char *reason, int64_t started_us)
{
	a->running--;
	a->failed |= reason != NULL;
	tell(a, reason ? APPLY_FAILED : APPLY_DONE, en, NULL, reason, started_us);
}

void apply_kept(struct apply *a, const struct plan_entry *en, const char *why, int64_t started_us)
{
	a->running--;
	tell(a, APPLY_KEPT, en, NULL, why, started_us);
}

static void deployed(struct deploy *d, const struct err *e)
{
	struct item *it = container_of(d, struct item, deploy);
	struct apply *a = it->a;
	struct function *f = it->function;

	if (e->kind) {
		a->failed = true;
		tell(a, APPLY_FAILED, it->entry, NULL, e->text, it->started_us);
		/* A new one that never reached the store's table is still ours. */
		if (d->is_new && !f->deleted && function_get(a->o.is.store, str_of(f->name)) != f)
			function_unref(f);
	} else {
		tell(a, APPLY_DONE, it->entry, f, f->state == FUNCTION_FAILED ? f->reason : NULL, it->started_us);
		a->failed |= f->state == FUNCTION_FAILED;
	}
	for (size_t i = 0; i < APPLY_PARALLEL; i++)
		if (a->deploying[i] == it->entry)
			a->deploying[i] = NULL;
	pairs_done(&it->tags);
	function_unref(f);
	free(it);
	a->running--;
	apply_tick(a);
}

static int64_t blob_bytes(const struct store *s, const char *sha256)
{
	auto_close int fd = store_blob_open(s, sha256, NULL);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 ? st.st_size : 0;
}

static void set_text(char **at, const char *text)
{
	free(*at);
	*at = xstrdup(text);
}

static void set_image(struct revision *r, const char *reference)
{
	struct buf text = {0};

	free(take_ptr(r->image));
	if (!reference)
		return;
	struct jw w = jw_object(&text);

	jw_strc(&w, "uri", reference);
	jw_end(&w, '}');
	r->image = buf_take(&text);
}

static struct revision *wanted(const struct apply *a, const struct plan_entry *en)
{
	const struct manifest_function *w = en->want;
	struct revision *r = en->have ? revision_clone(en->have->latest) : revision_new();

	strlcpy_(r->name, w->name, sizeof(r->name));
	set_text(&r->runtime, w->runtime);
	set_text(&r->handler, w->handler);
	set_text(&r->description, w->description ? w->description : "");
	r->kind = en->runtime;
	strlcpy_(r->code_sha256, en->code_sha256, sizeof(r->code_sha256));
	set_image(r, w->image.reference);
	r->code_bytes = r->image ? 0 : blob_bytes(a->o.is.store, en->code_sha256);
	for (unsigned i = 0; i < LIM_LAYERS; i++)
		strlcpy_(r->layers[i], en->layer_sha256[i] ? en->layer_sha256[i] : "", sizeof(r->layers[i]));
	r->memory_mb = w->memory_mb, r->timeout_s = w->timeout_s, r->tmp_mb = w->tmp_mb;
	r->cpu_quota_us = w->cpu_quota_us;
	free(r->egress);
	r->egress = xstrdup(w->egress);
	free(r->dead_letter);
	r->dead_letter = xstrdup(w->dead_letter);
	pairs_copy(&r->env, &w->env);
	return r;
}

static bool needs(const struct plan_entry *en, const char *sha256)
{
	bool yes = !strcmp(en->code_sha256, sha256);

	for (unsigned i = 0; i < en->want->n_layers; i++)
		yes |= !strcmp(en->layer_sha256[i], sha256);
	return yes;
}

/* Is an archive that this entry needs on its way to the disk for another one? The spawner unpacks nothing twice at
 * once. */
static bool must_wait(const struct apply *a, const struct plan_entry *en)
{
	for (size_t i = 0; i < APPLY_PARALLEL; i++)
		for (int k = -1; a->deploying[i] && k < (int)en->want->n_layers; k++) {
			const char *sha256 = k < 0 ? en->code_sha256 : en->layer_sha256[k];
			auto_close int there = store_code_open(a->o.is.store, sha256, NULL);

			if (there < 0 && needs(a->deploying[i], sha256))
				return true;
		}
	return false;
}

static void start_deploy(struct apply *a, struct plan_entry *en)
{
	struct item *it = xcalloc(1, sizeof(*it));
	struct deploy *d = &it->deploy;

	it->a = a, it->entry = en, it->started_us = apply_begin(a, en);
	d->is_new = !en->have;
	d->function = en->have ? en->have : function_new(en->name, a->o.plan->project);
	it->function = function_ref(d->function);
	d->revision = wanted(a, en);
	pairs_copy(&it->tags, &en->want->tags);
	d->tags = &it->tags;
	d->scale = &en->want->scale;
	d->route = en->want->route ? en->want->route : "";
	d->allow = en->want->allow ? en->want->allow : "";
	d->done = deployed;
	for (size_t i = 0; i < APPLY_PARALLEL; i++)
		if (!a->deploying[i]) {
			a->deploying[i] = en;
			break;
		}
	deploy_start(a->o.sched, d);
}

static void removed(struct store_op *op, const struct err *e)
{
	struct removal *r = container_of(op, struct removal, op);
	struct apply *a = r->a;

	if (!op->s)
		return; /* the daemon ends, and all that we would need is gone */
	apply_told(a, r->entry, e->kind ? e->text : NULL, r->started_us);
	free(r);
	apply_tick(a);
}

static void start_removal(struct apply *a, struct plan_entry *en)
{
	struct removal *r;

	if (en->have->deleted) /* by somebody else, meanwhile: what was wanted is so */
		return;
	r = xcalloc(1, sizeof(*r));
	r->a = a, r->entry = en, r->started_us = apply_begin(a, en);
	r->op.done = removed;
	function_del(a->o.is.store, &r->op, en->have);
}

/* Whether it is this stage's to do. */
static bool is_due(const struct plan_entry *en, enum apply_stage stage)
{
	bool holds = en->is_resource && en->kind < RESOURCE_LEADS, leads = en->is_resource && !holds;
	bool goes = en->action == PLAN_DELETE;

	if (en->action == PLAN_UNCHANGED)
		return false;
	switch (stage) {
	case APPLY_HOLD:
		return holds && !goes;
	case APPLY_DEPLOY:
		return !en->is_resource && !goes;
	case APPLY_LEAD:
		return leads;
	case APPLY_DELETE:
		return !en->is_resource && goes;
	default:
		return holds && goes;
	}
}

static void start_entry(struct apply *a, struct plan_entry *en)
{
	if (en->is_resource)
		provide_start(a, en);
	else if (en->is_workload)
		declare_start(a, en);
	else if (en->action == PLAN_DELETE)
		start_removal(a, en);
	else
		start_deploy(a, en);
}

/* Starts what may run now. Completion calls it again; nothing here completes at once, so it never enters itself. */
void apply_tick(struct apply *a)
{
	struct plan *p = a->o.plan;

	do {
		for (; a->next < p->n; a->next++) {
			struct plan_entry *en = &p->entries[a->next];

			if (!is_due(en, a->stage))
				continue;
			if (a->running >= APPLY_PARALLEL && !en->is_resource) /* those share a commit */
				break;
			if (a->stage == APPLY_DEPLOY && !en->is_resource && !en->is_workload && must_wait(a, en))
				break;
			start_entry(a, en);
		}
		if (a->running || a->next < p->n)
			return;
		a->next = 0;
	} while (!a->failed && ++a->stage < APPLY_STAGE_N);
	a->o.done(a->o.arg, !a->failed);
	plan_free(p);
	free(a);
}

static void begin(void *arg)
{
	apply_tick(arg);
}

void apply_start(const struct apply_opts *o)
{
	struct apply *a = xcalloc(1, sizeof(*a));

	a->o = *o;
	loop_defer(o->loop, &a->defer, begin, a);
}
