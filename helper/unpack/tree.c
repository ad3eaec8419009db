/* SPDX-License-Identifier: Apache-2.0 */
#include "unpack/tree.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "base/io.h"
#include "unpack/layer.h"

#define MAX_TRIES 8 /* of taking over a temporary directory from a finished or killed one */

/* With follow, links are allowed as long as they stay beneath dirfd (EXDEV otherwise). */
static int open_beneath(int dirfd, const char *path, int flags, int follow)
{
	struct open_how how = {
		.flags = (unsigned)(flags | O_CLOEXEC),
		.mode = flags & O_CREAT ? 0600 : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (follow ? 0 : RESOLVE_NO_SYMLINKS),
	};
	int fd;

	do
		fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	return fd;
}

int tree_entry_err(struct err *e, const char *name, int sys, const char *what)
{
	char shown[PATH_SHOWN_MAX + 1];

	path_show(name, shown);
	if (sys == ELOOP)
		return err_set(e, ERR_INVALID, "entry '%s': its path leads through a symbolic link", shown);
	if (sys == ENOTDIR || sys == EISDIR)
		return err_set(e, ERR_INVALID, "entry '%s': is both a directory and something else", shown);
	if (sys == EFBIG)
		return err_set(e, ERR_LIMIT, "entry '%s': larger than allowed", shown);
	return err_sys(e, sys, "entry '%s': %s", shown, what);
}

int tree_count(struct tree *t, struct err *e)
{
	if (t->files >= t->max_files)
		return err_set(e, ERR_LIMIT, "more than %llu files and directories", (unsigned long long)t->max_files);
	t->files++;
	return 0;
}

/* 1: ours; 0: try again; -1: error. The lock is on the inode, so look whether the name still leads to it. */
static int take_temp(struct tree *t, int made, struct err *e)
{
	struct stat by_fd, by_name;
	auto_close int fd = open_beneath(t->parent, t->temp, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "open %s", t->temp);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return err_set(e, ERR_CONFLICT, "%s is being unpacked already", t->name);
		return err_sys(e, errno, "lock %s", t->temp);
	}
	if (fstat(fd, &by_fd) < 0)
		return err_sys(e, errno, "stat %s", t->temp);
	if (fstatat(t->parent, t->temp, &by_name, AT_SYMLINK_NOFOLLOW) < 0 || by_fd.st_ino != by_name.st_ino)
		return 0;
	if (!made)
		return io_rm_tree(t->parent, t->temp, e);
	t->root = take_fd(fd);
	return 1;
}

int tree_start(struct tree *t, int parent, const char *name, uint64_t max_bytes, uint64_t max_files, struct err *e)
{
	*t = (struct tree){.parent = parent,
			   .root = -1,
			   .dir = -1,
			   .layer = t->layer,
			   .max_bytes = max_bytes,
			   .max_files = max_files};
	if (!str_name_ok(str_of(name), 71, "-_"))
		return err_set(e, ERR_INVALID, "bad name for the new directory");
	strlcpy_(t->name, name, sizeof(t->name));
	snprintf(t->temp, sizeof(t->temp), ".tmp-%s", name);
	for (int i = 0; i < MAX_TRIES; i++) {
		int made = mkdirat(parent, t->temp, 0755) == 0;
		int got;

		if (!made && errno != EEXIST)
			return err_sys(e, errno, "make directory %s", t->temp);
		got = take_temp(t, made, e);
		if (got)
			return got < 0 ? -1 : 0;
	}
	return err_set(e, ERR_CONFLICT, "%s is being unpacked by others again and again", name);
}

