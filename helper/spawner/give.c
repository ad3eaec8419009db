/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container is given beside its image: volumes, paths of the host, tmpfs, secrets, devices. In two halves, both
 * before anything of the image runs: mounts can be copied in the spawner's own mount namespace alone, and are put into
 * the container's. Neither half believes a name: those of the host lead through no link, and only to what root has
 * allowed; those in the container are looked up inside of its root, and a mount goes to what was found, not to a name.
 *
 * What is stored carries no range: volumes belong to LAYER_ID_BASE + the id inside. On paths of the host the ids inside
 * are the host's own, so that a container's root is there what root is; hence root's word (grants/).
 */
#include "spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include "wire/init.h"

#define PROC_MAGIC 0x9fa0
#define FILES_MIN  64

bool give_name_ok(const char *n)
{
	size_t len = strspn(n, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.");

	return len && !n[len] && len <= GIVE_NAME_MAX && !strchr("-_.", n[0]);
}

static bool path_ok(const char *p)
{
	do {
		size_t n = strcspn(*p == '/' ? ++p : "", "/");

		if (!n || (p[0] == '.' && (n == 1 || (n == 2 && p[1] == '.'))))
			return false;
		p += n;
	} while (*p);
	return true;
}

static int open_in(int dir, const char *path, uint64_t resolve)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = resolve};
	int fd, tries = 0;

	/* A link with ".." is refused while anything on the host is renamed (openat2(2)). */
	do
		fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
	while (fd < 0 && errno == EAGAIN && ++tries < 1000);
	return fd;
}

int give_dir(const struct spawner *s, const char *name, struct err *e)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/%s", s->config.state_dir, name);
	return state_own_dir(path, 0, s->config.daemon_gid, 0750, e);
}

