/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child that becomes a blank. It begins as root in a new pid namespace and ends as tandem-init with no
 * right at all. Each step needs what a later one gives up:
 *
 *   groups, all namespaces but one             need capabilities in the first user namespace
 *   network, mounts, host name                 as well, and they must belong to that namespace: functions have no right
 * there limits                                     before the user namespace user namespace the parent writes its maps:
 * told and answered over setup ids, capabilities, parent-death signal     in this order no_new_privs and filter last:
 * the filter refuses what all the others need
 */
#include "spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "base/str.h"
#include "wire/fds.h"
#include "wire/init.h"

static void fail(const struct blank *b, const struct err *e) __attribute__((noreturn));
static void fail(const struct blank *b, const struct err *e)
{
	struct blank_said said = {.sys = e->sys ? e->sys : EINVAL, .kind = (uint16_t)e->kind};

	strlcpy_(said.step, e->text, sizeof(said.step));
	(void)fds_send(b->setup, &said, sizeof(said), NULL, 0, 0);
	_exit(1);
}

/* To a low number; what it was before stays open until shed. */
static int stage(int fd, int *at)
{
	return fd < 0 ? -1 : dup3(fd, (*at)++, O_CLOEXEC);
}

/* We inherit thousands of descriptors of other sandboxes: take ours below FD_RESERVED, close the rest at once. */
static int shed(struct blank *b, struct err *e)
{
	int at = INIT_FD_ERR + 1;

	b->setup = stage(b->setup, &at);
	b->ctl = stage(b->ctl, &at);
	b->chan = stage(b->chan, &at);
	b->log = stage(b->log, &at);
	b->err = stage(b->err, &at);
	b->net = stage(b->net, &at);
	b->router = stage(b->router, &at);
	b->host_mnt = stage(b->host_mnt, &at);
	b->base.mntns = stage(b->base.mntns, &at);
	b->base.timens = stage(b->base.timens, &at);
	b->base.init_exe = stage(b->base.init_exe, &at);
	for (unsigned i = 0; i < b->n_v1_tasks; i++)
		b->v1_tasks[i] = stage(b->v1_tasks[i], &at);
	if (b->setup < 0 || b->ctl < 0 || b->chan < 0 || b->log < 0 || b->base.mntns < 0 || b->base.init_exe < 0 ||
	    close_range((unsigned)at, ~0u, 0) < 0)
		return err_sys(e, errno, "stage descriptors");
	return 0;
}

/* A service manager may protect the spawner from the host's out-of-memory killer; sandboxes are not to inherit that. */
static void ordinary_oom_score(void)
{
	auto_close int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)!write(fd, "0", 1);
}

static int enter(const struct blank *b, struct err *e)
{
	int flags = CLONE_NEWIPC | CLONE_NEWUTS;

	ordinary_oom_score();
	for (unsigned i = 0; i < b->n_v1_tasks; i++)
		if (write(b->v1_tasks[i], "0", 1) != 1)
			return err_sys(e, errno, "join a group");
	/* Only images of processes need clocks that go on after a reboot. */
	if (b->base.timens >= 0 && !b->container && setns(b->base.timens, CLONE_NEWTIME) < 0)
		return err_sys(e, errno, "enter the time namespace");
	if (b->layer == LAYER_NO_IPCNS)
		flags &= ~CLONE_NEWIPC;
	if (unshare(flags) < 0)
		return err_sys(e, errno, "make ipc and uts namespaces");
	return 0;
}

static int surroundings(const struct blank *b, struct err *e)
{
	struct stat st;

	if (setns(b->base.mntns, CLONE_NEWNS) < 0 || unshare(CLONE_NEWNS | CLONE_NEWCGROUP) < 0)
		return err_sys(e, errno, "copy the mount namespace");
	/* Where the host itself runs in a chroot (an initramfs), the namespace's root is not the one that was put
	 * there. */
	if (stat("/", &st) < 0 || st.st_dev != b->base.root_dev || st.st_ino != b->base.root_ino)
		return err_set(e, ERR_SYS, "this host's root cannot be replaced (chroot?)");
	if (mount_blank(BLANK_TMP_BYTES, b->layer == LAYER_NO_TMP_SIZE, e) < 0)
		return -1;
	if (sethostname("localhost", 9) < 0)
		return err_sys(e, errno, "set the host name");
	if (b->layer != LAYER_NO_RLIMIT && priv_rlimits_sandbox(e) < 0)
		return -1;
	return 0;
}

