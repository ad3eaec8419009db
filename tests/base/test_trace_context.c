/* SPDX-License-Identifier: Apache-2.0 */
/* traceparent (W3C Trace Context, level 1, section 3.2) and X-Amzn-Trace-Id, and each as the other. */
#include <string.h>

#include "base/trace_context.h"
#include "tests/test.h"

#define ID     "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"
#define ROOT   "Root=1-0af76519-16cd43dd8448eb211c80319c"

static const struct {
	const char *text, *aws; /* aws NULL: refused */
} w3c[] = {
	{"00-" ID "-" PARENT "-01", ROOT ";Parent=" PARENT ";Sampled=1"},
	{"00-" ID "-" PARENT "-00", ROOT ";Parent=" PARENT ";Sampled=0"},
	{"00-" ID "-" PARENT "-fe", ROOT ";Parent=" PARENT ";Sampled=0"}, /* flags that are not known yet */
	{"cc-" ID "-" PARENT "-01-what-comes", ROOT ";Parent=" PARENT ";Sampled=1"},
	{"cc-" ID "-" PARENT "-01", ROOT ";Parent=" PARENT ";Sampled=1"},
	{"cc-" ID "-" PARENT "-01what", NULL},
	{"00-" ID "-" PARENT "-01-more", NULL},
	{"00-" ID "-" PARENT "-01 ", NULL},
	{" 00-" ID "-" PARENT "-01", NULL},
	{"ff-" ID "-" PARENT "-01", NULL},
	{"00-" ID "-" PARENT "-1", NULL},
	{"00-" ID "-" PARENT "-", NULL},
	{"00-" ID "-" PARENT, NULL},
	{"00-0AF7651916cd43dd8448eb211c80319c-" PARENT "-01", NULL},
	{"00-" ID "-B7AD6b7169203331-01", NULL},
	{"00-" ID "-b7ad6b716920333-01", NULL},
	{"00-" ID "_" PARENT "-01", NULL},
	{"00-0g"
	 "f7651916cd43dd8448eb211c80319c-" PARENT "-01",
	 NULL},
	{"00-00000000000000000000000000000000-" PARENT "-01", NULL},
	{"00-" ID "-0000000000000000-01", NULL},
	{"0x-" ID "-" PARENT "-01", NULL},
	{"00", NULL},
	{"", NULL},
};

TEST(from_w3c)
{
	char out[TRACE_HEADER_BYTES], again[TRACEPARENT_BYTES];
	struct trace_context t, u;

	for (size_t i = 0; i < ARRAY_SIZE(w3c); i++) {
		int r = trace_from_w3c(str_of(w3c[i].text), &t);

		CHECK(r == (w3c[i].aws ? 0 : -1));
		if (!w3c[i].aws)
			continue;
		CHECK_STR(trace_to_aws(&t, out), w3c[i].aws);
		CHECK(trace_from_aws(str_of(out), &u) == 0 && !memcmp(&t, &u, sizeof(t.id) + sizeof(t.parent)));
		CHECK(strlen(trace_to_w3c(&u, again)) == TRACEPARENT_BYTES - 1);
		CHECK(trace_from_w3c(str_of(again), &u) == 0 && u.sampled == t.sampled);
	}
}

TEST(from_aws)
{
	static const struct {
		const char *text, *again;
	} aws[] = {
		{ROOT, ROOT ";Sampled=0"},
		{ROOT ";Sampled=1", ROOT ";Sampled=1"},
		{"Sampled=1;Parent=" PARENT ";Lineage=a:b:1;" ROOT, ROOT ";Parent=" PARENT ";Sampled=1"},
		{ROOT ";Parent=short;Sampled=?", ROOT ";Sampled=0"},
		{"Self=1-67891234-12456789abcdef012345678;" ROOT, ROOT ";Sampled=0"},
		{"Root=2-0af76519-16cd43dd8448eb211c80319c", NULL},
		{"Root=1-0af7651-16cd43dd8448eb211c80319c0", NULL},
		{"Root=1-00000000-000000000000000000000000", NULL},
		{"Root=", NULL},
		{"Sampled=1", NULL},
		{"", NULL},
	};
	char out[TRACE_HEADER_BYTES];
	struct trace_context t;

	for (size_t i = 0; i < ARRAY_SIZE(aws); i++) {
		CHECK(trace_from_aws(str_of(aws[i].text), &t) == (aws[i].again ? 0 : -1));
		if (aws[i].again)
			CHECK_STR(trace_to_aws(&t, out), aws[i].again);
	}
}
