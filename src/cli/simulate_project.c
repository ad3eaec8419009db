/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The project of simulate --check: one function that works and sleeps. What is done with it is done by a child, so that whatever
 * ends that, this process takes the project away again.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "base/io.h"
#include "cli/simulate.h"

extern char **environ;

static const char yaml[] = "# SPDX-License-Identifier: Apache-2.0\n"
			   "name: " SIM_PROJECT "\n"
			   "functions:\n"
			   "  " SIM_PROJECT ":\n"
			   "    code: .\n"
			   "    runtime: python3.11\n"
			   "    handler: app.handler\n"
			   "    memory: 128\n"
			   "    timeout: 15m\n";
static const char code[] = "import time\n"
			   "\n"
			   "\n"
			   "def handler(event, context):\n"
			   "    end = time.monotonic() + event[\"us\"] / 1e6\n"
			   "    worked = time.thread_time() + event[\"work_us\"] / 1e6\n"
			   "    while time.thread_time() < worked:\n"
			   "        pass\n"
			   "    time.sleep(max(0, end - time.monotonic()))\n";

/* This program, with what it says thrown away unless it fails. */
static int self(struct cli *c, const char *const *words, const char *folder)
{
	const char *argv[12] = {"tandem", "-q"};
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	size_t n = 2;
	sigset_t none;
	int status = -1;
	pid_t pid;

	if (c->state) {
		argv[n++] = "--state";
		argv[n++] = c->state;
	}
	while (*words)
		argv[n++] = *words++;
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP); /* Ctrl-C is not for it */
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
	if (folder)
		posix_spawn_file_actions_addchdir_np(&fa, folder);
	errno = posix_spawn(&pid, "/proc/self/exe", &fa, &attr, (char *const *)argv, environ);
	if (!errno)
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	posix_spawn_file_actions_destroy(&fa);
	posix_spawnattr_destroy(&attr);
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -1;
}

static int apply(struct cli *c)
{
	char folder[] = "/tmp/tandem-check-XXXXXX";
	struct err e = {0};
	auto_close int fd = -1;
	int rc;

	if (!mkdtemp(folder) || (fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return cli_failf("make a folder in /tmp: %s", strerror(errno));
	if (io_write_file(fd, "tandem.yaml", yaml, sizeof(yaml) - 1, 0644, &e) < 0 ||
	    io_write_file(fd, "app.py", code, sizeof(code) - 1, 0644, &e) < 0)
		rc = cli_fail(&e);
	else
		rc = self(c, (const char *const[]){"up", NULL}, folder) < 0 ? CLI_FAILED : CLI_OK;
	io_rm_tree(AT_FDCWD, folder, NULL);
	return rc;
}

/* Waits for the child; what would end this process ends the child first. */
static int attend(pid_t pid, const sigset_t *wanted)
{
	int status = 0, sig;

	while (waitpid(pid, &status, WNOHANG) == 0)
		if ((sig = sigwaitinfo(wanted, NULL)) > 0 && sig != SIGCHLD)
			kill(pid, SIGTERM);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int sim_project(struct cli *c, int (*body)(void *arg), void *arg)
{
	sigset_t wanted, before;
	int rc;
	pid_t pid;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGINT);
	sigaddset(&wanted, SIGTERM);
	sigaddset(&wanted, SIGHUP);
	sigaddset(&wanted, SIGCHLD);
	sigprocmask(SIG_BLOCK, &wanted, &before);
	rc = apply(c);
	if (!rc) {
		pid = fork();
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			sigprocmask(SIG_SETMASK, &before, NULL);
			_exit(body(arg));
		}
		rc = pid < 0 ? cli_failf("fork: %s", strerror(errno)) : attend(pid, &wanted);
		if (self(c, (const char *const[]){"down", "--project", SIM_PROJECT, NULL}, NULL) < 0 && !rc)
			rc = CLI_FAILED;
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return rc;
}
