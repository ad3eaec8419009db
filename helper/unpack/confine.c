/* SPDX-License-Identifier: Apache-2.0 */
#include "unpack/confine.h"
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define CPU_SECONDS  60		/* 250 MB from xz take 5 */
#define LAYER_CPU_S  900	/* some GB */
#define MEMORY_BYTES (1u << 30) /* a zstd window of 128 MB, an xz dictionary of 64, and room */
#define OPEN_FILES   64

/*
 * Under a sanitizer the address space is reserved in terabytes, and reports need more system calls. Leaks are looked
 * for from outside, which nothing here allows: tests/fuzz/unpack.c does it.
 */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#else
#define SANITIZED 0
#endif

volatile sig_atomic_t confine_cpu_used_up;

static void on_cpu_used_up(int sig)
{
	confine_cpu_used_up = 1;
}

static int limit(int what, const char *name, rlim_t soft, rlim_t hard, struct err *e)
{
	struct rlimit now, want;

	if (getrlimit((__rlimit_resource_t)what, &now) < 0)
		return err_sys(e, errno, "read limit %s", name);
	want.rlim_max = hard < now.rlim_max ? hard : now.rlim_max;
	want.rlim_cur = soft < want.rlim_max ? soft : want.rlim_max;
	if (setrlimit((__rlimit_resource_t)what, &want) < 0)
		return err_sys(e, errno, "set limit %s", name);
	return 0;
}

static int set_limits(uint64_t max_bytes, rlim_t cpu_s, struct err *e)
{
	struct sigaction cpu = {.sa_handler = on_cpu_used_up}, ignore = {.sa_handler = SIG_IGN};

	sigaction(SIGXCPU, &cpu, NULL);
	sigaction(SIGXFSZ, &ignore, NULL); /* EFBIG instead of death, so that the tree gets removed */
	if (limit(RLIMIT_CPU, "cpu", cpu_s, cpu_s + 20, e) < 0 || limit(RLIMIT_CORE, "core", 0, 0, e) < 0 ||
	    limit(RLIMIT_NOFILE, "nofile", OPEN_FILES, OPEN_FILES, e) < 0 ||
	    limit(RLIMIT_FSIZE, "fsize", max_bytes, max_bytes, e) < 0)
		return -1;
	return SANITIZED ? 0 : limit(RLIMIT_AS, "as", MEMORY_BYTES, MEMORY_BYTES, e);
}

static int see_only(int parent, struct err *e)
{
	if (fchdir(parent) < 0 || chroot(".") < 0)
		return err_sys(e, errno, "enter the destination");
	return 0;
}

/* What is unpacked belongs to whom the directory belongs to. With no capability, root would be refused there anyway. */
static int drop_root(int parent, struct err *e)
{
	struct stat st;

	if (fstat(parent, &st) < 0)
		return err_sys(e, errno, "stat the destination");
	if (see_only(parent, e) < 0)
		return -1;
	if (setgroups(0, NULL) < 0 || setresgid(st.st_gid, st.st_gid, st.st_gid) < 0 ||
	    setresuid(st.st_uid, st.st_uid, st.st_uid) < 0)
		return err_sys(e, errno, "become the owner of the destination");
	return 0;
}

/* Of a layer: owners, what they alone may open, set-id bits, file capabilities. They reach no further than LAYER_IDS,
 * skopeo's id and tandemd's, and no further than the destination. */
#define LAYER_CAPS (1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_FOWNER | 1u << CAP_FSETID | 1u << CAP_SETFCAP)

static int keep_caps(uint32_t caps, struct err *e)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct kept[2] = {{.effective = caps, .permitted = caps}};

	if (syscall(SYS_capset, &head, kept) < 0)
		return err_sys(e, errno, "drop capabilities");
	return 0;
}

/*
 * Files below the destination and no others: our user owns the whole state. Landlock has what we need since its second
 * version (Linux 5.19); where it is switched off, the ids and the system call filter remain.
 */
