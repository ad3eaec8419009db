/* SPDX-License-Identifier: Apache-2.0 */
/* S3: what clients say and ask about a bucket, a member of its document each, by one table; and CORS, which is one of them. */
#include "api/s3.h"
#include "base/mem.h"

#define DOCUMENT_BYTES 65536 /* S3's own, of CORS; all are in memory */
#define RULE	       "{Id:s,Event=Events!:[s],Filter:{S3Key=Key:{FilterRule=FilterRules:[{Name!:s,Value!:s}]}},"

/* Kept in the document by the name of its root. */
static const struct sub {
	const char *query, *root, *shape; /* as s3_xml.h; NULL: it cannot be set */
	enum api_code missing;		  /* while it was not set; API_OK: then it is */
	const char *dflt;
} subs[] = {
	{"tagging", "Tagging", "{" XML_TAG_SET "}", API_S3_NO_TAGS, NULL},
	{"cors", "CORSConfiguration",
	 "{CORSRule=CORSRules!:[{ID:s,AllowedHeader=AllowedHeaders:[s],AllowedMethod=AllowedMethods!:[s(GET|PUT|POST|"
	 "DELETE|HEAD)],AllowedOrigin=AllowedOrigins!:[s],ExposeHeader=ExposeHeaders:[s],MaxAgeSeconds:i}]}",
	 API_S3_NO_CORS, NULL},
	{"encryption", "ServerSideEncryptionConfiguration",
	 "{Rule=Rules!:[{ApplyServerSideEncryptionByDefault:{SSEAlgorithm!:s(~AES256),KMSMasterKeyID-:s},"
	 "BucketKeyEnabled:b}]}",
	 API_S3_NO_ENCRYPTION, NULL},
	{"publicAccessBlock", "PublicAccessBlockConfiguration",
	 "{BlockPublicAcls:b,IgnorePublicAcls:b,BlockPublicPolicy:b,RestrictPublicBuckets:b}", API_S3_NO_PUBLIC_BLOCK,
	 NULL},
	{"ownershipControls", "OwnershipControls",
	 "{Rule=Rules!:[{ObjectOwnership!:s(BucketOwnerEnforced|BucketOwnerPreferred|ObjectWriter)}]}",
	 API_S3_NO_OWNERSHIP, NULL},
	{"versioning", "VersioningConfiguration", "{Status:s(~Suspended),MfaDelete=MFADelete:s(~Disabled)}", API_OK,
	 "{}"},
	{"requestPayment", "RequestPaymentConfiguration", "{Payer!:s(~BucketOwner)}", API_OK,
	 "{\"Payer\":\"BucketOwner\"}"},
	{"logging", "BucketLoggingStatus", "{LoggingEnabled-:s}", API_OK, "{}"},
	{"accelerate", "AccelerateConfiguration", "{Status:s(~Suspended)}", API_OK, "{}"},
	{"policyStatus", "PolicyStatus", "{IsPublic:b}", API_OK, "{\"IsPublic\":false}"},
	{"policy", "Policy", NULL, API_S3_NO_POLICY, NULL},
	{"lifecycle", "LifecycleConfiguration", NULL, API_S3_NO_LIFECYCLE, NULL},
	{"replication", "ReplicationConfiguration", NULL, API_S3_NO_REPLICATION, NULL},
	{"website", "WebsiteConfiguration", NULL, API_S3_NO_WEBSITE, NULL},
	{"object-lock", "ObjectLockConfiguration", NULL, API_S3_NO_LOCK, NULL},
};
static const char notification[] = "{TopicConfiguration=TopicConfigurations:[" RULE
				   "Topic=TopicArn!:s}],QueueConfiguration=QueueConfigurations:[" RULE
				   "Queue=QueueArn!:s}],CloudFunctionConfiguration=LambdaFunctionConfigurations:[" RULE
				   "CloudFunction=LambdaFunctionArn!:s}],EventBridgeConfiguration:{}}";

/* The bucket's document with another value of that member, or without it. */
static int set_member(struct s3 *q, const char *member, const char *value, int status)
{
	const struct json *old = s3_bucket(q)->doc;
	auto_free char *text = json_text(old), *with = s3_meta_set(text, member, value);
	auto_json doc = json_parse(str_of(with), NULL);
	struct s3_change *x = s3_change_new(q, status);
	struct err e;
	int rc = bucket_put(q->c.a->o.objects, str_of(q->bucket), doc, json_get_str(old, "project").p, &x->tx, &e);

	return s3_change_end(x, rc, &e);
}

static const struct sub *sub_of(const struct s3 *q)
{
	const struct sub *s = subs;

	while (strcmp(s->query, q->op->query))
		s++;
	return s;
}

static int get(struct s3 *q)
{
	const struct sub *s = sub_of(q);
	const struct json *j = json_get(s3_bucket(q)->doc, s->root);
	auto_json dflt = s->dflt ? json_parse(str_of(s->dflt), NULL) : NULL;
	auto_buf b = {0};

	if (!j && s->missing)
		return api_fail(&q->c.e, s->missing, "The %s of this bucket does not exist", s->root);
	xml_write(&b, s->root, s->shape ? s->shape : "{}", j ? j : dflt);
	return s3_reply(q, 200, NULL, buf_str(&b));
}

