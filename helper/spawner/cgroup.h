/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control groups, controller by controller: memory, cpu, cpuacct and pids come from v1 or v2, wherever the host has
 * them; cgroup.freeze and cgroup.kill always from v2, when it is mounted anywhere. Every hierarchy gets one base group
 * ("tandem-HASH of the state directory") and below it one leaf per sandbox slot. v1 leaves are reused (their peak can
 * be reset) unless they still hold page cache; a v2 leaf with the memory controller is made fresh each time, because
 * memory.peak cannot be reset before 6.12.
 */
#pragma once
#include <stdbool.h>
#include <sys/types.h>
#include "base/err.h"

#define CG_HIER_MAX 5
#define CG_NESTED   "c" /* the name of a container to an OCI runtime, which may make a group of it below a leaf */
enum { CG_MEMORY = 1, CG_CPU = 2, CG_CPUACCT = 4, CG_PIDS = 8, CG_LIMITS = CG_MEMORY | CG_CPU | CG_PIDS };
struct cg_hier {
	int base; /* directory of the base group */
	bool v2;
	unsigned ctl; /* controllers that are used here */
	char path[512];
};
struct cg {
	struct cg_hier h[CG_HIER_MAX];
	unsigned n;
	int v2;		/* index of the v2 hierarchy, or -1 */
	bool no_limits; /* debug builds, LAYER_NO_CGROUP */
};
struct cg_leaf {
	unsigned slot;
	uint32_t gen;
	uint32_t oom_base; /* kills that the v1 leaf had counted before this sandbox */
	bool oom_seen;
	int oom_event; /* eventfd of v1's memory.oom_control, or -1 */
};
struct cg_fds {
	int v1_tasks[CG_HIER_MAX]; /* the child writes "0" to each */
	unsigned n_v1_tasks;
	int v2_dir;		   /* for CLONE_INTO_CGROUP, or -1 */
	int freeze, cpu, mem_peak; /* for tandemd; -1: the host has none */
};
struct cg_limits {
	uint64_t memory_bytes; /* all of it: memory and /tmp */
	uint32_t pids_max, cpu_weight, cpu_quota_us;
};
/*
 * Until ASSIGN, with nothing of a function running in the group: those of a function of 128 MB and 512 of /tmp, so that
 * there is nothing to write for most.
 */
extern const struct cg_limits cg_blank_limits;
struct cg_usage {
	uint64_t cpu_us, mem_peak_bytes;
	uint32_t oom_kills;
};

int cg_find(struct cg *cg, const char *name,
	    struct err *e);    /* makes the base groups; ends and removes what is left in them */
void cg_remove(struct cg *cg); /* leaves and base groups */
void cg_base(const struct cg *cg, int *ret_cpu, int *ret_memory); /* base groups where these are counted; -1 stays */
int cg_leaf_make(const struct cg *cg, unsigned slot, uint32_t gen, struct cg_leaf *ret, struct cg_fds *ret_fds,
		 struct err *e);
int cg_leaf_mem(const struct cg *cg, const struct cg_leaf *l); /* what it holds now, for reading; -1: none */
void cg_fds_done(struct cg_fds *f);			       /* closes tasks and v2_dir, not what tandemd gets */
/* which: controllers whose limits are set. A new leaf has the CPU of a default group, without quota. */
int cg_leaf_limit(const struct cg *cg, const struct cg_leaf *l, unsigned which, const struct cg_limits *lim,
		  struct err *e);
void cg_leaf_usage(const struct cg *cg, const struct cg_leaf *l, struct cg_usage *ret);
void cg_leaf_kill(const struct cg *cg, const struct cg_leaf *l); /* everything in it */
void cg_leaf_release(const struct cg *cg,
		     struct cg_leaf *l); /* empty now: removed (v2 with memory) or kept for the slot */
