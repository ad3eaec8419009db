/* SPDX-License-Identifier: Apache-2.0 */
#include "stream/stream.h"
#include "base/clock.h"
#include "tests/store/fixture.h"

#define HOUR_US 3600000000ll

struct world {
	struct fix f;
	struct streams *all;
	int left; /* done callbacks until the loop stops */
};

static void world_open(struct world *w)
{
	w->all = streams_new(
		&(struct streams_opts){.loop = w->f.loop, .store = w->f.s, .account = "000000000000", .region = "r"});
}

static void world_init(struct world *w)
{
	*w = (struct world){0};
	clock_test_stop();
	fix_init(&w->f);
	world_open(w);
}

static void world_restart(struct world *w)
{
	streams_free(w->all);
	fix_close(&w->f);
	fix_open(&w->f);
	world_open(w);
}

static void world_done(struct world *w)
{
	streams_free(w->all);
	fix_done(&w->f);
	clock_test_resume();
}

struct write {
	struct store_tx tx;
	struct world *w;
};

static void stop(struct world *w)
{
	if (!--w->left)
		loop_stop(w->f.loop);
}

static void written(struct store_op *op, const struct err *e)
{
	struct write *x = container_of(op, struct write, tx.op);

	CHECK(!e->kind);
	stop(x->w);
	free(x);
}

static struct write *write_new(struct world *w)
{
	struct write *x = xcalloc(1, sizeof(*x));

	store_tx_init(&x->tx);
	x->tx.op.done = written;
	x->w = w;
	return x;
}

static void go(struct world *w, struct write *x)
{
	w->left++;
	store_tx_start(w->f.s, &x->tx);
	loop_run(w->f.loop);
}

static int put_doc(struct world *w, const char *text, struct err *e)
{
	auto_json doc = json_parse(str_of(text), NULL);
	struct write *x = write_new(w);
	int r = stream_put(w->all, doc, NULL, &x->tx, e);

	go(w, x);
	return r;
}

static struct stream_place put(struct world *w, const char *name, const char *key, const char *data)
{
	struct write *x = write_new(w);
	struct stream_place at = {0};

	CHECK(stream_put_add(stream_get(w->all, str_of(name)), &x->tx,
			     &(struct stream_record){.key = str_of(key), .data = str_of(data)}, STR_NULL, &at,
			     NULL) == 0);
	go(w, x);
	return at;
}

struct reader {
	struct stream_read r;
	struct world *w;
	struct err e;
	int calls;
	char text[200];
	int64_t last;
};

static void read_done(struct stream_read *r, const struct err *e)
{
	struct reader *x = container_of(r, struct reader, r);

	x->calls++;
	x->e = *e;
	for (struct stream_record *rec = r->records; rec; rec = rec->next) {
		CHECK(rec->id > x->last);
		x->last = rec->id;
		snprintf(x->text + strlen(x->text), sizeof(x->text) - strlen(x->text), "%.*s=%.*s ", STR_ARG(rec->key),
			 STR_ARG(rec->data));
	}
	stream_records_free(r->records);
	stop(x->w);
}

static void read_start(struct world *w, struct reader *x, const char *name, size_t shard, int64_t from, bool wait)
{
	*x = (struct reader){.w = w, .r = {.from = from, .limit = 3, .bytes = 1000, .wait = wait, .done = read_done}};
	stream_read_start(stream_get(w->all, str_of(name))->shards[shard], &x->r);
}

static struct reader read_all(struct world *w, const char *name, size_t shard, int64_t from)
{
	struct reader x;

	read_start(w, &x, name, shard, from, false);
	w->left++;
	loop_run(w->f.loop);
	return x;
}

TEST(put_and_read)
{
	struct world w;
	struct reader x;
	struct stream_place a, b;
	char text[STREAM_SEQUENCE_BYTES];

	world_init(&w);
	CHECK(put_doc(&w, "{\"StreamName\":\"s\"}", NULL) == 0);
	a = put(&w, "s", "k", "1");
	b = put(&w, "s", "k", "2"); /* the clock stands: still another */
	CHECK(b.id == a.id + 1 && stream_sequence_id(str_of(stream_sequence(b.id, text))) == b.id &&
	      strlen(text) == 56);
	x = read_all(&w, "s", 0, 0);
	CHECK_STR(x.text, "k=1 k=2 ");
	CHECK(!x.r.more && !x.r.ended);
	world_restart(&w);
	put(&w, "s", "k", "3");
	put(&w, "s", "k", "");
	x = read_all(&w, "s", 0, a.id);
	CHECK_STR(x.text, "k=1 k=2 k=3 ");
	CHECK(x.r.more);
	x = read_all(&w, "s", 0, x.last + 1);
	CHECK_STR(x.text, "k= ");
	world_done(&w);
}

