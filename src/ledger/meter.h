/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The meter: looks at the counters (ledger/machine.h) and writes what the time between two looks was used for
 * as rows, each minute in which something else is written, at the end, and over the end: a successor of the same boot goes
 * on from the last look. Nothing wakes it; a query asks for what is not in a row yet.
 * On the loop's thread; a look reads a dozen small files of /proc and takes some 0.1 ms.
 */
#pragma once
#include "ledger/machine.h"

struct meter_opts {
	struct ledger *ledger;
	int group_cpu, group_memory; /* directories of the group that all sandboxes are in, borrowed; -1: none */
	const char *last;	     /* what keep was given last, or NULL */
	void (*keep)(void *arg, const char *look);
	void (*blanks)(void *arg, int64_t *ret_cpu_us, int64_t *ret_bytes);
	int64_t (*helpers_us)(void *arg); /* CPU of what was pulled and unpacked for this daemon */
	void *arg;
};
struct meter *meter_new(const struct meter_opts *o);
void meter_free(struct meter *m); /* writes the last rows; before ledger_free */
void meter_row(struct meter *m);  /* something is written: whether it is time for ours */
void meter_so_far(struct meter *m, struct ledger_query *q);
