/* SPDX-License-Identifier: Apache-2.0 */
#include "store/queue.h"
#include <stdio.h>
#include "base/mem.h"
#include "store/store_int.h"

#define SWEEP_ROWS 500

static struct str text(sqlite3_stmt *st, int column)
{
	const char *p = (const char *)sqlite3_column_text(st, column);

	return (struct str){p, p ? (size_t)sqlite3_column_bytes(st, column) : 0};
}

/* --- groups --- */

struct group {
	int64_t now_us;
	unsigned n;
	struct {
		int64_t id, visible_us, due_us, receives;
	} row[MESSAGE_GROUP_BATCH + 1];
};

static int group_row(void *arg, sqlite3_stmt *st, struct err *e)
{
	struct group *g = arg;

	g->row[g->n].id = sqlite3_column_int64(st, 0);
	g->row[g->n].visible_us = sqlite3_column_int64(st, 1);
	g->row[g->n].due_us = sqlite3_column_int64(st, 2);
	g->row[g->n].receives = sqlite3_column_int64(st, 3);
	g->n++;
	return 0;
}

/* Gives a group's first message, and no other, its place in the line. All that are in flight are among the first: there
 * are never more than MESSAGE_GROUP_BATCH, and they were the first when they were received. */
static int settle(struct db *d, int64_t queue, struct str name, int64_t now_us, struct err *e)
{
	struct group g = {.now_us = now_us};
	int64_t due;

	if (db_query(d, DB_MESSAGE_GROUP, group_row, &g, e, "isi", queue, name, (int64_t)ARRAY_SIZE(g.row)) < 0)
		return -1;
	due = g.n ? g.row[0].visible_us : 0;
	for (unsigned i = 1; i < g.n; i++)
		if (g.row[i].receives && g.row[i].visible_us > now_us && g.row[i].visible_us > due)
			due = g.row[i].visible_us;
	if (g.n && due <= now_us) /* its turn begins now, unless it has begun */
		due = g.row[0].due_us < now_us ? g.row[0].due_us : now_us;
	for (unsigned i = 0; i < g.n; i++, due = MESSAGE_NEVER)
		if (g.row[i].due_us != due && db_run(d, DB_MESSAGE_DUE, e, "ii", g.row[i].id, due) < 0)
			return -1;
	return 0;
}

/* --- sending --- */

static int known(void *arg, sqlite3_stmt *st, struct err *e)
{
	struct message *m = arg;

	m->id = sqlite3_column_int64(st, 0);
	strlcpy_(m->uuid, (const char *)sqlite3_column_text(st, 1), sizeof(m->uuid));
	return 1;
}

int message_send(struct db *d, struct message *m, bool fifo, struct str dedup_key, struct err *e)
{
	int64_t forget_us = m->sent_us - MESSAGE_DEDUP_US;

	if (dedup_key.p) {
		int r = db_query(d, DB_DEDUP_GET, known, m, e, "isi", m->queue, dedup_key, forget_us);

		/* Two go for each that comes, so that they do not stay as many as there once were. */
		if (r || db_run(d, DB_DEDUP_TRIM, e, "i", forget_us) < 0 ||
		    db_run(d, DB_DEDUP_TRIM, e, "i", forget_us) < 0 ||
		    db_run(d, DB_DEDUP_PUT, e, "isiit", m->queue, dedup_key, m->sent_us, m->id, m->uuid) < 0)
			return r ? r : -1;
	}
	if (db_run(d, DB_MESSAGE_PUT, e, "iiiiiiitsssssss", m->id, m->queue, fifo ? MESSAGE_NEVER : m->visible_us,
		   m->visible_us, m->receives, m->first_us, m->sent_us, m->uuid, m->body, m->attributes, m->group,
		   m->dedup, m->sender, m->trace, m->source) < 0)
		return -1;
	return fifo ? settle(d, m->queue, m->group, m->now_us, e) : 0;
}

/* --- receiving --- */

enum verdict { NOTHING, STOP, THROW, MOVE, GIVE };
struct look {
	struct message_take *t;
	enum verdict verdict;
	int64_t id;
	size_t group_n;
	char group[256];
};

static int64_t bytes_of(const struct message *m)
{
	return (int64_t)(m->body.n + m->attributes.n);
}

static enum verdict judge(const struct message_take *t, const struct message *m)
{
	if (m->visible_us > t->now_us)
		return STOP; /* behind the first of its group */
	if (m->sent_us < t->oldest_us)
		return THROW;
	if (t->dead && m->receives >= t->max_receives)
		return MOVE;
	return t->taken == t->max || (t->taken && t->bytes + bytes_of(m) > t->max_bytes) ? STOP : GIVE;
}

