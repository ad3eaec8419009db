/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to one HTTP/1.1 server, which listens on 127.0.0.1:port wherever the sockets were made: they come
 * unconnected from a callback (spawn_sockets). They are kept alive, and used again, the last one first. Who talks to
 * them is proxy.h; what comes from them is hostile. One that says something, or closes, when nobody asked is dropped.
 */
#pragma once
#include <stdint.h>
#include "base/list.h"
#include "loop/loop.h"
struct upstream;
struct upstream_opts {
	struct loop *loop;
	int (*socket)(void *arg); /* the caller's no more; -1: none now, upstream_sockets when there are */
	void *arg;
	uint16_t port;
};
struct upstream *upstream_new(const struct upstream_opts *o);
/* Requests that wait for a connection are NOT_SENT, others FAILED, before it returns. */
void upstream_free(struct upstream *u);
void upstream_sockets(struct upstream *u);
unsigned upstream_outstanding(const struct upstream *u); /* requests, those that wait and upgraded ones too */

/* For proxy.c. */
struct proxy;
struct upstream_conn {
	struct list node; /* idle */
	struct upstream *u;
	struct loop_fd *w;
	int fd;
	bool connecting, used; /* used: it has carried an answer */
	int64_t idle_since_us;
	struct proxy *p; /* NULL: idle */
};
/* An idle one, or a new one, which may be connecting yet. NULL: there is no socket (errno EAGAIN; p waits for one, until
 * upstream_leave), or the other side refused. */
struct upstream_conn *upstream_take(struct upstream *u, struct proxy *p, bool fresh);
void upstream_keep(struct upstream_conn *c); /* its answer is whole: for the next */
void upstream_drop(struct upstream_conn *c);
int upstream_take_fd(struct upstream_conn *c); /* the socket; c is gone */
void upstream_enter(struct upstream *u, struct proxy *p);
void upstream_leave(struct upstream *u, struct proxy *p);
struct loop *upstream_loop(const struct upstream *u);
