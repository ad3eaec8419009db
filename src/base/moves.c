/* SPDX-License-Identifier: Apache-2.0 */
#include "base/moves.h"
#include "base/clock.h"

static struct move ring[MOVES_KEPT];
static unsigned noted;

void move_note(const char *what, uint64_t id, const char *to)
{
	ring[noted % MOVES_KEPT] = (struct move){clock_wall_us(), id, what, to};
	noted++;
}

unsigned moves_last(struct move out[MOVES_KEPT])
{
	unsigned n = noted < MOVES_KEPT ? noted : MOVES_KEPT;

	for (unsigned i = 0; i < n; i++)
		out[i] = ring[(noted - n + i) % MOVES_KEPT];
	return n;
}
