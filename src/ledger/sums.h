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
/*
 * A row that is a stretch of time belongs to every hour that it reaches into, in proportion, and the pieces add up to it.
 *   for (int64_t at = from; row_piece(r, &at, span_us, &piece);) ...
 * gives those from `from` on, cut at each multiple of span_us; any other row is one piece if it began then.
 */
bool row_piece(const struct ledger_row *r, int64_t *at_wall_us, int64_t span_us, struct ledger_row *ret);
int64_t row_end_wall_us(const struct ledger_row *r); /* of a stretch; else where it begins */
/* bytes_in or bytes_out of r, in bytes. */
static inline uint64_t sum_bytes(const struct ledger_row *r, uint32_t n)
{
	return (uint64_t)n << (r->kind == LEDGER_TASK ? 10 : 0);
}
void sum_add_row(struct sum *to, const struct ledger_row *r);
void sum_add(struct sum *to, const struct sum *from); /* key stays */
