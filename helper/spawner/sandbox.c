/* SPDX-License-Identifier: Apache-2.0 */
/* The parent's side of one sandbox: descriptors, groups, the child, its id maps, its end. */
#include "spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/sockios.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "base/str.h"
#include "wire/fds.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

int sandbox_find(const struct spawner *s, uint64_t id)
{
	for (unsigned i = 0; id && i < s->high; i++)
		if (s->id[i] == id)
			return (int)i;
	return -1;
}

int sandbox_net(struct spawner *s, unsigned slot)
{
	struct sandbox *b = &s->sb[slot];

	for (unsigned i = 0; b->fd[SB_DNS] < 0 && i < s->high; i++)
		if (s->id[i] && s->sb[i].group == s->sb[slot].group && s->sb[i].fd[SB_DNS] >= 0)
			b = &s->sb[i];
	if (b->fd[SB_DNS] < 0)
		return -1;
	b->own_net = 1;
	return ioctl(b->fd[SB_DNS], SIOCGSKNS);
}

static void close_all(struct spawner *s, struct sandbox *b)
{
	watch_close(s, &b->setup);
	watch_close(s, &b->fd[SB_PIDFD]);
	watch_close(s, &b->leaf.oom_event);
	for (unsigned i = 0; i < SB_N; i++) {
		close_p(&b->fd[i]);
		b->fd[i] = -1;
	}
}

static uint32_t first_id(const struct spawner *s, unsigned slot)
{
	const struct sandbox *b = &s->sb[slot];

	return b->range ? range_first(s, b->range - 1) : s->config.uid_base + 2 * slot;
}

/* A network lives for as long as somebody is in it: the next one keeps what belongs to it. */
static void leave_network(struct spawner *s, unsigned slot)
{
	struct sandbox *b = &s->sb[slot], *heir;

	for (unsigned i = 0; b->own_net && i < s->high; i++) {
		heir = &s->sb[i];
		if (i == slot || !s->id[i] || heir->group != b->group)
			continue;
		heir->own_net = 1;
		heir->address = b->address;
		heir->egress = b->egress;
		for (unsigned k = SB_RTAPI; k <= SB_API_TLS; k++) {
			heir->fd[k] = b->fd[k];
			b->fd[k] = -1;
		}
		return;
	}
	egress_forget(s, b);
	if (b->own_net)
		open_forget(s, b->group);
}

static void slot_free(struct spawner *s, unsigned slot)
{
	struct sandbox *b = &s->sb[slot];

	leave_network(s, slot);
	close_all(s, b);
	cg_leaf_release(&s->cg, &b->leaf);
	if (b->range) {
		upper_remove(s, slot);
		range_release(s, b->range - 1);
		b->range = 0;
	}
	s->id[slot] = 0;
	b->state = SLOT_FREE;
	b->pid = 0;
	while (s->high && !s->id[s->high - 1])
		s->high--;
}

static int nonblock(int fd)
{
	return fcntl(fd, F_SETFL, O_NONBLOCK | fcntl(fd, F_GETFL));
}

/* The child's ends of everything. */
struct ends {
	int setup, ctl, chan, log, err;
};

static void ends_done(struct ends *x)
{
	close_p(&x->setup);
	close_p(&x->ctl);
	close_p(&x->chan);
	close_p(&x->log);
	close_p(&x->err);
}

/* The sandbox's own, so that it can open /dev/stdout, which is this pipe by way of /proc. */
static int out_pipe(uint32_t uid, int *ret_ours, int *ret_theirs, struct err *e)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make the log pipe");
	*ret_ours = p[0], *ret_theirs = p[1];
	if (fchown(p[1], uid, uid) < 0)
		return err_sys(e, errno, "give the log pipe to the sandbox");
	return nonblock(p[0]) < 0 ? err_sys(e, errno, "fcntl") : 0;
}

static int in_pipe(uint32_t uid, int *ret_ours, int *ret_theirs, struct err *e)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make the pipe to stdin");
	*ret_ours = p[1], *ret_theirs = p[0];
	if (fchown(p[0], uid, uid) < 0)
		return err_sys(e, errno, "give the pipe to the sandbox");
	return nonblock(p[1]) < 0 ? err_sys(e, errno, "fcntl") : 0;
}

