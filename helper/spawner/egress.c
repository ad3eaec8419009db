/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way out of sandboxes. tandem-net builds the router's namespace once, at start; every net namespace that is made
 * later has one end of a veth pair in itself and the other in the router, with one route there that leads to it. What the
 * host cannot do, or the operator does not want, is a reason that tandemd shows; sandboxes then have no way out.
 *
 * An upgrade keeps the router as it is: new rules need a new TABLE_VERSION (handover.c).
 */
#include "spawner.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "base/log.h"
#include "base/str.h"
#include "wire/egress.h"
#include "wire/fds.h"
#include "wire/nl.h"

#define BUILD_MS 20000

static void child(const struct spawner *s, const char *verb, int sock) __attribute__((noreturn));
static void child(const struct spawner *s, const char *verb, int sock)
{
	char id[16], v[8];
	char *argv[] = {"tandem-net", v, id, NULL};
	char *envp[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", NULL};
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	strlcpy_(v, verb, sizeof(v));
	snprintf(id, sizeof(id), "%u", state_ids_number(s));
	if (dup2(sock, EGRESS_FD) == EGRESS_FD && chdir(s->config.libexec_dir) == 0)
		execve("tandem-net", argv, envp);
	_exit(127);
}

/* -1: it could not be started, or was killed at its deadline, or did not do it; sock: our end, with what it said */
static int run_tandem_net(const struct spawner *s, const char *verb, int *ret_sock)
{
	struct pollfd p = {.fd = -1, .events = POLLIN};
	int pair[2], status = 0;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	pid = fork();
	if (pid == 0)
		child(s, verb, pair[1]);
	close(pair[1]);
	*ret_sock = pair[0];
	if (pid < 0)
		return -1;
	p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (poll(&p, 1, BUILD_MS) <= 0)
		kill(pid, SIGKILL);
	close_p(&p.fd);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -1;
}

void egress_start(struct spawner *s)
{
	struct egress *g = &s->egress;
	struct egress_said said;
	unsigned n = 1;
	int sock = -1, ran;

	g->own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (s->config.has & SERVE_NO_EGRESS) {
		strlcpy_(g->why, "switched off by tandem serve --no-egress", sizeof(g->why));
		return;
	}
	ran = run_tandem_net(s, s->config.no_layer == LAYER_NO_EGRESS_RULES ? "open" : "up", &sock);
	if (ran < 0 || fds_recv(sock, &said, sizeof(said), &g->router, &n, MSG_DONTWAIT) != sizeof(said)) {
		g->router = -1;
		strlcpy_(g->why, "tandem-net does not run on this host (libnftables1 missing?)", sizeof(g->why));
	} else if (said.failed || n != 1) {
		g->router = -1;
		said.text[sizeof(said.text) - 1] = 0;
		strlcpy_(g->why, said.text, sizeof(g->why));
	}
	close_p(&sock);
	if (g->router < 0)
		log_warn("egress", "functions have no way out: %s", g->why);
	else if (said.forwards_now)
		log_info("egress", "this host forwards IPv4 from now on (net.ipv4.ip_forward), so that functions reach "
				   "the internet");
}

/* The device goes with the router's namespace; what tandem-net left in the host's is taken back. */
void egress_stop(struct spawner *s)
{
	int sock = -1;

	if (s->egress.router < 0)
		return;
	if (run_tandem_net(s, "down", &sock) < 0)
		log_warn("egress", "the nftables table of Tandem in this host could not be removed");
	close_p(&sock);
	close_p(&s->egress.router);
}

int egress_within(const struct spawner *s, int ns, int (*f)(void *arg, struct err *e), void *arg, struct err *e)
{
	int ret;

	if (s->egress.own < 0 || setns(ns, CLONE_NEWNET) < 0)
		return err_sys(e, errno, "enter a net namespace");
	ret = f(arg, e);
	if (setns(s->egress.own, CLONE_NEWNET) <
	    0) { /* nothing that we would do from here on would be done in the right place */
		log_error("egress", "cannot return to the host's net namespace: %s", strerror(errno));
		abort();
	}
	return ret;
}

static int open_route(void *arg, struct err *e)
{
	return nl_open(e);
}

static int cut_at(const struct spawner *s, int ns, int index, uint32_t ip, uint8_t bits, struct err *e)
{
	auto_close int nl = egress_within(s, ns, open_route, NULL, e);
	struct nl q = {0};

	if (nl < 0)
		return -1;
	nl_route(&q, RTM_DELROUTE, index, ip, bits);
	return nl_do(nl, &q, e);
}

/*
 * Takes both routes: the sandbox's own, so that its programs hear at once that there is no way, and the router's, which
 * is what holds (a socket bound to the device needs no route).
 */
static int cut(struct spawner *s, const struct sandbox *b, uint32_t ip, struct err *e)
{
	auto_close int ns = ioctl(b->fd[SB_DNS], SIOCGSKNS);

	if (ns < 0)
		return err_sys(e, errno, "look at a sandbox's namespace");
	if (cut_at(s, s->egress.router, (int)(ip & EGRESS_SERIAL_MASK) + EGRESS_FIRST, ip, 32, e) < 0)
		return -1;
	return cut_at(s, ns, EGRESS_OWN_INDEX, 0, 0, e);
}

static void put_message(struct nl *q, uint16_t type, uint16_t flags, uint8_t family, uint16_t res_id)
{
	struct nfgenmsg m = {.nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(res_id)};

	nl_request(q, type, flags, &m, sizeof(m));
}

static void put_key(struct nl *q, uint16_t type, const uint32_t *key, unsigned words)
{
	size_t nest = nl_nest(q, NLA_F_NESTED | type, NULL, 0);

	nl_put(q, NFTA_DATA_VALUE, key, words * sizeof(*key));
	nl_nest_end(q, nest);
}

/* An element of one of the router's sets: the sandbox alone, or with a range. */
static void put_element(struct nl *q, uint16_t verb, const char *set, const uint32_t *first, const uint32_t *last,
			unsigned words)
{
	size_t list, one;

	put_message(q, NFNL_SUBSYS_NFTABLES << 8 | verb, verb == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0, AF_INET, 0);
	nl_put(q, NFTA_SET_ELEM_LIST_TABLE, EGRESS_TABLE, sizeof(EGRESS_TABLE));
	nl_put(q, NFTA_SET_ELEM_LIST_SET, set, strlen(set) + 1);
	list = nl_nest(q, NLA_F_NESTED | NFTA_SET_ELEM_LIST_ELEMENTS, NULL, 0);
	one = nl_nest(q, NLA_F_NESTED | NFTA_LIST_ELEM, NULL, 0);
	put_key(q, NFTA_SET_ELEM_KEY, first, words);
	if (last)
		put_key(q, NFTA_SET_ELEM_KEY_END, last, words);
	nl_nest_end(q, one);
	nl_nest_end(q, list);
}

static int open_netfilter(void *arg, struct err *e)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	return fd < 0 ? err_sys(e, errno, "open nfnetlink") : fd;
}

