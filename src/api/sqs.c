/* SPDX-License-Identifier: Apache-2.0 */
/* SQS: queues. The words of errors are its own, which clients look at. */
#include "api/sqs.h"
#include <stdio.h>
#include "base/enc.h"
#include "base/mem.h"

#define LIST_MAX 1000

static struct str name_of(const struct api_call *c)
{
	struct str url = json_get_str(c->in, "QueueUrl"), part, name = STR_NULL;

	if (!url.n && c->r->path.n > 1)
		url = c->r->path;
	while (str_next(&url, '/', &part))
		name = part;
	return name;
}

/* A batch is as many calls of the operation that it is named for. */
static int allowed(struct api_call *c, struct str queue)
{
	struct str name = str_of(c->op->name);
	char action[80], arn[API_ARN_BYTES];

	if (str_ends(name, "Batch"))
		name.n -= strlen("Batch");
	snprintf(action, sizeof(action), "sqs:" STR_FMT, STR_ARG(name));
	snprintf(arn, sizeof(arn), "arn:aws:sqs:%s:%s:" STR_FMT, c->a->where.region, c->a->where.account,
		 (int)(queue.n < QUEUE_NAME_BYTES ? queue.n : QUEUE_NAME_BYTES), queue.p ? queue.p : "");
	return authz_check(&c->who, c->a->where.account, action, arn, &c->e);
}

static int missing(struct api_call *c, const char *name)
{
	return api_fail(&c->e, API_SQS_MISSING, "The request must contain the parameter %s.", name);
}

static struct queue *named(struct api_call *c, struct str name)
{
	struct queue *q = name.n ? queue_get(c->a->o.queues, name) : NULL;

	if (allowed(c, name) < 0)
		return NULL;
	if (!q)
		api_fail(&c->e, API_SQS_NO_QUEUE, "The specified queue does not exist%s.",
			 c->form == FORM_QUERY ? " for this wsdl version" : "");
	return q;
}

struct queue *sqs_queue(struct api_call *c)
{
	struct str name = name_of(c);

	if (!name.n)
		missing(c, "QueueUrl");
	return name.n ? named(c, name) : NULL;
}

int sqs_fail(struct api_call *c, const struct err *e)
{
	static const enum api_code codes[ERR_N] = {[ERR_INVALID] = API_INVALID_PARAMETER,
						   [ERR_LIMIT] = API_INVALID_PARAMETER,
						   [ERR_CONFLICT] = API_INVALID_PARAMETER,
						   [ERR_CORRUPT] = API_SQS_CONTENTS};

	if (e->kind == ERR_NOT_FOUND)
		return missing(c, e->text);
	return api_fail(&c->e, codes[e->kind] ? codes[e->kind] : API_SERVICE, "%s", e->text);
}

int sqs_out_of_range(struct api_call *c, const char *name, int64_t value, const char *must)
{
	return api_fail(&c->e, API_INVALID_PARAMETER, "Value %lld for parameter %s is invalid. Reason: %s",
			(long long)value, name, must);
}

static void put_url(struct jw *w, const char *key, const struct api_call *c, const struct queue *q)
{
	struct str host = http_header(c->r, "host");
	auto_free char *url = xasprintf("http%s://" STR_FMT "/%s/%s", c->r->tls ? "s" : "",
					STR_ARG(host.n ? host : STR("localhost")), c->a->where.account, queue_name(q));

	jw_strc(w, key, url);
}

static int reply_url(struct api_call *c, const struct queue *q, struct store_tx *tx)
{
	auto_object(w, out);

	put_url(&w, "QueueUrl", c, q);
	jw_end(&w, '}');
	return tx ? api_commit(c, tx, 200, buf_str(&out)) : api_reply_json(c, 200, buf_str(&out));
}

/* --- what is declared --- */