static int make_ends(struct sandbox *b, uint32_t uid, bool container, struct ends *x, struct err *e)
{
	int p[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p) < 0)
		return err_sys(e, errno, "make a socket pair");
	b->setup = p[0], x->setup = p[1];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p) < 0)
		return err_sys(e, errno, "make a socket pair");
	b->fd[SB_CTL] = p[0], x->ctl = p[1];
	if (nonblock(b->fd[SB_CTL]) < 0)
		return err_sys(e, errno, "fcntl");
	if (out_pipe(uid, &b->fd[SB_LOG], &x->log, e) < 0)
		return -1;
	if (container)
		return in_pipe(uid, &b->fd[SB_CHAN], &x->chan, e) < 0 ? -1 : out_pipe(uid, &b->fd[SB_ERR], &x->err, e);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p) < 0)
		return err_sys(e, errno, "make a socket pair");
	b->fd[SB_CHAN] = p[0], x->chan = p[1];
	return nonblock(p[0]) < 0 ? err_sys(e, errno, "fcntl") : 0;
}

/* Only the pid namespace is made here: the others take the child's time, not ours. */
static pid_t clone_into(int layer, int v2_dir, int *ret_pidfd)
{
	struct clone_args a = {
		.flags = CLONE_PIDFD | (layer == LAYER_NO_PIDNS ? 0 : CLONE_NEWPID),
		.pidfd = (uint64_t)(uintptr_t)ret_pidfd,
		.exit_signal = SIGCHLD,
	};

	if (v2_dir >= 0) {
		a.flags |= CLONE_INTO_CGROUP;
		a.cgroup = (uint64_t)v2_dir;
	}
	return (pid_t)syscall(SYS_clone3, &a, sizeof(a));
}

static int start_child(struct spawner *s, unsigned slot, struct ends *x, struct cg_fds *cf, bool prepare,
		       const struct container *c, struct err *e)
{
	struct sandbox *b = &s->sb[slot];
	bool join = b->group != s->id[slot];
	struct blank child = {
		.base = s->base,
		.setup = x->setup,
		.ctl = x->ctl,
		.chan = x->chan,
		.log = x->log,
		.err = x->err,
		.layer = s->config.no_layer,
		.net = join ? sandbox_net(s, slot) : net_take(s),
		.join = join,
		.host_mnt = -1,
		.sockets = c ? c->sockets : SB_PLATFORM,
		.fresh_net = &s->fresh_net,
		.router = s->egress.router,
		.serial = s->egress.serial++,
		.uid = first_id(s, slot),
		.prepare = prepare,
		.container = c,
		.n_v1_tasks = cf->n_v1_tasks,
	};
	pid_t pid;

	memcpy(child.v1_tasks, cf->v1_tasks, sizeof(child.v1_tasks));
	pid = clone_into(s->config.no_layer, cf->v2_dir, &b->fd[SB_PIDFD]);
	if (pid == 0)
		blank_run(&child);
	close_p(&child.net);
	if (pid < 0) {
		b->fd[SB_PIDFD] = -1;
		return err_sys(e, errno, "clone a sandbox");
	}
	b->pid = pid;
	return 0;
}

static int free_slot(const struct spawner *s)
{
	for (unsigned i = 0; i < SANDBOX_MAX; i++)
		if (!s->id[i])
			return (int)i;
	return -1;
}

/* What a container needs beside all that a sandbox has; the child finds the descriptors in its socket. */
static int make_container(struct spawner *s, unsigned slot, const struct container *c, struct err *e)
{
	struct sandbox *b = &s->sb[slot];
	const struct range *r = &s->range[b->range - 1];
	auto_close int upper = upper_make(s, slot, e);
	unsigned n = c->n_layers + (c->n_gives != 0);
	int fds[FDS_MAX] = {[CF_USERNS] = r->userns, [CF_IDMAP] = r->idmap, [CF_UPPER] = upper, [CF_SKEL] = s->skel};

	if (upper < 0)
		return -1;
	b->limits = c->limits;
	b->egress = *c->egress;
	b->runtime = (uint8_t)c->runtime;
	b->assigned = 1;
	strlcpy_(b->label, c->label, sizeof(b->label));
	if (cg_leaf_limit(&s->cg, &b->leaf, CG_LIMITS, &b->limits, e) < 0)
		return -1;
	memcpy(fds + CF_LAYERS, c->layers, n * sizeof(*fds));
	if (!c->input && !c->tty) {
		close(b->fd[SB_CHAN]);
		b->fd[SB_CHAN] = -1;
	}
	if (fds_send(b->setup, "", 1, fds, CF_LAYERS + n, 0) < 0)
		return err_sys(e, errno, "hand over the layers");
	return 0;
}

