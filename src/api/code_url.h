/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses from which the archive of a function can be fetched without a signature, for a short while. */
#pragma once
#include "api/api_int.h"
void code_url_write(const struct api *a, struct str host, const char sha[65], struct buf *out);
bool code_url_is(const struct http_req *r);
int code_url_handle(struct api_call *c);
