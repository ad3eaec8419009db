/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/prices.h"
#include <math.h>
#include <stdio.h>
#include "json/read.h"

/* A typing error in the file must not become an absurd bill. */
#define USD_MAX 1e6
/* Of a type's CPUs and GiB: what is shared out by them stays a number. */
#define TYPE_LEAST 0.01

static const char *const arch_name[PRICE_ARCH_N] = {"x86", "arm"};
const char *const price_offer_name[PRICE_NAMED_N] = {
	[PRICE_LAMBDA] = "aws-lambda",
	[PRICE_FARGATE] = "aws-fargate",
	[PRICE_EC2] = "aws-ec2",
	[PRICE_CLOUD_RUN_REQUEST] = "cloud-run",
	[PRICE_CLOUD_RUN_INSTANCE] = "cloud-run-instance",
	[PRICE_AZURE_FUNCTIONS] = "azure-functions",
	[PRICE_CONTAINER_APPS] = "azure-container-apps",
	[PRICE_CLOUD_RUN_REQUEST_2] = "cloud-run-tier2",
	[PRICE_CLOUD_RUN_INSTANCE_2] = "cloud-run-instance-tier2",
};

int price_offer_parse(struct str name, enum price_offer *ret)
{
	for (int o = 0; o < PRICE_NAMED_N; o++)
		if (str_eqc(name, price_offer_name[o])) {
			*ret = (enum price_offer)o;
			return 0;
		}
	return -1;
}

/* ---- the file ---- */

/* The units in which figures are published; each may end in _x86 or _arm. */
static const struct {
	const char *key;
	enum price_figure figure;
	double per;
} figures[] = {
	{"request", PRICE_REQUEST, 1},
	{"request_million", PRICE_REQUEST, 1e6},
	{"vcpu_s", PRICE_VCPU_S, 1},
	{"vcpu_hour", PRICE_VCPU_S, 3600},
	{"gib_s", PRICE_GIB_S, 1},
	{"gib_hour", PRICE_GIB_S, 3600},
	{"idle_vcpu_s", PRICE_IDLE_VCPU_S, 1},
	{"idle_gib_s", PRICE_IDLE_GIB_S, 1},
	{"kept_gib_s", PRICE_KEPT_GIB_S, 1},
	{"kept_run_gib_s", PRICE_KEPT_RUN_GIB_S, 1},
};
#define HAS(f) (1u << PRICE_##f)
static const unsigned required[PRICE_NAMED_N] = {
	[PRICE_LAMBDA] = HAS(REQUEST) | HAS(GIB_S) | HAS(KEPT_GIB_S) | HAS(KEPT_RUN_GIB_S),
	[PRICE_FARGATE] = HAS(VCPU_S) | HAS(GIB_S),
	[PRICE_CLOUD_RUN_REQUEST] = HAS(REQUEST) | HAS(VCPU_S) | HAS(GIB_S),
	[PRICE_CLOUD_RUN_INSTANCE] = HAS(VCPU_S) | HAS(GIB_S),
	[PRICE_AZURE_FUNCTIONS] = HAS(REQUEST) | HAS(GIB_S),
	[PRICE_CONTAINER_APPS] = HAS(REQUEST) | HAS(VCPU_S) | HAS(GIB_S) | HAS(IDLE_VCPU_S) | HAS(IDLE_GIB_S),
	[PRICE_CLOUD_RUN_REQUEST_2] = HAS(REQUEST) | HAS(VCPU_S) | HAS(GIB_S),
	[PRICE_CLOUD_RUN_INSTANCE_2] = HAS(VCPU_S) | HAS(GIB_S),
};

/* Reads members; the first that is wrong is remembered, the rest go by. */
struct reader {
	struct err *e;
	bool failed;
};

static void wrong(struct reader *r, const char *offer, const char *key, const char *what)
{
	if (!r->failed)
		err_set(r->e, ERR_INVALID, "\"%s\" of \"%s\" is missing or not %s", key, offer, what);
	r->failed = true;
}

