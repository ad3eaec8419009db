/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of image/ share. Everything belongs to the loop. */
#pragma once
#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "image/image.h"
#include "loop/loop.h"
#include "spawn/spawn.h"

struct sweep;
struct images {
	struct loop *loop;
	struct store *store;
	struct spawn *spawn;
	struct loop_thread *thread; /* reading and checking of what was copied */
	int layers_fd, incoming_fd;
	struct map by_reference; /* of struct image */
	struct image **sorted;
	unsigned n, cap;
	struct list pulls, uploads;
	struct sweep *sweep;	   /* under way, or NULL */
	struct image_sweep *asked; /* wait for the next one */
	bool again;
	uint64_t next_incoming;
};

void image_free(struct image *im);
/* The row of the store as an image; NULL and the reason when it makes no sense. */
struct image *image_of_row(const struct store_image *row, struct err *e);
/* Takes im, which stands for its reference from now on, or the one that is there already when it is the same. In place
 * of another one, which goes on as moved if it is used and is freed if not. In memory; image_save follows. */
struct image *image_insert(struct images *t, struct image *im);
void image_take_out(struct images *t, struct image *im);
/* Writes the row; im is borrowed. */
void image_save(struct images *t, struct store_op *op, const struct image *im);
int64_t image_layer_bytes(const struct images *t, const char *diff_id); /* -1: no image names it */

/* A new directory in incoming/ that skopeo may write to; its name. A descriptor, or -1. */
int incoming_new(struct images *t, char ret_name[24], struct err *e);
/* pull.c: does a pull that is under way count on it? */
bool pull_names(const struct images *t, const char *name); /* a diff id, or a directory in incoming/ */
void pulls_free(struct images *t);
/* sweep.c */
void images_sweep(struct images *t); /* soon; nobody waits */
void sweep_free(struct images *t);
/* upload.c */
bool upload_names(const struct images *t, const char *incoming);
void uploads_free(struct images *t);
