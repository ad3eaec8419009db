/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: one fixed-size row per invocation or stretch of idle time, append-only segments under
 * <state>/daemon/ledger/ (ledger-YYYYMMDD-NNNNNN.seg: header row with magic and row size, rows of 160 bytes with a
 * checksum), written through a buffer that is handed to a file thread after at most 200 ms (a timer armed only while it
 * holds rows) or 256 KiB. After a crash the incomplete tail is cut. When the disk cannot follow, at most 16 MiB wait;
 * what is beyond is dropped, counted, shown, logged. Names and tags are interned: rows carry a dictionary number; the
 * dictionary is a text file beside them (written before the row). At most 16 full segments are kept (1 GiB); older ones
 * are folded into sums by hour, so that queries still add up. Everything in full: docs/state.md, section "ledger".
 *
 * All calls are made on the loop's thread. ledger_add costs no allocation and no system call in the steady state.
 */
#pragma once
#include <stdbool.h>
#include "base/buf.h"
#include "base/err.h"
#include "loop/loop.h"
enum ledger_kind { LEDGER_INVOKE, LEDGER_IDLE, LEDGER_PLATFORM, LEDGER_TASK, LEDGER_REQUESTS, LEDGER_KIND_N };
enum ledger_lane { LANE_FUNCTION, LANE_CONTAINER, LANE_VM, LANE_N };
enum ledger_trigger { TRIGGER_API, TRIGGER_HTTP, TRIGGER_ASYNC, TRIGGER_CHECK, TRIGGER_N };
enum ledger_outcome {
	OUTCOME_OK,
	OUTCOME_ERROR,
	OUTCOME_TIMEOUT,
	OUTCOME_CRASH,
	OUTCOME_OOM,
	OUTCOME_INIT_FAILED,
	OUTCOME_THROTTLED,
	OUTCOME_FAILED,
	OUTCOME_CANCELED,
	OUTCOME_N
};
extern const char *const ledger_kind_name[LEDGER_KIND_N],
	*const ledger_lane_name[LANE_N], *const ledger_trigger_name[TRIGGER_N], *const ledger_outcome_name[OUTCOME_N];
enum ledger_cold { LEDGER_WARM, LEDGER_STARTED, LEDGER_RESTORED }; /* init_us is then the restore's */
struct ledger_row { /* as callers fill it; 128 bytes, also on disk; zero-initialise it */
	int64_t start_wall_us;
	uint32_t workload; /* ledger_intern: "project/name" */
	uint32_t tags;	   /* ledger_intern: "k=v,k2=v2" sorted; 0: none */
	uint64_t revision; /* serial */
	uint64_t instance;
	uint8_t kind, lane, trigger, outcome, cold;
	uint8_t request_id[16]; /* uuid as bytes; zero for idle */
	/* waiting for an instance; sandbox; runtime + import; handler */
	uint32_t queue_us, start_us, init_us, handler_us;
	uint32_t idle_ms; /* LEDGER_IDLE, LEDGER_PLATFORM, LEDGER_TASK: length of the stretch */
	uint32_t
		billed_ms; /* Lambda's rule: ceil of init (cold) + handler; by ledger_add when 0. LEDGER_TASK: Fargate's */
	uint64_t cpu_us;    /* CPU time of the group in that stretch */
	uint32_t memory_mb; /* limit */
	uint32_t version;   /* number of a published version; 0: $LATEST. LEDGER_TASK: thousandths of a vCPU.
			     LEDGER_REQUESTS: so many, to a service, in one row */
	uint64_t mem_peak_bytes;
	uint32_t bytes_in, bytes_out;
	double usd_aws;	    /* what Lambda, of a task Fargate, would take (spec/prices.json); by ledger_add when 0 */
	double usd_machine; /* share of the machine's own price (ledger/prices.h); by ledger_add when 0 */
};
struct ledger;
/* Blocking; daemon_dirfd: <state>/daemon, borrowed for the call; prices_json: the text of spec/prices.json. */
int ledger_open(struct loop *l, int daemon_dirfd, const char *prices_json, struct ledger **ret, struct err *e);
void ledger_free(struct ledger *lg); /* writes what is buffered; running queries get ERR_CANCELED. NULL is fine */
/* Never 0. Each call is a reference; the number is valid until as many ledger_release. */
uint32_t ledger_intern(struct ledger *lg, const char *text);
/* For what falls asleep: with the last reference a name without rows is forgotten; one with rows keeps its number and
 * metrics. 0 is fine. */
