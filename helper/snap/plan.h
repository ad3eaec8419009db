/* SPDX-License-Identifier: Apache-2.0 */
/* From a checked image to the list of system calls that makes it a process (arena.h). */
#pragma once
#include "arena.h"
#include "image.h"

struct plan {
	const struct snap_view *view;
	int image;
	const int *file_fd; /* per file of the image */
	int told;
	int channel;  /* where something arrives when the sandbox is the function's; -1: it is */
	bool by_page; /* so that it shows which pages it touches */
	char *arena;  /* where it will run, mapped already */
	size_t arena_bytes;

	/* as it grows */
	struct arena_job *job;
	struct arena_op *op;
	size_t n, room, n_parts;
	char *data, *data_end;
};
/* Place and size of an arena that no mapping of the image touches; 0: there is none. */
uint64_t plan_arena(const struct snap_view *v, size_t *ret_bytes);
/* Is a run copied at once, or mapped? */
bool plan_reads(const struct snap_view *v, const struct snap_map *m, const struct snap_run *r);
/* Fills p->arena; the result is ready to run on the arena's own stack, at its end. */
int plan_make(struct plan *p, struct err *e);
