/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file that a process image lies in (docs/snapshots.md). One machine writes and reads it, so numbers are as they
 * lie in memory:
 *
 *      struct snap_head │ zeros to a page │ pages │ tables, in the order of enum snap_table │ hole of SNAP_TAIL
 *
 * The hole takes no place on the disk. Memory of a restored process may be mapped from the image; when it makes such a
 * piece longer (mremap, so realloc), what is behind it in the file has to be something.
 *
 * Whoever wrote it is not believed: view_parse() checks every offset, length, count, order and overlap against the
 * bytes that are there, and nothing else looks at an image that it has not passed.
 */
#pragma once
#include <stdbool.h>
#include "base/err.h"

#define SNAP_MAGIC   0x70616e736d646e74ull /* "tndmsnap" */
#define SNAP_VERSION 3

#define SNAP_PAGE	 4096u
#define SNAP_TAIL	 (64ull << 30)
#define SNAP_ADDR_MIN	 0x10000ull
#define SNAP_ADDR_END	 0x7ffffffff000ull
#define SNAP_MAPS_MAX	 65536u
#define SNAP_FILES_MAX	 700u /* all open at once while restoring, within RLIMIT_NOFILE */
#define SNAP_RUNS_MAX	 (1u << 20)
#define SNAP_FDS_MAX	 250u
#define SNAP_FD_END	 256u /* numbers of the process end below; the restorer works above */
#define SNAP_TEXT_MAX	 (4u << 20)
#define SNAP_PIPE_MAX	 4096u /* bytes that a pipe may hold */
#define SNAP_WATCH_MAX	 1024u
#define SNAP_THREADS_MAX 64u
#define SNAP_GAPS_MAX	 256u	/* numbers between those of threads, of what has ended */
#define SNAP_XSTATE_MAX	 16384u /* per thread */
#define SNAP_TABLES_MAX	 (96ull << 20)
#define SNAP_AUXV_MAX	 64u /* words; the kernel refuses more than it keeps */
#define SNAP_KEYS_MAX	 15u
#define SNAP_SIGNALS	 64u
#define SNAP_RLIMITS	 16u

enum snap_table {
	TABLE_MAPS,
	TABLE_RUNS,
	TABLE_FILES,
	TABLE_FDS,
	TABLE_WATCHES,
	TABLE_THREADS,
	TABLE_TEXT,
	TABLE_XSTATE,
	TABLE_N
};

/* What has to be the same where it is taken and where it is restored; compared byte by byte. */
struct snap_ident {
	char release[192]; /* of the kernel, and the number of its build */
	uint64_t vdso_hash, cpu_hash, xcr0;
	uint32_t vdso_bytes;  /* vvar and vdso together */
	uint32_t frame_bytes; /* of the xstate in a real signal frame of tandem-init */
	uint64_t frame_features;
};

enum snap_map_flag {
	MAP_F_SHARED = 1, /* a file, read-only */
	MAP_F_STACK = 2,  /* grows down */
	MAP_F_NORESERVE = 4,
	MAP_F_DROPPABLE = 8,
	MAP_F_BRK = 16, /* the heap of brk: nobody remaps it */
};
struct snap_map {
	uint64_t start, end, offset; /* offset into the file */
	uint32_t file;		     /* index + 1; 0: anonymous */
	uint8_t prot;		     /* PROT_ */
	uint8_t flags;		     /* enum snap_map_flag */
	uint8_t advice;		     /* bits of enum snap_advice */
	uint8_t key;		     /* of protection; 0: none */
	uint32_t run, n_runs;	     /* its part of TABLE_RUNS */
};
enum snap_advice {
	ADVICE_SEQUENTIAL,
	ADVICE_RANDOM,
	ADVICE_DONTFORK,
	ADVICE_WIPEONFORK,
	ADVICE_DONTDUMP,
	ADVICE_HUGEPAGE,
	ADVICE_NOHUGEPAGE,
	ADVICE_MERGEABLE,
	ADVICE_N
};

/* Pages that follow each other in memory and in the image. */
struct snap_run {
	uint64_t addr, at; /* at: offset into the image */
	uint32_t pages, zero;
};

