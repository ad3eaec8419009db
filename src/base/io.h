/* SPDX-License-Identifier: Apache-2.0 */
/* Files and descriptors, blocking. */
#pragma once
#include <sys/types.h>
#include "base/buf.h"
#include "base/err.h"
int io_write_all(int fd, const void *p, size_t n, struct err *e);
int io_read_all(int fd, const char *name, size_t max, struct buf *ret, struct err *e); /* until its end; name: for e */
int io_read_file(int dirfd, const char *name, size_t max, struct buf *ret, struct err *e); /* ERR_LIMIT past max */
/* Written to a temporary name, fsynced, renamed over: whole or not at all, also across power cuts. */
int io_write_file(int dirfd, const char *name, const void *p, size_t n, mode_t mode, struct err *e);
int io_mkdirs(const char *path, mode_t mode, struct err *e);
int io_set_nonblock(int fd);
int io_rm_tree(int dirfd, const char *name, struct err *e); /* does not follow links; absent is success */
