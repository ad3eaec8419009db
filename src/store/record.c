/* SPDX-License-Identifier: Apache-2.0 */
#include "store/record.h"
#include "base/mem.h"
#include "store/store_int.h"

/* The first place whose key is not below the given one. */
static size_t place(const struct records *t, const char *key)
{
	size_t lo = 0, hi = t->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(t->sorted[mid].key, key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct record *find(const struct records *t, const char *key)
{
	size_t at = place(t, key);

	return at < t->n && !strcmp(t->sorted[at].key, key) ? &t->sorted[at] : NULL;
}

const char *record_get(const struct store *s, const char *key)
{
	const struct record *r = find(&s->records, key);

	return r ? r->value : NULL;
}

static void set(struct records *t, const char *key, const char *value)
{
	struct record *r = find(t, key);
	size_t at;

	if (r) {
		free(r->value);
		r->value = xstrdup(value);
		return;
	}
	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 64;
		t->sorted = xrealloc(t->sorted, t->cap * sizeof(*t->sorted));
	}
	at = place(t, key);
	memmove(t->sorted + at + 1, t->sorted + at, (t->n - at) * sizeof(*t->sorted));
	t->sorted[at] = (struct record){xstrdup(key), xstrdup(value)};
	t->n++;
}

struct change *record_put_change(struct store *s, const char *key, const char *value)
{
	struct change *c = change_new(CHANGE_RECORD_PUT);

	c->name = xstrdup(key);
	c->value = xstrdup(value);
	set(&s->records, c->name, c->value);
	return c;
}

void record_put(struct store *s, struct store_op *op, const char *key, const char *value)
{
	store_change_start(s, op, record_put_change(s, key, value));
}

struct change *record_del_change(struct store *s, const char *key)
{
	struct change *c = change_new(CHANGE_RECORD_DEL);
	struct records *t = &s->records;
	struct record *r = find(t, key);

	c->name = xstrdup(key); /* key may be the record's own */
	if (r) {
		free(r->key);
		free(r->value);
		t->n--;
		memmove(r, r + 1, (size_t)(t->sorted + t->n - r) * sizeof(*r));
	}
	return c;
}

void record_del(struct store *s, struct store_op *op, const char *key)
{
	store_change_start(s, op, record_del_change(s, key));
}

/* --- what could not be written --- */

void record_unwritten(struct store *s, const char *key)
{
	char *own = map_get(&s->unwritten, str_of(key)) ? NULL : xstrdup(key);

	if (own)
		map_put(&s->unwritten, str_of(own), own);
}

static void mended(struct store_op *op, const struct err *e)
{
	free(container_of(op, struct store_tx, op)); /* whoever asked first has heard why */
}

void records_mend(struct store *s)
{
	struct map keys = s->unwritten;
	struct store_tx *tx = store_tx_new();
	size_t pos = 0;
	char *key;

	s->unwritten = (struct map){0};
	tx->op.done = mended;
	while ((key = map_next(&keys, &pos))) {
		const char *value = record_get(s, key);

		if (value)
			record_put_add(s, tx, key, value);
		else
			record_del_add(s, tx, key);
		free(key);
	}
	map_done(&keys);
	store_tx_start(s, tx);
}

const struct record *record_next(const struct store *s, const char *prefix, const char *after)
{
	const struct records *t = &s->records;
	size_t at = place(t, after ? after : prefix);

	if (after && at < t->n && !strcmp(t->sorted[at].key, after))
		at++;
	return at < t->n && str_starts(str_of(t->sorted[at].key), prefix) ? &t->sorted[at] : NULL;
}

const struct record *record_last(const struct store *s, const char *prefix)
{
	const struct records *t = &s->records;
	auto_free char *end = xasprintf("%s\x7f", prefix); /* keys are ASCII */
	size_t at = place(t, end);

	return at && str_starts(str_of(t->sorted[at - 1].key), prefix) ? &t->sorted[at - 1] : NULL;
}

static int load(void *arg, sqlite3_stmt *st, struct err *e)
{
	set(arg, (const char *)sqlite3_column_text(st, 0), (const char *)sqlite3_column_text(st, 1));
	return 0;
}

int records_load(struct store *s, struct err *e)
{
	return db_rows(&s->db, "SELECT key,value FROM record ORDER BY key", load, &s->records, e);
}

void records_done(struct store *s)
{
	char *key;

	for (size_t i = 0; i < s->records.n; i++) {
		free(s->records.sorted[i].key);
		free(s->records.sorted[i].value);
	}
	free(s->records.sorted);
	for (size_t pos = 0; (key = map_next(&s->unwritten, &pos));)
		free(key);
	map_done(&s->unwritten);
}
