/* SPDX-License-Identifier: Apache-2.0 */
#include "api/api.h"
#include <stdio.h>
#include "api/api_int.h"
#include "api/code_url.h"
#include "api/ecs_task.h"
#include "api/hook.h"
#include "api/query.h"
#include "api/s3.h"
#include "api/lambda_url.h"
#include "api/shape.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/version.h"
#include "trigger/door.h"

#define SEGMENTS_MAX 8

/* By their path; each ends with one that has no name. */
static const struct api_op *const rest[] = {lambda_ops, scheduler_ops};
/* By the X-Amz-Target, or by what signatures call them and the Action of a query. */
static const struct api_service {
	const char *prefix, *query; /* or NULL */
	const struct api_op *ops;
	enum api_code missing, invalid; /* how it says what shape.h says of a body */
	size_t body_max;		/* 0: LIM_JSON_BODY_BYTES */
} services[] = {
	{"AmazonEC2ContainerServiceV20141113", NULL, ecs_ops, API_ECS_CLIENT, API_INVALID_MEMBER, 0},
	{"AmazonEC2ContainerRegistry_V20150921", NULL, ecr_ops, API_ECS_CLIENT, API_INVALID_MEMBER, 0},
	{"Kinesis_20131202", NULL, kinesis_ops, API_VALIDATION, API_VALIDATION, 2 * LIM_STREAM_PUT_BYTES},
	{NULL, "sns", sns_ops, API_INVALID_MEMBER, API_INVALID_MEMBER, 4 * LIM_JSON_BODY_BYTES},
	{"GraniteServiceVersion20100801", "monitoring", cloudwatch_ops, API_MISSING_PARAMETER, API_INVALID_PARAMETER,
	 0},
	{"AmazonSQS", "sqs", sqs_ops, API_SQS_MISSING, API_INVALID_PARAMETER, LIM_SQS_BODY_BYTES},
	{NULL, "sts", sts_ops, API_VALIDATION, API_VALIDATION, 0},
	{"AWSEvents", NULL, events_ops, API_VALIDATION, API_VALIDATION, 4 * LIM_JSON_BODY_BYTES},
	{"Logs_20140328", NULL, logs_ops, API_INVALID_MEMBER, API_INVALID_MEMBER, 4 * LIM_JSON_BODY_BYTES},
};

struct route {
	struct str service; /* what the request says it is for, or empty */
	const struct api_op *op;
	struct str operation; /* its name as the client wrote it, where it did */
	const struct api_service *of;
	struct str function, item; /* {F} and {X}, still encoded */
};

static unsigned split(struct str path, struct str out[SEGMENTS_MAX])
{
	struct str seg;
	unsigned n = 0;

	while (str_next(&path, '/', &seg)) {
		if (!seg.n)
			continue;
		if (n == SEGMENTS_MAX)
			return SEGMENTS_MAX + 1;
		out[n++] = seg;
	}
	return n;
}

static bool path_match(const char *pattern, const struct str *seg, unsigned n, struct route *rt)
{
	unsigned i = 0;

	while (*pattern) {
		const char *end = strchr(++pattern, '/');
		size_t len = end ? (size_t)(end - pattern) : strlen(pattern);

		if (i == n)
			return false;
		if (pattern[0] == '{') {
			*(pattern[1] == 'F' ? &rt->function : &rt->item) = seg[i];
		} else if (seg[i].n != len || memcmp(seg[i].p, pattern, len) != 0) {
			return false;
		}
		i++;
		pattern += len;
	}
	return i == n;
}

static bool lambda_like(struct str path)
{
	static const char *const begins[] = {
		"/2014-11-13/", "/2015-03-31/", "/2016-08-19/", "/2017-03-31/", "/2017-10-31/",	   "/2018-10-31/",
		"/2019-09-25/", "/2019-09-30/", "/2020-04-22/", "/2020-06-30/", "/2021-07-20/",	   "/2021-10-31/",
		"/2021-11-15/", "/2024-08-31/", "/2025-",	"/schedules",	"/schedule-groups"};

	for (size_t i = 0; i < ARRAY_SIZE(begins); i++)
		if (str_starts(path, begins[i]))
			return true;
	return false;
}

