/* SPDX-License-Identifier: Apache-2.0 */
#include "unpack/layer.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define WHITEOUT  ".wh."
#define OPAQUE	  ".wh..wh..opq"
#define AUFS_OWN  ".wh..wh." /* names that the file system which invented them kept for itself */
#define OWNER_MAX 65535
#define CAP_BYTES 20 /* of a file capability without a root of its own; the kernel adds ours */

static int opaque(int fd, const char *name, struct err *e)
{
	char shown[PATH_SHOWN_MAX + 1];

	path_show(name, shown);
	if (fsetxattr(fd, "user.overlay.opaque", "y", 1, 0) == 0)
		return 0;
	if (errno == EOPNOTSUPP)
		return err_set(e, ERR_INVALID,
			       "directory '%s' hides all below it, and the file system of the state keeps no user "
			       "attributes to say so: use ext4, xfs or btrfs",
			       shown);
	return tree_entry_err(e, name, errno, "hide what is below");
}

static bool is_whiteout(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0);
}

int layer_dir_over_whiteout(int dir, const char *name, struct err *e)
{
	auto_close int fd = -1;

	if (!is_whiteout(dir, name))
		return 0;
	if (unlinkat(dir, name, 0) < 0 || mkdirat(dir, name, 0755) < 0)
		return tree_entry_err(e, name, errno, "make directory");
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return tree_entry_err(e, name, errno, "open directory");
	return opaque(fd, name, e);
}

/* What is hidden is below: a name that this layer has itself stays, but a directory shows nothing of below any more. */
static int hide(struct tree *t, const struct path *p, const char *leaf, size_t dir_bytes, struct err *e)
{
	auto_close int fd = -1;
	struct stat st;

	if (!*leaf || !strcmp(leaf, ".") || !strcmp(leaf, ".."))
		return err_set(e, ERR_INVALID, "entry '%s': a white-out of nothing that has a name", p->text);
	if (tree_enter(t, p->text, dir_bytes, e) < 0)
		return -1;
	if (fstatat(t->dir, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT || mknodat(t->dir, leaf, S_IFCHR, makedev(0, 0)) < 0)
			return tree_entry_err(e, p->text, errno, "make a white-out");
		return 0;
	}
	if (!S_ISDIR(st.st_mode))
		return 0;
	fd = openat(t->dir, leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? tree_entry_err(e, p->text, errno, "open directory") : opaque(fd, p->text, e);
}

/* 1: the name was an order and is done; 0: it is a name; -1: it is neither. */
static int whiteout(struct tree *t, const struct path *p, struct err *e)
{
	size_t dir_bytes;
	const char *leaf = path_leaf(p, &dir_bytes), *inside = strstr(p->text, WHITEOUT);

	/* Also in the middle of a path: ".wh.a/b" */
	for (; inside && inside < leaf; inside = strstr(inside + 1, WHITEOUT))
		if (inside == p->text || inside[-1] == '/')
			return err_set(e, ERR_INVALID, "entry '%s': below a white-out", p->text);
	if (strncmp(leaf, WHITEOUT, sizeof(WHITEOUT) - 1))
		return 0;
	if (tree_count(t, e) < 0)
		return -1;
	if (!strcmp(leaf, OPAQUE)) {
		if (tree_enter(t, p->text, dir_bytes, e) < 0 || opaque(t->dir, p->text, e) < 0)
			return -1;
		return 1;
	}
	if (!strncmp(leaf, AUFS_OWN, sizeof(AUFS_OWN) - 1))
		return 1;
	return hide(t, p, leaf + sizeof(WHITEOUT) - 1, dir_bytes, e) < 0 ? -1 : 1;
}

static int check_owner(struct archive_entry *entry, const struct path *p, struct err *e)
{
	int64_t uid = archive_entry_uid(entry), gid = archive_entry_gid(entry);

	if (uid < 0 || uid > OWNER_MAX || gid < 0 || gid > OWNER_MAX)
		return err_set(e, ERR_INVALID, "entry '%s': belongs to %lld:%lld; containers have the ids 0 to %d",
			       p->text, (long long)uid, (long long)gid, OWNER_MAX);
	return 0;
}

static int attributes(int fd, struct archive_entry *entry, const struct path *p, struct err *e)
{
	const char *name;
	const void *value;
	size_t n;

	archive_entry_xattr_reset(entry);
	while (archive_entry_xattr_next(entry, &name, &value, &n) == ARCHIVE_OK) {
		bool cap = !strcmp(name, "security.capability");

		if (cap && n != CAP_BYTES)
			return err_set(e, ERR_INVALID, "entry '%s': a file capability of %zu bytes", p->text, n);
		if (!cap && (strncmp(name, "user.", 5) || !strncmp(name, "user.overlay.", 13)))
			continue;
		if (fsetxattr(fd, name, value, n, 0) < 0 && (cap || errno != EOPNOTSUPP))
			return tree_entry_err(e, p->text, errno, "set an attribute");
	}
	return 0;
}

/* The order matters: a change of the owner takes set-id bits and capabilities away. */
static int finish(int fd, struct archive_entry *entry, const struct path *p, struct err *e)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
				    {archive_entry_mtime(entry), archive_entry_mtime_nsec(entry)}};

	if (fchown(fd, (uid_t)archive_entry_uid(entry), (gid_t)archive_entry_gid(entry)) < 0 ||
	    fchmod(fd, archive_entry_perm(entry) & 07777) < 0)
		return tree_entry_err(e, p->text, errno, "give it its owner and mode");
	if (attributes(fd, entry, p, e) < 0)
		return -1;
	/* What Python compiled is only used beside a source of the right time. A time that cannot be is none. */
	if (archive_entry_mtime_is_set(entry))
		(void)futimens(fd, times);
	return 0;
}

