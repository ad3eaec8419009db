/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs on disk, per workload: <state>/daemon/logs/<workload>/NNNNNN.log, append-only segments, kept when nothing runs.
 * Each line is stored as "<wall time ISO us>Z <stream> <request id or -> <text>\n" (streams: fn, platform). Rotation at
 * 8 MiB a segment, at most 4 segments a workload. Rate limits per workload: "fn" 2 MB/s (burst 8 MiB); platform lines,
 * whose number the caller's invocations bound, 64 MB/s (burst 64 MiB), so that START, END and REPORT of 40,000
 * invocations/s are kept. What is over the limit is dropped line by line, and a platform line "dropped N lines" says so
 * once it ends. Writing never waits: appended to a buffer, written by a file thread (after 100 ms or 256 KiB; timer
 * armed only while it holds something; when the disk cannot follow, at most 16 MiB wait and lines beyond are dropped as
 * above).
 *
 * All calls on the loop's thread. log_stream_add allocates nothing in the steady state. A log_stream that was never
 * written to holds no descriptor and no buffer. docs/state.md, section "logs".
 */
#pragma once
#include "base/buf.h"
#include "base/list.h"
#include "base/err.h"
#include "loop/loop.h"
struct logs;
struct log_stream; /* the log of one workload */
int logs_open(struct loop *l, int daemon_dirfd, struct logs **ret, struct err *e);
void logs_free(struct logs *lg); /* writes what is buffered; running reads get ERR_CANCELED; streams and follows are
				    gone. NULL is fine */
/* Lives as long as logs, or until as many log_stream_release as there were logs_get. workload is a checked name,
 * "project/name" too. */
struct log_stream *logs_get(struct logs *lg, const char *workload);
void log_stream_release(struct log_stream *s); /* optional: gives the memory back; its files stay. NULL is fine */
/* May hold several lines; an unfinished last line ends here. stream: "fn", anything else counts as platform. request_id
 * NULL or "": "-". */
void log_stream_add(struct log_stream *s, const char *stream, const char *request_id, struct str lines);
void log_stream_remove(struct logs *lg, const char *workload); /* deletes its files */
/* At start, blocking: deletes the files of workloads (plain names) that are not wanted any more. */
void logs_sweep(struct logs *lg, bool (*wanted)(void *arg, const char *workload), void *arg);
/* The last max_lines lines (since a wall time, 0: any), each "time request_id text"; runs on the file thread after what
 * was added before. */
struct log_read {
	char workload[160];
	int64_t since_wall_us;
	unsigned max_lines;
	void (*done)(struct log_read *r, struct buf *text,
		     const struct err *e); /* a workload without a log: empty text */
	struct loop_work work;
	struct logs *lg;
	struct buf out; /* freed after done */
	struct err e;
	struct loop_defer defer;
	struct list node;
};
void log_read_start(struct logs *lg, struct log_read *r); /* ERR_INVALID through done when workload is not a name */
/* Follow: called with each piece that is added from now on, in the form of log_read: one or more whole lines. */
struct log_follow {
	struct list node;
	void (*line)(struct log_follow *f, struct str text); /* may stop f, but no other */
	const char *workload;				     /* out, valid in line: whose piece it is */
	struct log_stream *stream;
};
void log_follow_start(struct logs *lg, const char *workload, struct log_follow *f); /* NULL workload: all */
void log_follow_stop(struct log_follow *f);					    /* twice is harmless */
/* Prometheus text: tandem_log_bytes_total, tandem_log_lines_dropped_total. */
void logs_metrics(struct logs *lg, struct buf *out);
