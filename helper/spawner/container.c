/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child that becomes a container, where it differs from a blank (blank.c): its root is an image's, it is root of a
 * user namespace of 65,536 ids with the capabilities that Docker gives, and its terminal, if it has one, was opened
 * before anything of the image ran, so that nobody inside holds the end that tandemd reads.
 */
#include "spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "wire/fds.h"

/* Not an assertion of tandemd's: whoever owns it can only be the unpacker, or a container that is gone. */
static int check_layer(int dir, struct err *e)
{
	struct stat st;

	if (fstat(dir, &st) < 0)
		return err_sys(e, errno, "stat a layer");
	if (!S_ISDIR(st.st_mode) || st.st_uid < LAYER_ID_BASE || st.st_uid - LAYER_ID_BASE >= LAYER_IDS)
		return err_set(e, ERR_DENIED, "what is to be a layer is no unpacked one");
	return 0;
}

/* While we are in the spawner's own mount namespace: only mounts of one's namespace can be copied. */
static int take_trees(const int *fds, unsigned n, struct rootfs *r, struct err *e)
{
	for (unsigned i = CF_LAYERS; i < n; i++)
		if (check_layer(fds[i], e) < 0 || (r->lower[r->n_lower++] = rootfs_tree(fds[i], fds[CF_IDMAP], e)) < 0)
			return -1;
	r->lower[r->n_lower++] = rootfs_tree(fds[CF_SKEL], fds[CF_IDMAP], e);
	r->upper = rootfs_tree(fds[CF_UPPER], fds[CF_IDMAP], e);
	return r->lower[r->n_lower - 1] < 0 || r->upper < 0 ? -1 : 0;
}

static int open_terminal(struct blank *b, int *ret_master, struct err *e)
{
	int master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC), unlock = 0, slave;

	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return err_sys(e, errno, "make a terminal");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0 || fchown(slave, b->uid, (gid_t)-1) < 0 || dup3(slave, b->chan, O_CLOEXEC) < 0)
		return err_sys(e, errno, "open a terminal");
	*ret_master = master;
	return 0;
}

int container_surroundings(struct blank *b, int *ret_tty, int *ret_userns, struct err *e)
{
	const struct container *c = b->container;
	struct rootfs r = {.first = b->uid, .read_only = c->read_only, .hostname = c->hostname};
	int fds[FDS_MAX];
	unsigned n = FDS_MAX;
	char byte;

	if (fds_recv(b->setup, &byte, 1, fds, &n, 0) != 1 || n != CF_LAYERS + c->n_layers)
		return err_set(e, ERR_SYS, "the layers' descriptors did not arrive");
	if (b->layer == LAYER_NO_RO_ROOT)
		r.read_only = false, r.writable_proc = true;
	if (take_trees(fds, n, &r, e) < 0)
		return -1;
	if (setns(b->base.mntns, CLONE_NEWNS) < 0 || unshare(CLONE_NEWNS | CLONE_NEWCGROUP) < 0)
		return err_sys(e, errno, "copy the mount namespace");
	if (rootfs_make(&r, e) < 0 || (c->tty && open_terminal(b, ret_tty, e) < 0))
		return -1;
	if (sethostname(c->hostname, strlen(c->hostname)) < 0)
		return err_sys(e, errno, "set the host name");
	*ret_userns = fds[CF_USERNS];
	return b->layer == LAYER_NO_RLIMIT ? 0 : priv_rlimits_container(e);
}

/* Other than in blanks the user namespace was made before: entering it gives all capabilities in it, and no others. */
int container_become(const struct blank *b, int userns, struct err *e)
{
	if (b->layer != LAYER_NO_USERNS && setns(userns, CLONE_NEWUSER) < 0)
		return err_sys(e, errno, "enter the user namespace");
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return err_sys(e, errno, "become root of the container");
	if (b->layer != LAYER_NO_CAPDROP && priv_caps_container(e) < 0)
		return -1;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, errno, "prctl(PR_SET_NO_NEW_PRIVS)");
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return err_sys(e, errno, "prctl(PR_SET_PDEATHSIG)");
	return 0;
}
