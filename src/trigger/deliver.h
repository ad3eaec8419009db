/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One event to one target, durable with the transaction of whoever has it: an object put, a message published, a schedule
 * that is due. For a function it becomes an asynchronous event (sched/async.h), for a queue a message; what is only a
 * name for others (topic, bus) asks here again for each of them.
 *
 * A target that cannot take it now (a task: no memory for it) is tried again, after 1 s doubling to 5 min; one that is gone,
 * or never will, has the event put into the dead-letter queue that was named. Where there is none, deliver_add fails: the
 * rest of the transaction goes on without, a line in the log and deliver_failure say so.
 */
#pragma once
#include "queue/queue.h"
#include "sched/async.h"
#include "stream/stream.h"

struct delivery {	    /* borrowed; what is kept is copied */
	const char *target; /* an ARN: function[:qualifier], queue, topic, event bus, stream, cluster (RunTask) */
	struct str payload; /* JSON for a function; text for a queue */
	const struct json *
		params; /* of the target, AWS's member names (MessageGroupId, PartitionKey, EcsParameters ...), or NULL */
	const char *dead_letter; /* a queue's ARN, or NULL */
	int retries;		 /* -1: the target's own default; functions have their own always */
	int64_t max_age_us;	 /* 0: default */
	const char *trace_id;	 /* or NULL */
	char request_id[37];	 /* "": made */
};

struct deliver;
struct deliver_opts { /* borrowed */
	struct store *store;
	struct queues *queues;
	struct streams *streams;
	const char *account, *region;
};
struct deliver *deliver_new(const struct deliver_opts *o);
void deliver_free(struct deliver *d);
const struct async_hooks *
deliver_hooks(struct deliver *d); /* for sched_opts; what follows from events: trigger/outcome.h */
void deliver_sched(struct deliver *d, struct sched *s); /* before anything is delivered */

/* A service's targets; it is asked by the third part of their ARN. */
struct deliver_service {
	const char *name;
	void *arg;
	bool (*exists)(void *arg, const char *target);
	/* Adds it to tx. Or -1, with nothing added; ERR_UNAVAILABLE: it may go later. */
	int (*add)(void *arg, struct store_tx *tx, const struct delivery *what, struct err *e);
};
void deliver_register(struct deliver *d, const struct deliver_service *s); /* copied, the name borrowed */

/* -1: nothing was added, and the target will not have it. ERR_NOT_FOUND: there is none. */
int deliver_add(struct deliver *d, struct store_tx *tx, const struct delivery *what, struct err *e);
bool deliver_exists(struct deliver *d, const char *target);
char *deliver_function_arn(const struct deliver *d, const char *name,
			   const char *qualifier); /* "": $LATEST; caller frees */

/* Of a target (of a task its definition): how many could not be delivered since the start, and why the last one could not; n 0:
 * one was put off, and will be tried again. */
struct deliver_failure {
	struct list node;
	char *target;
	int64_t n, last_wall_us;
	char why[200];
};
const struct deliver_failure *deliver_failure(const struct deliver *d, const char *target); /* NULL: none */
