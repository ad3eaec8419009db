/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many messages of a queue become visible later, without holding them: numbers by the second. What becomes visible
 * within a second counts as invisible until its end.
 */
#pragma once
#include <stdbool.h>
#include "base/def.h"

enum later_kind { LATER_IN_FLIGHT, LATER_DELAYED, LATER_N };
struct later {
	struct later_slot {
		int64_t second, n[LATER_N];
	} * slots; /* in order; [first, end) are there */
	size_t first, end, cap;
	int64_t sum[LATER_N];
};
void later_done(struct later *l);
/* n more (or less) that become visible at at_us; those of a time that has come are nobody's. */
void later_add(struct later *l, enum later_kind kind, int64_t at_us, int64_t n, int64_t now_us);
int64_t later_count(struct later *l, enum later_kind kind, int64_t now_us);
