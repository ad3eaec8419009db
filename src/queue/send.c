/* SPDX-License-Identifier: Apache-2.0 */
/* Sending: what a message may be, and its row as part of a transaction. */
#include <stdio.h>
#include "base/clock.h"
#include "base/enc.h"
#include "base/rand.h"
#include "queue/queue_int.h"
#include "store/digest.h"

#define ATTRIBUTES_MAX 10

struct sending {
	struct store_part part;
	struct queue *q; /* a reference */
	struct message m, sent;
	struct queue_message *caller; /* NULL: does not ask */
	bool fifo, duplicate;
	struct str key;
	char text[]; /* of m and key */
};

/* --- MD5 of attributes: of each, in order of name, name, type and value with their lengths --- */

static void add_counted(struct buf *b, const void *p, size_t n)
{
	uint8_t len[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

	buf_add(b, len, sizeof(len));
	buf_add(b, n ? p : "", n);
}

struct named {
	const char *name;
	const struct json *value;
};
struct named_list {
	struct named v[ATTRIBUTES_MAX];
	size_t n;
};

static int collect(void *arg, const char *name, const struct json *value)
{
	struct named_list *l = arg;

	if (l->n < ATTRIBUTES_MAX)
		l->v[l->n++] = (struct named){name, value};
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

void queue_md5(struct str s, char out[33])
{
	uint8_t md5[16];

	digest_md5(s.p, s.n, md5);
	enc_hex(md5, sizeof(md5), out);
}

void queue_attributes_md5(const struct json *attributes, char out[33])
{
	struct named_list l = {.n = 0};
	auto_buf b = {0}, binary = {0};

	out[0] = 0;
	if (attributes)
		json_each(attributes, collect, &l);
	if (!l.n)
		return;
	qsort(l.v, l.n, sizeof(l.v[0]), by_name);
	for (size_t i = 0; i < l.n; i++) {
		struct str type = json_get_str(l.v[i].value, "DataType");
		struct str value = json_get_str(l.v[i].value, "StringValue");
		bool is_binary = str_starts(type, "Binary");

		if (is_binary) {
			buf_clear(&binary);
			dec_b64(&binary, json_get_str(l.v[i].value, "BinaryValue"));
			value = buf_str(&binary);
		}
		add_counted(&b, l.v[i].name, strlen(l.v[i].name));
		add_counted(&b, type.p, type.n);
		buf_addc(&b, is_binary ? 2 : 1);
		add_counted(&b, value.p, value.n);
	}
	queue_md5(buf_str(&b), out);
}

/* --- what may be sent --- */

/* XML's characters, which SQS has it from. */
static bool is_text(struct str s)
{
	size_t i = 0, n;

	while (i < s.n) {
		unsigned char c = (unsigned char)s.p[i];

		n = enc_utf8_seq(s.p + i, s.n - i);
		if (!n || (c < 0x20 && c != '\t' && c != '\n' && c != '\r') ||
		    (n == 3 && c == 0xef && (unsigned char)s.p[i + 1] == 0xbf && (unsigned char)s.p[i + 2] >= 0xbe))
			return false;
		i += n;
	}
	return true;
}

struct checking {
	struct err *e;
	size_t bytes;
};

static int bad_attribute(struct err *e, const char *name, const char *why)
{
	return err_set(e, ERR_INVALID, "The message attribute '%.100s' %s", name, why);
}

static int check_attribute(void *arg, const char *name, const struct json *v)
{
	struct checking *k = arg;
	struct str type = json_get_str(v, "DataType"), text = json_get_str(v, "StringValue");
	struct str b64 = json_get_str(v, "BinaryValue"), base, label;
	auto_buf binary = {0};

	if (!str_name_ok(str_of(name), 256, "-_.") || name[0] == '.' || str_ends(str_of(name), ".") ||
	    strstr(name, "..") || str_starts(str_of(name), "AWS.") || str_starts(str_of(name), "Amazon."))
		return bad_attribute(k->e, name,
				     "must have a name of at most 256 letters, digits, _, - and ., that does not "
				     "begin with AWS. or Amazon., and not begin or end with a dot.");
	if (!type.n)
		return bad_attribute(k->e, name, "must contain a non-empty message attribute type.");
	if (!str_cut(type, '.', &base, &label))
		base = type;
	if (type.n > 256 || (!str_eqc(base, "String") && !str_eqc(base, "Number") && !str_eqc(base, "Binary")))
		return bad_attribute(k->e, name,
				     "has an invalid message attribute type, the set of supported type prefixes is "
				     "Binary, Number, and String.");
	if (str_eqc(base, "Binary") ? dec_b64(&binary, b64) < 0 || !binary.n : !text.n)
		return bad_attribute(k->e, name, "must contain a non-empty message attribute value of its type.");
	if (text.p && !is_text(text))
		return bad_attribute(k->e, name, "has characters that may not be in a message.");
	k->bytes += strlen(name) + type.n + (binary.n ? binary.n : text.n);
	return 0;
}

static int check_fifo(const struct queue *q, const struct queue_message *m, struct err *e)
{
	static const char punctuation[] = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

	if (m->group.n && !str_name_ok(m->group, 128, punctuation))
		return err_set(e, ERR_INVALID,
			       "Value for parameter MessageGroupId is invalid. Reason: MessageGroupId can only include "
			       "alphanumeric and punctuation characters. 1 to 128 in length.");
	if (m->deduplication.n && !str_name_ok(m->deduplication, 128, punctuation))
		return err_set(e, ERR_INVALID,
			       "Value for parameter MessageDeduplicationId is invalid. Reason: MessageDeduplicationId "
			       "can only include alphanumeric and punctuation characters. 1 to 128 in length.");
	if (!q->fifo)
		return m->deduplication.n
			       ? err_set(e, ERR_INVALID,
					 "Value for parameter MessageDeduplicationId is invalid. Reason: The request "
					 "includes a parameter that is not valid for this queue type.")
			       : 0;
	if (!m->group.n)
		return err_set(e, ERR_NOT_FOUND, "MessageGroupId");
	if (!m->deduplication.n && !q->set.by_content)
		return err_set(e, ERR_INVALID,
			       "The queue should either have ContentBasedDeduplication enabled or "
			       "MessageDeduplicationId provided explicitly");
	if (m->delay_s > 0)
		return err_set(
			e, ERR_INVALID,
			"Value %lld for parameter DelaySeconds is invalid. Reason: The request include parameter "
			"that is not valid for this queue type.",
			(long long)m->delay_s);
	return 0;
}

static int check(const struct queue *q, const struct queue_message *m, struct err *e)
{
	struct checking k = {.e = e, .bytes = m->body.n};

	if (!m->body.n)
		return err_set(e, ERR_NOT_FOUND, "MessageBody");
	if (!is_text(m->body))
		return err_set(
			e, ERR_CORRUPT,
			"Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | "
			"#xE000 to #xFFFD | #x10000 to #x10FFFF");
	if (m->attributes && json_len(m->attributes) > ATTRIBUTES_MAX)
		return err_set(e, ERR_INVALID, "Number of message attributes [%zu] exceeds the allowed maximum [%d].",
			       json_len(m->attributes), ATTRIBUTES_MAX);
	if (m->attributes && json_each(m->attributes, check_attribute, &k))
		return -1;
	if (k.bytes > (size_t)q->set.max_bytes)
		return err_set(e, ERR_LIMIT,
			       "One or more parameters are invalid. Reason: Message must be shorter than %lld bytes.",
			       (long long)q->set.max_bytes);
	if (m->delay_s > 900)
		return err_set(
			e, ERR_INVALID,
			"Value %lld for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= "
			"900.",
			(long long)m->delay_s);
	return check_fifo(q, m, e);
}

/* --- its row --- */

static int apply(struct store_part *p, struct db *d, struct err *e)
{
	struct sending *s = container_of(p, struct sending, part);
	int r;

	s->sent = s->m;
	r = message_send(d, &s->sent, s->fifo, s->key, e);
	s->duplicate = r > 0;
	return r < 0 ? -1 : 0;
}

static void arrived(struct queue *q, const struct message *m)
{
	int64_t now = clock_steady_us();

	q->all++;
	q->sent++;
	later_add(&q->later, LATER_DELAYED, m->visible_us, 1, now);
	if (q->trim_us == MESSAGE_NEVER) {
		q->trim_us = m->visible_us + q->set.retention_s * 1000000;
		queue_arm(q);
	}
	if (m->visible_us > now)
		queue_due(q, m->visible_us);
	else
		queue_wake(q);
}

void queue_sequence(const struct queue *q, int64_t id, char out[24])
{
	snprintf(out, 24, "%s", "");
	if (q->fifo)
		snprintf(out, 24, "1%019lld", (long long)id);
}

static void done(struct store_part *p, const struct err *e)
{
	struct sending *s = container_of(p, struct sending, part);

	if (!e->kind && !s->duplicate && !s->q->gone && s->q->number == s->m.queue)
		arrived(s->q, &s->m);
	if (s->caller && e->kind != ERR_CANCELED) {
		strlcpy_(s->caller->id, s->sent.uuid, sizeof(s->caller->id));
		queue_sequence(s->q, s->sent.id, s->caller->sequence);
		s->caller->sent(s->caller, e);
	}
	queue_unref(s->q);
	free(s);
}

static struct str keep(char **at, struct str s)
{
	char *p = *at;

	if (!s.n)
		return STR_NULL;
	memcpy(p, s.p, s.n);
	*at += s.n;
	return (struct str){p, s.n};
}

int queue_send_add(struct queue *q, struct store_tx *tx, struct queue_message *m, struct err *e)
{
	auto_free char *attributes = m->attributes && json_len(m->attributes) ? json_text(m->attributes) : NULL;
	struct str attr = str_of(attributes), dedup = m->deduplication;
	struct sending *s;
	char digest[65], *at;

	if (check(q, m, e) < 0)
		return -1;
	if (q->fifo && !dedup.n) {
		digest_sha256_hex(m->body.p, m->body.n, digest);
		dedup = str_of(digest);
	}
	s = xmalloc(sizeof(*s) + m->body.n + attr.n + 2 * (m->group.n + dedup.n) + m->sender.n + m->trace.n + 1);
	at = s->text;
	*s = (struct sending){.part = {.apply = apply, .done = done},
			      .q = queue_ref(q),
			      .caller = m->sent ? m : NULL,
			      .fifo = q->fifo};
	s->m = (struct message){.id = queues_number(q->qs),
				.queue = q->number,
				.sent_us = clock_wall_us(),
				.now_us = clock_steady_us()};
	s->m.visible_us = s->m.now_us + (m->delay_s >= 0 && !q->fifo ? m->delay_s : q->set.delay_s) * 1000000;
	s->m.body = keep(&at, m->body);
	s->m.attributes = keep(&at, attr);
	s->m.group = keep(&at, m->group);
	s->m.dedup = keep(&at, dedup);
	s->m.sender = keep(&at, m->sender);
	s->m.trace = keep(&at, m->trace);
	if (q->fifo) { /* no group's name has a space */
		s->key.p = at;
		s->key.n = dedup.n + (q->set.by_group ? 1 + m->group.n : 0);
		keep(&at, dedup);
		if (q->set.by_group) {
			*at++ = ' ';
			keep(&at, m->group);
		}
	}
	id_uuid(s->m.uuid);
	strlcpy_(m->id, s->m.uuid, sizeof(m->id));
	queue_sequence(q, s->m.id, m->sequence);
	queue_md5(m->body, m->md5_body);
	queue_attributes_md5(m->attributes, m->md5_attributes);
	store_tx_add(tx, &s->part);
	return 0;
}
