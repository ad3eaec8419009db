/* SPDX-License-Identifier: Apache-2.0 */
#include "store/db.h"
#include "store/tx.h"
#include "tests/store/fixture.h"

struct part {
	struct store_part p;
	const char *name, *value;
	bool fails;
	int done_at;
	struct err e;
	char read[32];
};

struct work {
	struct store_tx tx;
	struct part a, b;
	struct fix *f;
	int done_at;
	struct err e;
};

static int order;

static int put(struct store_part *p, struct db *d, struct err *e)
{
	struct part *t = container_of(p, struct part, p);

	if (t->fails)
		return err_set(e, ERR_CONFLICT, "no %s", t->name);
	return db_run(d, DB_SETTING_PUT, e, "ts", t->name, str_of(t->value));
}

static int got(void *arg, sqlite3_stmt *st, struct err *e)
{
	struct part *t = arg;

	strlcpy_(t->read, (const char *)sqlite3_column_text(st, 0), sizeof(t->read));
	return 1;
}

static int get(struct store_part *p, struct db *d, struct err *e)
{
	struct part *t = container_of(p, struct part, p);
	auto_free char *sql = xasprintf("SELECT value FROM setting WHERE name='%s'", t->name);

	return db_rows(d, sql, got, t, e) < 0 ? -1 : 0;
}

static void part_done(struct store_part *p, const struct err *e)
{
	struct part *t = container_of(p, struct part, p);

	t->done_at = ++order;
	t->e = *e;
}

static void done(struct store_op *op, const struct err *e)
{
	struct work *w = container_of(op, struct work, tx.op);

	w->done_at = ++order;
	w->e = *e;
	if (--w->f->waiting == 0)
		loop_stop(w->f->loop);
}

static void work_init(struct work *w, struct fix *f, const char *a, const char *b, const char *value,
		      int (*apply)(struct store_part *, struct db *, struct err *))
{
	*w = (struct work){.f = f,
			   .a = {.p = {.apply = apply, .done = part_done}, .name = a, .value = value},
			   .b = {.p = {.apply = apply, .done = part_done}, .name = b, .value = value}};
	store_tx_init(&w->tx);
	CHECK(store_tx_empty(&w->tx));
	w->tx.op.done = done;
	store_tx_add(&w->tx, &w->a.p);
	store_tx_add(&w->tx, &w->b.p);
	f->waiting++;
}

TEST(all_or_nothing)
{
	struct work good, bad, after, read;
	struct fix f;

	fix_init(&f);
	order = 0;
	work_init(&good, &f, "one", "two", "1", put);
	work_init(&bad, &f, "two", "three", "2", put);
	bad.b.fails = true;
	work_init(&after, &f, "four", "five", "3", put);
	store_tx_start(f.s, &good.tx);
	store_tx_start(f.s, &bad.tx);
	store_tx_start(f.s, &after.tx);
	wait_all(&f);
	CHECK(!good.e.kind && !after.e.kind && bad.e.kind == ERR_CONFLICT && !strcmp(bad.e.text, "no three"));
	CHECK(good.a.done_at == 1 && good.b.done_at == 2 && good.done_at == 3 && bad.a.done_at == 4);
	CHECK(bad.a.e.kind == ERR_CONFLICT && bad.b.e.kind == ERR_CONFLICT && after.done_at == 9);
	work_init(&read, &f, "two", "three", NULL, get);
	store_tx_read(f.s, &read.tx);
	wait_all(&f);
	CHECK(!read.e.kind && !strcmp(read.a.read, "1") && !read.b.read[0] && read.done_at == 12);
	fix_close(&f);
	fix_open(&f);
	CHECK(!strcmp(store_setting(f.s, "two"), "1") && !store_setting(f.s, "three"));
	CHECK(!strcmp(store_setting(f.s, "five"), "3"));
	fix_done(&f);
}

/* A failure that ends SQLite's own transaction is that of one only. */
static int explode(struct store_part *p, struct db *d, struct err *e)
{
	CHECK(put(p, d, e) == 0);
	CHECK(db_exec(d, "ROLLBACK", e) == 0);
	return err_set(e, ERR_UNAVAILABLE, "the disk is full");
}

TEST(the_database_gives_up)
{
	struct work first, bad, after;
	struct fix f;

	fix_init(&f);
	work_init(&first, &f, "one", "two", "1", put);
	work_init(&bad, &f, "three", "four", "2", put);
	bad.b.p.apply = explode;
	work_init(&after, &f, "five", "six", "3", put);
	store_tx_start(f.s, &first.tx);
	store_tx_start(f.s, &bad.tx);
	store_tx_start(f.s, &after.tx);
	wait_all(&f);
	CHECK(!first.e.kind && !after.e.kind && bad.e.kind == ERR_UNAVAILABLE);
	fix_close(&f);
	fix_open(&f);
	CHECK(store_setting(f.s, "two") && !store_setting(f.s, "three") && !store_setting(f.s, "four"));
	CHECK(store_setting(f.s, "six"));
	fix_done(&f);
}