static int look_row(void *arg, sqlite3_stmt *st, struct err *e)
{
	struct look *l = arg;
	struct message m = {
		.id = sqlite3_column_int64(st, 0),
		.queue = sqlite3_column_int64(st, 1),
		.visible_us = sqlite3_column_int64(st, 3),
		.receives = sqlite3_column_int64(st, 4),
		.first_us = sqlite3_column_int64(st, 5),
		.sent_us = sqlite3_column_int64(st, 6),
		.body = text(st, 8),
		.attributes = text(st, 9),
		.group = text(st, 10),
		.dedup = text(st, 11),
		.sender = text(st, 12),
		.trace = text(st, 13),
		.source = text(st, 14),
	};

	strlcpy_(m.uuid, (const char *)sqlite3_column_text(st, 7), sizeof(m.uuid));
	l->id = m.id;
	l->group_n = m.group.n < sizeof(l->group) ? m.group.n : sizeof(l->group);
	memcpy(l->group, m.group.n ? m.group.p : "", l->group_n);
	l->verdict = judge(l->t, &m);
	if (l->verdict == GIVE) {
		m.receives++;
		m.first_us = m.first_us ? m.first_us : l->t->wall_us;
		l->t->bytes += bytes_of(&m);
		l->t->got(l->t, &m);
	}
	return 1;
}

static int act(struct db *d, struct look *l, struct str group, struct err *e)
{
	struct message_take *t = l->t;

	switch (l->verdict) {
	case GIVE:
		t->taken++;
		return db_run(d, DB_MESSAGE_RECEIVED, e, "iii", l->id, t->until_us, t->wall_us);
	case THROW:
		t->dropped++;
		return db_run(d, DB_MESSAGE_DEL, e, "i", l->id);
	case MOVE:
		t->moved++;
		if (db_run(d, DB_MESSAGE_MOVED, e, "iiiit", l->id, t->dead, t->fifo ? MESSAGE_NEVER : t->now_us,
			   t->now_us, t->source) < 0)
			return -1;
		return t->fifo ? settle(d, t->dead, group, t->now_us, e) : 0;
	case NOTHING:
	case STOP:
		break;
	}
	return 0;
}

static bool enough(struct message_take *t)
{
	t->more = t->moved + t->dropped >= t->limit;
	return t->more;
}

/* Of a FIFO queue: the first message of a group is looked at, now those behind it. */
static int take_group(struct db *d, const struct look *first, struct err *e)
{
	struct message_take *t = first->t;
	struct str group = {first->group, first->group_n};
	struct look l = *first;
	int64_t given = first->verdict == GIVE;

	while (l.verdict > STOP && given < MESSAGE_GROUP_BATCH && !enough(t)) {
		int64_t after = l.id;

		l.verdict = NOTHING;
		if (db_query(d, DB_MESSAGE_NEXT_OF_GROUP, look_row, &l, e, "isi", t->queue, group, after) < 0 ||
		    act(d, &l, group, e) < 0)
			return -1;
		given += l.verdict == GIVE;
	}
	return settle(d, t->queue, group, t->now_us, e);
}

static int first_due(void *arg, sqlite3_stmt *st, struct err *e)
{
	*(int64_t *)arg = sqlite3_column_int64(st, 0);
	return 1;
}

int message_take(struct db *d, struct message_take *t, struct err *e)
{
	struct look l = {.t = t, .verdict = GIVE};

	t->taken = t->bytes = t->moved = t->dropped = 0;
	t->first_due_us = MESSAGE_NEVER;
	while (l.verdict > STOP && (!t->max || t->taken < t->max) && !enough(t)) {
		l.verdict = NOTHING;
		if (db_query(d, DB_MESSAGE_NEXT, look_row, &l, e, "ii", t->queue, t->now_us) < 0 ||
		    act(d, &l, (struct str){l.group, l.group_n}, e) < 0 ||
		    (t->fifo && l.verdict > STOP && take_group(d, &l, e) < 0))
			return -1;
	}
	return t->taken || db_query(d, DB_MESSAGE_FIRST_DUE, first_due, &t->first_due_us, e, "i", t->queue) >= 0 ? 0
														 : -1;
}

/* --- what becomes of it --- */

struct state {
	struct message_was *was;
	size_t group_n;
	char group[256];
};