/* Opens (and makes) one directory more below *dir, which it replaces. */
static int descend(struct tree *t, int *dir, const char *name, const char *whole, struct err *e)
{
	int made = mkdirat(*dir, name, 0755) == 0;
	int fd;

	if (!made && errno != EEXIST)
		return tree_entry_err(e, whole, errno, "make directory");
	if (made && tree_count(t, e) < 0)
		return -1;
	if (!made && t->layer && layer_dir_over_whiteout(*dir, name, e) < 0)
		return -1;
	fd = open_beneath(*dir, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return tree_entry_err(e, whole, errno, "open directory");
	close(*dir);
	*dir = fd;
	return 0;
}

/* t->dir becomes the directory of the first n bytes of text, made where it is missing. */
int tree_enter(struct tree *t, const char *text, size_t n, struct err *e)
{
	char path[PATH_BYTES_MAX + 1];
	auto_close int dir = -1;
	char *save = path;

	if (t->dir >= 0 && strlen(t->dir_text) == n && !memcmp(t->dir_text, text, n))
		return 0;
	memcpy(path, text, n);
	path[n] = '\0';
	dir = open_beneath(t->root, n ? path : ".", O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0 && errno != ENOENT && !(t->layer && errno == ENOTDIR))
		return tree_entry_err(e, text, errno, "open directory");
	if (dir < 0) {
		dir = open_beneath(t->root, ".", O_RDONLY | O_DIRECTORY, 0);
		if (dir < 0)
			return err_sys(e, errno, "open %s", t->temp);
		for (char *c; (c = strsep(&save, "/"));)
			if (descend(t, &dir, c, text, e) < 0)
				return -1;
	}
	if (t->dir >= 0)
		close(t->dir);
	t->dir = take_fd(dir);
	memcpy(t->dir_text, text, n);
	t->dir_text[n] = '\0';
	return 0;
}

int tree_make_room(struct tree *t, const struct path *p, const char **ret_leaf, struct err *e)
{
	size_t dir_bytes;
	const char *leaf = path_leaf(p, &dir_bytes);

	if (p->depth == 0)
		return err_set(e, ERR_INVALID, "an entry that would replace the whole directory");
	if (tree_count(t, e) < 0 || tree_enter(t, p->text, dir_bytes, e) < 0)
		return -1;
	if (unlinkat(t->dir, leaf, 0) < 0 && errno != ENOENT)
		return tree_entry_err(e, p->text, errno == EPERM ? EISDIR : errno, "replace");
	*ret_leaf = leaf;
	return 0;
}

int tree_dir(struct tree *t, const struct path *p, struct err *e)
{
	/* tree_enter() counts a directory that it makes; one named again and again must count as well. */
	uint64_t before = t->files;

	if (tree_enter(t, p->text, p->n, e) < 0)
		return -1;
	return t->files > before || p->depth == 0 ? 0 : tree_count(t, e);
}

int tree_file(struct tree *t, const struct path *p, int *ret_fd, struct err *e)
{
	const char *leaf;
	int fd;

	if (tree_make_room(t, p, &leaf, e) < 0)
		return -1;
	fd = open_beneath(t->dir, leaf, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0);
	if (fd < 0)
		return tree_entry_err(e, p->text, errno, "create");
	*ret_fd = fd;
	return 0;
}

int tree_write(struct tree *t, int fd, uint64_t *size, int64_t offset, const void *data, size_t n, struct err *e)
{
	uint64_t end;

	if (offset < 0 || (uint64_t)offset < *size)
		return err_set(e, ERR_INVALID, "pieces of a file out of order");
	if ((uint64_t)offset - *size > t->max_bytes - t->bytes)
		return err_set(e, ERR_LIMIT, "more than %llu bytes unpacked", (unsigned long long)t->max_bytes);
	t->bytes += (uint64_t)offset - *size;
	if (n > t->max_bytes - t->bytes)
		return err_set(e, ERR_LIMIT, "more than %llu bytes unpacked", (unsigned long long)t->max_bytes);
	t->bytes += n;
	end = (uint64_t)offset + n;
	if (n == 0 && end > *size && ftruncate(fd, (off_t)end) < 0) /* a hole at the end */
		return err_sys(e, errno, "extend file");
	for (size_t done = 0; done < n;) {
		ssize_t w = pwrite(fd, (const char *)data + done, n - done, offset + (off_t)done);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return err_sys(e, errno, "write file");
		done += (size_t)w;
	}
	*size = end;
	return 0;
}

int tree_file_done(int fd, unsigned mode, struct err *e)
{
	int rc = fchmod(fd, mode & 0111 ? 0755 : 0644);
	int sys = errno;

	if (close(fd) < 0 && rc == 0)
		rc = -1, sys = errno;
	return rc < 0 ? err_sys(e, sys, "finish file") : 0;
}

int tree_symlink(struct tree *t, const struct path *p, const char *target, struct err *e)
{
	const char *leaf;

	/* What a link of a layer says is read in a container, with that container's root. */
	if ((!t->layer && path_check_target(p, target, e) < 0) || tree_make_room(t, p, &leaf, e) < 0)
		return -1;
	if (!t->layer && p->n + 1 > TREE_LINK_TEXT_MAX - t->links.n)
		return err_set(e, ERR_LIMIT, "too many symbolic links");
	if (symlinkat(target, t->dir, leaf) < 0)
		return tree_entry_err(e, p->text, errno, "make symbolic link");
	if (!t->layer)
		buf_add(&t->links, p->text, p->n + 1);
	return 0;
}

int tree_hardlink(struct tree *t, const struct path *p, const struct path *target, struct err *e)
{
	char shown[PATH_SHOWN_MAX + 1];
	auto_close int from = -1;
	size_t from_bytes;
	const char *leaf, *from_leaf = path_leaf(target, &from_bytes);
	char from_dir[PATH_BYTES_MAX + 1];
	struct stat st;

	path_show(p->text, shown);
	memcpy(from_dir, target->text, from_bytes);
	from_dir[from_bytes] = '\0';
	from = open_beneath(t->root, from_bytes ? from_dir : ".", O_PATH | O_DIRECTORY, 0);
	if (from < 0 || !*from_leaf || fstatat(from, from_leaf, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !(S_ISREG(st.st_mode) || (t->layer && S_ISLNK(st.st_mode))))
		return err_set(e, ERR_INVALID, "entry '%s': hard link to what is no earlier file of the archive",
			       shown);
	if (!strcmp(p->text, target->text))
		return 0;
	if (tree_make_room(t, p, &leaf, e) < 0)
		return -1;
	if (linkat(from, from_leaf, t->dir, leaf, 0) < 0)
		return tree_entry_err(e, p->text, errno, "make hard link");
	return 0;
}

/* The text of a link can look harmless and still lead outside through another link: ask the kernel, now that all is
 * there. */
static int check_links(struct tree *t, struct err *e)
{
	char shown[PATH_SHOWN_MAX + 1];

	for (size_t i = 0; i < t->links.n; i += strlen(t->links.p + i) + 1) {
		int fd = open_beneath(t->root, t->links.p + i, O_PATH, 1);

		if (fd >= 0)
			close(fd);
		else if (errno != ENOENT && errno != ELOOP && errno != ENOTDIR)
			return err_set(e, ERR_INVALID, "entry '%s': symbolic link that leads outside",
				       path_show(t->links.p + i, shown));
	}
	return 0;
}

int tree_finish(struct tree *t, struct err *e)
{
	auto_close int parent = -1;

	if (check_links(t, e) < 0)
		return -1;
	if (syncfs(t->root) < 0)
		return err_sys(e, errno, "sync %s", t->temp);
	if (renameat2(t->parent, t->temp, t->parent, t->name, RENAME_NOREPLACE) < 0) {
		if (errno != EEXIST)
			return err_sys(e, errno, "rename %s", t->temp);
		return 0; /* tree_done removes ours */
	}
	t->temp[0] = '\0';
	parent = open_beneath(t->parent, ".", O_RDONLY | O_DIRECTORY, 0);
	if (parent < 0 || fsync(parent) < 0)
		return err_sys(e, errno, "sync the directory of %s", t->name);
	return 0;
}

void tree_done(struct tree *t)
{
	if (t->dir >= 0)
		close(t->dir);
	if (t->root >= 0 && t->temp[0])
		io_rm_tree(t->parent, t->temp, NULL);
	if (t->root >= 0)
		close(t->root);
	t->dir = t->root = -1;
	buf_done(&t->links);
}
