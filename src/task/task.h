/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks: one to ten containers of images that run together, to their end.
 *
 *      PENDING ───► STARTING ───► RUNNING ───► STOPPING ───► STOPPED
 *         └────────────┴─────────────┴──────────────┴──────────┘
 *
 * of a container:
 *   PENDING   those it waits for (depends_on); then the spawner's word that its sandbox is made
 *   STARTING  that what must outlive tandemd is on disk; then tandem-init's word that the program runs
 *   RUNNING   the end of the program
 *   STOPPING  it was asked to stop: its end, or the deadline; or it has ended: the end of the sandbox
 *   STOPPED   nothing: exit code, signal and reason are kept for those who ask
 * A task is PENDING until the first sandbox is made, RUNNING once all containers have started, STOPPED once all have
 * stopped. The end of an essential container stops it: those that wait for others first.
 *
 * Containers share the network of the one whose sandbox was made first; that sandbox stays until the others are gone.
 * A task holds its images (image_use). What the programs say goes to the log of the task (task_log_name), and to those
 * who are attached; when one of them is slower than the program, the program waits. The end of a task is a row of the
 * ledger. A crash or an upgrade of tandemd touches no container: the successor takes them over by the label that the
 * spawner keeps and the record task/ID of the store. STOPPED ones are known to one daemon only, for an hour if they are
 * no more than TASKS_KEPT; the last TASKS_KEPT_ANYHOW of them for longer.
 *
 * Everything that comes out of a container is hostile, also from its tandem-init.
 */
#pragma once
#include <stdbool.h>
#include "base/buf.h"
#include "base/list.h"
#include "image/image.h"
#include "http/server.h"
#include "json/read.h"
#include "ledger/journal.h"
#include "ledger/ledger.h"
#include "ledger/logs.h"
#include "ledger/spans.h"
#include "spawn/spawn.h"
#include "task/doc.h"

#define TASKS_KEPT	  1000
#define TASKS_KEPT_US	  3600000000ll
#define TASKS_KEPT_ANYHOW 100
#define TASK_ID_BYTES	  12 /* of one that is made here */
#define TASK_ID_MAX	  32
#define TASK_LOG_MAX	  120
#define TASK_WHO_BYTES	  8 /* of its id, in a log that is shared: "ID", or "ID/CONTAINER" */
#define TASK_STOP_US	  10000000
#define TASK_ATTACH_US	  10000000 /* so long a task that is to be attached to waits with what it says */

enum task_state { TASK_PENDING, TASK_STARTING, TASK_RUNNING, TASK_STOPPING, TASK_STOPPED, TASK_N };
extern const char *const task_state_name[TASK_N];
struct tasks;
struct task;

struct tasks_opts { /* borrowed */
	struct loop *loop;
	struct spawn *spawn;
	struct images *images;
	struct store *store;
	struct logs *logs;
	struct journal *journal; /* or NULL */
	struct spans *spans;	 /* or NULL */
	struct ledger *ledger;
	struct forward *forward; /* for names; NULL: there is no way out */
	/* What answers inside, on 169.254.100.2, ports 4566 and 443, and 169.254.170.2; listener_arg is the task */
	struct http_server *http;
	http_streams *api_streams;
	http_handler *api, *metadata;
	struct tls_server *tls; /* NULL: port 443 is not answered */
	void *inside_arg;	/* what task_inside_arg gives to these two */
	const char *region;
	/* Whether a budget is closed to it ("task/frame", its tags), why, and whether nothing of it is to run; NULL: there are
	 * none */
	bool (*closed)(void *arg, const char *workload, const char *tags, bool *ret_stops, char why[320]);
	void *closed_arg;
};
struct tasks *tasks_new(const struct tasks_opts *o);
void tasks_free(struct tasks *t); /* containers live on in the spawner */

/*
 * doc: task/doc.h. All in opts may be left out and is borrowed. ERR_NOT_FOUND: an image is not here (the text says
 * which); ERR_UNAVAILABLE: a budget is closed to it. What is refused later, by the spawner or the container's tandem-init, is the reason of a task that STOPPED.
 */
