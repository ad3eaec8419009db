/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brings events to instances: reuses an idle one, starts one, or lets the event wait, as sched/policy.c decides. Owns
 * all instances. Every wait has a deadline and a reason (enum sched_wait) that describe shows.
 */
#pragma once
#include "http/server.h"
#include "base/list.h"
#include "image/image.h"
#include "ledger/journal.h"
#include "ledger/ledger.h"
#include "ledger/logs.h"
#include "ledger/spans.h"
#include "spawn/spawn.h"
#include "store/function.h"
struct sched;
struct async_hooks;
struct sched_opts {
	struct loop *loop;
	struct store *store;
	struct ledger *ledger;
	struct logs *logs;
	struct spans *spans;	 /* NULL: no event is traced (ledger/spans.h) */
	struct journal *journal; /* NULL: nobody reads of what happens (ledger/journal.h) */
	struct spawn *spawn;
	struct images *images;	  /* of functions that are one */
	struct http_server *http; /* for listeners inside sandboxes */
	const char *account, *region;
	http_handler *sandbox_api;	 /* answers requests on a sandbox's own 169.254.100.2, ports 4566 and 443;
				      listener_arg is struct instance * */
	http_streams *sandbox_streams;	 /* of those requests */
	struct tls_server *tls;		 /* for port 443; NULL: it is not answered */
	http_handler *creds;		 /* the same for 169.254.170.2:80 */
	struct forward *forward;	 /* for names that the platform does not know; NULL: there is no way out */
	void *sandbox_arg;		 /* what sched_instance_arg gives to these two */
	const struct budgets *budgets;	 /* sched/budget.h; NULL: none */
	const struct async_hooks *async; /* sched/async.h; NULL: nothing follows from asynchronous events */
};
struct instance;
struct worker;
struct sched *sched_new(const struct sched_opts *o);
void sched_free(struct sched *s); /* instances live on in the spawner: also what a handover needs */

enum invoke_outcome {
	INVOKE_OK,	    /* body: the handler's answer */
	INVOKE_ERROR,	    /* body: error object of the handler or the runtime: "Unhandled" */
	INVOKE_TIMEOUT,	    /* body: {"errorType":"Sandbox.Timedout",...} */
	INVOKE_CRASHED,	    /* body: Runtime.ExitError, Runtime.OutOfMemory */
	INVOKE_INIT_FAILED, /* body: init error object */
	INVOKE_THROTTLED,   /* body empty. e: ERR_LIMIT reserved concurrency, ERR_UNAVAILABLE queue full, ERR_TIMEOUT
				     waited too long, ERR_DENIED a budget is used up: its text is for the caller */
	INVOKE_FAILED,	    /* the platform could not: e says why; body empty */
	INVOKE_OUTCOME_N
};
enum sched_wait { WAIT_NONE, WAIT_BLANK, WAIT_ROOM, WAIT_INIT, WAIT_INSTANCE, WAIT_MAX, WAIT_CODE, WAIT_N };
extern const char *const sched_wait_name[WAIT_N];
/* One invocation; embedded by whoever asks, zero-initialised, inputs set, strings borrowed until done. */
struct invocation {
	/* in */
	struct function *function; /* a reference is taken for the time of the call */
	struct revision *revision; /* a published version of it, or NULL: $LATEST; a reference is taken too.
				      TRIGGER_CHECK: the revision to start */
	const char *qualifier;	   /* as the caller named that, for the ARN; or NULL */
	enum ledger_trigger trigger;
	struct str payload;	   /* JSON, checked by the caller */
	struct str client_context; /* decoded JSON or empty */
	const char *trace_id;	   /* or NULL: made */
	char request_id[37];	   /* "" : made */
	bool want_log_tail;	   /* log_tail is filled: the last 4 KB of this invocation's log */
	/* A streamed answer as it comes; then body is empty. NULL: it is gathered, as far as an answer may be long. */
	void (*piece)(struct invocation *inv, struct str piece);
	bool want_row;			      /* row is filled; without both, done does not wait for them */
	void (*done)(struct invocation *inv); /* exactly once, never before _start returned; may free inv */
	void *user;
	/* out, valid during done; body and log_tail borrowed */
	enum invoke_outcome outcome;
	bool others_wait; /* for an instance of the same function: the machine has more than enough to do */
	struct str body;
	struct str log_tail;
	struct err e;
	struct ledger_row row;
	/* the scheduler's */
	struct list node;
	struct sched *s;
	struct worker *worker; /* who serves it, once somebody does */
	enum sched_wait wait;
	int64_t accepted_us, deadline_us;
	struct loop_defer defer;
};
void sched_invoke_start(struct sched *s, struct invocation *inv);
/* For piece: the handler's writes wait while it is held. */
void sched_invoke_hold(struct invocation *inv, bool held);
/* done is not called any more; a running handler goes on to its end and its answer is dropped. From any state, twice
 * too. */
