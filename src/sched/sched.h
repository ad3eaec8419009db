/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brings events to instances: reuses an idle one, starts one, or lets the event wait, as sched/policy.c decides. Owns
 * all instances. Every wait has a deadline and a reason (enum sched_wait) that describe shows.
 */
#pragma once
#include "http/server.h"
#include "base/list.h"
#include "image/image.h"
#include "ledger/ledger.h"
#include "ledger/logs.h"
#include "spawn/spawn.h"
#include "store/function.h"
struct sched;
struct sched_opts {
	struct loop *loop;
	struct store *store;
	struct ledger *ledger;
	struct logs *logs;
	struct spawn *spawn;
	struct images *images;	  /* of functions that are one */
	struct http_server *http; /* for listeners inside sandboxes */
	const char *account, *region;
	http_handler *sandbox_api; /* answers requests on a sandbox's own 169.254.100.2, ports 4566 and 443;
				      listener_arg is struct instance * */
	struct tls_server *tls;	   /* for port 443; NULL: it is not answered */
	http_handler *creds;	   /* the same for 169.254.170.2:80 */
	struct forward *forward;   /* for names that the platform does not know; NULL: there is no way out */
	void *sandbox_arg;	   /* what sched_instance_arg gives to these two */
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
				     waited too long */
	INVOKE_FAILED,	    /* the platform could not: e says why; body empty */
	INVOKE_OUTCOME_N
};
enum sched_wait { WAIT_NONE, WAIT_BLANK, WAIT_INIT, WAIT_INSTANCE, WAIT_CODE, WAIT_N };
extern const char *const sched_wait_name[WAIT_N];
/* One invocation; embedded by whoever asks, zero-initialised, inputs set, strings borrowed until done. */
struct invocation {
	/* in */
	struct function *function; /* a reference is taken for the time of the call */
	struct revision *revision; /* a published version of it, or NULL: $LATEST; a reference is taken too.
				      TRIGGER_CHECK: the revision to start */
	const char *qualifier;	   /* as the caller named that, for the ARN; or NULL */
	enum ledger_trigger trigger;
	struct str payload;		      /* JSON, checked by the caller */
	struct str client_context;	      /* decoded JSON or empty */
	const char *trace_id;		      /* or NULL: made */
	char request_id[37];		      /* "" : made */
	bool want_log_tail;		      /* log_tail is filled: the last 4 KB of this invocation's log */
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
/* done is not called any more; a running handler goes on to its end and its answer is dropped. From any state, twice
 * too. */
void sched_invoke_cancel(struct invocation *inv);
int sched_stop_function(struct sched *s,
			struct function *f); /* ends its instances now; how many. Their events get CRASHED. */
struct function *sched_instance_function(const struct instance *i); /* whose sandbox (for sandbox_api) */
void *sched_instance_arg(const struct instance *i);		    /* sched_opts.sandbox_arg */

struct sched_instance_info {
	uint64_t id;
	const char *function, *state; /* of the instance, or "starting", "frozen", "preparing" (a snapshot) */
	pid_t pid;
	int64_t since_us, invocations, mem_peak_bytes;
	const char *revision_id;
	int version;
	bool kept; /* one of those that are to be ready */
	int memory_mb;
};
void sched_each_instance(struct sched *s, void (*each)(void *arg, const struct sched_instance_info *i), void *arg);
/* Sandboxes made ahead of need, and how many are still to be made. */
void sched_blanks(struct sched *s, int *ret_ready, int *ret_missing);
void sched_function_status(struct sched *s, const struct function *f, int *ret_instances, int *ret_busy,
			   int *ret_waiting, const char **ret_wait_reason);
/* Instances that a version, or $LATEST, is to hold ready. */
struct sched_kept {
	int wanted, ready;
	const char *reason; /* why starts fail; NULL: they do not */
};
void sched_kept(const struct sched *s, const struct function *f, const struct revision *r, struct sched_kept *ret);
/* Adoption after a restart of the daemon (spawn events are given on by daemon/). */
void sched_adopt(struct sched *s, uint64_t id, const char *label, bool assigned, pid_t pid, struct sandbox_fds *fds);
void sched_ended(struct sched *s, uint64_t id, int wait_status, uint32_t oom_kills, int64_t cpu_us,
		 int64_t mem_peak_bytes);
void sched_adopted(struct sched *s); /* all were told: blanks are made, waiting starts begin */
/* drained: when nothing is busy or waiting; before a handover: nothing that a client waits for. */
void sched_drain(struct sched *s, bool handover, void (*drained)(void *arg), void *arg);

/* Makes an image of its initialised process soon, unless there is one or a reason why not (prepare.c). */
void sched_prepare(struct sched *s, struct function *f, struct revision *r);

/* Async: commit, then run at least once, retry as Lambda does (1 min, 2 min). qualifier: "" or what the caller named,
 * resolved anew at each try. e NONE: accepted; ERR_LIMIT: too many wait. */
void sched_async_start(struct sched *s, struct function *f, const char *qualifier, struct str payload,
		       const char request_id[37], void (*accepted)(void *arg, const struct err *e), void *arg);
int sched_async_recover(struct sched *s, struct err *e); /* at start */
