/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mapping of a stream: a reader for each shard, and in it as many lanes as ParallelizationFactor says. A partition key has
 * always the same lane, and a lane one batch at a time: that is the order.
 *
 *   lane:  COLLECT ───► RUN ───► COLLECT          records, until there is a batch or the window is over
 *             ▲          ├────► PAUSE ───► RUN    after a failure, or when the function cannot be called
 *             └── SAVE ◄─┘                        given up: what goes to the destination and the checkpoint, in one commit
 *
 * The checkpoint of a shard is the first record that is not done. A failed batch stays at the head of its lane; with bisect
 * it becomes two pieces, which costs no retry. A shard is begun when those that it follows have been read to their ends.
 */

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/record.h"
#include "trigger/mapping_int.h"

#define READ_BYTES	  (LIM_PAYLOAD_BYTES / 2)
#define READ_BYTES_SCARCE 65536
#define PIECES		  24 /* halves of halves of 10,000, each cut by its size too */

enum lane_state { LANE_COLLECT, LANE_RUN, LANE_PAUSE, LANE_SAVE };
struct shard_lane {
	struct reader *rd;
	enum lane_state state;
	struct stream_record *first, **last;
	unsigned n;
	int64_t until_us; /* when the window is over */
	struct loop_timer *timer;
	struct batch b;
	struct giving *giving;		    /* LANE_SAVE */
	unsigned piece[PIECES], n_pieces;   /* how many records each of the next batches has; the last is the next */
	unsigned tries, throttles, invokes; /* of the piece */
	char request_id[37];
	int version;
};
struct reader {
	struct list node; /* mapping.readers */
	struct mapping *m;
	int64_t serial, next; /* next: the id to read from */
	unsigned shard, n_lanes, held;
	size_t bytes;
	bool reading, ended;
	struct stream_read r;
	struct loop_timer *again;
	struct shard_lane lane[];
};
struct giving {
	struct store_tx tx;
	struct shard_lane *l; /* NULL: gone */
	struct stream_record *first, **last;
	unsigned n;
};

static void lane_look(struct shard_lane *l);
static void reader_read(void *rd);

/* --- checkpoints --- */

static void count(struct reader *rd, const struct stream_record *rec, int sign)
{
	int64_t n = sign * (int64_t)(rec->key.n + rec->data.n);

	rd->held += (unsigned)sign;
	rd->bytes += (size_t)n;
	rd->m->all->held += (size_t)n;
}

static char *checkpoint_key(const struct mapping *m, int64_t serial)
{
	return xasprintf("checkpoint/%s/%lld", m->uuid, (long long)serial);
}

static void save(struct reader *rd, struct store_tx *tx)
{
	auto_free char *key = checkpoint_key(rd->m, rd->serial), *value = NULL;
	int64_t at = rd->next;

	for (unsigned i = 0; i < rd->n_lanes; i++)
		if (rd->lane[i].n && rd->lane[i].first->id < at)
			at = rd->lane[i].first->id;
	value = rd->ended && !rd->held ? xstrdup("end") : xasprintf("%lld", (long long)at);
	if (!rd->m->gone)
		record_put_add(rd->m->all->o.store, tx, key, value);
}

/* Nobody waits for it: what was done since comes again. */
static void save_soon(struct reader *rd)
{
	struct store_tx *tx = store_tx_new();

	save(rd, tx);
	store_tx_start(rd->m->all->o.store, tx);
}

/* --- lanes --- */

static void pieces_drop(struct shard_lane *l, unsigned n)
{
	while (n && l->n_pieces) {
		unsigned *top = &l->piece[l->n_pieces - 1], k = n < *top ? n : *top;

		*top -= k;
		n -= k;
		if (!*top)
			l->n_pieces--;
	}
}

static void piece_push(struct shard_lane *l, unsigned n)
{
	if (l->n_pieces < PIECES)
		l->piece[l->n_pieces++] = n;
}

/* The first n records, out of the lane. */
static struct stream_record *lane_drop(struct shard_lane *l, unsigned n, struct stream_record ***ret_last)
{
	struct stream_record *first = l->first, **last = &first;

	pieces_drop(l, n);
	for (unsigned i = 0; i < n; i++) {
		count(l->rd, *last, -1);
		last = &(*last)->next;
	}
	l->first = *last;
	*last = NULL;
	if (!l->first)
		l->last = &l->first;
	l->n -= n;
	l->tries = l->invokes = 0;
	if (ret_last)
		*ret_last = last;
	return first;
}

