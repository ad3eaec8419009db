/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandem-net up|open|down ID: the way out of sandboxes, built once per start of a spawner, as root. A net namespace of
 * the platform's own is the router between sandboxes and host; here stand the rules. In the host: one device
 * (tandemID), one route to the router's address, one nftables table (tandemID) that speaks of that device alone, and
 * net.ipv4.ip_forward.
 *
 * The namespace lives as long as the descriptor that goes back, and the device with it: when the spawner is killed, what
 * is left is the table, which then speaks of nothing; the next start, or down, removes it.
 * open: without rules, to show in tests what they stop.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <nftables/libnftables.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "base/err.h"
#include "wire/egress.h"
#include "wire/fds.h"
#include "wire/nl.h"

/* RFC 6890 and its registry: what is not the public internet. Reserved, but global there and so let through: 192.31.196.0/24,
 * 192.52.193.0/24, 192.175.48.0/24. */
#define SPECIAL                                                                                                        \
	"0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, "             \
	"192.0.2.0/24, 192.88.99.0/24, 192.168.0.0/16, 198.18.0.0/15, 198.51.100.0/24, 203.0.113.0/24, 224.0.0.0/3"
#define PER_SANDBOX "1024" /* connections that one holds at once: the router's table is everybody's */
#define REFUSE	    "reject with icmp type net-prohibited" /* connect(2) then fails with ENETUNREACH, at once */

/* %1$s and %2$s: the router's addresses for public and for declared traffic; %3$s: its device in the host. */
#define SETS                                                                                                           \
	" set " EGRESS_SET_CLOSED " { type ipv4_addr; }\n"                                                             \
	" set " EGRESS_SET_DECLARED " { type ipv4_addr . ipv4_addr; flags interval; }\n"
#define ROUTER_NAT                                                                                                     \
	" chain out { type nat hook postrouting priority srcnat\n"                                                     \
	"  oifname != " EGRESS_UP " accept\n"                                                                          \
	"  ip saddr . ip daddr @" EGRESS_SET_DECLARED " snat to %2$s\n"                                                \
	"  snat to %1$s\n }\n"
#define ROUTER_RULES                                                                                                   \
	"table ip " EGRESS_TABLE " {\n" SETS " set special { type ipv4_addr; flags interval; elements = { " SPECIAL    \
	" }; }\n"                                                                                                      \
	" set held { type ipv4_addr; flags dynamic; size 65535; }\n"                                                   \
	" chain before { type filter hook prerouting priority mangle; iifname " EGRESS_UP                              \
	" meta l4proto udp ip frag-off set 0; }\n"                                                                     \
	" chain input { type filter hook input priority filter; policy drop; " REFUSE "; }\n"                          \
	" chain forward { type filter hook forward priority filter; policy drop\n"                                     \
	"  ct state established,related accept\n"                                                                      \
	"  iifname " EGRESS_UP " drop\n"                                                                               \
	"  oifname != " EGRESS_UP " " REFUSE "\n"                                                                      \
	"  ip daddr { 0.0.0.0/8, 127.0.0.0/8, 224.0.0.0/3 } " REFUSE "\n"                                              \
	"  ct state invalid drop\n"                                                                                    \
	"  add @held { ip saddr ct count over " PER_SANDBOX " } " REFUSE "\n"                                          \
	"  ip saddr . ip daddr @" EGRESS_SET_DECLARED " accept\n"                                                      \
	"  ip saddr @" EGRESS_SET_CLOSED " " REFUSE "\n"                                                               \
	"  ip daddr @special " REFUSE "\n"                                                                             \
	"  accept\n }\n" ROUTER_NAT "}\n"
#define ROUTER_OPEN "table ip " EGRESS_TABLE " {\n" SETS ROUTER_NAT "}\n"

/* before: the host's own addresses, also where its rules would lead them elsewhere, to a container's port for one. */
#define HOST_NAT                                                                                                       \
	" chain out { type nat hook postrouting priority srcnat\n"                                                     \
	"  ip saddr { %1$s, %2$s } oifname != %3$s masquerade\n }\n"
