/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A target of a rule or a schedule, AWS's document of it ({"Arn","Input","InputPath","InputTransformer","RetryPolicy",
 * "DeadLetterConfig","SqsParameters",...}), and what it is given of an event. Pure, but for target_add.
 *
 * In a template <name> stands for a value: outside of quotes as JSON ("" when the event has none), inside of them as text,
 * of objects and lists without their quotes. Paths are $.a.b, $.a[0] and $['a'].
 */
#pragma once
#include "trigger/deliver.h"

struct target_event { /* borrowed */
	struct str text;
	const struct json *json; /* the same, read */
	const char *rule_arn, *rule_name;
	int64_t ingested_us;
	const char *trace_id; /* or NULL */
};
int target_check(const struct json *target, struct err *e); /* ERR_INVALID in AWS's words */
/* deliver_add of what the target gets of the event; -1: nothing was added. */
int target_add(struct deliver *d, struct store_tx *tx, const struct json *target, const struct target_event *ev,
	       struct err *e);
/* The same with a payload that is ready. */
int target_add_payload(struct deliver *d, struct store_tx *tx, const struct json *target, struct str payload,
		       const struct target_event *ev, struct err *e);
const struct json *target_path(const struct json *root, struct str path); /* NULL: nothing there */
/* value: adds the JSON of what name stands for to json, nothing when there is none; false: no such name, it stays. */
typedef bool target_value(void *arg, struct str name, struct buf *json);
void target_fill(struct str template, target_value *value, void *arg, struct buf *out);