static void route_rest(struct api_call *c, struct route *rt)
{
	struct str seg[SEGMENTS_MAX];
	unsigned n = split(c->r->path, seg);

	c->form = FORM_REST_JSON;
	for (size_t i = 0; i < ARRAY_SIZE(rest) && n <= SEGMENTS_MAX; i++)
		for (const struct api_op *op = rest[i]; op->name; op++)
			if (str_eqc(c->r->method, op->method) && path_match(op->path, seg, n, rt) &&
			    (!rt->service.n || str_eqc(rt->service, op->service))) {
				rt->op = op;
				return;
			}
}

static void route_op(const struct api_service *sv, struct str name, struct route *rt)
{
	rt->of = sv;
	for (const struct api_op *op = sv->ops; op->name; op++)
		if (str_eqc(name, op->name))
			rt->op = op;
}

static bool route_query(struct api_call *c, struct route *rt)
{
	struct str type = http_header(c->r, "content-type");
	bool in_body = str_starts(type, "application/x-www-form-urlencoded");
	struct str version = STR_NULL;

	if (!dec_form_value(c->r->query, "Action", &rt->operation) &&
	    !(in_body && dec_form_value(c->r->body, "Action", &rt->operation)))
		return false;
	c->form = FORM_QUERY;
	if (!dec_form_value(c->r->query, "Version", &version) &&
	    !(in_body && dec_form_value(c->r->body, "Version", &version)))
		version = STR_NULL;
	c->query = query_service(rt->service, version);
	for (size_t i = 0; c->query && i < ARRAY_SIZE(services); i++)
		if (services[i].query && strcmp(query_name(c->query), services[i].query) == 0)
			route_op(&services[i], rt->operation, rt);
	return true;
}

static void route_target(struct api_call *c, struct str target, struct route *rt)
{
	struct str prefix, name;

	c->form = FORM_JSON;
	c->json_1_0 = str_starts(http_header(c->r, "content-type"), "application/x-amz-json-1.0");
	rt->operation = target;
	for (size_t i = 0; str_cut(target, '.', &prefix, &name) && i < ARRAY_SIZE(services); i++)
		if (services[i].prefix && str_eqc(prefix, services[i].prefix))
			route_op(&services[i], name, rt);
}

/* Which service and operation (reference: target, then credential scope, then Action, then path). -1: the signature
 * cannot be read. */
static int route(struct api_call *c, struct route *rt)
{
	struct str target = http_header(c->r, "x-amz-target");
	struct sigv4_scope scope = {0};
	int signed_rc = sigv4_scope(c->a->sigv4, c->r, &scope, &c->e);

	if (signed_rc == 0)
		rt->service = scope.service;
	if (target.p) {
		route_target(c, target, rt);
	} else if (str_eqc(rt->service, "s3")) {
		c->form = FORM_S3;
	} else if (str_eqc(rt->service, "lambda") || str_eqc(rt->service, "scheduler") ||
		   (!rt->service.n && lambda_like(c->r->path))) {
		route_rest(c, rt);
	} else if (!route_query(c, rt)) {
		c->form = !rt->service.n ? FORM_S3 : str_eqc(rt->service, "sts") ? FORM_QUERY : FORM_REST_JSON;
	}
	return signed_rc < 0 ? -1 : 0;
}

struct lookup {
	struct api *a;
	struct principal who;
};

const char *api_secret(const struct api *a, struct str key, struct principal *ret)
{
	const char *operator_key = store_setting(a->o.store, "operator_access_key");
	struct function *f;

	if (operator_key && str_eqc(key, operator_key)) {
		*ret = (struct principal){.kind = PRINCIPAL_OPERATOR};
		return store_setting(a->o.store, "operator_secret_key");
	}
	f = function_by_access_key(a->o.store, key);
	if (!f)
		return NULL;
	*ret = (struct principal){.kind = PRINCIPAL_WORKLOAD, .name = f->name, .allow = f->allow};
	return f->secret_key;
}

static const char *secret_of(void *arg, struct str key)
{
	struct lookup *l = arg;

	return api_secret(l->a, key, &l->who);
}

/* A web page of anybody's makes a browser on this machine call us, with its Origin, or by a name that it has for our
 * address. Without signatures that would be as good as being here. */
static bool by_a_page(const struct http_req *r)
{
	struct str host = http_header(r, "host"), port;
	size_t i = 0;

	if (http_header(r, "origin").p)
		return true;
	if (!host.n || host.p[0] == '[')
		return false;
	str_cut(host, ':', &host, &port);
	while (i < host.n && (host.p[i] == '.' || (host.p[i] >= '0' && host.p[i] <= '9')))
		i++;
	return i < host.n && !str_caseeqc(host, "localhost") && !str_ends(host, ".localhost");
}

