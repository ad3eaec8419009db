/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel says of the machine, and that the terms of its price are independent. */
#include <math.h>

#include "ledger/machine.h"
#include "tests/ledger/fixture.h"

#define T0  1763766000000000 /* 2025-11-21T23:00:00Z */
#define S   1000000ll
#define GIB (1ll << 30)

TEST(texts_of_the_kernel)
{
	static const struct {
		const char *stat;
		int ret;
		int64_t cpus, idle_us, busy_us;
	} t[] = {
		{"cpu  1 2 3 40 5 6 7 8 100 100\ncpu0 1 2 3 4 5 6 7 8 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\nintr 1\n", 0, 2,
		 450000, 270000},
		{"cpu  1 2 3 4 5 6 7\ncpu0 1\n", -1, 0, 0, 0},
		{"cpu  1 2 3 4 5 6 7 99999999999999999\ncpu0 1\n", -1, 0, 0, 0},
		{"cpu  1 2 3 4 5 6 7 -8\ncpu0 1\n", -1, 0, 0, 0},
		{"cpu  1 2 3 4 5 6 7 8\n", -1, 0, 0, 0},
		{"cpu0 1 2 3 4 5 6 7 8\n", -1, 0, 0, 0},
		{"", -1, 0, 0, 0},
	};
	static const struct {
		const char *text;
		int ret;
	} memory[] = {
		{"MemTotal:       1000 kB\nMemFree: 5 kB\nMemAvailable:    300 kB\n", 0},
		{"MemTotal:       1000 kB\n", -1},
		{"MemTotal:       1000 kB\nMemAvailable:    3000 kB\n", -1},
		{"MemTotal: x kB\nMemAvailable: 1 kB\n", -1},
	};
	struct machine_look l;

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		l = (struct machine_look){0};
		CHECK(machine_parse_stat(str_of(t[i].stat), &l) == t[i].ret);
		CHECK(l.idle_us == t[i].idle_us && l.busy_us == t[i].busy_us && l.cpus == t[i].cpus);
	}
	for (size_t i = 0; i < ARRAY_SIZE(memory); i++) {
		l = (struct machine_look){0};
		CHECK(machine_parse_meminfo(str_of(memory[i].text), &l) == memory[i].ret);
		CHECK(memory[i].ret || (l.total_bytes == 1000 << 10 && l.available_bytes == 300 << 10));
	}
	CHECK(machine_group_bytes(STR("cache 9\ntotal_cache 700\ntotal_rss 5\ntotal_shmem 100\n"), 1000) == 400);
	CHECK(machine_group_bytes(STR("anon 5\nfile 700\nkernel 1\nshmem 100\n"), 1000) == 400);
	CHECK(machine_group_bytes(STR("file 2000\n"), 1000) == 0);
	CHECK(machine_group_bytes(STR(""), 1000) == 1000);
}

/* 100 s of two processors and 8 GiB: 120 s idle, 70 s busy, of which the sandboxes took 40, tandemd 6, the spawner 4. */
static struct machine_look before(void)
{
	return (struct machine_look){.boot = "b1",
				     .at_us = 1000 * S,
				     .wall_us = T0,
				     .idle_us = 5 * S,
				     .busy_us = 9 * S,
				     .group_us = 3 * S,
				     .daemon_us = 2 * S,
				     .spawner_us = 1 * S,
				     .cpus = 2,
				     .total_bytes = 8 * GIB,
				     .available_bytes = 6 * GIB,
				     .group_bytes = GIB,
				     .daemon_bytes = GIB / 4,
				     .spawner_bytes = GIB / 4};
}

static struct machine_look after(void)
{
	struct machine_look l = before();

	l.at_us += 100 * S, l.wall_us += 100 * S;
	l.idle_us += 120 * S, l.busy_us += 70 * S, l.group_us += 40 * S;
	l.daemon_us += 6 * S, l.spawner_us += 4 * S, l.blanks_us += S;
	l.available_bytes -= 2 * GIB, l.group_bytes += GIB;
	return l;
}

