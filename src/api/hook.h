/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /tandem/hooks/BUCKET: another S3-compatible store tells of changes in a bucket that the file declares external.
 * Its body is S3's event, which MinIO and others send as well. It is answered with 200 when all that it starts is
 * durable; a store that hears anything else tries again. Who knows the token may tell: "Authorization: Bearer TOKEN".
 */
#pragma once
#include "api/api_int.h"

#define HOOK_PATH	 "/tandem/hooks/" /* and the bucket */
#define HOOK_TOKEN_BYTES 41

/* By the operator's secret and the bucket's name: it changes with that secret, and is kept nowhere. */
void hook_token(const struct store *s, const char *bucket, char out[HOOK_TOKEN_BYTES]);
bool hook_is(const struct http_req *r);
int hook_handle(struct api_call *c);
