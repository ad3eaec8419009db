/* SPDX-License-Identifier: Apache-2.0 */
/* /proc/PID/fd: which descriptors there are, and which of them cannot be made again. */
#include "proc.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define PIPE_BYTES 65536 /* of an ordinary one */

static bool same(const struct stat *a, int fd)
{
	struct stat b;

	return fstat(fd, &b) == 0 && a->st_dev == b.st_dev && a->st_ino == b.st_ino;
}

int proc_channel(pid_t pid, int ours, struct err *e)
{
	char path[64];
	struct stat st;

	for (unsigned fd = 0; fd < SNAP_FD_END; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%u", (int)pid, fd);
		if (stat(path, &st) == 0 && same(&st, ours))
			return (int)fd;
	}
	return err_set(e, ERR_CONFLICT, "it has closed its channel");
}

/* "pos:", "flags:" and, of a lock, "lock:" */
static int read_info(struct snap_draft *d, unsigned fd, struct snap_fd *f, char **ret, struct err *e)
{
	char name[32], *text;
	unsigned long long pos;
	unsigned flags;

	snprintf(name, sizeof(name), "fdinfo/%u", fd);
	if (proc_read(d, name, &text, NULL, e) < 0)
		return -1;
	if (sscanf(text, "pos: %llu flags: %o", &pos, &flags) != 2)
		return err_set(e, ERR_UNAVAILABLE, "the kernel's %s has an unknown form", name);
	if (strstr(text, "\nlock:"))
		return err_set(e, ERR_CONFLICT, "descriptor %u holds a lock", fd);
	f->offset = pos;
	f->flags = flags;
	*ret = text;
	return 0;
}

static bool read_only(const char *path)
{
	static const char *const roots[] = {"/usr/", "/var/task/", "/var/runtime/", "/opt/", "/etc/", "/lib", "/bin"};

	for (unsigned i = 0; i < ARRAY_SIZE(roots); i++)
		if (!strncmp(path, roots[i], strlen(roots[i])))
			return true;
	return !strcmp(path, "/var/task") || !strcmp(path, "/opt");
}

static int add_file(struct snap_draft *d, struct snap_fd *f, const char *link, const struct stat *st, struct err *e)
{
	bool device = S_ISCHR(st->st_mode) && major(st->st_rdev) == 1 && !strncmp(link, "/dev/", 5);
	uint32_t index;

	if (f->flags & (O_PATH | O_ASYNC | (O_TMPFILE & ~O_DIRECTORY)))
		return err_set(e, ERR_CONFLICT, "descriptor %u has unusual flags (%#o): %s", f->fd, f->flags, link);
	if (!device && (f->flags & O_ACCMODE) != O_RDONLY)
		return err_set(e, ERR_CONFLICT, "descriptor %u writes a file: %s", f->fd, link);
	if (!device && !read_only(link))
		return err_set(e, ERR_CONFLICT, "descriptor %u reads a file that may not be there again: %s", f->fd,
			       link);
	if (S_ISDIR(st->st_mode) && f->offset)
		return err_set(e, ERR_CONFLICT, "descriptor %u is in the middle of a directory: %s", f->fd, link);
	if (proc_file(d, link, st->st_ino, &index, e) < 0)
		return -1;
	f->kind = FD_FILE;
	f->of = index + 1;
	if (device)
		f->offset = 0;
	return 0;
}

/* The first descriptor of the same pipe or event, maybe this one. */
static uint32_t first_of(const struct snap_draft *d, uint32_t kind, uint64_t object)
{
	uint32_t i = 0, n = d->head.table[TABLE_FDS].n;

	while (i < n && (d->fd[i].kind != kind || d->object[i] != object))
		i++;
	return i + 1;
}

