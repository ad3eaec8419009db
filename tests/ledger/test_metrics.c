/* SPDX-License-Identifier: Apache-2.0 */
/* Times as they are counted for percentiles: each between the bounds that it is shown with. */
#include "ledger/metrics.h"

#include "tests/test.h"

TEST(bounds_hold_what_is_counted)
{
	static const uint32_t t[] = {0,	       1,	 99,	   100,	      101,	 250,	    251,     1000,
				     1001,     2500,	 4999,	   5000,      5001,	 123456,    1000000, 9999999,
				     10000000, 10000001, 60000000, 899999999, 900000000, UINT32_MAX};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct took took = {0};
		int i = 0;

		took_add(&took, metrics_bucket(t[k]), t[k]);
		while (i < TOOK_N - 1 && !took.n[i])
			i++;
		CHECK(took.n[i] == 1);
		CHECK(i == 0 || t[k] > took_upto_us(i - 1));
		CHECK(t[k] <= took_upto_us(i) || i == TOOK_N - 1);
	}
	for (int i = 1; i < TOOK_N; i++)
		CHECK(took_upto_us(i) > took_upto_us(i - 1));
}