#define HOST_RULES                                                                                                     \
	"table ip %3$s {\n"                                                                                            \
	" chain before { type filter hook prerouting priority raw\n"                                                   \
	"  iifname %3$s ip saddr != %2$s fib daddr type != unicast " REFUSE "\n }\n"                                   \
	" chain forward { type filter hook forward priority filter\n"                                                  \
	"  oifname %3$s ct state established,related accept\n"                                                         \
	"  oifname %3$s drop\n }\n" HOST_NAT "}\n"
#define HOST_OPEN "table ip %3$s {\n" HOST_NAT "}\n"

struct names {
	char device[16], address[2][INET_ADDRSTRLEN];
};

static struct names names_of(unsigned id)
{
	struct names n;

	egress_host_device(id, n.device);
	for (unsigned i = 0; i < 2; i++) {
		struct in_addr a = {htonl(egress_router_address(id, i))};

		inet_ntop(AF_INET, &a, n.address[i], sizeof(n.address[i]));
	}
	return n;
}

static int write_sys(const char *path, const char *value, struct err *e)
{
	auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		return err_sys(e, errno, "write %s to %s", value, path);
	return 0;
}

static int run_rules(const char *text, struct err *e)
{
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
	int ret = 0;

	if (!nft)
		return err_set(e, ERR_SYS, "libnftables does not begin");
	nft_ctx_buffer_error(nft);
	if (nft_run_cmd_from_buffer(nft, text)) {
		const char *why = nft_ctx_get_error_buffer(nft);

		ret = err_set(e, ERR_SYS, "nftables: %.180s", why && *why ? why : "refused");
	}
	nft_ctx_free(nft);
	return ret;
}

/* What a predecessor that was killed left: the table; the device only for the moment in which its namespace ends. */
static int remove_old(unsigned id, struct err *e)
{
	char name[16], text[96];
	struct ifinfomsg m = {.ifi_family = AF_UNSPEC};
	struct nl q = {0};
	struct err gone;
	auto_close int sock = nl_open(e);

	if (sock < 0)
		return -1;
	egress_host_device(id, name);
	nl_request(&q, RTM_DELLINK, 0, &m, sizeof(m));
	nl_put(&q, IFLA_IFNAME, name, strlen(name) + 1);
	(void)nl_do(sock, &q, &gone); /* mostly there is none */
	snprintf(text, sizeof(text), "table ip %s\ndelete table ip %s\n", name, name);
	return run_rules(text, e);
}

/* In the new namespace, which becomes the router. */
static int make_router(unsigned id, const struct names *n, int host, bool open_, struct err *e)
{
	struct nl_veth v = {.name = EGRESS_UP, .peer_name = n->device, .peer_ns = host, .flags = IFF_UP, .mtu = 1500};
	struct nl add = {0}, set = {0};
	char rules[2048];
	auto_close int sock = nl_open(e);
	int index;

	/* rp_filter: what comes from a sandbox's device with another's address is dropped. Source routes would get past the
	 * rules, and a namespace begins with the host's settings. icmp_ratelimit: refusals are answers for which programs
	 * wait, and all come from here. */
	if (sock < 0 || write_sys("/proc/sys/net/ipv4/ip_forward", "1", e) < 0 ||
	    write_sys("/proc/sys/net/ipv4/conf/all/rp_filter", "1", e) < 0 ||
	    write_sys("/proc/sys/net/ipv4/conf/all/accept_source_route", "0", e) < 0 ||
	    write_sys("/proc/sys/net/ipv4/icmp_ratelimit", "0", e) < 0)
		return -1;
	(void)write_sys("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1", NULL); /* or the kernel has none */
	nl_add_veth(&add, &v);
	if (nl_do(sock, &add, e) < 0)
		return err_wrap(e, "make a veth pair");
	index = (int)if_nametoindex(EGRESS_UP);
	nl_add_addr(&set, index, egress_router_address(id, 0), RT_SCOPE_UNIVERSE);
	nl_add_addr(&set, index, egress_router_address(id, 1), RT_SCOPE_UNIVERSE);
	nl_route(&set, RTM_NEWROUTE, index, 0, 0);
	if (nl_do(sock, &set, e) < 0)
		return -1;
	if (open_)
		snprintf(rules, sizeof(rules), ROUTER_OPEN, n->address[0], n->address[1]);
	else
		snprintf(rules, sizeof(rules), ROUTER_RULES, n->address[0], n->address[1]);
	return run_rules(rules, e);
}

