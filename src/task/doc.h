/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a task is made of, as JSON: the one form that tandem.yaml, `tandem run` and the ECS API are turned into.
 * docs/state.md has an example. Reading is strict: a member that is not known, of another type or out of its bounds is
 * refused by its path ("containers[1].health.port: ..."), and so are containers that wait for each other in a ring.
 *
 * {"containers": [...], ...}, or, for one container, the members of both levels in one object.
 */
#pragma once
#include <stdbool.h>
#include "json/read.h"

#define TASK_CONTAINERS	   10
#define TASK_NAME_MAX	   63
#define TASK_MEMORY_MB_MIN 4
#define TASK_MEMORY_MB_MAX (1 << 20)
/* Of a container that says nothing, in a task that says nothing: Fargate's smallest CPU; no quota comes with it. */
#define TASK_MEMORY_MB 1024
#define TASK_CPU       0.25

int task_doc_check(const struct json *doc, struct err *e);
/* {"containers": [{"name", "command", "env", "memory_mb", "cpu"}], "memory_mb", "cpu"}: what one run has in place of
 * what doc says; env is added to. */
int task_overrides_check(const struct json *over, const struct json *doc, struct err *e);

int task_exec_check(const struct json *what, struct err *e); /* of task_exec */

unsigned task_doc_n(const struct json *doc); /* containers */
const struct json *task_doc_container(const struct json *doc, unsigned i);
const char *task_doc_name(const struct json *doc, unsigned i); /* of a container; "main" where it has none */
int task_doc_runtime(const struct json *doc);		       /* enum spawner_runtime; -1: it names none of them */
int task_doc_find(const struct json *doc, struct str name);    /* -1: no container of that name */

/* Whom a container waits for: bits of containers. doc was checked. */
enum task_condition { TASK_ON_START, TASK_ON_COMPLETE, TASK_ON_SUCCESS, TASK_ON_HEALTHY, TASK_ON_N };
extern const char *const task_condition_name[TASK_ON_N];
void task_doc_needs(const struct json *doc, unsigned i, unsigned ret[TASK_ON_N]);
