/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a task says and is told. Output is read when all who are attached can take it; then it goes to them as it is, and
 * to the log line by line.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include "task/task_int.h"

#define PIECE_BYTES   65536
#define PIECES_AT_END 64    /* of what is in a pipe, which holds 16 of them at most: others may go on writing there */
#define LINE_BYTES    16384 /* longer ones are several in the log */

static void read_one(struct stream *s);

static bool is_err(const struct stream *s)
{
	return s == &s->task->stream[TASK_ERR];
}

static int fd_of(const struct stream *s)
{
	const struct task *k = s->task;

	return is_err(s) ? k->fds.fd[SB_ERR] : k->fds.fd[k->spec.tty ? SB_CHAN : SB_LOG];
}

static void to_log(struct stream *s, struct str text)
{
	const char *last = text.n ? memrchr(text.p, '\n', text.n) : NULL;
	struct str whole = {text.p, last ? (size_t)(last - text.p) + 1 : 0};

	if (whole.n) {
		buf_addstr(&s->line, whole);
		log_stream_add(s->task->log, "fn", NULL, buf_str(&s->line));
		buf_clear(&s->line);
	}
	buf_add(&s->line, text.p + whole.n, text.n - whole.n);
	if (s->line.n < LINE_BYTES)
		return;
	log_stream_add(s->task->log, "fn", NULL, buf_str(&s->line));
	buf_done(&s->line);
}

static bool anybody_full(struct task *k)
{
	list_each(&k->ears, it)
	{
		struct task_ear *ear = container_of(it, struct task_ear, node);

		if (ear->full(ear))
			return true;
	}
	return false;
}

/* The pipes are watched unless somebody is to be waited for. */
static void settle(struct task *k)
{
	bool tty_in = k->spec.tty && k->in && k->in_at < k->in->text.n;

	for (unsigned i = 0; i < TASK_STREAMS; i++) {
		struct stream *s = &k->stream[i];
		int want = k->waiting || s->over ? 0 : LOOP_READ;

		if (s->watch)
			loop_fd_want(s->watch, want | (i == TASK_OUT && tty_in ? LOOP_WRITE : 0));
	}
}

/* true: there may be more. */
static bool take_piece(struct stream *s)
{
	char text[PIECE_BYTES];
	ssize_t n = read(fd_of(s), text, sizeof(text));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) { /* a terminal that nobody has open any more says EIO */
		s->over = true;
		return false;
	}
	list_each(&s->task->ears, it)
	{
		struct task_ear *ear = container_of(it, struct task_ear, node);

		ear->output(ear, is_err(s), (struct str){text, (size_t)n});
	}
	to_log(s, (struct str){text, (size_t)n});
	return true;
}

static void read_one(struct stream *s)
{
	struct task *k = s->task;

	if (s->over || k->waiting)
		return;
	(void)take_piece(s);
	k->waiting = anybody_full(k);
	settle(k);
}

/* ---- in ---- */

static void in_over(void *arg)
{
	struct task *k = arg;
	struct task_input *in = take_ptr(k->in);

	settle(k);
	in->done(in, &k->in_err);
}

static void in_done(struct task *k, const struct err *e)
{
	k->in_err = e ? *e : (struct err){0};
	if (k->in_watch)
		loop_fd_want(k->in_watch, 0);
	loop_defer(k->t->o.loop, &k->in_later, in_over, k);
}

static void close_in(struct task *k)
{
	static const char end_of_text = 4; /* ^D, as somebody at a terminal would */

	if (k->spec.tty) {
		(void)!write(k->fds.fd[SB_CHAN], &end_of_text, 1);
		return;
	}
	loop_fd_free(take_ptr(k->in_watch));
	close_p(&k->fds.fd[SB_CHAN]);
	k->fds.fd[SB_CHAN] = -1;
	spawn_input_end(k->t->o.spawn, k->sandbox);
}

static void write_in(struct task *k)
{
	struct err e;

	while (k->in && !k->in_later.queued && k->in_at < k->in->text.n) {
		ssize_t n = write(k->fds.fd[SB_CHAN], k->in->text.p + k->in_at, k->in->text.n - k->in_at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			if (k->in_watch)
				loop_fd_want(k->in_watch, LOOP_WRITE);
			settle(k);
			return;
		}
		if (n < 0) {
			err_sys(&e, errno, "the task reads no more");
			in_done(k, &e);
			return;
		}
		k->in_at += (size_t)n;
	}
	if (!k->in || k->in_later.queued)
		return;
	if (k->in->eof)
		close_in(k);
	in_done(k, NULL);
}

static void on_stream(void *arg, int events)
{
	struct stream *s = arg;

	if (events & LOOP_WRITE && s->task->spec.tty)
		write_in(s->task);
	if (events & LOOP_READ)
		read_one(s);
}

