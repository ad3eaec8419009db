/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event patterns of EventBridge, also the filters of event source mappings: parsed once, pure, immutable after.
 * An object matches when all of its members do; a list when one of its tests holds for one value of the event there; in
 * arrays of objects all members must be met by the same element. Keys with dots are paths, in patterns and in events,
 * as with AWS. Known tests: values, prefix, suffix, equals-ignore-case (of ASCII), wildcard, numeric, cidr, exists,
 * anything-but, and $or beside members.
 * Time to match: at most members of the pattern x size of the event; nothing is allocated. LIM_PATTERN_PARTS bounds
 * what one pattern may hold. Tests: tests/trigger/test_pattern.c with behaviour that was recorded at AWS.
 */
#pragma once
#include "json/read.h"
struct pattern;
struct pattern *pattern_parse(const struct json *j,
			      struct err *e); /* keeps its part of j; e: the reason, in AWS's words */
void pattern_free(struct pattern *p);
bool pattern_match(const struct pattern *p, const struct json *event);
/* The i-th value that the member of that name at the top may have; false: no more, or it may have others than these. */
bool pattern_exact(const struct pattern *p, const char *name, size_t i, struct str *ret);
