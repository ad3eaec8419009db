/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of an object beside its bytes, and what requests ask about it: headers, tags, checksums; conditions, ranges. */
#include <stdio.h>
#include <time.h>
#include "api/s3.h"
#include "base/enc.h"
#include "base/mem.h"

#define META_BYTES_MAX 2048
#define TAGS_MAX       10

/* --- what is said of an object --- */

static const char *const kept[] = {"Content-Type",
				   "Content-Encoding",
				   "Content-Disposition",
				   "Content-Language",
				   "Cache-Control",
				   "Expires",
				   "x-amz-website-redirect-location"};

/* aws-chunked is of the way here, not of what is stored. */
static struct str without_chunked(struct str v)
{
	struct str first, rest;

	if (str_eqc(v, "aws-chunked"))
		return STR_NULL;
	if (str_cut(v, ',', &first, &rest) && str_eqc(str_trim(first), "aws-chunked"))
		return str_trim(rest);
	return v;
}

/* The values of all headers of that one's name, joined as HTTP says; STR_NULL: it is not the first of them. */
static struct str all_of(const struct http_req *r, unsigned at, struct buf *tmp)
{
	for (unsigned i = 0; i < r->n_headers; i++) {
		if (!str_caseeq(r->headers[i].name, r->headers[at].name))
			continue;
		if (i < at)
			return STR_NULL;
		buf_adds(tmp, i > at ? "," : "");
		buf_addstr(tmp, r->headers[i].value);
	}
	return buf_str(tmp);
}

static int put_headers(struct s3 *q, struct jw *w)
{
	const struct http_req *r = q->c.r;
	size_t bytes = 0;
	bool typed = false;

	jw_obj(w, "headers");
	for (unsigned i = 0; i < r->n_headers; i++) {
		const struct http_header *h = &r->headers[i];
		const char *name = NULL;
		auto_buf all = {0};
		struct str value;
		char low[128];

		for (size_t k = 0; k < ARRAY_SIZE(kept); k++)
			if (str_caseeqc(h->name, kept[k]))
				name = kept[k];
		if (!name && h->name.n > 11 && h->name.n < sizeof(low) &&
		    str_caseeqc((struct str){h->name.p, 11}, "x-amz-meta-")) {
			for (size_t k = 0; k <= h->name.n; k++)
				low[k] = k == h->name.n ? 0
							: (char)(h->name.p[k] |
								 (h->name.p[k] >= 'A' && h->name.p[k] <= 'Z' ? 32 : 0));
			name = low;
		}
		value = name ? all_of(r, i, &all) : STR_NULL;
		bytes += name == low && value.p ? h->name.n - 11 + value.n : 0;
		if (!without_chunked(value).n)
			continue;
		typed |= name == kept[0];
		jw_str(w, name, without_chunked(value));
	}
	if (!typed)
		jw_strc(w, kept[0], "binary/octet-stream");
	jw_end(w, '}');
	return bytes <= META_BYTES_MAX
		       ? 0
		       : api_fail(&q->c.e, API_S3_METADATA_TOO_LARGE,
				  "Your metadata headers exceed the maximum allowed metadata size of %d bytes",
				  META_BYTES_MAX);
}

static int put_tags(struct s3 *q, struct jw *w)
{
	struct str rest = http_header(q->c.r, "x-amz-tagging"), pair, key, value;
	int n = 0;

	if (!rest.n)
		return 0;
	jw_obj(w, "tags");
	while (str_next(&rest, '&', &pair)) {
		auto_buf k = {0}, v = {0};

		key = pair, value = STR_NULL;
		str_cut(pair, '=', &key, &value);
		if (++n > TAGS_MAX || dec_percent(&k, key, true) < 0 || dec_percent(&v, value, true) < 0 || !k.n ||
		    memchr(k.p, 0, k.n) || k.n > LIM_TAG_NAME_BYTES || v.n > LIM_TAG_VALUE_BYTES)
			return api_fail(&q->c.e, API_S3_INVALID_TAG,
					"x-amz-tagging must be KEY=VALUE&..., at most %d of them, a key of 1 to %d "
					"bytes, a value of at most %d.",
					TAGS_MAX, LIM_TAG_NAME_BYTES, LIM_TAG_VALUE_BYTES);
		jw_str(w, k.p, buf_str(&v));
	}
	jw_end(w, '}');
	return 0;
}

