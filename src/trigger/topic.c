/* SPDX-License-Identifier: Apache-2.0 */
/* Topics and subscriptions as they are declared. */
#include <stdio.h>
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "json/write.h"
#include "store/record.h"
#include "trigger/deliver.h"
#include "trigger/topic_int.h"

#define KEY "topic/"

/* --- a topic is what its document says --- */

static void subs_done(struct subscriptions *s)
{
	for (size_t i = 0; i < s->n; i++) {
		pattern_free(s->v[i].filter);
		free(s->v[i].dead_letter);
	}
	free(s->v);
}

static void topic_free(struct topic *t)
{
	subs_done(&t->subs);
	json_free(t->doc);
	free(t->name);
	free(t->arn);
	free(t);
}

static int bool_value(struct str v, bool *ret, struct err *e)
{
	*ret = str_caseeqc(v, "true");
	return *ret || str_caseeqc(v, "false") ? 0 : err_set(e, ERR_INVALID, "it is true or false");
}

static int set_filter(struct subscription *s, struct str v, struct err *e)
{
	auto_json j = NULL;

	if (!v.n || str_eqc(v, "{}"))
		return 0;
	j = json_parse(v, e);
	s->filter = j ? pattern_parse(j, e) : NULL;
	return s->filter ? 0 : -1;
}

static int set_dead_letter(struct subscription *s, struct str v, struct err *e)
{
	auto_json j = v.n ? json_parse(v, e) : NULL;
	struct str arn = json_get_str(j, "deadLetterTargetArn");

	if (!v.n)
		return 0;
	if (!j)
		return -1;
	if (!str_starts(arn, "arn:aws:sqs:"))
		return err_set(e, ERR_INVALID, "deadLetterTargetArn must be the ARN of a queue");
	s->dead_letter = str_dup(arn);
	return 0;
}

static int set_attribute(void *arg, const char *name, const struct json *j, struct err *e)
{
	struct subscription *s = arg;
	struct str v = json_str(j);

	if (strcmp(name, "FilterPolicy") == 0)
		return set_filter(s, v, e);
	if (strcmp(name, "RedrivePolicy") == 0)
		return set_dead_letter(s, v, e);
	if (strcmp(name, "RawMessageDelivery") == 0) {
		if (bool_value(v, &s->raw, e) < 0)
			return -1;
		return !s->raw || !s->lambda
			       ? 0
			       : err_set(e, ERR_INVALID,
					 "Delivery protocol [lambda] does not support raw message delivery");
	}
	if (strcmp(name, "FilterPolicyScope") == 0) {
		s->body = str_eqc(v, "MessageBody");
		return s->body || str_eqc(v, "MessageAttributes")
			       ? 0
			       : err_set(e, ERR_INVALID, "it is MessageAttributes or MessageBody");
	}
	return err_set(e, ERR_INVALID,
		       "there is FilterPolicy, FilterPolicyScope, RawMessageDelivery and RedrivePolicy");
}

struct setting {
	struct subscription *s;
	struct err *e;
};

static int each_attribute(void *arg, const char *name, const struct json *j)
{
	struct setting *x = arg;

	return set_attribute(x->s, name, j, x->e) < 0 ? err_wrap(x->e, "%.40s", name) : 0;
}

static int sub_load(const struct json *j, struct subscription *s, struct err *e)
{
	struct str protocol = json_get_str(j, "Protocol");
	struct setting x = {s, e};

	s->id = json_get_str(j, "Id");
	s->endpoint = json_get_str(j, "Endpoint");
	s->lambda = str_eqc(protocol, "lambda");
	if (!s->lambda && !str_eqc(protocol, "sqs"))
		return err_set(e, ERR_INVALID, "Protocol: it is lambda or sqs here, not \"%.20s\"",
			       protocol.p ? protocol.p : "");
	if (!str_starts(s->endpoint, s->lambda ? "arn:aws:lambda:" : "arn:aws:sqs:"))
		return err_set(e, ERR_INVALID, "Endpoint: it must be the ARN of a %s",
			       s->lambda ? "function" : "queue");
	return json_each(json_get(j, "Attributes"), each_attribute, &x) ? -1 : 0;
}

