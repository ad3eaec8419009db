/* SPDX-License-Identifier: Apache-2.0 */
#include "remote.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define RED_ZONE     128
#define SYSCALL_LEN  2
#define RETRY_US     1000
#define RETRY_MAX_US 256000
#define STOP_US	     1000000
/* Of the kernel: the call was only interrupted and would be made again. */
#define RESTARTSYS    (-512)
#define RESTARTNOINTR (-513)
#define RESTARTNOHAND (-514)
#define RESTARTBLOCK  (-516) /* the same for calls with a limit of time, by way of restart_syscall */

int64_t remote_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ll + t.tv_nsec / 1000;
}

/* Our signalfd has SIGCHLD blocked, so it can be waited for with a limit. */
static void wait_child_signal(int64_t until_us)
{
	int64_t left = until_us - remote_now_us();
	struct timespec t;
	sigset_t set;

	if (left <= 0)
		return;
	t = (struct timespec){left / 1000000, left % 1000000 * 1000};
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	(void)sigtimedwait(&set, NULL, &t);
}

static void wait_us(int64_t us)
{
	struct timespec t = {us / 1000000, us % 1000000 * 1000};

	nanosleep(&t, NULL);
}

/* The next stop; a process that has ended is left for others to reap. Signals that come meanwhile are delivered. */
static int wait_stop(struct remote *r, int want, struct err *e)
{
	for (;;) {
		siginfo_t si = {0};
		int status;

		if (waitid(P_PID, (id_t)r->tid, &si, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) < 0)
			return err_sys(e, errno, "wait for the process");
		if (si.si_pid && si.si_code != CLD_TRAPPED && si.si_code != CLD_STOPPED)
			return err_set(e, ERR_CANCELED, "the process ended");
		if (!si.si_pid) {
			if (remote_now_us() >= r->deadline_us)
				return err_set(e, ERR_TIMEOUT, "the process does not stop");
			wait_child_signal(r->deadline_us);
			continue;
		}
		if (waitpid(r->tid, &status, __WALL) < 0)
			return err_sys(e, errno, "wait for the process");
		if (WSTOPSIG(status) == SIGTRAP && status >> 16 == want)
			return 0;
		/* A signal on its way, or a stop that is not ours. */
		if (ptrace(PTRACE_CONT, r->tid, 0, status >> 16 ? 0 : WSTOPSIG(status)) < 0)
			return err_sys(e, errno, "continue the process");
	}
}

/* Has this epoll set the descriptor in it? */
static bool watches(pid_t pid, int epoll, int fd)
{
	char path[64], line[256];
	bool found = false;
	FILE *f;
	int at;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)pid, epoll);
	f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "tfd: %d", &at) == 1 && at == fd;
	if (f)
		fclose(f);
	return found;
}

/*
 * Does it sleep, and how does it go on? What the kernel would make again after a signal is made again. The others have
 * to expect an interruption (-1): a limit of time that has begun cannot be carried over.
 */
static bool sleeps(struct remote *r)
{
	const struct user_regs_struct *g = &r->regs;
	long nr = (long)g->orig_rax;
	bool moment = nr == SYS_futex && (g->rsi & (uint64_t)FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET;

	if (nr < 0)
		return false;
	switch ((int64_t)g->rax) {
	case RESTARTSYS:
	case RESTARTNOINTR:
	case RESTARTNOHAND:
		r->again = nr;
		return true;
	case RESTARTBLOCK:
		r->again = moment ? nr : -1;
		return true;
	case -EINTR:
		r->again = -1;
		return true;
	}
	return false;
}

/* In a call that waits for the channel. None of them takes anything from it. */
static bool at_safe_point(struct remotes *s)
{
	struct remote *r = &s->thread[0];
	const struct user_regs_struct *g = &r->regs;
	long nr = (long)g->orig_rax;
	struct pollfd p;

	if ((nr == SYS_read || nr == SYS_recvfrom || nr == SYS_recvmsg) && (int)g->rdi == s->channel)
		return sleeps(r);
	if ((nr == SYS_epoll_wait || nr == SYS_epoll_pwait) && watches(s->pid, (int)g->rdi, s->channel))
		return sleeps(r);
	r->again = SYS_poll;
	/* One that we have interrupted before is in restart_syscall, with the arguments of poll. */
	return (nr == SYS_poll || nr == SYS_restart_syscall) && (int64_t)g->rax == RESTARTBLOCK && g->rsi == 1 &&
	       (int)g->rdx < 0 && pread(r->mem, &p, sizeof(p), (off_t)g->rdi) == sizeof(p) && p.fd == s->channel;
}

static int stop_thread(struct remotes *s, pid_t tid, struct err *e)
{
	struct remote *r = &s->thread[s->n];

	if (s->n == SNAP_THREADS_MAX)
		return err_set(e, ERR_LIMIT, "it runs more than %u threads", SNAP_THREADS_MAX);
	*r = (struct remote){.tid = tid, .mem = s->mem, .deadline_us = s->deadline_us};
	if (ptrace(PTRACE_SEIZE, tid, 0, 0) < 0)
		return s->n ? err_set(e, ERR_UNAVAILABLE, "a thread of it is about to end")
			    : err_sys(e, errno, "trace the process");
	s->n++;
	if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0)
		return err_sys(e, errno, "interrupt the process");
	if (wait_stop(r, PTRACE_EVENT_STOP, e) < 0)
		return -1;
	if (ptrace(PTRACE_GETREGS, tid, 0, &r->regs) < 0)
		return err_sys(e, errno, "read the registers");
	if (tid == s->pid && !at_safe_point(s))
		return err_set(e, ERR_UNAVAILABLE, "the process does not wait for an event (system call %lld)",
			       (long long)r->regs.orig_rax);
	if (tid != s->pid && !sleeps(r))
		return err_set(e, ERR_UNAVAILABLE, "thread %d of it is busy", (int)tid);
	return 0;
}

