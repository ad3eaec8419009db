/* SPDX-License-Identifier: Apache-2.0 */
/* S3: an upload by a page's form. Who may is said by the policy in it and by that policy's signature. */
#include <stdio.h>
#include "api/s3.h"
#include "api/s3_form.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "store/digest.h"

struct post {
	struct http_sink sink;
	struct s3 *q;
	struct form *form;
	struct json *policy; /* NULL: none was needed, nor given */
	struct object_body *out;
	struct object_put put;
	int64_t size;
	char *meta, *name, *allow; /* of c.who, who may be deleted meanwhile */
	bool over;		   /* no more is taken: the answer is known */
	struct loop_defer later;
};

static void post_free(struct post *p)
{
	loop_defer_cancel(p->q->loop, &p->later);
	form_free(p->form);
	json_free(p->policy);
	object_body_drop(p->out);
	free(p->meta);
	free(p->name);
	free(p->allow);
	free(p);
}

/* --- who may --- */

static bool signed_v4(const struct post *p, struct str policy, const char *secret, struct str rest)
{
	struct str date, region, service, end;
	char first[80], hex[65];
	uint8_t key[32];

	if (!str_cut(rest, '/', &date, &rest) || !str_cut(rest, '/', &region, &rest) ||
	    !str_cut(rest, '/', &service, &end) || !str_eqc(service, "s3") || !str_eqc(end, "aws4_request") ||
	    !str_eqc(region, p->q->c.a->where.region))
		return false;
	snprintf(first, sizeof(first), "AWS4%s", secret);
	digest_hmac_sha256(first, strlen(first), date.p, date.n, key);
	digest_hmac_sha256(key, 32, region.p, region.n, key);
	digest_hmac_sha256(key, 32, "s3", 2, key);
	digest_hmac_sha256(key, 32, "aws4_request", 12, key);
	digest_hmac_sha256(key, 32, policy.p, policy.n, key);
	enc_hex(key, 32, hex);
	explicit_bzero(first, sizeof(first));
	return sigv4_equal(form_field(p->form, "x-amz-signature"), hex, 64);
}

static int check_signature(struct post *p, struct str policy)
{
	struct str credential = form_field(p->form, "x-amz-credential"), key = credential, rest = STR_NULL;
	struct api_call *c = &p->q->c;
	const char *secret;
	auto_buf v2 = {0};
	bool right;

	if (credential.p)
		str_cut(credential, '/', &key, &rest);
	else
		key = form_field(p->form, "AWSAccessKeyId");
	if (!policy.n || !key.n)
		return api_fail(&c->e, API_ACCESS_DENIED,
				"Access Denied: the form needs a policy, and its signature of version 4 or 2.");
	secret = api_secret(c->a, key, &c->who);
	if (!secret)
		return api_fail(&c->e, API_S3_UNKNOWN_KEY,
				"The AWS Access Key Id you provided does not exist in our records.");
	s3_v2_sign(secret, policy, &v2);
	right = credential.p ? signed_v4(p, policy, secret, rest)
			     : sigv4_equal(form_field(p->form, "signature"), v2.p, v2.n);
	if (!right)
		return api_fail(&c->e, API_INVALID_SIGNATURE,
				"The request signature we calculated does not match the signature you provided. Check "
				"your key and signing method.");
	return 0;
}

static int check_policy(struct post *p)
{
	struct str text = form_field(p->form, "policy");
	struct s3 *q = p->q;
	auto_buf plain = {0};

	if (q->unsigned_ && check_signature(p, text) < 0)
		return -1;
	if (!text.n)
		return 0;
	p->policy = dec_b64(&plain, text) < 0 ? NULL : json_parse(buf_str(&plain), NULL);
	if (!p->policy)
		return api_fail(&q->c.e, API_S3_INVALID_POLICY, "Invalid Policy: it must be JSON, in base64.");
	return form_allowed(p->form, p->policy, q->bucket, clock_wall_us(), &q->c.e);
}

/* --- what it says --- */

