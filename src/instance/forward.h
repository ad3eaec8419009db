/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks the host's resolvers what sandboxes ask for and the platform does not know. One for all sandboxes.
 *
 * What a sandbox sends does not go on as it is: a new message is made of its question. Each has a socket of its own,
 * connected to one resolver, so that the kernel takes answers from no one else, with a port and an id that cannot be
 * guessed; an answer to another question is not taken. Each ends by FORWARD_US at the latest; one sandbox has at most
 * FORWARD_PER_RESOLVER under way, all together FORWARD_MAX.
 */
#pragma once
#include <netinet/in.h>
#include "base/str.h"
#include "loop/loop.h"
#define FORWARD_US	     5000000
#define FORWARD_TRY_US	     2000000 /* then the next resolver is asked */
#define FORWARD_MAX	     512
#define FORWARD_PER_RESOLVER 32
#define FORWARD_ANSWER_MAX   1232 /* dnsflagday.net/2020: what is never fragmented */
struct forward;
struct forward_ask;
/* resolv_conf: text of resolv.conf(5); without a nameserver in it, 127.0.0.1 is asked. */
struct forward *forward_new(struct loop *l, struct str resolv_conf);
void forward_free(struct forward *f); /* nobody asks any more */

/* What is under way of one sandbox; its owner's to keep. */
struct forward_list {
	struct forward_ask *first;
	unsigned n;
};
/*
 * query: a checked question, question_end behind it. The answer goes to udp, which is borrowed, and to; SERVFAIL when
 * nobody answers. false: too much is under way.
 */
bool forward_start(struct forward *f, struct forward_list *list, const uint8_t *query, size_t n, size_t question_end,
		   int udp, const struct sockaddr_in *to);
void forward_cancel(struct forward_list *list); /* all of it */

/* Pure. The message that is sent on: returns its size, at most n + 11. */
size_t forward_query(const uint8_t *query, size_t n, size_t question_end, uint16_t id, uint8_t *out);
/* Is this an answer to that message? */
bool forward_matches(const uint8_t *sent, size_t question_end, const uint8_t *answer, size_t n);
/* Addresses of the first FORWARD_SERVERS nameservers; returns how many. */
#define FORWARD_SERVERS 3 /* resolv.conf(5): MAXNS */
unsigned forward_servers(struct str resolv_conf, struct sockaddr_in6 ret[FORWARD_SERVERS]);
