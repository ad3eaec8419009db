/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to the kernel over netlink: several in one message, each acknowledged. What is put must be bounded by the
 * caller: a request that does not fit is a bug. */
#pragma once
#include <linux/netlink.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"

struct nl {
	size_t n, at; /* bytes; where the last request begins */
	unsigned requests, acks;
	_Alignas(8) char buf[4096];
};
#define NL_NO_ACK NLM_F_ACK /* in flags: of this one none is expected */
void nl_request(struct nl *q, uint16_t type, uint16_t flags, const void *body, size_t n);
void nl_put(struct nl *q, uint16_t type, const void *data, size_t n);
void nl_put_u32(struct nl *q, uint16_t type, uint32_t v);
size_t nl_nest(struct nl *q, uint16_t type, const void *data, size_t n); /* what follows lies inside, behind data */
void nl_nest_end(struct nl *q, size_t nest);
int nl_open(struct err *e);				/* in the net namespace of the caller */
int nl_do(int sock, const struct nl *q, struct err *e); /* all of them; the first that failed, by errno */

/* Common requests. Addresses are IPv4, in host order. */
#define NL_MAC "\x02\x74\x64\x6d\x00\x01"
struct nl_veth {
	const char *name, *peer_name;
	int index, peer_index; /* 0: the kernel chooses */
	int peer_ns;
	unsigned flags; /* IFF_UP or not; the peer cannot be, before both are there */
	uint32_t mtu;
};
/* Two ends that know each other: one MAC for both and no ARP, so that no packet is ever sent but the users'. */
void nl_add_veth(struct nl *q, const struct nl_veth *v);
void nl_set_up(struct nl *q, int index);
void nl_add_addr(struct nl *q, int index, uint32_t ip, uint8_t scope);
/* type RTM_NEWROUTE or RTM_DELROUTE; bits 0: the default route. */
void nl_route(struct nl *q, uint16_t type, int index, uint32_t ip, uint8_t bits);
