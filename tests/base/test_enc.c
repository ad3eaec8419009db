/* SPDX-License-Identifier: Apache-2.0 */
#include "base/enc.h"

#include "base/clock.h"
#include "base/rand.h"
#include "tests/test.h"

TEST(hex)
{
	char out[9], back[4];

	enc_hex("\x00\xff\x1a\xb0", 4, out);
	CHECK_STR(out, "00ff1ab0");
	CHECK(!dec_hex(STR("00FF1aB0"), back, 4) && !memcmp(back, "\x00\xff\x1a\xb0", 4));
	CHECK(dec_hex(STR("00"), back, 4) == -1 && dec_hex(STR("0g"), back, 1) == -1 &&
	      dec_hex(STR("000"), back, 1) == -1);
}

TEST(b64)
{
	static const struct {
		struct str raw;
		const char *text;
	} table[] = {{STR(""), ""},	   {STR("f"), "Zg=="},	      {STR("fo"), "Zm8="},
		     {STR("foo"), "Zm9v"}, {STR("foob"), "Zm9vYg=="}, {STR("\xff\xfe\xfd"), "//79"}};
	static const char *const bad[] = {"Z",	    "Zg=",  "Zh==", "Zm9",   "Zm8=a",
					  "Zg==\n", "Z_==", "====", "Zg===", "Zm9v="};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		auto_buf a = {0}, b = {0};
		struct str t = str_of(table[i].text);

		enc_b64(&a, table[i].raw.p, table[i].raw.n);
		CHECK(str_eq(buf_str(&a), t));
		CHECK(!dec_b64(&b, t) && str_eq(buf_str(&b), table[i].raw));
		while (t.n && t.p[t.n - 1] == '=')
			t.n--;
		buf_clear(&b);
		CHECK(!dec_b64(&b, t) && str_eq(buf_str(&b), table[i].raw));
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		auto_buf b = {0};

		buf_adds(&b, "keep");
		CHECK(dec_b64(&b, str_of(bad[i])) == -1 && str_eqc(buf_str(&b), "keep"));
	}
}

TEST(b64_alphabet)
{
	static const char all[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	auto_buf raw = {0}, text = {0};

	CHECK(!dec_b64(&raw, str_of(all)) && raw.n == 48);
	enc_b64(&text, raw.p, raw.n);
	CHECK_STR(text.p, all);
	for (int c = 0; c < 256; c++)
		for (size_t at = 0; at < 6; at++) { /* within four, and in what is left */
			char six[] = "AAAAAA";

			six[at] = (char)c;
			buf_clear(&raw);
			CHECK(dec_b64(&raw, (struct str){six, 6}) ==
			      (c && strchr(all, c) && (at < 5 || c == 'A' || c == 'Q' || c == 'g' || c == 'w') ? 0
													       : -1));
		}
}

TEST(percent)
{
	auto_buf b = {0};

	enc_percent(&b, STR("a b/c~\xc3\xa9+"), false);
	CHECK_STR(b.p, "a%20b%2Fc~%C3%A9%2B");
	buf_clear(&b);
	enc_percent(&b, STR("/a b"), true);
	CHECK_STR(b.p, "/a%20b");
	buf_clear(&b);
	CHECK(!dec_percent(&b, STR("a%20b+c%2f"), true) && str_eqc(buf_str(&b), "a b c/"));
	buf_clear(&b);
	CHECK(!dec_percent(&b, STR("+%00"), false) && str_eq(buf_str(&b), STR("+\0")));
	CHECK(dec_percent(&b, STR("%"), false) == -1 && dec_percent(&b, STR("%4"), false) == -1 &&
	      dec_percent(&b, STR("%4x"), false) == -1);
}

TEST(utf8)
{
	static const struct {
		struct str s;
		bool ok;
	} table[] = {
		{STR("plain"), true},
		{STR("\xc2\x80"), true},
		{STR("\xef\xbf\xbf"), true},
		{STR("\xf4\x8f\xbf\xbf"), true},
		{STR("\xf4\x90\x80\x80"), false},
		{STR("\xc1\xbf"), false},
		{STR("\xe0\x9f\xbf"), false},
		{STR("\xf0\x8f\xbf\xbf"), false},
		{STR("\xed\xbf\xbf"), false},
		{STR("\x80"), false},
		{STR("\xe2\x82"), false},
		{STR("\xf8\x88\x80\x80\x80"), false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		CHECK(enc_utf8_ok(table[i].s) == table[i].ok);
}

TEST(utf8_whole)
{
	static const struct {
		struct str s;
		size_t n;
	} table[] = {{STR(""), 0},
		     {STR("ab"), 2},
		     {STR("a\xc2"), 1},
		     {STR("a\xc2\x9b"), 3},
		     {STR("a\xe2\x82"), 1},
		     {STR("a\xe2\x82\xac"), 4},
		     {STR("\xf0\x9f\x98"), 0},
		     {STR("\xf0\x9f\x98\x80"), 4},
		     {STR("\x80\x80\x80\x80"), 4}, /* begun nowhere */
		     {STR("a\xff"), 1}};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		CHECK(enc_utf8_whole(table[i].s) == table[i].n);
}

TEST(uuid)
{
	char a[37], b[37];

	id_uuid(a), id_uuid(b);
	CHECK(strlen(a) == 36 && strcmp(a, b) && a[14] == '4' && strchr("89ab", a[19]));
	CHECK(a[8] == '-' && a[13] == '-' && a[18] == '-' && a[23] == '-');
}

TEST(clock_formats)
{
	char t[32];

	CHECK_STR(clock_fmt_lambda(1764025680000123, t), "2025-11-24T23:08:00.000+0000");
	CHECK_STR(clock_fmt_iso(-1, t), "1969-12-31T23:59:59.999Z");
	CHECK_STR(clock_fmt_iso(INT64_MAX, t), "9999-12-31T23:59:59.775Z");
}

TEST(clock_stops)
{
	int64_t t, w, steady = clock_steady_us();

	clock_test_stop();
	t = clock_now_us(), w = clock_wall_us();
	clock_test_step(5000000);
	CHECK(clock_now_us() == t + 5000000 && clock_wall_us() == w + 5000000);
	CHECK(clock_steady_us() >= steady + 5000000);
	steady = clock_steady_us();
	clock_test_set(-3600000000);
	CHECK(clock_now_us() == t + 5000000 && clock_wall_us() == w + 5000000 - 3600000000);
	CHECK(clock_steady_us() == steady);
	clock_test_set(3600000000);
	clock_test_resume();
	CHECK(clock_now_us() >= t + 5000000); /* never back */
}
