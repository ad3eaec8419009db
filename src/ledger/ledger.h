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
#include "base/lane.h"
#include "ledger/prices.h"
#include "loop/loop.h"
enum ledger_kind {
	LEDGER_INVOKE,
	LEDGER_IDLE,
	LEDGER_PLATFORM,
	LEDGER_TASK,
	LEDGER_REQUESTS,
	LEDGER_UNUSED, /* of the machine (ledger/machine.h); these three are in no sum of ours */
	LEDGER_OTHER,
	LEDGER_MACHINE,
	LEDGER_KIND_N
};
enum ledger_trigger {
	TRIGGER_API,
	TRIGGER_HTTP,
	TRIGGER_ASYNC,
	TRIGGER_CHECK,
	TRIGGER_QUEUE,
	TRIGGER_STREAM,
	TRIGGER_N
};
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
extern const char *const ledger_kind_name[LEDGER_KIND_N], *const ledger_trigger_name[TRIGGER_N],
								  *const ledger_outcome_name[OUTCOME_N];
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
	uint32_t idle_ms; /* of a row that is a stretch of time (all but invoke and requests): its length */
	uint32_t
		billed_ms; /* Lambda's rule: ceil of init (cold) + handler; by ledger_add when 0. LEDGER_TASK: Fargate's */
	uint64_t cpu_us;    /* CPU time of the group in that stretch */
	uint32_t memory_mb; /* limit */
	uint32_t version;   /* number of a published version; 0: $LATEST. LEDGER_TASK: thousandths of a vCPU.
			     LEDGER_REQUESTS: so many, to a service, in one row */
	uint64_t mem_peak_bytes;
	uint32_t bytes_in, bytes_out; /* LEDGER_TASK: in 1,024, through its way out */
	double usd_aws;	    /* what Lambda, of a task Fargate, would take (spec/prices.json); by ledger_add when 0 */
	double usd_machine; /* share of the machine's own price (ledger/prices.h); by ledger_add when 0 */
};
struct ledger;
/* Blocking; daemon_dirfd: <state>/daemon, borrowed for the call; prices_json: the text of spec/prices.json. */
int ledger_open(struct loop *l, int daemon_dirfd, const char *prices_json, struct ledger **ret, struct err *e);
void ledger_free(struct ledger *lg); /* writes what is buffered; running queries get ERR_CANCELED. NULL is fine */
/* Never 0. Each call is a reference; the number is valid until as many ledger_release. */
uint32_t ledger_intern(struct ledger *lg, const char *text);
const char *ledger_text(const struct ledger *lg, uint32_t number); /* of a number in use; "" for 0 */
/* For what falls asleep: with the last reference a name without rows is forgotten; one with rows keeps its number and
 * metrics. 0 is fine. */
void ledger_release(struct ledger *lg, uint32_t number);
/* For a workload that is deleted: its metrics and, with the last reference, its memory go. Its rows stay, by name. */
void ledger_forget(struct ledger *lg, const char *workload);
void ledger_add(struct ledger *lg, const struct ledger_row *row); /* never waits; also feeds the metrics */
/* For the one who wants to hear of each row that is added, complete, after it. */
void ledger_on_row(struct ledger *lg, void (*f)(void *arg, const struct ledger_row *row), void *arg);
/* Whether somebody wants to hear of the rows of that workload; and who that is. */
void ledger_watch(struct ledger *lg, uint32_t workload, bool watched);
void ledger_on_watched(struct ledger *lg, void (*f)(void *arg, const char *workload, const struct ledger_row *row),
		       void *arg);
void ledger_flush(struct ledger *lg); /* asks for a flush now */
/* "Your machine's price": of an hour (default from prices.json; rows from now on), and of what is in no row's price, 0 until
 * it is said: holding 1e9 bytes on disk for 730 hours, and 1e9 bytes in or out. */
enum ledger_price { LEDGER_PRICE_MACHINE, LEDGER_PRICE_DISK, LEDGER_PRICE_NETWORK, LEDGER_PRICE_N };
extern const struct ledger_price_name {
	const char *asked, *setting, *json; /* in the query, in the database, in answers */
} ledger_price_name[LEDGER_PRICE_N];
int ledger_price_set(struct ledger *lg, enum ledger_price which, double usd); /* -1: negative or not finite */
double ledger_price_of(const struct ledger *lg, enum ledger_price which);
/* What rows are priced by now; the ledger's. */
struct ledger_prices {
	struct prices book;
	struct price_machine machine;
	enum price_arch arch;	     /* this host's */
	double usd_gb_month, usd_gb; /* disk, network */
};
const struct ledger_prices *ledger_prices(const struct ledger *lg);

