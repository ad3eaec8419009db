/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What begins a task, what is kept of it while it runs, and how a successor of tandemd takes it over. The record
 * "task/ID": {"doc", "overrides", "name", "group", "definition", "note", "tags", "log", "attach", "created_us", "containers": [{} of one
 * that was not asked for, {"started_us", "healthy"} and, of one that has ended, "exit_code", "signal", "reason"]}.
 */
#include <stdio.h>
#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "base/rand.h"
#include "json/write.h"
#include "store/record.h"
#include "task/task_int.h"

#define PREFIX "task/"

/* ---- the record ---- */

static void put_json(struct jw *w, const char *key, const struct json *j)
{
	auto_free char *text = j ? json_text(j) : NULL;

	if (text)
		jw_raw(w, key, str_of(text));
}

static void put_containers(struct jw *w, const struct task *k)
{
	jw_arr(w, "containers");
	for (unsigned i = 0; i < k->n; i++) {
		const struct container *c = &k->c[i];

		jw_obj(w, NULL);
		if (c->asked)
			jw_int(w, "started_us", c->started_wall_us);
		if (c->state == TASK_STOPPED || c->exited) {
			jw_int(w, "exit_code", c->exit_code);
			jw_int(w, "signal", c->signal);
			jw_strc(w, "reason", c->reason);
		}
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

static void kept(struct store_op *op, const struct err *e)
{
	auto_free struct task_kept *p = container_of(op, struct task_kept, op); /* e is in there */
	struct task *k = p->task;

	if (!k)
		return;
	k->kept = NULL;
	k->durable |= !e->kind;
	for (unsigned i = 0; i < k->n; i++) {
		struct container *c = &k->c[i];

		container_run(c);
		if (k->durable || c->state == TASK_STOPPED)
			continue;
		container_set_end(c, EXIT_NOT_STARTED, 0, "it could not be written down: %s", e->text);
		container_end_sandbox(c);
	}
}

void task_keep(struct task *k)
{
	auto_buf out = {0};
	auto_free char *key = xasprintf(PREFIX "%s", k->id);
	struct jw w = jw_object(&out);

	put_json(&w, "doc", k->doc);
	put_json(&w, "overrides", k->over);
	jw_strc(&w, "name", k->name);
	jw_strc(&w, "group", k->group);
	jw_strc(&w, "definition", k->definition);
	jw_strc(&w, "note", k->note);
	jw_strc(&w, "tags", ledger_text(k->t->o.ledger, k->tags));
	jw_strc(&w, "log", k->shares_log ? k->log_name : "");
	jw_bool(&w, "attach", k->attach);
	jw_int(&w, "created_us", k->created_wall_us);
	put_containers(&w, k);
	jw_end(&w, '}');
	if (k->kept) /* the later one says more */
		k->kept->task = NULL;
	k->kept = xcalloc(1, sizeof(*k->kept));
	k->kept->task = k;
	k->kept->op.done = kept;
	record_put(k->t->o.store, &k->kept->op, key, out.p);
}

/* ---- a new one ---- */

static struct task *task_new(struct tasks *t, const char *id, const char *log)
{
	struct task *k = xcalloc(1, sizeof(*k));

	k->t = t;
	k->lane = LANE_CONTAINER;
	k->stop_timeout_us = -1;
	snprintf(k->id, sizeof(k->id), "%s", id);
	k->shares_log = log && *log && strlen(log) <= TASK_LOG_MAX;
	snprintf(k->log_name, sizeof(k->log_name), "%s%s", k->shares_log ? log : "task-", k->shares_log ? "" : id);
	k->log = logs_get(t->o.logs, k->log_name);
	list_push(&t->all, &k->node);
	return k;
}

static const struct json *override_of(const struct task *k, const char *name)
{
	const struct json *list = json_get(k->over, "containers");

	for (size_t i = 0; i < json_len(list); i++)
		if (str_eqc(json_get_str(json_at(list, i), "name"), name))
			return json_at(list, i);
	return NULL;
}

static int read_doc(struct task *k, struct json *doc, struct json *over, struct err *e)
{
	k->doc = doc;
	k->over = over;
	if (!doc || task_doc_check(doc, e) < 0 || (over && task_overrides_check(over, doc, e) < 0))
		return -1;
	k->n = task_doc_n(doc);
	k->c = xcalloc(k->n, sizeof(*k->c));
	for (unsigned i = 0; i < k->n; i++)
		container_init(&k->c[i], k, i);
	return 0;
}

/* Whoever runs it may have said it in the note. */
static void read_trace(struct task *k)
{
	auto_json note = strstr(k->note, "\"trace\"") ? json_parse(str_of(k->note), NULL) : NULL;

	(void)trace_from_aws(json_get_str(note, "trace"), &k->trace);
}

static int read_container(struct container *c, struct image *im, struct err *e)
{
	struct task *k = c->task;
	unsigned i = (unsigned)(c - k->c);
	const struct task_wish what = {task_doc_container(k->doc, i), override_of(k, c->name)};

	char trace[TRACE_HEADER_BYTES];

	c->image = image_use(im);
	if (task_spec_read(&what, &im->config,
			   &(struct task_where){k->id, c->name, k->t->o.region, task_trace(k, false, trace)}, &c->spec,
			   e) < 0)
		return err_wrap(e, "%s", c->name);
	task_doc_needs(k->doc, i, c->spec.needs);
	c->io.tty = c->spec.tty;
	c->io.takes_input = c->spec.tty || c->spec.stdin_open;
	return 0;
}

static void share(struct task *k)
{
	struct task_spec *specs[TASK_CONTAINERS];

	for (unsigned i = 0; i < k->n; i++)
		specs[i] = &k->c[i].spec;
	task_spec_share(k->doc, k->over, specs, k->n);
}

static int check_opts(const struct tasks *t, const struct task_opts *o, struct err *e)
{
	struct str name = str_of(o->name);
	const struct task *k;

	if (t->draining)
		return err_set(e, ERR_UNAVAILABLE, "the daemon is on its way out");
	if (o->name && !str_name_ok(name, TASK_NAME_MAX, "-_."))
		return err_set(e, ERR_INVALID, "name is of letters, digits, \"-\", \"_\" and \".\", at most %d",
			       TASK_NAME_MAX);
	k = task_find(t, name);
	if (k && !strcmp(k->name, o->name) && k->state != TASK_STOPPED)
		return err_set(e, ERR_EXISTS, "a task of the name %s runs already", o->name);
	return 0;
}

static int read_all(struct task *k, struct str doc, const struct task_opts *o, struct err *e)
{
	struct json *over = NULL;

	if (o->overrides.n) {
		over = json_parse(o->overrides, e);
		if (!over)
			return -1;
	}
	if (read_doc(k, json_parse(doc, e), over, e) < 0)
		return -1;
	for (unsigned i = 0; i < k->n; i++) {
		struct str reference = json_get_str(task_doc_container(k->doc, i), "image");
		struct image *im = image_find(k->t->o.images, reference.p);

		if (!im)
			return err_set(e, ERR_NOT_FOUND, "no image \"%.200s\" is here", reference.p);
		if (read_container(&k->c[i], im, e) < 0)
			return -1;
	}
	share(k);
	return 0;
}

static int check_budget(const struct task *k, struct err *e)
{
	char why[320];
	bool stops;

	return task_closed(k, &stops, why) ? err_set(e, ERR_UNAVAILABLE, "%s", why) : 0;
}

int task_run(struct tasks *t, struct str doc, const struct task_opts *o, struct task **ret, struct err *e)
{
	uint8_t random[TASK_ID_BYTES / 2];
	char id[TASK_ID_BYTES + 1];
	struct task *k;

	if (check_opts(t, o, e) < 0)
		return -1;
	rand_bytes(random, sizeof(random));
	enc_hex(random, sizeof(random), id);
	k = task_new(t, o->id ? o->id : id, o->log);
	snprintf(k->name, sizeof(k->name), "%s", o->name ? o->name : "");
	k->group = xstrdup(o->group ? o->group : "");
	k->definition = xstrdup(o->definition ? o->definition : "");
	k->note = xstrdup(o->note ? o->note : "");
	read_trace(k);
	task_tags_set(k, o->tags);
	k->attach = o->attach, k->rows = o->rows, k->cols = o->cols;
	k->created_wall_us = clock_wall_us();
	if (read_all(k, doc, o, e) < 0 || (!o->accepted && check_budget(k, e) < 0)) {
		task_free(k);
		return -1;
	}
	task_begin(k);
	task_keep(k);
	*ret = k;
	return 0;
}

/* ---- one that runs already ---- */

static void read_record(struct container *c, const struct json *was)
{
	c->asked = json_get(was, "started_us") != NULL;
	c->started_wall_us = json_get_int(was, "started_us", 0);
	c->begun = c->started_wall_us > 0;
	if (!json_get(was, "reason"))
		return;
	c->exited = true;
	container_set_end(c, (int)json_get_int(was, "exit_code", 0), (int)json_get_int(was, "signal", 0), STR_FMT,
			  STR_ARG(json_get_str(was, "reason")));
}

/* By its record; NULL: there is none, or it is of another form. */
static struct task *task_of(struct tasks *t, const char *id)
{
	auto_free char *key = xasprintf(PREFIX "%s", id);
	const char *text = record_get(t->o.store, key);
	auto_json was = NULL;
	struct err e = {0};
	struct task *k;

	list_each(&t->all, it)
	{
		k = container_of(it, struct task, node);
		if (!strcmp(k->id, id))
			return k;
	}
	was = text ? json_parse(str_of(text), &e) : NULL;
	if (!was)
		return NULL;
	k = task_new(t, id, json_get_str(was, "log").p);
	snprintf(k->name, sizeof(k->name), STR_FMT, STR_ARG(json_get_str(was, "name")));
	k->group = str_dup(json_get_str(was, "group"));
	k->definition = str_dup(json_get_str(was, "definition"));
	k->note = str_dup(json_get_str(was, "note"));
	read_trace(k);
	task_tags_set(k, json_get_str(was, "tags").p);
	k->attach = json_get_bool(was, "attach", false);
	k->created_wall_us = json_get_int(was, "created_us", 0);
	k->durable = true;
	if (read_doc(k, json_ref(json_get(was, "doc")), json_ref(json_get(was, "overrides")), &e) < 0) {
		log_error("task", "%s of before: %s", id, e.text);
		task_free(k);
		return NULL;
	}
	for (unsigned i = 0; i < k->n; i++)
		read_record(&k->c[i], json_at(json_get(was, "containers"), i));
	return k;
}

bool task_adopt(struct tasks *t, uint64_t sandbox, const char *label, pid_t pid, struct sandbox_fds *fds)
{
	char id[TASK_ID_MAX + 1], hex[65], digest[72];
	struct container *c;
	struct image *im;
	unsigned i;
	struct task *k;
	struct err e;

	if (sscanf(label, "task %32[0-9a-f] %u %64[0-9a-f]", id, &i, hex) != 3)
		return false;
	k = task_of(t, id);
	snprintf(digest, sizeof(digest), "sha256:%s", hex);
	im = image_find(t->o.images, digest);
	if (!k || i >= k->n || k->c[i].sandbox || !im || read_container(&k->c[i], im, &e) < 0)
		return false;
	c = &k->c[i];
	c->adopted = c->asked = c->running = true;
	c->state = c->exited ? TASK_STOPPING : TASK_RUNNING;
	if (!c->started_wall_us)
		c->started_wall_us = k->created_wall_us; /* to a few milliseconds */
	container_take(c, sandbox, pid, fds);
	health_begin(c, true);
	/* What it said before comes before the answer to this: EXITED, or FAILED when it was never started. */
	if (!c->exited && container_tell(c, INIT_SIGNAL, INIT_TAG_RUNTIME, 0, &e) < 0)
		container_end_sandbox(c);
	task_changed(k);
	return true;
}

static void settle_adopted(struct task *k)
{
	for (unsigned i = 0; i < k->n; i++) {
		struct container *c = &k->c[i];
		struct str reference = json_get_str(task_doc_container(k->doc, i), "image");
		struct image *im = c->sandbox ? NULL : image_find(k->t->o.images, reference.p);
		struct err e;

		if (c->sandbox)
			continue;
		if (c->asked || c->exited)
			container_skip(c, "its sandbox ended while no daemon was there");
		else if (!im)
			container_skip(c, "its image is not here any more");
		else if (read_container(c, im, &e) < 0)
			container_skip(c, e.text);
	}
	share(k);
}

void tasks_adopted(struct tasks *t)
{
	const struct record *r = record_next(t->o.store, PREFIX, NULL);

	list_each(&t->all, it) settle_adopted(container_of(it, struct task, node));
	while (r) {
		auto_free char *key = xstrdup(r->key);

		if (!task_find(t, str_of(key + sizeof(PREFIX) - 1)))
			record_del(t->o.store, NULL, key);
		r = record_next(t->o.store, PREFIX, key);
	}
}
