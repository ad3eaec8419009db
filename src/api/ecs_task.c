/* SPDX-License-Identifier: Apache-2.0 */
#include "api/ecs_task.h"
#include <stdio.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "image/pull.h"
#include "store/function.h"

#define PREFIX "ecs-task/"

struct ecs_pull {
	struct list node;
	struct ecs *ecs;
	struct pull *pull; /* NULL: it has failed, and a service is still to hear why */
	char *reference, *error;
	bool for_service;
};

static const char *fact(const struct ecs_task *t, const char *name)
{
	return json_get_str(t->facts, name).p;
}

static struct task *live(const struct ecs_task *t)
{
	struct task *k = t->state == ECS_TASK_HANDED ? task_find(t->ecs->a->o.tasks, str_of(t->id)) : NULL;
	struct task_info i;

	if (!k)
		return NULL;
	task_info(k, &i);
	return strcmp(i.id, t->id) ? NULL : k; /* a name may look like an id */
}

void ecs_task_change(struct ecs_task *t, struct store_op *op, struct str changes)
{
	auto_json over = json_parse(changes, NULL);
	auto_free char *before = json_text(t->facts), *key = xasprintf(PREFIX "%s", t->id);
	auto_buf text = {0};

	ecs_merge(&text, before, over, NULL);
	json_free(t->facts);
	t->facts = json_parse(buf_str(&text), NULL);
	record_put(t->ecs->a->o.store, op, key, text.p);
	if (live(t) && json_get(over, "tags")) {
		auto_buf tags = {0};

		pairs_list_tags(json_get(over, "tags"), &tags);
		task_tags_set(live(t), tags.p);
	}
}

static void forget(struct ecs_task *t)
{
	auto_free char *key = xasprintf(PREFIX "%s", t->id);

	record_del(t->ecs->a->o.store, NULL, key);
	t->ecs->n_stopped -= t->state == ECS_TASK_STOPPED;
	list_del(&t->node);
	json_free(t->facts);
	free(t);
}

static void keep_few(struct ecs *ecs)
{
	int64_t before = clock_wall_us() - ECS_TASK_KEPT_US;

	list_each(&ecs->tasks, it)
	{
		struct ecs_task *t = container_of(it, struct ecs_task, node);

		if (t->state == ECS_TASK_STOPPED &&
		    (ecs->n_stopped > ECS_TASKS_KEPT || json_get_int(t->facts, "stopped_us", 0) < before))
			forget(t);
	}
}

/* How it is shown from now on; k NULL: it never ran, or nobody knows any more how it ended. */
static void stopped(struct ecs_task *t, struct task *k, const char *code, const char *reason)
{
	auto_object(w, changes);
	struct ecs_view v;

	if (!fact(t, "stop_code") && code) {
		auto_object(y, why);

		jw_strc(&y, "stop_code", code);
		jw_strc(&y, "stop_reason", reason);
		jw_end(&y, '}');
		ecs_task_change(t, NULL, buf_str(&why));
	}
	t->state = ECS_TASK_STOPPED;
	t->ecs->n_stopped++;
	ecs_view_own(t, &v);
	v.k = k;
	jw_int(&w, "stopped_us", clock_wall_us());
	ecs_put_task(&w, "final", t->ecs->a, &v, false);
	jw_end(&w, '}');
	ecs_task_change(t, NULL, buf_str(&changes));
}

static void hand_over(struct ecs_task *t)
{
	auto_definition d = ecs_definition(t->ecs->a, json_get_str(t->facts, "definition"));
	auto_free char *note = json_text(t->facts);
	auto_buf tags = {0};
	struct task_opts o = {.id = t->id,
			      .accepted = true,
			      .group = fact(t, "group"),
			      .definition = fact(t, "definition"),
			      .note = note,
			      .overrides = json_get_str(t->facts, "over")};
	struct task *k;
	struct err e = {0};

	pairs_list_tags(json_get(t->facts, "tags"), &tags);
	o.tags = tags.p;
	if (!d)
		err_set(&e, ERR_NOT_FOUND, "its definition was deleted");
	if (!d || task_run(t->ecs->a->o.tasks, str_of(d->doc), &o, &k, &e) < 0) {
		if (e.kind == ERR_UNAVAILABLE) /* this daemon ends: the next one starts it */
			return;
		auto_free char *why = xasprintf("ResourceInitializationError: %s", e.text);

		stopped(t, NULL, "TaskFailedToStart", why);
		return;
	}
	t->state = ECS_TASK_HANDED;
}

/* ---- images that are not here ---- */

static void advance(struct ecs_task *t);

static const char *missing(const struct ecs_task *t)
{
	const struct json *all = json_get(t->facts, "containers");

	for (size_t i = 0; i < json_len(all); i++) {
		struct str ref = json_get_str(json_at(all, i), "image");

		if (!image_find(t->ecs->a->o.images, ref.p))
			return ref.p;
	}
	return NULL;
}

