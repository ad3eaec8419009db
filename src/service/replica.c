/* SPDX-License-Identifier: Apache-2.0 */
/* One instance of a service: from the start of its task to its end. The states are drawn in service_int.h. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include "base/moves.h"
#include "http/upstream.h"
#include "service/service_int.h"

#define SETTLE_US	1000000 /* up for so long, where nothing tells whether it serves */
#define PROBE_FIRST_US	1000	/* a small program listens in some milliseconds; later looks are fewer: */
#define PROBE_LAST_US	50000
#define PROBE_LIMIT_US	120000000 /* then it is a failure */
#define DRAIN_US	30000000
#define SOCKETS_AT_ONCE 4
#define SOCKETS_LOW	1

static const uint8_t next[SI_N] = {
	[SI_START] = 1 << SI_PROBE | 1 << SI_STOP,
	[SI_PROBE] = 1 << SI_READY | 1 << SI_DRAIN | 1 << SI_STOP,
	[SI_READY] = 1 << SI_PROBE | 1 << SI_DRAIN | 1 << SI_STOP,
	[SI_DRAIN] = 1 << SI_STOP,
};
static const char *const state_name[] = {"START", "PROBE", "READY", "DRAIN", "STOP"};
static_assert(ARRAY_SIZE(state_name) == SI_N, "names");

static void move(struct replica *in, enum si_state to)
{
	assert(next[in->state] >> to & 1);
	in->state = to;
	move_note("service", task_sandbox(in->task), state_name[to]);
	service_wake(in->d->sv);
}

static struct loop *loop_of(const struct replica *in)
{
	return in->d->sv->ss->o.loop;
}

static struct spawn *spawn_of(const struct replica *in)
{
	return in->d->sv->ss->o.spawn;
}

/* ---- sockets of its network ---- */

static void got_sockets(struct spawn_req *r, const struct err *e)
{
	struct replica *in = container_of(r, struct replica, more);

	in->asking = false;
	for (unsigned i = 0; !e->kind && i < r->n_socks; i++) {
		if (in->n_socks < OPEN_MAX_FDS)
			in->sock[in->n_socks++] = r->socks[i];
		else
			close(r->socks[i]);
	}
	if (in->up && in->n_socks)
		upstream_sockets(in->up);
}

static void ask_sockets(struct replica *in)
{
	uint64_t sandbox = task_sandbox(in->task);

	if (in->asking || !sandbox || !in->d->port || in->n_socks > SOCKETS_LOW)
		return;
	in->asking = true;
	in->more = (struct spawn_req){.done = got_sockets};
	spawn_sockets_start(spawn_of(in), &in->more, sandbox, SOCKETS_AT_ONCE);
}

int replica_socket(void *instance)
{
	struct replica *in = instance;
	int fd = in->n_socks ? in->sock[--in->n_socks] : -1;

	ask_sockets(in);
	return fd;
}

/* ---- the end ---- */

static void stop(struct replica *in)
{
	move(in, SI_STOP);
	loop_timer_stop(in->timer);
	task_stop(in->task, -1);
}

void replica_end(struct replica *in)
{
	in->asked = true;
	if (in->state == SI_STOP)
		return;
	if (!in->open || in->state == SI_START) {
		stop(in);
	} else if (in->state != SI_DRAIN) {
		move(in, SI_DRAIN);
		loop_timer_in(in->timer, DRAIN_US);
	}
}

static void count_failure(struct deployment *d, const char *fmt, ...) PRINTF(2, 3);

static void count_failure(struct deployment *d, const char *fmt, ...)
{
	va_list ap;

	d->failures++;
	d->failed++;
	d->seen.failed++;
	d->failed_us = loop_now_us(d->sv->ss->o.loop);
	va_start(ap, fmt);
	vsnprintf(d->reason, sizeof(d->reason), fmt, ap);
	va_end(ap);
	service_say(d->sv, "%s:%d: %s", d->family, d->revision, d->reason);
}

