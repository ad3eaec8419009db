/* SPDX-License-Identifier: Apache-2.0 */
/* Periods, and what rows come to. */
#include "sched/budget.h"

#include "base/clock.h"
#include "json/read.h"
#include "store/record.h"
#include "tests/ledger/fixture.h"

TEST(periods)
{
	static const struct {
		enum budget_per per;
		const char *now, *begin, *end;
	} t[] = {
		{BUDGET_HOUR, "2026-11-21T20:59:59.999999Z", "2026-11-21T20:00:00Z", "2026-11-21T21:00:00Z"},
		{BUDGET_DAY, "2026-12-31T23:00:00Z", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"},
		{BUDGET_MONTH, "2026-11-21T20:00:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"},
		{BUDGET_MONTH, "2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{BUDGET_MONTH, "2028-02-29T23:59:59Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		int64_t now, begin, end, got;

		CHECK(clock_parse_iso(str_of(t[i].now), &now) == 0 &&
		      clock_parse_iso(str_of(t[i].begin), &begin) == 0 && clock_parse_iso(str_of(t[i].end), &end) == 0);
		CHECK(budget_period(t[i].per, now, &got) == begin && got == end);
	}
}

struct budget_fixture {
	struct fixture x;
	struct store *store;
	struct journal *journal;
	struct budgets *b;
	int changes;
	int64_t began_wall_us; /* of a task that runs, for a dollar an hour at AWS and at this machine; 0: none does */
	int asked;
	uint32_t tags;
};

static void running(void *arg, struct ledger_query *q)
{
	struct budget_fixture *f = arg;
	int64_t us = clock_wall_us() - f->began_wall_us;
	struct ledger_row r = {.kind = LEDGER_TASK,
			       .start_wall_us = f->began_wall_us,
			       .tags = f->tags,
			       .idle_ms = (uint32_t)(us / 1000),
			       .usd_machine = (double)us / HOUR_US};

	f->asked++;
	if (f->began_wall_us)
		ledger_query_so_far(q, &r, "task/job");
}

static void changed(void *arg)
{
	struct budget_fixture *f = arg;

	f->changes++;
}

static void on_row(void *arg, const struct ledger_row *row)
{
	struct budget_fixture *f = arg;

	budgets_row(f->b, row);
}

static void open_budgets(struct budget_fixture *f)
{
	f->b = budgets_new(&(struct budgets_opts){.loop = f->x.loop,
						  .store = f->store,
						  .ledger = f->x.ledger,
						  .journal = f->journal,
						  .running = running,
						  .changed = changed,
						  .arg = f});
	ledger_on_row(f->x.ledger, on_row, f);
}

static int declare(struct budget_fixture *f, const char *name, const char *doc, struct err *e)
{
	auto_json j = json_parse(str_of(doc), NULL);
	struct store_tx *tx = store_tx_new();
	int ret = budget_put(f->b, str_of(name), j, "shop", tx, e);

	CHECK(j != NULL);
	store_tx_start(f->store, tx);
	return ret;
}

static void spend(struct budget_fixture *f, const char *workload, const char *tags, double usd, int64_t start_wall_us,
		  uint32_t idle_ms)
{
	struct ledger_row r = {.start_wall_us = start_wall_us,
			       .workload = ledger_intern(f->x.ledger, workload),
			       .tags = *tags ? ledger_intern(f->x.ledger, tags) : 0,
			       .kind = idle_ms ? LEDGER_IDLE : LEDGER_INVOKE,
			       .idle_ms = idle_ms,
			       .usd_machine = usd,
			       .usd_aws = 100 * usd};

	ledger_add(f->x.ledger, &r);
}

static const struct json *state_of(const struct json *j, const char *name)
{
	const struct json *all = json_get(j, "budgets");

	for (size_t i = 0; i < json_len(all); i++)
		if (str_eqc(json_get_str(json_at(all, i), "name"), name))
			return json_at(all, i);
	return NULL;
}

static struct json *states(struct budget_fixture *f)
{
	auto_buf out = {0};
	struct jw w = jw_object(&out);

	budgets_json(f->b, &w);
	jw_end(&w, '}');
	return json_parse(buf_str(&out), NULL);
}

static void stop(void *arg)
{
	struct budget_fixture *f = arg;

	loop_stop(f->x.loop);
}

/* Until the ledger has answered all: a query of ours comes behind theirs. */
static void settle(struct budget_fixture *f)
{
	auto_json j = query(&f->x, "workload", "", 0, NULL);
	struct loop_defer d = {0};

	loop_defer(f->x.loop, &d, stop, f);
	loop_run(f->x.loop);
	CHECK(j != NULL);
}

/* Time goes on, and the timers that are due run; then it stands still. */
static void step(struct budget_fixture *f, int64_t us)
{
	clock_test_step(us);
	loop_clock_changed(f->x.loop);
	settle(f);
}

static void open_all(struct budget_fixture *f)
{
	*f = (struct budget_fixture){0};
	fixture_init(&f->x);
	fixture_ledger(&f->x);
	fixture_logs(&f->x);
	f->journal = journal_new(f->x.logs);
	CHECK(store_open(f->x.loop, f->x.dirfd, &f->store, NULL) == 0);
	open_budgets(f);
}

static void close_all(struct budget_fixture *f)
{
	budgets_free(f->b);
	store_free(f->store);
	journal_free(f->journal);
	fixture_done(&f->x);
}

TEST(what_is_used_closes)
{
	int64_t now = clock_wall_us(), begin, end;
	struct budget_fixture f;
	struct budget_stop s;
	char note[320];
	struct err e;

	open_all(&f);
	begin = budget_period(BUDGET_DAY, now, &end);
	CHECK(declare(&f, "a",
		      "{\"Tag\":\"team=a\",\"Usd\":10,\"Per\":\"day\",\"On\":\"machine\",\"Then\":\"throttle\"}",
		      &e) == 0);
	CHECK(declare(&f, "iris",
		      "{\"Workload\":\"shop/iris\",\"Usd\":700,\"Per\":\"day\",\"On\":\"aws\",\"Then\":\"stop\"}",
		      &e) == 0);
	CHECK(declare(&f, "w", "{\"Tag\":\"team=a\",\"Usd\":1,\"Per\":\"day\",\"On\":\"machine\",\"Then\":\"warn\"}",
		      &e) == 0);
	CHECK(budgets_any_closed(f.b)); /* nobody knows yet */
	CHECK(budgets_closed(f.b, "shop/iris", "", true, NULL) && !budgets_closed(f.b, "shop/iris", "", false, NULL));
	settle(&f);
	CHECK(!budgets_any_closed(f.b));

	spend(&f, "shop/mail", "env=x,team=a", 7.9, now, 0);
	CHECK(!budgets_note(f.b, "shop/iris", "team=b", note));
	CHECK_STR(budgets_note(f.b, "shop/iris", "team=a", note) ? "warned" : "not", "warned");
	spend(&f, "shop/mail", "team=aa", 50, now, 0); /* another tag */
	spend(&f, "shop/iris", "", 6.9, now, 0);       /* and for 690 at AWS */
	CHECK(!budgets_any_closed(f.b));
	/* Of a stretch that began yesterday what lies in today: a quarter, 0.25 of 1. */
	spend(&f, "shop/mail", "team=a", 1, begin - 3000000, 4000);
	CHECK(!budgets_any_closed(f.b));
	spend(&f, "shop/mail", "team=a", 2, now, 0);
	CHECK(budgets_closed(f.b, "shop/other", "team=a", false, &s) && !s.stops && s.open_wall_us == end);
	CHECK(strstr(s.why, "budget a: 10.15 of 10 USD of this day are used (tag team=a, by the price of "
			    "this machine); it opens again at ") == s.why);
	CHECK(!budgets_closed(f.b, "shop/iris", "team=b", false, NULL));
	spend(&f, "shop/iris", "", 0.2, now, 0);
	CHECK(budgets_closed(f.b, "shop/iris", "", false, &s) && s.stops);
	settle(&f);
	CHECK(f.changes > 0);

	/* Its successor knows as much, from the ledger. */
	budgets_free(f.b);
	open_budgets(&f);
	CHECK(budgets_closed(f.b, "shop/iris", "", true, NULL));
	settle(&f);
	auto_json j = states(&f);
	CHECK(json_len(json_get(j, "budgets")) == 3);
	CHECK(json_real(json_get(state_of(j, "a"), "spent"), 0) > 10.14 &&
	      json_real(json_get(state_of(j, "a"), "spent"), 0) < 10.16);
	CHECK(str_eqc(json_get_str(state_of(j, "a"), "state"), "closed"));
	CHECK(str_eqc(json_get_str(state_of(j, "w"), "state"), "over"));
	CHECK(json_real(json_get(state_of(j, "iris"), "spent"), 0) > 709 &&
	      budgets_closed(f.b, "shop/iris", "", false, NULL));

	/* More may be spent: it is open at once when that is known. */
	CHECK(declare(&f, "a",
		      "{\"Tag\":\"team=a\",\"Usd\":20,\"Per\":\"day\",\"On\":\"machine\",\"Then\":\"throttle\"}",
		      &e) == 0);
	settle(&f);
	CHECK(!budgets_closed(f.b, "shop/other", "team=a", false, NULL));
	struct store_tx *tx = store_tx_new();
	budget_delete(f.b, STR("iris"), tx);
	store_tx_start(f.store, tx);
	CHECK(!budgets_any_closed(f.b));
	close_all(&f);
}

/* The timer is of the monotonic clock: whoever asks sees that it is another period. */
TEST(the_clock_is_set)
{
	static const int64_t days[] = {32, -96};
	struct budget_fixture f;
	struct err e;

	open_all(&f);
	CHECK(declare(&f, "a",
		      "{\"Tag\":\"team=a\",\"Usd\":10,\"Per\":\"month\",\"On\":\"machine\",\"Then\":\"throttle\"}",
		      &e) == 0);
	settle(&f);
	for (size_t i = 0; i < ARRAY_SIZE(days); i++) {
		spend(&f, "shop/mail", "team=a", 11, clock_wall_us(), 0);
		CHECK(budgets_closed(f.b, "shop/mail", "team=a", false, NULL));
		clock_test_set(days[i] * 24 * 3600000000ll);
		CHECK(!budgets_closed(f.b, "shop/mail", "team=a", false, NULL));
		spend(&f, "shop/mail", "team=a", 9, clock_wall_us(), 0);
		CHECK(!budgets_any_closed(f.b));
	}
	clock_test_set(64 * 24 * 3600000000ll);
	close_all(&f);
}

/* It has no row for days: each look still begins a new period, and asks once for all budgets. */
TEST(what_runs_is_counted_by_the_period)
{
	struct budget_fixture f;
	struct budget_stop s;
	char note[320];
	struct err e;

	open_all(&f);
	f.tags = ledger_intern(f.x.ledger, "team=a");
	clock_test_stop();
	clock_test_step(HOUR_US - clock_wall_us() % HOUR_US);
	CHECK(declare(&f, "w",
		      "{\"Tag\":\"team=a\",\"Usd\":1.3,\"Per\":\"hour\",\"On\":\"machine\",\"Then\":\"throttle\"}",
		      &e) == 0);
	settle(&f);
	f.began_wall_us = clock_wall_us();
	budgets_began(f.b);
	for (int look = 0; look < 12; look++) {
		step(&f, HOUR_US / 4);
		CHECK(!budgets_any_closed(f.b) && !budgets_note(f.b, "task/job", "team=a", note));
	}
	auto_free char *said = read_log(&f.x, JOURNAL_LOG, 0, 100, &e);

	CHECK_STR(said, "");
	CHECK(declare(&f, "a",
		      "{\"Tag\":\"team=a\",\"Usd\":0.9,\"Per\":\"hour\",\"On\":\"machine\",\"Then\":\"throttle\"}",
		      &e) == 0);
	settle(&f);
	for (int hour = 0; hour < 3; hour++) {
		f.asked = 0;
		step(&f, HOUR_US / 4);
		CHECK(f.asked == 1);
		CHECK(!budgets_closed(f.b, "task/job", "team=a", false, NULL));
		CHECK(!budgets_note(f.b, "task/job", "team=a", note));
		step(&f, HOUR_US * 7 / 10);
		CHECK(budgets_closed(f.b, "task/job", "team=a", false, &s));
		CHECK(strstr(s.why, "budget a: 0.95 of 0.9 USD of this hour are used") == s.why);
		step(&f, HOUR_US / 20);
		CHECK(!budgets_any_closed(f.b));
	}
	clock_test_resume();
	close_all(&f);
}

TEST(what_is_refused)
{
	static const struct {
		const char *name, *doc, *text;
	} t[] = {
		{"a", "{\"Usd\":1,\"Per\":\"day\",\"On\":\"aws\",\"Then\":\"warn\"}",
		 "a budget has a tag or a workload"},
		{"a", "{\"Tag\":\"a=b\",\"Usd\":0,\"Per\":\"day\",\"On\":\"aws\",\"Then\":\"warn\"}",
		 "usd is what may be used, above 0"},
		{"a", "{\"Tag\":\"a=b\",\"Usd\":1,\"Per\":\"week\",\"On\":\"aws\",\"Then\":\"warn\"}",
		 "Per \"week\" is none of those there are"},
		{"a b", "{\"Tag\":\"a=b\",\"Usd\":1,\"Per\":\"day\",\"On\":\"aws\",\"Then\":\"warn\"}",
		 "the name of a budget has 1 to 64 letters, digits, - and _"},
	};
	struct budget_fixture f;
	struct err e;

	open_all(&f);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		e = (struct err){0};
		CHECK(declare(&f, t[i].name, t[i].doc, &e) < 0);
		CHECK_STR(e.text, t[i].text);
	}
	close_all(&f);
}