/* What text says instead of what t is; nothing is changed on failure. */
static int become(struct topic *t, const char *text, struct err *e)
{
	struct json *doc = json_parse(str_of(text), e);
	const struct json *list = json_get(doc, "Subscriptions");
	struct subscriptions subs = {.n = json_len(list)};

	if (!doc)
		return -1;
	subs.v = xcalloc(subs.n + 1, sizeof(*subs.v));
	for (size_t i = 0; i < subs.n; i++) {
		if (sub_load(json_at(list, i), &subs.v[i], e) == 0)
			continue;
		subs_done(&subs);
		json_free(doc);
		return -1;
	}
	subs_done(&t->subs);
	json_free(t->doc);
	t->subs = subs;
	t->doc = doc;
	return 0;
}

static struct topic *topic_new(struct topics *ts, struct str name)
{
	struct topic *t = xcalloc(1, sizeof(*t));

	t->ts = ts;
	t->name = str_dup(name);
	t->arn = xasprintf("%s%s", ts->arn_head, t->name);
	return t;
}

/* As others deliver to it: what they would put into a queue is the message. */
static bool exists(void *arg, const char *target)
{
	return topic_by_arn(arg, str_of(target)) != NULL;
}

static int add(void *arg, struct store_tx *tx, const struct delivery *what, struct err *e)
{
	struct topic *t = topic_by_arn(arg, str_of(what->target));
	struct topic_message m = {.message = what->payload, .trace_id = what->trace_id};

	return t ? topic_publish_add(t, tx, &m, e) : err_set(e, ERR_NOT_FOUND, "there is no topic %s", what->target);
}

struct topics *topics_new(const struct topics_opts *o)
{
	struct topics *ts = xcalloc(1, sizeof(*ts));
	struct deliver_service service = {.name = "sns", .arg = ts, .exists = exists, .add = add};

	ts->o = *o;
	ts->arn_head = xasprintf("arn:aws:sns:%s:%s:", o->region, o->account);
	for (const struct record *r = record_next(o->store, KEY, NULL); r; r = record_next(o->store, KEY, r->key)) {
		struct topic *t = topic_new(ts, str_of(r->key + strlen(KEY)));
		struct err e;

		if (become(t, r->value, &e) == 0) {
			map_put(&ts->by_name, str_of(t->name), t);
		} else {
			log_error("topics", "%s is left out: %s", r->key, e.text);
			topic_free(t);
		}
	}
	deliver_register(o->deliver, &service);
	return ts;
}

void topics_free(struct topics *ts)
{
	struct topic *t;
	size_t pos = 0;

	if (!ts)
		return;
	while ((t = map_next(&ts->by_name, &pos)))
		topic_free(t);
	map_done(&ts->by_name);
	free(ts->arn_head);
	free(ts);
}

struct topic *topic_get(const struct topics *ts, struct str name)
{
	return map_get(&ts->by_name, name);
}

struct topic *topic_by_arn(const struct topics *ts, struct str arn)
{
	size_t n = strlen(ts->arn_head);

	return str_starts(arn, ts->arn_head) ? topic_get(ts, (struct str){arn.p + n, arn.n - n}) : NULL;
}

struct topic *topic_after(const struct topics *ts, const char *name)
{
	auto_free char *key = xasprintf(KEY "%s", name);
	struct topic *t = NULL;

	for (const struct record *r = record_next(ts->o.store, KEY, key); r && !t;
	     r = record_next(ts->o.store, KEY, r->key))
		t = topic_get(ts, str_of(r->key + strlen(KEY)));
	return t;
}

const char *topic_name(const struct topic *t)
{
	return t->name;
}

const char *topic_arn(const struct topic *t)
{
	return t->arn;
}

const struct json *topic_doc(const struct topic *t)
{
	return t->doc;
}

/* --- changes: the document is written anew --- */

struct merge {
	struct jw *w;
	const struct json *over; /* what is in there is not written */
};

static int put_string(void *arg, const char *key, const struct json *j)
{
	const struct merge *m = arg;

	if (!json_get(m->over, key))
		jw_str(m->w, key, json_str(j));
	return 0;
}

static void put_strings(struct jw *w, const char *key, const struct json *old, const struct json *over)
{
	struct merge kept = {w, over}, added = {w, NULL};

	jw_obj(w, key);
	json_each(old, put_string, &kept);
	json_each(over, put_string, &added);
	jw_end(w, '}');
}