static int take_range(struct spawner *s, struct sandbox *b, struct err *e)
{
	int n = range_take(s, e);

	if (n < 0)
		return -1;
	b->range = (uint16_t)(n + 1);
	return 0;
}

int sandbox_make(struct spawner *s, uint64_t id, bool prepare, const struct container *c, struct err *e)
{
	int slot = free_slot(s);
	struct sandbox *b = slot < 0 ? NULL : &s->sb[slot];
	auto_(ends_done) struct ends x = {-1, -1, -1, -1, -1};
	struct cg_fds cf;

	if (!b)
		return err_set(e, ERR_LIMIT, "there are %d sandboxes already", SANDBOX_MAX);
	*b = (struct sandbox){
		.gen = b->gen + 1, .setup = -1, .limits = cg_blank_limits, .group = c && c->group ? c->group : id};
	for (unsigned i = 0; i < SB_N; i++)
		b->fd[i] = -1;
	if (cg_leaf_make(&s->cg, (unsigned)slot, b->gen, &b->leaf, &cf, e) < 0)
		return -1;
	b->fd[SB_FREEZE] = cf.freeze, b->fd[SB_CPU] = cf.cpu, b->fd[SB_MEM_PEAK] = cf.mem_peak;
	if (c)
		b->fd[SB_MEM] = cg_leaf_mem(&s->cg, &b->leaf);
	s->id[slot] = id;
	if ((unsigned)slot >= s->high)
		s->high = (unsigned)slot + 1;
	if ((c && take_range(s, b, e) < 0) || make_ends(b, first_id(s, (unsigned)slot), c != NULL, &x, e) < 0 ||
	    (c && make_container(s, (unsigned)slot, c, e) < 0) ||
	    start_child(s, (unsigned)slot, &x, &cf, prepare, c, e) < 0) {
		cg_fds_done(&cf);
		slot_free(s, (unsigned)slot);
		return -1;
	}
	cg_fds_done(&cf);
	b->state = SLOT_MAKING;
	if (watch_add(s, b->setup, WATCH_SETUP, (unsigned)slot, b->gen) < 0 ||
	    watch_add(s, b->fd[SB_PIDFD], WATCH_PID1, (unsigned)slot, b->gen) < 0 ||
	    (b->leaf.oom_event >= 0 && watch_add(s, b->leaf.oom_event, WATCH_OOM, (unsigned)slot, b->gen) < 0)) {
		err_sys(e, errno, "watch a sandbox");
		(void)syscall(SYS_pidfd_send_signal, b->fd[SB_PIDFD], SIGKILL, NULL, 0);
		waitpid(b->pid, NULL, 0);
		slot_free(s, (unsigned)slot);
		return -1;
	}
	return 0;
}

static int write_map(pid_t pid, const char *name, uint32_t inside, uint32_t outside)
{
	char path[64], text[64];
	int fd, n;
	ssize_t put;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	n = snprintf(text, sizeof(text), "%u %u 1\n", inside, outside);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	put = write(fd, text, (size_t)n);
	close(fd);
	return put == n ? 0 : -1;
}

/* Safe although the child speaks: until its exec it runs only our code, and pid is our own unreaped child. */
static int give_maps(struct spawner *s, unsigned slot, struct err *e)
{
	struct sandbox *b = &s->sb[slot];
	uint32_t uid = s->config.uid_base + 2 * slot;

	if (s->config.no_layer != LAYER_NO_USERNS && !b->range &&
	    (write_map(b->pid, "uid_map", INSIDE_UID, uid) < 0 || write_map(b->pid, "gid_map", INSIDE_GID, uid) < 0))
		return err_sys(e, errno, "write the id maps");
	if (write(b->setup, "", 1) != 1)
		return err_sys(e, errno, "answer the child");
	return 0;
}

