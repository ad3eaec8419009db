/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A function's resource policy, record "policy/FUNCTION:QUALIFIER" as IAM has it. It is kept for whoever asks for it, and
 * says who may call a function's URL without a signature; what workloads may do is their allow: list's to say alone.
 */
#include <string.h>
#include "api/api_int.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/record.h"

#define POLICY_BYTES 20480 /* Lambda's */

static char *key_of(const struct api_call *c)
{
	return xasprintf("policy/%s:%s", c->name.name, c->name.qualifier);
}

static struct json *stored(const struct api_call *c)
{
	auto_free char *key = key_of(c);
	const char *text = record_get(c->a->o.store, key);

	return text ? json_parse(str_of(text), NULL) : NULL;
}

static int none(struct api_call *c)
{
	return api_fail(&c->e, API_NOT_FOUND, "No policy is associated with the given resource.");
}

static int check_revision(struct api_call *c, const struct json *policy, struct str revision)
{
	if (!revision.n || str_eq(revision, json_get_str(policy, "RevisionId")))
		return 0;
	return api_fail(&c->e, API_PRECONDITION,
			"The RevisionId provided does not match the latest RevisionId. Call the GetPolicy API to "
			"retrieve the latest RevisionId");
}

static const struct json *statement(const struct json *policy, const char *sid)
{
	const struct json *all = json_get(policy, "Statement");

	for (size_t i = 0; i < json_len(all); i++)
		if (str_eqc(json_get_str(json_at(all, i), "Sid"), sid))
			return json_at(all, i);
	return NULL;
}

/* The policy without the statement of that name, and with another one; either may be NULL. revision: of the record. */
static void write_policy(struct buf *b, const struct json *policy, const char *without, const char *with,
			 const char *revision)
{
	const struct json *all = json_get(policy, "Statement");
	struct jw w = jw_object(b);

	jw_strc(&w, "Version", "2012-10-17");
	jw_strc(&w, "Id", "default");
	jw_arr(&w, "Statement");
	for (size_t i = 0; i < json_len(all); i++) {
		auto_free char *text = json_text(json_at(all, i));

		if (!without || !str_eqc(json_get_str(json_at(all, i), "Sid"), without))
			jw_raw(&w, NULL, str_of(text));
	}
	if (with)
		jw_raw(&w, NULL, str_of(with));
	jw_end(&w, ']');
	if (revision)
		jw_strc(&w, "RevisionId", revision);
	jw_end(&w, '}');
}

static void put_principal(struct jw *w, struct str p)
{
	if (str_eqc(p, "*"))
		return jw_str(w, "Principal", p);
	jw_obj(w, "Principal");
	if (str_ends(p, ".amazonaws.com")) {
		jw_str(w, "Service", p);
	} else if (api_all_digits(p)) {
		auto_free char *root = xasprintf("arn:aws:iam::" STR_FMT ":root", STR_ARG(p));

		jw_strc(w, "AWS", root);
	} else {
		jw_str(w, "AWS", p);
	}
	jw_end(w, '}');
}

static void put_conditions(struct jw *w, const struct json *body)
{
	static const struct {
		const char *member, *key;
	} equals[] = {{"SourceAccount", "AWS:SourceAccount"},
		      {"EventSourceToken", "lambda:EventSourceToken"},
		      {"FunctionUrlAuthType", "lambda:FunctionUrlAuthType"},
		      {"PrincipalOrgID", "aws:PrincipalOrgID"}};
	struct str arn = json_get_str(body, "SourceArn");
	bool any = false;

	for (size_t i = 0; i < ARRAY_SIZE(equals); i++)
		any |= json_get_str(body, equals[i].member).n > 0;
	if (!any && !arn.n)
		return;
	jw_obj(w, "Condition");
	if (any)
		jw_obj(w, "StringEquals");
	for (size_t i = 0; i < ARRAY_SIZE(equals); i++)
		if (json_get_str(body, equals[i].member).n)
			jw_str(w, equals[i].key, json_get_str(body, equals[i].member));
	if (any)
		jw_end(w, '}');
	if (arn.n) {
		jw_obj(w, "ArnLike");
		jw_str(w, "AWS:SourceArn", arn);
		jw_end(w, '}');
	}
	jw_end(w, '}');
}