TEST(waits)
{
	struct world w;
	struct reader x, gone, canceled;

	world_init(&w);
	CHECK(put_doc(&w, "{\"StreamName\":\"s\"}", NULL) == 0);
	read_start(&w, &x, "s", 0, 0, true);
	read_start(&w, &canceled, "s", 0, 0, true);
	w.left++; /* x, and the put itself */
	put(&w, "s", "k", "1");
	CHECK(x.calls + canceled.calls >= 1);
	while (x.calls + canceled.calls < 2) {
		w.left = 1;
		loop_run(w.f.loop);
	}
	CHECK_STR(x.text, "k=1 ");
	read_start(&w, &canceled, "s", 0, x.last + 1, true);
	stream_read_cancel(&canceled.r);
	stream_read_cancel(&canceled.r);
	read_start(&w, &gone, "s", 0, x.last + 1, true);

	struct write *d = write_new(&w);

	stream_delete(stream_get(w.all, STR("s")), &d->tx);
	w.left++;
	go(&w, d);
	while (!gone.calls) { /* it was reading when the stream went */
		w.left = 1;
		loop_run(w.f.loop);
	}
	CHECK(gone.calls == 1 && gone.e.kind == ERR_NOT_FOUND && !canceled.calls);
	CHECK(!stream_get(w.all, STR("s")));
	world_done(&w);
}

TEST(split_and_merge)
{
	struct world w;
	struct reader x, y;
	struct stream *s;
	struct write *t;
	struct err e;

	world_init(&w);
	CHECK(put_doc(&w, "{\"StreamName\":\"s\"}", NULL) == 0);
	put(&w, "s", "k", "1");
	s = stream_get(w.all, STR("s"));
	t = write_new(&w);
	CHECK(stream_split(s, s->shards[0], STR("0"), &t->tx, &e) < 0 && e.kind == ERR_INVALID);
	CHECK(stream_split(s, s->shards[0], STR("340282366920938463463374607431768211456"), &t->tx, &e) < 0);
	CHECK(stream_split(s, s->shards[0], STR("1000"), &t->tx, &e) == 0);
	go(&w, t);
	put(&w, "s", "k", "2");
	x = read_all(&w, "s", 0, 0);
	CHECK_STR(x.text, "k=1 ");
	CHECK(x.r.ended);
	x = read_all(&w, "s", 1, 0);
	y = read_all(&w, "s", 2, 0);
	CHECK_STR(x.text, "");
	CHECK_STR(y.text, "k=2 ");
	world_restart(&w);
	s = stream_get(w.all, STR("s"));
	CHECK(s->n_shards == 3 && s->n_open == 2 && stream_shard_follows(s->shards[1], s->shards[0]));
	t = write_new(&w);
	CHECK(stream_merge(s, s->shards[0], s->shards[1], &t->tx, &e) < 0 &&
	      stream_merge(s, s->shards[1], s->shards[1], &t->tx, &e) < 0);
	CHECK(stream_merge(s, s->shards[2], s->shards[1], &t->tx, &e) == 0);
	read_start(&w, &x, "s", 1, 0, true);
	w.left++;
	go(&w, t);
	CHECK(x.calls == 1 && x.r.ended); /* a reader hears that there will be no more */
	CHECK(s->n_shards == 4 && s->n_open == 1 && s->shards[3]->parent == 3 && s->shards[3]->adjacent == 2);
	CHECK(put_doc(&w, "{\"StreamName\":\"s\",\"ShardCount\":3}", NULL) == 0);
	CHECK(s->n_open == 3 && s->shards[4]->parent == 4 && !s->shards[4]->adjacent);
	CHECK(s->shards[6]->last_hash == ~(unsigned __int128)0 &&
	      s->shards[5]->first_hash == s->shards[4]->last_hash + 1);
	CHECK(put_doc(&w, "{\"StreamName\":\"s\",\"ShardCount\":2}", NULL) == 0);
	CHECK(s->n_open == 2 && s->shards[7]->parent == 5 && s->shards[7]->adjacent == 6);
	CHECK(stream_shard_follows(s->shards[8], s->shards[5]) && !stream_shard_follows(s->shards[8], s->shards[4]));
	CHECK(put_doc(&w, "{\"StreamName\":\"s\",\"RetentionPeriodHours\":23}", &e) < 0 && strstr(e.text, "too short"));
	CHECK(put_doc(&w, "{\"StreamName\":\"s/\"}", &e) < 0 && e.kind == ERR_INVALID);
	CHECK(put_doc(&w, "{\"StreamName\":\"t\",\"ShardCount\":501}", &e) < 0 && e.kind == ERR_LIMIT);
	world_done(&w);
}

static int64_t rows(struct world *w)
{
	int64_t n = 0;
	sqlite3_stmt *st = NULL;

	sqlite3_prepare_v2(w->f.s->db.h, "SELECT count(*) FROM stream_record", -1, &st, NULL);
	if (sqlite3_step(st) == SQLITE_ROW)
		n = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return n;
}

TEST(expires)
{
	struct world w;
	struct reader x;
	struct stream_place first, last = {0};

	world_init(&w);
	CHECK(put_doc(&w, "{\"StreamName\":\"s\"}", NULL) == 0);
	first = put(&w, "s", "k", "1");
	for (int i = 0; i < 3; i++) {
		clock_test_step(10 * HOUR_US);
		loop_clock_changed(w.f.loop);
		last = put(&w, "s", "k", "2");
	}
	x = read_all(&w, "s", 0, 0);
	CHECK_STR(x.text, "k=2 k=2 k=2 ");
	CHECK(last.id - first.id >= 29 * HOUR_US);
	put(&w, "s", "k", "3"); /* waits for the trimming that began before it */
	CHECK(rows(&w) == 4);
	world_restart(&w);
	clock_test_step(-40 * HOUR_US); /* numbers go on where they were */
	CHECK(put(&w, "s", "k", "4").id > last.id);
	world_done(&w);
}
