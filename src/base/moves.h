/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last moves of everything that has states, in one ring of the process: for `tandem debug` and for the report of a
 * crash, which reads it in a signal handler. Noting one takes some 30 ns and no memory.
 */
#pragma once
#include <stdint.h>

#define MOVES_KEPT 128

struct move {
	int64_t at_us;	       /* CLOCK_REALTIME */
	uint64_t id;	       /* of the sandbox, or whatever tells one from another; 0: there is but one */
	const char *what, *to; /* literals */
};
void move_note(const char *what, uint64_t id, const char *to);
/* The oldest first; how many. */
unsigned moves_last(struct move out[MOVES_KEPT]);
