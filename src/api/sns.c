/* SPDX-License-Identifier: Apache-2.0 */
/* SNS: topics as trigger/topic.h has them. */

#include "api/api_int.h"
#include "base/mem.h"
#include "trigger/topic.h"

#define PAGE 100 /* AWS's */

static int fail(struct api_call *c, const struct err *e)
{
	if (e->kind == ERR_NOT_FOUND)
		return api_fail(&c->e, API_SNS_NOT_FOUND, "%s", e->text);
	if (e->kind == ERR_LIMIT)
		return api_fail(&c->e, API_THROTTLING, "%s", e->text);
	return api_fail(&c->e, API_INVALID_MEMBER, "Invalid parameter: %s", e->text);
}

/* The topic of an ARN, or of a subscription's, whose id is then what follows; NULL: c->e. */
static struct topic *topic_of(struct api_call *c, struct str arn, struct str *ret_id)
{
	auto_free char *own = NULL;
	struct topic *t;

	if (ret_id) {
		size_t at = arn.n;

		while (at && arn.p[at - 1] != ':')
			at--;
		*ret_id = (struct str){arn.p + at, arn.n - at};
		arn.n = at ? at - 1 : 0;
	}
	own = str_dup(arn);
	if (!str_starts(arn, "arn:aws:sns:"))
		return api_fail(&c->e, API_INVALID_MEMBER, "Invalid parameter: %s",
				ret_id ? "SubscriptionArn" : "TopicArn"),
		       NULL;
	if (api_allowed(c, own) < 0)
		return NULL;
	t = topic_by_arn(c->a->o.topics, arn);
	if (!t)
		api_fail(&c->e, API_SNS_NOT_FOUND, ret_id ? "Subscription does not exist" : "Topic does not exist");
	return t;
}

static struct topic *topic(struct api_call *c)
{
	return topic_of(c, json_get_str(c->in, json_get(c->in, "TopicArn") ? "TopicArn" : "ResourceArn"), NULL);
}

/* --- topics --- */

static int change_topic(struct api_call *c, struct str name, const struct json *attributes, const struct json *old_tags,
			struct str answer)
{
	struct err e;
	auto_json tags = api_tags_object(json_get(c->in, "Tags"), &e);
	auto_free char *text = attributes ? json_text(attributes) : xstrdup("{}");
	auto_object(w, out);
	auto_json doc = NULL;
	struct store_tx parts;

	if (!tags)
		return fail(c, &e);
	jw_raw(&w, "Attributes", str_of(text));
	api_edit(&w, "tags", old_tags, tags, json_get(c->in, "TagKeys"));
	jw_end(&w, '}');
	doc = json_parse(buf_str(&out), &e);
	store_tx_init(&parts);
	if (!doc || topic_put(c->a->o.topics, name, doc, NULL, &parts, &e) < 0)
		return fail(c, &e);
	return api_commit(c, &parts, 200, answer);
}

static int differs(void *arg, const char *key, const struct json *j)
{
	return !str_eq(json_get_str(*(const struct json **)arg, key), json_str(j));
}

static int create_topic(struct api_call *c)
{
	struct str name = json_get_str(c->in, "Name");
	auto_free char *arn =
		xasprintf("arn:aws:sns:%s:%s:" STR_FMT, c->a->where.region, c->a->where.account, STR_ARG(name));
	struct topic *t = topic_get(c->a->o.topics, name);
	const struct json *attributes = json_get(c->in, "Attributes");
	const struct json *with = t ? json_get(topic_doc(t), "Attributes") : NULL;
	auto_object(w, out);

	if (api_allowed(c, arn) < 0)
		return -1;
	if (t && json_each(attributes, differs, &with))
		return api_fail(&c->e, API_INVALID_MEMBER,
				"Invalid parameter: Attributes Reason: Topic already exists with different attributes");
	jw_strc(&w, "TopicArn", arn);
	if (t)
		return api_reply_object(c, 200, &w);
	jw_end(&w, '}');
	return change_topic(c, name, attributes, NULL, buf_str(&out));
}

