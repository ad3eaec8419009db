/* SPDX-License-Identifier: Apache-2.0 */
/* Counters and histograms of one workload, and their Prometheus text. Allocated with the first row; metrics_add
 * allocates only for a combination of labels that is new. */
#pragma once
#include "base/buf.h"
#include "ledger/ledger.h"
#define METRICS_BUCKETS 16
struct histogram {
	uint64_t n[METRICS_BUCKETS + 1]; /* not cumulative; the last: above all */
	double sum_s;
};
enum cold_phase { COLD_QUEUE, COLD_START, COLD_INIT, COLD_N };
struct metrics {
	uint64_t *count[LANE_N][TRIGGER_N]; /* [OUTCOME_N]; NULL: none yet */
	struct histogram handler;
	struct histogram *cold; /* [COLD_N]; NULL: none yet */
	uint64_t cold_starts;
	double usd_aws, usd_machine;
};
void histogram_add(struct histogram *h, uint32_t us);
void metrics_add(struct metrics **m, const struct ledger_row *r);
void metrics_free(struct metrics *m);
struct names;
/* All families in turn, each with every workload that had a row. */
void metrics_text(const struct names *names, struct buf *out);
