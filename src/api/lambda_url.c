/* SPDX-License-Identifier: Apache-2.0 */
/* Function URLs: what is declared of them, and who may call one. The texts are AWS's. */
#include "api/lambda_url.h"

#include "base/mem.h"
#include "store/version.h"

/* --- calls --- */

static int forbidden(struct api_call *c)
{
	static const char text[] =
		"{\"Message\":\"Forbidden. For troubleshooting Function URL authorization issues, see: "
		"https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html\"}";

	http_reply(c->r, &(struct http_reply){.status = 403,
					      .content_type = "application/json",
					      .headers = STR("x-amzn-ErrorType: AccessDeniedException\r\n"),
					      .body = str_of(text)});
	c->r = NULL;
	return 0;
}

static bool is_everybody(const struct json *principal)
{
	return str_eqc(json_str(principal), "*") || str_eqc(json_get_str(principal, "AWS"), "*");
}

/* Whether the function's policy lets everybody call its URL. */
static bool is_public(const struct api_call *c, const struct url_target *t)
{
	auto_free char *key = xasprintf("policy/%s:%s", t->function->name, t->qualifier);
	const char *text = record_get(c->a->o.store, key);
	auto_json policy = text ? json_parse(str_of(text), NULL) : NULL;
	const struct json *all = json_get(policy, "Statement");

	for (size_t i = 0; i < json_len(all); i++) {
		const struct json *one = json_at(all, i), *condition = json_get(one, "Condition"),
				  *equals = json_get(condition, "StringEquals");

		if (is_everybody(json_get(one, "Principal")) &&
		    authz_match(json_get_str(one, "Action"), STR("lambda:InvokeFunctionUrl")) &&
		    (!condition || (json_len(condition) == 1 && json_len(equals) == 1 &&
				    str_eqc(json_get_str(equals, "lambda:FunctionUrlAuthType"), "NONE"))))
			return true;
	}
	return false;
}

/* For AuthType NONE the policy says so, or the tandem.yaml that declared the URL; for AWS_IAM the signature and allow:. */
static bool may_call(struct api_call *c, const struct url_target *t, const struct principal *inside)
{
	static const struct api_op op = {.service = "lambda", .name = "InvokeFunctionUrl"};
	char arn[API_ARN_BYTES];

	if (str_eqc(json_get_str(t->doc, "AuthType"), "NONE"))
		return json_get_str(t->doc, "project").n || is_public(c, t);
	c->op = &op;
	return api_identify(c, inside) == 0 &&
	       api_allowed(c, api_arn(&c->a->where, t->function->name, t->qualifier, arn)) == 0;
}

/* Who signed, as events have it. */
static void write_authorizer(struct buf *b, const struct api_call *c)
{
	const char *account = c->a->where.account, *name = c->who.name ? c->who.name : "root";
	auto_free char *arn = c->who.name ? xasprintf("arn:aws:sts::%s:assumed-role/%s/%s", account, name, name)
					  : xasprintf("arn:aws:iam::%s:root", account);
	struct jw w = jw_object(b);

	jw_obj(&w, "iam");
	jw_strc(&w, "accountId", account);
	jw_strc(&w, "callerId", name);
	jw_null(&w, "cognitoIdentity");
	jw_null(&w, "principalOrgId");
	jw_strc(&w, "userArn", arn);
	jw_strc(&w, "userId", name);
	jw_end(&w, '}');
	jw_end(&w, '}');
}

int lambda_url_handle(struct api_call *c, const struct principal *inside)
{
	struct url_target t;
	auto_buf who = {0};

	if (!url_find(c->a->o.urls, c->r, &t))
		return forbidden(c);
	if (!url_preflight(&t, c->r)) {
		if (!may_call(c, &t, inside)) {
			forbidden(c);
		} else {
			if (str_eqc(json_get_str(t.doc, "AuthType"), "AWS_IAM"))
				write_authorizer(&who, c);
			url_call(c->a->o.urls, &t, c->r, buf_str(&who));
		}
	}
	c->r = NULL;
	url_target_done(&t);
	return 0;
}

/* --- what is declared --- */

static struct function *find(struct api_call *c)
{
	struct function *f = function_get(c->a->o.store, str_of(c->name.name));
	const char *q = c->name.qualifier;

	if (q[0] && function_version_number(str_of(q)) >= 0)
		api_invalid(&c->e, "qualifier", str_of(q), 128,
			    "satisfy regular expression pattern: ((?!^\\d+$)^[0-9a-zA-Z-_]+$)");
	else if (!f || !function_resolve(f, str_of(q), 0))
		api_fail(&c->e, API_NOT_FOUND, "Function does not exist");
	else
		return f;
	return NULL;
}

