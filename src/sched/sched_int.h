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
#include "sched/budget.h"
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

struct traced { /* traced.c: an event's place in its trace, if that is sampled */
	bool on;
	struct trace_context at;
	uint8_t span[8], handler[8];
};

/* One event under way in a worker; copied out when it is over, so that the worker can go on at once. */
struct run {
	struct invocation *inv; /* NULL: the client left */
	struct ledger_row row;
	char request_id[37];
	struct traced traced;
	int64_t begun_us;
	int64_t share_ns; /* of the worker, when it began */
	int64_t slept_us; /* loop_slept_us when it began */
	bool on, want_tail;
	bool early; /* in the channel of an instance that is not restored yet: not on */
	struct buf tail;
	uint64_t streamed_bytes;
};

struct workload {
	struct sched *s;
	struct function *f;	    /* a reference */
	struct revision *published; /* a reference; NULL: $LATEST, whichever it is */
	enum lane lane; /* whose instances serve; another one than lane_of() says until one of that is ready */
	struct list workers, idle, idle_kept, waiting, node;
	struct list line_node; /* waits for room */
	int n_workers, n_starting, n_waiting;
	int n_idle, n_busy;			  /* seats of workers that take events; events under way */
	int seats;				  /* of its last instance in the container lane; 0: not known */
	int n_after;				  /* have answered and are not idle yet */
	int n_adopted;				  /* of the daemon before, and not at a boundary yet */
	int64_t handler_us, off_cpu_us, start_us; /* estimates (policy.h) */
	bool restores;				  /* the next start is one from an image, and start_us is of such */
	int64_t backlog_since_us;		  /* 0: nothing waits */
	struct loop_timer *patience;		  /* armed while something waits */
	struct loop_timer *calm;		  /* NULL: none was refused lately */
	unsigned n_refused;			  /* since the journal said that some are */
	int64_t refused_from_us, refused_us;	  /* the first and the last of them */
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
	struct list node, idle_node, lru_node, unasked_node; /* idle_node: it has a free seat */
	enum worker_step step;
	enum lane lane;
	int asked, seats, n_open; /* events at once: when it began, since it is ready; and so many are under way */
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
	int64_t row_us;			      /* container lane: when the last one of its own ended */
	int64_t share_ns;		      /* container lane: CPU, each stretch by the events open in it */
	int64_t served, held_bytes;
	bool counted;		  /* in n_starting */
	bool after;		  /* in n_after */
	bool cold;		  /* its first event has still to come, and was what it was started for */
	bool stopping;		  /* ended because somebody asked */
	bool retired;		  /* takes no event any more, and ends with the last one that it has */
	bool adopted;		  /* in n_adopted */
	bool kept;		  /* one of those to hold ready; provisioned ones were started as such */
	bool evicted;		  /* ended to make room */
	bool prepares, prepared;  /* it is there for an image of it (prepare.c), which is written */
	bool restoring, restored; /* it begins from an image; it did */
	struct invocation *check;
	struct buf extensions; /* names, until the instance is made */
	unsigned n_extensions;
	/* verdict, from ENDING on */
	enum invoke_outcome outcome;
	uint8_t ledger_outcome;
	struct buf verdict;
	struct err why;
	const char *fault; /* errorType of a verdict that names the event, which each has of its own */
	struct run run[];  /* a seat each */
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
	struct list lines, starved; /* async.c: of asynchronous events */
	struct line *others;
	int64_t async_bytes;		   /* of those in memory */
	struct buf text;		   /* lines of a log, while they are put together */
	int64_t memory_kb, memory_seen_us; /* available on the machine, and when that was so */
	int64_t blanks_cpu_us;		   /* what making sandboxes took until now */
	uint32_t deploy_id, snapshot_id;   /* "tandem/deploy", "tandem/snapshot" in the ledger */
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
/* For the journal (ledger/journal.h). */
void workload_say(const struct sched *s, const struct function *f, const char *kind, const char *fmt, ...) PRINTF(4, 5);
bool workload_stopped(const struct workload *w); /* by a budget: nothing of it is kept */
/* Whether a budget keeps new events of it from beginning; or_unknown: or may. */
bool workload_closed(const struct sched *s, const struct function *f, bool or_unknown, struct budget_stop *ret);
#define WORKLOAD_NAME (2 * LIM_NAME_BYTES + 8)
const char *workload_ledger_name(const struct function *f, char out[WORKLOAD_NAME]);
void workload_rename(struct workload *w); /* in the ledger */
void workload_maybe_free(struct workload *w);
void workload_free(struct workload *w);
void workloads_forget(struct sched *s, const struct function *f); /* deleted, and nothing of it runs any more */
void invocation_accept(struct sched *s, struct invocation *inv);  /* takes the references */
void invocation_tell(struct invocation *inv);			  /* done, and gives them back */
/* sched.c */
void sched_check_drained(struct sched *s);
void sched_leave(struct workload *w); /* ends what is idle and not to serve any more */
/* room.c: who may start an instance when not all can. */
int room_free(struct sched *s);	     /* instances the machine still takes */
int room_left(struct sched *s);	     /* the same; when none, ends the longest idle */
void room_want(struct workload *w);  /* it wants to start one: now, or when its turn comes */
void room_leave(struct workload *w); /* it does not any more */
/* An event of it is on its way through the store, which takes as long as a start: where none runs, one starts meanwhile. */
void room_expect(struct sched *s, struct function *f, const char *qualifier);
void room_check(struct sched *s, struct invocation *inv); /* a deploy's: it starts now, or when there is room */
void room_share(struct sched *s);			  /* room may have come: checks, then the line */
/* An event of it is over, and others wait for room who have less: it takes none any more. */
bool room_yields(const struct worker *wk);
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
struct worker *worker_new(struct workload *w, struct revision *r, enum lane lane, int seats);
void worker_move(struct worker *wk, enum worker_step to);
struct loop *worker_loop(struct worker *wk);
void worker_due(struct worker *wk, int64_t at_us);
void worker_failed(struct worker *wk, const struct err *e); /* the platform could not start it */
void worker_end(struct worker *wk, enum invoke_outcome outcome, uint8_t ledger_outcome, struct str body,
		const struct err *why);
void worker_gone(struct worker *wk, int wait_status, uint32_t oom_kills, int64_t cpu_us, int64_t mem_peak_bytes);
void worker_retire(struct worker *wk); /* takes no more events, and ends with the last one that it has */
void worker_drop(struct worker *wk);   /* the scheduler ends; its sandbox does not */
/* worker_start.c */
struct worker *worker_start(struct workload *w, struct revision *r, struct invocation *check, bool kept);
struct worker *worker_prepare(struct workload *w, struct revision *r);
void worker_adopt(struct workload *w, uint64_t id, pid_t pid, struct sandbox_fds *fds, bool kept,
		  int seats); /* 0: of the function lane */
/* worker_idle.c */
void worker_become_idle(struct worker *wk);    /* an event of it is over, or it is ready */
void worker_take_seat(struct worker *wk);      /* for an event, which is about to begin */
void worker_become_unasked(struct worker *wk); /* idle, started by a deploy */
void worker_list_idle(struct worker *wk);      /* where it is found by kind */
void worker_forget_idle(struct worker *wk);
void worker_after_is_over(struct worker *wk);
void worker_uncount(struct worker *wk);
bool worker_stale(const struct worker *wk);
void worker_rest(struct worker *wk);
void worker_evict(struct worker *wk);
/* lane.c */
enum lane lane_of(const struct workload *w);			   /* where it is to be */
int lane_asks(const struct workload *w, const struct revision *r); /* seats that an instance is to have */
int lane_seats(const struct workload *w);			   /* and that it turned out to have */
bool lane_fits(const struct worker *wk);	    /* it is what would be started now, but for its revision */
void lane_ready(struct worker *wk);		    /* the first of its lane: its workload moves */
void lane_settle(struct workload *w);		    /* it may move at once */
bool lane_left(const struct worker *wk);	    /* its workload serves elsewhere now */
void lane_share(struct worker *wk, int64_t cpu_us); /* before n_open changes; -1: it is asked for */
void lane_due(struct worker *wk, int64_t at_us);    /* as worker_due, and for its row; 0: for that only */
int64_t lane_stretch_us(struct worker *wk);	    /* of its next own row, which follows */
void lane_tick(struct worker *wk); /* container lane: deadlines, and a row of its own at least each minute */
/* async.c */
struct invocation *async_under_way(struct worker *wk, struct str request_id);
void async_look(
	const struct function *f); /* at its line: nothing is under way in adopted instances, or it was changed */
void async_free_all(struct sched *s);
void async_stop(struct sched *s); /* nothing is started any more: the store has it all */
/* event.c */
int64_t event_limit_us(const struct worker *wk);
int64_t event_new_cpu(struct worker *wk, int64_t cpu_us);
struct run *event_only_run(struct worker *wk); /* the one event that it has; with several, or none, any */
void event_begin(struct worker *wk, struct invocation *inv);
/*
 * What a restore was begun for follows the RESTORED frame at once, so that the process goes on to it without a word of
 * ours; it runs from when the process has said that it is restored. Not where others are at work: one of them may be
 * free before. Nothing was seen of it when the worker ends sooner: it waits again, first of all.
 */
void event_early(struct worker *wk);
void event_early_runs(struct worker *wk);
void event_give_back(struct worker *wk);
void event_answer(struct worker *wk, struct run *run, enum invoke_outcome outcome, uint8_t ledger_outcome,
		  struct str body, int64_t cpu_us, int64_t mem_peak_bytes);
void event_late(struct worker *wk, struct str request_id, bool is_error, struct str body);
/* seat: -1: of whichever event is under way, if it is the only one. */
void event_output(struct worker *wk, int seat, struct str text);
void event_init_cpu(struct worker *wk, int64_t cpu_us); /* what was used until now was for the initialisation */
int64_t event_cpu_so_far(const struct worker *wk);	/* that is in no row yet */
void event_idle_cpu(struct worker *wk, int64_t cpu_us); /* ... belongs to the idle time */
void event_refused_row(struct workload *w, struct invocation *inv, uint8_t outcome); /* no instance took it */
/* A start that failed; inv: the event that it was for, or NULL. */
void event_failed_row(struct worker *wk, struct invocation *inv, int64_t mem_peak_bytes);
void event_check_row(struct worker *wk, uint8_t outcome, int64_t mem_peak_bytes);
void event_idle_row(struct worker *wk, int64_t mem_peak_bytes);
void event_idle_so_far(const struct worker *wk, struct ledger_query *q); /* the row of the stretch that goes on */
extern const struct instance_events worker_instance_events;
/* traced.c */
void traced_begin(struct sched *s, const struct invocation *inv, struct traced *ret);
const char *traced_header(const struct traced *t, char out[TRACE_HEADER_BYTES]); /* what the handler is told */
void traced_end(struct workload *w, const struct traced *t, const struct ledger_row *row, const char *request_id);
void traced_refused(struct workload *w, const struct invocation *inv, const struct ledger_row *row);
