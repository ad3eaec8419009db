/* SPDX-License-Identifier: Apache-2.0 */
/* Signature Version 2 of S3 (HMAC-SHA1), in a header or presigned: what boto3 and aws-sdk v2 still presign with. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <time.h>
#include "api/s3.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"

#define PARAMS_MAX 64
#define SKEW_S	   900

struct v2 {
	const struct http_req *r;
	struct str key, signature, expires; /* expires empty: in a header */
	struct buf text;
	char *lines[PARAMS_MAX];
	int n;
};

bool s3_v2_is(const struct http_req *r)
{
	struct str v;

	return str_starts(http_header(r, "authorization"), "AWS ") ||
	       (dec_form_value(r->query, "AWSAccessKeyId", &v) && dec_form_value(r->query, "Signature", &v));
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add(struct v2 *v, char *line)
{
	if (v->n < PARAMS_MAX)
		v->lines[v->n++] = line;
	else
		free(line);
}

/* Sorted, each with that between; the list is empty again. */
static void flush(struct v2 *v, char first, char between)
{
	qsort(v->lines, (size_t)v->n, sizeof(v->lines[0]), by_text);
	for (int i = 0; i < v->n; i++) {
		if (first)
			buf_addc(&v->text, i ? between : first);
		buf_adds(&v->text, v->lines[i]);
		free(v->lines[i]);
	}
	v->n = 0;
}

/* x-amz-: of the head; clients that presign move them to the query. */
static void amz_headers(struct v2 *v)
{
	struct str query = v->r->query, pair, name, value;

	for (unsigned i = 0; i < v->r->n_headers; i++) {
		const struct http_header *h = &v->r->headers[i];
		char *line;

		if (h->name.n < 6 || !str_caseeqc((struct str){h->name.p, 6}, "x-amz-"))
			continue;
		line = xasprintf(STR_FMT ":" STR_FMT "\n", STR_ARG(h->name), STR_ARG(str_trim(h->value)));
		for (size_t k = 0; k < h->name.n; k++)
			line[k] = (char)(line[k] >= 'A' && line[k] <= 'Z' ? line[k] + 32 : line[k]);
		add(v, line);
	}
	while (str_next(&query, '&', &pair)) {
		auto_buf text = {0};

		if (str_starts(pair, "x-amz-") && str_cut(pair, '=', &name, &value) &&
		    dec_percent(&text, value, false) == 0)
			add(v, xasprintf(STR_FMT ":%s\n", STR_ARG(name), text.p ? text.p : ""));
	}
	flush(v, 0, 0);
}

static void subresources(struct v2 *v)
{
	static const char *const of[] = {
		"accelerate", "acl",	 "cors",	"delete",	  "inventory",	 "lifecycle",
		"location",   "logging", "metrics",	"notification",	  "object-lock", "partNumber",
		"policy",     "restore", "replication", "requestPayment", "tagging",	 "torrent",
		"uploadId",   "uploads", "versionId",	"versioning",	  "versions",	 "website",
		"analytics",  "select",	 "select-type", "storageClass",
	};
	struct str query = v->r->query, pair, name, value;

	while (str_next(&query, '&', &pair)) {
		bool counts = false, has_value;
		auto_buf text = {0};

		name = pair;
		has_value = str_cut(pair, '=', &name, &value);
		for (size_t i = 0; i < ARRAY_SIZE(of); i++)
			counts |= str_eqc(name, of[i]);
		if ((!counts && !str_starts(name, "response-")) || (has_value && dec_percent(&text, value, false) < 0))
			continue;
		add(v, has_value && value.n ? xasprintf(STR_FMT "=%s", STR_ARG(name), text.p) : str_dup(name));
	}
	flush(v, '?', '&');
}

static struct str head_or_query(const struct v2 *v, const char *name, struct buf *tmp)
{
	struct str h = http_header(v->r, name), q;

	if (h.n || !dec_form_value(v->r->query, name, &q) || dec_percent(tmp, q, false) < 0)
		return h;
	return buf_str(tmp);
}

static void string_to_sign(struct v2 *v, const char *bucket)
{
	auto_buf md5 = {0}, type = {0};
	bool dated = http_header(v->r, "x-amz-date").n > 0;

	buf_addstr(&v->text, v->r->method);
	buf_addc(&v->text, '\n');
	buf_addstr(&v->text, head_or_query(v, "content-md5", &md5));
	buf_addc(&v->text, '\n');
	buf_addstr(&v->text, head_or_query(v, "content-type", &type));
	buf_addc(&v->text, '\n');
	buf_addstr(&v->text, v->expires.n ? v->expires : dated ? STR_NULL : http_header(v->r, "date"));
	buf_addc(&v->text, '\n');
	amz_headers(v);
	buf_addf(&v->text, "%s%s" STR_FMT, *bucket ? "/" : "", bucket, STR_ARG(v->r->path));
	subresources(v);
}

static int64_t date_of(const struct http_req *r)
{
	struct str d = http_header(r, "x-amz-date");
	struct tm tm = {0};
	auto_free char *text = str_dup(d.n ? d : http_header(r, "date"));

	return strptime(text, "%a, %d %b %Y %H:%M:%S", &tm) ? timegm(&tm) : 0;
}

static int check_time(const struct v2 *v, struct api_err *e)
{
	int64_t now = clock_wall_us() / 1000000, until, at;

	if (v->expires.n)
		return str_to_i64(v->expires, 0, INT64_MAX, &until) == 0 && now <= until
			       ? 0
			       : api_fail(e, API_ACCESS_DENIED, "Request has expired");
	at = date_of(v->r);
	return at + SKEW_S >= now && at <= now + SKEW_S
		       ? 0
		       : api_fail(e, API_S3_SKEWED,
				  "The difference between the request time and the current time is too large.");
}

void s3_v2_sign(const char *secret, struct str text, struct buf *out)
{
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	HMAC(EVP_sha1(), secret, (int)strlen(secret), (const unsigned char *)text.p, text.n, mac, &n);
	enc_b64(out, mac, n);
}

int s3_v2_verify(struct api_call *c, const char *bucket)
{
	struct str auth = http_header(c->r, "authorization"), key = STR_NULL, signature = STR_NULL, expires = STR_NULL;
	auto_buf key_text = {0}, given = {0}, computed = {0}, until = {0};
	struct v2 v = {.r = c->r};
	const char *secret;

	if (str_starts(auth, "AWS ")) {
		str_cut((struct str){auth.p + 4, auth.n - 4}, ':', &key, &signature);
		buf_addstr(&key_text, key);
		buf_addstr(&given, signature);
	} else if (!dec_form_value(c->r->query, "Expires", &expires) || dec_percent(&until, expires, false) < 0 ||
		   !dec_form_value(c->r->query, "AWSAccessKeyId", &key) || dec_percent(&key_text, key, false) < 0 ||
		   !dec_form_value(c->r->query, "Signature", &signature) || dec_percent(&given, signature, false) < 0) {
		return api_fail(&c->e, API_ACCESS_DENIED,
				"Query-string authentication requires the Signature, Expires and AWSAccessKeyId "
				"parameters");
	}
	v.expires = buf_str(&until);
	secret = api_secret(c->a, buf_str(&key_text), &c->who);
	if (!secret)
		return api_fail(&c->e, API_UNKNOWN_KEY, "unknown key");
	string_to_sign(&v, bucket);
	s3_v2_sign(secret, buf_str(&v.text), &computed);
	buf_done(&v.text);
	if (!sigv4_equal(buf_str(&given), computed.p, computed.n))
		return api_fail(&c->e, API_INVALID_SIGNATURE,
				"The request signature we calculated does not match the signature you provided. Check "
				"your key and signing method.");
	return check_time(&v, &c->e);
}
