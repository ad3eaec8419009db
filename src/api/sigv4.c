/* SPDX-License-Identifier: Apache-2.0 */
#include "api/sigv4.h"
#include <assert.h>
#include <stdio.h>
#include <time.h>
#include "base/enc.h"
#include "base/mem.h"
#include "store/digest.h"

#define ALGORITHM     "AWS4-HMAC-SHA256"
#define SKEW_S	      300
#define SKEW_S3_S     900
#define EXPIRES_MAX_S 604800
#define PARAMS_MAX    128
#define SIGNED_MAX    64
#define CACHE_SLOTS   64

struct key_slot {
	char scope[192]; /* access key/date/region/service; "" : empty */
	uint8_t key[32];
};
struct param {
	size_t name, name_n, value, value_n; /* in sigv4.params, percent-encoded */
};
struct sigv4 {
	const char *region;
	struct key_slot slots[CACHE_SLOTS]; /* direct-mapped */
	struct buf canon;		    /* the canonical request; kept for its memory */
	struct buf params, decoded, uri;
	struct param list[PARAMS_MAX];
};

/* The parts of one signature, wherever they stood. */
struct signature {
	struct sigv4_scope scope;
	struct str terminator, signed_headers, hex, date; /* date: 20150830T123600Z */
	int64_t expires_s;
};

struct sigv4 *sigv4_new(const char *region)
{
	struct sigv4 *v = xcalloc(1, sizeof(*v));

	v->region = xstrdup(region);
	return v;
}

void sigv4_free(struct sigv4 *v)
{
	if (!v)
		return;
	explicit_bzero(v->slots, sizeof(v->slots));
	buf_done(&v->canon);
	buf_done(&v->params);
	buf_done(&v->decoded);
	buf_done(&v->uri);
	free((char *)v->region);
	free(v);
}

static int scope_parse(struct str credential, struct signature *s, struct api_err *e)
{
	struct str rest = credential,
		   *part[] = {&s->scope.access_key, &s->scope.date, &s->scope.region, &s->scope.service};

	/* The keys that are kept have C strings for names: two credentials must never have the same. */
	if (memchr(credential.p, 0, credential.n))
		return api_fail(e, API_INCOMPLETE_SIGNATURE, "Credential holds a NUL character");
	for (size_t i = 0; i < ARRAY_SIZE(part); i++)
		if (!str_cut(rest, '/', part[i], &rest) || !part[i]->n)
			return api_fail(e, API_INCOMPLETE_SIGNATURE,
					"Credential must have exactly 5 slash-delimited elements, e.g. "
					"keyid/date/region/service/term, got '" STR_FMT "'",
					(int)(credential.n < 200 ? credential.n : 200), credential.p);
	s->terminator = rest;
	return 0;
}

static void missing(struct api_err *e, const char *what)
{
	size_t n = strlen(e->text);

	snprintf(e->text + n, sizeof(e->text) - n, "%sAuthorization header requires %s.", n ? " " : "", what);
	e->code = API_INCOMPLETE_SIGNATURE;
}

static int header_parse(struct str auth, const struct http_req *r, struct signature *s, struct api_err *e)
{
	struct str credential = STR_NULL, rest = auth, item;

	if (!str_starts(auth, ALGORITHM) || (auth.n > sizeof(ALGORITHM) - 1 && auth.p[sizeof(ALGORITHM) - 1] != ' '))
		return api_fail(e, API_INCOMPLETE_SIGNATURE,
				"Unsupported AWS 'algorithm': the Authorization header must begin with " ALGORITHM);
	rest = (struct str){auth.p + sizeof(ALGORITHM) - 1, auth.n - (sizeof(ALGORITHM) - 1)};
	while (str_next(&rest, ',', &item)) {
		item = str_trim(item);
		if (str_starts(item, "Credential="))
			credential = (struct str){item.p + 11, item.n - 11};
		else if (str_starts(item, "SignedHeaders="))
			s->signed_headers = (struct str){item.p + 14, item.n - 14};
		else if (str_starts(item, "Signature="))
			s->hex = (struct str){item.p + 10, item.n - 10};
	}
	s->date = http_header(r, "x-amz-date");
	e->text[0] = '\0';
	e->code = API_OK;
	if (!credential.n)
		missing(e, "'Credential' parameter");
	if (!s->hex.n)
		missing(e, "'Signature' parameter");
	if (!s->signed_headers.n)
		missing(e, "'SignedHeaders' parameter");
	if (!s->date.n)
		missing(e, "existence of either a 'X-Amz-Date' or a 'Date' header");
	return e->code ? -1 : scope_parse(credential, s, e);
}