static int read_key(struct post *p)
{
	static const char mark[] = "${filename}";
	struct str key = form_field(p->form, "key"), rest;
	const char *at = key.n ? memmem(key.p, key.n, mark, strlen(mark)) : NULL;
	auto_buf b = {0};

	if (at) {
		rest = (struct str){at + strlen(mark), key.n - (size_t)(at - key.p) - strlen(mark)};
		buf_add(&b, key.p, (size_t)(at - key.p));
		buf_addstr(&b, form_filename(p->form));
		buf_addstr(&b, rest);
	} else {
		buf_addstr(&b, key);
	}
	if (!object_key_ok(buf_str(&b)) || !enc_utf8_ok(buf_str(&b)))
		return api_fail(&p->q->c.e, API_S3_INVALID_ARGUMENT,
				"Bucket POST must contain a field named 'key', of 1 to %d bytes.", OBJECT_KEY_MAX);
	p->q->key = buf_take(&b);
	return 0;
}

/* Its fields are what headers are with others: of the kind, and of what a header may hold. */
static int read_fields(struct post *p)
{
	struct str name, value, acl = form_field(p->form, "acl");
	struct http_header headers[64];
	struct http_req *r = p->q->c.r, as = {.headers = headers};

	while (as.n_headers < ARRAY_SIZE(headers) && form_at(p->form, as.n_headers, &name, &value)) {
		bool text = str_name_ok(name, 128, "-_.") && !memchr(value.p, '\n', value.n) &&
			    !memchr(value.p, '\r', value.n) && !memchr(value.p, 0, value.n);

		if (!text && !str_caseeqc(name, "key") && !str_caseeqc(name, "policy"))
			return api_fail(&p->q->c.e, API_S3_INVALID_ARGUMENT, "The field %.*s is not one line of text.",
					(int)(name.n < 80 ? name.n : 80), name.p);
		headers[as.n_headers++] = (struct http_header){name, value};
	}
	if (form_field(p->form, "tagging").p)
		return api_fail(&p->q->c.e, API_NOT_IMPLEMENTED, "Tags of a form are not to be had from this Tandem.");
	if (acl.n && !str_eqc(acl, "private") && !str_eqc(acl, "bucket-owner-full-control"))
		return api_fail(&p->q->c.e, API_S3_NO_ACLS, "The bucket does not allow ACLs");
	p->q->c.r = &as;
	p->meta = s3_meta_new(p->q);
	p->q->c.r = r;
	return p->meta ? 0 : -1;
}

/* --- the answer --- */

static void post_done(struct object_put *o, const struct err *e)
{
	struct post *p = container_of(o, struct post, put);
	struct str to = form_field(p->form, "success_action_redirect"),
		   status = form_field(p->form, "success_action_status");
	struct s3 *q = p->q;
	auto_buf head = {0}, xml = {0}, key = {0};
	int code = str_eqc(status, "200") ? 200 : str_eqc(status, "201") ? 201 : 204;

	if (e->kind) {
		s3_err(q, e); /* before p goes: e is its own */
		post_free(p);
		s3_fail(q);
		return;
	}
	enc_percent(&key, str_of(q->key), true);
	buf_addf(&head, "ETag: \"%s\"\r\n", o->etag);
	if (to.n && !memchr(to.p, '\r', to.n) && !memchr(to.p, '\n', to.n)) {
		bool more = memchr(to.p, '?', to.n);

		code = 303;
		buf_addf(&head, "Location: " STR_FMT "%sbucket=%s&key=%s&etag=%%22%s%%22\r\n", STR_ARG(to),
			 more ? "&" : "?", q->bucket, key.p, o->etag);
	} else {
		buf_addf(&head, "Location: /%s/%s\r\n", q->bucket, key.p);
	}
	if (code == 201) {
		xml_begin(&xml, "PostResponse");
		buf_addf(&xml, "<Location>/%s/%s</Location>", q->bucket, key.p);
		xml_str(&xml, "Bucket", str_of(q->bucket));
		xml_str(&xml, "Key", str_of(q->key));
		buf_addf(&xml, "<ETag>&quot;%s&quot;</ETag>", o->etag);
		xml_end(&xml, "PostResponse");
	}
	post_free(p);
	s3_reply(q, code, head.p, buf_str(&xml));
}

