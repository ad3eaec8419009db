/* SPDX-License-Identifier: Apache-2.0 */
/* Acts on other processes, and on limits of one's own. */
#include "acts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Not an act: somebody to act upon. MARKER is found in its command line. Ends with standard input, or at a signal. */
static int act_hold(char **arg)
{
	char c;

	printf("ready %s\n", arg[0]);
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	while (pause() < 0) /* in a sandbox standard input is /dev/null: until a signal */
		;
	return ACT_DONE;
}

static int has_marker(const char *pid, const char *marker)
{
	char path[300], text[4096];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/cmdline", pid);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	return n > 0 && memmem(text, (size_t)n, marker, strlen(marker)) != NULL;
}

static int act_see_process(char **arg)
{
	DIR *d = opendir("/proc");
	struct dirent *de;
	int seen = 0;

	if (!d)
		return refused("/proc");
	while ((de = readdir(d)))
		if (de->d_name[0] >= '1' && de->d_name[0] <= '9' && atoi(de->d_name) != getpid())
			seen |= has_marker(de->d_name, arg[0]);
	closedir(d);
	errno = ENOENT;
	return outcome(seen ? 0 : -1, "a foreign process in /proc");
}

/* Sent is not enough: process 1 of a namespace may be sent what it never gets. */
static int act_kill(char **arg)
{
	pid_t pid = (pid_t)number(arg[0]);
	struct pollfd p = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};

	if (p.fd < 0)
		return refused("pidfd_open");
	if (kill(pid, SIGKILL) < 0)
		return refused("kill");
	errno = ETIME;
	return outcome(poll(&p, 1, 300) == 1 ? 0 : -1, "the end of what SIGKILL was sent to");
}

static int act_kill_all(char **arg)
{
	return outcome(kill(-1, SIGKILL), "kill(-1)");
}

/* Reads a byte of its writable memory and writes it back. */
static int act_mem_file(char **arg)
{
	char path[64], line[512], c;
	unsigned long at = 0;
	int mem;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%s/mem", arg[0]);
	mem = open(path, O_RDWR);
	if (mem < 0)
		return refused(path);
	snprintf(path, sizeof(path), "/proc/%s/maps", arg[0]);
	maps = fopen(path, "r");
	if (!maps)
		return refused(path);
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, " rw-p ")) {
			at = strtoul(line, NULL, 16);
			break;
		}
	fclose(maps);
	if (pread(mem, &c, 1, (off_t)at) != 1 || pwrite(mem, &c, 1, (off_t)at) != 1)
		return refused("its memory");
	return ACT_DONE;
}

/* An address where nothing is: EFAULT means that the right was there. */
static int act_vm_write(char **arg)
{
	char c = 0;
	struct iovec here = {&c, 1}, there = {(void *)16, 1};

	if (process_vm_writev((pid_t)number(arg[0]), &here, 1, &there, 1, 0) < 0 && errno != EFAULT)
		return refused("process_vm_writev");
	return ACT_DONE;
}

static int act_vm_read(char **arg)
{
	char c = 0;
	struct iovec here = {&c, 1}, there = {(void *)16, 1};

	if (process_vm_readv((pid_t)number(arg[0]), &here, 1, &there, 1, 0) < 0 && errno != EFAULT)
		return refused("process_vm_readv");
	return ACT_DONE;
}

static int act_ptrace(char **arg)
{
	return outcome(ptrace(PTRACE_SEIZE, (pid_t)number(arg[0]), 0, 0), "ptrace");
}

static int act_ptrace_child(char **arg)
{
	pid_t pid = fork();
	int ret;

	if (pid < 0)
		return broken("fork");
	if (pid == 0)
		for (;;)
			pause();
	ret = outcome(ptrace(PTRACE_SEIZE, pid, 0, 0), "ptrace");
	kill(pid, SIGKILL);
	return ret;
}

static int act_take_fd(char **arg)
{
	int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)number(arg[0]), 0);

	if (pidfd < 0)
		return refused("pidfd_open");
	return outcome(syscall(SYS_pidfd_getfd, pidfd, 0, 0), "pidfd_getfd");
}

/* Whatever the spawner or tandem-init left open to us beyond 0 to 2 and the runtime's channel, 4. */
static int act_inherited_fd(char **arg)
{
	for (int fd = 3; fd < 4096; fd++)
		if (fd != 4 && fcntl(fd, F_GETFD) >= 0)
			return ACT_DONE;
	return refused("a descriptor that is not ours");
}

static int child_pauses(void *arg)
{
	pause();
	return 0;
}

