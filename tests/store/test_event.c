/* SPDX-License-Identifier: Apache-2.0 */
#include "store/event.h"
#include "tests/store/fixture.h"

static void copy_state(const char *from, const char *to)
{
	static const char *const files[] = {"tandem.db", "tandem.db-wal"};
	int in = open(from, O_RDONLY | O_DIRECTORY), out = open(to, O_RDONLY | O_DIRECTORY);

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		auto_buf b = {0};

		CHECK(io_read_file(in, files[i], 1 << 24, &b, NULL) == 0);
		CHECK(io_write_file(out, files[i], b.p, b.n, 0600, NULL) == 0);
	}
	close(in);
	close(out);
}

static int stored;

static void put_done(struct store_event *ev, const struct err *e)
{
	CHECK(!e->kind);
	stored++;
	store_event_done(ev);
}

static void put(struct fix *f, struct store_event *ev, const char *target, const char *payload, int64_t not_before)
{
	struct store_tx *tx = store_tx_new();

	*ev = (struct store_event){.payload = xstrdup(payload), .payload_n = strlen(payload), .accepted_wall_us = 1};
	strlcpy_(ev->target, target, sizeof(ev->target));
	strlcpy_(ev->request_id, "00000000-0000-4000-8000-000000000000", sizeof(ev->request_id));
	strlcpy_(ev->trace_id, "Root=1", sizeof(ev->trace_id));
	ev->not_before_wall_us = not_before;
	store_event_put_add(f->s, tx, ev, put_done);
	store_tx_start(f->s, tx);
}

static void change(struct fix *f, const struct store_event *ev, bool retry)
{
	struct store_tx *tx = store_tx_new();

	if (retry)
		store_event_retry_add(tx, ev);
	else
		store_event_del_add(tx, ev->id);
	store_tx_start(f->s, tx);
}

/* What a load of that finds, as payloads with a space between, and when the next is due. */
static void check_load(struct fix *f, struct store_event_load l, const char *want, int64_t next)
{
	struct store_tx tx;
	auto_buf got = {0};
	struct err e = {0};

	store_tx_init(&tx);
	store_event_load_add(&tx, &l);
	CHECK(store_tx_read_now(f->s, &tx, &e) == 0);
	for (unsigned i = 0; i < l.n; i++) {
		buf_addf(&got, "%s%.*s", i ? " " : "", (int)l.ev[i].payload_n, l.ev[i].payload);
		CHECK_STR(l.ev[i].target, l.target);
		CHECK_STR(l.ev[i].trace_id, "Root=1");
		CHECK_STR(l.ev[i].request_id, "00000000-0000-4000-8000-000000000000");
		store_event_done(&l.ev[i]);
	}
	free(l.ev);
	CHECK_STR(got.p ? got.p : "", want);
	CHECK(l.next_wall_us == next);
}

static void count(void *arg, const char *target, int64_t n, int64_t first_wall_us)
{
	buf_addf(arg, "%s %d %d,", target, (int)n, (int)first_wall_us);
}

/* What done has told must be in the files as they lie there at that moment, without any closing. */
TEST(they_survive_a_crash)
{
	struct store_event ev[4];
	struct fix f, g = {0};
	auto_buf all = {0};
	struct store_tx tx;

	stored = 0;
	fix_init(&f);
	for (int i = 0; i < 4; i++)
		put(&f, &ev[i], i < 3 ? "alpha" : "beta", (const char *const[]){"1", "2", "3", "4"}[i], 10 + i);
	change(&f, &ev[1], false);
	ev[2].attempts = 2;
	ev[2].not_before_wall_us = 99;
	change(&f, &ev[2], true);
	function_put(f.s, op_new(&f), make("alpha", NULL));
	function_put(f.s, op_new(&f), make("beta", NULL));
	wait_all(&f);
	CHECK(stored == 4);
	strlcpy_(g.dir, "/tmp/tandem-store-XXXXXX", sizeof(g.dir));
	CHECK(mkdtemp(g.dir) != NULL);
	copy_state(f.dir, g.dir);
	fix_open(&g);
	CHECK(store_event_targets(g.s, count, &all, NULL) == 0);
	CHECK_STR(all.p, "alpha 2 10,beta 1 13,");
	put(&g, &ev[0], "alpha", "5", 5);
	CHECK(ev[0].id > ev[3].id);
	function_del(g.s, op_new(&g), function_get(g.s, STR("beta"))); /* its events go with it */
	wait_all(&g);
	store_tx_init(&tx);
	check_load(&g, (struct store_event_load){.target = "alpha", .not_after_wall_us = 99, .max = 9, .max_bytes = 9},
		   "5 1 3", INT64_MAX);
	check_load(&g, (struct store_event_load){.target = "beta", .not_after_wall_us = 99, .max = 9, .max_bytes = 9},
		   "", INT64_MAX);
	fix_done(&g);
	fix_done(&f);
}

TEST(a_few_at_a_time)
{
	static const struct {
		int64_t not_after;
		unsigned max;
		size_t max_bytes;
		const char *have; /* digits: places among those below */
		const char *want;
		int64_t next;
	} rows[] = {
		{99, 9, 100, "", "one two three four", INT64_MAX},
		{99, 2, 100, "", "one two", 20},
		{99, 9, 4, "", "one two", 20},
		{99, 9, 0, "", "one", 10},
		{19, 9, 100, "", "one two", 20},
		{9, 9, 100, "", "", 10},
		{99, 2, 100, "02", "two four", INT64_MAX},
		{99, 1, 100, "0123", "", INT64_MAX},
	};
	struct store_event ev[4];
	struct fix f;

	fix_init(&f);
	put(&f, &ev[3], "f", "four", 40);
	put(&f, &ev[0], "f", "one", 10);
	put(&f, &ev[1], "f", "two", 10);
	put(&f, &ev[2], "f", "three", 20);
	function_put(f.s, op_new(&f), make("f", NULL));
	wait_all(&f);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int64_t have[4];
		struct store_event_load l = {.target = "f",
					     .not_after_wall_us = rows[i].not_after,
					     .max = rows[i].max,
					     .max_bytes = rows[i].max_bytes,
					     .have = have};

		for (const char *p = rows[i].have; *p; p++)
			have[l.n_have++] = ev[*p - '0'].id;
		check_load(&f, l, rows[i].want, rows[i].next);
	}
	fix_done(&f);
}
