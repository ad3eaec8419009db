/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues (SQS's): what is sent is durable before anybody hears of it, and stays until somebody who received it says
 * that it is done. What is declared is a record "queue/NAME" (AWS's attributes, as the JSON that queue_put takes);
 * messages are rows (store/queue.h).
 *
 * - Memory of a queue does not grow with what waits in it: counters, and one entry for each second in which something
 *   becomes visible. Sending, receiving and deleting cost O(log n).
 * - Nobody polls. A receive that finds nothing waits, and whoever sends wakes one that waits, as does the one timer of
 *   a queue.
 * - A receive makes its messages invisible and counts it in one commit, before they are handed out; what has been
 *   received too often goes to the dead-letter queue in the same commit, with its id and attributes.
 * - FIFO: the messages of a group in their order, and none while one of them is with somebody. Groups take turns.
 * - Purged and deleted queues lose their messages at once, the rows are swept in pieces.
 *
 * Times are by the wall clock. Limits are SQS's. Tests: tests/queue, tests/e2e/test_sqs.py.
 */
#pragma once
#include <stdbool.h>
#include "base/buf.h"
#include "base/list.h"
#include "json/read.h"
#include "store/tx.h"

#define QUEUE_NAME_BYTES    80
#define QUEUE_MESSAGE_BYTES 1048576 /* the body and attributes of a message, and of a batch */
#define QUEUE_BATCH	    10
#define QUEUE_IN_FLIGHT	    120000 /* received, and neither deleted nor visible again: more are not given out */
#define QUEUE_FIFO_BATCH    10	   /* of one group in flight together */
#define QUEUE_HANDLE_BYTES  88

struct queues;
struct queue;
struct queues_opts { /* borrowed */
	struct loop *loop;
	struct store *store;
	const char *account, *region;
};
int queues_new(const struct queues_opts *o, struct queues **ret, struct err *e); /* blocking: start-up only */
/* Who waits for a time hears now that nothing came, as does who comes: the daemon ends, or hands over. */
void queues_drain(struct queues *qs);
void queues_free(struct queues *qs); /* after everybody who waits has cancelled; before the store */

/* --- what is declared --- */

struct queue *queue_get(const struct queues *qs, struct str name); /* NULL: none */
struct queue *queue_by_arn(const struct queues *qs, struct str arn);
struct queue *queue_next(const struct queues *qs, const struct queue *after, struct str prefix); /* by name */
const char *queue_name(const struct queue *q);							 /* while q is there */
bool queue_is_fifo(const struct queue *q);
/* Makes it, or changes it: doc is {"Attributes":{"VisibilityTimeout":"30", "RedrivePolicy":"{...}"}, "tags":{...}},
 * AWS's names; an attribute that is not named has its default. It counts at once, and is durable with tx. Errors:
 * ERR_NOT_FOUND an attribute that there is not, ERR_INVALID a value that cannot be, ERR_CONFLICT others. */
int queue_put(struct queues *qs, struct str name, const struct json *doc, const char *project, struct store_tx *tx,
	      struct err *e);
const struct json *queue_doc(const struct queue *q);	 /* as queue_put was given it, with "project" */
void queue_delete(struct queue *q, struct store_tx *tx); /* who waits in it gets ERR_NOT_FOUND */
bool queue_purge(struct queue *q, struct store_tx *tx);	 /* false: not so soon after the last time */
int64_t queue_wait_s(const struct queue *q);		 /* how long a receive is to wait that does not say it */
/* The value of an attribute, as AWS has it (ApproximateNumberOfMessages and QueueArn too), added to out; false: it is
 * not set, or there is none of that name. */
bool queue_attribute(struct queue *q, const char *name, struct buf *out);
const char *queue_attribute_name(size_t i);		/* NULL after the last */
struct queue *queue_dead_letter(const struct queue *q); /* NULL: none, or it is gone */
struct queue_counts {
	int64_t visible, in_flight, delayed;
	uint64_t sent, received, deleted; /* since the start of the daemon */
};
struct queue_counts queue_counts(struct queue *q);

/* --- sending --- */

struct queue_message { /* strings are copied */
	struct str body;
	const struct json *attributes;	       /* MessageAttributes, AWS's shape, or NULL */
	struct str group, deduplication;       /* MessageGroupId, MessageDeduplicationId, or empty */
	struct str sender, trace;	       /* SenderId; AWSTraceHeader, or empty */
	int64_t delay_s;		       /* -1: the queue's own */
	char id[37], sequence[24];	       /* out; sequence: "" unless FIFO */
	char md5_body[33], md5_attributes[33]; /* out; md5_attributes "": there are none */
	/* NULL: m is not looked at after queue_send_add. Otherwise it stays until sent, when id and sequence are final (of
	 * the message that it is a duplicate of). On the loop, as store_part.done. */
	void (*sent)(struct queue_message *m, const struct err *e);
};
/* Checks everything (ERR_INVALID: e says what is wrong; ERR_LIMIT: too long; ERR_NOT_FOUND: a member that FIFO needs is
 * missing, e is its name) and adds the message to tx; nothing is added on failure. */
int queue_send_add(struct queue *q, struct store_tx *tx, struct queue_message *m, struct err *e);
/* MD5 of message attributes as SQS defines it, of those that are in the object; "": there are none. */
void queue_attributes_md5(const struct json *attributes, char out[33]);

/* --- receiving --- */

struct queue_got { /* one received message; freed with the receive's list by queue_got_free */
	struct queue_got *next;
	char id[37], sequence[24], md5_body[33];
	char handle[QUEUE_HANDLE_BYTES];
	struct str body, attributes; /* attributes: the JSON text of MessageAttributes, or empty */
	struct str group, deduplication, sender, trace;
	struct str source; /* ARN of the queue whose dead letter it is, or empty */
	int64_t sent_us, first_received_us;
	int receives; /* this one counted */
};
void queue_got_free(struct queue_got *first);

struct queue_receive {
	struct queue *queue;
	unsigned max;	  /* messages, from 1. Of a FIFO queue mostly those of one group */
	size_t max_bytes; /* of bodies and attributes, together; the first is always given. 0: ten of the largest */
	int64_t wait_us;  /* for the first: 0 no waiting, INT64_MAX for ever (which costs nothing while it waits) */
	int64_t visibility_us; /* -1: the queue's own */
	/* Exactly once unless cancelled; never before _start returns; may free r. got: its own from now on, NULL: nothing
	 * came. e->kind ERR_NOT_FOUND: the queue was deleted; ERR_LIMIT: too many are in flight. */
	void (*done)(struct queue_receive *r, struct queue_got *got, const struct err *e);
	void *taking; /* queue/receive.c's from here */
	struct list node;
	struct loop_timer *timer;
	int64_t deadline_us;
};
void queue_receive_start(struct queue_receive *r);
/* done does not come any more; r may go. Messages on their way to it are visible again, and count as not received. */
void queue_receive_cancel(struct queue_receive *r);

/* --- what becomes of what was received --- */

enum queue_said { QUEUE_OK, QUEUE_BAD_HANDLE, QUEUE_EXPIRED, QUEUE_NOT_IN_FLIGHT };
struct queue_receipt {
	struct str handle;	      /* borrowed until the call returns */
	int64_t visibility_us;	      /* of queue_visibility_start: from now on, invisible for so long */
	enum queue_said said;	      /* when done */
	int64_t id, receives, was_us; /* queue/change.c's */
	bool found;
};
/* Batches, in one commit. c and receipts stay until done, which comes exactly once. Deleting what is gone is fine. */
struct queue_change {
	struct queue *queue;
	struct queue_receipt *receipts;
	unsigned n;
	void (*done)(struct queue_change *c, const struct err *e);
};
void queue_delete_start(struct queue_change *c);
void queue_visibility_start(struct queue_change *c);
/* As if never received. Nobody waits for it; got is looked at now only. */
void queue_put_back(struct queue *q, const struct queue_got *first);
