/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of mappings share. */
#pragma once
#include "base/limits.h"
#include "base/map.h"
#include "trigger/door.h"
#include "trigger/mapping.h"
#include "trigger/pattern.h"

enum mapping_number { /* AWS's members that are numbers, in the order of mapping_numbers */
		      MAPPING_BATCH,
		      MAPPING_WINDOW,
		      MAPPING_RETRIES,
		      MAPPING_MAX_AGE,
		      MAPPING_PARALLEL,
		      MAPPING_TUMBLING,
		      MAPPING_N
};
struct mapping_set { /* what doc says */
	struct json *doc;
	int64_t number[MAPPING_N];
	int64_t concurrency; /* of a queue's batches; 0: as the function's */
	int64_t from;	     /* where a shard begins that has no checkpoint */
	bool enabled, stream, fifo, partial, bisect, lenient;
	struct pattern **filters;
	size_t n_filters;
	char *source, *function_arn, *on_failure; /* on_failure: NULL: none */
	char function[LIM_NAME_BYTES + 1], qualifier[LIM_QUALIFIER_BYTES + 1];
};
struct mapping {
	struct mappings *all;
	char uuid[37];
	char *project;
	int64_t modified_us;
	struct mapping_set set, next; /* next: when what is under way is over; doc NULL: nothing is to change */
	bool gone, on;
	unsigned under_way;   /* batches; m is freed after the last */
	const char *problem;  /* of the last batch; NULL: it went well */
	char why[200];	      /* what was said of it, to the operator alone */
	bool worked;	      /* there was one */
	struct list node;     /* mappings.list */
	struct puller *queue; /* the one, or the other */
	struct list readers;
};
struct mappings {
	struct mappings_opts o;
	struct map by_uuid;
	struct list list; /* with those that are gone, and have something under way */
	size_t bytes;	  /* of payloads under way */
	size_t held;	  /* of records that readers have in memory */
	bool started;
};

/* --- mapping.c: one invocation --- */

enum batch_said { BATCH_OK, BATCH_FAILED, BATCH_NOT_NOW };
struct batch {
	struct mapping *m;
	struct invocation inv;
	struct buf payload;
	unsigned n; /* records in it */
	char trace[TRACE_HEADER_BYTES];
	struct door_batch door; /* of what traces they are part */
	bool on;
	int version;
	void (*done)(struct batch *b, enum batch_said said);
};
/* false: the function is gone, done will not come. */
bool batch_start(struct batch *b);
void batch_cancel(struct batch *b);
/* When a batch has begun or ended; m may be gone after an end. */
void mapping_begins(struct mapping *m);
void mapping_ends(struct mapping *m);
int64_t mapping_pause_us(unsigned *tries); /* 0.1 s doubling to a minute */

/* --- mapping_set.c --- */

/* lenient: what it names need not be there (now). */
int mapping_set_read(struct mappings *all, const struct json *doc, bool lenient, struct mapping_set *ret,
		     struct err *e);
void mapping_set_done(struct mapping_set *set);
void mapping_set_write(struct jw *w, const struct mapping_set *set);

/* --- mapping_event.c --- */

/* Whether filters let an event pass. Its body, or data, is to be JSON in there where it is that (parsed). */
bool mapping_passes(const struct mapping_set *set, const struct buf *text);
void mapping_write_message(struct jw *w, const struct mapping *m, const struct queue_got *g, bool parsed);
void mapping_write_record(struct jw *w, const struct mapping *m, unsigned shard, const struct stream_record *rec);
void mapping_write_data(struct jw *w, const char *key, const struct stream_record *rec, bool parsed);
/* A batch: added to payload unless it would be too large with it, which is false. */
bool batch_add(struct batch *b, const struct buf *record);
void batch_close(struct batch *b);
/* What a function with ReportBatchItemFailures says: mark() for each, false: it knows none of that name. -1: the whole
 * batch has failed. */
int batch_failures(struct str answer, bool (*mark)(void *arg, struct str id), void *arg);

/* --- the two sources --- */

void mapping_queue_start(struct mapping *m);
void mapping_queue_stop(struct mapping *m);
void mapping_queue_free(struct mapping *m);   /* whatever is under way */
void mapping_stream_start(struct mapping *m); /* and again when its shards have changed */
void mapping_stream_stop(struct mapping *m);  /* what is under way may end */
void mapping_stream_free(struct mapping *m);
void mapping_stream_forget(struct mapping *m, struct store_tx *tx); /* its checkpoints */
