/* SPDX-License-Identifier: Apache-2.0 */
/* EventBridge: rules and their targets. */
#include <stdio.h>
#include "api/events_int.h"
#include "base/mem.h"

/* The rule that the request is for, if it may be used; NULL: c->e. */
static const struct json *rule_of(struct api_call *c, const char *member, char bus[257])
{
	struct str name = json_get_str(c->in, member);
	const struct json *doc;
	auto_free char *arn = NULL;

	if (events_bus(c, "EventBusName", bus) < 0)
		return NULL;
	arn = rule_arn(events_buses(c), bus, name.p);
	if (api_allowed(c, arn) < 0)
		return NULL;
	doc = rule_doc(events_buses(c), bus, name.p);
	if (!doc)
		api_fail(&c->e, API_NOT_FOUND, "Rule %.64s does not exist on EventBus %s.", name.p, bus);
	return doc;
}

/* --- rules --- */

/* What text has of a rule's document in place of what was there. */
int events_change_rule(struct api_call *c, const char *bus, struct str name, struct str text, struct str answer)
{
	auto_json doc = json_parse(text, NULL);
	struct store_tx parts;
	struct err e;

	store_tx_init(&parts);
	if (rule_put(events_buses(c), bus, name, doc, NULL, &parts, &e) < 0)
		return events_fail(c, &e);
	return api_commit(c, &parts, 200, answer);
}

int events_put_rule(struct api_call *c)
{
	static const char *const members[] = {"EventPattern", "ScheduleExpression", "Description", "RoleArn"};
	struct str name = json_get_str(c->in, "Name");
	auto_buf text = {0};
	auto_object(w, out);
	struct jw d = jw_object(&text);
	char bus[257];

	if (events_bus(c, "EventBusName", bus) < 0)
		return -1;
	auto_free char *arn = rule_arn(events_buses(c), bus, name.p);

	if (api_allowed(c, arn) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		api_put_member(&d, c->in, members[i]);
		if (!json_get(c->in, members[i]))
			jw_null(&d, members[i]);
	}
	jw_str(&d, "State", json_get_str(c->in, "State"));
	if (json_get(c->in, "Tags") && !rule_doc(events_buses(c), bus, name.p))
		api_put_member(&d, c->in, "Tags");
	jw_end(&d, '}');
	jw_strc(&w, "RuleArn", arn);
	jw_end(&w, '}');
	return events_change_rule(c, bus, name, buf_str(&text), buf_str(&out));
}

static void put_rule_doc(struct api_call *c, struct jw *w, const char *bus, const char *name, const struct json *doc)
{
	static const char *const members[] = {"EventPattern", "ScheduleExpression", "State", "Description", "RoleArn"};
	auto_free char *arn = rule_arn(events_buses(c), bus, name);

	jw_strc(w, "Name", name);
	jw_strc(w, "Arn", arn);
	jw_strc(w, "EventBusName", bus);
	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		api_put_member(w, doc, members[i]);
}

int events_describe_rule(struct api_call *c)
{
	char bus[257];
	const struct json *doc = rule_of(c, "Name", bus);
	auto_object(w, out);

	if (!doc)
		return -1;
	put_rule_doc(c, &w, bus, json_get_str(c->in, "Name").p, doc);
	jw_strc(&w, "CreatedBy", c->a->where.account);
	return api_reply_object(c, 200, &w);
}

static bool list_rule(struct api_call *c, struct jw *w, const char *name, const struct json *doc)
{
	char bus[257];

	bus_name(events_buses(c), json_get_str(c->in, "EventBusName"), bus);
	jw_obj(w, NULL);
	put_rule_doc(c, w, bus, name, doc);
	jw_end(w, '}');
	return true;
}

static bool list_name(struct api_call *c, struct jw *w, const char *name, const struct json *doc)
{
	const struct json *targets = json_get(doc, "Targets");

	for (size_t i = 0; i < json_len(targets); i++)
		if (str_eq(json_get_str(json_at(targets, i), "Arn"), json_get_str(c->in, "TargetArn"))) {
			jw_strc(w, NULL, name);
			return true;
		}
	return false;
}

