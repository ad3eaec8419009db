/* SPDX-License-Identifier: Apache-2.0 */
#include "api/s3.h"
#include <errno.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"

static const struct s3_op *const tables[] = {s3_object_ops, s3_multipart_ops, s3_list_ops,
					     s3_bucket_ops, s3_about_ops,     s3_post_ops};

/* Members of a query that make another operation of a request: one that we do not have must not be taken for the plain one. */
static const char *const selectors[] = {
	"accelerate",
	"acl",
	"analytics",
	"attributes",
	"cors",
	"delete",
	"encryption",
	"events",
	"inventory",
	"legal-hold",
	"lifecycle",
	"location",
	"logging",
	"metrics",
	"policy",
	"restore",
	"retention",
	"replication",
	"notification",
	"object-lock",
	"ownershipControls",
	"select",
	"session",
	"tagging",
	"torrent",
	"publicAccessBlock",
	"requestPayment",
	"policyStatus",
	"uploadId",
	"uploads",
	"versioning",
	"versions",
	"website",
	"intelligent-tiering",
};

static bool has(struct str query, const char *name)
{
	struct str pair, key, value;

	while (str_next(&query, '&', &pair)) {
		key = pair; /* "?uploads" alone */
		str_cut(pair, '=', &key, &value);
		if (str_eqc(key, name))
			return true;
	}
	return false;
}

char *s3_query(const struct s3 *q, const char *name)
{
	auto_buf v = {0};

	if (!has(q->c.r->query, name))
		return NULL;
	(void)api_query(q->c.r, name, &v);
	return buf_take(&v);
}

/* --- what it is for --- */

/* The bucket that a host names before ours: BUCKET.s3.REGION.amazonaws.com, BUCKET.s3.localhost, BUCKET.localhost. */
static struct str host_bucket(const struct http_req *r)
{
	struct str host = http_header(r, "host"), port, none = STR_NULL;
	const char *at;

	str_cut(host, ':', &host, &port);
	if (str_ends(host, ".localhost")) {
		host.n -= strlen(".localhost");
		if (str_ends(host, ".s3"))
			host.n -= strlen(".s3");
		return str_eqc(host, "s3") ? none : host;
	}
	if (!str_ends(host, ".amazonaws.com"))
		return none;
	for (size_t i = host.n; i-- > 1;) {
		at = host.p + i;
		if (host.n - i > 4 && !memcmp(at, ".s3", 3) && (at[3] == '.' || at[3] == '-'))
			return (struct str){host.p, i};
	}
	return none;
}

static bool has_key(const struct http_req *r)
{
	struct str path = r->path, bucket, key;

	while (path.n && *path.p == '/')
		path.p++, path.n--;
	return path.n && (host_bucket(r).n || (str_cut(path, '/', &bucket, &key) && key.n));
}

bool s3_streams(const struct http_req *r)
{
	if (str_eqc(r->method, "POST"))
		return str_starts(http_header(r, "content-type"), "multipart/form-data");
	if (!str_eqc(r->method, "PUT") || !has_key(r))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(selectors); i++)
		if (strcmp(selectors[i], "uploadId") && has(r->query, selectors[i]))
			return false;
	return true;
}

static int read_path(struct s3 *q)
{
	struct str bucket = host_bucket(q->c.r), path = q->c.r->path, rest = STR_NULL;
	auto_buf name = {0}, key = {0};

	if (path.n && *path.p == '/')
		path.p++, path.n--;
	if (bucket.n) {
		rest = path;
	} else {
		bucket = path;
		str_cut(path, '/', &bucket, &rest);
	}
	if (dec_percent(&name, bucket, false) < 0 || dec_percent(&key, rest, false) < 0 ||
	    (key.n && (memchr(key.p, 0, key.n) || !enc_utf8_ok(buf_str(&key)))))
		return api_fail(&q->c.e, API_S3_INVALID_URI, "Couldn't parse the specified URI.");
	if (name.n && name.n < sizeof(q->bucket))
		memcpy(q->bucket, name.p, name.n + 1);
	else if (name.n) /* longer than any */
		return api_fail(&q->c.e, API_S3_INVALID_BUCKET_NAME, "The specified bucket is not valid.");
	if (key.n > OBJECT_KEY_MAX)
		return api_fail(&q->c.e, API_S3_KEY_TOO_LONG, "Your key is too long");
	q->key = key.n ? buf_take(&key) : NULL;
	return 0;
}

