/* SPDX-License-Identifier: Apache-2.0 */
#include "spawn/spawn.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "spawn/spawn_int.h"
#include "wire/fds.h"

#define UNPACKS_AT_ONCE	  8 /* the spawner takes 16 */
#define MESSAGES_PER_TURN 64

/* A message that could not go at once: the socket was full, or enough archives are being unpacked. Owns its
 * descriptors. */
struct out {
	struct out *next;
	struct spawner_msg m;
	int fds[CONTAINER_LAYERS + 1]; /* CONTAINER's are the most */
	unsigned n_fds;
};

struct queue {
	struct out *first, **last;
};

struct spawn {
	struct loop *loop;
	struct loop_fd *watch;
	int sock;
	const struct spawn_events *ev;
	void *arg;
	uint64_t next_id;
	unsigned unpacking;
	int64_t helpers_us;
	bool configured, lost;
	bool *freed; /* set by spawn_free while a callback runs */
	struct queue out, unpacks;
	struct spawn_req *reqs;
	struct loop_defer lost_later;
	struct err lost_why;
};

static void on_io(void *arg, int events);

static struct out *queue_take(struct queue *q)
{
	struct out *o = q->first;

	if (!o)
		return NULL;
	q->first = o->next;
	if (!q->first)
		q->last = &q->first;
	return o;
}

static void queue_put(struct queue *q, struct out *o)
{
	o->next = NULL;
	*q->last = o;
	q->last = &o->next;
}

static void out_free(struct out *o)
{
	for (unsigned i = 0; i < o->n_fds; i++)
		close(o->fds[i]);
	free(o);
}

static void queue_free(struct queue *q)
{
	for (struct out *o; (o = queue_take(q));)
		out_free(o);
}

struct spawn *spawn_new(struct loop *l, int sock, const struct spawn_events *ev, void *arg)
{
	struct spawn *s = xcalloc(1, sizeof(*s));

	s->loop = l;
	s->sock = sock;
	s->ev = ev;
	s->arg = arg;
	/* By the clock: also a successor never uses an id of its predecessor's sandboxes, the living or the dead. */
	s->next_id = (uint64_t)clock_wall_us();
	s->out.last = &s->out.first;
	s->unpacks.last = &s->unpacks.first;
	s->watch = loop_fd_new(l, sock, LOOP_READ, on_io, s);
	return s;
}

void spawn_free(struct spawn *s)
{
	if (!s)
		return;
	if (s->freed)
		*s->freed = true;
	loop_defer_cancel(s->loop, &s->lost_later);
	loop_fd_free(s->watch);
	queue_free(&s->out);
	queue_free(&s->unpacks);
	free(s);
}

static void tell_lost(void *arg)
{
	struct spawn *s = arg;

	s->ev->lost(s->arg, &s->lost_why);
}

/* Told on the next turn: whoever just called us does not expect to be called back. */
static void lose(struct spawn *s, const struct err *why)
{
	if (s->lost)
		return;
	s->lost = true;
	s->lost_why = *why;
	loop_fd_want(s->watch, 0);
	loop_defer(s->loop, &s->lost_later, tell_lost, s);
}

/* true: gone, or never going; false: the socket is full. */
static bool try_send(struct spawn *s, const struct spawner_msg *m, const int *fds, unsigned n_fds)
{
	struct err e = {0};

	if (fds_send(s->sock, m, sizeof(*m), fds, n_fds, MSG_DONTWAIT) >= 0)
		return true;
	if (errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS)
		return false;
	err_sys(&e, errno, "send to the spawner");
	lose(s, &e);
	return true;
}

static void put_off(struct queue *q, const struct spawner_msg *m, const int *fds, unsigned n_fds)
{
	struct out *o = xcalloc(1, sizeof(*o));

	o->m = *m;
	assert(n_fds <= ARRAY_SIZE(o->fds));
	for (unsigned i = 0; i < n_fds; i++) {
		o->fds[o->n_fds] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
		if (o->fds[o->n_fds] >= 0)
			o->n_fds++; /* one missing: the spawner answers with an error */
	}
	queue_put(q, o);
}

static void post(struct spawn *s, const struct spawner_msg *m, const int *fds, unsigned n_fds)
{
	if (s->lost || (!s->out.first && try_send(s, m, fds, n_fds)))
		return;
	put_off(&s->out, m, fds, n_fds);
	loop_fd_want(s->watch, LOOP_READ | LOOP_WRITE);
}

