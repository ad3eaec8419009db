/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hybrid histogram policy of Shahrad et al., "Serverless in the Wild" (USENIX ATC 2020), to be compared with: times
 * between the end of all work and the next call, in bins of a minute up to four hours. The 5th percentile, rounded
 * down and 10 % less, is when an application is loaded again after it was unloaded at once; the 99th, rounded up and
 * 10 % more, is until when it is kept. While the histogram says nothing (fewer than HYBRID_TIMES_MIN times, a
 * coefficient of variation of the bins below 2, more than half of the times out of bounds) it stays loaded for four
 * hours; the paper forecasts the last of these cases by ARIMA, which is left out.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum { HYBRID_BINS = 240, HYBRID_TIMES_MIN = 5 };
struct hybrid {
	int64_t n, beyond; /* times within bounds; the others */
	double squares;	   /* sum of the bins' squares */
	int head, tail;	   /* the bins of the 5th and the 99th percentile */
	int64_t below_head, below_tail;
	int64_t bins[HYBRID_BINS];
};
void hybrid_add(struct hybrid *h, int64_t idle_us);
/* prewarm 0: is not unloaded. keep: from when it is loaded. */
void hybrid_windows(const struct hybrid *h, int64_t *ret_prewarm_us, int64_t *ret_keep_us);
