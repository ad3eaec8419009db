/* SPDX-License-Identifier: Apache-2.0 */
/* For this folder: task.c (life), start.c (its beginning), spec.c (what is to run), stream.c (what goes in and out). */
#pragma once
#include "base/mem.h"
#include "instance/resolver.h"
#include "task/task.h"
#include "wire/init.h"

#define TASK_CPU_MILLI	  250 /* Fargate's smallest, where nothing is said: no quota comes with it */
#define TASK_MEMORY_BYTES (1024ll << 20)

#define TASK_MAKE_US  30000000
#define TASK_START_US 10000000
/* Exit codes as docker has them. */
enum { EXIT_NOT_STARTED = 125, EXIT_NOT_ALLOWED, EXIT_NOT_FOUND, EXIT_OF_SIGNAL };

enum task_stream { TASK_OUT, TASK_ERR, TASK_STREAMS };

/* One container of a doc that was checked, and what this run has in place of it, or NULL. */
struct task_wish {
	const struct json *doc, *over;
};
/* What was asked for, with the image's configuration. */
struct task_spec {
	int64_t memory_bytes, stop_timeout_us;
	int stop_signal;
	uint32_t cpu_milli;
	bool quota, read_only, tty, stdin_open;
	unsigned argc, envc;
	struct buf text; /* working directory, user, argv, env: as INIT_RUN wants them */
};
void task_spec_done(struct task_spec *s);
int task_spec_read(const struct task_wish *what, const struct image_config *image, const char *hostname,
		   struct task_spec *ret, struct err *e);

struct stream {
	struct loop_fd *watch;
	struct task *task;
	struct buf line; /* begun, not ended */
	bool over;
};

struct tasks {
	struct tasks_opts o;
	struct list all; /* the oldest first */
	struct list watches;
	unsigned n_stopped;
	bool draining;
	void (*drained)(void *arg);
	void *drained_arg;
};

struct task {
	struct list node;
	struct tasks *t;
	char id[TASK_ID_MAX + 1], log_name[TASK_ID_MAX + 6], name[TASK_NAME_MAX + 1];
	char *group, *definition, *note; /* never NULL */
	struct json *doc, *over;	 /* over: NULL for none */
	bool to_attach;
	unsigned rows, cols;
	struct image *image; /* NULL: not here any more, or STOPPED */
	char reference[IMAGE_REF_MAX + 1];
	struct task_spec spec;
	int early_signal; /* came while PENDING */
	enum task_state state;
	struct spawn_req made;
	uint64_t sandbox; /* 0: none */
	struct sandbox_fds fds;
	pid_t pid;
	bool exited, adopted, killed, sandbox_gone;
	int64_t created_wall_us, started_wall_us, stopped_wall_us;
	struct loop_timer *deadline;
	struct loop_fd *ctl;
	struct resolver *resolver;
	struct log_stream *log;
	/* stream.c */
	struct stream stream[TASK_STREAMS];
	struct list ears;
	struct loop_timer *attach; /* armed: nobody has attached yet, and nothing is read until then */
	bool waiting;		   /* for that, or for an ear that is full */
	struct loop_fd *in_watch;
	struct task_input *in;
	size_t in_at;
	struct loop_defer in_later;
	struct err in_err;
	/* the end */
	int exit_code, signal;
	bool oom;
	char reason[300];
	int64_t cpu_us, mem_peak_bytes;
	struct loop_defer stopped_later, finish_later, changed_later;
};

/* task.c */
void task_move(struct task *k, enum task_state to);
/* The first reason counts. */
void task_set_end(struct task *k, int exit_code, int sig, const char *fmt, ...) PRINTF(4, 5);
void task_end_sandbox(struct task *k);
void task_heard(void *task, int events); /* tandem-init has said something */
void task_due(void *task);		 /* the deadline of the state is over */
void task_free(struct task *k);
void task_finish(void *task); /* the sandbox is gone, and who was to hear its end is there */

/* stream.c */
void streams_open(struct task *k);  /* fds are there */
void streams_drain(struct task *k); /* what is in the pipes now */
void streams_close(struct task *k);
void streams_stopped(struct task *k); /* ears are told */