TEST(two_looks_are_rows)
{
	static const struct {
		int64_t cpu_s;
		double gib;
		uint8_t kind;
	} want[MACHINE_TERM_N] = {{6, 0.25, LEDGER_PLATFORM}, {4, 0.25, LEDGER_PLATFORM}, {1, 0, LEDGER_PLATFORM},
				  {120, 5, LEDGER_UNUSED},    {20, 1, LEDGER_OTHER},	  {200, 8, LEDGER_MACHINE}};
	struct machine_look a = before(), b = after(), c;
	struct ledger_row rows[MACHINE_TERM_N];
	auto_buf text = {0};

	CHECK(machine_rows(&a, &b, rows));
	for (int i = 0; i < MACHINE_TERM_N; i++) {
		CHECK((int64_t)rows[i].cpu_us == want[i].cpu_s * S);
		CHECK(fabs((double)rows[i].mem_peak_bytes / GIB - want[i].gib) < 1e-9);
		CHECK(rows[i].kind == want[i].kind && rows[i].idle_ms == 100000 && rows[i].start_wall_us == T0);
	}
	machine_put(&b, &text);
	CHECK(machine_get(buf_str(&text), &c) == 0);
	CHECK(memcmp(&b, &c, sizeof(b)) == 0);
	CHECK(machine_get(STR("b1 1 2 3"), &c) < 0);
	CHECK(machine_get(STR(""), &c) < 0);
	b.spawner_us = S / 2; /* another spawner */
	CHECK(machine_rows(&a, &b, rows) && rows[MACHINE_SPAWNER].cpu_us == S / 2);
	strlcpy_(b.boot, "b2", sizeof(b.boot));
	CHECK(!machine_rows(&a, &b, rows));
	CHECK(!machine_rows(&a, &a, rows));
}

/* The rows of that time, all or but one: what is left out is missing, and nothing else moves. */
static double unattributed(int without, double *ret_percent)
{
	struct machine_look a = before(), b = after();
	struct ledger_row rows[MACHINE_TERM_N + 1];
	struct fixture x;
	double usd;

	CHECK(machine_rows(&a, &b, rows));
	/* What the sandboxes used, blanks among it; of memory what their group held on average. */
	rows[MACHINE_TERM_N] = (struct ledger_row){.start_wall_us = T0,
						   .kind = LEDGER_TASK,
						   .lane = LANE_CONTAINER,
						   .idle_ms = 100000,
						   .cpu_us = 39 * S,
						   .mem_peak_bytes = 3 * GIB / 2};
	fixture_init(&x);
	fixture_ledger(&x);
	for (int i = 0; i <= MACHINE_TERM_N; i++) {
		rows[i].workload = ledger_intern(x.ledger, i < MACHINE_TERM_N ? machine_term_name[i] : "task/a");
		if (i != without)
			ledger_add(x.ledger, &rows[i]);
	}
	auto_json j = query(&x, "workload", "", 0, NULL);
	const struct json *m = json_get(j, "machine");
	usd = json_real(json_get(m, "usd_unattributed"), -1);
	*ret_percent = json_real(json_get(m, "unattributed_percent"), -1);
	CHECK(without == MACHINE_ALL || fabs(json_real(json_get(m, "seconds"), -1) - 100) < 1e-9);
	fixture_done(&x);
	return usd;
}

TEST(terms_are_independent)
{
	static const struct {
		double cpu_s, gib;
	} term[MACHINE_TERM_N + 1] = {{6, 0.25}, {4, 0.25}, {1, 0}, {120, 5}, {20, 1}, {200, 8}, {39, 1.5}};
	double percent, all = unattributed(-1, &percent), usd_cpu_s, usd_gib;
	struct price_machine p;
	struct prices prices;
	auto_free char *text = fixture_prices();

	/* 10 of 200 CPU-seconds are in no row; the memory is all there. */
	CHECK(percent > 0 && percent < 5);
	CHECK(prices_parse(str_of(text), &prices, NULL) == 0);
	price_machine_init(&p, &prices, prices.machine_usd_hour, (double)sysconf(_SC_NPROCESSORS_ONLN),
			   (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE));
	usd_cpu_s = price_machine_use(&p, 1e6, 0, 0);
	usd_gib = price_machine_use(&p, 0, GIB, 100e6);
	CHECK(fabs(all - 10 * usd_cpu_s) < 1e-3 * all);
	for (int i = 0; i <= MACHINE_TERM_N; i++) {
		double usd = term[i].cpu_s * usd_cpu_s + term[i].gib * usd_gib;
		double more = unattributed(i, &percent) - all;

		CHECK(fabs(more - (i == MACHINE_ALL ? -usd : usd)) < 1e-3 * usd);
	}
}

