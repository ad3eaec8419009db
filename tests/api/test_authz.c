/* SPDX-License-Identifier: Apache-2.0 */
#include "api/authz.h"
#include "base/clock.h"
#include "tests/test.h"

#define FN "arn:aws:lambda:us-east-1:000000000000:function:"

TEST(patterns)
{
	static const struct {
		const char *pattern, *text;
		bool want;
	} t[] = {
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "anything", true},
		{"a*c", "abc", true},
		{"a*c", "ac", true},
		{"a*c", "abcd", false},
		{"?", "", false},
		{"?", "x", true},
		{"a?c", "abc", true},
		{"**a", "bba", true},
		{"a*b*c", "a1b2b3c", true},
		{"lambda:*", "lambda:InvokeFunction", true},
		{"lambda:Get*", "lambda:InvokeFunction", false},
		{"A", "a", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		if (authz_match(str_of(t[i].pattern), str_of(t[i].text)) != t[i].want) {
			printf("%s on %s\n", t[i].pattern, t[i].text);
			CHECK(!"as the table says");
		}
}

/* A pattern made to be slow must not be. */
TEST(hostile_pattern_is_quick)
{
	char text[4096], pattern[201];
	int64_t t0 = clock_now_us();

	memset(text, 'a', sizeof(text));
	for (size_t i = 0; i < 200; i++)
		pattern[i] = i % 2 ? 'a' : '*';
	pattern[199] = 'b', pattern[200] = '\0';
	CHECK(!authz_match(str_of(pattern), (struct str){text, sizeof(text)}));
	CHECK(clock_now_us() - t0 < 1000000);
}

TEST(allow_lists)
{
	static const char one[] = "[{\"action\":\"lambda:InvokeFunction\",\"resource\":\"worker-*\"}]";
	static const struct {
		const char *allow, *action, *resource;
		bool want;
	} t[] = {
		{NULL, "lambda:InvokeFunction", FN "worker-1", false},
		{"", "lambda:InvokeFunction", FN "worker-1", false},
		{"no json", "lambda:InvokeFunction", FN "worker-1", false},
		{"{}", "lambda:InvokeFunction", FN "worker-1", false},
		{"[{}]", "lambda:InvokeFunction", FN "worker-1", false},
		{"[{\"action\":\"*\"}]", "lambda:InvokeFunction", FN "worker-1", false},
		{"[{\"action\":1,\"resource\":[2]}]", "lambda:InvokeFunction", FN "worker-1", false},
		{one, "lambda:InvokeFunction", FN "worker-1", true},
		{one, "lambda:GetFunction", FN "worker-1", false},
		{one, "lambda:InvokeFunction", FN "other", false},
		{one, "lambda:InvokeFunction", "*", false},
		{"[{\"action\":[\"s3:*\",\"lambda:*\"],\"resource\":[\"x\",\"arn:aws:lambda:*:function:y\"]}]",
		 "lambda:GetFunction", FN "y", true},
		{"[{\"action\":[\"s3:*\",\"lambda:*\"],\"resource\":[\"x\",\"arn:aws:lambda:*:function:y\"]}]",
		 "lambda:GetFunction", FN "x", true},
		{"[{\"action\":[\"s3:*\",\"lambda:*\"],\"resource\":[\"x\",\"arn:aws:lambda:*:function:y\"]}]",
		 "lambda:GetFunction", FN "z", false},
		{"[{\"action\":\"lambda:*\",\"resource\":\"a\"},{\"action\":\"s3:*\",\"resource\":\"b\"}]",
		 "lambda:GetFunction", FN "b", false},
		{"[{\"action\":\"*\",\"resource\":\"*\"}]", "lambda:ListFunctions", "*", true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct principal p = {.kind = PRINCIPAL_WORKLOAD, .name = "me", .allow = t[i].allow};
		struct api_err e = {.code = API_OK};

		if ((authz_check(&p, "000000000000", t[i].action, t[i].resource, &e) == 0) != t[i].want) {
			printf("%zu: %s %s %s\n", i, t[i].allow ? t[i].allow : "(none)", t[i].action, t[i].resource);
			CHECK(!"as the table says");
		}
		CHECK(t[i].want || e.code == API_ACCESS_DENIED);
	}
}

TEST(refusal_says_who_what_and_why)
{
	struct principal p = {.kind = PRINCIPAL_WORKLOAD, .name = "shop"};
	struct api_err e;

	CHECK(authz_check(&p, "000000000000", "lambda:InvokeFunction", FN "pay", &e) == -1);
	CHECK_STR(e.text,
		  "User: arn:aws:sts::000000000000:assumed-role/shop/shop is not authorized to perform: "
		  "lambda:InvokeFunction on resource: " FN "pay because no allow: entry of its tandem.yaml grants it; "
		  "this one would: {action: \"lambda:InvokeFunction\", resource: \"" FN "pay\"}");
	p.kind = PRINCIPAL_OPERATOR;
	CHECK(authz_check(&p, "000000000000", "lambda:InvokeFunction", FN "pay", &e) == 0);
	p.kind = PRINCIPAL_ANONYMOUS;
	CHECK(authz_check(&p, "000000000000", "lambda:InvokeFunction", FN "pay", &e) == 0);
}
