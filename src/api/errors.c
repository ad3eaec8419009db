/* SPDX-License-Identifier: Apache-2.0 */
#include "api/errors.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

static const struct api_code_info codes[API_CODE_N] = {
	[API_OK] = {"", NULL, 200, false, NULL},
	[API_MISSING_TOKEN] = {"MissingAuthenticationTokenException", "MissingAuthenticationToken", 403, false, NULL},
	[API_INCOMPLETE_SIGNATURE] = {"IncompleteSignatureException", "IncompleteSignature", 403, false, NULL},
	[API_INVALID_SIGNATURE] = {"InvalidSignatureException", "SignatureDoesNotMatch", 403, false, NULL},
	[API_UNKNOWN_KEY] = {"UnrecognizedClientException", "InvalidClientTokenId", 403, false, NULL},
	[API_ACCESS_DENIED] = {"AccessDeniedException", "AccessDenied", 403, true, NULL},
	[API_UNKNOWN_OPERATION] = {"UnknownOperationException", "InvalidAction", 404, false, NULL},
	[API_NOT_IMPLEMENTED] = {"NotImplemented", NULL, 501, false, NULL},
	[API_SERIALIZATION] = {"SerializationException", "MalformedInput", 400, true, NULL},
	[API_VALIDATION] = {"ValidationException", "ValidationError", 400, false, NULL},
	[API_INVALID_PARAMETER] = {"InvalidParameterValueException", "InvalidParameterValue", 400, false, NULL},
	[API_INVALID_CONTENT] = {"InvalidRequestContentException", NULL, 400, false, NULL},
	[API_NOT_FOUND] = {"ResourceNotFoundException", NULL, 404, true, NULL},
	[API_CONFLICT] = {"ResourceConflictException", NULL, 409, false, NULL},
	[API_PRECONDITION] = {"PreconditionFailedException", NULL, 412, false, NULL},
	[API_TOO_LARGE] = {"RequestTooLargeException", NULL, 413, false, NULL},
	[API_ENTITY_TOO_LARGE] = {"RequestEntityTooLargeException", NULL, 413, true, NULL},
	[API_THROTTLED] = {"TooManyRequestsException", "Throttling", 429, false, "ConcurrentInvocationLimitExceeded"},
	[API_THROTTLED_RESERVED] = {"TooManyRequestsException", "Throttling", 429, false,
				    "ReservedFunctionConcurrentInvocationLimitExceeded"},
	[API_NO_PROVISIONED] = {"ProvisionedConcurrencyConfigNotFoundException", NULL, 404, false, NULL},
	[API_ECS_CLIENT] = {"ClientException", NULL, 400, false, NULL},
	[API_INVALID_MEMBER] = {"InvalidParameterException", NULL, 400, false, NULL},
	[API_ECR_NO_REPOSITORY] = {"RepositoryNotFoundException", NULL, 400, false, NULL},
	[API_ECR_EXISTS] = {"RepositoryAlreadyExistsException", NULL, 400, false, NULL},
	[API_ECR_NOT_EMPTY] = {"RepositoryNotEmptyException", NULL, 400, false, NULL},
	[API_ECR_NO_POLICY] = {"RepositoryPolicyNotFoundException", NULL, 400, false, NULL},
	[API_ECR_NO_LIFECYCLE] = {"LifecyclePolicyNotFoundException", NULL, 400, false, NULL},
	[API_ECR_NO_IMAGE] = {"ImageNotFoundException", NULL, 400, false, NULL},
	[API_ECR_TAG_EXISTS] = {"ImageTagAlreadyExistsException", NULL, 400, false, NULL},
	[API_ECR_NO_PART] = {"LayersNotFoundException", NULL, 400, false, NULL},
	[API_ECR_LIMIT] = {"LimitExceededException", NULL, 400, false, NULL},
	[API_ECS_CONFLICT] = {"ConflictException", NULL, 400, false, NULL},
	[API_ECS_NO_CLUSTER] = {"ClusterNotFoundException", NULL, 400, false, NULL},
	[API_ECS_CLUSTER_TASKS] = {"ClusterContainsTasksException", NULL, 400, false, NULL},
	[API_ECS_CLUSTER_SERVICES] = {"ClusterContainsServicesException", NULL, 400, false, NULL},
	[API_ECS_NO_SERVICE] = {"ServiceNotFoundException", NULL, 400, false, NULL},
	[API_ECS_SERVICE_INACTIVE] = {"ServiceNotActiveException", NULL, 400, false, NULL},
	[API_SERVICE] = {"ServiceException", "InternalFailure", 500, true, NULL},
};

const struct api_code_info *api_code_info(enum api_code code)
{
	assert((unsigned)code < API_CODE_N);
	return &codes[code];
}

int api_fail(struct api_err *e, enum api_code code, const char *fmt, ...)
{
	va_list ap;

	e->code = code;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return -1;
}

int api_invalid(struct api_err *e, const char *member, struct str value, size_t shown, const char *fmt, ...)
{
	const char *quote = value.p ? "'" : "";
	char must[300];
	va_list ap;

	if (value.n > shown)
		value.n = shown;
	va_start(ap, fmt);
	vsnprintf(must, sizeof(must), fmt, ap);
	va_end(ap);
	return api_fail(e, API_VALIDATION,
			"1 validation error detected: Value %s" STR_FMT
			"%s at '%s' failed to satisfy constraint: Member must %s",
			quote, STR_ARG(value.p ? value : STR("null")), quote, member, must);
}