void ledger_release(struct ledger *lg, uint32_t number);
/* For a workload that is deleted: its metrics and, with the last reference, its memory go. Its rows stay, by name. */
void ledger_forget(struct ledger *lg, const char *workload);
void ledger_add(struct ledger *lg, const struct ledger_row *row); /* never waits; also feeds the metrics */
void ledger_flush(struct ledger *lg);				  /* asks for a flush now */
/* "Your machine's price per hour"; default from prices.json. Rows from now on. -1: negative or not finite. */
int ledger_machine_price(struct ledger *lg, double usd_per_hour);

/*
 * Query for `tandem cost`: sums by workload|tag|trigger|hour since a time; runs on the file thread in pieces (rows go
 * on being written between them) and sees every row that was added before; the JSON is given to done.
 *
 * {"by":"workload","since":"<ISO>","until":"<ISO>","machine_usd_per_hour":0.01,"prices_as_of":"2026-11",
 *  "bad_rows":0,"dropped_rows":0,"total":{SUM},"sums":[{"key":"shop/iris",SUM}, ...]}
 *
 * SUM: "invocations" "cold" "errors" "queue_us" "start_us" "init_us" "handler_us" "idle_ms" "billed_ms" "gb_s" "cpu_us"
 *      "mem_peak_bytes" (largest) "bytes_in" "bytes_out" "vcpu_s" (of tasks) "usd_aws" "usd_machine"
 * Largest usd_aws first; by hour: in order, key "2026-11-21T10:00:00Z". Rows of the platform, a
 * deployment's own check (TRIGGER_CHECK) among them, are in all but "invocations", "cold" and "errors".
 *
 * What runs and has no row yet is in the sums as the row that it would get now (ledger_query.so_far), not in "rows".
 *
 * by "tag": a row counts under each of its tags, rows without tags under ""; total counts each row once.
 * by "rows": instead of total and sums "rows", the last 100 in order of time, each with "time" "workload" "tags"
 *      "revision" "version" (of a task "vcpu") "instance" "kind" "lane" "trigger" "outcome" "cold" "restored" "request_id" "queue_us"
 *      "start_us" "init_us" "handler_us" "idle_ms" "billed_ms" "cpu_us" "memory_mb" "mem_peak_bytes" "bytes_in" "bytes_out"
 *      "usd_aws" "usd_machine"
 */
struct ledger_scan;
struct ledger_so_far {
	struct ledger_row row; /* its workload is 0 */
	char workload[160];
};
struct ledger_query {
	int64_t since_wall_us;	      /* sums of folded segments count by whole hours (days when older than a month) */
	char by[16];		      /* "workload", "tag", "trigger", "hour", "rows" (the last 100 rows) */
	char workload[160];	      /* "" : all */
	struct ledger_so_far *so_far; /* or NULL; from malloc, taken */
	size_t n_so_far;
	void (*done)(struct ledger_query *q, struct buf *json, const struct err *e);
	struct loop_work work;
	struct ledger *lg;
	struct buf out; /* freed after done */
	struct err e;
	struct ledger_scan *scan;
	struct loop_defer defer;
};
void ledger_query_start(struct ledger *lg, struct ledger_query *q); /* ERR_INVALID through done when by is unknown */

/*
 * Prometheus text (tandem_ prefix, base units, histogram buckets from 0.1 ms):
 * invocations_total{workload,lane,trigger,outcome}, invocation_duration_seconds, cold_starts_total,
 * cold_start_seconds{phase}, cost_usd_total{workload,price}, ledger_rows_total, ledger_rows_dropped_total. Gauges are
 * the caller's (who adds them at the end).
 */
void ledger_metrics(struct ledger *lg, struct buf *out);
/* Lambda's rule: ceil(init if cold + duration) in ms. */
uint32_t ledger_billed_ms(int64_t init_us, int64_t handler_us, bool cold);
