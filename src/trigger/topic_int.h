/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/map.h"
#include "trigger/pattern.h"
#include "trigger/topic.h"

struct subscription { /* strings are those of the topic's doc */
	struct str id, endpoint;
	bool lambda, raw, body; /* body: the filter looks at the message */
	struct pattern *filter; /* or NULL */
	char *dead_letter;	/* or NULL */
};
struct subscriptions {
	struct subscription *v;
	size_t n;
};
struct topic {
	struct topics *ts;
	char *name, *arn;
	struct json *doc;
	struct subscriptions subs;
};
struct topics {
	struct topics_opts o;
	struct map by_name;
	char *arn_head;
};