static int layer_file(struct unpack *u, struct tree *t, struct archive *a, struct archive_entry *entry,
		      const struct path *p, struct err *e)
{
	auto_close int fd = -1;

	if (tree_file(t, p, &fd, e) < 0 || unpack_data(u, t, a, entry, fd, p->text, e) < 0 ||
	    finish(fd, entry, p, e) < 0)
		return -1;
	if (close(take_fd(fd)) < 0)
		return err_sys(e, errno, "finish file");
	return 0;
}

static int layer_dir(struct tree *t, struct archive_entry *entry, const struct path *p, struct err *e)
{
	return tree_dir(t, p, e) < 0 ? -1 : finish(t->dir, entry, p, e);
}

static int layer_symlink(struct tree *t, struct archive_entry *entry, const struct path *p, struct err *e)
{
	const char *target = archive_entry_symlink(entry);
	size_t dir_bytes;

	if (!target || !*target || strlen(target) > PATH_BYTES_MAX)
		return err_set(e, ERR_INVALID, "entry '%s': symbolic link to nothing, or too far", p->text);
	if (tree_symlink(t, p, target, e) < 0)
		return -1;
	if (fchownat(t->dir, path_leaf(p, &dir_bytes), (uid_t)archive_entry_uid(entry), (gid_t)archive_entry_gid(entry),
		     AT_SYMLINK_NOFOLLOW) < 0)
		return tree_entry_err(e, p->text, errno, "give it its owner");
	return 0;
}

static int layer_fifo(struct tree *t, struct archive_entry *entry, const struct path *p, struct err *e)
{
	const char *leaf;

	if (tree_make_room(t, p, &leaf, e) < 0)
		return -1;
	if (mknodat(t->dir, leaf, S_IFIFO | (archive_entry_perm(entry) & 0777), 0) < 0 ||
	    fchownat(t->dir, leaf, (uid_t)archive_entry_uid(entry), (gid_t)archive_entry_gid(entry),
		     AT_SYMLINK_NOFOLLOW) < 0)
		return tree_entry_err(e, p->text, errno, "make a named pipe");
	return 0;
}

int layer_take(struct unpack *u, struct tree *t, struct archive *a, struct archive_entry *entry, struct err *e)
{
	const char *hardlink = archive_entry_hardlink(entry);
	struct path p, target;
	int done;

	if (path_clean(archive_entry_pathname(entry), &p, e) < 0)
		return -1;
	done = whiteout(t, &p, e);
	if (done)
		return done < 0 ? -1 : 0;
	if (hardlink)
		return path_clean(hardlink, &target, e) < 0 ? err_wrap(e, "hard link to")
							    : tree_hardlink(t, &p, &target, e);
	if (check_owner(entry, &p, e) < 0)
		return -1;
	switch (archive_entry_filetype(entry)) {
	case AE_IFREG:
		return layer_file(u, t, a, entry, &p, e);
	case AE_IFDIR:
		return layer_dir(t, entry, &p, e);
	case AE_IFLNK:
		return layer_symlink(t, entry, &p, e);
	case AE_IFIFO:
		return layer_fifo(t, entry, &p, e);
	case AE_IFCHR:
	case AE_IFBLK:
		return tree_count(t, e);
	default:
		return err_set(e, ERR_INVALID, "entry '%s': of unknown type", p.text);
	}
}
