/* SPDX-License-Identifier: Apache-2.0 */
/* How each kind of what holds or leads events is made and taken away, by the module that owns it. */
#include "app/apply_int.h"
#include "base/mem.h"
#include "object/object.h"
#include "queue/queue.h"
#include "sched/budget.h"
#include "stream/stream.h"
#include "trigger/bus.h"
#include "trigger/mapping.h"
#include "trigger/notify.h"
#include "trigger/outcome.h"
#include "trigger/schedule.h"
#include "trigger/topic.h"
#include "trigger/url.h"

int provider_nulls(void *arg, const char *key, const struct json *v)
{
	enum json_type t = json_type(v);
	auto_free char *text = t == JSON_OBJECT || t == JSON_ARRAY || t == JSON_NULL ? NULL : json_text(v);
	struct jw *w = arg;

	if (text) {
		jw_raw(w, key, str_of(text));
	} else if (t == JSON_OBJECT) {
		jw_obj(w, key);
		json_each(v, provider_nulls, w);
		jw_end(w, '}');
	} else if (t == JSON_ARRAY) {
		jw_arr(w, key);
		for (size_t i = 0; i < json_len(v); i++)
			provider_nulls(w, NULL, json_at(v, i));
		jw_end(w, ']');
	}
	return 0;
}

/* What an ARN names, without the kind. */
struct str provider_end(const struct json *doc, const char *member)
{
	struct str arn = json_get_str(doc, member), name = arn;

	return resource_of_arn(arn, &name) < 0 ? arn : name;
}

static int put_queue(const struct what *w)
{
	return queue_put(w->is->queues, str_of(w->name), w->doc, w->project, w->tx, w->e);
}

static int del_queue(const struct what *w)
{
	struct queue *q = queue_get(w->is->queues, str_of(w->name));
	struct queue_counts n = q ? queue_counts(q) : (struct queue_counts){0};

	if (n.visible + n.in_flight + n.delayed)
		return err_set(w->e, ERR_CONFLICT, "it stays with its %lld messages; purge or delete it with aws sqs",
			       (long long)(n.visible + n.in_flight + n.delayed));
	if (q)
		queue_delete(q, w->tx);
	return 0;
}

static int keep_member(void *arg, const char *key, const struct json *v)
{
	if (strcmp(key, "External") != 0)
		provider_nulls(arg, key, v);
	return 0;
}

/* What was said of it through the API (CORS, tags) stays. */
static int put_bucket(const struct what *w)
{
	struct bucket *b = bucket_get(w->is->objects, str_of(w->name));
	auto_json doc = NULL;
	auto_object(out, text);

	if (b)
		json_each(b->doc, keep_member, &out);
	json_each(w->doc, provider_nulls, &out);
	jw_end(&out, '}');
	doc = json_parse(buf_str(&text), NULL);
	return bucket_put(w->is->objects, str_of(w->name), doc, w->project, w->tx, w->e);
}

static int put_stream(const struct what *w)
{
	return stream_put(w->is->streams, w->doc, w->project, w->tx, w->e);
}

static int del_stream(const struct what *w)
{
	return err_set(w->e, ERR_CONFLICT,
		       "it stays with its records; aws kinesis delete-stream --stream-name %s removes it", w->name);
}

/* "BUCKET/PROJECT"; doc NULL: nothing any more. */
static int put_notification(const struct what *w)
{
	auto_free char *bucket = xstrndup(w->name, strcspn(w->name, "/"));
	auto_json none = json_parse(STR("{}"), NULL);

	return notify_put(w->is->notify, bucket, w->project, w->doc ? w->doc : none, false, w->tx, w->e);
}

static int put_mapping(const struct what *w)
{
	return mapping_put(w->is->mappings, str_of(w->name), w->doc, w->project, w->tx, w->e);
}

static int del_mapping(const struct what *w)
{
	struct mapping *m = mapping_get(w->is->mappings, str_of(w->name));

	if (m)
		mapping_delete(m, w->tx);
	return 0;
}

static int put_topic(const struct what *w)
{
	return topic_put(w->is->topics, str_of(w->name), w->doc, w->project, w->tx, w->e);
}

static int del_topic(const struct what *w)
{
	struct topic *t = topic_get(w->is->topics, str_of(w->name));

	if (t)
		topic_delete(t, w->tx);
	return 0;
}

static int put_bus(const struct what *w)
{
	return bus_put(w->is->buses, str_of(w->name), w->doc, w->project, w->tx, w->e);
}

