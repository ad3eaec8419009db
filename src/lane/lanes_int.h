/* SPDX-License-Identifier: Apache-2.0 */
/* For this folder: lanes.c (looks and moves), measure.c (from rows to what the model takes). */
#pragma once
#include "json/read.h"
#include "json/write.h"
#include "lane/lanes.h"
#include "sched/lane_policy.h"

enum measured {
	M_CPU,	     /* of one request, seconds */
	M_OPEN,	     /* for so long it is open */
	M_START,     /* an instance of the function lane, until it is ready */
	M_START_CPU, /* the CPU time of that */
	M_HELD,	     /* what one holds */
	M_BASE,	     /* the same of the container lane */
	M_IDLE_CPU,  /* of one CPU, by an instance of the container lane beside its requests */
	MEASURED_N
};
struct measures {
	struct moments of[MEASURED_N];
	uint64_t revision; /* what they are of, mostly */
};
void measure_row(struct measures *m, const struct ledger_row *r, double open);
/* What the model takes; what was not seen is assumed (lane_facts_settle). keep_us: -1: as the policy has it. */
struct lane_facts measure_facts(const struct measures *m, int seats, int min, int64_t keep_us);
void measures_write(const struct measures *m, struct jw *w, const char *key);
void measures_read(struct measures *m, const struct json *j);
