/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pull: bring one image here, from a registry or from what the tool has uploaded.
 *
 *      COPY ───► CHECK ───► UNPACK ───► SAVE ──┐
 *        └─────────┴──────────┴──────────┴─────┴──► CLEAN ───► (done)
 *
 *   COPY    skopeo's end (the spawner's word); passed through by an upload, and by what our own registry has
 *   CHECK   the thread that reads manifest and configuration and compares their digests
 *   UNPACK  the spawner's word that a layer is there, one after another; those that are there are skipped
 *   SAVE    the row to be durable
 *   CLEAN   the spawner's word that what was copied is gone, in any case
 *
 * Digests: the manifest's is what the registry and skopeo agreed on, the configuration's is in the manifest, the
 * layers' (of the plain tar) are in the configuration and are compared by tandem-unpack while it writes. Wrong ones
 * leave nothing.
 *
 * It ends with what cannot go on: skopeo's own words, a minute without a byte, LIM_IMAGE_BYTES, the spawner's deadline
 * of an hour. When tandemd dies the spawner ends skopeo and tandem-unpack; the successor removes what they left
 * (sweep.c).
 */
#pragma once
#include "image/image.h"

enum pull_state { PULL_COPY, PULL_CHECK, PULL_UNPACK, PULL_SAVE, PULL_CLEAN, PULL_N };
struct pull_progress {
	enum pull_state state;
	int64_t bytes;		  /* COPY: that have come */
	unsigned layer, layers;	  /* UNPACK: the one that is under way, from 1 */
	const char *layer_digest; /* of the plain tar, hex */
};
struct pull_opts {
	const char *reference;
	const char *auth;   /* text of an auth.json, or NULL; not kept */
	const char *upload; /* a directory in incoming/ with image/ in it, which is taken; NULL: from its registry */
	void (*progress)(void *arg, const struct pull_progress *p);
	void (*done)(void *arg, struct image *im, const struct err *e); /* once; im: borrowed, NULL on failure */
	void *arg;
};
struct pull;
int pull_start(struct images *t, const struct pull_opts *o, struct pull **ret, struct err *e);
void pull_cancel(struct pull *p); /* neither progress nor done is called any more; it cleans up behind itself */
