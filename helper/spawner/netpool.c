/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Net namespaces that are used again. Making and ending one is most of what a sandbox costs, and most functions never
 * send a packet. When process 1 of a sandbox is gone (and with it all others: it had a pid namespace), its namespace
 * goes into a short queue; the child that makes a later sandbox enters it and looks:
 *
 *   - no socket of any family is left (the kernel counts them: sockstat), so nothing is bound, listening, connected, in
 *     flight, or a member of a group, and nobody else holds one, tandemd included;
 *   - every counter and list is, byte for byte, that of a namespace that nobody used (taken at start): not one packet
 * was ever sent, to lo or in vain, so there are no connections in TIME_WAIT, fragments, routes learned, flow labels.
 *
 * Addresses, routes and settings cannot differ: a function has no right in its namespace. Whatever is not as if new is
 * dropped and a fresh namespace made. The way out stays in it, with its device and its address, as new as the rest.
 */
#include "spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "base/clock.h"

#define REST_US 50000 /* tandemd closes what it had, and the kernel frees sockets after a grace period only */

/* Not fib_triestat: it counts looking up, which binding a socket does. Not fib_trie: it has the namespace's own address. */
static const char *const seen[] = {"dev",   "snmp",  "netstat",	   "snmp6",	   "igmp",
				   "igmp6", "route", "ipv6_route", "ip6_flowlabel"};

static ssize_t read_net(const char *name, char *out, size_t n)
{
	char path[48];
	auto_close int fd = -1;
	size_t at = 0;
	ssize_t got;

	snprintf(path, sizeof(path), "/proc/thread-self/net/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -1; /* a kernel without IPv6 has some of them not */
	while ((got = read(fd, out + at, n - at)) > 0)
		at += (size_t)got;
	return got < 0 || at == n ? -1 : (ssize_t)at;
}

static int look(struct net_look *l)
{
	l->n = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(seen); i++) {
		ssize_t got = read_net(seen[i], l->text + l->n, sizeof(l->text) - l->n);

		if (got < 0)
			return -1;
		l->n += (size_t)got;
	}
	return 0;
}

bool net_as_new(const struct net_look *fresh)
{
	static const char none[] = "sockets: used 0\n";
	struct net_look now;
	char sockets[1024];

	return fresh->n && read_net("sockstat", sockets, sizeof(sockets)) >= (ssize_t)sizeof(none) - 1 &&
	       !memcmp(sockets, none, sizeof(none) - 1) && look(&now) == 0 && now.n == fresh->n &&
	       !memcmp(now.text, fresh->text, now.n);
}

/* Once, at start, in a child: what a namespace looks like that nobody used. Without it none is used twice. */
void net_learn(struct spawner *s)
{
	struct net_look *ret = &s->fresh_net;
	struct blank b = {.net = -1,
			  .sockets = SB_PLATFORM,
			  .fresh_net = ret,
			  .router = s->egress.router,
			  .serial = s->egress.serial++};
	struct net_look *shared =
		mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int socks[BLANK_SOCKS], status = 0;
	pid_t pid;

	ret->n = 0;
	if (shared == MAP_FAILED)
		return;
	pid = fork();
	if (pid == 0)
		_exit(net_setup(&b, socks, NULL) < 0 || look(shared) < 0);
	if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status))
		*ret = *shared;
	munmap(shared, sizeof(*shared));
}

void net_keep(struct spawner *s, int sock)
{
	int ns = sock < 0 || s->n_nets == NET_POOL ? -1 : ioctl(sock, SIOCGSKNS);

	if (ns >= 0)
		s->net[s->n_nets++] = (struct net_kept){ns, clock_now_us()};
}

int net_take(struct spawner *s)
{
	int ns;

	if (!s->n_nets || clock_now_us() - s->net[0].since_us < REST_US)
		return -1;
	ns = s->net[0].ns;
	memmove(s->net, s->net + 1, --s->n_nets * sizeof(s->net[0]));
	return ns;
}

void net_drop(struct spawner *s)
{
	while (s->n_nets)
		close(s->net[--s->n_nets].ns);
}
