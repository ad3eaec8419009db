/* SPDX-License-Identifier: Apache-2.0 */
/* What goes into containers and comes out of them: signals, text, output, further programs. */
#include "api/admin_int.h"

#define QUEUED_MAX  (1 << 20) /* of one who is attached; then the task waits */
#define FRAME_BYTES 5

static void done(struct http_req *r)
{
	auto_object(w, out);

	admin_object(r, 200, &w);
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

	ret->k = admin_task_find(a, r, name, &ret->i);
	if (!ret->k)
		return false;
	ret->x = id ? task_exec_find(ret->k, id) : NULL;
	if (id && !ret->x)
		admin_errorf(r, ERR_NOT_FOUND, "that program is not known any more");
	ret->io = ret->x ? task_exec_io(ret->x) : id ? NULL : task_io(ret->k, ret->i);
	return ret->io != NULL;
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
	struct task *k = admin_task_find(a, r, name, &i);
	struct err e = {0};
	auto_json what = k ? json_parse(r->body, &e) : NULL;
	struct task_exec *x;
	auto_buf out = {0};
	struct jw w;

	if (!k)
		return;
	if (!what || task_exec_check(what, &e) < 0 || task_exec(k, i, what, NULL, &x, &e) < 0)
		return admin_error(r, &e);
	w = jw_object(&out);
	jw_int(&w, "exec", task_exec_id(x));
	admin_object(r, 201, &w);
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
	auto_object(w, out);
	const char *reason;

	if (t->exec) {
		jw_int(&w, "exit_code", task_exec_exit(t->exec, &reason));
		jw_strc(&w, "reason", reason);
		if (!*reason)
			jw_bool(&w, "started", true);
	} else {
		admin_put_task(&w, t->task);
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
