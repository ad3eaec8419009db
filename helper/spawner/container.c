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
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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

/* Mount points cannot be moved or replaced by who lives there, and no link is followed: this is the container's devpts. */
int container_terminal(const char *root, uint32_t uid, int *ret_master, int *ret_slave, struct err *e)
{
	struct open_how how = {.flags = O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	auto_close int top = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_close int master = (int)syscall(SYS_openat2, top, "dev/pts/ptmx", &how, sizeof(how));
	auto_close int slave = -1;
	int unlock = 0;

	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return err_sys(e, errno, "make a terminal");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0 || fchown(slave, uid, (gid_t)-1) < 0)
		return err_sys(e, errno, "open a terminal");
	*ret_master = take_fd(master);
	*ret_slave = take_fd(slave);
	return 0;
}

static int own_terminal(struct blank *b, int *ret_master, struct err *e)
{
	auto_close int slave = -1;

	if (container_terminal("/", b->uid, ret_master, &slave, e) < 0)
		return -1;
	return dup3(slave, b->chan, O_CLOEXEC) < 0 ? err_sys(e, errno, "place the terminal") : 0;
}

int container_surroundings(struct blank *b, int *ret_tty, int *ret_userns, struct err *e)
{
	const struct container *c = b->container;
	struct give give = {.s = c->s, .own = -1, .secrets = -1, .n = c->n_gives};
	struct rootfs r = {.first = b->uid, .read_only = c->read_only, .hostname = c->hostname, .give = &give};
	int fds[FDS_MAX];
	unsigned n = FDS_MAX;
	char byte;

	if (fds_recv(b->setup, &byte, 1, fds, &n, 0) != 1 || n != CF_LAYERS + c->n_layers + (c->n_gives != 0))
		return err_set(e, ERR_SYS, "the layers' descriptors did not arrive");
	if (b->layer == LAYER_NO_RO_ROOT)
		r.read_only = false, r.writable_proc = true;
	give.idmap = fds[CF_IDMAP];
	give.userns = fds[CF_USERNS];
	if (take_trees(fds, CF_LAYERS + c->n_layers, &r, e) < 0 || give_take(&give, fds[n - 1], e) < 0)
		return -1;
	if (setns(b->base.mntns, CLONE_NEWNS) < 0 || unshare(CLONE_NEWNS | CLONE_NEWCGROUP) < 0)
		return err_sys(e, errno, "copy the mount namespace");
	if (b->layer != LAYER_NO_RLIMIT && priv_rlimits_container(e) < 0)
		return -1;
	if (rootfs_make(&r, e) < 0 || (c->tty && own_terminal(b, ret_tty, e) < 0))
		return -1;
	if (sethostname(c->hostname, strlen(c->hostname)) < 0)
		return err_sys(e, errno, "set the host name");
	*ret_userns = fds[CF_USERNS];
	return 0;
}

/* Other than in blanks the user namespace was made before: entering it gives all capabilities in it, and no others. */
int container_become(const struct blank *b, int userns, struct err *e)
{
	if (b->layer != LAYER_NO_USERNS && setns(userns, CLONE_NEWUSER) < 0)
		return err_sys(e, errno, "enter the user namespace");
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return err_sys(e, errno, "become root of the container");
	if (b->layer != LAYER_NO_CAPDROP && priv_caps_container(b->container->caps, e) < 0)
		return -1;
	return priv_seal(e);
}
