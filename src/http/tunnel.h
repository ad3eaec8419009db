/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes between two stream sockets, both ways, until both have closed, or one failed. A side that only shuts down its
 * sending is passed on as such, unless the protocol knows no halves. At most 64 KiB are held for each side: then the
 * other waits; an idle tunnel holds nothing. It has no deadline; a peer that has vanished is found by TCP's keep-alive.
 * A socket may be connecting still.
 */
#pragma once
#include "base/buf.h"
#include "loop/loop.h"

struct tunnel {
	void (*done)(struct tunnel *t); /* the caller's; exactly once, last, may free; both sockets are closed */
	int64_t bytes[2];		/* that came from each side */
	bool no_halves;			/* the caller's: the end of one side is the end of both */

	struct tunnel_end {
		struct tunnel *t;
		struct loop_fd *w; /* NULL: not open */
		int fd;
		struct buf out; /* for it */
		size_t out_at;
		bool eof; /* it says no more */
	} ends[2];
};
/* Takes both sockets. first: what was received from each already, borrowed. Never calls back before it returns. */
void tunnel_start(struct tunnel *t, struct loop *l, const int fds[2], const struct str first[2]);
void tunnel_cancel(struct tunnel *t); /* without done; harmless when it is over, or never was */
