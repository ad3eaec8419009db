/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One archive into one directory. Takes zip and tar (plain, gzip, xz, zstd); ends at the first thing that it does not
 * like, and then nothing is left. What is kept: directories 0755, files 0644 or 0755, symbolic links that stay inside,
 * hard links to earlier files. No owner, time, ACL or attribute of the archive is kept. Of a layer of an image (tar)
 * more is: unpack/layer.h. Or removes a tree that a layer left.
 */
#pragma once
#include <signal.h>
#include "unpack/stream.h"
#include "unpack/tree.h"
#include "wire/spawner.h"

struct unpack {
	int archive; /* seekable, read from its start */
	int parent;
	const char *name;
	uint64_t max_bytes, max_files;
	enum spawner_unpack how;
	struct stream *stream;		   /* UNPACK_LAYER: prepared */
	const volatile sig_atomic_t *stop; /* NULL, or becomes non-zero when CPU time is used up */
	uint64_t bytes, files;		   /* outputs of unpack_run */
};
int unpack_run(struct unpack *u, struct err *e);
/* The content of one entry into fd; name is for the error. */
int unpack_data(struct unpack *u, struct tree *t, struct archive *a, struct archive_entry *entry, int fd,
		const char *name, struct err *e);
