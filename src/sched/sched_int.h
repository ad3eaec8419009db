/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside sched/. A workload is the scheduler's half of a function's $LATEST or of a published version; a worker its
 * half of an instance.
 *
 *      worker:  CODE ───► TAKE ───► ASSIGN ───► INIT ───► LIVE ◄──► (event)      ───► GONE
 *                 └─────────┴──────────┴──────────┴─────────┴──────────────► ENDING ───┘
 *
 *   CODE    for its code to be unpacked; passed through when it is there, as nearly always (code)
 *   TAKE    waiting for a blank              (pool)
 *   ASSIGN  for limits and code              (spawner)
 *   INIT    for the runtime's readiness      (instance), at most INIT_LIMIT_US
 *   LIVE    idle, or with an event under way until its deadline
 *   ENDING  for the spawner's word that the sandbox is gone; verdict holds what the event's client will hear
 */
#pragma once
#include "base/list.h"
#include "base/map.h"
#include "instance/instance.h"
#include "sched/code.h"
#include "sched/pool.h"
#include "sched/sched.h"
#include "store/snapshot.h"
#include "wire/init.h"

#define INIT_LIMIT_US	 (10 * 1000000ll) /* Lambda's limit of the init phase */
#define QUEUE_LIMIT_US	 (60 * 1000000ll)
#define PREPARE_LIMIT_US (120 * 1000000ll)
#define UNASKED_MAX	 16		 /* a thousand deploys in a row leave no thousand instances */
#define TRIM_AFTER_US	 1000000ll	 /* a second without an end */
#define ADOPT_GRACE_US	 (5 * 1000000ll) /* beyond its time-out, for an adopted instance to reach a boundary */

enum worker_step { WORKER_CODE, WORKER_TAKE, WORKER_ASSIGN, WORKER_INIT, WORKER_LIVE, WORKER_ENDING, WORKER_N };

/* One event under way in a worker; copied out when it is over, so that the worker can go on at once. */
struct run {
	struct invocation *inv; /* NULL: the client left */
	struct ledger_row row;
	char request_id[37];
	int64_t begun_us;
	int64_t slept_us; /* loop_slept_us when it began */
	bool on, want_tail;
	bool early; /* in the channel of an instance that is not restored yet: not on */
	struct buf tail;
};

struct workload {
	struct sched *s;
	struct function *f;	    /* a reference */
	struct revision *published; /* a reference; NULL: $LATEST, whichever it is */
	struct list workers, idle, idle_kept, waiting, node;
	struct list line_node; /* waits for room */
	int n_workers, n_idle, n_starting, n_busy, n_waiting;
	int n_after;				  /* have answered and are not idle yet */
	int n_adopted;				  /* of the daemon before, and not at a boundary yet */
	int64_t handler_us, off_cpu_us, start_us; /* estimates (policy.h) */
	bool restores;				  /* the next start is one from an image, and start_us is of such */
	int64_t backlog_since_us;		  /* 0: nothing waits */
	struct loop_timer *patience;		  /* armed while something waits */
	struct list keep_node;
	int wanted, n_kept; /* to hold ready; those that count for it */
	int keep_failures;
	int64_t keep_failed_us;
	const char *keep_reason;
	uint32_t name_id, tags_id;
	struct log_stream *log;
	char arn[200];
};

struct worker {
	struct workload *w;
	struct list node, idle_node, lru_node, unasked_node;
	enum worker_step step;
	uint64_t id;
	struct revision *revision;
	struct instance *instance;
	struct code code;
	struct pool_take take;
	struct spawn_req assign;
	struct loop_defer gone;
	struct loop_timer *timer;
	int64_t timer_at_us, due_us; /* armed for; wanted for: re-arming is lazy */
	int64_t begun_us, assigned_us, ready_us, idle_since_us;
	int64_t cpu_seen_us;		      /* of the group; what is older is in some row or in the next two */
	int64_t init_cpu_us;		      /* until the event that paid the cold start is over */
	int64_t idle_pending_us, idle_cpu_us; /* of the stretch whose row is still to come */
	int64_t served, held_bytes;
	bool counted;		  /* in n_starting */
	bool after;		  /* in n_after */
	bool cold;		  /* its first event has still to come, and was what it was started for */
	bool stopping;		  /* ended because somebody asked */
	bool adopted;		  /* in n_adopted */
	bool kept;		  /* one of those to hold ready; provisioned ones were started as such */
	bool evicted;		  /* ended to make room */
	bool prepares, prepared;  /* it is there for an image of it (prepare.c), which is written */
	bool restoring, restored; /* it begins from an image; it did */
	struct invocation *check;
	struct run run;
	struct buf extensions; /* names, until the instance is made */
	unsigned n_extensions;
	/* verdict, from ENDING on */
	enum invoke_outcome outcome;
	uint8_t ledger_outcome;
	struct buf verdict;
	struct err why;
};

