/* SPDX-License-Identifier: Apache-2.0 */
/* A price book as anybody may edit it. What is accepted gives every use a price, or says why there is none. */
#include <math.h>
#include <stdlib.h>

#include "ledger/prices.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const struct price_use uses[] = {
		{.requests = 1e6, .billed_s = 2e5, .memory_mb = 512, .kept_s = 1e4, .months = 1, .free_tier = true},
		{.instances = 3, .instance_s = 1e4, .vcpu = 4, .memory_mb = 9000, .months = 2},
		{.requests = 1e12, .billed_s = 1e13, .memory_mb = 1 << 20, .step_s = 0.001},
	};
	struct prices book;
	struct err e = {0};

	if (prices_parse((struct str){(const char *)p, n}, &book, &e) < 0) {
		if (e.kind == ERR_NONE || !e.text[0])
			abort();
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(uses) * PRICE_NAMED_N * PRICE_ARCH_N; i++) {
		const struct price_use *u = &uses[i / PRICE_ARCH_N / PRICE_NAMED_N];
		enum price_offer offer = i / PRICE_ARCH_N % PRICE_NAMED_N;
		double usd = price_offer_usd(&book, offer, i % PRICE_ARCH_N, u);

		if (price_offer_cannot(offer, u) ? !isnan(usd) : !(usd >= 0 && isfinite(usd)))
			abort();
	}
	return 0;
}
