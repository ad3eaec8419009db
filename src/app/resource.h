/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What holds events (buckets, queues, streams, topics, buses) and what leads them to functions and tasks (`on:`, url:,
 * where an asynchronous event ends): each becomes one document in AWS's own names, as the module that owns it takes it. Every
 * member stands in it, null where nothing is said, so that a document of the store can be compared with it.
 */
#pragma once
#include "app/tree.h"

enum resource_kind {
	RESOURCE_BUCKET,
	RESOURCE_QUEUE,
	RESOURCE_STREAM,
	RESOURCE_TOPIC,
	RESOURCE_BUS,
	RESOURCE_LEADS, /* those before hold events, those from here on lead them */
	RESOURCE_NOTIFICATION = RESOURCE_LEADS,
	RESOURCE_MAPPING,
	RESOURCE_SUBSCRIPTION,
	RESOURCE_RULE,
	RESOURCE_SCHEDULE,
	RESOURCE_ASYNC,
	RESOURCE_URL,
	RESOURCE_BUDGET,
	RESOURCE_N
};
struct resource {
	enum resource_kind kind;
	char *key;	  /* of its record: "queue/jobs", "schedule/default/shop-thumb-1" */
	const char *name; /* in there: "jobs", "default/shop-thumb-1" */
	char *title;	  /* for people: "queue jobs", "queue jobs -> thumb" */
	char *doc;
	unsigned line, col; /* where it is declared */
};
struct resources {
	struct resource *p;
	size_t n;
};
struct manifest;
int resources_read(const struct tree_opts *o, const struct node *root, struct manifest *m, struct err *e);
void resources_done(struct resources *r);
/* Names of known keys: 0 to 4 of a bucket, queue, stream, topic and bus, 5 to 10 of an item of on: bucket, queue, stream,
 * schedule, event and topic, 11 of url, 12 of its cors, 13 of a budget; NULL ends. */
const char *resource_key(int table, size_t i);
extern const char *const resource_record[RESOURCE_N]; /* how keys begin: "queue/" */
/* What an ARN names: one of enum resource_kind, or of app/field.h; -1: nothing that is declared here. */
int resource_of_arn(struct str arn, struct str *ret_name);
