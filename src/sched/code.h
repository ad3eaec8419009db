/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The unpacked code of a revision: makes sure that code/<digest> is there for its archive and its layers, and has the
 * spawner unpack what is missing. After a deploy it is; it is not when somebody removed it, or a restore left it out.
 */
#pragma once
#include "spawn/spawn.h"
#include "store/function.h"
struct code {
	void (*done)(struct code *c, const struct err *e); /* exactly once, never before code_start returned */
	/* the operation's own */
	struct loop *loop;
	struct store *store;
	struct spawn *spawn;
	struct revision *revision; /* a reference */
	struct spawn_req req;
	struct loop_timer *deadline, *again;
	struct loop_defer defer;
	struct err e;
	int unpacked;
};
bool code_ready(const struct store *st, const struct revision *r);
void code_start(struct code *c, struct loop *l, struct store *st, struct spawn *s, struct revision *r);
void code_cancel(struct code *c); /* done is not called any more; twice is fine, and before code_start */