static int del_bus(const struct what *w)
{
	return bus_delete(w->is->buses, w->name, w->tx, w->e);
}

/* Names of two parts: "BUS/RULE", "GROUP/SCHEDULE", "TOPIC/FUNCTION". */
struct two {
	char *first;
	const char *second;
};

static struct two two(const struct what *w)
{
	const char *slash = strchr(w->name, '/');

	return (struct two){xstrndup(w->name, (size_t)(slash - w->name)), slash + 1};
}

static int put_rule(const struct what *w)
{
	struct two n = two(w);
	int ret = rule_put(w->is->buses, n.first, str_of(n.second), w->doc, w->project, w->tx, w->e);

	free(n.first);
	return ret;
}

static int del_rule(const struct what *w)
{
	struct two n = two(w);

	rule_delete(w->is->buses, n.first, n.second, w->tx);
	free(n.first);
	return 0;
}

static int put_schedule(const struct what *w)
{
	struct two n = two(w);
	int ret = schedule_put(w->is->schedules, str_of(n.first), str_of(n.second), w->doc, w->project, w->tx, w->e);

	free(n.first);
	return ret;
}

static int del_schedule(const struct what *w)
{
	struct two n = two(w);

	schedule_delete(w->is->schedules, n.first, n.second, w->tx);
	free(n.first);
	return 0;
}

static int put_subscription(const struct what *w)
{
	struct two n = two(w);
	struct topic *t = topic_get(w->is->topics, str_of(n.first));
	char id[37];

	free(n.first);
	return t ? topic_subscribe(t, json_get_str(w->doc, "Protocol"), json_get_str(w->doc, "Endpoint"),
				   json_get(w->doc, "Attributes"), w->project, w->tx, id, w->e)
		 : err_set(w->e, ERR_NOT_FOUND, "its topic is gone");
}

static int del_subscription(const struct what *w)
{
	struct two n = two(w);
	struct topic *t = topic_get(w->is->topics, str_of(n.first));
	const struct json *all = t ? json_get(topic_doc(t), "Subscriptions") : NULL, *s;

	for (size_t i = 0; (s = json_at(all, i)); i++)
		if (str_eqc(provider_end(s, "Endpoint"), n.second)) {
			topic_unsubscribe(t, json_get_str(s, "Id"), w->tx);
			break;
		}
	free(n.first);
	return 0;
}

/* "f:$LATEST" */
static int put_async(const struct what *w)
{
	auto_free char *function = xstrndup(w->name, strcspn(w->name, ":"));

	return outcome_put(w->is->deliver, w->is->store, function, "", w->doc, w->project, w->tx, w->e);
}

static int put_url(const struct what *w)
{
	auto_free char *function = xstrndup(w->name, strcspn(w->name, ":"));

	return url_put(w->is->urls, function, "", w->doc, w->project, w->tx, w->e);
}

static int del_url(const struct what *w)
{
	auto_free char *function = xstrndup(w->name, strcspn(w->name, ":"));

	url_delete(w->is->urls, function, "", w->tx);
	return 0;
}

static int put_budget(const struct what *w)
{
	return budget_put(w->is->budgets, str_of(w->name), w->doc, w->project, w->tx, w->e);
}

static int del_budget(const struct what *w)
{
	budget_delete(w->is->budgets, str_of(w->name), w->tx);
	return 0;
}

static int del_record(const struct what *w)
{
	record_del_add(w->is->store, w->tx, w->key);
	return 0;
}

const struct provider provider[RESOURCE_N] = {
	[RESOURCE_BUCKET] = {put_bucket, del_record}, /* one that is still there: remove_bucket */
	[RESOURCE_QUEUE] = {put_queue, del_queue},
	[RESOURCE_STREAM] = {put_stream, del_stream},
	[RESOURCE_TOPIC] = {put_topic, del_topic},
	[RESOURCE_BUS] = {put_bus, del_bus},
	[RESOURCE_NOTIFICATION] = {put_notification, put_notification},
	[RESOURCE_MAPPING] = {put_mapping, del_mapping},
	[RESOURCE_SUBSCRIPTION] = {put_subscription, del_subscription},
	[RESOURCE_RULE] = {put_rule, del_rule},
	[RESOURCE_BUDGET] = {put_budget, del_budget},
	[RESOURCE_SCHEDULE] = {put_schedule, del_schedule},
	[RESOURCE_ASYNC] = {put_async, del_record},
	[RESOURCE_URL] = {put_url, del_url},
};
