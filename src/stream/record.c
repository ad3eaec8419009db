/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records: put, read, trimmed.
 *
 * A read:     READING ────► (done)
 *               ▲  └──► WAITING      in the shard's list, until a record came, the shard closed or the stream went
 *               └──────────┘
 *   A record that came while we read, and that the read did not see, is noticed by the shard's count of puts.
 */

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/digest.h"
#include "stream/stream_int.h"

#define TRIM_EVERY_US 3600000000ll

/* --- put --- */

struct put {
	struct store_part part;
	struct streams *all;
	struct stream_shard *shard; /* a reference */
	int64_t not_below, id;
	struct stream_place *ret;
	struct stream_record rec; /* its strings are behind */
};

static int put_apply(struct store_part *p, struct db *d, struct err *e)
{
	struct put *t = container_of(p, struct put, part);

	return stream_row_put(d, t->shard->serial, t->not_below, &t->rec, &t->id, e);
}

static void put_done(struct store_part *p, const struct err *e)
{
	struct put *t = container_of(p, struct put, part);
	struct stream_shard *sh = t->shard;

	sh->putting--;
	if (!e->kind) {
		if (t->ret)
			t->ret->id = t->id;
		if (t->id > t->all->latest)
			t->all->latest = t->id;
		sh->put_count++;
		trim_soon(t->all, TRIM_EVERY_US);
	}
	if (!e->kind || (sh->end && e->kind != ERR_CANCELED)) /* closed, and this was the last that was under way */
		shard_wake(sh);
	shard_unref(sh);
	free(t);
}

static unsigned __int128 hash_of(struct str key)
{
	unsigned __int128 v = 0;
	uint8_t md5[16];

	digest_md5(key.p, key.n, md5);
	for (int i = 0; i < 16; i++)
		v = v << 8 | md5[i];
	return v;
}

uint64_t stream_key_hash(struct str key)
{
	return (uint64_t)hash_of(key);
}

int stream_put_add(struct stream *s, struct store_tx *tx, const struct stream_record *rec, struct str hash_key,
		   struct stream_place *ret, struct err *e)
{
	struct str key = rec->key, data = rec->data, trace = rec->trace;
	unsigned __int128 hash;
	struct stream_shard *sh = NULL;
	size_t characters = 0;
	struct put *t;
	char *at;

	for (size_t i = 0; i < key.n; i++)
		characters += ((unsigned char)key.p[i] & 0xc0) != 0x80;
	if (!characters || characters > STREAM_KEY_MAX)
		return err_set(e, ERR_INVALID, "PartitionKey has %zu characters, and must have 1 to %d.", characters,
			       STREAM_KEY_MAX);
	if (data.n > LIM_STREAM_RECORD_BYTES)
		return err_set(e, ERR_INVALID, "Data of a record has %zu bytes, and may have %d.", data.n,
			       LIM_STREAM_RECORD_BYTES);
	if (!hash_key.n)
		hash = hash_of(key);
	else if (stream_hash_parse(hash_key, &hash) < 0)
		return err_set(e, ERR_INVALID,
			       "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1].");
	for (size_t i = 0; i < s->n_shards && !sh; i++)
		if (!s->shards[i]->end && s->shards[i]->first_hash <= hash && hash <= s->shards[i]->last_hash)
			sh = s->shards[i];
	t = xmalloc(sizeof(*t) + key.n + data.n + trace.n);
	*t = (struct put){.part = {.apply = put_apply, .done = put_done}, .all = s->all, .shard = sh, .ret = ret};
	t->not_below = clock_wall_us() > sh->serial ? clock_wall_us() : sh->serial + 1;
	t->rec.key = (struct str){at = memcpy(t + 1, key.p, key.n), key.n};
	at += key.n;
	if (data.n)
		t->rec.data = (struct str){memcpy(at, data.p, data.n), data.n};
	if (trace.n)
		t->rec.trace = (struct str){memcpy(at + data.n, trace.p, trace.n), trace.n};
	if (ret)
		ret->shard = sh->n;
	sh->refs++;
	sh->putting++;
	store_tx_add(tx, &t->part);
	return 0;
}

/* --- read --- */

struct reading {
	struct store_tx tx;
	struct store_part part;
	struct list node;
	struct stream_rows rows;
	struct stream_read *r; /* NULL: nobody waits any more */
	bool closed;	       /* at the start: what is not there now never will be */
	uint64_t put_count;
};

static int reading_apply(struct store_part *p, struct db *d, struct err *e)
{
	return stream_rows_read(d, &container_of(p, struct reading, part)->rows, e);
}

static const struct err *shard_gone(struct err *e)
{
	err_set(e, ERR_NOT_FOUND, "the stream was deleted, or the shard has expired");
	return e;
}

static void read_again(struct stream_read *r);

