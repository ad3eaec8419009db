/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 as hex (OpenSSL), the name of a blob. */
#pragma once
#include "base/err.h"
#include "base/str.h"
void digest_hex(struct str s, char out[65]);
/* At most *bytes of in to out, and the digest of them; *bytes becomes what there was. */
int digest_copy(int in, int out, int64_t *bytes, char ret_hex[65], struct err *e);