static int bad_attributes(struct api_call *c, const struct err *e)
{
	return api_fail(&c->e,
			e->kind == ERR_NOT_FOUND ? API_SQS_ATTRIBUTE_NAME
			: e->kind == ERR_INVALID ? API_SQS_ATTRIBUTE_VALUE
						 : API_INVALID_PARAMETER,
			"%s", e->text);
}

struct comparing {
	struct api_call *c;
	struct queue *q;
};

static int same(void *arg, const char *name, const struct json *v)
{
	struct comparing *k = arg;
	auto_buf has = {0};

	queue_attribute(k->q, name, &has);
	if (str_eq(buf_str(&has), json_str(v)) || !json_str(v).n)
		return 0;
	return api_fail(&k->c->e, API_SQS_EXISTS,
			"A queue already exists with the same name and a different value for attribute %.100s", name);
}

static int create_queue(struct api_call *c)
{
	struct str name = json_get_str(c->in, "QueueName");
	struct queue *q = queue_get(c->a->o.queues, name);
	const struct json *attributes = json_get(c->in, "Attributes");
	struct err e = {0};
	struct store_tx tx;

	if (!name.n)
		return missing(c, "QueueName");
	if (allowed(c, name) < 0 ||
	    authz_redrive(&c->who, &c->a->where, json_get_str(attributes, "RedrivePolicy"), &c->e) < 0)
		return -1;
	if (q && attributes && json_each(attributes, same, &(struct comparing){c, q}))
		return -1;
	store_tx_init(&tx);
	if (q) /* whose own transaction may be under way: what comes after it is not told before it is durable */
		return reply_url(c, q, &tx);
	if (queue_put(c->a->o.queues, name, c->in, "api", &tx, &e) < 0)
		return bad_attributes(c, &e);
	return reply_url(c, queue_get(c->a->o.queues, name), &tx);
}

static int get_queue_url(struct api_call *c)
{
	struct str name = json_get_str(c->in, "QueueName");
	struct queue *q = name.n ? named(c, name) : NULL;

	return !name.n ? missing(c, "QueueName") : q ? reply_url(c, q, NULL) : -1;
}

/* An answer of the URLs of queues after token; of those whose dead letters go to dead, or of all. */
static int list(struct api_call *c, const char *key, struct str prefix, const struct queue *dead)
{
	int64_t max = json_get_int(c->in, "MaxResults", LIST_MAX);
	struct str token = json_get_str(c->in, "NextToken");
	const struct queue *q = NULL, *last = NULL;
	auto_buf after = {0}, next = {0};
	auto_object(w, out);
	int64_t n = 0;

	if (max < 1 || max > LIST_MAX)
		return sqs_out_of_range(c, "MaxResults", max, "MaxResults must be an integer between 1 and 1000.");
	if (token.n && dec_b64(&after, token) < 0)
		return api_fail(&c->e, API_INVALID_PARAMETER, "Invalid or expired NextToken.");
	jw_arr(&w, key);
	while ((q = queue_next(c->a->o.queues, q, prefix)) && n <= max) {
		if ((after.n && strcmp(queue_name(q), after.p) <= 0) || (dead && queue_dead_letter(q) != dead))
			continue;
		if (n++ == max)
			break;
		put_url(&w, NULL, c, q);
		last = q;
	}
	jw_end(&w, ']');
	if (n > max && json_get(c->in, "MaxResults")) {
		enc_b64(&next, queue_name(last), strlen(queue_name(last)));
		jw_str(&w, "NextToken", buf_str(&next));
	}
	return api_reply_object(c, 200, &w);
}

static int list_queues(struct api_call *c)
{
	return allowed(c, STR("*")) < 0 ? -1 : list(c, "QueueUrls", json_get_str(c->in, "QueueNamePrefix"), NULL);
}

static int list_sources(struct api_call *c)
{
	struct queue *q = sqs_queue(c);

	return q ? list(c, "queueUrls", STR(""), q) : -1;
}