static double number(struct reader *r, const char *offer, const struct json *obj, const char *key)
{
	double v = json_real(json_get(obj, key), -1);

	if (!(v >= 0 && v <= USD_MAX))
		wrong(r, offer, key, "a price");
	return v;
}

static void read_tiers(struct reader *r, const char *offer, const struct json *figure, double per,
		       struct price_tiers *t)
{
	const struct json *v = json_get(figure, "tiers");
	size_t n = json_len(v);

	t->v[0].upto = INFINITY;
	t->v[0].usd = number(r, offer, figure, "usd") / per;
	if (n > PRICE_TIERS)
		wrong(r, offer, "tiers", "a list of at most four");
	for (size_t i = 0; i < n && i < PRICE_TIERS; i++) {
		t->v[i].upto = json_real(json_get(json_at(v, i), "upto"), INFINITY);
		t->v[i].usd = number(r, offer, json_at(v, i), "usd") / per;
		if (!(t->v[i].upto > (i ? t->v[i - 1].upto : 0)) || isinf(t->v[i].upto) != (i + 1 == n))
			wrong(r, offer, "upto", "larger than the one before it");
	}
}

static void read_rate(struct reader *r, const struct json *obj, enum price_offer offer, enum price_arch arch,
		      struct price_rate *rate)
{
	const char *name = price_offer_name[offer];
	unsigned has = 0;

	for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
		const enum price_figure f = figures[i].figure;
		const struct json *j = json_get(obj, figures[i].key);
		char key[32];
		size_t n = strlen(rate->unverified);

		snprintf(key, sizeof(key), "%s_%s", figures[i].key, arch_name[arch]);
		if (!j)
			j = json_get(obj, key);
		if (!j)
			continue;
		has |= 1u << f;
		rate->usd[f] = number(r, name, j, "usd") / figures[i].per;
		if (f == PRICE_GIB_S)
			read_tiers(r, name, j, figures[i].per, &rate->gib_s);
		if (str_eqc(json_get_str(j, "v"), "M"))
			snprintf(rate->unverified + n, sizeof(rate->unverified) - n, "%s%s", n ? ", " : "",
				 figures[i].key);
	}
	for (size_t i = 0; i < ARRAY_SIZE(figures); i++)
		if (required[offer] & ~has & 1u << figures[i].figure)
			wrong(r, name, figures[i].key, "a price");
	obj = json_get(obj, "free");
	rate->free.requests = json_real(json_get(obj, "requests"), 0);
	rate->free.vcpu_s = json_real(json_get(obj, "vcpu_s"), 0);
	rate->free.gib_s = json_real(json_get(obj, "gib_s"), 0);
	if (!(fmin(fmin(rate->free.requests, rate->free.vcpu_s), rate->free.gib_s) >= 0))
		wrong(r, name, "free", "what is free");
}

static int by_price(const void *a, const void *b)
{
	const struct price_type *x = a, *y = b;

	return x->usd_hour != y->usd_hour ? (x->usd_hour < y->usd_hour ? -1 : 1) : strcmp(x->name, y->name);
}

static void read_types(struct reader *r, const struct json *types, struct prices *p)
{
	const char *offer = price_offer_name[PRICE_EC2];
	size_t n = json_len(types);

	if (!n || n > PRICE_TYPES)
		wrong(r, offer, "types", "a list of 1 to 16");
	for (size_t i = 0; i < n && !r->failed; i++) {
		const struct json *j = json_at(types, i);
		struct price_type *t = &p->type[i];

		strlcpy_(t->name, json_get_str(j, "name").p ?: "", sizeof(t->name));
		t->usd_hour = number(r, offer, j, "usd_hour");
		t->vcpu = number(r, offer, j, "vcpu");
		t->gib = number(r, offer, j, "gib");
		t->sustained_vcpu = number(r, offer, j, "sustained_vcpu");
		if (!(t->gib >= TYPE_LEAST && t->sustained_vcpu >= TYPE_LEAST))
			wrong(r, offer, "gib and sustained_vcpu", "of a machine");
	}
	qsort(p->type, n < PRICE_TYPES ? n : PRICE_TYPES, sizeof(p->type[0]), by_price);
	for (enum price_arch a = 0; a < PRICE_ARCH_N; a++)
		strlcpy_(p->rate[PRICE_EC2][a].unverified, "sizes, minimum", sizeof(p->rate[0][0].unverified));
}