static int delete_topic(struct api_call *c)
{
	struct topic *t = topic(c);
	struct store_tx parts;

	if (!t && c->e.code != API_SNS_NOT_FOUND)
		return -1;
	store_tx_init(&parts);
	if (t)
		topic_delete(t, &parts);
	return api_commit(c, &parts, 200, STR_NULL);
}

static int count_subscriptions(const struct topic *t)
{
	return (int)json_len(json_get(topic_doc(t), "Subscriptions"));
}

static int put_attribute(void *arg, const char *key, const struct json *j)
{
	jw_str(arg, key, json_str(j));
	return 0;
}

static int get_topic_attributes(struct api_call *c)
{
	struct topic *t = topic(c);
	auto_buf n = {0};
	auto_object(w, out);

	if (!t)
		return -1;
	jw_obj(&w, "Attributes");
	jw_strc(&w, "TopicArn", topic_arn(t));
	jw_strc(&w, "Owner", c->a->where.account);
	buf_addf(&n, "%d", count_subscriptions(t));
	jw_str(&w, "SubscriptionsConfirmed", buf_str(&n));
	jw_strc(&w, "SubscriptionsPending", "0");
	jw_strc(&w, "SubscriptionsDeleted", "0");
	if (!json_get(json_get(topic_doc(t), "Attributes"), "DisplayName"))
		jw_strc(&w, "DisplayName", "");
	json_each(json_get(topic_doc(t), "Attributes"), put_attribute, &w);
	jw_end(&w, '}');
	return api_reply_object(c, 200, &w);
}

/* {NAME: VALUE} of AttributeName and AttributeValue. */
static struct json *one_attribute(struct api_call *c)
{
	auto_buf text = {0};

	buf_addc(&text, '{');
	jw_quote(&text, json_get_str(c->in, "AttributeName"));
	buf_addc(&text, ':');
	jw_quote(&text, json_get_str(c->in, "AttributeValue"));
	buf_addc(&text, '}');
	return json_parse(buf_str(&text), NULL);
}

static int set_topic(struct api_call *c) /* SetTopicAttributes, TagResource, UntagResource */
{
	struct topic *t = topic(c);
	auto_json attributes = t && json_get(c->in, "AttributeName") ? one_attribute(c) : NULL;

	return t ? change_topic(c, str_of(topic_name(t)), attributes, json_get(topic_doc(t), "tags"), STR_NULL) : -1;
}

static int list_tags(struct api_call *c)
{
	struct topic *t = topic(c);
	auto_object(w, out);

	if (!t)
		return -1;
	api_tags_of(&w, json_get(topic_doc(t), "tags"));
	return api_reply_object(c, 200, &w);
}

/* A token is the name of the last topic, and for subscriptions how many of the next one's were told: "NAME:N". */
static int list_topics(struct api_call *c)
{
	struct str token = json_get_str(c->in, "NextToken");
	const char *last = token.p ? token.p : "";
	auto_object(w, out);
	struct topic *t;
	unsigned n = 0;

	if (token.n && !str_name_ok(token, TOPIC_NAME_BYTES, "-_"))
		return api_fail(&c->e, API_INVALID_MEMBER, "Invalid parameter: NextToken");
	jw_arr(&w, "Topics");
	for (t = topic_after(c->a->o.topics, last); t && n < PAGE; t = topic_after(c->a->o.topics, last), n++) {
		jw_obj(&w, NULL);
		jw_strc(&w, "TopicArn", topic_arn(t));
		jw_end(&w, '}');
		last = topic_name(t);
	}
	jw_end(&w, ']');
	if (t)
		jw_strc(&w, "NextToken", last);
	return api_reply_object(c, 200, &w);
}

/* --- subscriptions --- */

static void subscription_arn(struct jw *w, const struct topic *t, struct str id)
{
	auto_free char *arn = xasprintf("%s:" STR_FMT, topic_arn(t), STR_ARG(id));

	jw_strc(w, "SubscriptionArn", arn);
}