/* All of them, or none: the kernel takes what stands between begin and end as one. */
static int change_sets(struct spawner *s, uint16_t verb, uint32_t address, const struct spawner_egress *g,
		       struct err *e)
{
	auto_close int sock = egress_within(s, s->egress.router, open_netfilter, NULL, e);
	struct nl q = {0};
	uint32_t ip = htonl(address);

	if (sock < 0)
		return -1;
	put_message(&q, NFNL_MSG_BATCH_BEGIN, NL_NO_ACK, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	if (!g->internet)
		put_element(&q, verb, EGRESS_SET_CLOSED, &ip, NULL, 1);
	for (unsigned i = 0; i < g->n; i++) {
		uint32_t behind = g->range[i].bits ? ~(~0u << (32 - g->range[i].bits)) : ~0u;
		uint32_t first[] = {ip, htonl(g->range[i].ip)}, last[] = {ip, htonl(g->range[i].ip | behind)};

		put_element(&q, verb, EGRESS_SET_DECLARED, first, last, 2);
	}
	put_message(&q, NFNL_MSG_BATCH_END, NL_NO_ACK, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	return nl_do(sock, &q, e);
}

static int check(const struct spawner_egress *g, struct err *e)
{
	bool ok = g->internet <= 1 && g->n <= SPAWNER_RANGES;

	for (unsigned i = 0; ok && i < g->n; i++)
		ok = g->range[i].bits <= 32 &&
		     (!g->range[i].bits || !(g->range[i].ip & ~(~0u << (32 - g->range[i].bits)))) &&
		     (g->range[i].bits || !g->range[i].ip);
	return ok ? 0 : err_set(e, ERR_INVALID, "no range of addresses");
}

int egress_assign(struct spawner *s, struct sandbox *b, const struct spawner_egress *g, struct err *e)
{
	struct ifreq r = {.ifr_name = EGRESS_OWN};
	uint32_t ip;

	if (check(g, e) < 0)
		return -1;
	if (s->egress.router < 0 || (g->internet && !g->n) || b->fd[SB_DNS] < 0)
		return 0;
	if (ioctl(b->fd[SB_DNS], SIOCGIFADDR, &r) < 0)
		return err_sys(e, errno, "look at a sandbox's device");
	ip = ntohl(((struct sockaddr_in *)&r.ifr_addr)->sin_addr.s_addr);
	b->own_net = 1; /* whatever comes of it */
	if (!g->internet && !g->n)
		return cut(s, b, ip, e);
	if (change_sets(s, NFT_MSG_NEWSETELEM, ip, g, e) < 0)
		return -1;
	b->address = ip;
	b->egress = *g;
	return 0;
}

/* No later sandbox has its address: what stays after a failure is memory, not a right. */
void egress_forget(struct spawner *s, struct sandbox *b)
{
	struct err e;

	if (b->address && s->egress.router >= 0 && change_sets(s, NFT_MSG_DELSETELEM, b->address, &b->egress, &e) < 0)
		log_warn("egress", "ranges of a sandbox stay declared: %s", e.text);
	b->address = 0;
}
