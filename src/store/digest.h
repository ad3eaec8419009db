/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 and HMAC-SHA-256 (OpenSSL, fetched once). */
#pragma once
#include "base/str.h"
void digest_sha256(const void *p, size_t n, uint8_t out[32]);
void digest_sha256_hex(const void *p, size_t n, char out[65]);
void digest_hmac_sha256(const void *key, size_t key_n, const void *p, size_t n, uint8_t out[32]);
