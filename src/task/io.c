/* SPDX-License-Identifier: Apache-2.0 */
#include "task/io.h"
#include <errno.h>
#include <sys/ioctl.h>

#define PIECE_BYTES   65536
#define PIECES_AT_END 64    /* of what is in a pipe, which holds 16 of them at most: others may go on writing there */
#define LINE_BYTES    16384 /* longer ones are several in the log */

static void to_log(struct io_piece *s, struct str text)
{
	const char *last = text.n ? memrchr(text.p, '\n', text.n) : NULL;
	struct str whole = {text.p, last ? (size_t)(last - text.p) + 1 : 0};
	struct log_stream *log = s->io->log;

	if (!log)
		return;
	if (whole.n) {
		buf_addstr(&s->line, whole);
		log_stream_add(log, "fn", s->io->who, buf_str(&s->line));
		buf_clear(&s->line);
	}
	buf_add(&s->line, text.p + whole.n, text.n - whole.n);
	if (s->line.n < LINE_BYTES)
		return;
	log_stream_add(log, "fn", s->io->who, buf_str(&s->line));
	buf_done(&s->line);
}

static bool anybody_full(struct task_io *io)
{
	list_each(&io->ears, it)
	{
		struct task_ear *ear = container_of(it, struct task_ear, node);

		if (ear->full(ear))
			return true;
	}
	return false;
}

/* The pipes are watched unless somebody is to be waited for. */
static void settle(struct task_io *io)
{
	bool tty_in = io->tty && io->input && io->input_at < io->input->text.n;

	for (unsigned i = 0; i < IO_STREAMS; i++) {
		struct io_piece *s = &io->piece[i];
		int want = io->waiting || s->over ? 0 : LOOP_READ;

		if (s->watch)
			loop_fd_want(s->watch, want | (i == IO_OUT && tty_in ? LOOP_WRITE : 0));
	}
}

/* true: there may be more. */
static bool take_piece(struct io_piece *s)
{
	struct task_io *io = s->io;
	char text[PIECE_BYTES];
	ssize_t n = read(s->fd, text, sizeof(text));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) { /* a terminal that nobody has open any more says EIO */
		s->over = true;
		return false;
	}
	list_each(&io->ears, it)
	{
		struct task_ear *ear = container_of(it, struct task_ear, node);

		ear->output(ear, s == &io->piece[IO_ERR], (struct str){text, (size_t)n});
	}
	to_log(s, (struct str){text, (size_t)n});
	return true;
}

/* ---- in ---- */

static void input_over(void *arg)
{
	struct task_io *io = arg;
	struct task_input *in = take_ptr(io->input);

	settle(io);
	in->done(in, &io->input_err);
}

static void input_done(struct task_io *io, const struct err *e)
{
	io->input_err = e ? *e : (struct err){0};
	if (io->in_watch)
		loop_fd_want(io->in_watch, 0);
	loop_defer(io->loop, &io->input_later, input_over, io);
}

static void close_in(struct task_io *io)
{
	static const char end_of_text = 4; /* ^D, as somebody at a terminal would */

	if (io->tty) {
		(void)!write(io->in, &end_of_text, 1);
		return;
	}
	loop_fd_free(take_ptr(io->in_watch));
	io->in = -1;
	io->close_in(io);
}

static void write_in(struct task_io *io)
{
	struct err e;

	while (io->input && !io->input_later.queued && io->input_at < io->input->text.n) {
		ssize_t n = write(io->in, io->input->text.p + io->input_at, io->input->text.n - io->input_at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			if (io->in_watch)
				loop_fd_want(io->in_watch, LOOP_WRITE);
			settle(io);
			return;
		}
		if (n < 0) {
			err_sys(&e, errno, "the program reads no more");
			input_done(io, &e);
			return;
		}
		io->input_at += (size_t)n;
	}
	if (!io->input || io->input_later.queued)
		return;
	if (io->input->eof)
		close_in(io);
	input_done(io, NULL);
}

static void on_piece(void *arg, int events)
{
	struct io_piece *s = arg;
	struct task_io *io = s->io;

	if (events & LOOP_WRITE && io->tty)
		write_in(io);
	if (!(events & LOOP_READ) || s->over || io->waiting)
		return;
	(void)take_piece(s);
	io->waiting = anybody_full(io);
	settle(io);
}

static void on_writable(void *arg, int events)
{
	write_in(arg);
}

int task_input_start(struct task_io *io, struct task_input *in, struct err *e)
{
	if (io->input)
		return err_set(e, ERR_CONFLICT, "other text is on its way to this program");
	if (io->stopped || !io->takes_input || (io->open && io->in < 0))
		return err_set(e, ERR_CONFLICT, "this program takes no text");
	io->input = in;
	io->input_at = 0;
	if (io->open) /* else io_open does */
		write_in(io);
	return 0;
}

