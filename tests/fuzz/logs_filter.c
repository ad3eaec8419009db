/* SPDX-License-Identifier: Apache-2.0 */
/* A line that is a filter pattern, then a message: refused with a reason, or an answer. */
#include <assert.h>

#include "api/logs_filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str pattern = {(const char *)data, n}, message = STR_NULL;
	struct log_filter *f = NULL;
	struct err e = {0};

	str_cut(pattern, '\n', &pattern, &message);
	if (log_filter_parse(pattern, &f, &e) < 0) {
		assert(e.kind && e.text[0] && !f);
		return 0;
	}
	log_filter_match(f, message);
	log_filter_free(f);
	return 0;
}
