/* SPDX-License-Identifier: Apache-2.0 */
/* Kinesis: records in and out. */

#include "api/kinesis_int.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"

#define ITERATOR_LIFE_US 300000000ll
#define READ_BYTES	 10485760 /* Kinesis: of one GetRecords */
#define PUT_RECORDS	 500

/* --- put --- */

struct putting {
	struct api_call c;
	struct store_tx tx;
	bool many;
	size_t n;
	struct stream_place at[];
};

static void put_place(struct jw *w, const struct stream_place *at)
{
	char text[STREAM_SEQUENCE_BYTES];

	jw_strc(w, "ShardId", stream_shard_name(at->shard, text));
	jw_strc(w, "SequenceNumber", stream_sequence(at->id, text));
}

static void put_done(struct store_op *op, const struct err *e)
{
	struct putting *p = container_of(op, struct putting, tx.op);
	auto_object(w, b);

	if (p->many) {
		jw_int(&w, "FailedRecordCount", 0);
		jw_arr(&w, "Records");
		for (size_t i = 0; i < p->n; i++) {
			jw_obj(&w, NULL);
			put_place(&w, &p->at[i]);
			jw_end(&w, '}');
		}
		jw_end(&w, ']');
	} else {
		put_place(&w, p->at);
	}
	jw_strc(&w, "EncryptionType", "NONE");
	if (e->kind)
		api_reply_fail(&p->c, API_SERVICE, "The records could not be kept: %s", e->text);
	else
		api_reply_object(&p->c, 200, &w);
	free(p);
}

static int add(struct putting *p, struct stream *s, const struct json *record, size_t *total)
{
	auto_buf data = {0};
	struct stream_record rec;
	struct err e;

	if (dec_b64(&data, json_get_str(record, "Data")) < 0)
		return api_fail(&p->c.e, API_SERIALIZATION, "Data of record %zu is not base64.", p->n);
	*total += data.n + json_get_str(record, "PartitionKey").n;
	if (*total > LIM_STREAM_PUT_BYTES)
		return api_fail(&p->c.e, API_KINESIS_INVALID, "Records size exceeds 5 MB limit");
	rec = (struct stream_record){
		.key = json_get_str(record, "PartitionKey"), .data = buf_str(&data), .trace = str_of(p->c.trace)};
	if (stream_put_add(s, &p->tx, &rec, json_get_str(record, "ExplicitHashKey"), &p->at[p->n], &e) < 0)
		return kinesis_fail(&p->c, &e);
	p->n++;
	return 0;
}

static int put_all(struct api_call *c, const struct json *records)
{
	struct stream *s = kinesis_stream(c);
	size_t n = records ? json_len(records) : 1, total = 0;
	struct putting *p;
	int r = 0;

	if (!s)
		return -1;
	if (n > PUT_RECORDS)
		return api_fail(&c->e, API_VALIDATION,
				"1 validation error detected: Value at 'records' failed to satisfy constraint: Member "
				"must have length less than or equal to %d",
				PUT_RECORDS);
	p = xcalloc(1, sizeof(*p) + n * sizeof(*p->at));
	p->c = *c;
	p->many = records;
	store_tx_init(&p->tx);
	p->tx.op.done = put_done;
	for (size_t i = 0; i < n && r == 0; i++)
		r = add(p, s, records ? json_at(records, i) : c->in, &total);
	if (r < 0) {
		c->e = p->c.e;
		store_tx_drop(&p->tx, &(struct err){.kind = ERR_INVALID});
		free(p);
		return -1;
	}
	http_on_gone_clear(&p->c.r);
	store_tx_start(c->a->o.store, &p->tx);
	return 0;
}

int kinesis_put_record(struct api_call *c)
{
	return put_all(c, NULL);
}

int kinesis_put_records(struct api_call *c)
{
	return put_all(c, json_get(c->in, "Records"));
}

/* --- get --- */

