/* SPDX-License-Identifier: Apache-2.0 */
/* What is published, in the forms that subscribers know. */

#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "json/write.h"
#include "trigger/deliver.h"
#include "trigger/topic_int.h"

#define SUBJECT_BYTES 100

struct publish {
	struct topic *t;
	struct store_tx *tx;
	struct topic_message *m;
	struct json *by_protocol;	/* MessageStructure is json */
	struct json *attributes, *body; /* what filters look at; body NULL: it is no JSON */
	char when[32];
};

static int put_attribute(void *arg, const char *key, const struct json *j)
{
	struct str text = json_get_str(j, "StringValue"), binary = json_get_str(j, "BinaryValue");

	jw_obj(arg, key);
	jw_str(arg, "Type", json_get_str(j, "DataType"));
	jw_str(arg, "Value", text.p ? text : binary);
	jw_end(arg, '}');
	return 0;
}

static void notification(struct jw *w, const struct publish *p, const struct subscription *s, struct str message)
{
	const struct topics_opts *o = &p->t->ts->o;
	auto_free char *cert = xasprintf("https://sns.%s.amazonaws.com/SimpleNotificationService.pem", o->region);
	auto_free char *leave =
		xasprintf("https://sns.%s.amazonaws.com/?Action=Unsubscribe&SubscriptionArn=%s:" STR_FMT, o->region,
			  p->t->arn, STR_ARG(s->id));

	jw_strc(w, "Type", "Notification");
	jw_strc(w, "MessageId", p->m->id);
	jw_strc(w, "TopicArn", p->t->arn);
	if (p->m->subject.n)
		jw_str(w, "Subject", p->m->subject);
	else if (s->lambda)
		jw_null(w, "Subject");
	jw_str(w, "Message", message);
	jw_strc(w, "Timestamp", p->when);
	jw_strc(w, "SignatureVersion", "1");
	jw_strc(w, "Signature", "EXAMPLE");
	jw_strc(w, s->lambda ? "SigningCertUrl" : "SigningCertURL", cert);
	jw_strc(w, s->lambda ? "UnsubscribeUrl" : "UnsubscribeURL", leave);
	if (s->lambda || json_len(p->m->attributes)) {
		jw_obj(w, "MessageAttributes");
		json_each(p->m->attributes, put_attribute, w);
		jw_end(w, '}');
	}
}

static void function_event(struct buf *out, const struct publish *p, const struct subscription *s, struct str message)
{
	auto_free char *arn = xasprintf("%s:" STR_FMT, p->t->arn, STR_ARG(s->id));
	struct jw w = jw_object(out);

	jw_arr(&w, "Records");
	jw_obj(&w, NULL);
	jw_strc(&w, "EventSource", "aws:sns");
	jw_strc(&w, "EventVersion", "1.0");
	jw_strc(&w, "EventSubscriptionArn", arn);
	jw_obj(&w, "Sns");
	notification(&w, p, s, message);
	jw_end(&w, '}');
	jw_end(&w, '}');
	jw_end(&w, ']');
	jw_end(&w, '}');
}

/* A target that will not have it is deliver's to tell of; the others get theirs. */
static void hand_over(const struct publish *p, const struct subscription *s)
{
	struct str message = json_get_str(p->by_protocol, s->lambda ? "lambda" : "sqs");
	auto_free char *target = str_dup(s->endpoint);
	auto_buf out = {0};
	struct delivery d = {
		.target = target, .retries = -1, .dead_letter = s->dead_letter, .trace_id = p->m->trace_id};
	struct queue *q = s->raw ? queue_by_arn(p->t->ts->o.queues, s->endpoint) : NULL;
	struct jw w;

	if (!message.p)
		message = p->by_protocol ? json_get_str(p->by_protocol, "default") : p->m->message;
	if (q) {
		struct queue_message qm = {.body = message,
					   .attributes = p->m->attributes,
					   .trace = str_of(p->m->trace_id),
					   .delay_s = -1};

		if (queue_send_add(q, p->tx, &qm, NULL) == 0)
			return;
	}
	if (s->lambda) {
		function_event(&out, p, s, message);
	} else if (s->raw) {
		buf_addstr(&out, message);
	} else {
		w = jw_object(&out);
		notification(&w, p, s, message);
		jw_end(&w, '}');
	}
	d.payload = buf_str(&out);
	deliver_add(p->t->ts->o.deliver, p->tx, &d, NULL);
}

