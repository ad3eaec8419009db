/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 as hex (OpenSSL), the name of a blob. */
#pragma once
#include "base/str.h"
void digest_hex(struct str s, char out[65]);
