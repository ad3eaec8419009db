/* SPDX-License-Identifier: Apache-2.0 */
/* Kinesis: streams and shards, as stream/stream.h has them. Records: kinesis_records.c. */

#include "api/kinesis_int.h"
#include "base/clock.h"
#include "base/mem.h"

#define HOUR_US	  3600000000ll
#define OF	  "StreamName:s,StreamARN:s"
#define MODE	  "{StreamMode!:s(PROVISIONED|ON_DEMAND)}"
#define RETENTION "{" OF ",RetentionPeriodHours!:i}"
#define RECORD	  "Data:s,PartitionKey!:s,ExplicitHashKey:s"

int kinesis_fail(struct api_call *c, const struct err *e)
{
	return api_fail(&c->e,
			e->kind == ERR_INVALID	   ? API_KINESIS_INVALID
			: e->kind == ERR_LIMIT	   ? API_ECR_LIMIT
			: e->kind == ERR_NOT_FOUND ? API_NOT_FOUND
						   : API_SERVICE,
			"%s", e->text);
}

struct stream *kinesis_stream(struct api_call *c)
{
	const struct api_where *at = &c->a->where;
	struct str name = json_get_str(c->in, "StreamName"), arn = json_get_str(c->in, "StreamARN");
	auto_free char *head = xasprintf("arn:aws:kinesis:%s:%s:stream/", at->region, at->account), *full = NULL;
	struct stream *s;

	if (!arn.n)
		arn = json_get_str(c->in, "ResourceARN");
	if (str_starts(arn, head)) {
		name = (struct str){arn.p + strlen(head), arn.n - strlen(head)};
	} else if (arn.n || !name.n) {
		api_fail(&c->e, API_KINESIS_INVALID,
			 arn.n ? "The ARN is not that of a stream here." : "StreamName or StreamARN is needed.");
		return NULL;
	}
	full = xasprintf("%s" STR_FMT, head, STR_ARG(name));
	s = api_allowed(c, full) < 0 ? NULL : stream_get(c->a->o.streams, name);
	if (!s && !c->e.code)
		api_fail(&c->e, API_NOT_FOUND, "Stream %.*s under account %s not found.",
			 (int)(name.n < 150 ? name.n : 150), name.p, at->account);
	return s;
}

struct stream_shard *kinesis_shard(struct api_call *c, const struct stream *s, struct str name)
{
	struct stream_shard *sh = stream_shard(s, name);

	if (!sh)
		api_fail(&c->e, API_NOT_FOUND, "Shard %.*s in stream %s under account %s does not exist",
			 (int)(name.n < 150 ? name.n : 150), name.p ? name.p : "", s->name, c->a->where.account);
	return sh;
}

/* --- changes: each of the document of one stream --- */

static int put(struct api_call *c, const struct json *doc, struct str answer)
{
	struct store_tx parts;
	struct err e;

	store_tx_init(&parts);
	if (stream_put(c->a->o.streams, doc, NULL, &parts, &e) < 0)
		return kinesis_fail(c, &e);
	return api_commit(c, &parts, 200, answer);
}

/* member: of the document, and what it is to be, as JSON. */
static int change(struct api_call *c, const struct stream *s, const char *member, const char *json, struct str answer)
{
	auto_free char *text = xasprintf("{\"StreamName\":\"%s\",\"%s\":%s}", s->name, member, json);
	auto_json doc = json_parse(str_of(text), NULL);

	return put(c, doc, answer);
}

static int create(struct api_call *c)
{
	struct str name = json_get_str(c->in, "StreamName");
	auto_free char *arn = xasprintf("arn:aws:kinesis:%s:%s:stream/" STR_FMT, c->a->where.region,
					c->a->where.account, STR_ARG(name));

	if (api_allowed(c, arn) < 0)
		return -1;
	if (stream_get(c->a->o.streams, name))
		return api_fail(&c->e, API_KINESIS_IN_USE, "Stream " STR_FMT " under account %s already exists.",
				STR_ARG(name), c->a->where.account);
	return put(c, c->in, STR_NULL);
}

static int delete (struct api_call *c)
{
	struct stream *s = kinesis_stream(c);
	struct store_tx parts;

	if (!s)
		return -1;
	store_tx_init(&parts);
	stream_delete(s, &parts);
	return api_commit(c, &parts, 200, STR_NULL);
}

