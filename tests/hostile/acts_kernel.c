/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Acts on the kernel. Where doing would be harmful, arguments are wrong in a way that the kernel looks at only after it
 * has looked at rights: any answer but EPERM, EACCES and ENOSYS then means that the act was open to us.
 */
#include "acts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <unistd.h>

static int was_open(long result, const char *what)
{
	return result < 0 && (errno == EPERM || errno == EACCES || errno == ENOSYS) ? refused(what) : ACT_DONE;
}

static int act_load_module(char **arg)
{
	return was_open(syscall(SYS_init_module, "", 0, ""), "init_module");
}

static int act_load_module_file(char **arg)
{
	return was_open(syscall(SYS_finit_module, -1, "", 0), "finit_module");
}

static int act_unload_module(char **arg)
{
	return was_open(syscall(SYS_delete_module, "no such module", O_NONBLOCK), "delete_module");
}

static int act_kexec(char **arg)
{
	return was_open(syscall(SYS_kexec_load, 0, 0, NULL, ~0ul), "kexec_load");
}

static int act_reboot(char **arg)
{
	return was_open(syscall(SYS_reboot, 0, 0, 0, NULL), "reboot");
}

static int act_swapon(char **arg)
{
	return was_open(syscall(SYS_swapon, "/no such file", 0), "swapon");
}

static int act_acct(char **arg)
{
	return was_open(syscall(SYS_acct, "/no such file"), "acct");
}

static int act_kernel_log(char **arg)
{
	char text[64];

	return outcome(syscall(SYS_syslog, 3, text, sizeof(text)), "syslog");
}

static int act_fanotify(char **arg)
{
	return outcome(syscall(SYS_fanotify_init, 0, O_RDONLY), "fanotify_init");
}

static int act_quota(char **arg)
{
	return was_open(syscall(SYS_quotactl, 0x800001 << 8, NULL, 0, NULL), "quotactl"); /* Q_SYNC of everything */
}

static int act_bpf(char **arg)
{
	union bpf_attr a = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};

	return outcome(syscall(SYS_bpf, BPF_MAP_CREATE, &a, sizeof(a)), "bpf");
}

static int act_perf(char **arg)
{
	struct perf_event_attr a = {.type = PERF_TYPE_SOFTWARE,
				    .size = sizeof(a),
				    .config = PERF_COUNT_SW_TASK_CLOCK,
				    .exclude_kernel = 1,
				    .exclude_hv = 1};

	return outcome(syscall(SYS_perf_event_open, &a, 0, -1, -1, 0), "perf_event_open");
}

static int act_userfault(char **arg)
{
	return outcome(syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */), "userfaultfd");
}

static int act_io_uring(char **arg)
{
	struct io_uring_params p = {0};

	return outcome(syscall(SYS_io_uring_setup, 4, &p), "io_uring_setup");
}

static int act_secret_memory(char **arg)
{
	return outcome(syscall(SYS_memfd_secret, 0), "memfd_secret");
}

static int act_add_key(char **arg)
{
	return outcome(syscall(SYS_add_key, "user", "hostile", "x", 1, -3 /* session keyring */), "add_key");
}

static int act_keyctl(char **arg)
{
	return outcome(syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, NULL), "keyctl");
}

static int act_adjtimex(char **arg)
{
	struct timex t = {0};

	return outcome(adjtimex(&t), "adjtimex");
}

static int act_numa(char **arg)
{
	return was_open(syscall(SYS_move_pages, 0, 0, NULL, NULL, NULL, 0), "move_pages");
}

static int act_weak_address_space(char **arg)
{
	return outcome(personality(READ_IMPLIES_EXEC | ADDR_NO_RANDOMIZE), "personality");
}

static int act_number_unknown(char **arg)
{
	/* With the number of no call at all the kernel itself says ENOSYS: kcmp stands for one that exists and is not
	 * listed as allowed. */
	return outcome(syscall(SYS_kcmp, getpid(), getpid(), 1 /* KCMP_VM */, 0, 0), "kcmp");
}