static void fail_later(void *arg)
{
	struct post *p = arg;
	struct s3 *q = p->q;

	q->left = NULL;
	post_free(p);
	s3_fail(q);
}

/* From inside of the sink, or of the start. */
static void fail(struct post *p)
{
	if (p->over)
		return;
	p->over = true;
	if (p->q->c.r && p->q->c.r->streams)
		http_body_pause(p->q->c.r);
	loop_defer(p->q->loop, &p->later, fail_later, p);
}

static void stored(void *arg, const struct err *e)
{
	struct post *p = arg;
	struct s3 *q = p->q;

	if (p->over)
		return;
	if (e->kind) {
		s3_err(q, e);
		fail(p);
		return;
	}
	q->left = NULL; /* from here on it comes to its end */
	p->put.done = post_done;
	p->put.body = take_ptr(p->out);
	p->put.meta = take_ptr(p->meta);
	p->put.ev = s3_event(q, "Post");
	object_put_start(q->c.a->o.objects, &p->put, q->bucket, str_of(q->key));
}

static void drained(void *arg)
{
	struct post *p = arg;

	if (p->q->c.r && p->q->c.r->streams && !p->over)
		http_body_resume(p->q->c.r);
}

/* --- the body --- */

static int begin(void *arg, struct api_err *e)
{
	struct post *p = arg;
	struct object_body_opts how = {.done = stored, .drained = drained, .arg = p};
	struct s3 *q = p->q;

	if (check_policy(p) < 0 || read_key(p) < 0 || !s3_allowed(q, "PutObject", q->bucket, q->key) ||
	    read_fields(p) < 0)
		return -1;
	if (!s3_bucket(q) || json_get_bool(s3_bucket(q)->doc, "External", false))
		return api_fail(e, API_S3_NO_BUCKET, "The specified bucket does not exist, or is in another store.");
	p->out = object_body_new(q->c.a->o.objects, &how);
	return 0;
}

static int file(void *arg, struct str data, struct api_err *e)
{
	struct post *p = arg;

	p->size += (int64_t)data.n;
	if (p->size > OBJECT_PUT_MAX)
		return api_fail(e, API_S3_TOO_LARGE, "Your proposed upload exceeds the maximum allowed size");
	if (form_size_allowed(p->policy, p->size, false, e) < 0)
		return -1;
	if (!object_body_add(p->out, data) && p->q->c.r && p->q->c.r->streams)
		http_body_pause(p->q->c.r);
	return 0;
}

static void sink_piece(struct http_sink *s, struct str piece)
{
	struct post *p = container_of(s, struct post, sink);

	if (!p->over && form_add(p->form, piece, &p->q->c.e) < 0)
		fail(p);
}

static void sink_end(struct http_sink *s)
{
	struct post *p = container_of(s, struct post, sink);
	struct api_err *e = &p->q->c.e;

	if (p->over)
		return;
	if (form_end(p->form, e) < 0 || form_size_allowed(p->policy, p->size, true, e) < 0)
		fail(p);
	else
		object_body_end(p->out);
}

static void left(struct s3 *q)
{
	post_free(q->op_data);
	s3_end(q);
}

static int post(struct s3 *q)
{
	struct post *p = xcalloc(1, sizeof(*p));
	struct form_reader reader = {begin, file, p};

	p->sink = (struct http_sink){sink_piece, sink_end};
	p->q = q;
	p->form = form_new(http_header(q->c.r, "content-type"), &reader, &q->c.e);
	if (!p->form) {
		post_free(p);
		return -1;
	}
	if (q->c.who.kind == PRINCIPAL_WORKLOAD) {
		q->c.who.name = p->name = xstrdup(q->c.who.name);
		q->c.who.allow = p->allow = q->c.who.allow ? xstrdup(q->c.who.allow) : NULL;
	}
	q->op_data = p;
	q->left = left;
	if (q->c.r->streams) {
		http_body_start(q->c.r, &p->sink);
		return 0;
	}
	sink_piece(&p->sink, q->c.r->body);
	sink_end(&p->sink);
	return 0;
}

const struct s3_op s3_post_ops[] = {
	{"POST", NULL, 'b', NULL, post, S3_OPEN},
	{0},
};
