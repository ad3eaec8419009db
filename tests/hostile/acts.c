/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acts NAME [ARGUMENT...]               an act, here and as we are
 * acts control DIR NAME [ARGUMENT...]   the same as root outside of any sandbox: mounts and the host name are copies,
 * and a small tmpfs lies on DIR, so that nothing of it stays on the host acts ownnet NAME [ARGUMENT...]        the same
 * in a network namespace of its own (for controls that change the network) acts as UID NAME [ARGUMENT...]        the
 * same as another user (for controls of set-user-id programs)
 */
#include "acts.h"

#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

int refused(const char *what)
{
	printf("refused: %s: %s\n", what, strerror(errno));
	return ACT_REFUSED;
}

int outcome(long result, const char *what)
{
	return result < 0 ? refused(what) : ACT_DONE;
}

int broken(const char *what)
{
	printf("broken: %s: %s\n", what, strerror(errno));
	return ACT_BROKEN;
}

long number(const char *text)
{
	return strtol(text, NULL, 10);
}

int in_child(int (*f)(void *arg), void *arg)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return broken("fork");
	if (pid == 0) {
		int ret = f(arg);

		fflush(stdout);
		_exit(ret);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	printf("refused: ended by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
	return ACT_REFUSED;
}

static int run(int argc, char **argv);

static int control(const char *dir, int argc, char **argv)
{
	if (unshare(CLONE_NEWNS | CLONE_NEWUTS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", dir, "tmpfs", 0, "size=256m,mode=1777") < 0 || chdir(dir) < 0)
		return broken("surroundings of a control");
	return run(argc, argv);
}

static int as(uid_t uid, int argc, char **argv)
{
	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
		return broken("become another user");
	return run(argc, argv);
}

static int run(int argc, char **argv)
{
	const struct act *const tables[] = {acts_proc, acts_fs, acts_kernel, acts_net};

	if (argc > 2 && !strcmp(argv[0], "control"))
		return control(argv[1], argc - 2, argv + 2);
	if (argc > 2 && !strcmp(argv[0], "as"))
		return as((uid_t)number(argv[1]), argc - 2, argv + 2);
	if (argc > 1 && !strcmp(argv[0], "ownnet"))
		return unshare(CLONE_NEWNET) < 0 ? broken("unshare") : run(argc - 1, argv + 1);
	for (unsigned i = 0; argc && i < sizeof(tables) / sizeof(*tables); i++)
		for (const struct act *a = tables[i]; a->name; a++)
			if (!strcmp(a->name, argv[0]) && a->argc == argc - 1)
				return a->run(argv + 1);
	errno = EINVAL;
	return broken("no such act, or not with so many arguments");
}

int main(int argc, char **argv)
{
	return run(argc - 1, argv + 1);
}
