/* SPDX-License-Identifier: Apache-2.0 */
/* Findings of doctor, printed as they are made (or collected as JSON). */
#pragma once
#include "cli/cli.h"
#include "json/write.h"
enum finding { FINDING_OK, FINDING_NOTE, FINDING_MISSING, FINDING_N };
struct doctor {
	struct cli *c;
	struct jw w;
	int count[FINDING_N];
};
void doctor_say(struct doctor *d, enum finding f, const char *check, const char *fmt, ...) PRINTF(4, 5);
void doctor_host(struct doctor *d);
