/* SPDX-License-Identifier: Apache-2.0 */
/* SQS: messages. Calls of one message and of a batch are the same but for the form of their answer. */
#include <stdio.h>
#include "api/sqs.h"
#include "base/mem.h"

int sqs_entries(struct api_call *c, const struct json **ret, const char *kind)
{
	const struct json *all = json_get(c->in, "Entries");
	size_t n = json_len(all);

	if (!n)
		return api_fail(&c->e, API_SQS_EMPTY_BATCH,
				"There should be at least one %sBatchRequestEntry in the request.", kind);
	if (n > SQS_BATCH)
		return api_fail(&c->e, API_SQS_TOO_MANY,
				"Maximum number of entries per request are %d. You have sent %zu.", SQS_BATCH, n);
	for (size_t i = 0; i < n; i++) {
		struct str id = json_get_str(json_at(all, i), "Id");

		if (!str_name_ok(id, SQS_ID_BYTES, "-_"))
			return api_fail(&c->e, API_SQS_BATCH_ID,
					"A batch entry id can only contain alphanumeric characters, hyphens and "
					"underscores. It can be at most 80 letters long.");
		for (size_t k = 0; k < i; k++)
			if (str_eq(id, json_get_str(json_at(all, k), "Id")))
				return api_fail(&c->e, API_SQS_NOT_DISTINCT, "Id " STR_FMT " repeated.", STR_ARG(id));
	}
	*ret = all;
	return 0;
}

/* One call on its way: what it came with stays until it is answered. */
struct entry {
	char id[SQS_ID_BYTES + 1];
	bool failed;
	enum api_code code;
	char *text; /* why */
	struct queue_message m;
	char md5_system[33];
};
struct pending {
	struct api_call c;
	struct json *in;
	struct store_tx tx;
	struct queue_change change;
	struct queue_receipt receipts[SQS_BATCH];
	struct queue_receive receive;
	bool batch, deletes;
	unsigned n;
	struct entry entries[];
};

static struct pending *pending_new(struct api_call *c, unsigned n, bool batch)
{
	struct pending *p = xcalloc(1, sizeof(*p) + n * sizeof(p->entries[0]));

	p->c = *c;
	p->in = json_ref(c->in);
	p->n = n;
	p->batch = batch;
	return p;
}

static void pending_free(struct pending *p)
{
	for (unsigned i = 0; i < p->n; i++)
		free(p->entries[i].text);
	json_free(p->in);
	free(p);
}

static void entry_fail(struct entry *en, const struct api_err *e)
{
	en->failed = true;
	en->code = e->code;
	en->text = xstrdup(e->text);
}

static void reply_batch(struct pending *p, void (*good)(struct jw *w, const struct entry *en))
{
	auto_object(w, out);

	for (int failed = 0; failed < 2; failed++) {
		jw_arr(&w, failed ? "Failed" : "Successful");
		for (unsigned i = 0; i < p->n; i++) {
			struct entry *en = &p->entries[i];

			if (en->failed != failed)
				continue;
			jw_obj(&w, NULL);
			jw_strc(&w, "Id", en->id);
			if (failed) {
				jw_bool(&w, "SenderFault", en->code != API_SERVICE);
				jw_strc(&w, "Code", api_query_code(en->code));
				jw_strc(&w, "Message", en->text);
			} else if (good) {
				good(&w, en);
			}
			jw_end(&w, '}');
		}
		jw_end(&w, ']');
	}
	api_reply_object(&p->c, 200, &w);
}

/* --- sending --- */

static void put_sent(struct jw *w, const struct entry *en)
{
	jw_strc(w, "MessageId", en->m.id);
	jw_strc(w, "MD5OfMessageBody", en->m.md5_body);
	if (en->m.md5_attributes[0])
		jw_strc(w, "MD5OfMessageAttributes", en->m.md5_attributes);
	if (en->md5_system[0])
		jw_strc(w, "MD5OfMessageSystemAttributes", en->md5_system);
	if (en->m.sequence[0])
		jw_strc(w, "SequenceNumber", en->m.sequence);
}

/* All of a call are one commit. */
static void sent(struct store_op *op, const struct err *e)
{
	struct pending *p = container_of(op, struct pending, tx.op);
	auto_object(w, out);

	if (e->kind) {
		api_reply_fail(&p->c, API_SERVICE, "Not stored: %s", e->text);
	} else if (p->batch) {
		reply_batch(p, put_sent);
	} else {
		put_sent(&w, &p->entries[0]);
		api_reply_object(&p->c, 200, &w);
	}
	pending_free(p);
}

