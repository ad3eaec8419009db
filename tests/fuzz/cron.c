/* SPDX-License-Identifier: Apache-2.0 */
/* A schedule's expression and, after a newline, a time zone's file: what is due is due later, and in order. */
#include <stdlib.h>

#include "trigger/cron.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct str text = {(const char *)p, n}, tzif = STR_NULL;
	struct zone *z = NULL;
	struct cron c;

	if (n && str_cut(text, '\n', &text, &tzif))
		z = zone_parse(tzif, NULL);
	if (n && cron_parse(text, true, &c) == 0 && cron_parse(text, false, &c) < 0)
		abort();
	if (n && cron_parse(text, false, &c) == 0) {
		int64_t at = 1700000000, next;

		for (int i = 0; i < 4 && (next = cron_next(&c, z, 1600000000, at)) >= 0; i++) {
			if (next <= at)
				abort();
			at = next;
		}
	}
	zone_free(z);
	return 0;
}
