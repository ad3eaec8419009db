/* SPDX-License-Identifier: Apache-2.0 */
#include "app/resource.h"
#include "app/field.h"
#include "app/manifest.h"
#include "app/value.h"
#include "base/map.h"
#include "base/mem.h"
#include "ledger/prices.h"
#include "store/digest.h"

#define DAY_S  86400
#define HOUR_S 3600

/* ---- tables ---- */

static field_put put_cors, put_tag, put_workload, put_usd, put_choice;
enum { CHOICE_PER, CHOICE_ON, CHOICE_THEN };
static const struct field bucket_fields[] = {
	{.key = "external", .member = "External", .put = field_bool},
	{.key = "eventbridge"},
	{0},
};
static const struct field queue_fields[] = {
	{"visibility", "VisibilityTimeout", field_seconds, 0, DAY_S / 2, 30},
	{"delay", "DelaySeconds", field_seconds, 0, 900, 0},
	{"retention", "MessageRetentionPeriod", field_seconds, 60, 14 * DAY_S, 4 * DAY_S},
	{.key = "fifo"},
	{.key = "deduplicate"},
	{"dead_letter", "RedrivePolicy", field_redrive, 1, 1000, 5},
	{.key = "max_receives"},
	{0},
};
static const struct field stream_fields[] = {
	{"shards", "ShardCount", field_count, 1, 1000, 1},
	{"retention", "RetentionPeriodHours", field_hours, DAY_S, 365 * DAY_S, DAY_S},
	{0},
};
static const struct field no_fields[] = {{0}};
static const struct field on_bucket[] = {
	{.key = "bucket"}, {.key = "events"}, {.key = "prefix"}, {.key = "suffix"}, {0},
};
static const struct field on_queue[] = {
	{.key = "queue"},
	{"batch", "BatchSize", field_count, 1, 10000, 10},
	{"window", "MaximumBatchingWindowInSeconds", field_seconds, 0, 300, 0},
	{"concurrency", "ScalingConfig", field_scaling, 2, 1000, 0},
	{.key = "partial", .member = "FunctionResponseTypes", .put = field_partial},
	{.key = "filter", .member = "FilterCriteria", .put = field_filters},
	{0},
};
static const struct field on_stream[] = {
	{.key = "stream"},
	{.key = "from", .member = "StartingPosition", .put = field_from},
	{"batch", "BatchSize", field_count, 1, 10000, 100},
	{"window", "MaximumBatchingWindowInSeconds", field_seconds, 0, 300, 0},
	{"parallel", "ParallelizationFactor", field_count, 1, 10, 1},
	{"retries", "MaximumRetryAttempts", field_count, 0, 10000, -1},
	{"max_age", "MaximumRecordAgeInSeconds", field_seconds, 60, 7 * DAY_S, -1},
	{.key = "bisect", .member = "BisectBatchOnFunctionError", .put = field_bool},
	{.key = "partial", .member = "FunctionResponseTypes", .put = field_partial},
	{.key = "filter", .member = "FilterCriteria", .put = field_filters},
	{.key = "on_failure", .member = "DestinationConfig", .put = field_destinations},
	{0},
};
static const struct field on_schedule[] = {
	{.key = "schedule", .member = "ScheduleExpression", .put = field_text},
	{.key = "timezone", .member = "ScheduleExpressionTimezone", .put = field_text},
	{.key = "input"},
	{0},
};
static const struct field on_event[] = {
	{.key = "event", .member = "EventPattern", .put = field_pattern},
	{.key = "bus"},
	{.key = "input"},
	{0},
};
static const struct field on_topic[] = {
	{.key = "topic"},
	{.key = "filter", .member = "FilterPolicy", .put = field_pattern},
	{0},
};
static const struct field url_fields[] = {
	{.key = "auth", .member = "AuthType", .put = field_auth},
	{.key = "cors", .member = "Cors", .put = put_cors},
	{0},
};
static const struct field cors_fields[] = {
	{.key = "origins", .member = "AllowOrigins", .put = field_words},
	{.key = "methods", .member = "AllowMethods", .put = field_words},
	{.key = "headers", .member = "AllowHeaders", .put = field_words},
	{.key = "expose", .member = "ExposeHeaders", .put = field_words},
	{.key = "credentials", .member = "AllowCredentials", .put = field_bool},
	{"max_age", "MaxAge", field_seconds, 0, DAY_S, FIELD_NOTHING},
	{0},
};
/* Keys of the function itself. */
static const struct field async_fields[] = {
	{"retries", "MaximumRetryAttempts", field_count, 0, 2, 2},
	{"max_age", "MaximumEventAgeInSeconds", field_seconds, 60, 6 * HOUR_S, 6 * HOUR_S},
	{.key = "on_success"},
	{.key = "on_failure", .member = "DestinationConfig", .put = field_destinations},
	{0},
};
static const struct field budget_fields[] = {
	{.key = "tag", .member = "Tag", .put = put_tag},
	{.key = "workload", .member = "Workload", .put = put_workload},
	{.key = "usd", .member = "Usd", .put = put_usd},
	{.key = "per", .member = "Per", .put = put_choice, .max = CHOICE_PER},
	{.key = "on", .member = "On", .put = put_choice, .max = CHOICE_ON},
	{.key = "then", .member = "Then", .put = put_choice, .max = CHOICE_THEN},
	{0},
};
static const struct field *const tables[] = {bucket_fields, queue_fields, stream_fields, no_fields,    no_fields,
					     on_bucket,	    on_queue,	  on_stream,	 on_schedule,  on_event,
					     on_topic,	    url_fields,	  cors_fields,	 budget_fields};

