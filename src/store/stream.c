/* SPDX-License-Identifier: Apache-2.0 */
#include "store/stream.h"
#include "base/mem.h"
#include "store/db.h"

#define TRIM_ROWS 500 /* in one transaction: others wait for it */

static int take_int(void *arg, sqlite3_stmt *st, struct err *e)
{
	*(int64_t *)arg = sqlite3_column_int64(st, 0); /* NULL: 0 */
	return 0;
}

int stream_row_put(struct db *d, int64_t shard, int64_t not_below, const struct stream_record *rec, int64_t *ret_id,
		   struct err *e)
{
	return db_query(d, DB_STREAM_PUT, take_int, ret_id, e, "iisbs", not_below, shard, rec->key,
			(const void *)rec->data.p, rec->data.n, rec->trace);
}

struct reading {
	struct stream_rows *r;
	struct stream_record **last;
	size_t bytes;
	int n;
};

static int take_record(void *arg, sqlite3_stmt *st, struct err *e)
{
	struct reading *g = arg;
	size_t key_n = (size_t)sqlite3_column_bytes(st, 1), data_n = (size_t)sqlite3_column_bytes(st, 2),
	       trace_n = (size_t)sqlite3_column_bytes(st, 3);
	struct stream_record *rec;
	char *p;

	if (g->n && (g->n == g->r->limit || g->bytes + key_n + data_n > g->r->bytes)) {
		g->r->more = true;
		return 1;
	}
	rec = xmalloc(sizeof(*rec) + key_n + data_n + trace_n + 1);
	p = (char *)(rec + 1);
	*rec = (struct stream_record){.id = sqlite3_column_int64(st, 0),
				      .key = {p, key_n},
				      .data = {p + key_n, data_n},
				      .trace = {p + key_n + data_n, trace_n}};
	memcpy(p, sqlite3_column_text(st, 1), key_n);
	if (data_n)
		memcpy(p + key_n, sqlite3_column_blob(st, 2), data_n);
	if (trace_n)
		memcpy(p + key_n + data_n, sqlite3_column_text(st, 3), trace_n);
	*g->last = rec;
	g->last = &rec->next;
	g->bytes += key_n + data_n;
	g->n++;
	return 0;
}

int stream_rows_read(struct db *d, struct stream_rows *r, struct err *e)
{
	struct reading g = {.r = r, .last = &r->first};

	stream_records_free(take_ptr(r->first)); /* of a try before */
	r->more = false;
	return db_query(d, DB_STREAM_READ, take_record, &g, e, "iii", r->shard, r->from, (int64_t)r->limit + 1) < 0 ? -1
														    : 0;
}

void stream_records_free(struct stream_record *first)
{
	while (first) {
		struct stream_record *next = first->next;

		free(first);
		first = next;
	}
}

int stream_rows_trim(struct db *d, struct stream_trim *t, struct err *e)
{
	int64_t shard = 0, budget = TRIM_ROWS;
	size_t i = 0;

	t->more = t->left = false;
	while (budget > 0) {
		int64_t before = shard, from = INT64_MAX, gone;

		if (db_query(d, DB_STREAM_SHARD_AFTER, take_int, &shard, e, "i", before) < 0)
			return -1;
		if (!shard)
			return 0;
		while (i < t->n && t->keep[i].shard < shard)
			i++;
		if (i < t->n && t->keep[i].shard == shard)
			from = t->keep[i].from;
		if (db_run(d, DB_STREAM_TRIM, e, "iii", shard, from, budget) < 0)
			return -1;
		gone = db_changed(d);
		t->left |= from < INT64_MAX;
		budget -= gone;
	}
	t->more = true;
	return 0;
}
