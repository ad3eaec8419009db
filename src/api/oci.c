/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /v2/: what docker, skopeo and buildah push to and pull from (OCI distribution specification 1.1). Basic
 * authentication: user AWS with the password of GetAuthorizationToken, or an access key with its secret. A repository
 * that is pushed to is made. What lies behind: image/registry.h.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include "api/oci_int.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/io.h"
#include "base/mem.h"
#include "image/manifest.h"
#include "image/reference.h"
#include "store/digest.h"

#define TOKEN_US (12 * 3600 * 1000000ll)
#define TAGS_MAX 1000

bool oci_is(const struct http_req *r)
{
	return str_eqc(r->path, "/v2") || (str_starts(r->path, "/v2/") && !str_starts(r->path, "/v2/apis"));
}

bool oci_streams(const struct http_req *r)
{
	return oci_is(r) && memmem(r->path.p, r->path.n, "/blobs/uploads", 14);
}

/* --- answers --- */

void oci_reply(struct http_req *r, int status, const char *type, struct str body, const char *fmt, ...)
{
	char lines[1024];
	va_list ap;
	int n = snprintf(lines, sizeof(lines), "Docker-Distribution-Api-Version: registry/2.0\r\n");

	va_start(ap, fmt);
	n += vsnprintf(lines + n, sizeof(lines) - (size_t)n, fmt, ap);
	va_end(ap);
	http_reply(r, &(struct http_reply){
			      .status = status, .content_type = type, .body = body, .headers = {lines, (size_t)n}});
}

void oci_fail(struct http_req *r, int status, const char *code, const char *text)
{
	auto_object(w, b);

	jw_arr(&w, "errors");
	jw_obj(&w, NULL);
	jw_strc(&w, "code", code);
	jw_strc(&w, "message", text);
	jw_end(&w, '}');
	jw_end(&w, ']');
	jw_end(&w, '}');
	oci_reply(r, status, "application/json", buf_str(&b), "%s",
		  status == 401 ? "WWW-Authenticate: Basic realm=\"Tandem\"\r\n" : "");
}

void oci_fail_err(struct http_req *r, const struct err *e, const char *invalid, const char *unknown)
{
	switch (e->kind) {
	case ERR_NOT_FOUND:
		oci_fail(r, 404, unknown, e->text);
		break;
	case ERR_EXISTS:
	case ERR_CONFLICT:
		oci_fail(r, 409, "TAG_INVALID", e->text);
		break;
	case ERR_LIMIT:
		oci_fail(r, 413, "SIZE_INVALID", e->text);
		break;
	case ERR_UNAVAILABLE:
	case ERR_TIMEOUT:
		oci_fail(r, 503, "TOOMANYREQUESTS", e->text);
		break;
	case ERR_SYS:
	case ERR_CANCELED:
		oci_fail(r, e->sys == ENOSPC ? 507 : 500, "UNKNOWN", e->text);
		break;
	default:
		oci_fail(r, 400, invalid, e->text);
	}
}

/* --- who asks --- */

static void seal(const char *secret, struct str key, int64_t until_s, char ret[65])
{
	auto_buf b = {0};
	uint8_t mac[32];

	buf_addf(&b, "registry/" STR_FMT "/%lld", STR_ARG(key), (long long)until_s);
	digest_hmac_sha256(secret, strlen(secret), b.p, b.n, mac);
	enc_hex(mac, sizeof(mac), ret);
}

/* KEY.UNTIL.MAC */
int64_t oci_password(struct str key, const char *secret, struct buf *out)
{
	int64_t until_s = (clock_wall_us() + TOKEN_US) / 1000000;
	char mac[65];

	seal(secret, key, until_s, mac);
	buf_addf(out, STR_FMT ".%lld.%s", STR_ARG(key), (long long)until_s, mac);
	return until_s;
}

static bool same(struct str given, const char *is)
{
	return given.n == strlen(is) && !CRYPTO_memcmp(given.p, is, given.n);
}

static bool password_ok(const struct api *a, struct str user, struct str password, struct principal *who)
{
	struct str key, rest, until, given;
	const char *secret;
	int64_t until_s;
	char mac[65];

	if (!str_eqc(user, "AWS")) {
		secret = api_secret(a, user, who);
		return secret && same(password, secret);
	}
	if (!str_cut(password, '.', &key, &rest) || !str_cut(rest, '.', &until, &given) ||
	    str_to_i64(until, 0, INT64_MAX / 1000000, &until_s) < 0 || until_s < clock_wall_us() / 1000000)
		return false;
	secret = api_secret(a, key, who);
	if (!secret)
		return false;
	seal(secret, key, until_s, mac);
	return same(given, mac);
}

static bool identify(struct oci *o, const struct principal *inside)
{
	struct str given = http_header(o->r, "authorization"), user, password;
	int rc = api_identify_unsigned(o->c, inside);
	auto_buf plain = {0};

	if (rc < 0)
		oci_fail(o->r, 403, "DENIED", o->c->e.text);
	if (rc <= 0)
		return !rc;
	if (given.n > 6 && str_caseeqc((struct str){given.p, 6}, "Basic ") &&
	    dec_b64(&plain, str_trim((struct str){given.p + 6, given.n - 6})) == 0 &&
	    str_cut(buf_str(&plain), ':', &user, &password) && password_ok(o->c->a, user, password, &o->c->who))
		return true;
	oci_fail(o->r, 401, "UNAUTHORIZED",
		 "authentication required: aws ecr get-login-password, or an access key and its secret");
	return false;
}

