/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of stream/ share. */
#pragma once
#include "base/map.h"
#include "stream/stream.h"

struct streams {
	struct streams_opts o;
	struct map by_name;
	int64_t latest;	       /* the largest id that is known of */
	struct list readings;  /* of struct reading: in the store */
	struct trimming *trim; /* under way, or NULL */
	struct loop_timer *trim_timer;
	int64_t trim_due_us; /* 0: the timer is not armed */
	void (*changed)(void *arg, const char *arn);
	void *changed_arg;
};
int stream_hash_parse(struct str s, unsigned __int128 *ret); /* -1: no number below 2^128 */
void shard_unref(struct stream_shard *sh);
/* record.c */
void shard_wake(struct stream_shard *sh); /* there is news for those who wait */
void trim_soon(struct streams *all, int64_t us);
void trim_now(void *all);
void records_free(struct streams *all);
