/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Container images: what a reference names, its configuration, and its layers, unpacked once each and kept once by diff
 * id (SHA-256 of the plain tar) in <state>/daemon/layers/<hex>. Rows are in the store (store/image.h); this table is
 * the memory of them. How images get here: image/pull.h. Reasons: docs/decisions/006-who-copies-images.md.
 *
 * What a layer on disk is, for whoever mounts it: owners are LAYER_ID_BASE + the id of the archive (wire/spawner.h), so
 * an idmapped mount of 65,536 ids from there shows them in any range; nothing on disk is ever owned by an id of the
 * host or of a sandbox. A white-out is a character device 0/0, an opaque directory has user.overlay.opaque=y: overlayfs
 * wants "userxattr". Set-id bits and file capabilities are there (rootid is LAYER_ID_BASE). There are no devices.
 * Nobody but the unpacker writes there. A layer directory is opened O_PATH by tandemd and handed over as a descriptor.
 *
 * In use: who runs from an image, or declares that it will, holds it by image_use. What is held is never removed, nor
 * are its layers, also when the reference is pulled anew and names another image by then: the old one goes on under
 * NAME@sha256:DIGEST. After a restart of tandemd holders take it again, by digest, before anybody can ask for a sweep.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "store/image.h"
struct store;
struct spawn;
struct loop;

#define IMAGE_REF_MAX 384 /* REFERENCE_MAX */

struct image_port {
	uint16_t port;
	bool udp;
};
struct image_label {
	char *name, *value;
};
/* Lists end with NULL and are never NULL themselves; texts are never NULL. As in the image: nothing is resolved. */
struct image_config {
	char **entrypoint, **cmd, **env; /* env: "NAME=value" */
	char *user;			 /* "", "1000", "www-data", "user:group" */
	char *workdir;			 /* "": / */
	int stop_signal;		 /* a number; SIGTERM when the image says nothing */
	struct image_port *ports;
	char **volumes; /* absolute paths, sorted */
	struct image_label *labels;
	unsigned n_ports, n_labels;
};
struct image_layer {
	char diff_id[65]; /* hex */
	int64_t bytes;	  /* unpacked */
};
struct image {
	char reference[IMAGE_REF_MAX + 1];  /* docker.io/library/nginx:1.25; unique */
	char digest[65], config_digest[65]; /* of manifest and configuration, hex */
	char arch[16];
	int64_t created_wall_us, pulled_wall_us; /* created: by whoever made it, 0 when it is not said */
	int64_t bytes;				 /* of all layers, unpacked */
	bool moved;				 /* its reference names another one now: goes with the next sweep */
	struct image_config config;
	struct image_layer *layers; /* the lowest first */
	unsigned n_layers;
	unsigned uses; /* image_use */
	char *config_json;
};

struct images;
int images_open(struct loop *l, struct store *st, struct spawn *sp, struct images **ret, struct err *e); /* start-up */
/* Holders of before have taken theirs again: what a predecessor left half-done goes, and what nobody names. */
void images_ready(struct images *t);
void images_free(struct images *t); /* pulls under way are told; nobody may use an image any more */

/* By reference as people write it ("nginx", "localhost:5000/a:b", "name@sha256:..."), or by "sha256:..." of the
 * manifest, which is also looked for when nothing has such a name (any more); one of our own registry also by our port, and without a host where docker.io's is not here. NULL: not here. Borrowed: take it with image_use to keep it over a turn of the loop. */
struct image *image_find(const struct images *t, const char *reference);
struct image *image_use(struct image *im); /* returns im */
void image_unuse(struct image *im);
struct image *image_at(const struct images *t, unsigned i); /* sorted by reference; NULL after the last */

/* O_PATH descriptor of an unpacked layer; ERR_NOT_FOUND when somebody removed it. The caller closes. */
int image_layer_open(const struct images *t, const char diff_id[65], struct err *e);

/* What a sweep removed; done exactly once, never before _start returned. Layers go that no image names, and no pull that
 * is under way, and images whose reference names another one, which nobody uses. */
struct image_sweep {
	struct image_sweep *next;
	void (*done)(struct image_sweep *s, const struct err *e);
	unsigned images, layers;
};
void image_sweep_start(struct images *t, struct image_sweep *s);
void image_sweep_cancel(struct images *t, struct image_sweep *s); /* done is not called; what it asked for goes on */

/* Forgets a reference: durable when op is done; its layers go with the next sweep. ERR_CONFLICT while it is used. */
int image_remove_start(struct images *t, struct image *im, struct store_op *op, struct err *e);