static int state_row(void *arg, sqlite3_stmt *st, struct err *e)
{
	struct state *s = arg;
	struct str group = text(st, 2);

	*s->was = (struct message_was){true, sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1)};
	s->group_n = group.n < sizeof(s->group) ? group.n : sizeof(s->group);
	memcpy(s->group, group.n ? group.p : "", s->group_n);
	return 1;
}

static int state_of(struct db *d, int64_t queue, int64_t id, struct state *ret, struct message_was *was, struct err *e)
{
	*was = (struct message_was){0};
	ret->was = was;
	return db_query(d, DB_MESSAGE_STATE, state_row, ret, e, "ii", id, queue) < 0 ? -1 : 0;
}

int message_delete(struct db *d, int64_t queue, int64_t id, int64_t said, bool fifo, int64_t now_us,
		   struct message_was *ret, struct err *e)
{
	struct state s;

	if (state_of(d, queue, id, &s, ret, e) < 0)
		return -1;
	if (!ret->found || (fifo && (ret->receives != said || ret->visible_us <= now_us)))
		return 0;
	if (db_run(d, DB_MESSAGE_DEL, e, "i", id) < 0)
		return -1;
	return fifo ? settle(d, queue, (struct str){s.group, s.group_n}, now_us, e) : 0;
}

int message_visibility(struct db *d, int64_t queue, int64_t id, int64_t said, bool fifo, int64_t now_us,
		       int64_t visible_us, bool undo, struct message_was *ret, struct err *e)
{
	struct state s;

	if (state_of(d, queue, id, &s, ret, e) < 0)
		return -1;
	if (!ret->found || ret->receives != said || ret->visible_us <= now_us)
		return 0;
	if (db_run(d, DB_MESSAGE_VISIBLE, e, "iii", id, visible_us, (int64_t)undo) < 0)
		return -1;
	return fifo ? settle(d, queue, (struct str){s.group, s.group_n}, now_us, e) : 0;
}

int message_sweep(struct db *d, int64_t queue, struct err *e)
{
	if (db_run(d, DB_MESSAGE_SWEEP, e, "ii", queue, (int64_t)SWEEP_ROWS) < 0)
		return -1;
	return (int)db_changed(d);
}

/* --- at start --- */

struct loading {
	struct message_load *l;
	int64_t *queues;
	size_t n, cap;
};

static int load_queue(void *arg, sqlite3_stmt *st, struct err *e)
{
	struct loading *k = arg;
	int64_t queue = sqlite3_column_int64(st, 0);

	if (k->n == k->cap) {
		k->cap = k->cap ? k->cap * 2 : 64;
		k->queues = xrealloc(k->queues, k->cap * sizeof(*k->queues));
	}
	k->queues[k->n++] = queue;
	k->l->queue(k->l, queue, sqlite3_column_int64(st, 1), sqlite3_column_int64(st, 2));
	return 0;
}

static int load_later(void *arg, sqlite3_stmt *st, struct err *e)
{
	struct loading *k = arg;

	k->l->later(k->l, sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1), sqlite3_column_int64(st, 2) > 0);
	return 0;
}

/* Counting the rows of one queue is all that takes longer the more there are; GROUP BY takes three times that. */
static const char counts_sql[] =
	"WITH RECURSIVE q(n) AS (SELECT min(queue) FROM message UNION ALL "
	"SELECT (SELECT min(queue) FROM message WHERE queue>n) FROM q WHERE n IS NOT NULL) "
	"SELECT n, (SELECT count(*) FROM message WHERE queue=n), (SELECT min(due_us) FROM message WHERE queue=n) "
	"FROM q WHERE n IS NOT NULL";

int message_load(struct store *s, struct message_load *l, int64_t now_us, struct err *e)
{
	struct loading k = {.l = l};
	int rc = store_each(s, "SELECT max(id) FROM message", first_due, &l->last_id, e);

	if (rc >= 0)
		rc = store_each(s, counts_sql, load_queue, &k, e);
	for (size_t i = 0; i < k.n && rc >= 0; i++) {
		char sql[200];

		snprintf(sql, sizeof(sql),
			 "SELECT queue,due_us,receives FROM message WHERE queue=%lld AND due_us>%lld AND due_us<%lld",
			 (long long)k.queues[i], (long long)now_us, (long long)MESSAGE_NEVER);
		rc = store_each(s, sql, load_later, &k, e);
	}
	free(k.queues);
	return rc < 0 ? -1 : 0;
}