/* An iterator is base64 of "NAME/SERIAL/ID/TIME": where it leads is checked when it is used, as who uses it is. */
static void put_iterator(struct jw *w, const char *key, const char *name, int64_t serial, int64_t id)
{
	auto_free char *text =
		xasprintf("%s/%lld/%lld/%lld", name, (long long)serial, (long long)id, (long long)clock_wall_us());
	auto_buf b = {0};

	enc_b64(&b, text, strlen(text));
	jw_str(w, key, buf_str(&b));
}

static int starting_id(struct api_call *c, const struct stream *s, const struct stream_shard *sh, int64_t *ret)
{
	struct str type = json_get_str(c->in, "ShardIteratorType"),
		   sequence = json_get_str(c->in, "StartingSequenceNumber");
	const struct json *time = json_get(c->in, "Timestamp");
	char name[STREAM_SHARD_BYTES];

	*ret = 0; /* TRIM_HORIZON */
	if (str_eqc(type, "LATEST")) {
		*ret = streams_latest(c->a->o.streams) + 1;
	} else if (str_eqc(type, "AT_TIMESTAMP")) {
		double at = json_real(time, -1);

		if (!(at >= 0 && at < 1e11))
			return api_fail(&c->e, API_KINESIS_INVALID,
					"AT_TIMESTAMP needs a Timestamp, in seconds since the epoch.");
		*ret = (int64_t)(at * 1000000);
	} else if (str_ends(type, "SEQUENCE_NUMBER")) {
		*ret = stream_sequence_id(sequence);
		if (*ret < sh->serial)
			return api_fail(&c->e, API_KINESIS_INVALID,
					"StartingSequenceNumber %.*s used in GetShardIterator on shard %s in stream %s "
					"under account %s is invalid.",
					(int)(sequence.n < 130 ? sequence.n : 130), sequence.p ? sequence.p : "",
					stream_shard_name(sh->n, name), s->name, c->a->where.account);
		*ret += type.p[1] == 'F';
	}
	return 0;
}

int kinesis_get_iterator(struct api_call *c)
{
	const struct stream *s = kinesis_stream(c);
	const struct stream_shard *sh = s ? kinesis_shard(c, s, json_get_str(c->in, "ShardId")) : NULL;
	auto_object(w, b);
	int64_t id;

	if (!sh || starting_id(c, s, sh, &id) < 0)
		return -1;
	put_iterator(&w, "ShardIterator", s->name, sh->serial, id);
	return api_reply_object(c, 200, &w);
}

struct getting {
	struct api_call c;
	struct stream_read r;
	char name[STREAM_NAME_MAX + 1];
	unsigned shard;
	int64_t serial;
};

