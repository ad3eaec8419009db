/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "migrations.h"
#include "store/store_int.h"

struct change *change_new(enum change_kind kind)
{
	struct change *c = xcalloc(1, sizeof(*c));

	c->kind = kind;
	list_init(&c->node);
	return c;
}

void change_free(struct change *c)
{
	if (!c)
		return;
	list_del(&c->node);
	free(c->name);
	free(c->value);
	free(c->project);
	free(c->reason);
	free(c->reason_code);
	free(c->tags);
	free(c->env);
	free(c->route);
	free(c->allow);
	free(c->access_key);
	free(c->secret_key);
	free(c->aliases);
	free(c->provisioned);
	free(c->image);
	revision_unref(c->rev);
	function_unref(c->f);
	free(c->own);
	free(c);
}

int change_apply(struct db *d, const struct change *c, struct err *e)
{
	switch (c->kind) {
	case CHANGE_SETTING:
		return db_run(d, DB_SETTING_PUT, e, "tt", c->name, c->value);
	case CHANGE_FUNCTION_PUT:
	case CHANGE_FUNCTION_DEL:
	case CHANGE_VERSION_PUT:
	case CHANGE_VERSION_DEL:
		return rows_apply(d, c, e);
	case CHANGE_NAME_TAKEN:
		return err_set(e, ERR_EXISTS, "Function already exist: %s", c->name);
	case CHANGE_IMAGE_PUT:
		return db_run(d, DB_IMAGE_PUT, e, "tttiitti", c->image->reference, c->image->digest,
			      c->image->config_digest, c->image->created_wall_us, c->image->pulled_wall_us,
			      c->image->layers, c->image->config, (int64_t)c->image->moved);
	case CHANGE_IMAGE_DEL:
		return db_run(d, DB_IMAGE_DEL, e, "t", c->name);
	case CHANGE_RECORD_PUT:
		return db_run(d, DB_RECORD_PUT, e, "tt", c->name, c->value);
	case CHANGE_RECORD_DEL:
		return db_run(d, DB_RECORD_DEL, e, "t", c->name);
	case CHANGE_TX:
		return tx_apply(c->tx, d, e);
	case CHANGE_TIDY:
		return 0;
	}
	return err_set(e, ERR_BUG, "change %d", c->kind);
}

static struct store_op *op_of(struct loop_work *w)
{
	return container_of(w, struct store_op, work);
}

static int commit_one(struct db *d, struct loop_work *w, struct err *e)
{
	*e = (struct err){0};
	if (db_begin(d, e) < 0)
		return -1;
	if (change_apply(d, op_of(w)->priv, e) == 0 && db_run(d, DB_COMMIT, e, "") == 0)
		return 0;
	if (!sqlite3_get_autocommit(d->h))
		db_run(d, DB_ROLLBACK, NULL, "");
	return -1;
}

/* Without undo: one that fails fails all of them, for it need not be paid for by those that go well. */
static int apply_one(struct db *d, struct store_op *op, bool undo)
{
	if (!undo)
		return change_apply(d, op->priv, NULL);
	op->e = (struct err){0};
	if (db_run(d, DB_SAVEPOINT, NULL, "") < 0)
		return -1;
	if (change_apply(d, op->priv, &op->e) < 0 &&
	    (sqlite3_get_autocommit(d->h) || db_run(d, DB_ROLLBACK_TO, NULL, "") < 0))
		return -1; /* some failures end the whole transaction */
	return db_run(d, DB_RELEASE, NULL, "");
}

static int commit_all(struct db *d, struct loop_work *first, bool undo)
{
	if (db_begin(d, NULL) < 0)
		return -1;
	for (struct loop_work *w = first; w; w = w->next)
		if (apply_one(d, op_of(w), undo) < 0)
			goto failed;
	if (db_run(d, DB_COMMIT, NULL, "") == 0)
		return 0;
failed:
	if (!sqlite3_get_autocommit(d->h))
		db_run(d, DB_ROLLBACK, NULL, "");
	return -1;
}

/* Gives the file's unused pages back: checked here because it cannot run inside a transaction with others. */
static void tidy(struct db *d)
{
	if (d->unsure)
		return; /* what this moves into the database has to be in the log */
	db_exec(d, "PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)", NULL);
	sqlite3_db_release_memory(d->h);
}

