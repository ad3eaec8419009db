/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that are no HTTP of the gateway's: listeners of the host (ports:) and inside of those who use a service
 * (uses:), each connection a tunnel to an instance. It counts as open there, and wakes the service.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include "http/tunnel.h"
#include "service/service_int.h"

#define ACCEPT_AT_ONCE 16
#define CONNS_MAX      1024 /* of one listener: who uses a service may be hostile */
#define AGAIN_US       5000000

struct door {
	struct list node; /* of the service, or of services.inside */
	struct services *ss;
	struct service *sv; /* ports: whose it is; NULL: by name, each time */
	char *key;	    /* uses: */
	struct task *task;
	struct sockaddr_in6 at;
	uint16_t to; /* 0: the service's own */
	struct spawn_req req;
	int fd;
	struct loop_fd *watch;
	struct loop_timer *again;
	struct list conns;
	unsigned n_conns;
};
struct conn {
	struct list node;
	struct door *door;
	struct service_use use;
	struct spawn_req req;
	struct tunnel tunnel;
	int fd;
	uint16_t to;
};

static void conn_free(struct conn *c)
{
	service_unuse(&c->use);
	spawn_cancel(&c->req);
	tunnel_cancel(&c->tunnel);
	if (c->fd >= 0)
		close(c->fd);
	list_del(&c->node);
	if (c->door->n_conns-- == CONNS_MAX)
		loop_fd_want(c->door->watch, LOOP_READ);
	free(c);
}

static void tunnel_over(struct tunnel *t)
{
	conn_free(container_of(t, struct conn, tunnel));
}