/* Those that took the place of shard n. */
static void put_children(struct jw *w, const struct stream *s, unsigned n)
{
	char name[STREAM_SHARD_BYTES];

	jw_arr(w, "ChildShards");
	for (size_t i = 0; i < s->n_shards; i++) {
		const struct stream_shard *sh = s->shards[i];

		if (sh->parent != n + 1 && sh->adjacent != n + 1)
			continue;
		jw_obj(w, NULL);
		jw_strc(w, "ShardId", stream_shard_name(sh->n, name));
		jw_arr(w, "ParentShards");
		jw_strc(w, NULL, stream_shard_name(sh->parent - 1, name));
		if (sh->adjacent)
			jw_strc(w, NULL, stream_shard_name(sh->adjacent - 1, name));
		jw_end(w, ']');
		stream_range_write(w, sh);
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

static void put_record(struct jw *w, const struct stream_record *rec)
{
	char text[STREAM_SEQUENCE_BYTES];
	auto_buf data = {0};

	enc_b64(&data, rec->data.p, rec->data.n);
	jw_obj(w, NULL);
	jw_strc(w, "SequenceNumber", stream_sequence(rec->id, text));
	jw_real(w, "ApproximateArrivalTimestamp", (double)(rec->id / 1000) / 1000);
	jw_str(w, "Data", data.n ? buf_str(&data) : STR(""));
	jw_str(w, "PartitionKey", rec->key);
	jw_strc(w, "EncryptionType", "NONE");
	jw_end(w, '}');
}

static void got(struct stream_read *r, const struct err *e)
{
	struct getting *g = container_of(r, struct getting, r);
	const struct stream *s = stream_get(g->c.a->o.streams, str_of(g->name));
	int64_t next = r->from;
	auto_object(w, b);

	jw_arr(&w, "Records");
	for (const struct stream_record *rec = r->records; rec; rec = rec->next) {
		put_record(&w, rec);
		next = rec->id + 1;
	}
	jw_end(&w, ']');
	jw_int(&w, "MillisBehindLatest", r->more ? (clock_wall_us() - next) / 1000 : 0);
	if (!r->ended)
		put_iterator(&w, "NextShardIterator", g->name, g->serial, next);
	else if (s)
		put_children(&w, s, g->shard);
	stream_records_free(r->records);
	if (e->kind)
		api_reply_fail(&g->c, e->kind == ERR_NOT_FOUND ? API_NOT_FOUND : API_SERVICE, "%s", e->text);
	else
		api_reply_object(&g->c, 200, &w);
	free(g);
}

/* The shard that an iterator leads to; NULL: c->e. */
static struct stream_shard *follow(struct api_call *c, int64_t *ret_id)
{
	struct str rest, name, part;
	int64_t number[3]; /* the shard's serial, the record's id, when it was given out */
	auto_buf text = {0};
	auto_free char *own = NULL;
	struct stream *s;
	int n = 0;

	if (dec_b64(&text, json_get_str(c->in, "ShardIterator")) < 0)
		goto invalid;
	rest = buf_str(&text);
	if (!str_next(&rest, '/', &name) || !str_name_ok(name, STREAM_NAME_MAX, "_.-"))
		goto invalid;
	while (n < 3 && str_next(&rest, '/', &part) && str_to_i64(part, 0, INT64_MAX - 1, &number[n]) == 0)
		n++;
	if (n < 3 || rest.n)
		goto invalid;
	own = xasprintf("{\"StreamName\":\"" STR_FMT "\",\"Limit\":%lld}", STR_ARG(name),
			(long long)json_get_int(c->in, "Limit", 1));
	json_free(c->in);
	c->in = json_parse(str_of(own), NULL);
	s = kinesis_stream(c);
	if (!s)
		return NULL;
	if (clock_wall_us() - number[2] > ITERATOR_LIFE_US)
		return api_fail(&c->e, API_KINESIS_EXPIRED,
				"Iterator expired. The iterator was created %lld s ago, and is good for %lld s.",
				(long long)(clock_wall_us() - number[2]) / 1000000, ITERATOR_LIFE_US / 1000000),
		       NULL;
	*ret_id = number[1];
	for (size_t i = 0; i < s->n_shards; i++)
		if (s->shards[i]->serial == number[0])
			return s->shards[i];
	api_fail(&c->e, API_NOT_FOUND, "The shard of this iterator has expired.");
	return NULL;
invalid:
	api_fail(&c->e, API_KINESIS_INVALID, "Invalid ShardIterator.");
	return NULL;
}

int kinesis_get_records(struct api_call *c)
{
	int64_t id;
	struct stream_shard *sh = follow(c, &id);
	struct getting *g;

	if (!sh)
		return -1;
	g = xcalloc(1, sizeof(*g));
	g->c = *c;
	g->shard = sh->n;
	g->serial = sh->serial;
	strlcpy_(g->name, sh->stream->name, sizeof(g->name));
	g->r = (struct stream_read){
		.from = id, .limit = (int)json_get_int(c->in, "Limit", 1), .bytes = READ_BYTES, .done = got};
	http_on_gone_clear(&g->c.r);
	stream_read_start(sh, &g->r);
	return 0;
}