int prices_parse(struct str text, struct prices *ret, struct err *e)
{
	auto_json root = json_parse(text, e);
	const struct json *offers = json_get(root, "offers"), *api = json_get(root, "api_gateway_million");
	struct reader r = {.e = e};
	struct prices p = {0};
	struct str as_of = json_get_str(root, "as_of");

	if (!root)
		return err_wrap(e, "prices");
	if (as_of.n == 0 || as_of.n >= sizeof(p.as_of))
		return err_set(e, ERR_INVALID, "prices: \"as_of\" is missing or too long");
	memcpy(p.as_of, as_of.p, as_of.n);
	p.machine_usd_hour = number(&r, "machine", json_get(root, "machine"), "usd_hour");
	for (enum price_offer o = 0; o < PRICE_NAMED_N; o++)
		for (enum price_arch a = 0; a < PRICE_ARCH_N; a++)
			read_rate(&r, json_get(offers, price_offer_name[o]), o, a, &p.rate[o][a]);
	read_types(&r, json_get(json_get(offers, price_offer_name[PRICE_EC2]), "types"), &p);
	read_tiers(&r, "api_gateway_million", json_get(api, "rest"), 1, &p.api_rest);
	read_tiers(&r, "api_gateway_million", json_get(api, "http"), 1, &p.api_http);
	if (r.failed)
		return err_wrap(e, "prices");
	*ret = p;
	return 0;
}

/* ---- rules ---- */

static double up_to(double v, double step)
{
	return ceil(v / step - 1e-9) * step;
}

struct size {
	double vcpu, from, to, step; /* GiB */
};

static bool fit(const struct size *sizes, size_t n, double *vcpu, double *gib)
{
	for (size_t i = 0; i < n; i++) {
		if (*vcpu > sizes[i].vcpu || *gib > sizes[i].to)
			continue;
		*vcpu = sizes[i].vcpu;
		*gib = *gib <= sizes[i].from ? sizes[i].from
					     : sizes[i].from + up_to(*gib - sizes[i].from, sizes[i].step);
		return true;
	}
	return false;
}

/* Its documentation, "task size". */
static bool fit_fargate(double *vcpu, double *gib)
{
	static const struct size sizes[] = {{0.25, 0.5, 1, 0.5}, {0.25, 2, 2, 1}, {0.5, 1, 4, 1}, {1, 2, 8, 1},
					    {2, 4, 16, 1},	 {4, 8, 30, 1},	  {8, 16, 60, 4}, {16, 32, 120, 8}};

	fit(sizes, ARRAY_SIZE(sizes), vcpu, gib);
	return true;
}

/* Memory buys CPU: what needs more CPU takes more memory. "Configure memory": 128 to 10,240 MB in steps of 1 MB. */
static bool fit_lambda(double *vcpu, double *gib)
{
	*gib = fmax(fmax(*gib, *vcpu * PRICE_LAMBDA_VCPU_MB / 1024), 0.125);
	return *gib <= 10;
}

