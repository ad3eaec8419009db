/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several writes that are durable together or not at all: who accepts something that starts something else adds all that
 * follows from it to the same transaction. A part is embedded in what it writes.
 *
 * Transactions are durable in the order in which they were started, and share a commit (one fsync) with whatever else is
 * queued; one that fails takes no other with it.
 */
#pragma once
#include "store/store.h"
struct db;

struct store_part {
	struct store_part *next;
	/* On the store's thread: touches *p, what p owns, and the database, nothing else. Not 0: the whole is rolled back.
	 * It may be called again after that, and then begins anew. e NULL: why does not matter yet. */
	int (*apply)(struct store_part *p, struct db *d, struct err *e);
	/* On the loop, in the order of adding, before the transaction's own done: after the commit, or with why there is
	 * none. Frees p. ERR_CANCELED: the store is closing, and whoever else was there is gone: only free. NULL: nothing
	 * to do. */
	void (*done)(struct store_part *p, const struct err *e);
};
struct store_tx {
	struct store_op op; /* op.done: set before the start; exactly once; may free the tx */
	bool lazy; /* nobody was promised it: it survives a crash of ours, a power cut may undo it; does not wait for the disk */
	size_t delivered; /* bytes that events in it lead to (trigger/deliver.c bounds them) */
	struct store_part *first, **last;
};
void store_tx_init(struct store_tx *tx);
void store_tx_add(struct store_tx *tx, struct store_part *p);
bool store_tx_empty(const struct store_tx *tx);
void store_tx_start(struct store *s, struct store_tx *tx);
/* Where nobody waits: one of its own, on the heap. start: a failure is logged. */
struct store_tx *store_tx_new(void);
/* Instead of a start: the parts hear e; op.done is not called, and the tx stays the caller's. */
void store_tx_drop(struct store_tx *tx, const struct err *e);
/* For parts that only read: on a thread and a connection of their own, which see all that was committed before. */
void store_tx_read(struct store *s, struct store_tx *tx);
int store_tx_read_now(struct store *s, struct store_tx *tx, struct err *e); /* blocking: start-up only */

/* record.h's, as parts. They count at once. */
void record_put_add(struct store *s, struct store_tx *tx, const char *key, const char *value);
void record_del_add(struct store *s, struct store_tx *tx, const char *key);