static int retention(struct api_call *c)
{
	struct stream *s = kinesis_stream(c);
	int64_t hours = json_get_int(c->in, "RetentionPeriodHours", 0), now = s ? s->retention_us / HOUR_US : 0;
	bool more = c->op->name[0] == 'I';
	auto_free char *text = xasprintf("%lld", (long long)hours);

	if (!s)
		return -1;
	if (more ? hours < now : hours > now)
		return api_fail(&c->e, API_KINESIS_INVALID,
				"Requested retention period (%lld hours) for stream %s can not be %s than existing "
				"retention period (%lld hours). Use %s API.",
				(long long)hours, s->name, more ? "shorter" : "longer", (long long)now,
				more ? "DecreaseRetentionPeriod" : "IncreaseRetentionPeriod");
	return change(c, s, "RetentionPeriodHours", text, STR_NULL);
}

static int set_mode(struct api_call *c)
{
	struct stream *s = kinesis_stream(c);
	auto_free char *mode = json_text(json_get(c->in, "StreamModeDetails"));

	return s ? change(c, s, "StreamModeDetails", mode, STR_NULL) : -1;
}

static void put_who(struct jw *w, const struct stream *s)
{
	jw_strc(w, "StreamName", s->name);
	jw_strc(w, "StreamARN", s->arn);
}

static int set_shard_count(struct api_call *c)
{
	struct stream *s = kinesis_stream(c);
	int64_t n = json_get_int(c->in, "TargetShardCount", 0);
	auto_free char *text = xasprintf("%lld", (long long)n);
	auto_object(w, b);

	if (!s)
		return -1;
	put_who(&w, s);
	jw_int(&w, "CurrentShardCount", (int64_t)s->n_open);
	jw_int(&w, "TargetShardCount", n);
	jw_end(&w, '}');
	return change(c, s, "ShardCount", text, buf_str(&b));
}

static int reshard(struct api_call *c)
{
	bool split = c->op->name[0] == 'S';
	struct stream *s = kinesis_stream(c);
	struct stream_shard *a =
		s ? kinesis_shard(c, s, json_get_str(c->in, split ? "ShardToSplit" : "ShardToMerge")) : NULL;
	struct stream_shard *b = a && !split ? kinesis_shard(c, s, json_get_str(c->in, "AdjacentShardToMerge")) : a;
	struct store_tx parts;
	struct err e;
	int r;

	if (!b)
		return -1;
	store_tx_init(&parts);
	r = split ? stream_split(s, a, json_get_str(c->in, "NewStartingHashKey"), &parts, &e)
		  : stream_merge(s, a, b, &parts, &e);
	return r < 0 ? kinesis_fail(c, &e) : api_commit(c, &parts, 200, STR_NULL);
}

/* --- tags --- */

static int set_tags(struct api_call *c)
{
	struct stream *s = kinesis_stream(c);
	auto_json all = NULL;
	auto_buf b = {0};
	struct jw w;

	if (!s)
		return -1;
	jw_init(&w, &b);
	api_edit(&w, NULL, s->tags, json_get(c->in, "Tags"), json_get(c->in, "TagKeys"));
	all = json_parse(buf_str(&b), NULL);
	if (json_len(all) > LIM_TAGS)
		return api_fail(&c->e, API_KINESIS_INVALID,
				"Failed to add tags to stream %s under account %s because a "
				"given stream cannot have more than %d tags associated with it.",
				s->name, c->a->where.account, LIM_TAGS);
	return change(c, s, "Tags", b.p, STR_NULL);
}

static int list_tags(struct api_call *c)
{
	const struct stream *s = kinesis_stream(c);
	auto_object(w, b);

	if (!s)
		return -1;
	api_tags_of(&w, s->tags);
	jw_bool(&w, "HasMoreTags", false);
	return api_reply_object(c, 200, &w);
}

/* --- what there is --- */

static void put_mode(struct jw *w, const struct stream *s)
{
	jw_strc(w, "StreamStatus", "ACTIVE");
	jw_obj(w, "StreamModeDetails");
	jw_strc(w, "StreamMode", s->on_demand ? "ON_DEMAND" : "PROVISIONED");
	jw_end(w, '}');
	jw_real(w, "StreamCreationTimestamp", (double)(s->created_wall_us / 1000) / 1000);
}

