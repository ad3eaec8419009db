/* SPDX-License-Identifier: Apache-2.0 */
/* A query under way: query.c reads the rows, answer.c writes what they come to. */
#pragma once
#include "ledger/disk.h"
#include "ledger/ledger_int.h"
#define LAST_ROWS 100

enum by { BY_WORKLOAD, BY_LANE, BY_TAG, BY_TRIGGER, BY_HOUR, BY_DISK, BY_ROWS, BY_N };
enum split { SPLIT_NONE, SPLIT_USE, SPLIT_EVEN, SPLIT_N };

struct part {
	int fd;
	int64_t created_wall_us;
	int64_t rows;
};
struct ledger_scan {
	struct ledger_scan *next; /* the ledger's list, loop only */
	struct ledger_query *q;
	struct ledger_files *files;
	enum by by;
	enum split split;
	bool opened, finished;
	struct name_table names;
	struct part *parts;
	size_t n_parts, part;
	int64_t at; /* row in the part; by rows: rows left before it */
	struct sums sums;
	struct row *last; /* by rows: newest first */
	size_t n_last;
	uint8_t *wanted; /* by number: 1 this workload, 2 another; 0 not looked at yet */
	uint64_t bad, dropped, dropped_tags;
	int64_t first_wall_us, until_wall_us; /* first: of what was found */
	const struct ledger_prices *prices;
	double usd[LEDGER_PRICE_N]; /* when it began */
	struct disk_use disk[DISK_LINE_N];
	enum disk_line disk_at; /* lines that were looked at; none when nobody wants to know */
	bool wants_disk;
	char as_of[16];
};
/* What a query groups by, and what its prices are by; the rest is 0. */
struct sum_key query_key(const struct ledger_scan *s, const struct sum_key *full);
void query_add(struct ledger_scan *s, const struct ledger_row *r, uint32_t workload); /* to the sums */
/* query_on.c: one workload in one group. */
struct query_priced {
	const struct sum *of; /* the group's */
	double usd[PRICE_NAMED_N];
	const char *cannot[PRICE_NAMED_N]; /* why usd is NAN */
};
void query_on(struct ledger_scan *s, void (*each)(void *arg, const struct query_priced *p), void *arg);
void query_answer(struct ledger_scan *s, const char *by); /* into s->q->out */
