/* SPDX-License-Identifier: Apache-2.0 */
/* Giving up rights: capabilities, ids, limits, system calls. Order matters everywhere here; each function says why. */
#include "spawner.h"
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <signal.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include "seccomp_filter.h"

#define CAP_NUMBERS 64 /* more than there are */

static int set_caps(uint32_t v)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2] = {{v, v, v}, {v, v, v}};

	return (int)syscall(SYS_capset, &h, d);
}

/* A change of ids inside the first user namespace (LAYER_NO_USERNS) leaves what is permitted, but not in effect. */
static int use_permitted(void)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &h, d) < 0)
		return -1;
	for (unsigned i = 0; i < 2; i++)
		d[i].effective = d[i].permitted;
	h.version = _LINUX_CAPABILITY_VERSION_3;
	return (int)syscall(SYS_capset, &h, d);
}

/* The kernel refuses the number behind its last one. */
static int empty_bounding_set(struct err *e)
{
	unsigned i = 0;

	while (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) == 0)
		i++;
	return i && errno == EINVAL ? 0 : err_sys(e, errno, "drop capability %u from the bounding set", i);
}

/* Bounding set and securebits first: changing them needs the capabilities that go last. */
int priv_drop_caps(struct err *e)
{
	const unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED |
				   SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
				   SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

	if (use_permitted() < 0)
		return err_sys(e, errno, "capset");
	if (empty_bounding_set(e) < 0)
		return -1;
	if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0)
		return err_sys(e, errno, "set securebits");
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (set_caps(0) < 0)
		return err_sys(e, errno, "drop all capabilities");
	return 0;
}

/* Only where a test leaves the layer out: capabilities in the sandbox's own user namespace survive the exec. */
int priv_keep_caps(struct err *e)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &h, d) < 0)
		return err_sys(e, errno, "capget");
	for (unsigned i = 0; i < 2; i++)
		d[i].inheritable = d[i].effective = d[i].permitted;
	h.version = _LINUX_CAPABILITY_VERSION_3;
	if (syscall(SYS_capset, &h, d) < 0)
		return err_sys(e, errno, "capset");
	for (unsigned i = 0; i < CAP_NUMBERS; i++)
		(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0);
	return 0;
}

int priv_files_as(uint32_t id, struct err *e)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &h, d) < 0)
		return err_sys(e, errno, "capget");
	setfsgid(id);
	setfsuid(id); /* takes the capabilities over files with it, out of effect */
	h.version = _LINUX_CAPABILITY_VERSION_3;
	return syscall(SYS_capset, &h, d) < 0 ? err_sys(e, errno, "capset") : 0;
}

/*
 * Each is a right in the container's own user namespace: its ids, its files, its processes. tandem-init has those that
 * becoming another user takes, and gives up the rest of them in what it starts (init/run.c).
 */
int priv_caps_container(uint64_t caps, struct err *e)
{
	const uint64_t keep = caps | CAPS_INIT;
	const uint32_t low = (uint32_t)keep, high = (uint32_t)(keep >> 32);
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2] = {{low, low, 0}, {high, high, 0}};

	for (unsigned i = 0; i < CAP_NUMBERS; i++)
		if (!(keep >> i & 1) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0 && errno != EINVAL)
			return err_sys(e, errno, "drop capability %u from the bounding set", i);
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return syscall(SYS_capset, &h, d) < 0 ? err_sys(e, errno, "drop capabilities") : 0;
}

static int limit(int what, rlim_t soft, rlim_t hard)
{
	struct rlimit now;

	/* Never above what the host gave us: raising needs a right that the spawner may not have. */
	if (getrlimit((__rlimit_resource_t)what, &now) < 0)
		return -1;
	if (hard > now.rlim_max)
		hard = now.rlim_max;
	if (soft > hard)
		soft = hard;
	return setrlimit((__rlimit_resource_t)what, &(struct rlimit){soft, hard});
}

int priv_rlimits_sandbox(struct err *e)
{
	/* CORE 1, not 0: a pipe in core_pattern ignores 0 but gives up at 1 (core(5) and the kernel's fs/coredump.c).
	 */
	if (limit(RLIMIT_NPROC, 4096, 4096) < 0 || limit(RLIMIT_CORE, 1, 1) < 0 ||
	    limit(RLIMIT_STACK, 8 << 20, RLIM_INFINITY) < 0 || limit(RLIMIT_MEMLOCK, 64 << 10, 64 << 10) < 0 ||
	    limit(RLIMIT_MSGQUEUE, 0, 0) < 0 || limit(RLIMIT_SIGPENDING, 1024, 1024) < 0)
		return err_sys(e, errno, "set resource limits");
	return 0;
}

