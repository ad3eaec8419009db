/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/prices.h"

#include <math.h>
#include <stdio.h>

#include "json/read.h"

/* A typing error in the file must not become an absurd bill. */
#define USD_MAX 1e6

static const char *const arch_name[PRICE_ARCH_N] = {"x86", "arm"};

/* Reads members; the first that is wrong is remembered, the rest go by. */
struct reader {
	struct err *e;
	bool failed;
};

static double number(struct reader *r, const struct json *obj, const char *key)
{
	double v = json_real(json_get(obj, key), -1);

	if (!r->failed && !(v >= 0 && v <= USD_MAX)) {
		r->failed = true;
		err_set(r->e, ERR_INVALID, "\"%s\" is missing or not a price", key);
	}
	return v;
}

static double number_arch(struct reader *r, const struct json *obj, const char *key, enum price_arch arch)
{
	char name[48];

	snprintf(name, sizeof(name), "%s_%s", key, arch_name[arch]);
	return number(r, obj, name);
}

/* [{"upto": 6e9, "usd": 0.1}, ..., {"upto": null, "usd": 0.05}] */
static void tiers(struct reader *r, const struct json *obj, const char *key, struct price_tiers *ret)
{
	const struct json *arr = json_get(obj, key);
	size_t n = json_len(arr);
	double last = 0;

	if (r->failed)
		return;
	if (json_type(arr) != JSON_ARRAY || n < 1 || n > PRICE_TIERS)
		goto bad;
	for (size_t i = 0; i < n; i++) {
		const struct json *upto = json_get(json_at(arr, i), "upto");
		bool is_last = i + 1 == n;

		ret->t[i].usd = number(r, json_at(arr, i), "usd");
		ret->t[i].upto = is_last ? INFINITY : json_real(upto, -1);
		if ((is_last && json_type(upto) != JSON_NULL) || !(ret->t[i].upto > last))
			goto bad;
		last = ret->t[i].upto;
	}
	ret->n = (int)n;
	return;
bad:
	r->failed = true;
	err_set(r->e, ERR_INVALID, "\"%s\" is not 1 to %d rising tiers that end with upto null", key, PRICE_TIERS);
}

struct ec2_arg {
	struct reader *r;
	struct prices *p;
};

static int ec2_member(void *arg, const char *key, const struct json *value)
{
	struct ec2_arg *a = arg;
	double usd = json_real(value, -1);

	if (a->p->n_ec2 == PRICE_EC2 || strlen(key) >= sizeof(a->p->ec2[0].type) || !(usd >= 0 && usd <= USD_MAX)) {
		a->r->failed = true;
		return err_set(a->r->e, ERR_INVALID, "ec2 \"%.40s\" is too long, one too many, or not a price", key);
	}
	strlcpy_(a->p->ec2[a->p->n_ec2].type, key, sizeof(a->p->ec2[0].type));
	a->p->ec2[a->p->n_ec2++].usd_hour = usd;
	return 0;
}

static void parse_aws(struct reader *r, const struct json *aws, struct prices *p)
{
	const struct json *lambda = json_get(aws, "lambda"), *fargate = json_get(aws, "fargate");
	struct ec2_arg ec2 = {r, p};

	p->lambda.request = number(r, lambda, "request");
	p->lambda.ephemeral_gb_s = number(r, lambda, "ephemeral_gb_s");
	for (enum price_arch a = 0; a < PRICE_ARCH_N; a++) {
		char key[32];

		snprintf(key, sizeof(key), "duration_gb_s_%s", arch_name[a]);
		tiers(r, lambda, key, &p->lambda.duration[a]);
		p->lambda.provisioned[a] = number_arch(r, lambda, "provisioned_gb_s", a);
		p->lambda.duration_provisioned[a] = number_arch(r, lambda, "duration_provisioned_gb_s", a);
		p->fargate.vcpu_hour[a] = number_arch(r, fargate, "vcpu_hour", a);
		p->fargate.gb_hour[a] = number_arch(r, fargate, "gb_hour", a);
	}
	tiers(r, aws, "apigw_rest_per_million", &p->apigw_rest);
	tiers(r, aws, "apigw_http_per_million", &p->apigw_http);
	if (!r->failed)
		json_each(json_get(aws, "ec2_hour"), ec2_member, &ec2);
}

static void parse_others(struct reader *r, const struct json *root, struct prices *p)
{
	static const char *const name[2][PRICE_RUN_N] = {{"tier1_request", "tier1_instance"},
							 {"tier2_request", "tier2_instance"}};
	const struct json *run = json_get(json_get(root, "gcp"), "cloud_run"), *azure = json_get(root, "azure");
	const struct json *fn = json_get(azure, "functions_consumption"), *apps = json_get(azure, "container_apps");

	for (int t = 0; t < 2; t++) {
		for (int m = 0; m < PRICE_RUN_N; m++) {
			const struct json *o = json_get(run, name[t][m]);

			p->cloud_run[t][m].vcpu_s = number(r, o, "vcpu_s");
			p->cloud_run[t][m].gib_s = number(r, o, "gib_s");
			p->cloud_run[t][m].request = number(r, o, "request");
		}
	}
	p->azure_functions.gb_s = number(r, fn, "gb_s");
	p->azure_functions.per_million = number(r, fn, "per_million");
	p->azure_container_apps.vcpu_s_active = number(r, apps, "vcpu_s_active");
	p->azure_container_apps.gib_s_active = number(r, apps, "gib_s_active");
	p->azure_container_apps.vcpu_s_idle = number(r, apps, "vcpu_s_idle");
	p->azure_container_apps.gib_s_idle = number(r, apps, "gib_s_idle");
	p->azure_container_apps.per_million = number(r, apps, "per_million");
}

