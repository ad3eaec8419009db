/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include "base/enc.h"
#include "base/io.h"
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

static int copy_hashing(EVP_MD_CTX *md, int in, int out, int64_t *bytes, struct err *e)
{
	int64_t left = *bytes;
	char part[65536];

	while (left > 0) {
		ssize_t n = read(in, part, left < (int64_t)sizeof(part) ? (size_t)left : sizeof(part));

		if (n < 0)
			return err_sys(e, errno, "read");
		if (n == 0)
			break;
		if (EVP_DigestUpdate(md, part, (size_t)n) != 1)
			abort();
		if (io_write_all(out, part, (size_t)n, e) < 0)
			return -1;
		left -= n;
	}
	*bytes -= left;
	return 0;
}

int digest_copy(int in, int out, int64_t *bytes, char ret_hex[65], struct err *e)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned char raw[EVP_MAX_MD_SIZE];
	int r;

	if (!md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
		abort();
	r = copy_hashing(md, in, out, bytes, e);
	if (EVP_DigestFinal_ex(md, raw, NULL) != 1)
		abort();
	EVP_MD_CTX_free(md);
	if (r == 0)
		enc_hex(raw, 32, ret_hex);
	return r;
}
