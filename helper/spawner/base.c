/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all sandboxes share, made once at start:
 *  - a mount namespace that holds nothing but a blank's root file system; a blank copies that small namespace
 *    (unshare), so no path of the host is ever mounted in it and there is no old root to get rid of;
 *  - a time namespace whose monotonic and boot clocks follow the wall clock;
 *  - tandem-init in a memory file that sandboxes may execute but not read: the kernel then makes it not dumpable.
 */
#include "spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include "base/io.h"

static const char *const dirs[] = {
	"usr", "proc", "sys", "sys/devices", "sys/devices/system", "sys/devices/system/cpu",
	"dev", "tmp",  "var", "var/task",    "var/runtime",	   "opt",
	"run", "mnt", /* mnt stays empty: what hides things is a bind of it */
};
static const char *const links[] = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"}; /* as the host has them */

static const struct {
	const char *name;
	unsigned minor;
} nodes[] = {{"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}};

static const struct {
	const char *name, *to;
} dev_links[] = {{"fd", "/proc/self/fd"},
		 {"stdin", "/proc/self/fd/0"},
		 {"stdout", "/proc/self/fd/1"},
		 {"stderr", "/proc/self/fd/2"}};

int base_tmpfs(const char *size, const char *inodes, unsigned attrs, struct err *e)
{
	auto_close int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int m;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", size, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", inodes, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_sys(e, errno, "make a tmpfs");
	m = fsmount(fs, FSMOUNT_CLOEXEC, attrs);
	return m < 0 ? err_sys(e, errno, "mount a tmpfs") : m;
}

static int skeleton(int root, const char *state_dir, bool writable, struct err *e)
{
	char text[256];
	ssize_t n;
	auto_close int in = -1, out = -1;

	for (unsigned i = 0; i < ARRAY_SIZE(dirs); i++)
		if (mkdirat(root, dirs[i], 0755) < 0)
			return err_sys(e, errno, "make %s", dirs[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(links); i++) {
		snprintf(text, sizeof(text), "/%s", links[i]);
		char to[256];

		n = readlink(text, to, sizeof(to) - 1);
		if (n <= 0)
			continue;
		to[n] = 0;
		if (symlinkat(to, root, links[i]) < 0)
			return err_sys(e, errno, "link %s", links[i]);
	}
	if (symlinkat("/tmp", root, "var/tmp") < 0)
		return err_sys(e, errno, "link var/tmp");
	in = open("/sys/devices/system/cpu/online", O_RDONLY | O_CLOEXEC);
	out = openat(root, "sys/devices/system/cpu/online", O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
	n = in < 0 ? -1 : read(in, text, sizeof(text));
	if (out < 0 || (n > 0 && write(out, text, (size_t)n) != n))
		return err_sys(e, errno, "write sys/devices/system/cpu/online");
	if (writable &&
	    fchmodat(root, ".", 0777, 0) < 0) /* LAYER_NO_RO_ROOT: modes would keep it from being written too */
		return err_sys(e, errno, "open the root to all");
	return etc_make(root, state_dir, e);
}

int base_dev(int dev, struct err *e)
{
	mode_t old = umask(0);
	int ret = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(nodes) && !ret; i++)
		ret = mknodat(dev, nodes[i].name, S_IFCHR | 0666, makedev(1, nodes[i].minor));
	for (unsigned i = 0; i < ARRAY_SIZE(dev_links) && !ret; i++)
		ret = symlinkat(dev_links[i].to, dev, dev_links[i].name);
	if (!ret)
		ret = mkdirat(dev, "shm", 0755);
	if (ret)
		err_sys(e, errno, "fill dev");
	umask(old);
	return ret;
}

/* A copy of the mounts at path, never writable, without set-user-id programs and devices. */
static int tree_of(const char *path, bool recursive, struct err *e)
{
	struct mount_attr a = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
	unsigned rec = recursive ? AT_RECURSIVE : 0;
	int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | rec);

	if (fd < 0)
		return err_sys(e, errno, "copy the mount of %s", path);
	if (mount_setattr(fd, "", AT_EMPTY_PATH | rec, &a, sizeof(a)) < 0) {
		err_sys(e, errno, "make %s read-only", path);
		close(fd);
		return -1;
	}
	return fd;
}

static int put(int tree, int root, const char *at, struct err *e)
{
	return move_mount(tree, "", root, at, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? err_sys(e, errno, "mount %s", at) : 0;
}

static int bind_empty(const char *at, struct err *e)
{
	struct stat st;

	if (stat(at, &st) < 0)
		return 0;
	return mount("/mnt", at, NULL, MS_BIND, NULL) < 0 ? err_sys(e, errno, "hide %s", at) : 0;
}

/* In a private mount namespace of our own: after it, this namespace is the template. */
static int build(const struct serve_config *c, struct stat *ret_root, struct err *e)
{
	struct mount_attr ro = {.attr_set = MOUNT_ATTR_RDONLY};
	char shim[300];
	bool writable = c->no_layer == LAYER_NO_RO_ROOT;
	auto_close int root = -1, dev = -1, usr = -1, runtime = -1;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_sys(e, errno, "make a mount namespace");
	root = base_tmpfs("64m", "20000", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, e);
	if (root < 0 || skeleton(root, c->state_dir, writable, e) < 0)
		return -1;
	dev = base_tmpfs("64k", "64", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, e);
	if (dev < 0 || base_dev(dev, e) < 0)
		return -1;
	usr = tree_of("/usr", true, e);
	snprintf(shim, sizeof(shim), "%s/shim", c->libexec_dir);
	runtime = access(shim, F_OK) < 0 ? -1 : tree_of(shim, false, e);
	if (usr < 0 || (runtime < 0 && access(shim, F_OK) == 0))
		return -1;
	if (put(root, AT_FDCWD, c->state_dir, e) < 0 || put(usr, root, "usr", e) < 0 || put(dev, root, "dev", e) < 0 ||
	    (runtime >= 0 && put(runtime, root, "var/runtime", e) < 0))
		return -1;
	if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return err_sys(e, errno, "enter the root of sandboxes");
	if (bind_empty("/usr/local", e) < 0)
		return -1;
	if (!writable && mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &ro, sizeof(ro)) < 0)
		return err_sys(e, errno, "make the root read-only");
	if (stat("/", ret_root) < 0)
		return err_sys(e, errno, "stat the root");
	return 0;
}

struct built {
	struct err err;
	dev_t dev;
	ino_t ino;
	int ok;
};

/* Runs build in a child, and takes its mount namespace (kept alive by the descriptor). */
static int make_mntns(const struct serve_config *c, struct base *ret, struct err *e)
{
	struct built b = {.ok = 0};
	struct stat st = {0};
	char path[64];
	int pair[2], fd, status;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, errno, "socketpair");
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		b.ok = build(c, &st, &b.err) == 0;
		b.dev = st.st_dev, b.ino = st.st_ino;
		(void)!write(pair[1], &b, sizeof(b));
		(void)!read(pair[1], &b, 1); /* until the parent has taken the namespace */
		_exit(0);
	}
	close(pair[1]);
	if (pid < 0 || read(pair[0], &b, sizeof(b)) != sizeof(b))
		err_set(&b.err, ERR_SYS, "the child that makes the root of sandboxes is gone");
	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	fd = b.ok ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (b.ok && fd < 0)
		err_sys(&b.err, errno, "open %s", path);
	close(pair[0]);
	if (pid > 0)
		waitpid(pid, &status, 0);
	if (fd < 0)
		return err_set(e, b.err.kind, "root file system of sandboxes: %s", b.err.text);
	ret->root_dev = b.dev;
	ret->root_ino = b.ino;
	return fd;
}

