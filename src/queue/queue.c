/* SPDX-License-Identifier: Apache-2.0 */
#include "queue/queue.h"
#include <stdio.h>
#include "base/clock.h"
#include "base/log.h"
#include "json/write.h"
#include "queue/queue_int.h"
#include "store/record.h"

#define PREFIX	       "queue/"
#define QUEUES_MAX     20000
#define PURGE_AGAIN_US 60000000

struct queue *queue_ref(struct queue *q)
{
	q->refs++;
	return q;
}

void queue_unref(struct queue *q)
{
	if (!q || --q->refs)
		return;
	json_free(q->doc);
	later_done(&q->later);
	free(q);
}

int64_t queues_number(struct queues *qs)
{
	return ++qs->last_number;
}

static struct queue *queue_new(struct queues *qs, struct str name)
{
	struct queue *q = xcalloc(1, sizeof(*q));

	q->refs = 1;
	q->qs = qs;
	snprintf(q->name, sizeof(q->name), STR_FMT, STR_ARG(name));
	snprintf(q->arn, sizeof(q->arn), "arn:aws:sqs:%s:%s:%s", qs->o.region, qs->o.account, q->name);
	q->fifo = str_ends(name, ".fifo");
	q->next_due_us = q->trim_us = MESSAGE_NEVER;
	list_init(&q->waiting);
	return q;
}

/* The name's own reference goes to the map. */
static void enter(struct queue *q)
{
	q->timer = loop_timer_new(q->qs->o.loop, queue_timer, q);
	map_put(&q->qs->by_name, str_of(q->name), q);
}

/* Operations may still have it. */
static void leave(struct queue *q)
{
	map_del(&q->qs->by_name, str_of(q->name));
	loop_timer_free(take_ptr(q->timer));
	q->gone = true;
}

struct queue *queue_get(const struct queues *qs, struct str name)
{
	return map_get(&qs->by_name, name);
}

struct queue *queue_by_arn(const struct queues *qs, struct str arn)
{
	struct str rest = arn, part = {0};
	struct queue *q;

	while (str_next(&rest, ':', &part))
		;
	q = map_get(&qs->by_name, part);
	return q && str_eqc(arn, q->arn) ? q : NULL;
}

struct queue *queue_next(const struct queues *qs, const struct queue *after, struct str prefix)
{
	auto_free char *from = xasprintf(PREFIX STR_FMT, STR_ARG(prefix));
	auto_free char *last = after ? xasprintf(PREFIX "%s", after->name) : NULL;
	const struct record *r = record_next(qs->o.store, from, last);

	return r ? queue_get(qs, str_of(r->key + sizeof(PREFIX) - 1)) : NULL;
}

const char *queue_name(const struct queue *q)
{
	return q->name;
}

bool queue_is_fifo(const struct queue *q)
{
	return q->fifo;
}

const struct json *queue_doc(const struct queue *q)
{
	return q->doc;
}

int64_t queue_wait_s(const struct queue *q)
{
	return q->set.wait_s;
}

struct queue *queue_dead_letter(const struct queue *q)
{
	return q->set.dead_letter[0] ? queue_get(q->qs, str_of(q->set.dead_letter)) : NULL;
}

struct queue_counts queue_counts(struct queue *q)
{
	int64_t now = clock_steady_us();
	struct queue_counts n = {.in_flight = later_count(&q->later, LATER_IN_FLIGHT, now),
				 .delayed = later_count(&q->later, LATER_DELAYED, now),
				 .sent = q->sent,
				 .received = q->received,
				 .deleted = q->deleted};

	n.visible = q->all - n.in_flight - n.delayed;
	if (n.visible < 0)
		n.visible = 0;
	return n;
}

/* --- the document --- */

/* doc, as far as it is ours, as the record and in memory. */
static void save(struct queue *q, const struct json *doc, struct str project, struct store_tx *tx)
{
	static const char *const members[] = {"Attributes", "tags"};
	auto_free char *key = xasprintf(PREFIX "%s", q->name);
	auto_buf out = {0};
	struct jw w = jw_object(&out);

	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		const struct json *v = json_get(doc, members[i]);
		auto_free char *text = v ? json_text(v) : xstrdup("{}");

		jw_raw(&w, members[i], str_of(text));
	}
	jw_str(&w, "project", project);
	jw_int(&w, "born", q->born);
	jw_int(&w, "number", q->number);
	jw_int(&w, "created_us", q->created_us);
	jw_int(&w, "modified_us", q->modified_us);
	jw_end(&w, '}');
	record_put_add(q->qs->o.store, tx, key, out.p);
	json_free(q->doc);
	q->doc = json_parse(buf_str(&out), NULL);
}

static int check_tags(const struct json *tags, struct err *e)
{
	if (tags && (json_type(tags) != JSON_OBJECT || json_len(tags) > LIM_TAGS))
		return err_set(e, ERR_CONFLICT, "Tags must be an object of strings, and at most %d.", LIM_TAGS);
	return 0;
}

static int check_name(const struct queues *qs, struct str name, struct err *e)
{
	struct str stem = name;

	if (str_ends(name, ".fifo"))
		stem.n -= 5;
	if (name.n > QUEUE_NAME_BYTES || !str_name_ok(stem, QUEUE_NAME_BYTES, "-_"))
		return err_set(e, ERR_CONFLICT,
			       "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length");
	if (qs->by_name.n >= QUEUES_MAX)
		return err_set(e, ERR_CONFLICT, "There are %d queues already, and no more are possible.", QUEUES_MAX);
	return 0;
}

