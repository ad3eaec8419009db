/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tandemd gets besides whole sandboxes (OPEN): sockets made inside of one, listeners, terminals. Listeners are kept
 * here, so that clients wait in their queues while no tandemd runs: those of the host until tandemd closes them or a
 * successor does not ask for them, those in a network until nobody is in it any more.
 */
#include "spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* What it is found by, and nothing else that the message may hold. */
static struct sockaddr_in6 address_of(const struct sockaddr_in6 *a)
{
	return (struct sockaddr_in6){.sin6_family = AF_INET6,
				     .sin6_port = a->sin6_port,
				     .sin6_addr = a->sin6_addr,
				     .sin6_scope_id = a->sin6_scope_id};
}

static void door_close(struct door *d)
{
	close(d->fd);
	*d = (struct door){0};
}

/* NULL: there is none, *ret_free is where one can be, or NULL. */
static struct door *door_find(struct spawner *s, uint64_t group, const struct sockaddr_in6 *at, struct door **ret_free)
{
	*ret_free = NULL;
	for (struct door *d = s->door; d < s->door + DOOR_MAX; d++) {
		if (!d->at.sin6_family)
			*ret_free = d;
		else if (d->group == group && !memcmp(&d->at, at, sizeof(*at)))
			return d;
	}
	return NULL;
}

static int listen_there(void *arg, struct err *e)
{
	struct sockaddr_in6 *at = arg;
	int fd = state_listen_at(at), sys = errno;
	char text[64];

	if (fd >= 0)
		return fd;
	state_show_address(at, text);
	if (sys == EADDRINUSE)
		return err_set(e, ERR_CONFLICT, "%s is taken: another program listens there", text);
	if (sys == EADDRNOTAVAIL)
		return err_set(e, ERR_INVALID, "cannot listen on %s: that is no address of this host", text);
	return err_sys(e, sys, "listen on %s", text);
}

/* ns -1: the host's own */
static int listener(struct spawner *s, uint64_t group, int ns, struct sockaddr_in6 at, struct opened *ret,
		    struct err *e)
{
	struct door *empty, *d = door_find(s, group, &at, &empty);

	if (!d) {
		if (!empty)
			return err_set(e, ERR_LIMIT, "there are %d listeners already", DOOR_MAX);
		empty->fd = ns < 0 ? listen_there(&at, e) : egress_within(s, ns, listen_there, &at, e);
		if (empty->fd < 0)
			return -1;
		d = empty;
		d->group = group;
		d->at = address_of(&at);
	}
	d->asked_by = s->daemon_gen;
	ret->fd[ret->n++] = d->fd;
	ret->kept = true;
	return 0;
}

/* The host says which ports any program may have; those below are for root, and tandemd is not root. */
static int check_port(const struct sockaddr_in6 *at, struct err *e)
{
	auto_close int fd = open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_RDONLY | O_CLOEXEC);
	char text[16] = "";
	unsigned long first = fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 ? strtoul(text, NULL, 10) : 1024;
	unsigned port = ntohs(at->sin6_port);

	if (!port || port >= first)
		return 0;
	return err_set(e, ERR_DENIED,
		       "port %u is kept for root: choose one from %lu on, or let any program have it (sysctl "
		       "net.ipv4.ip_unprivileged_port_start=%u)",
		       port, first, port);
}

struct sockets {
	unsigned wanted;
	struct opened *ret;
};

static int make_sockets(void *arg, struct err *e)
{
	struct sockets *x = arg;

	while (x->ret->n < x->wanted) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (fd < 0)
			return err_sys(e, errno, "make a socket");
		x->ret->fd[x->ret->n++] = fd;
	}
	return 0;
}

static int inside(struct spawner *s, const struct spawner_msg *m, struct opened *ret, struct err *e)
{
	int slot = sandbox_find(s, m->u.open.sandbox);
	struct sandbox *b = slot < 0 ? NULL : &s->sb[slot];
	struct sockaddr_in6 home = {.sin6_family = AF_INET6, .sin6_port = m->u.open.at.sin6_port};
	auto_close int ns = -1;
	char root[64];

	if (!b || b->state != SLOT_READY || b->ending)
		return err_set(e, ERR_NOT_FOUND, "no such sandbox");
	if (m->u.open.how == OPEN_TTY) {
		if (!b->range)
			return err_set(e, ERR_INVALID, "only containers have terminals");
		snprintf(root, sizeof(root), "/proc/%d/root%s", (int)b->pid, b->runtime ? RUN_DIR "/root" : "");
		if (container_terminal(root, range_first(s, b->range - 1), &ret->fd[0], &ret->fd[1], e) < 0)
			return -1;
		ret->n = 2;
		return 0;
	}
	ns = sandbox_net(s, (unsigned)slot);
	if (ns < 0)
		return err_set(e, ERR_UNAVAILABLE, "the sandbox has no network of its own");
	if (m->u.open.how == OPEN_SOCKETS)
		return egress_within(s, ns, make_sockets, &(struct sockets){m->u.open.n, ret}, e);
	memcpy(home.sin6_addr.s6_addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1", 16);
	return listener(s, b->group, ns, home, ret, e);
}

int open_make(struct spawner *s, const struct spawner_msg *m, struct opened *ret, struct err *e)
{
	struct sockaddr_in6 at = address_of(&m->u.open.at);

	if (m->u.open.how >= OPEN_N ||
	    (m->u.open.how == OPEN_SOCKETS && (!m->u.open.n || m->u.open.n > OPEN_MAX_FDS)) ||
	    (m->u.open.how == OPEN_LISTEN_IN && !at.sin6_port))
		return err_set(e, ERR_INVALID, "what is to be opened makes no sense");
	if (m->u.open.how != OPEN_LISTEN)
		return inside(s, m, ret, e);
	return check_port(&at, e) < 0 ? -1 : listener(s, 0, -1, at, ret, e);
}

void open_unlisten(struct spawner *s, const struct sockaddr_in6 *at)
{
	struct sockaddr_in6 a = address_of(at);
	struct door *none, *d = door_find(s, 0, &a, &none);

	if (d)
		door_close(d);
}

void open_forget(struct spawner *s, uint64_t group)
{
	for (struct door *d = s->door; d < s->door + DOOR_MAX; d++)
		if (d->at.sin6_family && d->group == group)
			door_close(d);
}

void open_sweep(struct spawner *s)
{
	for (struct door *d = s->door; d < s->door + DOOR_MAX; d++)
		if (d->at.sin6_family && !d->group && d->asked_by != s->daemon_gen)
			door_close(d);
}
