/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A code folder (or a .zip file) as the bytes that `up` sends. Deterministic: names sorted, one time, modes 0755 or
 * 0644. Left out: .git,
 * __pycache__, and tandem.yaml at the top. Symbolic links stay links. Anything but files, folders and links is refused
 * by name.
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
int pack_path(const char *path, struct buf *ret, struct err *e);
