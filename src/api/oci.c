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
#include <sys/stat.h>

#include "api/api_int.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/io.h"
#include "base/mem.h"
#include "image/manifest.h"
#include "image/push.h"
#include "image/reference.h"
#include "image/registry.h"
#include "store/digest.h"

#define TOKEN_US   (12 * 3600 * 1000000ll)
#define READ_BYTES 262144
#define TAGS_MAX   1000

enum what { BASE, MANIFEST, BLOB, UPLOADS, UPLOAD, TAGS, REFERRERS };

struct oci { /* one request, while it is looked at */
	struct api_call *c;
	struct images *images;
	struct http_req *r;
	enum what what;
	char name[256], last[256]; /* of the repository; tag, digest, or the push's id */
	char hex[65];		   /* last is that digest; "": it is none */
};

bool oci_is(const struct http_req *r)
{
	return str_eqc(r->path, "/v2") || (str_starts(r->path, "/v2/") && !str_starts(r->path, "/v2/apis"));
}

bool api_streams(void *api, const struct http_req *r)
{
	return oci_is(r) && memmem(r->path.p, r->path.n, "/blobs/uploads", 14);
}

/* --- answers --- */

static void reply(struct http_req *r, int status, const char *type, struct str body, const char *fmt, ...) PRINTF(5, 6);

static void reply(struct http_req *r, int status, const char *type, struct str body, const char *fmt, ...)
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

static void fail(struct http_req *r, int status, const char *code, const char *text)
{
	auto_buf b = {0};
	struct jw w = jw_object(&b);

	jw_arr(&w, "errors");
	jw_obj(&w, NULL);
	jw_strc(&w, "code", code);
	jw_strc(&w, "message", text);
	jw_end(&w, '}');
	jw_end(&w, ']');
	jw_end(&w, '}');
	reply(r, status, "application/json", buf_str(&b), "%s",
	      status == 401 ? "WWW-Authenticate: Basic realm=\"Tandem\"\r\n" : "");
}

static void fail_err(struct http_req *r, const struct err *e, const char *invalid, const char *unknown)
{
	switch (e->kind) {
	case ERR_NOT_FOUND:
		fail(r, 404, unknown, e->text);
		break;
	case ERR_EXISTS:
	case ERR_CONFLICT:
		fail(r, 409, "TAG_INVALID", e->text);
		break;
	case ERR_LIMIT:
		fail(r, 413, "SIZE_INVALID", e->text);
		break;
	case ERR_UNAVAILABLE:
	case ERR_TIMEOUT:
		fail(r, 503, "TOOMANYREQUESTS", e->text);
		break;
	case ERR_SYS:
	case ERR_CANCELED:
		fail(r, e->sys == ENOSPC ? 507 : 500, "UNKNOWN", e->text);
		break;
	default:
		fail(r, 400, invalid, e->text);
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
		fail(o->r, 403, "DENIED", o->c->e.text);
	if (rc <= 0)
		return !rc;
	if (given.n > 6 && str_caseeqc((struct str){given.p, 6}, "Basic ") &&
	    dec_b64(&plain, str_trim((struct str){given.p + 6, given.n - 6})) == 0 &&
	    str_cut(buf_str(&plain), ':', &user, &password) && password_ok(o->c->a, user, password, &o->c->who))
		return true;
	fail(o->r, 401, "UNAUTHORIZED",
	     "authentication required: aws ecr get-login-password, or an access key and its secret");
	return false;
}

static bool may(struct oci *o, const char *action, const char *repository)
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

	if (!registry_find(o->images, o->name, str_of(o->last), hex)) {
		fail(o->r, 404, "MANIFEST_UNKNOWN", "manifest unknown");
		return;
	}
	auto_json record = registry_image(o->images, o->name, hex);
	fd = store_blob_open(o->c->a->o.store, hex, &e);
	if (fd < 0 || io_read_all(fd, "manifest", MANIFEST_BYTES_MAX, &text, &e) < 0)
		fail(o->r, 500, "UNKNOWN", e.text);
	else
		reply(o->r, 200, json_get_str(record, "type").p, buf_str(&text), "Docker-Content-Digest: sha256:%s\r\n",
		      hex);
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
		fail_err(x->r, e, "MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN");
	else if (x->r)
		reply(x->r, 201, NULL, STR_NULL,
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
			       http_header(o->r, "content-type"), o->r->body, &e) == 0) {
		http_on_gone_clear(&x->r);
		return;
	}
	free(x);
	fail_err(o->r, &e, e.kind == ERR_CORRUPT ? "DIGEST_INVALID" : "MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN");
}

struct removing {
	struct store_op op;
	struct http_req *r;
};

