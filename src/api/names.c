/* SPDX-License-Identifier: Apache-2.0 */
#include "api/names.h"
#include <stdio.h>

#define NAME_PATTERN                                                                                                   \
	"(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}(-gov)?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:"    \
	"(\\$LATEST|[a-zA-Z0-9-_]+))?"

static int bad_name(struct str text, struct api_err *e)
{
	return api_invalid(e, "functionName", text, 256, "satisfy regular expression pattern: " NAME_PATTERN);
}

bool api_all_digits(struct str s)
{
	size_t i = 0;

	while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
		i++;
	return i == s.n;
}

/* "us-east-1", "us-gov-west-1": letters and dashes, a dash and one digit at the end. */
static bool region_like(struct str s)
{
	size_t dashes = 0;

	if (s.n < 6 || s.n > 30 || s.p[s.n - 1] < '0' || s.p[s.n - 1] > '9' || s.p[s.n - 2] != '-')
		return false;
	for (size_t i = 0; i + 1 < s.n; i++) {
		if (s.p[i] == '-')
			dashes++;
		else if (s.p[i] < 'a' || s.p[i] > 'z')
			return false;
	}
	return dashes >= 2;
}

/* Takes "word:" off the front; false: there is no colon. */
static bool word(struct str *rest, struct str *ret)
{
	return str_cut(*rest, ':', ret, rest);
}

static int take_prefix(struct str text, struct str *rest, const struct api_where *at, struct api_err *e)
{
	struct str w, after;

	*rest = text;
	if (str_starts(*rest, "arn:")) {
		struct str arn, aws, service;

		if (!word(rest, &arn) || !word(rest, &aws) || !word(rest, &service) || !str_starts(aws, "aws") ||
		    !str_eqc(service, "lambda"))
			return bad_name(text, e);
	}
	after = *rest;
	if (word(&after, &w) && region_like(w)) {
		if (!str_eqc(w, at->region))
			return api_fail(e, API_NOT_FOUND,
					"Functions from '" STR_FMT "' are not reachable in this region ('%s')",
					STR_ARG(w), at->region);
		*rest = after;
	}
	after = *rest;
	if (word(&after, &w) && w.n == 12 && api_all_digits(w)) {
		if (!str_eqc(w, at->account))
			return api_fail(e, API_ACCESS_DENIED,
					"Functions of account " STR_FMT " are not reachable in this account (%s)",
					STR_ARG(w), at->account);
		*rest = after;
	}
	if (str_starts(*rest, "function:"))
		*rest = (struct str){rest->p + 9, rest->n - 9};
	return 0;
}

int api_name_parse(struct str text, const struct api_where *at, struct api_name *ret, struct api_err *e)
{
	struct str rest, name, qualifier = STR_NULL;

	if (take_prefix(text, &rest, at, e) < 0)
		return -1;
	name = rest;
	if (str_cut(rest, ':', &name, &qualifier) && !str_eqc(qualifier, "$LATEST") &&
	    !str_name_ok(qualifier, 128, "-_"))
		return bad_name(text, e);
	if (!str_name_ok(name, 1000, "-_"))
		return bad_name(text, e);
	if (name.n > LIM_NAME_BYTES)
		return api_invalid(e, "functionName", name, 256, "have length less than or equal to %d",
				   LIM_NAME_BYTES);
	snprintf(ret->name, sizeof(ret->name), STR_FMT, STR_ARG(name));
	snprintf(ret->qualifier, sizeof(ret->qualifier), STR_FMT, STR_ARG(qualifier));
	return 0;
}

int api_name_qualify(struct api_name *n, struct str qualifier, struct api_err *e)
{
	if (!qualifier.n)
		return 0;
	if (!str_eqc(qualifier, "$LATEST") && !str_name_ok(qualifier, 128, "-_"))
		return api_invalid(e, "qualifier", qualifier, 128,
				   "satisfy regular expression pattern: (|[a-zA-Z0-9$_-]+)");
	if (n->qualifier[0] && !str_eqc(qualifier, n->qualifier))
		return api_fail(e, API_INVALID_PARAMETER,
				"The derived qualifier from the function name does not match the specified qualifier.");
	snprintf(n->qualifier, sizeof(n->qualifier), STR_FMT, STR_ARG(qualifier));
	return 0;
}

bool api_name_is_latest(const struct api_name *n)
{
	return !n->qualifier[0] || !strcmp(n->qualifier, "$LATEST");
}

char *api_arn(const struct api_where *at, const char *name, const char *qualifier, char out[API_ARN_BYTES])
{
	bool q = qualifier && *qualifier;

	snprintf(out, API_ARN_BYTES, "arn:aws:lambda:%s:%s:function:%s%s%s", at->region, at->account, name,
		 q ? ":" : "", q ? qualifier : "");
	return out;
}
