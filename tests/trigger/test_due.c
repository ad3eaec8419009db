/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/due.h"

#include "base/clock.h"
#include "store/record.h"
#include "tests/store/fixture.h"

#if TANDEM_DEBUG
struct mine {
	struct due due;
	struct fix *f;
	int fired, over;
	int64_t at_s[8];
	bool final;
};

static void fire(struct due *d, int64_t due_s, bool final, struct store_tx *tx)
{
	struct mine *m = container_of(d, struct mine, due);

	if (m->fired < 8)
		m->at_s[m->fired] = due_s;
	m->fired++;
	m->final = final;
}

static void over(struct due *d)
{
	container_of(d, struct mine, due)->over++;
}

/* Whatever is due by now has fired, and is durable, when this is: the store works in order. */
static void settle(struct fix *f)
{
	for (int i = 0; i < 3; i++) {
		loop_clock_changed(f->loop);
		record_put(f->s, op_new(f), "test/barrier", "1");
		wait_all(f);
	}
}

static int64_t now_s(void)
{
	return clock_wall_us() / 1000000;
}

/* The clock stands at the beginning of a day, a second before it would be noticed. */
static void begin(struct fix *f)
{
	fix_init(f);
	clock_test_stop();
	clock_test_step(86400000000ll - clock_wall_us() % 86400000000ll + 500000);
}

static void make_due(struct mine *m, struct fix *f, struct dues *ds, const char *key, const char *expr)
{
	struct store_tx *tx = store_tx_new();

	*m = (struct mine){.f = f, .due = {.key = (char *)key, .max_age_s = 3600, .fire = fire, .over = over}};
	CHECK(cron_parse(str_of(expr), false, &m->due.cron) == 0);
	m->due.base_s = m->due.last_s = now_s();
	due_put(ds, &m->due, true, tx);
	store_tx_start(f->s, tx);
}

/* The daemon was away for so long; what is on disk is all that is left. */
static struct dues *away(struct fix *f, struct dues *ds, struct mine *m, int64_t s)
{
	due_remove(&m->due);
	dues_free(ds);
	fix_close(f);
	clock_test_step(s * 1000000);
	fix_open(f);
	ds = dues_new(f->loop, f->s);
	m->due.base_s = m->due.last_s = 0;
	m->fired = 0;
	due_put(ds, &m->due, false, NULL);
	dues_start(ds);
	return ds;
}

static void end(struct fix *f, struct dues *ds, struct mine *m)
{
	due_remove(&m->due);
	dues_free(ds);
	fix_done(f);
	clock_test_resume();
}

TEST(each_time_once_and_none_before_the_start)
{
	struct fix f;
	struct mine m;
	int64_t from;

	begin(&f);
	struct dues *ds = dues_new(f.loop, f.s);

	make_due(&m, &f, ds, "a", "rate(1 minute)");
	from = now_s();
	clock_test_step(61000000);
	settle(&f);
	CHECK(m.fired == 0);
	dues_start(ds);
	settle(&f);
	CHECK(m.fired == 1 && m.at_s[0] == from + 60 && !m.final);
	clock_test_step(58000000);
	settle(&f);
	CHECK(m.fired == 1);
	clock_test_step(1000000);
	settle(&f);
	CHECK(m.fired == 2 && m.at_s[1] == from + 120);
	end(&f, ds, &m);
}

TEST(of_what_was_missed_the_latest_runs)
{
	struct fix f;
	struct mine m;
	int64_t from;

	begin(&f);
	struct dues *ds = dues_new(f.loop, f.s);

	make_due(&m, &f, ds, "a", "cron(0/10 * * * ? *)");
	from = now_s();
	dues_start(ds);
	clock_test_step(600000000);
	settle(&f);
	CHECK(m.fired == 1 && m.at_s[0] == from + 600);
	ds = away(&f, ds, &m, 35 * 60); /* missed: 20, 30, 40 */
	settle(&f);
	CHECK(m.fired == 1 && m.at_s[0] == from + 2400);
	ds = away(&f, ds, &m, 60); /* nothing missed, nothing again */
	settle(&f);
	CHECK(m.fired == 0);
	clock_test_step(600000000);
	settle(&f);
	CHECK(m.fired == 1 && m.at_s[0] == from + 3000);
	end(&f, ds, &m);
}

