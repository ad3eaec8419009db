/* SPDX-License-Identifier: Apache-2.0 */
/* The forms in which a Lambda function is named: name, name:qualifier, partial and full ARN. Input is decoded text from
 * outside. */
#pragma once
#include "api/errors.h"
#include "base/limits.h"
#include "base/str.h"

struct api_where { /* borrowed */
	const char *account, *region;
};
struct api_name {
	char name[LIM_NAME_BYTES + 1];
	char qualifier[129]; /* "" : none */
};
int api_name_parse(struct str text, const struct api_where *at, struct api_name *ret, struct api_err *e);
/* The query's qualifier beside it: both must agree; 0 and n->qualifier filled, or -1. */
int api_name_qualify(struct api_name *n, struct str qualifier, struct api_err *e);
bool api_all_digits(struct str s);
bool api_name_is_latest(const struct api_name *n); /* no qualifier, or $LATEST */
#define API_ARN_BYTES 320
/* qualifier "" or NULL: the unqualified ARN. Returns out. */
char *api_arn(const struct api_where *at, const char *name, const char *qualifier, char out[API_ARN_BYTES]);