const char *resource_key(int table, size_t i)
{
	return field_key(tables[table], i);
}

static int put_cors(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	if (!v) {
		jw_null(w, f->member);
		return 0;
	}
	if (field_check_keys(r, v, cors_fields) < 0)
		return -1;
	jw_obj(w, f->member);
	if (field_put_all(r, cors_fields, v, w) < 0)
		return -1;
	jw_end(w, '}');
	return 0;
}

const char *const resource_record[RESOURCE_N] = {
	[RESOURCE_BUCKET] = "bucket/",	 [RESOURCE_QUEUE] = "queue/",
	[RESOURCE_STREAM] = "stream/",	 [RESOURCE_TOPIC] = "topic/",
	[RESOURCE_BUS] = "bus/",	 [RESOURCE_NOTIFICATION] = "notify/",
	[RESOURCE_MAPPING] = "mapping/", [RESOURCE_SUBSCRIPTION] = "subscription/",
	[RESOURCE_RULE] = "rule/",	 [RESOURCE_SCHEDULE] = "schedule/",
	[RESOURCE_ASYNC] = "async/",	 [RESOURCE_URL] = "url/",
	[RESOURCE_BUDGET] = "budget/",
};

/* Takes name and title, and closes the document, which it takes. */
static void add(struct field_reader *r, enum resource_kind kind, const struct node *at, char *name, char *title,
		struct jw *doc)
{
	auto_free char *own = name;
	struct resources *all = &r->m->resources;
	struct resource *x;

	jw_end(doc, '}');
	all->p = xrealloc(all->p, sizeof(*all->p) * (all->n + 1));
	x = &all->p[all->n++];
	*x = (struct resource){.kind = kind, .title = title, .doc = buf_take(doc->out)};
	x->key = xasprintf("%s%s", resource_record[kind], own);
	x->name = x->key + strlen(resource_record[kind]);
	x->line = at->key ? at->key_line : at->line;
	x->col = at->key ? at->key_col : at->col;
}

/* ---- what holds ---- */

