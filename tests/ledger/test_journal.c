/* SPDX-License-Identifier: Apache-2.0 */
/* The journal: lines there and back, what is cleaned, how many there may be, who a line is about. */
#include "base/clock.h"
#include "ledger/journal.h"
#include "tests/ledger/fixture.h"

struct pair {
	const char *subject, *text, *want_subject, *want_text;
};

TEST(lines)
{
	static const struct pair said[] = {
		{"shop/iris", "revision 3", "shop/iris", "revision 3"},
		{"", "nobody", "-", "nobody"},
		{"a b\nc", "two\nlines\ttab\x7f\x1b[2J", "a_b_c", "two lines tab  [2J"},
		{"x/\xe2\x80\xae",
		 "a \xe2\x80\xaetxt.exe \xd8\x9c\xe2\x81\xa6\xe2\x80\xa8 \xe2\x82\xac \xf0\x9f\x98\x80", "x/_",
		 "a  txt.exe     \xe2\x82\xac \xf0\x9f\x98\x80"},
		{"x/\xff", "bad \xc3\x28 utf, C1 \xc2\x9b, \xc3\xa4", "x/_", "bad  ( utf, C1  , \xc3\xa4"},
	};
	struct err e = {0};
	struct fixture x;
	struct journal *j;
	struct str rest, line;
	size_t n = 0;

	fixture_init(&x);
	fixture_logs(&x);
	j = journal_new(x.logs);
	for (size_t i = 0; i < ARRAY_SIZE(said); i++)
		journal_add(j, said[i].subject, "deploy", "%s", said[i].text);
	journal_add(NULL, "shop/iris", "deploy", "to nobody");

	auto_free char *text = read_log(&x, JOURNAL_LOG, 0, 100, &e);

	CHECK(e.kind == ERR_NONE);
	for (rest = str_of(text); str_next(&rest, '\n', &line) && n < ARRAY_SIZE(said); n++) {
		struct journal_line l = {0};

		CHECK(journal_split(line, &l));
		CHECK(str_eqc(l.kind, "deploy"));
		CHECK(str_eqc(l.subject, said[n].want_subject));
		CHECK(str_eqc(l.text, said[n].want_text));
	}
	CHECK(n == ARRAY_SIZE(said));
	journal_free(j);
	fixture_done(&x);
}

/* A crash that repeats says so and leaves the others' lines alone. */
TEST(limit)
{
	struct err e = {0};
	struct fixture x;
	struct journal *j;

	fixture_init(&x);
	fixture_logs(&x);
	clock_test_stop();
	j = journal_new(x.logs);
	for (int i = 0; i < 1000; i++)
		journal_add(j, "shop/loop", "crash", "number %d", i);
	for (int i = 0; i < 3; i++)
		journal_add(j, "shop/loop", "throttle", "the same");
	clock_test_step(59000000);
	journal_add(j, "shop/loop", "throttle", "the same");
	clock_test_step(1000000);
	journal_add(j, "shop/loop", "throttle", "the same");
	for (int i = 0; i < 20; i++)
		journal_add(j, "shop/loop", "crash", "later %d", i);
	clock_test_resume();

	auto_free char *text = read_log(&x, JOURNAL_LOG, 0, 100, &e);

	CHECK(strstr(text, "number 19\n") && !strstr(text, "number 20"));
	CHECK(strstr(text, "the same\n") && strstr(text, "the same (3 more before it were left out)\n"));
	CHECK(strstr(text, "later 0 (980 more before it were left out)\n"));
	CHECK(strstr(text, "later 5\n") && !strstr(text, "later 6")); /* a minute gives six */
	journal_free(j);
	fixture_done(&x);
}

TEST(about)
{
	static const struct {
		const char *subject, *about;
		bool is;
	} t[] = {
		{"shop/iris", "", true},
		{"shop/iris", "iris", true},
		{"shop/iris", "shop", true},
		{"shop/iris", "shop/iris", true},
		{"shop/iris", "shop/ir", false},
		{"shop/iris", "tandem", false},
		{"tandem", "tandem", true},
		{"tandem", "", true},
		{"schedule/default/often", "often", true},
		{"schedule/default/often", "ften", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct journal_line l = {.subject = str_of(t[i].subject)};

		CHECK(journal_about(&l, t[i].about) == t[i].is);
	}
}
