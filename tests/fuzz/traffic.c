/* SPDX-License-Identifier: Apache-2.0 */
/* A description of traffic: what is taken gives times that never go back, and the same ones again. */
#include <stdlib.h>

#include "advise/traffic.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	auto_free char *spec = str_dup((struct str){(const char *)p, n});
	struct traffic *t = NULL;
	int64_t last = 0, at, first = -1;
	struct err e = {0};

	if (traffic_parse(spec, 1, &t, &e) < 0) {
		if (!e.kind)
			abort();
		return 0;
	}
	for (int i = 0; i < 100 && traffic_next(t, &at); i++) {
		if (at < last)
			abort();
		first = first < 0 ? at : first;
		last = at;
	}
	traffic_again(t);
	if (first >= 0 && (!traffic_next(t, &at) || at != first))
		abort();
	if (!(traffic_mean(t) >= 0))
		abort();
	traffic_free(t);
	return 0;
}
