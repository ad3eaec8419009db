/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topics (SNS's): what is published goes to each subscription whose filter lets it through, in the publisher's
 * transaction: rows of functions' asynchronous queues, messages of queues. Afterwards nothing is left of it here; tries,
 * waits and dead letters are those of where it went.
 *
 * A topic is one record, "topic/NAME", its subscriptions with it: {"Attributes":{...}, "tags":{...}, "project",
 * "Subscriptions":[{"Id","Protocol","Endpoint","Attributes":{...},"project"}]}. At most TOPIC_SUBSCRIPTIONS of one, TOPICS_MAX
 * topics. Publishing costs a look at each of them. What a subscription's target cannot take (it is gone) goes to its
 * RedrivePolicy's queue, else deliver_failure says so. Messages are not signed: "Signature" says EXAMPLE.
 *
 * Tests: tests/e2e/test_sns.py.
 */
#pragma once
#include "json/read.h"
#include "store/tx.h"
struct deliver;
struct queues;

#define TOPICS_MAX	    10000
#define TOPIC_SUBSCRIPTIONS 1000
#define TOPIC_NAME_BYTES    256
#define TOPIC_MESSAGE_BYTES 262144 /* with subject and attributes; of a batch together */

struct topics;
struct topic;
struct topics_opts { /* borrowed */
	struct store *store;
	struct deliver *deliver;
	struct queues *queues;
	const char *account, *region;
};
/* Reads the records; what is delivered to a topic's ARN comes here from now on. */
struct topics *topics_new(const struct topics_opts *o);
void topics_free(struct topics *ts); /* NULL is fine */

struct topic *topic_get(const struct topics *ts, struct str name); /* NULL: none */
struct topic *topic_by_arn(const struct topics *ts, struct str arn);
struct topic *topic_after(const struct topics *ts, const char *name); /* by name; after "": the first. NULL: no more */
const char *topic_name(const struct topic *t);
const char *topic_arn(const struct topic *t);
const struct json *topic_doc(const struct topic *t); /* until the next change */
/* Makes it, or changes it: those of doc's "Attributes" come to what there is, "tags" instead of what there is. It counts
 * at once. ERR_INVALID: e says why. */
int topic_put(struct topics *ts, struct str name, const struct json *doc, const char *project, struct store_tx *tx,
	      struct err *e);
void topic_delete(struct topic *t, struct store_tx *tx); /* its subscriptions too */

/* protocol: "lambda" or "sqs"; endpoint: an ARN; attributes: FilterPolicy, FilterPolicyScope, RawMessageDelivery,
 * RedrivePolicy as strings, or NULL. One that is there already with the same attributes stays; with others: ERR_EXISTS
 * (of the same project they are changed). ret_id: what its ARN ends with. */
int topic_subscribe(struct topic *t, struct str protocol, struct str endpoint, const struct json *attributes,
		    const char *project, struct store_tx *tx, char ret_id[37], struct err *e);
int topic_subscription_set(struct topic *t, struct str id, struct str name, struct str value, struct store_tx *tx,
			   struct err *e);
bool topic_unsubscribe(struct topic *t, struct str id, struct store_tx *tx); /* false: no such */

struct topic_message {		       /* borrowed */
	struct str message, subject;   /* subject: or empty */
	bool json;		       /* message is an object: "default", and texts for single protocols */
	const struct json *attributes; /* AWS's MessageAttributes, or NULL */
	const char *trace_id;	       /* or NULL */
	char id[37];		       /* out */
};
/* Adds all that follows from it; with an error nothing is added. */
int topic_publish_add(struct topic *t, struct store_tx *tx, struct topic_message *m, struct err *e);
