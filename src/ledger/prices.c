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

static void parse_aws(struct reader *r, const struct json *aws, struct prices *p)
{
	const struct json *lambda = json_get(aws, "lambda"), *fargate = json_get(aws, "fargate");

	p->lambda.request = number(r, lambda, "request");
	for (enum price_arch a = 0; a < PRICE_ARCH_N; a++) {
		char key[32];

		/* The first tier: one machine has not enough memory to reach the second, at six thousand million
		 * GB-seconds a month. */
		snprintf(key, sizeof(key), "duration_gb_s_%s", arch_name[a]);
		p->lambda.gb_s[a] = number(r, json_at(json_get(lambda, key), 0), "usd");
		p->fargate.vcpu_hour[a] = number_arch(r, fargate, "vcpu_hour", a);
		p->fargate.gb_hour[a] = number_arch(r, fargate, "gb_hour", a);
	}
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
	if (r.failed)
		return err_wrap(e, "prices");
	*ret = p;
	return 0;
}

void price_fargate_size(double *vcpu, double *gb)
{
	/* Its documentation, "task size": memory from, to, in steps of. */
	static const struct {
		double vcpu, from, to, step;
	} sizes[] = {{0.25, 0.5, 1, 0.5}, {0.25, 2, 2, 1}, {0.5, 1, 4, 1}, {1, 2, 8, 1},
		     {2, 4, 16, 1},	  {4, 8, 30, 1},   {8, 16, 60, 4}, {16, 32, 120, 8}};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		if (*vcpu > sizes[i].vcpu || *gb > sizes[i].to)
			continue;
		*vcpu = sizes[i].vcpu;
		*gb = *gb <= sizes[i].from
			      ? sizes[i].from
			      : sizes[i].from + ceil((*gb - sizes[i].from) / sizes[i].step) * sizes[i].step;
		return;
	}
}

int64_t price_fargate_seconds(double seconds)
{
	return seconds > 60 ? (int64_t)ceil(seconds) : 60;
}

double price_fargate(const struct prices *p, enum price_arch arch, double vcpu, double gb, double seconds)
{
	price_fargate_size(&vcpu, &gb);
	return (vcpu * p->fargate.vcpu_hour[arch] + gb * p->fargate.gb_hour[arch]) *
	       (double)price_fargate_seconds(seconds) / 3600;
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