/* The pids group bounds processes; where the host has none this is what is left. */
int priv_rlimits_container(struct err *e)
{
	if (limit(RLIMIT_NPROC, 32768, 32768) < 0 || limit(RLIMIT_CORE, 1, 1) < 0 ||
	    limit(RLIMIT_STACK, 8 << 20, RLIM_INFINITY) < 0 || limit(RLIMIT_MEMLOCK, 8 << 20, 8 << 20) < 0 ||
	    limit(RLIMIT_MSGQUEUE, 819200, 819200) < 0 || limit(RLIMIT_SIGPENDING, 8192, 8192) < 0 ||
	    limit(RLIMIT_NOFILE, 1024, 524288) < 0)
		return err_sys(e, errno, "set resource limits");
	return 0;
}

/* Not the core, which would go to the host's handler, nor what lets a process go before those of others. */
bool priv_rlimit_ok(unsigned resource)
{
	const unsigned ok = 1u << RLIMIT_CPU | 1u << RLIMIT_FSIZE | 1u << RLIMIT_DATA | 1u << RLIMIT_STACK |
			    1u << RLIMIT_RSS | 1u << RLIMIT_NPROC | 1u << RLIMIT_NOFILE | 1u << RLIMIT_MEMLOCK |
			    1u << RLIMIT_AS | 1u << RLIMIT_LOCKS | 1u << RLIMIT_RTTIME | 1u << RLIMIT_SIGPENDING |
			    1u << RLIMIT_MSGQUEUE;

	return resource < 32 && ok >> resource & 1;
}

int priv_rlimit(unsigned resource, uint64_t soft, uint64_t hard, struct err *e)
{
	return setrlimit((__rlimit_resource_t)resource, &(struct rlimit){soft, hard}) < 0
		       ? err_sys(e, errno, "set limit %u to %llu", resource, (unsigned long long)hard)
		       : 0;
}

int priv_rlimit_files(struct err *e)
{
	return limit(RLIMIT_NOFILE, 1024, 1024) < 0 ? err_sys(e, errno, "limit descriptors") : 0;
}

int priv_seal(struct err *e)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return err_sys(e, errno, "prctl");
	return 0;
}

static int load(const struct sock_filter *filter, size_t n, struct err *e)
{
	struct sock_fprog prog = {.len = (unsigned short)n, .filter = (struct sock_filter *)(uintptr_t)filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0)
		return err_sys(e, errno, "load the system call filter");
	return 0;
}

int priv_filter_sandbox(bool prepare, struct err *e)
{
	if (prepare)
		return load(seccomp_prepare_filter, ARRAY_SIZE(seccomp_prepare_filter), e);
	return load(seccomp_filter, ARRAY_SIZE(seccomp_filter), e);
}

int priv_filter_container(struct err *e)
{
	return load(seccomp_container_filter, ARRAY_SIZE(seccomp_container_filter), e);
}

int priv_filter_daemon(struct err *e)
{
	return load(seccomp_daemon_filter, ARRAY_SIZE(seccomp_daemon_filter), e);
}

int priv_filter_unpack(struct err *e)
{
	return load(seccomp_unpack_filter, ARRAY_SIZE(seccomp_unpack_filter), e);
}

/* The bounding set says what the program begins with: it is run by its namespace's root. */
int priv_become_layer_root(struct err *e)
{
	const uint64_t kept = 1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_FOWNER | 1u << CAP_FSETID |
			      1u << CAP_SYS_CHROOT | 1ull << CAP_SETFCAP;

	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return err_sys(e, errno, "become root of the namespace");
	for (unsigned i = 0; i < CAP_NUMBERS; i++)
		if (!(kept >> i & 1) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0 && errno != EINVAL)
			return err_sys(e, errno, "drop capability %u from the bounding set", i);
	return priv_seal(e);
}

int priv_become(uint32_t uid, uint32_t gid, struct err *e)
{
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0)
		return err_sys(e, errno, "become group %u", gid);
	/* The ids' change takes the capabilities with it, so the bounding set has to go before. */
	if (empty_bounding_set(e) < 0)
		return -1;
	if (setresuid(uid, uid, uid) < 0)
		return err_sys(e, errno, "become user %u", uid);
	if (set_caps(0) < 0)
		return err_sys(e, errno, "drop all capabilities");
	return priv_seal(e);
}
