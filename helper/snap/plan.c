/* SPDX-License-Identifier: Apache-2.0 */
#include "plan.h"
#include "ahead.h"
#include <asm/prctl.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#ifndef ARCH_MAP_VDSO_64
#define ARCH_MAP_VDSO_64 0x2003
#endif
#define MAP_DROPPABLE_	 0x08 /* Linux 6.11 */
#define ARENA_STACK	 (16u << 10)
#define ARENA_DATA	 (64u << 10) /* auxiliary vector, limits, actions */
#define STACK_MAX	 (256ull << 20)
#define STACK_GUARD	 (256ull * SNAP_PAGE)
#define RED_ZONE	 128
#define PARTS_MAX	 (AHEAD_WHOLE_MAX / SNAP_PAGE / 2)
#define OPS_PER_THREAD	 10u
#define EFLAGS		 0x202u
#define LAZY_PAGES	 16u /* fewer are read at once: a mapping of the image costs more */
#define UC_FP_XSTATE	 1u  /* of the kernel's ucontext */
#define UC_SIGCONTEXT_SS 2u
#define UC_STRICT_SS	 4u

/* What the kernel puts on a stack for a handler, and takes from there at rt_sigreturn. */
struct frame {
	uint64_t back; /* of the handler: the code that calls rt_sigreturn */
	uint64_t flags, link, stack_sp, stack_flags, stack_size;
	struct sigcontext sc;
	uint64_t sigmask;
	char info[128];
};

/*
 * On the stack of a thread that begins (ARENA_CLONE): frames that each make a system call by the process's own code and
 * come to the next. Only a thread itself can say what its robust list and its restartable sequence are; and all wait
 * until all are there and the descriptors are the process's own, because what one of them begins would take the number
 * of another, and what it opens might be closed.
 */
struct chain {
	struct frame wait, robust, rseq;
	uint32_t go;
};

static void op(struct plan *p, enum arena_what what, long nr, int64_t want, uint64_t a0, uint64_t a1, uint64_t a2,
	       uint64_t a3, uint64_t a4, uint64_t a5)
{
	if (p->n < p->room)
		p->op[p->n] = (struct arena_op){(int32_t)nr, what, want, {a0, a1, a2, a3, a4, a5}};
	p->n++;
}

/* Memory that is still there while the plan runs. NULL: full. */
static void *data(struct plan *p, size_t n)
{
	char *at = p->data;

	n = (n + 63) & ~63ul;
	if (n > (size_t)(p->data_end - p->data))
		return NULL;
	p->data += n;
	return at;
}

static uint64_t addr(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

static size_t ops_max(const struct snap_view *v)
{
	return 256 + (size_t)view_n(v, TABLE_MAPS) * (4 + ADVICE_N) + (size_t)view_n(v, TABLE_RUNS) * 2 +
	       view_n(v, TABLE_THREADS) * OPS_PER_THREAD + view_n(v, TABLE_FDS) + SNAP_GAPS_MAX + PARTS_MAX;
}

static size_t data_max(const struct snap_view *v)
{
	return ARENA_DATA + view_n(v, TABLE_THREADS) * (v->head->ident.frame_bytes + sizeof(struct chain) + 1024);
}

uint64_t plan_arena(const struct snap_view *v, size_t *ret_bytes)
{
	/* Far from where the kernel puts programs, heaps, libraries and stacks. */
	static const uint64_t places[] = {0x100000000000, 0x200000000000, 0x300000000000, 0x180000000000,
					  0x080000000000};
	size_t bytes = ops_max(v) * sizeof(struct arena_op) + data_max(v) + ARENA_STACK + 2 * SNAP_PAGE;
	uint64_t vdso = v->head->proc.vdso;

	*ret_bytes = bytes = (bytes + SNAP_PAGE - 1) & ~(size_t)(SNAP_PAGE - 1);
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		uint64_t from = places[i] - (64ull << 20), to = places[i] + bytes + STACK_MAX + (64ull << 20);
		bool hit = vdso < to && vdso + v->head->ident.vdso_bytes > from;

		for (uint32_t m = 0; m < view_n(v, TABLE_MAPS) && !hit; m++)
			hit = v->map[m].start < to && v->map[m].end > from;
		if (!hit)
			return places[i];
	}
	return 0;
}

/* --- memory --- */

