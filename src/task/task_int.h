/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For this folder: task.c (a task as a whole), container.c (the life of one container), start.c (its beginning),
 * run.c (what begins a task, is kept of it, and takes it over), spec.c (what is to run), io.c (what goes in and out),
 * exec.c (further programs), health.c.
 */
#pragma once
#include "base/io.h"
#include "base/mem.h"
#include "instance/resolver.h"
#include "task/io.h"
#include "wire/init.h"

#define TASK_MAKE_US  30000000
#define TASK_START_US 10000000
/* Exit codes as docker has them. */
enum { EXIT_NOT_STARTED = 125, EXIT_NOT_ALLOWED, EXIT_NOT_FOUND, EXIT_OF_SIGNAL };

/* One container of a doc that was checked, and what this run has in place of it, or NULL. */
struct task_wish {
	const struct json *doc, *over;
};
/* What was asked for, with the image's configuration. */
struct task_spec {
	int64_t memory_bytes, stop_timeout_us;
	int stop_signal;
	uint32_t cpu_milli;
	bool quota, read_only, tty, stdin_open, essential;
	unsigned argc, envc, needs[TASK_ON_N];
	struct buf text; /* working directory, user, argv, env: as INIT_RUN wants them */
	size_t argv_at, env_at;
};
struct task_where {
	const char *id, *container, *region;
	const char *trace; /* traceparent, or "" */
};
void task_spec_done(struct task_spec *s);
/* Memory and CPU are those of the container itself, 0 where it has none. */
int task_spec_read(const struct task_wish *what, const struct image_config *image, const struct task_where *at,
		   struct task_spec *ret, struct err *e);
/* Environment for a further program: adds lines to b, and is how many there are. */
void task_spec_env(const struct task_spec *s, const struct json *more, struct buf *b, uint32_t *ret_n);
/* Shares what the task has among those containers that say nothing. */
void task_spec_share(const struct json *doc, const struct json *over, struct task_spec *specs[], unsigned n);

struct health {
	enum task_health is; /* TASK_NOT_CHECKED: there is no check, or it has not begun */
	unsigned failures;
	int64_t look_us, since_us, counted_us; /* the last pause; when it began; when a failure was counted */
	char text[256];			       /* what the last failure said */
	struct health_check *check;	       /* under way */
	struct loop_timer *timer;
};

/* States as those of tasks; PENDING also waits for others of its task, and asked says that it does not any more. */
struct container {
	struct task *task;
	const char *name;    /* of the document */
	char who[270];	     /* in the log, where there are others */
	struct image *image; /* NULL: not here any more, or STOPPED */
	struct task_spec spec;
	enum task_state state;
	bool asked, exited, adopted, killed, sandbox_gone, running; /* running: INIT_RUN was sent */
	bool begun;	  /* tandem-init has said STARTED, this time or before */
	int early_signal; /* came before */
	struct spawn_req made;
	uint64_t sandbox; /* 0: none */
	struct sandbox_fds fds;
	pid_t pid;
	int64_t started_wall_us, stopped_wall_us;
	struct loop_timer *deadline;
	struct loop_fd *ctl;
	struct resolver *resolver; /* of whose network it is */
	struct http_listener *inside[3];
	struct task_io io;
	struct health health;
	struct list execs;
	/* the end */
	int exit_code, signal;
	bool oom;
	char reason[300];
	int64_t cpu_us, mem_peak_bytes;
	struct loop_defer finish_later;
};

struct tasks {
	struct tasks_opts o;
	struct list all; /* the oldest first */
	struct list watches;
	unsigned n_stopped;
	uint32_t next_tag;
	bool draining;
	void (*drained)(void *arg);
	void *drained_arg;
};

/* A heap block: it may outlive the task. */
struct task_kept {
	struct store_op op;
	struct task *task; /* NULL: gone, or another one follows */
};

struct task {
	struct list node;
	struct tasks *t;
	char id[TASK_ID_MAX + 1], log_name[TASK_LOG_MAX + 1], name[TASK_NAME_MAX + 1];
	char *group, *definition, *note; /* never NULL */
	uint32_t tags;			 /* of its rows; 0: none */
	uint64_t bytes_in, bytes_out;	 /* of networks that are gone, through their way out */
	struct trace_context trace;	 /* id all zero: of none */
	struct json *doc, *over;	 /* over: NULL for none */
	bool attach, durable, stopping, shares_log;
	bool told;   /* to stop, by task_stop */
	bool forget; /* when it has stopped */
	unsigned rows, cols;
	int64_t stop_timeout_us; /* -1: each container's own */
	enum task_state state;
	enum lane lane;
	struct task_kept *kept; /* its record is being written */
	struct container *c;
	unsigned n;
	int64_t created_wall_us, started_wall_us, stopped_wall_us;
	struct log_stream *log;
	int exit_code, signal; /* of the container that ended it */
	char reason[400];
	struct loop_defer forget_later, changed_later, advance_later;
};

/* task.c */
/* Something has changed for one of its containers: what follows is done soon, and watches are told. */
void task_changed(struct task *k);
void task_free(struct task *k);
void task_begin(struct task *k); /* the containers whose turn it is */

/* container.c */
void container_move(struct container *c, enum task_state to);
/* The first reason counts. */
void container_set_end(struct container *c, int exit_code, int sig, const char *fmt, ...) PRINTF(4, 5);
void container_end_sandbox(struct container *c);
void container_heard(void *container, int events); /* tandem-init has said something */
void container_due(void *container);		   /* the deadline of the state is over */
void container_finish(void *container);		   /* the sandbox is gone, and who was to hear its end is there */
void container_stop(struct container *c, int64_t timeout_us);
int container_signal(struct container *c, int sig, struct err *e);
void container_skip(struct container *c, const char *why); /* it was never asked for, and will not be */
void container_done(struct container *c);
int container_tell(struct container *c, enum init_verb verb, uint32_t tag, int value, struct err *e);

/* start.c */
void container_init(struct container *c, struct task *k, unsigned i);
int container_start(struct container *c, uint64_t join, struct err *e); /* join: 0, or whose network it shares */
int container_ask_run(struct container *c, struct err *e);		/* INIT_RUN */
void container_run(struct container *c); /* its sandbox is made, the task is durable, or it has just become so */
void container_take(struct container *c, uint64_t id, pid_t pid, const struct sandbox_fds *fds);

/* run.c */
/* What the way out of its network, if it is this one's, has let through; adds. */
void container_traffic(const struct container *c, uint64_t *in, uint64_t *out);
bool task_closed(const struct task *k, bool *ret_stops, char why[320]); /* by a budget; false for services' */
void task_keep(struct task *k);						/* what a successor must know has changed */

/* exec.c: further programs */
bool exec_heard(struct container *c, const struct init_msg *m); /* true: it was for one of them */
bool execs_heard(const struct container *c);			/* somebody is attached to one */
void execs_gone(struct container *c, bool free_them);		/* with the container */

/* health.c */
void health_begin(struct container *c, bool healthy); /* its program runs */
void health_end(struct container *c);