static void flush(struct spawn *s)
{
	while (s->out.first && try_send(s, &s->out.first->m, s->out.first->fds, s->out.first->n_fds))
		out_free(queue_take(&s->out));
	if (!s->out.first && !s->lost)
		loop_fd_want(s->watch, LOOP_READ);
}

static void post_verb(struct spawn *s, enum spawner_verb verb, uint64_t id)
{
	struct spawner_msg m;

	spawner_msg_init(&m, verb, id);
	post(s, &m, NULL, 0);
}

void spawn_hello(struct spawn *s)
{
	post_verb(s, SPAWNER_HELLO, 0);
}

void spawn_ready(struct spawn *s)
{
	post_verb(s, SPAWNER_READY, 0);
}

void spawn_bye(struct spawn *s)
{
	post_verb(s, SPAWNER_BYE, 0);
}

void spawn_end(struct spawn *s, uint64_t id)
{
	post_verb(s, SPAWNER_END_SANDBOX, id);
}

void spawn_input_end(struct spawn *s, uint64_t id)
{
	post_verb(s, SPAWNER_INPUT_END, id);
}

void spawn_live(struct spawn *s, uint64_t id)
{
	post_verb(s, SPAWNER_LIVE, id);
}

uint64_t spawn_next_id(struct spawn *s)
{
	return s->next_id++;
}

static void req_add(struct spawn *s, struct spawn_req *r, uint64_t id, enum spawner_verb awaits)
{
	r->s = s;
	r->id = id;
	r->awaits = (uint16_t)awaits;
	for (unsigned i = 0; i < SB_N; i++)
		r->fds.fd[i] = -1;
	r->next = s->reqs;
	s->reqs = r;
}

static struct spawn_req *req_take(struct spawn *s, uint64_t id, unsigned awaits)
{
	for (struct spawn_req **at = &s->reqs; *at; at = &(*at)->next) {
		struct spawn_req *r = *at;

		if (r->id != id || r->awaits != awaits)
			continue;
		*at = r->next;
		r->next = NULL;
		r->s = NULL;
		return r;
	}
	return NULL;
}

void spawn_blank_start(struct spawn *s, struct spawn_req *r, bool prepare)
{
	struct spawner_msg m;

	req_add(s, r, spawn_next_id(s), SPAWNER_MADE);
	spawner_msg_init(&m, SPAWNER_BLANK, r->id);
	m.u.blank.prepare = prepare;
	post(s, &m, NULL, 0);
}

void spawn_assign_start(struct spawn *s, struct spawn_req *r, uint64_t id, const struct spawn_limits *lim,
			const int *dirs, unsigned n_dirs, const char *label)
{
	struct spawner_msg m;

	spawner_msg_init(&m, SPAWNER_ASSIGN, id);
	m.u.assign.memory_bytes = (uint64_t)lim->memory_bytes;
	m.u.assign.tmp_bytes = (uint64_t)lim->tmp_bytes;
	m.u.assign.pids_max = lim->pids_max;
	m.u.assign.cpu_weight = lim->cpu_weight;
	m.u.assign.cpu_quota_us = lim->cpu_quota_us;
	m.u.assign.n_layers = (uint8_t)(n_dirs - 1);
	m.u.assign.egress = lim->egress;
	strlcpy_(m.u.assign.label, label, sizeof(m.u.assign.label));
	req_add(s, r, id, SPAWNER_ASSIGNED);
	post(s, &m, dirs, n_dirs);
}

void spawn_container_start(struct spawn *s, struct spawn_req *r, const struct spawn_container *c)
{
	struct spawner_msg m;
	int fds[CONTAINER_LAYERS + 1];
	auto_close int mem = -1;

	assert(c->n_layers <= CONTAINER_LAYERS);
	req_add(s, r, spawn_next_id(s), SPAWNER_MADE);
	spawner_msg_init(&m, SPAWNER_CONTAINER, r->id);
	m.u.container.memory_bytes = (uint64_t)c->limits.memory_bytes;
	m.u.container.pids_max = c->limits.pids_max;
	m.u.container.cpu_weight = c->limits.cpu_weight;
	m.u.container.cpu_quota_us = c->limits.cpu_quota_us;
	m.u.container.n_layers = (uint8_t)c->n_layers;
	m.u.container.input = c->input;
	m.u.container.tty = c->tty;
	m.u.container.read_only = c->read_only;
	strlcpy_(m.u.container.hostname, c->hostname, sizeof(m.u.container.hostname));
	strlcpy_(m.u.container.label, c->label, sizeof(m.u.container.label));
	m.u.container.join = c->join;
	m.u.container.runtime = (uint8_t)c->runtime;
	m.u.container.sockets = c->join ? 0 : SB_PLATFORM & ~(c->rtapi ? 0u : 1u << SB_RTAPI) & ~c->without;
	m.u.container.egress = c->limits.egress;
	m.u.container.caps = c->caps;
	mem = spawn_gives(c, &m.u.container.n_gives);
	memcpy(fds, c->layers, c->n_layers * sizeof(*fds));
	fds[c->n_layers] = mem;
	post(s, &m, fds, c->n_layers + (mem >= 0));
}

