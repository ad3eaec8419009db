/* SPDX-License-Identifier: Apache-2.0 */
#include "store/tx.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/store_int.h"

void store_tx_init(struct store_tx *tx)
{
	*tx = (struct store_tx){.last = &tx->first};
}

static void logged(struct store_op *op, const struct err *e)
{
	if (e->kind)
		log_error("store", "a write that nobody waits for failed: %s", e->text);
	free(container_of(op, struct store_tx, op));
}

struct store_tx *store_tx_new(void)
{
	struct store_tx *tx = xmalloc(sizeof(*tx));

	store_tx_init(tx);
	tx->op.done = logged;
	return tx;
}

void store_tx_add(struct store_tx *tx, struct store_part *p)
{
	p->next = NULL;
	*tx->last = p;
	tx->last = &p->next;
}

bool store_tx_empty(const struct store_tx *tx)
{
	return !tx->first;
}

int tx_apply(struct store_tx *tx, struct db *d, struct err *e)
{
	for (struct store_part *p = tx->first; p; p = p->next)
		if (p->apply(p, d, e) != 0)
			return -1;
	return 0;
}

void store_tx_drop(struct store_tx *tx, const struct err *e)
{
	struct store_part *p = tx->first;

	tx->first = NULL;
	tx->last = &tx->first;
	while (p) {
		struct store_part *next = p->next; /* done may free it */

		if (p->done)
			p->done(p, e);
		p = next;
	}
}

void tx_tell(struct store_tx *tx, const struct err *e)
{
	struct err closing;

	err_set(&closing, ERR_CANCELED, "the store is closing");
	store_tx_drop(tx, tx->op.s ? e : &closing);
}

void store_tx_start(struct store *s, struct store_tx *tx)
{
	struct change *c = change_new(CHANGE_TX);

	c->tx = tx;
	store_change_start(s, &tx->op, c);
}

/* --- reading --- */

static struct store_tx *tx_of(struct loop_work *w)
{
	return container_of(w, struct store_tx, op.work);
}

static void read_work(struct loop_work *w)
{
	struct store_tx *tx = tx_of(w);
	struct db *d = &tx->op.s->read_db;
	struct err *e = &tx->op.e;
	bool several = tx->first && tx->first->next; /* one statement sees one state of things anyway */

	if (!d->h && db_open(d, tx->op.s->dirfd, "tandem.db", false, e) < 0)
		return db_close(d);
	if (several && db_exec(d, "BEGIN", e) < 0)
		return;
	tx_apply(tx, d, e);
	if (several)
		db_exec(d, "COMMIT", NULL);
}

static void read_done(struct loop_work *w)
{
	struct store_tx *tx = tx_of(w);

	list_del(&tx->op.reading);
	tx_tell(tx, &tx->op.e);
	tx->op.done(&tx->op, &tx->op.e);
}

void store_tx_read(struct store *s, struct store_tx *tx)
{
	tx->op.work = (struct loop_work){.work = read_work, .done = read_done};
	tx->op.s = s;
	tx->op.e = (struct err){0};
	list_push(&s->reading, &tx->op.reading);
	loop_thread_push(s->read_thread, &tx->op.work);
}

int store_tx_read_now(struct store *s, struct store_tx *tx, struct err *e)
{
	struct db d = {0};
	struct err failed = {0};
	int r = 0;

	if (tx->first)
		r = db_open(&d, s->dirfd, "tandem.db", false, &failed) < 0 ? -1 : tx_apply(tx, &d, &failed);
	db_close(&d);
	store_tx_drop(tx, &failed);
	return r < 0 ? err_set(e, failed.kind, "%s", failed.text) : 0;
}

/* --- documents --- */

struct part_change {
	struct store_part part;
	struct change *change;
};

static int apply_change(struct store_part *p, struct db *d, struct err *e)
{
	return change_apply(d, container_of(p, struct part_change, part)->change, e);
}

static void free_change(struct store_part *p, const struct err *e)
{
	struct part_change *c = container_of(p, struct part_change, part);

	change_free(c->change);
	free(c);
}

static void add_change(struct store_tx *tx, struct change *change)
{
	struct part_change *p = xcalloc(1, sizeof(*p));

	p->part.apply = apply_change;
	p->part.done = free_change;
	p->change = change;
	store_tx_add(tx, &p->part);
}

void tx_unwritten(struct store *s, const struct store_tx *tx)
{
	for (const struct store_part *p = tx->first; p; p = p->next)
		if (p->apply != apply_change)
			return;
	for (struct store_part *p = tx->first; p; p = p->next)
		record_unwritten(s, container_of(p, struct part_change, part)->change->name);
}

void record_put_add(struct store *s, struct store_tx *tx, const char *key, const char *value)
{
	add_change(tx, record_put_change(s, key, value));
}

void record_del_add(struct store *s, struct store_tx *tx, const char *key)
{
	add_change(tx, record_del_change(s, key));
}
