/* SPDX-License-Identifier: Apache-2.0 */
/* Rows: there and back, names, what a crash leaves, rotation and folding, a disk that refuses. */
#include <math.h>

#include "tests/ledger/fixture.h"

#define T0 1763766000000000 /* 2025-11-21T23:00:00Z */

static struct ledger_row row(uint32_t workload, int64_t at)
{
	return (struct ledger_row){
		.start_wall_us = at,
		.workload = workload,
		.revision = 3,
		.instance = 9,
		.request_id = {0x12, 0x34},
		.queue_us = 5,
		.handler_us = 2500,
		.cpu_us = 2000,
		.memory_mb = 512,
		.mem_peak_bytes = 30 << 20,
		.bytes_in = 10,
		.bytes_out = 20,
	};
}

static double real(const struct json *o, const char *key)
{
	return json_real(json_get(o, key), -1);
}

/* The name of the only (or last) segment. */
static void segment_path(struct fixture *x, char out[128])
{
	struct segment_name *v = NULL;
	size_t n = 0;
	int fd = openat(x->dirfd, "ledger", O_RDONLY | O_DIRECTORY);

	CHECK(segment_list(fd, "ledger-", ".seg", &v, &n, NULL) == 0 && n > 0);
	snprintf(out, 128, "ledger/%s", n ? v[n - 1].name : "");
	free(v);
	close(fd);
}

TEST(round_trip)
{
	struct fixture x;
	struct ledger_row r;
	const struct json *got;
	double want = 0.0000002 + 0.5 * 0.103 * 0.0000166667;

	fixture_init(&x);
	fixture_ledger(&x);
	r = row(ledger_intern(x.ledger, "shop/iris"), T0 + 1);
	r.tags = ledger_intern(x.ledger, "env=prod,team=a b");
	r.cold = 1, r.trigger = TRIGGER_HTTP, r.outcome = OUTCOME_ERROR, r.lane = LANE_CONTAINER;
	r.start_us = 700, r.init_us = 100000;
	ledger_add(x.ledger, &r);
	/* Over a restart: from the file, not from memory. */
	ledger_free(x.ledger);
	fixture_ledger(&x);
	auto_json j = query(&x, "rows", "", 0, NULL);
	got = json_at(json_get(j, "rows"), 0);
	CHECK(json_len(json_get(j, "rows")) == 1);
	CHECK_STR(json_get_str(got, "workload").p, "shop/iris");
	CHECK_STR(json_get_str(got, "tags").p, "env=prod,team=a b");
	CHECK_STR(json_get_str(got, "time").p, "2025-11-21T23:00:00.000Z");
	CHECK_STR(json_get_str(got, "lane").p, "container");
	CHECK_STR(json_get_str(got, "trigger").p, "http");
	CHECK_STR(json_get_str(got, "outcome").p, "error");
	CHECK_STR(json_get_str(got, "request_id").p, "12340000-0000-0000-0000-000000000000");
	CHECK(json_get_bool(got, "cold", false));
	CHECK(json_get_int(got, "start_us", 0) == 700 && json_get_int(got, "init_us", 0) == 100000);
	CHECK(json_get_int(got, "handler_us", 0) == 2500 && json_get_int(got, "queue_us", 0) == 5);
	CHECK(json_get_int(got, "billed_ms", 0) == 103);
	CHECK(json_get_int(got, "revision", 0) == 3 && json_get_int(got, "instance", 0) == 9);
	CHECK(json_get_int(got, "cpu_us", 0) == 2000 && json_get_int(got, "mem_peak_bytes", 0) == 30 << 20);
#ifdef __x86_64__
	CHECK(fabs(real(got, "usd_aws") - want) < 1e-15);
#endif
	CHECK(real(got, "usd_machine") > 0);
	fixture_done(&x);
}

