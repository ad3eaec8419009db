/* SPDX-License-Identifier: Apache-2.0 */
/* The digests of S3: MD5 and SHA by OpenSSL, and the CRCs that it does not have. Values are big-endian. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum hash { HASH_MD5, HASH_CRC32, HASH_CRC32C, HASH_CRC64NVME, HASH_SHA1, HASH_SHA256, HASH_N };
#define HASH_BYTES_MAX 32

struct hash_state;
struct hash_state *hash_new(unsigned which); /* 1 << HASH_...; several at once */
void hash_add(struct hash_state *h, const void *p, size_t n);
void hash_end(struct hash_state *h); /* once; then hash_value */
const uint8_t *hash_value(const struct hash_state *h, enum hash which);
void hash_free(struct hash_state *h);	/* NULL is fine */
const char *hash_name(enum hash which); /* "CRC32" ... */
size_t hash_bytes(enum hash which);
/* Of a CRC: what two runs of bytes have together, of what each has; b is so many bytes long. In place of a. */
void hash_crc_join(enum hash which, uint8_t *a, const uint8_t *b, int64_t b_bytes);
