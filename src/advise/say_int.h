/* SPDX-License-Identifier: Apache-2.0 */
/* For say*.c: what is said of an advice, part by part, in the order of the page. */
#pragma once
#include "advise/say.h"

struct say_part {
	const char *key, *label, *note; /* in JSON, beside the text, on a page of notes */
	void (*say)(struct buf *out, const struct facts *f, const struct advice *a, const struct advise_market *m);
	bool without_cost; /* where cost did not decide, alone */
};
/* NULL: the first, and after the last. A contradiction has one part alone. */
const struct say_part *say_next(const struct advice *a, const struct say_part *p);
const char *say_verdict(const struct advice *a);
/* What that lane is in tandem.yaml. */
const char *say_form(const struct facts *f, const struct advice *a);
bool say_is_task(const struct advice *a); /* one for each run */
/* The i-th sentence on what takes lanes away, in ret; false: there is none. Of those of clouds alone only what takes all. */
#define SAY_FACTS (rules_n + 2)
bool say_fact(struct buf *ret, unsigned i, const struct facts *f, const struct advice *a,
	      const struct advise_market *m);
/* The rate from which on a container costs less in that place; else why there is none. */
void say_even(struct buf *out, const struct advice *a, enum place k);
void say_with_name(struct buf *out, const char *text, const char *name); /* NAME in text is its name */