TEST(what_is_not_charged)
{
	static const struct {
		uint8_t kind, trigger, outcome;
		uint32_t handler_us;
		bool charged;
	} t[] = {
		{LEDGER_INVOKE, TRIGGER_API, OUTCOME_OK, 10, true},
		{LEDGER_INVOKE, TRIGGER_API, OUTCOME_TIMEOUT, 10, true},
		{LEDGER_INVOKE, TRIGGER_API, OUTCOME_THROTTLED, 0, false},
		{LEDGER_INVOKE, TRIGGER_API, OUTCOME_FAILED, 0, false},
		{LEDGER_INVOKE, TRIGGER_CHECK, OUTCOME_OK, 10, false},
		{LEDGER_INVOKE, TRIGGER_API, OUTCOME_CANCELED, 0, false},
		{LEDGER_INVOKE, TRIGGER_API, OUTCOME_CANCELED, 10, true},
		{LEDGER_IDLE, TRIGGER_API, OUTCOME_OK, 0, false},
		{LEDGER_PLATFORM, TRIGGER_API, OUTCOME_OK, 0, false},
	};
	struct fixture x;
	const struct json *rows;

	fixture_init(&x);
	fixture_ledger(&x);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct ledger_row r = row(ledger_intern(x.ledger, "p/f"), T0);

		r.kind = t[i].kind, r.trigger = t[i].trigger, r.outcome = t[i].outcome, r.handler_us = t[i].handler_us;
		r.idle_ms = r.kind == LEDGER_INVOKE ? 0 : 1000;
		ledger_add(x.ledger, &r);
	}
	auto_json j = query(&x, "rows", "", 0, NULL);
	rows = json_get(j, "rows");
	CHECK(json_len(rows) == ARRAY_SIZE(t));
	for (size_t i = 0; i < json_len(rows); i++) {
		CHECK((real(json_at(rows, i), "usd_aws") > 0) == t[i].charged);
		CHECK(real(json_at(rows, i), "usd_machine") > 0); /* memory was held all the same */
	}
	fixture_done(&x);
}

TEST(machine_price_is_settable)
{
	struct fixture x;
	struct ledger_row r;
	const struct json *rows;

	fixture_init(&x);
	fixture_ledger(&x);
	r = row(ledger_intern(x.ledger, "p/f"), T0);
	ledger_add(x.ledger, &r);
	CHECK(ledger_price_set(x.ledger, LEDGER_PRICE_MACHINE, -1) == -1);
	CHECK(ledger_price_set(x.ledger, LEDGER_PRICE_MACHINE, NAN) == -1);
	CHECK(ledger_price_set(x.ledger, LEDGER_PRICE_MACHINE, 1) == 0); /* 100 times the default */
	ledger_add(x.ledger, &r);
	auto_json j = query(&x, "rows", "", 0, NULL);
	rows = json_get(j, "rows");
	CHECK(fabs(real(json_at(rows, 1), "usd_machine") / real(json_at(rows, 0), "usd_machine") - 100) < 1e-6);
	CHECK(real(j, "machine_usd_per_hour") == 1);
	fixture_done(&x);
}

TEST(names_live_as_long_as_they_are_used)
{
	struct fixture x;
	uint32_t a, b, c;

	fixture_init(&x);
	fixture_ledger(&x);
	a = ledger_intern(x.ledger, "p/a");
	CHECK(a != 0 && ledger_intern(x.ledger, "p/a") == a);
	b = ledger_intern(x.ledger, "p/b");
	CHECK(b != a);
	ledger_release(x.ledger, a);
	CHECK(ledger_intern(x.ledger, "p/a") == a);
	ledger_release(x.ledger, b);
	ledger_release(x.ledger, b); /* once too often is harmless */
	ledger_release(x.ledger, 0);
	ledger_release(x.ledger, 4000000000);
	c = ledger_intern(x.ledger, "p/c");
	CHECK(c == b); /* it never reached the file */
	struct ledger_row r = row(c, T0);
	ledger_add(x.ledger, &r);
	ledger_release(x.ledger, c);
	CHECK(ledger_intern(x.ledger, "p/c") == c); /* asleep and awake again: this one did */
	ledger_forget(x.ledger, "p/c");
	ledger_forget(x.ledger, "p/never");
	ledger_release(x.ledger, c);
	uint32_t again = ledger_intern(x.ledger, "p/c"); /* deleted and made again */
	CHECK(again != c);
	r.workload = again;
	ledger_add(x.ledger, &r);
	/* Both numbers are one workload. */
	auto_json j = query(&x, "workload", "p/c", 0, NULL);
	CHECK(json_len(json_get(j, "sums")) == 1);
	CHECK(json_get_int(sum_of(j, "p/c"), "invocations", 0) == 2);
	/* Ten thousand that are made and go leave nothing. */
	for (int i = 0; i < 10000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "many/f%d", i);
		ledger_release(x.ledger, ledger_intern(x.ledger, name));
	}
	CHECK(x.ledger->names.n < 16 && x.ledger->names.by_text.n == 2);
	fixture_done(&x);
}