TEST(what_is_too_old_is_skipped)
{
	struct fix f;
	struct mine m;
	int64_t from;

	begin(&f);
	struct dues *ds = dues_new(f.loop, f.s);

	make_due(&m, &f, ds, "a", "cron(0 12 * * ? *)");
	from = now_s();
	ds = away(&f, ds, &m, 14 * 3600); /* 12:00 was two hours ago, an hour is allowed */
	settle(&f);
	CHECK(m.fired == 0);
	clock_test_step(22 * 3600 * 1000000ll);
	settle(&f);
	CHECK(m.fired == 1 && m.at_s[0] == from + 36 * 3600);
	end(&f, ds, &m);
}

TEST(the_final_one)
{
	struct fix f;
	struct mine m;

	begin(&f);
	struct dues *ds = dues_new(f.loop, f.s);

	make_due(&m, &f, ds, "a", "rate(1 minute)");
	due_remove(&m.due);
	m.due.end_s = now_s() + 120;
	due_put(ds, &m.due, true, NULL);
	dues_start(ds);
	clock_test_step(60000000);
	settle(&f);
	CHECK(m.fired == 1 && !m.final && !m.over);
	clock_test_step(60000000);
	settle(&f);
	CHECK(m.fired == 2 && m.final && m.over == 1);
	clock_test_step(600000000);
	settle(&f);
	CHECK(m.fired == 2);
	end(&f, ds, &m);
}

TEST(windows_put_off_and_skip_nothing)
{
	struct fix f;
	struct mine m;

	begin(&f);
	struct dues *ds = dues_new(f.loop, f.s);

	make_due(&m, &f, ds, "windowed", "rate(1 minute)");
	due_remove(&m.due);
	m.due.window_s = 300;
	due_put(ds, &m.due, true, NULL);
	dues_start(ds);
	for (int i = 0; i < 20; i++) {
		clock_test_step(30000000);
		settle(&f);
	}
	/* 10 minutes on: 5 windows are over, none of the others is 5 minutes late */
	CHECK(m.fired >= 5 && m.fired <= 10);
	for (int i = 1; i < m.fired && i < 8; i++)
		CHECK(m.at_s[i] == m.at_s[i - 1] + 60);
	end(&f, ds, &m);
}

TEST(a_clock_that_is_set)
{
	struct fix f;
	struct mine m;
	int64_t from;

	begin(&f);
	struct dues *ds = dues_new(f.loop, f.s);

	make_due(&m, &f, ds, "a", "cron(0 * * * ? *)");
	from = now_s();
	dues_start(ds);
	clock_test_step(3600000000ll);
	settle(&f);
	CHECK(m.fired == 1 && m.at_s[0] == from + 3600);
	clock_test_step(-1000000); /* back by a second: the same hour does not come again */
	dues_look(ds);
	clock_test_step(1000000);
	settle(&f);
	CHECK(m.fired == 1);
	clock_test_step(-3 * 3600000000ll); /* by hours: from there on */
	dues_look(ds);
	clock_test_step(3600000000ll);
	settle(&f);
	CHECK(m.fired == 2 && m.at_s[1] == from - 3600);
	clock_test_step(5 * 3600000000ll + 1800000000ll); /* forward: the latest, once */
	dues_look(ds);
	settle(&f);
	CHECK(m.fired == 3 && m.at_s[2] == from + 4 * 3600);
	end(&f, ds, &m);
}

TEST(many_at_once_in_order)
{
	enum { N = 3000 };
	struct fix f;
	struct mine *all = xcalloc(N, sizeof(*all));
	static char keys[N][16];
	int fired = 0;

	begin(&f);
	struct dues *ds = dues_new(f.loop, f.s);

	for (int i = 0; i < N; i++) {
		char expr[40];

		snprintf(keys[i], sizeof(keys[i]), "k%d", i);
		snprintf(expr, sizeof(expr), "cron(%d 0 * * ? *)", 1 + i * 7 % 59);
		make_due(&all[i], &f, ds, keys[i], expr);
	}
	for (int i = 0; i < N; i += 3) /* out of the middle of the heap */
		due_remove(&all[i].due);
	dues_start(ds);
	for (int minute = 0; minute < 60; minute++) {
		clock_test_step(60000000);
		settle(&f);
	}
	for (int i = 0; i < N; i++) {
		CHECK(all[i].fired == (i % 3 != 0));
		fired += all[i].fired;
		due_remove(&all[i].due);
	}
	CHECK(fired == N / 3 * 2);
	dues_free(ds);
	fix_done(&f);
	clock_test_resume();
	free(all);
}
#else
TEST(debug_builds_only)
{
	TEST_SKIP("needs a clock that can be stepped");
}
#endif
