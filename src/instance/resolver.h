/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver of a sandbox, on 169.254.100.2:53 (UDP). It knows few names and asks nobody:
 *   *.amazonaws.com and amazonaws.com   the platform's own API address, for clients that ignore AWS_ENDPOINT_URL
 *   localhost                           127.0.0.1
 *   anything else                       NXDOMAIN, at once: there is no egress yet, and a quick refusal beats a time-out
 * RFC 1035; one question a message; A records only, other types of a known name are answered empty. Nothing listens on
 * TCP: an answer is at most 16 bytes longer than its question, so none is ever cut off.
 */
#pragma once
#include "loop/loop.h"
#define RESOLVER_MESSAGE_MAX 512
/* Pure: the answer to a message from a sandbox. 0: not worth one (not a query, malformed). out holds
 * RESOLVER_MESSAGE_MAX bytes. */
size_t resolver_answer(const uint8_t *query, size_t n, uint8_t *out);
struct resolver;
struct resolver *resolver_new(struct loop *l, int udp); /* udp is borrowed */
void resolver_free(struct resolver *r);
