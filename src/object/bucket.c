/* SPDX-License-Identifier: Apache-2.0 */
/* Buckets, and the store of objects as a whole. */

#include "base/clock.h"
#include "base/mem.h"
#include "json/write.h"
#include "object/object_int.h"
#include "store/record.h"

#define PREFIX "bucket/"

bool bucket_name_ok(struct str name)
{
	bool digits_only = true;

	if (name.n < 3 || name.n > 63 || str_starts(name, "xn--") || str_ends(name, "-s3alias"))
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];
		bool mark = c == '-' || c == '.', edge = i == 0 || i == name.n - 1;

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (mark && !edge)) ||
		    (c == '.' && name.p[i - 1] == '.'))
			return false;
		digits_only &= c == '.' || (c >= '0' && c <= '9');
	}
	return !digits_only || !memchr(name.p, '.', name.n); /* no address */
}

bool object_key_ok(struct str key)
{
	return key.n && key.n <= OBJECT_KEY_MAX && !memchr(key.p, 0, key.n);
}

static struct bucket *find(const struct objects *o, struct str name)
{
	return map_get(&o->buckets, name);
}

struct bucket *bucket_get(const struct objects *o, struct str name)
{
	struct bucket *b = find(o, name);

	return b && !b->deleting ? b : NULL;
}

struct bucket *bucket_next(const struct objects *o, const char *after)
{
	auto_free char *key = after ? xasprintf(PREFIX "%s", after) : NULL;
	const struct record *r = record_next(o->opts.store, PREFIX, key);

	return r ? find(o, str_of(r->key + strlen(PREFIX))) : NULL;
}

static struct bucket *bucket_set(struct objects *o, struct str name, struct json *doc)
{
	struct bucket *b = find(o, name);

	if (!b) {
		b = xcalloc(1, sizeof(*b));
		b->name = str_dup(name);
		map_put(&o->buckets, str_of(b->name), b);
	}
	json_free(b->doc);
	b->doc = doc;
	return b;
}

static void bucket_free(struct bucket *b)
{
	free(b->name);
	json_free(b->doc);
	free(b);
}

static int add_member(void *arg, const char *key, const struct json *value)
{
	auto_free char *text = json_text(value);

	if (strcmp(key, "project") && strcmp(key, "CreationDate"))
		jw_raw(arg, key, str_of(text));
	return 0;
}

int bucket_put(struct objects *o, struct str name, const struct json *doc, const char *project, struct store_tx *tx,
	       struct err *e)
{
	const struct bucket *old = find(o, name);
	struct str since = old ? json_get_str(old->doc, "CreationDate") : STR_NULL;
	auto_free char *key = xasprintf(PREFIX STR_FMT, STR_ARG(name));
	auto_buf text = {0};
	struct jw w = jw_object(&text);
	char now[32];

	if (!bucket_name_ok(name))
		return err_set(e, ERR_INVALID, "The specified bucket is not valid.");
	if (old && old->deleting)
		return err_set(e, ERR_CONFLICT,
			       "A conflicting conditional operation is currently in progress against "
			       "this resource. Please try again.");
	jw_str(&w, "CreationDate", since.p ? since : str_of(clock_fmt_iso(clock_wall_us(), now)));
	if (project)
		jw_strc(&w, "project", project);
	json_each(doc, add_member, &w);
	jw_end(&w, '}');
	bucket_set(o, name, json_parse(buf_str(&text), NULL));
	record_put_add(o->opts.store, tx, key, text.p);
	return 0;
}

/* --- deleting --- */

static int is_there(void *arg, struct object_row *r)
{
	return 1;
}

static int note_upload(void *arg, struct upload_row *r)
{
	buf_add(arg, r->key, strlen(r->key) + 1);
	buf_add(arg, r->id, strlen(r->id) + 1);
	return 0;
}

/* What was begun and never completed goes with it. */
static int apply_del(struct store_part *p, struct db *d, struct err *e)
{
	struct bucket_del *x = container_of(p, struct bucket_del, part);
	int found = object_row_each(d, x->name, "", false, 1, is_there, NULL, e);
	auto_buf uploads = {0};

	buf_clear(&x->doomed);
	if (found)
		return found < 0 ? -1 : err_set(e, ERR_CONFLICT, "The bucket you tried to delete is not empty");
	if (upload_row_each(d, x->name, "", "", INT64_MAX, note_upload, &uploads, e) < 0)
		return -1;
	for (const char *key = uploads.p; uploads.n && key < uploads.p + uploads.n;) {
		const char *id = key + strlen(key) + 1;

		if (upload_row_del(d, x->name, key, id, &x->doomed, e) < 0)
			return -1;
		key = id + strlen(id) + 1;
	}
	return 0;
}

static void del_done(struct store_op *op, const struct err *e)
{
	struct bucket_del *x = container_of(op, struct bucket_del, tx.op);
	struct bucket *b = op->s ? find(x->o, str_of(x->name)) : NULL;
	auto_free char *key = xasprintf(PREFIX "%s", x->name);

	if (b && !e->kind) {
		files_doom(x->o, &x->doomed);
		map_del(&x->o->buckets, str_of(x->name));
		bucket_free(b);
	} else if (b) { /* its record was forgotten when the deletion began */
		auto_free char *text = json_text(b->doc);

		b->deleting = false;
		record_put(x->o->opts.store, NULL, key, text);
	}
	buf_done(&x->doomed);
	x->done(x, object_heard(op, e));
}

void bucket_del_start(struct objects *o, struct bucket_del *x, const char *name)
{
	auto_free char *key = xasprintf(PREFIX "%s", name);

	x->o = o;
	x->doomed = (struct buf){0};
	strlcpy_(x->name, name, sizeof(x->name));
	find(o, str_of(name))->deleting = true; /* writes that begin from now on find no bucket */
	store_tx_init(&x->tx);
	x->tx.op.done = del_done;
	x->part = (struct store_part){.apply = apply_del};
	store_tx_add(&x->tx, &x->part);
	record_del_add(o->opts.store, &x->tx, key);
	store_tx_start(o->opts.store, &x->tx);
}

/* --- all of it --- */

int objects_open(const struct objects_opts *opts, struct objects **ret, struct err *e)
{
	struct objects *o = xcalloc(1, sizeof(*o));

	o->opts = *opts;
	o->dirfd = -1;
	list_init(&o->bodies);
	list_init(&o->full);
	list_init(&o->reads);
	list_init(&o->doomed);
	for (const struct record *r = NULL; (r = record_next(opts->store, PREFIX, r ? r->key : NULL));)
		bucket_set(o, str_of(r->key + strlen(PREFIX)), json_parse(str_of(r->value), NULL));
	if (files_open(o, e) < 0 || object_last_id(opts->store, &o->last_id, e) < 0) {
		objects_free(o);
		return -1;
	}
	/* What was the last may have been deleted since: its sequence goes on all the same. */
	if (o->last_id < clock_wall_us())
		o->last_id = clock_wall_us();
	files_sweep(o);
	*ret = o;
	return 0;
}

void objects_free(struct objects *o)
{
	struct bucket *b;
	size_t pos = 0;

	if (!o)
		return;
	list_each(&o->bodies, it) object_body_orphan(it);
	list_each(&o->reads, it) object_read_orphan(it);
	list_each(&o->full, it) list_del(it);
	files_free(o);
	while ((b = map_next(&o->buckets, &pos)))
		bucket_free(b);
	map_done(&o->buckets);
	free(o);
}
