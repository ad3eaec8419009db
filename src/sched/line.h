/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asynchronous events between the store, which has them all, and memory, which has the next few of each function: a line.
 * What a line has there are always its earliest, so that a successor of a killed daemon, which reads as many, has all that
 * may be under way in instances that it adopts. More are read while there is room for a batch; a line that has nothing,
 * while the others have all the memory, waits for its turn (starved). What costs no memory: a line without events goes.
 */
#pragma once
#include "sched/async.h"
#include "sched/sched_int.h"

#define LINE_EVENTS 256
#define LINE_BYTES  (LIM_ASYNC_BYTES / 4)

struct line {
	struct list node;    /* sched.lines */
	struct list starved; /* sched.starved: it has nothing in memory, and there is no room */
	struct sched *s;
	struct function *function; /* a reference */
	char name[LIM_NAME_BYTES + 1];
	struct list ready, busy;
	unsigned n, n_running; /* in memory; of these in RUN */
	int64_t bytes, stored; /* stored: how many the store has, with these */
	int64_t next_us;       /* of those that only the store has; INT64_MAX: none. By the wall clock, like pause_us */
	int64_t pause_us;      /* until then nothing is begun */
	int64_t opened_us;     /* a budget held it back until then: what waited is not too old for that */
	bool held;	       /* by a budget */
	int pauses;
	struct loading *loading; /* under way, or NULL */
	struct loop_timer *timer;
	struct loop_defer go;
	char why[320];
};

struct async {
	struct list node;  /* line.ready or .busy */
	struct line *line; /* NULL: the scheduler is gone */
	struct store_event ev;
	struct invocation inv;
	struct store_tx tx;
	bool before; /* of the daemon before: may be under way in an adopted instance */
	bool saving; /* the store will call */
};

struct line *line_of(struct sched *s, struct function *f); /* made when there is none; goes when it has nothing to do */
void line_kick(struct line *l);				   /* soon: begins what can begin, reads what can be read */
void lines_kick(struct sched *s);			   /* all: what may begin has changed */
void line_due(struct line *l, int64_t wall_us);		   /* the store alone has one that is due then */
bool line_is_full(const struct line *l);
struct async *async_take(struct line *l, const struct store_event *ev); /* takes ev's payload; in busy */
void async_ready(struct async *a);					/* it is its turn */
void async_drop(struct async *a);					/* out of memory; the store may have it still */
void async_free(struct async *a);					/* nothing counts it any more */
/* async.c */
void async_run(struct async *a);
