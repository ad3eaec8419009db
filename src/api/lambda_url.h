/* SPDX-License-Identifier: Apache-2.0 */
/* Requests for a function's URL (trigger/url.h): whether the caller may, and then the function answers. */
#pragma once
#include "api/api_int.h"
#include "trigger/url.h"
int lambda_url_handle(struct api_call *c, const struct principal *inside); /* url_is(c->r); answers c->r. 0 */