struct image_kept { /* prepare.c: what is being written; outlives the scheduler */
	struct list node;
	struct store_op op;
	struct sched *sched;
	struct snapshot info;
	char name[LIM_NAME_BYTES + 1];
};

struct sched {
	struct sched_opts o;
	struct instance_host host;
	struct pool *pool;
	struct list workloads, lru; /* lru: idle workers, longest idle first */
	struct loop_timer *trim;    /* armed: instances ended, and their memory is still ours */
	struct list unasked;	    /* idle workers that a deploy started and no event has asked for */
	int n_unasked;
	struct list checks;		 /* of deploys, that wait for room */
	struct loop_timer *checks_timer; /* until the first of them has waited for too long */
	struct list line;		 /* workloads that wait for room, in turn */
	int n_line, n_evicting;
	struct list keeping; /* workloads that hold instances ready, or did */
	struct loop_timer *keep_timer;
	int n_keep_starting;
	struct list wishes; /* revisions that should have an image (prepare.c) */
	struct worker *preparing;
	struct list images_kept; /* of struct image_kept */
	struct map by_id;	 /* of workers, once they have a sandbox */
	int n_workers, max_workers, cpus;
	int held_blanks; /* pool: of all functions */
	bool adopting, draining, handover;
	void (*drained)(void *arg);
	void *drained_arg;
	struct loop_defer drain_defer;
	struct list async;
	int64_t async_bytes;		      /* of its events */
	struct buf text;		      /* lines of a log, while they are put together */
	int64_t platform_us, platform_cpu_us; /* when the last row of the platform was written; its CPU until then */
	int64_t memory_kb, memory_seen_us;    /* available on the machine, and when that was so */
	int64_t blanks_cpu_us;		      /* what making sandboxes took since then */
	uint32_t daemon_id, deploy_id,
		snapshot_id; /* "tandem/daemon", "tandem/deploy", "tandem/snapshot" in the ledger */
};

/* workload.c */
struct workload *workload_of(struct sched *s, struct function *f, struct revision *r); /* r: published, or NULL */
struct workload **workload_slot(struct function *f, struct revision *r); /* where it hangs, or NULL does */
struct workload *workload_next(const struct function *f, unsigned *pos); /* those there are, from *pos = 0; NULL ends */
struct revision *workload_revision(const struct workload *w);		 /* what is started now */
bool workload_wants(struct workload *w);				 /* one more instance, if there is room */
struct worker *workload_take_idle(struct workload *w);			 /* for an event now; NULL: none, or none yet */
void workload_dispatch(struct workload *w);
void workload_note_start(struct workload *w, bool restored, int64_t took_us);
void workload_note_image(struct workload *w);	/* there is one now: idle instances need not be kept for so long */
void workload_note_reasons(struct workload *w); /* what its events wait for */
void workload_note_backlog(struct workload *w); /* its queue was changed by hand */
void workload_fail(struct invocation *inv, enum invoke_outcome outcome, struct str body, const struct err *e);
void workload_fail_deleted(struct invocation *inv);
struct invocation *workload_head(struct workload *w); /* taken off the queue; NULL: nothing waits */
void workload_rename(struct workload *w);	      /* in the ledger */
void workload_maybe_free(struct workload *w);
void workload_free(struct workload *w);
void workloads_forget(struct sched *s, const struct function *f); /* deleted, and nothing of it runs any more */
void invocation_accept(struct sched *s, struct invocation *inv);  /* takes the references */
void invocation_tell(struct invocation *inv);			  /* done, and gives them back */
/* sched.c */
void sched_check_drained(struct sched *s);
/* room.c: who may start an instance when not all can. */
int room_free(struct sched *s);				  /* instances the machine still takes */
int room_left(struct sched *s);				  /* the same; when none, ends the longest idle */
void room_want(struct workload *w);			  /* it wants to start one: now, or when its turn comes */
void room_leave(struct workload *w);			  /* it does not any more */
void room_check(struct sched *s, struct invocation *inv); /* a deploy's: it starts now, or when there is room */
void room_share(struct sched *s);			  /* room may have come: checks, then the line */
bool room_yields(const struct worker *wk); /* its event is over, and others wait for room who have less */
/* keep.c: instances held ready. */
void keep_init(struct sched *s);
void keep_function(struct sched *s, struct function *f); /* what it wants may have changed */
void keep_all(struct sched *s);				 /* what any wants: at the start */
void keep_soon(struct workload *w);			 /* what it has may have changed */
void keep_ended(struct worker *wk);			 /* it does not count any more */
/* prepare.c: images of initialised processes. */
void prepare_next(struct sched *s);
void prepare_free(struct sched *s);
void prepare_ready(struct worker *wk);
void prepare_taken(struct worker *wk, const struct init_snap *got);
void prepare_gone(struct worker *wk);
int prepare_open(struct worker *wk); /* its revision's image, or -1 and one is wanted */
void prepare_failed(struct worker *wk, const char *why, bool again);
/* worker.c */
struct worker *worker_new(struct workload *w, struct revision *r);
void worker_move(struct worker *wk, enum worker_step to);
struct loop *worker_loop(struct worker *wk);
void worker_due(struct worker *wk, int64_t at_us);
void worker_failed(struct worker *wk, const struct err *e); /* the platform could not start it */
void worker_end(struct worker *wk, enum invoke_outcome outcome, uint8_t ledger_outcome, struct str body,
		const struct err *why);
