/* SPDX-License-Identifier: Apache-2.0 */
/* Where a trace goes on, in both forms: what is taken comes back the same. */
#include <stdlib.h>
#include <string.h>

#include "base/trace_context.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct str text = {(const char *)p, n};
	char w3c[TRACEPARENT_BYTES], aws[TRACE_HEADER_BYTES];
	struct trace_context t, u;

	if (n && trace_from_w3c(text, &t) == 0 &&
	    (trace_from_w3c(str_of(trace_to_w3c(&t, w3c)), &u) < 0 || memcmp(t.id, u.id, 16)))
		abort();
	if (n && trace_from_aws(text, &t) == 0 &&
	    (trace_from_aws(str_of(trace_to_aws(&t, aws)), &u) < 0 || memcmp(t.id, u.id, 16)))
		abort();
	return 0;
}
