/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include "base/mem.h"
#include "base/rand.h"

int io_write_all(int fd, const void *p, size_t n, struct err *e)
{
	const char *at = p;

	while (n) {
		ssize_t put = write(fd, at, n);

		if (put < 0) {
			if (errno == EINTR)
				continue;
			return err_sys(e, errno, "write");
		}
		at += put;
		n -= (size_t)put;
	}
	return 0;
}

int io_read_all(int fd, const char *name, size_t max, struct buf *ret, struct err *e)
{
	auto_buf b = {0};
	size_t step = 4096;
	struct stat st;

	/* The size is only a hint: files of /proc and /sys have none, others may grow. */
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0)
		step = (size_t)st.st_size < max ? (size_t)st.st_size + 1 : max + 1;
	for (;;) {
		ssize_t got;

		buf_reserve(&b, step);
		got = read(fd, b.p + b.n, step);
		if (got < 0) {
			if (errno == EINTR)
				continue;
			return err_sys(e, errno, "read %s", name);
		}
		if (!got)
			break;
		b.n += (size_t)got;
		b.p[b.n] = 0;
		if (b.n > max)
			return err_set(e, ERR_LIMIT, "%s is larger than %zu bytes", name, max);
		step = b.n < 4096 ? 4096 : b.n;
	}
	buf_add(ret, b.p, b.n);
	return 0;
}

int io_read_file(int dirfd, const char *name, size_t max, struct buf *ret, struct err *e)
{
	auto_close int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? err_set(e, ERR_NOT_FOUND, "%s does not exist", name)
				       : err_sys(e, errno, "open %s", name);
	return io_read_all(fd, name, max, ret, e);
}

/* Makes the name itself last: the directory that holds it must reach the disk too. */
static int sync_parent(int dirfd, const char *name, struct err *e)
{
	const char *slash = strrchr(name, '/');
	auto_free char *dir = slash ? xstrndup(name, slash == name ? 1 : (size_t)(slash - name)) : xstrdup(".");
	auto_close int fd = openat(dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, errno, "open %s", dir);
	if (fsync(fd) < 0)
		return err_sys(e, errno, "fsync %s", dir);
	return 0;
}

int io_write_file(int dirfd, const char *name, const void *p, size_t n, mode_t mode, struct err *e)
{
	auto_free char *tmp = xasprintf("%s.%08x.tmp", name, (unsigned)rand_u64());
	auto_close int fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);

	if (fd < 0)
		return err_sys(e, errno, "create %s", tmp);
	if (io_write_all(fd, p, n, e) < 0) {
		err_wrap(e, "%s", tmp);
		goto fail;
	}
	if (fchmod(fd, mode) < 0 || fsync(fd) < 0) {
		err_sys(e, errno, "fsync %s", tmp);
		goto fail;
	}
	if (renameat(dirfd, tmp, dirfd, name) < 0) {
		err_sys(e, errno, "rename %s", name);
		goto fail;
	}
	return sync_parent(dirfd, name, e);
fail:
	unlinkat(dirfd, tmp, 0);
	return -1;
}

int io_mkdirs(const char *path, mode_t mode, struct err *e)
{
	auto_free char *p = xstrdup(path);
	struct stat st;

	for (char *s = p; *s; s++) {
		if (*s != '/' || s == p)
			continue;
		*s = 0;
		if (mkdir(p, mode) < 0 && errno != EEXIST)
			return err_sys(e, errno, "mkdir %s", p);
		*s = '/';
	}
	if (mkdir(p, mode) < 0 && errno != EEXIST)
		return err_sys(e, errno, "mkdir %s", p);
	if (stat(p, &st) < 0 || !S_ISDIR(st.st_mode))
		return err_set(e, ERR_EXISTS, "%s is not a directory", p);
	return 0;
}

int io_set_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -1;
	return flags & O_NONBLOCK ? 0 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static DIR *open_dir(int dirfd, const char *name)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dirfd, name, flags);
	DIR *d;

	if (fd < 0 && errno == EACCES && !fchmodat(dirfd, name, 0700, 0))
		fd = openat(dirfd, name, flags);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d && fd >= 0)
		close(fd);
	return d;
}

static void close_dir_p(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* 1: gone. 0: a directory with something in it. -1: errno. */
static int rm_one(int dirfd, const char *name)
{
	if (!unlinkat(dirfd, name, 0) || errno == ENOENT)
		return 1;
	if (errno != EISDIR && errno != EPERM && errno != EACCES)
		return -1;
	if (!unlinkat(dirfd, name, AT_REMOVEDIR) || errno == ENOENT)
		return 1;
	return errno == ENOTEMPTY || errno == EEXIST || errno == EACCES ? 0 : -1;
}

static struct dirent *next_entry(DIR *d)
{
	struct dirent *ent;

	do
		ent = readdir(d);
	while (ent && (!strcmp(ent->d_name, ".") || !strcmp(ent->d_name, "..")));
	return ent;
}

/* Empties the directory name of top; directories found in it are moved up into top, to be emptied in their turn. */
static int flatten(int top, const char *name, unsigned *moved, struct err *e)
{
	auto_(close_dir_p) DIR *d = open_dir(top, name);
	struct dirent *ent;

	if (!d)
		return errno == ENOENT ? 0 : err_sys(e, errno, "open %s", name);
	while ((ent = next_entry(d))) {
		char to[48];
		int r = rm_one(dirfd(d), ent->d_name);

		if (r < 0)
			return err_sys(e, errno, "remove %s", ent->d_name);
		if (r > 0)
			continue;
		snprintf(to, sizeof(to), ".rm-%016llx-%u", (unsigned long long)rand_u64(), (*moved)++);
		if (renameat(dirfd(d), ent->d_name, top, to) < 0)
			return err_sys(e, errno, "move %s", ent->d_name);
	}
	if (unlinkat(top, name, AT_REMOVEDIR) < 0 && errno != ENOENT && errno != ENOTEMPTY)
		return err_sys(e, errno, "remove %s", name);
	return 0;
}

/*
 * Trees made by strangers can be deeper than any stack or descriptor table, so
 * there is no recursion: every directory below the top is moved up to it first.
 */
int io_rm_tree(int at, const char *name, struct err *e)
{
	auto_(close_dir_p) DIR *top = NULL;
	unsigned moved = 0;
	struct dirent *ent;
	bool again;
	int r = rm_one(at, name);

	if (r)
		return r > 0 ? 0 : err_sys(e, errno, "remove %s", name);
	top = open_dir(at, name);
	if (!top)
		return errno == ENOENT ? 0 : err_sys(e, errno, "open %s", name);
	do {
		again = false;
		rewinddir(top);
		while ((ent = next_entry(top))) {
			again = true;
			r = rm_one(dirfd(top), ent->d_name);
			if (r < 0)
				return err_sys(e, errno, "remove %s", ent->d_name);
			if (!r && flatten(dirfd(top), ent->d_name, &moved, e) < 0)
				return err_wrap(e, "%s", name);
		}
	} while (again);
	if (unlinkat(at, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_sys(e, errno, "remove %s", name);
	return 0;
}
