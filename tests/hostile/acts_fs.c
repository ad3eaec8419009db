/* SPDX-License-Identifier: Apache-2.0 */
/* Acts on files, mounts and devices. */
#include "acts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* sys/mount.h and linux/mount.h do not go together in glibc 2.36. */
int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);
int umount2(const char *target, int flags);

static int act_write_in(char **arg)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/.hostile", arg[0]);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return refused(path);
	close(fd);
	unlink(path);
	return ACT_DONE;
}

/* Opened only: what is in there stays as it is. */
static int act_open_write(char **arg)
{
	return outcome(open(arg[0], O_WRONLY), arg[0]);
}

static int act_chmod(char **arg)
{
	struct stat st;

	return stat(arg[0], &st) < 0 ? refused(arg[0]) : outcome(chmod(arg[0], st.st_mode & 07777), arg[0]);
}

static int act_read_file(char **arg)
{
	char c;
	int fd = open(arg[0], O_RDONLY | O_NONBLOCK);

	if (fd < 0)
		return refused(arg[0]);
	errno = ENODATA;
	return outcome(read(fd, &c, 1) == 1 ? 0 : -1, arg[0]);
}

/* That it has entries. */
static int act_list(char **arg)
{
	DIR *d = opendir(arg[0]);
	struct dirent *de;

	if (!d)
		return refused(arg[0]);
	while ((de = readdir(d)))
		if (strcmp(de->d_name, ".") && strcmp(de->d_name, ".."))
			return ACT_DONE;
	errno = ENOENT;
	return refused(arg[0]);
}

static int act_see_path(char **arg)
{
	struct stat st;

	return outcome(lstat(arg[0], &st), arg[0]);
}

static int act_read_link(char **arg)
{
	char to[512];

	return outcome(readlink(arg[0], to, sizeof(to)), arg[0]);
}

static int act_fill(char **arg)
{
	static char part[65536];
	char path[512];
	long want = number(arg[1]), put = 0;
	ssize_t n = 0;
	int fd, saved;

	snprintf(path, sizeof(path), "%s/fill", arg[0]);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return broken(path);
	while (put < want && (n = write(fd, part, sizeof(part))) > 0)
		put += n;
	saved = errno;
	unlink(path);
	errno = saved;
	if (n > 0)
		return ACT_DONE;
	printf("%ld bytes; ", put);
	return refused(path);
}

static int act_fill_inodes(char **arg)
{
	char path[512];

	for (long i = 0; i < number(arg[1]); i++) {
		snprintf(path, sizeof(path), "%s/i%ld", arg[0], i);
		if (mknod(path, S_IFREG | 0600, 0) < 0)
			return refused(path);
	}
	return ACT_DONE;
}

/* A file of our own that its mode shuts to us: only CAP_DAC_OVERRIDE opens it. */
static int act_override_mode(char **arg)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/shut", arg[0]);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0);
	if (fd < 0)
		return broken(path);
	close(fd);
	return outcome(open(path, O_RDWR), path);
}

/* The host's owners shine through: ids are the host's own. */
static int act_host_ids(char **arg)
{
	struct stat st;

	if (stat("/usr", &st) < 0)
		return broken("/usr");
	errno = EOVERFLOW;
	return outcome(st.st_uid == 0 ? 0 : -1, "to see files of the host's root as such");
}

static int act_euid_differs(char **arg)
{
	printf("uid %d, euid %d\n", (int)getuid(), (int)geteuid());
	return geteuid() != getuid() ? ACT_DONE : ACT_REFUSED;
}

static int act_run_suid(char **arg)
{
	execl(arg[0], arg[0], "euid_differs", (char *)NULL);
	return refused(arg[0]);
}

static int act_setuid(char **arg)
{
	return outcome(setuid((uid_t)number(arg[0])), "setuid");
}

static int act_chown(char **arg)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/own", arg[0]);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	return fd < 0 ? broken(path) : outcome(fchown(fd, 0, 0), "chown");
}

static int act_mknod(char **arg)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/node", arg[0]);
	return outcome(mknod(path, S_IFCHR | 0600, makedev(1, 3)), path);
}

