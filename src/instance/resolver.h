/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver of a sandbox, on 169.254.100.2:53 (UDP). It knows few names:
 *   *.amazonaws.com and amazonaws.com   the platform's own API address, for clients that ignore AWS_ENDPOINT_URL
 *   localhost                           127.0.0.1
 *   anything else                       what the host's resolvers say (instance/forward.h); NXDOMAIN, at once, where the
 *                                       sandbox has no way out: a quick refusal beats a time-out
 * RFC 1035; one question a message; A records only, other types of a known name are answered empty. Nothing listens on
 * TCP: an answer of its own is at most 16 bytes longer than its question; of the others, few are cut off, for resolv.conf
 * says edns0.
 */
#pragma once
#include "loop/loop.h"
#define RESOLVER_MESSAGE_MAX 512
/* Pure: the answer to a message from a sandbox. 0: not worth one (not a query, malformed). out holds
 * RESOLVER_MESSAGE_MAX bytes. ret_unknown: 0, or where a question ends that others may know the answer to; out is then
 * NXDOMAIN. */
size_t resolver_answer(const uint8_t *query, size_t n, uint8_t *out, size_t *ret_unknown);
struct resolver;
struct forward;
struct resolver *resolver_new(struct loop *l, int udp, struct forward *f); /* both borrowed; NULL: no way out */
void resolver_free(struct resolver *r);
