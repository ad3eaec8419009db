/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a body in chunks, whole and in pieces of as many bytes as the first one says: the same comes out. */
#include <assert.h>

#include "api/s3_chunked.h"
#include "base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void piece(void *arg, struct str data)
{
	buf_addstr(arg, data);
}

static int run(struct str body, size_t n, struct buf *out, char value[100])
{
	struct s3_chunked k = {.trailer = STR("x-amz-checksum-crc32")};
	struct api_err e = {.code = API_OK};
	int rc = 0;

	for (size_t at = 0; rc == 0 && at < body.n; at += n)
		rc = s3_chunked_add(&k, (struct str){body.p + at, body.n - at < n ? body.n - at : n}, piece, out, &e);
	if (rc == 0)
		rc = s3_chunked_end(&k, &e);
	assert((rc == 0) == (e.code == API_OK) && (rc == 0 || e.text[0]));
	assert(out->n <= body.n);
	memcpy(value, k.value, sizeof(k.value));
	s3_chunked_done(&k);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	auto_buf one = {0}, many = {0};
	char v1[100], v2[100];
	struct str body;

	if (!n)
		return 0;
	body = (struct str){(const char *)data + 1, n - 1};
	assert(run(body, n, &one, v1) == run(body, 1 + data[0], &many, v2));
	assert(str_eq(buf_str(&one), buf_str(&many)) && !strcmp(v1, v2));
	return 0;
}
