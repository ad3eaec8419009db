/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an archive and as a layer: an answer, no memory error, and nothing but the one new directory. */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/io.h"
#include "unpack/layer.c"
#include "unpack/path.c"
#include "unpack/stream.c"
#include "unpack/tree.c"
#include "unpack/unpack.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char scratch[64];

static void remove_scratch(void)
{
	rmdir(scratch);
}

static int scratch_dir(void)
{
	static int fd = -1;

	if (fd < 0) {
		snprintf(scratch, sizeof(scratch), "/tmp/tandem-fuzz-unpack-XXXXXX");
		assert(mkdtemp(scratch) && atexit(remove_scratch) == 0);
		fd = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert(fd >= 0);
	}
	return fd;
}

/* No bytes have the digest "x": whatever is in them, nothing stays. */
static void as_layer(int archive)
{
	struct unpack u = {.archive = archive,
			   .parent = scratch_dir(),
			   .name = "x",
			   .max_bytes = 1 << 20,
			   .max_files = 50,
			   .how = UNPACK_LAYER};
	struct err e = {.kind = ERR_NONE};
	struct stat st;

	lseek(archive, 0, SEEK_SET);
	assert(stream_prepare(&u.stream, &e) == 0);
	assert(unpack_run(&u, &e) < 0 && e.kind != ERR_NONE && e.text[0]);
	stream_free(u.stream);
	assert(fstatat(u.parent, "x", &st, 0) < 0 && fstatat(u.parent, ".tmp-x", &st, 0) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	auto_close int archive = memfd_create("archive", MFD_CLOEXEC);
	struct unpack u = {.parent = scratch_dir(), .name = "x", .max_bytes = 1 << 20, .max_files = 50};
	struct err e = {.kind = ERR_NONE};
	struct stat st;

	assert(archive >= 0 && io_write_all(archive, data, n, &e) == 0);
	lseek(archive, 0, SEEK_SET);
	u.archive = archive;
	if (unpack_run(&u, &e) == 0) {
		assert(u.files <= u.max_files && u.bytes <= u.max_bytes);
		assert(io_rm_tree(u.parent, "x", NULL) == 0);
	} else {
		assert(e.kind != ERR_NONE && e.text[0]);
		assert(fstatat(u.parent, "x", &st, 0) < 0);
	}
	assert(fstatat(u.parent, ".tmp-x", &st, 0) < 0);
	as_layer(archive);
	return 0;
}
