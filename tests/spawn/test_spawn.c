/* SPDX-License-Identifier: Apache-2.0 */
/* tandemd's half, against a spawner that this test plays on the other end of the pair: also a lying one. */
#include "spawn/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include "base/limits.h"
#include "tests/test.h"
#include "wire/fds.h"

struct world {
	struct loop *loop;
	struct spawn *spawn;
	int spawner; /* our end */
	unsigned done, config, adopted, ended, lost;
	uint64_t adopted_id;
	struct err err, lost_why;
	struct spawn_req *last;
};

static void on_config(void *arg, const struct serve_config *c, int listeners[SL_N], const char *no_egress)
{
	struct world *w = arg;

	w->config++;
	for (unsigned i = 0; i < SL_N; i++)
		if (listeners[i] >= 0)
			close(listeners[i]);
}

static void on_adopt(void *arg, uint64_t id, const char *label, bool assigned, uint32_t uid, pid_t pid,
		     struct sandbox_fds *fds)
{
	struct world *w = arg;

	w->adopted++;
	w->adopted_id = id;
	for (unsigned i = 0; i < SB_N; i++)
		if (fds->fd[i] >= 0)
			close(fds->fd[i]);
}

static void on_ended(void *arg, uint64_t id, int status, uint32_t oom, int64_t cpu_us, int64_t peak)
{
	((struct world *)arg)->ended++;
}

static void on_nothing(void *arg)
{
}

static void on_lost(void *arg, const struct err *e)
{
	struct world *w = arg;

	w->lost++;
	w->lost_why = *e;
	loop_stop(w->loop);
}

static const struct spawn_events events = {on_config, on_adopt, on_nothing, on_ended, on_nothing, on_nothing, on_lost};
static struct world *now; /* the requests carry no argument */

static void on_done(struct spawn_req *r, const struct err *e)
{
	now->done++;
	now->err = *e;
	now->last = r;
	loop_stop(now->loop);
}

static void on_socks(struct spawn_req *r, const struct err *e)
{
	CHECK(r->n_socks == (e->kind ? 0 : 3));
	for (unsigned i = 0; i < r->n_socks; i++)
		CHECK(close(r->socks[i]) == 0);
	on_done(r, e);
}

static void begin(struct world *w)
{
	int p[2];

	*w = (struct world){.loop = loop_new()};
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p) == 0);
	w->spawner = p[0];
	w->spawn = spawn_new(w->loop, p[1], &events, w);
	now = w;
}

static void stop_cb(void *arg)
{
	loop_stop(arg);
}

/* Everything that is there now. */
static void turn(struct world *w)
{
	struct loop_timer *t = loop_timer_new(w->loop, stop_cb, w->loop);

	loop_timer_in(t, 10000);
	loop_run(w->loop);
	loop_timer_free(t);
}

static void finish(struct world *w)
{
	spawn_free(w->spawn);
	close(w->spawner);
	loop_free(w->loop);
}

static struct spawner_msg hear(struct world *w)
{
	struct spawner_msg m = {0};
	int fds[FDS_MAX];
	unsigned n = FDS_MAX;
	struct err e = {0};
	ssize_t got = fds_recv(w->spawner, &m, sizeof(m), fds, &n, MSG_DONTWAIT);

	CHECK(got == sizeof(m) && spawner_msg_check(&m, sizeof(m), &e) == 0);
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
	return m;
}

static void say(struct world *w, struct spawner_msg *m, unsigned n_fds)
{
	int fds[OPEN_MAX_FDS + 1], null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = null;
	CHECK(fds_send(w->spawner, m, sizeof(*m), fds, n_fds, 0) == sizeof(*m));
	close(null);
}

TEST(blank_is_made)
{
	struct world w;
	struct spawn_req r = {.done = on_done};
	struct spawner_msg m;

	begin(&w);
	spawn_blank_start(w.spawn, &r, false);
	m = hear(&w);
	CHECK(m.verb == SPAWNER_BLANK && m.id == r.id);
	spawner_msg_init(&m, SPAWNER_MADE, r.id);
	m.u.made.has = 1 << SB_CTL | 1 << SB_PIDFD;
	m.u.made.uid = 77;
	say(&w, &m, 2);
	turn(&w);
	CHECK(w.done == 1 && w.err.kind == ERR_NONE && r.uid == 77);
	CHECK(r.fds.fd[SB_CTL] >= 0 && r.fds.fd[SB_PIDFD] >= 0 && r.fds.fd[SB_LOG] == -1);
	close(r.fds.fd[SB_CTL]);
	close(r.fds.fd[SB_PIDFD]);
	finish(&w);
}