/* docs.cloud.google.com/run/docs/configuring/services/cpu, "vCPU and memory table". */
static bool fit_cloud_run_instance(double *vcpu, double *gib)
{
	static const struct size sizes[] = {{1, 0.125, 4, 1 / 1024.0},
					    {2, 0.125, 8, 1 / 1024.0},
					    {4, 2, 16, 1 / 1024.0},
					    {6, 4, 24, 1 / 1024.0},
					    {8, 4, 32, 1 / 1024.0}};

	return fit(sizes, ARRAY_SIZE(sizes), vcpu, gib);
}

/* The same; less than one vCPU only where requests are charged. */
static bool fit_cloud_run(double *vcpu, double *gib)
{
	double least = *gib <= 0.5 ? 0.08 : *gib <= 1 ? 0.5 : 1, wish = fmax(*vcpu, least);

	if (!fit_cloud_run_instance(vcpu, gib))
		return false;
	if (wish < 1)
		*vcpu = up_to(wish, 0.001);
	return true;
}

/* learn.microsoft.com "functions-consumption-costs": memory used, rounded up to 128 MB; an instance has 1.5 GB (M). */
static bool fit_functions(double *vcpu, double *gib)
{
	*gib = fmax(up_to(*gib, 0.125), 0.125);
	return *gib <= 1.5;
}

/* Consumption: 2 GiB for each vCPU, from 0.25 vCPU to 4 in steps of 0.25 (M). */
static bool fit_container_apps(double *vcpu, double *gib)
{
	*vcpu = fmax(up_to(fmax(*vcpu, *gib / 2), 0.25), 0.25);
	*gib = *vcpu * 2;
	return *vcpu <= 4;
}

static bool fit_any(double *vcpu, double *gib)
{
	return true;
}

/* Seconds. step, least: of each request, or of each instance's life. longest: of a request. */
static const struct rule {
	bool by_instance;
	double step, least, longest;
	bool (*fit)(double *vcpu, double *gib);
	const char *too_large;
} rules[PRICE_NAMED_N] = {
	/* The AWS blog on billing of INIT: whole ms; a function's timeout is at most 900 s. */
	[PRICE_LAMBDA] = {false, 0.001, 0, 900, fit_lambda, "Lambda has 10,240 MB of memory and 5.8 vCPU at the most"},
	/* aws.amazon.com/fargate/pricing: whole seconds, at least a minute. */
	[PRICE_FARGATE] = {true, 1, 60, 0, fit_fargate, NULL},
	[PRICE_EC2] = {true, 1, 60, 0, fit_any, NULL}, /* the same (M) */
	/* cloud.google.com/run/pricing: 100 ms; a request lasts an hour at the most, an instance counts for a minute
	 * at the least (M). */
	[PRICE_CLOUD_RUN_REQUEST] = {false, 0.1, 0, 3600, fit_cloud_run, "Cloud Run has 8 vCPU and 32 GiB at the most"},
	[PRICE_CLOUD_RUN_INSTANCE] = {true, 0.1, 60, 0, fit_cloud_run_instance,
				      "Cloud Run has 8 vCPU and 32 GiB at the most"},
	[PRICE_CLOUD_RUN_REQUEST_2] = {false, 0.1, 0, 3600, fit_cloud_run,
				       "Cloud Run has 8 vCPU and 32 GiB at the most"},
	[PRICE_CLOUD_RUN_INSTANCE_2] = {true, 0.1, 60, 0, fit_cloud_run_instance,
					"Cloud Run has 8 vCPU and 32 GiB at the most"},
	/* The book's rules (M): whole ms, at least 100; 10 minutes at the most. */
	[PRICE_AZURE_FUNCTIONS] = {false, 0.001, 0.1, 600, fit_functions,
				   "Azure Functions (consumption) has 1.5 GB of memory at the most"},
	[PRICE_CONTAINER_APPS] = {false, 1, 0, 0, fit_container_apps,
				  "Container Apps (consumption) has 4 vCPU and 8 GiB at the most"},
};

