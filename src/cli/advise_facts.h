/* SPDX-License-Identifier: Apache-2.0 */
/* Where the advisor's facts come from: what ran here, a recorded day, a file. Each says its own error: -1. */
#pragma once
#include "advise/facts.h"
#include "cli/cli.h"
struct advise_from {
	const char *declare, *trace; /* NULL: not asked for */
	int64_t since_us;
	char **names; /* of workloads; n 0: all */
	size_t n;
};
int advise_facts(struct cli *c, const struct advise_from *from, struct facts_list *ret);
