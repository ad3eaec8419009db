/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks: run, look at, talk to, stop. */
#include <stdio.h>
#include "api/admin_int.h"
#include "base/clock.h"
#include "store/definition.h"
#include "store/function.h"

/* "TASK", or "TASK/CONTAINER" */
struct task *admin_task_find(struct admin *a, struct http_req *r, struct str name, unsigned *ret_container)
{
	struct str task = name, container = STR_NULL;
	bool one = str_cut(name, '/', &task, &container);
	struct task *k = task_find(a->o.tasks, task);
	struct task_info i;

	*ret_container = 0;
	for (unsigned n = 1; k && one; n++) {
		task_container_info(k, *ret_container, &i);
		if (str_eqc(container, i.name))
			break;
		if (n == i.n_containers)
			k = NULL;
		*ret_container = n;
	}
	if (!k)
		admin_errorf(r, ERR_NOT_FOUND, "there is no task \"" STR_FMT "\"; tandem ps lists those that are there",
			     (int)(name.n < 80 ? name.n : 80), name.p);
	return k;
}

static void put_time(struct jw *w, const char *key, int64_t wall_us)
{
	char when[32];

	if (wall_us)
		jw_strc(w, key, clock_fmt_iso(wall_us, when));
}

static void put_text(struct jw *w, const char *key, const char *text)
{
	if (text && *text)
		jw_strc(w, key, text);
}

/* Members of an object, of a task or of one of its containers. */
static void put_info(struct jw *w, const struct task_info *i)
{
	int64_t since = i->stopped_wall_us ? i->stopped_wall_us : i->started_wall_us;

	put_text(w, "name", i->name);
	jw_strc(w, "image", i->image);
	jw_strc(w, "state", task_state_name[i->state]);
	if (i->pid)
		jw_int(w, "pid", i->pid);
	jw_bool(w, "tty", i->tty);
	jw_int(w, "memory_mb", i->memory_bytes >> 20);
	jw_real(w, "cpu", i->cpu_milli / 1000.0);
	put_time(w, "created", i->created_wall_us);
	put_time(w, "started", i->started_wall_us);
	put_time(w, "stopped", i->stopped_wall_us);
	jw_int(w, "for_us", clock_wall_us() - (since ? since : i->created_wall_us));
	if (i->state == TASK_STOPPED) {
		jw_int(w, "exit_code", i->exit_code);
		if (i->signal)
			jw_int(w, "signal", i->signal);
		jw_strc(w, "reason", i->reason);
		jw_bool(w, "oom", i->oom);
		jw_int(w, "cpu_us", i->cpu_us);
		jw_int(w, "mem_peak_bytes", i->mem_peak_bytes);
	}
	if (i->health != TASK_NOT_CHECKED)
		jw_strc(w, "health", task_health_name[i->health]);
	put_text(w, "health_text", i->health_text);
}

