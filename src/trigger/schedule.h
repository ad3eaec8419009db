/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schedules and their groups (EventBridge Scheduler's): one target each, at times of an expression in a time zone. When and
 * how they fire is trigger/due.h's; what they start is durable with that.
 *
 * Declared: record "schedule/GROUP/NAME", AWS's document ({"ScheduleExpression","ScheduleExpressionTimezone","StartDate",
 * "EndDate","FlexibleTimeWindow","State","Target","ActionAfterCompletion","CreationDate",...}) with "project", and
 * "schedule-group/NAME" {"Tags","CreationDate","LastModificationDate"}. The group "default" is always there.
 *
 * A rate without StartDate fires at once, and then so often. Tests: tests/e2e/test_scheduler.py.
 */
#pragma once
#include "trigger/deliver.h"
struct dues;

#define SCHEDULES_MAX 100000
#define GROUPS_MAX    500

struct schedules;
struct schedules_opts { /* borrowed */
	struct store *store;
	struct deliver *deliver;
	struct dues *dues;
	const char *account, *region;
};
struct schedules *schedules_new(const struct schedules_opts *o); /* reads the records */
void schedules_free(struct schedules *ss);			 /* before dues; NULL is fine */

/* Makes it, or puts doc in its place. ERR_INVALID: e in AWS's words; ERR_NOT_FOUND: no such group; ERR_LIMIT. */
int schedule_put(struct schedules *ss, struct str group, struct str name, const struct json *doc, const char *project,
		 struct store_tx *tx, struct err *e);
bool schedule_delete(struct schedules *ss, const char *group, const char *name, struct store_tx *tx); /* false: none */
const struct json *schedule_doc(const struct schedules *ss, const char *group, const char *name);     /* NULL: none */
/* The next time at which it is due, and the last; -1: never. */
void schedule_times(const struct schedules *ss, const char *key, int64_t *ret_next_s, int64_t *ret_last_s);

bool schedule_group_exists(const struct schedules *ss, const char *name);
int schedule_group_put(struct schedules *ss, struct str name, const struct json *doc, const char *project,
		       struct store_tx *tx, struct err *e);
void schedule_group_delete(struct schedules *ss, const char *name, struct store_tx *tx); /* its schedules too */