/* SQS has its numbers as strings, and of what is no FIFO queue nothing about that. */
static int put_queue(struct field_reader *r, const struct node *v, struct jw *w)
{
	static const struct field content = {
		.key = "deduplicate", .member = "ContentBasedDeduplication", .put = field_bool};
	const struct node *said = tree_get(v, "fifo"), *once = tree_get(v, "deduplicate");
	bool fifo = str_ends(str_of(v->key), ".fifo"), is = fifo;
	int ret;

	if (said && value_bool(r->o, said, &is, r->e) < 0)
		return -1;
	if (is != fifo)
		return tree_error(r->o, v->key_line, v->key_col, r->e,
				  fifo ? "the name of a queue that is no FIFO queue does not end with .fifo"
				       : "the name of a FIFO queue ends with .fifo: \"%.80s.fifo\"",
				  v->key);
	if (once && !fifo)
		return field_fail(r, once, "only a FIFO queue leaves out what it has had already");
	r->quote = true;
	jw_obj(w, "Attributes");
	ret = field_put_all(r, queue_fields, v, w);
	jw_strc(w, "FifoQueue", fifo ? "true" : NULL);
	if (!ret && fifo)
		ret = content.put(r, &content, once, w);
	jw_end(w, '}');
	r->quote = false;
	return ret;
}

static int read_holder(struct field_reader *r, enum resource_kind kind, const struct node *v)
{
	auto_object(w, doc);

	if (!str_name_ok(str_of(v->key), 128, "-_."))
		return tree_error(r->o, v->key_line, v->key_col, r->e,
				  "\"%.80s\" is no name for a %s: letters, digits, - and _", v->key,
				  resource_word[kind]);
	if (field_check_keys(r, v, tables[kind]) < 0)
		return -1;
	if (kind == RESOURCE_STREAM)
		jw_strc(&w, "StreamName", v->key);
	if ((kind == RESOURCE_QUEUE ? put_queue(r, v, &w) : field_put_all(r, tables[kind], v, &w)) < 0)
		return -1;
	add(r, kind, v, xstrdup(v->key), xasprintf("%s %s", resource_word[kind], v->key), &w);
	return 0;
}

/* ---- what leads to r->target ---- */

/* The nth of that kind: so it keeps its name, whatever else of it changes. Hashed where it would be too long. */
static char *name_of(struct field_reader *r, const char *prefix, enum resource_kind kind)
{
	auto_free char *name = xasprintf("%s-%s-%u", r->m->name, r->of, ++r->nth[kind]);
	char hex[65];

	digest_sha256_hex(name, strlen(name), hex);
	return strlen(name) <= 64 ? xasprintf("%s%s", prefix, name) : xasprintf("%s%.47s-%.16s", prefix, name, hex);
}

static char *source_of(struct field_reader *r, const struct node *item, const char *key)
{
	const struct node *v = tree_get(item, key);
	auto_free char *name = NULL;

	if (value_text(r->o, v, 256, &name, r->e) < 0)
		return NULL;
	if (strcmp(key, "schedule") && !str_name_ok(str_of(name), 256, "-_."))
		return tree_error(r->o, v->line, v->col, r->e, "\"%.80s\" is no name of a %s", name, key), NULL;
	return take_ptr(name);
}

static int read_mapping(struct field_reader *r, const struct node *item, enum resource_kind from)
{
	auto_free char *source = source_of(r, item, resource_word[from]), *arn = NULL, *what = NULL;
	auto_object(w, doc);
	char h[65];

	if (!source)
		return -1;
	arn = field_arn(r, (int)from, source);
	what = xasprintf("%s %s %s", r->m->name, r->target, arn);
	digest_sha256_hex(what, strlen(what), h);
	jw_strc(&w, "EventSourceArn", arn);
	jw_strc(&w, "FunctionArn", r->target);
	jw_bool(&w, "Enabled", true);
	if (field_put_all(r, from == RESOURCE_QUEUE ? on_queue : on_stream, item, &w) < 0)
		return -1;
	/* The same thing has the same UUID, whatever else of it changes. */
	add(r, RESOURCE_MAPPING, item, xasprintf("%.8s-%.4s-4%.3s-8%.3s-%.12s", h, h + 8, h + 12, h + 15, h + 18),
	    xasprintf("%s %s -> %s", resource_word[from], source, r->of), &w);
	return 0;
}

