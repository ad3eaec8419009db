/* SPDX-License-Identifier: Apache-2.0 */
/* S3: buckets. What is said about one is s3_about.c's. */
#include "api/s3.h"
#include "base/mem.h"

#define BUCKETS_MAX 10000

struct bucket *s3_bucket(const struct s3 *q)
{
	return bucket_get(q->c.a->o.objects, str_of(q->bucket));
}

/* --- what is durable before it is answered --- */

static void changed(struct store_op *op, const struct err *e)
{
	struct s3_change *x = container_of(op, struct s3_change, tx.op);
	auto_free char *location = xasprintf("Location: /%s\r\n", x->q->bucket);

	if (e->kind)
		s3_fail_err(x->q, e);
	else
		s3_reply(x->q, x->status, x->q->op->flags & S3_NO_BUCKET ? location : NULL, STR_NULL);
	free(x);
}

struct s3_change *s3_change_new(struct s3 *q, int status)
{
	struct s3_change *x = xcalloc(1, sizeof(*x));

	x->q = q;
	x->status = status;
	store_tx_init(&x->tx);
	x->tx.op.done = changed;
	return x;
}

/* rc: of the last part that was added. */
int s3_change_end(struct s3_change *x, int rc, const struct err *e)
{
	struct s3 *q = x->q;

	if (rc == 0) {
		store_tx_start(q->c.a->o.store, &x->tx);
		return 0;
	}
	store_tx_drop(&x->tx, e);
	free(x);
	s3_err(q, e);
	return -1;
}

/* --- buckets --- */

int s3_check_acl(struct s3 *q)
{
	struct str acl = http_header(q->c.r, "x-amz-acl");
	bool plain = !acl.n || str_eqc(acl, "private") || str_eqc(acl, "bucket-owner-full-control");

	for (unsigned i = 0; plain && i < q->c.r->n_headers; i++) {
		struct str name = q->c.r->headers[i].name;

		plain = name.n < 12 || !str_caseeqc((struct str){name.p, 12}, "x-amz-grant-");
	}
	return plain ? 0 : api_fail(&q->c.e, API_S3_NO_ACLS, "The bucket does not allow ACLs");
}

static int create(struct s3 *q)
{
	static const char shape[] = "{LocationConstraint:s,Location-:s,Bucket-:s,Tags:<Tag:{Key!:s,Value!:s}>}";
	struct objects *o = q->c.a->o.objects;
	struct str body = q->c.r->body, where;
	const char *region = q->c.a->where.region;
	auto_json in = NULL;
	auto_json doc = json_parse(STR("{}"), NULL);
	struct s3_change *x;
	struct err e;
	size_t n = 0;

	if (body.n && !(in = xml_parse("CreateBucketConfiguration", shape, body, &q->c.e)))
		return -1;
	if (!bucket_name_ok(str_of(q->bucket)))
		return api_fail(&q->c.e, API_S3_INVALID_BUCKET_NAME, "The specified bucket is not valid.");
	where = json_get_str(in, "LocationConstraint");
	if (where.n && !str_eqc(where, region))
		return api_fail(&q->c.e, API_S3_BAD_LOCATION,
				"The %.40s location constraint is incompatible for the region specific endpoint this "
				"request was sent to: this is %s.",
				where.p, region);
	if (str_caseeqc(http_header(q->c.r, "x-amz-bucket-object-lock-enabled"), "true"))
		return api_fail(&q->c.e, API_NOT_IMPLEMENTED, "This Tandem has no ObjectLockConfiguration.");
	if (s3_bucket(q) && strcmp(region, "us-east-1"))
		return api_fail(&q->c.e, API_S3_BUCKET_OWNED,
				"Your previous request to create the named bucket succeeded and you already own it.");
	for (const struct bucket *b = NULL; (b = bucket_next(o, b ? b->name : NULL));)
		n++;
	if (n >= BUCKETS_MAX)
		return api_fail(&q->c.e, API_S3_TOO_MANY_BUCKETS,
				"You have attempted to create more buckets than allowed");
	x = s3_change_new(q, 200);
	if (s3_bucket(q))
		return s3_change_end(x, 0, NULL);
	return s3_change_end(x, bucket_put(o, str_of(q->bucket), doc, NULL, &x->tx, &e), &e);
}

static int head(struct s3 *q)
{
	auto_free char *region = xasprintf("x-amz-bucket-region: %s\r\n", q->c.a->where.region);

	return s3_reply(q, 200, region, STR_NULL);
}

struct deleting {
	struct bucket_del del;
	struct s3 *q;
};

