/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network of a sandbox: a namespace with lo and, where there is a way out, one device to the router; the platform's link-local addresses on it, and the
 * platform's listening sockets, opened inside and handed to tandemd. What a function reaches there is known by the
 * socket it came through.
 */
#include "spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include "wire/egress.h"
#include "wire/nl.h"

#define LO_INDEX       1 /* the first and only device of a new namespace */
#define IP(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

static const uint32_t addresses[] = {IP(169, 254, 100, 1), IP(169, 254, 170, 2), IP(169, 254, 100, 2)};
static const struct {
	uint32_t ip;
	uint16_t port;
	int type;
} sockets[SB_N] = {
	[SB_RTAPI] = {IP(169, 254, 100, 1), 9001, SOCK_STREAM},	 [SB_CREDS] = {IP(169, 254, 170, 2), 80, SOCK_STREAM},
	[SB_API] = {IP(169, 254, 100, 2), 4566, SOCK_STREAM},	 [SB_DNS] = {IP(169, 254, 100, 2), 53, SOCK_DGRAM},
	[SB_API_TLS] = {IP(169, 254, 100, 2), 443, SOCK_STREAM},
};

/* The pair, and in the router the route that leads to the sandbox's end. */
static int link_router(int router_nl, uint32_t serial, struct err *e)
{
	char name[16];
	struct nl_veth v = {.name = name,
			    .index = (int)(serial & EGRESS_SERIAL_MASK) + EGRESS_FIRST,
			    .flags = IFF_UP,
			    .mtu = EGRESS_MTU,
			    .peer_name = EGRESS_OWN,
			    .peer_index = EGRESS_OWN_INDEX};
	auto_close int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	struct nl q = {0};

	if (own < 0)
		return err_sys(e, errno, "open the net namespace");
	v.peer_ns = own;
	snprintf(name, sizeof(name), "s%x", serial & EGRESS_SERIAL_MASK);
	nl_add_veth(&q, &v);
	nl_route(&q, RTM_NEWROUTE, v.index, egress_address(serial), 32);
	return nl_do(router_nl, &q, e);
}

static int set_devices(bool out, uint32_t serial, struct err *e)
{
	auto_close int sock = nl_open(e);
	struct nl q = {0};

	if (sock < 0)
		return -1;
	nl_set_up(&q, LO_INDEX);
	for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++)
		nl_add_addr(&q, LO_INDEX, addresses[i], RT_SCOPE_HOST);
	if (out) {
		nl_set_up(&q, EGRESS_OWN_INDEX);
		nl_add_addr(&q, EGRESS_OWN_INDEX, egress_address(serial), RT_SCOPE_UNIVERSE);
		nl_route(&q, RTM_NEWROUTE, EGRESS_OWN_INDEX, 0, 0);
	}
	return nl_do(sock, &q, e);
}

static int open_socket(unsigned i, struct err *e)
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET, .sin_port = htons(sockets[i].port), .sin_addr.s_addr = htonl(sockets[i].ip)};
	int fd = socket(AF_INET, sockets[i].type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_sys(e, errno, "open a platform socket");
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    (sockets[i].type == SOCK_STREAM && listen(fd, 128) < 0)) {
		err_sys(e, errno, "bind platform port %u", sockets[i].port);
		close(fd);
		return -1;
	}
	return fd;
}

static int new_namespace(const struct blank *b, struct err *e)
{
	auto_close int fd = -1, router_nl = -1;

	if (b->router >= 0) {
		if (setns(b->router, CLONE_NEWNET) < 0)
			return err_sys(e, errno, "enter the router's namespace");
		router_nl = nl_open(e);
		if (router_nl < 0)
			return -1;
	}
	if (unshare(CLONE_NEWNET) < 0)
		return err_sys(e, errno, "make a net namespace");
	/* /proc/sys/net shows the namespace of who opens it; /proc is still the host's here. */
	fd = open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		return err_sys(e, errno, "free the low ports");
	if (router_nl >= 0 && link_router(router_nl, b->serial, e) < 0)
		return -1;
	return set_devices(router_nl >= 0, b->serial, e);
}

int net_setup(const struct blank *b, int ret_socks[BLANK_SOCKS], struct err *e)
{
	bool entered = b->net >= 0 && setns(b->net, CLONE_NEWNET) == 0;
	int n = 0;

	if (b->join)
		return entered ? 0 : err_sys(e, errno, "enter the other's network");
	if (!(entered && net_as_new(b->fresh_net)) && new_namespace(b, e) < 0)
		return -1;
	for (unsigned i = 0; i < SB_N; i++) {
		if (!(b->sockets >> i & 1))
			continue;
		ret_socks[n] = open_socket(i, e);
		if (ret_socks[n++] < 0)
			return -1; /* the child that we run in is given up: its descriptors go with it */
	}
	return n;
}
