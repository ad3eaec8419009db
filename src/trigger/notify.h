/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a change in a bucket starts. A bucket has a configuration that came by the API and one of each project whose
 * tandem.yaml names it; all of them are in effect. Documents: records "notify/BUCKET/PROJECT" (the API's: PROJECT is
 * empty), JSON as the SDKs have NotificationConfiguration; in memory as rules, which are what is asked for each event.
 *
 * An event goes to each target in the transaction of the change itself: what is accepted is delivered at least once. A
 * target that has gone since is no reason to refuse an object (deliver_failure says so). Two rules of one
 * configuration may not both take the same object's event, as with S3; two configurations may.
 * Tests: tests/trigger/test_notify.c.
 */
#pragma once
#include "json/read.h"
#include "json/write.h"
#include "object/object.h"
#include "store/tx.h"
struct deliver;
struct notify;
struct notify_opts { /* borrowed */
	struct store *store;
	struct deliver *deliver;
	const char *account, *region;
};
struct notify *notify_new(const struct notify_opts *o);
void notify_free(struct notify *n);
/* Replaces the configuration of project (NULL: the API's); {} removes it. ERR_NOT_FOUND: a target that does not exist,
 * which test refuses; then also queues and topics get S3's test event. Not 0: e; tx may have parts, and is to be dropped. */
int notify_put(struct notify *n, const char *bucket, const char *project, const struct json *doc, bool test,
	       struct store_tx *tx, struct err *e);
void notify_forget(struct notify *n, const char *bucket, struct store_tx *tx); /* the bucket goes */
/* The members of NotificationConfiguration: the API's, or with all those of the projects as well. */
void notify_show(const struct notify *n, const char *bucket, bool all, struct jw *w);
/* objects_opts.notify; 0 */
int notify_event(void *notify, const struct object_event *ev, struct store_tx *tx, struct err *e);