int prices_parse(struct str text, struct prices *ret, struct err *e)
{
	auto_json root = json_parse(text, e);
	struct reader r = {.e = e};
	struct prices p = {0};
	struct str as_of = json_get_str(root, "as_of");

	if (!root)
		return err_wrap(e, "prices");
	if (as_of.n == 0 || as_of.n >= sizeof(p.as_of))
		return err_set(e, ERR_INVALID, "prices: \"as_of\" is missing or too long");
	memcpy(p.as_of, as_of.p, as_of.n);
	p.machine_usd_hour = number(&r, json_get(root, "machine"), "usd_hour");
	parse_aws(&r, json_get(root, "aws"), &p);
	parse_others(&r, root, &p);
	if (r.failed)
		return err_wrap(e, "prices");
	*ret = p;
	return 0;
}

double price_tiered(const struct price_tiers *t, double before, double quantity)
{
	double usd = 0, at = before, end = before + quantity;

	for (int i = 0; i < t->n && at < end; i++) {
		double stop = end < t->t[i].upto ? end : t->t[i].upto;

		if (stop <= at)
			continue;
		usd += (stop - at) * t->t[i].usd;
		at = stop;
	}
	return usd;
}

double price_lambda(const struct prices *p, enum price_arch arch, double requests, double before_gb_s, double gb_s)
{
	return requests * p->lambda.request + price_tiered(&p->lambda.duration[arch], before_gb_s, gb_s);
}

double price_lambda_ephemeral(const struct prices *p, double mb, double seconds)
{
	return mb <= 512 ? 0 : (mb - 512) / 1024 * seconds * p->lambda.ephemeral_gb_s;
}

double price_lambda_provisioned(const struct prices *p, enum price_arch arch, double requests, double reserved_gb_s,
				double used_gb_s)
{
	return requests * p->lambda.request + reserved_gb_s * p->lambda.provisioned[arch] +
	       used_gb_s * p->lambda.duration_provisioned[arch];
}

double price_provisioned_break_even(const struct prices *p, enum price_arch arch)
{
	double saved = p->lambda.duration[arch].t[0].usd - p->lambda.duration_provisioned[arch];

	return saved > 0 ? p->lambda.provisioned[arch] / saved : INFINITY;
}

double price_fargate(const struct prices *p, enum price_arch arch, double vcpu, double gb, double seconds)
{
	double s = ceil(seconds);

	if (s < 60)
		s = 60;
	return (vcpu * p->fargate.vcpu_hour[arch] + gb * p->fargate.gb_hour[arch]) * s / 3600;
}

double price_ec2(const struct prices *p, const char *type, double hours)
{
	for (int i = 0; i < p->n_ec2; i++)
		if (strcmp(p->ec2[i].type, type) == 0)
			return p->ec2[i].usd_hour * hours;
	return NAN;
}

double price_cloud_run(const struct prices *p, int tier, enum price_run run, double vcpu_s, double gib_s,
		       double requests)
{
	int t = tier == 2;

	return vcpu_s * p->cloud_run[t][run].vcpu_s + gib_s * p->cloud_run[t][run].gib_s +
	       requests * p->cloud_run[t][run].request;
}

double price_azure_functions(const struct prices *p, double gb_s, double executions)
{
	return gb_s * p->azure_functions.gb_s + executions / 1e6 * p->azure_functions.per_million;
}

double price_azure_container_apps(const struct prices *p, double active_s, double idle_s, double vcpu, double gib,
				  double requests)
{
	return active_s * (vcpu * p->azure_container_apps.vcpu_s_active + gib * p->azure_container_apps.gib_s_active) +
	       idle_s * (vcpu * p->azure_container_apps.vcpu_s_idle + gib * p->azure_container_apps.gib_s_idle) +
	       requests / 1e6 * p->azure_container_apps.per_million;
}

double price_apigw_rest(const struct prices *p, double requests)
{
	return price_tiered(&p->apigw_rest, 0, requests / 1e6);
}

double price_apigw_http(const struct prices *p, double requests)
{
	return price_tiered(&p->apigw_http, 0, requests / 1e6);
}

void price_machine_init(struct price_machine *m, const struct prices *p, double usd_hour, double vcpus,
			double memory_bytes)
{
	double cpu = p->fargate.vcpu_hour[PRICE_X86], gb = p->fargate.gb_hour[PRICE_X86];
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