/* Members of a target of a rule or a schedule. */
static int put_target(struct field_reader *r, const struct node *item, struct jw *w)
{
	static const struct field input = {.key = "input", .member = "Input", .put = field_json};
	auto_free char *cluster = xasprintf("arn:aws:ecs:%s:cluster/default", r->o->where);

	jw_strc(w, "Arn", r->is_task ? cluster : r->target);
	if (input.put(r, &input, tree_get(item, "input"), w) < 0)
		return -1;
	if (!r->is_task)
		return 0;
	jw_obj(w, "EcsParameters");
	jw_strc(w, "TaskDefinitionArn", r->target);
	jw_int(w, "TaskCount", 1);
	jw_end(w, '}');
	return 0;
}

static int read_schedule(struct field_reader *r, const struct node *item, enum resource_kind from)
{
	auto_free char *when = source_of(r, item, "schedule"), *role = NULL;
	auto_object(w, doc);

	role = xasprintf("arn:aws:iam::%s:role/tandem", strchr(r->o->where, ':') + 1);
	if (!when || field_put_all(r, on_schedule, item, &w) < 0)
		return -1;
	jw_raw(&w, "FlexibleTimeWindow", STR("{\"Mode\":\"OFF\"}"));
	jw_obj(&w, "Target");
	jw_strc(&w, "RoleArn", role);
	if (put_target(r, item, &w) < 0)
		return -1;
	jw_end(&w, '}');
	add(r, RESOURCE_SCHEDULE, item, name_of(r, "default/", RESOURCE_SCHEDULE), xasprintf("%s -> %s", when, r->of),
	    &w);
	return 0;
}

static int read_event(struct field_reader *r, const struct node *item, enum resource_kind from)
{
	auto_free char *bus = tree_get(item, "bus") ? source_of(r, item, "bus") : xstrdup("default"), *prefix = NULL;
	auto_object(w, doc);

	if (!bus)
		return -1;
	prefix = xasprintf("%s/", bus);
	jw_strc(&w, "State", "ENABLED");
	if (field_put_all(r, on_event, item, &w) < 0)
		return -1;
	jw_arr(&w, "Targets");
	jw_obj(&w, NULL);
	jw_strc(&w, "Id", "1");
	if (put_target(r, item, &w) < 0)
		return -1;
	jw_end(&w, '}');
	jw_end(&w, ']');
	add(r, RESOURCE_RULE, item, name_of(r, prefix, RESOURCE_RULE), xasprintf("bus %s -> %s", bus, r->of), &w);
	return 0;
}

static int read_topic(struct field_reader *r, const struct node *item, enum resource_kind from)
{
	auto_free char *source = source_of(r, item, "topic");
	auto_object(w, doc);

	if (!source)
		return -1;
	jw_strc(&w, "Protocol", "lambda");
	jw_strc(&w, "Endpoint", r->target);
	jw_obj(&w, "Attributes");
	if (field_put_all(r, on_topic, item, &w) < 0)
		return -1;
	jw_end(&w, '}');
	add(r, RESOURCE_SUBSCRIPTION, item, xasprintf("%s/%s", source, r->of),
	    xasprintf("topic %s -> %s", source, r->of), &w);
	return 0;
}

static const struct {
	const char *key;
	const struct field *fields;
	int (*read)(struct field_reader *r, const struct node *item, enum resource_kind from);
	enum resource_kind from;
	bool tasks; /* may start tasks too */
} triggers[] = {
	{"bucket", on_bucket, NULL, RESOURCE_BUCKET, false}, /* read_notifications */
	{"queue", on_queue, read_mapping, RESOURCE_QUEUE, false},
	{"stream", on_stream, read_mapping, RESOURCE_STREAM, false},
	{"schedule", on_schedule, read_schedule, RESOURCE_N, true},
	{"event", on_event, read_event, RESOURCE_BUS, true},
	{"topic", on_topic, read_topic, RESOURCE_TOPIC, false},
};

static int read_on(struct field_reader *r, const struct node *list)
{
	const char *known = r->is_task ? "a task is started by items of on: that have one of schedule and event"
				       : "an item of on: has one of bucket, queue, stream, schedule, event and topic";

	if (list && list->kind != NODE_LIST)
		return field_fail(r, list, "on is a list of what starts it, like [{queue: jobs}]");
	for (size_t i = 0; list && i < list->n; i++) {
		const struct node *item = &list->child[i];
		size_t k = 0;

		while (k < ARRAY_SIZE(triggers) &&
		       (!tree_get(item, triggers[k].key) || (r->is_task && !triggers[k].tasks)))
			k++;
		if (k == ARRAY_SIZE(triggers))
			return field_fail(r, item, known);
		if (field_check_keys(r, item, triggers[k].fields) < 0 ||
		    (triggers[k].read && triggers[k].read(r, item, triggers[k].from) < 0))
			return -1;
	}
	return 0;
}

