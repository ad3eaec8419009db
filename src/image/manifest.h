/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading what a registry says of an image: the manifest (OCI, or docker's second version) and the configuration. Both
 * are hostile; what is taken is checked and bounded, what is not known is left alone. Pure but for memory.
 */
#pragma once
#include "base/limits.h"
#include "base/str.h"
#include "image/image.h"

#define MANIFEST_BYTES_MAX (4 << 20)
#define CONFIG_BYTES_MAX   (4 << 20)

struct manifest_blob {
	char digest[65]; /* hex */
	int64_t bytes;
};
struct image_manifest {
	struct manifest_blob config, layers[LIM_IMAGE_LAYERS]; /* the lowest first */
	unsigned n_layers;
};
int image_manifest_parse(struct str json, struct image_manifest *ret, struct err *e);

/* *ret_diff_ids: as many as there are layers, hex; the caller frees. arch is what this machine runs ("amd64"). */
int image_config_parse(struct str json, struct image_config *ret, struct err *e);
int image_rootfs_parse(struct str json, const char *arch, unsigned n_layers, char (**ret_diff_ids)[65],
		       int64_t *ret_created_wall_us, struct err *e);
void image_config_done(struct image_config *c);
const char *image_host_arch(void); /* as images name it */
