/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows and sums as they lie on disk: 160 bytes, host byte order (x86-64 and arm64 are both little-endian), the last
 * eight a checksum of the rest. The first row of a file is its head. docs/state.md, section "ledger".
 */
#pragma once
#include <assert.h>
#include "ledger/ledger.h"
#define ROW_BYTES   160
#define ROW_VERSION 1

struct row {
	struct ledger_row r;
	uint64_t spare[3];
	uint64_t check;
};
struct row_head {
	char magic[8]; /* ROW_MAGIC or SUM_MAGIC */
	uint32_t row_bytes, version;
	int64_t created_wall_us;
	uint64_t upto; /* sums: the number of the last segment that is folded in */
	uint64_t zero[15];
	uint64_t check;
};
#define ROW_MAGIC "TDMROWS1"
#define SUM_MAGIC "TDMSUMS1"

/* Sums of rows that agree in the key; a field that a query does not group by is 0 in its keys. */
struct sum_key {
	int64_t hour_us; /* start of the hour (or day), wall */
	uint32_t workload, tags;
	uint8_t kind, lane, trigger, outcome;
	uint32_t zero;
};
struct sum {
	struct sum_key key;
	uint64_t invocations;		      /* LEDGER_INVOKE, deployments' own checks left out */
	uint64_t cold, errors;		      /* of these */
	uint64_t queue_us, start_us, init_us; /* start_us, LEDGER_TASK: how many */
	uint64_t handler_us;		      /* LEDGER_TASK: vCPU * billed time */
	uint64_t idle_ms, billed_ms;
	double gb_s; /* memory limit * billed time */
	uint64_t cpu_us, mem_peak_bytes, bytes_in, bytes_out;
	double usd_aws, usd_machine;
	uint64_t check;
};
static_assert(sizeof(struct ledger_row) == 128, "rows are on disk");
static_assert(sizeof(struct row) == ROW_BYTES && sizeof(struct row_head) == ROW_BYTES &&
		      sizeof(struct sum) == ROW_BYTES,
	      "one size");

void row_seal(void *row);	    /* writes the checksum of any of the three */
bool row_sealed(const void *row);   /* whether it fits */
bool row_ok(const struct row *row); /* sealed, and every enum within its range */
bool row_sum_ok(const struct sum *s);
void row_head_init(struct row_head *h, const char *magic, int64_t created_wall_us, uint64_t upto);
int row_head_check(const struct row_head *h, const char *magic, struct err *e);