void admin_put_task(struct jw *w, const struct task *k)
{
	char why[320];
	struct task_info i;

	task_info(k, &i);
	jw_strc(w, "id", i.id);
	put_text(w, "group", i.group);
	put_text(w, "definition", i.definition);
	put_text(w, "tags", i.tags);
	put_info(w, &i);
	put_text(w, "waiting_for", task_waits_for(k, why));
	jw_arr(w, "containers");
	for (unsigned n = 0; n < i.n_containers; n++) {
		struct task_info c;

		task_container_info(k, n, &c);
		jw_obj(w, NULL);
		put_info(w, &c);
		jw_bool(w, "essential", c.essential);
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

static void answer(struct http_req *r, const struct task *k, int status)
{
	auto_object(w, out);

	admin_put_task(&w, k);
	admin_object(r, status, &w);
}

void admin_put_tasks(struct admin *a, struct jw *w)
{
	jw_arr(w, "tasks");
	for (struct task *k = task_next(a->o.tasks, NULL); k; k = task_next(a->o.tasks, k)) {
		jw_obj(w, NULL);
		admin_put_task(w, k);
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

void admin_tasks(struct admin *a, struct http_req *r, struct str name)
{
	auto_object(w, out);

	admin_put_tasks(a, &w);
	admin_object(r, 200, &w);
}

void admin_task_stats(struct admin *a, struct http_req *r, struct str name)
{
	auto_object(w, out);
	struct task_info of, i;
	struct task_usage u;

	jw_int(&w, "at_us", clock_now_us());
	jw_arr(&w, "containers");
	for (struct task *k = task_next(a->o.tasks, NULL); k; k = task_next(a->o.tasks, k)) {
		task_info(k, &of);
		for (unsigned n = 0; n < of.n_containers; n++) {
			if (!task_usage(k, n, &u))
				continue;
			task_container_info(k, n, &i);
			jw_obj(&w, NULL);
			jw_strc(&w, "id", of.id);
			put_text(&w, "task", of.name);
			put_text(&w, "group", of.group);
			jw_strc(&w, "container", i.name);
			jw_int(&w, "cpu_us", u.cpu_us);
			jw_real(&w, "cpu", i.cpu_milli / 1000.0);
			jw_int(&w, "mem_bytes", u.mem_bytes);
			jw_int(&w, "mem_peak_bytes", u.mem_peak_bytes);
			jw_int(&w, "memory_mb", i.memory_bytes >> 20);
			jw_end(&w, '}');
		}
	}
	jw_end(&w, ']');
	admin_object(r, 200, &w);
}

/* ---- one, also when its program runs, or never will ---- */

struct wait {
	struct task_watch watch;
	struct task *task;
	struct http_req *r;
};

static void wait_left(void *arg)
{
	struct wait *w = arg;

	task_unwatch(&w->watch);
	free(w);
}

static bool has_begun(const struct task *k)
{
	struct task_info i;

	task_info(k, &i);
	return i.state == TASK_STOPPED || (i.started_wall_us && i.state >= TASK_RUNNING);
}

static void wait_changed(struct task_watch *watch, struct task *k)
{
	struct wait *w = container_of(watch, struct wait, watch);

	if (k != w->task || !has_begun(k))
		return;
	answer(w->r, k, 200);
	wait_left(w);
}

void admin_task(struct admin *a, struct http_req *r, struct str name)
{
	unsigned i;
	struct task *k = admin_task_find(a, r, name, &i);
	struct wait *w;

	if (!k)
		return;
	if (!admin_query_is(r, "wait", "started") || has_begun(k)) {
		answer(r, k, 200);
		return;
	}
	w = xcalloc(1, sizeof(*w));
	*w = (struct wait){.watch.changed = wait_changed, .task = k, .r = r};
	http_on_gone(r, wait_left, w);
	task_watch(a->o.tasks, &w->watch);
}

static void put_member(struct jw *w, const struct json *what, const char *name)
{
	auto_free char *text = json_get(what, name) ? json_text(json_get(what, name)) : NULL;

	if (text)
		jw_raw(w, name, str_of(text));
}

/* What tandem run says beside a task's name is for its first container. */
static char *overrides_of(const struct json *what, const char *doc_text)
{
	auto_json doc = json_parse(str_of(doc_text), NULL);
	auto_object(w, out);

	jw_arr(&w, "containers");
	jw_obj(&w, NULL);
	jw_strc(&w, "name", task_doc_name(doc, 0));
	put_member(&w, what, "command");
	put_member(&w, what, "env");
	jw_end(&w, '}');
	jw_end(&w, ']');
	put_member(&w, what, "memory_mb");
	put_member(&w, what, "cpu");
	jw_end(&w, '}');
	return buf_take(&out);
}

/* {"definition": "FAMILY[:REVISION]", "command", "env", "memory_mb", "cpu"}, or {"doc": {...}, "overrides"}, or the
 * document of one container itself. */
static char *doc_of(struct admin *a, const struct json *what, char definition[300], char **ret_over,
		    struct buf *ret_tags, struct err *e)
{
	struct str given = json_get_str(what, "definition"), family = given, number;
	auto_definition d = NULL;
	int64_t revision = 0;

	if (!given.p) {
		*ret_over = json_get(what, "overrides") ? json_text(json_get(what, "overrides")) : NULL;
		return json_text(json_get(what, "doc") ? json_get(what, "doc") : what);
	}
	if (!str_cut(given, ':', &family, &number) || str_to_i64(number, 1, INT32_MAX, &revision) == 0)
		d = definition_get(a->o.store, family, (int)revision);
	if (!d || !d->active) {
		err_set(e, ERR_NOT_FOUND, "there is no task \"%.80s\" in a tandem.yaml that is up, nor a definition",
			given.p);
		return NULL;
	}
	snprintf(definition, 300, "%s:%d", d->family, d->revision);
	*ret_over = overrides_of(what, d->doc);
	if (d->tags) {
		auto_json tags = json_parse(str_of(d->tags), NULL);

		pairs_list_tags(tags, ret_tags);
	}
	return xstrdup(d->doc);
}

void admin_task_run(struct admin *a, struct http_req *r, struct str name)
{
	struct err e = {0};
	auto_json what = json_parse(r->body, &e);
	char definition[300] = "";
	auto_free char *over = NULL;
	auto_buf tags = {0};
	auto_free char *doc = what ? doc_of(a, what, definition, &over, &tags, &e) : NULL;
	struct task_opts o = {.name = json_get_str(what, "name").p,
			      .definition = definition,
			      .tags = tags.p,
			      .overrides = str_of(over),
			      .attach = json_get_bool(what, "attach", false),
			      .rows = (unsigned)json_get_int(what, "rows", 0),
			      .cols = (unsigned)json_get_int(what, "cols", 0)};
	struct task *k;

	if (doc && task_run(a->o.tasks, str_of(doc), &o, &k, &e) == 0) {
		answer(r, k, 201);
		return;
	}
	if (doc && *definition && e.kind == ERR_NOT_FOUND) /* of its image: the task itself is there */
		e.kind = ERR_CONFLICT;
	admin_error(r, &e);
}

static void done(struct http_req *r)
{
	auto_object(w, out);

	admin_object(r, 200, &w);
}

void admin_task_remove(struct admin *a, struct http_req *r, struct str name)
{
	unsigned i;
	struct task *k = admin_task_find(a, r, name, &i);
	struct err e = {0};

	if (k && task_remove(k, &e) < 0)
		admin_error(r, &e);
	else if (k)
		done(r);
}

/* ---- stop: an ear that only waits for the end ---- */

struct stop {
	struct task_ear ear;
	struct task *task;
	struct http_req *r;  /* NULL: who asked has left */
	struct tasks *again; /* not NULL: and then it begins again */
};

static void nothing_heard(struct task_ear *ear, bool err, struct str text)
{
}

static bool never_full(struct task_ear *ear)
{
	return false;
}

/* As it was asked for then, under an id of its own. */
static void run_again(struct stop *s)
{
	struct err e;
	struct task_info i;
	struct task *k;

	task_info(s->task, &i);
	auto_free char *doc = json_text(i.doc);
	auto_free char *over = i.overrides ? json_text(i.overrides) : NULL;
	struct task_opts o = {.name = *i.name ? i.name : NULL,
			      .group = i.group,
			      .definition = i.definition,
			      .note = i.note,
			      .tags = i.tags,
			      .overrides = str_of(over)};
	int ret = task_run(s->again, str_of(doc), &o, &k, &e);

	if (s->r && ret < 0)
		admin_error(s->r, &e);
	else if (s->r)
		answer(s->r, k, 201);
}

static void has_stopped(struct task_ear *ear)
{
	struct stop *s = container_of(ear, struct stop, ear);

	if (s->again)
		run_again(s);
	else
		answer(s->r, s->task, 200);
	free(s);
}

static void stop_left(void *arg)
{
	struct stop *s = arg;

	task_detach(&s->ear);
	free(s);
}

void admin_task_stop(struct admin *a, struct http_req *r, struct str name)
{
	unsigned i;
	struct task *k = admin_task_find(a, r, name, &i);
	int64_t timeout_s = admin_query_int(r, "timeout_s", -1);
	struct stop *s;

	if (!k)
		return;
	s = xcalloc(1, sizeof(*s));
	*s = (struct stop){
		.ear = {.output = nothing_heard, .full = never_full, .stopped = has_stopped}, .task = k, .r = r};
	http_on_gone(r, stop_left, s);
	task_attach(task_io(k, i), &s->ear);
	task_stop(k, timeout_s < 0 || timeout_s > 3600 ? -1 : timeout_s * 1000000);
}

static void restarted(struct http_req *r)
{
	auto_object(w, out);

	admin_object(r, 200, &w);
}

/* A function's instances end, a service gets new tasks in its own way, a task stops and begins again. */
void admin_restart(struct admin *a, struct http_req *r, struct str name)
{
	struct function *f = function_get(a->o.store, name);
	struct service *sv = f ? NULL : admin_service_find(a, name);
	struct err e;
	struct task *k;
	struct stop *s;
	unsigned i;

	if (f) {
		sched_stop_function(a->o.sched, f);
		restarted(r);
		return;
	}
	if (sv) {
		if (service_put(a->o.services, NULL, service_spec_of(sv), true, &e) < 0)
			admin_error(r, &e);
		else
			restarted(r);
		return;
	}
	k = admin_task_find(a, r, name, &i);
	if (!k)
		return;
	s = xcalloc(1, sizeof(*s));
	*s = (struct stop){.ear = {.output = nothing_heard, .full = never_full, .stopped = has_stopped},
			   .task = k,
			   .r = r,
			   .again = a->o.tasks};
	http_on_gone_clear(&s->r);
	task_attach(task_io(k, 0), &s->ear);
	task_stop(k, -1);
}