static bool is_lazy(struct loop_work *w)
{
	const struct change *c = op_of(w)->priv;

	return c->kind == CHANGE_TX && c->tx->lazy;
}

/* On the thread. One fsync for all that is queued; when one of them fails, for all others; when the database does, one by
 * one, so that each hears its own reason. */
static void write_work(struct loop_work *w)
{
	struct db *d = &op_of(w)->s->db;
	bool tidy_after = false, lazy = is_lazy(w);
	struct loop_work *rest = NULL;

	loop_thread_take_batch(op_of(w)->s->db_thread, &rest);
	w->next = rest;
	for (struct loop_work *i = rest; i; i = i->next)
		lazy &= is_lazy(i);
	if (lazy)
		db_exec(d, "PRAGMA synchronous=NORMAL", NULL);
	if (!rest || (commit_all(d, w, false) < 0 && commit_all(d, w, true) < 0))
		for (struct loop_work *i = w; i; i = i->next)
			commit_one(d, i, &op_of(i)->e);
	if (lazy && db_exec(d, "PRAGMA synchronous=FULL", NULL) < 0)
		abort(); /* what comes after it would not be durable, and would say so to nobody */
	for (struct loop_work *i = w; i; i = i->next)
		tidy_after |= ((struct change *)op_of(i)->priv)->kind == CHANGE_TIDY;
	if (tidy_after)
		tidy(d);
}

void store_on_trouble(struct store *s, void (*said)(void *arg, const struct err *e, uint64_t n, int64_t since_wall_us),
		      void *arg)
{
	s->trouble.said = said;
	s->trouble.arg = arg;
}

/* What was asked for may be wrong; that is none of the disk's. */
static void look(struct store_trouble *t, const struct err *e)
{
	bool bad = e->kind == ERR_UNAVAILABLE || e->kind == ERR_SYS || e->kind == ERR_CORRUPT;

	if (bad ? !t->n++ : t->n && !e->kind) {
		t->since_wall_us = bad ? clock_wall_us() : t->since_wall_us;
		if (t->said)
			t->said(t->arg, bad ? e : NULL, t->n, t->since_wall_us);
	}
	if (!e->kind)
		t->n = 0;
}

static void write_done(struct loop_work *w)
{
	struct store_op *op = op_of(w);
	struct change *c = op->priv;
	bool own = c->own != NULL;

	if (op->s && op->e.kind && c->kind == CHANGE_FUNCTION_PUT && c->inserted)
		table_insert_failed(op->s, c->f);
	if (op->s && op->e.kind && c->kind == CHANGE_VERSION_PUT && !c->f->deleted)
		version_take_out(op->s, c->f, c->rev);
	if (op->s && op->e.kind && (c->kind == CHANGE_RECORD_PUT || c->kind == CHANGE_RECORD_DEL))
		record_unwritten(op->s, c->name);
	if (own && op->e.kind)
		log_error("store", "a write that nobody waits for failed: %s", op->e.text);
	if (op->s)
		look(&op->s->trouble, &op->e);
	op->priv = NULL;
	if (c->kind == CHANGE_TX && op->s && op->e.kind)
		tx_unwritten(op->s, c->tx);
	if (c->kind == CHANGE_TX)
		tx_tell(c->tx, &op->e);
	change_free(c); /* op too, when it is our own */
	if (!own && op->done)
		op->done(op, &op->e);
}

void store_change_start(struct store *s, struct store_op *op, struct change *c)
{
	if (s->unwritten.n)
		records_mend(s);
	if (!op)
		op = c->own = xcalloc(1, sizeof(*op));
	op->work = (struct loop_work){.work = write_work, .done = write_done};
	op->s = s;
	op->e = (struct err){0};
	op->priv = c;
	c->op = op;
	list_push(&s->pending, &c->node);
	loop_thread_push(s->db_thread, &op->work);
}

const char *store_setting(const struct store *s, const char *name)
{
	const struct setting *v = map_get(&s->settings, str_of(name));

	return v ? v->value : NULL;
}

static void setting_set(struct store *s, const char *name, const char *value)
{
	struct setting *v = map_get(&s->settings, str_of(name));

	if (!v) {
		v = xcalloc(1, sizeof(*v));
		v->name = xstrdup(name);
		map_put(&s->settings, str_of(v->name), v);
	}
	free(v->value);
	v->value = xstrdup(value);
}

