/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of src/queue share. All of it is the loop's; what goes to the store's thread is copied into parts. */
#pragma once
#include "base/map.h"
#include "base/mem.h"
#include "queue/later.h"
#include "queue/queue.h"
#include "store/queue.h"

struct queues {
	struct queues_opts o;
	struct map by_name;
	bool draining;	     /* nobody waits any more, but those who do for ever */
	int64_t last_number; /* of queues and messages: at least the time when it started, so that they grow over starts */
};
struct queue_settings {
	int64_t delay_s, max_bytes, retention_s, wait_s, visibility_s,
		max_receives;	   /* max_receives 0: no dead letters */
	bool by_content, by_group; /* deduplication: by the body's digest; in each group for itself */
	char dead_letter[QUEUE_NAME_BYTES + 1];
};

struct queue {
	unsigned refs; /* its name's, and those of operations that are under way */
	bool gone;     /* deleted: only operations know it */
	struct queues *qs;
	char name[QUEUE_NAME_BYTES + 1];
	char arn[160];
	int64_t born, number; /* born: for life, in receipts; number: of its rows, a new one after a purge */
	int64_t created_us, modified_us, purged_us; /* purged_us: by the monotonic clock, 0: not since the start */
	struct json *doc;
	struct queue_settings set;
	bool fifo;
	int64_t all; /* messages */
	struct later later;
	uint64_t sent, received, deleted;
	struct list waiting; /* of struct queue_receive */
	struct loop_timer *timer;
	int64_t next_due_us, trim_us; /* when something becomes visible; is too old. MESSAGE_NEVER */
};

struct queue *queue_ref(struct queue *q);
void queue_unref(struct queue *q);
int64_t queues_number(struct queues *qs);
/* attributes.c. loading: what it names need not be there yet. */
int queue_read_settings(const struct queue *q, const struct json *attributes, bool loading, struct queue_settings *ret,
			struct err *e);

/* send.c */
void queue_md5(struct str s, char out[33]);
void queue_sequence(const struct queue *q, int64_t id, char out[24]); /* as SQS shows it; "" unless FIFO */

/* receive.c */
void queue_wake(struct queue *q);		/* something may have become visible */
void queue_due(struct queue *q, int64_t at_us); /* something becomes visible then */
void queue_arm(struct queue *q);		/* the timer, after waiting, all or the times have changed */
void queue_timer(void *queue);			/* loop_timer_cb */

/* change.c */
enum queue_said queue_read_handle(const struct queue *q, struct queue_receipt *r); /* its id and receives */
void queue_sweep(struct queues *qs, int64_t number); /* the rows of a queue that is no more */
void queue_sweep_after(struct queues *qs, struct store_tx *tx, int64_t number); /* when tx is durable */