static void keep(struct spawn *s, struct spawn_req *r, enum spawner_verb verb, const char *name, int fd)
{
	struct spawner_msg m;

	req_add(s, r, spawn_next_id(s), SPAWNER_KEPT);
	spawner_msg_init(&m, verb, r->id);
	spawn_copy(m.u.keep.name, sizeof(m.u.keep.name), name);
	post(s, &m, &fd, fd >= 0);
}

void spawn_secret_start(struct spawn *s, struct spawn_req *r, const char *name, int value)
{
	keep(s, r, SPAWNER_SECRET, name, value);
}

void spawn_volume_end_start(struct spawn *s, struct spawn_req *r, const char *name)
{
	keep(s, r, SPAWNER_VOLUME_END, name, -1);
}

static void open_start(struct spawn *s, struct spawn_req *r, enum spawner_open how, uint64_t id, unsigned n,
		       const struct sockaddr_in6 *at)
{
	struct spawner_msg m;

	req_add(s, r, spawn_next_id(s), SPAWNER_OPENED);
	spawner_msg_init(&m, SPAWNER_OPEN, r->id);
	m.u.open.how = (uint8_t)how;
	m.u.open.sandbox = id;
	m.u.open.n = (uint8_t)n;
	if (at)
		m.u.open.at = *at;
	post(s, &m, NULL, 0);
}

void spawn_sockets_start(struct spawn *s, struct spawn_req *r, uint64_t id, unsigned n)
{
	assert(n && n <= OPEN_MAX_FDS);
	open_start(s, r, OPEN_SOCKETS, id, n, NULL);
}

void spawn_listen_in_start(struct spawn *s, struct spawn_req *r, uint64_t id, uint16_t port)
{
	open_start(s, r, OPEN_LISTEN_IN, id, 1, &(struct sockaddr_in6){.sin6_port = htons(port)});
}

void spawn_listen_start(struct spawn *s, struct spawn_req *r, const struct sockaddr_in6 *at)
{
	open_start(s, r, OPEN_LISTEN, 0, 1, at);
}

void spawn_unlisten(struct spawn *s, const struct sockaddr_in6 *at)
{
	struct spawner_msg m;

	spawner_msg_init(&m, SPAWNER_UNLISTEN, 0);
	m.u.open.at = *at;
	post(s, &m, NULL, 0);
}

void spawn_tty_start(struct spawn *s, struct spawn_req *r, uint64_t id)
{
	open_start(s, r, OPEN_TTY, id, 2, NULL);
}

void spawn_layer_start(struct spawn *s, struct spawn_req *r, enum spawner_unpack how, int archive, int dir,
		       const char *name, int64_t max_bytes, int64_t max_files)
{
	struct spawner_msg m;
	int fds[2] = {archive, dir};

	req_add(s, r, spawn_next_id(s), SPAWNER_UNPACKED);
	spawner_msg_init(&m, SPAWNER_UNPACK, r->id);
	spawn_copy(m.u.unpack.name, sizeof(m.u.unpack.name), name);
	m.u.unpack.max_bytes = (uint64_t)max_bytes;
	m.u.unpack.max_files = (uint64_t)max_files;
	m.u.unpack.how = (uint8_t)how;
	if (s->unpacking >= UNPACKS_AT_ONCE) {
		put_off(&s->unpacks, &m, fds, 2);
		return;
	}
	s->unpacking++;
	post(s, &m, fds, 2);
}

void spawn_unpack_start(struct spawn *s, struct spawn_req *r, int archive, int dir, const char *name, int64_t max_bytes,
			int64_t max_files)
{
	spawn_layer_start(s, r, UNPACK_CODE, archive, dir, name, max_bytes, max_files);
}

