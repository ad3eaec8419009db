/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What skopeo says: a pipe whose end is kept for an error, and the files that it writes. All of it is hostile: a
 * registry chose the words, and they may reach a terminal.
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "loop/loop.h"

struct said {
	int fd, auth; /* auth: credentials to hand over, or -1 */
	struct loop_fd *watch;
	struct buf text; /* its last bytes */
};
void said_init(struct said *s);
int said_open(struct loop *l, struct said *s, struct err *e); /* the descriptor to write to: the caller closes it */
/* Reads what is left; *e becomes skopeo's last complaint in one line. */
void said_error(struct said *s, struct err *e);
void said_done(struct said *s); /* may be opened again; the credentials stay */
void said_free(struct said *s);
int64_t said_bytes(int dir); /* of all files in it; closes dir */
