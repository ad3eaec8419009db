/* SPDX-License-Identifier: Apache-2.0 */
#include "api/api_int.h"
#include "base/mem.h"

static int get_caller_identity(struct api_call *c)
{
	bool workload = c->who.kind == PRINCIPAL_WORKLOAD;
	const char *account = c->a->where.account, *name = c->who.name;
	auto_free char *arn = workload ? xasprintf("arn:aws:sts::%s:assumed-role/%s/%s", account, name, name)
				       : xasprintf("arn:aws:iam::%s:user/%s", account,
						   c->who.kind == PRINCIPAL_ANONYMOUS ? "anonymous" : "operator");
	auto_free char *id = workload ? xasprintf("AROATANDEMWORKLOAD000:%s", name) : xstrdup("AIDATANDEMOPERATOR000");
	auto_object(w, b);

	jw_strc(&w, "Arn", arn);
	jw_strc(&w, "UserId", id);
	jw_strc(&w, "Account", account);
	return api_reply_object(c, 200, &w);
}

const struct api_op sts_ops[] = {
	{"sts", NULL, "{}", "GetCallerIdentity", SUBJECT_OPEN, get_caller_identity},
	{0},
};
