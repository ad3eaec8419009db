/* SPDX-License-Identifier: Apache-2.0 */
/* skopeo: one process per image that is copied from a registry (docs/decisions/006-who-copies-images.md). */
#include "spawner.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "base/log.h"

#define SKOPEO	      "/usr/bin/skopeo"
#define PULL_TIME_US  3600000000ll
#define PULL_FILE_MAX (64ull << 30) /* of one layer, packed */
#define ENV_MAX	      16
#define FD_AUTH	      3
#define INSIDE	      "/tmp" /* where it sees the directory, and may write */

struct start {
	const struct spawner_msg *m;
	int tree, words, auth; /* auth: -1 */
};

/* Of the operator's environment only how the network is reached. */
static void pick_env(char *out[ENV_MAX])
{
	static const char *const keep[] = {
		"HTTP_PROXY=", "HTTPS_PROXY=", "NO_PROXY=", "http_proxy=", "https_proxy=", "no_proxy=", "SSL_CERT_"};
	static char path[] = "PATH=/usr/bin:/bin", home[] = "HOME=" INSIDE, tmp[] = "TMPDIR=" INSIDE;
	unsigned n = 0;

	out[n++] = path;
	out[n++] = home;
	out[n++] = tmp;
	for (char **e = environ; *e && n < ENV_MAX - 1; e++)
		for (unsigned i = 0; i < ARRAY_SIZE(keep) && n < ENV_MAX - 1; i++)
			if (!strncmp(*e, keep[i], strlen(keep[i])))
				out[n++] = *e;
	out[n] = NULL;
}

/* The host read-only, but for one directory; of processes only its own: another skopeo has the same id, and
 * credentials in its memory. */
static int see(int tree, struct err *e)
{
	struct mount_attr ro = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID};

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &ro, sizeof(ro)) < 0 ||
	    mount("proc", "/proc", "proc", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ||
	    move_mount(tree, "", AT_FDCWD, INSIDE, MOVE_MOUNT_F_EMPTY_PATH) < 0 || chdir(INSIDE) < 0)
		return err_sys(e, errno, "give skopeo its view");
	return 0;
}

static int bound(struct err *e)
{
	struct rlimit size = {PULL_FILE_MAX, PULL_FILE_MAX}, core = {0, 0}, files = {256, 256}, cpu = {3600, 3600};

	if (setrlimit(RLIMIT_FSIZE, &size) < 0 || setrlimit(RLIMIT_CORE, &core) < 0 ||
	    setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_CPU, &cpu) < 0)
		return err_sys(e, errno, "limit skopeo");
	return 0;
}

static void child(const struct start *x) __attribute__((noreturn));
static void child(const struct start *x)
{
	char from[SPAWNER_REF + 16], *argv[16], *envp[ENV_MAX];
	int words = fcntl(x->words, F_DUPFD_CLOEXEC, 16), auth = x->auth < 0 ? -1 : fcntl(x->auth, F_DUPFD_CLOEXEC, 16);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct err e = {0};
	sigset_t none;
	unsigned n = 0;

	sigemptyset(&none);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(022);
	snprintf(from, sizeof(from), "docker://%s", x->m->u.pull.reference);
	argv[n++] = "skopeo";
	argv[n++] = "--override-os=linux";
	argv[n++] = "copy";
	argv[n++] = "--quiet";
	argv[n++] = "--preserve-digests";
	argv[n++] = x->m->u.pull.plain_http ? "--src-tls-verify=false" : "--src-tls-verify=true";
	argv[n++] = auth >= 0 ? "--src-authfile=/proc/self/fd/3" : "--src-no-creds";
	argv[n++] = from;
	argv[n++] = "dir:" INSIDE "/image";
	argv[n] = NULL;
	pick_env(envp);
	if (see(x->tree, &e) == 0 && bound(&e) == 0 && priv_become(PULL_ID, PULL_ID, &e) == 0) {
		if (words < 0 || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(words, 2) < 0 ||
		    (auth >= 0 && dup2(auth, FD_AUTH) < 0))
			_exit(127);
		execve(SKOPEO, argv, envp);
		dprintf(2, "%s cannot be run: %s; install the package skopeo\n", SKOPEO, strerror(errno));
		_exit(127);
	}
	log_error("pull", "%s", e.text);
	dprintf(words, "%s\n", e.text);
	_exit(127);
}

/* What can be in a reference, a host's name and port included, and nothing else. */
static bool reference_ok(const char *r)
{
	size_t len = strspn(r, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-./:@[]");

	return len && !r[len] && r[0] != '-' && r[0] != '/';
}

static int copy_tree(const struct spawner *s, int dir, struct err *e)
{
	struct mount_attr a = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
	auto_close int tree = -1;
	struct stat st;

	if (fstat(dir, &st) < 0)
		return err_sys(e, errno, "stat the directory of the image");
	if (!S_ISDIR(st.st_mode) || st.st_uid != s->config.daemon_uid)
		return err_set(e, ERR_DENIED, "where the image is to go is not a directory of tandemd's user");
	tree = open_tree(dir, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0)
		return err_sys(e, errno, "copy the mount of the directory of the image");
	return take_fd(tree);
}

int pull_start(struct spawner *s, const struct spawner_msg *m, const int *fds, unsigned n_fds, struct err *e)
{
	struct clone_args a = {.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_PIDFD,
			       .exit_signal = SIGCHLD};
	auto_close int tree = -1;
	struct start x = {.m = m, .auth = -1};
	struct job *j;
	pid_t pid;

	if (n_fds != 2u + (m->u.pull.has_auth != 0))
		return err_set(e, ERR_INVALID, "directory, pipe or credentials did not arrive");
	if (!m->id || !reference_ok(m->u.pull.reference))
		return err_set(e, ERR_INVALID, "the reference is not acceptable");
	j = job_free_slot(s, SPAWNER_PULLED, PULL_MAX, e);
	if (!j)
		return err_wrap(e, "pull");
	x.tree = tree = copy_tree(s, fds[0], e);
	if (tree < 0)
		return -1;
	x.words = fds[1];
	if (n_fds > 2)
		x.auth = fds[2];
	a.pidfd = (uint64_t)(uintptr_t)&j->pidfd;
	pid = (pid_t)syscall(SYS_clone3, &a, sizeof(a));
	if (pid == 0)
		child(&x);
	if (pid < 0)
		return err_sys(e, errno, "fork skopeo");
	job_begin(s, j, m->id, pid, PULL_TIME_US, WATCH_PULL);
	return 0;
}

/* It has ended. What it had to say went through its pipe, to tandemd alone. */
void pull_event(struct spawner *s, struct job *j)
{
	struct spawner_msg answer;

	spawner_msg_init(&answer, SPAWNER_PULLED, j->id);
	job_finish(s, j, &answer, NULL);
}