/* Value of a query member, decoded into v->decoded (which only grows: earlier values stay where they are). */
static struct str query_value(struct sigv4 *v, struct str query, const char *name)
{
	size_t at = v->decoded.n;
	struct str val;

	if (!dec_form_value(query, name, &val) || dec_percent(&v->decoded, val, false) < 0)
		return STR_NULL;
	return (struct str){v->decoded.p + at, v->decoded.n - at};
}

static int query_parse(struct sigv4 *v, const struct http_req *r, struct signature *s, struct api_err *e)
{
	struct str credential, algorithm, expires;

	buf_clear(&v->decoded);
	buf_reserve(&v->decoded, r->query.n + 1); /* decoding never makes it longer: no move under what we point to */
	algorithm = query_value(v, r->query, "X-Amz-Algorithm");
	credential = query_value(v, r->query, "X-Amz-Credential");
	s->signed_headers = query_value(v, r->query, "X-Amz-SignedHeaders");
	s->hex = query_value(v, r->query, "X-Amz-Signature");
	s->date = query_value(v, r->query, "X-Amz-Date");
	expires = query_value(v, r->query, "X-Amz-Expires");
	s->scope.presigned = true;
	if (!str_eqc(algorithm, ALGORITHM) || !credential.n || !s->signed_headers.n || !s->hex.n || !s->date.n ||
	    str_to_i64(expires, 1, EXPIRES_MAX_S, &s->expires_s) < 0)
		return api_fail(e, API_INCOMPLETE_SIGNATURE,
				"AWS query-string parameters must include 'X-Amz-Algorithm', 'X-Amz-Credential', "
				"'X-Amz-Signature', "
				"'X-Amz-SignedHeaders', 'X-Amz-Date' and 'X-Amz-Expires' (1 to 604800).");
	return scope_parse(credential, s, e);
}

static int parse(struct sigv4 *v, const struct http_req *r, struct signature *s, struct api_err *e)
{
	struct str auth = http_header(r, "authorization"), hex;

	if (auth.p)
		return header_parse(auth, r, s, e);
	if (dec_form_value(r->query, "X-Amz-Signature", &hex))
		return query_parse(v, r, s, e);
	return 1;
}

int sigv4_scope(struct sigv4 *v, const struct http_req *r, struct sigv4_scope *ret, struct api_err *e)
{
	struct signature s = {0};
	int rc = parse(v, r, &s, e);

	if (rc == 0)
		*ret = s.scope;
	return rc;
}

/* --- the canonical request --- */

/* "." and ".." go, several slashes become one; a slash at the end stays (RFC 3986, 5.2.4, and what AWS's clients do).
 */
static void normalise(struct buf *out, struct str path)
{
	bool last_slash = path.n && path.p[path.n - 1] == '/';
	struct str seg;

	buf_clear(out);
	while (str_next(&path, '/', &seg)) {
		if (!seg.n || str_eqc(seg, "."))
			continue;
		if (str_eqc(seg, "..")) {
			while (out->n && out->p[out->n - 1] != '/')
				out->n--;
			if (out->n)
				out->n--;
			continue;
		}
		buf_addc(out, '/');
		buf_addstr(out, seg);
	}
	if (!out->n || last_slash)
		buf_addc(out, '/');
}

/* S3 signs the path as it was sent; all others sign it encoded once more, so that "%20" counts as "%2520". */
static int canonical_uri(struct sigv4 *v, struct str path, bool s3)
{
	if (s3) {
		buf_clear(&v->uri);
		if (dec_percent(&v->uri, path, false) < 0)
			return -1;
	} else {
		normalise(&v->uri, path);
	}
	enc_percent(&v->canon, buf_str(&v->uri), true);
	return 0;
}