void sched_invoke_cancel(struct invocation *inv);
int sched_stop_function(struct sched *s,
			struct function *f); /* ends its instances now; how many. Their events get CRASHED. */
struct function *sched_instance_function(const struct instance *i); /* whose sandbox (for sandbox_api) */
struct spans *sched_spans(const struct sched *s); /* for those of what brings events (trigger/door.h) */
/* Of the one event that it has, if its trace is sampled; else NULL. */
const char *sched_instance_trace(const struct instance *i, char out[TRACE_HEADER_BYTES]);
void *sched_instance_arg(const struct instance *i); /* sched_opts.sandbox_arg */

struct sched_instance_info {
	uint64_t id;
	const char *function, *state; /* of the instance, or "starting", "frozen", "preparing" (a snapshot) */
	pid_t pid;
	int64_t since_us, invocations, mem_peak_bytes;
	const char *revision_id;
	int version;
	bool kept; /* one of those that are to be ready */
	enum lane lane;
	int seats, open; /* events that it takes at once; and has now */
	int memory_mb;
};
/*
 * Moves $LATEST of f between its lanes. The new side is started before the old one is left; what waits or runs stays
 * where it is until it is over: nothing is dropped. Again with the other lane at any time. What is set here
 * survives a restart; a deploy with another wish than auto decides anew.
 */
int sched_lane_set(struct sched *s, struct function *f, enum lane to, struct err *e); /* ERR_INVALID: why not there */
struct sched_lane_info {
	enum lane lane;
	bool moving; /* instances of the other lane are still there, or those of this one still start */
	int instances[LANE_N];
	int seats;	   /* events that an instance of the container lane serves at once */
	const char *alone; /* why seats is 1, though more was declared, or NULL */
};
void sched_lane_info(const struct sched *s, const struct function *f, struct sched_lane_info *ret);
void sched_each_instance(struct sched *s, void (*each)(void *arg, const struct sched_instance_info *i), void *arg);
/* Sandboxes made ahead of need, and how many are still to be made. */
void sched_blanks(struct sched *s, int *ret_ready, int *ret_missing);
void sched_function_status(struct sched *s, const struct function *f, int *ret_instances, int *ret_busy,
			   int *ret_waiting, const char **ret_wait_reason);
/* Of the events that wait, the oldest: since when, and how long until it is refused. false: none waits. */
bool sched_oldest_wait(const struct function *f, int64_t *ret_waited_us, int64_t *ret_left_us);
struct sched_use {
	int starting;
	int64_t cpu_us;	   /* that is in no row yet */
	int64_t mem_bytes; /* peaks of all instances */
};
void sched_function_use(const struct function *f, struct sched_use *ret);
/* Instances that a version, or $LATEST, is to hold ready. */
struct sched_kept {
	int wanted, ready;
	const char *reason; /* why starts fail; NULL: they do not */
};
void sched_kept(const struct sched *s, const struct function *f, const struct revision *r, struct sched_kept *ret);
/* Adoption after a restart of the daemon (spawn events are given on by daemon/). */
void sched_adopt(struct sched *s, uint64_t id, const char *label, bool assigned, pid_t pid, struct sandbox_fds *fds);
void sched_budgets_changed(struct sched *s);
/* What making sandboxes that belong to nobody yet took until now, and what they hold. */
void sched_blanks_use(const struct sched *s, int64_t *ret_cpu_us, int64_t *ret_bytes);
void sched_so_far(const struct sched *s, struct ledger_query *q); /* idle time that is in no row yet */
void sched_ended(struct sched *s, uint64_t id, int wait_status, uint32_t oom_kills, int64_t cpu_us,
		 int64_t mem_peak_bytes);
void sched_adopted(struct sched *s); /* all were told: blanks are made, waiting starts begin */
/* drained: when nothing is busy or waiting; before a handover: nothing that a client waits for. */
void sched_drain(struct sched *s, bool handover, void (*drained)(void *arg), void *arg);

/* Makes an image of its initialised process soon, unless there is one or a reason why not (prepare.c). */
void sched_prepare(struct sched *s, struct function *f, struct revision *r);