static bool is_busy(const struct reader *rd)
{
	for (unsigned i = 0; i < rd->n_lanes; i++)
		if (rd->lane[i].state == LANE_RUN || rd->lane[i].state == LANE_SAVE)
			return true;
	return false;
}

static void reader_free(struct reader *rd)
{
	stream_read_cancel(&rd->r);
	loop_timer_free(rd->again);
	for (unsigned i = 0; i < rd->n_lanes; i++) {
		struct shard_lane *l = &rd->lane[i];

		if (l->giving)
			l->giving->l = NULL;
		batch_cancel(&l->b);
		loop_timer_free(l->timer);
		for (const struct stream_record *rec = l->first; rec; rec = rec->next)
			count(rd, rec, -1);
		stream_records_free(l->first);
		buf_done(&l->b.payload);
	}
	list_del(&rd->node);
	free(rd);
}

/* A shard that was read and done to its end: others may wait for that. */
static bool reader_finish(struct reader *rd)
{
	struct mapping *m = rd->m;

	if (!rd->ended || rd->held || is_busy(rd))
		return false;
	save_soon(rd);
	reader_free(rd);
	mapping_stream_start(m);
	return true;
}

/* A batch is over; the next look is after pause_us, or at once (-1). The lane and its mapping may be gone after it. */
static void lane_rest(struct shard_lane *l, int64_t pause_us)
{
	struct reader *rd = l->rd;
	struct mapping *m = rd->m;

	l->state = pause_us < 0 ? LANE_COLLECT : LANE_PAUSE;
	if (!m->on) {
		if (!is_busy(rd))
			reader_free(rd);
	} else if (pause_us >= 0) {
		loop_timer_in(l->timer, pause_us);
	} else if (!reader_finish(rd)) {
		lane_look(l);
		reader_read(rd);
	}
	mapping_ends(m);
}

static void put_time(struct jw *w, const char *key, int64_t us)
{
	char text[32];

	jw_strc(w, key, clock_fmt_iso(us, text));
}

static void put_failure(struct shard_lane *l, const struct giving *g, const char *condition, struct buf *ret)
{
	const struct mapping *m = l->rd->m;
	const struct stream_record *last = container_of(g->last, struct stream_record, next);
	char text[STREAM_SEQUENCE_BYTES], version[VERSION_TEXT];
	struct jw w = jw_object(ret);

	jw_obj(&w, "requestContext");
	jw_strc(&w, "requestId", l->request_id);
	jw_strc(&w, "functionArn", m->set.function_arn);
	jw_strc(&w, "condition", condition);
	jw_int(&w, "approximateInvokeCount", l->invokes);
	jw_end(&w, '}');
	if (l->invokes) {
		jw_obj(&w, "responseContext");
		jw_int(&w, "statusCode", 200);
		jw_strc(&w, "executedVersion", version_name(l->version, version));
		jw_strc(&w, "functionError", "Unhandled");
		jw_end(&w, '}');
	}
	jw_strc(&w, "version", "1.0");
	put_time(&w, "timestamp", clock_wall_us());
	jw_obj(&w, "KinesisBatchInfo");
	jw_strc(&w, "shardId", stream_shard_name(l->rd->shard, text));
	jw_strc(&w, "startSequenceNumber", stream_sequence(g->first->id, text));
	jw_strc(&w, "endSequenceNumber", stream_sequence(last->id, text));
	put_time(&w, "approximateArrivalOfFirstRecord", g->first->id);
	put_time(&w, "approximateArrivalOfLastRecord", last->id);
	jw_int(&w, "batchSize", g->n);
	jw_strc(&w, "streamArn", m->set.source);
	jw_end(&w, '}');
	jw_end(&w, '}');
}

static void given_up(struct store_op *op, const struct err *e)
{
	struct giving *g = container_of(op, struct giving, tx.op);
	struct shard_lane *l = g->l;

	if (l) {
		l->giving = NULL;
		if (e->kind) { /* they are the head of the lane again */
			log_warn("mapping", "records of %s cannot be given up: %s", l->rd->m->set.source, e->text);
			*g->last = l->first;
			if (!l->first)
				l->last = g->last;
			l->first = take_ptr(g->first);
			l->n += g->n;
			for (const struct stream_record *rec = l->first; rec != *g->last; rec = rec->next)
				count(l->rd, rec, 1);
		}
		lane_rest(l, e->kind ? mapping_pause_us(&l->throttles) : -1);
	}
	stream_records_free(g->first);
	free(g);
}

