/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams, as Kinesis has them: records in shards by the MD5 of their partition key, kept for hours, read from any place
 * by whoever remembers where it was. Owns the documents stream/NAME and the rows of store/stream.h.
 *
 * A sequence number is the record's id (store/stream.h): a time in µs, so that AT_TIMESTAMP, retention and "how far behind"
 * are comparisons of numbers. Of a shard that was split or merged the records stay readable until they expire; its
 * children begin empty. Records that are too old are never given out, and leave the disk within the hour.
 *
 * Costs nothing when nothing happens: who waits for records hangs in the shard's list, and trimming has a timer only while
 * there are records. Limits: LIM_STREAM_*. Next: api/kinesis.c, trigger/mapping_stream.c.
 */
#pragma once
#include "base/list.h"
#include "json/read.h"
#include "json/write.h"
#include "loop/loop.h"
#include "store/stream.h"
#include "store/tx.h"

#define STREAM_NAME_MAX	      128
#define STREAM_SEQUENCE_BYTES 57
#define STREAM_SHARD_BYTES    32
#define STREAM_KEY_MAX	      256 /* characters of a partition key */

struct streams_opts { /* borrowed */
	struct loop *loop;
	struct store *store;
	const char *account, *region;
};
struct stream_shard {
	unsigned n;				 /* of its name, shardId-000000000000 */
	int64_t serial;				 /* of its rows, and the sequence number with which it starts */
	int64_t end;				 /* 0: open; else no record comes after */
	unsigned parent, adjacent;		 /* n + 1 of these, or 0 */
	unsigned __int128 first_hash, last_hash; /* both belong to it */
	/* the module's */
	struct stream *stream;	/* NULL: deleted, or expired */
	unsigned refs, putting; /* putting: records on their way to the store */
	uint64_t put_count;
	struct list waiting; /* of struct stream_read */
};
struct stream {
	struct streams *all;
	char *name, *arn, *project;
	int64_t created_wall_us, retention_us;
	bool on_demand;
	struct json *tags; /* object or NULL */
	struct stream_shard **shards;
	size_t n_shards, n_open;
};

struct streams *streams_new(const struct streams_opts *o);
void streams_free(struct streams *all); /* before the store; readers hear nothing any more */
/* Called when a stream was made, its shards changed, or it was deleted (NULL: then by nobody's name any more). */
void streams_on_change(struct streams *all, void (*changed)(void *arg, const char *arn), void *arg);
/* The largest id that is known of, or now: what comes from here on has a larger one. */
int64_t streams_latest(const struct streams *all);

/* Makes a stream, or changes what doc says: StreamName, ShardCount, RetentionPeriodHours, StreamModeDetails, Tags (all of
 * them). Records stay. project: NULL leaves that as it is. */
int stream_put(struct streams *all, const struct json *doc, const char *project, struct store_tx *tx, struct err *e);
/* A shard of s at a hash key; two that are adjacent. */
int stream_split(struct stream *s, struct stream_shard *sh, struct str hash_key, struct store_tx *tx, struct err *e);
int stream_merge(struct stream *s, struct stream_shard *a, struct stream_shard *b, struct store_tx *tx, struct err *e);
void stream_delete(struct stream *s, struct store_tx *tx); /* frees s */
struct stream *stream_get(struct streams *all, struct str name);
struct stream *stream_by_arn(struct streams *all, struct str arn);
struct stream *stream_next(struct streams *all, const char *after); /* by name; after may be gone; NULL: the first */

/* A record (key, data, trace), durable with tx. hash_key: decimal, or empty: the MD5 of key. ret (NULL: not wanted) is there until tx is
 * done: the shard's number at once, the sequence number once it is durable. */
struct stream_place {
	unsigned shard;
	int64_t id;
};
int stream_put_add(struct stream *s, struct store_tx *tx, const struct stream_record *rec, struct str hash_key,
		   struct stream_place *ret, struct err *e);

/* Reading: embedded by who reads. done exactly once, never before _start returned; or not at all after _cancel. */
struct stream_read {
	/* in */
	int64_t from; /* an id */
	int limit;
	size_t bytes;
	bool wait;						  /* until there is a record, or will be none */
	void (*done)(struct stream_read *r, const struct err *e); /* e: ERR_NOT_FOUND: the stream or shard is gone */
	/* out, in done */
	struct stream_record *records; /* the caller's to free */
	bool more;		       /* there are more at once */
	bool ended;		       /* after these there will be none in this shard */
	/* the module's */
	struct list node;
	struct stream_shard *shard; /* a reference */
	struct reading *reading;
};
void stream_read_start(struct stream_shard *sh, struct stream_read *r);
void stream_read_cancel(struct stream_read *r); /* twice too */

char *stream_sequence(int64_t id, char out[STREAM_SEQUENCE_BYTES]);
int64_t stream_sequence_id(struct str s); /* -1: none of ours */
char *stream_shard_name(unsigned n, char out[STREAM_SHARD_BYTES]);
struct stream_shard *stream_shard(const struct stream *s, struct str name); /* NULL: none */
void stream_shard_write(struct jw *w, const struct stream_shard *sh);	    /* as ListShards has it */
void stream_range_write(struct jw *w, const struct stream_shard *sh);	    /* its member HashKeyRange */
/* Whether keys of the one may have been the other's, which closed before: it is to be read first. */
bool stream_shard_follows(const struct stream_shard *sh, const struct stream_shard *before);
uint64_t stream_key_hash(struct str key); /* some bits of it, for whoever spreads keys */
