/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Append-only files in a directory, numbered: <prefix><anything><number><suffix>. Shared by rows and logs. Blocking:
 * file thread only (and while opening). A failed append is taken back, so that a file never ends inside what was given
 * at once.
 */
#pragma once
#include <sys/uio.h>
#include "base/err.h"
#define SEGMENT_NAME_BYTES 40
struct segment_name {
	uint32_t number;
	char name[SEGMENT_NAME_BYTES];
};
struct segment {
	int fd; /* -1: closed */
	int64_t bytes;
};
/* By number, ascending; caller frees *ret (NULL when *ret_n is 0). Other files are ignored. */
int segment_list(int dirfd, const char *prefix, const char *suffix, struct segment_name **ret, size_t *ret_n,
		 struct err *e);
int segment_open(struct segment *s, int dirfd, const char *name,
		 struct err *e); /* created when absent, 0640; never through a link */
void segment_close(struct segment *s);
int segment_append(struct segment *s, struct iovec *iov, size_t n, struct err *e); /* iov is used up */
int segment_truncate(struct segment *s, int64_t bytes, struct err *e);
/* Cuts what follows the last newline: a line that a crash left incomplete. */
int segment_cut_line(struct segment *s, struct err *e);
/* Word-wise FNV-1a (every change within one 8-byte word is seen); n a multiple of 8. */
uint64_t segment_sum(const void *p, size_t n);
