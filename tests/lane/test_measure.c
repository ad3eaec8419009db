/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include "base/def.h"
#include "lane/lanes_int.h"
#include "tests/test.h"

static bool near(double got, double want)
{
	bool ok = fabs(got - want) <= 1e-9 * fabs(want);

	if (!ok)
		printf("got %.12g, want %.12g\n", got, want);
	return ok;
}

TEST(moments_forget)
{
	struct moments s = {0};

	for (int i = 0; i < 4; i++)
		moments_add(&s, (double[]){2, 4, 4, 6}[i]);
	CHECK(near(known_mean(&s).v, 4) &&
	      near(known_mean(&s).high, 4 * exp(known_student(4) * sqrt(8.0 / 3 / 4) / 4)));
	for (int i = 0; i < 100000; i++)
		moments_add(&s, 9);
	CHECK(s.n <= MOMENTS_MAX && fabs(known_mean(&s).v - 9) < 1e-5);
	CHECK(known_mean(&(struct moments){0}).high == 0 && known_held(&(struct moments){0}, 3).high == 0);
}

static struct ledger_row row(enum ledger_kind kind, enum lane lane, double cpu_s, double s)
{
	return (struct ledger_row){.kind = (uint8_t)kind,
				   .lane = (uint8_t)lane,
				   .revision = 1,
				   .cpu_us = (uint64_t)(cpu_s * 1e6),
				   .handler_us = kind == LEDGER_INVOKE ? (uint32_t)(s * 1e6) : 0,
				   .idle_ms = kind == LEDGER_IDLE ? (uint32_t)(s * 1e3) : 0};
}

TEST(rows_become_facts)
{
	struct measures m = {0};
	struct ledger_row r = row(LEDGER_INVOKE, LANE_FUNCTION, 0.02, 0.05);
	struct lane_facts f;

	r.mem_peak_bytes = 32000000;
	for (int i = 0; i < 10; i++)
		measure_row(&m, &r, 0);
	r.cold = LEDGER_RESTORED;
	r.cpu_us = 24000, r.start_us = 1000, r.init_us = 4000;
	measure_row(&m, &r, 0);
	f = measure_facts(&m, 8, 2, -1);
	CHECK(near(f.cpu_s.v, 0.02) && near(f.wall_s.v, 0.05));
	CHECK(near(f.start_s.v, 0.005) && near(f.start_cpu_s.v, 0.004) && near(f.held_bytes.v, 32e6));
	CHECK(near(f.base_bytes.v, 64e6) && near(f.seat_bytes.v, 1.6e6)); /* assumed, until it was there */
	CHECK(f.base_bytes.from == KNOWN_ASSUMED && f.base_bytes.low == f.held_bytes.v);
	CHECK(f.held_bytes.high > 1.2 * 32e6 && f.start_s.high > 2 * f.start_s.v); /* of one instance, one start */
	CHECK(f.seats == 8 && f.min == 2 && f.keep_s == -1);
	CHECK(near(measure_facts(&m, 8, 0, 90000000).keep_s, 90));
	r = row(LEDGER_IDLE, LANE_CONTAINER, 0.06, 60);
	r.mem_peak_bytes = 48000000;
	measure_row(&m, &r, 2);
	f = measure_facts(&m, 8, 0, -1);
	CHECK(near(f.base_bytes.v, 48e6 - 2 * 1.6e6) && near(f.overhead_cpu_share.v, 0.001) &&
	      near(f.held_bytes.v, 32e6));
	/* Of another revision twenty requests are enough to outvote thousands. */
	for (int i = 0; i < 1000; i++) {
		r = row(LEDGER_INVOKE, LANE_FUNCTION, 0.02, 0.05);
		measure_row(&m, &r, 0);
	}
	for (int i = 0; i < 60; i++) {
		r = row(LEDGER_INVOKE, LANE_FUNCTION, 0.2, 0.5);
		r.revision = 2;
		measure_row(&m, &r, 0);
	}
	CHECK(measure_facts(&m, 8, 0, -1).wall_s.v > 0.35);
	r = row(LEDGER_REQUESTS, LANE_FUNCTION, 0, 0);
	r.handler_us = 1, r.version = 1; /* to the first byte: says nothing of a stream */
	f = measure_facts(&m, 8, 0, -1);
	measure_row(&m, &r, 0);
	CHECK(near(measure_facts(&m, 8, 0, -1).wall_s.v, f.wall_s.v));
}

TEST(records)
{
	static const char *const hostile[] = {"{\"measured\": [1, 2]}",		 "{\"measured\": [-1, 1, 1]}",
					      "{\"measured\": [1e300, 1, 1]}",	 "{\"measured\": \"x\"}",
					      "{\"measured\": [[1], {}, null]}", "{}"};
	struct measures m = {0}, again = {0};
	auto_buf out = {0};
	struct jw w = jw_object(&out);

	moments_add(&m.of[M_OPEN], 0.1234567);
	moments_add(&m.of[M_HELD], 1e9);
	measures_write(&m, &w, "measured");
	jw_end(&w, '}');
	auto_json j = json_parse(buf_str(&out), NULL);

	measures_read(&again, json_get(j, "measured"));
	CHECK(!memcmp(m.of, again.of, sizeof(m.of)));
	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
		auto_json h = json_parse(str_of(hostile[i]), NULL);
		struct measures none = {0}, got = {0};

		measures_read(&got, json_get(h, "measured"));
		CHECK(!memcmp(&none, &got, sizeof(got)));
	}
}