TEST(records_in_it)
{
	struct store_tx *tx = store_tx_new();
	struct work w;
	struct fix f;

	fix_init(&f);
	record_put(f.s, NULL, "a/old", "x");
	record_put_add(f.s, tx, "a/new", "y");
	record_del_add(f.s, tx, "a/old");
	CHECK(record_get(f.s, "a/new") && !record_get(f.s, "a/old"));
	store_tx_start(f.s, tx);
	work_init(&w, &f, "one", "two", "1", put);
	store_tx_start(f.s, &w.tx);
	wait_all(&f);
	fix_close(&f);
	fix_open(&f);
	CHECK(record_get(f.s, "a/new") && !record_get(f.s, "a/old"));
	fix_done(&f);
}

/* What counts in memory is on disk as soon as something can be written, but for what belongs to more than that. */
TEST(records_that_could_not_be_written)
{
	struct store_tx *tx = store_tx_new();
	struct work bad, after;
	struct db d = {0};
	struct err e;
	struct fix f;

	fix_init(&f);
	CHECK(db_open(&d, store_dirfd(f.s), "tandem.db", false, &e) == 0);
	record_put(f.s, op_new(&f), "a/gone", "x");
	record_put(f.s, op_new(&f), "a/changed", "x");
	wait_all(&f);
	CHECK(db_exec(&d, "CREATE TRIGGER no BEFORE INSERT ON record BEGIN SELECT RAISE(ABORT, 'no'); END", &e) == 0);
	record_put_add(f.s, tx, "a/changed", "y");
	record_del_add(f.s, tx, "a/gone");
	store_tx_start(f.s, tx);
	record_put(f.s, op_new(&f), "a/new", "y");
	work_init(&bad, &f, "one", "two", "1", put);
	record_put_add(f.s, &bad.tx, "a/of-more", "y");
	store_tx_start(f.s, &bad.tx);
	wait_all(&f);
	CHECK(bad.e.kind && f.s->unwritten.n == 3 && record_get(f.s, "a/of-more"));
	CHECK(db_exec(&d, "DROP TRIGGER no", &e) == 0);
	db_close(&d);
	work_init(&after, &f, "three", "four", "1", put);
	store_tx_start(f.s, &after.tx);
	wait_all(&f);
	CHECK(!after.e.kind && !f.s->unwritten.n);
	fix_close(&f);
	fix_open(&f);
	CHECK(record_get(f.s, "a/new") && !record_get(f.s, "a/gone") && !strcmp(record_get(f.s, "a/changed"), "y"));
	CHECK(!record_get(f.s, "a/of-more") && !store_setting(f.s, "one") && store_setting(f.s, "three"));
	fix_done(&f);
}

/* The store closes while they are under way: each is told once, and that nobody else is there. */
TEST(closing)
{
	struct work w, read, dropped;
	struct err e;
	struct fix f;

	fix_init(&f);
	work_init(&w, &f, "one", "two", "1", put);
	work_init(&read, &f, "one", "two", NULL, get);
	work_init(&dropped, &f, "one", "two", "1", put);
	store_tx_start(f.s, &w.tx);
	store_tx_read(f.s, &read.tx);
	err_set(&e, ERR_LIMIT, "not today");
	store_tx_drop(&dropped.tx, &e);
	CHECK(dropped.a.e.kind == ERR_LIMIT && dropped.b.done_at && !dropped.done_at && store_tx_empty(&dropped.tx));
	f.waiting--;
	store_free(f.s);
	loop_free(f.loop); /* runs what is left */
	close(f.fd);
	CHECK(w.a.e.kind == ERR_CANCELED && read.b.e.kind == ERR_CANCELED && w.done_at && read.done_at);
	CHECK(!w.tx.op.s && !read.tx.op.s);
	fix_open(&f);
	CHECK(store_setting(f.s, "one")); /* it was durable nevertheless */
	fix_done(&f);
}

TEST(every_statement)
{
	struct fix f;
	struct db d = {0};
	struct err e = {0};

	fix_init(&f);
	CHECK(db_open(&d, store_dirfd(f.s), "tandem.db", false, &e) == 0);
	CHECK(db_prepare(&d, &e) == 0);
	db_close(&d);
	fix_done(&f);
}

/* Alone, and beside one that is not: it survives us, as any other. */
TEST(lazy)
{
	struct work alone, beside, other;
	struct fix f;

	fix_init(&f);
	work_init(&alone, &f, "one", "two", "1", put);
	alone.tx.lazy = true;
	store_tx_start(f.s, &alone.tx);
	wait_all(&f);
	work_init(&beside, &f, "three", "four", "2", put);
	beside.tx.lazy = true;
	work_init(&other, &f, "five", "six", "3", put);
	store_tx_start(f.s, &beside.tx);
	store_tx_start(f.s, &other.tx);
	wait_all(&f);
	CHECK(!alone.e.kind && !beside.e.kind && !other.e.kind);
	fix_close(&f);
	fix_open(&f);
	CHECK(store_setting(f.s, "two") && store_setting(f.s, "four") && store_setting(f.s, "six"));
	fix_done(&f);
}
