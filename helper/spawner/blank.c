/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child that becomes a blank. It begins as root in new pid, ipc, uts and net namespaces and ends as tandem-init with no
 * right at all. Each step needs what a later one gives up:
 *
 *   groups, time, mount and cgroup namespace   need capabilities in the first user namespace
 *   network, mounts, host name                 as well, and they must belong to that namespace: functions have no right there
 *   limits                                     before the user namespace
 *   user namespace                             the parent writes its maps: told and answered over setup
 *   ids, capabilities, parent-death signal     in this order
 *   no_new_privs and filter                    last: the filter refuses what all the others need
 */
#include "spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/str.h"
#include "wire/fds.h"
#include "wire/init.h"

static void fail(const struct blank *b, const struct err *e) __attribute__((noreturn));
static void fail(const struct blank *b, const struct err *e)
{
	struct blank_said said = {.sys = e->sys ? e->sys : EINVAL};

	strlcpy_(said.step, e->text, sizeof(said.step));
	(void)fds_send(b->setup, &said, sizeof(said), NULL, 0, 0);
	_exit(1);
}

/* Above 5, so that putting them to their places overwrites none of them. */
static int lift(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, 16);
}

static int enter(const struct blank *b, struct err *e)
{
	const struct base *base = &b->s->base;

	for (unsigned i = 0; i < b->n_v1_tasks; i++)
		if (write(b->v1_tasks[i], "0", 1) != 1)
			return err_sys(e, errno, "join a group");
	if (base->timens >= 0 && setns(base->timens, CLONE_NEWTIME) < 0)
		return err_sys(e, errno, "enter the time namespace");
	return 0;
}

static int surroundings(const struct blank *b, int socks[BLANK_SOCKS], unsigned *ret_n, struct err *e)
{
	*ret_n = 0;
	if (b->layer != LAYER_NO_NETNS) {
		if (net_setup(socks, e) < 0)
			return -1;
		*ret_n = BLANK_SOCKS;
	}
	if (setns(b->s->base.mntns, CLONE_NEWNS) < 0 || unshare(CLONE_NEWNS | CLONE_NEWCGROUP) < 0)
		return err_sys(e, errno, "copy the mount namespace");
	if (mount_blank(BLANK_TMP_BYTES, b->layer == LAYER_NO_TMP_SIZE, e) < 0)
		return -1;
	if (sethostname("localhost", 9) < 0)
		return err_sys(e, errno, "set the host name");
	if (b->layer != LAYER_NO_RLIMIT && priv_rlimits_sandbox(e) < 0)
		return -1;
	return 0;
}

/* The user namespace, and the parent's maps for it. */
static int new_user_namespace(const struct blank *b, const int *socks, unsigned n, struct err *e)
{
	struct blank_said said = {.n_socks = n};
	char go;

	if (b->layer != LAYER_NO_USERNS && unshare(CLONE_NEWUSER) < 0)
		return err_sys(e, errno, "make a user namespace");
	if (fds_send(b->setup, &said, sizeof(said), socks, n, 0) < 0)
		return err_sys(e, errno, "tell the spawner");
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
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, errno, "prctl(PR_SET_NO_NEW_PRIVS)");
	/* Changing ids clears it. The spawner's death is then noticed by a byte that never came (new_user_namespace) or by this. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return err_sys(e, errno, "prctl(PR_SET_PDEATHSIG)");
	return 0;
}

/* 0 /dev/null, 1 and 2 the log, 3 to 5 as wire/init.h says; everything else is close-on-exec. */
static int place_fds(const struct blank *b, struct err *e)
{
	int ctl = lift(b->ctl), chan = lift(b->chan), log = lift(b->log), null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (ctl < 0 || chan < 0 || log < 0 || null < 0)
		return err_sys(e, errno, "place descriptors");
	if (dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0 || dup2(ctl, INIT_FD_CTL) < 0 || dup2(chan, INIT_FD_CHAN) < 0 ||
	    dup2(log, INIT_FD_LOG) < 0)
		return err_sys(e, errno, "place descriptors");
	return 0;
}

void blank_run(const struct blank *given)
{
	char *argv[] = {"tandem-init", given->layer == LAYER_NO_DUMPABLE ? "dumpable" : NULL, NULL};
	char *envp[] = {NULL};
	struct blank b = *given;
	struct err e = {0};
	int socks[BLANK_SOCKS], exe = lift(b.s->base.init_exe);
	sigset_t none;
	unsigned n;

	b.setup = lift(b.setup);
	sigemptyset(&none);
	umask(022);
	if (exe < 0 || b.setup < 0 || enter(&b, &e) < 0 || surroundings(&b, socks, &n, &e) < 0 || new_user_namespace(&b, socks, n, &e) < 0)
		fail(&b, &e);
	if (give_up_rights(&b, &e) < 0 || place_fds(&b, &e) < 0)
		fail(&b, &e);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (b.layer != LAYER_NO_SECCOMP && priv_filter_sandbox(&e) < 0)
		fail(&b, &e);
	fexecve(exe, argv, envp);
	err_sys(&e, errno, "execute tandem-init");
	fail(&b, &e);
}
