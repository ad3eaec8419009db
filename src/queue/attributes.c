/* SPDX-License-Identifier: Apache-2.0 */
/* The attributes of a queue: one table of what may be set, and to what; the words of refusals are SQS's. */

#include "queue/queue_int.h"

enum kind { NUMBER, CHOICE, TEXT, REDRIVE, REFUSED, COMPUTED };
struct rule {
	const char *name;
	enum kind kind;
	bool fifo; /* of FIFO queues only */
	const char *dflt;
	int64_t min, max;
	size_t at;	     /* NUMBER: in struct queue_settings; CHOICE: the bool there, 0: it is only kept */
	const char *choices; /* the second sets that bool */
};

#define AT(member) offsetof(struct queue_settings, member)
static const struct rule rules[] = {
	{"VisibilityTimeout", .kind = NUMBER, .dflt = "30", .max = 43200, .at = AT(visibility_s)},
	{"DelaySeconds", .kind = NUMBER, .dflt = "0", .max = 900, .at = AT(delay_s)},
	{"MaximumMessageSize", .kind = NUMBER, .dflt = "1048576", .min = 1024, .max = QUEUE_MESSAGE_BYTES,
	 .at = AT(max_bytes)},
	{"MessageRetentionPeriod", .kind = NUMBER, .dflt = "345600", .min = 60, .max = 1209600, .at = AT(retention_s)},
	{"ReceiveMessageWaitTimeSeconds", .kind = NUMBER, .dflt = "0", .max = 20, .at = AT(wait_s)},
	{"RedrivePolicy", .kind = REDRIVE},
	{"RedriveAllowPolicy", .kind = TEXT},
	{"Policy", .kind = TEXT},
	{"FifoQueue", .kind = CHOICE, .fifo = true, .dflt = "true", .choices = "true"},
	{"ContentBasedDeduplication", .kind = CHOICE, .fifo = true, .dflt = "false", .choices = "false|true",
	 .at = AT(by_content)},
	{"DeduplicationScope", .kind = CHOICE, .fifo = true, .dflt = "queue", .choices = "queue|messageGroup",
	 .at = AT(by_group)},
	{"FifoThroughputLimit", .kind = CHOICE, .fifo = true, .dflt = "perQueue",
	 .choices = "perQueue|perMessageGroupId"},
	{"SqsManagedSseEnabled", .kind = CHOICE, .dflt = "false", .choices = "false|true"},
	{"KmsMasterKeyId", .kind = REFUSED},
	{"KmsDataKeyReusePeriodSeconds", .kind = REFUSED},
	{"QueueArn", .kind = COMPUTED},
	{"CreatedTimestamp", .kind = COMPUTED},
	{"LastModifiedTimestamp", .kind = COMPUTED},
	{"ApproximateNumberOfMessages", .kind = COMPUTED},
	{"ApproximateNumberOfMessagesNotVisible", .kind = COMPUTED},
	{"ApproximateNumberOfMessagesDelayed", .kind = COMPUTED},
};

const char *queue_attribute_name(size_t i)
{
	return i < ARRAY_SIZE(rules) ? rules[i].name : NULL;
}

static const struct rule *rule_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (!strcmp(rules[i].name, name))
			return &rules[i];
	return NULL;
}

static int bad_redrive(struct str text, struct err *e, const char *reason)
{
	return err_set(e, ERR_CONFLICT, "Value %.*s for parameter RedrivePolicy is invalid. Reason: %s",
		       (int)(text.n < 200 ? text.n : 200), text.p, reason);
}

static int redrive(const struct queue *q, struct str text, bool loading, struct queue_settings *ret, struct err *e)
{
	auto_json j = text.n ? json_parse(text, NULL) : NULL;
	const struct json *most = json_get(j, "maxReceiveCount");
	struct str arn = json_get_str(j, "deadLetterTargetArn");
	int64_t n = json_int(most, 0);
	struct queue *dead;

	if (!text.n)
		return 0;
	if (!j || !arn.n)
		return bad_redrive(text, e, "It must be JSON with deadLetterTargetArn and maxReceiveCount.");
	if ((json_type(most) == JSON_STRING && str_to_i64(json_str(most), 1, 1000, &n) < 0) || n < 1 || n > 1000)
		return bad_redrive(text, e, "maxReceiveCount must be from 1 to 1000.");
	dead = queue_by_arn(q->qs, arn);
	if (!loading && !dead)
		return bad_redrive(text, e, "Dead letter target does not exist.");
	if (!loading && (dead == q || dead->fifo != q->fifo))
		return bad_redrive(text, e, "Dead-letter queue must be another one, and the same type of queue.");
	ret->max_receives = n;
	strlcpy_(ret->dead_letter, strrchr(arn.p, ':') ? strrchr(arn.p, ':') + 1 : "", sizeof(ret->dead_letter));
	return 0;
}

