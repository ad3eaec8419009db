/* SPDX-License-Identifier: Apache-2.0 */
/* /proc/PID/fd: which descriptors there are, and which of them cannot be made again. */
#include "proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

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
static int read_info(struct snap_draft *d, unsigned fd, struct snap_fd *f, struct err *e)
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
	f->file = index + 1;
	if (device)
		f->offset = 0;
	return 0;
}

static int add(struct snap_draft *d, unsigned fd, struct err *e)
{
	uint32_t *n = &d->head.table[TABLE_FDS].n;
	struct snap_fd *f = &d->fd[*n];
	char path[64], link[4096];
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
	if (read_info(d, fd, f, e) < 0)
		return -1;
	if (same(&st, d->take->channel))
		f->kind = FD_CHANNEL;
	else if (same(&st, d->take->log))
		f->kind = FD_LOG;
	else if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISCHR(st.st_mode)) {
		if (add_file(d, f, link, &st, e) < 0)
			return -1;
	} else {
		return err_set(e, ERR_CONFLICT, "descriptor %u cannot be kept: %s%s", fd,
			       S_ISSOCK(st.st_mode) ? "an open socket, " : "", link);
	}
	if (f->kind != FD_FILE)
		f->offset = 0;
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
