/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a form, whole and in pieces of as many bytes as the first one says: the same comes out. */
#include <assert.h>

#include "api/s3_form.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int begin(void *arg, struct api_err *e)
{
	assert(!((struct buf *)arg)->n);
	return 0;
}

static int file(void *arg, struct str data, struct api_err *e)
{
	buf_addstr(arg, data);
	return 0;
}

static int run(struct str body, size_t piece, struct buf *out, struct buf *key)
{
	struct form_reader reader = {begin, file, out};
	struct api_err e = {.code = API_OK};
	struct form *f = form_new(STR("multipart/form-data; boundary=b"), &reader, &e);
	auto_json policy = NULL;
	int rc = 0;

	for (size_t at = 0; rc == 0 && at < body.n; at += piece)
		rc = form_add(f, (struct str){body.p + at, body.n - at < piece ? body.n - at : piece}, &e);
	if (rc == 0)
		rc = form_end(f, &e);
	assert(rc == 0 || (e.code != API_OK && e.text[0]));
	buf_addstr(key, form_field(f, "key"));
	policy = json_parse(form_field(f, "policy"), NULL);
	if (policy) {
		(void)form_allowed(f, policy, "bucket", 1700000000000000ll, &e);
		(void)form_size_allowed(policy, 10, true, &e);
	}
	form_free(f);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	auto_buf one = {0}, many = {0}, key_one = {0}, key_many = {0};
	struct str body = {(const char *)data + 1, n - 1};
	int rc;

	if (!n)
		return 0;
	rc = run(body, body.n ? body.n : 1, &one, &key_one);
	if (run(body, 1u + data[0], &many, &key_many) == 0 && rc == 0)
		assert(str_eq(buf_str(&one), buf_str(&many)) && str_eq(buf_str(&key_one), buf_str(&key_many)));
	return 0;
}
