/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/crash.h"
#include <elf.h>
#include <execinfo.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/def.h"
#include "base/enc.h"
#include "base/moves.h"

#define FRAMES_MAX 64
#define STACK_SIZE (64 * 1024) /* a stack that ran out is one of the reasons */

static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS};
static char stack[STACK_SIZE], build[41] = "unknown";

/* The program's own note (ld --build-id): what debuggers find its symbols by. */
static int find_build(struct dl_phdr_info *info, size_t size, void *arg)
{
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		const char *p = (const char *)info->dlpi_addr + ph->p_vaddr, *end = p + ph->p_memsz;

		while (ph->p_type == PT_NOTE && (size_t)(end - p) >= sizeof(ElfW(Nhdr))) {
			const ElfW(Nhdr) *note = (const void *)p;
			const char *desc = p + sizeof(*note) + ((note->n_namesz + 3) & ~3u);

			if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && note->n_descsz <= 20) {
				enc_hex(desc, note->n_descsz, build);
				return 1;
			}
			p = desc + ((note->n_descsz + 3) & ~3u);
		}
	}
	return 1; /* the first is the program itself */
}

static void say(const char *fmt, ...) PRINTF(1, 2);

/* snprintf of numbers and literals takes no memory and no lock. */
static void say(const char *fmt, ...)
{
	char line[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (write(STDERR_FILENO, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1) < 0)
		return;
}

static void report(int sig, siginfo_t *si, void *context)
{
	struct move last[MOVES_KEPT];
	void *frame[FRAMES_MAX];
	unsigned n = moves_last(last);
	int64_t now = clock_wall_us();

	say("crash: tandemd %s, build %s, ended by signal %d (%s), address %p\n", TANDEM_VERSION, build, sig,
	    sigabbrev_np(sig), si->si_addr);
	backtrace_symbols_fd(frame, backtrace(frame, FRAMES_MAX), STDERR_FILENO);
	for (unsigned i = 0; i < n; i++)
		say("crash: %9.3f s before: %s %llu to %s\n", (double)(now - last[i].at_us) / 1e6, last[i].what,
		    (unsigned long long)last[i].id, last[i].to);
	signal(sig, SIG_DFL);
	raise(sig);
}

void crash_init(void)
{
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction sa = {.sa_sigaction = report, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND};
	void *warm[1];

#ifdef __SANITIZE_ADDRESS__
	return; /* it says more */
#endif
	backtrace(warm, 1); /* loads what it needs now, while memory and files may be had */
	dl_iterate_phdr(find_build, NULL);
	sigaltstack(&alternate, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(fatal); i++)
		sigaction(fatal[i], &sa, NULL);
}
