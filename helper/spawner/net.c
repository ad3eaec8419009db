/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network of a sandbox: a namespace with nothing but lo, the platform's link-local addresses on it, and the
 * platform's listening sockets, opened inside and handed to tandemd. What a function reaches there is known by the
 * socket it came through.
 */
#include "spawner.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#define LO_INDEX       1 /* the first and only device of a new namespace */
#define IP(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

static const uint32_t addresses[] = {IP(169, 254, 100, 1), IP(169, 254, 170, 2), IP(169, 254, 100, 2)};
static const struct {
	uint32_t ip;
	uint16_t port;
	int type;
} sockets[BLANK_SOCKS] = {
	[SB_RTAPI - BLANK_FIRST_SOCK] = {IP(169, 254, 100, 1), 9001, SOCK_STREAM},
	[SB_CREDS - BLANK_FIRST_SOCK] = {IP(169, 254, 170, 2), 80, SOCK_STREAM},
	[SB_API - BLANK_FIRST_SOCK] = {IP(169, 254, 100, 2), 4566, SOCK_STREAM},
	[SB_DNS - BLANK_FIRST_SOCK] = {IP(169, 254, 100, 2), 53, SOCK_DGRAM},
	[SB_API_TLS - BLANK_FIRST_SOCK] = {IP(169, 254, 100, 2), 443, SOCK_STREAM},
};

struct link_up {
	struct nlmsghdr h;
	struct ifinfomsg m;
};
struct add_addr {
	struct nlmsghdr h;
	struct ifaddrmsg m;
	struct rtattr ra;
	uint32_t addr;
};

static void fill_addr(struct add_addr *a, uint32_t ip)
{
	a->h = (struct nlmsghdr){.nlmsg_len = sizeof(*a),
				 .nlmsg_type = RTM_NEWADDR,
				 .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK};
	a->m = (struct ifaddrmsg){
		.ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_scope = RT_SCOPE_HOST, .ifa_index = LO_INDEX};
	a->ra = (struct rtattr){.rta_len = RTA_LENGTH(sizeof(uint32_t)), .rta_type = IFA_LOCAL};
	a->addr = htonl(ip);
}

/* Every request is acknowledged, in one datagram or in several. */
static int take_acks(int nl, unsigned want, struct err *e)
{
	_Alignas(struct nlmsghdr) char buf[4096];

	while (want) {
		ssize_t n = recv(nl, buf, sizeof(buf), 0);
		unsigned left = n < 0 ? 0 : (unsigned)n;

		if (n <= 0)
			return err_sys(e, n < 0 ? errno : EIO, "rtnetlink");
		for (struct nlmsghdr *h = (struct nlmsghdr *)buf; NLMSG_OK(h, left) && want; h = NLMSG_NEXT(h, left)) {
			struct nlmsgerr *er = NLMSG_DATA(h);

			if (h->nlmsg_type != NLMSG_ERROR)
				continue;
			if (er->error)
				return err_sys(e, -er->error, "set up lo");
			want--;
		}
	}
	return 0;
}

static int set_lo(struct err *e)
{
	struct {
		struct link_up up;
		struct add_addr addr[ARRAY_SIZE(addresses)];
	} req;
	auto_close int nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (nl < 0)
		return err_sys(e, errno, "open rtnetlink");
	memset(&req, 0, sizeof(req));
	req.up.h = (struct nlmsghdr){
		.nlmsg_len = sizeof(req.up), .nlmsg_type = RTM_NEWLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK};
	req.up.m = (struct ifinfomsg){
		.ifi_family = AF_UNSPEC, .ifi_index = LO_INDEX, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++)
		fill_addr(&req.addr[i], addresses[i]);
	if (send(nl, &req, sizeof(req), 0) != sizeof(req))
		return err_sys(e, errno, "send to rtnetlink");
	return take_acks(nl, 1 + ARRAY_SIZE(addresses), e);
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

static int new_namespace(struct err *e)
{
	auto_close int fd = -1;

	if (unshare(CLONE_NEWNET) < 0)
		return err_sys(e, errno, "make a net namespace");
	/* /proc/sys/net shows the namespace of who opens it; /proc is still the host's here. */
	fd = open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		return err_sys(e, errno, "free the low ports");
	return set_lo(e);
}

int net_setup(int old_ns, const struct net_look *fresh, int ret_socks[BLANK_SOCKS], struct err *e)
{
	bool again = old_ns >= 0 && setns(old_ns, CLONE_NEWNET) == 0 && net_as_new(fresh);

	if (!again && new_namespace(e) < 0)
		return -1;
	for (unsigned i = 0; i < BLANK_SOCKS; i++) {
		ret_socks[i] = open_socket(i, e);
		if (ret_socks[i] < 0)
			return -1; /* the child that we run in is given up: its descriptors go with it */
	}
	return 0;
}
