/* SPDX-License-Identifier: Apache-2.0 */
/* For simulate*.c: one simulation, whatever its calls come from. */
#pragma once
#include "advise/simulate.h"
#include "cli/price.h"

enum { SIM_WAYS_MAX = 16, SIM_NAME_MAX = 32, SIM_OFFERS = 3, SIM_CALLS_MAX = 20000000 };
extern const enum price_offer sim_offers[SIM_OFFERS]; /* those that charge for requests */
struct sim_opts {
	const char *policy, *restore, *plain, *service, *cpu, *price, *workload;
	int64_t seed, memory_mb, for_us, since_us, calls;
	bool check;
};
/* Calls that are to be made for real: of so many functions, within the time --for. */
struct sim_slice {
	struct sim_call {
		int64_t at_us, us;
		unsigned function;
	} * calls;
	size_t n, cap;
	unsigned functions;
};
struct sim {
	struct cli *c;
	struct sim_opts o;
	double cpu_share;    /* of a call, where nobody has measured it */
	size_t n, n_restore; /* the first ones start from snapshots, those after them plainly */
	char names[SIM_WAYS_MAX][SIM_NAME_MAX];
	struct simulate_way ways[SIM_WAYS_MAX];
	struct simulate *s;
	struct price_here price;
	struct {
		double usd;
		int64_t cannot; /* functions that cannot run there, left out of usd */
	} offers[SIM_OFFERS];
	double cpu_us, cpu_s; /* of calls, without starts; of this process */
	int64_t functions, left_out, calls, end_us, began_us, told_us;
	const char *source; /* what of it is measured, what is declared */
};
#define SIM_PROJECT "simulate-check" /* and its function, which sleeps for {"us": ...} */
/* body in a process of its own while the project is there; its exit code. */
int sim_project(struct cli *c, int (*body)(void *arg), void *arg);
int sim_check(struct sim *m, const char *what); /* the exit code */
int sim_slice_folder(struct sim *m, const char *folder, struct sim_slice *ret, struct err *e);
int sim_slice_traffic(struct sim *m, const char *spec, struct sim_slice *ret, struct err *e);
/* Where calls come from: each gives the functions to m->s, one after the other. -1: e says why not. */
int sim_folder(struct sim *m, const char *folder, struct err *e);
int sim_traffic(struct sim *m, const char *spec, struct err *e);
int sim_ledger(struct sim *m, struct err *e); /* > 0: the exit code; it was said why */
/* The function that was closed last: what it costs. */
void sim_function_over(struct sim *m, int64_t held_bytes, double cpu_us);
/* "100" or "100,400": the median, and the 99th percentile; straight lines between. */
int sim_service(const char *text, struct dist *ret, struct err *e);