void task_input_cancel(struct task_io *io, struct task_input *in)
{
	if (io->input != in)
		return;
	io->input = NULL;
	loop_defer_cancel(io->loop, &io->input_later);
	if (io->in_watch)
		loop_fd_want(io->in_watch, 0);
	settle(io);
}

int task_resize(struct task_io *io, unsigned rows, unsigned cols, struct err *e)
{
	struct winsize w = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};

	if (!io->tty || io->in < 0)
		return err_set(e, ERR_CONFLICT, "this program has no terminal");
	return ioctl(io->in, TIOCSWINSZ, &w) < 0 ? err_sys(e, errno, "set the terminal's size") : 0;
}

/* ---- ears ---- */

/* Nothing waits for the first ear any more: not the output, nor the end, which must not come before it. */
static void nobody_waits(struct task_io *io)
{
	loop_timer_free(take_ptr(io->wait));
	if (io->attached)
		io->attached(io);
}

void task_attach(struct task_io *io, struct task_ear *ear)
{
	ear->io = io;
	list_push(&io->ears, &ear->node);
	if (io->stopped) {
		io_stop(io);
		return;
	}
	if (io->wait)
		nobody_waits(io);
	task_resume(ear);
}

static void resume(struct task_io *io)
{
	io->waiting = io->wait || anybody_full(io);
	settle(io);
}

void task_detach(struct task_ear *ear)
{
	struct task_io *io = ear->io;

	list_del(&ear->node);
	if (io->stopped)
		return;
	resume(io);
	if (list_empty(&io->ears) && io->left)
		io->left(io);
}

void task_resume(struct task_ear *ear)
{
	if (!ear->io->stopped)
		resume(ear->io);
}

static void nobody_came(void *arg)
{
	struct task_io *io = arg;

	nobody_waits(io);
	resume(io);
}

static void tell_stopped(void *arg)
{
	struct task_io *io = arg;
	struct task_ear *ear;

	while ((ear = list_first(&io->ears, struct task_ear, node))) {
		list_del(&ear->node);
		ear->stopped(ear);
	}
}

void io_stop(struct task_io *io)
{
	io->stopped = true;
	if (!io->stopped_later.queued)
		loop_defer(io->loop, &io->stopped_later, tell_stopped, io);
}

/* ---- the life of it ---- */

void io_init(struct task_io *io, struct loop *l)
{
	io->loop = l;
	io->in = -1;
	list_init(&io->ears);
	for (unsigned i = 0; i < IO_STREAMS; i++) {
		io->piece[i].io = io;
		io->piece[i].fd = -1;
	}
}

void io_open(struct task_io *io, int in, int out, int err, int64_t wait_us)
{
	const int fds[] = {out, err};

	io->open = true;
	io->in = in;
	for (unsigned i = 0; i < IO_STREAMS; i++) {
		io->piece[i].fd = fds[i];
		if (fds[i] >= 0)
			io->piece[i].watch = loop_fd_new(io->loop, fds[i], 0, on_piece, &io->piece[i]);
	}
	if (!io->tty && in >= 0)
		io->in_watch = loop_fd_new(io->loop, in, 0, on_writable, io);
	if (wait_us && list_empty(&io->ears)) {
		io->wait = loop_timer_new(io->loop, nobody_came, io);
		loop_timer_in(io->wait, wait_us);
	}
	resume(io);
	write_in(io);
}

void io_drain(struct task_io *io)
{
	for (unsigned i = 0; i < IO_STREAMS; i++) {
		struct io_piece *s = &io->piece[i];

		for (int n = 0; s->watch && !s->over && n < PIECES_AT_END && take_piece(s); n++)
			continue;
		if (s->line.n)
			log_stream_add(io->log, "fn", io->who, buf_str(&s->line));
		buf_done(&s->line);
	}
}

void io_close(struct task_io *io)
{
	struct err gone;

	for (unsigned i = 0; i < IO_STREAMS; i++)
		loop_fd_free(take_ptr(io->piece[i].watch));
	loop_fd_free(take_ptr(io->in_watch));
	loop_timer_free(take_ptr(io->wait));
	io->in = -1;
	if (io->input && !io->input_later.queued) {
		err_set(&gone, ERR_CONFLICT, "the program has ended");
		input_done(io, &gone);
	}
}

void io_done(struct task_io *io)
{
	if (!io->loop)
		return;
	io_close(io);
	loop_defer_cancel(io->loop, &io->input_later);
	loop_defer_cancel(io->loop, &io->stopped_later);
	for (unsigned i = 0; i < IO_STREAMS; i++)
		buf_done(&io->piece[i].line);
}
