/* SPDX-License-Identifier: Apache-2.0 */
/* One event on its way into an instance, as every runtime protocol needs it. All borrowed until the answer. */
#pragma once
#include "base/str.h"
struct instance_event {
	const char *request_id;	   /* uuid */
	const char *function_arn;  /* invoked ARN */
	const char *trace_id;	   /* X-Amzn-Trace-Id, "" when there is none */
	struct str client_context; /* JSON (already decoded from base64), or empty */
	struct str payload;
	int64_t deadline_wall_ms;
	unsigned seat; /* below instance_seats(); one that has no event */
	bool streams;  /* an answer in pieces is wanted as it comes; else it is gathered */
};
