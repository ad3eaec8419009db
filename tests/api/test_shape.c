/* SPDX-License-Identifier: Apache-2.0 */
#include "api/shape.h"
#include "tests/test.h"

static const char shape[] = "{name!:s,n=5:i(1..10),list=[]:[{a:s(X|Y),b-:b}],map:<s>,host^:s,deep:{in:{x!:i}},last:b}";

/* What comes out; or what is said against it. */
static const struct {
	const char *in, *out;
} cases[] = {
	{"{\"name\":\"a\"}", "{\"name\":\"a\",\"n\":5,\"list\":[]}"},
	{"{\"last\":true,\"unknown\":[{}],\"n\":10,\"name\":\"a\"}",
	 "{\"name\":\"a\",\"n\":10,\"list\":[],\"last\":true}"},
	{"{\"name\":\"a\",\"n\":null,\"list\":[{\"a\":\"Y\",\"b\":false},{}],\"map\":{\"k\":\"v\"},\"host\":\"\"}",
	 "{\"name\":\"a\",\"n\":5,\"list\":[{\"a\":\"Y\",\"b\":false},{}],\"map\":{\"k\":\"v\"},\"host\":\"\"}"},
	{"{\"name\":\"a\",\"deep\":{\"in\":{\"x\":0}},\"last\":false}",
	 "{\"name\":\"a\",\"n\":5,\"list\":[],\"deep\":{\"in\":{\"x\":0}},\"last\":false}"},
	{"{}", "name should not be null or empty."},
	{"{\"name\":\"\"}", "name should not be null or empty."},
	{"{\"name\":1}", "Invalid type for parameter name: it must be a string."},
	{"[]", "Invalid type for parameter of the request: it must be an object."},
	{"{\"name\":\"a\",\"n\":0}", "n is 0, and must be from 1 to 10."},
	{"{\"name\":\"a\",\"n\":1.5}", "Invalid type for parameter n: it must be an integer."},
	{"{\"name\":\"a\",\"list\":{}}", "Invalid type for parameter list: it must be a list."},
	{"{\"name\":\"a\",\"list\":[{},{\"a\":\"Z\"}]}", "list[1].a is Z, and must be one of X|Y."},
	{"{\"name\":\"a\",\"list\":[{\"b\":true}]}", "list[0].b is not supported by this Tandem."},
	{"{\"name\":\"a\",\"list\":[null]}", "Invalid type for parameter list[0]: it must be an object."},
	{"{\"name\":\"a\",\"map\":{\"k\":{}}}", "Invalid type for parameter map.k: it must be a string."},
	{"{\"name\":\"a\",\"host\":\"/\"}",
	 "host is for the owner of the machine to say: it can be set in tandem.yaml only."},
	{"{\"name\":\"a\",\"deep\":{\"in\":{}}}", "deep.in.x should not be null or empty."},
	{"{\"name\":\"a\",\"last\":0}", "Invalid type for parameter last: it must be a boolean."},
};

TEST(what_it_lets_through)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		auto_json j = json_parse(str_of(cases[i].in), NULL);
		auto_buf out = {0};
		struct api_err e = {0};

		CHECK_STR(shape_copy(shape, j, &out, &e) < 0 ? e.text : out.p, cases[i].out);
	}
}