/* Those of a topic from that one on, while there is room; how many there were. */
static unsigned put_subscriptions(struct jw *w, const struct api_call *c, const struct topic *t, size_t from,
				  unsigned room)
{
	const struct json *list = json_get(topic_doc(t), "Subscriptions");
	unsigned n = 0;

	for (size_t i = from; i < json_len(list) && n < room; i++, n++) {
		const struct json *s = json_at(list, i);

		jw_obj(w, NULL);
		subscription_arn(w, t, json_get_str(s, "Id"));
		jw_strc(w, "Owner", c->a->where.account);
		jw_str(w, "Protocol", json_get_str(s, "Protocol"));
		jw_str(w, "Endpoint", json_get_str(s, "Endpoint"));
		jw_strc(w, "TopicArn", topic_arn(t));
		jw_end(w, '}');
	}
	return n;
}

static int list_subscriptions(struct api_call *c)
{
	bool all = !json_get(c->in, "TopicArn");
	struct str token = json_get_str(c->in, "NextToken"), name = token, place = STR_NULL;
	auto_object(w, out);
	unsigned n = 0;
	int64_t from = 0;
	struct topic *t;

	if (token.n && (!str_cut(token, ':', &name, &place) || str_to_i64(place, 0, TOPIC_SUBSCRIPTIONS, &from) < 0))
		return api_fail(&c->e, API_INVALID_MEMBER, "Invalid parameter: NextToken");
	if (all && api_allowed(c, "*") < 0)
		return -1;
	t = !all ? topic(c) : token.n ? topic_get(c->a->o.topics, name) : topic_after(c->a->o.topics, "");
	if (!t && !all)
		return -1;
	jw_arr(&w, "Subscriptions");
	while (t) {
		unsigned had = put_subscriptions(&w, c, t, (size_t)from, PAGE - n);

		n += had;
		from += had;
		if (n == PAGE || !all)
			break;
		from = 0;
		t = topic_after(c->a->o.topics, topic_name(t));
	}
	jw_end(&w, ']');
	if (t && n == PAGE) {
		auto_free char *next = xasprintf("%s:%lld", topic_name(t), (long long)from);

		jw_strc(&w, "NextToken", next);
	}
	return api_reply_object(c, 200, &w);
}

static int subscribe(struct api_call *c)
{
	struct topic *t = topic(c);
	auto_object(w, out);
	struct store_tx parts;
	struct err e;
	char id[37];

	if (!t || authz_start(&c->who, &c->a->where, c->in, "Endpoint", &c->e) < 0 ||
	    authz_redrive(&c->who, &c->a->where, json_get_str(json_get(c->in, "Attributes"), "RedrivePolicy"), &c->e) <
		    0)
		return -1;
	store_tx_init(&parts);
	if (topic_subscribe(t, json_get_str(c->in, "Protocol"), json_get_str(c->in, "Endpoint"),
			    json_get(c->in, "Attributes"), NULL, &parts, id, &e) < 0)
		return fail(c, &e);
	subscription_arn(&w, t, str_of(id));
	jw_end(&w, '}');
	return api_commit(c, &parts, 200, buf_str(&out));
}

static int unsubscribe(struct api_call *c)
{
	struct str id;
	struct topic *t = topic_of(c, json_get_str(c->in, "SubscriptionArn"), &id);
	struct store_tx parts;

	if (!t && c->e.code != API_SNS_NOT_FOUND)
		return -1;
	store_tx_init(&parts);
	if (t)
		topic_unsubscribe(t, id, &parts);
	return api_commit(c, &parts, 200, STR_NULL);
}

static const struct json *subscription(struct api_call *c, const struct topic *t, struct str id)
{
	const struct json *list = json_get(topic_doc(t), "Subscriptions");

	for (size_t i = 0; i < json_len(list); i++)
		if (str_eq(json_get_str(json_at(list, i), "Id"), id))
			return json_at(list, i);
	api_fail(&c->e, API_SNS_NOT_FOUND, "Subscription does not exist");
	return NULL;
}