static void on_writable(void *arg, int events)
{
	write_in(arg);
}

int task_input_start(struct task *k, struct task_input *in, struct err *e)
{
	if (k->in)
		return err_set(e, ERR_CONFLICT, "other text is on its way to this task");
	if (k->state == TASK_STOPPED || (!k->spec.tty && !k->spec.stdin_open) ||
	    (k->state != TASK_PENDING && k->fds.fd[SB_CHAN] < 0))
		return err_set(e, ERR_CONFLICT, "this task takes no text");
	k->in = in;
	k->in_at = 0;
	if (k->state != TASK_PENDING) /* else streams_open does */
		write_in(k);
	return 0;
}

void task_input_cancel(struct task *k, struct task_input *in)
{
	if (k->in != in)
		return;
	k->in = NULL;
	loop_defer_cancel(k->t->o.loop, &k->in_later);
	if (k->in_watch)
		loop_fd_want(k->in_watch, 0);
	settle(k);
}

int task_resize(struct task *k, unsigned rows, unsigned cols, struct err *e)
{
	struct winsize w = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};

	if (!k->spec.tty || k->fds.fd[SB_CHAN] < 0)
		return err_set(e, ERR_CONFLICT, "this task has no terminal");
	return ioctl(k->fds.fd[SB_CHAN], TIOCSWINSZ, &w) < 0 ? err_sys(e, errno, "set the terminal's size") : 0;
}

/* ---- ears ---- */

/* Nothing waits for the first ear any more: not the output, nor the end, which must not come before it. */
static void nobody_waits(struct task *k)
{
	loop_timer_free(take_ptr(k->attach));
	if (k->sandbox_gone)
		loop_defer(k->t->o.loop, &k->finish_later, task_finish, k);
}

void task_attach(struct task *k, struct task_ear *ear)
{
	list_push(&k->ears, &ear->node);
	if (k->state == TASK_STOPPED) {
		streams_stopped(k);
		return;
	}
	if (k->attach)
		nobody_waits(k);
	task_resume(k);
}

void task_detach(struct task *k, struct task_ear *ear)
{
	list_del(&ear->node);
	task_resume(k);
}

void task_resume(struct task *k)
{
	if (k->state == TASK_STOPPED)
		return;
	k->waiting = k->attach || anybody_full(k);
	settle(k);
}

static void nobody_came(void *arg)
{
	nobody_waits(arg);
	task_resume(arg);
}

static void tell_stopped(void *arg)
{
	struct task *k = arg;
	struct task_info i;
	struct task_ear *ear;

	task_info(k, &i);
	while ((ear = list_first(&k->ears, struct task_ear, node))) {
		list_del(&ear->node);
		ear->stopped(ear, &i);
	}
}

void streams_stopped(struct task *k)
{
	if (!k->stopped_later.queued)
		loop_defer(k->t->o.loop, &k->stopped_later, tell_stopped, k);
}

/* ---- the life of it ---- */

void streams_open(struct task *k)
{
	struct loop *l = k->t->o.loop;

	for (unsigned i = 0; i < TASK_STREAMS; i++) {
		k->stream[i].task = k;
		if (fd_of(&k->stream[i]) >= 0)
			k->stream[i].watch = loop_fd_new(l, fd_of(&k->stream[i]), 0, on_stream, &k->stream[i]);
	}
	if (k->spec.tty && k->rows)
		(void)task_resize(k, k->rows, k->cols, NULL);
	if (!k->spec.tty && k->fds.fd[SB_CHAN] >= 0)
		k->in_watch = loop_fd_new(l, k->fds.fd[SB_CHAN], 0, on_writable, k);
	/* Of a daemon before: who was attached comes again, and is to miss nothing. */
	if (k->to_attach && list_empty(&k->ears)) {
		k->attach = loop_timer_new(l, nobody_came, k);
		loop_timer_in(k->attach, TASK_ATTACH_US);
	}
	task_resume(k);
	write_in(k);
}

void streams_drain(struct task *k)
{
	for (unsigned i = 0; i < TASK_STREAMS; i++) {
		struct stream *s = &k->stream[i];

		for (int n = 0; s->watch && !s->over && n < PIECES_AT_END && take_piece(s); n++)
			continue;
		if (s->line.n)
			log_stream_add(k->log, "fn", NULL, buf_str(&s->line));
		buf_done(&s->line);
	}
}

void streams_close(struct task *k)
{
	struct err gone;

	for (unsigned i = 0; i < TASK_STREAMS; i++)
		loop_fd_free(take_ptr(k->stream[i].watch));
	loop_fd_free(take_ptr(k->in_watch));
	loop_timer_free(take_ptr(k->attach));
	if (k->in && !k->in_later.queued) {
		err_set(&gone, ERR_CONFLICT, "the task has stopped");
		in_done(k, &gone);
	}
}