static void got_socket(struct spawn_req *r, const struct err *e)
{
	struct conn *c = container_of(r, struct conn, req);
	struct sockaddr_in at = {
		.sin_family = AF_INET, .sin_port = htons(c->to), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	if (e->kind) {
		conn_free(c);
		return;
	}
	if (connect(r->socks[0], (struct sockaddr *)&at, sizeof(at)) < 0 && errno != EINPROGRESS) {
		close(r->socks[0]);
		conn_free(c);
		return;
	}
	c->tunnel.done = tunnel_over;
	tunnel_start(&c->tunnel, c->door->ss->o.loop, (int[2]){take_fd(c->fd), r->socks[0]},
		     (struct str[2]){STR_NULL, STR_NULL});
}

static void ready(struct service_use *u, const struct err *e)
{
	struct conn *c = container_of(u, struct conn, use);

	c->to = e->kind ? 0 : c->door->to ? c->door->to : u->at->d->port;
	if (!c->to) {
		conn_free(c);
		return;
	}
	c->req = (struct spawn_req){.done = got_socket};
	spawn_sockets_start(c->door->ss->o.spawn, &c->req, task_sandbox(u->at->task), 1);
}

static void on_connection(void *arg, int events)
{
	struct door *d = arg;
	static const struct err none;

	for (int i = 0; i < ACCEPT_AT_ONCE && d->n_conns < CONNS_MAX; i++) {
		int fd = accept4(d->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		struct service *sv = d->sv ? d->sv : map_get(&d->ss->by_name, str_of(d->key));
		struct conn *c;

		if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
			loop_fd_want(d->watch, 0);
			loop_timer_in(d->again, AGAIN_US);
		}
		if (fd < 0)
			return;
		if (!sv || sv->state != SERVICE_ACTIVE || d->ss->draining) {
			close(fd);
			continue;
		}
		c = xcalloc(1, sizeof(*c));
		*c = (struct conn){.door = d, .fd = fd, .use.ready = ready};
		list_push(&d->conns, &c->node);
		d->n_conns++;
		if (service_use(sv, &c->use))
			ready(&c->use, &none);
	}
	if (d->n_conns >= CONNS_MAX)
		loop_fd_want(d->watch, 0);
}

static void door_free(struct door *d)
{
	list_each(&d->conns, it) conn_free(container_of(it, struct conn, node));
	spawn_cancel(&d->req);
	loop_timer_free(d->again);
	loop_fd_free(d->watch);
	if (d->fd >= 0)
		close(d->fd);
	list_del(&d->node);
	free(d->key);
	free(d);
}

static void ask(void *arg);

static void opened(struct spawn_req *r, const struct err *e)
{
	struct door *d = container_of(r, struct door, req);

	if (!e->kind) {
		d->fd = r->socks[0];
		d->watch = loop_fd_new(d->ss->o.loop, d->fd, LOOP_READ, on_connection, d);
		return;
	}
	if (!d->sv)
		return; /* its program has the port itself, or is gone */
	service_say(d->sv, "port %u of the host: %s", ntohs(d->at.sin6_port), e->text);
	loop_timer_in(d->again, AGAIN_US);
}

static void ask(void *arg)
{
	struct door *d = arg;
	struct service *own;

	if (d->watch) { /* accepting had paused */
		loop_fd_want(d->watch, LOOP_READ);
		return;
	}
	own = d->sv ? NULL : service_of_task(d->ss, d->task, &(const char *){NULL});
	if (own && own->spec.port == ntohs(d->at.sin6_port)) { /* its program could not listen there any more */
		service_say(own, "it uses %s at port %u, where it listens itself; uses: [NAME:PORT] has another",
			    d->key, own->spec.port);
		return;
	}
	d->req = (struct spawn_req){.done = opened};
	if (d->sv)
		spawn_listen_start(d->ss->o.spawn, &d->req, &d->at);
	else
		spawn_listen_in_start(d->ss->o.spawn, &d->req, task_sandbox(d->task), ntohs(d->at.sin6_port));
}

static struct door *door_new(struct services *ss, struct list *in, const struct door *like)
{
	struct door *d = xcalloc(1, sizeof(*d));

	*d = *like;
	d->ss = ss;
	d->fd = -1;
	list_init(&d->conns);
	d->again = loop_timer_new(ss->o.loop, ask, d);
	list_push(in, &d->node);
	ask(d);
	return d;
}

static bool same(const struct sockaddr_in6 *a, const struct sockaddr_in6 *b)
{
	return a->sin6_port == b->sin6_port && !memcmp(&a->sin6_addr, &b->sin6_addr, sizeof(a->sin6_addr));
}

static void ports_close(struct service *sv, const struct service_spec *wanted)
{
	list_each(&sv->ports, it)
	{
		struct door *d = container_of(it, struct door, node);
		bool keep = false;

		for (unsigned i = 0; wanted && i < wanted->n_ports; i++)
			if (same(&wanted->ports[i].at, &d->at)) {
				d->to = wanted->ports[i].to;
				keep = true;
			}
		if (keep)
			continue;
		spawn_unlisten(sv->ss->o.spawn, &d->at);
		door_free(d);
	}
}

void ports_fit(struct service *sv)
{
	ports_close(sv, &sv->spec);
	for (unsigned i = 0; i < sv->spec.n_ports; i++) {
		const struct service_port *p = &sv->spec.ports[i];
		bool there = false;

		list_each(&sv->ports, it) there |= same(&container_of(it, struct door, node)->at, &p->at);
		if (!there)
			door_new(sv->ss, &sv->ports, &(struct door){.sv = sv, .at = p->at, .to = p->to});
	}
}

bool service_port_open(const struct service *sv, unsigned i)
{
	list_each(&sv->ports, it)
	{
		const struct door *d = container_of(it, struct door, node);

		if (same(&d->at, &sv->spec.ports[i].at))
			return d->fd >= 0;
	}
	return false;
}

/* The host's listeners are kept for the successor unless the service is gone. */
void ports_free(struct service *sv)
{
	if (sv->state == SERVICE_INACTIVE)
		ports_close(sv, NULL);
	list_each(&sv->ports, it) door_free(container_of(it, struct door, node));
}

/* Where it appears: where the user says, or where the service itself has it. 0: not known yet. */
static uint16_t port_of(const struct services *ss, const struct json *use, const char *key)
{
	const struct service *sv = map_get(&ss->by_name, str_of(key));

	return (uint16_t)json_get_int(use, "port", sv ? sv->spec.port : 0);
}

void ports_task(struct services *ss, struct task *k)
{
	struct task_info i;
	const struct json *uses;

	task_info(k, &i);
	list_each(&ss->inside, it)
	{
		struct door *d = container_of(it, struct door, node);

		if (d->task == k && i.state == TASK_STOPPED)
			door_free(d);
	}
	uses = json_get(i.doc, "uses");
	for (size_t n = 0; task_sandbox(k) && i.state != TASK_STOPPED && n < json_len(uses); n++) {
		struct door like = {.task = k};
		bool there = false;

		like.key = xasprintf("default/" STR_FMT, STR_ARG(json_get_str(json_at(uses, n), "service")));
		like.at.sin6_port = htons(port_of(ss, json_at(uses, n), like.key));
		list_each(&ss->inside, it)
		{
			struct door *d = container_of(it, struct door, node);

			there |= d->task == k && !strcmp(d->key, like.key);
		}
		if (there || !like.at.sin6_port)
			free(like.key);
		else
			door_new(ss, &ss->inside, &like);
	}
}

void doors_free(struct services *ss)
{
	list_each(&ss->inside, it) door_free(container_of(it, struct door, node));
}