/* The first n are not tried any more. */
static void give_up(struct shard_lane *l, unsigned n, const char *condition)
{
	struct mapping *m = l->rd->m;
	struct giving *g = xcalloc(1, sizeof(*g));
	unsigned invokes = l->invokes;
	auto_buf text = {0};
	struct err e;

	log_warn("mapping", "%u records of %s are given up for %s: %s", n, m->set.source, m->set.function, condition);
	l->state = LANE_SAVE;
	l->giving = g;
	g->l = l;
	g->n = n;
	g->first = lane_drop(l, n, &g->last);
	l->invokes = invokes;
	store_tx_init(&g->tx);
	g->tx.op.done = given_up;
	put_failure(l, g, condition, &text);
	l->invokes = 0;
	if (m->set.on_failure &&
	    deliver_add(m->all->o.deliver, &g->tx,
			&(struct delivery){.target = m->set.on_failure, .payload = buf_str(&text), .retries = -1},
			&e) < 0)
		log_error("mapping", "%s does not take them: %s", m->set.on_failure, e.text);
	save(l->rd, &g->tx);
	store_tx_start(m->all->o.store, &g->tx);
}

struct lowest {
	int64_t *ids; /* of the batch; they ascend */
	unsigned n, at;
};

static bool mark(void *arg, struct str id)
{
	struct lowest *k = arg;
	int64_t number = stream_sequence_id(id);
	unsigned lo = 0, hi = k->n;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (k->ids[mid] < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == k->n || k->ids[lo] != number)
		return false;
	if (lo < k->at)
		k->at = lo;
	return true;
}

/* How many records, from the first, the function has done. */
static unsigned done_of(const struct shard_lane *l)
{
	auto_free int64_t *ids = xcalloc(l->b.n, sizeof(*ids));
	const struct stream_record *rec = l->first;
	struct lowest low = {ids, l->b.n, l->b.n};

	if (!l->rd->m->set.partial)
		return l->b.n;
	for (unsigned i = 0; i < l->b.n; i++, rec = rec->next)
		ids[i] = rec->id;
	return batch_failures(l->b.inv.body, mark, &low) < 0 ? 0 : low.at;
}

static void invoked(struct batch *b, enum batch_said said)
{
	struct shard_lane *l = container_of(b, struct shard_lane, b);
	const struct mapping_set *set = &l->rd->m->set;
	unsigned n = said == BATCH_OK ? done_of(l) : 0, rest = b->n - n, pause;

	buf_done(&b->payload);
	if (said == BATCH_NOT_NOW) {
		lane_rest(l, mapping_pause_us(&l->throttles));
		return;
	}
	l->throttles = 0;
	l->invokes++;
	if (n) {
		stream_records_free(lane_drop(l, n, NULL));
		l->invokes = rest ? 1 : 0;
		save_soon(l->rd);
	}
	if (!rest) {
		lane_rest(l, -1);
	} else if (set->bisect && !n && rest > 1) {
		l->piece[l->n_pieces - 1] = rest - rest / 2;
		piece_push(l, rest / 2);
		l->invokes = 0;
		lane_rest(l, -1);
	} else if (set->number[MAPPING_RETRIES] >= 0 && l->tries >= set->number[MAPPING_RETRIES]) {
		give_up(l, rest, "RetryAttemptsExhausted");
	} else {
		pause = l->tries++;
		lane_rest(l, mapping_pause_us(&pause));
	}
}

static unsigned expired(const struct shard_lane *l)
{
	int64_t age = l->rd->m->set.number[MAPPING_MAX_AGE], limit = clock_wall_us() - age * 1000000;
	unsigned n = 0;

	for (const struct stream_record *rec = l->first; age >= 0 && rec && rec->id < limit; rec = rec->next)
		n++;
	return n;
}

