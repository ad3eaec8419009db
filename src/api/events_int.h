/* SPDX-License-Identifier: Apache-2.0 */
/* For EventBridge's files. */
#pragma once
#include "api/api_int.h"

struct buses *events_buses(struct api_call *c);
int events_fail(struct api_call *c, const struct err *e);	       /* -1: c->e */
int events_bus(struct api_call *c, const char *member, char ret[257]); /* the bus that a member names; -1: c->e */
/* What text has of a rule's document in place of what was there; answers. */
int events_change_rule(struct api_call *c, const char *bus, struct str name, struct str text, struct str answer);
struct api_list events_list(const struct api_call *c, const char *member, const char *prefix,
			    bool (*put)(struct api_call *c, struct jw *w, const char *name, const struct json *doc));
api_run events_put_rule, events_describe_rule, events_list_rules, events_switch_rule, events_delete_rule,
	events_change_targets, events_list_targets;
