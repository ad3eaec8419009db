/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs on disk, per workload: <state>/daemon/logs/<workload>/NNNNNN.log, append-only segments, kept when nothing runs.
 * Each line is stored as "<wall time ISO us>Z <stream> <request id or -> <text>\n" (streams: fn, platform). Rotation at 8 MiB a segment,
 * at most 4 segments a workload; a rate limit (default 2 MiB/s, burst 8 MiB) drops lines and says "dropped N lines" once it ends.
 * Writing never waits: appended to a buffer, written by a file thread (after 100 ms or 64 KiB; timer armed only while it holds something).
 */
#pragma once
#include "base/buf.h"
#include "base/list.h"
#include "base/err.h"
#include "loop/loop.h"
struct logs;
struct log_stream;   /* the log of one workload */
int logs_open(struct loop *l, int state_dirfd, struct logs **ret, struct err *e);
void logs_free(struct logs *lg);   /* flushes */
struct log_stream *logs_get(struct logs *lg, const char *workload); /* lives as long as logs; workload is a checked name */
void log_stream_add(struct log_stream *s, const char *stream, const char *request_id, struct str lines); /* may hold several lines; an unfinished last line ends here */
void log_stream_remove(struct logs *lg, const char *workload);        /* deletes its files */
/* The last max_lines lines (since a wall time, 0: any), each "time request_id text"; runs on the file thread after what was added before. */
struct log_read {
	char workload[160];
	int64_t since_wall_us;
	unsigned max_lines;
	void (*done)(struct log_read *r, struct buf *text, const struct err *e);
	struct loop_work work;
	struct logs *lg;
	struct buf out;
	struct err e;
};
void log_read_start(struct logs *lg, struct log_read *r);
/* Follow: called with each piece that is added from now on. */
struct log_follow {
	struct list node;
	void (*line)(struct log_follow *f, struct str text);
};
void log_follow_start(struct logs *lg, const char *workload, struct log_follow *f); /* NULL workload: all */
void log_follow_stop(struct log_follow *f);
