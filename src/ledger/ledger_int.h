/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the ledger share. struct ledger is the loop's; struct ledger_files is the file thread's, once
 * ledger_open is through (only its atomics are read by the loop).
 */
#pragma once
#include <stdatomic.h>
#include "ledger/names.h"
#include "ledger/prices.h"
#include "ledger/row.h"
#include "ledger/sums.h"
#include "ledger/segment.h"
#include "ledger/spool.h"
#define LEDGER_DELAY_US	     200000
#define LEDGER_FLUSH_BYTES   (256u << 10)
#define LEDGER_MAX_BYTES     (16u << 20)
#define LEDGER_SEGMENT_BYTES (64u << 20)
#define LEDGER_SEGMENTS	     16 /* full ones that are kept as rows */
#define LEDGER_FINE_DAYS     32 /* sums older than this are by day */
#define SUMS_FILE	     "sums.seg"
#define SUMS_FILE_BYTES	     (512u << 20) /* a larger one is not ours */
#define HOUR_US		     3600000000
#define DAY_US		     (24 * HOUR_US)

struct ledger_files {
	int dirfd;
	struct segment names, rows; /* rows: open for appending, or fd -1 */
	struct buf owed;	    /* lines of names that are not in their file yet: the disk was full */
	uint32_t number;	    /* of the last segment */
	int64_t segment_bytes;	    /* LEDGER_SEGMENT_BYTES; tests take less */
	size_t segments;
	bool failing;		    /* said once */
	_Atomic uint64_t lost_rows; /* that could not be written */
};
int ledger_files_open(struct ledger_files *f, int daemon_dirfd, struct err *e);
void ledger_files_close(struct ledger_files *f);
void ledger_files_write(struct ledger_files *f, struct spool_batch *b); /* on the thread */

/* fold.c: puts the rows of all but the last f->segments full segments into SUMS_FILE and removes them. */
int ledger_fold(struct ledger_files *f, int64_t now_wall_us, struct err *e);
/* SUMS_FILE's sums, added to ret; an absent file is empty. *ret_upto: last segment that is in. Bad ones are counted. */
int ledger_sums_load(int dirfd, struct sums *ret, uint64_t *ret_upto, uint64_t *ret_bad, struct err *e);
void ledger_fill(const struct ledger *lg, struct ledger_row *r);	/* what ledger_add computes */
struct sum_key ledger_key(const struct ledger_row *r, int64_t span_us); /* full key of a row */

struct ledger {
	void (*on_watched)(void *arg, const char *workload, const struct ledger_row *row); /* or NULL */
	void *watched_arg;
	struct loop *loop;
	struct spool *spool;
	struct ledger_files files;
	struct names names;
	struct ledger_prices prices;
	double vcpus, memory_bytes;
	double lambda_request, lambda_mb_ms; /* this host's architecture, first tier */
	uint64_t rows, dropped_rows, dropped_tags;
	bool dropping;		   /* said once per stretch */
	struct ledger_scan *scans; /* running */
	void (*on_row)(void *arg, const struct ledger_row *row);
	void *on_row_arg;
};
/* Tags of rows that are in no file yet; 0 where there are too many. */
void ledger_names_save(struct ledger *lg, struct ledger_so_far *v, size_t n);
void ledger_queries_cancel(struct ledger *lg);
