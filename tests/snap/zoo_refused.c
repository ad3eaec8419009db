/* SPDX-License-Identifier: Apache-2.0 */
#include "zoo.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096

static void *sleep_for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}
static void child(void)
{
	if (fork() == 0)
		sleep_for_ever(NULL);
}
static void zombie(void)
{
	siginfo_t si;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	MUST(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT) == 0);
}
static void orphan(void)
{
	int p[2];
	char byte;
	pid_t pid;

	MUST(pipe(p) == 0);
	pid = fork();
	if (pid == 0) {
		if (fork() == 0) {
			MUST(write(p[1], "", 1) == 1);
			close(p[0]);
			close(p[1]);
			sleep_for_ever(NULL);
		}
		_exit(0);
	}
	MUST(waitpid(pid, NULL, 0) == pid && read(p[0], &byte, 1) == 1 && close(p[0]) == 0 && close(p[1]) == 0);
}
static void session(void)
{
	MUST(setpgid(0, 0) < 0); /* a leader of a session cannot even leave */
	MUST(setpriority(PRIO_PROCESS, 0, 5) == 0);
}
static void affinity(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	MUST(sched_setaffinity(0, sizeof(one), &one) == 0);
}
static void pending(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	MUST(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && raise(SIGUSR1) == 0);
}
static void filter(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog prog = {1, &allow};

	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0);
}
static void death_signal(void)
{
	MUST(prctl(PR_SET_PDEATHSIG, SIGTERM) == 0);
}
static void subreaper(void)
{
	MUST(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
}
static void no_huge_pages(void)
{
	MUST(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
}
static void not_dumpable(void)
{
	MUST(prctl(PR_SET_DUMPABLE, 0) == 0);
	MUST(setuid(65534) == 0); /* or root reads it all the same */
}
static void posix_timer(void)
{
	timer_t t;
	struct sigevent none = {.sigev_notify = SIGEV_NONE};

	MUST(timer_create(CLOCK_MONOTONIC, &none, &t) == 0);
}
static void alarm_set(void)
{
	alarm(1000);
}

/* --- descriptors --- */

static void sock(void)
{
	MUST(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
}
static void timer(void)
{
	MUST(timerfd_create(CLOCK_MONOTONIC, 0) >= 0);
}
static void signal_fd(void)
{
	sigset_t none;

	sigemptyset(&none);
	MUST(signalfd(-1, &none, 0) >= 0);
}
static void inotify(void)
{
	MUST(inotify_init1(0) >= 0);
}
static void memory_file(void)
{
	MUST(memfd_create("memory", 0) >= 0);
}
static int tmp_file(void)
{
	int fd = open("/tmp/left", O_RDWR | O_CREAT, 0600);

	MUST(fd >= 0 && ftruncate(fd, PAGE) == 0);
	return fd;
}
static void writes(void)
{
	tmp_file();
	MUST(unlink("/tmp/left") == 0);
}
static void left_file(void)
{
	close(tmp_file());
}
static void left_shm(void)
{
	MUST(close(open("/dev/shm/left", O_RDWR | O_CREAT, 0600)) == 0);
}
static void reads_tmp(void)
{
	close(tmp_file());
	MUST(open("/tmp/left", O_RDONLY) >= 0 && unlink("/tmp/left") == 0);
}
static void proc_file_open(void)
{
	MUST(open("/proc/self/stat", O_RDONLY) >= 0);
}
static void lock(void)
{
	MUST(flock(open("/usr/lib/os-release", O_RDONLY), LOCK_SH) == 0);
}
static void path_only(void)
{
	MUST(open("/usr/lib", O_PATH) >= 0);
}
static void no_channel(void)
{
	/* It still speaks, by another number that is no copy of it: a socket, so that is the reason. */
	MUST(dup2(CHANNEL, 200) == 200 && close(200) == 0 && socket(AF_UNIX, SOCK_DGRAM, 0) >= 0);
}

/* --- memory --- */

static void shared(void)
{
	MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}
static void shared_file(void)
{
	int fd = tmp_file();

	MUST(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED && close(fd) == 0);
}
static void deleted(void)
{
	int fd = tmp_file();

	MUST(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED && close(fd) == 0 &&
	     unlink("/tmp/left") == 0);
}
static void locked(void)
{
	void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(p != MAP_FAILED && mlock(p, PAGE) == 0);
}
static void sysv(void)
{
	MUST(shmat(shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600), NULL, 0) != (void *)-1);
}

/* --- network --- */

static const struct sockaddr_in6 inside = {
	.sin6_family = AF_INET6, .sin6_port = 0x0900, .sin6_addr = IN6ADDR_LOOPBACK_INIT};

/* What the driver's net namespace lacks, and a sandbox has. */
static int connected(int type)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET6, type, 0);

	MUST(fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0);
	if (connect(fd, (const struct sockaddr *)&inside, sizeof(inside)) == 0)
		return fd;
	close(fd);
	return -1;
}
static void connection(void)
{
	MUST(connected(SOCK_STREAM) < 0); /* nobody listens there, but it was opened */
}
static void datagram(void)
{
	int fd = connected(SOCK_DGRAM);

	MUST(fd >= 0 && write(fd, "", 1) == 1 && close(fd) == 0);
}
static void old_datagram(void)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = inside.sin6_port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	close(connected(SOCK_DGRAM));
	MUST(sendto(fd, "", 1, 0, (struct sockaddr *)&to, sizeof(to)) == 1 && close(fd) == 0);
}

