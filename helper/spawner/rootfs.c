/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root of a container: an overlay of the image's layers, over them one that has all that is mounted upon as real
 * directories and files (so nothing in an image, a link least of all, decides where a mount goes), and the directory for
 * what the container writes. All of them are shown in its own range of ids. Then /proc, /sys, /dev and the generated
 * files in /etc, as Docker does it.
 *
 * Runs in a copy of the blanks' mount namespace, before anything of the image does, as root of the host; the overlay,
 * like every mount here, belongs to the first user namespace: the container has no right over it.
 */
#include "spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#define NEW_ROOT "/run" /* of the blanks' root */

static const char *const skel_dirs[] = {"proc", "sys", "dev", "etc"};
static const char *const etc_files[] = {"hosts", "resolv.conf", "hostname"};

static const char *const own_dirs[] = {"dev", "etc",	     "empty",  "secrets",
				       "sys", "sys/devices", "sys/fs", "sys/fs/cgroup"};

int rootfs_skel(int dir, struct err *e)
{
	char path[32];

	if (fchown(dir, LAYER_ID_BASE, LAYER_ID_BASE) < 0)
		return err_sys(e, errno, "make containers/skel");
	for (unsigned i = 0; i < ARRAY_SIZE(skel_dirs); i++)
		if (mkdirat(dir, skel_dirs[i], 0755) < 0 ||
		    fchownat(dir, skel_dirs[i], LAYER_ID_BASE, LAYER_ID_BASE, 0) < 0)
			return err_sys(e, errno, "make containers/skel/%s", skel_dirs[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(etc_files); i++) {
		auto_close int fd = -1;

		snprintf(path, sizeof(path), "etc/%s", etc_files[i]);
		fd = openat(dir, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd < 0 || fchown(fd, LAYER_ID_BASE, LAYER_ID_BASE) < 0)
			return err_sys(e, errno, "make containers/skel/%s", path);
	}
	return 0;
}

int rootfs_tree(int dir, int idmap, struct err *e)
{
	struct mount_attr a = {.attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
			       .userns_fd = (uint64_t)idmap};
	int fd = open_tree(dir, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

	if (fd < 0)
		return err_sys(e, errno, "copy a mount");
	if (mount_setattr(fd, "", AT_EMPTY_PATH, &a, sizeof(a)) == 0)
		return fd;
	if (errno == EINVAL)
		err_set(e, ERR_SYS,
			"this file system cannot show files with other owners (idmapped mounts): "
			"ext4, xfs and btrfs can");
	else
		err_sys(e, errno, "map the owners of a layer");
	close(fd);
	return -1;
}

/*
 * overlayfs takes paths, and mounts of our own namespace only: all of them go to one place, and are named by their
 * descriptors. The string may be a page long, so from /proc/self/fd they need no more than their numbers.
 */
static int lay(const struct rootfs *r, struct err *e)
{
	struct statvfs st;
	char opt[4096];
	int n = snprintf(opt, sizeof(opt), "lowerdir=");

	for (unsigned i = r->n_lower; i-- > 0;)
		if (move_mount(r->lower[i], "", AT_FDCWD, "/mnt", MOVE_MOUNT_F_EMPTY_PATH) < 0)
			return err_sys(e, errno, "mount a layer");
		else
			n += snprintf(opt + n, sizeof(opt) - (size_t)n, "%d:", r->lower[i]);
	if (move_mount(r->upper, "", AT_FDCWD, "/mnt", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e, errno, "mount the writable layer");
	/* volatile: what is written goes with the container, so nothing of it need ever reach the disk. */
	snprintf(opt + n - 1, sizeof(opt) - (size_t)n,
		 ",upperdir=%d/upper,workdir=%d/work,userxattr,volatile,index=off", r->upper, r->upper);
	if (chdir("/proc/self/fd") < 0 || mount("overlay", NEW_ROOT, "overlay", MS_NOSUID | MS_NODEV, opt) < 0)
		return err_sys(e, errno, "lay %u layers over each other", r->n_lower);
	/* Without its work directory overlayfs only warns, and gives a root that nobody can write. */
	if (statvfs(NEW_ROOT, &st) < 0 || st.f_flag & ST_RDONLY)
		return err_set(e, ERR_SYS, "overlayfs cannot write in the state directory's file system");
	return 0;
}

static int file_at(int dir, const char *name, const char *text)
{
	auto_close int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	size_t n = strlen(text);

	return fd >= 0 && write(fd, text, n) == (ssize_t)n ? 0 : -1;
}

static int generate_etc(int etc, const struct rootfs *r)
{
	char hosts[256], name[80];

	snprintf(hosts, sizeof(hosts),
		 "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\t%s\n", r->hostname);
	snprintf(name, sizeof(name), "%s\n", r->hostname);
	return file_at(etc, "hosts", hosts) < 0 || file_at(etc, "hostname", name) < 0 ||
			       file_at(etc, "resolv.conf", "nameserver 169.254.100.2\noptions timeout:1 attempts:2\n") <
				       0
		       ? -1
		       : 0;
}

static int fill_dev(int dev, struct err *e)
{
	mode_t old = umask(0);
	int ret = base_dev(dev, e);

	if (!ret && (mknodat(dev, "tty", S_IFCHR | 0666, makedev(5, 0)) < 0 || mkdirat(dev, "pts", 0755) < 0 ||
		     symlinkat("pts/ptmx", dev, "ptmx") < 0))
		ret = err_sys(e, errno, "fill /dev");
	umask(old);
	return ret;
}

/* One tmpfs for all that is made for this container: at /dev for now; its own /dev will cover it. */
static int own_files(const struct rootfs *r, struct err *e)
{
	auto_close int fs = base_tmpfs("64m", "4096", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, e);
	auto_close int dev = -1, etc = -1;

	if (fs < 0)
		return -1;
	for (unsigned i = 0; i < ARRAY_SIZE(own_dirs); i++)
		if (mkdirat(fs, own_dirs[i], 0755) < 0)
			return err_sys(e, errno, "make the files of a container");
	dev = openat(fs, "dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	etc = openat(fs, "etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dev < 0 || etc < 0 || generate_etc(etc, r) < 0)
		return err_sys(e, errno, "make the files of a container");
	if (fill_dev(dev, e) < 0)
		return -1;
	if (move_mount(fs, "", AT_FDCWD, NEW_ROOT "/dev", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e, errno, "mount /dev");
	r->give->own = take_fd(fs);
	return 0;
}

static int read_only(const char *path)
{
	struct mount_attr a = {.attr_set = MOUNT_ATTR_RDONLY};

	return mount_setattr(AT_FDCWD, path, 0, &a, sizeof(a));
}

static int enter(struct err *e)
{
	if (mount(NEW_ROOT "/dev/sys", NEW_ROOT "/sys", NULL, MS_BIND, NULL) < 0 ||
	    mount("/sys/devices", NEW_ROOT "/sys/devices", NULL, MS_BIND, NULL) < 0 || read_only(NEW_ROOT "/sys") < 0)
		return err_sys(e, errno, "mount /sys");
	if (mount("/proc", NEW_ROOT "/proc", NULL, MS_MOVE, NULL) < 0)
		return err_sys(e, errno, "mount /proc");
	if (chdir(NEW_ROOT) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
	    chdir("/") < 0)
		return err_sys(e, errno, "enter the container's root");
	return 0;
}

static int mount_rest(const struct rootfs *r, struct err *e)
{
	char from[64], to[64], opt[96];

	for (unsigned i = 0; i < ARRAY_SIZE(etc_files); i++) {
		snprintf(from, sizeof(from), "/dev/etc/%s", etc_files[i]);
		snprintf(to, sizeof(to), "/etc/%s", etc_files[i]);
		if (mount(from, to, NULL, MS_BIND, NULL) < 0)
			return err_sys(e, errno, "mount %s", to);
	}
	if (!r->writable_proc && mount_mask_proc("/dev/dev/null", "/dev/empty", e) < 0)
		return -1;
	/* The container's own group, as its root: programs look there for their limits. A host with v1 alone has none. */
	if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 &&
	    errno != ENODEV && errno != EBUSY)
		return err_sys(e, errno, "mount /sys/fs/cgroup");
	if (mount("/dev/dev", "/dev", NULL, MS_BIND, NULL) < 0)
		return err_sys(e, errno, "mount /dev");
	snprintf(opt, sizeof(opt), "newinstance,ptmxmode=0666,mode=0620,gid=%u", r->first + 5);
	if (mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, opt) < 0)
		return err_sys(e, errno, "mount /dev/pts");
	if (mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=64m,nr_inodes=65536") <
	    0)
		return err_sys(e, errno, "mount /dev/shm");
	if (give_place(r->give, e) < 0)
		return -1;
	if (r->read_only && read_only("/") < 0)
		return err_sys(e, errno, "make the root read-only");
	return 0;
}

int rootfs_make(const struct rootfs *r, struct err *e)
{
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return err_sys(e, errno, "mount /proc");
	/* overlayfs works as whoever mounts it, and through a mapped mount only the mapped ids can own anything. */
	if (priv_files_as(r->first, e) < 0)
		return -1;
	return lay(r, e) < 0 || own_files(r, e) < 0 || enter(e) < 0 ? -1 : mount_rest(r, e);
}