void worker_gone(struct worker *wk, int wait_status, uint32_t oom_kills, int64_t cpu_us, int64_t mem_peak_bytes);
void worker_drop(struct worker *wk); /* the scheduler ends; its sandbox does not */
/* worker_start.c */
struct worker *worker_start(struct workload *w, struct revision *r, struct invocation *check, bool kept);
struct worker *worker_prepare(struct workload *w, struct revision *r);
void worker_adopt(struct workload *w, uint64_t id, pid_t pid, struct sandbox_fds *fds, bool kept);
/* worker_idle.c */
void worker_become_idle(struct worker *wk);
void worker_become_unasked(struct worker *wk); /* idle, started by a deploy */
void worker_list_idle(struct worker *wk);      /* where it is found by kind */
void worker_forget_idle(struct worker *wk);
void worker_after_is_over(struct worker *wk);
void worker_uncount(struct worker *wk);
bool worker_stale(const struct worker *wk);
void worker_rest(struct worker *wk);
void worker_evict(struct worker *wk);
/* async.c */
struct invocation *async_under_way(struct worker *wk, struct str request_id);
void async_settled(struct workload *w); /* what might have been under way in an adopted instance is not */
void async_free_all(struct sched *s);
void async_stop(struct sched *s); /* nothing is started any more: the store has it all */
/* event.c */
void event_begin(struct worker *wk, struct invocation *inv);
/*
 * What a restore was begun for follows the RESTORED frame at once, so that the process goes on to it without a word of
 * ours; it runs from when the process has said that it is restored. Not where others are at work: one of them may be
 * free before. Nothing was seen of it when the worker ends sooner: it waits again, first of all.
 */
void event_early(struct worker *wk);
void event_early_runs(struct worker *wk);
void event_give_back(struct worker *wk);
void event_answer(struct worker *wk, enum invoke_outcome outcome, uint8_t ledger_outcome, struct str body,
		  int64_t cpu_us, int64_t mem_peak_bytes);
void event_late(struct worker *wk, struct str request_id, bool is_error);
void event_output(struct worker *wk, struct str text);
void event_init_cpu(struct worker *wk, int64_t cpu_us); /* what was used until now was for the initialisation */
void event_idle_cpu(struct worker *wk, int64_t cpu_us); /* ... belongs to the idle time */
void event_refused_row(struct workload *w, struct invocation *inv, uint8_t outcome); /* no instance took it */
/* A start that failed; inv: the event that it was for, or NULL. */
void event_failed_row(struct worker *wk, struct invocation *inv, int64_t mem_peak_bytes);
void event_check_row(struct worker *wk, uint8_t outcome, int64_t mem_peak_bytes);
void event_idle_row(struct worker *wk, int64_t mem_peak_bytes);
void event_platform_row(struct sched *s);
extern const struct instance_events worker_instance_events;
