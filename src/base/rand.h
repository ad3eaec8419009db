/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/def.h"
void rand_bytes(void *p, size_t n); /* getrandom(2); buffered for small requests, wiped after use */
uint64_t rand_u64(void);
static inline double rand_unit(void) /* 0 to 1, excluding 1 */
{
	return (double)(rand_u64() >> 11) / (1ull << 53);
}
/* RFC 9562 version 4, "xxxxxxxx-xxxx-4xxx-..." */
void id_uuid(char out[37]);
