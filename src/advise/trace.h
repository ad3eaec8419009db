/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A recorded day of many functions, in the format of the Azure Functions 2019 trace (Shahrad et al., "Serverless in the
 * Wild", USENIX ATC 2020): a folder with
 *   inv.csv   HashFunction, HashApp, then calls per minute (columns 1.. or minute_1..)
 *   run.csv   HashFunction, Average, percentile_Average_0 .. 100: durations in ms
 *   mem.csv   HashApp, AverageAllocatedMb
 * Columns are found by their names, others are passed over. inv.csv is read row by row and never held; the other two
 * are tables in memory. The files are anybody's: every length, number and count has a limit, and a file that ends
 * within a line, a row with other columns than the heading or a number that is none is an error that names file and
 * line. A function of inv.csv without a duration or memory is left out and counted. Tests: tests/advise, tests/fuzz.
 */
#pragma once
#include "base/err.h"
#include "base/str.h"

#define TRACE_MINUTES_MAX 1440
enum { TRACE_POINTS = 7 };
extern const double trace_percent[TRACE_POINTS]; /* which percentiles */

struct trace_function {
	struct str name;		   /* until the next one */
	int64_t duration_us[TRACE_POINTS]; /* never less than the one before */
	int64_t average_us, held_bytes;
	int minutes;
	uint32_t calls[TRACE_MINUTES_MAX];
};

struct trace;
int trace_open(const char *folder, struct trace **ret, struct err *e);
int trace_next(struct trace *t, struct trace_function *ret, struct err *e); /* 1: one; 0: that was all; -1 */
int64_t trace_left_out(const struct trace *t);				    /* so far */
void trace_free(struct trace *t);					    /* NULL is fine */
