/* SPDX-License-Identifier: Apache-2.0 */
#include "base/enc.h"
#include "object/hash.h"
#include "tests/test.h"

static void of(enum hash which, const char *text, size_t n, char hex[2 * HASH_BYTES_MAX + 1])
{
	struct hash_state *h = hash_new(1u << which);

	hash_add(h, text, n / 3); /* in pieces that are no multiple of anything */
	hash_add(h, text + n / 3, n - n / 3);
	hash_end(h);
	enc_hex(hash_value(h, which), hash_bytes(which), hex);
	hash_free(h);
}

/* The catalogue's check values, of "123456789". */
TEST(known_values)
{
	static const char *const want[HASH_N] = {
		[HASH_MD5] = "25f9e794323b453885f5181f1b624d0b",
		[HASH_CRC32] = "cbf43926",
		[HASH_CRC32C] = "e3069283",
		[HASH_CRC64NVME] = "ae8b14860a799888",
		[HASH_SHA1] = "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
		[HASH_SHA256] = "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
	};
	char hex[2 * HASH_BYTES_MAX + 1];

	for (enum hash h = 0; h < HASH_N; h++) {
		of(h, "123456789", 9, hex);
		CHECK_STR(hex, want[h]);
	}
}

TEST(joined_crcs_are_those_of_all)
{
	static char text[70001];
	char whole[65], first[65], second[65];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 31 + i / 255);
	for (enum hash h = HASH_CRC32; h <= HASH_CRC64NVME; h++)
		for (size_t cut = 0; cut <= sizeof(text); cut += 10000) {
			uint8_t a[8], b[8];

			of(h, text, sizeof(text), whole);
			of(h, text, cut, first);
			of(h, text + cut, sizeof(text) - cut, second);
			CHECK(dec_hex(str_of(first), a, hash_bytes(h)) == 0 &&
			      dec_hex(str_of(second), b, hash_bytes(h)) == 0);
			hash_crc_join(h, a, b, (int64_t)(sizeof(text) - cut));
			enc_hex(a, hash_bytes(h), first);
			CHECK_STR(first, whole);
		}
}