struct snap_file {
	uint64_t dev, ino, size;
	int64_t mtime_s;
	uint32_t mtime_ns, path; /* path: offset into TABLE_TEXT */
};
struct stat;
/* What has to be the same for a file to be the same, without its path. */
void file_is(struct snap_file *ret, const struct stat *st);

enum snap_fd_kind { FD_CHANNEL, FD_LOG, FD_FILE, FD_EVENT, FD_PIPE, FD_EPOLL, FD_KIND_N };
struct snap_fd {
	uint32_t fd, kind, flags; /* flags: O_ of open, with O_CLOEXEC */
	uint32_t of;	 /* FD_FILE: its file; FD_EVENT, FD_PIPE: the first descriptor of the same; index + 1 */
	uint64_t offset; /* FD_EVENT: its counter; FD_PIPE: where in TABLE_TEXT is what it holds */
	uint32_t semaphore, held; /* FD_EVENT; FD_PIPE: bytes in it */
};
/* What an epoll set waits for. */
struct snap_watch {
	uint32_t epoll, fd, events, zero;
	uint64_t data;
};

/* As the kernel's struct sigaction has it on x86-64. */
struct snap_sigaction {
	uint64_t handler, flags, restorer, mask;
};

/* The first is the process's own; the others by number, upwards. */
struct snap_thread {
	uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, rip, eflags, rsp;
	uint64_t fs_base, gs_base;
	uint64_t sigmask, altstack_sp, altstack_size;
	uint64_t robust_list, tid_address, rseq;
	uint32_t altstack_flags, rseq_bytes, rseq_signature, tid;
	uint32_t xstate, xstate_bytes; /* part of TABLE_XSTATE */
	uint64_t timer_slack_ns;
	char comm[16];
};

struct snap_proc {
	uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
	uint64_t arg_start, arg_end, env_start, env_end;
	uint64_t vdso;			/* lowest address of vvar and vdso */
	uint64_t do_syscall, do_return; /* code in it: "syscall; ret", and what calls rt_sigreturn */
	uint64_t auxv[SNAP_AUXV_MAX];
	uint32_t n_auxv, umask, pid, cwd; /* cwd: offset into TABLE_TEXT */
	uint32_t eager;			  /* an allocator that relies on MADV_DONTNEED is loaded: map nothing lazily */
	uint32_t membarrier;		  /* commands that it has registered */
	uint32_t keys, zero;		  /* of protection that are in use, from 1 on */
	struct {
		uint64_t soft, hard;
	} rlimit[SNAP_RLIMITS];
	struct snap_sigaction action[SNAP_SIGNALS]; /* of signal i + 1 */
};

struct snap_head {
	uint64_t magic;
	uint32_t version, head_bytes;
	uint64_t tables_at, file_bytes; /* tables_at: a multiple of the page size; file_bytes: without the hole */
	struct {
		uint32_t at, n; /* offset behind tables_at, count of elements */
	} table[TABLE_N];
	struct snap_ident ident;
	struct snap_proc proc;
};

/* A checked image. Points into the bytes that view_parse was given. */
struct snap_view {
	const struct snap_head *head;
	const struct snap_map *map;
	const struct snap_run *run;
	const struct snap_file *file;
	const struct snap_fd *fd;
	const struct snap_watch *watch;
	const struct snap_thread *thread;
	const char *text;
	const uint8_t *xstate;
};

extern const size_t snap_table_size[TABLE_N]; /* of one element */
#define SNAP_PAGES_AT ((sizeof(struct snap_head) + SNAP_PAGE - 1) / SNAP_PAGE * SNAP_PAGE)
/* How many bytes of tables there are, at h->tables_at; bytes is the length of the file. */
int view_tables_bytes(const struct snap_head *h, uint64_t bytes, size_t *ret, struct err *e);
/* Both are borrowed and aligned to 16. */
int view_parse(const struct snap_head *h, const void *tables, size_t n, uint64_t bytes, struct snap_view *ret,
	       struct err *e);
static inline uint32_t view_n(const struct snap_view *v, enum snap_table t)
{
	return v->head->table[t].n;
}
