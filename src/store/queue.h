/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of queues as rows, for src/queue: what happens to them on the store's thread, inside a transaction. A queue is
 * a number here; one that is purged gets another, and the rows of the old one are swept.
 *
 * visible_us is what the queue says of a message. due_us is the place in the index from which messages are received: the
 * same, but in FIFO queues only the first message of a group has one, later than all that are in flight of its group; the
 * others have MESSAGE_NEVER. It is mended by whatever changes a group. A group's next message is due from the moment on at
 * which its turn comes, so that groups take turns.
 *
 * Rows that are too old are removed by whoever comes upon them. Every call costs O(log n) for each message it touches.
 */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "store/store.h"
struct db;

#define MESSAGE_NEVER	    INT64_MAX
#define MESSAGE_GROUP_BATCH 10	      /* of one group of a FIFO queue in flight together */
#define MESSAGE_DEDUP_US    300000000 /* for so long a FIFO queue knows what it was sent */

struct message {
	int64_t id; /* grows, is never given twice; of FIFO queues the sequence number */
	int64_t queue, visible_us, receives, first_us, sent_us; /* first_us: first received, 0: never */
	int64_t now_us;						/* of what is sent */
	char uuid[37];
	struct str body, attributes, group, dedup, sender, trace, source; /* p NULL: not there */
};

/* dedup_key: where it is there and was sent already, only id and uuid of *m become those of that message; 1. */
int message_send(struct db *d, struct message *m, bool fifo, struct str dedup_key, struct err *e);

struct message_take {
	int64_t queue, now_us, until_us; /* invisible until */
	int64_t wall_us, oldest_us;	 /* what was sent before oldest_us is thrown away */
	int64_t max, max_bytes;		 /* max 0: only throws away and moves */
	int64_t max_receives, dead;	 /* what was received so often goes to the queue dead; dead 0: never */
	const char *source;		 /* for what moves: ARN of the queue, or NULL */
	int64_t limit;			 /* moves and throws away at most so many */
	bool fifo;
	void (*got)(struct message_take *t, const struct message *m); /* each that is received; borrowed */
	/* out */
	int64_t taken, bytes, moved, dropped;
	int64_t first_due_us; /* of what is left; MESSAGE_NEVER: nothing. Not set when something was taken */
	bool more;	      /* it was too much for once */
};
int message_take(struct db *d, struct message_take *t, struct err *e);

struct message_was {
	bool found;
	int64_t visible_us, receives;
};
/* said: the number of receives that the caller knows of. FIFO: only of what is in flight from just that receive. */
int message_delete(struct db *d, int64_t queue, int64_t id, int64_t said, bool fifo, int64_t now_us,
		   struct message_was *ret, struct err *e);
/* Changes it where the message is in flight and said is the number of its last receive. undo: as if it had not been
 * received. */
int message_visibility(struct db *d, int64_t queue, int64_t id, int64_t said, bool fifo, int64_t now_us,
		       int64_t visible_us, bool undo, struct message_was *ret, struct err *e);
/* Some rows of a queue that is no more; their number, 0: there are no more. */
int message_sweep(struct db *d, int64_t queue, struct err *e);
/* At start, blocking: of every queue that has messages their number and the first due, then each that is due later than
 * now_us (but for those behind others of their group), then nothing. */
struct message_load {
	void (*queue)(struct message_load *l, int64_t queue, int64_t n, int64_t first_due_us);
	void (*later)(struct message_load *l, int64_t queue, int64_t due_us, bool received);
	int64_t last_id; /* out */
};
int message_load(struct store *s, struct message_load *l, int64_t now_us, struct err *e);
