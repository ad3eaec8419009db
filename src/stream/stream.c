/* SPDX-License-Identifier: Apache-2.0 */
/* Streams in memory, their documents, and how shards come and go. Records: record.c. */
#include "stream/stream.h"
#include <stdio.h>
#include "base/clock.h"
#include "base/mem.h"
#include "store/record.h"
#include "stream/stream_int.h"

#define HOUR_US	 3600000000ll
#define HASH_MAX (~(unsigned __int128)0)

/* --- names and numbers --- */

char *stream_sequence(int64_t id, char out[STREAM_SEQUENCE_BYTES])
{
	snprintf(out, STREAM_SEQUENCE_BYTES, "49%054lld", (long long)id); /* 56 digits, as theirs */
	return out;
}

int64_t stream_sequence_id(struct str s)
{
	int64_t id;

	return s.n == STREAM_SEQUENCE_BYTES - 1 && str_starts(s, "49") &&
			       str_to_i64((struct str){s.p + 2, s.n - 2}, 0, INT64_MAX - 1, &id) == 0
		       ? id
		       : -1;
}

char *stream_shard_name(unsigned n, char out[STREAM_SHARD_BYTES])
{
	snprintf(out, STREAM_SHARD_BYTES, "shardId-%012u", n);
	return out;
}

struct stream_shard *stream_shard(const struct stream *s, struct str name)
{
	char own[STREAM_SHARD_BYTES];

	for (size_t i = 0; i < s->n_shards; i++)
		if (str_eqc(name, stream_shard_name(s->shards[i]->n, own)))
			return s->shards[i];
	return NULL;
}

int stream_hash_parse(struct str s, unsigned __int128 *ret)
{
	unsigned __int128 v = 0;

	if (!s.n || s.n > 39)
		return -1;
	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = (unsigned)s.p[i] - '0';

		if (digit > 9 || v > (HASH_MAX - digit) / 10)
			return -1;
		v = v * 10 + digit;
	}
	*ret = v;
	return 0;
}

static void write_hash(struct jw *w, const char *key, unsigned __int128 v)
{
	char text[40], *p = text + sizeof(text) - 1;

	*p = 0;
	do
		*--p = (char)('0' + (int)(v % 10));
	while (v /= 10);
	jw_strc(w, key, p);
}

void stream_range_write(struct jw *w, const struct stream_shard *sh)
{
	jw_obj(w, "HashKeyRange");
	write_hash(w, "StartingHashKey", sh->first_hash);
	write_hash(w, "EndingHashKey", sh->last_hash);
	jw_end(w, '}');
}

void stream_shard_write(struct jw *w, const struct stream_shard *sh)
{
	char text[STREAM_SEQUENCE_BYTES];

	jw_obj(w, NULL);
	jw_strc(w, "ShardId", stream_shard_name(sh->n, text));
	if (sh->parent)
		jw_strc(w, "ParentShardId", stream_shard_name(sh->parent - 1, text));
	if (sh->adjacent)
		jw_strc(w, "AdjacentParentShardId", stream_shard_name(sh->adjacent - 1, text));
	stream_range_write(w, sh);
	jw_obj(w, "SequenceNumberRange");
	jw_strc(w, "StartingSequenceNumber", stream_sequence(sh->serial, text));
	if (sh->end)
		jw_strc(w, "EndingSequenceNumber", stream_sequence(sh->end, text));
	jw_end(w, '}');
	jw_end(w, '}');
}

static unsigned shard_number(const struct json *shard, const char *member)
{
	struct str name = json_get_str(shard, member);
	int64_t n;

	return str_starts(name, "shardId-") && !str_to_i64((struct str){name.p + 8, name.n - 8}, 0, UINT32_MAX - 1, &n)
		       ? (unsigned)n + 1
		       : 0;
}

bool stream_shard_follows(const struct stream_shard *sh, const struct stream_shard *before)
{
	return before->end && before->serial < sh->serial && before->first_hash <= sh->last_hash &&
	       before->last_hash >= sh->first_hash;
}

/* --- shards --- */

void shard_unref(struct stream_shard *sh)
{
	if (!--sh->refs)
		free(sh);
}

/* Whoever reads it hears that it is gone. */
static void shard_drop(struct stream_shard *sh)
{
	sh->stream = NULL;
	shard_wake(sh);
	shard_unref(sh);
}

static struct stream_shard *shard_add(struct stream *s, unsigned __int128 first_hash, unsigned __int128 last_hash)
{
	struct stream_shard *sh = xcalloc(1, sizeof(*sh));