struct change { /* of one subscription: text instead of that one, or added where id is empty; "": it goes */
	struct str id, text;
};

static void put_subscriptions(struct jw *w, const struct json *list, const struct change *c)
{
	jw_arr(w, "Subscriptions");
	for (size_t i = 0; i < json_len(list); i++) {
		bool same = c && c->id.n && str_eq(json_get_str(json_at(list, i), "Id"), c->id);
		auto_free char *old = same ? NULL : json_text(json_at(list, i));

		if (!same)
			jw_raw(w, NULL, str_of(old));
		else if (c->text.n)
			jw_raw(w, NULL, c->text);
	}
	if (c && !c->id.n)
		jw_raw(w, NULL, c->text);
	jw_end(w, ']');
}

/* doc: as topic_put's, or NULL. */
static int change(struct topic *t, const struct json *doc, const char *project, const struct change *c,
		  struct store_tx *tx, struct err *e)
{
	const struct json *tags = json_get(doc, "tags"), *old = json_get(t->doc, "tags");
	auto_free char *key = xasprintf(KEY "%s", t->name);
	auto_buf out = {0};
	struct jw w = jw_object(&out);

	put_strings(&w, "Attributes", json_get(t->doc, "Attributes"), json_get(doc, "Attributes"));
	put_strings(&w, "tags", tags ? tags : old, NULL);
	if (project)
		jw_strc(&w, "project", project);
	put_subscriptions(&w, json_get(t->doc, "Subscriptions"), c);
	jw_end(&w, '}');
	if (become(t, out.p, e) < 0)
		return -1;
	record_put_add(t->ts->o.store, tx, key, out.p);
	return 0;
}

static int check_topic_attribute(void *arg, const char *key, const struct json *j)
{
	static const char *const known[] = {"DisplayName", "Policy", "DeliveryPolicy", "TracingConfig",
					    "KmsMasterKeyId"};
	struct err *e = arg;

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(key, known[i]) == 0)
			return json_str(j).n <= 30720 ? 0 : err_set(e, ERR_INVALID, "%s is too long", key);
	if (strcmp(key, "FifoTopic") == 0 && !str_caseeqc(json_str(j), "true"))
		return 0;
	return err_set(e, ERR_INVALID,
		       strcmp(key, "FifoTopic") == 0 ? "FIFO topics are not supported by this Tandem"
						     : "AttributeName: there is no %.40s",
		       key);
}

int topic_put(struct topics *ts, struct str name, const struct json *doc, const char *project, struct store_tx *tx,
	      struct err *e)
{
	struct topic *t = topic_get(ts, name), *made = NULL;

	if (!str_name_ok(name, TOPIC_NAME_BYTES, "-_"))
		return err_set(e, ERR_INVALID,
			       str_ends(name, ".fifo")
				       ? "FIFO topics are not supported by this Tandem"
				       : "Topic Name: it has 1 to %d letters, digits, hyphens and underscores",
			       TOPIC_NAME_BYTES);
	if (json_each(json_get(doc, "Attributes"), check_topic_attribute, e))
		return -1;
	if (json_len(json_get(doc, "tags")) > LIM_TAGS)
		return err_set(e, ERR_INVALID, "Tags: at most %d are possible", LIM_TAGS);
	if (!t && ts->by_name.n >= TOPICS_MAX)
		return err_set(e, ERR_LIMIT, "there are %d topics already", TOPICS_MAX);
	if (!t)
		t = made = topic_new(ts, name);
	if (!project)
		project = json_get_str(t->doc, "project").p;
	if (change(t, doc, project, NULL, tx, e) < 0) {
		if (made)
			topic_free(made);
		return -1;
	}
	if (made)
		map_put(&ts->by_name, str_of(t->name), t);
	return 0;
}

void topic_delete(struct topic *t, struct store_tx *tx)
{
	auto_free char *key = xasprintf(KEY "%s", t->name);

	record_del_add(t->ts->o.store, tx, key);
	map_del(&t->ts->by_name, str_of(t->name));
	topic_free(t);
}

/* --- subscriptions --- */

static const struct json *find(const struct topic *t, const char *member, struct str protocol, struct str value)
{
	const struct json *list = json_get(t->doc, "Subscriptions");

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *s = json_at(list, i);

		if (str_eq(json_get_str(s, member), value) &&
		    (!protocol.n || str_eq(json_get_str(s, "Protocol"), protocol)))
			return s;
	}
	return NULL;
}

