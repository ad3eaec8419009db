/* SPDX-License-Identifier: Apache-2.0 */
/* A table of sums by key, for queries and for folding old segments. Grows with the number of different keys. */
#pragma once
#include "ledger/row.h"
struct sums {
	struct sum *v; /* in order of first appearance */
	size_t n, cap;
	uint32_t *slots; /* index + 1 into v; 0: free */
	size_t n_slots;
	size_t last; /* rows come in runs: the one found last */
};
void sums_done(struct sums *s);
struct sum *sums_at(struct sums *s, const struct sum_key *key); /* made when absent; valid until the next call */
void sum_add_row(struct sum *to, const struct ledger_row *r);
void sum_add(struct sum *to, const struct sum *from); /* key stays */
