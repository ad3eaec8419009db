/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of SQS share. */
#pragma once
#include "api/api_int.h"
#include "queue/queue.h"

#define SQS_BATCH    10
#define SQS_ID_BYTES 80 /* of a batch's entry */

/* The queue that QueueUrl names (or the path, for clients that call a queue's own URL), and that the caller may use for
 * this; NULL: c->e. */
struct queue *sqs_queue(struct api_call *c);
int sqs_fail(struct api_call *c, const struct err *e); /* -1, c->e: what queue.h's functions say */
int sqs_out_of_range(struct api_call *c, const char *name, int64_t value, const char *must); /* -1 */
/* Entries of a batch: their number, that ids are there, good and different; -1: c->e. */
int sqs_entries(struct api_call *c, const struct json **ret, const char *kind);
api_run sqs_send_message, sqs_send_message_batch, sqs_receive_message, sqs_delete_message, sqs_delete_message_batch,
	sqs_change_visibility, sqs_change_visibility_batch;