static void failed(struct replica *in, const char *why)
{
	struct task_info i;

	task_info(in->task, &i);
	if (in->ready_us && loop_now_us(loop_of(in)) - in->ready_us >= service_steady_us(in->d->sv->start_us))
		in->d->failures = 0;
	count_failure(in->d, "task %s: %s", i.id, why);
}

void replica_free(struct replica *in)
{
	in->state = SI_STOP;   /* nobody's choice any more */
	upstream_free(in->up); /* first: requests hear of it, and are over */
	spawn_cancel(&in->more);
	while (in->n_socks)
		close(in->sock[--in->n_socks]);
	list_each(&in->uses, it)
	{
		list_del(it);
		container_of(it, struct service_use, node)->service = NULL;
	}
	line_opened(in->d->sv, -in->open);
	loop_timer_free(in->timer);
	list_del(&in->node);
	free(in);
}

/* What the restart policy makes of an end that nobody asked for. */
static void ended(struct replica *in, const struct task_info *i)
{
	struct deployment *d = in->d;
	enum service_restart restart = d->sv->spec.restart;

	if (!in->asked && (restart == RESTART_NEVER || (restart == RESTART_ON_FAILURE && !i->exit_code))) {
		d->over++;
		snprintf(d->reason, sizeof(d->reason), "task %s: %.200s; it is not started again", i->id, i->reason);
		service_say(d->sv, "%s:%d: %s", d->family, d->revision, d->reason);
	} else if (!in->asked) {
		failed(in, i->reason);
	}
	service_wake(d->sv);
	replica_free(in);
}

/* ---- whether it serves ---- */

/* Loopback answers at once, but to the socket, not to the call that asks: the second one hears it. */
static bool connected(int fd, uint16_t port)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	return connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0 ||
	       (errno == EINPROGRESS && connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
}

static bool accepts(struct replica *in)
{
	static const struct sockaddr none = {.sa_family = AF_UNSPEC};
	int fd = replica_socket(in);
	bool yes = fd >= 0 && connected(fd, in->d->port);

	/* One that was refused can be used again, once it is told so; this is many sockets less while a program starts. */
	if (fd >= 0 && !yes && in->n_socks < OPEN_MAX_FDS && connect(fd, &none, sizeof(none)) == 0)
		in->sock[in->n_socks++] = fd;
	else if (fd >= 0)
		close(fd);
	return yes;
}

static void ready(struct replica *in)
{
	struct deployment *d = in->d;

	in->ready_us = loop_now_us(loop_of(in));
	service_lane_started(in);
	if (d->port && !in->up)
		in->up = upstream_new(&(struct upstream_opts){loop_of(in), replica_socket, in, d->port});
	loop_timer_stop(in->timer);
	move(in, SI_READY);
}

static void probe(struct replica *in)
{
	int64_t now = loop_now_us(loop_of(in)), up, wait;
	enum task_health h = task_health(in->task);
	bool checked = h != TASK_NOT_CHECKED, well = !checked || h == TASK_HEALTHY;
	char why[120];

	if (h == TASK_UNKNOWN) /* the check itself says when that has taken too long */
		in->began_us = now;
	up = now - in->began_us;
	if (checked || in->d->port ? well && (!in->d->port || accepts(in)) : up >= SETTLE_US) {
		ready(in);
		return;
	}
	if (up >= PROBE_LIMIT_US) {
		snprintf(why, sizeof(why),
			 "nothing listens on port %u after 120 s; is it the one that the program says it uses?",
			 in->d->port);
		failed(in, why);
		in->asked = true;
		stop(in);
		return;
	}
	wait = PROBE_FIRST_US + PROBE_FIRST_US * in->probes++ / 2;
	loop_timer_in(in->timer, !in->d->port ? SETTLE_US : wait < PROBE_LAST_US ? wait : PROBE_LAST_US);
}

static void due(void *arg)
{
	struct replica *in = arg;

	if (in->state == SI_PROBE)
		probe(in);
	else if (in->state == SI_DRAIN)
		stop(in);
}

