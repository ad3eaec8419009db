/* SPDX-License-Identifier: Apache-2.0 */
#include "zoo.h"

#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define MB   (1 << 20)

static unsigned char *block, *other;
static uint64_t kept_number;
static volatile sig_atomic_t caught;
static size_t block_bytes;

static uint64_t sum(const unsigned char *p, size_t n)
{
	uint64_t s = 0;

	for (size_t i = 0; i < n; i += 64)
		s = s * 31 + p[i];
	return s;
}

static unsigned char *map(size_t n, int prot, int flags, int fd)
{
	unsigned char *p = mmap(NULL, n, prot, flags, fd, 0);

	MUST(p != MAP_FAILED);
	return p;
}

static void fill(unsigned char *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (unsigned char)(i * 2654435761u >> 13 ^ seed);
}

/* --- memory --- */

static void heap_make(void)
{
	block_bytes = 3 * MB;
	block = malloc(100);
	other = malloc(block_bytes); /* by mmap */
	fill(block, 100, 1);
	fill(other, block_bytes, 2);
	kept_number = sum(block, 100) ^ sum(other, block_bytes);
}
static const char *heap_check(void)
{
	unsigned char *more;

	WANT((sum(block, 100) ^ sum(other, block_bytes)) == kept_number);
	more = realloc(other, 64 * MB); /* grows a mapping that may be one of the image */
	WANT(more && sum(more, block_bytes) == (kept_number ^ sum(block, 100)));
	memset(more + block_bytes, 7, 64 * MB - block_bytes);
	WANT(more[64 * MB - 1] == 7);
	other = realloc(more, block_bytes);
	WANT(other != NULL && calloc(1, 5 * MB) != NULL);
	return NULL;
}

static void brk_make(void)
{
	dprintf(2, "%s", ""); /* what allocates does so before */
	free(malloc(1));
	block = sbrk(2 * MB);
	fill(block, 2 * MB, 3);
	kept_number = sum(block, 2 * MB);
	other = sbrk(0);
}
static const char *brk_check(void)
{
	unsigned char *p;

	WANT(sbrk(0) == other && sum(block, 2 * MB) == kept_number);
	p = sbrk(MB);
	WANT(p == other && !p[0] && !p[MB - 1]);
	p[MB - 1] = 1;
	WANT(sbrk(-MB) == p + MB && sbrk(0) == other);
	return NULL;
}

static int key;

static void keys_make(void)
{
	key = pkey_alloc(0, 0); /* where the processor has any */
	block = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	fill(block, 4 * PAGE, 9);
	kept_number = sum(block, 4 * PAGE);
	MUST(key < 0 || pkey_mprotect(block, 4 * PAGE, PROT_READ, key) == 0);
}
static const char *keys_check(void)
{
	WANT(sum(block, 4 * PAGE) == kept_number);
	if (key < 0)
		return NULL;
	WANT(pkey_get(key) == 0 && pkey_alloc(0, 0) == key + 1 && pkey_free(key + 1) == 0);
	WANT(pkey_mprotect(block, PAGE, PROT_READ | PROT_WRITE, key) == 0);
	block[0]++;
	WANT(pkey_set(key, PKEY_DISABLE_WRITE) == 0 && read(open("/dev/zero", O_RDONLY), block, 1) < 0 &&
	     errno == EFAULT);
	return NULL;
}

static int deep(int n)
{
	volatile char room[1024];

	room[0] = (char)n;
	return n ? deep(n - 1) + room[0] * 0 + 1 : 0;
}
static void stack_make(void)
{
}
static const char *stack_check(void)
{
	for (int i = 0; i < 20; i++)
		MUST(malloc(4 * MB) != NULL); /* new mappings must not stand in its way */
	WANT(deep(6000) == 6000);
	return NULL;
}