TEST(crash_leaves_half_a_row)
{
	struct fixture x;
	struct ledger_row r;
	char path[128];
	struct stat st;

	fixture_init(&x);
	fixture_ledger(&x);
	for (int i = 0; i < 3; i++) {
		r = row(ledger_intern(x.ledger, "p/f"), T0 + i);
		ledger_add(x.ledger, &r);
	}
	ledger_free(x.ledger);
	segment_path(&x, path);
	CHECK(fstatat(x.dirfd, path, &st, 0) == 0 && st.st_size == 4 * ROW_BYTES);
	int fd = openat(x.dirfd, path, O_RDWR);
	CHECK(ftruncate(fd, 4 * ROW_BYTES - 57) == 0);	      /* the third row is cut */
	CHECK(pwrite(fd, "\xff", 1, 2 * ROW_BYTES + 8) == 1); /* the second is damaged */
	close(fd);
	int names = openat(x.dirfd, "ledger/" NAMES_FILE, O_WRONLY | O_APPEND);
	CHECK(write(names, "77 half-a-na", 12) == 12);
	close(names);
	fixture_ledger(&x);
	CHECK(fstatat(x.dirfd, path, &st, 0) == 0 && st.st_size == 3 * ROW_BYTES);
	r = row(ledger_intern(x.ledger, "p/g"), T0 + 9);
	ledger_add(x.ledger, &r);
	auto_json j = query(&x, "workload", "", 0, NULL);
	CHECK(json_get_int(j, "bad_rows", 0) == 1);
	CHECK(json_get_int(sum_of(j, "p/f"), "invocations", 0) == 1);
	CHECK(json_get_int(sum_of(j, "p/g"), "invocations", 0) == 1);
	CHECK(json_get_int(json_get(j, "total"), "invocations", 0) == 2);
	fixture_done(&x);
}

TEST(a_damaged_head_is_left_alone)
{
	struct fixture x;
	struct ledger_row r;
	char path[128];

	fixture_init(&x);
	fixture_ledger(&x);
	r = row(ledger_intern(x.ledger, "p/f"), T0);
	ledger_add(x.ledger, &r);
	ledger_free(x.ledger);
	segment_path(&x, path);
	int fd = openat(x.dirfd, path, O_RDWR);
	CHECK(pwrite(fd, "X", 1, 0) == 1);
	close(fd);
	fixture_ledger(&x);
	r = row(ledger_intern(x.ledger, "p/f"), T0);
	ledger_add(x.ledger, &r);
	auto_json j = query(&x, "workload", "", 0, NULL);
	CHECK(json_get_int(json_get(j, "total"), "invocations", 0) == 1);
	CHECK(json_get_int(j, "bad_rows", 0) == 2);
	fixture_done(&x);
}

/* Small segments: most rows are folded, and nothing is lost in the sums; also over a restart and a fold that was
 * interrupted. */