/* As a filter sees it: numbers are numbers, String.Array its members. */
static int filter_attribute(void *arg, const char *key, const struct json *j)
{
	struct str type = json_get_str(j, "DataType"), text = json_get_str(j, "StringValue");
	char *end;
	double v = text.n ? strtod(text.p, &end) : 0;

	if (str_starts(type, "Number") && text.n && end == text.p + text.n)
		jw_real(arg, key, v);
	else if (str_eqc(type, "String.Array") && text.n && *text.p == '[')
		jw_raw(arg, key, text);
	else if (str_starts(type, "String"))
		jw_str(arg, key, text);
	return 0;
}

struct checked {
	size_t bytes;
	struct err *e;
};

static int check_attribute(void *arg, const char *key, const struct json *j)
{
	struct checked *k = arg;
	struct str type = json_get_str(j, "DataType"), text = json_get_str(j, "StringValue"),
		   binary = json_get_str(j, "BinaryValue");
	bool is_binary = str_starts(type, "Binary");

	k->bytes += strlen(key) + type.n + text.n + binary.n;
	if (!*key || strlen(key) > 256 || !(is_binary || str_starts(type, "String") || str_starts(type, "Number")))
		return err_set(k->e, ERR_INVALID,
			       "The message attribute '%.40s' has an invalid message attribute type, the set of "
			       "supported type "
			       "prefixes is Binary, Number, and String.",
			       key);
	if (is_binary ? !binary.n : !text.n)
		return err_set(
			k->e, ERR_INVALID,
			"The message attribute '%.40s' must contain non-empty message attribute value for message "
			"attribute type '%.40s'.",
			key, type.p);
	if (str_eqc(type, "String.Array") && json_check(text, NULL) < 0)
		return err_set(k->e, ERR_INVALID, "The message attribute '%.40s' is no array of JSON.", key);
	return 0;
}

static int check(struct publish *p, struct err *e)
{
	const struct topic_message *m = p->m;
	struct checked k = {m->message.n + m->subject.n, e};

	if (!m->message.n)
		return err_set(e, ERR_INVALID, "Empty message");
	for (size_t i = 0; i < m->subject.n; i++)
		if ((unsigned char)m->subject.p[i] < 0x20 || m->subject.n > SUBJECT_BYTES)
			return err_set(e, ERR_INVALID,
				       "Subject: it has at most %d characters, none of them a control character",
				       SUBJECT_BYTES);
	if (json_each(m->attributes, check_attribute, &k))
		return -1;
	if (k.bytes > TOPIC_MESSAGE_BYTES)
		return err_set(e, ERR_INVALID, "Message too long");
	if (!m->json)
		return 0;
	p->by_protocol = json_parse(m->message, NULL);
	if (json_type(p->by_protocol) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "Message Structure - JSON message body failed to parse");
	return json_get_str(p->by_protocol, "default").p
		       ? 0
		       : err_set(e, ERR_INVALID, "Message Structure - No default entry in JSON message body");
}

static void look(struct publish *p)
{
	auto_buf text = {0};
	struct jw w = jw_object(&text);

	json_each(p->m->attributes, filter_attribute, &w);
	jw_end(&w, '}');
	p->attributes = json_parse(buf_str(&text), NULL);
	p->body = json_parse(p->m->message, NULL);
}

static bool passes(const struct publish *p, const struct subscription *s)
{
	const struct json *at = s->body ? p->body : p->attributes;

	return !s->filter || (json_type(at) == JSON_OBJECT && pattern_match(s->filter, at));
}

int topic_publish_add(struct topic *t, struct store_tx *tx, struct topic_message *m, struct err *e)
{
	struct publish p = {t, tx, m, NULL, NULL, NULL, ""};
	int rc = check(&p, e);

	if (rc == 0) {
		id_uuid(m->id);
		clock_fmt_iso(clock_wall_us(), p.when);
		look(&p);
		for (size_t i = 0; i < t->subs.n; i++)
			if (passes(&p, &t->subs.v[i]))
				hand_over(&p, &t->subs.v[i]);
	}
	json_free(p.by_protocol);
	json_free(p.attributes);
	json_free(p.body);
	return rc;
}
