/* SPDX-License-Identifier: Apache-2.0 */
/* Events as Lambda makes them of messages and records, filters on them, and what functions say of parts of a batch. */
#include <stdio.h>
#include "base/enc.h"
#include "base/mem.h"
#include "trigger/mapping_int.h"

static const char end[] = "]}";

bool batch_add(struct batch *b, const struct buf *record)
{
	if (b->n && b->payload.n + record->n + sizeof(end) > LIM_PAYLOAD_BYTES)
		return false;
	buf_adds(&b->payload, b->n++ ? "," : "{\"Records\":[");
	buf_addstr(&b->payload, buf_str(record));
	return true;
}

void batch_close(struct batch *b)
{
	buf_adds(&b->payload, end);
}

/* Text as JSON where it is that and shall be shown as that. */
static void put_text(struct jw *w, const char *key, struct str text, bool parsed)
{
	if (parsed && json_check(text, NULL) == 0)
		jw_raw(w, key, text);
	else
		jw_str(w, key, text.n ? text : STR(""));
}

static void put_ms(struct jw *w, const char *key, int64_t us)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)us / 1000);
	jw_strc(w, key, text);
}

static int put_attribute(void *arg, const char *key, const struct json *v)
{
	struct str text = json_get_str(v, "StringValue"), binary = json_get_str(v, "BinaryValue");
	struct jw *w = arg;

	jw_obj(w, key);
	if (text.p)
		jw_str(w, "stringValue", text);
	if (binary.p)
		jw_str(w, "binaryValue", binary);
	jw_raw(w, "stringListValues", STR("[]"));
	jw_raw(w, "binaryListValues", STR("[]"));
	jw_str(w, "dataType", json_get_str(v, "DataType"));
	jw_end(w, '}');
	return 0;
}

static void put_attributes(struct jw *w, const struct queue_got *g)
{
	const struct {
		const char *name;
		struct str value;
	} more[] = {{"SenderId", g->sender.n ? g->sender : STR("AIDATANDEMOPERATOR000")},
		    {"SequenceNumber", str_of(g->sequence)},
		    {"MessageGroupId", g->group},
		    {"MessageDeduplicationId", g->deduplication},
		    {"AWSTraceHeader", g->trace},
		    {"DeadLetterQueueSourceArn", g->source}};

	jw_obj(w, "attributes");
	put_ms(w, "ApproximateReceiveCount", g->receives * 1000ll);
	put_ms(w, "SentTimestamp", g->sent_us);
	put_ms(w, "ApproximateFirstReceiveTimestamp", g->first_received_us);
	for (size_t i = 0; i < ARRAY_SIZE(more); i++)
		if (more[i].value.n)
			jw_str(w, more[i].name, more[i].value);
	jw_end(w, '}');
}

void mapping_write_message(struct jw *w, const struct mapping *m, const struct queue_got *g, bool parsed)
{
	auto_json attributes = g->attributes.n ? json_parse(g->attributes, NULL) : NULL;
	char md5[33] = "";

	jw_obj(w, NULL);
	jw_strc(w, "messageId", g->id);
	jw_strc(w, "receiptHandle", g->handle);
	put_text(w, "body", g->body, parsed);
	put_attributes(w, g);
	jw_obj(w, "messageAttributes");
	json_each(attributes, put_attribute, w);
	jw_end(w, '}');
	if (attributes)
		queue_attributes_md5(attributes, md5);
	if (*md5)
		jw_strc(w, "md5OfMessageAttributes", md5);
	jw_strc(w, "md5OfBody", g->md5_body);
	jw_strc(w, "eventSource", "aws:sqs");
	jw_strc(w, "eventSourceARN", m->set.source);
	jw_strc(w, "awsRegion", m->all->o.region);
	jw_end(w, '}');
}

void mapping_write_data(struct jw *w, const char *key, const struct stream_record *rec, bool parsed)
{
	char sequence[STREAM_SEQUENCE_BYTES];
	auto_buf data = {0};

	jw_obj(w, key);
	jw_strc(w, "kinesisSchemaVersion", "1.0");
	jw_str(w, "partitionKey", rec->key);
	jw_strc(w, "sequenceNumber", stream_sequence(rec->id, sequence));
	if (!parsed)
		enc_b64(&data, rec->data.p, rec->data.n);
	put_text(w, "data", parsed ? rec->data : buf_str(&data), parsed);
	jw_real(w, "approximateArrivalTimestamp", (double)(rec->id / 1000) / 1000);
	jw_end(w, '}');
}

void mapping_write_record(struct jw *w, const struct mapping *m, unsigned shard, const struct stream_record *rec)
{
	char sequence[STREAM_SEQUENCE_BYTES], name[STREAM_SHARD_BYTES];
	auto_free char *id = xasprintf("%s:%s", stream_shard_name(shard, name), stream_sequence(rec->id, sequence));
	auto_free char *role = xasprintf("arn:aws:iam::%s:role/%s", m->all->o.account, m->set.function);

	jw_obj(w, NULL);
	mapping_write_data(w, "kinesis", rec, false);
	jw_strc(w, "eventSource", "aws:kinesis");
	jw_strc(w, "eventVersion", "1.0");
	jw_strc(w, "eventID", id);
	jw_strc(w, "eventName", "aws:kinesis:record");
	jw_strc(w, "invokeIdentityArn", role);
	jw_strc(w, "awsRegion", m->all->o.region);
	jw_strc(w, "eventSourceARN", m->set.source);
	jw_end(w, '}');
}

bool mapping_passes(const struct mapping_set *set, const struct buf *text)
{
	auto_json event = set->n_filters ? json_parse(buf_str(text), NULL) : NULL;

	for (size_t i = 0; i < set->n_filters; i++)
		if (event && pattern_match(set->filters[i], event))
			return true;
	return !set->n_filters;
}

int batch_failures(struct str answer, bool (*mark)(void *arg, struct str id), void *arg)
{
	auto_json j = answer.n && !str_eqc(answer, "null") ? json_parse(answer, NULL) : NULL;
	const struct json *list = json_get(j, "batchItemFailures");
	enum json_type type = json_type(list);

	if (!answer.n || str_eqc(answer, "null"))
		return 0;
	if (json_type(j) != JSON_OBJECT || (type != JSON_ARRAY && type > JSON_NULL))
		return -1;
	for (size_t i = 0; i < json_len(list); i++) {
		struct str id = json_get_str(json_at(list, i), "itemIdentifier");

		if (!id.n || !mark(arg, id))
			return -1;
	}
	return 0;
}