int give_lock(int volumes, const char *name, int how)
{
	char file[GIVE_NAME_MAX + 2];
	struct stat st, now;
	int fd;

	snprintf(file, sizeof(file), ".%s", name);
	fd = openat(volumes, file, O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd >= 0 && flock(fd, how | LOCK_NB) == 0 && fstat(fd, &st) == 0 &&
	    fstatat(volumes, file, &now, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == now.st_ino)
		return fd;
	close_p(&fd);
	errno = EWOULDBLOCK; /* also when it was just removed */
	return -1;
}

/* ---- the first half ---- */

/* One directory, which nobody else can have put there: who owns it is of the unpacker's range, or it is new. A shared lock
 * that tandem-init holds for as long as there is the container says that it is in use: on a file beside it, for what is in
 * it is the container's, to lock as it likes, and leads nowhere. */
static int take_volume(struct give *g, struct gift *x, struct err *e)
{
	const char *name = x->want.source;
	auto_close int volumes = -1, dir = -1, lock = -1;
	struct stat st;

	if (!give_name_ok(name))
		return err_set(e, ERR_INVALID, "\"%.100s\" is no name of a volume", name);
	volumes = give_dir(g->s, "volumes", e);
	if (volumes < 0)
		return -1;
	lock = give_lock(volumes, name, LOCK_SH);
	if (lock < 0 || fcntl(lock, F_DUPFD, INIT_FD_SECRETS + 1) < 0)
		return err_set(e, ERR_CONFLICT, "the volume %s is being removed", name);
	if (mkdirat(volumes, name, 0755) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make the volume %s", name);
	dir = openat(volumes, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 || fstat(dir, &st) < 0)
		return err_sys(e, errno, "open the volume %s", name);
	x->fresh = st.st_uid == 0;
	if (x->fresh ? fchown(dir, LAYER_ID_BASE, LAYER_ID_BASE) < 0 : st.st_uid - LAYER_ID_BASE >= LAYER_IDS)
		return err_set(e, ERR_DENIED, "the volume %s belongs to somebody else", name);
	x->fd = rootfs_tree(dir, g->idmap, e);
	return x->fd < 0 ? err_wrap(e, "volume %s", name) : 0;
}

/* Entries of grants/ are called as the path is, with ":" for "/", and are files of root. */
static bool granted(const struct give *g, const char *path)
{
	char name[300];
	auto_close int dir = -1;
	struct stat st;

	snprintf(name, sizeof(name), "%s/grants", g->s->config.state_dir);
	dir = open(name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	snprintf(name, sizeof(name), "%s", path);
	for (char *p = name; *p; p++)
		*p = *p == '/' ? ':' : *p;
	for (char *end = name + strlen(name); dir >= 0 && end > name; end = strrchr(name, ':')) {
		*end = 0;
		if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_uid == 0)
			return true;
	}
	return false;
}

static int open_granted(const struct give *g, const char *path, struct stat *ret_st, struct err *e)
{
	int fd = -1;

	if (!path_ok(path) || strchr(path, ':'))
		err_set(e, ERR_INVALID, "\"%.100s\" is no path on the host: absolute, without \".\", \"..\" and \":\"",
			path);
	else if (!granted(g, path))
		err_set(e, ERR_DENIED, "root has not allowed containers %s: \"tandem grant add %s\" does, as root",
			path, path);
	else if ((fd = open_in(AT_FDCWD, path, RESOLVE_NO_SYMLINKS)) < 0 && errno == ELOOP)
		err_set(e, ERR_INVALID, "%s goes through a link: name where it leads", path);
	else if (fd < 0 || fstat(fd, ret_st) < 0)
		err_sys(e, errno, "open %s", path);
	else
		return fd;
	close_p(&fd);
	return -1;
}

static bool same(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

/* Whether the folder dir is that one, or lies below it; also when nobody can tell. */
static bool within(int dir, const struct stat *that)
{
	auto_close int at = openat(dir, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat now, up;

	do {
		int next;

		if (at < 0 || fstat(at, &now) < 0 || same(&now, that))
			return true;
		next = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		close(at);
		at = next;
	} while (at < 0 || fstat(at, &up) < 0 || !same(&up, &now));
	return false;
}

/* Neither the state nor what holds it: who could write there would be the platform. */
static int check_state(const struct give *g, const char *path, int fd, const struct stat *st, struct err *e)
{
	auto_close int state = open(g->s->config.state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC), folder = -1;
	char above[sizeof(((struct spawner_give *)0)->source)];
	struct stat top;

	snprintf(above, sizeof(above), "%.*s", (int)(strrchr(path, '/') - path) + 1, path);
	folder = S_ISDIR(st->st_mode) ? openat(fd, ".", O_PATH | O_CLOEXEC) : open_in(AT_FDCWD, above, 0);
	if (state < 0 || fstat(state, &top) < 0 || within(state, st) || folder < 0 || within(folder, &top))
		return err_set(e, ERR_DENIED, "%s holds Tandem's own state, or lies in it: no container gets that",
			       path);
	return 0;
}

/* The kernel itself refuses what has no owners to map, /proc and /sys among it. */
static int take_host(struct give *g, struct gift *x, struct err *e)
{
	static const char *const never[] = {"/proc", "/sys", "/dev"};
	const char *path = x->want.source;
	struct stat st;
	auto_close int fd = open_granted(g, path, &st, e);

	if (fd < 0)
		return -1;
	for (unsigned i = 0; i < ARRAY_SIZE(never); i++)
		if (!strncmp(path, never[i], strlen(never[i])) && strchr("/", path[strlen(never[i])]))
			return err_set(e, ERR_DENIED, "%s is not given to containers", never[i]);
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISSOCK(st.st_mode))
		return err_set(e, ERR_INVALID, "%s is neither a folder nor a file nor a socket", path);
	if (check_state(g, path, fd, &st, e) < 0)
		return -1;
	x->fd = rootfs_tree(fd, g->userns, e);
	return x->fd < 0 ? err_wrap(e, "%s", path) : 0;
}

static int take_tmpfs(struct give *g, struct gift *x, struct err *e)
{
	return x->want.soft >= 4096 && x->want.soft <= MEMORY_MAX_BYTES
		       ? 0
		       : err_set(e, ERR_INVALID, "no tmpfs is of that size");
}

static int take_secret(struct give *g, struct gift *x, struct err *e)
{
	auto_close int dir = -1;

	if (!give_name_ok(x->want.source))
		return err_set(e, ERR_INVALID, "\"%.100s\" is no name of a secret", x->want.source);
	if (x->want.kind == GIVE_SECRET_ENV && (!x->want.path[0] || strchr(x->want.path, '=')))
		return err_set(e, ERR_INVALID, "\"%.100s\" is no name of a variable", x->want.path);
	dir = give_dir(g->s, "secrets", e);
	if (dir < 0)
		return -1;
	x->fd = openat(dir, x->want.source, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (x->fd < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "there is no secret %s: \"tandem secret set %s\" makes one",
			       x->want.source, x->want.source);
	return x->fd < 0 ? err_sys(e, errno, "open the secret %s", x->want.source) : 0;
}

static int take_device(struct give *g, struct gift *x, struct err *e)
{
	auto_close int fd = -1;

	if (strncmp(x->want.source, "/dev/", 5) || strncmp(x->want.path, "/dev/", 5))
		return err_set(e, ERR_INVALID, "a device is below /dev");
	fd = open_granted(g, x->want.source, &x->st, e);
	if (fd < 0)
		return -1;
	if (!S_ISCHR(x->st.st_mode) && !S_ISBLK(x->st.st_mode))
		return err_set(e, ERR_INVALID, "%s is no device", x->want.source);
	return 0;
}

static int take_limit(struct give *g, struct gift *x, struct err *e)
{
	if (!priv_rlimit_ok(x->want.number) || x->want.soft > x->want.hard)
		return err_set(e, ERR_INVALID, "not a limit that containers have");
	if (x->want.number == RLIMIT_NOFILE && x->want.soft < FILES_MIN)
		return err_set(e, ERR_INVALID, "no container begins with fewer than %d descriptors (nofile)",
			       FILES_MIN);
	return 0;
}

/* ---- the second half ---- */

/* The place of a mount: what is missing on the way there is made. Links of the image, or of a volume that somebody else
 * is changing meanwhile, lead only to where this container could be anyway. */
static int find_place(const char *path, bool dir, struct err *e)
{
	auto_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), at = open("/", O_PATH | O_CLOEXEC);
	char part[sizeof(((struct spawner_give *)0)->path)];
	struct statfs fs;

	for (const char *name = path, *end = path; *end; name = end) {
		int next;

		end = strchrnul(++name, '/');
		snprintf(part, sizeof(part), "%.*s", (int)(end - path), path);
		next = open_in(root, part, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
		if (next < 0 && errno == ENOENT) {
			const char *last = part + (name - path);

			if ((*end || dir ? mkdirat(at, last, 0755) : mknodat(at, last, S_IFREG | 0644, 0)) < 0)
				return err_sys(e, errno, "make %s in the container", part);
			next = open_in(root, part, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
		}
		if (next < 0)
			return err_sys(e, errno, "open %s in the container", part);
		close(at);
		at = next;
	}
	if (fstatfs(at, &fs) < 0 || fs.f_type == PROC_MAGIC)
		return err_set(e, ERR_INVALID, "nothing is mounted in /proc");
	return take_fd(at);
}

static int mount_at(int tree, const char *path, uint64_t attrs, bool fresh, struct err *e)
{
	struct mount_attr a = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | attrs};
	struct stat is, st;
	auto_close int at = -1;

	if (fstat(tree, &is) < 0)
		return err_sys(e, errno, "stat what is to be mounted");
	at = find_place(path, S_ISDIR(is.st_mode), e);
	if (at < 0)
		return -1;
	/* A new volume is as the image has the folder: programs that are not root expect to own it. */
	if (fresh && (fstat(at, &st) < 0 || fchownat(tree, "", st.st_uid, st.st_gid, AT_EMPTY_PATH) < 0 ||
		      fchmodat(tree, ".", st.st_mode & 01777, 0) < 0))
		return err_sys(e, errno, "set the owner of a new volume");
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0 ||
	    move_mount(tree, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_sys(e, errno, "mount %s", path);
	return 0;
}

static int place_tree(struct give *g, struct gift *x, struct err *e)
{
	return mount_at(x->fd, x->want.path, x->want.read_only ? MOUNT_ATTR_RDONLY : 0, x->fresh, e);
}

static int place_tmpfs(struct give *g, struct gift *x, struct err *e)
{
	char size[24], inodes[24];

	snprintf(size, sizeof(size), "%llu", (unsigned long long)x->want.soft);
	snprintf(inodes, sizeof(inodes), "%lu", mount_inodes(x->want.soft));
	x->fd = base_tmpfs(size, inodes, 0, e);
	if (x->fd < 0)
		return -1;
	return fchmodat(x->fd, ".", 01777, 0) < 0 ? err_sys(e, errno, "make a tmpfs") : place_tree(g, x, e);
}

/* ret has room for a NUL more. */
static ssize_t secret_read(struct gift *x, char ret[SECRET_MAX_BYTES + 1], struct err *e)
{
	size_t n = 0;
	ssize_t got = 1;

	while (got > 0 && n <= SECRET_MAX_BYTES) {
		got = pread(x->fd, ret + n, SECRET_MAX_BYTES + 1 - n, (off_t)n);
		n += got > 0 ? (size_t)got : 0;
	}
	if (got < 0 || n > SECRET_MAX_BYTES)
		return err_set(e, ERR_CORRUPT, "the secret %s cannot be read", x->want.source);
	if (x->want.kind == GIVE_SECRET_ENV && memchr(ret, 0, n))
		return err_set(e, ERR_INVALID, "the secret %s holds a NUL: it can be a file only", x->want.source);
	ret[n] = 0;
	return (ssize_t)n;
}

/* On the tmpfs of the container's own files, which only memory holds: "env", and files that are shown where they were
 * asked for. tandem-init gives these to the user, whom it alone knows (init/run.c). */
static int place_secret(struct give *g, struct gift *x, struct err *e)
{
	char value[SECRET_MAX_BYTES + 1], name[16] = "env", path[32];
	bool env = x->want.kind == GIVE_SECRET_ENV;
	ssize_t n = secret_read(x, value, e);
	auto_close int fd = -1, tree = -1;

	if (n < 0)
		return -1;
	if (g->secrets < 0) {
		g->secrets = openat(g->own, "secrets", O_PATH | O_DIRECTORY | O_CLOEXEC);
		(void)dup2(g->secrets, INIT_FD_SECRETS);
	}
	if (!env)
		snprintf(name, sizeof(name), "%u", g->n_files++);
	fd = openat(g->secrets, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0400);
	if (fd < 0 || (env && dprintf(fd, "%s=", x->want.path) < 0) || write(fd, value, (size_t)n + env) != n + env)
		return err_sys(e, errno, "give the secret %s", x->want.source);
	if (env)
		return 0;
	snprintf(path, sizeof(path), "secrets/%s", name);
	tree = open_tree(g->own, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		return err_sys(e, errno, "give the secret %s", x->want.source);
	return mount_at(tree, x->want.path, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC, false, e);
}

/*
 * A node in the container's own /dev, which is the one file system in its reach that shows devices: it can mount none,
 * all others are nodev, and mknod is no right of its user namespace. So no group of devices is needed.
 */
static int place_device(struct give *g, struct gift *x, struct err *e)
{
	const char *path = x->want.path + 1; /* of own, where nothing of the image is */
	char part[sizeof(x->want.path)];

	for (const char *end = strchr(path + 4, '/'); end; end = strchr(end + 1, '/')) {
		auto_close int at = -1;

		snprintf(part, sizeof(part), "%.*s", (int)(end - path), path);
		/* /dev/fd is a link to what we have open ourselves. */
		if ((mkdirat(g->own, part, 0755) < 0 && errno != EEXIST) ||
		    (at = open_in(g->own, part, RESOLVE_NO_SYMLINKS)) < 0)
			return err_sys(e, errno, "make /%s", part);
	}
	if (mknodat(g->own, path, (x->st.st_mode & S_IFMT) | 0600, x->st.st_rdev) < 0 ||
	    fchmodat(g->own, path, x->st.st_mode & 0666, 0) < 0)
		return err_sys(e, errno, "make /%s", path);
	return 0;
}

static int place_limit(struct give *g, struct gift *x, struct err *e)
{
	return priv_rlimit(x->want.number, x->want.soft, x->want.hard, e);
}

static const struct {
	int (*take)(struct give *g, struct gift *x, struct err *e);
	int (*place)(struct give *g, struct gift *x, struct err *e);
	bool has_path;
} kinds[GIVE_N] = {
	[GIVE_VOLUME] = {take_volume, place_tree, true}, [GIVE_HOST] = {take_host, place_tree, true},
	[GIVE_TMPFS] = {take_tmpfs, place_tmpfs, true},	 [GIVE_SECRET] = {take_secret, place_secret, true},
	[GIVE_SECRET_ENV] = {take_secret, place_secret}, [GIVE_DEVICE] = {take_device, place_device, true},
	[GIVE_LIMIT] = {take_limit, place_limit},
};

/* Copied before it is looked at: tandemd may be writing into it still. */
int give_take(struct give *g, int list, struct err *e)
{
	for (unsigned i = 0; i < g->n; i++) {
		struct gift *x = &g->gift[i];
		struct spawner_give *w = &x->want;

		if (pread(list, w, sizeof(*w), (off_t)(i * sizeof(*w))) != sizeof(*w))
			return err_set(e, ERR_INVALID, "the list of what the container is given is cut off");
		w->source[sizeof(w->source) - 1] = w->path[sizeof(w->path) - 1] = 0;
		if (w->kind >= GIVE_N || (kinds[w->kind].has_path && !path_ok(w->path)))
			return err_set(e, ERR_INVALID, "\"%.100s\" is no path: absolute, without \".\" and \"..\"",
				       w->path);
		if (kinds[w->kind].take(g, x, e) < 0)
			return -1;
	}
	return 0;
}

int give_place(struct give *g, struct err *e)
{
	for (unsigned i = 0; i < g->n; i++)
		if (kinds[g->gift[i].want.kind].place(g, &g->gift[i], e) < 0)
			return -1;
	return 0;
}
