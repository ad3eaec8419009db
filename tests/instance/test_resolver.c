/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/resolver.h"
#include "tests/test.h"

static size_t question(uint8_t *q, const char *name, unsigned type)
{
	size_t n = 12;

	memset(q, 0, 12);
	q[0] = 0x12, q[1] = 0x34, q[2] = 1, q[5] = 1;
	while (*name) {
		size_t len = strcspn(name, ".");

		q[n++] = (uint8_t)len;
		memcpy(q + n, name, len);
		n += len;
		name += len + (name[len] == '.');
	}
	q[n++] = 0;
	q[n++] = 0, q[n++] = (uint8_t)type, q[n++] = 0, q[n++] = 1;
	return n;
}

TEST(names)
{
	static const struct {
		const char *name;
		unsigned type, rcode, answers;
		const char *addr;
	} t[] = {
		{"lambda.us-east-1.amazonaws.com", 1, 0, 1, "\xa9\xfe\x64\x02"},
		{"LAMBDA.us-east-1.AmazonAWS.com", 1, 0, 1, "\xa9\xfe\x64\x02"},
		{"bucket.s3.amazonaws.com", 28, 0, 0, NULL},
		{"localhost", 1, 0, 1, "\x7f\x00\x00\x01"},
		{"evilamazonaws.com", 1, 3, 0, NULL},
		{"example.com", 1, 3, 0, NULL},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		uint8_t q[512], a[512];
		size_t unknown, n = question(q, t[k].name, t[k].type), m = resolver_answer(q, n, a, &unknown);

		CHECK(m == n + (t[k].answers ? 16 : 0));
		CHECK(a[0] == 0x12 && a[1] == 0x34 && (a[2] & 0x80));
		CHECK((a[3] & 15) == t[k].rcode);
		CHECK(a[7] == t[k].answers);
		CHECK(unknown == (t[k].rcode == 3 ? n : 0));
		if (t[k].addr)
			CHECK(!memcmp(a + m - 4, t[k].addr, 4));
	}
}

TEST(malformed_gets_no_answer)
{
	uint8_t q[512], a[512];
	size_t unknown, n = question(q, "lambda.amazonaws.com", 1);

	for (size_t cut = 0; cut < n; cut++)
		CHECK(resolver_answer(q, cut, a, &unknown) == 0 && !unknown);
	q[12] = 200; /* a label past the end */
	CHECK(resolver_answer(q, n, a, &unknown) == 0 && !unknown);
	q[12] = 0xc0; /* compression in a question */
	CHECK(resolver_answer(q, n, a, &unknown) == 0 && !unknown);
	n = question(q, "localhost", 1);
	q[2] |= 0x80; /* an answer is not a question */
	CHECK(resolver_answer(q, n, a, &unknown) == 0 && !unknown);
}