static char *project_of(const struct topic *t)
{
	struct str p = json_get_str(t->doc, "project");

	return p.p ? str_dup(p) : NULL;
}

/* Writes a subscription and puts it in the place of that of the same id, or adds it (had false). */
static int put(struct topic *t, bool had, const char *id, struct str protocol, struct str endpoint,
	       const struct json *attributes, const struct json *over, struct str project, struct store_tx *tx,
	       struct err *e)
{
	auto_free char *of = project_of(t);
	auto_buf text = {0};
	struct jw w = jw_object(&text);
	struct change c = {.id = had ? str_of(id) : STR_NULL};

	jw_strc(&w, "Id", id);
	jw_str(&w, "Protocol", protocol);
	jw_str(&w, "Endpoint", endpoint);
	put_strings(&w, "Attributes", attributes, over);
	if (project.n)
		jw_str(&w, "project", project);
	jw_end(&w, '}');
	c.text = buf_str(&text);
	return change(t, NULL, of, &c, tx, e);
}

static bool same_attributes(const struct json *a, const struct json *b)
{
	auto_free char *x = a ? json_text(a) : xstrdup("{}"), *y = b ? json_text(b) : xstrdup("{}");

	return strcmp(x, y) == 0;
}

int topic_subscribe(struct topic *t, struct str protocol, struct str endpoint, const struct json *attributes,
		    const char *project, struct store_tx *tx, char ret_id[37], struct err *e)
{
	const struct json *had = find(t, "Endpoint", protocol, endpoint);
	auto_free char *arn = str_dup(endpoint);
	const struct queue *q = queue_by_arn(t->ts->o.queues, endpoint);
	char id[37];

	if (had)
		snprintf(id, sizeof(id), STR_FMT, STR_ARG(json_get_str(had, "Id")));
	else
		id_uuid(id);
	if (had && same_attributes(json_get(had, "Attributes"), attributes)) {
		memcpy(ret_id, id, sizeof(id));
		return 0;
	}
	if (had && !(project && str_eqc(json_get_str(had, "project"), project)))
		return err_set(e, ERR_EXISTS, "Attributes: the subscription is there with different ones");
	if (!had && t->subs.n >= TOPIC_SUBSCRIPTIONS)
		return err_set(e, ERR_LIMIT, "a topic has at most %d subscriptions", TOPIC_SUBSCRIPTIONS);
	if (q && queue_is_fifo(q))
		return err_set(e, ERR_INVALID,
			       "Endpoint: FIFO SQS queues can not be subscribed to standard SNS topics");
	if ((str_eqc(protocol, "lambda") || str_eqc(protocol, "sqs")) && !deliver_exists(t->ts->o.deliver, arn))
		return err_set(e, ERR_INVALID, "Endpoint: there is no %.200s", arn);
	if (put(t, had, id, protocol, endpoint, attributes, NULL, str_of(project), tx, e) < 0)
		return -1;
	memcpy(ret_id, id, sizeof(id));
	return 0;
}

int topic_subscription_set(struct topic *t, struct str id, struct str name, struct str value, struct store_tx *tx,
			   struct err *e)
{
	auto_json had = json_ref(find(t, "Id", STR_NULL, id));
	auto_free char *key = str_dup(name), *own = str_dup(id);
	auto_buf text = {0};
	auto_json over = NULL;

	if (!had)
		return err_set(e, ERR_NOT_FOUND, "Subscription does not exist");
	buf_addc(&text, '{');
	jw_quote(&text, str_of(key));
	buf_addc(&text, ':');
	jw_quote(&text, value);
	buf_addc(&text, '}');
	over = json_parse(buf_str(&text), NULL);
	return put(t, true, own, json_get_str(had, "Protocol"), json_get_str(had, "Endpoint"),
		   json_get(had, "Attributes"), over, json_get_str(had, "project"), tx, e);
}

bool topic_unsubscribe(struct topic *t, struct str id, struct store_tx *tx)
{
	struct change c = {.id = id};
	auto_free char *of = project_of(t);

	return find(t, "Id", STR_NULL, id) && change(t, NULL, of, &c, tx, NULL) == 0;
}