/* What one instance takes there. */
static bool shape(enum price_offer offer, const struct price_use *u, double *ret_vcpu, double *ret_gib)
{
	double mb = offer == PRICE_AZURE_FUNCTIONS && u->used_mb > 0 ? u->used_mb : u->memory_mb;

	*ret_gib = mb / 1024;
	*ret_vcpu = u->vcpu > 0 ? u->vcpu : u->memory_mb / PRICE_LAMBDA_VCPU_MB;
	return rules[offer].fit(ret_vcpu, ret_gib);
}

const char *price_offer_cannot(enum price_offer offer, const struct price_use *u)
{
	static const char *const longest[PRICE_NAMED_N] = {
		[PRICE_LAMBDA] = "a request lasts longer than Lambda's 900 s",
		[PRICE_CLOUD_RUN_REQUEST] = "a request lasts longer than Cloud Run's hour",
		[PRICE_CLOUD_RUN_REQUEST_2] = "a request lasts longer than Cloud Run's hour",
		[PRICE_AZURE_FUNCTIONS] = "a request lasts longer than the 600 s of Azure Functions (consumption)",
	};
	const struct rule *r = &rules[offer];
	bool task = u->requests <= 0 && u->instances > 0;
	double n = fmax(task ? u->instances : u->requests, 1), s = task ? u->instance_s : u->billed_s, vcpu, gib;

	if (!shape(offer, u, &vcpu, &gib))
		return r->too_large;
	return r->longest > 0 && s / n > r->longest ? longest[offer] : NULL;
}

bool price_offer_by_instance(enum price_offer offer)
{
	return rules[offer].by_instance;
}

/* The sum of n lengths after each was rounded up. Of lengths that are spread about their mean (done: what they are
 * rounded to already), as of exponentially distributed ones. */
static double rounded(double sum, double n, const struct rule *r, double done)
{
	double mean = n > 0 ? sum / n : 0;

	if (sum <= 0 || n <= 0 || done >= r->step)
		return fmax(sum, n * (sum > 0 ? r->least : 0));
	if (done > 0)
		return fmax(n * r->step / -expm1(-r->step / mean), n * r->least);
	return n * fmax(up_to(mean, r->step), r->least);
}

double price_tiers_usd(const struct price_tiers *t, double amount)
{
	double usd = 0, from = 0;

	for (size_t i = 0; i < PRICE_TIERS && amount > from; i++) {
		usd += (fmin(amount, t->v[i].upto) - from) * t->v[i].usd;
		from = t->v[i].upto;
	}
	return usd;
}

const struct price_type *price_type_for(const struct prices *p, double vcpu, double gib)
{
	for (const struct price_type *t = p->type; t < p->type + PRICE_TYPES && t->name[0]; t++)
		if (t->sustained_vcpu >= vcpu && t->gib >= gib)
			return t;
	return NULL;
}

/* An hour of the machines that hold one instance: the smallest that does, or as many of the largest as it takes. */
static double ec2_hour(const struct prices *p, double vcpu, double gib)
{
	const struct price_type *t = price_type_for(p, vcpu, gib), *last = p->type;

	if (t)
		return t->usd_hour;
	for (t = p->type; t < p->type + PRICE_TYPES && t->name[0]; t++)
		last = t;
	return last->usd_hour * ceil(fmax(vcpu / last->sustained_vcpu, gib / last->gib));
}

static double after_free(double amount, double free_month, const struct price_use *u)
{
	return u->free_tier ? fmax(0, amount - free_month * fmax(u->months, 1)) : amount;
}

