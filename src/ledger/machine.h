/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel has counted of the whole machine and of the platform's own processes, and what two such looks say of the
 * time between them. Every term has a counter of its own; none is what the others leave:
 *
 *   tandem/daemon    tandemd: getrusage, its anonymous memory; what pulling and unpacking for it took (wait4)
 *   tandem/spawner   the spawner: /proc/PID/schedstat, its anonymous memory
 *   tandem/blanks    sandboxes that belong to nobody yet: what making them took and what they hold
 *   host/unused      processors: idle and waiting for a disk (/proc/stat); memory: MemAvailable, so cache that would be
 *                    given back at once is nobody's
 *   host/other       processors: busy or stolen (/proc/stat) but for our processes and the group that all sandboxes are
 *                    in, which the kernel counts as well; memory likewise
 *   host/machine     the price of that time: what all rows should add up to
 *
 * No row of a workload is looked at for it, so what the ledger misses or counts twice shows as `unattributed`. Counters are
 * cumulative: nobody is woken to read them, and one look serves a night. Memory is the mean of both ends of the stretch.
 */
#pragma once
#include "base/buf.h"
#include "ledger/ledger.h"

enum machine_term {
	MACHINE_DAEMON,
	MACHINE_SPAWNER,
	MACHINE_BLANKS,
	MACHINE_UNUSED,
	MACHINE_OTHER,
	MACHINE_ALL,
	MACHINE_TERM_N
};
extern const char *const machine_term_name[MACHINE_TERM_N]; /* of its workload */

struct machine_look {
	char boot[40]; /* counters of another boot say nothing */
	int64_t at_us, wall_us;
	int64_t idle_us, busy_us, group_us;	  /* since boot; of the base group of all sandboxes */
	int64_t daemon_us, spawner_us, blanks_us; /* since they began */
	int64_t cpus, total_bytes, available_bytes, group_bytes, daemon_bytes, spawner_bytes, blanks_bytes;
};
/* Text of /proc/stat, /proc/meminfo and a group's memory.stat. -1: something is missing. */
int machine_parse_stat(struct str text, struct machine_look *ret);
int machine_parse_meminfo(struct str text, struct machine_look *ret);
/* current: memory.current or v1's memory.usage_in_bytes; without what is cache of files. */
int64_t machine_group_bytes(struct str stat, int64_t current);

/* Rows of the stretch, by term, without their numbers; false: nothing can be said of it (another boot, no time). */
bool machine_rows(const struct machine_look *from, const struct machine_look *to,
		  struct ledger_row ret[MACHINE_TERM_N]);
/* A look as text, which is kept over the end of a daemon: its successor goes on from there. */
void machine_put(const struct machine_look *l, struct buf *out);
int machine_get(struct str text, struct machine_look *ret);