int api_identify_unsigned(struct api_call *c, const struct principal *inside)
{
	if (inside) {
		c->who = *inside;
		return 0;
	}
	if (c->a->o.auth_none && by_a_page(c->r))
		return api_fail(&c->e, API_ACCESS_DENIED,
				"Without signatures (--auth none) no browser may call, and only by an address or as "
				"localhost.");
	c->who = (struct principal){.kind = PRINCIPAL_ANONYMOUS};
	return !c->a->o.auth_none;
}

int api_identify(struct api_call *c, const struct principal *inside)
{
	struct lookup l = {.a = c->a};
	struct sigv4_check check = {.now_wall_us = clock_wall_us(), .secret = secret_of, .arg = &l};
	struct sigv4_scope scope;
	int rc = api_identify_unsigned(c, inside);

	if (rc <= 0)
		return rc;
	if (sigv4_verify(c->a->sigv4, c->r, &check, &scope, &c->e) < 0)
		return -1;
	c->who = l.who;
	return 0;
}

static int subject(struct api_call *c, const struct route *rt)
{
	char arn[API_ARN_BYTES];
	auto_buf q = {0};

	buf_clear(&c->a->scratch);
	if (dec_percent(&c->a->scratch, rt->item, false) < 0 || c->a->scratch.n >= sizeof(c->item))
		return api_fail(&c->e, API_VALIDATION, "The last part of the path is no name.");
	snprintf(c->item, sizeof(c->item), STR_FMT, STR_ARG(buf_str(&c->a->scratch)));
	switch (c->op->subject) {
	case SUBJECT_FUNCTION:
		buf_clear(&c->a->scratch);
		if (dec_percent(&c->a->scratch, rt->function, false) < 0)
			return api_fail(&c->e, API_VALIDATION, "The path has a percent escape that is not one.");
		if (api_name_parse(buf_str(&c->a->scratch), &c->a->where, &c->name, &c->e) < 0)
			return -1;
		if (c->r->query.n && api_query(c->r, "Qualifier", &q) &&
		    api_name_qualify(&c->name, buf_str(&q), &c->e) < 0)
			return -1;
		return api_allowed(c, api_arn(&c->a->where, c->name.name, NULL, arn));
	case SUBJECT_NONE:
		return api_allowed(c, "*");
	case SUBJECT_OWN:
	case SUBJECT_OPEN:
		break;
	}
	return 0;
}

static int unknown_operation(struct api_call *c, const struct route *rt)
{
	struct str what = rt->operation.p ? rt->operation : rt->service;

	if (c->op)
		return api_fail(&c->e, API_UNKNOWN_OPERATION, "%s:%s is not an operation of this Tandem.",
				c->op->service, c->op->name);
	if (c->form == FORM_JSON || c->form == FORM_QUERY)
		return api_fail(&c->e, API_UNKNOWN_OPERATION,
				"The action " STR_FMT " is not an operation of this Tandem.",
				(int)(what.n < 200 ? what.n : 200), what.p);
	return api_fail(&c->e, c->form == FORM_S3 ? API_NOT_IMPLEMENTED : API_UNKNOWN_OPERATION,
			STR_FMT " " STR_FMT " is not an operation of this Tandem.", STR_ARG(c->r->method),
			(int)(c->r->path.n < 200 ? c->r->path.n : 200), c->r->path.p);
}

static struct json *query_body(struct api_call *c)
{
	bool form = str_starts(http_header(c->r, "content-type"), "application/x-www-form-urlencoded");
	auto_buf text = {0};
	struct err e = {0};
	struct json *j = NULL;

	if (query_read(c->query, c->op->name, c->r->query, form ? c->r->body : STR_NULL, &text, &c->e) == 0 &&
	    !(j = json_parse(buf_str(&text), &e)))
		api_fail(&c->e, API_SERIALIZATION, "The request is not understood: %s", e.text);
	return j;
}

