/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry of this machine: repositories of images that were pushed here (ECR's API and /v2/, api/ecr.c and
 * api/oci.c). Records (store/record.h), so that reading never waits:
 *
 *   repository/NAME    {"immutable"; the rest is ECR's}
 *   manifest/NAME@HEX  {"type", "pushed_us", "bytes" (of its parts), "manifest_bytes", "config_type", "here", "parts":
 *                      [HEX]}
 *   tag/NAME:TAG       HEX
 *
 * Manifests, configurations and layers are blobs of the store, as they came: what is read back is what was pushed. A
 * blob is seen through a repository that has a manifest with it, or that it was pushed to in the last hour; no longer
 * named by any, it goes with the store's sweep.
 *
 * An image for this machine is unpacked as a pulled one when a tag is put on it (here: the digest of its manifest; in
 * an index that of the one for this machine), and stands among the images as images_own()'s host/NAME:TAG. Why, and
 * what it costs: docs/decisions/008.
 */
#pragma once
#include "base/list.h"
#include "image/image.h"
#include "json/read.h"
#include "store/record.h"

#define REPOSITORY    "repository/"
#define MANIFEST_TEXT 128 /* of a media type */

/* host: ours at AWS; port: of the API */
void images_own(struct images *t, const char *host, uint16_t port);

bool repository_name_ok(struct str name);
const char *repository_get(const struct images *t, const char *name); /* its record; NULL: none */
int repository_room(const struct images *t, struct err *e);	      /* for one more */
void repository_put(struct images *t, struct store_op *op, const char *name, const char *doc);
void repository_del(struct images *t, struct store_op *op, const char *name); /* and all in it */

/* reference: a tag, or sha256:HEX; false: not there. */
bool registry_find(const struct images *t, const char *repository, struct str reference, char ret_hex[65]);
/* Its record, parsed; NULL: not there. The caller frees. */
struct json *registry_image(const struct images *t, const char *repository, const char *hex);
/* The next of the repository's, in order; NULL: no more. Begin with NULL; borrowed for this turn. */
const char *registry_next_image(const struct images *t, const char *repository, const char *after_hex);
const char *registry_next_tag(const struct images *t, const char *repository, const char *after_tag);
void registry_untag(struct images *t, struct store_op *op, const char *repository, const char *tag);
void registry_del_image(struct images *t, struct store_op *op, const char *repository,
			const char *hex); /* and its tags */

void registry_work(struct images *t, struct loop_work *w); /* on the thread that reads and writes blobs */
bool registry_has_blob(const struct images *t, const char *repository, const char *hex);
void registry_hold(struct images *t, const char *repository, const char *hex); /* it was pushed there */

/* A manifest, whose parts are there: durable, and unpacked, when done is called, once, never before _start returned. It
 * goes on when who asked has left. */
struct registry_put {
	void (*done)(struct registry_put *p, const struct err *e); /* may free p */
	char digest[65];					   /* of the manifest */
	/* its own */
	struct list node;
	struct images *t; /* NULL: the daemon ends */
	struct store_op op;
	struct pull *pull;
	char *repository, *tag; /* tag NULL: by digest alone */
	char *text;
	size_t n;
	char *record;
	char here[65];
	struct err e;
};
/* tag NULL or digest NULL. p->done is set. ERR_NOT_FOUND: a part is not there; ERR_EXISTS: the tag is another's, and
 * immutable. */
int registry_put_start(struct images *t, struct registry_put *p, const char *repository, const char *tag,
		       const char *digest, struct str type, struct str text, struct err *e);
