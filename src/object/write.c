/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of objects: one commit for the row, what it starts, and what it replaces. */
#include <stdio.h>
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "object/object_int.h"

static void event(const struct objects *o, struct object_event *ev, const char *bucket, const char *key,
		  const char *etag, int64_t size, int64_t id)
{
	ev->bucket = bucket;
	ev->key = key;
	ev->etag = etag;
	ev->size = size;
	snprintf(ev->sequencer, sizeof(ev->sequencer), "%016llX", (unsigned long long)id);
}

static int notify(const struct objects *o, const struct object_event *ev, struct store_tx *tx, struct err *e)
{
	if (!bucket_get(o, str_of(ev->bucket)))
		return err_set(e, ERR_NOT_FOUND, "The specified bucket does not exist");
	return o->opts.notify ? o->opts.notify(o->opts.arg, ev, tx, e) : 0;
}

/* The transaction of one part of our own, and of what the event adds. Where it cannot be, the part says so. */
static void begin(struct store_tx *tx, struct store_part *part,
		  int (*apply)(struct store_part *, struct db *, struct err *),
		  void (*done)(struct store_op *, const struct err *))
{
	store_tx_init(tx);
	tx->op.done = done;
	*part = (struct store_part){.apply = apply};
	store_tx_add(tx, part);
}

static void give_up(struct store_tx *tx, struct store_part *part, const struct err *why)
{
	void (*done)(struct store_op *, const struct err *) = tx->op.done;
	int (*apply)(struct store_part *, struct db *, struct err *) = part->apply;

	store_tx_drop(tx, why);
	begin(tx, part, apply, done);
}

/* --- put --- */

static int condition(struct db *d, const struct object_put *p, struct err *e)
{
	struct object_row now = {0};
	int found, ret = 0;

	if (!p->when.if_none && !p->when.if_match[0])
		return 0;
	found = object_row_get(d, p->bucket, p->row.key, false, &now, e);
	if (found < 0)
		ret = -1;
	else if (!found && p->when.if_match[0])
		ret = err_set(e, ERR_NOT_FOUND, "The specified key does not exist.");
	else if (found && (p->when.if_none || (strcmp(p->when.if_match, "*") && strcmp(p->when.if_match, now.etag))))
		ret = err_set(e, ERR_CONFLICT, "At least one of the pre-conditions you specified did not hold");
	object_row_done(&now);
	return ret;
}

static int note_part(void *arg, const struct upload_part_row *r)
{
	buf_addf(arg, "%s:%lld ", r->file, (long long)r->size);
	return 0;
}

/* The upload's parts become the object's; those that are not wanted, nobody's. Both lists are in the order of numbers. */
static int end_upload(struct db *d, struct object_put *p, struct err *e)
{
	auto_buf all = {0};
	struct str wanted = str_of(p->row.files), rest, want, name;
	int64_t size;
	bool more = file_next(&wanted, &want, &size);

	if (upload_part_each(d, p->upload, 0, INT64_MAX, note_part, &all, e) < 0)
		return -1;
	for (rest = buf_str(&all); file_next(&rest, &name, &size);) {
		if (more && str_eq(name, want))
			more = file_next(&wanted, &want, &size);
		else
			buf_addf(&p->doomed, STR_FMT ":0 ", STR_ARG(name));
	}
	if (more)
		return err_set(e, ERR_UNAVAILABLE, "the parts of the upload were changed meanwhile; try again");
	return upload_row_del(d, p->bucket, p->row.key, p->upload, NULL, e);
}

static int apply_put(struct store_part *part, struct db *d, struct err *e)
{
	struct object_put *p = container_of(part, struct object_put, part);

	buf_clear(&p->doomed);
	if (p->e.kind)
		return err_set(e, p->e.kind, "%s", p->e.text);
	if (condition(d, p, e) < 0 || (p->upload[0] && end_upload(d, p, e) < 0) ||
	    object_row_del(d, p->bucket, p->row.key, &p->doomed, e) < 0)
		return -1;
	return object_row_put(d, p->bucket, &p->row, e);
}

static void put_done(struct store_op *op, const struct err *e)
{
	struct object_put *p = container_of(op, struct object_put, tx.op);

	if (!e->kind && p->body)
		object_body_keep(p->body);
	if (!e->kind && op->s)
		files_doom(p->o, &p->doomed);
	object_body_drop(take_ptr(p->body));
	buf_done(&p->doomed);
	free(take_ptr(p->bucket));
	object_row_done(&p->row);
	p->done(p, object_heard(op, e));
}

