/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: one fixed-size row per invocation or stretch of idle time, append-only segments under <state>/daemon/ledger/
 * (ledger-YYYYMMDD-NNN.seg, header with magic and row size, rows of 256 bytes with a checksum), written through a buffer
 * that is flushed after at most 200 ms (only armed while it holds rows) or 64 KiB, from a file thread. After a crash the incomplete tail is cut.
 * Names and tags are interned: rows carry a dictionary number; the dictionary is a text segment beside them (committed before the row).
 */
#pragma once
#include <stdbool.h>
#include "base/buf.h"
#include "base/err.h"
#include "loop/loop.h"
enum ledger_kind { LEDGER_INVOKE, LEDGER_IDLE, LEDGER_PLATFORM, LEDGER_KIND_N };
enum ledger_lane { LANE_FUNCTION, LANE_CONTAINER, LANE_VM, LANE_N };
enum ledger_trigger { TRIGGER_API, TRIGGER_HTTP, TRIGGER_ASYNC, TRIGGER_CHECK, TRIGGER_N };
enum ledger_outcome { OUTCOME_OK, OUTCOME_ERROR, OUTCOME_TIMEOUT, OUTCOME_CRASH, OUTCOME_OOM, OUTCOME_INIT_FAILED, OUTCOME_THROTTLED, OUTCOME_FAILED, OUTCOME_CANCELED, OUTCOME_N };
extern const char *const ledger_kind_name[LEDGER_KIND_N], *const ledger_lane_name[LANE_N], *const ledger_trigger_name[TRIGGER_N], *const ledger_outcome_name[OUTCOME_N];
struct ledger_row {              /* as callers fill it; at most 224 bytes */
	int64_t start_wall_us;
	uint32_t workload;           /* ledger_intern: "project/name" */
	uint32_t tags;               /* ledger_intern: "k=v,k2=v2" sorted; 0: none */
	uint64_t revision;           /* serial */
	uint64_t instance;
	uint8_t kind, lane, trigger, outcome, cold;
	uint8_t request_id[16];      /* uuid as bytes; zero for idle */
	uint32_t queue_us, start_us, init_us, handler_us; /* waiting for an instance; sandbox; runtime + import; handler */
	uint32_t idle_ms;            /* LEDGER_IDLE, LEDGER_PLATFORM: length of the stretch */
	uint32_t billed_ms;          /* Lambda's rule: ceil of init (cold) + handler */
	uint64_t cpu_us;             /* CPU time of the group in that stretch */
	uint32_t memory_mb;          /* limit */
	uint64_t mem_peak_bytes;
	uint32_t bytes_in, bytes_out;
	double usd_lambda;           /* what AWS Lambda would take (spec/prices.json); by ledger_add when 0 */
	double usd_machine;          /* share of the machine's own price; by ledger_add when 0 */
};
struct ledger;
int ledger_open(struct loop *l, int state_dirfd, const char *prices_json, struct ledger **ret, struct err *e); /* blocking; prices_json: text of spec/prices.json */
void ledger_free(struct ledger *lg);         /* flushes */
uint32_t ledger_intern(struct ledger *lg, const char *text); /* never 0 */
void ledger_add(struct ledger *lg, const struct ledger_row *row); /* never waits; also feeds the metrics */
void ledger_flush(struct ledger *lg);        /* asks for a flush now */
int ledger_machine_price(struct ledger *lg, double usd_per_hour); /* "your machine's price per hour"; default from prices.json */

/* Query for `tandem cost`: sums by workload|tag|trigger|hour since a time; runs on the file thread; the JSON is given to done. */
struct ledger_query {
	int64_t since_wall_us;
	char by[16];                 /* "workload", "tag", "trigger", "hour", "rows" (the last 100 rows) */
	char workload[160];          /* "" : all */
	void (*done)(struct ledger_query *q, struct buf *json, const struct err *e);
	struct loop_work work;
	struct ledger *lg;
	struct buf out;
	struct err e;
};
void ledger_query_start(struct ledger *lg, struct ledger_query *q);

/* Prometheus text (tandem_ prefix, base units, histogram buckets from 0.1 ms): invocations_total{workload,lane,trigger,outcome},
 * invocation_duration_seconds, cold_starts_total, cold_start_seconds{phase}, cost_usd_total. Gauges are the caller's (ledger_metrics adds them at the end). */
void ledger_metrics(struct ledger *lg, struct buf *out);
/* Lambda's rule: ceil(init if cold + duration) in ms. */
uint32_t ledger_billed_ms(int64_t init_us, int64_t handler_us, bool cold);