void replica_refused(struct replica *in)
{
	if (in->state != SI_READY)
		return;
	move(in, SI_PROBE);
	in->began_us = loop_now_us(loop_of(in));
	in->probes = 0;
	loop_timer_in(in->timer, PROBE_FIRST_US);
}

void replica_changed(struct replica *in)
{
	struct task_info i;

	task_info(in->task, &i);
	if (i.state == TASK_STOPPED) {
		ended(in, &i);
		return;
	}
	ask_sockets(in);
	if (i.health == TASK_UNHEALTHY && !in->asked) {
		failed(in, "it is not well: its health check fails");
		replica_end(in);
	} else if (i.state == TASK_STOPPING && in->state <= SI_READY) {
		move(in, SI_STOP); /* by somebody else, or its program has ended */
	} else if (i.state == TASK_RUNNING && in->state == SI_START) {
		in->began_us = loop_now_us(loop_of(in));
		move(in, SI_PROBE);
		probe(in);
	} else if (in->state == SI_PROBE) {
		probe(in);
	}
}

/* ---- what it uses ---- */

bool replica_usage(const struct replica *in, struct task_usage *ret)
{
	struct task_info i;
	struct task_usage u;

	*ret = (struct task_usage){0};
	task_info(in->task, &i);
	for (unsigned n = 0; n < i.n_containers; n++) {
		if (!task_usage(in->task, n, &u) || u.cpu_us < 0)
			return false;
		ret->cpu_us += u.cpu_us;
		ret->mem_bytes += u.mem_bytes;
	}
	return true;
}

int replica_cpu_percent(struct replica *in)
{
	struct task_info i;
	struct task_usage u;
	int64_t now = loop_now_us(loop_of(in)), was_us = in->cpu_at_us, used, could;

	if (!replica_usage(in, &u))
		return -1;
	task_info(in->task, &i);
	could = (now - was_us) * i.cpu_milli / 1000;
	used = u.cpu_us - in->cpu_us;
	in->cpu_us += used;
	in->cpu_at_us = now;
	return was_us && could > 0 ? (int)(100 * used / could) : -1;
}

/* ---- the beginning ---- */

static struct replica *replica_new(struct deployment *d)
{
	struct replica *in = xcalloc(1, sizeof(*in));

	in->d = d;
	list_init(&in->uses);
	in->timer = loop_timer_new(d->sv->ss->o.loop, due, in);
	list_push(&d->instances, &in->node);
	return in;
}

int replica_add(struct deployment *d, struct err *e)
{
	const struct service_spec *s = &d->sv->spec;
	auto_free char *group = xasprintf("service:%s", s->name);
	auto_free char *definition = xasprintf("%s:%d", d->family, d->revision);
	auto_buf note = {0};
	struct jw w = jw_object(&note);
	char log[TASK_LOG_MAX + 1];
	struct task_opts o = {.group = group,
			      .definition = definition,
			      .accepted = true,
			      .tags = service_tags(d->sv),
			      .log = service_log_name(s, log)};
	const struct services_opts *so = &d->sv->ss->o;
	struct replica *in;
	struct task *k;

	jw_strc(&w, "cluster", s->cluster);
	jw_strc(&w, "service", s->name);
	jw_strc(&w, "startedBy", d->id);
	jw_end(&w, '}');
	o.note = note.p;
	d->pulling = false;
	if (task_run(d->sv->ss->o.tasks, str_of(d->doc), &o, &k, e) < 0) {
		d->pulling = e->kind == ERR_NOT_FOUND && so->pull && so->pull(so->arg, d->doc, e);
		if (d->pulling)
			return -1;
		count_failure(d, "cannot be started: %s", e->text);
		return -1;
	}
	task_lane_set(k, d->sv->lane);
	in = replica_new(d);
	in->task = k;
	in->asked_us = loop_now_us(loop_of(in));
	if (!d->all_held)
		deployment_hold(d);
	return 0;
}

void replica_adopt(struct deployment *d, struct task *k)
{
	struct replica *in = replica_new(d);

	in->task = k;
	task_lane_set(k, d->sv->lane);
	task_tags_set(k, service_tags(d->sv));
	replica_changed(in);
}