/* A night in one row is in each of its hours, and in the sums since midnight with what fell after it. */
TEST(stretches_are_spread)
{
	static const struct {
		const char *hour;
		int minutes;
	} want[] = {{"2025-11-21T23:00:00Z", 30},
		    {"2025-11-22T00:00:00Z", 60},
		    {"2025-11-22T01:00:00Z", 60},
		    {"2025-11-22T02:00:00Z", 7}};
	struct ledger_row r = {.start_wall_us = T0 + 1800 * S,
			       .kind = LEDGER_TASK,
			       .lane = LANE_CONTAINER,
			       .idle_ms = 157 * 60000,
			       .cpu_us = 157,
			       .memory_mb = 1024,
			       .version = 1000};
	struct fixture x;
	double usd = 0;

	fixture_init(&x);
	fixture_ledger(&x);
	r.workload = ledger_intern(x.ledger, "task/night");
	ledger_add(x.ledger, &r);
	auto_json hours = query(&x, "hour", "", 0, NULL);
	CHECK(json_len(json_get(hours, "sums")) == ARRAY_SIZE(want));
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		const struct json *s = sum_of(hours, want[i].hour);

		CHECK(json_get_int(s, "cpu_us", -1) == want[i].minutes);
		CHECK(json_get_int(s, "idle_ms", -1) == want[i].minutes * 60000);
		CHECK(json_get_int(s, "billed_ms", -1) == want[i].minutes * 60000);
		usd += json_real(json_get(s, "usd_aws"), -1);
	}
	CHECK(fabs(usd - json_real(json_get(json_get(hours, "total"), "usd_aws"), -1)) < 1e-12);
	auto_json late = query(&x, "workload", "", T0 + 3600 * S + 30 * 60 * S, NULL);
	CHECK(json_get_int(json_get(late, "total"), "cpu_us", -1) == 97);
	auto_json never = query(&x, "workload", "", T0 + 4 * 3600 * S, NULL);
	CHECK(json_len(json_get(never, "sums")) == 0);
	fixture_done(&x);
}

/* What the platform took and nobody used is carried in full, by either rule. */
TEST(shares)
{
	static const char *const split[] = {"use", "even"};
	struct machine_look a = before(), b = after();
	struct ledger_row rows[MACHINE_TERM_N];
	struct fixture x;

	CHECK(machine_rows(&a, &b, rows));
	fixture_init(&x);
	fixture_ledger(&x);
	for (int i = 0; i < MACHINE_TERM_N; i++) {
		rows[i].workload = ledger_intern(x.ledger, machine_term_name[i]);
		ledger_add(x.ledger, &rows[i]);
	}
	for (int i = 1; i <= 3; i++) {
		struct ledger_row r = {.start_wall_us = T0,
				       .kind = LEDGER_INVOKE,
				       .workload = ledger_intern(x.ledger, i == 1   ? "p/a"
									   : i == 2 ? "p/b"
										    : "p/c"),
				       .cpu_us = (uint64_t)(i * S)};

		ledger_add(x.ledger, &r);
	}
	for (size_t i = 0; i < ARRAY_SIZE(split); i++) {
		strlcpy_(x.split, split[i], sizeof(x.split));
		auto_json j = query(&x, "workload", "", 0, NULL);
		const struct json *m = json_get(j, "machine"), *sums = json_get(j, "sums");
		double carried = 0, own = json_real(json_get(sum_of(j, "p/c"), "usd_machine"), -1);
		double share = json_real(json_get(sum_of(j, "p/c"), "usd_split"), -1) - own;

		for (size_t k = 0; k < json_len(sums); k++)
			carried += json_real(json_get(json_at(sums, k), "usd_split"), -1);
		CHECK(fabs(carried - json_real(json_get(m, "usd_ours"), 0) - json_real(json_get(m, "usd_unused"), 0)) <
		      1e-9 * carried);
		/* c used three of the six seconds, and is one of three. */
		CHECK(fabs(share / (carried - 2 * own) - (i ? 1.0 / 3 : 0.5)) < 1e-9);
	}
	strlcpy_(x.split, "none", sizeof(x.split));
	auto_json none = query(&x, "workload", "", 0, NULL);
	CHECK(!json_get(sum_of(none, "p/a"), "usd_split"));
	fixture_done(&x);
}