static int find_op(struct s3 *q)
{
	const struct http_req *r = q->c.r;
	char on = q->key ? 'k' : q->bucket[0] ? 'b' : 's';
	const char *select = NULL;

	for (size_t t = 0; t < ARRAY_SIZE(tables); t++)
		for (const struct s3_op *op = tables[t]; op->method; op++) {
			if (op->on != on || !str_eqc(r->method, op->method) || (op->query && !has(r->query, op->query)))
				continue;
			if (!q->op || (op->query && !q->op->query))
				q->op = op;
		}
	for (size_t i = 0; i < ARRAY_SIZE(selectors); i++)
		if (has(r->query, selectors[i]) && (!q->op || !q->op->query))
			select = selectors[i];
	if (q->op && !select)
		return 0;
	return api_fail(&q->c.e, select ? API_NOT_IMPLEMENTED : API_S3_METHOD,
			select ? STR_FMT " ?%s is not an operation of this Tandem."
			       : "The specified method is not allowed against this resource: " STR_FMT "%s",
			STR_ARG(r->method), select ? select : "");
}

/* --- who asks --- */

struct lookup {
	struct api *a;
	struct principal who;
};

static const char *secret_of(void *arg, struct str key)
{
	struct lookup *l = arg;

	return api_secret(l->a, key, &l->who);
}

/* In S3's own words. */
static int refused(struct s3 *q)
{
	switch (q->c.e.code) {
	case API_UNKNOWN_KEY:
		return api_fail(&q->c.e, API_S3_UNKNOWN_KEY,
				"The AWS Access Key Id you provided does not exist in our records.");
	case API_MISSING_TOKEN:
		return api_fail(&q->c.e, API_ACCESS_DENIED, "Access Denied: the request is not signed.");
	case API_INCOMPLETE_SIGNATURE:
		q->c.e.code = API_S3_BAD_AUTHORIZATION;
		break;
	case API_INVALID_SIGNATURE: /* clients sign again when they are told which region it is */
		if (strstr(q->c.e.text, "valid region"))
			q->c.e.code = API_S3_BAD_AUTHORIZATION;
		break;
	default:
		break;
	}
	return -1;
}

static int identify(struct s3 *q, const struct principal *inside)
{
	struct api_call *c = &q->c;
	struct lookup l = {.a = c->a};
	struct sigv4_check check = {
		.now_wall_us = clock_wall_us(), .secret = secret_of, .arg = &l, .service = "s3", .chain = &q->chain};
	struct sigv4_scope scope;
	auto_free char *host = str_dup(host_bucket(c->r));
	int rc = api_identify_unsigned(c, inside);

	if (rc <= 0)
		return rc;
	if (s3_v2_is(c->r))
		return s3_v2_verify(c, host) < 0 ? refused(q) : 0;
	if (sigv4_verify(c->a->sigv4, c->r, &check, &scope, &c->e) == 0) {
		c->who = l.who;
		q->chained = true;
		return 0;
	}
	if (c->e.code == API_MISSING_TOKEN && q->op && (q->op->flags & S3_OPEN)) {
		c->who = (struct principal){.kind = PRINCIPAL_ANONYMOUS};
		q->unsigned_ = true;
		return 0;
	}
	return refused(q);
}

bool s3_allowed(struct s3 *q, const char *action, const char *bucket, const char *key)
{
	auto_free char *what = xasprintf("s3:%s", action);
	auto_free char *arn =
		xasprintf("arn:aws:s3:::%s%s%s", bucket[0] ? bucket : "*", key ? "/" : "", key ? key : "");

	return authz_check(&q->c.who, q->c.a->where.account, what, arn, &q->c.e) == 0;
}

/* --- the answer --- */

void s3_end(struct s3 *q)
{
	if (q->c.r)
		http_on_gone(q->c.r, NULL, NULL);
	json_free(q->c.in);
	free(q->key);
	buf_done(&q->head);
	free(q);
}

static void head(struct s3 *q, struct buf *out, const char *more)
{
	buf_addf(out, "x-amz-request-id: %s\r\nx-amz-id-2: %s\r\n%s", q->c.request_id, q->c.request_id,
		 more ? more : "");
	buf_addstr(out, buf_str(&q->head));
}

int s3_reply(struct s3 *q, int status, const char *more, struct str body)
{
	auto_buf h = {0};

	head(q, &h, more);
	if (q->c.r) {
		http_on_gone(q->c.r, NULL, NULL);
		http_reply(take_ptr(q->c.r), &(struct http_reply){.status = status,
								  .content_type = body.n ? "application/xml" : NULL,
								  .headers = buf_str(&h),
								  .body = body});
	}
	s3_end(q);
	return 0;
}

void s3_begin(struct s3 *q, int status, const char *type, const char *more, int64_t length)
{
	auto_buf h = {0};

	head(q, &h, more);
	http_stream_begin_sized(q->c.r, status, type, buf_str(&h), length);
}

