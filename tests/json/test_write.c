/* SPDX-License-Identifier: Apache-2.0 */
#include "json/write.h"

#include <math.h>

#include "json/read.h"
#include "tests/test.h"

TEST(nested)
{
	auto_buf b = {0};
	struct jw w;

	jw_init(&w, &b);
	jw_obj(&w, NULL);
	jw_int(&w, "min", INT64_MIN);
	jw_arr(&w, "list");
	jw_bool(&w, NULL, true);
	jw_null(&w, NULL);
	jw_obj(&w, NULL);
	jw_end(&w, '}');
	jw_raw(&w, NULL, STR("[1]"));
	jw_end(&w, ']');
	jw_strc(&w, "none", NULL);
	jw_strc(&w, "k\"", "v");
	jw_end(&w, '}');
	CHECK_STR(b.p, "{\"min\":-9223372036854775808,\"list\":[true,null,{},[1]],\"none\":null,\"k\\\"\":\"v\"}");
	CHECK(w.depth == 0 && !json_check(buf_str(&b), NULL));
}

TEST(quote_table)
{
	static const struct {
		struct str in;
		const char *out;
	} table[] = {
		{STR(""), "\"\""},
		{STR_NULL, "\"\""},
		{STR("a\"b\\c/d"), "\"a\\\"b\\\\c/d\""},
		{STR("\b\t\n\f\r\x01\x1f\x7f"), "\"\\b\\t\\n\\f\\r\\u0001\\u001f\x7f\""},
		{STR("a\0b"), "\"a\\u0000b\""},
		{STR("\xc3\xa9\xf0\x9f\x98\x80"), "\"\xc3\xa9\xf0\x9f\x98\x80\""},
		{STR("x\xffy\xc3"), "\"x\xef\xbf\xbdy\xef\xbf\xbd\""},
		{STR("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		auto_buf b = {0};

		jw_quote(&b, table[i].in);
		CHECK_STR(b.p, table[i].out);
		CHECK(!json_check(buf_str(&b), NULL));
	}
}

TEST(reals)
{
	static const double table[] = {0.1, 1.0 / 3, 1e300, -2.5e-10, 5, 1e16, 123456789.125};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		auto_buf b = {0};
		struct jw w;
		struct json *j;

		jw_init(&w, &b);
		jw_real(&w, NULL, table[i]);
		j = json_parse(buf_str(&b), NULL);
		CHECK(json_type(j) == JSON_REAL && json_real(j, 0) == table[i]);
		json_free(j);
	}
	for (int i = 0; i < 2; i++) {
		auto_buf b = {0};
		struct jw w;

		jw_init(&w, &b);
		jw_real(&w, NULL, i ? NAN : INFINITY);
		CHECK_STR(b.p, "null");
	}
}

TEST(a_text_by_its_pattern)
{
	auto_buf b = {0};

	jw_fmt(&b, "{'a':%s,'b':[%d,%r],'c':%s}", "x\"'%s", (int64_t)-5, "{\"k\":'}", NULL);
	CHECK_STR(b.p, "{\"a\":\"x\\\"'%s\",\"b\":[-5,{\"k\":'}],\"c\":\"\"}");
}
