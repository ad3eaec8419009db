/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prices: what clouds take for a use, from spec/prices.json (USD, list prices on demand), and the share of the machine's
 * own price. Pure arithmetic: no clock, no file. Figures, their sources and how far each was checked stand in
 * spec/prices.json; the rules (rounding, minimum, sizes) with their sources in prices.c.
 */
#pragma once
#include "base/err.h"
#include "base/str.h"
enum price_arch { PRICE_X86, PRICE_ARM, PRICE_ARCH_N };
enum price_offer {
	PRICE_LAMBDA,
	PRICE_FARGATE,
	PRICE_EC2,
	PRICE_CLOUD_RUN_REQUEST,
	PRICE_CLOUD_RUN_INSTANCE,
	PRICE_AZURE_FUNCTIONS,
	PRICE_CONTAINER_APPS,
	PRICE_OFFER_N, /* "all"; below: the same two in dearer regions, by name only */
	PRICE_CLOUD_RUN_REQUEST_2 = PRICE_OFFER_N,
	PRICE_CLOUD_RUN_INSTANCE_2,
	PRICE_NAMED_N
};
extern const char *const price_offer_name[PRICE_NAMED_N];

/* What is charged for. kept: instances that wait for requests (provisioned concurrency), and requests that these serve. */
enum price_figure {
	PRICE_REQUEST,
	PRICE_VCPU_S,
	PRICE_GIB_S,
	PRICE_IDLE_VCPU_S,
	PRICE_IDLE_GIB_S,
	PRICE_KEPT_GIB_S,
	PRICE_KEPT_RUN_GIB_S,
	PRICE_FIGURE_N
};
#define PRICE_TIERS 4
#define PRICE_TYPES 16
struct price_tiers { /* by what was used in a month; the last has no end */
	struct {
		double upto, usd;
	} v[PRICE_TIERS];
};
struct prices {
	char as_of[16];
	double machine_usd_hour; /* default for "your machine's price" */
	struct price_rate {
		double usd[PRICE_FIGURE_N];
		struct price_tiers gib_s; /* of usd[PRICE_GIB_S], which is the first */
		struct {
			double requests, vcpu_s, gib_s;
		} free;		     /* each month */
		char unverified[80]; /* "gib_s, request": figures from memory; "" when none is */
	} rate[PRICE_NAMED_N][PRICE_ARCH_N];
	struct price_type { /* of EC2: the cheapest first */
		char name[16];
		double usd_hour, vcpu, gib, sustained_vcpu;
	} type[PRICE_TYPES];
	struct price_tiers api_rest, api_http; /* API Gateway, by millions of requests */
};
int prices_parse(struct str json, struct prices *ret,
		 struct err *e);			       /* ERR_INVALID: names what is missing or not a price */
int price_offer_parse(struct str name, enum price_offer *ret); /* -1: there is none of that name */

/* What one workload used. What is not known is 0. */
struct price_use {
	double requests;
	double billed_s;   /* sum of their durations, the init of cold ones included */
	double memory_mb;  /* of one instance, as declared */
	double vcpu;	   /* of one instance; 0: what this memory buys at Lambda */
	double instance_s; /* up time of all instances; 0: they are there for requests only, billed_s long */
	/* Further, all optional. */
	double instances; /* how many lives instance_s is the sum of; 0: it is rounded already */
	double kept_s;	  /* of provisioned instances: serve first */
	double step_s;	/* what each duration in billed_s is rounded up to already; 0: all are as long as their mean */
	double used_mb; /* largest use of memory, for who charges that (Azure Functions); 0: memory_mb */
	double months;	/* that it is the use of, for tiers and free tiers; below 1: 1 */
	bool free_tier; /* take off what is free in a month */
};
/* NAN: price_offer_cannot says why. Instances without requests are tasks: each is one request where only these are
 * charged. Where instances is 0, they are idle. */
double price_offer_usd(const struct prices *p, enum price_offer offer, enum price_arch arch, const struct price_use *u);
const char *price_offer_cannot(enum price_offer offer, const struct price_use *u); /* a sentence, or NULL */
bool price_offer_by_instance(enum price_offer offer); /* charges for up time, not for requests */
double price_tiers_usd(const struct price_tiers *t, double amount);
/* The cheapest type that may always use so much, NULL: several of them are needed, or none is large enough. */
const struct price_type *price_type_for(const struct prices *p, double vcpu, double gib);
/* Memory in MB that buys one vCPU at Lambda (its documentation, "configure memory"). */
#define PRICE_LAMBDA_VCPU_MB 1769.0
#define PRICE_MONTH_S	     (730 * 3600.0)

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