static void pull_free(struct ecs_pull *p)
{
	list_del(&p->node);
	if (p->pull)
		pull_cancel(p->pull);
	free(p->reference);
	free(p->error);
	free(p);
}

static void pulled(void *arg, struct image *im, const struct err *e)
{
	struct ecs_pull *p = arg;
	auto_free char *why = xasprintf("CannotPullContainerError: %s", im ? "it is not here after all" : e->text);
	auto_free char *reference = xstrdup(p->reference);
	struct ecs *ecs = p->ecs;

	p->pull = NULL;
	p->error = xstrdup(why);
	if (im || !p->for_service)
		pull_free(p);
	list_each(&ecs->tasks, it)
	{
		struct ecs_task *t = container_of(it, struct ecs_task, node);
		const char *ref = t->state == ECS_TASK_PULLED ? missing(t) : NULL;

		if (ref && !strcmp(ref, reference))
			stopped(t, NULL, "TaskFailedToStart", why);
		else if (t->state == ECS_TASK_PULLED)
			advance(t);
	}
}

static struct ecs_pull *pull(struct ecs *ecs, const char *reference, bool for_service)
{
	struct ecs_pull *p;
	struct err e = {0};

	list_each(&ecs->pulls, it)
	{
		p = container_of(it, struct ecs_pull, node);
		if (strcmp(p->reference, reference) != 0 || (p->error && !for_service))
			continue;
		p->for_service |= for_service;
		return p;
	}
	p = xcalloc(1, sizeof(*p));
	p->ecs = ecs;
	p->reference = xstrdup(reference);
	p->for_service = for_service;
	list_push(&ecs->pulls, &p->node);
	struct pull_opts o = {.reference = reference, .done = pulled, .arg = p};

	if (pull_start(ecs->a->o.images, &o, &p->pull, &e) == 0)
		return p;
	if (!for_service) {
		pulled(p, NULL, &e);
		return NULL;
	}
	p->error = xasprintf("CannotPullContainerError: %s", e.text);
	return p;
}

bool api_pull(void *arg, const char *text, struct err *e)
{
	struct api *a = *(struct api **)arg;
	auto_json doc = json_parse(str_of(text), NULL);
	bool on_the_way = false;

	for (unsigned i = 0; i < task_doc_n(doc); i++) {
		struct str reference = json_get_str(task_doc_container(doc, i), "image");
		struct ecs_pull *p = image_find(a->o.images, reference.p) ? NULL : pull(a->ecs, reference.p, true);

		on_the_way |= p && !p->error;
		if (!p || !p->error)
			continue;
		err_set(e, ERR_NOT_FOUND, "%s", p->error);
		pull_free(p);
		return false;
	}
	return on_the_way;
}

static void advance(struct ecs_task *t)
{
	const char *reference = missing(t);

	if (reference)
		pull(t->ecs, reference, false);
	else
		hand_over(t);
}

/* ---- what others ask for ---- */

static struct ecs_task *task_new(struct ecs *ecs, const char *id, const char *facts)
{
	struct ecs_task *t = xcalloc(1, sizeof(*t));
	struct list *before = ecs->tasks.prev;

	t->ecs = ecs;
	t->facts = json_parse(str_of(facts), NULL);
	snprintf(t->id, sizeof(t->id), "%s", id);
	while (before != &ecs->tasks && json_get_int(container_of(before, struct ecs_task, node)->facts, "created_us",
						     0) > json_get_int(t->facts, "created_us", 0))
		before = before->prev;
	list_push_front(before, &t->node); /* behind it */
	return t;
}

static struct ecs_task *add(struct ecs *ecs, const char *facts)
{
	char id[37], *out = id;

	keep_few(ecs);
	id_uuid(id);
	for (const char *p = id; *p; p++) /* without the dashes: 32 hex digits */
		if (*p != '-')
			*out++ = *p;
	*out = 0;
	return task_new(ecs, id, facts);
}

struct ecs_task *ecs_task_add(struct ecs *ecs, struct store_op *op, const char *facts)
{
	struct ecs_task *t = add(ecs, facts);

	ecs_task_change(t, op, STR("{}"));
	advance(t);
	return t;
}

struct beginning {
	struct store_part part;
	struct ecs *ecs;
	char id[TASK_ID_MAX + 1];
};

static int nothing(struct store_part *p, struct db *d, struct err *e)
{
	return 0;
}

static void begin(struct store_part *p, const struct err *e)
{
	struct beginning *b = container_of(p, struct beginning, part);
	struct ecs_task *t = e->kind == ERR_CANCELED ? NULL : ecs_task_find(b->ecs, str_of(b->id));

	if (t && e->kind)
		forget(t);
	else if (t && t->state == ECS_TASK_PULLED)
		advance(t);
	free(b);
}