/* ---- buckets ---- */

static int put_events(struct field_reader *r, const struct node *v, struct jw *w)
{
	static const char *const words[][2] = {{"created", "s3:ObjectCreated:*"}, {"removed", "s3:ObjectRemoved:*"}};
	static const char how[] = "events is a list of created and removed";

	if (v && (v->kind != NODE_LIST || !v->n))
		return field_fail(r, v, how);
	jw_arr(w, "Events");
	for (size_t i = 0; i < (v ? v->n : 1); i++) {
		const char *text = v ? v->child[i].text : words[0][0];
		size_t k = 0;

		while (k < ARRAY_SIZE(words) && (!text || strcmp(text, words[k][0])))
			k++;
		if (k == ARRAY_SIZE(words))
			return field_fail(r, &v->child[i], how);
		jw_strc(w, NULL, words[k][1]);
	}
	jw_end(w, ']');
	return 0;
}

static int put_notification(struct field_reader *r, const struct node *item, struct buf *title, struct jw *w)
{
	static const struct field parts[] = {{.key = "prefix", .member = "Value", .put = field_text},
					     {.key = "suffix", .member = "Value", .put = field_text}};
	auto_free char *id = name_of(r, "", RESOURCE_NOTIFICATION);
	const struct node *v;

	jw_obj(w, NULL);
	jw_strc(w, "Id", id);
	jw_strc(w, "LambdaFunctionArn", r->target);
	if (put_events(r, tree_get(item, "events"), w) < 0)
		return -1;
	jw_obj(w, "Filter");
	jw_obj(w, "Key");
	jw_arr(w, "FilterRules");
	buf_adds(title, strstr(title->p, "->") ? ", " : " ");
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		v = tree_get(item, parts[i].key);
		if (v) {
			jw_obj(w, NULL);
			jw_strc(w, "Name", parts[i].key);
			if (parts[i].put(r, &parts[i], v, w) < 0)
				return -1;
			jw_end(w, '}');
		}
		buf_addf(title, "%s%s", v ? v->text : "", i ? "" : "*");
	}
	jw_end(w, ']');
	jw_end(w, '}');
	jw_end(w, '}');
	jw_end(w, '}');
	buf_addf(title, " -> %s", r->of);
	return 0;
}

static void begin_target(struct field_reader *r, const struct node *v, bool is_task)
{
	free(r->target);
	r->of = v->key, r->is_task = is_task;
	r->target = field_arn(r, is_task ? KIND_TASK : KIND_FUNCTION, v->key);
	memset(r->nth, 0, sizeof(r->nth));
}

/* All that the bucket starts. */
static int read_notification(struct field_reader *r, const struct node *root, const char *bucket, const struct node *at)
{
	const struct node *functions = tree_get(root, "functions");
	const struct node *to_bus = tree_get(tree_get(tree_get(root, "buckets"), bucket), "eventbridge");
	auto_buf title = {0};
	auto_object(w, doc);
	bool yes = false;

	if (to_bus && value_bool(r->o, to_bus, &yes, r->e) < 0)
		return -1;
	buf_addf(&title, "bucket %s", bucket);
	jw_arr(&w, "LambdaFunctionConfigurations");
	for (size_t i = 0; functions && i < functions->n; i++) {
		const struct node *on = tree_get(&functions->child[i], "on"), *of;

		begin_target(r, &functions->child[i], false);
		for (size_t k = 0; on && k < on->n; k++) {
			of = tree_get(&on->child[k], "bucket");
			if (of && of->text && !strcmp(of->text, bucket) &&
			    put_notification(r, &on->child[k], &title, &w) < 0)
				return -1;
		}
	}
	jw_end(&w, ']');
	jw_raw(&w, "EventBridgeConfiguration", yes ? STR("{}") : STR("null"));
	if (yes)
		buf_adds(&title, strstr(title.p, "->") ? ", bus default" : " -> bus default");
	if (strstr(title.p, "->"))
		add(r, RESOURCE_NOTIFICATION, at, xasprintf("%s/%s", bucket, r->m->name), buf_take(&title), &w);
	return 0;
}