static int param_cmp(const struct buf *b, const struct param *x, const struct param *y)
{
	size_t n = x->name_n < y->name_n ? x->name_n : y->name_n;
	int c = memcmp(b->p + x->name, b->p + y->name, n);

	if (c || x->name_n != y->name_n)
		return c ? c : x->name_n < y->name_n ? -1 : 1;
	n = x->value_n < y->value_n ? x->value_n : y->value_n;
	c = memcmp(b->p + x->value, b->p + y->value, n);
	return c ? c : x->value_n < y->value_n ? -1 : x->value_n > y->value_n;
}

static int add_encoded(struct sigv4 *v, struct str raw, size_t *at, size_t *n)
{
	buf_clear(&v->uri);
	if (dec_percent(&v->uri, raw, false) < 0)
		return -1;
	*at = v->params.n;
	enc_percent(&v->params, buf_str(&v->uri), false);
	*n = v->params.n - *at;
	return 0;
}

static int canonical_query(struct sigv4 *v, struct str query, bool presigned)
{
	struct str pair, name, value;
	size_t count = 0;

	buf_clear(&v->params);
	buf_reserve(&v->params, 1);
	while (str_next(&query, '&', &pair)) {
		struct param p, *at;

		name = pair, value = STR_NULL;
		str_cut(pair, '=', &name, &value);
		if (!pair.n || (presigned && str_eqc(name, "X-Amz-Signature")))
			continue;
		if (count == PARAMS_MAX || add_encoded(v, name, &p.name, &p.name_n) < 0 ||
		    add_encoded(v, value, &p.value, &p.value_n) < 0)
			return -1;
		for (at = v->list + count; at > v->list && param_cmp(&v->params, at - 1, &p) > 0; at--)
			*at = at[-1];
		*at = p;
		count++;
	}
	for (size_t i = 0; i < count; i++) {
		if (i)
			buf_addc(&v->canon, '&');
		buf_add(&v->canon, v->params.p + v->list[i].name, v->list[i].name_n);
		buf_addc(&v->canon, '=');
		buf_add(&v->canon, v->params.p + v->list[i].value, v->list[i].value_n);
	}
	return 0;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static void add_collapsed(struct buf *out, struct str v)
{
	bool space = false;

	v = str_trim(v);
	for (size_t i = 0; i < v.n; i++) {
		bool s = v.p[i] == ' ' || v.p[i] == '\t' || v.p[i] == '\r' || v.p[i] == '\n';

		if (!s)
			buf_addc(out, v.p[i]);
		else if (!space)
			buf_addc(out, ' ');
		space = s;
	}
}

static bool is_signed(struct str list, struct str name)
{
	struct str one;

	while (str_next(&list, ';', &one))
		if (str_caseeq(one, name))
			return true;
	return false;
}

/* host and whatever changes the meaning must be signed; the token is added afterwards by some clients. */
static int check_signed(const struct http_req *r, struct str list, struct api_err *e)
{
	if (!is_signed(list, STR("host")))
		return api_fail(e, API_INVALID_SIGNATURE,
				"'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.");
	for (unsigned i = 0; i < r->n_headers; i++) {
		struct str n = r->headers[i].name;

		if (n.n < 6 || !str_caseeqc((struct str){n.p, 6}, "x-amz-") || str_caseeqc(n, "x-amz-security-token") ||
		    str_caseeqc(n, "x-amz-user-agent") || is_signed(list, n))
			continue;
		return api_fail(e, API_INVALID_SIGNATURE,
				"'" STR_FMT "' must be a 'SignedHeader' in the AWS Authorization.", STR_ARG(n));
	}
	return 0;
}

static int canonical_headers(struct sigv4 *v, const struct http_req *r, struct str list)
{
	struct str one;
	unsigned n = 0;

	while (str_next(&list, ';', &one)) {
		bool first = true;

		if (++n > SIGNED_MAX)
			return -1;
		for (size_t i = 0; i < one.n; i++)
			buf_addc(&v->canon, lower(one.p[i]));
		buf_addc(&v->canon, ':');
		for (unsigned i = 0; i < r->n_headers; i++) {
			if (!str_caseeq(r->headers[i].name, one))
				continue;
			if (!first)
				buf_addc(&v->canon, ',');
			add_collapsed(&v->canon, r->headers[i].value);
			first = false;
		}
		buf_addc(&v->canon, '\n');
	}
	return 0;
}

/* -1: the header's claim about the body is wrong. Of S3's bodies that come in pieces it is believed: api/s3_body.c looks. */
static int payload_hash(struct sigv4 *v, const struct http_req *r, const struct signature *s, bool s3)
{
	struct str said = http_header(r, "x-amz-content-sha256");
	char hex[65];

	if (s3 && s->scope.presigned && !is_signed(s->signed_headers, STR("x-amz-content-sha256")))
		said = STR("UNSIGNED-PAYLOAD");
	if (s3 && said.p && (r->streams || said.n != 64)) {
		buf_addstr(&v->canon, said);
		return 0;
	}
	digest_sha256_hex(r->body.p, r->body.n, hex);
	if (said.p && !str_eqc(said, hex))
		return -1;
	buf_add(&v->canon, hex, 64);
	return 0;
}

static int canonical(struct sigv4 *v, const struct http_req *r, const struct signature *s, struct api_err *e)
{
	bool s3 = str_eqc(s->scope.service, "s3");

	buf_clear(&v->canon);
	buf_addstr(&v->canon, r->method);
	buf_addc(&v->canon, '\n');
	if (canonical_uri(v, r->path, s3) < 0)
		return api_fail(e, API_INVALID_SIGNATURE, "The path has a percent escape that is not one.");
	buf_addc(&v->canon, '\n');
	if (canonical_query(v, r->query, s->scope.presigned) < 0)
		return api_fail(e, API_INVALID_SIGNATURE, "The query cannot be read, or has more than %d members.",
				PARAMS_MAX);
	buf_addc(&v->canon, '\n');
	if (canonical_headers(v, r, s->signed_headers) < 0)
		return api_fail(e, API_INVALID_SIGNATURE, "More than %d signed headers.", SIGNED_MAX);
	buf_addc(&v->canon, '\n');
	buf_addstr(&v->canon, s->signed_headers);
	buf_addc(&v->canon, '\n');
	if (payload_hash(v, r, s, s3) < 0)
		return api_fail(e, API_INVALID_SIGNATURE,
				"The value of 'x-amz-content-sha256' is not the SHA-256 of the body.");
	return 0;
}

/* --- key and time --- */

static const uint8_t *signing_key(struct sigv4 *v, const struct sigv4_scope *s, const char *secret, uint8_t tmp[32])
{
	char scope[192], first[80];
	uint32_t h = 2166136261u;
	struct key_slot *slot;
	int n = snprintf(scope, sizeof(scope), STR_FMT "/" STR_FMT "/" STR_FMT "/" STR_FMT, STR_ARG(s->access_key),
			 STR_ARG(s->date), STR_ARG(s->region), STR_ARG(s->service));

	for (const char *c = scope; *c; c++)
		h = (h ^ (uint8_t)*c) * 16777619u;
	slot = &v->slots[h % CACHE_SLOTS];
	if (n > 0 && (size_t)n < sizeof(scope) && !strcmp(slot->scope, scope))
		return slot->key;
	snprintf(first, sizeof(first), "AWS4%s", secret);
	digest_hmac_sha256(first, strlen(first), s->date.p, s->date.n, tmp);
	digest_hmac_sha256(tmp, 32, s->region.p, s->region.n, tmp);
	digest_hmac_sha256(tmp, 32, s->service.p, s->service.n, tmp);
	digest_hmac_sha256(tmp, 32, "aws4_request", 12, tmp);
	explicit_bzero(first, sizeof(first));
	if (n > 0 && (size_t)n < sizeof(scope)) {
		memcpy(slot->scope, scope, sizeof(scope));
		memcpy(slot->key, tmp, 32);
	}
	return tmp;
}

static int64_t parse_date(struct str d)
{
	struct tm tm = {0};
	int64_t v[6];
	static const uint8_t at[6][2] = {{0, 4}, {4, 2}, {6, 2}, {9, 2}, {11, 2}, {13, 2}};

	if (d.n != 16 || d.p[8] != 'T' || d.p[15] != 'Z')
		return -1;
	for (int i = 0; i < 6; i++)
		if (str_to_i64((struct str){d.p + at[i][0], at[i][1]}, 0, 9999, &v[i]) < 0)
			return -1;
	if (v[0] < 1970 || v[1] < 1 || v[1] > 12 || v[2] < 1 || v[2] > 31 || v[3] > 23 || v[4] > 59 || v[5] > 60)
		return -1;
	tm.tm_year = (int)v[0] - 1900, tm.tm_mon = (int)v[1] - 1, tm.tm_mday = (int)v[2];
	tm.tm_hour = (int)v[3], tm.tm_min = (int)v[4], tm.tm_sec = (int)v[5];
	return timegm(&tm);
}

static void fmt_date(int64_t s, char out[24])
{
	time_t t = (time_t)s;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, 24, "%Y%m%dT%H%M%SZ", &tm);
}

