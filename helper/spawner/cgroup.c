/* SPDX-License-Identifier: Apache-2.0 */
#include "cgroup.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include "cgroup_int.h"

#define LEFT_BYTES (256 << 10) /* a batch of the kernel's own counting; less says nothing */

const struct cg_limits cg_blank_limits = {.memory_bytes = 640 << 20, .pids_max = 1024, .cpu_weight = 100};

int cg_write(int dir, const char *file, const char *text)
{
	int fd = openat(dir, file, O_WRONLY | O_CLOEXEC), saved;
	ssize_t put;

	if (fd < 0)
		return -1;
	put = write(fd, text, strlen(text));
	saved = errno;
	close(fd);
	errno = saved;
	return put < 0 ? -1 : 0;
}

ssize_t cg_read(int dir, const char *file, char *ret, size_t size)
{
	int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	ret[0] = 0;
	if (fd < 0)
		return -1;
	got = read(fd, ret, size - 1);
	close(fd);
	if (got >= 0)
		ret[got] = 0;
	return got;
}

static int write_u64(int dir, const char *file, uint64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, v);
	return cg_write(dir, file, text);
}

/* The number after key ("" for a file that is one number); 0 when there is none. */
static uint64_t read_number(int dir, const char *file, const char *key)
{
	char text[2048];
	const char *at = text;

	if (cg_read(dir, file, text, sizeof(text)) <= 0)
		return 0;
	while (*key && at && strncmp(at, key, strlen(key)))
		at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL;
	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static void leaf_name(const struct cg_hier *h, const struct cg_leaf *l, char out[32])
{
	if (h->v2 && h->ctl & CG_MEMORY)
		snprintf(out, 32, "%u.%u", l->slot, l->gen);
	else
		snprintf(out, 32, "%u", l->slot);
}

static int leaf_open(const struct cg_hier *h, const struct cg_leaf *l)
{
	char name[32];

	leaf_name(h, l, name);
	return openat(h->base, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int limit_memory(const struct cg_hier *h, int dir, uint64_t bytes)
{
	if (h->v2) {
		(void)write_u64(dir, "memory.swap.max", 0); /* absent without swap accounting */
		return write_u64(dir, "memory.max", bytes);
	}
	/* memsw can never be below the limit: raising begins with it, lowering ends with it. */
	(void)write_u64(dir, "memory.memsw.limit_in_bytes", bytes);
	if (write_u64(dir, "memory.limit_in_bytes", bytes) < 0)
		return -1;
	(void)write_u64(dir, "memory.memsw.limit_in_bytes", bytes);
	return 0;
}

static int limit_cpu(const struct cg_hier *h, int dir, uint32_t weight, uint32_t quota_us)
{
	char text[48];
	uint64_t shares = (uint64_t)weight * 1024 / 100;

	if (h->v2) {
		if (quota_us)
			snprintf(text, sizeof(text), "%u 100000", quota_us);
		else
			snprintf(text, sizeof(text), "max 100000");
		return write_u64(dir, "cpu.weight", weight) < 0 || cg_write(dir, "cpu.max", text) < 0 ? -1 : 0;
	}
	if (write_u64(dir, "cpu.shares", shares < 2 ? 2 : shares > 262144 ? 262144 : shares) < 0)
		return -1;
	snprintf(text, sizeof(text), quota_us ? "%u" : "-1", quota_us);
	/* A kernel without bandwidth control has no such file: a quota is then impossible, none is fine. */
	return cg_write(dir, "cpu.cfs_quota_us", text) < 0 && quota_us ? -1 : 0;
}

static int limit_one(const struct cg_hier *h, int dir, unsigned which, const struct cg_limits *lim, struct err *e)
{
	which &= h->ctl;
	if (which & CG_MEMORY && limit_memory(h, dir, lim->memory_bytes) < 0)
		return err_sys(e, errno, "set the memory limit");
	if (which & CG_PIDS && write_u64(dir, "pids.max", lim->pids_max) < 0)
		return err_sys(e, errno, "set the limit of processes");
	if (which & CG_CPU && limit_cpu(h, dir, lim->cpu_weight, lim->cpu_quota_us) < 0)
		return err_sys(e, errno, "set the CPU weight or quota");
	return 0;
}

int cg_leaf_limit(const struct cg *cg, const struct cg_leaf *l, unsigned which, const struct cg_limits *lim,
		  struct err *e)
{
	for (unsigned i = 0; i < cg->n && !cg->no_limits; i++) {
		const struct cg_hier *h = &cg->h[i];
		auto_close int dir = -1;

		if (!(h->ctl & which))
			continue;
		dir = leaf_open(h, l);
		if (dir < 0)
			return err_sys(e, errno, "open a group");
		if (limit_one(h, dir, which, lim, e) < 0)
			return -1;
	}
	return 0;
}

/* v1 tells of an out-of-memory by eventfd; on v2 memory.oom.group ends the whole sandbox by itself. */
static void arm_oom(int dir, struct cg_leaf *l)
{
	char text[48];
	auto_close int control = openat(dir, "memory.oom_control", O_RDONLY | O_CLOEXEC);

	if (control < 0)
		return;
	l->oom_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->oom_event < 0)
		return;
	snprintf(text, sizeof(text), "%d %d", l->oom_event, control);
	if (cg_write(dir, "cgroup.event_control", text) < 0) {
		close(l->oom_event);
		l->oom_event = -1;
	}
	l->oom_base = (uint32_t)read_number(dir, "memory.oom_control", "oom_kill ");
}

/*
 * A leaf that is used again still holds the page cache of files that the sandbox before wrote or was the first to read (an
 * image of 38 MB), and would give it to the next one as its peak. Without its name it holds it until the kernel wants it;
 * making another takes 0.1 ms, ahead of need and only after such a sandbox.
 */
static void leaf_let_go(const struct cg_hier *h, const struct cg_leaf *l, const char *name)
{
	auto_close int dir = !h->v2 && h->ctl & CG_MEMORY ? leaf_open(h, l) : -1;

	if (dir >= 0 && read_number(dir, "memory.usage_in_bytes", "") > LEFT_BYTES)
		(void)unlinkat(h->base, name, AT_REMOVEDIR); /* EBUSY: as in cg_leaf_release; then it keeps it */
}

static int leaf_in(const struct cg *cg, unsigned i, struct cg_leaf *l, struct cg_fds *f, struct err *e)
{
	const struct cg_hier *h = &cg->h[i];
	char name[32];
	auto_close int dir = -1;

	leaf_name(h, l, name);
	leaf_let_go(h, l, name);
	if (mkdirat(h->base, name, 0755) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make group %s/%s", h->path, name);
	dir = leaf_open(h, l);
	if (dir < 0)
		return err_sys(e, errno, "open group %s/%s", h->path, name);
	if (!cg->no_limits && limit_one(h, dir, CG_LIMITS, &cg_blank_limits, e) < 0)
		return -1;
	if (h->v2) {
		(void)cg_write(dir, "cgroup.freeze", "0");
		f->freeze = openat(dir, "cgroup.freeze", O_WRONLY | O_CLOEXEC);
		if (h->ctl & CG_MEMORY) {
			(void)cg_write(dir, "memory.oom.group", "1");
			f->mem_peak = openat(dir, "memory.peak", O_RDONLY | O_CLOEXEC);
		}
		if (f->cpu < 0)
			f->cpu = openat(dir, "cpu.stat", O_RDONLY | O_CLOEXEC);
		f->v2_dir = take_fd(dir);
		return 0;
	}
	if (h->ctl & CG_CPUACCT) {
		(void)cg_write(dir, "cpuacct.usage", "0");
		f->cpu = openat(dir, "cpuacct.usage", O_RDONLY | O_CLOEXEC);
	}
	if (h->ctl & CG_MEMORY) {
		(void)cg_write(dir, "memory.max_usage_in_bytes", "0");
		f->mem_peak = openat(dir, "memory.max_usage_in_bytes", O_RDONLY | O_CLOEXEC);
		arm_oom(dir, l);
	}
	f->v1_tasks[f->n_v1_tasks] = openat(dir, "tasks", O_WRONLY | O_CLOEXEC);
	if (f->v1_tasks[f->n_v1_tasks] < 0)
		return err_sys(e, errno, "open tasks of %s/%s", h->path, name);
	f->n_v1_tasks++;
	return 0;
}

static void base_of(const struct cg_hier *h, int *ret)
{
	if (*ret < 0)
		*ret = fcntl(h->base, F_DUPFD_CLOEXEC, 0);
}

void cg_base(const struct cg *cg, int *ret_cpu, int *ret_memory)
{
	for (unsigned i = 0; i < cg->n; i++) { /* v1 comes first */
		if (cg->h[i].v2 || cg->h[i].ctl & CG_CPUACCT)
			base_of(&cg->h[i], ret_cpu);
		if (cg->h[i].ctl & CG_MEMORY)
			base_of(&cg->h[i], ret_memory);
	}
}

int cg_leaf_make(const struct cg *cg, unsigned slot, uint32_t gen, struct cg_leaf *ret, struct cg_fds *ret_fds,
		 struct err *e)
{
	*ret = (struct cg_leaf){.slot = slot, .gen = gen, .oom_event = -1};
	*ret_fds = (struct cg_fds){.v2_dir = -1, .freeze = -1, .cpu = -1, .mem_peak = -1};
	for (unsigned i = 0; i < cg->n; i++) { /* v1 comes first in the table: its CPU counter is the cheaper one */
		if (leaf_in(cg, i, ret, ret_fds, e) < 0) {
			cg_fds_done(ret_fds);
			close_p(&ret_fds->freeze);
			close_p(&ret_fds->cpu);
			close_p(&ret_fds->mem_peak);
			cg_leaf_release(cg, ret);
			return -1;
		}
	}
	return 0;
}

int cg_leaf_mem(const struct cg *cg, const struct cg_leaf *l)
{
	for (unsigned i = 0; i < cg->n; i++) {
		const struct cg_hier *h = &cg->h[i];
		auto_close int dir = h->ctl & CG_MEMORY ? leaf_open(h, l) : -1;

		if (dir >= 0)
			return openat(dir, h->v2 ? "memory.current" : "memory.usage_in_bytes", O_RDONLY | O_CLOEXEC);
	}
	return -1;
}

void cg_fds_done(struct cg_fds *f)
{
	for (unsigned i = 0; i < f->n_v1_tasks; i++)
		close(f->v1_tasks[i]);
	f->n_v1_tasks = 0;
	close_p(&f->v2_dir);
	f->v2_dir = -1;
}

void cg_leaf_usage(const struct cg *cg, const struct cg_leaf *l, struct cg_usage *ret)
{
	bool have_cpu = false;

	*ret = (struct cg_usage){0};
	for (unsigned i = 0; i < cg->n; i++) {
		const struct cg_hier *h = &cg->h[i];
		auto_close int dir = leaf_open(h, l);

		if (dir < 0)
			continue;
		if (!h->v2 && h->ctl & CG_CPUACCT) {
			ret->cpu_us = read_number(dir, "cpuacct.usage", "") / 1000;
			have_cpu = true;
		}
		if (h->v2 && !have_cpu)
			ret->cpu_us = read_number(dir, "cpu.stat", "usage_usec ");
		if (!(h->ctl & CG_MEMORY))
			continue;
		ret->mem_peak_bytes = read_number(dir, h->v2 ? "memory.peak" : "memory.max_usage_in_bytes", "");
		ret->oom_kills =
			(uint32_t)read_number(dir, h->v2 ? "memory.events" : "memory.oom_control", "oom_kill ") -
			l->oom_base;
	}
	/* The event comes before the kernel's own kill, and ours may be quicker. */
	if (l->oom_seen && !ret->oom_kills)
		ret->oom_kills = 1;
}

/*
 * One by one, not by cgroup.kill: on Linux 6.18 a group in which that was ever used kills whatever clone3 puts into it
 * later (CLONE_INTO_CGROUP, measured; an empty group as well), and leaves are used again.
 */
void cg_leaf_kill(const struct cg *cg, const struct cg_leaf *l)
{
	auto_close int dir = cg->v2 < 0 ? -1 : leaf_open(&cg->h[cg->v2], l);
	char text[4096];

	/* Again while there are some: they may fork meanwhile. */
	for (int round = 0; dir >= 0 && round < 64 && cg_read(dir, "cgroup.procs", text, sizeof(text)) > 0; round++)
		for (char *p = text, *end; *p; p = end + strspn(end, "\n")) {
			long pid = strtol(p, &end, 10);

			if (end == p)
				break;
			if (pid > 1)
				kill((pid_t)pid, SIGKILL);
		}
}

void cg_leaf_release(const struct cg *cg, struct cg_leaf *l)
{
	char name[32], nested[40];

	close_p(&l->oom_event);
	l->oom_event = -1;
	if (cg->v2 < 0)
		return;
	leaf_name(&cg->h[cg->v2], l, name);
	snprintf(nested, sizeof(nested), "%s/" CG_NESTED, name);
	(void)unlinkat(cg->h[cg->v2].base, nested, AT_REMOVEDIR);
	if (cg->h[cg->v2].ctl & CG_MEMORY)
		/* EBUSY: a dying task still counts; cg_remove or the next start takes what stays. */
		(void)unlinkat(cg->h[cg->v2].base, name, AT_REMOVEDIR);
}
