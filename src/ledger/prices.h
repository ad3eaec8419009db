/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prices: what AWS Lambda and Fargate take, from spec/prices.json (USD, list prices, no free tier), and the share of the
 * machine's own price. Pure arithmetic: no clock, no file. Rules and sources stand beside the figures in
 * spec/prices.json.
 */
#pragma once
#include "base/err.h"
#include "base/str.h"
enum price_arch { PRICE_X86, PRICE_ARM, PRICE_ARCH_N };
struct prices {
	char as_of[16];
	double machine_usd_hour; /* default for "your machine's price" */
	struct {
		double request, gb_s[PRICE_ARCH_N];
	} lambda;
	struct {
		double vcpu_hour[PRICE_ARCH_N], gb_hour[PRICE_ARCH_N];
	} fargate;
};
int prices_parse(struct str json, struct prices *ret,
		 struct err *e); /* ERR_INVALID: names what is missing or not a price */

/* What Fargate counts of a task: the smallest of its sizes that holds both (beyond its largest: as asked), and whole
 * seconds, at least 60. */
void price_fargate_size(double *vcpu, double *gb);
int64_t price_fargate_seconds(double seconds);
double price_fargate(const struct prices *p, enum price_arch arch, double vcpu, double gb, double seconds);

/*
 * The machine: its price per hour is split over its CPUs and its memory in the proportion in which Fargate prices a
 * vCPU and a GB, so that a machine in full use costs exactly its price. A row takes CPU time used + memory held for its
 * time; what nobody used stays out.
 */
/* "0.05": digits with at most one point, at most a million. 0, or -1. */
int price_parse(const char *text, double *ret_usd);
struct price_machine {
	double usd_hour, usd_per_cpu_us, usd_per_byte_us;
};
void price_machine_init(struct price_machine *m, const struct prices *p, double usd_hour, double vcpus,
			double memory_bytes);
double price_machine_use(const struct price_machine *m, double cpu_us, double memory_bytes, double held_us);