/* Most hosts with containers forward already; where not, it is said. Last of all: only with the rules in force. */
static int forward(bool *ret_changed, struct err *e)
{
	static const char path[] = "/proc/sys/net/ipv4/ip_forward";
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	char now = '0';

	if (fd < 0 || read(fd, &now, 1) != 1)
		return err_sys(e, errno, "read %s", path);
	*ret_changed = now == '0';
	return *ret_changed ? write_sys(path, "1", e) : 0;
}

static int set_up_host(unsigned id, const struct names *n, bool open_, bool *ret_changed, struct err *e)
{
	char path[80], rules[2048];
	struct nl q = {0};
	auto_close int sock = nl_open(e);
	int index = (int)if_nametoindex(n->device);

	if (sock < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", n->device);
	(void)write_sys(path, "1", NULL);
	nl_set_up(&q, index);
	nl_route(&q, RTM_NEWROUTE, index, egress_router_address(id, 0), 32);
	nl_route(&q, RTM_NEWROUTE, index, egress_router_address(id, 1), 32);
	if (nl_do(sock, &q, e) < 0)
		return -1;
	if (open_)
		snprintf(rules, sizeof(rules), HOST_OPEN, n->address[0], n->address[1], n->device);
	else
		snprintf(rules, sizeof(rules), HOST_RULES, n->address[0], n->address[1], n->device);
	return run_rules(rules, e) < 0 ? -1 : forward(ret_changed, e);
}

static int up(unsigned id, bool open_, int *ret_router, bool *ret_changed, struct err *e)
{
	auto_close int host = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	auto_close int router = -1;
	struct names n = names_of(id);

	if (host < 0)
		return err_sys(e, errno, "open the net namespace");
	if (remove_old(id, e) < 0)
		return -1;
	if (unshare(CLONE_NEWNET) < 0)
		return err_sys(e, errno, "make the router's namespace");
	router = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (router < 0)
		return err_sys(e, errno, "open the router's namespace");
	if (make_router(id, &n, host, open_, e) < 0)
		return -1;
	if (setns(host, CLONE_NEWNET) < 0)
		return err_sys(e, errno, "enter the host's namespace");
	if (set_up_host(id, &n, open_, ret_changed, e) < 0) {
		struct err ignored;

		(void)remove_old(id, &ignored);
		return -1;
	}
	*ret_router = take_fd(router);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned id = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : EGRESS_ID_MAX;
	struct egress_said said = {0};
	struct err e = {0};
	bool changed = false;
	int router = -1;

	if (id >= EGRESS_ID_MAX || fcntl(EGRESS_FD, F_SETFD, FD_CLOEXEC) < 0)
		return 2; /* started by hand */
	if (!strcmp(argv[1], "down"))
		return remove_old(id, &e) < 0;
	said.failed = up(id, !strcmp(argv[1], "open"), &router, &changed, &e) < 0;
	said.forwards_now = changed;
	if (said.failed)
		snprintf(said.text, sizeof(said.text), "%.*s", (int)sizeof(said.text) - 1, e.text);
	for (char *p = said.text; *p; p++) /* libnftables says it in lines */
		if (*p < ' ')
			*p = ' ';
	return fds_send(EGRESS_FD, &said, sizeof(said), &router, router >= 0, 0) < 0;
}
