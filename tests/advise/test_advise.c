/* SPDX-License-Identifier: Apache-2.0 */
/* The advisor against published guidance, and what must hold for any declaration. */
#include "advise/say.h"

#include <fcntl.h>
#include <math.h>

#include "base/io.h"
#include "base/mem.h"
#include "json/read.h"
#include "tests/advise/golden.inc"
#include "tests/test.h"

static struct prices prices;

static struct advise_market market(void)
{
	struct advise_market m = {.prices = &prices, .vcpus = 2, .memory_bytes = 8.0 * (1ll << 30)};

	if (!prices.as_of[0]) {
		auto_buf text = {0};

		CHECK(!io_read_file(AT_FDCWD, "spec/prices.json", 1 << 20, &text, NULL));
		CHECK(!prices_parse(buf_str(&text), &prices, NULL));
	}
	price_machine_init(&m.machine, &prices, 0.05, m.vcpus, m.memory_bytes);
	return m;
}

/* -1: refused; e says why. */
static int declared(const char *text, struct facts *ret, struct err *e)
{
	struct tree_opts o = {.file = "d.yaml"};
	auto_(facts_list_done) struct facts_list l = {0};
	auto_free char *whole = xasprintf("shop: {%s}", text);

	if (facts_read(&o, str_of(whole), &l, e) < 0)
		return -1;
	*ret = l.v[0];
	facts_settle(ret);
	return 0;
}

TEST(golden)
{
	struct advise_market m = market();

	CHECK(ARRAY_SIZE(golden) >= 40);
	for (size_t i = 0; i < ARRAY_SIZE(golden); i++) {
		const struct golden *g = &golden[i];
		auto_buf text = {0};
		struct err e = {0};
		struct advice a;
		struct facts f;
		char *p;

		if (declared(g->declared, &f, &e) < 0) {
			printf("%s: %s\n", g->declared, e.text);
			CHECK(!"declaration is read");
			continue;
		}
		advise(&f, &m, &a);
		say_text(&text, &f, &a, &m);
		while ((p = strchr(text.p, '\n')))
			*p = ' ';
		while ((p = strstr(text.p, "  ")))
			memmove(p, p + 1, strlen(p));
		if (strcmp(a.none ? "contradiction" : lane_name[a.lane], g->lane) != 0 ||
		    (g->says && !strstr(text.p, g->says))) {
			test_failures++;
			printf("{%s}\n  is to be %s (%s), saying \"%s\"; it is %s\n", g->declared, g->lane, g->source,
			       g->says ? g->says : "", text.p);
		}
	}
}

/* ---- whatever is declared ---- */

static unsigned seed = 7;

static unsigned dice(unsigned n)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 16) % n;
}

/* Each key with one in three, and one of its values. */
static char *anything(void)
{
	static const struct {
		const char *key, *values[5];
	} some[] = {
		{"kind", {"api", "batch", "training", "schedule", "admin"}},
		{"pattern", {"steady", "bursty", "scheduled", "bursty", "steady"}},
		{"rate", {"0/s", "1/month", "3/min", "40/s", "1000000/s"}},
		{"duration", {"1us", "20ms", "1s..9s", "14min", "300d"}},
		{"longest", {"1ms", "15min", "901s", "10h", "60s"}},
		{"cpu_time", {"0", "1ms", "500ms", "60s", "1ms..1s"}},
		{"vcpu", {"0.01", "1", "6", "7", "1024"}},
		{"memory", {"1MB", "128", "10240MB", "1TB", "1GB..4GB"}},
		{"container_memory", {"0", "4MB", "0MB..64MB", "1GB", "100"}},
		{"seat_memory", {"0", "1MB", "1GB", "0MB..64MB", "10GB"}},
		{"concurrency", {"1", "8", "10000", "80", "2"}},
		{"start", {"0ms", "5ms", "1ms..2s", "1h", "300ms"}},
		{"cold_start", {"0ms", "5ms", "200ms", "1h", "1s"}},
		{"package", {"1MB", "260MB", "10GB", "11GB", "0"}},
		{"payload", {"1KB", "6MB", "7MB", "33MB", "1TB"}},
		{"data", {"0", "1GB", "11GB", "201GB", "900TB"}},
		{"gpu", {"0", "1", "true", "false", "8"}},
		{"devices", {"[]", "[/dev/kvm]", "0", "[a, b]", "true"}},
		{"sidecars", {"0", "[]", "1", "[envoy]", "3"}},
		{"listener", {"http", "websocket", "tcp", "udp", "none"}},
		{"os", {"linux", "linux", "linux", "linux", "windows"}},
		{"warm_state", {"true", "false", "false", "false", "true"}},
		{"scale_to_zero", {"true", "false", "false", "false", "true"}},
		{"root", {"false", "false", "false", "true", "false"}},
		{"compliance", {"[]", "isolation", "[region]", "own_kernel", "[isolation, region]"}},
		{"lanes", {"[]", "function", "[function, container]", "[vm]", "[container, vm]"}},
	};
	auto_buf out = {0};

	for (size_t i = 0; i < ARRAY_SIZE(some); i++)
		if (!dice(3))
			buf_addf(&out, "%s%s: %s", out.n ? ", " : "", some[i].key, some[i].values[dice(5)]);
	if (!out.n)
		buf_adds(&out, "kind: api");
	return buf_take(&out);
}