void store_setting_put(struct store *s, struct store_op *op, const char *name, const char *value)
{
	struct change *c = change_new(CHANGE_SETTING);

	c->name = xstrdup(name);
	c->value = xstrdup(value);
	setting_set(s, name, value);
	store_change_start(s, op, c);
}

static int load_setting(void *arg, sqlite3_stmt *st, struct err *e)
{
	setting_set(arg, (const char *)sqlite3_column_text(st, 0), (const char *)sqlite3_column_text(st, 1));
	return 0;
}

/* An empty database beside archives is one that was lost: to go on would sweep all that it named, logs too. */
static int check_not_lost(struct store *s, struct err *e)
{
	int64_t version;

	if (db_version(&s->db, &version, e) < 0)
		return -1;
	if (version || !blob_any(s))
		return 0;
	return err_set(e, ERR_CORRUPT,
		       "tandem.db is missing or empty, but blobs/ holds archives: restore a backup (tandem restore "
		       "--replace), or move blobs/ away to begin anew");
}

static int open_once(struct loop *l, int state_dirfd, struct store **ret, struct err *e)
{
	struct store *s = xcalloc(1, sizeof(*s));

	s->loop = l;
	s->blobs_fd = s->code_fd = -1;
	list_init(&s->pending);
	list_init(&s->reading);
	s->dirfd = fcntl(state_dirfd, F_DUPFD_CLOEXEC, 3);
	if (s->dirfd < 0) {
		err_sys(e, errno, "state directory");
		goto failed;
	}
	if (blob_open_dirs(s, e) < 0 || db_open(&s->db, s->dirfd, "tandem.db", true, e) < 0 ||
	    check_not_lost(s, e) < 0 || db_migrate(&s->db, migrations, ARRAY_SIZE(migrations), e) < 0 ||
	    db_rows(&s->db, "SELECT name,value FROM setting", load_setting, s, e) < 0 || table_load(s, e) < 0 ||
	    records_load(s, e) < 0 || snapshots_open(s, e) < 0)
		goto failed;
	s->db_thread = loop_thread_new(l, "store");
	s->file_thread = loop_thread_new(l, "files");
	s->read_thread = loop_thread_new(l, "reads");
	*ret = s;
	return 0;
failed:
	err_wrap(e, "open the state");
	store_free(s);
	return -1;
}

int store_open(struct loop *l, int state_dirfd, struct store **ret, struct err *e)
{
	int r = open_once(l, state_dirfd, ret, e);

	/* SQLite names a full disk in several ways; without one another try does no harm. */
	return r < 0 && (e->kind == ERR_UNAVAILABLE || e->kind == ERR_SYS) && reserve_take(state_dirfd)
		       ? open_once(l, state_dirfd, ret, e)
		       : r;
}

void store_free(struct store *s)
{
	struct setting *v;
	size_t pos = 0;

	if (!s)
		return;
	if (s->db_thread)
		loop_thread_free(s->db_thread);
	if (s->file_thread)
		loop_thread_free(s->file_thread);
	if (s->read_thread)
		loop_thread_free(s->read_thread);
	/* What is done by now is told by the loop, after we are gone. */
	list_each(&s->pending, it)
	{
		container_of(it, struct change, node)->op->s = NULL;
		list_del(it);
	}
	list_each(&s->reading, it)
	{
		container_of(it, struct store_op, reading)->s = NULL;
		list_del(it);
	}
	gc_free(s);
	db_close(&s->read_db);
	db_close(&s->db);
	table_done(s);
	while ((v = map_next(&s->settings, &pos))) {
		free(v->name);
		free(v->value);
		free(v);
	}
	map_done(&s->settings);
	records_done(s);
	blob_done(s);
	snapshots_done(s);
	if (s->dirfd >= 0)
		close(s->dirfd);
	free(s);
}

int store_dirfd(const struct store *s)
{
	return s->dirfd;
}

int store_each(struct store *s, const char *sql, int (*row)(void *arg, sqlite3_stmt *st, struct err *e), void *arg,
	       struct err *e)
{
	struct db d = {0}; /* a connection of its own: the first one belongs to its thread */
	int r = db_open(&d, s->dirfd, "tandem.db", false, e);

	if (!r)
		r = db_rows(&d, sql, row, arg, e);
	db_close(&d);
	return r;
}