static void entry_sent(struct queue_message *m, const struct err *e)
{
}

static int add_message(struct pending *p, struct queue *q, struct entry *en, const struct json *j)
{
	static const char operator_id[] = "AIDATANDEMOPERATOR000";
	const struct principal *who = &p->c.who;
	const struct json *system = json_get(j, "MessageSystemAttributes");
	auto_free char *workload =
		who->kind == PRINCIPAL_WORKLOAD ? xasprintf("AROATANDEMWORKLOAD000:%s", who->name) : NULL;
	int64_t delay = json_get_int(j, "DelaySeconds", -1);
	struct err e = {0};

	en->m = (struct queue_message){
		.body = json_get_str(j, "MessageBody"),
		.attributes = json_get(j, "MessageAttributes"),
		.group = json_get_str(j, "MessageGroupId"),
		.deduplication = json_get_str(j, "MessageDeduplicationId"),
		.sender = str_of(workload ? workload : operator_id),
		.trace = json_get_str(json_get(system, "AWSTraceHeader"), "StringValue"),
		.delay_s = delay,
		.sent = entry_sent,
	};
	if (!en->m.trace.p)
		en->m.trace = str_of(p->c.trace);
	queue_attributes_md5(system, en->md5_system);
	if (json_get(j, "DelaySeconds") && delay < 0)
		return sqs_out_of_range(&p->c, "DelaySeconds", delay, "DelaySeconds must be >= 0 and <= 900.");
	if (system && (json_len(system) != 1 || !en->m.trace.n))
		return api_fail(&p->c.e, API_INVALID_PARAMETER,
				"Message system attributes: AWSTraceHeader, of type String, is the only one.");
	return queue_send_add(q, &p->tx, &en->m, &e) < 0 ? sqs_fail(&p->c, &e) : 0;
}

static int commit(struct pending *p, struct api_call *c)
{
	if (p->c.r)
		http_on_gone_clear(&p->c.r);
	p->tx.op.done = sent;
	store_tx_start(c->a->o.store, &p->tx);
	return 0;
}

int sqs_send_message(struct api_call *c)
{
	struct queue *q = sqs_queue(c);
	struct pending *p;

	if (!q)
		return -1;
	p = pending_new(c, 1, false);
	store_tx_init(&p->tx);
	if (add_message(p, q, &p->entries[0], c->in) < 0) {
		c->e = p->c.e;
		pending_free(p);
		return -1;
	}
	return commit(p, c);
}

static size_t bytes_of(const struct json *entries)
{
	size_t n = 0;

	for (size_t i = 0; i < json_len(entries); i++)
		n += json_get_str(json_at(entries, i), "MessageBody").n;
	return n;
}

int sqs_send_message_batch(struct api_call *c)
{
	struct queue *q = sqs_queue(c);
	const struct json *entries;
	struct pending *p;

	if (!q || sqs_entries(c, &entries, "SendMessage") < 0)
		return -1;
	if (bytes_of(entries) > QUEUE_MESSAGE_BYTES)
		return api_fail(&c->e, API_SQS_TOO_LONG,
				"Batch requests cannot be longer than %d bytes. You have sent %zu bytes.",
				QUEUE_MESSAGE_BYTES, bytes_of(entries));
	p = pending_new(c, (unsigned)json_len(entries), true);
	store_tx_init(&p->tx);
	for (unsigned i = 0; i < p->n; i++) {
		const struct json *j = json_at(entries, i);

		snprintf(p->entries[i].id, sizeof(p->entries[i].id), STR_FMT, STR_ARG(json_get_str(j, "Id")));
		if (add_message(p, q, &p->entries[i], j) < 0)
			entry_fail(&p->entries[i], &p->c.e);
	}
	return commit(p, c);
}

/* --- receiving --- */

/* Names that a caller asks for: each itself, PREFIX.*, .* or All. */
static bool asked(const struct json *names, struct str name)
{
	for (size_t i = 0; i < json_len(names); i++) {
		struct str n = json_str(json_at(names, i));
		bool prefix = str_ends(n, ".*");

		if (str_eqc(n, "All") || str_eq(n, name) ||
		    (prefix && n.n - 2 <= name.n && !memcmp(n.p, name.p, n.n - 2)))
			return true;
	}
	return false;
}

struct putting {
	struct jw *w;
	const struct json *names;
	bool any;
};

static int put_attribute(void *arg, const char *name, const struct json *v)
{
	struct putting *k = arg;
	auto_free char *text = json_text(v);

	if (!asked(k->names, str_of(name)))
		return 0;
	if (!k->any)
		jw_obj(k->w, NULL);
	k->any = true;
	jw_raw(k->w, name, str_of(text));
	return 0;
}

