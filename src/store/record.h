/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small documents by key, "kind/name": what was declared or accepted and is no function (definitions, clusters, tasks).
 * What they say is their owner's business. All are in memory, sorted by key: reading never waits. A put or del counts
 * at once, and is durable when op is done (NULL: nobody waits); writes are durable in the order in which they were asked for.
 * What memory says counts also when the write failed: it is written again before whatever is written next, unless it is
 * part of a transaction of more than records.
 */
#pragma once
#include "store/store.h"

struct record {
	char *key, *value;
};
const char *record_get(const struct store *s, const char *key); /* NULL: none. Borrowed until that key's next change */
void record_put(struct store *s, struct store_op *op, const char *key, const char *value);
void record_del(struct store *s, struct store_op *op, const char *key);
/* Those whose key begins so, in order; after NULL: the first. after need not be there (any more). NULL: no more. */
const struct record *record_next(const struct store *s, const char *prefix, const char *after);
const struct record *record_last(const struct store *s, const char *prefix);