	sh->refs = 1;
	sh->stream = s;
	sh->n = s->n_shards ? s->shards[s->n_shards - 1]->n + 1 : 0;
	sh->serial = s->all->latest = streams_latest(s->all) + 1;
	sh->first_hash = first_hash;
	sh->last_hash = last_hash;
	list_init(&sh->waiting);
	s->shards = xrealloc(s->shards, (s->n_shards + 1) * sizeof(struct stream_shard *));
	s->shards[s->n_shards++] = sh;
	s->n_open++;
	return sh;
}

/* Those that took its records' place are made after. */
static void shard_close(struct stream *s, struct stream_shard *sh)
{
	sh->end = s->all->latest = streams_latest(s->all) + 1;
	s->n_open--;
}

/* Closed ones of which every record has expired. */
static void forget_expired(struct stream *s)
{
	int64_t limit = clock_wall_us() - s->retention_us;
	size_t n = 0;

	for (size_t i = 0; i < s->n_shards; i++)
		if (s->shards[i]->end && s->shards[i]->end < limit)
			shard_drop(s->shards[i]);
		else
			s->shards[n++] = s->shards[i];
	s->n_shards = n;
}

/* All the open ones give way to n of the same size. */
static void reshard(struct stream *s, unsigned n)
{
	int64_t before = s->all->latest;
	size_t old_n = s->n_shards;
	unsigned __int128 width = HASH_MAX / n, first = 0;

	for (size_t i = 0; i < old_n; i++)
		if (!s->shards[i]->end)
			shard_close(s, s->shards[i]);
	for (unsigned i = 0; i < n; i++, first += width) {
		struct stream_shard *sh = shard_add(s, first, i == n - 1 ? HASH_MAX : first + (width - 1));

		for (size_t k = 0; k < old_n; k++)
			if (s->shards[k]->end > before && stream_shard_follows(sh, s->shards[k]))
				*(sh->parent ? &sh->adjacent : &sh->parent) = s->shards[k]->n + 1;
	}
}

/* --- documents --- */

static void stream_free(struct stream *s)
{
	for (size_t i = 0; i < s->n_shards; i++)
		shard_drop(s->shards[i]);
	free(s->shards);
	json_free(s->tags);
	free(s->name);
	free(s->arn);
	free(s->project);
	free(s);
}

static struct stream *stream_new(struct streams *all, struct str name)
{
	struct stream *s = xcalloc(1, sizeof(*s));

	s->all = all;
	s->name = str_dup(name);
	s->arn = xasprintf("arn:aws:kinesis:%s:%s:stream/%s", all->o.region, all->o.account, s->name);
	s->created_wall_us = clock_wall_us();
	s->retention_us = 24 * HOUR_US;
	map_put(&all->by_name, str_of(s->name), s);
	return s;
}

static void save(struct stream *s, struct store_tx *tx)
{
	auto_free char *key = xasprintf("stream/%s", s->name);
	auto_buf b = {0};
	struct jw w = jw_object(&b);

	jw_strc(&w, "StreamName", s->name);
	if (s->project)
		jw_strc(&w, "project", s->project);
	jw_int(&w, "created_us", s->created_wall_us);
	jw_int(&w, "RetentionPeriodHours", s->retention_us / HOUR_US);
	jw_obj(&w, "StreamModeDetails");
	jw_strc(&w, "StreamMode", s->on_demand ? "ON_DEMAND" : "PROVISIONED");
	jw_end(&w, '}');
	if (s->tags) {
		auto_free char *tags = json_text(s->tags);

		jw_raw(&w, "Tags", str_of(tags));
	}
	jw_arr(&w, "Shards");
	for (size_t i = 0; i < s->n_shards; i++)
		stream_shard_write(&w, s->shards[i]);
	jw_end(&w, ']');
	jw_end(&w, '}');
	record_put_add(s->all->o.store, tx, key, b.p);
	for (size_t i = 0; i < s->n_shards; i++)
		if (s->shards[i]->end)
			shard_wake(s->shards[i]);
	if (s->all->changed)
		s->all->changed(s->all->changed_arg, s->arn);
}

static void read_members(struct stream *s, const struct json *doc)
{
	struct str mode = json_get_str(json_get(doc, "StreamModeDetails"), "StreamMode");
	const struct json *tags = json_get(doc, "Tags");

	s->retention_us = json_get_int(doc, "RetentionPeriodHours", s->retention_us / HOUR_US) * HOUR_US;
	if (mode.p)
		s->on_demand = str_eqc(mode, "ON_DEMAND");
	if (tags) {
		json_free(s->tags);
		s->tags = json_ref(tags);
	}
}