static int act_mount(char **arg)
{
	return outcome(mount("tmpfs", arg[0], "tmpfs", 0, NULL), "mount");
}

static int act_bind(char **arg)
{
	return outcome(mount("/usr", arg[0], NULL, 4096 /* MS_BIND */, NULL), "bind mount");
}

static int act_remount(char **arg)
{
	return outcome(mount(NULL, arg[0], NULL, 4096 | 32 /* MS_BIND | MS_REMOUNT */, NULL), "remount");
}

static int act_umount(char **arg)
{
	return outcome(umount2(arg[0], 2 /* MNT_DETACH */), "umount2");
}

static int act_fsopen(char **arg)
{
	return outcome(syscall(SYS_fsopen, "tmpfs", 0), "fsopen");
}

static int act_open_tree(char **arg)
{
	return outcome(syscall(SYS_open_tree, AT_FDCWD, arg[0], OPEN_TREE_CLONE), "open_tree");
}

static int act_mount_setattr(char **arg)
{
	struct mount_attr a = {.attr_clr = MOUNT_ATTR_NOSUID};

	return outcome(syscall(SYS_mount_setattr, AT_FDCWD, arg[0], 0, &a, sizeof(a)), "mount_setattr");
}

static int act_pivot_root(char **arg)
{
	if (chdir(arg[0]) < 0)
		return broken(arg[0]);
	return outcome(syscall(SYS_pivot_root, ".", "."), "pivot_root");
}

static int act_chroot(char **arg)
{
	return outcome(chroot(arg[0]), "chroot");
}

/* The handle of a file, and the file by its handle: from there to any file of the file system it is a guess. */
static int act_by_handle(char **arg)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + 128];
	} u = {.h = {.handle_bytes = 128}};
	int id, at = open(arg[0], O_RDONLY | O_DIRECTORY);

	if (at < 0)
		return broken(arg[0]);
	if (name_to_handle_at(AT_FDCWD, arg[0], &u.h, &id, 0) < 0)
		return refused("name_to_handle_at");
	return outcome(open_by_handle_at(at, &u.h, O_RDONLY), "open_by_handle_at");
}

static int steal_terminal(void *arg)
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY), slave = 0, zero = 0;
	char c = '\n', name[32];
	unsigned n;

	if (master >= 0 && ioctl(master, TIOCSPTLCK, &zero) == 0 && ioctl(master, TIOCGPTN, &n) == 0) {
		snprintf(name, sizeof(name), "/dev/pts/%u", n);
		setsid();
		slave = open(name, O_RDWR);
		if (slave < 0)
			return broken(name);
		(void)ioctl(slave, TIOCSCTTY, 0);
	}
	return outcome(ioctl(slave, TIOCSTI, &c), "ioctl(TIOCSTI)");
}

static int act_type_into_terminal(char **arg)
{
	return in_child(steal_terminal, NULL);
}

static int act_set_host_name(char **arg)
{
	return outcome(syscall(SYS_sethostname, "hostile", 7), "sethostname");
}

const struct act acts_fs[] = {
	ACT(write_in, 1),
	ACT(open_write, 1),
	ACT(chmod, 1),
	ACT(read_file, 1),
	ACT(list, 1),
	ACT(see_path, 1),
	ACT(read_link, 1),
	ACT(fill, 2),
	ACT(fill_inodes, 2),
	ACT(override_mode, 1),
	ACT(host_ids, 0),
	ACT(run_suid, 1),
	ACT(euid_differs, 0),
	ACT(setuid, 1),
	ACT(chown, 1),
	ACT(mknod, 1),
	ACT(mount, 1),
	ACT(bind, 1),
	ACT(remount, 1),
	ACT(umount, 1),
	ACT(fsopen, 0),
	ACT(open_tree, 1),
	ACT(mount_setattr, 1),
	ACT(pivot_root, 1),
	ACT(chroot, 1),
	ACT(by_handle, 1),
	ACT(type_into_terminal, 0),
	ACT(set_host_name, 0),
	{0},
};