static void write_url(struct jw *w, struct api_call *c, const char *qualifier, const struct json *doc)
{
	static const char *const texts[] = {"AuthType", "InvokeMode", "CreationTime", "LastModifiedTime"};
	struct str host = http_header(c->r, "host");
	/* Inside of a sandbox AWS's own names are answered, over TLS only. */
	auto_free char *url =
		xasprintf("%s://" STR_FMT URL_PREFIX STR_FMT "/", str_ends(host, ".amazonaws.com") ? "https" : "http",
			  STR_ARG(host.n ? host : STR("127.0.0.1")), STR_ARG(json_get_str(doc, "UrlId")));
	auto_free char *cors = json_text(json_get(doc, "Cors"));
	char arn[API_ARN_BYTES];

	jw_strc(w, "FunctionUrl", url);
	jw_strc(w, "FunctionArn", api_arn(&c->a->where, c->name.name, qualifier, arn));
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		jw_str(w, texts[i], json_get_str(doc, texts[i]));
	if (cors)
		jw_raw(w, "Cors", str_of(cors));
}

/* What the request says, and where it says nothing, what there is. */
static struct json *merge(const struct json *fresh, const struct json *old)
{
	static const char *const members[] = {"AuthType", "InvokeMode", "Cors"};
	auto_object(w, b);

	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		const struct json *j = json_get(fresh, members[i]);

		if (json_type(j) == JSON_NONE || json_type(j) == JSON_NULL)
			j = json_get(old, members[i]);

		auto_free char *text = json_type(j) == JSON_OBJECT ? json_text(j) : NULL;

		if (text)
			jw_raw(&w, members[i], str_of(text));
		else if (json_str(j).p)
			jw_str(&w, members[i], json_str(j));
	}
	jw_end(&w, '}');
	return json_parse(buf_str(&b), NULL);
}

static int check(struct api_call *c, const struct json *doc)
{
	struct str auth = json_get_str(doc, "AuthType"), mode = json_get_str(doc, "InvokeMode");

	if (!str_eqc(auth, "NONE") && !str_eqc(auth, "AWS_IAM"))
		return api_invalid(&c->e, "authType", auth, 64,
				   auth.p ? "satisfy enum value set: [NONE, AWS_IAM]" : "not be null");
	if (mode.n && !str_eqc(mode, "BUFFERED") && !str_eqc(mode, "RESPONSE_STREAM"))
		return api_invalid(&c->e, "invokeMode", mode, 64,
				   "satisfy enum value set: [BUFFERED, RESPONSE_STREAM]");
	return 0;
}

static int put(struct api_call *c, const struct json *old, int status)
{
	auto_json body = api_body(c);
	auto_json doc = body ? merge(body, old) : NULL;
	auto_json now = NULL;
	struct store_tx tx;
	struct err e = {0};
	auto_object(w, b);

	if (!doc || check(c, doc) < 0)
		return -1;
	store_tx_init(&tx);
	if (url_put(c->a->o.urls, c->name.name, c->name.qualifier, doc, json_get_str(old, "project").p, &tx, &e) < 0)
		return api_fail(&c->e, API_INVALID_PARAMETER, "%s", e.text);
	now = url_get(c->a->o.urls, c->name.name, c->name.qualifier);
	write_url(&w, c, c->name.qualifier, now);
	jw_end(&w, '}');
	return api_commit(c, &tx, status, buf_str(&b));
}

int lambda_create_url(struct api_call *c)
{
	auto_json old = find(c) ? url_get(c->a->o.urls, c->name.name, c->name.qualifier) : NULL;
	char arn[API_ARN_BYTES];

	if (c->e.code)
		return -1;
	if (old)
		return api_fail(&c->e, API_CONFLICT,
				"Failed to create function url config for [functionArn = %s]. Error message:  "
				"FunctionUrlConfig exists for this Lambda function",
				api_arn(&c->a->where, c->name.name, c->name.qualifier, arn));
	return put(c, NULL, 201);
}

/* NULL: c->e. The caller frees. */
static struct json *there(struct api_call *c)
{
	struct json *doc = find(c) ? url_get(c->a->o.urls, c->name.name, c->name.qualifier) : NULL;

	if (!doc && !c->e.code)
		api_fail(&c->e, API_NOT_FOUND, "The resource you requested does not exist.");
	return doc;
}

int lambda_update_url(struct api_call *c)
{
	auto_json old = there(c);

	return old ? put(c, old, 200) : -1;
}

int lambda_get_url(struct api_call *c)
{
	auto_json doc = there(c);
	auto_object(w, b);

	if (!doc)
		return -1;
	write_url(&w, c, c->name.qualifier, doc);
	return api_reply_object(c, 200, &w);
}

int lambda_delete_url(struct api_call *c)
{
	auto_json doc = there(c);
	struct store_tx tx;

	if (!doc)
		return -1;
	store_tx_init(&tx);
	url_delete(c->a->o.urls, c->name.name, c->name.qualifier, &tx);
	return api_commit(c, &tx, 204, STR_NULL);
}

int lambda_list_urls(struct api_call *c)
{
	return find(c) ? api_list_kept(c, "url", "FunctionUrlConfigs", write_url) : -1;
}