bool oci_may(struct oci *o, const char *action, const char *repository)
{
	auto_free char *arn = ecr_arn(o->c->a, repository), *what = xasprintf("ecr:%s", action);

	return authz_check(&o->c->who, o->c->a->where.account, what, arn, &o->c->e) == 0;
}

/* --- manifests, tags --- */

static void get_manifest(struct oci *o)
{
	auto_close int fd = -1;
	auto_buf text = {0};
	struct err e = {0};
	char hex[65];

	if (!registry_find(o->images, o->name, str_of(o->last), hex))
		return oci_fail(o->r, 404, "MANIFEST_UNKNOWN", "manifest unknown");
	auto_json record = registry_image(o->images, o->name, hex);
	fd = store_blob_open(o->c->a->o.store, hex, &e);
	if (fd < 0 || io_read_all(fd, "manifest", MANIFEST_BYTES_MAX, &text, &e) < 0)
		oci_fail(o->r, 500, "UNKNOWN", e.text);
	else
		oci_reply(o->r, 200, json_get_str(record, "type").p, buf_str(&text),
			  "Docker-Content-Digest: sha256:%s\r\n", hex);
}

struct putting {
	struct registry_put put;
	struct http_req *r; /* NULL: gone */
	char name[256];
};

static void put_done(struct registry_put *p, const struct err *e)
{
	struct putting *x = container_of(p, struct putting, put);

	if (x->r && e->kind)
		oci_fail_err(x->r, e, "MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN");
	else if (x->r)
		oci_reply(x->r, 201, NULL, STR_NULL,
			  "Location: /v2/%s/manifests/sha256:%s\r\nDocker-Content-Digest: sha256:%s\r\n", x->name,
			  p->digest, p->digest);
	free(x);
}

static void put_manifest(struct oci *o)
{
	struct putting *x = xcalloc(1, sizeof(*x));
	struct err e = {0};

	x->put.done = put_done;
	x->r = o->r;
	strlcpy_(x->name, o->name, sizeof(x->name));
	if (registry_put_start(o->images, &x->put, o->name, o->hex[0] ? NULL : o->last, o->hex[0] ? o->hex : NULL,
			       http_header(o->r, "content-type"), o->r->body, &e) == 0)
		return http_on_gone_clear(&x->r);
	free(x);
	oci_fail_err(o->r, &e, e.kind == ERR_CORRUPT ? "DIGEST_INVALID" : "MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN");
}

struct removing {
	struct store_op op;
	struct http_req *r;
};

static void removed(struct store_op *op, const struct err *e)
{
	struct removing *x = container_of(op, struct removing, op);

	if (x->r && e->kind)
		oci_fail(x->r, 500, "UNKNOWN", e->text);
	else if (x->r)
		oci_reply(x->r, 202, NULL, STR_NULL, "%s", "");
	free(x);
}

static void delete_manifest(struct oci *o)
{
	struct removing *x;
	char hex[65];

	if (!registry_find(o->images, o->name, str_of(o->last), hex))
		return oci_fail(o->r, 404, "MANIFEST_UNKNOWN", "manifest unknown");
	x = xcalloc(1, sizeof(*x));
	x->op.done = removed;
	x->r = o->r;
	http_on_gone_clear(&x->r);
	if (o->hex[0])
		registry_del_image(o->images, &x->op, o->name, hex);
	else
		registry_untag(o->images, &x->op, o->name, o->last);
}

static void list_tags(struct oci *o)
{
	auto_buf n_text = {0}, last = {0};
	auto_object(w, out);
	const char *tag = NULL;
	int64_t max = TAGS_MAX;

	if (!repository_get(o->images, o->name))
		return oci_fail(o->r, 404, "NAME_UNKNOWN", "repository name not known to registry");
	if (api_query(o->r, "n", &n_text) && str_to_i64(buf_str(&n_text), 0, TAGS_MAX, &max) < 0)
		max = TAGS_MAX;
	if (api_query(o->r, "last", &last) && strlen(last.p) == last.n)
		tag = last.p;
	jw_strc(&w, "name", o->name);
	jw_arr(&w, "tags");
	for (int64_t i = 0; i < max && (tag = registry_next_tag(o->images, o->name, tag)); i++)
		jw_strc(&w, NULL, tag);
	jw_end(&w, ']');
	jw_end(&w, '}');
	if (max && tag && registry_next_tag(o->images, o->name, tag))
		oci_reply(o->r, 200, "application/json", buf_str(&out),
			  "Link: </v2/%s/tags/list?n=%lld&last=%s>; rel=\"next\"\r\n", o->name, (long long)max, tag);
	else
		oci_reply(o->r, 200, "application/json", buf_str(&out), "%s", "");
}