TEST(folding_keeps_the_sums)
{
	struct fixture x;
	uint64_t upto = 0, bad = 0;
	struct sums folded = {0};
	enum { ROWS = 5000 };
	double usd = -1;

	fixture_init(&x);
	fixture_ledger(&x);
	x.ledger->files.segment_bytes = 100 * ROW_BYTES;
	x.ledger->files.segments = 3;
	for (int i = 0; i < ROWS; i++) {
		struct ledger_row r = row(ledger_intern(x.ledger, i % 3 ? "p/a" : "p/b"), T0 + i * 1000000ll);

		r.trigger = i % 2;
		ledger_add(x.ledger, &r);
		if (i % 90 == 0) {
			ledger_flush(x.ledger);
		}
	}
	for (int round = 0; round < 3; round++) {
		auto_json j = query(&x, "workload", "", 0, NULL);

		CHECK(json_get_int(json_get(j, "total"), "invocations", 0) == ROWS);
		CHECK(json_get_int(sum_of(j, "p/b"), "invocations", 0) == (ROWS + 2) / 3);
		CHECK(usd < 0 || fabs(real(json_get(j, "total"), "usd_aws") - usd) < 1e-12);
		usd = real(json_get(j, "total"), "usd_aws");
		ledger_free(x.ledger);
		if (round == 1) { /* as if the crash came between the new sums and the removal */
			char name[128];

			snprintf(name, sizeof(name), "ledger/ledger-20251121-000001.seg");
			struct row rows[2] = {0};
			struct ledger_row again = row(1, T0);

			row_head_init((struct row_head *)&rows[0], ROW_MAGIC, T0, 0);
			rows[1].r = again;
			row_seal(&rows[1]);
			CHECK(io_write_file(x.dirfd, name, rows, sizeof(rows), 0640, NULL) == 0);
		}
		fixture_ledger(&x);
	}
	auto_json hours = query(&x, "hour", "", 0, NULL);
	CHECK(json_len(json_get(hours, "sums")) >= 2);
	CHECK(json_get_int(json_get(hours, "total"), "invocations", 0) == ROWS);
	CHECK(ledger_sums_load(x.ledger->files.dirfd, &folded, &upto, &bad, NULL) == 0);
	CHECK(upto > 10 && folded.n > 0 && bad == 0);
	sums_done(&folded);
	fixture_done(&x);
}

TEST(a_directory_that_cannot_be_made)
{
	struct fixture x;
	struct err e = {0};

	fixture_init(&x);
	int fd =
		openat(x.dirfd, "ledger", O_CREAT | O_WRONLY, 0600); /* a file stands in the way: root too is refused */
	close(fd);
	CHECK(ledger_open(x.loop, x.dirfd, x.prices, &x.ledger, &e) == -1);
	CHECK(e.kind == ERR_SYS && e.text[0] && x.ledger == NULL);
	e = (struct err){0};
	CHECK(unlinkat(x.dirfd, "ledger", 0) == 0);
	CHECK(ledger_open(x.loop, x.dirfd, "{}", &x.ledger, &e) == -1);
	CHECK(e.kind == ERR_INVALID && x.ledger == NULL);
	fixture_done(&x);
}

/* Rows that cannot be written are counted, not waited for. */
TEST(a_disk_that_refuses)
{
	struct fixture x;
	struct ledger_row r;
	auto_buf text = {0};

	fixture_init(&x);
	fixture_ledger(&x);
	CHECK(io_rm_tree(x.dirfd, "ledger", NULL) == 0); /* no new segment can be made in a removed directory */
	r = row(ledger_intern(x.ledger, "p/f"), T0);
	ledger_add(x.ledger, &r);
	ledger_add(x.ledger, &r);
	auto_json j = query(&x, "workload", "", 0, NULL);
	CHECK(json_get_int(j, "dropped_rows", 0) == 2);
	CHECK(json_get_int(json_get(j, "total"), "invocations", -1) == 0);
	ledger_metrics(x.ledger, &text);
	CHECK(strstr(text.p, "tandem_ledger_rows_dropped_total 2\n") != NULL);
	fixture_done(&x);
}