void object_put_start(struct objects *o, struct object_put *p, const char *bucket, struct str key)
{
	struct object_row *r = &p->row;

	p->o = o;
	p->e = (struct err){0};
	p->bucket = xstrdup(bucket);
	p->id = ++o->last_id;
	p->modified_us = clock_wall_us();
	*r = (struct object_row){.key = str_dup(key),
				 .id = p->id,
				 .size = p->body ? object_body_size(p->body) : p->size,
				 .modified_us = p->modified_us,
				 .meta = take_ptr(p->meta)};
	if (!p->etag[0])
		enc_hex(object_body_hash(p->body, HASH_MD5), 16, p->etag);
	memcpy(r->etag, p->etag, sizeof(r->etag));
	if (!p->body)
		r->files = take_ptr(p->files);
	else if (!object_body_small(p->body, &r->data))
		r->files = xasprintf("%s:%lld", object_body_file(p->body), (long long)r->size);
	begin(&p->tx, &p->part, apply_put, put_done);
	event(o, &p->ev, p->bucket, r->key, r->etag, r->size, r->id);
	if (notify(o, &p->ev, &p->tx, &p->e) < 0)
		give_up(&p->tx, &p->part, &p->e);
	store_tx_start(o->opts.store, &p->tx);
}

/* --- delete --- */

static int apply_look(struct store_part *part, struct db *d, struct err *e)
{
	struct object_del *x = container_of(part, struct object_del, part);
	struct object_row r = {0};
	int found = 0;

	for (int i = 0; i < x->n && found >= 0; i++) {
		found = object_row_get(d, x->bucket, x->keys[i], false, &r, e);
		x->sizes[i] = found > 0 ? r.size : -1;
		memcpy(x->etags[i], r.etag, sizeof(r.etag));
	}
	object_row_done(&r);
	return found < 0 ? -1 : 0;
}

static int apply_del(struct store_part *part, struct db *d, struct err *e)
{
	struct object_del *x = container_of(part, struct object_del, part);

	buf_clear(&x->doomed);
	if (x->e.kind)
		return err_set(e, x->e.kind, "%s", x->e.text);
	for (int i = 0; i < x->n; i++)
		if (object_row_del(d, x->bucket, x->keys[i], &x->doomed, e) < 0)
			return -1;
	return 0;
}

static void del_done(struct store_op *op, const struct err *e)
{
	struct object_del *x = container_of(op, struct object_del, tx.op);

	if (!e->kind && op->s)
		files_doom(x->o, &x->doomed);
	buf_done(&x->doomed);
	for (int i = 0; i < x->n; i++)
		free(x->keys[i]);
	free(take_ptr(x->keys));
	free(take_ptr(x->sizes));
	free(take_ptr(x->etags));
	free(take_ptr(x->bucket));
	x->done(x, object_heard(op, e));
}

static void del_looked(struct store_op *op, const struct err *e)
{
	struct object_del *x = container_of(op, struct object_del, tx.op);

	if (e->kind || !op->s)
		return del_done(op, e);
	begin(&x->tx, &x->part, apply_del, del_done);
	for (int i = 0; i < x->n && !x->e.kind; i++) {
		event(x->o, &x->ev, x->bucket, x->keys[i], x->etags[i], x->sizes[i], ++x->o->last_id);
		if (x->sizes[i] >= 0)
			notify(x->o, &x->ev, &x->tx, &x->e);
	}
	if (x->e.kind)
		give_up(&x->tx, &x->part, &x->e);
	store_tx_start(x->o->opts.store, &x->tx);
}

void object_del_start(struct objects *o, struct object_del *x, const char *bucket)
{
	x->o = o;
	x->e = (struct err){0};
	x->bucket = xstrdup(bucket);
	x->sizes = xcalloc((size_t)x->n + 1, sizeof(*x->sizes));
	x->etags = xcalloc((size_t)x->n + 1, sizeof(*x->etags));
	x->doomed = (struct buf){0};
	begin(&x->tx, &x->part, apply_look, del_looked);
	store_tx_read(o->opts.store, &x->tx);
}

/* --- edit --- */

static int apply_edit(struct store_part *part, struct db *d, struct err *e)
{
	struct object_edit *x = container_of(part, struct object_edit, part);

	return object_row_meta(d, x->bucket, x->key, x->id, x->meta, e);
}

static void edited(struct store_op *op, const struct err *e)
{
	struct object_edit *x = container_of(op, struct object_edit, tx.op);

	free(take_ptr(x->meta));
	free(take_ptr(x->bucket));
	free(take_ptr(x->key));
	x->done(x, object_heard(op, e));
}

void object_edit_start(struct objects *o, struct object_edit *x, const char *bucket, struct str key)
{
	x->bucket = xstrdup(bucket);
	x->key = str_dup(key);
	begin(&x->tx, &x->part, apply_edit, edited);
	store_tx_start(o->opts.store, &x->tx);
}