/*
 * Query for `tandem cost`: sums by workload|lane|tag|trigger|hour since a time; runs on the file thread in pieces (rows
 * go on being written between them) and sees every row that was added before; the JSON is given to done.
 *
 * {"by":"workload","since":"<ISO>","until":"<ISO>","machine_usd_per_hour":0.01,"prices_as_of":"2026-11",
 *  "bad_rows":0,"dropped_rows":0,"dropped_tags":0,"total":{SUM},"machine":{...},"sums":[{"key":"shop/iris",SUM,"usd_split":0.1}, ...]}
 *
 * SUM: "invocations" "cold" "errors" "queue_us" "start_us" "init_us" "handler_us" "idle_ms" "billed_ms" "gb_s" "cpu_us"
 *      "mem_peak_bytes" (largest) "bytes_in" "bytes_out" "vcpu_s" (of tasks) "usd_aws" "usd_machine" "usd_idle" (of it,
 *      for instances that waited)
 * Largest usd_aws first; by hour: in order, key "2026-11-21T10:00:00Z". Rows of the platform, a
 * deployment's own check (TRIGGER_CHECK) among them, are in all but "invocations", "cold" and "errors"; by lane, tag and
 * trigger their key is "platform", and by trigger idle time's is "idle".
 *      "usd_network": of bytes_in and bytes_out, besides usd_machine; the total also has "usd_disk"
 *
 * "machine", of all workloads only: "seconds" that were measured, "usd" their price, "usd_ours" (the total), "usd_unused"
 * (nobody used it), "usd_other" (processes that are not ours), "usd_disk" (what is held now, for those seconds), "usd_network",
 * "usd_unattributed" = usd - the others, and
 * "unattributed_percent", "unattributed_cpu_us". By hour these (but seconds and ours) are in each sum as well.
 * "usd_split": usd_machine and a share of what the platform took and nobody used; by use (in proportion to usd_machine)
 * or even (each line the same); not by hour.
 *
 * What runs and has no row yet is in the sums as the row that it would get now (ledger_query.so_far), not in "rows".
 *
 * by "disk", or once a disk has a price: "disk": [{"key","bytes","files","at_least"}], ledger/disk.h; by "disk" no sums.
 * by "tag": a row counts under each of its tags, rows without tags under ""; total counts each row once.
 * on: each SUM has "on": {"aws-lambda": USD, ...}, null where something of it cannot run there, and the total what can;
 *      "offers": [{"name","unverified": figures from memory, "cannot": [{"workload","why"}]}], at most 20 of a kind.
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
	int64_t since_wall_us; /* sums of folded segments count by whole hours (days when older than a month) */
	char by[16];	       /* "workload", "lane", "tag", "trigger", "hour", "disk", "rows" (the last 100) */
	char split[8];	       /* "use", "even", "none" or "" */
	char workload[160];    /* "" : all */
	int64_t layer_bytes, snapshot_bytes; /* on disk, by their counters */
	uint32_t on;			     /* bits of enum price_offer: what the same would cost there */
	struct ledger_so_far *so_far;	     /* or NULL; from malloc, taken */
	size_t n_so_far;
	/* Instead of sums: each row as it is, on the file thread; those that are so_far too, at the end. */
	void (*visit)(struct ledger_query *q, const struct ledger_row *row, const char *workload);
	/* With visit: on the loop, after each piece of some 50,000 rows. true: go on only after ledger_query_go. */
	bool (*rest)(struct ledger_query *q);
	void (*done)(struct ledger_query *q, struct buf *json, const struct err *e);
	bool rests;
	struct loop_work work;
	struct ledger *lg;
	struct buf out; /* freed after done */
	struct err e;
	struct ledger_scan *scan;
	struct loop_defer defer;
};
void ledger_price_row(const struct ledger *lg, struct ledger_row *row); /* what it would cost, as ledger_add says */
void ledger_query_so_far(struct ledger_query *q, const struct ledger_row *row, const char *workload);
void ledger_query_go(struct ledger_query *q);			    /* if it rests */
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
