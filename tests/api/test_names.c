/* SPDX-License-Identifier: Apache-2.0 */
#include "api/names.h"
#include "tests/test.h"

static const struct api_where here = {.account = "000000000000", .region = "us-east-1"};

TEST(forms)
{
	static const struct {
		const char *text, *name, *qualifier;
		enum api_code code;
	} t[] = {
		{"f", "f", "", API_OK},
		{"my-func_1", "my-func_1", "", API_OK},
		{"f:$LATEST", "f", "$LATEST", API_OK},
		{"f:prod", "f", "prod", API_OK},
		{"f:7", "f", "7", API_OK},
		{"function:f", "f", "", API_OK},
		{"function:f:7", "f", "7", API_OK},
		{"000000000000:function:f", "f", "", API_OK},
		{"000000000000:function:f:7", "f", "7", API_OK},
		{"us-east-1:000000000000:function:f", "f", "", API_OK},
		{"arn:aws:lambda:us-east-1:000000000000:function:f", "f", "", API_OK},
		{"arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST", "f", "$LATEST", API_OK},
		{"arn:aws-cn:lambda:us-east-1:000000000000:function:f", "f", "", API_OK},
		{"arn:aws:lambda:eu-west-1:000000000000:function:f", NULL, NULL, API_NOT_FOUND},
		{"arn:aws:lambda:us-gov-west-1:000000000000:function:f", NULL, NULL, API_NOT_FOUND},
		{"arn:aws:lambda:us-east-1:111111111111:function:f", NULL, NULL, API_ACCESS_DENIED},
		{"arn:aws:sqs:us-east-1:000000000000:f", NULL, NULL, API_VALIDATION},
		{"arn:aws:lambda:us-east-1:000000000000:layer:f:1", NULL, NULL, API_VALIDATION},
		{"arn:", NULL, NULL, API_VALIDATION},
		{"", NULL, NULL, API_VALIDATION},
		{":", NULL, NULL, API_VALIDATION},
		{"f:", NULL, NULL, API_VALIDATION},
		{"f:a:b", NULL, NULL, API_VALIDATION},
		{"f:$OLDEST", NULL, NULL, API_VALIDATION},
		{"a b", NULL, NULL, API_VALIDATION},
		{"../etc/passwd", NULL, NULL, API_VALIDATION},
		{"f\x01", NULL, NULL, API_VALIDATION},
		{"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
		 "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", "", API_OK},
		{"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", NULL, NULL, API_VALIDATION},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct api_name n = {.name = "untouched"};
		struct api_err e = {.code = API_OK};
		int r = api_name_parse(str_of(t[i].text), &here, &n, &e);

		if (e.code != t[i].code || (r == 0) != (t[i].code == API_OK)) {
			printf("%s: %d %s\n", t[i].text, (int)e.code, e.code ? e.text : n.name);
			CHECK(!"as the table says");
			continue;
		}
		CHECK_STR(n.name, r ? "untouched" : t[i].name);
		CHECK_STR(n.qualifier, r ? "" : t[i].qualifier);
	}
}

TEST(qualifier_beside_the_name)
{
	struct api_name n = {.name = "f"};
	struct api_err e;

	CHECK(api_name_is_latest(&n));
	CHECK(api_name_qualify(&n, STR_NULL, &e) == 0);
	CHECK(api_name_qualify(&n, STR("$LATEST"), &e) == 0 && api_name_is_latest(&n));
	CHECK(api_name_qualify(&n, STR("$LATEST"), &e) == 0);
	CHECK(api_name_qualify(&n, STR("7"), &e) == -1 && e.code == API_INVALID_PARAMETER);
	CHECK(api_name_qualify(&n, STR("a b"), &e) == -1 && e.code == API_VALIDATION);
	n.qualifier[0] = '\0';
	CHECK(api_name_qualify(&n, STR("7"), &e) == 0 && !api_name_is_latest(&n));
}

TEST(arn)
{
	char out[API_ARN_BYTES];

	CHECK_STR(api_arn(&here, "f", NULL, out), "arn:aws:lambda:us-east-1:000000000000:function:f");
	CHECK_STR(api_arn(&here, "f", "$LATEST", out), "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST");
}

/* Every code has a name and a status. */
TEST(error_table_is_whole)
{
	for (int c = API_OK + 1; c < API_CODE_N; c++)
		CHECK(api_code_info((enum api_code)c)->name && api_code_info((enum api_code)c)->status >= 304);
}
