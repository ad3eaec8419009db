/* SPDX-License-Identifier: Apache-2.0 */
/* AWS's own example of a body in signed chunks (65,536 and 1,024 bytes "a"), and what may not be. */
#include "api/s3_chunked.h"
#include "base/enc.h"
#include "tests/test.h"

#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

static struct sigv4_chain chain_of(const char *seed)
{
	struct sigv4_chain c = {.date = "20130524T000000Z", .scope = "20130524/us-east-1/s3/aws4_request"};

	digest_hmac_sha256("AWS4" SECRET, strlen("AWS4" SECRET), "20130524", 8, c.key);
	digest_hmac_sha256(c.key, 32, "us-east-1", 9, c.key);
	digest_hmac_sha256(c.key, 32, "s3", 2, c.key);
	digest_hmac_sha256(c.key, 32, "aws4_request", 12, c.key);
	strlcpy_(c.last, seed, sizeof(c.last));
	return c;
}

static void body_of(struct buf *b, const char *one, const char *two, const char *last)
{
	buf_addf(b, "10000;chunk-signature=%s\r\n", one);
	for (int i = 0; i < 65536; i++)
		buf_addc(b, 'a');
	buf_addf(b, "\r\n400;chunk-signature=%s\r\n", two);
	for (int i = 0; i < 1024; i++)
		buf_addc(b, 'a');
	buf_addf(b, "\r\n0;chunk-signature=%s\r\n", last);
}

static void piece(void *arg, struct str data)
{
	buf_addstr(arg, data);
}

/* In pieces of so many bytes; the code of the error. */
static enum api_code feed(struct s3_chunked *k, struct str body, size_t n, struct buf *out)
{
	struct api_err e = {.code = API_OK};
	int rc = 0;

	for (size_t at = 0; rc == 0 && at < body.n; at += n)
		rc = s3_chunked_add(k, (struct str){body.p + at, body.n - at < n ? body.n - at : n}, piece, out, &e);
	if (rc == 0)
		s3_chunked_end(k, &e);
	s3_chunked_done(k);
	return e.code;
}

TEST(signed_chunks)
{
	static const size_t pieces[] = {1, 7, 100, 65536, 1 << 20};
	auto_buf body = {0};

	body_of(&body, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
		"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
		"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9");
	buf_adds(&body, "\r\n");
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		struct sigv4_chain c = chain_of("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
		struct s3_chunked k = {.chain = &c};
		auto_buf out = {0};

		CHECK(feed(&k, buf_str(&body), pieces[i], &out) == API_OK && out.n == 66560);
	}
	for (size_t at = 90; at < body.n; at += 12345) { /* one byte is another */
		struct sigv4_chain c = chain_of("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
		struct s3_chunked k = {.chain = &c};
		auto_buf out = {0};

		body.p[at] ^= 1;
		CHECK(feed(&k, buf_str(&body), 4096, &out) == API_INVALID_SIGNATURE);
		body.p[at] ^= 1;
	}
}

TEST(signed_trailer)
{
	struct sigv4_chain c = chain_of("106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"), again = c;
	struct s3_chunked k = {.chain = &c, .trailer = STR("x-amz-checksum-crc32c")};
	auto_buf body = {0}, out = {0};

	body_of(&body, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
		"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
		"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992");
	buf_adds(&body, "x-amz-checksum-crc32c:sOO8/Q==\r\n");
	CHECK(feed(&(struct s3_chunked){.chain = &again, .trailer = k.trailer}, buf_str(&body), 999, &out) ==
	      API_INVALID_SIGNATURE);
	buf_clear(&out);
	buf_adds(&body,
		 "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n");
	CHECK(feed(&k, buf_str(&body), 999, &out) == API_OK && out.n == 66560);
	CHECK_STR(k.value, "sOO8/Q==");
}

TEST(unsigned_chunks)
{
	static const struct {
		const char *body;
		enum api_code code;
		const char *out;
	} rows[] = {
		{"3\r\nabc\r\n0\r\n\r\n", API_OK, "abc"},
		{"3\r\nabc\r\n0\r\n", API_OK, "abc"},
		{"0\r\n\r\n", API_OK, ""},
		{"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n", API_S3_INVALID_REQUEST, "abc"},
		{"3\r\nabc\r\n", API_S3_INCOMPLETE_BODY, "abc"},
		{"3\r\nab", API_S3_INCOMPLETE_BODY, "ab"},
		{"3\r\nabcd\r\n0\r\n\r\n", API_S3_INCOMPLETE_BODY, "abc"},
		{"\r\n", API_S3_INCOMPLETE_BODY, ""},
		{"g\r\n", API_S3_INCOMPLETE_BODY, ""},
		{"-1\r\n", API_S3_INCOMPLETE_BODY, ""},
		{"ffffffffffffffff\r\n", API_S3_INCOMPLETE_BODY, ""},
		{"0\r\nnothing\r\n\r\n", API_S3_INCOMPLETE_BODY, ""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (size_t n = 1; n < 12; n++) {
			struct s3_chunked k = {0};
			auto_buf out = {0};

			CHECK(feed(&k, str_of(rows[i].body), n, &out) == rows[i].code);
			CHECK_STR(out.p ? out.p : "", rows[i].out);
		}
}