static int check_time(const struct signature *s, int64_t now_s, struct api_err *e)
{
	bool s3 = str_eqc(s->scope.service, "s3");
	int64_t skew_s = s3 ? SKEW_S3_S : SKEW_S;
	int64_t at = parse_date(s->date), last = s->scope.presigned ? at + s->expires_s : at + skew_s;
	char now[24], edge[24];

	if (at < 0)
		return api_fail(e, API_INCOMPLETE_SIGNATURE,
				"Date must be in ISO-8601 'basic format'. Got '" STR_FMT
				"'. See http://en.wikipedia.org/wiki/ISO_8601",
				(int)(s->date.n < 40 ? s->date.n : 40), s->date.p);
	if (s3 && s->scope.presigned && now_s > last)
		return api_fail(e, API_ACCESS_DENIED, "Request has expired");
	if (s3 && (now_s > last || at > now_s + skew_s))
		return api_fail(e, API_S3_SKEWED,
				"The difference between the request time and the current time is too large.");
	fmt_date(now_s, now);
	if (now_s > last) {
		fmt_date(s->scope.presigned ? last : now_s - SKEW_S, edge);
		return api_fail(e, API_INVALID_SIGNATURE,
				"Signature expired: " STR_FMT " is now earlier than %s (%s - 5 min.)", STR_ARG(s->date),
				edge, now);
	}
	if (at > now_s + SKEW_S) {
		fmt_date(now_s + SKEW_S, edge);
		return api_fail(e, API_INVALID_SIGNATURE,
				"Signature not yet current: " STR_FMT " is still later than %s (%s + 5 min.)",
				STR_ARG(s->date), edge, now);
	}
	return 0;
}