static void deleted(struct bucket_del *del, const struct err *e)
{
	struct deleting *x = container_of(del, struct deleting, del);
	struct api *a = x->q->c.a;

	if (e->kind) {
		s3_fail_err(x->q, e);
	} else {
		struct store_tx *tx = store_tx_new();

		notify_forget(a->o.notify, x->q->bucket, tx);
		store_tx_start(a->o.store, tx);
		s3_reply(x->q, 204, NULL, STR_NULL);
	}
	free(x);
}

static int delete (struct s3 *q)
{
	struct deleting *x = xcalloc(1, sizeof(*x));

	x->q = q;
	x->del.done = deleted;
	bucket_del_start(q->c.a->o.objects, &x->del, q->bucket);
	return 0;
}

static void put_owner(struct buf *b, const struct s3 *q)
{
	xml_start(b, "Owner");
	xml_str(b, "ID", str_of(q->c.a->where.account));
	xml_str(b, "DisplayName", STR("tandem"));
	xml_end(b, "Owner");
}

static int list(struct s3 *q)
{
	auto_free char *prefix = s3_query(q, "prefix"), *after = s3_query(q, "continuation-token"),
		       *max = s3_query(q, "max-buckets");
	const struct bucket *b = NULL;
	int64_t left = BUCKETS_MAX;
	auto_buf x = {0};

	if (max && str_to_i64(str_of(max), 1, BUCKETS_MAX, &left) < 0)
		return api_fail(&q->c.e, API_S3_INVALID_ARGUMENT, "max-buckets must be a number from 1 to %d.",
				BUCKETS_MAX);
	xml_begin(&x, "ListAllMyBucketsResult");
	put_owner(&x, q);
	xml_start(&x, "Buckets");
	while ((b = bucket_next(q->c.a->o.objects, b ? b->name : after)) && left) {
		if (b->deleting || (prefix && !str_starts(str_of(b->name), prefix)))
			continue;
		left--;
		xml_start(&x, "Bucket");
		xml_str(&x, "Name", str_of(b->name));
		xml_str(&x, "CreationDate", json_get_str(b->doc, "CreationDate"));
		xml_str(&x, "BucketRegion", str_of(q->c.a->where.region));
		xml_end(&x, "Bucket");
		free(after);
		after = xstrdup(b->name);
	}
	xml_end(&x, "Buckets");
	if (b)
		xml_str(&x, "ContinuationToken", str_of(after));
	xml_end(&x, "ListAllMyBucketsResult");
	return s3_reply(q, 200, NULL, buf_str(&x));
}

static int location(struct s3 *q)
{
	const char *region = q->c.a->where.region;
	auto_buf b = {0};

	xml_begin(&b, "LocationConstraint");
	buf_adds(&b, strcmp(region, "us-east-1") ? region : "");
	xml_end(&b, "LocationConstraint");
	return s3_reply(q, 200, NULL, buf_str(&b));
}

static int get_acl(struct s3 *q)
{
	auto_buf b = {0};

	xml_begin(&b, "AccessControlPolicy");
	put_owner(&b, q);
	buf_addf(&b,
		 "<AccessControlList><Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "
		 "xsi:type=\"CanonicalUser\"><ID>%s</ID><DisplayName>tandem</DisplayName></Grantee>"
		 "<Permission>FULL_CONTROL</Permission></Grant></AccessControlList>",
		 q->c.a->where.account);
	xml_end(&b, "AccessControlPolicy");
	return s3_reply(q, 200, NULL, buf_str(&b));
}

static int put_acl(struct s3 *q)
{
	if (q->c.r->body.n)
		return api_fail(&q->c.e, API_S3_NO_ACLS, "The bucket does not allow ACLs");
	return s3_reply(q, 200, NULL, STR_NULL);
}

const struct s3_op s3_bucket_ops[] = {
	{"GET", NULL, 's', "ListAllMyBuckets", list, 0},
	{"PUT", NULL, 'b', "CreateBucket", create, S3_NO_BUCKET},
	{"HEAD", NULL, 'b', "ListBucket", head, 0},
	{"DELETE", NULL, 'b', "DeleteBucket", delete, 0},
	{"GET", "location", 'b', "GetBucketLocation", location, 0},
	{"GET", "acl", 'b', "GetBucketAcl", get_acl, 0},
	{"PUT", "acl", 'b', "PutBucketAcl", put_acl, 0},
	{"GET", "acl", 'k', "GetObjectAcl", get_acl, 0},
	{"PUT", "acl", 'k', "PutObjectAcl", put_acl, 0},
	{0},
};
