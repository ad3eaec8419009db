/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges of ids for containers, and the directories for what they write: state_dir/containers/SLOT.GEN with "upper" and
 * "work", closed to everybody but root. What is in them is owned by LAYER_ID_BASE + the id inside, never by an id of
 * the host. A dead container's directory moves to gone/, which a child of ours empties beside us: one rmdir on disk
 * takes up to some milliseconds, and a container may have written a million files.
 */
#include "spawner.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "base/log.h"

#define FINISH_MS 5000
#define RANGES	  (RANGE_BLOCKS * RANGE_BLOCK)

uint32_t range_first(const struct spawner *s, unsigned n)
{
	return s->block[n / RANGE_BLOCK].first + n % RANGE_BLOCK * LAYER_IDS;
}

static int write_map(pid_t pid, const char *name, uint32_t inside, uint32_t outside)
{
	char path[64], text[64];
	int n = snprintf(text, sizeof(text), "%u %u %u\n", inside, outside, LAYER_IDS);
	auto_close int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, text, (size_t)n) == n ? 0 : -1;
}

/* A user namespace is made by a process and kept by a descriptor. */
static int new_userns(uint32_t inside, uint32_t outside, struct err *e)
{
	struct clone_args a = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
	char path[64];
	int p[2], fd = -1;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe");
	pid = (pid_t)syscall(SYS_clone3, &a, sizeof(a));
	if (pid == 0) {
		close(p[1]);
		(void)!read(p[0], path, 1); /* until our parent has what it wants, or is gone */
		_exit(0);
	}
	if (pid < 0) {
		err_sys(e, errno, "make a user namespace");
	} else if (write_map(pid, "uid_map", inside, outside) < 0 || write_map(pid, "gid_map", inside, outside) < 0) {
		err_sys(e, errno, "write the id maps");
	} else {
		snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			err_sys(e, errno, "open a user namespace");
	}
	close(p[0]);
	close(p[1]);
	if (pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	return fd;
}

int range_take(struct spawner *s, struct err *e)
{
	struct range *r;
	unsigned n = 0;

	while (n < s->n_blocks * RANGE_BLOCK && s->range[n].used)
		n++;
	if (n == RANGES)
		return err_set(e, ERR_LIMIT, "there are %d containers already", RANGES);
	if (n == s->n_blocks * RANGE_BLOCK) {
		if (state_take_block(s, e) < 0)
			return -1;
		for (unsigned i = n; i < n + RANGE_BLOCK; i++)
			s->range[i] = (struct range){.userns = -1, .idmap = -1};
	}
	r = &s->range[n];
	if (r->userns < 0)
		r->userns = new_userns(0, range_first(s, n), e);
	if (r->userns >= 0 && r->idmap < 0)
		r->idmap = new_userns(LAYER_ID_BASE, range_first(s, n), e);
	if (r->userns < 0 || r->idmap < 0)
		return -1;
	r->used = true;
	return (int)n;
}

void range_release(struct spawner *s, unsigned n)
{
	s->range[n].used = false;
}

void range_forget(struct spawner *s)
{
	for (unsigned i = 0; i < s->n_blocks * RANGE_BLOCK; i++)
		s->range[i].userns = s->range[i].idmap = -1;
}

/* ---- directories ---- */

static void dir_name(const struct spawner *s, unsigned slot, char out[32])
{
	snprintf(out, 32, "%u.%u", slot, s->sb[slot].gen);
}

static int made_for(int dir, const char *name)
{
	return mkdirat(dir, name, 0755) < 0 ||
			       fchownat(dir, name, LAYER_ID_BASE, LAYER_ID_BASE, AT_SYMLINK_NOFOLLOW) < 0
		       ? -1
		       : 0;
}

int upper_make(struct spawner *s, unsigned slot, struct err *e)
{
	char name[32];
	int dir;

	dir_name(s, slot, name);
	/* Also the directory itself: through a mapped mount, what belongs to nobody is closed even to root. */
	if (made_for(s->uppers, name) < 0)
		return err_sys(e, errno, "make containers/%s", name);
	dir = openat(s->uppers, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 || made_for(dir, "upper") < 0 || made_for(dir, "work") < 0) {
		err_sys(e, errno, "fill containers/%s", name);
		close_p(&dir);
		upper_remove(s, slot);
		return -1;
	}
	return dir;
}

/*
 * Empties a directory that a dead container may have filled as it liked: nothing is followed, and no depth or length of
 * path matters, because a directory that is not empty moves up to the top instead of being entered.
 */
static unsigned sweep_one(int top, const char *name, unsigned *n_moved)
{
	int fd = openat(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;
	char to[24];

	while (d && (de = readdir(d))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		if (unlinkat(fd, de->d_name, 0) == 0 || unlinkat(fd, de->d_name, AT_REMOVEDIR) == 0)
			continue;
		do
			snprintf(to, sizeof(to), "moved-%u", (*n_moved)++);
		while (syscall(SYS_renameat2, fd, de->d_name, top, to, 1 /* RENAME_NOREPLACE */) < 0 &&
		       errno == EEXIST);
	}
	if (d)
		closedir(d);
	else
		close_p(&fd);
	return unlinkat(top, name, AT_REMOVEDIR) == 0;
}

static void sweep(int top)
{
	unsigned done = 1, n_moved = 0;

	/* As long as it helps: entries that cannot be removed stay for the next start. */
	while (done) {
		int fd = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		DIR *d = fd < 0 ? NULL : fdopendir(fd);
		struct dirent *de;

		done = 0;
		while (d && (de = readdir(d)))
			if (strcmp(de->d_name, ".") && strcmp(de->d_name, ".."))
				done += unlinkat(top, de->d_name, 0) == 0 || sweep_one(top, de->d_name, &n_moved);
		if (d)
			closedir(d);
		else
			close_p(&fd);
	}
}

static int open_gone(const struct spawner *s)
{
	return openat(s->uppers, "gone", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static void sweeper(int gone, int kicks) __attribute__((noreturn));
static void sweeper(int gone, int kicks)
{
	char many[256];

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	(void)setpriority(PRIO_PROCESS, 0, 10);
	while (read(kicks, many, sizeof(many)) > 0)
		sweep(gone);
	_exit(0);
}

/* Most of what we have open belongs to sandboxes: it must not outlive them in here. */
static void keep_two(int *a, int *b)
{
	int x = dup3(*a, 3, 0), y = dup3(*b, 4, 0);

	(void)close_range(5, ~0u, 0);
	*a = x, *b = y;
}

static int start_sweeper(struct spawner *s)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return -1;
	s->sweeper = fork();
	if (s->sweeper == 0) {
		int gone = open_gone(s);

		keep_two(&gone, &p[0]);
		sweeper(gone, p[0]);
	}
	close(p[0]);
	if (s->sweeper < 0) {
		close(p[1]);
		return -1;
	}
	s->sweep_kick = p[1];
	return fcntl(s->sweep_kick, F_SETFL, O_NONBLOCK);
}

/* A full pipe has kicks enough. A sweeper that somebody killed is replaced. */
void upper_kick(struct spawner *s)
{
	if (s->sweep_kick >= 0 && (write(s->sweep_kick, "", 1) == 1 || errno == EAGAIN))
		return;
	if (s->sweep_kick >= 0) {
		close(s->sweep_kick);
		waitpid(s->sweeper, NULL, 0);
		s->sweep_kick = -1;
	}
	if (start_sweeper(s) < 0 || write(s->sweep_kick, "", 1) != 1)
		log_warn("containers", "what they wrote is removed at the next start: %s", strerror(errno));
}

static void send_to_gone(const struct spawner *s, const char *name, unsigned n)
{
	char to[64];

	snprintf(to, sizeof(to), "gone/%.40s.%u", name, n);
	if (renameat(s->uppers, name, s->uppers, to) < 0)
		log_warn("containers", "containers/%s stays: %s", name, strerror(errno));
}

void upper_remove(struct spawner *s, unsigned slot)
{
	char name[32];

	dir_name(s, slot, name);
	send_to_gone(s, name, (unsigned)getpid());
	upper_kick(s);
}

void upper_finish(struct spawner *s)
{
	struct pollfd p = {.fd = -1, .events = POLLIN};

	if (s->sweep_kick < 0)
		return;
	p.fd = (int)syscall(SYS_pidfd_open, s->sweeper, 0);
	close(s->sweep_kick); /* its end, once it has swept */
	if (poll(&p, 1, FINISH_MS) <= 0)
		kill(s->sweeper, SIGKILL);
	close_p(&p.fd);
	waitpid(s->sweeper, NULL, 0);
}

int upper_setup(struct spawner *s, struct err *e)
{
	char path[300];
	struct dirent *de;
	auto_close int skel = -1;
	unsigned n = 0;
	DIR *d;
	int fd;

	snprintf(path, sizeof(path), "%s/containers", s->config.state_dir);
	s->uppers = state_own_dir(path, 0, 0, 0700, e);
	if (s->uppers < 0)
		return -1;
	if (mkdirat(s->uppers, "gone", 0700) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make %s/gone", path);
	fd = openat(s->uppers, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	while (d && (de = readdir(d)))
		if (de->d_name[0] != '.' && strcmp(de->d_name, "gone")) {
			send_to_gone(s, de->d_name, (unsigned)getpid());
			n++;
		}
	if (d)
		closedir(d);
	upper_kick(s);
	if (n > 1) /* the layer that is over all images is always one */
		log_info("containers", "removing what %u of before have written", n - 1);
	if (mkdirat(s->uppers, "skel", 0755) < 0)
		return err_sys(e, errno, "make %s/skel", path);
	s->skel = openat(s->uppers, "skel", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return s->skel < 0 ? err_sys(e, errno, "open %s/skel", path) : rootfs_skel(s->skel, e);
}