static void check_said(const char *text, const struct facts *f, const struct advice *a, const struct advise_market *m)
{
	auto_buf words = {0}, page = {0}, list = {0};
	auto_json j = NULL;
	struct err e = {0};
	struct str rest, one;
	struct jw w;
	bool narrow = true;

	say_text(&words, f, a, m);
	rest = buf_str(&words);
	while (str_next(&rest, '\n', &one))
		narrow &= one.n <= 80;
	jw_init(&w, &list);
	say_json(&w, f, a, m);
	j = json_parse(buf_str(&list), &e);
	say_notes(&page, f, a, m);
	if (!narrow || !j || strstr(words.p, "nan") || strstr(words.p, "inf") || strstr(page.p, "nan") || !page.n) {
		test_failures++;
		printf("{%s}: %s\n%s%s", text, e.text, words.p, page.p);
	}
}

TEST(any_declaration_gets_a_sane_verdict)
{
	struct advise_market m = market();

	for (int i = 0; i < 120; i++) {
		auto_free char *text = anything();
		struct err e = {0};
		bool container = false;
		struct facts f;

		if (declared(text, &f, &e) < 0) {
			printf("%s: %s\n", text, e.text);
			CHECK(!"declaration is read");
			continue;
		}
		m.decides = (enum place)dice(PLACE_N);
		for (enum fact k = 0; k < FACT_N; k++)
			CHECK(f.n[k].low <= f.n[k].v && f.n[k].v <= f.n[k].high && isfinite(f.n[k].high));
		for (int times = 0; times < 3; times++) {
			struct advice a;

			advise(&f, &m, &a);
			CHECK(a.none == (!!a.clash || !a.lanes));
			CHECK(a.none || (a.lane < LANE_N && a.lanes >> a.lane & 1));
			CHECK(!f.lanes || a.none || f.lanes >> a.lane & 1);
			CHECK(a.certainty >= 0.5 && a.certainty <= 1);
			check_said(text, &f, &a, &m);
			if (!a.none && container && a.lane == LANE_FUNCTION) {
				test_failures++;
				printf("{%s}: at a higher rate it moves from container to function\n", text);
			}
			container = !a.none && a.lane == LANE_CONTAINER;
			for (enum fact k = FACT_RATE; k <= FACT_PEAK; k++)
				f.n[k].v *= 30, f.n[k].low *= 30, f.n[k].high *= 30;
		}
	}
}

/* Where a range says nothing of the verdict, the same numbers decide as in the daemon. */
TEST(the_break_even_is_the_daemons)
{
	struct advise_market m = market();
	struct lane_break_even even;
	struct advice a;
	struct facts f;

	CHECK(!declared("kind: api, duration: 100ms, cpu_time: 30ms, memory: 100MB, seat_memory: 2MB, concurrency: 8, "
			"start: 0ms",
			&f, NULL));
	advise(&f, &m, &a);
	lane_break_even(&(struct lane_facts){.cpu_s = {.v = 0.03},
					     .wall_s = {.v = 0.1},
					     .held_bytes = {.v = 104857600},
					     .keep_s = -1,
					     .base_bytes = {.v = 104857600},
					     .seat_bytes = {.v = 2097152},
					     .seats = 8},
			&(struct lane_price){.usd_per_cpu_s = m.machine.usd_per_cpu_us * 1e6,
					     .usd_per_byte_s = m.machine.usd_per_byte_us * 1e6},
			&(struct lane_price){.usd_per_cpu_s = m.machine.usd_per_cpu_us * 1e6,
					     .usd_per_byte_s = m.machine.usd_per_byte_us * 1e6},
			&even);
	CHECK(a.place[PLACE_HERE].even.crosses && even.crosses);
	CHECK(fabs(a.place[PLACE_HERE].even.rate / even.rate - 1) < 0.02);
	CHECK(a.place[PLACE_HERE].even.low < even.rate && even.rate < a.place[PLACE_HERE].even.high);
}
