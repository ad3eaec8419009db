/* SPDX-License-Identifier: Apache-2.0 */
#include "object/upload.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "object/object_int.h"

static void clear(struct upload_op *u)
{
	for (int i = 0; u->rows && i < u->n; i++)
		upload_row_done(&u->rows[i]);
	free(take_ptr(u->rows));
	free(take_ptr(u->parts));
	u->n = 0;
	u->truncated = false;
}

static int each_part(void *arg, const struct upload_part_row *r)
{
	struct upload_op *u = arg;

	u->truncated = u->n == u->max;
	if (!u->truncated) {
		if (!(u->n & (u->n - 1)))
			u->parts = xrealloc(u->parts, sizeof(*r) * (size_t)(u->n ? u->n * 2 : 1));
		u->parts[u->n++] = *r;
	}
	return u->truncated;
}

static int each_upload(void *arg, struct upload_row *r)
{
	struct upload_op *u = arg;

	if (!str_starts(str_of(r->key), u->prefix))
		return strcmp(r->key, u->prefix) > 0;
	u->truncated = u->n == u->max;
	if (!u->truncated) {
		if (!(u->n & (u->n - 1)))
			u->rows = xrealloc(u->rows, sizeof(*r) * (size_t)(u->n ? u->n * 2 : 1));
		u->rows[u->n++] = *r;
		*r = (struct upload_row){0};
	}
	return u->truncated;
}

static int list(struct upload_op *u, struct db *d, struct err *e)
{
	bool before = strcmp(u->key, u->prefix) < 0;

	return upload_row_each(d, u->bucket, before ? u->prefix : u->key, before ? "" : u->id, INT64_MAX, each_upload,
			       u, e);
}

static int apply(struct store_part *p, struct db *d, struct err *e)
{
	struct upload_op *u = container_of(p, struct upload_op, in);
	int found;

	clear(u);
	buf_clear(&u->doomed);
	if (u->what == UPLOAD_CREATE)
		return upload_row_put(d, u->bucket, &u->row, e);
	if (u->what == UPLOAD_LIST)
		return list(u, d, e) < 0 ? -1 : 0;
	found = upload_row_get(d, u->bucket, u->key, u->id, &u->row, e);
	if (found <= 0)
		return found < 0 ? -1
				 : err_set(e, ERR_NOT_FOUND,
					   "The specified upload does not exist. The upload ID may be invalid, or the "
					   "upload "
					   "may have been aborted or completed.");
	if (u->what == UPLOAD_PART)
		return upload_part_put(d, u->id, &u->part, &u->doomed, e);
	if (u->what == UPLOAD_ABORT)
		return upload_row_del(d, u->bucket, u->key, u->id, &u->doomed, e);
	return upload_part_each(d, u->id, u->after, u->max + 1, each_part, u, e) < 0 ? -1 : 0;
}

static void applied(struct store_op *op, const struct err *e)
{
	struct upload_op *u = container_of(op, struct upload_op, tx.op);

	if (!e->kind && u->body)
		object_body_keep(u->body);
	if (!e->kind && op->s)
		files_doom(u->o, &u->doomed);
	object_body_drop(take_ptr(u->body));
	u->done(u, object_heard(op, e));
}

void upload_start(struct objects *o, struct upload_op *u, const char *bucket, const char *key)
{
	u->o = o;
	u->bucket = xstrdup(bucket);
	u->key = xstrdup(key);
	store_tx_init(&u->tx);
	u->tx.op.done = applied;
	u->in = (struct store_part){.apply = apply};
	store_tx_add(&u->tx, &u->in);
	if (u->what == UPLOAD_CREATE) {
		id_uuid(u->id);
		u->row.key = xstrdup(key);
		u->row.id = xstrdup(u->id);
		u->row.created_us = clock_wall_us();
	} else if (u->what == UPLOAD_PART) {
		u->part.size = object_body_size(u->body);
		u->part.modified_us = clock_wall_us();
		strlcpy_(u->part.file, object_body_file(u->body), sizeof(u->part.file));
	}
	if (u->what == UPLOAD_PARTS || u->what == UPLOAD_LIST)
		store_tx_read(o->opts.store, &u->tx);
	else
		store_tx_start(o->opts.store, &u->tx);
}

void upload_op_done(struct upload_op *u)
{
	clear(u);
	upload_row_done(&u->row);
	buf_done(&u->doomed);
	free(take_ptr(u->bucket));
	free(take_ptr(u->key));
}