void ecs_task_add_in(struct ecs *ecs, struct store_tx *tx, const char *facts)
{
	struct ecs_task *t = add(ecs, facts);
	auto_free char *key = xasprintf(PREFIX "%s", t->id);
	struct beginning *b = xcalloc(1, sizeof(*b));

	record_put_add(ecs->a->o.store, tx, key, facts);
	b->part.apply = nothing;
	b->part.done = begin;
	b->ecs = ecs;
	memcpy(b->id, t->id, sizeof(b->id));
	store_tx_add(tx, &b->part);
}

void ecs_task_stop(struct ecs_task *t, struct str reason)
{
	auto_object(w, changes);
	struct task *k = live(t);

	if (!fact(t, "stop_code")) {
		jw_strc(&w, "stop_code", "UserInitiated");
		jw_str(&w, "stop_reason", reason.n ? reason : STR("Task stopped by user"));
		jw_int(&w, "stopping_us", clock_wall_us());
	}
	jw_end(&w, '}');
	ecs_task_change(t, NULL, buf_str(&changes));
	if (k)
		task_stop(k, -1);
	else if (t->state == ECS_TASK_PULLED)
		stopped(t, NULL, NULL, NULL);
}

struct ecs_task *ecs_task_find(const struct ecs *ecs, struct str id)
{
	list_each(&ecs->tasks, it)
	{
		struct ecs_task *t = container_of(it, struct ecs_task, node);

		if (str_eqc(id, t->id))
			return t;
	}
	return NULL;
}

static void changed(struct task_watch *w, struct task *k)
{
	struct ecs *ecs = container_of(w, struct ecs, watch);
	struct task_info i;
	struct ecs_task *t;

	task_info(k, &i);
	t = i.started_wall_us || i.state == TASK_STOPPED ? ecs_task_find(ecs, str_of(i.id)) : NULL;
	if (!t || t->state != ECS_TASK_HANDED)
		return;
	if (i.state == TASK_STOPPED) {
		auto_free char *why = i.started_wall_us ? xstrdup("Essential container in task exited")
							: xasprintf("CannotStartContainerError: %s", i.reason);

		stopped(t, k, i.started_wall_us ? "EssentialContainerExited" : "TaskFailedToStart", why);
	} else if (!json_get(t->facts, "begun")) {
		ecs_task_change(t, NULL, STR("{\"begun\":true}"));
	}
}

struct ecs *ecs_new(struct api *a)
{
	struct ecs *ecs = xcalloc(1, sizeof(*ecs));

	ecs->a = a;
	list_init(&ecs->tasks);
	list_init(&ecs->pulls);
	ecs->watch.changed = changed;
	task_watch(a->o.tasks, &ecs->watch);
	return ecs;
}

/* One that was accepted before: it runs, or has ended in the meantime, or was never begun. */
static void take_up(struct ecs_task *t)
{
	if (json_get(t->facts, "final")) {
		t->state = ECS_TASK_STOPPED;
		t->ecs->n_stopped++;
		return;
	}
	t->state = ECS_TASK_HANDED;
	if (live(t) && fact(t, "stop_code"))
		task_stop(live(t), -1); /* its deadline was the daemon's that is gone */
	if (live(t))
		return;
	t->state = ECS_TASK_PULLED;
	if (json_get(t->facts, "begun") || fact(t, "stop_code"))
		stopped(t, NULL, "EssentialContainerExited", "It ended while no daemon was there to see how.");
	else
		advance(t);
}

void ecs_ready(struct ecs *ecs)
{
	struct store *s = ecs->a->o.store;
	auto_free char *after = NULL;
	const struct record *r;
	struct task_info i;

	while ((r = record_next(s, PREFIX, after))) {
		free(after);
		after = xstrdup(r->key);
		take_up(task_new(ecs, r->key + strlen(PREFIX), r->value));
	}
	/* Begun, but the daemon was killed before what was asked for was durable. */
	for (struct task *k = task_next(ecs->a->o.tasks, NULL); k; k = task_next(ecs->a->o.tasks, k)) {
		task_info(k, &i);
		if (strstr(i.note, "\"asked\"") && !ecs_task_find(ecs, str_of(i.id)))
			take_up(task_new(ecs, i.id, i.note));
	}
	keep_few(ecs);
}

void ecs_free(struct ecs *ecs)
{
	if (!ecs)
		return;
	task_unwatch(&ecs->watch);
	list_each(&ecs->pulls, it) pull_free(container_of(it, struct ecs_pull, node));
	list_each(&ecs->tasks, it)
	{
		struct ecs_task *t = container_of(it, struct ecs_task, node);

		json_free(t->facts);
		free(t);
	}
	free(ecs);
}
