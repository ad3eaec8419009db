/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages of its address space a process made from an image has touched after its first event. All processes of one
 * image have them at the same addresses, so the next start from a disk asks for what lies there all at once, where one
 * page fault would come after the other.
 *
 * The list lies in the image's last bytes, behind all but the end of its hole: it comes and goes with the image. It is as
 * hostile as that. What is done with it is advice (POSIX_FADV_WILLNEED) on descriptors that the restorer has opened
 * itself, within what the checked image maps, of no more than AHEAD_PAGES_MAX pages.
 */
#pragma once
#include <assert.h>
#include <sys/types.h>
#include "snap.h"

#define AHEAD_MAGIC	0x64616568616d6474ull /* "tdmahead" */
#define AHEAD_BYTES	32768u
#define AHEAD_RANGES	((AHEAD_BYTES - 24) / 8)
#define AHEAD_PAGES_MAX 16384u
#define AHEAD_WHOLE_MAX                                                                                                \
	(16u << 20) /* without a list a smaller image is read as a whole; of a larger one too much is never used */

struct snap_ahead {
	uint64_t magic, ino, n; /* ino: of the image */
	uint64_t
		range[AHEAD_RANGES]; /* address of the first page, upwards, and in its low 12 bits how many there are */
};
static_assert(sizeof(struct snap_ahead) == AHEAD_BYTES, "it fills its place");

/* Appends pages from .. to, above all others; what lies close is joined when there are too many. */
void ahead_note(struct snap_ahead *a, uint64_t *gap_pages, uint64_t from, uint64_t to);
/* Of a process that we may look at. Takes some ms. Returns how many bytes of *ret there are to keep. */
ssize_t ahead_look(pid_t pid, uint64_t ino, struct snap_ahead *ret, struct err *e);

/* While an image is restored. */
struct ahead {
	const struct snap_view *view; /* from the second call on */
	int image;
	struct snap_ahead *list; /* NULL: there is none */
	bool disk;		 /* the image is not in memory */
	/* what is asked for next, and how much was */
	bool probes; /* only looks whether it is there */
	int fd;
	uint64_t from, to, pages;
};
/* First of all; st: of the image. */
void ahead_begin(struct ahead *a, struct snap_mem *mem, int image, const struct stat *st);
void ahead_image(struct ahead *a, const struct snap_view *v);
void ahead_files(struct ahead *a, const int *file_fd); /* per file of the image; -1: not open */
