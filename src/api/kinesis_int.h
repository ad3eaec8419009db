/* SPDX-License-Identifier: Apache-2.0 */
/* What the two files of Kinesis share. */
#pragma once
#include "api/api_int.h"
#include "stream/stream.h"
int kinesis_fail(struct api_call *c, const struct err *e); /* -1; c->e: what stream/ said is wrong */
/* The one that c->in names by StreamName, StreamARN or ResourceARN; NULL: there is none, or who asks may not: c->e. */
struct stream *kinesis_stream(struct api_call *c);
/* That shard; NULL: c->e. */
struct stream_shard *kinesis_shard(struct api_call *c, const struct stream *s, struct str name);
api_run kinesis_put_record, kinesis_put_records, kinesis_get_iterator, kinesis_get_records;
