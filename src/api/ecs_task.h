/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks that the ECS API was asked to run, from the moment they are accepted until an hour after their end.
 *
 *      PULLED ───► HANDED ───► STOPPED ───► (forgotten)
 *         └───────────────────────┘
 *
 *   PULLED   the images of its containers to be here; those that are not are pulled, once for all that wait
 *   HANDED   task/task.h's word that it has stopped; it has the same id there
 *   STOPPED  nothing: how it is shown is kept
 *
 * A record "ecs-task/ID" holds what was asked for and, in the end, how it is shown: an accepted task that a killed
 * tandemd had not handed over yet is started by its successor, a second time if it was killed just then.
 */
#pragma once
#include "api/ecs_int.h"
#include "base/list.h"
#include "image/image.h"
#include "task/task.h"

#define ECS_TASK_KEPT_US (3600ll * 1000000)
#define ECS_TASKS_KEPT	 1000

enum ecs_task_state { ECS_TASK_PULLED, ECS_TASK_HANDED, ECS_TASK_STOPPED, ECS_TASK_N };
struct ecs_task {
	struct list node;
	struct ecs *ecs;
	char id[TASK_ID_MAX + 1];
	enum ecs_task_state state;
	/* cluster, definition, containers (name and image of each), created_us, cpu, memory, and of the request group,
	 * startedBy, launchType, networkConfiguration, overrides, over (ours), tags, clientToken, asked (its digest); later
	 * begun, stop_code, stop_reason; final, stopped_us */
	struct json *facts;
};
struct ecs {
	struct api *a;
	struct list tasks, pulls; /* the oldest first */
	struct task_watch watch;
	unsigned n_stopped;
};
struct ecs *ecs_new(struct api *a);
void ecs_ready(struct ecs *ecs); /* running tasks were adopted */
void ecs_free(struct ecs *ecs);

/* Accepted: it begins now, and what was asked for is durable when op is done (NULL: nobody waits). facts: JSON. */
struct ecs_task *ecs_task_add(struct ecs *ecs, struct store_op *op, const char *facts);
/* The same as a part of tx: it begins when that is durable. */
void ecs_task_add_in(struct ecs *ecs, struct store_tx *tx, const char *facts);
void ecs_deliver(struct api *a, struct deliver *d); /* events may start tasks; ecs_run.c */
void ecs_task_change(struct ecs_task *t, struct store_op *op, struct str changes); /* members of facts, as JSON */
void ecs_task_stop(struct ecs_task *t, struct str reason);
struct ecs_task *ecs_task_find(const struct ecs *ecs, struct str id);

/* One to be shown: asked for here (t), run by a service (k alone), or not handed over yet (t alone). */
struct ecs_view {
	const struct ecs_task *t;
	struct task *k;
	char cluster[ECS_NAME_MAX + 1], group[ECS_NAME_MAX + 16];
	char started_by[129]; /* "": nobody said */
};
bool ecs_view_service(struct task *k, struct ecs_view *ret); /* false: it is of no service */
void ecs_view_own(const struct ecs_task *t, struct ecs_view *ret);
/* All of them, own ones first. Begin with a zeroed view; false: no more. */
bool ecs_view_next(const struct ecs *ecs, struct ecs_view *v);
bool ecs_view_find(const struct api *a, struct str id, struct ecs_view *ret);
const char *ecs_view_id(const struct ecs_view *v);
enum task_state ecs_view_state(const struct ecs_view *v);
bool ecs_view_stopping(const struct ecs_view *v); /* it has stopped, or is to */
void ecs_put_task(struct jw *w, const char *key, const struct api *a, const struct ecs_view *v, bool tags);