static int check_scope(const struct sigv4 *v, const struct signature *s, const char *service, struct api_err *e)
{
	const struct sigv4_scope *c = &s->scope;

	if (!str_eqc(c->region, v->region))
		return api_fail(e, API_INVALID_SIGNATURE,
				"Credential should be scoped to a valid region, not '" STR_FMT "': this one is '%s'.",
				(int)(c->region.n < 64 ? c->region.n : 64), c->region.p, v->region);
	if (service && !str_eqc(c->service, service))
		return api_fail(e, API_INVALID_SIGNATURE, "Credential should be scoped to correct service: '%s'.",
				service);
	if (!str_eqc(s->terminator, "aws4_request"))
		return api_fail(e, API_INVALID_SIGNATURE,
				"Credential should be scoped with a valid terminator: 'aws4_request', not '" STR_FMT
				"'.",
				(int)(s->terminator.n < 64 ? s->terminator.n : 64), s->terminator.p);
	if (c->date.n != 8 || memcmp(c->date.p, s->date.p, 8) != 0)
		return api_fail(e, API_INVALID_SIGNATURE,
				"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from "
				"HTTP: '" STR_FMT "' != '%.8s', from '" STR_FMT "'.",
				(int)(c->date.n < 32 ? c->date.n : 32), c->date.p, s->date.p, STR_ARG(s->date));
	return 0;
}

