/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events that wait to be run: committed before whoever sent them hears "accepted", and in the table until they are over.
 * There may be more of a target than memory holds: they are read a few at a time, the earliest first.
 */
#pragma once
#include "base/limits.h"
#include "store/tx.h"

struct store_event {
	int64_t id; /* by the store */
	char request_id[37];
	char target[LIM_NAME_BYTES + 1];	 /* a function's name, or what cannot be one */
	char qualifier[LIM_QUALIFIER_BYTES + 1]; /* as the caller gave it */
	char trace_id[LIM_TRACE_ID_BYTES + 1];
	int64_t accepted_wall_us, not_before_wall_us;
	int attempts;
	char *payload; /* owned */
	size_t payload_n;
};
void store_event_done(struct store_event *ev); /* frees its memory */

/* Sets ev->id; ev stays where it is until done, which is the part's own. */
void store_event_put_add(struct store *s, struct store_tx *tx, struct store_event *ev,
			 void (*done)(struct store_event *ev, const struct err *e));
void store_event_retry_add(struct store_tx *tx, const struct store_event *ev); /* its attempts and not_before_wall_us */
void store_event_del_add(struct store_tx *tx, int64_t id);

/* A part that only reads; embedded. Its done is the caller's. */
struct store_event_load {
	struct store_part part;
	/* in, the caller's until done: those to be passed over, and at most how many are to be read (one of any size) */
	char target[LIM_NAME_BYTES + 1];
	int64_t not_after_wall_us;
	int64_t *have;
	unsigned n_have, max;
	size_t max_bytes;
	/* out: the caller's to free */
	struct store_event *ev;
	unsigned n;
	size_t bytes;
	int64_t next_wall_us; /* of the first one that was not read; INT64_MAX: none */
};
void store_event_load_add(struct store_tx *tx, struct store_event_load *l);
/* At start, blocking: how many there are of each target, and when the first is due. */
int store_event_targets(struct store *s, void (*each)(void *arg, const char *target, int64_t n, int64_t first_wall_us),
			void *arg, struct err *e);