static void read_pages(struct plan *p, uint64_t at, uint64_t bytes, uint64_t from)
{
	op(p, WHAT_READ, SYS_pread64, (int64_t)bytes, (uint64_t)p->image, at, bytes, from, 0, 0);
}

static bool is_whole(const struct snap_map *m, const struct snap_run *r)
{
	return m->n_runs == 1 && r->addr == m->start && r->addr + (uint64_t)r->pages * SNAP_PAGE == m->end;
}

bool plan_reads(const struct snap_view *v, const struct snap_map *m, const struct snap_run *r)
{
	return (r->pages < LAZY_PAGES && !is_whole(m, r)) || m->flags & MAP_F_STACK || m->prot & PROT_EXEC ||
	       v->head->proc.eager;
}

/* Returns whether pages were read, which needs the right to write. */
static bool put_run(struct plan *p, const struct snap_map *m, const struct snap_run *r)
{
	uint64_t at = r->addr, bytes = (uint64_t)r->pages * SNAP_PAGE, from = r->at;

	if (plan_reads(p->view, m, r)) {
		read_pages(p, at, bytes, from);
		return true;
	}
	op(p, WHAT_MAP, SYS_mmap, (int64_t)at, at, bytes, m->prot,
	   MAP_PRIVATE | MAP_FIXED | (m->flags & MAP_F_NORESERVE ? MAP_NORESERVE : 0), (uint64_t)p->image, from);
	return false;
}

/*
 * A stack is mapped to its full size at once: new mappings of the restored process would lie close below, because the
 * kernel's idea of where they go is tandem-init's, and it could not grow into them.
 */
static uint64_t stack_start(const struct snap_view *v, uint32_t i)
{
	const struct snap_map *m = &v->map[i];
	uint64_t want = v->head->proc.rlimit[RLIMIT_STACK].soft, below = SNAP_ADDR_MIN, vdso;

	vdso = v->head->proc.vdso + v->head->ident.vdso_bytes;
	if (want > STACK_MAX)
		want = STACK_MAX;
	want &= ~(uint64_t)(SNAP_PAGE - 1);
	if (i > 0)
		below = m[-1].end;
	if (vdso > below && vdso <= m->start)
		below = vdso;
	below += STACK_GUARD;
	if (below > m->start || want <= m->end - m->start)
		return m->start;
	return m->end - below < want ? below : m->end - want;
}

/*
 * Only what is touched is to be read, and to be mapped: where neighbours are in memory, the kernel maps 16 pages at a
 * fault, but never more than a mapping. So each page of a small image, which comes as a whole, gets one of its own.
 */
static void put_by_page(struct plan *p, const struct snap_map *m, uint64_t start)
{
	op(p, WHAT_ADVISE, SYS_madvise, 0, start, m->end - start, MADV_RANDOM, 0, 0, 0);
	if (p->view->head->file_bytes > AHEAD_WHOLE_MAX || view_n(p->view, TABLE_MAPS) > SNAP_MAPS_MAX / 4)
		return;
	for (const struct snap_run *r = &p->view->run[m->run]; r < &p->view->run[m->run + m->n_runs]; r++)
		for (uint32_t k = 1; k < r->pages && p->n_parts < PARTS_MAX && !plan_reads(p->view, m, r); k += 2) {
			op(p, WHAT_ADVISE, SYS_madvise, 0, r->addr + (uint64_t)k * SNAP_PAGE, SNAP_PAGE, MADV_NORMAL, 0,
			   0, 0);
			p->n_parts++;
		}
}

