/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "tests/test.h"

TEST(compare)
{
	CHECK(str_eq(STR(""), STR_NULL) && str_eq(STR("ab"), STR("ab")) && !str_eq(STR("ab"), STR("abc")));
	CHECK(str_caseeqc(STR("Content-LENGTH"), "content-length") && !str_caseeqc(STR("a"), "ab") &&
	      !str_caseeqc(STR("ab"), "a"));
	CHECK(!str_caseeqc(STR("[@"), "{`"));
	CHECK(str_starts(STR("abc"), "ab") && !str_starts(STR("a"), "ab") && str_starts(STR_NULL, ""));
	CHECK(str_ends(STR("abc"), "bc") && !str_ends(STR("c"), "bc"));
}

TEST(cut_and_trim)
{
	struct str a = STR("old"), b = STR("old");

	CHECK(!str_cut(STR("abc"), ':', &a, &b) && str_eqc(a, "old"));
	CHECK(str_cut(STR("k:v:w"), ':', &a, &b) && str_eqc(a, "k") && str_eqc(b, "v:w"));
	CHECK(str_cut(STR(":"), ':', &a, &b) && !a.n && !b.n);
	a = STR("x,,y,");
	CHECK(str_next(&a, ',', &b) && str_eqc(b, "x") && str_next(&a, ',', &b) && !b.n);
	CHECK(str_next(&a, ',', &b) && str_eqc(b, "y") && !str_next(&a, ',', &b));
	CHECK(str_eqc(str_trim(STR(" \t x y\t ")), "x y") && !str_trim(STR("  ")).n);
}

TEST(to_i64)
{
	static const struct {
		const char *text;
		int r;
		int64_t v;
	} table[] = {
		{"0", 0, 0},
		{"-0", 0, 0},
		{"007", 0, 7},
		{"9223372036854775807", 0, INT64_MAX},
		{"-9223372036854775808", 0, INT64_MIN},
		{"9223372036854775808", -1, 0},
		{"-9223372036854775809", -1, 0},
		{"", -1, 0},
		{"-", -1, 0},
		{"+1", -1, 0},
		{" 1", -1, 0},
		{"1 ", -1, 0},
		{"0x1", -1, 0},
		{"99999999999999999999", -1, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		int64_t v = 0;

		CHECK(str_to_i64(str_of(table[i].text), INT64_MIN, INT64_MAX, &v) == table[i].r && v == table[i].v);
	}
	int64_t v = 5;
	CHECK(str_to_i64(STR("11"), 0, 10, &v) == -1 && v == 5);
}

TEST(names)
{
	CHECK(str_name_ok(STR("a-B_9"), 5, "-_") && !str_name_ok(STR("a-B_9x"), 5, "-_"));
	CHECK(!str_name_ok(STR(""), 5, "") && !str_name_ok(STR("a\0"), 5, "-") && !str_name_ok(STR("a/"), 5, "-"));
}

TEST(strlcpy)
{
	char d[4] = "zzz";

	CHECK(strlcpy_(d, "hello", sizeof(d)) == 5);
	CHECK_STR(d, "hel");
	CHECK(strlcpy_(d, "", 0) == 0);
}

TEST(buf)
{
	auto_buf b = {0};
	char *t;

	CHECK(str_eqc(buf_str(&b), ""));
	for (int i = 0; i < 1000; i++)
		buf_addf(&b, "%d,", i);
	CHECK(b.n == 3890 && b.p[b.n] == 0 && str_starts(buf_str(&b), "0,1,2,") && str_ends(buf_str(&b), "998,999,"));
	buf_drop(&b, b.n - 4);
	CHECK_STR(b.p, "999,");
	buf_addf(&b, "%0500d", 1);
	CHECK(b.n == 504);
	buf_clear(&b);
	buf_add_i64(&b, INT64_MIN), buf_addc(&b, ' '), buf_add_i64(&b, 0), buf_addc(&b, ' '),
		buf_add_i64(&b, INT64_MAX);
	CHECK_STR(b.p, "-9223372036854775808 0 9223372036854775807");
	t = buf_take(&b);
	CHECK(!b.p && !b.n);
	free(t);
	t = buf_take(&b);
	CHECK_STR(t, "");
	free(t);
}

TEST(err)
{
	struct err e = {0};
	char longer[1000];

	CHECK(err_set(&e, ERR_LIMIT, "%s is %d", "x", 3) == -1 && e.kind == ERR_LIMIT && !e.sys);
	CHECK(err_wrap(&e, "read %s", "f") == -1 && e.kind == ERR_LIMIT);
	CHECK_STR(e.text, "read f: x is 3");
	CHECK(err_set(&e, ERR_BUG, "again: %s", e.text) == -1);
	CHECK_STR(e.text, "again: read f: x is 3");
	err_sys(&e, 2, "open %s", "f");
	CHECK(e.kind == ERR_SYS && e.sys == 2);
	CHECK_STR(e.text, "open f: No such file or directory");
	memset(longer, 'a', sizeof(longer) - 1), longer[sizeof(longer) - 1] = 0;
	err_wrap(&e, "%s", longer);
	CHECK(strlen(e.text) == sizeof(e.text) - 1);
	CHECK(err_set(NULL, ERR_BUG, "x") == -1 && err_wrap(NULL, "x") == -1 && err_sys(NULL, 1, "x") == -1);
	for (int k = 0; k < ERR_N; k++)
		CHECK(err_kind_name((enum err_kind)k)[0]);
}