/* Rows may be lost, but never the names of those that come later: after a restart another workload would have them. */
TEST(a_disk_that_was_full_loses_no_name)
{
	struct fixture x;
	struct ledger_row r;
	int full, names;

	fixture_init(&x);
	fixture_ledger(&x);
	full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	names = x.ledger->files.names.fd;
	x.ledger->files.names.fd = full;
	r = row(ledger_intern(x.ledger, "p/first"), T0);
	ledger_add(x.ledger, &r);
	auto_json lost = query(&x, "workload", "", 0, NULL);
	CHECK(json_get_int(lost, "dropped_rows", 0) == 1);
	x.ledger->files.names.fd = names;
	close(full);
	ledger_add(x.ledger, &r);
	ledger_free(x.ledger);
	fixture_ledger(&x);
	r = row(ledger_intern(x.ledger, "p/second"), T0);
	ledger_add(x.ledger, &r);
	auto_json j = query(&x, "workload", "", 0, NULL);
	CHECK(json_get_int(sum_of(j, "p/first"), "invocations", 0) == 1);
	CHECK(json_get_int(sum_of(j, "p/second"), "invocations", 0) == 1);
	fixture_done(&x);
}

/* The dictionary is read whole: who tags each task anew must not fill it. */
TEST(tags_are_bounded)
{
	struct fixture x;
	struct ledger_row r;

	fixture_init(&x);
	fixture_ledger(&x);
	r = row(ledger_intern(x.ledger, "p/f"), T0);
	r.tags = ledger_intern(x.ledger, "job=1");
	ledger_add(x.ledger, &r);
	CHECK(x.ledger->names.file_bytes == (int64_t)strlen("1 p/f\n2 job%3D1\n"));
	x.ledger->names.file_bytes = NAMES_TAGS_BYTES;
	ledger_add(x.ledger, &r); /* known */
	r.tags = ledger_intern(x.ledger, "job=2");
	ledger_add(x.ledger, &r);
	r = row(ledger_intern(x.ledger, "p/g"), T0);
	ledger_add(x.ledger, &r);
	auto_json j = query(&x, "tag", "", 0, NULL);
	CHECK(json_get_int(sum_of(j, "job=1"), "invocations", 0) == 2);
	CHECK(sum_of(j, "job=2") == NULL);
	CHECK(json_get_int(sum_of(j, ""), "invocations", 0) == 2);
	CHECK(json_get_int(j, "dropped_tags", 0) == 1);
	ledger_free(x.ledger);
	fixture_ledger(&x);
	CHECK(x.ledger->names.file_bytes == (int64_t)strlen("1 p/f\n2 job%3D1\n4 p/g\n"));
	fixture_done(&x);
}

/* While nothing takes rows away, at most 16 MiB wait. */
TEST(waiting_rows_are_bounded)
{
	struct fixture x;
	struct ledger_row r;
	auto_buf text = {0};
	enum { ROWS = 200000 };

	fixture_init(&x);
	fixture_ledger(&x);
	r = row(ledger_intern(x.ledger, "p/f"), T0);
	for (int i = 0; i < ROWS; i++) /* the loop does not run: batches are never given back */
		ledger_add(x.ledger, &r);
	CHECK(x.ledger->dropped_rows > 0 && x.ledger->rows > 100000);
	CHECK(x.ledger->rows + x.ledger->dropped_rows == ROWS);
	auto_json j = query(&x, "workload", "", 0, NULL);
	CHECK((uint64_t)json_get_int(json_get(j, "total"), "invocations", 0) == x.ledger->rows);
	CHECK((uint64_t)json_get_int(j, "dropped_rows", 0) == x.ledger->dropped_rows);
	ledger_metrics(x.ledger, &text);
	CHECK(strstr(text.p, "outcome=\"ok\"} 200000\n") != NULL); /* the counters saw them all */
	fixture_done(&x);
}
