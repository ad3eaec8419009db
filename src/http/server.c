/* SPDX-License-Identifier: Apache-2.0 */
#include "http/server_int.h"
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "base/clock.h"
#include "base/io.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"

#define RETRY_US	 100000 /* after the descriptors ran out */
#define SWEEP_MIN_US	 250000 /* connections that end close together end in one sweep */
#define ACCEPTS_PER_WAKE 64

/* ---- time ---- */

void server_sweep_by(struct http_server *s, int64_t when_us)
{
	int64_t now;

	if (when_us >= s->sweep_us)
		return;
	now = loop_now_us(s->l);
	s->sweep_us = when_us > now + SWEEP_MIN_US ? when_us : now + SWEEP_MIN_US;
	loop_timer_in(s->sweep, s->sweep_us - now);
}

static void on_sweep(void *arg)
{
	struct http_server *s = arg;
	int64_t now = clock_now_us(), next = INT64_MAX;

	s->sweep_us = INT64_MAX;
	list_each(&s->listeners, it)
	{
		struct http_listener *hl = container_of(it, struct http_listener, node);

		list_each(&hl->conns, ct)
		{
			struct conn *c = container_of(ct, struct conn, node);
			int64_t at = conn_deadline_us(c);

			if (at <= now)
				conn_timeout(c);
			else if (at < next)
				next = at;
		}
	}
	if (next != INT64_MAX)
		server_sweep_by(s, next);
}

/* ---- accepting ---- */

static void accept_all(struct http_server *s, bool on)
{
	s->paused = !on;
	list_each(&s->listeners, it)
	{
		struct http_listener *hl = container_of(it, struct http_listener, node);

		loop_fd_want(hl->w, on && !hl->draining ? LOOP_READ : 0);
	}
}

static void on_retry(void *arg)
{
	struct http_server *s = arg;

	s->retrying = false;
	accept_all(s, true);
}

/* Not postponed by those who ask while others wait already. */
static void retry_in(struct http_server *s, int64_t us)
{
	if (s->retrying && us)
		return;
	s->retrying = true;
	loop_timer_in(s->retry, us);
}

/* The operator's own socket is never closed by what others hold. */
static bool may_accept(struct http_listener *hl)
{
	int64_t now = loop_now_us(hl->s->l);

	if (!hl->o.guest)
		return !hl->tcp || hl->s->n_tcp < hl->s->max_conns;

	if (now - hl->shakes_since_us >= RETRY_US) {
		hl->shakes_since_us = now;
		hl->shakes = 0;
	}
	return hl->n_conns < LIM_HTTP_GUEST_CONNS && hl->s->n_guests < hl->s->max_conns &&
	       (!hl->o.tls || hl->shakes < LIM_HTTP_GUEST_SHAKES);
}

void server_conn_closed(struct http_listener *hl)
{
	struct http_server *s = hl->s;

	server_drain_look(s);
	s->n_conns--;
	hl->n_conns--;
	s->n_guests -= hl->o.guest;
	s->n_tcp -= hl->tcp && !hl->o.guest;
	if (hl->full && hl->w) {
		hl->full = false;
		loop_fd_want(hl->w, s->paused || hl->draining ? 0 : LOOP_READ);
	}
	if (!s->n_conns) {
		loop_timer_stop(s->sweep);
		s->sweep_us = INT64_MAX;
	}
	if (s->paused)
		retry_in(s, 0);
}

static void peer_name(const struct sockaddr_storage *ss, char out[56])
{
	const struct sockaddr_in6 *six = (const void *)ss;
	const struct sockaddr_in *four = (const void *)ss;

	out[0] = 0;
	if (ss->ss_family == AF_INET)
		inet_ntop(AF_INET, &four->sin_addr, out, 56);
	else if (ss->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
		inet_ntop(AF_INET, six->sin6_addr.s6_addr + 12, out, 56);
	else if (ss->ss_family == AF_INET6)
		inet_ntop(AF_INET6, &six->sin6_addr, out, 56);
}

static bool is_here(const struct sockaddr_storage *ss)
{
	const struct sockaddr_in6 *six = (const void *)ss;
	const struct sockaddr_in *four = (const void *)ss;

	return (ss->ss_family == AF_INET && ntohl(four->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET) ||
	       (ss->ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&six->sin6_addr));
}

/* Where no network lies between, control of congestion is work for nothing: reno does the least of it, and is always
 * there. */
void server_no_network_between(int fd)
{
	setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", strlen("reno"));
}

static int peer_uid(int fd)
{
	struct ucred cred;
	socklen_t n = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0 ? -1 : (int)cred.uid;
}

static void on_accept(void *arg, int events)
{
	struct http_listener *hl = arg;
	struct http_server *s = hl->s;

	for (int i = 0; i < ACCEPTS_PER_WAKE; i++) {
		struct sockaddr_storage ss = {0};
		socklen_t n = sizeof(ss);
		char peer[56];
		int fd;

		if (!may_accept(hl)) {
			hl->full = true;
			loop_fd_want(hl->w, 0);
			retry_in(s, RETRY_US);
			return;
		}
		fd = accept4(hl->fd, (struct sockaddr *)&ss, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
				log_warn("http", "accepting pauses: %s", strerrordesc_np(errno));
				accept_all(s, false);
				retry_in(s, RETRY_US);
				return;
			}
			if (errno == EAGAIN || errno == EWOULDBLOCK)
				return;
			continue; /* a connection that ended before we took it */
		}
		if (hl->tcp && (hl->o.guest || is_here(&ss)))
			server_no_network_between(fd);
		peer_name(&ss, peer);
		s->n_conns++;
		hl->n_conns++;
		s->n_guests += hl->o.guest;
		s->n_tcp += hl->tcp && !hl->o.guest;
		hl->shakes++;
		conn_new(hl, fd, peer, hl->tcp ? -1 : peer_uid(fd));
	}
}

