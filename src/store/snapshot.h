/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images of processes (docs/snapshots.md), at most one per revision: snapshots/<serial>, 0600, and what is known of it,
 * or why there is none, beside it in <serial>.json. A cache: what is lost is made again. An image is never written
 * again once it has its name, its list of pages aside; ending its life is unlinking it, so who runs from it keeps it.
 *
 * It counts only while the base is the one that it was made on (snapshot_base): Tandem's version, its shims, and the
 * host's packages. Together they stay within a number of bytes; the one that was used longest ago goes first.
 */
#pragma once
#include "store/function.h"

#define SNAPSHOT_SETTING "snapshots_max_bytes" /* what snapshot_disk_max was told last, in decimal */

struct snapshot {
	uint64_t serial; /* of the revision */
	uint64_t bytes;	 /* 0: there is none */
	uint32_t pages, mappings, files, took_us;
	int64_t made_wall_us, used_wall_us; /* used: since the start of the daemon to the second, before by the file */
	char reason[200];		    /* why there is none */
};

/* What an image depends on beside what it checks itself; text of at most 255 bytes, from now on. Those made on another
 * base are forgotten. */
void snapshot_base(struct store *s, const char *base);
/* NULL: none was made on this base, nor tried to. Borrowed until the next call that changes it. */
const struct snapshot *snapshot_of(const struct store *s, uint64_t serial);
int snapshot_open(struct store *s, uint64_t serial, struct err *e);	    /* for reading; it is used now */
int snapshot_create(const struct store *s, uint64_t serial, struct err *e); /* an empty file to write it to */
void snapshot_discard(const struct store *s, uint64_t serial); /* what was written to it; nobody writes any more */
/* What was written is durable and counts, or the reason why nothing was, once op is done. One at a time. On failure
 * there is none. */
void snapshot_keep(struct store *s, struct store_op *op, const struct snapshot *info);
/* The list of pages that tandem-init gave (wire/init.h), into the image: a hint, of which nothing is promised. */
void snapshot_pages(const struct store *s, uint64_t serial, struct str list);
void snapshot_forget(struct store *s, uint64_t serial);	    /* as if never tried */
void snapshot_reconsider(struct store *s, uint64_t serial); /* the same, when it was tried in vain */
uint64_t snapshot_disk_bytes(const struct store *s);	    /* all of them */
void snapshot_disk_max(struct store *s, uint64_t bytes);    /* from now on; the default is a tenth of the file system */
uint64_t snapshot_disk_limit(const struct store *s);