static void list_referrers(struct oci *o)
{
	oci_reply(
		o->r, 200, "application/vnd.oci.image.index.v1+json",
		STR("{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}"),
		"%s", "");
}

/* --- which --- */

static void hello(struct oci *o)
{
	oci_reply(o->r, 200, "application/json", STR("{}"), "%s", "");
}

static const struct {
	enum oci_what what;
	const char *methods, *action;
	oci_run *run;
} ops[] = {
	{OCI_BASE, "GET HEAD", NULL, hello},
	{OCI_MANIFEST, "GET HEAD", "BatchGetImage", get_manifest},
	{OCI_MANIFEST, "PUT", "PutImage", put_manifest},
	{OCI_MANIFEST, "DELETE", "BatchDeleteImage", delete_manifest},
	{OCI_BLOB, "GET HEAD", "BatchGetImage", oci_get_blob},
	{OCI_UPLOADS, "POST", "PutImage", oci_begin_push},
	{OCI_UPLOAD, "GET PATCH PUT DELETE", "PutImage", oci_go_on_push},
	{OCI_TAGS, "GET", "BatchGetImage", list_tags},
	{OCI_REFERRERS, "GET", "BatchGetImage", list_referrers},
};

/* Names have slashes, so it is read from its end. */
static bool read_path(struct oci *o, struct str path)
{
	static const struct {
		const char *end;
		enum oci_what what;
	} ends[] = {{"/manifests", OCI_MANIFEST},
		    {"/blobs/uploads", OCI_UPLOAD},
		    {"/blobs", OCI_BLOB},
		    {"/tags", OCI_TAGS},
		    {"/referrers", OCI_REFERRERS}};
	const char *slash = memrchr(path.p, '/', path.n);
	struct str before = {path.p, slash ? (size_t)(slash - path.p) : 0}, last;
	size_t i = 0;

	if (!path.n)
		return true;
	while (i < ARRAY_SIZE(ends) && !str_ends(before, ends[i].end))
		i++;
	if (i == ARRAY_SIZE(ends) || before.n - strlen(ends[i].end) >= sizeof(o->name))
		return false;
	last = (struct str){slash + 1, path.n - before.n - 1};
	o->what = ends[i].what;
	before.n -= strlen(ends[i].end);
	if (o->what == OCI_BLOB && str_eqc(last, "uploads"))
		o->what = OCI_UPLOADS, last.n = 0;
	else if (o->what == OCI_UPLOAD && !last.n)
		o->what = OCI_UPLOADS;
	if (!repository_name_ok(before) || last.n >= sizeof(o->last) || memchr(last.p, 0, last.n) ||
	    (o->what == OCI_TAGS && !str_eqc(last, "list")))
		return false;
	snprintf(o->name, sizeof(o->name), STR_FMT, STR_ARG(before));
	snprintf(o->last, sizeof(o->last), STR_FMT, STR_ARG(last));
	if (str_starts(last, "sha256:") && reference_digest_ok((struct str){last.p + 7, last.n - 7}))
		strlcpy_(o->hex, o->last + 7, sizeof(o->hex));
	return o->what != OCI_MANIFEST || o->hex[0] || reference_tag_ok(last);
}

/* Who pushes to a repository that is not there makes it. */
static bool make(struct oci *o)
{
	struct err e = {0};

	if (repository_get(o->images, o->name))
		return true;
	if (!oci_may(o, "CreateRepository", o->name))
		oci_fail(o->r, 403, "DENIED", o->c->e.text);
	else if (ecr_make_repository(o->c->a, o->name, &e) < 0)
		oci_fail_err(o->r, &e, "NAME_INVALID", "NAME_UNKNOWN");
	else
		return true;
	return false;
}

void oci_handle(struct api_call *c, const struct principal *inside)
{
	struct oci o = {.c = c, .images = c->a->o.images, .r = take_ptr(c->r)};
	auto_free char *method = xasprintf(STR_FMT, STR_ARG(o.r->method));
	auto_buf path = {0};
	size_t i = 0;

	c->r = o.r; /* for who it is */
	if (!identify(&o, inside)) {
		c->r = NULL;
		return;
	}
	c->r = NULL;
	if (o.r->path.n > 4 && dec_percent(&path, (struct str){o.r->path.p + 4, o.r->path.n - 4}, false) < 0)
		buf_clear(&path), buf_addc(&path, '?');
	if (!read_path(&o, buf_str(&path)))
		return oci_fail(o.r, 404, "NAME_INVALID", "no repository, tag or digest can have this name");
	while (i < ARRAY_SIZE(ops) && !(ops[i].what == o.what && strstr(ops[i].methods, method)))
		i++;
	if (i == ARRAY_SIZE(ops))
		oci_fail(o.r, 405, "UNSUPPORTED", "The operation is unsupported.");
	else if (ops[i].action && !oci_may(&o, ops[i].action, o.name))
		oci_fail(o.r, 403, "DENIED", c->e.text);
	else if ((ops[i].run != put_manifest && ops[i].run != oci_begin_push) || make(&o))
		ops[i].run(&o);
}
