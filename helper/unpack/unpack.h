/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One archive into one directory. Takes zip and tar (plain, gzip, xz, zstd); ends at the first thing that it does not
 * like, and then nothing is left. What is kept: directories 0755, files 0644 or 0755, symbolic links that stay inside,
 * hard links to earlier files. No owner, time, ACL or attribute of the archive is kept.
 */
#pragma once
#include <signal.h>
#include "unpack/tree.h"

struct unpack {
	int archive; /* seekable, read from its start */
	int parent;
	const char *name;
	uint64_t max_bytes, max_files;
	const volatile sig_atomic_t *stop; /* NULL, or becomes non-zero when CPU time is used up */
	uint64_t bytes, files;		   /* outputs of unpack_run */
};
int unpack_run(struct unpack *u, struct err *e);