static void reading_done(struct store_op *op, const struct err *e)
{
	struct reading *g = container_of(op, struct reading, tx.op);
	struct stream_read *r = g->r;
	struct err gone;

	list_del(&g->node);
	if (r) {
		struct stream_shard *sh = r->shard;

		r->reading = NULL;
		r->more = g->rows.more;
		r->ended = g->closed && !r->more;
		if (!sh->stream)
			e = shard_gone(&gone);
		if (e->kind || g->rows.first || r->ended || !r->wait) {
			stream_read_cancel(r);
			r->records = e->kind ? NULL : take_ptr(g->rows.first);
			r->done(r, e); /* may free r */
		} else if (sh->put_count != g->put_count || sh->end) {
			read_again(r);
		} else {
			list_push(&sh->waiting, &r->node);
		}
	}
	stream_records_free(g->rows.first);
	free(g);
}

static void read_again(struct stream_read *r)
{
	struct stream_shard *sh = r->shard;
	struct streams *all = sh->stream->all;
	struct reading *g = xcalloc(1, sizeof(*g));
	int64_t oldest = clock_wall_us() - sh->stream->retention_us;

	store_tx_init(&g->tx);
	g->r = r;
	r->reading = g;
	g->closed = sh->end && !sh->putting;
	g->put_count = sh->put_count;
	g->rows = (struct stream_rows){
		.shard = sh->serial, .from = r->from > oldest ? r->from : oldest, .limit = r->limit, .bytes = r->bytes};
	g->part.apply = reading_apply;
	g->tx.op.done = reading_done;
	store_tx_add(&g->tx, &g->part);
	list_push(&all->readings, &g->node);
	store_tx_read(all->o.store, &g->tx);
}

void stream_read_start(struct stream_shard *sh, struct stream_read *r)
{
	r->shard = sh;
	r->records = NULL;
	list_init(&r->node);
	sh->refs++;
	read_again(r);
}

void stream_read_cancel(struct stream_read *r)
{
	if (!r->shard)
		return;
	if (r->reading)
		r->reading->r = NULL;
	list_del(&r->node);
	r->reading = NULL;
	shard_unref(take_ptr(r->shard));
}

void shard_wake(struct stream_shard *sh)
{
	struct err e;

	list_each(&sh->waiting, it)
	{
		struct stream_read *r = container_of(it, struct stream_read, node);

		list_del(it);
		if (sh->stream) {
			read_again(r);
			continue;
		}
		stream_read_cancel(r);
		r->done(r, shard_gone(&e));
	}
}

/* --- trimmed --- */

struct trimming {
	struct store_tx tx;
	struct store_part part;
	struct stream_trim rows;
	struct stream_keep *keep;
	struct streams *all; /* NULL: gone */
};

static int trim_apply(struct store_part *p, struct db *d, struct err *e)
{
	return stream_rows_trim(d, &container_of(p, struct trimming, part)->rows, e);
}

static void trim_done(struct store_op *op, const struct err *e)
{
	struct trimming *t = container_of(op, struct trimming, tx.op);

	if (t->all) {
		t->all->trim = NULL;
		if (e->kind)
			log_error("stream", "what has expired stays for now: %s", e->text);
		if (t->rows.more)
			trim_soon(t->all, 0);
		else if (t->rows.left || e->kind)
			trim_soon(t->all, TRIM_EVERY_US);
	}
	free(t->keep);
	free(t);
}

static int by_shard(const void *a, const void *b)
{
	const struct stream_keep *x = a, *y = b;

	return x->shard < y->shard ? -1 : x->shard > y->shard;
}

/* A shard that is not known now has no record that is written before this is. */
void trim_now(void *arg)
{
	struct streams *all = arg;
	struct trimming *t = xcalloc(1, sizeof(*t));
	int64_t now = clock_wall_us();
	struct stream *s;
	size_t pos = 0, n = 0;

	while ((s = map_next(&all->by_name, &pos))) {
		t->keep = xrealloc(t->keep, (n + s->n_shards) * sizeof(*t->keep));
		for (size_t i = 0; i < s->n_shards; i++)
			t->keep[n++] = (struct stream_keep){s->shards[i]->serial, now - s->retention_us};
	}
	if (n)
		qsort(t->keep, n, sizeof(*t->keep), by_shard);
	t->rows = (struct stream_trim){.keep = t->keep, .n = n};
	t->all = all;
	all->trim = t;
	all->trim_due_us = 0;
	t->part.apply = trim_apply;
	t->tx.op.done = trim_done;
	store_tx_init(&t->tx);
	t->tx.op.done = trim_done;
	store_tx_add(&t->tx, &t->part);
	store_tx_start(all->o.store, &t->tx);
}

void trim_soon(struct streams *all, int64_t us)
{
	int64_t due = clock_now_us() + us;

	if (all->trim || (all->trim_due_us && all->trim_due_us <= due))
		return;
	all->trim_due_us = due;
	loop_timer_in(all->trim_timer, us);
}

void records_free(struct streams *all)
{
	list_each(&all->readings, it)
	{
		container_of(it, struct reading, node)->r = NULL;
		list_del(it);
	}
	if (all->trim)
		all->trim->all = NULL;
	loop_timer_free(all->trim_timer);
}
