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
struct log_files;
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
void logs_flush(struct logs *lg);			       /* what was added is written now */
/* Whether so many bytes of "fn" lines would pass the limit now. */
bool log_stream_room(struct log_stream *s, size_t bytes);
/* At start, blocking: deletes the files of workloads (plain names) that are not wanted any more. */
void logs_sweep(struct logs *lg, bool (*wanted)(void *arg, const char *workload), void *arg);
/* The last max_lines lines (since a wall time, 0: any), each "time request_id text"; runs on the file thread after what
 * was added before. */
struct log_pos { /* a place between two lines; {0, 0}: before the oldest, {UINT32_MAX, UINT32_MAX}: behind the last */
	uint32_t segment, offset;
};
struct log_line {
	struct str when, stream, id, text; /* when: ISO with microseconds, "Z" behind them */
	struct log_pos at, end;		   /* before it, behind it */
};
typedef bool log_visit(void *arg, const struct log_line *line); /* false: enough */
struct log_read {
	char workload[160];
	int64_t since_wall_us;
	unsigned max_lines;
	bool (*wanted)(const struct log_read *r, const struct log_line *line); /* on the file thread; NULL: all are */
	/* Instead of all that: called on the file thread, which may look at all lines of a log as often as it likes. What
	 * it adds to out is given to done. */
	int (*scan)(struct log_read *r, struct log_files *f, struct err *e);
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
/* For scan: visits the lines behind a place in their order, or those before it backwards. */
int log_files_scan(struct log_files *f, const char *name, struct log_pos from, bool backward, log_visit *visit,
		   void *arg, struct err *e);
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