static int put(struct s3 *q)
{
	const struct sub *s = sub_of(q);
	auto_buf json = {0};

	if (!s->shape)
		return api_fail(&q->c.e, API_NOT_IMPLEMENTED, "This Tandem has no %s.", s->root);
	if (xml_read(s->root, s->shape, q->c.r->body, &json, &q->c.e) < 0)
		return -1;
	if (json.n > DOCUMENT_BYTES)
		return api_fail(&q->c.e, API_S3_MALFORMED_XML, "A %s has at most %d bytes.", s->root, DOCUMENT_BYTES);
	return set_member(q, s->root, json.p, strcmp(s->query, "tagging") ? 200 : 204);
}

static int unset(struct s3 *q)
{
	return set_member(q, sub_of(q)->root, NULL, 204);
}

/* It is kept for tools that want to find what they wrote: who may do what is decided by allow: alone. */
static int put_policy(struct s3 *q)
{
	auto_json policy = json_parse(q->c.r->body, NULL);
	auto_object(w, b);

	if (q->c.r->body.n > 20480 || !json_get(policy, "Statement"))
		return api_fail(&q->c.e, API_S3_MALFORMED_POLICY,
				"Policies must be valid JSON with a Statement, of at most 20480 bytes");
	jw_str(&w, "Policy", q->c.r->body);
	jw_end(&w, '}');
	return set_member(q, "Policy", b.p, 204);
}

static int get_policy(struct s3 *q)
{
	const struct json *j = json_get(s3_bucket(q)->doc, "Policy");

	return j ? s3_reply(q, 200, NULL, json_get_str(j, "Policy")) : get(q);
}

static int get_notification(struct s3 *q)
{
	auto_buf b = {0};
	auto_object(w, json);
	auto_json j = NULL;

	notify_show(q->c.a->o.notify, q->bucket, false, &w);
	jw_end(&w, '}');
	j = json_parse(buf_str(&json), NULL);
	xml_write(&b, "NotificationConfiguration", notification, j);
	return s3_reply(q, 200, NULL, buf_str(&b));
}

/* Whether who asks may send to all of these, too. */
static int may_notify(struct s3 *q, const struct json *doc)
{
	static const char *const members[][2] = {{"TopicConfigurations", "TopicArn"},
						 {"QueueConfigurations", "QueueArn"},
						 {"LambdaFunctionConfigurations", "LambdaFunctionArn"}};
	const struct api_where *at = &q->c.a->where;
	auto_free char *bus = xasprintf("arn:aws:events:%s:%s:event-bus/default", at->region, at->account);

	for (size_t k = 0; k < ARRAY_SIZE(members); k++) {
		const struct json *list = json_get(doc, members[k][0]);

		for (size_t i = 0; i < json_len(list); i++)
			if (authz_start(&q->c.who, at, json_at(list, i), members[k][1], &q->c.e) < 0)
				return -1;
	}
	return json_get(doc, "EventBridgeConfiguration")
		       ? authz_check(&q->c.who, at->account, "events:PutEvents", bus, &q->c.e)
		       : 0;
}

static int put_notification(struct s3 *q)
{
	auto_json doc = xml_parse("NotificationConfiguration", notification, q->c.r->body, &q->c.e);
	bool test = !str_caseeqc(http_header(q->c.r, "x-amz-skip-destination-validation"), "true");
	struct s3_change *x;
	struct err e;
	int rc;

	if (!doc || may_notify(q, doc) < 0)
		return -1;
	x = s3_change_new(q, 200);
	rc = notify_put(q->c.a->o.notify, q->bucket, NULL, doc, test, &x->tx, &e);
	if (s3_change_end(x, rc, &e) < 0)
		return api_fail(&q->c.e, API_S3_INVALID_ARGUMENT, "%s", e.text);
	return 0;
}

/* --- CORS --- */

static const struct json *matching(const struct json *list, struct str value)
{
	for (size_t i = 0; i < json_len(list); i++)
		if (authz_match(json_str(json_at(list, i)), value))
			return json_at(list, i);
	return NULL;
}

/* Each of the names that a preflight asks for, which have no case. */
static bool headers_match(const struct json *list, struct str names)
{
	struct str one;
	bool all = true;

	while (all && str_next(&names, ',', &one)) {
		one = str_trim(one);
		all = false;
		for (size_t i = 0; i < json_len(list); i++) {
			auto_free char *want = str_dup(json_str(json_at(list, i))), *name = str_dup(one);

			for (char *c = want; *c; c++)
				*c |= *c >= 'A' && *c <= 'Z' ? 32 : 0;
			for (char *c = name; *c; c++)
				*c |= *c >= 'A' && *c <= 'Z' ? 32 : 0;
			all |= authz_match(str_of(want), str_of(name));
		}
	}
	return all;
}

