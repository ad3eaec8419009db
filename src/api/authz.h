/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one place that decides who may do what. The operator may do everything; a workload what the allow: list of its
 * tandem.yaml grants, and nothing before; without authentication (--auth none, loopback only) everybody is the
 * operator.
 *
 * allow is a JSON array of {"action": P or [P...], "resource": P or [P...]}. P is a pattern with * and ?. A resource
 * pattern that does not begin with "arn:" is a name: it is compared with what follows the last ':' or '/' of the ARN's
 * unqualified form; for S3 with what follows ":::", the bucket, or the bucket and the key.
 */
#pragma once
#include "api/errors.h"
#include "api/names.h"
#include "json/read.h"
#include "base/str.h"

enum principal_kind { PRINCIPAL_OPERATOR, PRINCIPAL_WORKLOAD, PRINCIPAL_ANONYMOUS, PRINCIPAL_N };
struct principal {
	enum principal_kind kind;
	const char *name, *allow; /* WORKLOAD; allow NULL: nothing */
	const char *trace;	  /* X-Amzn-Trace-Id of what runs there, or NULL */
};
int authz_check(const struct principal *p, const char *account, const char *action, const char *resource,
		struct api_err *e);
/* Whether it may do itself what it wants others to do on its behalf: send to, invoke or run the target whose ARN is that
 * member (none: nothing is asked), and send to its DeadLetterConfig. */
int authz_start(const struct principal *p, const struct api_where *at, const struct json *target, const char *member,
		struct api_err *e);
/* The same for the queue of a RedrivePolicy, which is JSON in a string. */
int authz_redrive(const struct principal *p, const struct api_where *at, struct str policy, struct api_err *e);
bool authz_match(struct str pattern, struct str text); /* * and ?, no escapes; time at most pattern x text */
