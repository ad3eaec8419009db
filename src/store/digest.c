/* SPDX-License-Identifier: Apache-2.0 */
#include "store/digest.h"
#include <assert.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include "base/enc.h"

/* EVP_sha256() alone makes OpenSSL 3 look the algorithm up on every use (it takes a lock and a few hundred ns). */
static EVP_MD *sha256_md, *md5_md;

__attribute__((constructor)) static void sha256_fetch(void)
{
	sha256_md = EVP_MD_fetch(NULL, "SHA256", NULL);
	md5_md = EVP_MD_fetch(NULL, "MD5", NULL);
}

__attribute__((destructor)) static void sha256_release(void)
{
	EVP_MD_free(sha256_md);
	EVP_MD_free(md5_md);
	sha256_md = md5_md = NULL;
}

void digest_sha256(const void *p, size_t n, uint8_t out[32])
{
	unsigned len = 32;
	int ok = EVP_Digest(n ? p : "", n, out, &len, sha256_md, NULL);

	assert(ok && len == 32);
	(void)ok;
}

void digest_md5(const void *p, size_t n, uint8_t out[16])
{
	unsigned len = 16;
	int ok = EVP_Digest(n ? p : "", n, out, &len, md5_md, NULL);

	assert(ok && len == 16);
	(void)ok;
}

void digest_sha256_hex(const void *p, size_t n, char out[65])
{
	uint8_t d[32];

	digest_sha256(p, n, d);
	enc_hex(d, sizeof(d), out);
}

/* A struct digest is an EVP_MD_CTX. Like malloc, it fails only without memory: then we end as base/mem.h does. */
static EVP_MD_CTX *must(EVP_MD_CTX *c, int ok)
{
	if (!c || !ok)
		abort();
	return c;
}

struct digest *digest_new(void)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();

	return (struct digest *)must(c, c && EVP_DigestInit_ex2(c, sha256_md, NULL));
}

void digest_add(struct digest *d, const void *p, size_t n)
{
	must((EVP_MD_CTX *)d, EVP_DigestUpdate((EVP_MD_CTX *)d, p, n));
}

void digest_hex(const struct digest *d, char out[65])
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	uint8_t raw[32];

	must(c, c && EVP_MD_CTX_copy_ex(c, (const EVP_MD_CTX *)d) && EVP_DigestFinal_ex(c, raw, NULL));
	EVP_MD_CTX_free(c);
	enc_hex(raw, sizeof(raw), out);
}

void digest_free(struct digest *d)
{
	EVP_MD_CTX_free((EVP_MD_CTX *)d);
}

void digest_hmac_sha256(const void *key, size_t key_n, const void *p, size_t n, uint8_t out[32])
{
	/* RFC 2104 over the fetched digest: HMAC() of OpenSSL 3 fetches again on every call. */
	uint8_t block[64] = {0}, inner[32];
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	int ok = c != NULL;

	if (key_n > sizeof(block))
		digest_sha256(key, key_n, block);
	else if (key_n)
		memcpy(block, key, key_n);
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] ^= 0x36;
	ok = ok && EVP_DigestInit_ex2(c, sha256_md, NULL) && EVP_DigestUpdate(c, block, sizeof(block)) &&
	     EVP_DigestUpdate(c, p, n) && EVP_DigestFinal_ex(c, inner, NULL);
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] ^= 0x36 ^ 0x5c;
	ok = ok && EVP_DigestInit_ex2(c, sha256_md, NULL) && EVP_DigestUpdate(c, block, sizeof(block)) &&
	     EVP_DigestUpdate(c, inner, sizeof(inner)) && EVP_DigestFinal_ex(c, out, NULL);
	assert(ok);
	EVP_MD_CTX_free(c);
	explicit_bzero(block, sizeof(block));
}
