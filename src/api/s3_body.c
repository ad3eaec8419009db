/* SPDX-License-Identifier: Apache-2.0 */
/* The body of a request on its way into the store, and what the client says of it: length, digests, signatures. */
#include <stdio.h>
#include "api/s3.h"
#include "api/s3_chunked.h"
#include "base/enc.h"
#include "base/mem.h"

struct s3_body {
	struct http_sink sink;
	struct s3 *q;
	struct object_body *out;
	void (*done)(struct s3_body *b, struct s3 *q);
	void *arg;
	bool chunked, over;
	struct s3_chunked chunks;
	int64_t length; /* of what is stored; -1: not said */
	enum hash checksum;
	char claims[HASH_N][64]; /* base64; "": none */
	char sha256[65];	 /* of the body as signed */
	char trailer[40];
	struct loop_defer later;
};

void s3_body_free(struct s3_body *b)
{
	if (!b)
		return;
	loop_defer_cancel(b->q->loop, &b->later);
	object_body_drop(b->out);
	s3_chunked_done(&b->chunks);
	free(b);
}

void *s3_body_arg(const struct s3_body *b)
{
	return b->arg;
}

struct object_body *s3_body_take(struct s3_body *b)
{
	return take_ptr(b->out);
}

enum hash s3_body_checksum(const struct s3_body *b)
{
	return b->checksum;
}

int s3_checksum_name(struct str name, enum hash *ret)
{
	for (enum hash h = HASH_CRC32; h < HASH_N; h++)
		if (str_caseeqc(name, hash_name(h))) {
			*ret = h;
			return 0;
		}
	return -1;
}

static void header_name(enum hash h, char out[40])
{
	snprintf(out, 40, "x-amz-checksum-%s", hash_name(h));
	for (char *c = out; *c; c++)
		*c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
}

void s3_checksum_header(struct buf *out, enum hash h, const char *b64)
{
	char name[40];

	header_name(h, name);
	buf_addf(out, "%s: %s\r\n", name, b64);
}

/* --- what is said of it beforehand --- */

static int claim(struct s3_body *b, enum hash h, struct str value, enum api_code code)
{
	auto_buf raw = {0};

	if (dec_b64(&raw, value) < 0 || raw.n != hash_bytes(h) || value.n >= sizeof(b->claims[h]))
		return api_fail(&b->q->c.e, code, "Value for %s is invalid: the base64 form of %zu bytes is wanted.",
				h == HASH_MD5 ? "Content-MD5" : hash_name(h), hash_bytes(h));
	memcpy(b->claims[h], value.p, value.n);
	b->claims[h][value.n] = 0;
	return 0;
}

static int read_claims(struct s3_body *b, const struct http_req *r)
{
	struct str md5 = http_header(r, "content-md5"), trailer = str_trim(http_header(r, "x-amz-trailer"));
	struct str wanted = http_header(r, "x-amz-sdk-checksum-algorithm"), v;
	struct api_err *e = &b->q->c.e;
	char name[40];

	if (md5.p && claim(b, HASH_MD5, str_trim(md5), API_S3_INVALID_DIGEST) < 0)
		return -1;
	for (enum hash h = HASH_CRC32; h < HASH_N; h++) {
		header_name(h, name);
		v = http_header(r, name);
		if ((v.p || str_caseeqc(trailer, name)) && b->checksum)
			return api_fail(e, API_S3_INVALID_REQUEST,
					"Expecting a single x-amz-checksum- header. Multiple checksum Types are not "
					"allowed.");
		if (v.p && claim(b, h, str_trim(v), API_S3_INVALID_REQUEST) < 0)
			return -1;
		if (v.p || str_caseeqc(trailer, name))
			b->checksum = h;
		if (str_caseeqc(trailer, name))
			memcpy(b->trailer, name, sizeof(name));
	}
	if (trailer.n && !b->trailer[0])
		return api_fail(e, API_S3_INVALID_REQUEST,
				"The value specified in the x-amz-trailer header is not supported");
	if (wanted.n && !b->checksum && s3_checksum_name(wanted, &b->checksum) < 0)
		return api_fail(
			e, API_S3_INVALID_REQUEST,
			"Checksum algorithm provided is unsupported. Please try again with any of the valid types: "
			"[CRC32, CRC32C, CRC64NVME, SHA1, SHA256]");
	return 0;
}