static void put_map(struct plan *p, uint32_t i)
{
	const struct snap_map *m = &p->view->map[i];
	const struct snap_run *r = &p->view->run[m->run];
	uint64_t start = m->flags & MAP_F_STACK ? stack_start(p->view, i) : m->start, bytes = m->end - start;
	static const int advice[ADVICE_N] = {MADV_SEQUENTIAL, MADV_RANDOM,   MADV_DONTFORK,   MADV_WIPEONFORK,
					     MADV_DONTDUMP,   MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_MERGEABLE};
	bool read = false, lazy = m->file != 0;
	uint64_t flags = MAP_FIXED | (m->flags & MAP_F_SHARED ? MAP_SHARED : MAP_PRIVATE) |
			 (m->flags & MAP_F_NORESERVE ? MAP_NORESERVE : 0) |
			 (m->flags & MAP_F_STACK ? MAP_GROWSDOWN : 0) | (m->file ? 0 : MAP_ANONYMOUS);
	uint64_t prot = m->prot | (m->n_runs ? PROT_WRITE : 0);
	size_t before = p->n;

	if (m->flags & MAP_F_DROPPABLE)
		flags = MAP_FIXED | MAP_ANONYMOUS | MAP_DROPPABLE_;
	op(p, WHAT_MAP, SYS_mmap, (int64_t)start, start, bytes, prot, flags,
	   m->file ? (uint64_t)p->file_fd[m->file - 1] : ~0ull, m->file ? m->offset : 0);
	for (uint32_t k = 0; k < m->n_runs; k++) {
		bool now = put_run(p, m, &r[k]);

		read |= now, lazy |= !now;
	}
	if (is_whole(m, r) && !read && p->n == before + 2) { /* nothing is left of the first */
		if (p->n <= p->room)
			p->op[before] = p->op[before + 1];
		p->n--;
	} else if (prot != m->prot) {
		op(p, WHAT_PROTECT, SYS_mprotect, 0, start, bytes, m->prot, 0, 0, 0);
	}
	if (m->key)
		op(p, WHAT_PROTECT, SYS_pkey_mprotect, 0, start, bytes, m->prot, m->key, 0, 0);
	if (p->by_page && lazy)
		put_by_page(p, m, start);
	for (unsigned a = 0; a < ADVICE_N; a++)
		if (m->advice & 1u << a)
			op(p, WHAT_ADVISE, SYS_madvise, 0, start, bytes, (uint64_t)advice[a], 0, 0, 0);
}

/* --- the rest of the process --- */

static int put_process(struct plan *p)
{
	const struct snap_proc *s = &p->view->head->proc;
	struct prctl_mm_map *mm = data(p, sizeof(*mm));
	uint64_t *auxv = data(p, sizeof(s->auxv));

	if (!mm || !auxv)
		return -1;
	memcpy(auxv, s->auxv, sizeof(s->auxv));
	*mm = (struct prctl_mm_map){
		.start_code = s->start_code,
		.end_code = s->end_code,
		.start_data = s->start_data,
		.end_data = s->end_data,
		.start_brk = s->start_brk,
		.brk = s->brk,
		.start_stack = s->start_stack,
		.arg_start = s->arg_start,
		.arg_end = s->arg_end,
		.env_start = s->env_start,
		.env_end = s->env_end,
		.auxv = (__u64 *)auxv,
		.auxv_size = s->n_auxv * 8,
		.exe_fd = ~0u,
	};
	op(p, WHAT_PROCESS, SYS_prctl, 0, PR_SET_MM, PR_SET_MM_MAP, addr(mm), sizeof(*mm), 0, 0);
	for (unsigned i = 0; i < SNAP_RLIMITS; i++) {
		struct rlimit now, *l;

		if (getrlimit((__rlimit_resource_t)i, &now) < 0 || s->rlimit[i].hard > now.rlim_max ||
		    (s->rlimit[i].soft == now.rlim_cur && s->rlimit[i].hard == now.rlim_max))
			continue;
		l = data(p, sizeof(*l));
		if (!l)
			return -1;
		*l = (struct rlimit){s->rlimit[i].soft, s->rlimit[i].hard};
		op(p, WHAT_PROCESS, SYS_setrlimit, 0, i, addr(l), 0, 0, 0, 0);
	}
	for (unsigned bit = 0; bit < 32; bit++)
		if (s->membarrier & 1u << bit)
			op(p, WHAT_PROCESS, SYS_membarrier, 0, 1u << bit, 0, 0, 0, 0, 0);
	return 0;
}

static int put_signals(struct plan *p)
{
	static const struct snap_sigaction none;

	for (unsigned i = 0; i < SNAP_SIGNALS; i++) {
		const struct snap_sigaction *a = &p->view->head->proc.action[i];
		struct snap_sigaction *to;

		if (!memcmp(a, &none, sizeof(none)))
			continue; /* as in tandem-init */
		to = data(p, sizeof(*to));
		if (!to)
			return -1;
		*to = *a;
		op(p, WHAT_SIGNAL, SYS_rt_sigaction, 0, i + 1, addr(to), 0, 8, 0, 0);
	}
	return 0;
}