double price_offer_usd(const struct prices *p, enum price_offer offer, enum price_arch arch, const struct price_use *u)
{
	const struct price_rate *rate = &p->rate[offer][arch];
	const struct rule *r = &rules[offer];
	bool task = u->requests <= 0 && u->billed_s <= 0 && u->instances > 0;
	double lives = u->instances > 0 ? u->instances : 1, months = fmax(u->months, 1), vcpu, gib;
	double requests = task ? lives : u->requests, kept = 0, run = 0, busy, gib_s, usd;

	if (price_offer_cannot(offer, u))
		return NAN;
	shape(offer, u, &vcpu, &gib);
	if (r->by_instance && u->instance_s > 0)
		busy = u->instances > 0 ? rounded(u->instance_s, lives, r, 0) : u->instance_s;
	else
		busy = task ? rounded(u->instance_s, lives, r, 0) : rounded(u->billed_s, requests, r, u->step_s);
	/* learn.microsoft.com "container-apps/billing": a second of a replica, active while it has a request: several at
	 * once are one. */
	if (offer == PRICE_CONTAINER_APPS && u->instance_s > 0)
		busy = fmin(busy, up_to(u->instance_s, r->step));
	if (offer == PRICE_EC2)
		return busy / 3600 * ec2_hour(p, vcpu, gib);
	if (offer == PRICE_LAMBDA) {
		kept = u->kept_s;
		run = fmin(kept, busy);
	}
	gib_s = after_free(gib * (busy - run), rate->free.gib_s, u);
	usd = price_tiers_usd(&rate->gib_s, gib_s / months) * months +
	      rate->usd[PRICE_VCPU_S] * after_free(vcpu * busy, rate->free.vcpu_s, u) +
	      rate->usd[PRICE_REQUEST] * after_free(requests, rate->free.requests, u) +
	      gib * (kept * rate->usd[PRICE_KEPT_GIB_S] + run * rate->usd[PRICE_KEPT_RUN_GIB_S]);
	if (offer == PRICE_CONTAINER_APPS && u->instance_s > busy)
		usd += (u->instance_s - busy) *
		       (vcpu * rate->usd[PRICE_IDLE_VCPU_S] + gib * rate->usd[PRICE_IDLE_GIB_S]);
	return usd;
}

void price_fargate_size(double *vcpu, double *gb)
{
	fit_fargate(vcpu, gb);
}

int64_t price_fargate_seconds(double seconds)
{
	return seconds > 60 ? (int64_t)ceil(seconds) : 60;
}

double price_fargate(const struct prices *p, enum price_arch arch, double vcpu, double gb, double seconds)
{
	const double *usd = p->rate[PRICE_FARGATE][arch].usd;

	price_fargate_size(&vcpu, &gb);
	return (vcpu * usd[PRICE_VCPU_S] + gb * usd[PRICE_GIB_S]) * (double)price_fargate_seconds(seconds);
}

/* ---- the machine ---- */

void price_machine_init(struct price_machine *m, const struct prices *p, double usd_hour, double vcpus,
			double memory_bytes)
{
	double cpu = p->rate[PRICE_FARGATE][PRICE_X86].usd[PRICE_VCPU_S];
	double gb = p->rate[PRICE_FARGATE][PRICE_X86].usd[PRICE_GIB_S];
	double whole = vcpus * cpu + memory_bytes / 1e9 * gb, hour_us = 3600e6;

	m->usd_hour = usd_hour;
	m->usd_per_cpu_us = whole > 0 ? usd_hour * cpu / whole / hour_us : 0;
	m->usd_per_byte_us = whole > 0 ? usd_hour * gb / 1e9 / whole / hour_us : 0;
}

double price_machine_use(const struct price_machine *m, double cpu_us, double memory_bytes, double held_us)
{
	return cpu_us * m->usd_per_cpu_us + memory_bytes * held_us * m->usd_per_byte_us;
}

int price_parse(const char *text, double *ret_usd)
{
	size_t whole = strspn(text, "0123456789"), n = whole + (text[whole] == '.');
	double v;

	n += strspn(text + n, "0123456789");
	if (text[n] || n > 20 || n == (size_t)(text[whole] == '.'))
		return -1;
	v = strtod(text, NULL);
	if (v > 1e6)
		return -1;
	*ret_usd = v;
	return 0;
}
