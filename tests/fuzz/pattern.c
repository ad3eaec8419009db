/* SPDX-License-Identifier: Apache-2.0 */
/* A pattern of anybody's, and an event of somebody else's, parted by a newline. */
#include <stdlib.h>

#include "trigger/pattern.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct str all = {(const char *)p, n}, pattern, event;
	struct err e = {0};
	struct str s;

	if (!n || !str_cut(all, '\n', &pattern, &event))
		return 0;
	auto_json pj = json_parse(pattern, NULL);
	auto_json ej = json_parse(event, NULL);
	struct pattern *parsed = pj ? pattern_parse(pj, &e) : NULL;

	if (pj && !parsed && !e.text[0])
		abort();
	if (parsed && ej) {
		pattern_match(parsed, ej);
		for (size_t i = 0; pattern_exact(parsed, "source", i, &s); i++)
			if (!s.p)
				abort();
	}
	pattern_free(parsed);
	return 0;
}
