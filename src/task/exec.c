/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Further programs in a running container. With a terminal, that is asked for first; then tandem-init gets one message
 * with the descriptors. What has ended is known for a while, for whoever attaches late. A crash of tandemd ends their
 * streams, and so mostly them.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "task/task_int.h"
#include "wire/fds.h"

#define EXECS_MAX 32   /* of one container, ended ones too */
#define HEARD_US  1000 /* after the end of one that was heard from its beginning */

struct task_exec {
	struct list node;
	struct container *c;
	uint32_t tag;
	struct spawn_req tty;
	struct buf message;
	int in, out, err; /* our ends; with a terminal in and out are its master */
	struct task_io io;
	unsigned rows, cols;
	int64_t keep_us; /* after its end */
	bool sent, exited, over;
	int exit_code;
	char reason[200];
	struct loop_timer *timer; /* until it is sent and has started; then until it is forgotten */
};

static void close_ends(struct task_exec *x)
{
	io_close(&x->io);
	if (x->out != x->in)
		close_p(&x->out);
	close_p(&x->in);
	close_p(&x->err);
	x->in = x->out = x->err = -1;
}

static void exec_free(struct task_exec *x)
{
	spawn_cancel(&x->tty);
	close_ends(x);
	io_done(&x->io);
	loop_timer_free(x->timer);
	buf_done(&x->message);
	list_del(&x->node);
	free(x);
}

static void over(struct task_exec *x)
{
	if (x->over)
		return;
	x->over = true;
	io_drain(&x->io);
	close_ends(x);
	io_stop(&x->io);
	loop_timer_in(x->timer, x->keep_us);
}

static void ended(struct task_exec *x, int exit_code, const char *reason)
{
	if (x->exited)
		return;
	x->exited = true;
	x->exit_code = exit_code;
	snprintf(x->reason, sizeof(x->reason), "%s", reason);
	if (!x->io.wait)
		over(x);
}

static void on_timer(void *arg)
{
	struct task_exec *x = arg;

	if (x->over && list_empty(&x->io.ears))
		exec_free(x);
	else if (x->over)
		loop_timer_in(x->timer, x->keep_us);
	else
		ended(x, EXIT_NOT_STARTED, "it was not started in time");
}

static void attached(struct task_io *io)
{
	struct task_exec *x = container_of(io, struct task_exec, io);

	if (x->exited)
		over(x);
}

/* Nobody hears it any more: as when a terminal is closed. */
static void left(struct task_io *io)
{
	struct task_exec *x = container_of(io, struct task_exec, io);

	if (x->sent && !x->exited)
		(void)container_tell(x->c, INIT_SIGNAL, x->tag, SIGHUP, NULL);
}

static void close_in(struct task_io *io)
{
	struct task_exec *x = container_of(io, struct task_exec, io);

	close_p(&x->in);
	x->in = -1;
}

static void send_it(struct task_exec *x, const int *fds, unsigned n)
{
	if (x->exited || x->c->exited || x->c->killed)
		ended(x, EXIT_NOT_STARTED, "the container has ended");
	else if (fds_send(x->c->fds.fd[SB_CTL], x->message.p, x->message.n, fds, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		ended(x, EXIT_NOT_STARTED, "tandem-init takes no message");
	else
		x->sent = true;
	buf_done(&x->message);
}

static void got_tty(struct spawn_req *r, const struct err *e)
{
	struct task_exec *x = container_of(r, struct task_exec, tty);

	if (e->kind || r->n_socks != 2) {
		ended(x, EXIT_NOT_STARTED, e->kind ? e->text : "there is no terminal for it");
		return;
	}
	x->in = x->out = r->socks[0];
	io_open(&x->io, x->in, x->out, -1, TASK_ATTACH_US);
	if (x->rows)
		(void)task_resize(&x->io, x->rows, x->cols, NULL);
	send_it(x, &r->socks[1], 1);
	close(r->socks[1]);
}

/* Its ends are open to all: programs open /dev/stdout by name. */
static int make_pipe(int *ret_read, int *ret_write)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC) < 0)
		return -1;
	(void)fchmod(fd[0], 0666);
	*ret_read = fd[0];
	*ret_write = fd[1];
	return 0;
}

static int begin_pipes(struct task_exec *x, bool input, struct err *e)
{
	int theirs[3] = {-1, -1, -1};
	int ret = 0;

	if (make_pipe(&theirs[0], &x->in) < 0 || make_pipe(&x->out, &theirs[1]) < 0 ||
	    make_pipe(&x->err, &theirs[2]) < 0 || io_set_nonblock(x->in) < 0 || io_set_nonblock(x->out) < 0 ||
	    io_set_nonblock(x->err) < 0) {
		ret = err_sys(e, errno, "make pipes");
	} else {
		if (!input) {
			close_p(&x->in);
			x->in = -1;
		}
		io_open(&x->io, x->in, x->out, x->err, TASK_ATTACH_US);
		send_it(x, theirs, 3);
	}
	for (unsigned i = 0; i < 3; i++)
		close_p(&theirs[i]);
	return ret;
}

