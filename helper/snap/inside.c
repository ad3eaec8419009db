/* SPDX-License-Identifier: Apache-2.0 */
/* What a process alone can be asked: by ptrace's requests, and by system calls made in its place. */
#include "proc.h"
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>

#ifndef PR_GET_TIMERSLACK
#define PR_GET_TIMERSLACK 30
#endif
#define MEMBARRIER_GET_REGISTRATIONS 512 /* Linux 6.3 */

static int ask(struct remote *r, long nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, int64_t *ret,
	       const char *what, struct err *e)
{
	if (remote_call(r, nr, a0, a1, a2, a3, ret, e) < 0)
		return err_wrap(e, "%s", what);
	return *ret < 0 && *ret > -4096 ? err_sys(e, (int)-*ret, "%s", what) : 0;
}

/* A call that leaves its answer in the scratch memory. */
static int fetch(struct remote *r, long nr, uint64_t a0, uint64_t a1, unsigned which, void *to, size_t n,
		 const char *what, struct err *e)
{
	uint64_t a[3] = {a0, a1, 0};
	int64_t got;

	a[which] = r->scratch;
	if (ask(r, nr, a[0], a[1], a[2], 8, &got, what, e) < 0)
		return -1;
	return remote_read(r, r->scratch, to, n, e);
}

static int take_signals(struct snap_draft *d, struct err *e)
{
	for (unsigned i = 0; i < SNAP_SIGNALS; i++)
		if (i + 1 != SIGKILL && i + 1 != SIGSTOP &&
		    fetch(&d->remotes.thread[0], SYS_rt_sigaction, i + 1, 0, 2, &d->head.proc.action[i],
			  sizeof(struct snap_sigaction), "ask for a signal's action", e) < 0)
			return -1;
	return 0;
}

static int check_itimers(struct snap_draft *d, struct err *e)
{
	for (int which = ITIMER_REAL; which <= ITIMER_PROF; which++) {
		struct itimerval t;

		if (fetch(&d->remotes.thread[0], SYS_getitimer, (uint64_t)which, 0, 1, &t, sizeof(t), "ask for timers",
			  e) < 0)
			return -1;
		if (t.it_value.tv_sec || t.it_value.tv_usec)
			return err_set(e, ERR_CONFLICT, "it has set an alarm (setitimer)");
	}
	return 0;
}

static int take_prctl(struct snap_draft *d, struct err *e)
{
	struct remote *first = &d->remotes.thread[0];
	static const struct {
		int what;
		const char *why;
	} no[] = {
		{PR_GET_PDEATHSIG, "it asked for a signal at its parent's death"},
		{PR_GET_CHILD_SUBREAPER, "it asked for the orphans of its children"},
	};
	int64_t r;

	for (unsigned i = 0; i < ARRAY_SIZE(no); i++) {
		int value;

		if (fetch(first, SYS_prctl, (uint64_t)no[i].what, 0, 1, &value, sizeof(value), "prctl", e) < 0)
			return -1;
		if (value)
			return err_set(e, ERR_CONFLICT, "%s", no[i].why);
	}
	if (ask(first, SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0, &r, "prctl", e) < 0)
		return -1;
	if (r)
		return err_set(e, ERR_CONFLICT, "it has switched huge pages off (prctl)");
	if (ask(first, SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, &r, "prctl", e) < 0)
		return -1;
	if (r != 1)
		return err_set(e, ERR_CONFLICT, "it has made itself not dumpable");
	if (remote_call(first, SYS_membarrier, MEMBARRIER_GET_REGISTRATIONS, 0, 0, 0, &r, e) < 0)
		return -1;
	d->head.proc.membarrier = r > 0 ? (uint32_t)r : 0; /* older kernels do not tell */
	return 0;
}

static int take_registers(struct snap_draft *d, const struct remote *r, struct snap_thread *t, struct err *e)
{
	uint32_t *used = &d->head.table[TABLE_XSTATE].n;
	struct iovec v = {d->xstate + *used, SNAP_XSTATE_MAX};
	const struct user_regs_struct *g = &r->regs;

	t->r15 = g->r15, t->r14 = g->r14, t->r13 = g->r13, t->r12 = g->r12, t->rbp = g->rbp, t->rbx = g->rbx;
	t->r11 = g->r11, t->r10 = g->r10, t->r9 = g->r9, t->r8 = g->r8, t->rcx = g->rcx, t->rdx = g->rdx;
	t->rsi = g->rsi, t->rdi = g->rdi, t->eflags = g->eflags, t->rsp = g->rsp;
	t->fs_base = g->fs_base, t->gs_base = g->gs_base;
	t->rax = g->rax, t->rip = g->rip;
	if (ptrace(PTRACE_GETREGSET, r->tid, NT_X86_XSTATE, &v) < 0)
		return err_sys(e, errno, "read the extended registers");
	t->xstate = *used, t->xstate_bytes = (uint32_t)v.iov_len;
	*used += (t->xstate_bytes + 63) & ~63u;
	return 0;
}

