/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event source mappings, as Lambda has them: batches of a queue's messages or of a stream's records become invocations of a
 * function. Owns the documents mapping/UUID and, of streams, checkpoint/UUID/SHARD (where each shard goes on).
 *
 * - Nothing is lost: messages are deleted after the function has taken them, a checkpoint is moved after that. Whatever
 *   ends tandemd, a batch that was under way comes again.
 * - A mapping waits inside of a receive or a read: with nothing to do it costs its memory. In memory is what is under way
 *   and, of each shard, at most as much again; a queue's messages stay in the queue until there is room for a batch.
 * - Each mapping has its own batches, pauses and failures: none waits for another's, but for LIM_MAPPING_BYTES together.
 * - What is no failure of the function (its concurrency is used up, the machine is full, it is gone) is tried again after
 *   a pause that grows to a minute, and counts for nothing.
 *
 * Queues: mapping_queue.c, streams: mapping_stream.c. Tests: tests/e2e/test_mappings.py.
 */
#pragma once
#include "queue/queue.h"
#include "sched/sched.h"
#include "stream/stream.h"
#include "trigger/deliver.h"

struct mapping;
struct mappings;
struct mappings_opts { /* borrowed */
	struct loop *loop;
	struct store *store;
	struct sched *sched;
	struct queues *queues;
	struct streams *streams;
	struct deliver *deliver;
	const char *account, *region;
};
struct mappings *mappings_new(const struct mappings_opts *o);
void mappings_free(struct mappings *all);  /* before the modules of the options */
void mappings_start(struct mappings *all); /* functions can be called from now on */
void mappings_drain(struct mappings *all); /* nothing new begins; what is under way may end */

/* Makes the mapping of that UUID, or makes it anew as doc says: EventSourceArn, FunctionArn, Enabled, BatchSize ...; what
 * it does not say has its default, and where a stream goes on stays. ERR_NOT_FOUND: no such function; ERR_EXISTS: another
 * one has the same source and function; ERR_LIMIT: a number is out of its bounds; ERR_INVALID. */
int mapping_put(struct mappings *all, struct str uuid, const struct json *doc, const char *project, struct store_tx *tx,
		struct err *e);
void mapping_delete(struct mapping *m, struct store_tx *tx);
struct mapping *mapping_get(struct mappings *all, struct str uuid);
struct mapping *mapping_next(struct mappings *all, const struct mapping *after); /* by UUID */
const char *mapping_uuid(const struct mapping *m);
const struct json *mapping_doc(const struct mapping *m); /* all members, as they are stored */
const char *
mapping_why(const struct mapping *m); /* its last batch could not be given to the function; "": nothing is known */
/* As Lambda shows it, all members of one object. state: NULL for what it is. */
void mapping_write(struct jw *w, const char *key, const struct mapping *m, const char *state);
