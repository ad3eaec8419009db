/* SPDX-License-Identifier: Apache-2.0 */
/* What functions say of parts of a batch, and batches as large as an invocation may be. The rest: tests/e2e/test_mappings*.py. */
#include "base/mem.h"
#include "tests/test.h"
#include "trigger/mapping_int.h"

static bool mark(void *arg, struct str id)
{
	unsigned *bits = arg;

	if (id.n != 1 || *id.p < '0' || *id.p > '9')
		return false;
	*bits |= 1u << (*id.p - '0');
	return true;
}

#define ITEM(id) "{\"itemIdentifier\":" id "}"

TEST(in_part)
{
	static const struct {
		const char *answer;
		int ret;
		unsigned bits;
	} cases[] = {
		{"", 0, 0},
		{"null", 0, 0},
		{"{}", 0, 0},
		{"{\"batchItemFailures\":null}", 0, 0},
		{"{\"batchItemFailures\":[]}", 0, 0},
		{"{\"other\":[1]}", 0, 0},
		{"{\"batchItemFailures\":[" ITEM("\"2\"") "," ITEM("\"5\"") "," ITEM("\"2\"") "]}", 0, 1 << 2 | 1 << 5},
		{"{\"batchItemFailures\":[" ITEM("\"nobody\"") "]}", -1, 0},
		{"{\"batchItemFailures\":[" ITEM("\"\"") "]}", -1, 0},
		{"{\"batchItemFailures\":[" ITEM("null") "]}", -1, 0},
		{"{\"batchItemFailures\":[" ITEM("2") "]}", -1, 0},
		{"{\"batchItemFailures\":[{\"id\":\"2\"}]}", -1, 0},
		{"{\"batchItemFailures\":[\"2\"]}", -1, 0},
		{"{\"batchItemFailures\":\"2\"}", -1, 0},
		{"{\"batchItemFailures\":{}}", -1, 0},
		{"[]", -1, 0},
		{"\"text\"", -1, 0},
		{"{", -1, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned bits = 0;
		int ret = batch_failures(str_of(cases[i].answer), mark, &bits);

		if (ret != cases[i].ret || (!ret && bits != cases[i].bits))
			printf("%s: %d %x\n", cases[i].answer, ret, bits);
		CHECK(ret == cases[i].ret && (ret || bits == cases[i].bits));
	}
}

TEST(size)
{
	struct batch b = {0};
	auto_buf record = {0};

	buf_adds(&record, "\"");
	while (record.n < 1048576)
		buf_adds(&record, "0123456789abcdef");
	buf_adds(&record, "\"");
	while (batch_add(&b, &record))
		CHECK(b.n < 10);
	batch_close(&b);
	CHECK(b.n == 6 && b.payload.n <= LIM_PAYLOAD_BYTES && json_check(buf_str(&b.payload), NULL) == 0);
	buf_done(&b.payload);
}

TEST(pauses)
{
	unsigned tries = 0;

	CHECK(mapping_pause_us(&tries) == 100000 && mapping_pause_us(&tries) == 200000);
	for (int i = 0; i < 100; i++)
		CHECK(mapping_pause_us(&tries) <= 60000000);
	CHECK(mapping_pause_us(&tries) == 60000000);
}