char *s3_meta_new(struct s3 *q)
{
	struct str class = http_header(q->c.r, "x-amz-storage-class");
	struct buf b = {0};
	struct jw w = jw_object(&b);

	if (http_header(q->c.r, "x-amz-server-side-encryption-customer-algorithm").p)
		api_fail(&q->c.e, API_NOT_IMPLEMENTED,
			 "Encryption with keys of the client is not to be had from this Tandem.");
	else if (class.n && !str_name_ok(class, 32, "_"))
		api_fail(&q->c.e, API_S3_INVALID_ARGUMENT, "The storage class you specified is not valid");
	else if (put_headers(q, &w) == 0 && put_tags(q, &w) == 0) {
		if (class.n && !str_eqc(class, "STANDARD"))
			jw_str(&w, "class", class);
		jw_end(&w, '}');

		auto_json seen = json_parse(buf_str(&b), NULL);

		if (seen)
			return buf_take(&b);
		api_fail(&q->c.e, API_S3_INVALID_TAG, "Cannot provide multiple Tags with the same key");
	}
	buf_done(&b);
	return NULL;
}

struct without {
	struct jw *w;
	const char *name;
};

static int copy_member(void *arg, const char *key, const struct json *value)
{
	struct without *x = arg;
	auto_free char *text = json_text(value);

	if (strcmp(key, x->name))
		jw_raw(x->w, key, str_of(text));
	return 0;
}

char *s3_meta_set(const char *meta, const char *name, const char *value)
{
	auto_json old = json_parse(str_of(meta), NULL);
	struct buf b = {0};
	struct jw w = jw_object(&b);

	json_each(old, copy_member, &(struct without){&w, name});
	if (value)
		jw_raw(&w, name, str_of(value));
	jw_end(&w, '}');
	return buf_take(&b);
}

char *s3_meta_sum(const char *meta, enum hash h, const char *b64, const char *type)
{
	auto_object(w, sum);

	if (h == HASH_MD5)
		return s3_meta_set(meta, "sum", NULL);
	jw_strc(&w, hash_name(h), b64);
	jw_strc(&w, "type", type);
	jw_end(&w, '}');
	return s3_meta_set(meta, "sum", sum.p);
}

static int sum_line(void *arg, const char *key, const struct json *value)
{
	enum hash h;

	if (s3_checksum_name(str_of(key), &h) == 0)
		s3_checksum_header(arg, h, json_str(value).p);
	else
		buf_addf(arg, "x-amz-checksum-type: " STR_FMT "\r\n", STR_ARG(json_str(value)));
	return 0;
}

void s3_sum_headers(struct buf *out, const struct json *meta)
{
	json_each(json_get(meta, "sum"), sum_line, out);
}

void s3_http_date(int64_t wall_us, char out[40])
{
	time_t t = (time_t)(wall_us / 1000000);
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, 40, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

/* --- conditions of reading --- */

bool s3_etag_in(struct str list, const char *etag)
{
	struct str one;

	while (str_next(&list, ',', &one)) {
		one = str_trim(one);
		if (str_starts(one, "W/"))
			one = (struct str){one.p + 2, one.n - 2};
		if (one.n > 1 && one.p[0] == '"' && one.p[one.n - 1] == '"')
			one = (struct str){one.p + 1, one.n - 2};
		if (str_eqc(one, "*") || str_eqc(one, etag))
			return true;
	}
	return false;
}

/* Seconds; -1: it is no date, and asks for nothing. */
static int64_t date_of(struct str v)
{
	auto_free char *text = str_dup(v);
	struct tm tm = {0};

	return v.n && (strptime(text, "%a, %d %b %Y %H:%M:%S", &tm) || strptime(text, "%Y-%m-%dT%H:%M:%S", &tm))
		       ? timegm(&tm)
		       : -1;
}

/* prefix: "" or "x-amz-copy-source-". RFC 9110 13.2.2. */
int s3_read_conditions(struct s3 *q, const char *prefix, const struct object_row *row)
{
	static const char *const names[] = {"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"};
	bool copies = *prefix;
	struct str v[4];
	char name[64];
	int64_t changed = row->modified_us / 1000000;

	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "%s%s", prefix, names[i]);
		v[i] = http_header(q->c.r, name);
	}
	if (v[0].p ? !s3_etag_in(v[0], row->etag) : date_of(v[3]) >= 0 && changed > date_of(v[3]))
		return api_fail(&q->c.e, API_S3_PRECONDITION,
				"At least one of the pre-conditions you specified did not hold");
	if (v[1].p ? s3_etag_in(v[1], row->etag) : date_of(v[2]) >= 0 && changed <= date_of(v[2]))
		return api_fail(&q->c.e, copies ? API_S3_PRECONDITION : API_S3_NOT_MODIFIED,
				"At least one of the pre-conditions you specified did not hold");
	return 0;
}

