/* SPDX-License-Identifier: Apache-2.0 */
/* For this folder: apply.c (functions, and the order of all), declare.c (services and tasks). */
#pragma once
#include "app/apply.h"

struct apply {
	struct apply_opts o;
	size_t next; /* entry to look at */
	unsigned running;
	const struct plan_entry *deploying[APPLY_PARALLEL]; /* NULL: free */
	bool deleting, failed;
	struct loop_defer defer;
};
int64_t apply_begin(struct apply *a, const struct plan_entry *en);
/* reason NULL: it is done. apply_tick must follow, which may free a. */
void apply_told(struct apply *a, const struct plan_entry *en, const char *reason, int64_t started_us);
void apply_tick(struct apply *a);
bool apply_waits(struct apply *a, const struct plan_entry *en, const char *why, int64_t started_us);
/* declare.c */
void declare_start(struct apply *a, struct plan_entry *en);