/* ---- making and unmaking ---- */

#define CONNS_MIN 256 /* as long as there are descriptors, and their want is noticed */

struct http_server *http_server_new(struct loop *l)
{
	struct http_server *s = xcalloc(1, sizeof(*s));
	struct rlimit lim = {0};

	getrlimit(RLIMIT_NOFILE, &lim);
	s->max_conns = lim.rlim_cur / LIM_HTTP_CONNS_SHARE;
	s->max_conns = s->max_conns < CONNS_MIN	       ? CONNS_MIN
		       : s->max_conns > LIM_HTTP_CONNS ? LIM_HTTP_CONNS
						       : s->max_conns;

	s->max_bytes = LIM_HTTP_BYTES;
	s->l = l;
	s->sweep_us = INT64_MAX;
	list_init(&s->listeners);
	list_init(&s->together);
	s->sweep = loop_timer_new(l, on_sweep, s);
	s->retry = loop_timer_new(l, on_retry, s);
	return s;
}

struct http_listener *http_listen(struct http_server *s, int fd, const struct http_listener_opts *o)
{
	struct http_listener *hl = xcalloc(1, sizeof(*hl));
	struct sockaddr_storage ss = {0};
	socklen_t n = sizeof(ss);
	int one = 1;

	assert(o->handler);
	hl->s = s;
	hl->fd = fd;
	hl->o = *o;
	if (!hl->o.idle_us)
		hl->o.idle_us = 75000000;
	list_init(&hl->conns);
	list_push(&s->listeners, &hl->node);
	getsockname(fd, (struct sockaddr *)&ss, &n);
	hl->tcp = ss.ss_family != AF_UNIX;
	/* Accepted sockets inherit it. */
	if (hl->tcp)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	io_set_nonblock(fd);
	hl->w = loop_fd_new(s->l, fd, s->paused ? 0 : LOOP_READ, on_accept, hl);
	return hl;
}

void http_listener_free(struct http_listener *hl)
{
	if (!hl)
		return;
	list_del(&hl->node);
	loop_fd_free(take_ptr(hl->w));
	while (!list_empty(&hl->conns))
		conn_close(list_first(&hl->conns, struct conn, node));
	free(hl);
}

static void stop_accepting(struct http_listener *hl)
{
	hl->draining = true;
	loop_fd_want(hl->w, 0);
}

void http_server_close(struct http_server *s)
{
	list_each(&s->listeners, it)
	{
		struct http_listener *hl = container_of(it, struct http_listener, node);

		stop_accepting(hl);
		while (!list_empty(&hl->conns))
			conn_close(list_first(&hl->conns, struct conn, node));
	}
}

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	while (!list_empty(&s->listeners))
		http_listener_free(list_first(&s->listeners, struct http_listener, node));
	loop_timer_free(s->sweep);
	loop_timer_free(s->retry);
	loop_timer_free(s->drain_by);
	loop_defer_cancel(s->l, &s->later);
	loop_defer_cancel(s->l, &s->drain_later);
	free(s);
}

/* Closing it would lose a request. */
static bool coming(const struct conn *c)
{
	return c->state == CONN_IDLE || c->state == CONN_RECV || c->state == CONN_FLUSH ||
	       (c->state == CONN_PENDING && (conn_body_open(c) || c->left > 0));
}

static void drain_done(struct http_server *s)
{
	loop_timer_free(take_ptr(s->drain_by));
	take_ptr(s->drained)(s->drained_arg);
}

static void drain_check(void *arg)
{
	struct http_server *s = arg;

	list_each(&s->listeners, it)
	{
		struct http_listener *hl = container_of(it, struct http_listener, node);

		list_each(&hl->conns, ct) if (!hl->o.guest && coming(container_of(ct, struct conn, node))) return;
	}
	if (s->drained)
		drain_done(s);
}

void server_drain_look(struct http_server *s)
{
	if (s->drained && !s->drain_later.queued)
		loop_defer(s->l, &s->drain_later, drain_check, s);
}

static void drain_late(void *arg)
{
	drain_done(arg);
}

static void drain_conn(struct conn *c)
{
	c->close_after = true;
	if (c->state == CONN_IDLE && c->served && recv(c->fd, &(char){0}, 1, MSG_PEEK | MSG_DONTWAIT) <= 0)
		conn_close(c);
}

void http_server_drain(struct http_server *s, int64_t within_us, void (*drained)(void *arg), void *arg)
{
	list_each(&s->listeners, it)
	{
		struct http_listener *hl = container_of(it, struct http_listener, node);

		if (hl->o.guest)
			continue; /* the way in which a sandbox answers */
		stop_accepting(hl);
		list_each(&hl->conns, ct) drain_conn(container_of(ct, struct conn, node));
	}
	s->drained = drained;
	s->drained_arg = arg;
	s->drain_by = loop_timer_new(s->l, drain_late, s);
	loop_timer_in(s->drain_by, within_us);
	server_drain_look(s);
}

size_t http_server_conns(const struct http_server *s)
{
	return s->n_conns;
}
