/* SPDX-License-Identifier: Apache-2.0 */
#include "api/api_int.h"

int sts_get_caller_identity(struct api_call *c)
{
	bool workload = c->who.kind == PRINCIPAL_WORKLOAD;
	const char *account = c->a->where.account;
	auto_buf b = {0};

	buf_adds(&b, "<GetCallerIdentityResponse "
		     "xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>");
	if (workload)
		buf_addf(&b, "<Arn>arn:aws:sts::%s:assumed-role/%s/%s</Arn><UserId>AROATANDEMWORKLOAD000:%s</UserId>",
			 account, c->who.name, c->who.name, c->who.name);
	else
		buf_addf(&b, "<Arn>arn:aws:iam::%s:user/%s</Arn><UserId>AIDATANDEMOPERATOR000</UserId>", account,
			 c->who.kind == PRINCIPAL_ANONYMOUS ? "anonymous" : "operator");
	buf_addf(&b,
		 "<Account>%s</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>%s</RequestId></"
		 "ResponseMetadata>"
		 "</GetCallerIdentityResponse>",
		 account, c->request_id);
	return api_reply_xml(c, 200, buf_str(&b));
}