static int get_subscription_attributes(struct api_call *c)
{
	struct str id;
	struct topic *t = topic_of(c, json_get_str(c->in, "SubscriptionArn"), &id);
	const struct json *s = t ? subscription(c, t, id) : NULL, *attributes = json_get(s, "Attributes");
	auto_object(w, out);

	if (!s)
		return -1;
	jw_obj(&w, "Attributes");
	subscription_arn(&w, t, id);
	jw_strc(&w, "TopicArn", topic_arn(t));
	jw_strc(&w, "Owner", c->a->where.account);
	jw_str(&w, "Protocol", json_get_str(s, "Protocol"));
	jw_str(&w, "Endpoint", json_get_str(s, "Endpoint"));
	jw_strc(&w, "ConfirmationWasAuthenticated", "true");
	jw_strc(&w, "PendingConfirmation", "false");
	if (!json_get(attributes, "RawMessageDelivery"))
		jw_strc(&w, "RawMessageDelivery", "false");
	json_each(attributes, put_attribute, &w);
	jw_end(&w, '}');
	return api_reply_object(c, 200, &w);
}

static int set_subscription_attributes(struct api_call *c)
{
	struct str id;
	struct topic *t = topic_of(c, json_get_str(c->in, "SubscriptionArn"), &id);
	struct store_tx parts;
	struct err e;

	if (!t || (str_eqc(json_get_str(c->in, "AttributeName"), "RedrivePolicy") &&
		   authz_redrive(&c->who, &c->a->where, json_get_str(c->in, "AttributeValue"), &c->e) < 0))
		return -1;
	store_tx_init(&parts);
	if (topic_subscription_set(t, id, json_get_str(c->in, "AttributeName"), json_get_str(c->in, "AttributeValue"),
				   &parts, &e) < 0)
		return fail(c, &e);
	return api_commit(c, &parts, 200, STR_NULL);
}

/* --- publishing --- */

static int add_message(struct api_call *c, struct topic *t, const struct json *in, struct store_tx *parts, char id[37],
		       struct err *e)
{
	struct str structure = json_get_str(in, "MessageStructure");
	struct topic_message m = {.trace_id = api_trace(c),
				  .message = json_get_str(in, "Message"),
				  .subject = json_get_str(in, "Subject"),
				  .json = str_eqc(structure, "json"),
				  .attributes = json_get(in, "MessageAttributes")};

	if (structure.n && !m.json)
		return err_set(e, ERR_INVALID, "MessageStructure");
	if (topic_publish_add(t, parts, &m, e) < 0)
		return -1;
	memcpy(id, m.id, sizeof(m.id));
	return 0;
}

static int publish(struct api_call *c)
{
	struct str arn = json_get_str(c->in, "TopicArn");
	struct topic *t = topic_of(c, arn.n ? arn : json_get_str(c->in, "TargetArn"), NULL);
	auto_object(w, out);
	struct store_tx parts;
	struct err e;
	char id[37];

	if (!t)
		return -1;
	store_tx_init(&parts);
	if (add_message(c, t, c->in, &parts, id, &e) < 0)
		return fail(c, &e);
	jw_strc(&w, "MessageId", id);
	jw_end(&w, '}');
	return api_commit(c, &parts, 200, buf_str(&out));
}

static int check_batch(struct api_call *c, const struct json *list)
{
	size_t bytes = 0;

	if (json_len(list) > 10)
		return api_fail(&c->e, API_SNS_TOO_MANY, "The batch request contains more entries than permissible.");
	for (size_t i = 0; i < json_len(list); i++) {
		struct str id = json_get_str(json_at(list, i), "Id");

		bytes += json_get_str(json_at(list, i), "Message").n;
		if (!str_name_ok(id, 80, "-_"))
			return api_fail(
				&c->e, API_SNS_BATCH_ID,
				"The Id of a batch entry in a batch request doesn't abide by the specification.");
		for (size_t k = 0; k < i; k++)
			if (str_eq(id, json_get_str(json_at(list, k), "Id")))
				return api_fail(&c->e, API_SNS_BATCH_TWICE,
						"Two or more batch entries in the request have the same Id.");
	}
	return bytes <= TOPIC_MESSAGE_BYTES
		       ? 0
		       : api_fail(&c->e, API_SNS_BATCH_LONG,
				  "The length of all the batch messages put together is more than the limit.");
}

