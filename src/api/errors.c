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
	[API_POLICY_LENGTH] = {"PolicyLengthExceededException", NULL, 400, false, NULL},
	[API_ECS_CLIENT] = {"ClientException", NULL, 400, false, NULL},
	[API_INVALID_MEMBER] = {"InvalidParameterException", "InvalidParameter", 400, false, NULL},
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
	[API_S3_SKEWED] = {"RequestTimeTooSkewed", NULL, 403, false, NULL},
	[API_S3_UNKNOWN_KEY] = {"InvalidAccessKeyId", NULL, 403, false, NULL},
	[API_S3_BAD_AUTHORIZATION] = {"AuthorizationHeaderMalformed", NULL, 400, false, NULL},
	[API_S3_NO_UPLOAD] = {"NoSuchUpload", NULL, 404, false, NULL},
	[API_S3_INVALID_PART] = {"InvalidPart", NULL, 400, false, NULL},
	[API_S3_PART_ORDER] = {"InvalidPartOrder", NULL, 400, false, NULL},
	[API_S3_PRECONDITION] = {"PreconditionFailed", NULL, 412, false, NULL},
	[API_S3_NOT_MODIFIED] = {"NotModified", NULL, 304, false, NULL},
	[API_S3_INVALID_RANGE] = {"InvalidRange", NULL, 416, false, NULL},
	[API_S3_INCOMPLETE_BODY] = {"IncompleteBody", NULL, 400, false, NULL},
	[API_S3_SHA256_MISMATCH] = {"XAmzContentSHA256Mismatch", NULL, 400, false, NULL},
	[API_S3_METADATA_TOO_LARGE] = {"MetadataTooLarge", NULL, 400, false, NULL},
	[API_S3_KEY_TOO_LONG] = {"KeyTooLongError", NULL, 400, false, NULL},
	[API_S3_INVALID_URI] = {"InvalidURI", NULL, 400, false, NULL},
	[API_S3_NO_LENGTH] = {"MissingContentLength", NULL, 411, false, NULL},
	[API_S3_CONFLICT] = {"OperationAborted", NULL, 409, false, NULL},
	[API_S3_FULL] = {"InsufficientStorage", NULL, 507, false, NULL},
	[API_S3_BUSY] = {"ServiceUnavailable", NULL, 503, false, NULL},
	[API_S3_METHOD] = {"MethodNotAllowed", NULL, 405, false, NULL},
	[API_S3_MALFORMED_XML] = {"MalformedXML", NULL, 400, false, NULL},
	[API_S3_INVALID_ARGUMENT] = {"InvalidArgument", NULL, 400, false, NULL},
	[API_S3_INVALID_REQUEST] = {"InvalidRequest", NULL, 400, false, NULL},
	[API_S3_INVALID_BUCKET_NAME] = {"InvalidBucketName", NULL, 400, false, NULL},
	[API_S3_BUCKET_EXISTS] = {"BucketAlreadyExists", NULL, 409, false, NULL},
	[API_S3_BUCKET_OWNED] = {"BucketAlreadyOwnedByYou", NULL, 409, false, NULL},
	[API_S3_BUCKET_NOT_EMPTY] = {"BucketNotEmpty", NULL, 409, false, NULL},
	[API_S3_NO_BUCKET] = {"NoSuchBucket", NULL, 404, false, NULL},
	[API_S3_NO_KEY] = {"NoSuchKey", NULL, 404, false, NULL},
	[API_S3_BAD_LOCATION] = {"IllegalLocationConstraintException", NULL, 400, false, NULL},
	[API_S3_TOO_MANY_BUCKETS] = {"TooManyBuckets", NULL, 400, false, NULL},
	[API_S3_NO_ACLS] = {"AccessControlListNotSupported", NULL, 400, false, NULL},
	[API_S3_MALFORMED_POLICY] = {"MalformedPolicy", NULL, 400, false, NULL},
	[API_S3_MALFORMED_POST] = {"MalformedPOSTRequest", NULL, 400, false, NULL},
	[API_S3_INVALID_POLICY] = {"InvalidPolicyDocument", NULL, 400, false, NULL},
	[API_S3_TOO_LARGE] = {"EntityTooLarge", NULL, 400, false, NULL},
	[API_S3_FORM_TOO_LARGE] = {"MaxPostPreDataLengthExceededError", NULL, 400, false, NULL},
	[API_S3_TOO_SMALL] = {"EntityTooSmall", NULL, 400, false, NULL},
	[API_S3_INVALID_TAG] = {"InvalidTag", NULL, 400, false, NULL},
	[API_S3_BAD_DIGEST] = {"BadDigest", NULL, 400, false, NULL},
	[API_S3_INVALID_DIGEST] = {"InvalidDigest", NULL, 400, false, NULL},
	[API_S3_CORS_FORBIDDEN] = {"AccessForbidden", NULL, 403, false, NULL},
	[API_S3_NO_TAGS] = {"NoSuchTagSet", NULL, 404, false, NULL},
	[API_S3_NO_CORS] = {"NoSuchCORSConfiguration", NULL, 404, false, NULL},
	[API_S3_NO_ENCRYPTION] = {"ServerSideEncryptionConfigurationNotFoundError", NULL, 404, false, NULL},
	[API_S3_NO_POLICY] = {"NoSuchBucketPolicy", NULL, 404, false, NULL},
	[API_S3_NO_LIFECYCLE] = {"NoSuchLifecycleConfiguration", NULL, 404, false, NULL},
	[API_S3_NO_REPLICATION] = {"ReplicationConfigurationNotFoundError", NULL, 404, false, NULL},
	[API_S3_NO_WEBSITE] = {"NoSuchWebsiteConfiguration", NULL, 404, false, NULL},
	[API_S3_NO_LOCK] = {"ObjectLockConfigurationNotFoundError", NULL, 404, false, NULL},
	[API_S3_NO_OWNERSHIP] = {"OwnershipControlsNotFoundError", NULL, 404, false, NULL},
	[API_S3_NO_PUBLIC_BLOCK] = {"NoSuchPublicAccessBlockConfiguration", NULL, 404, false, NULL},
	[API_EVENTS_PATTERN] = {"InvalidEventPatternException", NULL, 400, false, NULL},
	[API_SCHEDULER_CONFLICT] = {"ConflictException", NULL, 409, true, NULL},
	[API_SCHEDULER_QUOTA] = {"ServiceQuotaExceededException", NULL, 402, true, NULL},
	[API_KINESIS_INVALID] = {"InvalidArgumentException", NULL, 400, false, NULL},
	[API_KINESIS_IN_USE] = {"ResourceInUseException", NULL, 400, false, NULL},
	[API_KINESIS_EXPIRED] = {"ExpiredIteratorException", NULL, 400, false, NULL},
	[API_LOGS_EXISTS] = {"ResourceAlreadyExistsException", NULL, 400, false, NULL},
	[API_THROTTLING] = {"ThrottlingException", "Throttling", 400, false, NULL},
	[API_SNS_NOT_FOUND] = {"NotFoundException", "NotFound", 404, false, NULL},
	[API_SNS_TOO_MANY] = {"TooManyEntriesInBatchRequestException", "TooManyEntriesInBatchRequest", 400, false,
			      NULL},
	[API_SNS_BATCH_ID] = {"InvalidBatchEntryIdException", "InvalidBatchEntryId", 400, false, NULL},
	[API_SNS_BATCH_TWICE] = {"BatchEntryIdsNotDistinctException", "BatchEntryIdsNotDistinct", 400, false, NULL},
	[API_SNS_BATCH_LONG] = {"BatchRequestTooLongException", "BatchRequestTooLong", 400, false, NULL},
	[API_MISSING_PARAMETER] = {"MissingRequiredParameterException", "MissingParameter", 400, false, NULL},
	[API_COMBINATION] = {"InvalidParameterCombinationException", "InvalidParameterCombination", 400, false, NULL},
	[API_SQS_NO_QUEUE] = {"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", 400, false, NULL},
	[API_SQS_EXISTS] = {"QueueNameExists", "QueueAlreadyExists", 400, false, NULL},
	[API_SQS_PURGING] = {"PurgeQueueInProgress", "AWS.SimpleQueueService.PurgeQueueInProgress", 403, false, NULL},
	[API_SQS_MISSING] = {"MissingParameter", NULL, 400, false, NULL},
	[API_SQS_ATTRIBUTE_NAME] = {"InvalidAttributeName", NULL, 400, false, NULL},
	[API_SQS_ATTRIBUTE_VALUE] = {"InvalidAttributeValue", NULL, 400, false, NULL},
	[API_SQS_CONTENTS] = {"InvalidMessageContents", NULL, 400, false, NULL},
	[API_SQS_HANDLE] = {"ReceiptHandleIsInvalid", NULL, 400, false, NULL},
	[API_SQS_NOT_IN_FLIGHT] = {"MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight", 400, false, NULL},
	[API_SQS_OVER_LIMIT] = {"OverLimit", NULL, 403, false, NULL},
	[API_SQS_EMPTY_BATCH] = {"EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest", 400, false, NULL},
	[API_SQS_TOO_MANY] = {"TooManyEntriesInBatchRequest", "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
			      400, false, NULL},
	[API_SQS_TOO_LONG] = {"BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong", 400, false, NULL},
	[API_SQS_BATCH_ID] = {"InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId", 400, false, NULL},
	[API_SQS_NOT_DISTINCT] = {"BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct", 400,
				  false, NULL},
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
