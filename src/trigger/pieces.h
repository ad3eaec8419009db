/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A streamed answer of a function as an HTTP answer: status, headers and cookies from the prelude (an object of JSON, then
 * eight NULs), where there is one; else all of it is the body of a 200. It is passed on as it comes; while the client has
 * PIECES_QUEUED bytes to take, the handler's writes wait.
 */
#pragma once
#include "http/server.h"
#include "sched/sched.h"
#define PIECES_QUEUED 262144
struct pieces {
	struct http_req *req;
	struct invocation *inv;
	struct str headers; /* more lines, borrowed; those of the function that begin with but are left out */
	const char *but;    /* or NULL */
	struct buf head;    /* what may be the begin of a prelude */
	bool begun, held;
};
void pieces_take(struct pieces *p, struct str piece);
/* ok: the answer is whole. false: nothing came, and the caller is to answer. */
bool pieces_end(struct pieces *p, bool ok);
void pieces_done(struct pieces *p);