static int publish_batch(struct api_call *c)
{
	struct topic *t = topic(c);
	const struct json *list = json_get(c->in, "PublishBatchRequestEntries");
	auto_buf failed = {0};
	auto_object(w, out);
	struct jw f;
	struct store_tx parts;
	struct err e;
	char id[37];

	if (!t || check_batch(c, list) < 0)
		return -1;
	store_tx_init(&parts);
	jw_init(&f, &failed);
	jw_arr(&f, NULL);
	jw_arr(&w, "Successful");
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *one = json_at(list, i);
		bool ok = add_message(c, t, one, &parts, id, &e) == 0;

		jw_obj(ok ? &w : &f, NULL);
		jw_str(ok ? &w : &f, "Id", json_get_str(one, "Id"));
		jw_strc(ok ? &w : &f, ok ? "MessageId" : "Code", ok ? id : "InvalidParameter");
		if (!ok) {
			jw_strc(&f, "Message", e.text);
			jw_bool(&f, "SenderFault", true);
		}
		jw_end(ok ? &w : &f, '}');
	}
	jw_end(&w, ']');
	jw_end(&f, ']');
	jw_raw(&w, "Failed", buf_str(&failed));
	jw_end(&w, '}');
	return api_commit(c, &parts, 200, buf_str(&out));
}

#define TAGS	"Tags:[{Key!:s,Value:s}]"
#define MESSAGE "Message!:s,Subject:s,MessageStructure:s,MessageAttributes:<{DataType!:s,StringValue:s,BinaryValue:s}>"
#define FIFO	"MessageGroupId-:s,MessageDeduplicationId-:s"
#define OP(name, shape, run)                                                                                           \
	{                                                                                                              \
		"sns", NULL, shape, name, SUBJECT_OWN, run                                                             \
	}
const struct api_op sns_ops[] = {
	OP("Publish", "{TopicArn:s,TargetArn:s,PhoneNumber-:s," MESSAGE "," FIFO "}", publish),
	OP("PublishBatch", "{TopicArn!:s,PublishBatchRequestEntries!:[{Id!:s," MESSAGE "," FIFO "}]}", publish_batch),
	OP("CreateTopic", "{Name!:s,Attributes:<s>," TAGS ",DataProtectionPolicy-:s}", create_topic),
	OP("DeleteTopic", "{TopicArn!:s}", delete_topic),
	OP("GetTopicAttributes", "{TopicArn!:s}", get_topic_attributes),
	OP("SetTopicAttributes", "{TopicArn!:s,AttributeName!:s,AttributeValue:s}", set_topic),
	{"sns", NULL, "{NextToken:s}", "ListTopics", SUBJECT_NONE, list_topics},
	OP("Subscribe", "{TopicArn!:s,Protocol!:s,Endpoint!:s,Attributes:<s>,ReturnSubscriptionArn:b}", subscribe),
	OP("Unsubscribe", "{SubscriptionArn!:s}", unsubscribe),
	OP("ListSubscriptions", "{NextToken:s}", list_subscriptions),
	OP("ListSubscriptionsByTopic", "{TopicArn!:s,NextToken:s}", list_subscriptions),
	OP("GetSubscriptionAttributes", "{SubscriptionArn!:s}", get_subscription_attributes),
	OP("SetSubscriptionAttributes", "{SubscriptionArn!:s,AttributeName!:s,AttributeValue:s}",
	   set_subscription_attributes),
	OP("TagResource", "{ResourceArn!:s,Tags!:[{Key!:s,Value:s}]}", set_topic),
	OP("UntagResource", "{ResourceArn!:s,TagKeys!:[s]}", set_topic),
	OP("ListTagsForResource", "{ResourceArn!:s}", list_tags),
	{0},
};