static void load_shard(struct stream *s, const struct json *j)
{
	const struct json *hashes = json_get(j, "HashKeyRange"), *ids = json_get(j, "SequenceNumberRange");
	struct stream_shard *sh = shard_add(s, 0, 0);
	struct str end = json_get_str(ids, "EndingSequenceNumber");

	sh->n = shard_number(j, "ShardId") - 1;
	sh->parent = shard_number(j, "ParentShardId");
	sh->adjacent = shard_number(j, "AdjacentParentShardId");
	sh->serial = stream_sequence_id(json_get_str(ids, "StartingSequenceNumber"));
	stream_hash_parse(json_get_str(hashes, "StartingHashKey"), &sh->first_hash);
	stream_hash_parse(json_get_str(hashes, "EndingHashKey"), &sh->last_hash);
	if (end.n) {
		sh->end = stream_sequence_id(end);
		s->n_open--;
	}
}

static void load(struct streams *all, const char *text)
{
	auto_json doc = json_parse(str_of(text), NULL);
	struct stream *s = stream_new(all, json_get_str(doc, "StreamName"));
	const struct json *shards = json_get(doc, "Shards");
	struct str project = json_get_str(doc, "project");

	s->project = project.n ? str_dup(project) : NULL;
	s->created_wall_us = json_get_int(doc, "created_us", 0);
	read_members(s, doc);
	for (size_t i = 0; i < json_len(shards); i++)
		load_shard(s, json_at(shards, i));
}

struct streams *streams_new(const struct streams_opts *o)
{
	struct streams *all = xcalloc(1, sizeof(*all));

	all->o = *o;
	list_init(&all->readings);
	all->trim_timer = loop_timer_new(o->loop, trim_now, all);
	for (const struct record *r = NULL; (r = record_next(o->store, "stream/", r ? r->key : NULL));)
		load(all, r->value);
	trim_soon(all, 0);
	return all;
}

void streams_free(struct streams *all)
{
	struct stream *s;
	size_t pos = 0;

	if (!all)
		return;
	records_free(all);
	while ((s = map_next(&all->by_name, &pos)))
		stream_free(s);
	map_done(&all->by_name);
	free(all);
}

void streams_on_change(struct streams *all, void (*changed)(void *arg, const char *arn), void *arg)
{
	all->changed = changed;
	all->changed_arg = arg;
}

int64_t streams_latest(const struct streams *all)
{
	int64_t now = clock_wall_us();

	return now > all->latest ? now : all->latest;
}

struct stream *stream_get(struct streams *all, struct str name)
{
	return map_get(&all->by_name, name);
}

struct stream *stream_by_arn(struct streams *all, struct str arn)
{
	struct str head, name;
	struct stream *s = str_cut(arn, '/', &head, &name) ? stream_get(all, name) : NULL;

	return s && str_eqc(arn, s->arn) ? s : NULL;
}

struct stream *stream_next(struct streams *all, const char *after)
{
	auto_free char *key = after ? xasprintf("stream/%s", after) : NULL;
	const struct record *r = record_next(all->o.store, "stream/", key);

	return r ? stream_get(all, str_of(r->key + 7)) : NULL;
}

/* --- changes --- */

/* For more shards: closed ones stay until their records have expired. */
static int room(struct stream *s, struct err *e)
{
	forget_expired(s);
	if (s->n_shards < 4 * LIM_STREAM_SHARDS)
		return 0;
	return err_set(e, ERR_LIMIT, "Stream %s has %zu shards that hold records, which is the limit.", s->name,
		       s->n_shards);
}

