/* SPDX-License-Identifier: Apache-2.0 */
/* A line each: attributes of a queue, a message's own, its group, its deduplication id, a receipt; the rest is the body. */
#include <stdlib.h>

#include "queue/queue_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void send(struct queue *q, const struct json *attributes, const struct str line[5], struct str body)
{
	struct queue_message m = {
		.body = body, .attributes = attributes, .group = line[2], .deduplication = line[3], .delay_s = -1};
	struct store_tx tx;
	struct err e = {0}, closing = {.kind = ERR_CANCELED};

	store_tx_init(&tx);
	if (queue_send_add(q, &tx, &m, &e) < 0 ? !e.text[0] || !store_tx_empty(&tx) : store_tx_empty(&tx))
		abort();
	store_tx_drop(&tx, &closing);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct queues qs = {.last_number = 1};
	struct queue q = {.refs = 2, .qs = &qs, .born = 1, .number = 1};
	struct str rest = {(const char *)p, n}, line[5];
	struct err e = {0};

	for (int i = 0; i < 5; i++)
		if (!str_cut(rest, '\n', &line[i], &rest))
			return 0;
	auto_json settings = json_parse(line[0], NULL);
	auto_json attributes = json_parse(line[1], NULL);
	struct queue_receipt receipt = {.handle = line[4]};

	q.fifo = line[2].n != 0;
	if (json_type(settings) == JSON_OBJECT && queue_read_settings(&q, settings, false, &q.set, &e) < 0 &&
	    !e.text[0])
		abort();
	if (!q.set.max_bytes)
		q.set.max_bytes = QUEUE_MESSAGE_BYTES;
	send(&q, json_type(attributes) == JSON_OBJECT ? attributes : NULL, line, rest);
	if (queue_read_handle(&q, &receipt) == QUEUE_OK && (receipt.id < 1 || receipt.receives < 1))
		abort();
	return 0;
}
