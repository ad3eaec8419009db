/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prices: what AWS Lambda and others take, from spec/prices.json (USD, list prices, no free tier), and the share of the
 * machine's own price. Pure arithmetic: no clock, no file. Rules and sources stand beside the figures in
 * spec/prices.json.
 */
#pragma once
#include "base/err.h"
#include "base/str.h"
enum price_arch { PRICE_X86, PRICE_ARM, PRICE_ARCH_N };
enum price_run { PRICE_RUN_REQUEST, PRICE_RUN_INSTANCE, PRICE_RUN_N }; /* Cloud Run's two ways of billing */
#define PRICE_TIERS 4
#define PRICE_EC2   12
struct price_tiers {
	int n;
	struct {
		double upto; /* of the month's running total; the last is infinite */
		double usd;  /* per unit */
	} t[PRICE_TIERS];
};
struct prices {
	char as_of[16];
	double machine_usd_hour; /* default for "your machine's price" */
	struct {
		double request, ephemeral_gb_s;
		struct price_tiers duration[PRICE_ARCH_N]; /* per GB-s */
		double provisioned[PRICE_ARCH_N], duration_provisioned[PRICE_ARCH_N];
	} lambda;
	struct {
		double vcpu_hour[PRICE_ARCH_N], gb_hour[PRICE_ARCH_N];
	} fargate;
	struct {
		char type[16];
		double usd_hour;
	} ec2[PRICE_EC2];
	int n_ec2;
	struct {
		double vcpu_s, gib_s, request;
	} cloud_run[2][PRICE_RUN_N]; /* tier 1, tier 2 */
	struct {
		double gb_s, per_million;
	} azure_functions;
	struct {
		double vcpu_s_active, gib_s_active, vcpu_s_idle, gib_s_idle, per_million;
	} azure_container_apps;
	struct price_tiers apigw_rest, apigw_http; /* per million requests */
};
int prices_parse(struct str json, struct prices *ret,
		 struct err *e); /* ERR_INVALID: names what is missing or not a price */

double price_tiered(const struct price_tiers *t, double before, double quantity); /* before: already used this month */
/* Lambda: requests and GB-seconds in a month in which before_gb_s were used already. */
double price_lambda(const struct prices *p, enum price_arch arch, double requests, double before_gb_s, double gb_s);
double price_lambda_ephemeral(const struct prices *p, double mb, double seconds); /* /tmp: what is above 512 MB */
double price_lambda_provisioned(const struct prices *p, enum price_arch arch, double requests, double reserved_gb_s,
				double used_gb_s);
double price_provisioned_break_even(const struct prices *p,
				    enum price_arch arch); /* utilisation 0..1 above which it is cheaper */
double price_fargate(const struct prices *p, enum price_arch arch, double vcpu, double gb,
		     double seconds);					  /* whole seconds, at least 60 */
double price_ec2(const struct prices *p, const char *type, double hours); /* NAN: not in the file */
double price_cloud_run(const struct prices *p, int tier, enum price_run run, double vcpu_s, double gib_s,
		       double requests);
double price_azure_functions(const struct prices *p, double gb_s, double executions);
double price_azure_container_apps(const struct prices *p, double active_s, double idle_s, double vcpu, double gib,
				  double requests);
double price_apigw_rest(const struct prices *p, double requests);
double price_apigw_http(const struct prices *p, double requests);

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