static int describe(struct api_call *c)
{
	bool summary = str_ends(str_of(c->op->name), "Summary");
	const struct stream *s = kinesis_stream(c);
	int64_t left = json_get_int(c->in, "Limit", 100);
	struct str after = json_get_str(c->in, "ExclusiveStartShardId");
	char name[STREAM_SHARD_BYTES];
	auto_object(w, b);
	size_t i = 0;

	if (!s)
		return -1;
	jw_obj(&w, summary ? "StreamDescriptionSummary" : "StreamDescription");
	put_who(&w, s);
	put_mode(&w, s);
	jw_int(&w, "RetentionPeriodHours", s->retention_us / HOUR_US);
	jw_raw(&w, "EnhancedMonitoring", STR("[{\"ShardLevelMetrics\":[]}]"));
	jw_strc(&w, "EncryptionType", "NONE");
	if (summary) {
		jw_int(&w, "OpenShardCount", (int64_t)s->n_open);
		jw_int(&w, "ConsumerCount", 0);
	} else {
		while (after.n && i < s->n_shards && strcmp(stream_shard_name(s->shards[i]->n, name), after.p) <= 0)
			i++;
		jw_arr(&w, "Shards");
		for (; i < s->n_shards && left; i++, left--)
			stream_shard_write(&w, s->shards[i]);
		jw_end(&w, ']');
		jw_bool(&w, "HasMoreShards", i < s->n_shards);
	}
	jw_end(&w, '}');
	return api_reply_object(c, 200, &w);
}

static int list_streams(struct api_call *c)
{
	int64_t left = json_get_int(c->in, "Limit", 100);
	struct str after = json_get_str(c->in, "NextToken");
	auto_buf summaries = {0};
	auto_object(w, b);
	struct jw sw;
	struct stream *s;

	if (!after.n)
		after = json_get_str(c->in, "ExclusiveStartStreamName");
	jw_init(&sw, &summaries);
	jw_arr(&sw, NULL);
	jw_arr(&w, "StreamNames");
	s = stream_next(c->a->o.streams, after.n ? after.p : NULL);
	for (const char *last = NULL; s && left; left--, s = stream_next(c->a->o.streams, last)) {
		last = s->name;
		jw_strc(&w, NULL, s->name);
		jw_obj(&sw, NULL);
		put_who(&sw, s);
		put_mode(&sw, s);
		jw_end(&sw, '}');
		after = str_of(last);
	}
	jw_end(&w, ']');
	jw_end(&sw, ']');
	jw_bool(&w, "HasMoreStreams", s != NULL);
	if (s)
		jw_str(&w, "NextToken", after);
	jw_raw(&w, "StreamSummaries", buf_str(&summaries));
	return api_reply_object(c, 200, &w);
}

/* Whether a filter of ListShards lets a shard pass; at_us: the time that it means. */
static bool passes(const struct stream_shard *sh, struct str type, int64_t at_us)
{
	if (str_eqc(type, "AT_LATEST"))
		return !sh->end;
	if (sh->end && sh->end < at_us)
		return false;
	return !str_starts(type, "AT_T") || sh->serial <= at_us;
}

static int list_shards(struct api_call *c)
{
	struct str token = json_get_str(c->in, "NextToken"), after = json_get_str(c->in, "ExclusiveStartShardId"), name;
	const struct json *filter = json_get(c->in, "ShardFilter");
	struct str type = json_get_str(filter, "Type");
	int64_t left = json_get_int(c->in, "MaxResults", 1000), at_us;
	const struct stream *s = NULL;
	auto_json before = NULL; /* what token is a part of */
	char shard[STREAM_SHARD_BYTES] = "";
	auto_object(w, b);
	size_t i = 0;

	if (token.n && !str_cut(token, '/', &name, &after))
		return api_fail(&c->e, API_KINESIS_INVALID, "NextToken is none that was given out.");
	if (token.n) {
		auto_free char *own = xasprintf("{\"StreamName\":\"" STR_FMT "\"}", STR_ARG(name));

		before = c->in;
		c->in = json_parse(str_of(own), NULL); /* what else there was is in the token */
	}
	s = kinesis_stream(c);
	if (!s)
		return -1;
	if (str_eqc(type, "AFTER_SHARD_ID"))
		after = json_get_str(filter, "ShardId");
	at_us = (int64_t)(json_real(json_get(filter, "Timestamp"), 0) * 1000000);
	if (str_ends(type, "TRIM_HORIZON")) {
		at_us = clock_wall_us() - s->retention_us;
		for (size_t k = 0; k < s->n_shards && !s->shards[k]->parent; k++)
			at_us = s->shards[k]->serial > at_us ? s->shards[k]->serial : at_us;
	}
	jw_arr(&w, "Shards");
	for (; i < s->n_shards && left; i++) {
		stream_shard_name(s->shards[i]->n, shard);
		if ((after.n && strcmp(shard, after.p) <= 0) || !passes(s->shards[i], type, at_us))
			continue;
		stream_shard_write(&w, s->shards[i]);
		left--;
	}
	jw_end(&w, ']');
	if (i < s->n_shards) {
		auto_free char *next = xasprintf("%s/%s", s->name, shard);

		jw_strc(&w, "NextToken", next);
	}
	return api_reply_object(c, 200, &w);
}

