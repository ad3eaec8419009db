/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Upgrade: the spawner executes its successor and keeps everything by descriptor number; its table goes along in a
 * memory file at descriptor 3. The process stays the same, so sandboxes stay its children. A successor whose table is
 * laid out differently ends all sandboxes and starts afresh from the configuration, which lies first in every version.
 */
#include "spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include "base/io.h"
#include "base/log.h"

#define TABLE_MAGIC   0x74646d74u
#define TABLE_VERSION 1
struct table_head {
	uint32_t magic, version, size, sandbox_size;
};

static size_t used_bytes(const struct spawner *s)
{
	return offsetof(struct spawner, sb) + s->high * sizeof(s->sb[0]);
}

static void each_kept(struct spawner *s, void (*f)(int *fd))
{
	f(&s->lock);
	f(&s->base.mntns);
	f(&s->base.timens);
	f(&s->base.init_exe);
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
	struct table_head h = {TABLE_MAGIC, TABLE_VERSION, (uint32_t)offsetof(struct spawner, sb), sizeof(s->sb[0])};
	char path[300], *argv[] = {"tandem-spawner", NULL};
	auto_close int mem = memfd_create("tandem-table", MFD_CLOEXEC);
	struct err e = {0};

	snprintf(path, sizeof(path), "%s/tandem-spawner", s->config.libexec_dir);
	if (mem < 0 || io_write_all(mem, &h, sizeof(h), &e) < 0 || io_write_all(mem, s, used_bytes(s), &e) < 0 ||
	    lseek(mem, 0, SEEK_SET) < 0 || dup2(mem, 3) < 0) {
		log_error("upgrade", "write the table: %s", e.text);
		return;
	}
	each_kept(s, survive);
	execve(path, argv, environ);
	log_error("upgrade", "execute %s: %s", path, strerror(errno));
	each_kept(s, close_on_exec);
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

/* 1: everything is taken over; 0: only the configuration; fd is at the start. */
int handover_resume(struct spawner *s, int fd, struct err *e)
{
	struct table_head h;

	if (read_whole(fd, &h, sizeof(h)) < 0 || h.magic != TABLE_MAGIC)
		return err_set(e, ERR_CORRUPT, "the predecessor's table cannot be read");
	if (h.version != TABLE_VERSION || h.size != offsetof(struct spawner, sb) ||
	    h.sandbox_size != sizeof(s->sb[0])) {
		log_warn("upgrade", "the predecessor's table is of another version: all instances start afresh");
		if (read_whole(fd, &s->config, sizeof(s->config)) < 0)
			return err_set(e, ERR_CORRUPT, "the predecessor's table cannot be read");
		s->config.version = SPAWNER_VERSION;	/* what the next tandemd is told */
		(void)close_range(FD_RESERVED, ~0u, 0); /* its lock and listeners would stand in our way; fd goes too */
		return 0;
	}
	if (read_whole(fd, s, h.size) < 0 || s->high > SANDBOX_MAX ||
	    read_whole(fd, s->sb, s->high * sizeof(s->sb[0])) < 0)
		return err_set(e, ERR_CORRUPT, "the predecessor's table is cut off");
	s->upgrading = false;
	each_kept(s, close_on_exec);
	return 1;
}
