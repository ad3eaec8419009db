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

TEST(published_figures)
{
	struct prices p = load();
	struct {
		double got, want, by;
		const char *what, *src;
	} t[] = {
		{1e6 * p.lambda.request + 1e6 * 0.5 * 0.2 * p.lambda.gb_s[PRICE_X86], 1.86667, 1e-5,
		 "1 M requests, 512 MB, 200 ms, x86",
		 "https://keystone.page/blog/lambda-vs-fargate-cost-1m-requests says 1.87"},
		{1e6 * p.lambda.request + 1e6 * 0.5 * 0.2 * p.lambda.gb_s[PRICE_ARM], 1.53334, 1e-5, "same, arm64",
		 "same, says 1.53"},
		{1e6 * p.lambda.request + 1e6 * p.lambda.gb_s[PRICE_X86], 16.8667, 1e-5, "1 M requests, 1 GB, 1 s, x86",
		 "https://www.deepakkarkala.com/playbooks/aws-for-mlops/compute/compute_when_to_use_which says 16.87"},
		{price_fargate(&p, PRICE_X86, 0.5, 1, 730 * 3600), 18.02, 0.005, "Fargate 0.5 vCPU/1 GB, 730 h",
		 "https://infra.furybee.org/articles/serverless-vs-containers-cost"},
		{price_fargate(&p, PRICE_X86, 1, 2, 730 * 3600), 36.04, 0.005, "Fargate 1 vCPU/2 GB, 730 h",
		 "same; infracost golden: 29.55 + 6.49"},
		{price_fargate(&p, PRICE_X86, 1, 2, 3), 0.04937 / 60, 1e-12, "at least a minute", "Fargate's page"},
		{price_fargate(&p, PRICE_X86, 1, 2, 90.2), 0.04937 * 91 / 3600, 1e-12, "whole seconds", "same"},
		{ledger_billed_ms(100770, 250060, true), 351, 0, "billed duration of 250.06 ms + Init 100.77 ms",
		 "AWS blog"},
		{p.machine_usd_hour, 0.01, 0, "the machine's own price", "spec/prices.json"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		bool ok = near(t[i].got, t[i].want, t[i].by);

		CHECK(ok);
		if (!ok)
			printf("%s (%s)\n", t[i].what, t[i].src);
	}
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
		{"\"request\": 2e-07", "\"request\": -1", "request"},
		{"\"request\": 2e-07", "\"request\": \"2e-07\"", "request"},
		{"\"usd_hour\": 0.01", "\"usd_hour\": 1e300", "usd_hour"},
		{"\"usd\": 1.66667e-05", "\"usd\": -1", "usd"},
		{"\"vcpu_hour_arm\"", "\"vcpu_hour\"", "vcpu_hour_arm"},
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