static int limits(struct api_call *c)
{
	int64_t open = 0, on_demand = 0;
	auto_object(w, b);

	for (struct stream *s = NULL; (s = stream_next(c->a->o.streams, s ? s->name : NULL));) {
		open += (int64_t)s->n_open;
		on_demand += s->on_demand;
	}
	jw_int(&w, "ShardLimit", LIM_STREAM_SHARDS * LIM_STREAMS);
	jw_int(&w, "OpenShardCount", open);
	jw_int(&w, "OnDemandStreamCount", on_demand);
	jw_int(&w, "OnDemandStreamCountLimit", LIM_STREAMS);
	return api_reply_object(c, 200, &w);
}

#define OP(name, shape, subject, run)                                                                                  \
	{                                                                                                              \
		"kinesis", NULL, shape, name, subject, run                                                             \
	}
const struct api_op kinesis_ops[] = {
	OP("PutRecord", "{" OF "," RECORD ",SequenceNumberForOrdering:s}", SUBJECT_OWN, kinesis_put_record),
	OP("PutRecords", "{" OF ",Records!:[{" RECORD "}]}", SUBJECT_OWN, kinesis_put_records),
	OP("GetRecords", "{ShardIterator!:s,Limit=10000:i(1..10000),StreamARN:s}", SUBJECT_OWN, kinesis_get_records),
	OP("GetShardIterator",
	   "{" OF ",ShardId!:s,ShardIteratorType!:s(AT_SEQUENCE_NUMBER|AFTER_SEQUENCE_NUMBER|TRIM_HORIZON|LATEST|"
	   "AT_TIMESTAMP),StartingSequenceNumber:s,Timestamp:t}",
	   SUBJECT_OWN, kinesis_get_iterator),
	OP("CreateStream", "{StreamName!:s,ShardCount:i,StreamModeDetails:" MODE ",Tags:<s>}", SUBJECT_OWN, create),
	OP("DeleteStream", "{" OF ",EnforceConsumerDeletion:b}", SUBJECT_OWN, delete),
	OP("DescribeStream", "{" OF ",Limit=100:i(1..10000),ExclusiveStartShardId:s}", SUBJECT_OWN, describe),
	OP("DescribeStreamSummary", "{" OF "}", SUBJECT_OWN, describe),
	OP("ListStreams", "{Limit=100:i(1..10000),ExclusiveStartStreamName:s,NextToken:s}", SUBJECT_NONE, list_streams),
	OP("ListShards",
	   "{" OF ",NextToken:s,ExclusiveStartShardId:s,MaxResults=1000:i(1..10000),StreamCreationTimestamp:t,"
	   "ShardFilter:{Type!:s(AFTER_SHARD_ID|AT_TRIM_HORIZON|FROM_TRIM_HORIZON|AT_LATEST|AT_TIMESTAMP|"
	   "FROM_TIMESTAMP),ShardId:s,Timestamp:t}}",
	   SUBJECT_OWN, list_shards),
	OP("SplitShard", "{" OF ",ShardToSplit!:s,NewStartingHashKey!:s}", SUBJECT_OWN, reshard),
	OP("MergeShards", "{" OF ",ShardToMerge!:s,AdjacentShardToMerge!:s}", SUBJECT_OWN, reshard),
	OP("UpdateShardCount", "{" OF ",TargetShardCount!:i,ScalingType!:s(UNIFORM_SCALING)}", SUBJECT_OWN,
	   set_shard_count),
	OP("UpdateStreamMode", "{StreamARN!:s,StreamModeDetails!:" MODE "}", SUBJECT_OWN, set_mode),
	OP("IncreaseStreamRetentionPeriod", RETENTION, SUBJECT_OWN, retention),
	OP("DecreaseStreamRetentionPeriod", RETENTION, SUBJECT_OWN, retention),
	OP("AddTagsToStream", "{" OF ",Tags!:<s>}", SUBJECT_OWN, set_tags),
	OP("RemoveTagsFromStream", "{" OF ",TagKeys!:[s]}", SUBJECT_OWN, set_tags),
	OP("ListTagsForStream", "{" OF "}", SUBJECT_OWN, list_tags),
	OP("TagResource", "{ResourceARN!:s,Tags!:<s>}", SUBJECT_OWN, set_tags),
	OP("UntagResource", "{ResourceARN!:s,TagKeys!:[s]}", SUBJECT_OWN, set_tags),
	OP("ListTagsForResource", "{ResourceARN!:s}", SUBJECT_OWN, list_tags),
	OP("DescribeLimits", "{}", SUBJECT_NONE, limits),
	{0},
};
