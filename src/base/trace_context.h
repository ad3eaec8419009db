/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where something is part of a trace, in the two forms in which that is said: W3C's traceparent (Trace Context, level 1)
 * and AWS's X-Amzn-Trace-Id. They hold the same: of a trace id of 32 hex digits the first eight are AWS's time. Inside,
 * AWS's form is what events, messages and functions carry; tracestate is passed on where the whole head is, no further.
 */
#pragma once
#include <stdbool.h>
#include "base/str.h"
#define TRACE_HEADER_BYTES 80 /* of AWS's form */
#define TRACEPARENT_BYTES  56
struct trace_context {
	uint8_t id[16], parent[8]; /* parent: of the span that the rest is below; all zero: of none */
	bool sampled;
};
/* -1: not valid: lengths, digits in lower case, no version ff, nothing all zero. What a later version has more is not read. */
int trace_from_w3c(struct str s, struct trace_context *ret);
/* "Root=1-...;Parent=...;Sampled=1", members in any order, others (Self, Lineage) left out. -1: no Root that has that form. */
int trace_from_aws(struct str s, struct trace_context *ret);
const char *trace_to_w3c(const struct trace_context *t, char out[TRACEPARENT_BYTES]);
const char *trace_to_aws(const struct trace_context *t, char out[TRACE_HEADER_BYTES]);
