/* SPDX-License-Identifier: Apache-2.0 */
/* A declaration of workloads as anybody may write it. What is accepted holds numbers that can be reckoned with. */
#include <math.h>
#include <stdlib.h>

#include "advise/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct tree_opts o = {.file = "f"};
	auto_(facts_list_done) struct facts_list l = {0};
	struct err e = {0};

	if (facts_read(&o, (struct str){(const char *)p, n}, &l, &e) < 0) {
		if (!e.text[0])
			abort();
		return 0;
	}
	for (size_t i = 0; i < l.n; i++) {
		struct facts *f = &l.v[i];
		uint64_t hold;

		facts_settle(f);
		for (enum fact k = 0; k < FACT_N; k++)
			if (!(f->n[k].low >= 0 && f->n[k].low <= f->n[k].v && f->n[k].v <= f->n[k].high) ||
			    !isfinite(f->n[k].high))
				abort();
		if (!(f->n[FACT_DURATION].low > 0) || !(f->n[FACT_SEATS].v >= 1) || !f->name[0])
			abort();
		hold = rules_hold(f);
		for (unsigned k = 0; k < rules_n; k++) {
			auto_buf text = {0};

			rule_text(&text, &rules[k], f);
			if (hold >> k & 1 && rules_lanes(f, hold) & rules[k].lanes)
				abort();
		}
	}
	return 0;
}
