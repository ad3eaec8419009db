/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CloudWatch Logs over the logs that there are (ledger/logs.h):
 *
 *   /aws/lambda/FUNCTION     a function's; its streams are the days, "2026/11/21/[$LATEST]", and the name of any instance's
 *                            stream of that day (AWS_LAMBDA_LOG_STREAM_NAME) stands for the day
 *   /ecs/CLUSTER/SERVICE     a service's; streams are tasks, "ID" or "ID/CONTAINER"
 *   /ecs/task/ID             a task's own; streams are containers, "task" where there is but one
 *   all else                 made by CreateLogGroup: a record "loggroup/NAME" and a log of its own, whose lines are
 *                            [time in ms,"stream","message"]. Those of the others may have a record too, for their
 *                            retention and tags.
 *
 * What is older than a group's retention is not shown; on disk the limits of ledger/logs.h hold. A token is a place in
 * the log.
 */
#pragma once
#include "api/api_int.h"
#include "ledger/logs.h"

#define LOGS_NAME_BYTES	  150 /* of a group: AWS has 512, a file name 255 */
#define LOGS_STREAM_BYTES 512
#define LOGS_STREAMS	  1000 /* of a group that was made */
#define LOGS_DAY_MS	  86400000ll
#define LOGS_SLACK_MS	  7200000 /* what a program calls the time of an event may be so much later than it came */

enum logs_kind { LOGS_FUNCTION, LOGS_TASK, LOGS_OWN };
struct logs_group {
	char name[LOGS_NAME_BYTES + 1], log[160];
	enum logs_kind kind;
	struct json *doc; /* its record, or NULL */
};
void logs_group_done(struct logs_group *g);
/* The one that c->in names (logGroupName, logGroupIdentifier), if the caller may; -1: c->e. */
int logs_group(struct api_call *c, struct logs_group *ret);
bool logs_stream_name_ok(struct str name);
int64_t logs_stream_created_ms(const struct logs_group *g, struct str name); /* LOGS_OWN; -1: there is none */
int64_t logs_shown_since_ms(const struct logs_group *g);

api_run logs_put_events, logs_get_events, logs_filter_events, logs_describe_streams;