int events_list_rules(struct api_call *c)
{
	bool names = c->op->name[4] == 'R' && c->op->name[8] == 'N'; /* ListRuleNamesByTarget */
	auto_object(w, out);
	char bus[257];

	if (events_bus(c, "EventBusName", bus) < 0)
		return -1;
	auto_free char *prefix = xasprintf("rule/%s/", bus);
	struct api_list l = events_list(c, names ? "RuleNames" : "Rules", prefix, names ? list_name : list_rule);

	api_list(c, &l, &w);
	return api_reply_object(c, 200, &w);
}

int events_switch_rule(struct api_call *c)
{
	char bus[257];
	const struct json *doc = rule_of(c, "Name", bus);
	bool on = c->op->name[0] == 'E';

	if (!doc)
		return -1;
	return events_change_rule(c, bus, json_get_str(c->in, "Name"),
				  on ? STR("{\"State\":\"ENABLED\"}") : STR("{\"State\":\"DISABLED\"}"), STR("{}"));
}

int events_delete_rule(struct api_call *c)
{
	struct str name = json_get_str(c->in, "Name");
	const struct json *doc;
	struct store_tx parts;
	char bus[257];

	if (events_bus(c, "EventBusName", bus) < 0)
		return -1;
	auto_free char *arn = rule_arn(events_buses(c), bus, name.p);

	if (api_allowed(c, arn) < 0)
		return -1;
	doc = rule_doc(events_buses(c), bus, name.p);
	if (json_len(json_get(doc, "Targets")))
		return api_fail(&c->e, API_VALIDATION, "Rule can't be deleted since it has targets.");
	store_tx_init(&parts);
	rule_delete(events_buses(c), bus, name.p, &parts); /* one that is not there is no error, as with AWS */
	return api_commit(c, &parts, 200, STR("{}"));
}

/* --- targets --- */

#define NONE_FAILED STR("{\"FailedEntryCount\":0,\"FailedEntries\":[]}")

static bool has_id(const struct json *list, struct str id, const char *member)
{
	for (size_t i = 0; i < json_len(list); i++)
		if (str_eq(member ? json_get_str(json_at(list, i), member) : json_str(json_at(list, i)), id))
			return true;
	return false;
}

int events_change_targets(struct api_call *c)
{
	char bus[257];
	const struct json *doc = rule_of(c, "Rule", bus), *old = json_get(doc, "Targets"),
			  *more = json_get(c->in, "Targets"), *gone = json_get(c->in, "Ids");
	auto_object(d, text);

	if (!doc)
		return -1;
	for (size_t i = 0; i < json_len(more); i++) {
		char at[40];
		struct str id = json_get_str(json_at(more, i), "Id");

		snprintf(at, sizeof(at), "targets.%zu.member.id", i + 1);
		if (id.n > 64)
			return api_invalid(&c->e, at, id, 64, "have length less than or equal to 64");
		if (!str_name_ok(id, 64, ".-_"))
			return api_invalid(&c->e, at, id, 64,
					   "satisfy regular expression pattern: [\\.\\-_A-Za-z0-9]+");
		if (authz_start(&c->who, &c->a->where, json_at(more, i), "Arn", &c->e) < 0)
			return -1;
	}
	jw_arr(&d, "Targets");
	for (size_t i = 0; i < json_len(old) + json_len(more); i++) {
		bool is_old = i < json_len(old);
		const struct json *one = is_old ? json_at(old, i) : json_at(more, i - json_len(old));
		struct str id = json_get_str(one, "Id");
		auto_free char *t = json_text(one);

		if (!is_old || (!has_id(more, id, "Id") && !has_id(gone, id, NULL)))
			jw_raw(&d, NULL, str_of(t));
	}
	jw_end(&d, ']');
	jw_end(&d, '}');
	return events_change_rule(c, bus, json_get_str(c->in, "Rule"), buf_str(&text), NONE_FAILED);
}

int events_list_targets(struct api_call *c)
{
	char bus[257];
	const struct json *doc = rule_of(c, "Rule", bus);
	auto_free char *targets = json_get(doc, "Targets") ? json_text(json_get(doc, "Targets")) : NULL;
	auto_object(w, out);

	if (!doc)
		return -1;
	jw_raw(&w, "Targets", targets ? str_of(targets) : STR("[]"));
	return api_reply_object(c, 200, &w);
}
