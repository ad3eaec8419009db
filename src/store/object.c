/* SPDX-License-Identifier: Apache-2.0 */
#include "store/object.h"
#include "base/mem.h"
#include "store/store_int.h"

void object_row_done(struct object_row *r)
{
	free(r->key);
	free(r->meta);
	free(r->files);
	buf_done(&r->data);
	*r = (struct object_row){0};
}

void upload_row_done(struct upload_row *r)
{
	free(r->key);
	free(r->id);
	free(r->meta);
	*r = (struct upload_row){0};
}

static char *text(sqlite3_stmt *st, int i)
{
	return xstrdup((const char *)sqlite3_column_text(st, i));
}

static void copy(sqlite3_stmt *st, int i, char *out, size_t size)
{
	const char *p = (const char *)sqlite3_column_text(st, i);

	strlcpy_(out, p ? p : "", size);
}

/* key, id, size, etag, modified_us, meta */
static void head(sqlite3_stmt *st, struct object_row *r)
{
	r->key = text(st, 0);
	r->id = sqlite3_column_int64(st, 1);
	r->size = sqlite3_column_int64(st, 2);
	copy(st, 3, r->etag, sizeof(r->etag));
	r->modified_us = sqlite3_column_int64(st, 4);
	r->meta = text(st, 5);
}

static int got_head(void *arg, sqlite3_stmt *st, struct err *e)
{
	head(st, arg);
	return 1;
}

static int got_body(void *arg, sqlite3_stmt *st, struct err *e)
{
	struct object_row *r = arg;
	int n = sqlite3_column_bytes(st, 1);

	r->files = text(st, 0);
	if (n)
		buf_add(&r->data, sqlite3_column_blob(st, 1), (size_t)n);
	return 1;
}

int object_row_get(struct db *d, const char *bucket, const char *key, bool body, struct object_row *ret, struct err *e)
{
	int found;

	object_row_done(ret);
	found = db_query(d, DB_OBJECT_GET, got_head, ret, e, "tt", bucket, key);
	if (found <= 0 || !body)
		return found;
	found = db_query(d, DB_OBJECT_BODY_GET, got_body, ret, e, "i", ret->id);
	return found ? found : err_set(e, ERR_CORRUPT, "object %s/%s has no body in the database", bucket, key);
}

int object_row_put(struct db *d, const char *bucket, const struct object_row *r, struct err *e)
{
	struct str data = r->files ? STR_NULL : (struct str){r->data.p ? r->data.p : "", r->data.n};

	if (db_run(d, DB_OBJECT_PUT, e, "ttiitit", bucket, r->key, r->id, r->size, r->etag, r->modified_us, r->meta) <
	    0)
		return -1;
	return db_run(d, DB_OBJECT_BODY_PUT, e, "itb", r->id, r->files, (const void *)data.p, data.n);
}

static int got_files(void *arg, sqlite3_stmt *st, struct err *e)
{
	const char *p = (const char *)sqlite3_column_text(st, 0);

	if (p)
		buf_adds(arg, p);
	if (p)
		buf_addc(arg, ' ');
	return 0;
}

int object_row_del(struct db *d, const char *bucket, const char *key, struct buf *files, struct err *e)
{
	if (db_query(d, DB_OBJECT_FILES, got_files, files, e, "tt", bucket, key) < 0 ||
	    db_run(d, DB_OBJECT_BODY_DEL, e, "tt", bucket, key) < 0)
		return -1;
	return db_run(d, DB_OBJECT_DEL, e, "tt", bucket, key);
}

int object_row_meta(struct db *d, const char *bucket, const char *key, int64_t id, const char *meta, struct err *e)
{
	if (db_run(d, DB_OBJECT_META, e, "ttit", bucket, key, id, meta) < 0)
		return -1;
	return db_changed(d) ? 0 : err_set(e, ERR_CONFLICT, "the object was replaced or deleted meanwhile");
}

struct each {
	int (*object)(void *arg, struct object_row *r);
	int (*upload)(void *arg, struct upload_row *r);
	int (*part)(void *arg, const struct upload_part_row *r);
	void *arg;
};

static int each_object(void *arg, sqlite3_stmt *st, struct err *e)
{
	struct each *x = arg;
	struct object_row r = {0};
	int stop;

	head(st, &r);
	stop = x->object(x->arg, &r);
	object_row_done(&r);
	return stop;
}

