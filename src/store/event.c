/* SPDX-License-Identifier: Apache-2.0 */
#include "store/event.h"
#include "base/mem.h"
#include "store/store_int.h"

struct change_event {
	struct store_part part;
	struct store_event *ev; /* of a put */
	void (*done)(struct store_event *ev, const struct err *e);
	int64_t id, not_before_us;
	int attempts;
};

static struct change_event *change_of(struct store_part *p)
{
	return container_of(p, struct change_event, part);
}

void store_event_done(struct store_event *ev)
{
	free(take_ptr(ev->payload));
	ev->payload_n = 0;
}

static int apply_put(struct store_part *p, struct db *d, struct err *e)
{
	const struct store_event *ev = change_of(p)->ev;

	return db_run(d, DB_EVENT_PUT, e, "ittiiibtt", ev->id, ev->request_id, ev->target, ev->accepted_wall_us,
		      ev->not_before_wall_us, (int64_t)ev->attempts, (const void *)ev->payload, ev->payload_n,
		      ev->qualifier, ev->trace_id);
}

static int apply_retry(struct store_part *p, struct db *d, struct err *e)
{
	const struct change_event *c = change_of(p);

	return db_run(d, DB_EVENT_RETRY, e, "iii", c->id, (int64_t)c->attempts, c->not_before_us);
}

static int apply_del(struct store_part *p, struct db *d, struct err *e)
{
	return db_run(d, DB_EVENT_DEL, e, "i", change_of(p)->id);
}

static void changed(struct store_part *p, const struct err *e)
{
	struct change_event *c = change_of(p);

	if (c->ev)
		c->done(c->ev, e);
	free(c);
}

static struct change_event *add(struct store_tx *tx, int (*apply)(struct store_part *, struct db *, struct err *))
{
	struct change_event *c = xcalloc(1, sizeof(*c));

	c->part.apply = apply;
	c->part.done = changed;
	store_tx_add(tx, &c->part);
	return c;
}

void store_event_put_add(struct store *s, struct store_tx *tx, struct store_event *ev,
			 void (*done)(struct store_event *ev, const struct err *e))
{
	struct change_event *c = add(tx, apply_put);

	ev->id = s->next_event++;
	c->ev = ev;
	c->done = done;
}

void store_event_retry_add(struct store_tx *tx, const struct store_event *ev)
{
	struct change_event *c = add(tx, apply_retry);

	c->id = ev->id;
	c->attempts = ev->attempts;
	c->not_before_us = ev->not_before_wall_us;
}

void store_event_del_add(struct store_tx *tx, int64_t id)
{
	add(tx, apply_del)->id = id;
}

/* --- reading --- */

static bool has(const struct store_event_load *l, int64_t id)
{
	for (unsigned i = 0; i < l->n_have; i++)
		if (l->have[i] == id)
			return true;
	return false;
}

static void copy(char *out, size_t size, sqlite3_stmt *st, int column)
{
	strlcpy_(out, (const char *)sqlite3_column_text(st, column), size);
}

static int event_row(void *arg, sqlite3_stmt *st, struct err *e)
{
	struct store_event_load *l = arg;
	int64_t id = sqlite3_column_int64(st, 0), due = sqlite3_column_int64(st, 1);
	struct store_event *ev;

	if (has(l, id))
		return 0;
	if (due > l->not_after_wall_us || l->n == l->max || (l->n && l->bytes >= l->max_bytes)) {
		l->next_wall_us = due;
		return 1;
	}
	ev = &l->ev[l->n++];
	*ev = (struct store_event){.id = id,
				   .accepted_wall_us = sqlite3_column_int64(st, 2),
				   .not_before_wall_us = due,
				   .attempts = sqlite3_column_int(st, 3),
				   .payload_n = (size_t)sqlite3_column_bytes(st, 4)};
	ev->payload = xmemdup(ev->payload_n ? sqlite3_column_blob(st, 4) : "", ev->payload_n);
	copy(ev->request_id, sizeof(ev->request_id), st, 5);
	copy(ev->qualifier, sizeof(ev->qualifier), st, 6);
	copy(ev->trace_id, sizeof(ev->trace_id), st, 7);
	strlcpy_(ev->target, l->target, sizeof(ev->target));
	l->bytes += ev->payload_n;
	return 0;
}

static int apply_load(struct store_part *p, struct db *d, struct err *e)
{
	struct store_event_load *l = container_of(p, struct store_event_load, part);
	int r;

	while (l->n) /* of a first try */
		store_event_done(&l->ev[--l->n]);
	free(l->ev);
	l->ev = xcalloc(l->max, sizeof(*l->ev));
	l->bytes = 0;
	l->next_wall_us = INT64_MAX;
	r = db_query(d, DB_EVENT_LOAD, event_row, l, e, "t", l->target);
	return r < 0 ? -1 : 0;
}

void store_event_load_add(struct store_tx *tx, struct store_event_load *l)
{
	l->part.apply = apply_load;
	store_tx_add(tx, &l->part);
}

struct targets {
	void (*each)(void *arg, const char *target, int64_t n, int64_t first_wall_us);
	void *arg;
};

static int target_row(void *arg, sqlite3_stmt *st, struct err *e)
{
	const struct targets *t = arg;

	t->each(t->arg, (const char *)sqlite3_column_text(st, 0), sqlite3_column_int64(st, 1),
		sqlite3_column_int64(st, 2));
	return 0;
}

int store_event_targets(struct store *s, void (*each)(void *arg, const char *target, int64_t n, int64_t first_wall_us),
			void *arg, struct err *e)
{
	return store_each(s, "SELECT function,count(*),min(not_before_us) FROM event GROUP BY function", target_row,
			  &(struct targets){each, arg}, e);
}