void spawn_pull_start(struct spawn *s, struct spawn_req *r, const char *reference, bool plain_http, int dir, int words,
		      int auth)
{
	struct spawner_msg m;
	int fds[3] = {dir, words, auth};

	req_add(s, r, spawn_next_id(s), SPAWNER_PULLED);
	spawner_msg_init(&m, SPAWNER_PULL, r->id);
	spawn_copy(m.u.pull.reference, sizeof(m.u.pull.reference), reference);
	m.u.pull.plain_http = plain_http;
	m.u.pull.has_auth = auth >= 0;
	post(s, &m, fds, auth >= 0 ? 3 : 2);
}

void spawn_pull_end(struct spawn *s, uint64_t id)
{
	post_verb(s, SPAWNER_PULL_END, id);
}

/* What was asked goes on at the spawner; the answer finds nobody, and a sandbox that nobody awaits is ended (made). */
void spawn_cancel(struct spawn_req *r)
{
	if (r->s)
		req_take(r->s, r->id, r->awaits);
}

static void unpack_next(struct spawn *s)
{
	struct out *o = queue_take(&s->unpacks);

	s->unpacking--;
	if (!o)
		return;
	s->unpacking++;
	post(s, &o->m, o->fds, o->n_fds);
	out_free(o);
}

/* Descriptors come in the order of their bits; there are exactly as many. Moves them; -1: a lie. */
static int sort_fds(uint32_t has, unsigned n, int *fds, unsigned n_fds, int *ret)
{
	unsigned at = 0;

	if (has >> n || (unsigned)__builtin_popcount(has) != n_fds)
		return -1;
	for (unsigned i = 0; i < n; i++) {
		ret[i] = -1;
		if (has >> i & 1) {
			ret[i] = fds[at];
			fds[at++] = -1;
		}
	}
	return 0;
}