/* S3 has one document for all that a bucket starts: made where the first item names the bucket. */
static int read_notifications(struct field_reader *r, const struct node *root)
{
	const struct node *functions = tree_get(root, "functions"), *buckets = tree_get(root, "buckets"), *on, *of;
	struct map seen = {0};
	int ret = 0;

	for (size_t i = 0; functions && i < functions->n; i++) {
		on = tree_get(&functions->child[i], "on");
		for (size_t k = 0; !ret && on && k < on->n; k++) {
			auto_free char *bucket = NULL;

			of = tree_get(&on->child[k], "bucket");
			bucket = of ? source_of(r, &on->child[k], "bucket") : NULL;
			ret = of && !bucket ? -1 : 0;
			if (!bucket || map_get(&seen, str_of(of->text)))
				continue;
			map_put(&seen, str_of(of->text), r);
			ret = read_notification(r, root, bucket, &on->child[k]);
		}
	}
	for (size_t i = 0; !ret && buckets && i < buckets->n; i++)
		if (!map_get(&seen, str_of(buckets->child[i].key)))
			ret = read_notification(r, root, buckets->child[i].key, &buckets->child[i]);
	map_done(&seen);
	return ret;
}

/* ---- budgets ---- */

/* The first is what is so when nothing is said. */
static int put_choice(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	static const char *const names[][3] = {[CHOICE_PER] = {"month", "day", "hour"},
					       [CHOICE_ON] = {"machine", "aws"},
					       [CHOICE_THEN] = {"warn", "throttle", "stop"}};
	const char *const *of = names[f->max];
	auto_free char *text = NULL, *what = xasprintf("%s is %s%s%s or %s", f->key, of[0], of[2] ? ", " : "",
						       of[2] ? of[1] : "", of[of[2] ? 2 : 1]);

	if (v && value_text(r->o, v, 16, &text, r->e) < 0)
		return -1;
	for (int i = 0; i < 3 && of[i]; i++)
		if (!v || !strcmp(text, of[i])) {
			jw_strc(w, f->member, of[i]);
			return 0;
		}
	return field_fail(r, v, what);
}

static int put_usd(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	auto_free char *text = NULL;
	double usd = 0;

	if (v && value_text(r->o, v, 24, &text, r->e) < 0)
		return -1;
	if (!v || price_parse(text, &usd) < 0 || usd <= 0)
		return field_fail(r, v ? v : r->map, "usd is what may be used, like 5 or 0.25");
	jw_real(w, f->member, usd);
	return 0;
}

/* As the ledger writes it: no workload has one without "=". */
static int put_tag(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	auto_free char *text = NULL;

	if (v && value_text(r->o, v, 512, &text, r->e) < 0)
		return -1;
	if (v && !strchr(text, '='))
		return field_fail(r, v, "tag is one with its value, like team=a");
	jw_strc(w, f->member, text);
	return 0;
}

/* As the ledger calls it: a name of this file, or "PROJECT/NAME". */
static int put_workload(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	static const char *const of[][2] = {{"functions", NULL}, {"services", "service"}, {"tasks", "task"}};
	auto_free char *text = NULL, *name = NULL;

	if (!v) {
		jw_null(w, f->member);
		return tree_get(r->map, "tag")
			       ? 0
			       : field_fail(r, r->map, "a budget has a tag, like team=a, or a workload");
	}
	if (tree_get(r->map, "tag"))
		return field_fail(r, v, "a budget has a tag or a workload, not both");
	if (value_text(r->o, v, 150, &text, r->e) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(of) && !name; i++)
		if (tree_get(tree_get(r->root, of[i][0]), text))
			name = xasprintf("%s/%s", of[i][1] ? of[i][1] : r->m->name, text);
	if (!name && !strchr(text, '/'))
		return field_fail(r, v, "workload is a function, service or task of this file, or PROJECT/NAME");
	jw_strc(w, f->member, name ? name : text);
	return 0;
}