static void zeros_make(void)
{
	block = map(64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	block[3 * PAGE] = block[40 * PAGE] = 9;
	kept_number = block[20 * PAGE]; /* the zero page */
	memset(block + 41 * PAGE, 0, PAGE);
}
static const char *zeros_check(void)
{
	for (size_t i = 0; i < 64 * PAGE; i++)
		WANT(block[i] == (i == 3 * PAGE || i == 40 * PAGE ? 9 : 0));
	return NULL;
}

static void file_make(void)
{
	int fd = open("/proc/self/exe", O_RDONLY);

	block = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	other = map(8 * PAGE, PROT_READ, MAP_SHARED, fd);
	memset(block + 2 * PAGE, 5, PAGE);
	kept_number = sum(other, 8 * PAGE);
	close(fd);
}
static const char *file_check(void)
{
	WANT(!memcmp(block, other, 2 * PAGE) && !memcmp(block + 3 * PAGE, other + 3 * PAGE, PAGE));
	WANT(block[2 * PAGE] == 5 && block[3 * PAGE - 1] == 5 && sum(other, 8 * PAGE) == kept_number);
	block[0] = 1;
	return NULL;
}

static void protect_make(void)
{
	static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* return 42 */

	block = map(40 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	fill(block, 40 * PAGE, 4);
	memcpy(block, code, sizeof(code));
	MUST(mprotect(block, PAGE, PROT_READ | PROT_EXEC) == 0);
	MUST(mprotect(block + 10 * PAGE, 20 * PAGE, PROT_READ) == 0);
	MUST(mprotect(block + 30 * PAGE, 10 * PAGE, PROT_NONE) == 0);
	kept_number = sum(block, 30 * PAGE);
}
static const char *protect_check(void)
{
	WANT(((int (*)(void))(uintptr_t)block)() == 42);
	WANT(sum(block, 30 * PAGE) == kept_number);
	/* The kernel writes nowhere that we may not. */
	WANT(syscall(SYS_getrandom, block + 10 * PAGE, 1, 0) < 0 && errno == EFAULT);
	WANT(syscall(SYS_getrandom, block + 31 * PAGE, 1, 0) < 0 && errno == EFAULT);
	WANT(mprotect(block + 30 * PAGE, 10 * PAGE, PROT_READ) == 0 &&
	     block[39 * PAGE + 5] == (unsigned char)((39u * PAGE + 5) * 2654435761u >> 13 ^ 4));
	WANT(mprotect(block + 30 * PAGE, 10 * PAGE, PROT_NONE) == 0);
	return NULL;
}

static int has_flag(const void *at, const char *flag)
{
	char text[512], want[32];
	FILE *f = fopen("/proc/self/smaps", "r");
	int here = 0, found = 0;

	snprintf(want, sizeof(want), "%lx-", (unsigned long)(uintptr_t)at);
	while (f && fgets(text, sizeof(text), f)) {
		if (!strncmp(text, want, strlen(want)))
			here = 1;
		else if (here && !strncmp(text, "VmFlags:", 8)) {
			found = strstr(text, flag) != NULL;
			here = 0;
		}
	}
	if (f)
		fclose(f);
	return found;
}
static const struct {
	int advice;
	const char *flag;
} advised[] = {{MADV_SEQUENTIAL, " sr"}, {MADV_RANDOM, " rr"},	   {MADV_DONTFORK, " dc"},  {MADV_DONTDUMP, " dd"},
	       {MADV_HUGEPAGE, " hg"},	 {MADV_NOHUGEPAGE, " nh"}, {MADV_WIPEONFORK, " wf"}};
#define ADVISED (sizeof(advised) / sizeof(advised[0]))
static void advice_make(void)
{
	block = map(2 * ADVISED * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	fill(block, 2 * ADVISED * PAGE, 5);
	for (unsigned i = 0; i < ADVISED; i++)
		MUST(madvise(block + 2 * i * PAGE, PAGE, advised[i].advice) == 0);
	other = mmap(NULL, MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}
static const char *advice_check(void)
{
	for (unsigned i = 0; i < ADVISED; i++)
		if (!has_flag(block + 2 * i * PAGE, advised[i].flag))
			return advised[i].flag;
	WANT(block[PAGE + 3] == (unsigned char)((PAGE + 3) * 2654435761u >> 13 ^ 5));
	for (unsigned i = 0; i < PAGE; i++) /* the last is to be wiped */
		WANT(block[2 * (ADVISED - 1) * PAGE + i] == 0);
	WANT(has_flag(other, " nr"));
	return NULL;
}

static void many_make(void)
{
	block = map(20000 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	for (int i = 0; i < 20000; i += 2) {
		block[i * PAGE] = (unsigned char)(i / 2);
		MUST(mprotect(block + i * PAGE, PAGE, PROT_READ) == 0);
	}
}
static const char *many_check(void)
{
	for (int i = 0; i < 20000; i += 2)
		WANT(block[i * PAGE] == (unsigned char)(i / 2));
	return NULL;
}

static void large_make(void)
{
	block_bytes = 500ul * MB;
	block = malloc(block_bytes);
	fill(block, block_bytes, 6);
	kept_number = sum(block, block_bytes);
}
static const char *large_check(void)
{
	WANT(sum(block, block_bytes) == kept_number);
	return NULL;
}

/* --- signals --- */

static void on_signal(int sig, siginfo_t *si, void *uc)
{
	(void)si, (void)uc;
	caught = sig;
}
static char signal_stack[65536];
static volatile uintptr_t handler_at;
static void on_stack(int sig)
{
	char here = (char)sig;

	handler_at = (uintptr_t)&here;
}
static void signals_make(void)
{
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigset_t set;

	sigaddset(&sa.sa_mask, SIGUSR2);
	MUST(sigaction(SIGUSR1, &sa, NULL) == 0 && sigaction(SIGRTMIN + 5, &sa, NULL) == 0);
	MUST(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	MUST(sigprocmask(SIG_SETMASK, &set, NULL) == 0);
}
static const char *signals_check(void)
{
	struct sigaction sa;
	sigset_t set;

	caught = 0;
	WANT(raise(SIGUSR1) == 0 && caught == SIGUSR1);
	WANT(raise(SIGRTMIN + 5) == 0 && caught == SIGRTMIN + 5);
	WANT(sigaction(SIGUSR1, NULL, &sa) == 0 && sigismember(&sa.sa_mask, SIGUSR2) && sa.sa_flags & SA_RESTART);
	WANT(sigaction(SIGPIPE, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN);
	WANT(sigaction(SIGHUP, NULL, &sa) == 0 && sa.sa_handler == SIG_DFL);
	WANT(sigprocmask(SIG_SETMASK, NULL, &set) == 0 && sigismember(&set, SIGTERM) == 1);
	WANT(sigismember(&set, SIGINT) == 0 && sigismember(&set, SIGCHLD) == 0);
	return NULL;
}

static void altstack_make(void)
{
	stack_t s = {.ss_sp = signal_stack, .ss_size = sizeof(signal_stack)};
	struct sigaction sa = {.sa_handler = on_stack, .sa_flags = SA_ONSTACK};

	MUST(sigaltstack(&s, NULL) == 0 && sigaction(SIGUSR1, &sa, NULL) == 0);
}
static const char *altstack_check(void)
{
	stack_t s;

	WANT(sigaltstack(NULL, &s) == 0 && s.ss_sp == signal_stack && s.ss_size == sizeof(signal_stack));
	raise(SIGUSR1);
	WANT(handler_at - (uintptr_t)signal_stack < sizeof(signal_stack));
	return NULL;
}

/* --- registers --- */

static void rounding_make(void)
{
	MUST(fesetround(FE_UPWARD) == 0);
}
static const char *rounding_check(void)
{
	volatile double one = 1, three = 3;

	WANT(fegetround() == FE_UPWARD);
	fesetround(FE_DOWNWARD);
	volatile double low = one / three;
	fesetround(FE_UPWARD);
	WANT(one / three > low);
	return NULL;
}

/* The wide registers keep their values over the read that the safe point is in. */
static uint64_t wide_in[8] __attribute__((aligned(64))), wide_out[8] __attribute__((aligned(64)));
static int wide_read_works;
__attribute__((target("avx"))) static void wide_make(void)
{
	char byte;
	long got;

	for (int i = 0; i < 4; i++)
		wide_in[i] = 0x0123456789abcdefull * (unsigned)(i + 3);
	dprintf(CHANNEL, "ready\n");
	__asm__ volatile("vmovdqa (%[in]), %%ymm11\n\tsyscall\n\tvmovdqa %%ymm11, (%[out])"
			 : "=a"(got)
			 : "a"(SYS_read), "D"(CHANNEL), "S"(&byte), "d"(1), [in] "b"(wide_in), [out] "r"(wide_out)
			 : "rcx", "r11", "memory", "xmm11");
	wide_read_works = got == 1;
	while (byte != '\n' && read(CHANNEL, &byte, 1) == 1)
		;
}
static const char *wide_check(void)
{
	WANT(wide_read_works && !memcmp(wide_in, wide_out, 32));
	return NULL;
}

static void bases_make(void)
{
	kept_number = 0x7eadbeef;
	MUST(syscall(SYS_arch_prctl, ARCH_SET_GS, &kept_number) == 0);
}
static const char *bases_check(void)
{
	unsigned long gs, fs, value;

	WANT(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs) == 0 && gs == (unsigned long)&kept_number);
	WANT(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs) == 0 && fs == (unsigned long)pthread_self());
	__asm__ volatile("mov %%gs:0, %0" : "=r"(value));
	WANT(value == 0x7eadbeef);
	return NULL;
}

/* --- the thread --- */

static struct robust_list_head *robust;
static void thread_make(void)
{
	size_t n;

	MUST(prctl(PR_SET_NAME, "a name") == 0 && prctl(PR_SET_TIMERSLACK, 77777) == 0);
	MUST(syscall(SYS_get_robust_list, 0, &robust, &n) == 0);
}
static const char *thread_check(void)
{
	struct robust_list_head *now;
	size_t n;
	int *tid;
	char name[16];

	WANT(prctl(PR_GET_NAME, name) == 0 && !strcmp(name, "a name"));
	WANT(prctl(PR_GET_TIMERSLACK) == 77777);
	WANT(syscall(SYS_get_robust_list, 0, &now, &n) == 0 && now == robust);
	WANT(prctl(PR_GET_TID_ADDRESS, &tid) == 0 && *tid == getpid());
	WANT(pthread_kill(pthread_self(), 0) == 0);
	return NULL;
}

/* Restartable sequences: without its own area the C library believes that it stays on one processor. */
static void rseq_make(void)
{
}
static const char *rseq_check(void)
{
	cpu_set_t all;
	unsigned seen = 0;

	WANT(sched_getaffinity(0, sizeof(all), &all) == 0);
	for (int cpu = 0; cpu < 64; cpu++) {
		cpu_set_t one;

		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		WANT(sched_setaffinity(0, sizeof(one), &one) == 0 && sched_getcpu() == cpu);
		seen++;
	}
	WANT(seen && sched_setaffinity(0, sizeof(all), &all) == 0);
	return NULL;
}

static void membarrier_make(void)
{
	MUST(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0);
}
static const char *membarrier_check(void)
{
	/* Kernels before 6.3 do not tell what was registered: there it is lost (docs/snapshots.md). */
	if (syscall(SYS_membarrier, 512, 0, 0) >= 0)
		WANT(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0);
	return NULL;
}

/* --- the process --- */

static void process_make(void)
{
	struct rlimit l = {200, 300};

	umask(0137);
	MUST(chdir("/usr/lib") == 0 && setrlimit(RLIMIT_NOFILE, &l) == 0);
	MUST(setenv("ZOO", "animal", 1) == 0);
}
static const char *process_check(void)
{
	char text[256] = "";
	struct rlimit l;
	FILE *f;
	int fd;

	WANT(umask(0137) == 0137 && getcwd(text, sizeof(text)) && !strcmp(text, "/usr/lib"));
	WANT(getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur == 200 && l.rlim_max == 300);
	WANT(!strcmp(getenv("ZOO"), "animal") && getpid() == 2 && getsid(0) == 2 && getpgrp() == 2);
	fd = open("/proc/self/cmdline", O_RDONLY);
	WANT(read(fd, text, sizeof(text)) > 0 && close(fd) == 0 && strstr(text, "zoo"));
	WANT(prctl(PR_GET_DUMPABLE) == 1);
	for (f = fopen("/proc/self/maps", "r"); f && fgets(text, sizeof(text), f);)
		WANT(strncmp(text, "100000", 6)); /* the restorer's arena is gone */
	WANT(f && fclose(f) == 0);
	WANT(getauxval(AT_PAGESZ) == PAGE);
	return NULL;
}

static int fd_file, fd_dir, fd_null, fd_random;
static void fds_make(void)
{
	char text[100];

	fd_file = open("/usr/lib/os-release", O_RDONLY | O_CLOEXEC);
	fd_dir = open("/usr/lib", O_RDONLY | O_DIRECTORY);
	fd_null = fcntl(open("/dev/null", O_WRONLY), F_DUPFD, 100);
	fd_random = open("/dev/urandom", O_RDONLY | O_NONBLOCK);
	MUST(fd_file >= 0 && fd_dir >= 0 && fd_null >= 100 && fd_random >= 0 && read(fd_file, text, 10) == 10);
}
static const char *fds_check(void)
{
	char text[100];
	struct stat st;

	WANT(lseek(fd_file, 0, SEEK_CUR) == 10 && fcntl(fd_file, F_GETFD) == FD_CLOEXEC);
	WANT(pread(fd_file, text, 11, 0) == 11 && !memcmp(text, "PRETTY_NAME", 11));
	WANT(fcntl(fd_dir, F_GETFD) == 0 && fstatat(fd_dir, "os-release", &st, 0) == 0);
	WANT(write(fd_null, "x", 1) == 1 && (fcntl(fd_null, F_GETFL) & O_ACCMODE) == O_WRONLY);
	WANT(read(fd_random, text, 8) == 8 && fcntl(fd_random, F_GETFL) & O_NONBLOCK);
	for (int fd = 3; fd < 1024; fd++) /* nothing of tandem-init, nothing left open */
		WANT(fcntl(fd, F_GETFD) < 0 || fd == CHANNEL || fd == fd_file || fd == fd_dir || fd == fd_null - 0 ||
		     fd == fd_random || (fd < 20 && fstat(fd, &st) == 0 && S_ISCHR(st.st_mode)));
	return NULL;
}

static struct timespec then;
static void clock_make(void)
{
	clock_gettime(CLOCK_MONOTONIC, &then);
}
static const char *clock_check(void)
{
	struct timespec vdso, call;

	WANT(clock_gettime(CLOCK_MONOTONIC, &vdso) == 0 && syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &call) == 0);
	WANT(vdso.tv_sec > then.tv_sec || (vdso.tv_sec == then.tv_sec && vdso.tv_nsec >= then.tv_nsec));
	WANT(call.tv_sec - vdso.tv_sec <= 1 && (unsigned)sched_getcpu() < 4096);
	return NULL;
}

/* --- what starts afterwards --- */

static void *thread_runs(void *arg)
{
	*(int *)arg = 42;
	return arg;
}
static void later_make(void)
{
}
static const char *later_check(void)
{
	struct itimerval t = {.it_value.tv_usec = 1000};
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
	sigset_t alarms;
	int number = 0, status;
	pthread_t id;
	pid_t pid;

	WANT(pthread_create(&id, NULL, thread_runs, &number) == 0 && pthread_join(id, NULL) == 0 && number == 42);
	pid = fork();
	if (pid == 0)
		_exit(getpid() == pid ? 1 : 7);
	WANT(pid > 0 && waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
	pid = fork();
	if (pid == 0) {
		execl("/bin/true", "true", (char *)NULL);
		_exit(1);
	}
	WANT(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
	caught = 0;
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	WANT(sigaction(SIGALRM, &sa, NULL) == 0 && sigprocmask(SIG_BLOCK, &alarms, NULL) == 0);
	WANT(setitimer(ITIMER_REAL, &t, NULL) == 0);
	WANT(sigwaitinfo(&alarms, NULL) == SIGALRM && sigprocmask(SIG_UNBLOCK, &alarms, NULL) == 0);
	return NULL;
}

const struct animal kept[] = {
	{"heap", heap_make, heap_check, NULL},
	{"brk", brk_make, brk_check, NULL},
	{"protection keys", keys_make, keys_check, NULL},
	{"stack", stack_make, stack_check, NULL},
	{"zero pages", zeros_make, zeros_check, NULL},
	{"mapped file", file_make, file_check, NULL},
	{"protection", protect_make, protect_check, NULL},
	{"advice", advice_make, advice_check, NULL},
	{"10,000 mappings", many_make, many_check, NULL},
	{"500 MB", large_make, large_check, NULL},
	{"signals", signals_make, signals_check, NULL},
	{"signal stack", altstack_make, altstack_check, NULL},
	{"rounding", rounding_make, rounding_check, NULL},
	{"wide registers", wide_make, wide_check, NULL},
	{"segment bases", bases_make, bases_check, NULL},
	{"thread", thread_make, thread_check, NULL},
	{"rseq", rseq_make, rseq_check, NULL},
	{"membarrier", membarrier_make, membarrier_check, NULL},
	{"process", process_make, process_check, NULL},
	{"descriptors", fds_make, fds_check, NULL},
	{"clock", clock_make, clock_check, NULL},
	{"threads, forks, alarms later", later_make, later_check, NULL},
	{NULL, NULL, NULL, NULL},
};