#ifdef __x86_64__
static int call_int80(void *arg)
{
	long ret;

	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(20l /* getpid of i386 */) : "memory", "r8", "r9", "r10", "r11");
	errno = ret < 0 ? (int)-ret : 0;
	return outcome(ret < 0 ? -1 : 0, "a 32-bit call");
}

static int call_x32(void *arg)
{
	return outcome(syscall(0x40000000 | SYS_getpid), "an x32 call");
}

static int act_io_ports(char **arg)
{
	return outcome(syscall(SYS_iopl, 3), "iopl");
}

static int act_ldt(char **arg)
{
	char room[64];

	return outcome(syscall(SYS_modify_ldt, 0, room, sizeof(room)), "modify_ldt");
}
#else
static int call_int80(void *arg)
{
	errno = ENOSYS;
	return refused("a 32-bit call");
}
#define call_x32 call_int80
#endif

static int act_int80(char **arg)
{
	return in_child(call_int80, NULL);
}

static int act_x32(char **arg)
{
	return in_child(call_x32, NULL);
}

static int do_unshare(void *arg)
{
	return outcome(unshare(*(int *)arg), "unshare");
}

static const struct {
	const char *name;
	int flag;
} kinds[] = {{"user", CLONE_NEWUSER}, {"mnt", CLONE_NEWNS},  {"pid", CLONE_NEWPID},	  {"net", CLONE_NEWNET},
	     {"ipc", CLONE_NEWIPC},   {"uts", CLONE_NEWUTS}, {"cgroup", CLONE_NEWCGROUP}, {"time", CLONE_NEWTIME}};

static int flag_of(const char *name)
{
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!strcmp(kinds[i].name, name))
			return kinds[i].flag;
	return 0;
}

static int act_unshare(char **arg)
{
	int flag = flag_of(arg[0]);

	return flag ? in_child(do_unshare, &flag) : ACT_BROKEN;
}

static int after_clone(long pid, const char *what)
{
	if (pid == 0)
		_exit(0);
	if (pid > 0)
		waitpid((pid_t)pid, NULL, 0);
	return outcome(pid, what);
}

static int act_clone(char **arg)
{
	return after_clone(syscall(SYS_clone, flag_of(arg[0]) | SIGCHLD, 0, 0, 0, 0), "clone");
}

static int act_clone3(char **arg)
{
	struct clone_args a = {.flags = (uint64_t)flag_of(arg[0]), .exit_signal = SIGCHLD};

	return after_clone(syscall(SYS_clone3, &a, sizeof(a)), "clone3");
}

static int do_setns(void *arg)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/ns/%s", (const char *)arg);
	fd = open(path, O_RDONLY);
	return fd < 0 ? broken(path) : outcome(setns(fd, 0), "setns");
}

static int act_setns(char **arg)
{
	return in_child(do_setns, arg[0]);
}

const struct act acts_kernel[] = {
	ACT(load_module, 0),
	ACT(load_module_file, 0),
	ACT(unload_module, 0),
	ACT(kexec, 0),
	ACT(reboot, 0),
	ACT(swapon, 0),
	ACT(acct, 0),
	ACT(kernel_log, 0),
	ACT(fanotify, 0),
	ACT(quota, 0),
	ACT(bpf, 0),
	ACT(perf, 0),
	ACT(userfault, 0),
	ACT(io_uring, 0),
	ACT(secret_memory, 0),
	ACT(add_key, 0),
	ACT(keyctl, 0),
	ACT(adjtimex, 0),
	ACT(numa, 0),
	ACT(weak_address_space, 0),
	ACT(number_unknown, 0),
	ACT(int80, 0),
	ACT(x32, 0),
	ACT(unshare, 1),
	ACT(clone, 1),
	ACT(clone3, 1),
	ACT(setns, 1),
#ifdef __x86_64__
	ACT(io_ports, 0),
	ACT(ldt, 0),
#endif
	{0},
};
