/* SPDX-License-Identifier: Apache-2.0 */
/* For bench*.c: one workload, measured in one lane after the other. */
#pragma once
#include "cli/probe.h"
#include "cli/report.h"
#include "sched/lane_model.h"

/* Of what is slow there is less: calls one after the other are no more begun after so long. How many there were is shown
 * beside each figure. */
#define BENCH_SLOW_US	   60000000
#define BENCH_STARTS_LEAST 3
#define BENCH_TOLD_CALLS   50

struct bench_opts {
	const char *lanes, *only, *payload, *path, *html;
	int64_t starts, burst, rate, duration_us, calls; /* calls: warm ones, at most */
	bool drills, yes;
};
struct bench {
	struct cli *c;
	struct bench_opts o;
	const char *of;
	struct buf payload;
	struct report r;
	struct probe p;		  /* the copy in the present lane */
	unsigned col;		  /* its column */
	const char *lane, *label; /* label: of the column, in plots and facts */
	unsigned step, steps;
	struct lane_facts facts;
	struct moments started; /* what each instance of the present lane held that was started */
	const char *measures;	/* what is measured, as the daemon tells it from another one */
	bool measured[LANE_N];
	double call_s;	    /* what the first took, without its start */
	size_t told, calls; /* those that the facts are of; made in all */
};
enum lane bench_lane(const struct bench *b);
/* A load on b->p; what failed of it is a figure of the phase (errors). */
int bench_load(struct bench *b, bool told, struct load_opts o, struct load *ret, struct err *e);
void bench_figure(struct bench *b, const char *phase, const char *name, const char *unit, struct estimate v);
void bench_quantiles(struct bench *b, const char *phase, struct sample *s); /* of milliseconds; sorts */
struct estimate bench_count(double v, size_t n);
int bench_copy(struct bench *b, const char *more, struct probe *ret, struct err *e); /* in the present lane */
/* From once(), which has killed something, to the end of the first good call that began after it. */
void bench_gap(const struct load *l, struct sample *ret_ms);
void bench_says(struct bench *b, const char *what); /* a step further */

int bench_find(const struct bench *b, char ret_lane[16],
	       struct err *e); /* whether there is such a workload, and its lane */
int bench_first_call(struct bench *b, struct err *e);
int bench_show(struct bench *b, int rc); /* as page, table and JSON; frees all */
bool bench_agreed(struct bench *b);

/* bench_phase.c. What is true of the lane is in b->facts afterwards. */
typedef int bench_run_phase(struct bench *b, struct err *e);
bench_run_phase bench_start, bench_warm, bench_steady, bench_rate, bench_burst, bench_recovery, bench_idle;

/* bench_drill.c. 0, or e: it could not be done. */
bench_run_phase drill_quota, drill_retry, drill_daemon;
/* Whether it may be: calls of others under way speak against it. */
int drill_daemon_check(struct bench *b, struct err *e);