/* The user namespace, and the parent's maps for it. */
static int new_user_namespace(const struct blank *b, int *socks, int n, int tty, struct err *e)
{
	struct blank_said said = {.sockets = n ? b->sockets : 0, .tty = tty >= 0};
	char go;

	if (b->layer != LAYER_NO_USERNS && !b->container && unshare(CLONE_NEWUSER) < 0)
		return err_sys(e, errno, "make a user namespace");
	/* Descriptors under way count for all of root's processes, and the limit is the sender's: it is not yet 1,024.
	 */
	if (said.tty)
		socks[n++] = tty;
	if (fds_send(b->setup, &said, sizeof(said), socks, (unsigned)n, 0) < 0)
		return err_sys(e, errno, "tell the spawner");
	if (b->layer != LAYER_NO_RLIMIT && !b->container && priv_rlimit_files(e) < 0)
		return -1;
	if (read(b->setup, &go, 1) != 1)
		return err_set(e, ERR_CANCELED, "the spawner gave up");
	return 0;
}

static int give_up_rights(const struct blank *b, struct err *e)
{
	bool own = b->layer != LAYER_NO_USERNS;
	uid_t uid = own ? INSIDE_UID : b->uid;
	gid_t gid = own ? INSIDE_GID : b->uid;

	if (b->layer == LAYER_NO_CAPDROP && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_sys(e, errno, "prctl(PR_SET_KEEPCAPS)");
	if (!own && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) /* or the bounding set could not be emptied below */
		return err_sys(e, errno, "prctl(PR_SET_KEEPCAPS)");
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return err_sys(e, errno, "become the sandbox's user");
	if (b->layer == LAYER_NO_CAPDROP ? priv_keep_caps(e) : priv_drop_caps(e))
		return -1;
	/* From here on it dies with the spawner; before, a byte that never came told it (new_user_namespace). */
	return priv_seal(e);
}

/* 0 /dev/null, 1 and 2 the log, 3 to 5 as wire/init.h says (shed put them above that); everything else is
 * close-on-exec. */
static int place_fds(const struct blank *b, struct err *e)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, 0) < 0 || dup2(b->log, 1) < 0 || dup2(b->log, 2) < 0 ||
	    dup2(b->ctl, INIT_FD_CTL) < 0 || dup2(b->chan, INIT_FD_CHAN) < 0 || dup2(b->log, INIT_FD_LOG) < 0 ||
	    (b->err >= 0 && dup2(b->err, INIT_FD_ERR) < 0))
		return err_sys(e, errno, "place descriptors");
	return 0;
}

void blank_run(const struct blank *given)
{
	char *argv[] = {"tandem-init",
			given->container ? "container"
			: given->prepare ? "prepare"
					 : "plain",
			"", NULL, NULL};
	char caps[20], *envp[] = {NULL};
	struct blank b = *given;
	struct err e = {0};
	int socks[BLANK_SAID_FDS], n = 0, tty = -1, userns = -1;
	sigset_t none;

	signal(SIGPIPE, SIG_DFL); /* ignoring it would be inherited */
	sigemptyset(&none);
	umask(022);
	if (b.layer == LAYER_NO_DUMPABLE)
		argv[2] = "dumpable";
	snprintf(caps, sizeof(caps), "%llx", b.container ? (unsigned long long)b.container->caps : 0);
	argv[3] = b.layer == LAYER_NO_CAPDROP ? NULL : caps;
	if (b.container && b.container->runtime)
		b.host_mnt = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (shed(&b, &e) < 0 || enter(&b, &e) < 0 ||
	    (b.layer != LAYER_NO_NETNS && (n = net_setup(&b, socks, &e)) < 0) ||
	    (b.container ? container_surroundings(&b, &tty, &userns, &e) : surroundings(&b, &e)) < 0)
		fail(&b, &e);
	if (b.host_mnt >= 0) {
		if (new_user_namespace(&b, socks, n, tty, &e) == 0 && place_fds(&b, &e) == 0)
			(void)oci_become(&b, argv, &e);
		fail(&b, &e);
	}
	if (new_user_namespace(&b, socks, n, tty, &e) < 0 ||
	    (b.container ? container_become(&b, userns, &e) : give_up_rights(&b, &e)) < 0 || place_fds(&b, &e) < 0)
		fail(&b, &e);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (b.layer != LAYER_NO_SECCOMP &&
	    (b.container ? priv_filter_container(&e) : priv_filter_sandbox(b.prepare, &e)) < 0)
		fail(&b, &e);
	fexecve(b.base.init_exe, argv, envp);
	err_sys(&e, errno, "execute tandem-init");
	fail(&b, &e);
}
