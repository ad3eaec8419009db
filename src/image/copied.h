/* SPDX-License-Identifier: Apache-2.0 */
/* What skopeo has copied, read and checked: for the thread of images. Every file may be anything: a link, a pipe,
 * endless. */
#pragma once
#include "base/buf.h"
#include "image/manifest.h"

struct copied {
	struct image_manifest m;
	char digest[65]; /* of the manifest, hex */
	struct buf config;
	struct image_config parsed;
	char (*diff_ids)[65]; /* of m.n_layers */
	int64_t created_wall_us;
};
/* dir: as skopeo's dir: has it. The layers are not looked at. *ret is for copied_done also after a failure. */
int copied_read(int dir, struct copied *ret, struct err *e);
void copied_done(struct copied *c);