static void put_attributes(struct jw *w, const struct queue_got *g, const struct json *names)
{
	auto_json all = g->attributes.n ? json_parse(g->attributes, NULL) : NULL;
	auto_json some = NULL;
	auto_buf out = {0};
	struct jw sub;
	struct putting k = {&sub, names, false};
	char md5[33];

	jw_init(&sub, &out);
	if (all)
		json_each(all, put_attribute, &k);
	if (!k.any)
		return;
	jw_end(&sub, '}');
	some = json_parse(buf_str(&out), NULL);
	queue_attributes_md5(some, md5);
	jw_strc(w, "MD5OfMessageAttributes", md5);
	jw_raw(w, "MessageAttributes", buf_str(&out));
}

static void put_system(struct jw *w, const struct queue_got *g, const struct json *a, const struct json *b)
{
	char received[24], sent_ms[24], first[24];
	const struct {
		const char *name;
		const char *value; /* NULL or "": not there */
	} all[] = {{"SenderId", g->sender.p},
		   {"SentTimestamp", sent_ms},
		   {"ApproximateReceiveCount", received},
		   {"ApproximateFirstReceiveTimestamp", first},
		   {"SequenceNumber", g->sequence},
		   {"MessageDeduplicationId", g->deduplication.p},
		   {"MessageGroupId", g->group.p},
		   {"AWSTraceHeader", g->trace.p},
		   {"DeadLetterQueueSourceArn", g->source.p}};
	bool any = false;

	snprintf(received, sizeof(received), "%d", g->receives);
	snprintf(sent_ms, sizeof(sent_ms), "%lld", (long long)g->sent_us / 1000);
	snprintf(first, sizeof(first), "%lld", (long long)g->first_received_us / 1000);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct str name = str_of(all[i].name);

		if (!all[i].value || !*all[i].value || (!asked(a, name) && !asked(b, name)))
			continue;
		if (!any)
			jw_obj(w, "Attributes");
		any = true;
		jw_strc(w, all[i].name, all[i].value);
	}
	if (any)
		jw_end(w, '}');
}

static void received(struct queue_receive *r, struct queue_got *got, const struct err *e)
{
	struct pending *p = container_of(r, struct pending, receive);
	auto_object(w, out);

	if (got)
		jw_arr(&w, "Messages");
	for (const struct queue_got *g = got; g; g = g->next) {
		jw_obj(&w, NULL);
		jw_strc(&w, "MessageId", g->id);
		jw_strc(&w, "ReceiptHandle", g->handle);
		jw_strc(&w, "MD5OfBody", g->md5_body);
		jw_str(&w, "Body", g->body);
		put_system(&w, g, json_get(p->in, "AttributeNames"), json_get(p->in, "MessageSystemAttributeNames"));
		put_attributes(&w, g, json_get(p->in, "MessageAttributeNames"));
		jw_end(&w, '}');
	}
	if (got)
		jw_end(&w, ']');
	if (e->kind == ERR_NOT_FOUND)
		api_reply_fail(&p->c, API_SQS_NO_QUEUE, "The specified queue does not exist.");
	else if (e->kind == ERR_LIMIT)
		api_reply_fail(&p->c, API_SQS_OVER_LIMIT, "%s", e->text);
	else if (e->kind)
		api_reply_fail(&p->c, API_SERVICE, "%s", e->text);
	else
		api_reply_object(&p->c, 200, &w);
	queue_got_free(got);
	pending_free(p);
}

static void client_gone(void *arg)
{
	struct pending *p = arg;

	queue_receive_cancel(&p->receive);
	pending_free(p);
}

int sqs_receive_message(struct api_call *c)
{
	struct queue *q = sqs_queue(c);
	int64_t max = json_get_int(c->in, "MaxNumberOfMessages", 1);
	int64_t visibility = json_get_int(c->in, "VisibilityTimeout", 0),
		wait = json_get_int(c->in, "WaitTimeSeconds", 0);
	struct pending *p;

	if (!q)
		return -1;
	if (max < 1 || max > SQS_BATCH)
		return sqs_out_of_range(c, "MaxNumberOfMessages", max, "Must be between 1 and 10, if provided.");
	if (visibility < 0 || visibility > 43200)
		return sqs_out_of_range(c, "VisibilityTimeout", visibility, "Must be >= 0 and <= 43200, if provided.");
	if (wait < 0 || wait > 20)
		return sqs_out_of_range(c, "WaitTimeSeconds", wait, "Must be >= 0 and <= 20, if provided.");
	p = pending_new(c, 0, false);
	p->receive = (struct queue_receive){
		.queue = q,
		.max = (unsigned)max,
		.wait_us = (json_get(c->in, "WaitTimeSeconds") ? wait : queue_wait_s(q)) * 1000000,
		.visibility_us = json_get(c->in, "VisibilityTimeout") ? visibility * 1000000 : -1,
		.done = received,
	};
	http_on_gone(p->c.r, client_gone, p);
	queue_receive_start(&p->receive);
	return 0;
}