static int only_below(int parent, bool layer, struct err *e)
{
	const uint64_t use = (layer ? LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_FIFO : 0) |
			     LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
			     LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |
			     LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REMOVE_FILE |
			     LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REFER;
	struct landlock_ruleset_attr all = {.handled_access_fs = 2 * LANDLOCK_ACCESS_FS_REFER - 1};
	struct landlock_path_beneath_attr below = {.allowed_access = use, .parent_fd = parent};
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	auto_close int rules = -1;

	if (version < 2)
		return 0;
	rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
	if (rules < 0 || syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &below, 0) < 0 ||
	    syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		return err_sys(e, errno, "keep to the destination");
	return 0;
}

int confine_process(int parent, int highest_fd, uint64_t max_bytes, enum spawner_unpack how, struct err *e)
{
	bool layer = how != UNPACK_CODE;

	if (syscall(SYS_close_range, highest_fd + 1, ~0u, 0) < 0)
		return err_sys(e, errno, "close other descriptors");
	if (set_limits(max_bytes, layer ? LAYER_CPU_S : CPU_SECONDS, e) < 0)
		return -1;
	if (layer ? see_only(parent, e) < 0 : geteuid() == 0 && drop_root(parent, e) < 0)
		return -1;
	if (keep_caps(layer ? LAYER_CAPS : 0, e) < 0)
		return -1;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, errno, "no_new_privs");
	if (!SANITIZED && only_below(parent, layer, e) < 0)
		return -1;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(e, errno, "not dumpable");
	return 0;
}

/* No socket, no process, no exec, no signal to others, no executable memory. */
static const int allowed[] = {
	SCMP_SYS(read),		 SCMP_SYS(pread64),	 SCMP_SYS(readv),	 SCMP_SYS(lseek),
	SCMP_SYS(write),	 SCMP_SYS(writev),	 SCMP_SYS(pwrite64),	 SCMP_SYS(close),
	SCMP_SYS(fstat),	 SCMP_SYS(newfstatat),	 SCMP_SYS(fcntl),	 SCMP_SYS(flock),
	SCMP_SYS(openat),	 SCMP_SYS(openat2),	 SCMP_SYS(mkdirat),	 SCMP_SYS(symlinkat),
	SCMP_SYS(linkat),	 SCMP_SYS(unlinkat),	 SCMP_SYS(unlink),	 SCMP_SYS(rmdir),
	SCMP_SYS(renameat),	 SCMP_SYS(renameat2),	 SCMP_SYS(fchmod),	 SCMP_SYS(ftruncate),
	SCMP_SYS(getdents64),	 SCMP_SYS(fsync),	 SCMP_SYS(syncfs),	 SCMP_SYS(munmap),
	SCMP_SYS(mremap),	 SCMP_SYS(brk),		 SCMP_SYS(madvise),	 SCMP_SYS(futex),
	SCMP_SYS(exit),		 SCMP_SYS(exit_group),	 SCMP_SYS(rt_sigreturn), SCMP_SYS(restart_syscall),
	SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time),	 SCMP_SYS(getrandom),
	SCMP_SYS(getpid),	 SCMP_SYS(getuid),
};

static int add_rules(scmp_filter_ctx filter, int answer)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(allowed) && r == 0; i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(sendto), 1,
				     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)answer));
	return r;
}

/* A device that is no device is what overlayfs takes for a white-out (since Linux 5.8 anybody may make it). */
static int add_layer_rules(scmp_filter_ctx filter)
{
	static const int calls[] = {SCMP_SYS(fchown), SCMP_SYS(fchownat), SCMP_SYS(fsetxattr), SCMP_SYS(utimensat)};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(calls) && r == 0; i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mknodat), 2,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, S_IFMT, S_IFCHR), SCMP_A3(SCMP_CMP_EQ, 0));
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mknodat), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, S_IFMT, S_IFIFO));
	return r;
}

int confine_filter(int answer, enum spawner_unpack how, struct err *e)
{
	scmp_filter_ctx filter;
	int r;

	if (SANITIZED)
		return 0;
	filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (!filter)
		return err_set(e, ERR_SYS, "out of memory");
	r = add_rules(filter, answer);
	if (r == 0 && how == UNPACK_LAYER)
		r = add_layer_rules(filter);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r < 0 ? err_sys(e, -r, "load the system call filter") : 0;
}