static void fill_xstate(uint8_t *to, const struct snap_view *v, const struct snap_thread *t)
{
	const struct snap_ident *id = &v->head->ident;
	uint32_t n = t->xstate_bytes < id->frame_bytes ? t->xstate_bytes : id->frame_bytes;
	struct _fpx_sw_bytes sw = {.magic1 = FP_XSTATE_MAGIC1,
				   .extended_size = id->frame_bytes + FP_XSTATE_MAGIC2_SIZE,
				   .xstate_bv = id->frame_features,
				   .xstate_size = id->frame_bytes};
	uint32_t end = FP_XSTATE_MAGIC2;
	uint64_t have;

	memcpy(to, v->xstate + t->xstate, n);
	memcpy(to + 464, &sw, sizeof(sw));
	memcpy(&have, to + 512, 8);
	have &= id->frame_features;
	memcpy(to + 512, &have, 8);
	memcpy(to + id->frame_bytes, &end, sizeof(end));
}

/* All registers of the thread; x_at: where its extended state lies. */
static struct frame frame_of(const struct snap_view *v, const struct snap_thread *t, uint64_t x_at)
{
	return (struct frame){
		.back = v->head->proc.do_return,
		.flags = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_SS,
		.stack_sp = t->altstack_sp,
		.stack_flags = t->altstack_flags,
		.stack_size = t->altstack_size,
		.sc = {.r8 = t->r8,
		       .r9 = t->r9,
		       .r10 = t->r10,
		       .r11 = t->r11,
		       .r12 = t->r12,
		       .r13 = t->r13,
		       .r14 = t->r14,
		       .r15 = t->r15,
		       .rdi = t->rdi,
		       .rsi = t->rsi,
		       .rbp = t->rbp,
		       .rbx = t->rbx,
		       .rdx = t->rdx,
		       .rax = t->rax,
		       .rcx = t->rcx,
		       .rsp = t->rsp,
		       .rip = t->rip,
		       .eflags = t->eflags,
		       .cs = 0x33,
		       .__pad0 = 0x2b /* ss */,
		       .fpstate = (struct _fpstate *)(uintptr_t)x_at},
		.sigmask = t->sigmask,
	};
}

/* A system call with no more than four arguments, then what lies at next. No signal comes in between. */
static struct frame frame_call(const struct snap_view *v, uint64_t next, long nr, uint64_t a0, uint64_t a1, uint64_t a2,
			       uint64_t a3)
{
	return (struct frame){
		.back = v->head->proc.do_return,
		.flags = UC_SIGCONTEXT_SS | UC_STRICT_SS,
		.stack_flags = SS_DISABLE,
		.sc = {.rax = (uint64_t)nr,
		       .rdi = a0,
		       .rsi = a1,
		       .rdx = a2,
		       .r10 = a3,
		       .rsp = next,
		       .rip = v->head->proc.do_syscall,
		       .eflags = EFLAGS,
		       .cs = 0x33,
		       .__pad0 = 0x2b /* ss */},
		.sigmask = ~0ull,
	};
}

/* Is the stack writable from here up to where the thread has it? */
static bool on_stack(const struct snap_view *v, const struct snap_thread *t, uint64_t from)
{
	for (uint32_t i = 0; i < view_n(v, TABLE_MAPS); i++) {
		const struct snap_map *m = &v->map[i];
		uint64_t start = m->flags & MAP_F_STACK ? stack_start(v, i) : m->start;

		if (from >= start && from < t->rsp && t->rsp <= m->end && m->prot & PROT_WRITE)
			return true;
	}
	return false;
}

/* The thread's registers, onto its stack. *ret: where the frame lies. */
static int put_frame(struct plan *p, const struct snap_thread *t, uint64_t *ret, struct err *e)
{
	uint32_t x_bytes = p->view->head->ident.frame_bytes + FP_XSTATE_MAGIC2_SIZE;
	/* The kernel wants the state aligned to 64; the frame lies below it. */
	uint64_t x_at = (t->rsp - RED_ZONE - x_bytes) & ~63ull;
	uint64_t f_at = (x_at - sizeof(struct frame) - 64) & ~63ull;
	struct frame *f = data(p, sizeof(*f));
	uint8_t *x = data(p, x_bytes);

	if (!f || !x || !on_stack(p->view, t, f_at))
		return err_set(e, ERR_CONFLICT, "no room on the stack of a thread");
	*f = frame_of(p->view, t, x_at);
	fill_xstate(x, p->view, t);
	op(p, WHAT_THREAD, ARENA_COPY, 0, f_at, addr(f), sizeof(*f), 0, 0, 0);
	op(p, WHAT_THREAD, ARENA_COPY, 0, x_at, addr(x), x_bytes, 0, 0, 0);
	*ret = f_at;
	return 0;
}

