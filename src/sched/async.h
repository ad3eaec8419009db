/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asynchronous events: durable before whoever sent one hears "accepted", run at least once, tried again as Lambda does.
 *
 * The store has them all; memory has a line for each function that has any, with the few that run or are next. So a
 * million that wait cost a count, and what one function leaves undone takes nothing from another. Retries: after 1 and 2
 * minutes when the function fails, after 1 s doubling to 5 min while there is no room for it, until there were enough
 * tries or the event is too old (record "async/FUNCTION:QUALIFIER", trigger/outcome.h). Tests: tests/e2e/test_async.py.
 */
#pragma once
#include "sched/sched.h"
#include "store/event.h"

struct async_new {
	struct function *function; /* NULL: for async_hooks.other */
	const char *qualifier;	   /* "" or what the caller named, resolved anew at each try */
	struct str payload;
	const char *trace_id;	/* or NULL */
	const char *request_id; /* NULL or "": made */
	int attempts;		/* made already */
	int64_t wait_us;	/* until the next one */
};
/* As a part of tx. No more than so many bytes wait in memory, so it is never refused for what waits. */
void sched_async_add(struct sched *s, struct store_tx *tx, const struct async_new *n);
/* The same on its own. e NONE: accepted. */
void sched_async_start(struct sched *s, const struct async_new *n, void (*accepted)(void *arg, const struct err *e),
		       void *arg);
int sched_async_recover(struct sched *s, struct err *e); /* at start, when all instances were adopted; blocking */

struct async_info {
	int64_t waiting; /* with those that run */
	unsigned running;
	int64_t next_wall_us; /* the next look at those that wait; INT64_MAX: when one that runs is over, or why says it */
	const char *why;      /* of the last try that came to nothing, or "" */
};
void sched_async_info(const struct sched *s, const struct function *f, struct async_info *ret); /* f NULL: the others */

enum async_condition { ASYNC_SUCCESS, ASYNC_RETRIES_EXHAUSTED, ASYNC_TOO_OLD, ASYNC_ZERO_RESERVED };
struct async_over { /* what became of one; all borrowed */
	const struct store_event *event;
	struct function *function; /* NULL: it was for async_hooks.other */
	const struct revision *revision;
	enum async_condition condition;
	struct str response; /* of the last try: an error object where that failed; empty: there is none */
	const struct err *e; /* why it failed, where the function did not say */
};
struct async_rules {
	int retries;
	int64_t max_age_us;
};
/* What follows from an event is not the scheduler's to know. */
struct async_hooks {
	void *arg;
	/* Adds what follows to tx, which forgets the event. */
	void (*over)(void *arg, const struct async_over *o, struct store_tx *tx);
	/* One without a function: adds what it starts to tx, or why that cannot be now. */
	int (*other)(void *arg, const struct store_event *ev, struct store_tx *tx, struct async_rules *ret,
		     struct err *e);
};
