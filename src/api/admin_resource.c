/* SPDX-License-Identifier: Apache-2.0 */
/* What holds events, and what leads them where: how much waits, what comes next, and why something does not go on. */
#include "api/admin_int.h"
#include "api/hook.h"
#include "app/field.h"
#include "base/clock.h"
#include "queue/queue.h"
#include "sched/async.h"
#include "store/record.h"
#include "stream/stream.h"
#include "trigger/deliver.h"
#include "trigger/mapping.h"
#include "trigger/schedule.h"
#include "trigger/url.h"

struct show {
	struct admin *a;
	struct jw *w;
	const char *about; /* only what has this at one of its ends; NULL: all */
};
struct lead { /* from: "queue jobs", a time, ...; to: an ARN */
	struct str from, to;
	const char *more; /* of where it comes from: which keys, which pattern */
	struct str project, state, reason;
	int64_t next_s;
};

static void put_time(struct jw *w, const char *key, int64_t us)
{
	char when[32];

	jw_strc(w, key, us > 0 && us < INT64_MAX ? clock_fmt_iso(us, when) : NULL);
}

/* "arn:...:queue/jobs" as "queue jobs"; other text as it is. */
static char *people(struct str arn)
{
	struct str name;
	int kind = resource_of_arn(arn, &name);

	return kind < 0 ? str_dup(arn) : xasprintf("%s " STR_FMT, resource_word[kind], STR_ARG(name));
}

static void put_lead(const struct show *s, const struct lead *l)
{
	auto_free char *from = people(l->from), *to = people(l->to), *target = str_dup(l->to);
	const struct deliver_failure *failed = deliver_failure(s->a->o.is.deliver, target);
	auto_buf text = {0};

	if (s->about && strcmp(s->about, from) && strcmp(s->about, to))
		return;
	jw_obj(s->w, NULL);
	buf_addf(&text, "%s%s%.60s", from, l->more ? " " : "", l->more ? l->more : "");
	jw_str(s->w, "from", buf_str(&text));
	jw_strc(s->w, "to", to);
	jw_str(s->w, "project", l->project.n ? l->project : STR("api"));
	jw_str(s->w, "state", l->state.n ? l->state : STR("Enabled"));
	if (l->next_s > 0)
		put_time(s->w, "next", l->next_s * 1000000);
	buf_clear(&text);
	if (failed && failed->n)
		buf_addf(&text, "%lld not delivered: %s", (long long)failed->n, failed->why);
	else if (failed)
		buf_addf(&text, "put off, and tried again within 5 minutes: %s", failed->why);
	if (failed || l->reason.n)
		jw_str(s->w, "reason", failed ? buf_str(&text) : l->reason);
	jw_end(s->w, '}');
}

static void put_mapping(const struct show *s, const char *uuid, const struct json *record)
{
	struct mapping *m = mapping_get(s->a->o.is.mappings, str_of(uuid));
	auto_buf text = {0};
	struct jw w;

	if (!m)
		return;
	jw_init(&w, &text);
	mapping_write(&w, NULL, m, NULL);

	auto_json doc = json_parse(buf_str(&text), NULL);
	struct str last = json_get_str(doc, "LastProcessingResult");
	auto_buf reason = {0};

	if (str_starts(last, "PROBLEM"))
		buf_addf(&reason, STR_FMT "%s%s", STR_ARG(last), *mapping_why(m) ? ": " : "", mapping_why(m));
	put_lead(s, &(struct lead){.from = json_get_str(doc, "EventSourceArn"),
				   .to = json_get_str(doc, "FunctionArn"),
				   .project = json_get_str(record, "project"),
				   .state = json_get_str(doc, "State"),
				   .reason = buf_str(&reason)});
}

/* A list of targets, or of what has its target under that member. */
static void put_targets(const struct show *s, struct lead *l, const struct json *list, const char *member)
{
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *t = json_at(list, i), *task = json_get(t, "EcsParameters");

		l->to = task ? json_get_str(task, "TaskDefinitionArn") : json_get_str(t, member);
		put_lead(s, l);
	}
}

static void put_rule(const struct show *s, const char *name, const struct json *doc)
{
	auto_free char *from = xasprintf("bus %.*s", (int)strcspn(name, "/"), name);
	struct str pattern = json_get_str(doc, "EventPattern"), when = json_get_str(doc, "ScheduleExpression");
	struct lead l = {.from = when.n ? when : str_of(from),
			 .more = pattern.p,
			 .project = json_get_str(doc, "project"),
			 .state = json_get_str(doc, "State")};

	put_targets(s, &l, json_get(doc, "Targets"), "Arn");
}

