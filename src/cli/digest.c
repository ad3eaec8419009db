/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <openssl/evp.h>
#include "base/enc.h"
#include "cli/digest.h"

void digest_hex(struct str s, char out[65])
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	/* Fails only without memory or without SHA-256 in the library. */
	if (EVP_Digest(s.p, s.n, md, &n, EVP_sha256(), NULL) != 1)
		abort();
	assert(n == 32);
	enc_hex(md, n, out);
}