static int check(struct api_call *c, const struct json *body)
{
	static const char *const must[][2] = {
		{"StatementId", "statementId"}, {"Action", "action"}, {"Principal", "principal"}};
	struct str sid = json_get_str(body, "StatementId"), action = json_get_str(body, "Action"), rest,
		   auth = json_get_str(body, "FunctionUrlAuthType");

	for (size_t i = 0; i < ARRAY_SIZE(must); i++)
		if (!json_get_str(body, must[i][0]).n)
			return api_invalid(&c->e, must[i][1], STR_NULL, 0, "not be null");
	rest = (struct str){action.p + strlen("lambda:"),
			    action.n < strlen("lambda:") ? 0 : action.n - strlen("lambda:")};
	if (!str_name_ok(sid, 100, "-_"))
		return api_invalid(&c->e, "statementId", sid, 100,
				   "satisfy regular expression pattern: ([a-zA-Z0-9-_]+)");
	if (!str_eqc(action, "*") && (!str_starts(action, "lambda:") || !str_name_ok(rest, 100, "*")))
		return api_invalid(&c->e, "action", action, 100,
				   "satisfy regular expression pattern: (lambda:[*]|lambda:[a-zA-Z]+|[*])");
	if (auth.n && !str_eqc(auth, "NONE") && !str_eqc(auth, "AWS_IAM"))
		return api_invalid(&c->e, "functionUrlAuthType", auth, 64, "satisfy enum value set: [NONE, AWS_IAM]");
	if (!strcmp(c->name.qualifier, "$LATEST"))
		return api_fail(&c->e, API_INVALID_PARAMETER,
				"We currently do not support adding policies for $LATEST.");
	return 0;
}

static void write_statement(struct buf *b, const struct api_call *c, const struct json *body)
{
	struct jw w = jw_object(b);
	char arn[API_ARN_BYTES];

	jw_str(&w, "Sid", json_get_str(body, "StatementId"));
	jw_strc(&w, "Effect", "Allow");
	put_principal(&w, json_get_str(body, "Principal"));
	jw_str(&w, "Action", json_get_str(body, "Action"));
	jw_strc(&w, "Resource", api_arn(&c->a->where, c->name.name, c->name.qualifier, arn));
	put_conditions(&w, body);
	jw_end(&w, '}');
}

int lambda_add_permission(struct api_call *c)
{
	struct revision *r;
	struct function *f = api_target(c, &r);
	auto_json body = f ? api_body(c) : NULL;
	auto_json policy = stored(c);
	auto_free char *key = key_of(c);
	auto_buf one = {0}, all = {0};
	char revision[37];
	auto_object(w, b);

	if (!f || !body || check(c, body) < 0 || check_revision(c, policy, json_get_str(body, "RevisionId")) < 0)
		return -1;
	if (statement(policy, json_get_str(body, "StatementId").p))
		return api_fail(&c->e, API_CONFLICT,
				"The statement id (%s) provided already exists. Please provide a new statement id, or "
				"remove the existing statement.",
				json_get_str(body, "StatementId").p);
	write_statement(&one, c, body);
	id_uuid(revision);
	write_policy(&all, policy, NULL, one.p, revision);
	if (all.n > POLICY_BYTES)
		return api_fail(&c->e, API_POLICY_LENGTH, "The final policy size (%zu) is bigger than the limit (%d).",
				all.n, POLICY_BYTES);
	jw_str(&w, "Statement", buf_str(&one));
	jw_end(&w, '}');
	record_put(c->a->o.store, api_saving(c, 201, buf_str(&b), false), key, all.p);
	return 0;
}

int lambda_get_policy(struct api_call *c)
{
	struct revision *r;
	auto_json policy = api_target(c, &r) ? stored(c) : NULL;
	auto_buf text = {0};
	auto_object(w, b);

	if (!policy)
		return c->e.code ? -1 : none(c);
	write_policy(&text, policy, NULL, NULL, NULL);
	jw_str(&w, "Policy", buf_str(&text));
	jw_str(&w, "RevisionId", json_get_str(policy, "RevisionId"));
	return api_reply_object(c, 200, &w);
}

int lambda_remove_permission(struct api_call *c)
{
	struct revision *r;
	auto_json policy = api_target(c, &r) ? stored(c) : NULL;
	auto_free char *key = key_of(c);
	auto_buf all = {0}, q = {0};
	char revision[37];

	if (!policy)
		return c->e.code ? -1 : none(c);
	api_query(c->r, "RevisionId", &q);
	if (check_revision(c, policy, buf_str(&q)) < 0)
		return -1;
	if (!statement(policy, c->item))
		return api_fail(&c->e, API_NOT_FOUND, "Statement %s is not found in resource policy.", c->item);
	if (json_len(json_get(policy, "Statement")) == 1) {
		record_del(c->a->o.store, api_saving(c, 204, STR_NULL, false), key);
		return 0;
	}
	id_uuid(revision);
	write_policy(&all, policy, c->item, NULL, revision);
	record_put(c->a->o.store, api_saving(c, 204, STR_NULL, false), key, all.p);
	return 0;
}