static void making_failed(struct spawner *s, unsigned slot, const struct err *e)
{
	struct sandbox *b = &s->sb[slot];

	verbs_send_err(s, SPAWNER_MADE, s->id[slot], e);
	b->ending = 1;
	watch_close(s, &b->setup);
	sandbox_kill(s, slot);
}

void sandbox_setup_event(struct spawner *s, unsigned slot)
{
	struct sandbox *b = &s->sb[slot];
	struct blank_said said = {0};
	int socks[BLANK_SAID_FDS];
	unsigned n = BLANK_SAID_FDS;
	struct err e = {0};
	ssize_t got = fds_recv(b->setup, &said, sizeof(said), socks, &n, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got == 0) { /* closed by exec: tandem-init runs */
		watch_close(s, &b->setup);
		b->state = SLOT_READY;
		verbs_send_made(s, SPAWNER_MADE, slot);
		return;
	}
	if (got == sizeof(said) && !said.sys && n == (unsigned)__builtin_popcount(said.sockets) + said.tty) {
		for (unsigned i = 0, at = 0; i < SB_N; i++)
			if (said.sockets >> i & 1)
				b->fd[i] = socks[at++];
		if (said.tty) {
			close_p(&b->fd[SB_CHAN]);
			b->fd[SB_CHAN] = socks[n - 1];
		}
		if ((b->range && said.sockets && egress_assign(s, b, &b->egress, &e) < 0) || give_maps(s, slot, &e) < 0)
			making_failed(s, slot, &e);
		return;
	}
	said.step[sizeof(said.step) - 1] = 0;
	if (got == sizeof(said) && said.kind > ERR_NONE && said.kind < ERR_SYS)
		err_set(&e, said.kind, "%s", said.step);
	else
		err_set(&e, ERR_SYS, "make a sandbox: %s",
			got < 0	   ? strerror(errno)
			: said.sys ? said.step
				   : strerror(EMFILE));
	making_failed(s, slot, &e);
}

void sandbox_oom_event(struct spawner *s, unsigned slot)
{
	uint64_t n;

	(void)!read(s->sb[slot].leaf.oom_event, &n, sizeof(n));
	s->sb[slot].leaf.oom_seen = true;
	sandbox_kill(s, slot);
}

void sandbox_kill(struct spawner *s, unsigned slot)
{
	struct sandbox *b = &s->sb[slot];

	if (b->fd[SB_PIDFD] >= 0)
		(void)syscall(SYS_pidfd_send_signal, b->fd[SB_PIDFD], SIGKILL, NULL, 0);
	if (s->config.no_layer == LAYER_NO_PIDNS) /* without the namespace its death takes nobody along */
		cg_leaf_kill(&s->cg, &b->leaf);
}

void sandbox_reap(struct spawner *s, unsigned slot)
{
	struct sandbox *b = &s->sb[slot];
	struct cg_usage usage;
	struct spawner_msg m;
	int status = 0;
	pid_t got = waitpid(b->pid, &status, WNOHANG);

	if (got == 0 || (got < 0 && errno == EINTR))
		return;
	cg_leaf_usage(&s->cg, &b->leaf, &usage);
	if (b->state == SLOT_READY) {
		spawner_msg_init(&m, SPAWNER_ENDED, s->id[slot]);
		m.u.ended.wait_status = status;
		m.u.ended.oom_kills = usage.oom_kills;
		m.u.ended.cpu_us = usage.cpu_us;
		m.u.ended.mem_peak_bytes = usage.mem_peak_bytes;
		verbs_send(s, &m, NULL, 0);
	} else if (!b->ending) {
		struct err e = {0};

		err_set(&e, ERR_SYS, "the new sandbox died (wait status %d)", status);
		verbs_send_err(s, SPAWNER_MADE, s->id[slot], &e);
	}
	if (s->config.no_layer == LAYER_NO_PIDNS)
		cg_leaf_kill(&s->cg, &b->leaf);
	else if (!b->own_net)
		net_keep(s, b->fd[SB_DNS]);
	slot_free(s, slot);
}

void sandbox_forget_making(struct spawner *s)
{
	for (unsigned i = 0; i < s->high; i++) {
		if (!s->id[i] || s->sb[i].state != SLOT_MAKING)
			continue;
		s->sb[i].ending = 1;
		sandbox_kill(s, i);
	}
}