/* What a new thread inherits from the one that makes it, and what that one then has to have itself again. */
static int put_inherited(struct plan *p, const struct snap_thread *t)
{
	char *name = data(p, sizeof(t->comm));

	if (!name)
		return -1;
	memcpy(name, t->comm, sizeof(t->comm));
	op(p, WHAT_THREAD, SYS_prctl, 0, PR_SET_NAME, addr(name), 0, 0, 0, 0);
	op(p, WHAT_THREAD, SYS_prctl, 0, PR_SET_TIMERSLACK, t->timer_slack_ns, 0, 0, 0, 0);
	op(p, WHAT_THREAD, SYS_arch_prctl, 0, ARCH_SET_GS, t->gs_base, 0, 0, 0, 0);
	return 0;
}

/* number: of the first thread that is not there yet */
static int put_clone(struct plan *p, const struct snap_thread *t, uint32_t number, uint64_t *ret_go, struct err *e)
{
	const uint64_t same = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
	struct chain *c = data(p, sizeof(*c));
	uint64_t frame, at, go;

	if (!c || put_inherited(p, t) < 0)
		return err_set(e, ERR_BUG, "the arena is too small");
	if (put_frame(p, t, &frame, e) < 0)
		return -1;
	at = (frame - sizeof(*c)) & ~63ull;
	if (!on_stack(p->view, t, at))
		return err_set(e, ERR_CONFLICT, "no room on the stack of a thread");
	go = at + offsetof(struct chain, go);
	c->wait = frame_call(p->view, at + offsetof(struct chain, robust), SYS_futex, go, FUTEX_WAIT_PRIVATE, 0, 0);
	c->robust =
		frame_call(p->view, at + offsetof(struct chain, rseq), SYS_set_robust_list, t->robust_list, 24, 0, 0);
	c->rseq = frame_call(p->view, frame, SYS_rseq, t->rseq, t->rseq_bytes, 0, t->rseq_signature);
	op(p, WHAT_THREAD, ARENA_COPY, 0, at, addr(c), sizeof(*c), 0, 0, 0);
	for (; number < t->tid; number++)
		op(p, WHAT_THREAD, SYS_clone, number, same | CLONE_VFORK, 0, 0, 0, 0, 0);
	op(p, WHAT_THREAD, ARENA_CLONE, t->tid, same | CLONE_SETTLS | (t->tid_address ? CLONE_CHILD_CLEARTID : 0), at,
	   0, t->tid_address, t->fs_base, 0);
	*ret_go = go;
	return 0;
}

/* go: where each of the others waits */
static int put_threads(struct plan *p, uint64_t go[SNAP_THREADS_MAX], struct err *e)
{
	const struct snap_thread *t = p->view->thread;

	for (uint32_t i = 1; i < view_n(p->view, TABLE_THREADS); i++)
		if (put_clone(p, &t[i], t[i - 1].tid + 1, &go[i], e) < 0)
			return -1;
	if (put_inherited(p, t) < 0)
		return err_set(e, ERR_BUG, "the arena is too small");
	op(p, WHAT_THREAD, SYS_arch_prctl, 0, ARCH_SET_FS, t->fs_base, 0, 0, 0, 0);
	op(p, WHAT_THREAD, SYS_set_tid_address, t->tid, t->tid_address, 0, 0, 0, 0, 0);
	if (t->robust_list)
		op(p, WHAT_THREAD, SYS_set_robust_list, 0, t->robust_list, 24, 0, 0, 0, 0);
	if (t->rseq)
		op(p, WHAT_THREAD, SYS_rseq, 0, t->rseq, t->rseq_bytes, 0, t->rseq_signature, 0, 0);
	op(p, WHAT_THREAD, SYS_prctl, 0, PR_SET_DUMPABLE, 1, 0, 0, 0, 0);
	return put_frame(p, t, &p->job->frame, e);
}

