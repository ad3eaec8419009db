/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last thing that runs before a restored process: a list of system calls, made ahead by ordinary code (plan.c), and
 * 40 lines that carry it out from a place that the process does not use, while everything else is taken down and put
 * up again. Those lines use nothing but what is in the arena: no library, no data, no stack of the old image.
 */
#pragma once
#include <stdint.h>

#define ARENA_ANY INT64_MAX /* any result that is no error */

enum arena_what {
	WHAT_CLEAR,
	WHAT_VDSO,
	WHAT_MAP,
	WHAT_READ,
	WHAT_PROTECT,
	WHAT_ADVISE,
	WHAT_PROCESS,
	WHAT_SIGNAL,
	WHAT_WAIT,
	WHAT_FOLDER,
	WHAT_THREAD,
	WHAT_CLOSE,
	WHAT_N
};
#define ARENA_COPY (-1) /* nr: not a system call; a[1], a[2] bytes, to a[0] */
/*
 * nr: clone, by the process's "syscall; ret". The new thread begins with that "ret", on a stack of its own that leads it
 * on: it runs nothing of the arena, which may then go when it likes. (A plain clone is for a thread that ends at once.)
 */
#define ARENA_CLONE (-2)

struct arena_op {
	int32_t nr;
	uint32_t what;
	int64_t want; /* what it has to return, or ARENA_ANY */
	uint64_t a[6];
};

/* What is written to the descriptor told when a step fails; then exit_group(127). */
struct arena_failed {
	uint32_t what, op;
	int64_t result;
	uint64_t address;
};

struct arena_job {
	const struct arena_op *op;
	uint64_t n;
	uint64_t start, bytes; /* of the arena, which is gone when the process runs */
	uint64_t do_syscall;   /* "syscall; ret" in the process */
	uint64_t frame;	       /* of rt_sigreturn, on the process's stack; begins with the address that calls it */
	int64_t told;
	struct arena_failed failed;
};

/* The section that arena_run is alone in; its first byte is the entry, the job the first argument. */
extern const char arena_code[] __asm__("__start_arena_text"), arena_code_end[] __asm__("__stop_arena_text");
void arena_run(struct arena_job *job) __attribute__((noreturn));
