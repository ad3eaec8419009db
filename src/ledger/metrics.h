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
/* The same in quarters of each bucket, for the percentiles of a short while: who looks twice takes the difference. */
#define TOOK_PARTS 4
#define TOOK_N	   ((METRICS_BUCKETS + 1) * TOOK_PARTS)
struct took {
	uint32_t n[TOOK_N]; /* wrap */
};
enum cold_phase { COLD_QUEUE, COLD_START, COLD_INIT, COLD_N };
struct metrics {
	uint64_t *count[LANE_N][TRIGGER_N]; /* [OUTCOME_N]; NULL: none yet */
	struct histogram handler;
	struct took took;	/* of handler */
	struct histogram *cold; /* [COLD_N]; NULL: none yet */
	uint64_t calls, errors, cold_starts;
	uint64_t cpu_us; /* of all rows */
	double usd_aws, usd_machine;
};
int metrics_bucket(uint32_t us);
int histogram_add(struct histogram *h, uint32_t us); /* its bucket */
void took_add(struct took *t, int bucket, uint32_t us);
uint32_t took_upto_us(int i);
void metrics_add(struct metrics **m, const struct ledger_row *r);
void metrics_free(struct metrics *m);
/* What the rows of one workload add up to since the daemon began; of a checked deploy nothing. */
struct ledger_counts {
	uint64_t calls, errors, cold, cpu_us;
	const struct took *took; /* NULL: there were none; the ledger's, until the next row */
};
void ledger_counts(const struct ledger *lg, const char *workload, struct ledger_counts *ret);
struct names;
/* All families in turn, each with every workload that had a row. */
void metrics_text(const struct names *names, struct buf *out);
