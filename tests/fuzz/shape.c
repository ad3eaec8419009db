/* SPDX-License-Identifier: Apache-2.0 */
/* A body as one request or another may have it: refused with a sentence, or a copy that is taken again as it is. */
#include <stdlib.h>

#include "api/shape.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char *const shapes[] = {
		/* POST /v1/copies */
		"{of!:s,lane:s(function|container),concurrency:i(1..64),memory:i(4..1048576),cpu:n,min:i(0..100),"
		"max:i(0..1000),reserved:i(0..1000),fails:b}",
		"{a!:[{b=3:i(1..10),c:<[s]>,d-:b}],e^:s,f:t,g:{h:n,i:[[s(x|y)]]}}",
	};
	auto_json j = json_parse((struct str){(const char *)p, n}, NULL);

	for (size_t i = 0; j && i < ARRAY_SIZE(shapes); i++) {
		struct api_err e = {.code = API_OK};
		auto_buf once = {0}, again = {0};
		auto_json copy = NULL;

		if (shape_copy(shapes[i], j, &once, &e) < 0) {
			if (e.code == API_OK || !e.text[0])
				abort();
			continue;
		}
		copy = json_parse(buf_str(&once), NULL);
		if (!copy || shape_copy(shapes[i], copy, &again, &e) < 0 || !str_eq(buf_str(&once), buf_str(&again)))
			abort();
	}
	return 0;
}
