/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of image/ share. Everything belongs to the loop. */
#pragma once
#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "image/image.h"
#include "image/reference.h"
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
	struct list pulls, uploads, pushes;
	struct list puts,
		holds; /* registry.c: manifests on their way; blobs that came, and that no manifest names yet */
	struct loop_timer *holds_due;
	char own[REFERENCE_NAME_MAX]; /* the registry's name at AWS; and our port, where clients on this machine find it */
	uint16_t own_port;
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
bool image_used(const struct images *t, const struct image *im); /* by image_use, or it is a function */
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
/* push.c */
void pushes_free(struct images *t);
/* registry.c */
void registry_open(struct images *t);
void registry_close(struct images *t);
void registry_puts_end(struct images *t);
/* Whether text, of which *r was made, is a name for one of ours: by our host, our port on this machine, or no host at
 * all (text NULL: that is left out). Then *r becomes our name for it. */
bool registry_owns(const struct images *t, const char *text, struct reference *r);
/* A directory in incoming/ with what is there of it, as skopeo's dir: would have it. */
int registry_stage(struct images *t, const struct reference *r, char ret_name[24], struct err *e);
void registry_tidy(struct images *t); /* what lost its tag some time ago goes */
