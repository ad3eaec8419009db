/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container in an OCI runtime's hands, for those who want theirs: everything around it is as ever (blank.c,
 * container.c), and at the end, where the child would give up its rights, it becomes the runtime instead. That makes the
 * user, pid and mount namespace, and starts tandem-init there, so whoever talks to the container notices nothing. The
 * runtime is process 1 of an outer pid namespace: its end, asked for or not, is the end of all.
 *
 * It works in a copy of the host's mounts, which goes with it: in RUN_DIR a tmpfs with config.json, the container's root
 * as rootfs.c made it, and the runtime's own notes; on /sys/fs/cgroup its own group alone, so that it touches no other.
 * What it is told is written here, from numbers: nothing that tandemd says gets into it.
 */
#include "spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/io.h"
#include "wire/fds.h"
#include "wire/init.h"

static const struct {
	const char *path, *option,
		*mounts; /* the last: /dev is there already, which each wants to hear in its own way */
} runtimes[SPAWNER_RUNTIMES] = {
	[SPAWNER_CRUN] = {"/usr/bin/crun", "--cgroup-manager=disabled", ""},
	[SPAWNER_RUNC] = {"/usr/sbin/runc", "--log-format=text",
			  ",{\"destination\":\"/dev\",\"type\":\"bind\",\"source\":\"" RUN_DIR "/root/dev\","
			  "\"options\":[\"rbind\"]}"},
};

int oci_check(unsigned runtime, struct err *e)
{
	if (runtime >= SPAWNER_RUNTIMES)
		return err_set(e, ERR_INVALID, "there is no such runtime");
	if (runtime && access(runtimes[runtime].path, X_OK) < 0)
		return err_set(e, ERR_UNAVAILABLE, "%s is not installed on this host", runtimes[runtime].path);
	return 0;
}

/* How the container looks to the runtime, whose root is there already: only /proc has to be of its own pid namespace. */
static int write_config(int dir, const struct blank *b, char *const *argv)
{
	const uint64_t keep = b->container->caps | CAPS_INIT;
	const char *sep = "";
	char list[1024] = "";
	struct rlimit files;
	FILE *f = fdopen(openat(dir, "config.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), "w");

	for (unsigned i = 0; i < CAPS_N; i++) {
		if (!(keep >> i & 1))
			continue;
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s\"CAP_%s\"", sep, cap_name[i]);
		sep = ",";
	}
	if (!f || getrlimit(RLIMIT_NOFILE, &files) < 0) /* a runtime in Go raises it for itself */
		return -1;
	fprintf(f,
		"{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"root\"},\"process\":{\"user\":{\"uid\":0,\"gid\":0},");
	fprintf(f, "\"cwd\":\"/\",\"noNewPrivileges\":true,\"args\":[\"/proc/self/fd/%d\",\"runtime\",\"%s\",\"%s\"],",
		INIT_FD_EXE, argv[2], argv[3] ? argv[3] : "");
	fprintf(f, "\"capabilities\":{\"bounding\":[%s],\"permitted\":[%s],\"effective\":[%s]},", list, list, list);
	fprintf(f, "\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":%llu,\"hard\":%llu}]},",
		(unsigned long long)files.rlim_cur, (unsigned long long)files.rlim_max);
	fprintf(f, "\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\",\"options\":");
	fprintf(f, "[\"nosuid\",\"nodev\",\"noexec\"]}%s],\"linux\":{", runtimes[b->container->runtime].mounts);
	for (unsigned i = 0; i < 2; i++)
		fprintf(f, "\"%cidMappings\":[{\"containerID\":0,\"hostID\":%u,\"size\":%u}],", "ug"[i], b -> uid,
			LAYER_IDS);
	mount_list_proc(f);
	fprintf(f,
		"\"resources\":{\"devices\":[{\"allow\":true,\"access\":\"rwm\"}]},\"namespaces\":[{\"type\":\"pid\"},"
		"{\"type\":\"mount\"},{\"type\":\"user\"}]}}\n");
	return fclose(f);
}

/* What tandem-init is to hold lies at high numbers, which a runtime does not pass on. */
static int send_held(int *ret, struct err *e)
{
	int p[2], fds[FDS_MAX];
	unsigned n = 0;
	char secrets = fcntl(INIT_FD_SECRETS, F_GETFD) >= 0;
	struct rlimit files;

	for (int fd = INIT_FD_SECRETS; n < FDS_MAX && fd < INIT_FD_SECRETS + FDS_MAX; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			fds[n++] = fd;
	/* Ours lie there from before the limit was set; there they have to be put there again. */
	if (n && (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur <= INIT_FD_SECRETS + n))
		return err_set(e, ERR_INVALID,
			       "under a runtime volumes and secrets take %u descriptors or more (nofile)",
			       INIT_FD_SECRETS + n + 1);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p) < 0 || fds_send(p[0], &secrets, 1, fds, n, 0) < 0)
		return err_sys(e, errno, "hand on what the container holds");
	(void)close_range(INIT_FD_SECRETS, ~0u, CLOSE_RANGE_CLOEXEC);
	*ret = p[1];
	return 0;
}

static int own_mounts(const struct blank *b, int tree, char *const *argv, struct err *e)
{
	auto_close int dir = -1;

	if (setns(b->host_mnt, CLONE_NEWNS) < 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_sys(e, errno, "copy the host's mounts");
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ||
	    mount("tmpfs", RUN_DIR, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0711,size=16m") < 0)
		return err_sys(e, errno, "mount " RUN_DIR);
	/* What is there may be the same file system, which cannot be mounted on itself. */
	if (mount("tmpfs", "/sys/fs/cgroup", "tmpfs", 0, NULL) < 0 ||
	    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return err_sys(e, errno, "mount /sys/fs/cgroup (runtimes need version 2)");
	dir = open(RUN_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || mkdirat(dir, "root", 0755) < 0 || mkdirat(dir, "state", 0700) < 0 || fchdir(dir) < 0 ||
	    move_mount(tree, "", dir, "root", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e, errno, "mount the container's root for its runtime");
	return write_config(dir, b, argv) < 0 ? err_sys(e, errno, "write config.json") : 0;
}

int oci_become(struct blank *b, char *const *argv, struct err *e)
{
	char preserve[32];
	char *run[] = {"runtime",  (char *)(uintptr_t)runtimes[b->container->runtime].option,
		       "--root",   RUN_DIR "/state",
		       "run",	   preserve,
		       "--bundle", RUN_DIR,
		       CG_NESTED,  NULL};
	char *envp[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	int tree = open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE), held = -1, exe;

	if (tree < 0)
		return err_sys(e, errno, "copy the container's root");
	if (own_mounts(b, tree, argv, e) < 0 || send_held(&held, e) < 0)
		return -1;
	exe = fcntl(b->base.init_exe, F_DUPFD_CLOEXEC, FD_RESERVED);
	b->setup = fcntl(b->setup, F_DUPFD_CLOEXEC, FD_RESERVED);
	if (exe < 0 || b->setup < 0 || dup2(held, INIT_FD_HELD) < 0 || dup2(exe, INIT_FD_EXE) < 0)
		return err_sys(e, errno, "place descriptors");
	setfsgid(0); /* for the files it was somebody else (rootfs.c); a change at the exec would undo the next line */
	setfsuid(0);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return err_sys(e, errno, "prctl(PR_SET_PDEATHSIG)");
	snprintf(preserve, sizeof(preserve), "--preserve-fds=%d", INIT_FD_EXE - 2);
	execve(runtimes[b->container->runtime].path, run, envp);
	return err_sys(e, errno, "execute %s", runtimes[b->container->runtime].path);
}
