/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Freestanding, position-independent, without relocations (the Makefile looks): it is copied to where it runs. See
 * arena.h.
 */
#include "arena.h"
#include <sys/syscall.h>

#define ARENA __attribute__((section("arena_text"), noinline, no_stack_protector))

static inline __attribute__((always_inline)) int64_t call(int64_t nr, const uint64_t *a)
{
	register uint64_t r10 __asm__("r10") = a[3];
	register uint64_t r8 __asm__("r8") = a[4];
	register uint64_t r9 __asm__("r9") = a[5];
	int64_t r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
}

static inline __attribute__((always_inline)) void copy(uint64_t to, uint64_t from, uint64_t n)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

/* A system call by code of the process. What is below the stack pointer may be in use here. */
static inline __attribute__((always_inline)) int64_t call_by(uint64_t code, int64_t nr, const uint64_t *a)
{
	register uint64_t r10 __asm__("r10") = a[3];
	register uint64_t r8 __asm__("r8") = a[4];
	int64_t r;

	__asm__ volatile("sub $128, %%rsp\n\tcall *%[code]\n\tadd $128, %%rsp"
			 : "=a"(r)
			 : "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), [code] "b"(code)
			 : "rcx", "r11", "memory", "cc");
	return r;
}

/* Only one function: two would have to find each other. */
ARENA void arena_run(struct arena_job *job)
{
	for (uint64_t i = 0; i < job->n; i++) {
		const struct arena_op *op = &job->op[i];
		int64_t r;

		if (op->nr == ARENA_COPY) {
			copy(op->a[0], op->a[1], op->a[2]);
			continue;
		}
		r = op->nr == ARENA_CLONE ? call_by(job->do_syscall, SYS_clone, op->a) : call(op->nr, op->a);
		if (op->nr == SYS_clone && r == 0)
			for (;;)
				call(SYS_exit, (uint64_t[6]){0});
		if (op->want == ARENA_ANY ? (uint64_t)r < (uint64_t)-4095 : r == op->want)
			continue;
		job->failed.what = op->what;
		job->failed.op = (uint32_t)i;
		job->failed.result = r;
		job->failed.address = op->a[0];
		call(SYS_write, (uint64_t[6]){(uint64_t)job->told, (uint64_t)&job->failed, sizeof(job->failed)});
		for (;;)
			call(SYS_exit_group, (uint64_t[6]){127});
	}
	/*
	 * Nothing of the arena is left behind, so the process's own code unmaps it: its "syscall; ret" with the stack
	 * on a frame whose first word is the address of its own call of rt_sigreturn.
	 */
	__asm__ volatile("mov %0, %%rsp\n\tjmp *%1"
			 :
			 : "r"(job->frame), "r"(job->do_syscall), "a"(SYS_munmap), "D"(job->start), "S"(job->bytes)
			 : "memory");
	__builtin_unreachable();
}