/* x-amz-content-sha256 says in which form the body comes. */
static int read_form(struct s3_body *b, const struct http_req *r)
{
	static const char streaming[] = "STREAMING-";
	struct str form = http_header(r, "x-amz-content-sha256"), coding = http_header(r, "content-encoding");
	struct str decoded = http_header(r, "x-amz-decoded-content-length"), length = http_header(r, "content-length");
	struct s3 *q = b->q;

	b->chunked = str_starts(form, streaming) || str_starts(coding, "aws-chunked");
	if (str_starts(form, "STREAMING-AWS4-ECDSA"))
		return api_fail(&q->c.e, API_NOT_IMPLEMENTED, "SigV4A is not an algorithm of this Tandem.");
	if (b->chunked && !decoded.p && str_starts(form, streaming))
		return api_fail(&q->c.e, API_S3_NO_LENGTH,
				"You must provide the x-amz-decoded-content-length HTTP header.");
	if (form.n == 64 && q->chained)
		memcpy(b->sha256, form.p, 64);
	if (q->chained && str_starts(form, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"))
		b->chunks.chain = &q->chain;
	b->chunks.trailer = str_of(b->trailer);
	if (decoded.p || (length.p && !b->chunked))
		if (str_to_i64(decoded.p ? decoded : length, 0, INT64_MAX, &b->length) < 0)
			return api_fail(&q->c.e, API_S3_INVALID_ARGUMENT, "The length of the body is no number.");
	if (b->length > OBJECT_PUT_MAX)
		return api_fail(&q->c.e, API_S3_TOO_LARGE, "Your proposed upload exceeds the maximum allowed size");
	return 0;
}

/* --- while it comes --- */

static void finish(struct s3_body *b)
{
	struct s3 *q = b->q;

	b->over = true;
	b->done(b, q);
}

static void finish_later(void *arg)
{
	finish(arg);
}

/* From inside of the sink, or of the start. */
static void fail(struct s3_body *b)
{
	if (b->over)
		return;
	b->over = true;
	if (b->q->c.r && b->q->c.r->streams)
		http_body_pause(b->q->c.r);
	loop_defer(b->q->loop, &b->later, finish_later, b);
}

static void decoded(void *arg, struct str data)
{
	struct s3_body *b = arg;
	int64_t n;

	if (b->over)
		return;
	if (!object_body_add(b->out, data) && b->q->c.r && b->q->c.r->streams)
		http_body_pause(b->q->c.r);
	n = object_body_size(b->out);
	if (n > (b->length >= 0 ? b->length : OBJECT_PUT_MAX)) {
		api_fail(&b->q->c.e, b->length >= 0 ? API_S3_INCOMPLETE_BODY : API_S3_TOO_LARGE,
			 b->length >= 0 ? "The request body is longer than x-amz-decoded-content-length."
					: "Your proposed upload exceeds the maximum allowed size");
		fail(b);
	}
}

static void sink_piece(struct http_sink *s, struct str piece)
{
	struct s3_body *b = container_of(s, struct s3_body, sink);

	if (b->over)
		return;
	if (!b->chunked)
		decoded(b, piece);
	else if (s3_chunked_add(&b->chunks, piece, decoded, b, &b->q->c.e) < 0)
		fail(b);
}

static void sink_end(struct http_sink *s)
{
	struct s3_body *b = container_of(s, struct s3_body, sink);
	struct api_err *e = &b->q->c.e;

	if (b->over)
		return;
	if (b->chunked && s3_chunked_end(&b->chunks, e) < 0) {
		fail(b);
	} else if (b->length >= 0 && object_body_size(b->out) != b->length) {
		api_fail(e, API_S3_INCOMPLETE_BODY,
			 "You did not provide the number of bytes specified by the Content-Length HTTP header");
		fail(b);
	} else {
		object_body_end(b->out);
	}
}

static void drained(void *arg)
{
	struct s3_body *b = arg;

	if (b->q->c.r && b->q->c.r->streams && !b->over)
		http_body_resume(b->q->c.r);
}

/* --- when it is there --- */

static int verify(struct s3_body *b)
{
	struct api_err *e = &b->q->c.e;
	char hex[65];

	if (b->sha256[0]) {
		enc_hex(object_body_hash(b->out, HASH_SHA256), 32, hex);
		if (strcmp(hex, b->sha256))
			return api_fail(e, API_S3_SHA256_MISMATCH,
					"The provided 'x-amz-content-sha256' header does not match what was computed.");
	}
	if (b->trailer[0] && !b->chunks.value[0])
		return api_fail(e, API_S3_INVALID_REQUEST, "The trailer that x-amz-trailer announced did not come.");
	if (b->trailer[0] && claim(b, b->checksum, str_of(b->chunks.value), API_S3_INVALID_REQUEST) < 0)
		return -1;
	for (enum hash h = 0; h < HASH_N; h++) {
		auto_buf b64 = {0};

		enc_b64(&b64, object_body_hash(b->out, h), hash_bytes(h));
		if (!b->claims[h][0] || str_eqc(buf_str(&b64), b->claims[h]))
			continue;
		return api_fail(e, API_S3_BAD_DIGEST,
				h == HASH_MD5 ? "The Content-MD5 you specified did not match what we received."
					      : "The %s you specified did not match the calculated checksum.",
				hash_name(h));
	}
	return 0;
}

static void stored(void *arg, const struct err *e)
{
	struct s3_body *b = arg;

	if (b->over)
		return;
	if (e->kind)
		s3_err(b->q, e);
	else
		verify(b);
	finish(b);
}

int s3_body_start(struct s3 *q, bool file, void (*done)(struct s3_body *b, struct s3 *q), void *arg,
		  struct s3_body **ret)
{
	struct s3_body *b = xcalloc(1, sizeof(*b));
	struct object_body_opts how = {.file = file, .done = stored, .drained = drained, .arg = b};

	*b = (struct s3_body){.sink = {sink_piece, sink_end}, .q = q, .done = done, .arg = arg, .length = -1};
	if (read_claims(b, q->c.r) < 0 || read_form(b, q->c.r) < 0) {
		s3_body_free(b);
		return -1;
	}
	if (b->checksum)
		how.hashes |= 1u << b->checksum;
	if (b->sha256[0])
		how.hashes |= 1u << HASH_SHA256;
	b->out = object_body_new(q->c.a->o.objects, &how);
	*ret = b;
	if (q->c.r->streams) {
		http_body_start(q->c.r, &b->sink);
		return 0;
	}
	if (q->c.r->body.n)
		sink_piece(&b->sink, q->c.r->body);
	sink_end(&b->sink);
	return 0;
}
