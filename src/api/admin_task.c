/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks: run, look at, talk to, stop. */
#include <stdio.h>
#include "api/admin_int.h"
#include "base/clock.h"
#include "store/definition.h"

#define QUEUED_MAX  (1 << 20) /* of one who is attached; then the task waits */
#define FRAME_BYTES 5

/* "TASK", or "TASK/CONTAINER" */
static struct task *find(struct admin *a, struct http_req *r, struct str name, unsigned *ret_container)
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

/* Who is meant: a container, or the further program "exec" of the query. */
struct whom {
	struct task *k;
	unsigned i;
	struct task_exec *x;
	struct task_io *io;
};

static bool find_io(struct admin *a, struct http_req *r, struct str name, struct whom *ret)
{
	int64_t id = admin_query_int(r, "exec", 0);

	ret->k = find(a, r, name, &ret->i);
	if (!ret->k)
		return false;
	ret->x = id ? task_exec_find(ret->k, id) : NULL;
	if (id && !ret->x)
		admin_errorf(r, ERR_NOT_FOUND, "that program is not known any more");
	ret->io = ret->x ? task_exec_io(ret->x) : id ? NULL : task_io(ret->k, ret->i);
	return ret->io != NULL;
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

static void put_task(struct jw *w, const struct task *k)
{
	struct task_info i;

	task_info(k, &i);
	jw_strc(w, "id", i.id);
	put_text(w, "group", i.group);
	put_text(w, "definition", i.definition);
	put_info(w, &i);
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
	auto_buf out = {0};
	struct jw w = jw_object(&out);

	put_task(&w, k);
	admin_object(r, status, &w);
}

void admin_put_tasks(struct admin *a, struct jw *w)
{
	jw_arr(w, "tasks");
	for (struct task *k = task_next(a->o.tasks, NULL); k; k = task_next(a->o.tasks, k)) {
		jw_obj(w, NULL);
		put_task(w, k);
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

void admin_tasks(struct admin *a, struct http_req *r, struct str name)
{
	auto_buf out = {0};
	struct jw w = jw_object(&out);

	admin_put_tasks(a, &w);
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
	struct task *k = find(a, r, name, &i);
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
	auto_buf out = {0};
	struct jw w = jw_object(&out);

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
static char *doc_of(struct admin *a, const struct json *what, char definition[300], char **ret_over, struct err *e)
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
	return xstrdup(d->doc);
}

void admin_task_run(struct admin *a, struct http_req *r, struct str name)
{
	struct err e = {0};
	auto_json what = json_parse(r->body, &e);
	char definition[300] = "";
	auto_free char *over = NULL;
	auto_free char *doc = what ? doc_of(a, what, definition, &over, &e) : NULL;
	struct task_opts o = {.name = json_get_str(what, "name").p,
			      .definition = definition,
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
	auto_buf out = {0};
	struct jw w = jw_object(&out);

	admin_object(r, 200, &w);
}

void admin_task_remove(struct admin *a, struct http_req *r, struct str name)
{
	unsigned i;
	struct task *k = find(a, r, name, &i);
	struct err e = {0};

	if (k && task_remove(k, &e) < 0)
		admin_error(r, &e);
	else if (k)
		done(r);
}

void admin_task_signal(struct admin *a, struct http_req *r, struct str name)
{
	int sig = (int)admin_query_int(r, "signal", 0);
	struct whom w;
	struct err e = {0};

	if (!find_io(a, r, name, &w))
		return;
	if ((w.x ? task_exec_signal(w.x, sig, &e) : task_signal(w.k, w.i, sig, &e)) < 0)
		admin_error(r, &e);
	else
		done(r);
}

void admin_task_resize(struct admin *a, struct http_req *r, struct str name)
{
	int64_t rows = admin_query_int(r, "rows", 24), cols = admin_query_int(r, "cols", 80);
	struct whom w;
	struct err e = {0};

	if (!find_io(a, r, name, &w))
		return;
	if (rows > UINT16_MAX || cols > UINT16_MAX)
		admin_errorf(r, ERR_INVALID, "no terminal is of that size");
	else if (task_resize(w.io, (unsigned)rows, (unsigned)cols, &e) < 0)
		admin_error(r, &e);
	else
		done(r);
}

void admin_task_exec(struct admin *a, struct http_req *r, struct str name)
{
	unsigned i;
	struct task *k = find(a, r, name, &i);
	struct err e = {0};
	auto_json what = k ? json_parse(r->body, &e) : NULL;
	struct task_exec *x;
	auto_buf out = {0};
	struct jw w;

	if (!k)
		return;
	if (!what || task_exec_check(what, &e) < 0 || task_exec(k, i, what, NULL, &x, &e) < 0) {
		admin_error(r, &e);
		return;
	}
	w = jw_object(&out);
	jw_int(&w, "exec", task_exec_id(x));
	admin_object(r, 201, &w);
}

/* ---- stop: an ear that only waits for the end ---- */

struct stop {
	struct task_ear ear;
	struct task *task;
	struct http_req *r;
};

static void nothing_heard(struct task_ear *ear, bool err, struct str text)
{
}

static bool never_full(struct task_ear *ear)
{
	return false;
}

static void has_stopped(struct task_ear *ear)
{
	struct stop *s = container_of(ear, struct stop, ear);

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
	struct task *k = find(a, r, name, &i);
	int64_t timeout_s = admin_query_int(r, "timeout_s", -1);
	struct stop *s;

	if (!k)
		return;
	s = xcalloc(1, sizeof(*s));
	s->ear = (struct task_ear){.output = nothing_heard, .full = never_full, .stopped = has_stopped};
	s->task = k;
	s->r = r;
	http_on_gone(r, stop_left, s);
	task_attach(task_io(k, i), &s->ear);
	task_stop(k, timeout_s < 0 || timeout_s > 3600 ? -1 : timeout_s * 1000000);
}

/* ---- stdin ---- */

struct stdin_text {
	struct task_input in;
	struct task_io *io;
	struct http_req *r;
};

static void was_taken(struct task_input *in, const struct err *e)
{
	struct stdin_text *s = container_of(in, struct stdin_text, in);

	if (e->kind)
		admin_error(s->r, e);
	else
		done(s->r);
	free(s);
}

static void stdin_left(void *arg)
{
	struct stdin_text *s = arg;

	task_input_cancel(s->io, &s->in);
	free(s);
}

void admin_task_stdin(struct admin *a, struct http_req *r, struct str name)
{
	struct whom w;
	struct stdin_text *s;
	struct err e = {0};

	if (!find_io(a, r, name, &w))
		return;
	s = xcalloc(1, sizeof(*s));
	s->in = (struct task_input){.text = r->body, .eof = admin_query_is(r, "eof", "1"), .done = was_taken};
	s->io = w.io;
	s->r = r;
	http_on_gone(r, stdin_left, s);
	if (task_input_start(s->io, &s->in, &e) == 0)
		return;
	admin_error(r, &e);
	free(s);
}

/* ---- attach ---- */

struct attach {
	struct task_ear ear;
	struct task *task;
	struct task_exec *exec; /* NULL: the container's own */
	struct http_req *r;
};

static void put_frame(struct attach *t, char what, struct str text)
{
	uint32_t n = (uint32_t)text.n;
	char head[FRAME_BYTES] = {what, (char)n, (char)(n >> 8), (char)(n >> 16), (char)(n >> 24)};
	auto_buf out = {0};

	buf_add(&out, head, sizeof(head));
	buf_addstr(&out, text);
	(void)http_stream_write(t->r, buf_str(&out));
}

static void attach_output(struct task_ear *ear, bool err, struct str text)
{
	put_frame(container_of(ear, struct attach, ear), err ? 'e' : 'o', text);
}

static bool attach_full(struct task_ear *ear)
{
	return http_stream_queued(container_of(ear, struct attach, ear)->r) > QUEUED_MAX;
}

static void attach_drained(void *arg)
{
	task_resume(&((struct attach *)arg)->ear);
}

static void attach_stopped(struct task_ear *ear)
{
	struct attach *t = container_of(ear, struct attach, ear);
	auto_buf out = {0};
	struct jw w = jw_object(&out);
	const char *reason;

	if (t->exec) {
		jw_int(&w, "exit_code", task_exec_exit(t->exec, &reason));
		jw_strc(&w, "reason", reason);
		if (!*reason)
			jw_bool(&w, "started", true);
	} else {
		put_task(&w, t->task);
	}
	jw_end(&w, '}');
	put_frame(t, 'x', buf_str(&out));
	http_stream_end(t->r);
	free(t);
}

static void attach_left(void *arg)
{
	struct attach *t = arg;

	task_detach(&t->ear);
	free(t);
}

void admin_task_attach(struct admin *a, struct http_req *r, struct str name)
{
	struct whom w;
	struct attach *t;

	if (!find_io(a, r, name, &w))
		return;
	t = xcalloc(1, sizeof(*t));
	t->ear = (struct task_ear){.output = attach_output, .full = attach_full, .stopped = attach_stopped};
	t->task = w.k;
	t->exec = w.x;
	t->r = r;
	http_on_gone(r, attach_left, t);
	http_stream_begin(r, 200, "application/octet-stream", STR_NULL);
	http_on_drained(r, attach_drained, t);
	task_attach(w.io, &t->ear);
}
