/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plain bytes of an archive: decompressed (gzip, xz, zstd, or as they are), hashed on their way. A layer is named
 * by the digest of these, and not of what the tar reader cared to look at, so the rest behind its end counts too.
 */
#pragma once
#include <archive.h>
#include "base/err.h"

struct stream;
int stream_prepare(struct stream **ret, struct err *e); /* before the filter: the digest's code is loaded from files */
/* An archive of libarchive that reads tar from the plain bytes of fd; NULL on failure. Free it before the stream. */
struct archive *stream_open_tar(struct stream *s, int fd, struct err *e);
int stream_finish(struct stream *s, char ret_sha256_hex[65], struct err *e); /* reads what is left */
void stream_free(struct stream *s);