static int delete_queue(struct api_call *c)
{
	struct queue *q = sqs_queue(c);
	struct store_tx tx;

	if (!q)
		return -1;
	store_tx_init(&tx);
	queue_delete(q, &tx);
	return api_commit(c, &tx, 200, STR("{}"));
}

static int purge_queue(struct api_call *c)
{
	struct queue *q = sqs_queue(c);
	struct store_tx tx;

	if (!q)
		return -1;
	store_tx_init(&tx);
	if (!queue_purge(q, &tx))
		return api_fail(&c->e, API_SQS_PURGING,
				"Only one PurgeQueue operation on %s is allowed every 60 seconds.", queue_name(q));
	return api_commit(c, &tx, 200, STR("{}"));
}

static int get_attributes(struct api_call *c)
{
	const struct json *names = json_get(c->in, "AttributeNames");
	struct queue *q = sqs_queue(c);
	auto_buf value = {0};
	auto_object(w, out);
	bool all = false;

	if (!q)
		return -1;
	for (size_t i = 0; i < json_len(names); i++) {
		struct str name = json_str(json_at(names, i));
		size_t k = 0;

		while (queue_attribute_name(k) && !str_eqc(name, queue_attribute_name(k)))
			k++;
		all |= str_eqc(name, "All");
		if (!queue_attribute_name(k) && !str_eqc(name, "All"))
			return api_fail(&c->e, API_SQS_ATTRIBUTE_NAME, "Unknown Attribute " STR_FMT ".",
					(int)(name.n < 100 ? name.n : 100), name.p);
	}
	if (json_len(names))
		jw_obj(&w, "Attributes");
	for (size_t k = 0; json_len(names) && queue_attribute_name(k); k++) {
		bool wanted = all;

		for (size_t i = 0; i < json_len(names); i++)
			wanted |= str_eqc(json_str(json_at(names, i)), queue_attribute_name(k));
		buf_clear(&value);
		if (wanted && queue_attribute(q, queue_attribute_name(k), &value))
			jw_str(&w, queue_attribute_name(k), buf_str(&value));
	}
	if (json_len(names))
		jw_end(&w, '}');
	return api_reply_object(c, 200, &w);
}

/* --- changes of attributes and tags: the document with more and without less --- */

static int change(struct api_call *c, const char *member, const struct json *more, const struct json *less)
{
	struct queue *q = sqs_queue(c);
	static const char *const members[] = {"Attributes", "tags"};
	auto_object(w, out);
	auto_json doc = NULL;
	struct err e = {0};
	struct store_tx tx;

	if (!q)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		bool changes = !strcmp(members[i], member);

		api_edit(&w, members[i], json_get(queue_doc(q), members[i]), changes ? more : NULL,
			 changes ? less : NULL);
	}
	jw_end(&w, '}');
	doc = json_parse(buf_str(&out), NULL);
	store_tx_init(&tx);
	if (queue_put(c->a->o.queues, str_of(queue_name(q)), doc, json_get_str(queue_doc(q), "project").p, &tx, &e) < 0)
		return bad_attributes(c, &e);
	return api_commit(c, &tx, 200, STR("{}"));
}

static int set_attributes(struct api_call *c)
{
	const struct json *more = json_get(c->in, "Attributes");

	if (authz_redrive(&c->who, &c->a->where, json_get_str(more, "RedrivePolicy"), &c->e) < 0)
		return -1;
	return more ? change(c, "Attributes", more, NULL) : missing(c, "Attributes");
}

static int tag_queue(struct api_call *c)
{
	const struct json *more = json_get(c->in, "Tags");

	return more ? change(c, "tags", more, NULL) : missing(c, "Tags");
}

static int untag_queue(struct api_call *c)
{
	const struct json *less = json_get(c->in, "TagKeys");

	return less ? change(c, "tags", NULL, less) : missing(c, "TagKeys");
}

