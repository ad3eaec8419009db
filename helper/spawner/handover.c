/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Upgrade: the spawner executes its successor and keeps everything by descriptor number; its table goes along in a
 * memory file at descriptor 3. The process stays the same, so sandboxes stay its children. A successor whose table is
 * laid out differently keeps what the head names and the configuration, which both lie first in every version: lock,
 * ids and listeners, so that no connection is refused; it ends the sandboxes and starts afresh.
 */
#include "spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "base/io.h"
#include "base/log.h"

#define TABLE_MAGIC 0x74646d75u
#ifndef TABLE_VERSION
#define TABLE_VERSION 3 /* of struct spawner, where its size alone does not tell */
#endif
#define CHECK_MS 5000
#define KEPT_MAX 16
struct table_head {
	uint32_t magic, version, size, sandbox_size;
	int32_t kept[KEPT_MAX]; /* lock, ids, listeners; -1: none. For every version */
};

static unsigned kept_first(struct spawner *s, int *ret[KEPT_MAX])
{
	unsigned n = 0;

	ret[n++] = &s->lock;
	ret[n++] = &s->ids;
	for (unsigned i = 0; i < SL_N; i++)
		ret[n++] = &s->listener[i];
	return n;
}

static size_t used_bytes(const struct spawner *s)
{
	return offsetof(struct spawner, sb) + s->high * sizeof(s->sb[0]);
}

static void each_kept(struct spawner *s, void (*f)(int *fd))
{
	f(&s->lock);
	f(&s->ids);
	f(&s->base.mntns);
	f(&s->base.timens);
	f(&s->base.init_exe);
	f(&s->uppers);
	f(&s->skel);
	f(&s->sweep_kick);
	for (unsigned i = 0; i < s->n_blocks; i++)
		f(&s->block[i].lock);
	f(&s->egress.router);
	f(&s->egress.own);
	for (unsigned i = 0; i < DOOR_MAX; i++)
		if (s->door[i].at.sin6_family)
			f(&s->door[i].fd);
	for (unsigned i = 0; i < SL_N; i++)
		f(&s->listener[i]);
	for (unsigned i = 0; i < s->cg.n; i++)
		f(&s->cg.h[i].base);
	for (unsigned i = 0; i < s->high; i++) {
		if (!s->id[i])
			continue;
		f(&s->sb[i].setup);
		f(&s->sb[i].leaf.oom_event);
		for (unsigned j = 0; j < SB_N; j++)
			f(&s->sb[i].fd[j]);
	}
}

static void survive(int *fd)
{
	if (*fd >= 0)
		(void)fcntl(*fd, F_SETFD, 0);
}

static void close_on_exec(int *fd)
{
	if (*fd >= 0)
		(void)fcntl(*fd, F_SETFD, FD_CLOEXEC);
}

void handover_exec(struct spawner *s)
{
	struct table_head h = {
		TABLE_MAGIC, TABLE_VERSION, (uint32_t)offsetof(struct spawner, sb), sizeof(s->sb[0]), {0}};
	char path[300], *argv[] = {"tandem-spawner", NULL};
	int *kept[KEPT_MAX];
	unsigned n = kept_first(s, kept);
	auto_close int mem = memfd_create("tandem-table", MFD_CLOEXEC);
	struct err e = {0};

	for (unsigned i = 0; i < KEPT_MAX; i++)
		h.kept[i] = i < n ? *kept[i] : -1;
	net_drop(s);
	snprintf(path, sizeof(path), "%s/tandem-spawner", s->config.libexec_dir);
	if (mem < 0 || io_write_all(mem, &h, sizeof(h), &e) < 0 || io_write_all(mem, s, used_bytes(s), &e) < 0 ||
	    lseek(mem, 0, SEEK_SET) < 0 || dup2(mem, CONFIG_FD) < 0) {
		log_error("upgrade", "write the table: %s", e.text);
		return;
	}
	each_kept(s, survive);
	execve(path, argv, environ);
	log_error("upgrade", "execute %s: %s", path, strerror(errno));
	each_kept(s, close_on_exec);
	(void)fcntl(CONFIG_FD, F_SETFD, FD_CLOEXEC);
}

static int read_whole(int fd, void *p, size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t got = read(fd, (char *)p + at, n - at);

		if (got <= 0)
			return -1;
		at += (size_t)got;
	}
	return 0;
}

int handover_watch(struct spawner *s, struct err *e)
{
	for (unsigned i = 0; i < s->high; i++) {
		const struct sandbox *b = &s->sb[i];

		if (!s->id[i])
			continue;
		if ((b->setup >= 0 && watch_add(s, b->setup, WATCH_SETUP, i, b->gen) < 0) ||
		    watch_add(s, b->fd[SB_PIDFD], WATCH_PID1, i, b->gen) < 0 ||
		    (b->leaf.oom_event >= 0 && watch_add(s, b->leaf.oom_event, WATCH_OOM, i, b->gen) < 0))
			return err_sys(e, errno, "watch the sandboxes again");
	}
	return 0;
}