/* The batch at the head of the lane; as much of the piece as one invocation may have. */
static void build(struct shard_lane *l)
{
	unsigned n = l->n_pieces ? l->piece[l->n_pieces - 1] : l->n;
	int64_t most = l->rd->m->set.number[MAPPING_BATCH];

	if (n > most)
		n = (unsigned)most;
	buf_clear(&l->b.payload);
	door_batch_done(&l->b.door);
	l->b.n = 0;
	for (const struct stream_record *rec = l->first; l->b.n < n; rec = rec->next) {
		auto_buf record = {0};
		struct jw w;

		jw_init(&w, &record);
		mapping_write_record(&w, l->rd->m, l->rd->shard, rec);
		if (!batch_add(&l->b, &record))
			break;
		door_batch_add(&l->b.door, rec->trace);
	}
	batch_close(&l->b);
	if (l->n_pieces && l->piece[l->n_pieces - 1] > l->b.n)
		l->piece[l->n_pieces - 1] -= l->b.n;
	else if (l->n_pieces)
		l->n_pieces--;
	piece_push(l, l->b.n);
}

static void run(struct shard_lane *l)
{
	struct mapping *m = l->rd->m;
	unsigned old = expired(l);

	mapping_begins(m);
	if (old) {
		give_up(l, old, "RecordAgeExceeded");
		return;
	}
	l->state = LANE_RUN;
	build(l);
	if (!batch_start(&l->b)) {
		lane_rest(l, mapping_pause_us(&l->throttles));
		return;
	}
	l->version = l->b.version;
	memcpy(l->request_id, l->b.inv.request_id, sizeof(l->request_id));
}

static void lane_look(struct shard_lane *l)
{
	struct mapping *m = l->rd->m;
	int64_t now = clock_now_us();

	if (!m->on || !l->n || l->state != LANE_COLLECT)
		return;
	if (l->n_pieces || l->n >= m->set.number[MAPPING_BATCH] || l->rd->ended || l->rd->bytes >= READ_BYTES ||
	    l->until_us <= now)
		run(l);
	else
		loop_timer_in(l->timer, l->until_us - now);
}

static void on_timer(void *arg)
{
	struct shard_lane *l = arg;

	if (l->state == LANE_PAUSE)
		l->state = LANE_COLLECT, l->until_us = 0;
	lane_look(l);
}

/* --- readers --- */

static void keep(struct reader *rd, struct stream_record *rec)
{
	struct shard_lane *l = &rd->lane[rd->n_lanes > 1 ? stream_key_hash(rec->key) % rd->n_lanes : 0];
	const struct mapping_set *set = &rd->m->set;
	bool passes = true;

	rd->next = rec->id + 1;
	if (set->n_filters) {
		auto_buf text = {0};
		struct jw w;

		jw_init(&w, &text);
		mapping_write_data(&w, NULL, rec, true);
		passes = mapping_passes(set, &text);
	}
	rec->next = NULL;
	if (!passes) {
		stream_records_free(rec);
		return;
	}
	if (!l->n)
		l->until_us = clock_now_us() + set->number[MAPPING_WINDOW] * 1000000;
	*l->last = rec;
	l->last = &rec->next;
	l->n++;
	count(rd, rec, 1);
}

static void read_done(struct stream_read *r, const struct err *e)
{
	struct reader *rd = container_of(r, struct reader, r);
	struct stream_record *rec = r->records;
	bool some = rec, gone = e->kind == ERR_NOT_FOUND;

	rd->reading = false;
	while (rec) {
		struct stream_record *next = rec->next;

		keep(rd, rec);
		rec = next;
	}
	rd->ended = (!e->kind && r->ended) || gone;
	if (e->kind && !gone) {
		unsigned pause = 4;

		rd->m->problem = "PROBLEM: The stream cannot be read";
		loop_timer_in(rd->again, mapping_pause_us(&pause));
		return;
	}
	if (reader_finish(rd))
		return;
	if (some && !rd->held)
		save_soon(rd); /* all were filtered out */
	for (unsigned i = 0; i < rd->n_lanes; i++)
		lane_look(&rd->lane[i]);
	reader_read(rd);
}

static struct stream_shard *shard_of(const struct stream *s, int64_t serial)
{
	for (size_t i = 0; s && i < s->n_shards; i++)
		if (s->shards[i]->serial == serial)
			return s->shards[i];
	return NULL;
}

static void reader_read(void *arg)
{
	struct reader *rd = arg;
	struct mapping *m = rd->m;
	unsigned most = (unsigned)m->set.number[MAPPING_BATCH] * rd->n_lanes;
	struct stream *s = stream_by_arn(m->all->o.streams, str_of(m->set.source));
	struct stream_shard *sh = shard_of(s, rd->serial);

	if (!m->on || rd->reading || rd->ended || rd->held >= most || rd->bytes >= READ_BYTES)
		return;
	if (!sh) { /* expired, or the stream is gone */
		rd->ended = true;
		reader_finish(rd);
		return;
	}
	rd->reading = true;
	rd->r = (struct stream_read){
		.from = rd->next, .limit = (int)most, .bytes = READ_BYTES, .wait = true, .done = read_done};
	if (m->all->held > LIM_MAPPING_BYTES) /* all together: each a little, so that all go on */
		rd->r.bytes = READ_BYTES_SCARCE;
	stream_read_start(sh, &rd->r);
}

