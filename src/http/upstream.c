/* SPDX-License-Identifier: Apache-2.0 */
#include "http/upstream.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include "base/io.h"
#include "base/mem.h"
#include "http/proxy.h"
#include "http/server_int.h"

#define IDLE_MAX 256

struct upstream {
	struct upstream_opts o;
	struct list idle; /* the one used last first */
	unsigned n_idle, n_proxies;
	struct list proxies, waiting;
};

struct upstream *upstream_new(const struct upstream_opts *o)
{
	struct upstream *u = xcalloc(1, sizeof(*u));

	u->o = *o;
	list_init(&u->idle);
	list_init(&u->proxies);
	list_init(&u->waiting);
	return u;
}

void upstream_free(struct upstream *u)
{
	if (!u)
		return;
	while (!list_empty(&u->proxies))
		proxy_cancel(list_first(&u->proxies, struct proxy, node));
	while (!list_empty(&u->idle))
		upstream_drop(list_first(&u->idle, struct upstream_conn, node));
	free(u);
}

unsigned upstream_outstanding(const struct upstream *u)
{
	return u->n_proxies;
}

struct loop *upstream_loop(const struct upstream *u)
{
	return u->o.loop;
}

void upstream_enter(struct upstream *u, struct proxy *p)
{
	list_push(&u->proxies, &p->node);
	u->n_proxies++;
}

void upstream_leave(struct upstream *u, struct proxy *p)
{
	list_del(&p->node);
	list_del(&p->waiting);
	u->n_proxies--;
}

/* Those that come to wait again meanwhile are not asked twice. */
void upstream_sockets(struct upstream *u)
{
	struct list all;

	list_init(&all);
	for (struct list *it; !list_empty(&u->waiting); list_push(&all, it)) {
		it = u->waiting.next;
		list_del(it);
	}
	while (!list_empty(&all)) {
		struct proxy *p = list_first(&all, struct proxy, waiting);

		list_del(&p->waiting);
		proxy_connect(p);
	}
}

/* ---- one connection ---- */

static void on_event(void *arg, int events)
{
	struct upstream_conn *c = arg;

	if (c->p)
		proxy_event(c->p, events);
	else
		upstream_drop(c);
}

static struct upstream_conn *dial(struct upstream *u, struct proxy *p)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(u->o.port)};
	struct upstream_conn *c;
	auto_close int fd = u->o.socket(u->o.arg);
	int one = 1, r;

	if (fd < 0) {
		list_push(&u->waiting, &p->waiting);
		errno = EAGAIN;
		return NULL;
	}
	io_set_nonblock(fd);
	server_no_network_between(fd);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	r = connect(fd, (struct sockaddr *)&to, sizeof(to));
	if (r < 0 && errno != EINPROGRESS) {
		if (errno == EAGAIN) /* no port is left */
			errno = EADDRNOTAVAIL;
		return NULL;
	}
	c = xcalloc(1, sizeof(*c));
	c->u = u;
	c->fd = take_fd(fd);
	c->connecting = r < 0;
	c->w = loop_fd_new(u->o.loop, c->fd, r < 0 ? LOOP_WRITE : LOOP_READ, on_event, c);
	return c;
}

struct upstream_conn *upstream_take(struct upstream *u, struct proxy *p, bool fresh)
{
	struct upstream_conn *c = fresh ? NULL : list_first(&u->idle, struct upstream_conn, node);

	if (c) {
		list_del(&c->node);
		u->n_idle--;
	} else {
		if (u->n_idle) /* never more of them than there were requests at once: servers have few */
			upstream_drop(list_last(&u->idle, struct upstream_conn, node));
		c = dial(u, p);
	}
	if (c)
		c->p = p;
	return c;
}

void upstream_keep(struct upstream_conn *c)
{
	struct upstream *u = c->u;
	struct proxy *p = list_first(&u->waiting, struct proxy, waiting);

	c->p = NULL;
	c->used = true;
	c->idle_since_us = loop_now_us(u->o.loop);
	loop_fd_want(c->w, LOOP_READ);
	list_push_front(&u->idle, &c->node);
	if (++u->n_idle > IDLE_MAX)
		upstream_drop(list_last(&u->idle, struct upstream_conn, node));
	if (p) {
		list_del(&p->waiting);
		proxy_connect(p);
	}
}

int upstream_take_fd(struct upstream_conn *c)
{
	int fd = c->fd;

	if (!c->p)
		c->u->n_idle--;
	list_del(&c->node);
	loop_fd_free(c->w);
	free(c);
	return fd;
}

void upstream_drop(struct upstream_conn *c)
{
	close(upstream_take_fd(c));
}