static int read_body(struct api_call *c, const struct api_service *of)
{
	auto_buf copy = {0};
	auto_json body = NULL;
	size_t max = of->body_max ? of->body_max : LIM_JSON_BODY_BYTES;
	int rc;

	if (c->r->body.n > max)
		return api_fail(&c->e, API_ENTITY_TOO_LARGE, "Request must be smaller than %zu bytes.", max);
	body = c->form == FORM_QUERY ? query_body(c) : api_body(c);
	if (!body)
		return -1;
	rc = c->form == FORM_QUERY ? shape_copy_text(c->op->path, body, &copy, &c->e)
				   : shape_copy(c->op->path, body, &copy, &c->e);
	if (rc < 0) {
		c->e.code = c->e.code == API_ECS_CLIENT ? of->missing : of->invalid;
		return -1;
	}
	c->in = json_parse(buf_str(&copy), NULL);
	return 0;
}

static int run(struct api_call *c, const struct principal *inside)
{
	struct route rt = {0};
	int rc;

	if (url_is(c->r))
		return lambda_url_handle(c, inside);
	if (code_url_is(c->r))
		return code_url_handle(c);
	if (hook_is(c->r))
		return hook_handle(c);
	if (oci_is(c->r)) {
		oci_handle(c, inside);
		return 0;
	}
	rc = route(c, &rt);
	c->op = rt.op;
	if (c->form == FORM_S3)
		return s3_handle(c, inside);
	/* Without authentication, and on a sandbox's own socket, a signature is not looked at: it may be any. */
	if ((rc < 0 && !inside && !c->a->o.auth_none) || api_identify(c, inside) < 0)
		return -1;
	if (!c->op || !c->op->run)
		return unknown_operation(c, &rt);
	if ((c->form == FORM_JSON || c->form == FORM_QUERY) && read_body(c, rt.of) < 0)
		return -1;
	if (subject(c, &rt) < 0)
		return -1;
	api_traced(c, c->op->service, c->op->name);
	return c->op->run(c);
}

const char *api_trace(const struct api_call *c)
{
	return c->trace[0] ? c->trace : NULL;
}

void api_traced(struct api_call *c, const char *service, const char *name)
{
	bool begins = c->op && (c->op->run == lambda_invoke || c->op->run == lambda_invoke_stream ||
				c->op->run == lambda_invoke_async);

	if (c->trace[0] || begins)
		door_operation(c->a->o.sched, c->r, api_trace(c), service, name);
	http_trace(c->r, c->trace);
}

void api_dispatch(struct api *a, struct http_req *r, const struct principal *inside)
{
	struct api_call c = {.a = a, .r = r};

	id_uuid(c.request_id);
	if (!http_trace(r, c.trace) && inside && inside->trace)
		strlcpy_(c.trace, inside->trace, sizeof(c.trace));
	if (run(&c, inside) < 0)
		api_reply_err(&c);
	json_free(c.in);
}

/* Of what route() takes for S3's; where that sees it otherwise, the body is none that anybody would miss. */
bool api_streams_inside(void *whose, const struct http_req *r)
{
	struct str auth = http_header(r, "authorization"), scope;

	if (http_header(r, "x-amz-target").p || url_is(r) || oci_is(r) || !s3_streams(r))
		return false;
	if (str_starts(auth, "AWS4-"))
		return memmem(auth.p, auth.n, "/s3/aws4_request", 16);
	return dec_form_value(r->query, "X-Amz-Credential", &scope) ||
	       (!lambda_like(r->path) && !dec_form_value(r->query, "Action", &scope));
}

bool api_streams(void *api, const struct http_req *r)
{
	return oci_streams(r) || api_streams_inside(api, r);
}

void api_handle(void *arg, struct http_req *r)
{
	api_dispatch(arg, r, NULL);
}

void api_handle_sandbox(void *arg, struct http_req *r)
{
	struct api **a = sched_instance_arg(arg);
	const struct function *f = sched_instance_function(arg);
	char trace[TRACE_HEADER_BYTES];

	api_dispatch(*a, r,
		     &(struct principal){.kind = PRINCIPAL_WORKLOAD,
					 .name = f->name,
					 .allow = f->allow,
					 .trace = sched_instance_trace(arg, trace)});
}

void api_reply_credentials(const struct api *a, struct http_req *r, const char *name, const char *key,
			   const char *secret)
{
	auto_free char *role = xasprintf("arn:aws:iam::%s:role/%s", a->where.account, name);
	char until[32];
	auto_object(w, b);

	jw_strc(&w, "AccessKeyId", key);
	jw_strc(&w, "SecretAccessKey", secret);
	jw_strc(&w, "Token", "tandem");
	clock_fmt_iso(clock_wall_us() + 12 * 3600 * 1000000ll, until);
	jw_strc(&w, "Expiration", until);
	jw_strc(&w, "RoleArn", role);
	jw_end(&w, '}');
	http_reply(r, &(struct http_reply){.status = 200, .content_type = "application/json", .body = buf_str(&b)});
}