static void signature_hex(struct sigv4 *v, const struct signature *s, const char *secret, char out[65])
{
	uint8_t mac[32], tmp[32];
	char hex[65], text[512];
	int n;

	digest_sha256_hex(v->canon.p, v->canon.n, hex);
	n = snprintf(text, sizeof(text),
		     ALGORITHM "\n" STR_FMT "\n" STR_FMT "/" STR_FMT "/" STR_FMT "/aws4_request\n%s", STR_ARG(s->date),
		     STR_ARG(s->scope.date), STR_ARG(s->scope.region), STR_ARG(s->scope.service), hex);
	assert(n > 0);
	if ((size_t)n >= sizeof(text))
		n = 0; /* a service name of hundreds of bytes: no such signature */
	digest_hmac_sha256(signing_key(v, &s->scope, secret, tmp), 32, text, (size_t)n, mac);
	enc_hex(mac, 32, out);
	explicit_bzero(tmp, sizeof(tmp));
}

bool sigv4_equal(struct str a, const char *b, size_t n)
{
	unsigned diff = 0;

	if (a.n != n)
		return false;
	for (size_t i = 0; i < n; i++)
		diff |= (uint8_t)a.p[i] ^ (uint8_t)b[i];
	return diff == 0;
}

static void chain_begin(struct sigv4 *v, struct sigv4_chain *c, const struct signature *s, const char *secret,
			const char hex[65])
{
	uint8_t tmp[32];

	memcpy(c->key, signing_key(v, &s->scope, secret, tmp), 32);
	explicit_bzero(tmp, sizeof(tmp));
	snprintf(c->date, sizeof(c->date), STR_FMT, STR_ARG(s->date));
	snprintf(c->scope, sizeof(c->scope), STR_FMT "/" STR_FMT "/" STR_FMT "/aws4_request", STR_ARG(s->scope.date),
		 STR_ARG(s->scope.region), STR_ARG(s->scope.service));
	memcpy(c->last, hex, 65);
}

int sigv4_verify(struct sigv4 *v, const struct http_req *r, const struct sigv4_check *c, struct sigv4_scope *ret,
		 struct api_err *e)
{
	struct signature s = {0};
	const char *secret;
	char hex[65];
	int rc = parse(v, r, &s, e);

	if (rc == 1)
		return api_fail(e, API_MISSING_TOKEN, "Missing Authentication Token");
	if (rc < 0)
		return -1;
	secret = c->secret(c->arg, s.scope.access_key);
	if (!secret)
		return api_fail(e, API_UNKNOWN_KEY, "The security token included in the request is invalid.");
	if (check_time(&s, c->now_wall_us / 1000000, e) < 0 || check_scope(v, &s, c->service, e) < 0 ||
	    check_signed(r, s.signed_headers, e) < 0 || canonical(v, r, &s, e) < 0)
		return -1;
	signature_hex(v, &s, secret, hex);
	if (!sigv4_equal(s.hex, hex, 64))
		return api_fail(e, API_INVALID_SIGNATURE,
				"The request signature we calculated does not match the signature you provided. Check "
				"your AWS Secret Access Key and "
				"signing method. Consult the service documentation for details.");
	*ret = s.scope;
	if (c->chain)
		chain_begin(v, c->chain, &s, secret, hex);
	return 0;
}

bool sigv4_chain_next(struct sigv4_chain *c, const char *kind, const char hex[65], struct str signature)
{
	static const char empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
	bool trailer = !strcmp(kind, "TRAILER");
	char text[600];
	uint8_t mac[32];
	int n = snprintf(text, sizeof(text), ALGORITHM "-%s\n%s\n%s\n%s\n%s%s%s", kind, c->date, c->scope, c->last,
			 trailer ? "" : empty, trailer ? "" : "\n", hex);

	digest_hmac_sha256(c->key, 32, text, (size_t)n, mac);
	enc_hex(mac, 32, c->last);
	return sigv4_equal(signature, c->last, 64);
}