static int take_thread(struct snap_draft *d, struct remote *r, struct snap_thread *t, struct err *e)
{
	struct __ptrace_rseq_configuration rs = {0};
	int64_t slack;
	stack_t alt;
	void *head;
	size_t n;

	t->tid = (uint32_t)r->tid;
	if (take_registers(d, r, t, e) < 0)
		return -1;
	if (ptrace(PTRACE_GETSIGMASK, r->tid, sizeof(t->sigmask), &t->sigmask) < 0)
		return err_sys(e, errno, "ask for the mask of signals");
	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, r->tid, sizeof(rs), &rs) < 0)
		return err_sys(e, errno, "ask for the restartable sequence");
	t->rseq = rs.rseq_abi_pointer, t->rseq_bytes = rs.rseq_abi_size, t->rseq_signature = rs.signature;
	if (syscall(SYS_get_robust_list, r->tid, &head, &n) < 0)
		return err_sys(e, errno, "ask for the robust list");
	t->robust_list = (uint64_t)(uintptr_t)head;
	if (fetch(r, SYS_sigaltstack, 0, 0, 1, &alt, sizeof(alt), "ask for the signal stack", e) < 0 ||
	    ask(r, SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, &slack, "prctl", e) < 0 ||
	    fetch(r, SYS_prctl, PR_GET_TID_ADDRESS, 0, 1, &t->tid_address, 8, "prctl", e) < 0 ||
	    fetch(r, SYS_prctl, PR_GET_NAME, 0, 1, t->comm, sizeof(t->comm), "prctl", e) < 0)
		return -1;
	t->altstack_sp = (uint64_t)(uintptr_t)alt.ss_sp;
	t->altstack_size = alt.ss_size;
	t->altstack_flags = (uint32_t)alt.ss_flags;
	t->timer_slack_ns = (uint64_t)slack;
	t->comm[sizeof(t->comm) - 1] = 0;
	return 0;
}

/* Two pieces of its own code, by which it comes back without anything of ours left in it. */
static int find_code(struct snap_draft *d, struct err *e)
{
	static const uint8_t call_ret[] = {0x0f, 0x05, 0xc3};				/* syscall; ret */
	static const uint8_t sigreturn[] = {0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05}; /* mov $15, %rax; syscall */
	struct snap_proc *p = &d->head.proc;
	size_t step = 1 << 20, keep = sizeof(sigreturn) - 1;
	uint8_t *buf = mem_take(&d->mem, step + keep);

	if (!buf)
		return err_set(e, ERR_LIMIT, "too little memory");
	for (uint32_t i = 0; i < d->head.table[TABLE_MAPS].n && !(p->do_syscall && p->do_return); i++) {
		const struct snap_map *m = &d->map[i];

		if (!(m->prot & PROT_EXEC) || !(m->prot & PROT_READ) || !m->file)
			continue;
		for (uint64_t at = m->start; at < m->end; at += step) {
			size_t n = m->end - at < step + keep ? m->end - at : step + keep;
			uint8_t *hit;

			if (remote_read(&d->remotes.thread[0], at, buf, n, e) < 0)
				return -1;
			if (!p->do_syscall && (hit = memmem(buf, n, call_ret, sizeof(call_ret))))
				p->do_syscall = at + (uint64_t)(hit - buf);
			if (!p->do_return && (hit = memmem(buf, n, sigreturn, sizeof(sigreturn))))
				p->do_return = at + (uint64_t)(hit - buf);
		}
	}
	if (!p->do_syscall || !p->do_return)
		return err_set(e, ERR_CONFLICT, "its code holds no way back from a signal");
	return 0;
}

/* The kernel does not list the keys that are in use, but gives out the lowest that is not. */
static int take_keys(struct snap_draft *d, struct err *e)
{
	struct remote *first = &d->remotes.thread[0];
	int64_t key, freed;

	if (remote_call(first, SYS_pkey_alloc, 0, PKEY_DISABLE_ACCESS, 0, 0, &key, e) < 0)
		return -1;
	if (key <= 0) /* the processor has none */
		return 0;
	if (remote_call(first, SYS_pkey_free, (uint64_t)key, 0, 0, 0, &freed, e) < 0)
		return -1;
	d->head.proc.keys = (uint32_t)key - 1;
	for (uint32_t i = 0; i < d->head.table[TABLE_MAPS].n; i++)
		if (d->map[i].key > d->head.proc.keys)
			return err_set(e, ERR_CONFLICT, "it has given back a protection key below one in use");
	return 0;
}

static int take_limits(struct snap_draft *d, struct err *e)
{
	for (unsigned i = 0; i < SNAP_RLIMITS; i++) {
		struct rlimit l;

		if (prlimit(d->take->pid, (__rlimit_resource_t)i, NULL, &l) < 0)
			return err_sys(e, errno, "ask for limits");
		d->head.proc.rlimit[i].soft = l.rlim_cur;
		d->head.proc.rlimit[i].hard = l.rlim_max;
	}
	return 0;
}

int proc_inside(struct snap_draft *d, struct err *e)
{
	char path[64], cwd[4096];
	int64_t r;
	ssize_t n;

	for (unsigned i = 0; i < d->remotes.n; i++)
		if (take_thread(d, &d->remotes.thread[i], &d->thread[i], e) < 0)
			return -1;
	d->head.table[TABLE_THREADS].n = d->remotes.n;
	if (take_signals(d, e) < 0 || check_itimers(d, e) < 0 || take_prctl(d, e) < 0 || take_keys(d, e) < 0 ||
	    take_limits(d, e) < 0)
		return -1;
	if (ask(&d->remotes.thread[0], SYS_brk, 0, 0, 0, 0, &r, "brk", e) < 0)
		return -1;
	d->head.proc.brk = (uint64_t)r;
	snprintf(path, sizeof(path), "/proc/%d/cwd", (int)d->take->pid);
	n = readlink(path, cwd, sizeof(cwd) - 1);
	if (n < 0)
		return err_sys(e, errno, "read %s", path);
	cwd[n] = 0;
	if (*cwd != '/' || access(cwd, F_OK) < 0)
		return err_set(e, ERR_CONFLICT, "its working directory is gone: %s", cwd);
	if (proc_text(d, cwd, &d->head.proc.cwd, e) < 0)
		return -1;
	return find_code(d, e);
}