void api_handle_credentials(void *arg, struct http_req *r)
{
	struct api **a = sched_instance_arg(arg);
	const struct function *f = sched_instance_function(arg);

	api_reply_credentials(*a, r, f->name, f->access_key, f->secret_key);
}

int api_allowed(struct api_call *c, const char *resource)
{
	char action[80];

	if (c->who.kind != PRINCIPAL_WORKLOAD)
		return authz_check(&c->who, c->a->where.account, "", resource, &c->e);
	snprintf(action, sizeof(action), "%s:%s", c->op->service, c->op->name);
	return authz_check(&c->who, c->a->where.account, action, resource, &c->e);
}

int api_no_function(struct api_call *c, const char *qualifier)
{
	char arn[API_ARN_BYTES];

	return api_fail(&c->e, API_NOT_FOUND, "Function not found: %s",
			api_arn(&c->a->where, c->name.name, qualifier, arn));
}

struct function *api_function(struct api_call *c)
{
	struct function *f = function_get(c->a->o.store, str_of(c->name.name));

	if (f && api_name_is_latest(&c->name))
		return f;
	api_no_function(c, c->name.qualifier);
	return NULL;
}

struct function *api_target(struct api_call *c, struct revision **ret)
{
	struct function *f = function_get(c->a->o.store, str_of(c->name.name));
	struct revision *r;

	r = f ? function_resolve(f, str_of(c->name.qualifier), c->name.qualifier[0] ? rand_unit() : 0) : NULL;
	if (r) {
		*ret = r;
		return f;
	}
	api_no_function(c, c->name.qualifier);
	return NULL;
}

int api_in_update(struct api_call *c, const struct function *f)
{
	char arn[API_ARN_BYTES];

	return api_fail(&c->e, API_CONFLICT,
			"The operation cannot be performed at this time. An update is in progress for resource: %s",
			api_arn(&c->a->where, f->name, NULL, arn));
}

int api_stale(struct api_call *c)
{
	return api_fail(&c->e, API_PRECONDITION,
			"The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias "
			"API to retrieve the latest Revision Id");
}

struct json *api_body(struct api_call *c)
{
	struct err e = {0};
	struct json *j = json_parse(c->r->body.n ? c->r->body : STR("{}"), &e);

	if (j && json_type(j) == JSON_OBJECT)
		return j;
	api_fail(&c->e, API_SERIALIZATION, "Could not parse request body into json: %s", j ? "not an object" : e.text);
	json_free(j);
	return NULL;
}

bool api_query(const struct http_req *r, const char *name, struct buf *out)
{
	struct str v;

	return dec_form_value(r->query, name, &v) && dec_percent(out, v, true) == 0;
}

struct api *api_new(const struct api_opts *o)
{
	struct api *a = xcalloc(1, sizeof(*a));

	a->o = *o;
	a->where = (struct api_where){.account = o->account, .region = o->region};
	a->sigv4 = sigv4_new(o->region);
	api_bootstrap(o->store, NULL);
	a->ecs = ecs_new(a);
	if (o->deliver)
		ecs_deliver(a, o->deliver);
	return a;
}

void api_ready(struct api *a)
{
	ecs_ready(a->ecs);
}

void api_free(struct api *a)
{
	if (!a)
		return;
	ecs_free(a->ecs);
	sigv4_free(a->sigv4);
	buf_done(&a->scratch);
	free(a);
}

void api_bootstrap(struct store *s, struct store_op *op)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	const char *access = store_setting(s, "operator_access_key"), *secret = store_setting(s, "operator_secret_key");
	char key[21] = "AKIATANDEM", sec[41] = "";
	uint8_t r[50];

	if (!access || !secret) {
		rand_bytes(r, sizeof(r));
		for (int i = 0; i < 10; i++)
			key[10 + i] = set[r[i] & 31];
		for (int i = 0; i < 40; i++)
			sec[i] = set[r[10 + i] & 31];
		store_setting_put(s, NULL, "operator_access_key", key);
		store_setting_put(s, op, "operator_secret_key", sec);
		explicit_bzero(sec, sizeof(sec));
		explicit_bzero(r, sizeof(r));
	} else if (op) {
		store_setting_put(s, op, "operator_access_key", access);
	}
}