int queue_put(struct queues *qs, struct str name, const struct json *doc, const char *project, struct store_tx *tx,
	      struct err *e)
{
	struct queue *q = queue_get(qs, name), *fresh = NULL;

	if (check_tags(json_get(doc, "tags"), e) < 0)
		return -1;
	if (!q) {
		if (check_name(qs, name, e) < 0)
			return -1;
		q = fresh = queue_new(qs, name);
		q->born = q->number = queues_number(qs);
		q->created_us = clock_wall_us();
	}
	if (queue_read_settings(q, json_get(doc, "Attributes"), false, &q->set, e) < 0) {
		queue_unref(fresh);
		return -1;
	}
	if (fresh)
		enter(fresh);
	q->modified_us = clock_wall_us();
	save(q, doc, str_of(project), tx);
	if (q->all) {
		q->trim_us = q->modified_us; /* what is too old may have changed */
		queue_arm(q);
	}
	return 0;
}

static void forget_rows(struct queue *q, struct store_tx *tx)
{
	queue_sweep_after(q->qs, tx, q->number);
	later_done(&q->later);
	q->all = 0;
}

void queue_delete(struct queue *q, struct store_tx *tx)
{
	auto_free char *key = xasprintf(PREFIX "%s", q->name);

	record_del_add(q->qs->o.store, tx, key);
	forget_rows(q, tx);
	leave(q);
	while (!list_empty(&q->waiting))
		queue_wake(q);
	queue_unref(q);
}

bool queue_purge(struct queue *q, struct store_tx *tx)
{
	int64_t now = clock_now_us();

	if (q->purged_us && now - q->purged_us < PURGE_AGAIN_US)
		return false;
	q->purged_us = now;
	forget_rows(q, tx);
	q->number = queues_number(q->qs);
	save(q, q->doc, json_get_str(q->doc, "project"), tx);
	queue_arm(q);
	return true;
}

/* --- start and end --- */

static void load_doc(struct queues *qs, const struct record *r)
{
	struct json *doc = json_parse(str_of(r->value), NULL);
	struct queue *q = queue_new(qs, str_of(r->key + sizeof(PREFIX) - 1));
	struct err e = {0};

	if (!doc || queue_read_settings(q, json_get(doc, "Attributes"), true, &q->set, &e) < 0)
		log_error("queue", "%s has its defaults: %s", q->name, doc ? e.text : "its document cannot be read");
	q->born = json_get_int(doc, "born", 0);
	q->number = json_get_int(doc, "number", 0);
	q->created_us = json_get_int(doc, "created_us", 0);
	q->modified_us = json_get_int(doc, "modified_us", 0);
	q->doc = doc;
	if (q->number > qs->last_number)
		qs->last_number = q->number;
	enter(q);
}

struct loading {
	struct message_load load;
	struct queues *qs;
	struct queue **queues; /* in order of number */
	size_t n;
	int64_t now_us;
};

static int by_number(const void *a, const void *b)
{
	const struct queue *x = *(struct queue *const *)a, *y = *(struct queue *const *)b;

	return x->number < y->number ? -1 : x->number > y->number;
}

static struct queue *numbered(const struct loading *k, int64_t number)
{
	struct queue key = {.number = number}, *p = &key;
	struct queue **found = k->n ? bsearch(&p, k->queues, k->n, sizeof(p), by_number) : NULL;

	return found ? *found : NULL;
}

static void load_count(struct message_load *l, int64_t number, int64_t n, int64_t first_due_us)
{
	struct loading *k = container_of(l, struct loading, load);
	struct queue *q = numbered(k, number);

	if (!q)
		return queue_sweep(k->qs, number);
	q->all = n;
	q->trim_us = (first_due_us < k->now_us ? first_due_us : k->now_us) + q->set.retention_s * 1000000;
	queue_arm(q);
}

static void load_later(struct message_load *l, int64_t number, int64_t due_us, bool received)
{
	struct loading *k = container_of(l, struct loading, load);
	struct queue *q = numbered(k, number);

	if (q)
		later_add(&q->later, received ? LATER_IN_FLIGHT : LATER_DELAYED, due_us, 1, k->now_us);
}

int queues_new(const struct queues_opts *o, struct queues **ret, struct err *e)
{
	struct queues *qs = xcalloc(1, sizeof(*qs));
	struct loading k = {.load = {.queue = load_count, .later = load_later}, .qs = qs, .now_us = clock_steady_us()};
	const struct record *r = NULL;
	size_t pos = 0;
	int rc;

	qs->o = *o;
	qs->last_number = clock_wall_us();
	while ((r = record_next(o->store, PREFIX, r ? r->key : NULL)))
		load_doc(qs, r);
	k.queues = xcalloc(qs->by_name.n + 1, sizeof(*k.queues));
	while (k.n < qs->by_name.n)
		k.queues[k.n++] = map_next(&qs->by_name, &pos);
	qsort(k.queues, k.n, sizeof(*k.queues), by_number);
	rc = message_load(o->store, &k.load, k.now_us, e);
	if (k.load.last_id > qs->last_number)
		qs->last_number = k.load.last_id;
	free(k.queues);
	if (rc < 0) {
		queues_free(qs);
		return -1;
	}
	*ret = qs;
	return 0;
}

void queues_free(struct queues *qs)
{
	struct queue *q;
	size_t pos = 0;

	if (!qs)
		return;
	while ((q = map_next(&qs->by_name, &pos))) {
		loop_timer_free(take_ptr(q->timer));
		q->gone = true;
		queue_unref(q);
	}
	map_done(&qs->by_name);
	free(qs);
}
