/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a form of each service of the query protocol: refused, or JSON that is read and written back as XML. */
#include <assert.h>

#include "api/query.h"
#include "api/shape.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char *const names[] = {"sqs", "sns", "monitoring", "sts"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const struct query_service *q = query_service(str_of(names[i]), STR_NULL);
		auto_buf json = {0}, xml = {0}, copy = {0};
		struct api_err e = {.code = API_OK};
		auto_json j = NULL;

		if (query_read(q, "SendMessageBatch", STR_NULL, (struct str){(const char *)data, n}, &json, &e) < 0) {
			assert(e.code != API_OK && e.text[0]);
			continue;
		}
		query_write(q, "SendMessageBatch", "id", buf_str(&json), &xml);
		j = json_parse(buf_str(&json), NULL); /* NULL: a name is there twice */
		if (j)
			shape_copy_text("{a:i,b:[n],c:<t>,Entries:[{Id!:s,MessageAttributes:<{DataType:s}>}]}", j,
					&copy, &e);
	}
	return 0;
}
