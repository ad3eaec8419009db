/* SPDX-License-Identifier: Apache-2.0 */
#include "api/authz.h"

#include "json/read.h"

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
			"because no allow: entry of its "
			"tandem.yaml grants it",
			account, p->name ? p->name : "nobody", p->name ? p->name : "nobody", action, resource);
}