/* Working directory, user and environment are the container's where nothing else is said. */
static void write_message(struct task_exec *x, const struct json *what)
{
	const struct task_spec *s = &x->c->spec;
	const struct json *words = json_get(what, "command");
	struct str cwd = json_get_str(what, "workdir"), user = json_get_str(what, "user");
	struct init_msg m = {.version = INIT_VERSION,
			     .verb = INIT_EXEC,
			     .tag = x->tag,
			     .argc = (uint32_t)json_len(words),
			     .envc = s->envc};
	struct init_run how = {.tty = x->io.tty};
	const char *of_cwd = s->text.p, *of_user = of_cwd + strlen(of_cwd) + 1;
	struct buf *b = &x->message;

	buf_add(b, &m, sizeof(m));
	buf_add(b, &how, sizeof(how));
	buf_adds(b, cwd.n ? cwd.p : of_cwd);
	buf_addc(b, 0);
	buf_adds(b, user.n ? user.p : of_user);
	buf_addc(b, 0);
	for (size_t i = 0; i < json_len(words); i++) {
		buf_addstr(b, json_str(json_at(words, i)));
		buf_addc(b, 0);
	}
	task_spec_env(s, json_get(what, "env"), b, &m.envc);
	m.text_bytes = (uint32_t)(b->n - sizeof(m) - sizeof(how));
	memcpy(b->p, &m, sizeof(m));
}

static struct task_exec *exec_new(struct container *c, bool tty, bool input)
{
	struct task_exec *x = xcalloc(1, sizeof(*x));

	x->c = c;
	x->tag = ++c->task->t->next_tag;
	x->in = x->out = x->err = -1;
	io_init(&x->io, c->task->t->o.loop);
	x->io.tty = tty;
	x->io.takes_input = tty || input;
	x->io.attached = attached;
	x->io.left = left;
	x->io.close_in = close_in;
	x->timer = loop_timer_new(c->task->t->o.loop, on_timer, x);
	loop_timer_in(x->timer, TASK_START_US);
	list_push(&c->execs, &x->node);
	return x;
}

int task_exec(struct task *k, unsigned container, const struct json *what, struct task_ear *ear, struct task_exec **ret,
	      struct err *e)
{
	struct container *c = &k->c[container];
	struct task_exec *x;
	unsigned n = 0;
	bool tty, input;

	list_each(&c->execs, it) n++;
	if (n >= EXECS_MAX)
		return err_set(e, ERR_LIMIT, "%d further programs run in this container already", EXECS_MAX);
	if (!c->started_wall_us || c->exited || c->killed || c->state == TASK_STOPPED || !c->spec.text.n)
		return err_set(e, ERR_CONFLICT, "the container does not run");
	tty = json_get_bool(what, "tty", false), input = json_get_bool(what, "stdin", false);
	x = exec_new(c, tty, input);
	x->rows = (unsigned)json_get_int(what, "rows", 0), x->cols = (unsigned)json_get_int(what, "cols", 0);
	write_message(x, what);
	x->keep_us = ear ? HEARD_US : TASK_ATTACH_US;
	if (ear)
		task_attach(&x->io, ear);
	if (x->message.n > INIT_MSG_MAX) {
		err_set(e, ERR_LIMIT, "command and environment take more than %d bytes", INIT_MSG_MAX);
	} else if (tty) {
		x->tty.done = got_tty;
		spawn_tty_start(k->t->o.spawn, &x->tty, c->sandbox);
		*ret = x;
		return 0;
	} else if (begin_pipes(x, input, e) == 0) {
		*ret = x;
		return 0;
	}
	if (ear)
		task_detach(ear);
	exec_free(x);
	return -1;
}

bool exec_heard(struct container *c, const struct init_msg *m)
{
	list_each(&c->execs, it)
	{
		struct task_exec *x = container_of(it, struct task_exec, node);
		int sys = m->value & 0xffff, step = m->value >> 16, status = m->value;
		char text[200];

		if (x->tag != m->tag)
			continue;
		if (m->verb == INIT_STARTED) {
			loop_timer_stop(x->timer);
		} else if (m->verb == INIT_EXITED) {
			ended(x, WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_OF_SIGNAL + (WTERMSIG(status) & 63),
			      "");
		} else if (m->verb == INIT_FAILED && sys != ESRCH) { /* ESRCH: of a signal that came too late */
			snprintf(text, sizeof(text), "it cannot be started: %s",
				 step == INIT_STEP_USER ? "there is no such user or group" : strerror(sys));
			ended(x, sys == ENOENT && step == INIT_STEP_EXEC ? EXIT_NOT_FOUND : EXIT_NOT_ALLOWED, text);
		}
		return true;
	}
	return false;
}

bool execs_heard(const struct container *c)
{
	list_each(&c->execs, it) if (!list_empty(&container_of(it, struct task_exec, node)->io.ears)) return true;
	return false;
}

void execs_gone(struct container *c, bool free_them)
{
	list_each(&c->execs, it)
	{
		struct task_exec *x = container_of(it, struct task_exec, node);

		ended(x, EXIT_OF_SIGNAL + SIGKILL, "the container has ended");
		if (free_them)
			exec_free(x);
	}
}

struct task_exec *task_exec_find(struct task *k, int64_t id)
{
	for (unsigned i = 0; i < k->n; i++)
		list_each(&k->c[i].execs, it)
		{
			struct task_exec *x = container_of(it, struct task_exec, node);

			if (x->tag == id)
				return x;
		}
	return NULL;
}

uint32_t task_exec_id(const struct task_exec *x)
{
	return x->tag;
}

struct task_io *task_exec_io(struct task_exec *x)
{
	return &x->io;
}

int task_exec_signal(struct task_exec *x, int sig, struct err *e)
{
	if (x->exited || !x->sent || sig < 1 || sig > 64)
		return err_set(e, ERR_CONFLICT, "the program does not run");
	return container_tell(x->c, INIT_SIGNAL, x->tag, sig, e);
}

int task_exec_exit(const struct task_exec *x, const char **ret_reason)
{
	*ret_reason = x->reason;
	return x->exit_code;
}