static void put_schedule(const struct show *s, const char *name, const struct json *doc)
{
	const struct json *t = json_get(doc, "Target"), *task = json_get(t, "EcsParameters");
	auto_free char *key = xasprintf("schedule/%s", name);
	struct lead l = {.from = json_get_str(doc, "ScheduleExpression"),
			 .to = task ? json_get_str(task, "TaskDefinitionArn") : json_get_str(t, "Arn"),
			 .more = json_get_str(doc, "ScheduleExpressionTimezone").p,
			 .project = json_get_str(doc, "project"),
			 .state = json_get_str(doc, "State")};
	int64_t last_s;

	schedule_times(s->a->o.is.schedules, key, &l.next_s, &last_s);
	put_lead(s, &l);
}

static void put_topic(const struct show *s, const char *name, const struct json *doc)
{
	auto_free char *from = xasprintf("topic %s", name);
	struct lead l = {.from = str_of(from), .project = json_get_str(doc, "project")};

	put_targets(s, &l, json_get(doc, "Subscriptions"), "Endpoint");
}

static void put_notification(const struct show *s, const char *name, const struct json *doc)
{
	static const char *const members[][2] = {{"LambdaFunctionConfigurations", "LambdaFunctionArn"},
						 {"QueueConfigurations", "QueueArn"},
						 {"TopicConfigurations", "TopicArn"}};
	auto_free char *from = xasprintf("bucket %.*s", (int)strcspn(name, "/"), name);

	for (size_t k = 0; k < ARRAY_SIZE(members); k++) {
		const struct json *all = json_get(doc, members[k][0]), *c;

		for (size_t i = 0; (c = json_at(all, i)); i++) {
			const struct json *rules = json_get(json_get(json_get(c, "Filter"), "Key"), "FilterRules"), *r;
			auto_buf keys = {0};
			struct str prefix = STR_NULL, suffix = STR_NULL;

			for (size_t n = 0; (r = json_at(rules, n)); n++)
				*(str_caseeqc(json_get_str(r, "Name"), "prefix") ? &prefix : &suffix) =
					json_get_str(r, "Value");
			buf_addf(&keys, STR_FMT "*" STR_FMT, STR_ARG(prefix), STR_ARG(suffix));
			put_lead(s, &(struct lead){.from = str_of(from),
						   .to = json_get_str(c, members[k][1]),
						   .more = keys.p,
						   .project = str_of(strrchr(name, '/') + 1)});
		}
	}
	if (json_get(doc, "EventBridgeConfiguration"))
		put_lead(s, &(struct lead){.from = str_of(from),
					   .to = STR("bus default"),
					   .project = str_of(strrchr(name, '/') + 1)});
}

static void put_url(const struct show *s, const char *name, const struct json *doc)
{
	auto_free char *to = xasprintf("function %.*s", (int)strcspn(name, ":"), name);
	auto_free char *url =
		xasprintf("%s" URL_PREFIX STR_FMT "/", s->a->endpoint, STR_ARG(json_get_str(doc, "UrlId")));

	put_lead(s, &(struct lead){.from = str_of(url),
				   .to = str_of(to),
				   .project = json_get_str(doc, "project"),
				   .state = json_get_str(doc, "AuthType")});
}

static const struct {
	const char *prefix;
	void (*put)(const struct show *s, const char *name, const struct json *doc);
} leads[] = {{"mapping/", put_mapping}, {"notify/", put_notification}, {"topic/", put_topic},
	     {"rule/", put_rule},	{"schedule/", put_schedule},   {"url/", put_url}};

/* "triggers": [...]; about: "function f", "queue jobs" */
void admin_put_triggers(struct admin *a, const char *about, struct jw *w)
{
	struct show s = {a, w, about};

	jw_arr(w, "triggers");
	for (size_t i = 0; i < ARRAY_SIZE(leads); i++) {
		const struct record *x = record_next(a->o.store, leads[i].prefix, NULL);

		for (; x; x = record_next(a->o.store, leads[i].prefix, x->key)) {
			auto_json doc = json_parse(str_of(x->value), NULL);

			leads[i].put(&s, x->key + strlen(leads[i].prefix), doc);
		}
	}
	jw_end(w, ']');
}

/* ---- what holds ---- */

static void put_queue(struct admin *a, const char *name, struct jw *w)
{
	struct queue *q = queue_get(a->o.is.queues, str_of(name)), *dead = q ? queue_dead_letter(q) : NULL;
	struct queue_counts n = q ? queue_counts(q) : (struct queue_counts){0};

	jw_int(w, "waiting", n.visible);
	jw_int(w, "in_flight", n.in_flight);
	jw_int(w, "delayed", n.delayed);
	jw_strc(w, "dead_letter", dead ? queue_name(dead) : NULL);
}

static void put_stream(struct admin *a, const char *name, struct jw *w)
{
	struct stream *s = stream_get(a->o.is.streams, str_of(name));

	jw_int(w, "shards", s ? (int64_t)s->n_open : 0);
}