static void close_fds(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

void sandbox_fds_close(struct sandbox_fds *fds)
{
	close_fds(fds->fd, SB_N);
}

/* At our limit of open files a message arrives without its descriptors: that answer is lost, and nothing else. */
static int opened(const struct spawner_msg *m, struct spawn_req *r, int *fds, unsigned n_fds, int socks[OPEN_MAX_FDS],
		  struct err *why, struct err *e)
{
	if (n_fds > OPEN_MAX_FDS || (n_fds && n_fds != m->u.open.n))
		return err_set(e, ERR_CORRUPT, "the spawner's descriptors do not match its message");
	if (!n_fds)
		err_set(why, ERR_LIMIT, "no descriptor is free");
	if (!r)
		return 0;
	memcpy(socks, fds, n_fds * sizeof(*fds));
	memset(fds, -1, n_fds * sizeof(*fds));
	r->socks = socks;
	r->n_socks = n_fds;
	return 0;
}

static bool without_room(const struct spawner_msg *m, unsigned n_fds)
{
	return m->u.made.has && !n_fds;
}

static int answer(struct spawn *s, const struct spawner_msg *m, int *fds, unsigned n_fds, struct err *e)
{
	struct spawn_req *r = req_take(s, m->id, m->verb);
	struct sandbox_fds sb;
	struct err why = {0};
	int socks[OPEN_MAX_FDS];

	if (m->verb == SPAWNER_UNPACKED || m->verb == SPAWNER_PULLED)
		s->helpers_us += (int64_t)(m->verb == SPAWNER_PULLED ? m->u.pull.cpu_us : m->u.unpack.cpu_us);
	if (m->verb == SPAWNER_UNPACKED && s->unpacking)
		unpack_next(s);
	if (m->err) {
		why.kind = (enum err_kind)m->err;
		strlcpy_(why.text, m->text, sizeof(why.text));
	} else if (m->verb == SPAWNER_MADE && without_room(m, n_fds)) {
		err_set(&why, ERR_LIMIT, "no descriptor is free for another sandbox");
		spawn_end(s, m->id);
	} else if (m->verb == SPAWNER_MADE) {
		if (sort_fds(m->u.made.has, SB_N, fds, n_fds, sb.fd) < 0)
			return err_set(e, ERR_CORRUPT, "the spawner's descriptors do not match its message");
		if (!r) {
			close_fds(sb.fd, SB_N);
			spawn_end(s, m->id);
			return 0;
		}
		r->fds = sb;
		r->uid = m->u.made.uid;
		r->pid = m->u.made.pid;
	}
	if (m->verb == SPAWNER_OPENED && !m->err && opened(m, r, fds, n_fds, socks, &why, e) < 0)
		return -1;
	if (!r)
		return 0;
	if (m->verb == SPAWNER_UNPACKED) {
		r->bytes = (int64_t)m->u.unpack.bytes;
		r->files = (int64_t)m->u.unpack.files;
	}
	if (m->verb == SPAWNER_PULLED)
		r->wait_status = m->u.pull.wait_status;
	r->done(r, &why);
	return 0;
}

int64_t spawn_helpers_us(const struct spawn *s)
{
	return s->helpers_us;
}

static int config(struct spawn *s, const struct spawner_msg *m, int *fds, unsigned n_fds, struct err *e)
{
	int listeners[SL_N];

	if (s->configured || sort_fds(m->u.config.has, SL_N, fds, n_fds, listeners) < 0)
		return err_set(e, ERR_CORRUPT, "the spawner's configuration makes no sense");
	s->configured = true;
	s->ev->config(s->arg, &m->u.config, listeners, m->text);
	return 0;
}

static int adopt(struct spawn *s, const struct spawner_msg *m, int *fds, unsigned n_fds, struct err *e)
{
	struct sandbox_fds sb;

	if (m->id >= s->next_id)
		s->next_id = m->id + 1;
	if (without_room(m, n_fds)) {
		spawn_end(s, m->id);
		return 0;
	}
	if (sort_fds(m->u.made.has, SB_N, fds, n_fds, sb.fd) < 0)
		return err_set(e, ERR_CORRUPT, "the spawner's descriptors do not match its message");
	s->ev->adopt(s->arg, m->id, m->u.made.label, m->u.made.assigned, m->u.made.uid, m->u.made.pid, &sb);
	return 0;
}

static int dispatch(struct spawn *s, const struct spawner_msg *m, int *fds, unsigned n_fds, struct err *e)
{
	switch (m->verb) {
	case SPAWNER_CONFIG:
		return config(s, m, fds, n_fds, e);
	case SPAWNER_ADOPT:
		return adopt(s, m, fds, n_fds, e);
	case SPAWNER_ADOPTED:
		s->ev->adopted(s->arg);
		return 0;
	case SPAWNER_MADE:
	case SPAWNER_ASSIGNED:
	case SPAWNER_UNPACKED:
	case SPAWNER_PULLED:
	case SPAWNER_OPENED:
	case SPAWNER_KEPT:
		return answer(s, m, fds, n_fds, e);
	case SPAWNER_ENDED:
		s->ev->ended(s->arg, m->id, m->u.ended.wait_status, m->u.ended.oom_kills, (int64_t)m->u.ended.cpu_us,
			     (int64_t)m->u.ended.mem_peak_bytes);
		return 0;
	case SPAWNER_DRAIN:
		s->ev->drain(s->arg);
		return 0;
	case SPAWNER_HANDOVER:
		s->ev->handover(s->arg);
		return 0;
	}
	return err_set(e, ERR_CORRUPT, "the spawner sent an unknown verb %u", m->verb);
}

/* One message. false: there is none, or the spawner is lost. */
static bool receive(struct spawn *s)
{
	struct spawner_msg m;
	int fds[FDS_MAX];
	unsigned n_fds = FDS_MAX;
	struct err e = {0};
	bool freed = false, ok;
	ssize_t got = fds_recv(s->sock, &m, sizeof(m), fds, &n_fds, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0) {
		got ? err_sys(&e, errno, "receive from the spawner")
		    : err_set(&e, ERR_UNAVAILABLE, "the spawner is gone");
		lose(s, &e);
		return false;
	}
	s->freed = &freed;
	ok = spawner_msg_check(&m, (size_t)got, &e) == 0 && dispatch(s, &m, fds, n_fds, &e) == 0;
	close_fds(fds, n_fds);
	if (freed)
		return false;
	s->freed = NULL;
	if (!ok)
		lose(s, &e);
	return !s->lost;
}

static void on_io(void *arg, int events)
{
	struct spawn *s = arg;

	if (events & LOOP_WRITE)
		flush(s);
	/* Only so many in one turn: others wait too, and the descriptor stays readable. */
	for (int i = 0; events & LOOP_READ && i < MESSAGES_PER_TURN && !s->lost; i++)
		if (!receive(s))
			return;
}
