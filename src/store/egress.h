/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a function may connect to, as text: words with a space between. "internet" (public addresses), "none", or
 * addresses and ranges of IPv4 (10.1.0.0/16), also beside internet. NULL is "internet". What reads it refuses what could
 * never be reached: loopback, multicast, what the sandbox itself has.
 */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "wire/spawner.h"
int egress_add(struct spawner_egress *to, struct str word, struct err *e);
char *egress_text(const struct spawner_egress *g); /* the caller frees; NULL: internet alone */
/* What egress_text has written; what else there is (a state of a newer version) gives no way out. */
void egress_of(const char *text, struct spawner_egress *ret);
