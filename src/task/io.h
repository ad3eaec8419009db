/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one program says and is told: that of a container, or a further one in it (task_exec). Output is read when all
 * who are attached can take it; then it goes to them as it is, and to the log line by line. The descriptors belong to
 * whoever embeds this.
 */
#pragma once
#include "task/task.h"

enum io_stream { IO_OUT, IO_ERR, IO_STREAMS };
struct io_piece {
	struct loop_fd *watch;
	struct task_io *io;
	int fd;
	struct buf line; /* begun, not ended */
	bool over;
};
struct task_io {
	struct loop *loop;
	struct log_stream *log; /* NULL: nobody keeps it */
	const char *who;	/* in the log; NULL or "": there is nobody else */
	bool tty, takes_input, stopped;
	int in;
	/* in has come to its end: it is closed (never of a terminal). */
	void (*close_in)(struct task_io *io);
	/* Somebody has attached, or nobody will; and nobody is attached any more. May be NULL. */
	void (*attached)(struct task_io *io), (*left)(struct task_io *io);
	struct io_piece piece[IO_STREAMS];
	struct list ears;
	struct loop_timer *wait; /* armed: nobody has attached yet, and nothing is read until then */
	bool waiting, open;	 /* for that, or for an ear that is full; descriptors are there */
	struct loop_fd *in_watch;
	struct task_input *input;
	size_t input_at;
	struct loop_defer input_later, stopped_later;
	struct err input_err;
};
void io_init(struct task_io *io, struct loop *l);
/* With a terminal out and in are the same, and err is -1. wait_us: so long somebody is waited for who will attach. */
void io_open(struct task_io *io, int in, int out, int err, int64_t wait_us);
void io_drain(struct task_io *io); /* what is in the pipes now */
void io_close(struct task_io *io); /* before the descriptors are closed; twice is harmless */
void io_stop(struct task_io *io);  /* ears are told, soon */
void io_done(struct task_io *io);