static void removed(struct store_op *op, const struct err *e)
{
	struct removing *x = container_of(op, struct removing, op);

	if (x->r && e->kind)
		fail(x->r, 500, "UNKNOWN", e->text);
	else if (x->r)
		reply(x->r, 202, NULL, STR_NULL, "%s", "");
	free(x);
}

static void delete_manifest(struct oci *o)
{
	struct removing *x;
	char hex[65];

	if (!registry_find(o->images, o->name, str_of(o->last), hex)) {
		fail(o->r, 404, "MANIFEST_UNKNOWN", "manifest unknown");
		return;
	}
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
	auto_buf out = {0}, n_text = {0}, last = {0};
	struct jw w = jw_object(&out);
	const char *tag = NULL;
	int64_t max = TAGS_MAX;

	if (!repository_get(o->images, o->name)) {
		fail(o->r, 404, "NAME_UNKNOWN", "repository name not known to registry");
		return;
	}
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
		reply(o->r, 200, "application/json", buf_str(&out),
		      "Link: </v2/%s/tags/list?n=%lld&last=%s>; rel=\"next\"\r\n", o->name, (long long)max, tag);
	else
		reply(o->r, 200, "application/json", buf_str(&out), "%s", "");
}

static void list_referrers(struct oci *o)
{
	reply(o->r, 200, "application/vnd.oci.image.index.v1+json",
	      STR("{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}"),
	      "%s", "");
}

/* --- reading blobs --- */

struct reading {
	struct loop_work work;
	struct images *images;
	struct http_req *r; /* NULL: gone */
	int fd;
	int64_t at, end;
	ssize_t got;
	bool busy;
	char piece[READ_BYTES];
};

static void reading_end(struct reading *x)
{
	close(x->fd);
	free(x);
}

static void reader_left(void *arg)
{
	struct reading *x = arg;

	x->r = NULL;
	if (!x->busy)
		reading_end(x);
}

static void read_work(struct loop_work *w)
{
	struct reading *x = container_of(w, struct reading, work);
	int64_t left = x->end - x->at;

	x->got = pread(x->fd, x->piece, left < READ_BYTES ? (size_t)left : READ_BYTES, x->at);
}

static void read_next(void *arg);

static void has_read(struct loop_work *w)
{
	struct reading *x = container_of(w, struct reading, work);

	x->busy = false;
	if (x->r && x->got > 0) {
		x->at += x->got;
		http_stream_write(x->r, (struct str){x->piece, (size_t)x->got});
		read_next(x);
		return;
	}
	if (x->r) /* cut off: the length that was promised does not come true */
		http_stream_end(x->r);
	reading_end(x);
}

static void read_next(void *arg)
{
	struct reading *x = arg;

	if (x->busy || (x->at < x->end && http_stream_queued(x->r)))
		return;
	if (x->at == x->end) {
		http_stream_end(x->r);
		reading_end(x);
		return;
	}
	x->busy = true;
	x->work = (struct loop_work){.work = read_work, .done = has_read};
	registry_work(x->images, &x->work);
}

/* "bytes=A-B", "bytes=A-", "bytes=-N"; false: not one range of this file. Others are not looked at. */
static bool one_range(struct str range, int64_t size, int64_t *at, int64_t *end)
{
	struct str from, to;
	int64_t a = 0, b = size - 1;

	if (!str_starts(range, "bytes=") || !str_cut((struct str){range.p + 6, range.n - 6}, '-', &from, &to))
		return false;
	if (from.n && (str_to_i64(from, 0, size - 1, &a) < 0 || (to.n && str_to_i64(to, a, INT64_MAX, &b) < 0)))
		return false;
	if (!from.n && str_to_i64(to, 1, INT64_MAX, &b) == 0)
		a = b < size ? size - b : 0, b = size - 1;
	else if (!from.n)
		return false;
	*at = a;
	*end = b < size ? b + 1 : size;
	return true;
}

static void get_blob(struct oci *o)
{
	struct str range = http_header(o->r, "range");
	char lines[300], part[100] = "";
	struct reading *x;
	struct stat st;
	int fd = o->hex[0] && registry_has_blob(o->images, o->name, o->hex)
			 ? store_blob_open(o->c->a->o.store, o->hex, NULL)
			 : -1;

	if (fd < 0 || fstat(fd, &st) < 0) {
		close_p(&fd);
		fail(o->r, 404, "BLOB_UNKNOWN", "blob unknown to registry");
		return;
	}
	x = xmalloc(sizeof(*x));
	*x = (struct reading){.images = o->images, .r = o->r, .fd = fd, .end = st.st_size};
	if (range.p && !one_range(range, st.st_size, &x->at, &x->end)) {
		reading_end(x);
		snprintf(lines, sizeof(lines), "Content-Range: bytes */%lld\r\n", (long long)st.st_size);
		reply(o->r, 416, NULL, STR_NULL, "%s", lines);
		return;
	}
	if (range.p)
		snprintf(part, sizeof(part), "Content-Range: bytes %lld-%lld/%lld\r\n", (long long)x->at,
			 (long long)x->end - 1, (long long)st.st_size);
	snprintf(lines, sizeof(lines), "Docker-Content-Digest: sha256:%s\r\nAccept-Ranges: bytes\r\n%s", o->hex, part);
	http_on_gone(x->r, reader_left, x);
	http_on_drained(x->r, read_next, x);
	http_stream_begin_sized(x->r, range.p ? 206 : 200, "application/octet-stream", str_of(lines), x->end - x->at);
	if (str_eqc(o->r->method, "HEAD"))
		x->at = x->end;
	read_next(x);
}

