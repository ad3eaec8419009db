/* SPDX-License-Identifier: Apache-2.0 */
/* The AWS errors that the API answers with: one table of name, status and how its message member is spelt. */
#pragma once
#include <stdbool.h>
#include "base/err.h"
#include "base/str.h"

enum api_code {
	API_OK,
	/* who is asking */
	API_MISSING_TOKEN,
	API_INCOMPLETE_SIGNATURE,
	API_INVALID_SIGNATURE,
	API_UNKNOWN_KEY,
	API_ACCESS_DENIED,
	/* what is asked */
	API_UNKNOWN_OPERATION,
	API_NOT_IMPLEMENTED,
	API_SERIALIZATION,
	API_VALIDATION,
	API_INVALID_PARAMETER,
	API_INVALID_CONTENT,
	API_NOT_FOUND,
	API_CONFLICT,
	API_PRECONDITION,
	API_TOO_LARGE,
	API_ENTITY_TOO_LARGE,
	API_THROTTLED,
	API_THROTTLED_RESERVED,
	API_NO_PROVISIONED,
	/* services of JSON */
	API_ECS_CLIENT,
	API_INVALID_MEMBER,
	API_ECR_NO_REPOSITORY,
	API_ECR_EXISTS,
	API_ECR_NOT_EMPTY,
	API_ECR_NO_POLICY,
	API_ECR_NO_LIFECYCLE,
	API_ECR_NO_IMAGE,
	API_ECR_TAG_EXISTS,
	API_ECR_NO_PART,
	API_ECR_LIMIT,
	API_ECS_CONFLICT,
	API_ECS_NO_CLUSTER,
	API_ECS_CLUSTER_TASKS,
	API_ECS_CLUSTER_SERVICES,
	API_ECS_NO_SERVICE,
	API_ECS_SERVICE_INACTIVE,
	API_SERVICE,
	API_CODE_N
};
struct api_err {
	enum api_code code;
	char text[1500];
};
/* For services of the query protocol the names differ in places; NULL there means: the same. */
struct api_code_info {
	const char *name, *query_name;
	int status;
	bool upper;	    /* "Message" instead of "message" */
	const char *reason; /* member Reason, or NULL */
};
const struct api_code_info *api_code_info(enum api_code code);
int api_fail(struct api_err *e, enum api_code code, const char *fmt, ...) PRINTF(3, 4);
/* API_VALIDATION in AWS's words; of value (or null) at most so many bytes are shown; fmt: what it must. */
int api_invalid(struct api_err *e, const char *member, struct str value, size_t shown, const char *fmt, ...)
	PRINTF(5, 6); /* -1 */
