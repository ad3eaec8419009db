/* SPDX-License-Identifier: Apache-2.0 */
#include "object/hash.h"
#include <endian.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>
#include "base/mem.h"

static const struct {
	const char *name;
	unsigned bytes;
	uint64_t poly; /* of CRCs, reflected: the lowest bit is the highest power */
} kinds[HASH_N] = {
	[HASH_MD5] = {"MD5", 16, 0},
	[HASH_CRC32] = {"CRC32", 4, 0xedb88320},
	[HASH_CRC32C] = {"CRC32C", 4, 0x82f63b78},
	[HASH_CRC64NVME] = {"CRC64NVME", 8, 0x9a6c9329ac4bc9b5},
	[HASH_SHA1] = {"SHA1", 20, 0},
	[HASH_SHA256] = {"SHA256", 32, 0},
};

/* [k][b]: what byte b is worth with k zero bytes behind it; made once, then constant. */
typedef uint64_t crc_table[8][256];
static crc_table tables[HASH_N];
static pthread_once_t made = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
	for (int h = HASH_CRC32; h <= HASH_CRC64NVME; h++)
		for (unsigned b = 0; b < 256; b++) {
			uint64_t r = b;

			for (int k = 0; k < 64; k++) {
				r = r & 1 ? r >> 1 ^ kinds[h].poly : r >> 1;
				if (k % 8 == 7)
					tables[h][k / 8][b] = r;
			}
		}
}

static uint64_t crc_add(const crc_table t, uint64_t r, const uint8_t *p, size_t n)
{
	for (; n >= 8; p += 8, n -= 8) {
		uint64_t x;

		memcpy(&x, p, 8);
		x = r ^ le64toh(x);
		r = t[7][x & 255] ^ t[6][x >> 8 & 255] ^ t[5][x >> 16 & 255] ^ t[4][x >> 24 & 255] ^
		    t[3][x >> 32 & 255] ^ t[2][x >> 40 & 255] ^ t[1][x >> 48 & 255] ^ t[0][x >> 56];
	}
	while (n--)
		r = r >> 8 ^ t[0][(r ^ *p++) & 255];
	return r;
}

static uint64_t load(enum hash which, const uint8_t *p)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < kinds[which].bytes; i++)
		v = v << 8 | p[i];
	return v;
}

static void store(enum hash which, uint64_t v, uint8_t *p)
{
	for (unsigned i = kinds[which].bytes; i-- > 0; v >>= 8)
		p[i] = (uint8_t)v;
}

/* Product of two polynomials modulo the CRC's own. */
static uint64_t times(enum hash which, uint64_t a, uint64_t b)
{
	uint64_t product = 0;

	for (uint64_t m = 1ull << (kinds[which].bytes * 8 - 1); m; m >>= 1) {
		product ^= a & m ? b : 0;
		b = b & 1 ? b >> 1 ^ kinds[which].poly : b >> 1;
	}
	return product;
}

void hash_crc_join(enum hash which, uint8_t *a, const uint8_t *b, int64_t b_bytes)
{
	unsigned bits = kinds[which].bytes * 8;
	uint64_t shift = 1ull << (bits - 1), step = 1ull << (bits - 9); /* x^0; x^8, a byte */

	for (; b_bytes > 0; b_bytes >>= 1, step = times(which, step, step))
		shift = b_bytes & 1 ? times(which, shift, step) : shift;
	store(which, times(which, shift, load(which, a)) ^ load(which, b), a);
}

struct hash_state {
	unsigned which;
	EVP_MD_CTX *evp[HASH_N];
	uint64_t crc[HASH_N];
	uint8_t value[HASH_N][HASH_BYTES_MAX];
};

static const EVP_MD *evp_of(enum hash h)
{
	return h == HASH_MD5 ? EVP_md5() : h == HASH_SHA1 ? EVP_sha1() : EVP_sha256();
}

struct hash_state *hash_new(unsigned which)
{
	struct hash_state *h = xcalloc(1, sizeof(*h));

	h->which = which;
	for (enum hash k = 0; k < HASH_N; k++) {
		h->crc[k] = UINT64_MAX >> (64 - (kinds[k].poly ? kinds[k].bytes : 8) * 8);
		if (!(which & 1u << k) || kinds[k].poly)
			continue;
		h->evp[k] = EVP_MD_CTX_new();
		if (!h->evp[k] || !EVP_DigestInit_ex(h->evp[k], evp_of(k), NULL))
			abort(); /* no memory for small things, as in base/mem.h */
	}
	pthread_once(&made, make_tables);
	return h;
}

void hash_add(struct hash_state *h, const void *p, size_t n)
{
	for (enum hash k = 0; k < HASH_N; k++) {
		if (h->evp[k])
			EVP_DigestUpdate(h->evp[k], p, n);
		else if (h->which & 1u << k)
			h->crc[k] = crc_add(tables[k], h->crc[k], p, n);
	}
}

void hash_end(struct hash_state *h)
{
	for (enum hash k = 0; k < HASH_N; k++) {
		if (h->evp[k])
			EVP_DigestFinal_ex(h->evp[k], h->value[k], NULL);
		else
			store(k, ~h->crc[k], h->value[k]);
	}
}

const uint8_t *hash_value(const struct hash_state *h, enum hash which)
{
	return h->value[which];
}

void hash_free(struct hash_state *h)
{
	for (enum hash k = 0; h && k < HASH_N; k++)
		EVP_MD_CTX_free(h->evp[k]);
	free(h);
}

const char *hash_name(enum hash which)
{
	return kinds[which].name;
}

size_t hash_bytes(enum hash which)
{
	return kinds[which].bytes;
}