/* A header line of all that are in the list; what would end the line is left out. */
static void header_list(struct buf *out, const char *name, const struct json *list)
{
	if (!json_len(list))
		return;
	buf_addf(out, "%s: ", name);
	for (size_t i = 0; i < json_len(list); i++) {
		struct str s = json_str(json_at(list, i));

		buf_adds(out, i ? ", " : "");
		for (size_t k = 0; k < s.n; k++)
			if ((unsigned char)s.p[k] >= ' ')
				buf_addc(out, s.p[k]);
	}
	buf_adds(out, "\r\n");
}

/* Adds to out what the bucket's rules say to that origin and method; false: none is for it. */
static bool cors(struct s3 *q, struct str method, struct str headers, struct buf *out)
{
	struct str origin = http_header(q->c.r, "origin");
	struct bucket *b = q->bucket[0] ? s3_bucket(q) : NULL;
	const struct json *rules = b ? json_get(json_get(b->doc, "CORSConfiguration"), "CORSRules") : NULL;

	for (size_t i = 0; i < json_len(rules); i++) {
		const struct json *r = json_at(rules, i), *pattern = matching(json_get(r, "AllowedOrigins"), origin);
		bool any = pattern && str_eqc(json_str(pattern), "*");

		if (!pattern || !matching(json_get(r, "AllowedMethods"), method) ||
		    !headers_match(json_get(r, "AllowedHeaders"), headers))
			continue;
		buf_addf(out, "Access-Control-Allow-Origin: " STR_FMT "\r\n%s", STR_ARG(any ? STR("*") : origin),
			 any ? "" : "Access-Control-Allow-Credentials: true\r\n");
		header_list(out, "Access-Control-Allow-Methods", json_get(r, "AllowedMethods"));
		header_list(out, "Access-Control-Expose-Headers", json_get(r, "ExposeHeaders"));
		if (headers.n)
			buf_addf(out, "Access-Control-Allow-Headers: " STR_FMT "\r\n", STR_ARG(headers));
		if (json_get(r, "MaxAgeSeconds"))
			buf_addf(out, "Access-Control-Max-Age: %lld\r\n",
				 (long long)json_get_int(r, "MaxAgeSeconds", 0));
		buf_adds(out, "Vary: Origin, Access-Control-Request-Headers, Access-Control-Request-Method\r\n");
		return true;
	}
	return false;
}

void s3_cors(struct s3 *q)
{
	if (http_header(q->c.r, "origin").n)
		(void)cors(q, q->c.r->method, STR_NULL, &q->head);
}

static int preflight(struct s3 *q)
{
	struct str method = http_header(q->c.r, "access-control-request-method");

	buf_clear(&q->head);
	if (!cors(q, method, http_header(q->c.r, "access-control-request-headers"), &q->head))
		return api_fail(
			&q->c.e, API_S3_CORS_FORBIDDEN,
			"CORSResponse: This CORS request is not allowed: no CORS rule of the bucket has its Origin, "
			"Access-Control-Request-Method and Access-Control-Request-Headers.");
	return s3_reply(q, 200, NULL, STR_NULL);
}

#define GET_PUT(query, name)                                                                                           \
	{"GET", query, 'b', "Get" name, get, 0},                                                                       \
	{                                                                                                              \
		"PUT", query, 'b', "Put" name, put, 0                                                                  \
	}
#define ALL(query, name)                                                                                               \
	GET_PUT(query, name),                                                                                          \
	{                                                                                                              \
		"DELETE", query, 'b', "Put" name, unset, 0                                                             \
	}

const struct s3_op s3_about_ops[] = {
	{"OPTIONS", NULL, 'b', NULL, preflight, S3_OPEN | S3_NO_BUCKET},
	{"OPTIONS", NULL, 'k', NULL, preflight, S3_OPEN | S3_NO_BUCKET},
	{"GET", "notification", 'b', "GetBucketNotification", get_notification, 0},
	{"PUT", "notification", 'b', "PutBucketNotification", put_notification, 0},
	{"GET", "policy", 'b', "GetBucketPolicy", get_policy, 0},
	{"PUT", "policy", 'b', "PutBucketPolicy", put_policy, 0},
	{"DELETE", "policy", 'b', "DeleteBucketPolicy", unset, 0},
	{"GET", "policyStatus", 'b', "GetBucketPolicyStatus", get, 0},
	ALL("tagging", "BucketTagging"),
	ALL("cors", "BucketCORS"),
	ALL("encryption", "EncryptionConfiguration"),
	ALL("publicAccessBlock", "BucketPublicAccessBlock"),
	ALL("ownershipControls", "BucketOwnershipControls"),
	ALL("lifecycle", "LifecycleConfiguration"),
	ALL("replication", "ReplicationConfiguration"),
	ALL("website", "BucketWebsite"),
	GET_PUT("versioning", "BucketVersioning"),
	GET_PUT("requestPayment", "BucketRequestPayment"),
	GET_PUT("logging", "BucketLogging"),
	GET_PUT("accelerate", "AccelerateConfiguration"),
	GET_PUT("object-lock", "BucketObjectLockConfiguration"),
	{0},
};
