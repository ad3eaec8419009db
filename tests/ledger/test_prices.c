/* SPDX-License-Identifier: Apache-2.0 */
/* spec/prices.json and the arithmetic on it, against figures that others published. */
#include <math.h>

#include "tests/ledger/fixture.h"

static struct prices load(void)
{
	auto_free char *text = fixture_prices();
	struct prices p = {0};
	struct err e = {0};

	CHECK(prices_parse(str_of(text), &p, &e) == 0);
	CHECK_STR(e.text, "");
	return p;
}

static bool near(double got, double want, double by)
{
	if (fabs(got - want) <= by)
		return true;
	printf("got %.10g, want %.10g\n", got, want);
	return false;
}

/* The check values of the price book, each with who published it. */
TEST(published_figures)
{
	struct prices p = load();
	const struct price_rate *x86 = &p.rate[PRICE_LAMBDA][PRICE_X86];
	static const struct {
		enum price_offer offer;
		enum price_arch arch;
		struct price_use use;
		double want, by;
		const char *what, *src;
	} t[] = {
		{PRICE_LAMBDA,
		 PRICE_X86,
		 {.requests = 1e6, .billed_s = 2e5, .memory_mb = 512},
		 1.86667,
		 1e-5,
		 "1 M requests, 512 MB, 200 ms, x86",
		 "https://keystone.page/blog/lambda-vs-fargate-cost-1m-requests says 1.87"},
		{PRICE_LAMBDA,
		 PRICE_ARM,
		 {.requests = 1e6, .billed_s = 2e5, .memory_mb = 512},
		 1.53334,
		 1e-5,
		 "same, arm64",
		 "same, says 1.53"},
		{PRICE_LAMBDA,
		 PRICE_X86,
		 {.requests = 1e6, .billed_s = 2e5, .memory_mb = 1024},
		 3.53334,
		 1e-5,
		 "1 M requests, 1 GB, 200 ms, x86",
		 "https://www.deepakkarkala.com/playbooks/aws-for-mlops/compute/compute_when_to_use_which says 3.53"},
		{PRICE_LAMBDA,
		 PRICE_X86,
		 {.requests = 1e6, .billed_s = 1e6, .memory_mb = 1024},
		 16.8667,
		 1e-5,
		 "1 M requests, 1 GB, 1 s, x86",
		 "same, says 16.87"},
		{PRICE_LAMBDA,
		 PRICE_X86,
		 {.requests = 15e9, .billed_s = 61.44e9, .memory_mb = 1024, .step_s = 0.001},
		 857203.30,
		 0.2,
		 "tiers, x86",
		 "infracost: 3,000.00 + 100,000.20 + 135,000.00 + 619,203.10"},
		{PRICE_LAMBDA,
		 PRICE_ARM,
		 {.requests = 18.25e9, .billed_s = 74.752e9, .memory_mb = 1024, .step_s = 0.001},
		 836008.16,
		 0.2,
		 "tiers, arm64",
		 "infracost: 3,650.00 + 100,000.50 + 135,001.13 + 597,356.53"},
		{PRICE_FARGATE,
		 PRICE_X86,
		 {.instance_s = 730 * 3600, .memory_mb = 1024, .vcpu = 0.5},
		 18.02,
		 0.005,
		 "Fargate 0.5 vCPU/1 GB, 730 h",
		 "https://infra.furybee.org/articles/serverless-vs-containers-cost"},
		{PRICE_FARGATE,
		 PRICE_X86,
		 {.instance_s = 730 * 3600, .memory_mb = 2048, .vcpu = 1},
		 36.04,
		 0.005,
		 "Fargate 1 vCPU/2 GB, 730 h",
		 "same; infracost: 29.55 + 6.49"},
		{PRICE_CLOUD_RUN_REQUEST_2,
		 PRICE_X86,
		 {.requests = 5e5, .billed_s = 1.8e6, .memory_mb = 512, .vcpu = 1, .step_s = 0.1},
		 63.83,
		 0.005,
		 "Cloud Run tier 2: 1.8 M vCPU-s, 0.9 M GiB-s, 0.5 M requests",
		 "infracost"},
		{PRICE_AZURE_FUNCTIONS,
		 PRICE_X86,
		 {.requests = 3.5401e6, .billed_s = 876180.4425, .memory_mb = 1024, .step_s = 0.001},
		 14.73,
		 0.005,
		 "Azure Functions: 876,180.4425 GB-s, 3.5401 M executions",
		 "infracost: 14.02 + 0.71"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		bool ok = near(price_offer_usd(&p, t[i].offer, t[i].arch, &t[i].use), t[i].want, t[i].by);

		CHECK(ok);
		if (!ok)
			printf("%s (%s)\n", t[i].what, t[i].src);
	}
	/* Provisioned concurrency pays off above 60 %: the AWS blog on billing of INIT. */
	CHECK(near(x86->usd[PRICE_KEPT_GIB_S] / (x86->usd[PRICE_GIB_S] - x86->usd[PRICE_KEPT_RUN_GIB_S]), 0.6, 1e-4));
	CHECK(ledger_billed_ms(100770, 250060, true) == 351); /* the same blog: 250.06 ms + Init 100.77 ms */
	CHECK(near(price_tiers_usd(&p.api_rest, 21000), 49763.10, 0.005)); /* infracost */
	CHECK(near(price_tiers_usd(&p.api_http, 400), 390, 1e-9));
	CHECK(near(p.machine_usd_hour, 0.01, 0));
}

/* Rounding, minimum, sizes, what is kept, what is free; computed by hand from the file's figures. NAN: it cannot. */
TEST(rules)
{
	struct prices p = load();
	static const struct {
		enum price_offer offer;
		struct price_use use;
		double want;
	} t[] = {
		{PRICE_LAMBDA, {0}, 0},
		/* Whole ms; memory at least 128 MB; CPU is bought as memory. */
		{PRICE_LAMBDA, {.requests = 1, .billed_s = 0.0101, .memory_mb = 64}, 2e-7 + 0.125 * 0.011 * 1.66667e-5},
		{PRICE_LAMBDA,
		 {.requests = 1, .billed_s = 1, .memory_mb = 512, .vcpu = 1},
		 2e-7 + 1769 / 1024.0 * 1.66667e-5},
		{PRICE_LAMBDA,
		 {.requests = 2, .billed_s = 0.021, .step_s = 0.001, .memory_mb = 1024},
		 4e-7 + 0.021 * 1.66667e-5},
		{PRICE_LAMBDA, {.requests = 1, .billed_s = 1, .memory_mb = 10241}, NAN},
		{PRICE_LAMBDA, {.requests = 2, .billed_s = 1802, .memory_mb = 128}, NAN},
		/* An hour kept, a quarter of it busy. */
		{PRICE_LAMBDA,
		 {.requests = 900, .billed_s = 900, .memory_mb = 1024, .kept_s = 3600},
		 900 * 2e-7 + 3600 * 4.1667e-6 + 900 * 9.7222e-6},
		/* A task is one request. */
		{PRICE_LAMBDA, {.instance_s = 10.5, .instances = 1, .memory_mb = 1024}, 2e-7 + 10.5 * 1.66667e-5},
		/* 1.5 M requests of which 1 M are free, and 600,000 GB-s of which 400,000 are; the same over two months. */
		{PRICE_LAMBDA,
		 {.requests = 1.5e6, .billed_s = 6e5, .memory_mb = 1024, .free_tier = true},
		 0.1 + 2e5 * 1.66667e-5},
		{PRICE_LAMBDA,
		 {.requests = 1.5e6, .billed_s = 6e5, .memory_mb = 1024, .free_tier = true, .months = 2},
		 0},
		{PRICE_FARGATE, {.instance_s = 3, .instances = 1, .memory_mb = 2048, .vcpu = 1}, 0.04937 / 60},
		{PRICE_FARGATE,
		 {.instance_s = 90.2, .instances = 1, .memory_mb = 2048, .vcpu = 1},
		 0.04937 * 91 / 3600},
		{PRICE_FARGATE,
		 {.instance_s = 120, .instances = 4, .memory_mb = 2048, .vcpu = 1},
		 0.04937 * 240 / 3600},
		/* The cheapest that may always use it; t3.nano has a tenth of a vCPU. */
		{PRICE_EC2, {.instance_s = 3600, .memory_mb = 256, .vcpu = 0.1}, 0.0052},
		{PRICE_EC2, {.instance_s = 3600, .memory_mb = 256, .vcpu = 0.5}, 0.0752},
		{PRICE_EC2, {.instance_s = 3600, .memory_mb = 4096, .vcpu = 2}, 0.096},
		{PRICE_EC2, {.instance_s = 3600, .memory_mb = 100 * 1024, .vcpu = 20}, 2 * 0.768},
		/* Steps of 100 ms; memory wants CPU. */
		{PRICE_CLOUD_RUN_REQUEST,
		 {.requests = 10, .billed_s = 1.5, .memory_mb = 512, .vcpu = 0.3},
		 10 * 4e-7 + 2 * (0.3 * 2.4e-5 + 0.5 * 2.5e-6)},
		{PRICE_CLOUD_RUN_REQUEST,
		 {.requests = 1, .billed_s = 1, .memory_mb = 768, .vcpu = 0.3},
		 4e-7 + 0.5 * 2.4e-5 + 0.75 * 2.5e-6},
		{PRICE_CLOUD_RUN_REQUEST, {.requests = 1, .billed_s = 1, .memory_mb = 33 * 1024}, NAN},
		{PRICE_CLOUD_RUN_INSTANCE,
		 {.instance_s = 60, .memory_mb = 512, .vcpu = 0.3},
		 60 * (1.8e-5 + 0.5 * 2e-6)},
		/* 100 ms at the least; by what was used, in steps of 128 MB. */
		{PRICE_AZURE_FUNCTIONS,
		 {.requests = 1, .billed_s = 0.02, .memory_mb = 512, .used_mb = 130},
		 2e-7 + 0.25 * 0.1 * 1.6e-5},
		{PRICE_AZURE_FUNCTIONS, {.requests = 1, .billed_s = 1, .memory_mb = 2048}, NAN},
		/* 1.2 GiB want 0.75 vCPU; 10 s busy of a minute. */
		{PRICE_CONTAINER_APPS,
		 {.requests = 10, .billed_s = 10, .instance_s = 60, .memory_mb = 1229, .vcpu = 0.5},
		 10 * 4e-7 + 10 * (0.75 * 2.4e-5 + 1.5 * 3e-6) + 50 * (0.75 * 3e-6 + 1.5 * 3e-6)},
		/* 7,000 short requests of one minute are no more than the minute. */
		{PRICE_CONTAINER_APPS,
		 {.requests = 7000, .billed_s = 3.5, .step_s = 0.001, .instance_s = 60, .memory_mb = 512, .vcpu = 0.25},
		 7000 * 4e-7 + 60 * (0.25 * 2.4e-5 + 0.5 * 3e-6)},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		double got = price_offer_usd(&p, t[i].offer, PRICE_X86, &t[i].use);

		CHECK(isnan(t[i].want) == (price_offer_cannot(t[i].offer, &t[i].use) != NULL));
		if (isnan(t[i].want) ? !isnan(got) : !near(got, t[i].want, t[i].want * 1e-9)) {
			printf("row %zu: %s\n", i, price_offer_name[t[i].offer]);
			CHECK(false);
		}
	}
}

/* Durations in whole ms that spread about their mean become whole steps: the estimate against the sum itself. */
TEST(rounding_of_sums)
{
	struct prices p = load();
	static const double means[] = {0.005, 0.05, 0.12, 0.9, 7};

	for (size_t i = 0; i < ARRAY_SIZE(means); i++) {
		struct price_use sum = {.memory_mb = 512, .vcpu = 1, .step_s = 0.001}, one = sum;
		double each = 0;

		for (int k = 0; k < 20000; k++) {
			one.requests = 1;
			one.billed_s = ceil(-means[i] * log((k + 0.5) / 20000) * 1000) / 1000;
			one.step_s = 0;
			each += price_offer_usd(&p, PRICE_CLOUD_RUN_REQUEST, PRICE_X86, &one);
			sum.requests++;
			sum.billed_s += one.billed_s;
		}
		CHECK(near(price_offer_usd(&p, PRICE_CLOUD_RUN_REQUEST, PRICE_X86, &sum), each, each * 0.01));
	}
}

/* What is from memory is said; every offer has a name that reads back. */
TEST(unverified_and_names)
{
	struct prices p = load();
	enum price_offer o = PRICE_NAMED_N;

	CHECK_STR(p.rate[PRICE_LAMBDA][PRICE_X86].unverified, "");
	CHECK_STR(p.rate[PRICE_FARGATE][PRICE_X86].unverified, "");
	CHECK_STR(p.rate[PRICE_FARGATE][PRICE_ARM].unverified, "vcpu_hour, gib_hour");
	CHECK_STR(p.rate[PRICE_CLOUD_RUN_REQUEST][PRICE_X86].unverified, "request, gib_s");
	CHECK_STR(p.rate[PRICE_CONTAINER_APPS][PRICE_X86].unverified, "request_million, idle_vcpu_s, idle_gib_s");
	for (int i = 0; i < PRICE_NAMED_N; i++)
		CHECK(price_offer_parse(str_of(price_offer_name[i]), &o) == 0 && (int)o == i);
	CHECK(price_offer_parse(STR("aws"), &o) == -1 && price_offer_parse(STR_NULL, &o) == -1);
}

TEST(fargate_has_sizes)
{
	static const struct {
		double vcpu, gb, want_vcpu, want_gb;
	} t[] = {
		{0, 0, 0.25, 0.5}, {0.1, 0.6, 0.25, 1}, {0.25, 1.5, 0.25, 2}, {0.25, 2.1, 0.5, 3}, {0.3, 0.1, 0.5, 1},
		{1, 2, 1, 2},	   {1, 7.5, 1, 8},	{1, 9, 2, 9},	      {3, 1, 4, 8},	   {8, 17, 8, 20},
		{8, 61, 16, 64},   {16, 33, 16, 40},	{32, 200, 32, 200},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		double vcpu = t[i].vcpu, gb = t[i].gb;

		price_fargate_size(&vcpu, &gb);
		CHECK(near(vcpu, t[i].want_vcpu, 0) && near(gb, t[i].want_gb, 0));
	}
}

TEST(billed_ms)
{
	static const struct {
		int64_t init_us, handler_us;
		bool cold;
		uint32_t want;
	} t[] = {
		{0, 0, false, 0},    {0, 1, false, 1},	       {0, 1000, false, 1},
		{0, 1001, false, 2}, {500000, 1000, false, 1}, {999, 1, true, 1},
		{1000, 1, true, 2},  {-5, 10, true, 1},	       {0, INT64_MAX / 2, false, UINT32_MAX},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		CHECK(ledger_billed_ms(t[i].init_us, t[i].handler_us, t[i].cold) == t[i].want);
}

TEST(machine_in_full_use_costs_its_price)
{
	struct prices p = load();
	struct price_machine m;

	price_machine_init(&m, &p, 0.5, 4, 16e9);
	CHECK(near(price_machine_use(&m, 4 * 3600e6, 16e9, 3600e6), 0.5, 1e-12));
	CHECK(near(price_machine_use(&m, 0, 16e9, 3600e6) / 0.5, 16 * 0.004445 / (16 * 0.004445 + 4 * 0.04048), 1e-12));
	price_machine_init(&m, &p, 0, 4, 16e9);
	CHECK(price_machine_use(&m, 1e9, 1e9, 1e9) == 0);
}

/* Each replacement in the good file must be refused, naming the member. */
TEST(damaged_files_are_refused)
{
	static const struct {
		const char *find, *put, *says;
	} t[] = {
		{"\"usd\": 2e-07", "\"usd\": -1", "usd"},
		{"\"usd\": 2e-07", "\"usd\": \"2e-07\"", "usd"},
		{"\"request\": {", "\"requests\": {", "\"request\" of \"aws-lambda\""},
		{"\"upto\": 15000000000.0", "\"upto\": 5000000000.0", "upto"},
		{"\"types\": [", "\"type\": [", "types"},
		{"\"usd_hour\": 0.01", "\"usd_hour\": 1e300", "usd_hour"},
		{"\"sustained_vcpu\": 0.1,", "\"sustained_vcpu\": 0,", "sustained_vcpu"},
		{"\"requests\": 1000000", "\"requests\": -1", "free"},
		{"\"usd\": 1.66667e-05", "\"usd\": -1", "usd"},
		{"\"vcpu_hour_arm\"", "\"vcpu_hours\"", "\"vcpu_s\" of \"aws-fargate\""},
		{"\"as_of\": \"2026-11\"", "\"as_of\": 2026", "as_of"},
		{"{", "[", "prices"},
	};
	auto_free char *good = fixture_prices();

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		char *at = strstr(good, t[i].find);
		struct prices p = {.machine_usd_hour = 7};
		struct err e = {0};
		auto_buf bad = {0};

		CHECK(at != NULL);
		if (!at)
			continue;
		buf_add(&bad, good, (size_t)(at - good));
		buf_adds(&bad, t[i].put);
		buf_adds(&bad, at + strlen(t[i].find));
		CHECK(prices_parse(buf_str(&bad), &p, &e) == -1);
		CHECK(strstr(e.text, t[i].says) != NULL);
		CHECK(p.machine_usd_hour == 7);
	}
}

TEST(price_text)
{
	static const struct {
		const char *text;
		double usd; /* -1: refused */
	} t[] = {
		{"0.05", 0.05},
		{"0", 0},
		{"12", 12},
		{"1000000", 1e6},
		{".5", 0.5},
		{"3.", 3},
		{"", -1},
		{".", -1},
		{"-1", -1},
		{"nan", -1},
		{"1e3", -1},
		{"1000001", -1},
		{"0.0.5", -1},
		{" 1", -1},
		{"0x1", -1},
		{"1 ", -1},
		{"inf", -1},
		{"0,05", -1},
		{"000000000000000000000", -1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		double usd = -1;

		CHECK((price_parse(t[i].text, &usd) == 0) == (t[i].usd >= 0));
		CHECK(usd == t[i].usd);
	}
}
