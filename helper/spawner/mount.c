/* SPDX-License-Identifier: Apache-2.0 */
/* Mounts of one sandbox: what differs from blank to blank, and the code when it is assigned. */
#include "spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "base/limits.h"

#define SHM_SIZE "64m"

/* Docker's lists. */
static const char *const masked_files[] = {"/proc/kcore",      "/proc/keys",	    "/proc/latency_stats",
					   "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
					   "/proc/interrupts"};
static const char *const masked_dirs[] = {"/proc/acpi", "/proc/asound", "/proc/scsi"};
static const char *const read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};

void mount_list_proc(FILE *to)
{
	fprintf(to, "\"maskedPaths\":[");
	for (unsigned i = 0; i < ARRAY_SIZE(masked_files); i++)
		fprintf(to, "\"%s\",", masked_files[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(masked_dirs); i++)
		fprintf(to, "%s\"%s\"", i ? "," : "", masked_dirs[i]);
	fprintf(to, "],\"readonlyPaths\":[");
	for (unsigned i = 0; i < ARRAY_SIZE(read_only); i++)
		fprintf(to, "%s\"%s\"", i ? "," : "", read_only[i]);
	fprintf(to, "],");
}

int mount_mask_proc(const char *null, const char *empty, struct err *e)
{
	struct mount_attr ro = {.attr_set =
					MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};

	for (unsigned i = 0; i < ARRAY_SIZE(masked_files); i++)
		if (mount(null, masked_files[i], NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
			return err_sys(e, errno, "mask %s", masked_files[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(masked_dirs); i++)
		if (mount(empty, masked_dirs[i], NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
			return err_sys(e, errno, "mask %s", masked_dirs[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(read_only); i++) {
		if (mount(read_only[i], read_only[i], NULL, MS_BIND, NULL) < 0) {
			if (errno == ENOENT)
				continue;
			return err_sys(e, errno, "bind %s", read_only[i]);
		}
		if (mount_setattr(AT_FDCWD, read_only[i], 0, &ro, sizeof(ro)) < 0)
			return err_sys(e, errno, "make %s read-only", read_only[i]);
	}
	return 0;
}

/* tmpfs inodes are kernel memory that the size does not bound: one per 4 KiB of small sizes, 65,536 at most for large
 * ones. */
unsigned long mount_inodes(uint64_t bytes)
{
	uint64_t n = bytes / 4096;

	return (unsigned long)(n < 1024 ? 1024 : n > 65536 ? 65536 : n);
}

int mount_blank(uint64_t tmp_bytes, bool no_tmp_size, struct err *e)
{
	char opt[96];

	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return err_sys(e, errno, "mount /proc");
	if (mount_mask_proc("/dev/null", "/mnt", e) < 0)
		return -1;
	if (no_tmp_size)
		snprintf(opt, sizeof(opt), "mode=1777,size=0");
	else
		snprintf(opt, sizeof(opt), "mode=1777,size=%llu,nr_inodes=%lu", (unsigned long long)tmp_bytes,
			 mount_inodes(tmp_bytes));
	if (mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, opt) < 0)
		return err_sys(e, errno, "mount /tmp");
	if (mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "mode=1777,size=" SHM_SIZE ",nr_inodes=4096") < 0)
		return err_sys(e, errno, "mount /dev/shm");
	return 0;
}

#define CODE_ATTRS (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

static int check_owner(int dir, uint32_t owner, struct err *e)
{
	struct stat st;

	if (fstat(dir, &st) < 0)
		return err_sys(e, errno, "stat the code directory");
	if (!S_ISDIR(st.st_mode) || st.st_uid != owner)
		return err_set(e, ERR_DENIED, "what is to be mounted is not a directory of tandemd's user");
	return 0;
}

int mount_code_tree(int dir, uint32_t owner, struct err *e)
{
	struct mount_attr a = {.attr_set = CODE_ATTRS};
	int fd;

	if (check_owner(dir, owner, e) < 0)
		return -1;
	fd = open_tree(dir, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (fd < 0)
		return err_sys(e, errno, "copy the mount of the code directory");
	if (mount_setattr(fd, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0) {
		err_sys(e, errno, "make the code directory read-only");
		close(fd);
		return -1;
	}
	return fd;
}

/*
 * An overlay without an upper folder. What overlayfs would obey in a layer (white-outs are devices, its attributes are
 * in trusted.*) cannot be there: tandem-unpack makes neither, and runs without the right to.
 */
int mount_layers(const int *dirs, unsigned n, uint32_t owner, struct err *e)
{
	auto_close int fs = -1;
	char lower[LIM_LAYERS * 32] = "";
	int fd;

	if (n == 1)
		return mount_code_tree(dirs[0], owner, e);
	for (unsigned i = n; i-- > 0;) { /* overlayfs names the topmost first */
		if (check_owner(dirs[i], owner, e) < 0)
			return -1;
		snprintf(lower + strlen(lower), sizeof(lower) - strlen(lower), "%s/proc/self/fd/%d",
			 lower[0] ? ":" : "", dirs[i]);
	}
	fs = fsopen("overlay", FSOPEN_CLOEXEC);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", "layers", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir", lower, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_sys(e, errno, "lay %u layers over each other", n);
	fd = fsmount(fs, FSMOUNT_CLOEXEC, CODE_ATTRS);
	return fd < 0 ? err_sys(e, errno, "mount the layers") : fd;
}

struct assign {
	int pidfd, task, opt;
	uint64_t tmp_bytes; /* 0: as it is */
	int sys;
	const char *step;
};

static int resize_tmp(uint64_t bytes)
{
	char size[24], inodes[24];
	auto_close int fs = fspick(AT_FDCWD, "/tmp", FSPICK_CLOEXEC);

	snprintf(size, sizeof(size), "%llu", (unsigned long long)bytes);
	snprintf(inodes, sizeof(inodes), "%lu", mount_inodes(bytes));
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", size, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", inodes, 0) < 0)
		return -1;
	return fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0);
}

static int assign_child(void *arg)
{
	struct assign *a = arg;

	a->step = "enter the sandbox";
	if (setns(a->pidfd, CLONE_NEWNS) < 0)
		goto failed;
	a->step = "mount /var/task";
	if (move_mount(a->task, "", AT_FDCWD, "/var/task", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		goto failed;
	a->step = "mount /opt";
	if (a->opt >= 0 && move_mount(a->opt, "", AT_FDCWD, "/opt", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		goto failed;
	a->step = "resize /tmp";
	if (a->tmp_bytes && resize_tmp(a->tmp_bytes) < 0)
		goto failed;
	_exit(0);
failed:
	a->sys = errno;
	_exit(1);
}

/*
 * A child that shares our memory and stops us until it is gone (vfork): it alone enters the sandbox's mount namespace,
 * so the spawner itself can never be left in one. The blank's own processes cannot interfere: the root is read-only to
 * them and they have no right in the mount namespace.
 */
int mount_assign(int pidfd, int task_tree, int opt_tree, uint64_t tmp_bytes, struct err *e)
{
	static _Alignas(16) char stack[32768];
	struct assign a = {.pidfd = pidfd, .task = task_tree, .opt = opt_tree, .tmp_bytes = tmp_bytes, .step = "clone"};
	sigset_t all, old;
	int status;
	pid_t pid;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old); /* no handler of ours may run on that stack */
	/* Descriptors are not copied: to copy and close a thousand sandboxes' takes 4 ms. The child leaves none open. */
	pid = clone(assign_child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, &a);
	if (pid < 0)
		a.sys = errno;
	else
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	sigprocmask(SIG_SETMASK, &old, NULL);
	return a.sys ? err_sys(e, a.sys, "%s", a.step) : 0;
}