int s3_put_condition(struct s3 *q, struct object_condition *ret)
{
	struct str none = http_header(q->c.r, "if-none-match"), match = str_trim(http_header(q->c.r, "if-match"));

	if (none.p && !str_eqc(str_trim(none), "*"))
		return api_fail(&q->c.e, API_NOT_IMPLEMENTED,
				"A header you provided implies functionality that is not implemented: If-None-Match of "
				"a write may only be *.");
	ret->if_none = none.p;
	if (match.n > 1 && match.p[0] == '"')
		match = (struct str){match.p + 1, match.n - 2};
	if (match.n >= sizeof(ret->if_match))
		return api_fail(&q->c.e, API_S3_PRECONDITION,
				"At least one of the pre-conditions you specified did not hold");
	if (match.n)
		memcpy(ret->if_match, match.p, match.n);
	return 0;
}

/* 1: a range; 0: all of it; -1: q->c.e. More than one range, or what is none, asks for all. */
int s3_range(struct s3 *q, struct str range, int64_t size, int64_t *ret_at, int64_t *ret_n)
{
	struct str from, to;
	int64_t a = 0, b = size - 1;

	*ret_at = 0;
	*ret_n = size;
	if (!str_starts(range, "bytes=") || memchr(range.p, ',', range.n) ||
	    !str_cut((struct str){range.p + 6, range.n - 6}, '-', &from, &to) || (!from.n && !to.n))
		return 0;
	if (from.n ? str_to_i64(from, 0, INT64_MAX, &a) < 0 || (to.n && str_to_i64(to, 0, INT64_MAX, &b) < 0)
		   : str_to_i64(to, 0, INT64_MAX, &b) < 0)
		return 0;
	if (from.n && to.n && b < a)
		return 0;
	if (!from.n) /* the last b bytes */
		a = b == 0 ? size : b < size ? size - b : 0, b = size - 1;
	if (a >= size)
		return api_fail(&q->c.e, API_S3_INVALID_RANGE, "The requested range is not satisfiable");
	*ret_at = a;
	*ret_n = (b < size ? b + 1 : size) - a;
	return 1;
}
/* --- headers of an answer --- */

static void lower(char *s)
{
	for (; *s; s++)
		*s = (char)(*s >= 'A' && *s <= 'Z' ? *s + 32 : *s);
}

/* What the query has in the place of what is stored: response-content-type=... */
static char * override(struct s3 *q, const char *name)
{
	char key[64];

	snprintf(key, sizeof(key), "response-%.50s", name);
	lower(key);
	return s3_query(q, key);
}

struct lines {
	struct s3 *q;
	struct buf *out;
	char *type;
};

static void line(struct lines *l, const char *name, const char *value)
{
	if (!strcmp(name, kept[0]))
		l->type = xstrdup(value);
	else
		buf_addf(l->out, "%s: %s\r\n", name, value);
}

static int stored_line(void *arg, const char *key, const struct json *value)
{
	struct lines *l = arg;
	auto_free char *over = override(l->q, key);

	if (!over)
		line(l, key, json_str(value).p);
	return 0;
}

char *s3_meta_headers(struct s3 *q, const struct json *meta, struct buf *out)
{
	struct lines l = {.q = q, .out = out};
	int rc = 0;

	json_each(json_get(meta, "headers"), stored_line, &l);
	for (size_t i = 0; i < ARRAY_SIZE(kept) && rc == 0; i++) {
		auto_free char *over = override(q, kept[i]);

		for (const char *c = over; c && *c && rc == 0; c++)
			if ((unsigned char)*c < ' ' || *c == 127) /* it would be a line of its own */
				rc = api_fail(&q->c.e, API_S3_INVALID_ARGUMENT,
					      "response-%s holds a control character.", kept[i]);
		if (over && rc == 0)
			line(&l, kept[i], over);
	}
	if (rc == 0)
		return l.type ? l.type : xstrdup("binary/octet-stream");
	free(l.type);
	return NULL;
}