int s3_fail(struct s3 *q)
{
	const struct api_code_info *info = api_code_info(q->c.e.code);
	bool bare = (q->c.r && str_eqc(q->c.r->method, "HEAD")) || info->status == 304;
	auto_buf b = {0};

	buf_adds(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>"); /* no namespace: botocore */
	xml_str(&b, "Code", str_of(info->query_name ? info->query_name : info->name));
	xml_str(&b, "Message", str_of(q->c.e.text));
	if (q->c.e.code == API_S3_BAD_AUTHORIZATION) {
		buf_addf(&q->head, "x-amz-bucket-region: %s\r\n", q->c.a->where.region);
		xml_str(&b, "Region", str_of(q->c.a->where.region));
	}
	if (q->bucket[0])
		xml_str(&b, "BucketName", str_of(q->bucket));
	if (q->key)
		xml_str(&b, "Key", str_of(q->key));
	xml_str(&b, "RequestId", str_of(q->c.request_id));
	xml_str(&b, "HostId", str_of(q->c.request_id));
	xml_end(&b, "Error");
	return s3_reply(q, info->status, NULL, bare ? STR_NULL : buf_str(&b));
}

void s3_err(struct s3 *q, const struct err *e)
{
	bool bucket = strstr(e->text, "bucket") != NULL;
	enum api_code code = API_SERVICE;

	switch (e->kind) {
	case ERR_NOT_FOUND:
		code = bucket ? API_S3_NO_BUCKET : strstr(e->text, "upload") ? API_S3_NO_UPLOAD : API_S3_NO_KEY;
		break;
	case ERR_CONFLICT:
		code = bucket ? API_S3_BUCKET_NOT_EMPTY : API_S3_PRECONDITION;
		break;
	case ERR_INVALID:
		code = API_S3_INVALID_ARGUMENT;
		break;
	case ERR_UNAVAILABLE:
		code = strstr(e->text, "full") ? API_S3_FULL : API_S3_BUSY;
		break;
	case ERR_SYS:
		code = e->sys == ENOSPC || e->sys == EDQUOT ? API_S3_FULL : API_SERVICE;
		break;
	default:
		break;
	}
	api_fail(&q->c.e, code, "%s", e->text);
}

int s3_fail_err(struct s3 *q, const struct err *e)
{
	s3_err(q, e);
	return s3_fail(q);
}

struct object_event s3_event(const struct s3 *q, const char *what)
{
	return (struct object_event){.what = what,
				     .request_id = q->c.request_id,
				     .peer = q->peer,
				     .principal = q->principal,
				     .trace_id = api_trace(&q->c)};
}

static void client_left(void *arg)
{
	struct s3 *q = arg;

	q->c.r = NULL;
	if (q->left)
		q->left(q);
}

static int run(struct s3 *q, const struct principal *inside)
{
	struct api_call *c = &q->c;
	int op = read_path(q) < 0 ? -1 : find_op(q);
	struct api_err e = c->e;

	s3_cors(q);
	/* Who nobody knows does not hear what there is. */
	if (identify(q, inside) < 0)
		return -1;
	if (op < 0) {
		c->e = e;
		return -1;
	}
	snprintf(q->principal, sizeof(q->principal), "AWS:%s", c->who.name ? c->who.name : c->a->where.account);
	if (q->op->action && !s3_allowed(q, q->op->action, q->bucket, q->key))
		return -1;
	if (q->bucket[0] && !(q->op->flags & S3_NO_BUCKET) && !bucket_get(c->a->o.objects, str_of(q->bucket)))
		return api_fail(&c->e, API_S3_NO_BUCKET, "The specified bucket does not exist");
	if (q->key && !(q->op->flags & S3_NO_BUCKET) && json_get_bool(s3_bucket(q)->doc, "External", false))
		return api_fail(&c->e, API_S3_INVALID_REQUEST, "The objects of this bucket are in another store.");
	if (s3_check_acl(q) < 0)
		return -1;
	api_traced(c, "s3", q->op->action ? q->op->action : q->op->method);
	return q->op->run(q);
}

int s3_handle(struct api_call *c, const struct principal *inside)
{
	struct s3 *q = xcalloc(1, sizeof(*q));

	q->c = *c;
	q->loop = c->a->o.loop;
	c->r = NULL; /* answered here */
	strlcpy_(q->peer, q->c.r->peer[0] ? q->c.r->peer : "127.0.0.1", sizeof(q->peer));
	http_on_gone(q->c.r, client_left, q);
	q->c.e.code = API_OK;
	if (run(q, inside) < 0)
		s3_fail(q);
	return 0;
}
