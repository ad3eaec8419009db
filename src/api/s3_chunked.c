/* SPDX-License-Identifier: Apache-2.0 */
#include "api/s3_chunked.h"
#include <stdio.h>

#define CHUNK_BYTES_MAX (1ll << 40)

static int bad(struct s3_chunked *k, struct api_err *e, enum api_code code, const char *what)
{
	k->state = CHUNK_BAD;
	return api_fail(e, code, "%s", what);
}

static int size_line(struct s3_chunked *k, struct str line, struct api_err *e)
{
	struct str hex = line, more = STR_NULL, name, value = STR_NULL;

	str_cut(line, ';', &hex, &more);
	if (!hex.n || hex.n > 16)
		return bad(k, e, API_S3_INCOMPLETE_BODY,
			   "A chunk of the body must begin with its size in hexadecimal.");
	k->left = 0;
	for (size_t i = 0; i < hex.n; i++) {
		static const char digits[] = "0123456789abcdef0123456789ABCDEF";
		const char *d = hex.p[i] ? strchr(digits, hex.p[i]) : NULL;

		if (!d || k->left > CHUNK_BYTES_MAX / 16)
			return bad(k, e, API_S3_INCOMPLETE_BODY,
				   "A chunk of the body must begin with its size in hexadecimal, at most 2^40.");
		k->left = k->left * 16 + (d - digits) % 16;
	}
	if (str_cut(more, '=', &name, &value) && str_eqc(name, "chunk-signature") && value.n == 64)
		memcpy(k->signature, value.p, 64);
	else if (k->chain)
		return bad(k, e, API_INVALID_SIGNATURE, "A chunk of the body has no chunk-signature.");
	if (k->chain)
		k->digest = digest_new();
	k->state = k->left ? CHUNK_DATA : CHUNK_END;
	return 0;
}

/* The chunk is whole. */
static int verify(struct s3_chunked *k, struct api_err *e)
{
	char hex[65];

	if (!k->digest)
		return 0;
	digest_hex(k->digest, hex);
	digest_free(take_ptr(k->digest));
	return sigv4_chain_next(k->chain, "PAYLOAD", hex, (struct str){k->signature, 64})
		       ? 0
		       : bad(k, e, API_INVALID_SIGNATURE, "A chunk of the body does not match its chunk-signature.");
}

static int trailer_line(struct s3_chunked *k, struct str line, struct api_err *e)
{
	struct str name, value;
	char hex[65];

	line = str_trim(line);
	if (!line.n)
		return 0;
	if (!str_cut(line, ':', &name, &value))
		return bad(k, e, API_S3_INCOMPLETE_BODY, "A line after the last chunk must be NAME:VALUE.");
	value = str_trim(value);
	if (str_caseeqc(name, "x-amz-trailer-signature")) {
		digest_sha256_hex(k->trailer_line, strlen(k->trailer_line), hex);
		k->trailer_signed = !k->chain || sigv4_chain_next(k->chain, "TRAILER", hex, value);
		return k->trailer_signed
			       ? 0
			       : bad(k, e, API_INVALID_SIGNATURE, "The trailer does not match its signature.");
	}
	if (!k->trailer.n || !str_caseeq(name, k->trailer) || value.n >= sizeof(k->value))
		return bad(k, e, API_S3_INVALID_REQUEST, "The trailer is not the one that x-amz-trailer announced.");
	memcpy(k->value, value.p, value.n);
	k->value[value.n] = 0;
	snprintf(k->trailer_line, sizeof(k->trailer_line), STR_FMT ":%s\n", STR_ARG(k->trailer), k->value);
	return 0;
}

static int one_line(struct s3_chunked *k, struct str line, struct api_err *e)
{
	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	switch (k->state) {
	case CHUNK_SIZE:
		if (size_line(k, line, e) < 0)
			return -1;
		if (k->state == CHUNK_DATA)
			return 0;
		k->state = CHUNK_TRAILER; /* the last one has no bytes, and no CRLF of theirs */
		return verify(k, e);
	case CHUNK_END:
		if (line.n)
			return bad(k, e, API_S3_INCOMPLETE_BODY, "A chunk of the body is longer than its size.");
		k->state = CHUNK_SIZE;
		return verify(k, e);
	default:
		return trailer_line(k, line, e);
	}
}

int s3_chunked_add(struct s3_chunked *k, struct str data, void (*piece)(void *arg, struct str data), void *arg,
		   struct api_err *e)
{
	while (data.n && k->state != CHUNK_BAD) {
		if (k->state == CHUNK_DATA) {
			size_t n = (int64_t)data.n < k->left ? data.n : (size_t)k->left;

			if (k->digest)
				digest_add(k->digest, data.p, n);
			piece(arg, (struct str){data.p, n});
			data.p += n, data.n -= n;
			k->left -= (int64_t)n;
			k->state = k->left ? CHUNK_DATA : CHUNK_END;
			continue;
		}
		if (*data.p != '\n' && k->line_n == sizeof(k->line))
			return bad(k, e, API_S3_INCOMPLETE_BODY, "A line between the chunks of the body is too long.");
		if (*data.p != '\n') {
			k->line[k->line_n++] = *data.p;
		} else {
			size_t n = k->line_n;

			k->line_n = 0;
			if (one_line(k, (struct str){k->line, n}, e) < 0)
				return -1;
		}
		data.p++, data.n--;
	}
	return k->state == CHUNK_BAD ? -1 : 0;
}

int s3_chunked_end(struct s3_chunked *k, struct api_err *e)
{
	size_t n = k->line_n;

	k->line_n = 0;
	if (k->state == CHUNK_TRAILER && n && trailer_line(k, (struct str){k->line, n}, e) < 0)
		return -1;
	if (k->state != CHUNK_TRAILER)
		return bad(k, e, API_S3_INCOMPLETE_BODY,
			   "You did not provide the number of bytes specified by the Content-Length HTTP header");
	if (k->chain && k->trailer.n && !k->trailer_signed)
		return bad(k, e, API_INVALID_SIGNATURE, "The trailer is not signed.");
	return 0;
}

void s3_chunked_done(struct s3_chunked *k)
{
	digest_free(take_ptr(k->digest));
}
