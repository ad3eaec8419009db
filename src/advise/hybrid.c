/* SPDX-License-Identifier: Apache-2.0 */
#include "advise/hybrid.h"

#define BIN_US	   60000000ll
#define HEAD_SHARE 0.05
#define TAIL_SHARE 0.99

/* The bin in which so many of all are reached; it moves by little from one time to the next. */
static void follow(const struct hybrid *h, double share, int *bin, int64_t *below)
{
	double wanted = share * (double)h->n;

	while (*bin && (double)*below >= wanted)
		*below -= h->bins[--*bin];
	while (*bin < HYBRID_BINS - 1 && (double)(*below + h->bins[*bin]) < wanted)
		*below += h->bins[(*bin)++];
}

void hybrid_add(struct hybrid *h, int64_t idle_us)
{
	int64_t bin = idle_us / BIN_US;

	if (bin >= HYBRID_BINS) {
		h->beyond++;
		return;
	}
	h->squares += 2 * (double)h->bins[bin]++ + 1;
	h->n++;
	h->below_head += bin < h->head;
	h->below_tail += bin < h->tail;
	follow(h, HEAD_SHARE, &h->head, &h->below_head);
	follow(h, TAIL_SHARE, &h->tail, &h->below_tail);
}

void hybrid_windows(const struct hybrid *h, int64_t *ret_prewarm_us, int64_t *ret_keep_us)
{
	double n = (double)h->n;
	/* (variance / mean^2) of the bins = bins * squares / n^2 - 1 */
	bool says = h->n >= HYBRID_TIMES_MIN && h->beyond <= h->n && HYBRID_BINS * h->squares >= 5 * n * n;

	*ret_prewarm_us = says ? h->head * BIN_US * 9 / 10 : 0;
	*ret_keep_us = says ? (h->tail + 1) * BIN_US * 11 / 10 - *ret_prewarm_us : HYBRID_BINS * BIN_US;
}