/* The last step: what they open from now on is theirs. */
static int put_wakes(struct plan *p, const uint64_t go[SNAP_THREADS_MAX])
{
	uint32_t *one = data(p, sizeof(*one));

	if (!one)
		return -1;
	*one = 1;
	for (uint32_t i = 1; i < view_n(p->view, TABLE_THREADS); i++) {
		op(p, WHAT_THREAD, ARENA_COPY, 0, go[i], addr(one), sizeof(*one), 0, 0, 0);
		op(p, WHAT_THREAD, SYS_futex, ARENA_ANY, go[i], FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
	}
	return 0;
}

/* What comes before needs nothing of the function's, and runs nothing of it. */
static int put_wait(struct plan *p)
{
	const char *cwd = p->view->text + p->view->head->proc.cwd;
	struct pollfd *f = data(p, sizeof(*f));
	char *path = data(p, strlen(cwd) + 1), *byte = data(p, 1);

	if (!f || !path || !byte)
		return -1;
	*f = (struct pollfd){.fd = p->channel, .events = POLLIN};
	if (p->channel >= 0) {
		op(p, WHAT_WAIT, SYS_poll, 1, addr(f), 1, ~0ull, 0, 0, 0);
		/* Nothing, when the other side is closed. */
		op(p, WHAT_WAIT, SYS_recvfrom, 1, (uint64_t)p->channel, addr(byte), 1, MSG_PEEK | MSG_DONTWAIT, 0, 0);
	}
	memcpy(path, cwd, strlen(cwd) + 1);
	op(p, WHAT_FOLDER, SYS_chdir, 0, addr(path), 0, 0, 0, 0, 0);
	return 0;
}

/* All that is not the process's: ours above its highest, the files that are mapped wherever a number was free. */
static void put_closes(struct plan *p)
{
	uint32_t from = 0;

	for (uint32_t i = 0; i < view_n(p->view, TABLE_FDS); i++) {
		uint32_t fd = p->view->fd[i].fd;

		if (fd > from)
			op(p, WHAT_CLOSE, SYS_close_range, 0, from, fd - 1, 0, 0, 0, 0);
		from = fd + 1;
	}
	op(p, WHAT_CLOSE, SYS_close_range, 0, from, ~0u, 0, 0, 0, 0);
}

int plan_make(struct plan *p, struct err *e)
{
	const struct snap_proc *s = &p->view->head->proc;
	uint64_t start = addr(p->arena), end = start + p->arena_bytes, go[SNAP_THREADS_MAX];

	p->job = (struct arena_job *)(p->arena + SNAP_PAGE);
	p->room = ops_max(p->view);
	p->op = (struct arena_op *)(p->arena + SNAP_PAGE + 256);
	p->data = (char *)(p->op + p->room);
	p->data_end = p->data + data_max(p->view);
	p->n = p->n_parts = 0;
	op(p, WHAT_CLEAR, SYS_munmap, 0, 0, start, 0, 0, 0, 0);
	op(p, WHAT_CLEAR, SYS_munmap, 0, end, SNAP_ADDR_END - end, 0, 0, 0, 0);
	op(p, WHAT_VDSO, SYS_arch_prctl, ARENA_ANY, ARCH_MAP_VDSO_64, s->vdso, 0, 0, 0, 0);
	for (uint32_t key = 1; key <= s->keys; key++)
		op(p, WHAT_PROTECT, SYS_pkey_alloc, key, 0, PKEY_DISABLE_ACCESS, 0, 0, 0, 0);
	for (uint32_t i = 0; i < view_n(p->view, TABLE_MAPS); i++)
		put_map(p, i);
	if (put_process(p) < 0 || put_signals(p) < 0 || put_wait(p) < 0)
		return err_set(e, ERR_BUG, "the arena is too small");
	if (put_threads(p, go, e) < 0)
		return -1;
	put_closes(p);
	if (put_wakes(p, go) < 0 || p->n > p->room)
		return err_set(e, ERR_BUG, "the arena is too small");
	*p->job = (struct arena_job){.op = p->op,
				     .n = p->n,
				     .start = start,
				     .bytes = p->arena_bytes,
				     .do_syscall = s->do_syscall,
				     .frame = p->job->frame,
				     .told = p->told};
	return 0;
}