int object_row_each(struct db *d, const char *bucket, const char *from, bool more, int64_t max,
		    int (*each)(void *arg, struct object_row *r), void *arg, struct err *e)
{
	struct each x = {.object = each, .arg = arg};

	return db_query(d, more ? DB_OBJECT_AFTER : DB_OBJECT_FROM, each_object, &x, e, "tti", bucket, from, max);
}

static int got_int(void *arg, sqlite3_stmt *st, struct err *e)
{
	*(int64_t *)arg = sqlite3_column_int64(st, 0);
	return 0;
}

int object_last_id(struct store *s, int64_t *ret, struct err *e)
{
	return store_each(s, "SELECT ifnull(max(id),0) FROM object_body", got_int, ret, e);
}

int object_rows_files(struct db *d, struct buf *ret, struct err *e)
{
	return db_rows(
		d, "SELECT files FROM object_body WHERE files IS NOT NULL UNION ALL SELECT file||':0' FROM upload_part",
		got_files, ret, e);
}

int upload_row_put(struct db *d, const char *bucket, const struct upload_row *r, struct err *e)
{
	return db_run(d, DB_UPLOAD_PUT, e, "tttit", bucket, r->key, r->id, r->created_us, r->meta);
}

/* key, id, created_us, meta */
static void upload_head(sqlite3_stmt *st, struct upload_row *r)
{
	r->key = text(st, 0);
	r->id = text(st, 1);
	r->created_us = sqlite3_column_int64(st, 2);
	r->meta = text(st, 3);
}

static int got_upload(void *arg, sqlite3_stmt *st, struct err *e)
{
	upload_head(st, arg);
	return 1;
}

int upload_row_get(struct db *d, const char *bucket, const char *key, const char *id, struct upload_row *ret,
		   struct err *e)
{
	upload_row_done(ret);
	return db_query(d, DB_UPLOAD_GET, got_upload, ret, e, "ttt", bucket, key, id);
}

int upload_row_del(struct db *d, const char *bucket, const char *key, const char *id, struct buf *files, struct err *e)
{
	if ((files && db_query(d, DB_UPLOAD_FILES, got_files, files, e, "t", id) < 0) ||
	    db_run(d, DB_UPLOAD_PART_DEL, e, "t", id) < 0)
		return -1;
	return db_run(d, DB_UPLOAD_DEL, e, "ttt", bucket, key, id);
}

static int each_upload(void *arg, sqlite3_stmt *st, struct err *e)
{
	struct each *x = arg;
	struct upload_row r = {0};
	int stop;

	upload_head(st, &r);
	stop = x->upload(x->arg, &r);
	upload_row_done(&r);
	return stop;
}

int upload_row_each(struct db *d, const char *bucket, const char *key, const char *id, int64_t max,
		    int (*each)(void *arg, struct upload_row *r), void *arg, struct err *e)
{
	struct each x = {.upload = each, .arg = arg};

	return db_query(d, DB_UPLOAD_AFTER, each_upload, &x, e, "ttti", bucket, key, id, max);
}

int upload_part_put(struct db *d, const char *id, const struct upload_part_row *r, struct buf *files, struct err *e)
{
	if (db_query(d, DB_UPLOAD_PART_FILE, got_files, files, e, "ti", id, (int64_t)r->number) < 0)
		return -1;
	return db_run(d, DB_UPLOAD_PART_PUT, e, "tititit", id, (int64_t)r->number, r->file, r->size, r->etag,
		      r->modified_us, r->checksum);
}

static int each_part(void *arg, sqlite3_stmt *st, struct err *e)
{
	struct each *x = arg;
	struct upload_part_row r = {.number = sqlite3_column_int(st, 0),
				    .size = sqlite3_column_int64(st, 2),
				    .modified_us = sqlite3_column_int64(st, 4)};

	copy(st, 1, r.file, sizeof(r.file));
	copy(st, 3, r.etag, sizeof(r.etag));
	copy(st, 5, r.checksum, sizeof(r.checksum));
	return x->part(x->arg, &r);
}

int upload_part_each(struct db *d, const char *id, int64_t after, int64_t max,
		     int (*each)(void *arg, const struct upload_part_row *r), void *arg, struct err *e)
{
	struct each x = {.part = each, .arg = arg};

	return db_query(d, DB_UPLOAD_PARTS, each_part, &x, e, "tii", id, after, max);
}
