/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256, HMAC-SHA-256 and MD5 (OpenSSL, fetched once). */
#pragma once
#include "base/str.h"
void digest_sha256(const void *p, size_t n, uint8_t out[32]);
void digest_sha256_hex(const void *p, size_t n, char out[65]);
/* In pieces. hex: of all until now; more may follow. */
struct digest;
struct digest *digest_new(void);
void digest_add(struct digest *d, const void *p, size_t n);
void digest_hex(const struct digest *d, char out[65]);
void digest_free(struct digest *d); /* NULL is fine */
void digest_hmac_sha256(const void *key, size_t key_n, const void *p, size_t n, uint8_t out[32]);
void digest_md5(const void *p, size_t n, uint8_t out[16]); /* where a protocol says so: it secures nothing */