static int read_budgets(struct field_reader *r, const struct node *root)
{
	const struct node *all = tree_get(root, "budgets"), *v;

	r->root = root;
	for (size_t i = 0; all && i < all->n; i++) {
		auto_object(w, doc);

		v = &all->child[i];
		if (!str_name_ok(str_of(v->key), 64, "-_."))
			return tree_error(r->o, v->key_line, v->key_col, r->e,
					  "\"%.80s\" is no name for a budget: letters, digits, - and _", v->key);
		if (field_check_keys(r, v, budget_fields) < 0 || field_put_all(r, budget_fields, v, &w) < 0)
			return -1;
		add(r, RESOURCE_BUDGET, v, xstrdup(v->key), xasprintf("budget %s", v->key), &w);
	}
	return 0;
}

/* ---- the whole ---- */

/* The function's own keys: url, and what becomes of events that nobody waits for. */
static int read_function(struct field_reader *r, const struct node *v)
{
	const struct node *url = tree_get(v, "url");
	auto_buf text = {0};
	auto_object(w, doc);
	bool any = false;

	for (const struct field *f = async_fields; f->key; f++)
		any |= tree_get(v, f->key) != NULL;
	if (field_put_all(r, async_fields, v, &w) < 0)
		return -1;
	if (any)
		add(r, RESOURCE_ASYNC, v, xasprintf("%s:$LATEST", v->key), xasprintf("events of %s", v->key), &w);
	if (!url)
		return 0;
	w = jw_object(&text);
	if (field_check_keys(r, url, url_fields) < 0 || field_put_all(r, url_fields, url, &w) < 0)
		return -1;
	add(r, RESOURCE_URL, url, xasprintf("%s:", v->key), xasprintf("url -> %s", v->key), &w);
	return 0;
}

static int check_twice(struct field_reader *r)
{
	struct map seen = {0};
	int ret = 0;

	for (size_t i = 0; !ret && i < r->m->resources.n; i++) {
		struct resource *x = &r->m->resources.p[i];

		if (map_get(&seen, str_of(x->key)))
			ret = tree_error(r->o, x->line, x->col, r->e, "%s stands here twice", x->title);
		else
			map_put(&seen, str_of(x->key), x);
	}
	map_done(&seen);
	return ret;
}

static int read_all(struct field_reader *r, const struct node *root)
{
	static const char *const holders[] = {"buckets", "queues", "streams", "topics", "buses"};
	static const char *const targets[] = {"functions", "tasks"};
	const struct node *v;

	for (int k = 0; k < RESOURCE_LEADS; k++)
		/* A queue comes after the one to which its dead letters go. */
		for (int later = 0; later < 2 && (v = tree_get(root, holders[k])); later++)
			for (size_t i = 0; i < v->n; i++)
				if (!tree_get(&v->child[i], "dead_letter") == !later &&
				    read_holder(r, (enum resource_kind)k, &v->child[i]) < 0)
					return -1;
	for (size_t k = 0; k < ARRAY_SIZE(targets); k++) {
		v = tree_get(root, targets[k]);
		for (size_t i = 0; v && i < v->n; i++) {
			begin_target(r, &v->child[i], k);
			if (read_on(r, tree_get(&v->child[i], "on")) < 0 || (!k && read_function(r, &v->child[i]) < 0))
				return -1;
		}
	}
	if (read_notifications(r, root) < 0 || read_budgets(r, root) < 0)
		return -1;
	return check_twice(r);
}

int resources_read(const struct tree_opts *o, const struct node *root, struct manifest *m, struct err *e)
{
	struct field_reader r = {.o = o, .m = m, .e = e};
	int ret = read_all(&r, root);

	free(r.target);
	return ret;
}

void resources_done(struct resources *r)
{
	for (size_t i = 0; i < r->n; i++) {
		free(r->p[i].key);
		free(r->p[i].title);
		free(r->p[i].doc);
	}
	free(r->p);
}