/* --- deleted, or visible at another time --- */

static int said(struct api_call *c, const struct pending *p, const struct queue_receipt *r)
{
	struct str h = {r->handle.p, r->handle.n < 200 ? r->handle.n : 200};

	switch (r->said) {
	case QUEUE_BAD_HANDLE:
		return api_fail(&c->e, API_SQS_HANDLE,
				"The input receipt handle \"" STR_FMT "\" is not a valid receipt handle.", STR_ARG(h));
	case QUEUE_EXPIRED:
		return api_fail(&c->e, API_INVALID_PARAMETER,
				"Value " STR_FMT " for parameter ReceiptHandle is invalid. Reason: %s", STR_ARG(h),
				p->deletes ? "The receipt handle has expired."
					   : "Message does not exist or is not available for visibility timeout "
					     "change.");
	case QUEUE_NOT_IN_FLIGHT:
		return api_fail(&c->e, API_SQS_NOT_IN_FLIGHT, "The message referred to isn't in flight.");
	case QUEUE_OK:
		break;
	}
	return 0;
}

static void changed(struct queue_change *change, const struct err *e)
{
	struct pending *p = container_of(change, struct pending, change);

	for (unsigned i = 0; i < p->n && !e->kind; i++)
		if (!p->entries[i].failed && said(&p->c, p, &p->receipts[i]) < 0)
			entry_fail(&p->entries[i], &p->c.e);
	if (e->kind)
		api_reply_fail(&p->c, API_SERVICE, "Not stored: %s", e->text);
	else if (p->batch)
		reply_batch(p, NULL);
	else if (p->entries[0].failed)
		api_reply_err(&p->c);
	else
		api_reply_json(&p->c, 200, STR("{}"));
	pending_free(p);
}

/* The entries of a batch, or the call itself. */
static int change_start(struct api_call *c, const struct json *entries, bool deletes)
{
	struct queue *q = sqs_queue(c);
	struct pending *p;

	if (!q)
		return -1;
	p = pending_new(c, entries ? (unsigned)json_len(entries) : 1, entries != NULL);
	p->deletes = deletes;
	p->change = (struct queue_change){.queue = q, .receipts = p->receipts, .n = p->n, .done = changed};
	for (unsigned i = 0; i < p->n; i++) {
		const struct json *j = entries ? json_at(entries, i) : p->in;
		int64_t visibility = json_get_int(j, "VisibilityTimeout", 0);
		struct entry *en = &p->entries[i];

		snprintf(en->id, sizeof(en->id), STR_FMT, STR_ARG(json_get_str(j, "Id")));
		p->receipts[i] = (struct queue_receipt){.handle = json_get_str(j, "ReceiptHandle")};
		if (visibility >= 0 && visibility <= 43200) {
			p->receipts[i].visibility_us = visibility * 1000000;
		} else if (!deletes) {
			sqs_out_of_range(&p->c, "VisibilityTimeout", visibility,
					 "Must be >= 0 and <= 43200, if provided.");
			entry_fail(en, &p->c.e);
			p->receipts[i].handle = STR_NULL; /* does nothing */
		}
	}
	if (!p->batch && p->entries[0].failed) {
		c->e = p->c.e;
		pending_free(p);
		return -1;
	}
	if (p->c.r)
		http_on_gone_clear(&p->c.r);
	(deletes ? queue_delete_start : queue_visibility_start)(&p->change);
	return 0;
}

int sqs_delete_message(struct api_call *c)
{
	return change_start(c, NULL, true);
}

int sqs_change_visibility(struct api_call *c)
{
	return change_start(c, NULL, false);
}

int sqs_delete_message_batch(struct api_call *c)
{
	const struct json *entries;

	return sqs_entries(c, &entries, "DeleteMessage") < 0 ? -1 : change_start(c, entries, true);
}

int sqs_change_visibility_batch(struct api_call *c)
{
	const struct json *entries;

	return sqs_entries(c, &entries, "ChangeMessageVisibility") < 0 ? -1 : change_start(c, entries, false);
}
