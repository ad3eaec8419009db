/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/nl.h"
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

static struct nlmsghdr *last(struct nl *q)
{
	return (struct nlmsghdr *)(q->buf + q->at);
}

static void add(struct nl *q, const void *data, size_t n)
{
	assert(NLMSG_ALIGN(n) <= sizeof(q->buf) - q->n);
	memset(q->buf + q->n, 0, NLMSG_ALIGN(n));
	if (n)
		memcpy(q->buf + q->n, data, n);
	q->n += NLMSG_ALIGN(n);
	last(q)->nlmsg_len = (uint32_t)(q->n - q->at);
}

void nl_request(struct nl *q, uint16_t type, uint16_t flags, const void *body, size_t n)
{
	struct nlmsghdr h = {
		.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | (NLM_F_ACK ^ flags), .nlmsg_seq = ++q->requests};

	q->acks += !(flags & NL_NO_ACK);
	q->at = q->n;
	add(q, &h, sizeof(h));
	add(q, body, n);
}

size_t nl_nest(struct nl *q, uint16_t type, const void *data, size_t n)
{
	size_t at = q->n;
	struct rtattr a = {.rta_len = (unsigned short)RTA_LENGTH(n), .rta_type = type};

	add(q, &a, sizeof(a));
	add(q, data, n);
	return at;
}

void nl_nest_end(struct nl *q, size_t nest)
{
	((struct rtattr *)(q->buf + nest))->rta_len = (unsigned short)(q->n - nest);
}

void nl_put(struct nl *q, uint16_t type, const void *data, size_t n)
{
	(void)nl_nest(q, type, data, n);
}

void nl_put_u32(struct nl *q, uint16_t type, uint32_t v)
{
	nl_put(q, type, &v, sizeof(v));
}

int nl_open(struct err *e)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	return fd < 0 ? err_sys(e, errno, "open rtnetlink") : fd;
}

/* The kernel has done everything when send returns; acknowledgements come in one datagram or in several. */
int nl_do(int sock, const struct nl *q, struct err *e)
{
	_Alignas(struct nlmsghdr) char buf[8192];

	if (send(sock, q->buf, q->n, 0) != (ssize_t)q->n)
		return err_sys(e, errno, "send to the kernel");
	for (unsigned want = q->acks; want;) {
		ssize_t n = recv(sock, buf, sizeof(buf), 0);
		unsigned left = n < 0 ? 0 : (unsigned)n;

		if (n <= 0)
			return err_sys(e, n < 0 ? errno : EIO, "hear from the kernel");
		for (struct nlmsghdr *h = (struct nlmsghdr *)buf; NLMSG_OK(h, left) && want; h = NLMSG_NEXT(h, left)) {
			const struct nlmsgerr *er = NLMSG_DATA(h);

			if (h->nlmsg_type != NLMSG_ERROR)
				continue;
			if (er->error)
				return err_sys(e, -er->error, "set up the network (request %u)", h->nlmsg_seq);
			want--;
		}
	}
	return 0;
}

static void veth_end(struct nl *q, const char *name, uint32_t mtu)
{
	nl_put(q, IFLA_IFNAME, name, strlen(name) + 1);
	nl_put(q, IFLA_ADDRESS, NL_MAC, 6);
	nl_put_u32(q, IFLA_MTU, mtu);
	nl_put_u32(q, IFLA_NUM_TX_QUEUES, 1); /* by default as many as processors, which costs in making them */
	nl_put_u32(q, IFLA_NUM_RX_QUEUES, 1);
}

void nl_add_veth(struct nl *q, const struct nl_veth *v)
{
	struct ifinfomsg m = {.ifi_family = AF_UNSPEC, .ifi_index = v->index, .ifi_flags = v->flags | IFF_NOARP},
			 p = {.ifi_family = AF_UNSPEC, .ifi_index = v->peer_index, .ifi_flags = IFF_NOARP};
	size_t info, data, peer;

	m.ifi_change = p.ifi_change = ~0u;
	nl_request(q, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &m, sizeof(m));
	veth_end(q, v->name, v->mtu);
	info = nl_nest(q, IFLA_LINKINFO, NULL, 0);
	nl_put(q, IFLA_INFO_KIND, "veth", 4);
	data = nl_nest(q, IFLA_INFO_DATA, NULL, 0);
	peer = nl_nest(q, VETH_INFO_PEER, &p, sizeof(p));
	veth_end(q, v->peer_name, v->mtu);
	nl_put_u32(q, IFLA_NET_NS_FD, (uint32_t)v->peer_ns);
	nl_nest_end(q, peer);
	nl_nest_end(q, data);
	nl_nest_end(q, info);
}

void nl_set_up(struct nl *q, int index)
{
	struct ifinfomsg m = {.ifi_family = AF_UNSPEC, .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};

	nl_request(q, RTM_NEWLINK, 0, &m, sizeof(m));
}

void nl_add_addr(struct nl *q, int index, uint32_t ip, uint8_t scope)
{
	struct ifaddrmsg m = {
		.ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_scope = scope, .ifa_index = (uint32_t)index};

	nl_request(q, RTM_NEWADDR, NLM_F_CREATE, &m, sizeof(m));
	nl_put_u32(q, IFA_LOCAL, htonl(ip));
}

void nl_route(struct nl *q, uint16_t type, int index, uint32_t ip, uint8_t bits)
{
	struct rtmsg m = {.rtm_family = AF_INET,
			  .rtm_dst_len = bits,
			  .rtm_table = RT_TABLE_MAIN,
			  .rtm_protocol = RTPROT_STATIC,
			  .rtm_scope = RT_SCOPE_LINK,
			  .rtm_type = RTN_UNICAST};

	nl_request(q, type, type == RTM_NEWROUTE ? NLM_F_CREATE | NLM_F_REPLACE : 0, &m, sizeof(m));
	if (bits)
		nl_put_u32(q, RTA_DST, htonl(ip));
	nl_put_u32(q, RTA_OIF, (uint32_t)index);
}
