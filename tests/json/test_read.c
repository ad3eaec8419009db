/* SPDX-License-Identifier: Apache-2.0 */
#include "json/read.h"

#include "base/buf.h"
#include "base/limits.h"
#include "tests/test.h"

TEST(check_table)
{
	static const struct {
		struct str text;
		bool ok;
	} table[] = {
#define OK(s) {STR(s), true}
#define NO(s)                                                                                                          \
	{                                                                                                              \
		STR(s), false                                                                                          \
	}
		OK("{}"),
		OK("[]"),
		OK("null"),
		OK(" true "),
		OK("false"),
		OK("\"\""),
		OK("0"),
		OK("-0"),
		OK("-0.5e+10"),
		OK("1E9"),
		OK("{\"a\":1,\"b\":[1,2,{\"c\":[]}]}"),
		OK("[[],{},[{}]]"),
		OK("\"\\u00e9\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
		OK("\"\xc3\xa9\xf0\x9f\x98\x80\""),
		OK("\"\x7f\""),
		OK("\"\\ud800\""),
		OK("[\"exactly8\",\"seven77\",\"0123456789abcdef0123456789abcdef\"]"),
		OK("\t\r\n 1 \n"),
		NO(""),
		NO(" "),
		NO("{"),
		NO("["),
		NO("}"),
		NO("[1,]"),
		NO("{\"a\":1,}"),
		NO("{a:1}"),
		NO("{\"a\"}"),
		NO("{\"a\":}"),
		NO("[1 2]"),
		NO("{\"a\":1 \"b\":2}"),
		NO("01"),
		NO("-"),
		NO("+1"),
		NO(".5"),
		NO("1."),
		NO("1e"),
		NO("1e+"),
		NO("nul"),
		NO("nulll"),
		NO("True"),
		NO("NaN"),
		NO("\"a"),
		NO("\"\\x\""),
		NO("\"\\u12g4\""),
		NO("\"\\u12\""),
		NO("\"a\nb\""),
		NO("\"\0\""),
		NO("\"\xff\""),
		NO("\"\xc3\""),
		NO("\"\xed\xa0\x80\""),
		NO("\"\xc0\xaf\""),
		NO("1 2"),
		NO("{}}"),
		NO("[}"),
		NO("{]"),
		NO("\xef\xbb\xbf{}"),
		NO("'a'"),
		NO("[1]\0"),
		NO("\"12345678\x01\""),
		NO("/**/1"),
		NO("{\"a\":1,,}"),
		NO("[,1]"),
		NO("\"\\"),
		NO("{1:2}"),
		NO("\v1"),
		NO("\"01234567\\"),
		NO("1e5.5"),
		NO("-a"),
		NO("{\"a\":1]"),
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct err e = {0};
		int r = json_check(table[i].text, &e);
		auto_json j = json_parse(table[i].text, NULL);

		if ((r == 0) != table[i].ok)
			printf("#%zu: " STR_FMT "\n", i, STR_ARG(table[i].text));
		CHECK((r == 0) == table[i].ok);
		CHECK(table[i].ok || (e.kind == ERR_INVALID && e.text[0] && !j));
	}
}

TEST(depth)
{
	for (size_t n = LIM_JSON_DEPTH - 1; n <= LIM_JSON_DEPTH + 1; n++) {
		auto_buf b = {0};
		bool ok = n <= LIM_JSON_DEPTH;

		for (size_t i = 0; i < n; i++)
			buf_adds(&b, i % 2 ? "{\"k\":" : "[");
		buf_addc(&b, '1');
		for (size_t i = n; i-- > 0;)
			buf_addc(&b, i % 2 ? '}' : ']');
		CHECK((json_check(buf_str(&b), NULL) == 0) == ok);
	}
}

TEST(every_prefix_is_refused)
{
	struct str t = STR("{\"a\":[1.5e3,\"x\\u00e9\xc3\xa9 long enough\",true,null],\"b\":{\"c\":false}}");

	for (size_t n = 0; n < t.n; n++) {
		char *copy = malloc(n ? n : 1); /* exact size: a sanitizer sees a read past the end */

		memcpy(copy, t.p, n);
		CHECK(json_check((struct str){copy, n}, NULL) == -1);
		free(copy);
	}
	CHECK(!json_check(t, NULL));
}

static int collect(void *arg, const char *key, const struct json *value)
{
	buf_addf(arg, "%s=%d,", key, (int)json_int(value, -1));
	return !strcmp(key, "stop") ? 7 : 0;
}

TEST(access)
{
	auto_json j = json_parse(STR("{\"z\":1,\"a\":2,\"s\":\"text\",\"r\":2.5,\"t\":true,\"n\":null,\"l\":[1,\"b\"],"
				     "\"stop\":3,\"x\":4}"),
				 NULL);
	auto_buf b = {0};

	CHECK(json_type(j) == JSON_OBJECT && json_len(j) == 9);
	CHECK(json_get_int(j, "a", 0) == 2 && json_get_int(j, "s", 9) == 9 && json_get_int(j, "none", 5) == 5);
	CHECK(str_eqc(json_get_str(j, "s"), "text") && !json_get_str(j, "a").p && !json_get_str(NULL, "a").p);
	CHECK(json_real(json_get(j, "r"), 0) == 2.5 && json_real(json_get(j, "a"), 0) == 2.0 &&
	      json_real(NULL, 3) == 3);
	CHECK(json_get_bool(j, "t", false) && json_get_bool(j, "a", true) && json_type(json_get(j, "n")) == JSON_NULL);
	CHECK(json_len(json_get(j, "l")) == 2 && json_int(json_at(json_get(j, "l"), 0), 0) == 1);
	CHECK(!json_at(json_get(j, "l"), 2) && json_type(json_at(j, 0)) == JSON_NONE && json_len(NULL) == 0);
	CHECK(json_each(j, collect, &b) == 7);
	CHECK_STR(b.p, "z=1,a=2,s=-1,r=-1,t=-1,n=-1,l=-1,stop=3,");
	CHECK(json_each(json_get(j, "l"), collect, &b) == 0);
}

TEST(parse_refuses)
{
	static const char *const table[] = {"{\"a\":1,\"a\":2}", "123456789012345678901234567890", "\"\\u0000\"",
					    "{\"a\":\n  tru}"};
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		e = (struct err){0};
		CHECK(!json_parse(str_of(table[i]), &e) && e.kind == ERR_INVALID);
	}
	CHECK_STR(e.text, "JSON line 2 column 3: unknown word");
}