static void put_holder(struct admin *a, int kind, const char *name, const struct json *doc, struct jw *w)
{
	auto_free char *record = xasprintf("%s%s", resource_record[kind], name);
	struct str project = json_get_str(doc, "project");

	jw_strc(w, "record", record);
	jw_strc(w, "name", name);
	jw_str(w, "project", project.n ? project : STR("api"));
	if (kind == RESOURCE_QUEUE)
		put_queue(a, name, w);
	if (kind == RESOURCE_STREAM)
		put_stream(a, name, w);
}

void admin_put_holders(struct admin *a, struct jw *w)
{
	jw_arr(w, "holders");
	for (int k = 0; k < RESOURCE_LEADS; k++) {
		const char *prefix = resource_record[k];
		const struct record *x = record_next(a->o.store, prefix, NULL);

		for (; x; x = record_next(a->o.store, prefix, x->key)) {
			auto_json doc = json_parse(str_of(x->value), NULL);

			if (!strcmp(x->key, "bus/default")) /* is always there */
				continue;
			jw_obj(w, NULL);
			put_holder(a, k, x->key + strlen(prefix), doc, w);
			jw_end(w, '}');
		}
	}
	jw_end(w, ']');
}

/* Where another store tells of its bucket, and by which token, if that is asked for. */
static void put_hook(struct admin *a, struct http_req *r, const char *bucket, struct jw *w)
{
	auto_free char *url = xasprintf("%s" HOOK_PATH "%s", a->endpoint, bucket);
	char token[HOOK_TOKEN_BYTES];

	hook_token(a->o.store, bucket, token);
	jw_strc(w, "hook", url);
	jw_strc(w, "hook_token", admin_query_is(r, "values", "1") ? token : "***");
}

static bool is_in(const struct json *doc, struct str project)
{
	struct str of = json_get_str(doc, "project");

	return !project.n || str_eq(of.n ? of : STR("api"), project);
}

/* "nightly" of the group "default", or "GROUP/nightly". */
bool admin_describe_schedule(struct admin *a, struct http_req *r, struct str name, struct str project)
{
	auto_free char *key = xasprintf("schedule/%s" STR_FMT, name.n && memchr(name.p, '/', name.n) ? "" : "default/",
					STR_ARG(name));
	const char *text = record_get(a->o.store, key), *own = key + strlen("schedule/");
	auto_json doc = text ? json_parse(str_of(text), NULL) : NULL;
	struct show s = {.a = a};
	int64_t next_s, last_s;
	auto_object(w, out);

	if (!text || !is_in(doc, project))
		return false;
	schedule_times(a->o.is.schedules, key, &next_s, &last_s);
	jw_strc(&w, "record", key);
	jw_strc(&w, "name", own);
	jw_str(&w, "project", json_get(doc, "project") ? json_get_str(doc, "project") : STR("api"));
	put_time(&w, "next", next_s > 0 ? next_s * 1000000 : 0);
	put_time(&w, "last", last_s > 0 ? last_s * 1000000 : 0);
	jw_arr(&w, "triggers");
	s.w = &w;
	put_schedule(&s, own, doc);
	jw_end(&w, ']');
	jw_raw(&w, "declared", str_of(text));
	admin_object(r, 200, &w);
	return true;
}

/* "jobs", or "queue/jobs" where the name alone would not do. */
bool admin_describe_holder(struct admin *a, struct http_req *r, struct str name, struct str project)
{
	for (int k = 0; k < RESOURCE_LEADS; k++) {
		const char *prefix = resource_record[k];
		auto_free char *key = xasprintf("%s" STR_FMT, str_starts(name, prefix) ? "" : prefix, STR_ARG(name));
		const char *text = record_get(a->o.store, key), *own = key + strlen(prefix);
		auto_free char *about = xasprintf("%s %s", resource_word[k], own);
		auto_json doc = text ? json_parse(str_of(text), NULL) : NULL;
		auto_object(w, out);

		if (!text || !is_in(doc, project))
			continue;
		put_holder(a, k, own, doc, &w);
		if (json_get_bool(doc, "External", false))
			put_hook(a, r, own, &w);
		admin_put_triggers(a, about, &w);
		jw_raw(&w, "declared", str_of(text));
		admin_object(r, 200, &w);
		return true;
	}
	return false;
}

/* Of a function: what starts it, and its events that nobody waits for. */
void admin_put_events(struct admin *a, const struct function *f, struct jw *w)
{
	auto_free char *about = xasprintf("function %s", f->name);
	struct async_info i;

	admin_put_triggers(a, about, w);
	sched_async_info(a->o.sched, f, &i);
	jw_obj(w, "asynchronous");
	jw_int(w, "waiting", i.waiting);
	jw_int(w, "running", i.running);
	if (i.waiting)
		put_time(w, "next_try", i.next_wall_us);
	if (i.why && *i.why)
		jw_strc(w, "reason", i.why);
	jw_end(w, '}');
}
