/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of records in streams; what they mean is stream/stream.h's. For parts of transactions (store/tx.h): all of this runs
 * on the store's thread.
 *
 * A row's id is made when it is written, so ids grow in the order of commits: who has read up to one has missed none
 * before it. It is the wall clock's time in µs, or one more than the last where the clock is behind that.
 */
#pragma once
#include "store/store.h"
struct db;

struct stream_record {
	struct stream_record *next;
	int64_t id;
	struct str key, data, trace; /* in the same piece of memory */
};
/* not_below: of its id. */
int stream_row_put(struct db *d, int64_t shard, int64_t not_below, const struct stream_record *rec, int64_t *ret_id,
		   struct err *e);

struct stream_rows {
	int64_t shard, from; /* from: an id */
	int limit;
	size_t bytes; /* of keys and data, but one record comes always */
	/* out */
	struct stream_record *first; /* the caller frees */
	bool more;
};
int stream_rows_read(struct db *d, struct stream_rows *r, struct err *e);
void stream_records_free(struct stream_record *first);

struct stream_keep {
	int64_t shard, from; /* its records from that id on stay */
};
struct stream_trim {
	const struct stream_keep *keep; /* by shard, growing; records of any other shard go */
	size_t n;
	/* out */
	bool more; /* there was more to do than one transaction should */
	bool left; /* there are records */
};
int stream_rows_trim(struct db *d, struct stream_trim *t, struct err *e);
