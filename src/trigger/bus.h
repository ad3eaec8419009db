/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event buses and their rules (EventBridge's). What is put on a bus goes, in the same transaction, to each target of each
 * rule that it matches; afterwards nothing is left of it here. The bus "default" is always there.
 *
 * Declared: record "bus/NAME" {"Description","Tags","CreationTime"} and "rule/BUS/NAME" {"EventPattern" (text),
 * "ScheduleExpression","State","Description","RoleArn","Tags","Targets":[...]}, AWS's names, with "project". Rules are
 * found by the sources or detail-types that their patterns name, so that an event costs a look at the rules that it may
 * match. What a target cannot take goes to its dead-letter queue, else deliver_failure tells of it.
 *
 * Tests: tests/e2e/test_events.py.
 */
#pragma once
#include "trigger/deliver.h"
struct dues;

#define BUSES_MAX    1000
#define RULES_MAX    10000
#define RULE_TARGETS 100

struct buses;
struct buses_opts { /* borrowed */
	struct store *store;
	struct deliver *deliver; /* gets "events" registered */
	struct dues *dues;
	const char *account, *region;
};
int buses_new(const struct buses_opts *o, struct buses **ret, struct err *e); /* reads the records */
void buses_free(struct buses *b);					      /* before dues; NULL is fine */

/* Names are a bus's name or ARN; "" is the default. */
bool bus_name(const struct buses *b, struct str given, char ret[257]); /* false: there is none of it */
/* Both make it, or change the members that doc has (null takes one away); they count at once. ERR_INVALID, ERR_LIMIT. */
int bus_put(struct buses *b, struct str name, const struct json *doc, const char *project, struct store_tx *tx,
	    struct err *e);
int bus_delete(struct buses *b, const char *name, struct store_tx *tx, struct err *e); /* ERR_CONFLICT: it has rules */
/* ERR_CORRUPT: EventPattern is not valid, e is the reason. */
int rule_put(struct buses *b, const char *bus, struct str name, const struct json *doc, const char *project,
	     struct store_tx *tx, struct err *e);
void rule_delete(struct buses *b, const char *bus, const char *name, struct store_tx *tx);
const struct json *rule_doc(const struct buses *b, const char *bus, const char *name); /* until its next change */
char *rule_arn(const struct buses *b, const char *bus, const char *name);	       /* caller frees */

struct bus_event {	/* borrowed */
	struct str bus; /* as above; of one that is not there nothing follows, as with AWS */
	struct str source, type, detail;
	const struct json *resources; /* a list, or NULL */
	int64_t time_us;	      /* 0: now */
	const char *trace_id;	      /* or NULL */
	char id[37];		      /* "": made */
};
/* Adds all that follows. ERR_INVALID, ERR_DENIED (a source of AWS's own) or ERR_CORRUPT (detail): e is AWS's text, and
 * nothing was added. */
int bus_put_add(struct buses *b, struct store_tx *tx, struct bus_event *ev, struct err *e);