static int check(struct streams *all, struct stream *s, const struct json *doc, int64_t *ret_shards, struct err *e)
{
	struct str name = json_get_str(doc, "StreamName");
	int64_t hours = json_get_int(doc, "RetentionPeriodHours", 24), most = LIM_STREAM_SHARDS;
	bool on_demand = str_eqc(json_get_str(json_get(doc, "StreamModeDetails"), "StreamMode"), "ON_DEMAND");

	if (!str_name_ok(name, STREAM_NAME_MAX, "_.-"))
		return err_set(e, ERR_INVALID,
			       "Stream name '%.*s' is not 1 to %d of the characters a-z, A-Z, 0-9, _, . and -.",
			       (int)(name.n < 150 ? name.n : 150), name.p ? name.p : "", STREAM_NAME_MAX);
	if (!s && all->by_name.n >= LIM_STREAMS)
		return err_set(e, ERR_LIMIT, "There are %d streams already, which is the limit.", LIM_STREAMS);
	if (hours < 24 || hours > 8760)
		return err_set(e, ERR_INVALID,
			       "%s allowed retention period is %d hours. Requested retention period (%lld hours) is "
			       "too %s.",
			       hours < 24 ? "Minimum" : "Maximum", hours < 24 ? 24 : 8760, (long long)hours,
			       hours < 24 ? "short" : "long");
	*ret_shards = json_get_int(doc, "ShardCount", s ? 0 : on_demand ? 4 : 1);
	if (s && *ret_shards && *ret_shards != (int64_t)s->n_open && room(s, e) < 0)
		return -1;
	if (*ret_shards < (s ? 0 : 1) || *ret_shards > most)
		return err_set(e, ERR_LIMIT, "ShardCount is %lld, and must be from 1 to %lld.", (long long)*ret_shards,
			       (long long)most);
	return 0;
}

int stream_put(struct streams *all, const struct json *doc, const char *project, struct store_tx *tx, struct err *e)
{
	struct stream *s = stream_get(all, json_get_str(doc, "StreamName"));
	int64_t shards = 0;

	if (check(all, s, doc, &shards, e) < 0)
		return -1;
	if (!s)
		s = stream_new(all, json_get_str(doc, "StreamName"));
	if (project) {
		free(s->project);
		s->project = xstrdup(project);
	}
	read_members(s, doc);
	if (shards && shards != (int64_t)s->n_open)
		reshard(s, (unsigned)shards);
	save(s, tx);
	return 0;
}

static int is_open(const struct stream *s, const struct stream_shard *sh, struct err *e)
{
	char name[STREAM_SHARD_BYTES];

	if (sh->end)
		return err_set(e, ERR_INVALID,
			       "Shard %s in stream %s under account %s has already been merged or "
			       "split, and thus is not eligible for merging or splitting.",
			       stream_shard_name(sh->n, name), s->name, s->all->o.account);
	return 0;
}

int stream_split(struct stream *s, struct stream_shard *sh, struct str hash_key, struct store_tx *tx, struct err *e)
{
	struct stream_shard *left, *right;
	unsigned __int128 at;

	if (is_open(s, sh, e) < 0 || room(s, e) < 0)
		return -1;
	if (s->n_open >= LIM_STREAM_SHARDS)
		return err_set(e, ERR_LIMIT, "Stream %s has %d open shards, which is the limit.", s->name,
			       LIM_STREAM_SHARDS);
	if (stream_hash_parse(hash_key, &at) < 0 || at <= sh->first_hash || at > sh->last_hash)
		return err_set(e, ERR_INVALID,
			       "NewStartingHashKey %.*s used in SplitShard() on shard %u in stream %s is not both "
			       "greater than one plus the shard's StartingHashKey and less than the shard's "
			       "EndingHashKey.",
			       (int)(hash_key.n < 64 ? hash_key.n : 64), hash_key.p, sh->n, s->name);
	shard_close(s, sh);
	left = shard_add(s, sh->first_hash, at - 1);
	right = shard_add(s, at, sh->last_hash);
	left->parent = right->parent = sh->n + 1;
	save(s, tx);
	return 0;
}

int stream_merge(struct stream *s, struct stream_shard *a, struct stream_shard *b, struct store_tx *tx, struct err *e)
{
	struct stream_shard *low = a->first_hash < b->first_hash ? a : b, *high = low == a ? b : a, *sh;

	if (is_open(s, a, e) < 0 || is_open(s, b, e) < 0 || room(s, e) < 0)
		return -1;
	if (low == high || low->last_hash + 1 != high->first_hash)
		return err_set(e, ERR_INVALID,
			       "Shards %u and %u in stream %s are not an adjacent pair of shards "
			       "eligible for merging",
			       a->n, b->n, s->name);
	shard_close(s, a);
	shard_close(s, b);
	sh = shard_add(s, low->first_hash, high->last_hash);
	sh->parent = a->n + 1;
	sh->adjacent = b->n + 1;
	save(s, tx);
	return 0;
}

void stream_delete(struct stream *s, struct store_tx *tx)
{
	struct streams *all = s->all;
	auto_free char *key = xasprintf("stream/%s", s->name), *arn = xstrdup(s->arn);

	record_del_add(all->o.store, tx, key);
	map_del(&all->by_name, str_of(s->name));
	stream_free(s);
	if (all->changed)
		all->changed(all->changed_arg, arn);
	trim_soon(all, 0);
}