/*
 * From a table that is laid out differently: what the head names. All else that came along is closed (fd too): sockets
 * and cgroups of sandboxes that will end. Through the low numbers, where there is room for what stays.
 */
static int take_head(struct spawner *s, int fd, const struct table_head *h, struct err *e)
{
	int *kept[KEPT_MAX];
	unsigned n = kept_first(s, kept);

	log_warn("upgrade", "the predecessor's table is of another version: all instances start afresh");
	if (read_whole(fd, &s->config, sizeof(s->config)) < 0)
		return err_set(e, ERR_CORRUPT, "the predecessor's table cannot be read");
	s->config.version = SPAWNER_VERSION; /* what the next tandemd is told */
	for (unsigned i = 0; i < n; i++)
		if (h->kept[i] >= FD_RESERVED && dup3(h->kept[i], CONFIG_FD + 1 + (int)i, O_CLOEXEC) < 0)
			return err_sys(e, errno, "keep a listener");
	(void)close_range(FD_RESERVED, ~0u, 0);
	for (unsigned i = 0; i < n; i++) {
		if (h->kept[i] < FD_RESERVED)
			continue;
		*kept[i] = fcntl(CONFIG_FD + 1 + (int)i, F_DUPFD_CLOEXEC, FD_RESERVED);
		(void)close(CONFIG_FD + 1 + (int)i);
	}
	s->notified = true;
	return 0;
}

/* 1: everything is taken over; 0: all but the sandboxes; fd is at the start. */
int handover_resume(struct spawner *s, int fd, struct err *e)
{
	struct table_head h;

	if (read_whole(fd, &h, sizeof(h)) < 0 || h.magic != TABLE_MAGIC)
		return err_set(e, ERR_CORRUPT, "the predecessor's table cannot be read");
	if (h.version != TABLE_VERSION || h.size != offsetof(struct spawner, sb) || h.sandbox_size != sizeof(s->sb[0]))
		return take_head(s, fd, &h, e);
	if (read_whole(fd, s, h.size) < 0 || s->high > SANDBOX_MAX ||
	    read_whole(fd, s->sb, s->high * sizeof(s->sb[0])) < 0)
		return err_set(e, ERR_CORRUPT, "the predecessor's table is cut off");
	s->upgrading = false;
	each_kept(s, close_on_exec);
	range_forget(s);
	return 1;
}

/*
 * New sandboxes are copies of the new files: base and tandem-init are made again, and blanks of the old ones, which
 * nobody has got yet, end. Instances keep what they run on. The time namespace is one for all, for as long as we live.
 */
void handover_renew(struct spawner *s)
{
	struct base b;
	struct err e = {0};
	unsigned n = 0;

	for (unsigned i = 0; i < s->high; i++)
		n += s->id[i] && s->sb[i].assigned;
	log_info("upgrade", "this is %s, with %u instances as before", TANDEM_VERSION, n);
	if (base_make(&s->config, &b, &e) < 0) {
		log_error("upgrade", "new sandboxes are as before: %s", e.text);
		return;
	}
	net_learn(s);
	close_p(&s->base.mntns);
	close_p(&s->base.init_exe);
	close_p(&b.timens);
	b.timens = s->base.timens;
	s->base = b;
	for (unsigned i = 0; i < s->high; i++) {
		if (!s->id[i] || s->sb[i].assigned)
			continue;
		s->sb[i].ending = 1;
		sandbox_kill(s, i);
	}
}

/* Runs a program as its user would be, only for its version. */
static int runs(const struct spawner *s, const char *name, bool as_daemon, struct err *e)
{
	char *argv[] = {"", "--version", NULL};
	struct pollfd p = {.fd = -1, .events = POLLIN};
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		if (null >= 0 && dup2(null, 1) >= 0 && chdir(s->config.libexec_dir) == 0 &&
		    (!as_daemon || priv_become(s->config.daemon_uid, s->config.daemon_gid, e) == 0))
			execv(name, argv);
		_exit(127);
	}
	if (pid < 0)
		return err_sys(e, errno, "fork");
	p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (poll(&p, 1, CHECK_MS) <= 0)
		kill(pid, SIGKILL);
	close_p(&p.fd);
	waitpid(pid, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return err_set(e, ERR_INVALID, "%s/%s does not run (%s %d)", s->config.libexec_dir, name,
			       WIFSIGNALED(status) ? "signal" : "exit",
			       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return 0;
}

/* A file that was copied halfway, or is of another machine, must not cost anybody what runs. */
int handover_check(const struct spawner *s, struct err *e)
{
	return runs(s, "tandem-spawner", false, e) < 0 || runs(s, "tandemd", true, e) < 0 ? -1 : 0;
}