TEST(refusal_reaches_its_request)
{
	struct world w;
	struct spawn_req a = {.done = on_done}, b = {.done = on_done};
	struct spawner_msg m;

	begin(&w);
	spawn_blank_start(w.spawn, &a, false);
	spawn_blank_start(w.spawn, &b, false);
	spawner_msg_init(&m, SPAWNER_MADE, a.id);
	m.err = ERR_LIMIT;
	snprintf(m.text, sizeof(m.text), "too many");
	say(&w, &m, 0);
	turn(&w);
	CHECK(w.done == 1 && w.last == &a && w.err.kind == ERR_LIMIT);
	CHECK_STR(w.err.text, "too many");
	spawn_cancel(&b);
	spawn_cancel(&b);
	finish(&w);
}

/* A blank is asked for; m answers it. */
static void begin_blank(struct world *w, struct spawn_req *r, struct spawner_msg *m)
{
	*r = (struct spawn_req){.done = on_done};
	begin(w);
	spawn_blank_start(w->spawn, r, false);
	hear(w);
	spawner_msg_init(m, SPAWNER_MADE, r->id);
}

TEST(canceled_blank_is_ended)
{
	struct world w;
	struct spawn_req r;
	struct spawner_msg m;

	begin_blank(&w, &r, &m);
	spawn_cancel(&r);
	m.u.made.has = 1 << SB_CTL;
	say(&w, &m, 1);
	turn(&w);
	m = hear(&w);
	CHECK(m.verb == SPAWNER_END_SANDBOX && m.id == r.id);
	CHECK(w.done == 0 && !w.lost);
	finish(&w);
}

TEST(ids_are_never_those_of_the_adopted)
{
	struct world w;
	struct spawner_msg m;
	uint64_t far = 1ull << 62;

	begin(&w);
	spawner_msg_init(&m, SPAWNER_ADOPT, far);
	m.u.made.has = 1;
	say(&w, &m, 1);
	spawner_msg_init(&m, SPAWNER_ENDED, far);
	say(&w, &m, 0);
	turn(&w);
	CHECK(w.adopted == 1 && w.adopted_id == far && w.ended == 1);
	CHECK(spawn_next_id(w.spawn) > far);
	finish(&w);
}

/* At the limit of open files. */
TEST(sandboxes_without_their_descriptors_are_ended)
{
	struct world w;
	struct spawn_req r;
	struct spawner_msg m;

	begin_blank(&w, &r, &m);
	m.u.made.has = 7;
	say(&w, &m, 0);
	m.verb = SPAWNER_ADOPT;
	m.id = 5;
	say(&w, &m, 0);
	turn(&w);
	turn(&w);
	CHECK(w.done == 1 && w.err.kind == ERR_LIMIT && w.adopted == 0 && !w.lost);
	m = hear(&w);
	CHECK(m.verb == SPAWNER_END_SANDBOX && m.id == r.id);
	CHECK(hear(&w).id == 5);
	finish(&w);
}

TEST(archives_wait_for_their_turn)
{
	struct world w;
	struct spawn_req r[10];
	struct spawner_msg m;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	begin(&w);
	for (unsigned i = 0; i < 10; i++) {
		r[i] = (struct spawn_req){.done = on_done};
		spawn_unpack_start(w.spawn, &r[i], null, null, "name", 1, 1);
	}
	close(null); /* borrowed: what waits has its own */
	for (unsigned i = 0; i < 8; i++) {
		m = hear(&w);
		CHECK_STR(m.u.unpack.name, "name");
	}
	CHECK(recv(w.spawner, &m, sizeof(m), MSG_DONTWAIT) < 0 && errno == EAGAIN);
	for (unsigned i = 0; i < 10; i++) {
		spawner_msg_init(&m, SPAWNER_UNPACKED, r[i].id);
		m.u.unpack.bytes = i;
		m.u.unpack.cpu_us = 1000;
		say(&w, &m, 0);
		turn(&w);
		CHECK(w.done == i + 1 && r[i].bytes == i);
		if (i < 2)
			CHECK(hear(&w).id == r[8 + i].id);
	}
	CHECK(spawn_helpers_us(w.spawn) == 10000);
	finish(&w);
}

TEST(full_socket_keeps_the_order)
{
	struct world w;
	enum { N = 2000 };
	struct spawner_msg m;

	begin(&w);
	for (uint64_t i = 1; i <= N; i++)
		spawn_end(w.spawn, i);
	for (uint64_t i = 1; i <= N; i++) {
		ssize_t got = recv(w.spawner, &m, sizeof(m), MSG_DONTWAIT);

		if (got < 0) {
			turn(&w);
			got = recv(w.spawner, &m, sizeof(m), MSG_DONTWAIT);
		}
		CHECK(got == sizeof(m) && m.id == i);
	}
	CHECK(!w.lost);
	finish(&w);
}

