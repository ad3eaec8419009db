/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One layer of an image into a directory that overlayfs takes as a lower one. Kept: owners (0..65535, by the user
 * namespace that we are root of), modes with their set-id bits, times of files, file capabilities and user.*
 * attributes, symbolic links to anywhere (a container's root is theirs), hard links to earlier files of the same layer,
 * named pipes.
 *
 * .wh.NAME becomes a white-out (character device 0/0), .wh..wh..opq the attribute user.overlay.opaque of its directory:
 * both need no right over the host, unlike trusted.overlay.opaque. As the OCI rules have it, they hide what is below,
 * never what the same layer has, whatever comes first. Devices are left out: a container's /dev is the platform's. What
 * only the archive's maker could mean as an order to overlayfs (user.overlay.*, trusted.*) is left out too.
 */
#pragma once
#include "unpack/unpack.h"
#include <archive_entry.h>

int layer_take(struct unpack *u, struct tree *t, struct archive *a, struct archive_entry *entry, struct err *e);
/* name in dir is there and is to be a directory: where it is a white-out, it becomes an opaque one. */
int layer_dir_over_whiteout(int dir, const char *name, struct err *e);