/* Other threads may begin new ones until they are stopped themselves. */
static int stop_all(struct remotes *s, struct err *e)
{
	unsigned before;
	char path[64];
	int rc;

	s->n = 0;
	if (stop_thread(s, s->pid, e) < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)s->pid);
	do {
		DIR *dir = opendir(path);

		if (!dir)
			return err_sys(e, errno, "open %s", path);
		before = s->n;
		rc = 0;
		for (struct dirent *t; rc == 0 && (t = readdir(dir));) {
			pid_t tid = (pid_t)atoi(t->d_name);
			bool known = tid <= 0;

			for (unsigned i = 0; i < s->n; i++)
				known |= s->thread[i].tid == tid;
			if (!known)
				rc = stop_thread(s, tid, e);
		}
		closedir(dir);
	} while (rc == 0 && s->n != before);
	return rc;
}

static void let_go(struct remote *r, pid_t pid)
{
	struct err e;

	if (r->settled) {
		(void)!pwrite(r->mem, r->saved, sizeof(r->saved), (off_t)r->scratch);
		(void)ptrace(PTRACE_SETREGS, r->tid, 0, &r->regs);
	}
	/* Detaching wants a stopped one. What does not stop any more has ended, and only a process has other reapers. */
	if (ptrace(PTRACE_DETACH, r->tid, 0, 0) == 0 || errno != ESRCH)
		return;
	r->deadline_us = remote_now_us() + 1000000;
	if (ptrace(PTRACE_INTERRUPT, r->tid, 0, 0) == 0 && wait_stop(r, PTRACE_EVENT_STOP, &e) == 0)
		(void)ptrace(PTRACE_DETACH, r->tid, 0, 0);
	else if (r->tid != pid)
		(void)waitpid(r->tid, NULL, __WALL | WNOHANG);
}

static void let_all_go(struct remotes *s)
{
	while (s->n)
		let_go(&s->thread[--s->n], s->pid);
}

static int settle(struct remote *r, struct err *e)
{
	r->call = r->regs.rip - SYSCALL_LEN;
	if (r->again >= 0)
		r->regs.rip = r->call;
	r->regs.rax = r->again >= 0 ? (uint64_t)r->again : (uint64_t)-EINTR;
	r->regs.orig_rax = ~0ull; /* nothing for the kernel to restart */
	r->scratch = (r->regs.rsp - RED_ZONE - REMOTE_SCRATCH) & ~63ull;
	if (remote_read(r, r->scratch, r->saved, sizeof(r->saved), e) < 0)
		return -1;
	r->settled = true;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const struct remote *x = a, *y = b;

	return (x->tid > y->tid) - (x->tid < y->tid);
}

int remote_stop(struct remotes *s, pid_t pid, int channel, int64_t deadline_us, struct err *e)
{
	struct err why = {0};
	char path[64];
	int rc;

	s->pid = pid;
	s->channel = channel;
	s->deadline_us = deadline_us + STOP_US; /* so that at the end the reason is why it went on */
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	s->mem = open(path, O_RDWR | O_CLOEXEC);
	if (s->mem < 0)
		return err_sys(e, errno, "open the memory of the process");
	for (int64_t retry_us = RETRY_US; (rc = stop_all(s, &why)) < 0;) {
		/* Others than the first may be busy, and may end. */
		bool again = why.kind == ERR_UNAVAILABLE || (why.kind == ERR_CANCELED && s->n > 1);

		let_all_go(s);
		if (!again || remote_now_us() >= deadline_us)
			break;
		/* They need their time to go back to sleep; on a busy machine more of it. */
		wait_us(retry_us);
		retry_us = retry_us < RETRY_MAX_US ? retry_us * 2 : retry_us;
	}
	for (unsigned i = 0; i < s->n && rc == 0; i++)
		rc = settle(&s->thread[i], &why);
	if (rc < 0) {
		if (e)
			*e = why;
		return -1;
	}
	qsort(s->thread + 1, s->n - 1, sizeof(s->thread[0]), by_number);
	return 0;
}

void remote_release(struct remotes *s)
{
	let_all_go(s);
	close_p(&s->mem);
	s->mem = -1;
}

int remote_read(const struct remote *r, uint64_t at, void *to, size_t n, struct err *e)
{
	char *p = to;

	while (n) {
		ssize_t got = pread(r->mem, p, n, (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return err_sys(e, got ? errno : EFAULT, "read memory at %#llx", (unsigned long long)at);
		p += got, at += (uint64_t)got, n -= (size_t)got;
	}
	return 0;
}

int remote_call(struct remote *r, long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, int64_t *ret,
		struct err *e)
{
	struct user_regs_struct g = r->regs;

	g.rax = (uint64_t)nr;
	g.rip = r->call;
	g.rdi = a0, g.rsi = a1, g.rdx = a2, g.r10 = a3, g.r8 = 0, g.r9 = 0;
	if (ptrace(PTRACE_SETREGS, r->tid, 0, &g) < 0 || ptrace(PTRACE_SINGLESTEP, r->tid, 0, 0) < 0)
		return err_sys(e, errno, "step the process");
	if (wait_stop(r, 0, e) < 0)
		return -1;
	if (ptrace(PTRACE_GETREGS, r->tid, 0, &g) < 0)
		return err_sys(e, errno, "read the registers");
	if (g.rip != r->call + SYSCALL_LEN)
		return err_set(e, ERR_CONFLICT, "the process took a signal while it was written");
	*ret = (int64_t)g.rax;
	return 0;
}