struct task_opts {
	const char *id;		/* hex digits, at most TASK_ID_MAX, which nobody has had; NULL: one is made */
	const char *name;	/* for ps, logs and stop; one task that has not stopped has it */
	const char *group;	/* what it belongs to, for people: "service:web" */
	const char *definition; /* "family:revision" */
	const char *tags;	/* of its rows: "k=v,k2=v2" */
	bool accepted;		/* before: what is over its budget is not asked again */
	const char *log;	/* one that tasks share, whose owner removes it; NULL: of its own, which goes with it */
	const char *note;	/* JSON of whoever runs it: kept with it, over the death of tandemd, for task_info */
	struct str overrides;	/* task_overrides_check */
	bool attach;		/* somebody will attach, and is to miss nothing */
	unsigned rows, cols;	/* of its terminal, at first */
};
int task_run(struct tasks *t, struct str doc, const struct task_opts *opts, struct task **ret, struct err *e);
/* By id, the beginning of one that only one has, or name: of those that have not stopped first. */
struct task *task_find(const struct tasks *t, struct str word);
struct task *task_next(const struct tasks *t, const struct task *after); /* the oldest first; NULL begins and ends */
/* The stop signal of the image, then SIGKILL after timeout_us (-1: what was asked for when it was started). Harmless
 * when it is stopping or has stopped. */
void task_stop(struct task *k, int64_t timeout_us);
int task_signal(struct task *k, unsigned container, int sig, struct err *e); /* to its program */
int task_remove(struct task *k, struct err *e);				     /* STOPPED: it is forgotten, and its log */

void tasks_forget(struct tasks *t, const char *group); /* all of a group, each as soon as it has stopped */

/* Whether the essential containers that have a health check are well. */
enum task_health { TASK_NOT_CHECKED, TASK_UNKNOWN, TASK_HEALTHY, TASK_UNHEALTHY, TASK_HEALTH_N };
extern const char *const task_health_name[TASK_HEALTH_N];

struct task_info {						  /* borrowed */
	const char *id, *name, *group, *definition, *note, *tags; /* "": none */
	const char *image;					  /* of its first container */
	const struct json *doc, *overrides;			  /* overrides: NULL for none */
	enum task_state state;
	enum task_health health;
	unsigned n_containers;
	bool tty, stdin_open;
	pid_t pid;
	int64_t memory_bytes, created_wall_us, started_wall_us, stopped_wall_us; /* 0: not yet */
	uint32_t cpu_milli;
	/* STOPPED */
	int exit_code; /* as a shell has it: 128 + signal; 125, 126, 127 when it was never started */
	int signal;
	bool oom;
	const char *reason;
	int64_t cpu_us, mem_peak_bytes;
	const char *health_text; /* of the last check that failed, or "" */
	bool essential;
};
void task_info(const struct task *k, struct task_info *ret);
/* The trace that it was started in, with itself as what the rest is below: as X-Amzn-Trace-Id, or as traceparent. "": none. */
const char *task_trace(const struct task *k, bool aws, char out[TRACE_HEADER_BYTES]);
/* The same of one of its containers: name, image, state, health, exit and figures are its own. */
void task_container_info(const struct task *k, unsigned i, struct task_info *ret);
struct task_usage { /* now, of one that runs; -1: the host does not say */
	int64_t cpu_us, mem_bytes, mem_peak_bytes;
};
/* What it waits for, as a sentence; NULL: nothing, its programs run or have ended. */
const char *task_waits_for(const struct task *k, char out[320]);
bool task_usage(const struct task *k, unsigned container, struct task_usage *ret); /* false: it does not run */
void task_tags_set(struct task *k, const char *tags);				   /* of its rows; "" for none */
void task_lane_set(struct task *k, enum lane lane);				   /* of its rows; container at first */
/* For what tandem cost counts: rows of those that run. */
void tasks_so_far(const struct tasks *t, struct ledger_query *q);
void task_ledger_name(const struct task *k, char *ret, size_t size); /* whose rows its are */
/* Whether a budget is closed to what is to be run of a definition ("family:1"); why as its sentence. */
bool tasks_closed(const struct tasks *t, const char *definition, const char *tags, char why[320]);
void tasks_budgets_changed(struct tasks *t); /* ends what is not to run any more, but for services' */
enum task_health task_health(const struct task *k);
void *task_inside_arg(const struct task *k);
uint64_t task_sandbox(const struct task *k); /* whose network its containers share; 0: none (any more) */