TEST(full_socket_keeps_all_layers)
{
	struct world w;
	struct spawn_req r = {.done = on_done};
	struct spawn_limits lim = {0};
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), dirs[1 + LIM_LAYERS], fds[FDS_MAX];
	struct spawner_msg m = {0};
	unsigned n = 0;

	begin(&w);
	for (unsigned i = 0; i < ARRAY_SIZE(dirs); i++)
		dirs[i] = null;
	for (uint64_t i = 1; i <= 2000; i++)
		spawn_end(w.spawn, i);
	spawn_assign_start(w.spawn, &r, 1, &lim, dirs, ARRAY_SIZE(dirs), "label");
	close(null);
	while (m.verb != SPAWNER_ASSIGN) {
		n = FDS_MAX;
		if (fds_recv(w.spawner, &m, sizeof(m), fds, &n, MSG_DONTWAIT) < 0)
			turn(&w);
	}
	CHECK(n == ARRAY_SIZE(dirs) && m.u.assign.n_layers == LIM_LAYERS && !w.lost);
	while (n)
		close(fds[--n]);
	spawn_cancel(&r);
	finish(&w);
}

TEST(sockets_are_the_askers)
{
	static const struct {
		uint8_t said, sent;
		enum err_kind kind; /* what the asker hears */
		unsigned lost;
	} cases[] = {{3, 3, ERR_NONE, 0}, {3, 0, ERR_LIMIT, 0}, {3, 2, ERR_NONE, 1}, {65, 65, ERR_NONE, 1}};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct world w;
		struct spawn_req r = {.done = on_socks};
		struct spawner_msg m;

		begin(&w);
		spawn_sockets_start(w.spawn, &r, 7, 3);
		m = hear(&w);
		CHECK(m.verb == SPAWNER_OPEN && m.id == r.id && m.u.open.sandbox == 7 && m.u.open.n == 3);
		m.verb = SPAWNER_OPENED;
		m.u.open.n = cases[i].said;
		say(&w, &m, cases[i].sent);
		turn(&w);
		CHECK(w.lost == cases[i].lost && w.done == !cases[i].lost && w.err.kind == cases[i].kind);
		finish(&w);
	}
}

TEST(sockets_that_nobody_awaits_are_closed)
{
	struct world w;
	struct spawn_req r = {.done = on_done};
	struct sockaddr_in6 at = {.sin6_port = 7};
	struct spawner_msg m;
	int before, after;

	begin(&w);
	spawn_listen_start(w.spawn, &r, &at);
	m = hear(&w);
	spawn_cancel(&r);
	CHECK(m.u.open.how == OPEN_LISTEN && m.u.open.at.sin6_port == 7);
	before = dup(0);
	close(before);
	m.verb = SPAWNER_OPENED;
	say(&w, &m, 1);
	turn(&w);
	after = dup(0);
	close(after);
	CHECK(after == before && !w.done && !w.lost);
	finish(&w);
}

TEST(lies_and_silence_lose_the_spawner)
{
	static const struct {
		unsigned verb, has, fds;
	} table[] = {
		{SPAWNER_CONFIG, 1, 0},
		{SPAWNER_ADOPT, 1u << SB_N, 1},
		{SPAWNER_ADOPT, 3, 1},
		{SPAWNER_ADOPT, 1, 2},
		{999, 0, 0},
		{0, 0, 0},
	};

	for (unsigned i = 0; i <= sizeof(table) / sizeof(table[0]); i++) {
		struct world w;
		struct spawner_msg m;

		begin(&w);
		if (i == sizeof(table) / sizeof(table[0])) {
			shutdown(w.spawner, SHUT_RDWR);
		} else {
			spawner_msg_init(&m, (enum spawner_verb)table[i].verb, 1);
			if (table[i].verb == SPAWNER_CONFIG)
				m.u.config = (struct serve_config){.version = 1, .has = 1, .end = SPAWNER_END};
			else
				m.u.made.has = table[i].has;
			say(&w, &m, table[i].fds);
		}
		turn(&w);
		CHECK(w.lost == 1 && w.lost_why.kind != ERR_NONE && !w.adopted && !w.config);
		finish(&w);
	}
}

TEST(messages_are_checked)
{
	struct spawner_msg m;
	struct err e = {0};

	spawner_msg_init(&m, SPAWNER_HELLO, 0);
	CHECK(spawner_msg_check(&m, sizeof(m), &e) == 0);
	CHECK(spawner_msg_check(&m, sizeof(m) - 1, &e) < 0);
	m.end = 0;
	CHECK(spawner_msg_check(&m, sizeof(m), &e) < 0);
	spawner_msg_init(&m, SPAWNER_HELLO, 0);
	memset(m.text, 'x', sizeof(m.text));
	CHECK(spawner_msg_check(&m, sizeof(m), &e) < 0);
	spawner_msg_init(&m, SPAWNER_ASSIGN, 1);
	memset(m.u.assign.label, 'x', sizeof(m.u.assign.label));
	CHECK(spawner_msg_check(&m, sizeof(m), &e) < 0);
	spawner_msg_init(&m, SPAWNER_MADE, 1);
	m.err = ERR_N;
	CHECK(spawner_msg_check(&m, sizeof(m), &e) < 0);
	spawner_msg_init(&m, SPAWNER_CONFIG, 0);
	m.u.config.version = SPAWNER_VERSION;
	CHECK(spawner_msg_check(&m, sizeof(m), &e) < 0);
}
