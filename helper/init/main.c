/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandem-init: process 1 of every sandbox. Static, no heap, no signal handlers, not dumpable: a function runs with the
 * same uid, and what could be written into here could be run by the sandbox's supervisor. Waits blank, starts programs
 * when tandemd says so (wire/init.h), reaps everybody, and reports what it started itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "wire/init.h"

#define PROCS_MAX   64
#define STRINGS_MAX 4096

struct proc {
	pid_t pid; /* 0: free */
	uint32_t tag;
};

struct init {
	int children; /* signalfd */
	struct proc proc[PROCS_MAX];
	char *argv[STRINGS_MAX + 2]; /* argv, NULL, env, NULL */
	union {
		struct init_msg msg;
		char bytes[INIT_MSG_MAX + 1];
	} in;
};

static void say(uint16_t verb, uint32_t tag, int32_t value)
{
	struct init_msg m = {.version = INIT_VERSION, .verb = verb, .tag = tag, .value = value};

	while (send(INIT_FD_CTL, &m, sizeof(m), MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

/* Between vfork and exec: the parent waits, memory is shared, so only system calls. Returns errno. */
static int become(char **argv, char **env, int keep_channel)
{
	sigset_t none;

	sigemptyset(&none);
	if (keep_channel && fcntl(INIT_FD_CHAN, F_SETFD, 0) < 0)
		return errno;
	if (chdir("/var/task") < 0)
		(void)!chdir("/");
	setsid();
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		return errno;
	execve(argv[0], argv, env);
	return errno;
}

static struct proc *find(struct init *in, pid_t pid)
{
	for (int i = 0; i < PROCS_MAX; i++)
		if (in->proc[i].pid == pid)
			return &in->proc[i];
	return NULL;
}

/* Splits the strings; the sender is trusted less than it could be: every one must end inside of the message. */
static int split(struct init *in, size_t n)
{
	const struct init_msg *m = &in->in.msg;
	char *p = in->in.bytes + sizeof(*m), *end = in->in.bytes + n;
	uint32_t at = 0;

	if (!m->argc || m->argc > STRINGS_MAX || m->envc > STRINGS_MAX - m->argc || m->text_bytes != n - sizeof(*m))
		return -1;
	for (uint32_t i = 0; i < m->argc + m->envc; i++) {
		char *zero = memchr(p, 0, (size_t)(end - p));

		if (!zero)
			return -1;
		if (i == m->argc)
			in->argv[at++] = NULL;
		in->argv[at++] = p;
		p = zero + 1;
	}
	if (!m->envc)
		in->argv[at++] = NULL;
	in->argv[at] = NULL;
	return p == end ? 0 : -1;
}

static void start(struct init *in, size_t n)
{
	struct init_msg m = in->in.msg;
	struct proc *slot = find(in, 0);
	volatile int failed = 0;
	pid_t pid;

	if (!slot || split(in, n) < 0) {
		say(INIT_FAILED, m.tag, slot ? EINVAL : EAGAIN);
		return;
	}
	pid = vfork();
	if (pid == 0) {
		failed = become(in->argv, in->argv + m.argc + 1, m.keep_channel != 0);
		_exit(127);
	}
	if (pid < 0 || failed) {
		int sys = pid < 0 ? errno : failed;

		if (pid > 0)
			waitpid(pid, NULL, 0);
		say(INIT_FAILED, m.tag, sys);
		return;
	}
	*slot = (struct proc){pid, m.tag};
	say(INIT_STARTED, m.tag, pid);
}

static void forward_signal(struct init *in)
{
	bool found = false;

	for (int i = 0; i < PROCS_MAX; i++) {
		if (!in->proc[i].pid || in->proc[i].tag != in->in.msg.tag)
			continue;
		found = true;
		kill(in->proc[i].pid, in->in.msg.value);
	}
	if (!found)
		say(INIT_FAILED, in->in.msg.tag, ESRCH);
}

static void take_message(struct init *in)
{
	ssize_t n = recv(INIT_FD_CTL, in->in.bytes, INIT_MSG_MAX + 1, MSG_DONTWAIT);

	if (n == 0)
		_exit(0); /* nobody holds the other end any more */
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		_exit(1);
	if (n < (ssize_t)sizeof(struct init_msg) || n > INIT_MSG_MAX || in->in.msg.version != INIT_VERSION)
		return;
	if (in->in.msg.verb == INIT_START)
		start(in, (size_t)n);
	else if (in->in.msg.verb == INIT_SIGNAL)
		forward_signal(in);
}

static void reap(struct init *in)
{
	struct signalfd_siginfo si;
	int status;
	pid_t pid;

	(void)!read(in->children, &si, sizeof(si));
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct proc *p = find(in, pid);

		if (!p)
			continue; /* somebody's orphan */
		p->pid = 0;
		say(INIT_EXITED, p->tag, status);
	}
}

int main(int argc, char **argv)
{
	static struct init in;
	struct pollfd fds[2];
	sigset_t set;

	/* A debug build's spawner asks for "dumpable" when a test leaves this layer out. */
	if (prctl(PR_SET_DUMPABLE, argc > 1 && TANDEM_DEBUG && !strcmp(argv[1], "dumpable"), 0, 0, 0) < 0)
		return 1;
	for (int fd = INIT_FD_CTL; fd <= INIT_FD_LOG; fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return 1;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_SETMASK, &set, NULL);
	in.children = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (in.children < 0)
		return 1;
	fds[0] = (struct pollfd){.fd = INIT_FD_CTL, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = in.children, .events = POLLIN};
	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return 1;
		if (fds[1].revents)
			reap(&in);
		if (fds[0].revents)
			take_message(&in);
	}
}