/* Hears of every change of state or health of any task, from the loop, some time after it; what changed twice meanwhile
 * is told once. May do anything to the task but remove it. */
struct task_watch {
	struct list node;
	void (*changed)(struct task_watch *w, struct task *k);
};
void task_watch(struct tasks *t, struct task_watch *w);
void task_unwatch(struct task_watch *w);
const char *task_log_name(const struct task *k, bool *ret_shared);

/*
 * Somebody who hears what a program says, from now on. output: err is stderr; borrowed. full: whether to wait with the
 * next output; task_resume when that has changed. stopped: once, last, when the task (or the further program) has
 * stopped; also when it had already (never from inside task_attach). The caller detaches before it frees; after stopped
 * it need not.
 */
struct task_io;
struct task_io *task_io(struct task *k, unsigned container);
struct task_ear {
	struct list node;
	struct task_io *io;
	void (*output)(struct task_ear *ear, bool err, struct str text);
	bool (*full)(struct task_ear *ear);
	void (*stopped)(struct task_ear *ear);
};
void task_attach(struct task_io *io, struct task_ear *ear);
void task_detach(struct task_ear *ear);
void task_resume(struct task_ear *ear);

/*
 * Text for a program's stdin or terminal. done: all of it was taken, or it never will be. One at a time: a second one is
 * refused (ERR_CONFLICT). eof: and no more follows. Never calls back before it returns.
 */
struct task_input {
	struct str text; /* borrowed until done */
	bool eof;
	void (*done)(struct task_input *in, const struct err *e);
};
int task_input_start(struct task_io *io, struct task_input *in, struct err *e);
void task_input_cancel(struct task_io *io, struct task_input *in);
int task_resize(struct task_io *io, unsigned rows, unsigned cols, struct err *e);

/*
 * A further program in a container that runs: {"command": [...], "env", "user", "workdir", "tty", "stdin", "rows",
 * "cols"}, which task_exec_check has seen. ear: attached before it begins; NULL: somebody attaches soon. It is known for TASK_ATTACH_US after its end, and
 * is hung up when the last of its ears detaches.
 */
struct task_exec;
int task_exec(struct task *k, unsigned container, const struct json *what, struct task_ear *ear, struct task_exec **ret,
	      struct err *e);
struct task_exec *task_exec_find(struct task *k, int64_t id);
uint32_t task_exec_id(const struct task_exec *x);
struct task_io *task_exec_io(struct task_exec *x);
int task_exec_signal(struct task_exec *x, int sig, struct err *e);
int task_exec_exit(const struct task_exec *x, const char **ret_reason); /* it has ended; reason: "" it had begun */

/* For daemon/: the label says whether a sandbox is a task's. Takes fds. */
bool task_adopt(struct tasks *t, uint64_t id, const char *label, pid_t pid, struct sandbox_fds *fds);
void tasks_adopted(struct tasks *t); /* there are no more: what was not taken over has ended */
bool task_ended(struct tasks *t, uint64_t id, uint32_t oom_kills, int64_t cpu_us, int64_t mem_peak_bytes);
bool tasks_log_wanted(const struct tasks *t, const char *log_name);
/* Every task is asked to stop; done when all have (before it returns when there is none). */
void tasks_drain(struct tasks *t, void (*done)(void *arg), void *arg);
