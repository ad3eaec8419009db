/* SPDX-License-Identifier: Apache-2.0 */
#include "api/authz.h"

#include "base/mem.h"

bool authz_match(struct str pattern, struct str text)
{
	size_t p = 0, t = 0, star = SIZE_MAX, mark = 0;

	while (t < text.n) {
		if (p < pattern.n && pattern.p[p] == '*') {
			star = p++;
			mark = t;
		} else if (p < pattern.n && (pattern.p[p] == '?' || pattern.p[p] == text.p[t])) {
			p++;
			t++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			t = ++mark;
		} else {
			return false;
		}
	}
	while (p < pattern.n && pattern.p[p] == '*')
		p++;
	return p == pattern.n;
}

static bool is_resource(struct str pattern, struct str arn)
{
	size_t at = arn.n;

	if (authz_match(pattern, arn))
		return true;
	if (str_starts(pattern, "arn:"))
		return false;
	if (str_starts(arn, "arn:aws:s3:::")) /* "BUCKET", "BUCKET/KEY" */
		return authz_match(pattern, (struct str){arn.p + 13, arn.n - 13});
	while (at > 0 && arn.p[at - 1] != ':' && arn.p[at - 1] != '/')
		at--;
	return authz_match(pattern, (struct str){arn.p + at, arn.n - at});
}

static bool any(const struct json *j, struct str text, bool (*match)(struct str pattern, struct str text))
{
	if (json_type(j) == JSON_STRING)
		return match(json_str(j), text);
	for (size_t i = 0; json_type(j) == JSON_ARRAY && i < json_len(j); i++)
		if (json_type(json_at(j, i)) == JSON_STRING && match(json_str(json_at(j, i)), text))
			return true;
	return false;
}

static bool granted(const char *allow, const char *action, const char *resource)
{
	auto_json list = allow ? json_parse(str_of(allow), NULL) : NULL;

	for (size_t i = 0; list && i < json_len(list); i++) {
		const struct json *one = json_at(list, i);

		if (any(json_get(one, "action"), str_of(action), authz_match) &&
		    any(json_get(one, "resource"), str_of(resource), is_resource))
			return true;
	}
	return false;
}

int authz_check(const struct principal *p, const char *account, const char *action, const char *resource,
		struct api_err *e)
{
	switch (p->kind) {
	case PRINCIPAL_OPERATOR:
	case PRINCIPAL_ANONYMOUS:
		return 0;
	case PRINCIPAL_WORKLOAD:
		if (granted(p->allow, action, resource))
			return 0;
		break;
	case PRINCIPAL_N:
		break;
	}
	return api_fail(e, API_ACCESS_DENIED,
			"User: arn:aws:sts::%s:assumed-role/%s/%s is not authorized to perform: %s on resource: %s "
			"because no allow: entry of its tandem.yaml grants it; this one would: {action: \"%s\", "
			"resource: \"%s\"}",
			account, p->name ? p->name : "nobody", p->name ? p->name : "nobody", action, resource, action,
			resource);
}

/* Without the qualifier, or the revision. */
static char *unqualified(char *arn)
{
	int colons = str_starts(str_of(arn), "arn:aws:lambda:") ? 7 : 6;

	for (char *c = arn; *c; c++)
		if (*c == ':' && --colons == 0)
			*c = 0;
	return arn;
}

static int start_one(const struct principal *p, const struct api_where *at, struct str target, struct str task,
		     struct api_err *e)
{
	static const char *const starts[][2] = {{"arn:aws:lambda:", "lambda:InvokeFunction"},
						{"arn:aws:sqs:", "sqs:SendMessage"},
						{"arn:aws:sns:", "sns:Publish"},
						{"arn:aws:events:", "events:PutEvents"},
						{"arn:aws:kinesis:", "kinesis:PutRecord"},
						{"arn:aws:ecs:", "ecs:RunTask"}};
	bool runs = str_starts(target, "arn:aws:ecs:");
	auto_free char *arn = runs && !str_starts(task, "arn:")
				      ? xasprintf("arn:aws:ecs:%s:%s:task-definition/" STR_FMT, at->region, at->account,
						  STR_ARG(task))
				      : str_dup(runs ? task : target);
	const char *action = "*"; /* of what nobody here knows: for who may do everything */
	struct api_err ignored;

	for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
		if (str_starts(target, starts[i][0]))
			action = starts[i][1];
	if (runs && authz_check(p, at->account, action, arn, &ignored) == 0)
		return 0;
	return authz_check(p, at->account, action, unqualified(arn), e);
}

int authz_start(const struct principal *p, const struct api_where *at, const struct json *target, const char *member,
		struct api_err *e)
{
	struct str arn = json_get_str(target, member), dead = json_get_str(json_get(target, "DeadLetterConfig"), "Arn"),
		   task = json_get_str(json_get(target, "EcsParameters"), "TaskDefinitionArn");

	if (p->kind != PRINCIPAL_WORKLOAD)
		return 0;
	return (arn.n && start_one(p, at, arn, task, e) < 0) || (dead.n && start_one(p, at, dead, STR_NULL, e) < 0) ? -1
														    : 0;
}

int authz_redrive(const struct principal *p, const struct api_where *at, struct str policy, struct api_err *e)
{
	auto_json doc = policy.n ? json_parse(policy, NULL) : NULL;

	return authz_start(p, at, doc, "deadLetterTargetArn", e);
}