static void reader_new(struct mapping *m, const struct stream_shard *sh, const char *checkpoint)
{
	unsigned n = (unsigned)m->set.number[MAPPING_PARALLEL];
	struct reader *rd = xcalloc(1, sizeof(*rd) + n * sizeof(*rd->lane));

	rd->m = m;
	rd->serial = sh->serial;
	rd->shard = sh->n;
	rd->next = m->set.from;
	if (checkpoint)
		str_to_i64(str_of(checkpoint), 0, INT64_MAX, &rd->next);
	rd->n_lanes = n;
	rd->again = loop_timer_new(m->all->o.loop, reader_read, rd);
	for (unsigned i = 0; i < n; i++) {
		struct shard_lane *l = &rd->lane[i];

		l->rd = rd;
		l->last = &l->first;
		l->b.m = m;
		l->b.done = invoked;
		l->timer = loop_timer_new(m->all->o.loop, on_timer, l);
		id_uuid(l->request_id);
	}
	list_push(&m->readers, &rd->node);
	reader_read(rd);
}

/* --- on and off --- */

static bool is_read(const struct mapping *m, int64_t serial)
{
	list_each(&m->readers, it) if (container_of(it, struct reader, node)->serial == serial) return true;
	return false;
}

static const char *checkpoint_of(const struct mapping *m, int64_t serial)
{
	auto_free char *key = checkpoint_key(m, serial);

	return record_get(m->all->o.store, key);
}

static bool may_begin(const struct mapping *m, const struct stream *s, const struct stream_shard *sh)
{
	for (size_t i = 0; i < s->n_shards; i++) {
		const char *at =
			stream_shard_follows(sh, s->shards[i]) ? checkpoint_of(m, s->shards[i]->serial) : "end";

		if (!at || strcmp(at, "end"))
			return false;
	}
	return true;
}

/* Of shards that have expired, or (s NULL) all. */
static void forget(struct mapping *m, const struct stream *s, struct store_tx *tx)
{
	auto_free char *prefix = xasprintf("checkpoint/%s/", m->uuid), *after = NULL;
	const struct record *r;

	while ((r = record_next(m->all->o.store, prefix, after))) {
		int64_t serial = -1;

		free(after);
		after = xstrdup(r->key);
		str_to_i64(str_of(after + strlen(prefix)), 0, INT64_MAX, &serial);
		if (shard_of(s, serial))
			continue;
		record_del_add(m->all->o.store, tx, after);
	}
}

void mapping_stream_forget(struct mapping *m, struct store_tx *tx)
{
	forget(m, NULL, tx);
}

void mapping_stream_start(struct mapping *m)
{
	struct stream *s = stream_by_arn(m->all->o.streams, str_of(m->set.source));
	struct store_tx *tx;

	if (!m->on)
		return;
	if (!s) {
		m->problem = "PROBLEM: The stream does not exist";
		*m->why = 0;
		return;
	}
	tx = store_tx_new();
	forget(m, s, tx);
	if (store_tx_empty(tx))
		free(tx);
	else
		store_tx_start(m->all->o.store, tx);
	for (size_t i = 0; i < s->n_shards; i++) {
		const struct stream_shard *sh = s->shards[i];
		const char *at = checkpoint_of(m, sh->serial);

		if (!is_read(m, sh->serial) && (!at || strcmp(at, "end")) && may_begin(m, s, sh))
			reader_new(m, sh, at);
	}
}

void mapping_stream_stop(struct mapping *m)
{
	list_each(&m->readers, it)
	{
		struct reader *rd = container_of(it, struct reader, node);

		stream_read_cancel(&rd->r);
		rd->reading = false;
		loop_timer_stop(rd->again);
		for (unsigned i = 0; i < rd->n_lanes; i++)
			loop_timer_stop(rd->lane[i].timer);
		if (!is_busy(rd))
			reader_free(rd);
	}
}

void mapping_stream_free(struct mapping *m)
{
	list_each(&m->readers, it) reader_free(container_of(it, struct reader, node));
}