/* What a pipe holds is copied from its reading end, without taking it. */
static int copy_held(struct snap_draft *d, struct snap_fd *f, struct err *e)
{
	uint32_t *text = &d->head.table[TABLE_TEXT].n;
	auto_close int from = -1, in = -1, out = -1;
	char path[64];
	int pair[2], held = 0;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd/%u", (int)d->take->pid, f->fd);
	from = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (from < 0 || ioctl(from, FIONREAD, &held) < 0 || pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_sys(e, errno, "look into a pipe");
	in = pair[1], out = pair[0];
	if (held > (int)SNAP_PIPE_MAX || (size_t)held > SNAP_TEXT_MAX - *text ||
	    fcntl(from, F_GETPIPE_SZ) != PIPE_BYTES)
		return err_set(e, ERR_CONFLICT, "descriptor %u is a pipe of an unusual size, or full", f->fd);
	if (!held)
		return 0;
	n = tee(from, in, (size_t)held, SPLICE_F_NONBLOCK);
	if (n != held || read(out, d->text + *text, (size_t)held) != held)
		return err_sys(e, n < 0 ? errno : EIO, "copy what a pipe holds");
	f->offset = *text, f->held = (uint32_t)held;
	*text += (uint32_t)held;
	return 0;
}

static int add_pipe(struct snap_draft *d, struct snap_fd *f, uint64_t ino, struct err *e)
{
	f->kind = FD_PIPE;
	f->offset = 0;
	f->of = first_of(d, FD_PIPE, ino);
	d->object[d->head.table[TABLE_FDS].n] = ino;
	if (f->flags & (O_DIRECT | O_ASYNC) || (f->flags & O_ACCMODE) == O_RDWR)
		return err_set(e, ERR_CONFLICT, "descriptor %u is a pipe with unusual flags (%#o)", f->fd, f->flags);
	return (f->flags & O_ACCMODE) == O_RDONLY ? copy_held(d, f, e) : 0;
}

static int add_event(struct snap_draft *d, struct snap_fd *f, const char *info, struct err *e)
{
	const char *count = strstr(info, "eventfd-count:"), *id = strstr(info, "eventfd-id:"),
		   *semaphore = strstr(info, "eventfd-semaphore:"); /* Linux 6.7 */

	if (!count || !id)
		return err_set(e, ERR_UNAVAILABLE, "the kernel does not tell all of an eventfd");
	f->kind = FD_EVENT;
	f->offset = strtoull(count + strlen("eventfd-count:"), NULL, 16);
	f->semaphore = semaphore && atoi(semaphore + strlen("eventfd-semaphore:"));
	d->object[d->head.table[TABLE_FDS].n] = strtoull(id + strlen("eventfd-id:"), NULL, 10);
	f->of = first_of(d, FD_EVENT, d->object[d->head.table[TABLE_FDS].n]);
	return 0;
}

/* A set also names descriptors that were closed while a copy of them lives on: those cannot be told from others. */
static int add_epoll(struct snap_draft *d, struct snap_fd *f, const char *info, struct err *e)
{
	uint32_t *n = &d->head.table[TABLE_WATCHES].n;
	char path[64];
	struct stat st;

	f->kind = FD_EPOLL;
	f->offset = 0;
	for (; (info = strstr(info, "\ntfd:")); info++) {
		struct snap_watch *w = &d->watch[*n];
		unsigned long long data;
		unsigned long ino;

		if (*n == SNAP_WATCH_MAX)
			return err_set(e, ERR_LIMIT, "it waits for more than %u descriptors", SNAP_WATCH_MAX);
		if (sscanf(info, "\ntfd: %u events: %x data: %llx pos:%*d ino:%lx", &w->fd, &w->events, &data, &ino) !=
		    4)
			return err_set(e, ERR_UNAVAILABLE, "the kernel's list of an epoll set has an unknown form");
		w->epoll = f->fd, w->data = data;
		snprintf(path, sizeof(path), "/proc/%d/fd/%u", (int)d->take->pid, w->fd);
		if (stat(path, &st) < 0 || st.st_ino != ino)
			return err_set(e, ERR_CONFLICT, "it waits for a descriptor that it has closed (%u)", w->fd);
		(*n)++;
	}
	return 0;
}

static int add_other(struct snap_draft *d, struct snap_fd *f, const char *link, const struct stat *st, const char *info,
		     struct err *e)
{
	if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode) || S_ISCHR(st->st_mode))
		return add_file(d, f, link, st, e);
	if (S_ISFIFO(st->st_mode) && !strncmp(link, "pipe:", 5))
		return add_pipe(d, f, st->st_ino, e);
	if (!strcmp(link, "anon_inode:[eventfd]"))
		return add_event(d, f, info, e);
	if (!strcmp(link, "anon_inode:[eventpoll]"))
		return add_epoll(d, f, info, e);
	return err_set(e, ERR_CONFLICT, "descriptor %u cannot be kept: %s%s", f->fd,
		       S_ISSOCK(st->st_mode) ? "an open socket, " : "", link);
}

static int add(struct snap_draft *d, unsigned fd, struct err *e)
{
	uint32_t *n = &d->head.table[TABLE_FDS].n;
	struct snap_fd *f = &d->fd[*n];
	char path[64], link[4096], *info = NULL;
	struct stat st;
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/%d/fd/%u", (int)d->take->pid, fd);
	len = readlink(path, link, sizeof(link) - 1);
	if (len < 0 || stat(path, &st) < 0)
		return err_sys(e, errno, "read %s", path);
	link[len] = 0;
	if (fd >= SNAP_FD_END || *n >= SNAP_FDS_MAX)
		return err_set(e, ERR_LIMIT, "too many descriptors, or one above %u: %s", SNAP_FD_END - 1, link);
	f->fd = fd;
	if (read_info(d, fd, f, &info, e) < 0)
		return -1;
	if (same(&st, d->take->channel))
		f->kind = FD_CHANNEL, f->offset = 0;
	else if (same(&st, d->take->log))
		f->kind = FD_LOG, f->offset = 0;
	else if (add_other(d, f, link, &st, info, e) < 0)
		return -1;
	(*n)++;
	return 0;
}

int proc_fds(struct snap_draft *d, struct err *e)
{
	unsigned numbers[1024], n = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)d->take->pid);
	dir = opendir(path);
	if (!dir)
		return err_sys(e, errno, "open %s", path);
	for (struct dirent *f; (f = readdir(dir)) && n < ARRAY_SIZE(numbers);)
		if (*f->d_name != '.')
			numbers[n++] = (unsigned)atoi(f->d_name);
	closedir(dir);
	/* The kernel lists them in order, but does not promise it. */
	for (unsigned i = 1; i < n; i++)
		for (unsigned j = i; j && numbers[j - 1] > numbers[j]; j--) {
			unsigned was = numbers[j];

			numbers[j] = numbers[j - 1], numbers[j - 1] = was;
		}
	for (unsigned i = 0; i < n; i++)
		if (add(d, numbers[i], e) < 0)
			return -1;
	return 0;
}