/* Offsets can only be written before the first process is in: the child asks for the namespace, we open it for its
 * children. */
static int make_timens(void)
{
	struct timespec wall, mono, boot;
	char path[64], text[128];
	int pair[2], fd = -1, out, status;
	char c = 0;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		c = unshare(CLONE_NEWTIME) == 0;
		clock_gettime(CLOCK_REALTIME, &wall);
		clock_gettime(CLOCK_MONOTONIC, &mono);
		clock_gettime(CLOCK_BOOTTIME, &boot);
		snprintf(text, sizeof(text), "monotonic %lld 0\nboottime %lld 0\n",
			 (long long)(wall.tv_sec - mono.tv_sec), (long long)(wall.tv_sec - boot.tv_sec));
		out = c ? open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC) : -1;
		c = out >= 0 && write(out, text, strlen(text)) == (ssize_t)strlen(text);
		(void)!write(pair[1], &c, 1);
		(void)!read(pair[1], &c, 1);
		_exit(0);
	}
	close(pair[1]);
	if (pid > 0 && read(pair[0], &c, 1) == 1 && c) {
		snprintf(path, sizeof(path), "/proc/%d/ns/time_for_children", (int)pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	close(pair[0]);
	if (pid > 0)
		waitpid(pid, &status, 0);
	return fd;
}

static int load_init(const struct serve_config *c, struct err *e)
{
	char path[300], part[65536];
	ssize_t got;
	int ret;
	auto_close int in = -1, mem = -1;

	snprintf(path, sizeof(path), "%s/tandem-init", c->libexec_dir);
	in = open(path, O_RDONLY | O_CLOEXEC);
	if (in < 0)
		return err_sys(e, errno, "open %s", path);
	mem = memfd_create("tandem-init", MFD_CLOEXEC);
	if (mem < 0)
		return err_sys(e, errno, "memfd_create");
	while ((got = read(in, part, sizeof(part))) > 0)
		if (io_write_all(mem, part, (size_t)got, e) < 0)
			return -1;
	if (got < 0)
		return err_sys(e, errno, "read %s", path);
	/* Not readable by a sandbox: its exec is then not dumpable from the first instruction (would_dump in the
	 * kernel's fs/exec.c). */
	if (fchmod(mem, c->no_layer == LAYER_NO_DUMPABLE ? 0555 : 0111) < 0)
		return err_sys(e, errno, "chmod tandem-init");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", mem);
	ret = open(path, O_PATH | O_CLOEXEC); /* a file that is open for writing cannot be executed */
	return ret < 0 ? err_sys(e, errno, "open tandem-init again") : ret;
}

int base_make(const struct serve_config *c, struct base *ret, struct err *e)
{
	struct base b = {.mntns = -1, .timens = -1, .init_exe = -1};

	b.mntns = make_mntns(c, &b, e);
	if (b.mntns < 0)
		return -1;
	b.init_exe = load_init(c, e);
	if (b.init_exe < 0) {
		close(b.mntns);
		return -1;
	}
	b.timens = make_timens();
	*ret = b;
	return 0;
}
