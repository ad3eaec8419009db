/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One error value, on the caller's stack. A function that can fail for more
 * than one reason returns int (0 or -1) and takes struct err * last. On failure
 * its outputs are untouched; on success the err is. Only the place where an
 * operation ends logs it, once.
 *
 * A NULL err is allowed everywhere: the text is then dropped.
 */
#pragma once
#include "base/def.h"

enum err_kind {
	ERR_NONE,
	ERR_INVALID, /* input that can never be right */
	ERR_LIMIT,   /* a named limit of base/limits.h or of the workload */
	ERR_NOT_FOUND,
	ERR_EXISTS,
	ERR_CONFLICT, /* right in itself, but not now: busy, wrong revision */
	ERR_DENIED,
	ERR_TIMEOUT,
	ERR_CANCELED,
	ERR_UNAVAILABLE, /* the other side is gone or full; may be tried again */
	ERR_CORRUPT,	 /* state or message that breaks its own format */
	ERR_SYS,	 /* a system call said so; sys holds errno */
	ERR_BUG,
	ERR_N
};

struct err {
	enum err_kind kind;
	int sys; /* errno, or 0 */
	char text[492];
};

/* All return -1, so that "return err_set(...)" is a whole failure exit. */
int err_set(struct err *e, enum err_kind kind, const char *fmt, ...) PRINTF(3, 4);
int err_sys(struct err *e, int sys, const char *fmt, ...) PRINTF(3, 4); /* text ": strerror" */
int err_wrap(struct err *e, const char *fmt, ...) PRINTF(2, 3);		/* prefixes "fmt: " */
const char *err_kind_name(enum err_kind kind);
