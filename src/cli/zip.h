/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A zip writer for what `up` sends: stored (method 0), UTF-8 names, one fixed time, unix modes, so that the same folder
 * gives the same bytes everywhere. No zip64: at most 65,535 entries and 4 GiB, which the caller's limits keep far away.
 */
#pragma once
#include <sys/types.h>
#include "base/buf.h"
#define ZIP_ENTRIES_MAX 65535
struct zip {
	struct buf out; /* local headers and data */
	struct buf central;
	unsigned entries;
};
/* mode: type and permissions; data of a symbolic link is its target; a directory's name ends with '/'. */
void zip_add(struct zip *z, const char *name, mode_t mode, struct str data);
void zip_end(struct zip *z); /* out is then the whole archive */
void zip_done(struct zip *z);
uint32_t zip_crc32(struct str s);