const struct animal refused[] = {
	{"a child", child, NULL, "another process runs beside it"},
	{"a zombie", zombie, NULL, "another process runs beside it"},
	{"an orphan", orphan, NULL, "another process runs beside it"},
	{"nice", session, NULL, "changed its scheduling"},
	{"affinity", affinity, NULL, "bound itself to processors"},
	{"a pending signal", pending, NULL, "signals wait for it"},
	{"a filter", filter, NULL, "system call filter of its own"},
	{"pdeathsig", death_signal, NULL, "its parent's death"},
	{"subreaper", subreaper, NULL, "orphans of its children"},
	{"no huge pages", no_huge_pages, NULL, "switched huge pages off"},
	{"not dumpable", not_dumpable, NULL, ""},
	{"timer_create", posix_timer, NULL, "has timers"},
	{"an alarm", alarm_set, NULL, "set an alarm"},
	{"a socket", sock, NULL, "an open socket"},
	{"timerfd", timer, NULL, "timerfd"},
	{"signalfd", signal_fd, NULL, "signalfd"},
	{"inotify", inotify, NULL, "inotify"},
	{"memfd", memory_file, NULL, "memfd"},
	{"a file for writing", writes, NULL, "writes a file"},
	{"a file left in /tmp", left_file, NULL, "left a file: /tmp/left"},
	{"a file left in /dev/shm", left_shm, NULL, "left a file: /dev/shm/left"},
	{"a file of /tmp", reads_tmp, NULL, "may not be there again"},
	{"a file of /proc", proc_file_open, NULL, "may not be there again"},
	{"a lock", lock, NULL, "holds a lock"},
	{"O_PATH", path_only, NULL, "unusual flags"},
	{"two sockets", no_channel, NULL, "an open socket"},
	{"shared memory", shared, NULL, "shared writable memory"},
	{"a shared file", shared_file, NULL, "left a file"},
	{"a deleted file", deleted, NULL, "no longer there"},
	{"locked memory", locked, NULL, "locked memory"},
	{"System V memory", sysv, NULL, "System V shm"},
	{"a connection, which is closed", connection, NULL, "used the network"},
	{"a datagram", datagram, NULL, "used the network"},
	{"a datagram of IPv4", old_datagram, NULL, "used the network"},
	{NULL, NULL, NULL, NULL},
};