static int list_tags(struct api_call *c)
{
	struct queue *q = sqs_queue(c);
	auto_free char *tags = q ? json_text(json_get(queue_doc(q), "tags")) : NULL;
	auto_object(w, out);

	if (!q)
		return -1;
	jw_raw(&w, "Tags", str_of(tags));
	return api_reply_object(c, 200, &w);
}

#define URL	   "QueueUrl:s"
#define ATTRIBUTES "<{DataType:s,StringValue:s,BinaryValue:s}>"
#define MESSAGE                                                                                                        \
	"MessageBody:s,DelaySeconds:i,MessageAttributes:" ATTRIBUTES ",MessageSystemAttributes:" ATTRIBUTES            \
	",MessageDeduplicationId:s,MessageGroupId:s"
#define RECEIPT "ReceiptHandle:s"

/* What is called all the time first. */
const struct api_op sqs_ops[] = {
	{"sqs", NULL, "{" URL "," MESSAGE "}", "SendMessage", SUBJECT_OWN, sqs_send_message},
	{"sqs", NULL,
	 "{" URL ",AttributeNames:[s],MessageSystemAttributeNames:[s],MessageAttributeNames:[s],MaxNumberOfMessages:i,"
	 "VisibilityTimeout:i,WaitTimeSeconds:i,ReceiveRequestAttemptId:s}",
	 "ReceiveMessage", SUBJECT_OWN, sqs_receive_message},
	{"sqs", NULL, "{" URL "," RECEIPT "}", "DeleteMessage", SUBJECT_OWN, sqs_delete_message},
	{"sqs", NULL, "{" URL ",Entries:[{Id:s," MESSAGE "}]}", "SendMessageBatch", SUBJECT_OWN,
	 sqs_send_message_batch},
	{"sqs", NULL, "{" URL ",Entries:[{Id:s," RECEIPT "}]}", "DeleteMessageBatch", SUBJECT_OWN,
	 sqs_delete_message_batch},
	{"sqs", NULL, "{" URL "," RECEIPT ",VisibilityTimeout:i}", "ChangeMessageVisibility", SUBJECT_OWN,
	 sqs_change_visibility},
	{"sqs", NULL, "{" URL ",Entries:[{Id:s," RECEIPT ",VisibilityTimeout:i}]}", "ChangeMessageVisibilityBatch",
	 SUBJECT_OWN, sqs_change_visibility_batch},
	{"sqs", NULL, "{QueueName:s,Attributes:<s>,tags:<s>}", "CreateQueue", SUBJECT_OWN, create_queue},
	{"sqs", NULL, "{QueueName:s,QueueOwnerAWSAccountId:s}", "GetQueueUrl", SUBJECT_OWN, get_queue_url},
	{"sqs", NULL, "{QueueNamePrefix:s,MaxResults:i,NextToken:s}", "ListQueues", SUBJECT_OWN, list_queues},
	{"sqs", NULL, "{" URL ",MaxResults:i,NextToken:s}", "ListDeadLetterSourceQueues", SUBJECT_OWN, list_sources},
	{"sqs", NULL, "{" URL "}", "DeleteQueue", SUBJECT_OWN, delete_queue},
	{"sqs", NULL, "{" URL "}", "PurgeQueue", SUBJECT_OWN, purge_queue},
	{"sqs", NULL, "{" URL ",AttributeNames:[s]}", "GetQueueAttributes", SUBJECT_OWN, get_attributes},
	{"sqs", NULL, "{" URL ",Attributes:<s>}", "SetQueueAttributes", SUBJECT_OWN, set_attributes},
	{"sqs", NULL, "{" URL ",Tags:<s>}", "TagQueue", SUBJECT_OWN, tag_queue},
	{"sqs", NULL, "{" URL ",TagKeys:[s]}", "UntagQueue", SUBJECT_OWN, untag_queue},
	{"sqs", NULL, "{" URL "}", "ListQueueTags", SUBJECT_OWN, list_tags},
	{0},
};
