/* SPDX-License-Identifier: Apache-2.0 */
/* Concurrency as the API counts it: of the account, reserved by functions, provisioned for versions. */
#pragma once
#include "store/function.h"
#define ACCOUNT_CONCURRENCY 1000 /* Lambda's default; what this machine can hold is another matter */
#define UNRESERVED_MIN	    100
int lambda_unreserved(const struct store *s, const struct function *except); /* what no function has for itself */