static int bad_value(const struct rule *r, struct err *e)
{
	return err_set(e, ERR_INVALID, "Invalid value for the parameter %s.", r->name);
}

static int choice(const struct rule *r, struct str text, struct queue_settings *ret, struct err *e)
{
	struct str rest = str_of(r->choices), one;

	for (int i = 0; str_next(&rest, '|', &one); i++)
		if (str_eq(one, text)) {
			if (r->at)
				*(bool *)((char *)ret + r->at) = i;
			return 0;
		}
	return bad_value(r, e);
}

static int read_one(const struct queue *q, const struct rule *r, struct str text, bool loading,
		    struct queue_settings *ret, struct err *e)
{
	int64_t n;

	switch (r->kind) {
	case NUMBER:
		if (str_to_i64(text, r->min, r->max, &n) < 0)
			return bad_value(r, e);
		*(int64_t *)((char *)ret + r->at) = n;
		return 0;
	case CHOICE:
		return choice(r, text, ret, e);
	case REDRIVE:
		return redrive(q, text, loading, ret, e);
	case REFUSED:
		return text.n ? err_set(e, ERR_CONFLICT, "%s is not supported by this Tandem: it has no keys.", r->name)
			      : 0;
	case TEXT:
	case COMPUTED:
		break;
	}
	return 0;
}

struct checking {
	const struct queue *q;
	struct err *e;
};

static int check_name(void *arg, const char *name, const struct json *v)
{
	const struct checking *k = arg;
	const struct rule *r = rule_of(name);

	if (!r || r->kind == COMPUTED)
		return err_set(k->e, ERR_NOT_FOUND, "Unknown Attribute %.100s.", name);
	if (r->fifo && !k->q->fifo)
		return err_set(k->e, ERR_NOT_FOUND, "You can specify the %s only when FifoQueue is set to true.", name);
	return json_type(v) == JSON_STRING ? 0 : bad_value(r, k->e);
}

int queue_read_settings(const struct queue *q, const struct json *attributes, bool loading, struct queue_settings *ret,
			struct err *e)
{
	struct queue_settings set = {0};

	if (attributes && json_each(attributes, check_name, &(struct checking){q, e}))
		return -1;
	if (q->fifo && !json_get(attributes, "FifoQueue"))
		return err_set(
			e, ERR_CONFLICT,
			"The name of a queue that is not FIFO can only include alphanumeric characters, hyphens, or "
			"underscores; a name that ends in .fifo needs FifoQueue set to true.");
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		const struct json *v = json_get(attributes, rules[i].name);

		if ((v || rules[i].dflt) &&
		    read_one(q, &rules[i], v ? json_str(v) : str_of(rules[i].dflt), loading, &set, e) < 0)
			return -1;
	}
	*ret = set;
	return 0;
}

static int64_t computed(struct queue *q, const char *name)
{
	struct queue_counts n = queue_counts(q);

	if (!strcmp(name, "CreatedTimestamp"))
		return q->created_us / 1000000;
	if (!strcmp(name, "LastModifiedTimestamp"))
		return q->modified_us / 1000000;
	return str_ends(str_of(name), "NotVisible") ? n.in_flight
	       : str_ends(str_of(name), "Delayed")  ? n.delayed
						    : n.visible;
}

bool queue_attribute(struct queue *q, const char *name, struct buf *out)
{
	const struct rule *r = rule_of(name);
	struct str kept = json_get_str(json_get(q->doc, "Attributes"), name);

	if (!r)
		return false;
	if (!strcmp(name, "QueueArn"))
		buf_adds(out, q->arn);
	else if (r->kind == COMPUTED)
		buf_add_i64(out, computed(q, name));
	else if (kept.n)
		buf_addstr(out, kept);
	else if (!r->dflt || (r->fifo && !q->fifo))
		return false;
	else
		buf_adds(out, r->dflt);
	return true;
}
