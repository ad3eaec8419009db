/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Apply: does what a plan says.
 *
 *      HOLD ────► DEPLOY ────► LEAD ────► DELETE ────► RELEASE ────► DONE
 *
 *   HOLD     buckets, queues, streams, topics and buses are made or changed
 *   DEPLOY   functions, tasks and services, at most APPLY_PARALLEL at once; one whose archive another is just unpacking
 *            waits for that one
 *   LEAD     what leads events to them; also what does not any more
 *   DELETE   functions, tasks and services that are not declared any more
 *   RELEASE  what held events, unless it still does: then it stays, and why is said
 *
 * A stage begins when all before it succeeded, so that a broken `up` removes nothing. Every entry that is not "unchanged"
 * gives one START and one DONE, KEPT or FAILED event. Cannot be cancelled: a client that leaves does not leave half of it.
 */
#pragma once
#include "app/plan.h"
#include "loop/loop.h"
#include "sched/sched.h"
#define APPLY_PARALLEL 4
enum apply_event_kind { APPLY_START, APPLY_WAITS, APPLY_DONE, APPLY_FAILED, APPLY_KEPT };
struct apply_event {
	enum apply_event_kind kind;
	const struct plan_entry *entry;
	const struct function *function; /* DONE: as it is now; NULL when deleted */
	const char *reason;		 /* FAILED; DONE with state FAILED too; WAITS: for what; KEPT: why */
	int64_t took_us;
};
struct apply_opts {
	struct loop *loop;
	struct plan_world is;
	struct sched *sched;
	struct plan *plan;					/* taken */
	bool (*event)(void *arg, const struct apply_event *ev); /* false: nobody listens, so a WAITS need not go on */
	void (*done)(void *arg, bool ok);			/* exactly once, never before _start returned */
	void *arg;
};
void apply_start(const struct apply_opts *o);