/* --- pushing blobs --- */

struct sending {
	struct http_sink sink;
	struct http_req *r;
	struct push *push;
	char name[256], want[65]; /* want "": more will follow with another request */
};

static void tell_blob(struct http_req *r, const char *name, const char *hex)
{
	reply(r, 201, NULL, STR_NULL, "Location: /v2/%s/blobs/sha256:%s\r\nDocker-Content-Digest: sha256:%s\r\n", name,
	      hex, hex);
}

static void tell_push(struct http_req *r, int status, const char *name, const struct push *p)
{
	int64_t n = push_bytes(p);

	reply(r, status, NULL, STR_NULL,
	      "Location: /v2/%s/blobs/uploads/%s\r\nRange: 0-%lld\r\nDocker-Upload-UUID: %s\r\n", name, push_id(p),
	      (long long)(n ? n - 1 : 0), push_id(p));
}

static void sender_left(void *arg)
{
	struct sending *x = arg;

	push_drop(x->push);
	free(x);
}

static void sent(void *arg, const struct err *e)
{
	struct sending *x = arg;

	if (e->kind)
		fail_err(x->r, e, "DIGEST_INVALID", "BLOB_UPLOAD_UNKNOWN");
	else if (x->want[0])
		tell_blob(x->r, x->name, x->want);
	else
		tell_push(x->r, 202, x->name, x->push);
	free(x);
}

static void sink_piece(struct http_sink *s, struct str piece)
{
	struct sending *x = container_of(s, struct sending, sink);

	if (!push_add(x->push, piece))
		http_body_pause(x->r);
}

static void sink_end(struct http_sink *s)
{
	struct sending *x = container_of(s, struct sending, sink);

	push_end(x->push, x->want[0] ? x->want : NULL);
}

static void drained(void *arg)
{
	http_body_resume(((struct sending *)arg)->r);
}

/* The digest that the request names, or "". False: it is none. */
static bool wanted(const struct http_req *r, const char *key, char ret[65])
{
	auto_buf digest = {0};

	ret[0] = 0;
	if (!api_query(r, key, &digest))
		return true;
	if (!str_starts(buf_str(&digest), "sha256:") || !reference_digest_ok((struct str){digest.p + 7, digest.n - 7}))
		return false;
	memcpy(ret, digest.p + 7, 65);
	return true;
}

static void send_blob(struct oci *o, struct push *p, const char *want)
{
	struct sending *x = xcalloc(1, sizeof(*x));
	struct push_user u = {.drained = drained, .done = sent, .arg = x};
	struct err e = {0};

	*x = (struct sending){.sink = {sink_piece, sink_end}, .r = o->r, .push = p};
	strlcpy_(x->name, o->name, sizeof(x->name));
	strlcpy_(x->want, want, sizeof(x->want));
	if (push_take(p, &u, &e) < 0) {
		free(x);
		fail_err(o->r, &e, "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN");
		return;
	}
	http_on_gone(x->r, sender_left, x);
	if (o->r->streams) {
		http_body_start(x->r, &x->sink);
		return;
	}
	push_add(p, o->r->body);
	push_end(p, want[0] ? want : NULL);
}

static void begin_push(struct oci *o)
{
	char want[65], mount[65];
	auto_buf from = {0};
	struct err e = {0};
	struct push *p;

	if (!wanted(o->r, "digest", want) || !wanted(o->r, "mount", mount)) {
		fail(o->r, 400, "DIGEST_INVALID", "a digest is sha256: and 64 digits of 0-9 and a-f");
	} else if (mount[0] && api_query(o->r, "from", &from) && repository_name_ok(buf_str(&from)) &&
		   may(o, "BatchGetImage", from.p) && registry_has_blob(o->images, from.p, mount)) {
		registry_hold(o->images, o->name, mount);
		tell_blob(o->r, o->name, mount);
	} else if (push_new(o->images, o->name, &p, &e) < 0) {
		fail_err(o->r, &e, "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN");
	} else if (want[0]) {
		send_blob(o, p, want);
	} else {
		tell_push(o->r, 202, o->name, p);
	}
}

