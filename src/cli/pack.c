/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include "base/enc.h"
#include "base/io.h"
#include "base/limits.h"
#include "base/mem.h"
#include "cli/pack.h"
#include "cli/zip.h"

#define DEPTH_MAX 64

struct pack {
	const char *top; /* for messages */
	struct zip zip;
	struct err *e;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool skipped(const char *name, int depth)
{
	if (!strcmp(name, ".") || !strcmp(name, "..") || !strcmp(name, ".git") || !strcmp(name, "__pycache__"))
		return true;
	return !depth && !strcmp(name, "tandem.yaml");
}

static void names_free(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

/* All names of the folder, sorted by bytes: what readdir gives differs from one file system to the next. */
static int list_names(struct pack *p, int dirfd, int depth, const char *prefix, char ***ret, size_t *ret_n)
{
	char **names = NULL;
	size_t n = 0, cap = 0;
	struct dirent *d;
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		return err_sys(p->e, errno, "open %s/%s", p->top, prefix);
	while ((errno = 0, d = readdir(dir))) {
		if (skipped(d->d_name, depth))
			continue;
		if (n == cap)
			names = xrealloc(names, sizeof(*names) * (cap = cap ? 2 * cap : 32));
		names[n++] = xstrdup(d->d_name);
		if (n > ZIP_ENTRIES_MAX)
			break;
	}
	closedir(dir);
	if (n)
		qsort(names, n, sizeof(*names), by_name);
	*ret = names;
	*ret_n = n;
	return 0;
}

static int room(struct pack *p, size_t more)
{
	if (p->zip.entries >= ZIP_ENTRIES_MAX)
		return err_set(p->e, ERR_LIMIT,
			       "%s holds more than %d files; leave out what the function does not need", p->top,
			       ZIP_ENTRIES_MAX);
	if (more > LIM_UNZIPPED_BYTES || p->zip.out.n > LIM_UNZIPPED_BYTES - more)
		return err_set(p->e, ERR_LIMIT,
			       "%s is larger than %d MB (a function's code, unpacked); leave out what it does not need",
			       p->top, LIM_UNZIPPED_BYTES >> 20);
	return 0;
}

static int add_file(struct pack *p, int dirfd, const char *name, const char *path, const struct stat *st)
{
	auto_buf data = {0};

	if (room(p, st->st_size > 0 ? (size_t)st->st_size : 0) < 0)
		return -1;
	if (io_read_file(dirfd, name, LIM_UNZIPPED_BYTES, &data, p->e) < 0)
		return err_wrap(p->e, "%s", p->top);
	if (room(p, data.n) < 0)
		return -1;
	zip_add(&p->zip, path, S_IFREG | (st->st_mode & 0111 ? 0755 : 0644), buf_str(&data));
	return 0;
}

static int add_link(struct pack *p, int dirfd, const char *name, const char *path)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dirfd, name, target, sizeof(target));

	if (n < 0 || (size_t)n >= sizeof(target))
		return err_sys(p->e, n < 0 ? errno : ENAMETOOLONG, "read the link %s/%s", p->top, path);
	if (room(p, (size_t)n) < 0)
		return -1;
	zip_add(&p->zip, path, S_IFLNK | 0777, (struct str){target, (size_t)n});
	return 0;
}

static int walk(struct pack *p, int dirfd, const char *prefix, int depth);

static int add_one(struct pack *p, int dirfd, const char *name, const char *prefix, int depth)
{
	auto_free char *path = xasprintf("%s%s", prefix, name), *below = NULL;
	auto_close int fd = -1;
	struct stat st;

	if (!enc_utf8_ok(str_of(path)))
		return err_set(p->e, ERR_INVALID, "%s/%s: the name is not UTF-8", p->top, path);
	if (strlen(path) > 4000)
		return err_set(p->e, ERR_LIMIT, "%s: a path of more than 4000 bytes: %.80s...", p->top, path);
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(p->e, errno, "look at %s/%s", p->top, path);
	if (S_ISREG(st.st_mode))
		return add_file(p, dirfd, name, path, &st);
	if (S_ISLNK(st.st_mode))
		return add_link(p, dirfd, name, path);
	if (!S_ISDIR(st.st_mode))
		return err_set(p->e, ERR_INVALID,
			       "%s/%s is neither a file nor a folder nor a link; it cannot be part of the code", p->top,
			       path);
	if (depth >= DEPTH_MAX)
		return err_set(p->e, ERR_LIMIT, "%s/%s: more than %d folders inside each other", p->top, path,
			       DEPTH_MAX);
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(p->e, errno, "open %s/%s", p->top, path);
	below = xasprintf("%s/", path);
	if (room(p, 0) < 0)
		return -1;
	zip_add(&p->zip, below, S_IFDIR | 0755, STR_NULL);
	return walk(p, fd, below, depth + 1);
}

static int walk(struct pack *p, int dirfd, const char *prefix, int depth)
{
	char **names = NULL;
	size_t n = 0;
	int r = 0;

	if (list_names(p, dirfd, depth, prefix, &names, &n) < 0)
		return -1;
	for (size_t i = 0; i < n && !r; i++)
		r = add_one(p, dirfd, names[i], prefix, depth);
	names_free(names, n);
	return r;
}

int pack_path(const char *path, struct buf *ret, struct err *e)
{
	struct pack p = {.top = path, .e = e};
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, errno, "open the code or layer %s", path);
	if (S_ISREG(st.st_mode)) {
		if (!str_ends(str_of(path), ".zip"))
			return err_set(e, ERR_INVALID, "%s is a file; code is a folder or a .zip file", path);
		return io_read_file(AT_FDCWD, path, LIM_ZIP_BYTES, ret, e);
	}
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ERR_INVALID, "%s is neither a folder nor a .zip file", path);
	r = walk(&p, fd, "", 0);
	if (!r && !p.zip.entries)
		r = err_set(e, ERR_INVALID, "the code folder %s is empty", path);
	if (!r) {
		zip_end(&p.zip);
		*ret = p.zip.out;
		p.zip.out = (struct buf){0};
	}
	zip_done(&p.zip);
	return r;
}