static int act_fork_bomb(char **arg)
{
	long want = number(arg[0]), n = 0;
	int ret;

	setpgid(0, 0);
	for (; n < want; n++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(child_pauses(NULL));
		if (pid < 0)
			break;
	}
	ret = outcome(n == want ? 0 : -1, "fork");
	printf("%ld processes\n", n);
	fflush(stdout);
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	return ret;
}

static int act_eat_memory(char **arg)
{
	size_t n = (size_t)number(arg[0]);
	volatile char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return refused("mmap");
	for (size_t i = 0; i < n; i += 4096)
		p[i] = 1;
	return ACT_DONE;
}

static int act_lock_memory(char **arg)
{
	size_t n = (size_t)number(arg[0]);
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? broken("mmap") : outcome(mlock(p, n), "mlock");
}

static int act_open_many(char **arg)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
	for (long i = 0; i < number(arg[0]); i++)
		if (dup(0) < 0)
			return refused("dup");
	return ACT_DONE;
}

/* A core of a useful size: what RLIMIT_CORE allows at most. 1 is what makes a pipe in core_pattern give up. */
static int act_raise_core(char **arg)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_CORE, &l) < 0)
		return broken("getrlimit");
	l.rlim_max = l.rlim_max < (1 << 20) ? (1 << 20) : l.rlim_max;
	l.rlim_cur = l.rlim_max;
	return outcome(setrlimit(RLIMIT_CORE, &l), "setrlimit(RLIMIT_CORE)");
}

static int act_dump_core(char **arg)
{
	struct rlimit l;
	int status = 0;
	pid_t pid;

	if (getrlimit(RLIMIT_CORE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_CORE, &l);
	}
	if (chdir(arg[0]) < 0)
		return broken(arg[0]);
	pid = fork();
	if (pid == 0) {
		raise(SIGSEGV);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
		return broken("a child that crashes");
	errno = EFBIG;
	return outcome(WCOREDUMP(status) ? 0 : -1, "a core");
}

static int act_shm_key(char **arg)
{
	int id = shmget((key_t)number(arg[0]), 0, 0);

	if (id < 0)
		return refused("shmget");
	return outcome(shmat(id, NULL, 0) == (void *)-1 ? -1 : 0, "shmat");
}

/* Not acts: the segment that shm_key is to reach, for everybody, and its end. */
static int act_make_shm(char **arg)
{
	return outcome(shmget((key_t)number(arg[0]), 4096, IPC_CREAT | IPC_EXCL | 0666), "shmget");
}

static int act_remove_shm(char **arg)
{
	return outcome(shmctl(shmget((key_t)number(arg[0]), 0, 0), IPC_RMID, NULL), "shmctl");
}

static int act_realtime(char **arg)
{
	struct sched_param p = {.sched_priority = 1};

	return outcome(sched_setscheduler(0, SCHED_FIFO, &p), "sched_setscheduler(SCHED_FIFO)");
}

static int act_nice(char **arg)
{
	return outcome(setpriority(PRIO_PROCESS, 0, -5), "setpriority(-5)");
}

static int ordinary_things(void *arg)
{
	cpu_set_t set;
	int status, p[2];
	pid_t pid;
	void *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (sched_getaffinity(0, sizeof(set), &set) < 0 || sched_setaffinity(0, sizeof(set), &set) < 0)
		return refused("sched_setaffinity");
	if (pipe(p) < 0 || m == MAP_FAILED || syscall(SYS_memfd_create, "x", 0) < 0)
		return refused("pipes and memory");
	pid = fork();
	if (pid == 0)
		_exit(write(p[1], "x", 1) == 1 ? 0 : 1);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		return refused("a child");
	return kill(getpid(), 0) < 0 ? refused("kill") : ACT_DONE;
}

/* Allowed: what ordinary programs do, so that not everything is refused. */
static int act_ordinary(char **arg)
{
	return in_child(ordinary_things, NULL);
}

const struct act acts_proc[] = {
	ACT(hold, 1),	      ACT(see_process, 1), ACT(kill, 1),	 ACT(kill_all, 0),
	ACT(mem_file, 1),     ACT(vm_write, 1),	   ACT(vm_read, 1),	 ACT(ptrace, 1),
	ACT(ptrace_child, 0), ACT(take_fd, 1),	   ACT(inherited_fd, 0), ACT(fork_bomb, 1),
	ACT(eat_memory, 1),   ACT(lock_memory, 1), ACT(open_many, 1),	 ACT(raise_core, 0),
	ACT(dump_core, 1),    ACT(shm_key, 1),	   ACT(realtime, 0),	 ACT(nice, 0),
	ACT(ordinary, 0),     ACT(make_shm, 1),	   ACT(remove_shm, 1),	 {0},
};