static void go_on_push(struct oci *o)
{
	struct push *p = push_find(o->images, o->name, str_of(o->last));
	struct str range = http_header(o->r, "content-range"), from, to;
	struct err e = {0};
	char want[65];
	int64_t at;

	if (!p) {
		fail(o->r, 404, "BLOB_UPLOAD_UNKNOWN", "this upload is not known (any more): begin again");
	} else if (str_eqc(o->r->method, "GET")) {
		tell_push(o->r, 204, o->name, p);
	} else if (str_eqc(o->r->method, "DELETE")) {
		if (push_give_up(p, &e) < 0)
			fail_err(o->r, &e, "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN");
		else
			reply(o->r, 204, NULL, STR_NULL, "%s", "");
	} else if (range.p && (!str_cut(range, '-', &from, &to) || str_to_i64(from, 0, INT64_MAX, &at) < 0 ||
			       at != push_bytes(p))) {
		tell_push(o->r, 416, o->name, p);
	} else if (!wanted(o->r, "digest", want) || (str_eqc(o->r->method, "PUT") && !want[0])) {
		fail(o->r, 400, "DIGEST_INVALID", "?digest= is sha256: and 64 digits of 0-9 and a-f");
	} else {
		send_blob(o, p, str_eqc(o->r->method, "PUT") ? want : "");
	}
}

/* --- which --- */

static void hello(struct oci *o)
{
	reply(o->r, 200, "application/json", STR("{}"), "%s", "");
}

static const struct {
	enum what what;
	const char *methods, *action;
	void (*run)(struct oci *o);
} ops[] = {
	{BASE, "GET HEAD", NULL, hello},
	{MANIFEST, "GET HEAD", "BatchGetImage", get_manifest},
	{MANIFEST, "PUT", "PutImage", put_manifest},
	{MANIFEST, "DELETE", "BatchDeleteImage", delete_manifest},
	{BLOB, "GET HEAD", "BatchGetImage", get_blob},
	{UPLOADS, "POST", "PutImage", begin_push},
	{UPLOAD, "GET PATCH PUT DELETE", "PutImage", go_on_push},
	{TAGS, "GET", "BatchGetImage", list_tags},
	{REFERRERS, "GET", "BatchGetImage", list_referrers},
};

/* Names have slashes, so it is read from its end. */
static bool read_path(struct oci *o, struct str path)
{
	static const struct {
		const char *end;
		enum what what;
	} ends[] = {{"/manifests", MANIFEST},
		    {"/blobs/uploads", UPLOAD},
		    {"/blobs", BLOB},
		    {"/tags", TAGS},
		    {"/referrers", REFERRERS}};
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
	if (o->what == BLOB && str_eqc(last, "uploads"))
		o->what = UPLOADS, last.n = 0;
	else if (o->what == UPLOAD && !last.n)
		o->what = UPLOADS;
	if (!repository_name_ok(before) || last.n >= sizeof(o->last) || memchr(last.p, 0, last.n) ||
	    (o->what == TAGS && !str_eqc(last, "list")))
		return false;
	snprintf(o->name, sizeof(o->name), STR_FMT, STR_ARG(before));
	snprintf(o->last, sizeof(o->last), STR_FMT, STR_ARG(last));
	if (str_starts(last, "sha256:") && reference_digest_ok((struct str){last.p + 7, last.n - 7}))
		strlcpy_(o->hex, o->last + 7, sizeof(o->hex));
	return o->what != MANIFEST || o->hex[0] || reference_tag_ok(last);
}

/* Who pushes to a repository that is not there makes it. */
static bool make(struct oci *o)
{
	struct err e = {0};

	if (repository_get(o->images, o->name))
		return true;
	if (!may(o, "CreateRepository", o->name))
		fail(o->r, 403, "DENIED", o->c->e.text);
	else if (ecr_make_repository(o->c->a, o->name, &e) < 0)
		fail_err(o->r, &e, "NAME_INVALID", "NAME_UNKNOWN");
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
	if (!read_path(&o, buf_str(&path))) {
		fail(o.r, 404, "NAME_INVALID", "no repository, tag or digest can have this name");
		return;
	}
	while (i < ARRAY_SIZE(ops) && !(ops[i].what == o.what && strstr(ops[i].methods, method)))
		i++;
	if (i == ARRAY_SIZE(ops))
		fail(o.r, 405, "UNSUPPORTED", "The operation is unsupported.");
	else if (ops[i].action && !may(&o, ops[i].action, o.name))
		fail(o.r, 403, "DENIED", c->e.text);
	else if ((ops[i].run != put_manifest && ops[i].run != begin_push) || make(&o))
		ops[i].run(&o);
}
