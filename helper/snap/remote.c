/* SPDX-License-Identifier: Apache-2.0 */
#include "remote.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define RED_ZONE     128
#define SYSCALL_LEN  2
#define RETRY_US     1000
#define RESTARTSYS   (-512) /* of the kernel: the call was only interrupted and would be made again */
#define RESTARTBLOCK (-516) /* the same for calls with a limit of time, by way of restart_syscall */

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

/* The next stop; a child that has ended is left for others to reap. Signals that come meanwhile are delivered. */
static int wait_stop(struct remote *r, int want, struct err *e)
{
	for (;;) {
		siginfo_t si = {0};
		int status;

		if (waitid(P_PID, (id_t)r->pid, &si, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) < 0)
			return err_sys(e, errno, "wait for the process");
		if (si.si_pid && si.si_code != CLD_TRAPPED && si.si_code != CLD_STOPPED)
			return err_set(e, ERR_CANCELED, "the process ended");
		if (!si.si_pid) {
			if (remote_now_us() >= r->deadline_us)
				return err_set(e, ERR_TIMEOUT, "the process does not stop");
			wait_child_signal(r->deadline_us);
			continue;
		}
		if (waitpid(r->pid, &status, __WALL) < 0)
			return err_sys(e, errno, "wait for the process");
		if (WSTOPSIG(status) == SIGTRAP && status >> 16 == want)
			return 0;
		/* A signal on its way, or a stop that is not ours. */
		if (ptrace(PTRACE_CONT, r->pid, 0, status >> 16 ? 0 : WSTOPSIG(status)) < 0)
			return err_sys(e, errno, "continue the process");
	}
}

/*
 * The number of the call that it sleeps in, if that is one that waits for the channel alone and for ever; otherwise -1.
 * All of them take nothing from it when they are made again from the beginning.
 */
static long safe_call(const struct remote *r, int channel)
{
	const struct user_regs_struct *g = &r->regs;
	long nr = (long)g->orig_rax;
	struct pollfd p;

	if ((nr == SYS_read || nr == SYS_recvfrom || nr == SYS_recvmsg) && (int)g->rdi == channel &&
	    (int64_t)g->rax == RESTARTSYS)
		return nr;
	/* One that we have interrupted before is in restart_syscall, with the arguments of poll. */
	if ((nr == SYS_poll || nr == SYS_restart_syscall) && (int64_t)g->rax == RESTARTBLOCK && g->rsi == 1 &&
	    (int)g->rdx < 0 && pread(r->mem, &p, sizeof(p), (off_t)g->rdi) == sizeof(p) && p.fd == channel)
		return SYS_poll;
	return -1;
}

static int stop_once(struct remote *r, struct err *e)
{
	if (ptrace(PTRACE_INTERRUPT, r->pid, 0, 0) < 0)
		return err_sys(e, errno, "interrupt the process");
	if (wait_stop(r, PTRACE_EVENT_STOP, e) < 0)
		return -1;
	if (ptrace(PTRACE_GETREGS, r->pid, 0, &r->regs) < 0)
		return err_sys(e, errno, "read the registers");
	return 0;
}

static int open_memory(struct remote *r, struct err *e)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)r->pid);
	r->mem = open(path, O_RDWR | O_CLOEXEC);
	if (r->mem < 0)
		return err_sys(e, errno, "open the memory of the process");
	return 0;
}

static int settle(struct remote *r, long nr, struct err *e)
{
	r->regs.rip -= SYSCALL_LEN;
	r->regs.rax = (uint64_t)nr;
	r->regs.orig_rax = ~0ull; /* nothing for the kernel to restart */
	r->scratch = (r->regs.rsp - RED_ZONE - REMOTE_SCRATCH) & ~63ull;
	if (remote_read(r, r->scratch, r->saved, sizeof(r->saved), e) < 0)
		return -1;
	r->settled = true;
	return 0;
}

int remote_stop(struct remote *r, pid_t pid, int channel, int64_t deadline_us, struct err *e)
{
	*r = (struct remote){.pid = pid, .mem = -1, .deadline_us = deadline_us};
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0)
		return err_sys(e, errno, "trace the process");
	r->seized = true;
	if (open_memory(r, e) < 0)
		return -1;
	for (;;) {
		long nr;

		if (stop_once(r, e) < 0)
			return -1;
		nr = safe_call(r, channel);
		if (nr >= 0)
			return settle(r, nr, e);
		if (remote_now_us() >= deadline_us)
			return err_set(e, ERR_TIMEOUT, "the process does not wait for an event (system call %lld)",
				       (long long)r->regs.orig_rax);
		if (ptrace(PTRACE_CONT, pid, 0, 0) < 0)
			return err_sys(e, errno, "continue the process");
		wait_child_signal(remote_now_us() + RETRY_US);
	}
}

void remote_release(struct remote *r)
{
	if (r->settled) {
		(void)!pwrite(r->mem, r->saved, sizeof(r->saved), (off_t)r->scratch);
		(void)ptrace(PTRACE_SETREGS, r->pid, 0, &r->regs);
	}
	close_p(&r->mem);
	r->mem = -1;
	/* Detaching wants a stopped process. What does not stop any more has ended. */
	if (r->seized && ptrace(PTRACE_DETACH, r->pid, 0, 0) < 0 && errno == ESRCH) {
		struct err e;

		r->deadline_us = remote_now_us() + 1000000;
		if (stop_once(r, &e) == 0)
			(void)ptrace(PTRACE_DETACH, r->pid, 0, 0);
	}
	r->seized = false;
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

	g.rax = (uint64_t)nr; /* it stands before a syscall instruction */
	g.rdi = a0, g.rsi = a1, g.rdx = a2, g.r10 = a3, g.r8 = 0, g.r9 = 0;
	if (ptrace(PTRACE_SETREGS, r->pid, 0, &g) < 0 || ptrace(PTRACE_SINGLESTEP, r->pid, 0, 0) < 0)
		return err_sys(e, errno, "step the process");
	if (wait_stop(r, 0, e) < 0)
		return -1;
	if (ptrace(PTRACE_GETREGS, r->pid, 0, &g) < 0)
		return err_sys(e, errno, "read the registers");
	if (g.rip != r->regs.rip + SYSCALL_LEN)
		return err_set(e, ERR_CONFLICT, "the process took a signal while it was written");
	*ret = (int64_t)g.rax;
	return 0;
}
