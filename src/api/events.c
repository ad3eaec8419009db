/* SPDX-License-Identifier: Apache-2.0 */
/* EventBridge: buses and rules as trigger/bus.h has them. */
#include "api/events_int.h"
#include "base/clock.h"
#include "base/mem.h"
#include "store/record.h"
#include "trigger/pattern.h"

#define ENTRIES_MAX   10
#define ENTRIES_BYTES 1048576 /* of one PutEvents; since January 2026 */
#define PAGE	      100

struct buses *events_buses(struct api_call *c)
{
	return c->a->o.buses;
}

int events_fail(struct api_call *c, const struct err *e)
{
	if (e->kind == ERR_CORRUPT)
		return api_fail(&c->e, API_EVENTS_PATTERN, "Event pattern is not valid. Reason: %s", e->text);
	return api_fail(&c->e, e->kind == ERR_LIMIT ? API_ECR_LIMIT : API_VALIDATION, "%s", e->text);
}

static char *bus_arn(const struct api_call *c, const char *name)
{
	return xasprintf("arn:aws:events:%s:%s:event-bus/%s", c->a->where.region, c->a->where.account, name);
}

static int no_bus(struct api_call *c, const char *name)
{
	return api_fail(&c->e, API_NOT_FOUND, "Event bus %s does not exist.", name);
}

/* The bus that a member names; -1: c->e. */
int events_bus(struct api_call *c, const char *member, char ret[257])
{
	return bus_name(events_buses(c), json_get_str(c->in, member), ret) ? 0 : no_bus(c, ret);
}

/* --- lists --- */

void api_list(struct api_call *c, const struct api_list *l, struct jw *w)
{
	auto_free char *begin = xasprintf("%s" STR_FMT, l->prefix, STR_ARG(l->names)),
		       *after = l->token.n ? xasprintf("%s" STR_FMT, l->prefix, STR_ARG(l->token)) : NULL;
	const struct record *r = NULL, *last = NULL;
	int64_t n = 0;

	jw_arr(w, l->member);
	while ((r = record_next(c->a->o.store, begin, r ? r->key : after))) {
		auto_json doc = json_parse(str_of(r->value), NULL);

		if (n == (l->limit ? l->limit : PAGE))
			break;
		if (!l->put(c, w, r->key + strlen(l->prefix), doc))
			continue;
		n++;
		last = r;
	}
	jw_end(w, ']');
	if (r && last)
		jw_strc(w, "NextToken", last->key + strlen(l->prefix));
}

void api_put_member(struct jw *w, const struct json *doc, const char *name)
{
	auto_free char *text = json_get(doc, name) ? json_text(json_get(doc, name)) : NULL;

	if (text)
		jw_raw(w, name, str_of(text));
}

struct api_list events_list(const struct api_call *c, const char *member, const char *prefix,
			    bool (*put)(struct api_call *c, struct jw *w, const char *name, const struct json *doc))
{
	return (struct api_list){.member = member,
				 .prefix = prefix,
				 .names = json_get_str(c->in, "NamePrefix"),
				 .token = json_get_str(c->in, "NextToken"),
				 .limit = json_get_int(c->in, "Limit", 0),
				 .put = put};
}

/* --- buses --- */

static void put_bus(struct api_call *c, struct jw *w, const char *name, const struct json *doc)
{
	auto_free char *arn = bus_arn(c, name);

	jw_strc(w, "Name", name);
	jw_strc(w, "Arn", arn);
	api_put_member(w, doc, "Description");
	api_put_member(w, doc, "CreationTime");
	if (json_get(doc, "CreationTime"))
		jw_real(w, "LastModifiedTime", json_real(json_get(doc, "CreationTime"), 0));
}

static bool list_bus(struct api_call *c, struct jw *w, const char *name, const struct json *doc)
{
	jw_obj(w, NULL);
	put_bus(c, w, name, doc);
	jw_end(w, '}');
	return true;
}

static int create_bus(struct api_call *c)
{
	struct str name = json_get_str(c->in, "Name");
	auto_free char *arn = bus_arn(c, name.p);
	auto_buf text = {0};
	auto_object(w, out);
	struct jw d = jw_object(&text);
	struct store_tx parts;
	struct err e;
	char is[257];

	if (api_allowed(c, arn) < 0)
		return -1;
	if (bus_name(events_buses(c), name, is))
		return api_fail(&c->e, API_LOGS_EXISTS, "Event bus %s already exists.", is);
	api_put_member(&d, c->in, "Description");
	api_put_member(&d, c->in, "Tags");
	jw_real(&d, "CreationTime", (double)(clock_wall_us() / 1000000));
	jw_end(&d, '}');
	auto_json doc = json_parse(buf_str(&text), NULL);

	store_tx_init(&parts);
	if (bus_put(events_buses(c), name, doc, NULL, &parts, &e) < 0)
		return events_fail(c, &e);
	jw_strc(&w, "EventBusArn", arn);
	api_put_member(&w, c->in, "Description");
	jw_end(&w, '}');
	return api_commit(c, &parts, 200, buf_str(&out));
}

static struct json *bus_record(const struct api_call *c, const char *name)
{
	auto_free char *key = xasprintf("bus/%s", name);
	return json_parse(str_of(record_get(c->a->o.store, key)), NULL);
}

static int describe_bus(struct api_call *c)
{
	auto_object(w, out);
	char name[257];

	if (events_bus(c, "Name", name) < 0)
		return -1;
	auto_free char *arn = bus_arn(c, name);
	auto_json doc = bus_record(c, name);

	if (api_allowed(c, arn) < 0)
		return -1;
	put_bus(c, &w, name, doc);
	return api_reply_object(c, 200, &w);
}

static int list_buses(struct api_call *c)
{
	struct api_list l = events_list(c, "EventBuses", "bus/", list_bus);
	auto_object(w, out);

	api_list(c, &l, &w);
	return api_reply_object(c, 200, &w);
}

static int delete_bus(struct api_call *c)
{
	struct store_tx parts;
	struct err e;
	char name[257];

	if (events_bus(c, "Name", name) < 0)
		return -1;
	auto_free char *arn = bus_arn(c, name);

	if (api_allowed(c, arn) < 0)
		return -1;
	if (!strcmp(name, "default"))
		return api_fail(&c->e, API_VALIDATION, "Cannot delete event bus default.");
	store_tx_init(&parts);
	if (bus_delete(events_buses(c), name, &parts, &e) < 0)
		return events_fail(c, &e);
	return api_commit(c, &parts, 200, STR("{}"));
}

/* --- events --- */

static int check_entries(struct api_call *c, const struct json *list)
{
	size_t bytes = 0;

	if (json_len(list) > ENTRIES_MAX)
		return api_invalid(&c->e, "entries", STR("[PutEventsRequestEntry...]"), 64,
				   "have length less than or equal to %d", ENTRIES_MAX);
	for (size_t i = 0; i < json_len(list); i++) {
		static const char *const counted[] = {"Source", "DetailType", "Detail"};
		const struct json *one = json_at(list, i), *resources = json_get(one, "Resources");
		char name[257];

		for (size_t k = 0; k < ARRAY_SIZE(counted); k++)
			bytes += json_get_str(one, counted[k]).n;
		for (size_t k = 0; k < json_len(resources); k++)
			bytes += json_str(json_at(resources, k)).n;
		bytes += json_get(one, "Time") ? 14 : 0;
		bus_name(events_buses(c), json_get_str(one, "EventBusName"), name);
		auto_free char *arn = bus_arn(c, name);

		if (api_allowed(c, arn) < 0)
			return -1;
	}
	if (bytes > ENTRIES_BYTES)
		return api_fail(&c->e, API_VALIDATION, "Total size of the entries in the request is over the limit.");
	return 0;
}

static int put_events(struct api_call *c)
{
	const struct json *list = json_get(c->in, "Entries");
	auto_object(w, out);
	struct store_tx parts;
	int64_t failed = 0;

	if (check_entries(c, list) < 0)
		return -1;
	store_tx_init(&parts);
	jw_arr(&w, "Entries");
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *one = json_at(list, i);
		struct bus_event ev = {.bus = json_get_str(one, "EventBusName"),
				       .source = json_get_str(one, "Source"),
				       .type = json_get_str(one, "DetailType"),
				       .detail = json_get_str(one, "Detail"),
				       .resources = json_get(one, "Resources"),
				       .trace_id = json_get(one, "TraceHeader") ? json_get_str(one, "TraceHeader").p
										: api_trace(c),
				       .time_us = (int64_t)(json_real(json_get(one, "Time"), 0) * 1e6)};
		struct err e;

		jw_obj(&w, NULL);
		if (bus_put_add(events_buses(c), &parts, &ev, &e) == 0) {
			jw_strc(&w, "EventId", ev.id);
		} else {
			failed++;
			jw_strc(&w, "ErrorCode",
				e.kind == ERR_CORRUPT  ? "MalformedDetail"
				: e.kind == ERR_DENIED ? "NotAuthorizedForSourceException"
						       : "InvalidArgument");
			jw_strc(&w, "ErrorMessage", e.text);
		}
		jw_end(&w, '}');
	}
	jw_end(&w, ']');
	jw_int(&w, "FailedEntryCount", failed);
	jw_end(&w, '}');
	return api_commit(c, &parts, 200, buf_str(&out));
}

static int test_pattern(struct api_call *c)
{
	struct err e;
	auto_json event = json_parse(json_get_str(c->in, "Event"), NULL);
	auto_json text = json_parse(json_get_str(c->in, "EventPattern"), &e);
	struct pattern *p = text ? pattern_parse(text, &e) : NULL;
	bool yes = p && pattern_match(p, event);

	pattern_free(p);
	if (!p)
		return api_fail(&c->e, API_EVENTS_PATTERN, "Event pattern is not valid. Reason: %s", e.text);
	if (json_type(event) != JSON_OBJECT)
		return api_fail(&c->e, API_VALIDATION, "Parameter Event is not valid.");
	return api_reply_json(c, 200, yes ? STR("{\"Result\":true}") : STR("{\"Result\":false}"));
}

/* --- tags --- */

static int tags(struct api_call *c)
{
	struct str arn = json_get_str(c->in, "ResourceARN"), name = STR_NULL;
	auto_free char *rules = rule_arn(events_buses(c), "default", ""), *n = NULL;
	bool of_rule = str_starts(arn, rules);
	auto_json record = NULL;
	const struct json *doc;
	auto_object(w, out);
	struct store_tx parts;
	struct err e;
	char bus[257] = "default";

	if (api_allowed(c, arn.p) < 0)
		return -1;
	if (of_rule) {
		struct str first;

		name = str_of(arn.p + strlen(rules));
		if (str_cut(name, '/', &first, &name) && !bus_name(events_buses(c), first, bus))
			return no_bus(c, bus);
		n = str_dup(name);
		doc = rule_doc(events_buses(c), bus, n);
		if (!doc)
			return api_fail(&c->e, API_NOT_FOUND, "Rule %.64s does not exist on EventBus %s.", n, bus);
	} else {
		if (!bus_name(events_buses(c), arn, bus))
			return no_bus(c, bus);
		doc = record = bus_record(c, bus);
	}
	api_tags(&w, "Tags", json_get(doc, "Tags"), json_get(c->in, "Tags"), json_get(c->in, "TagKeys"));
	if (c->op->name[0] == 'L')
		return api_reply_object(c, 200, &w);
	jw_end(&w, '}');
	if (of_rule)
		return events_change_rule(c, bus, name, buf_str(&out), STR("{}"));
	auto_json changed = json_parse(buf_str(&out), NULL);

	store_tx_init(&parts);
	if (bus_put(events_buses(c), str_of(bus), changed, NULL, &parts, &e) < 0)
		return events_fail(c, &e);
	return api_commit(c, &parts, 200, STR("{}"));
}

#define TAGS  "Tags:[{Key!:s,Value:s}]"
#define PAGED ",NextToken:s,Limit:i(1..100)"
#define RULE  "{Name!:s,EventBusName:s}"
#define TARGET                                                                                                         \
	"{Id!:s,Arn!:s,RoleArn:s,Input:s,InputPath:s,InputTransformer:{InputPathsMap:<s>,InputTemplate!:s},"           \
	"KinesisParameters:{PartitionKeyPath!:s},EcsParameters:" API_ECS_PARAMETERS                                    \
	",SqsParameters:{MessageGroupId:s},"                                                                           \
	"RetryPolicy:" API_RETRY_POLICY ",DeadLetterConfig:{Arn:s},HttpParameters-:<s>,RunCommandParameters-:<s>,"     \
	"BatchParameters-:<s>,RedshiftDataParameters-:<s>,SageMakerPipelineParameters-:<s>,AppSyncParameters-:<s>}"
#define OP(name, shape, run)                                                                                           \
	{                                                                                                              \
		"events", NULL, shape, name, SUBJECT_OWN, run                                                          \
	}
const struct api_op events_ops[] = {
	OP("PutEvents",
	   "{Entries!:[{Time:t,Source:s,Resources:[s],DetailType:s,Detail:s,EventBusName:s,TraceHeader:s}],EndpointId-:"
	   "s}",
	   put_events),
	OP("PutRule",
	   "{Name!:s,ScheduleExpression:s,EventPattern:s,State=\"ENABLED\":s(ENABLED|DISABLED|"
	   "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS),Description:s,RoleArn:s," TAGS ",EventBusName:s}",
	   events_put_rule),
	OP("DescribeRule", RULE, events_describe_rule),
	{"events", NULL, "{NamePrefix:s,EventBusName:s" PAGED "}", "ListRules", SUBJECT_NONE, events_list_rules},
	{"events", NULL, "{TargetArn!:s,EventBusName:s" PAGED "}", "ListRuleNamesByTarget", SUBJECT_NONE,
	 events_list_rules},
	OP("EnableRule", RULE, events_switch_rule),
	OP("DisableRule", RULE, events_switch_rule),
	OP("DeleteRule", "{Name!:s,EventBusName:s,Force:b}", events_delete_rule),
	OP("PutTargets", "{Rule!:s,EventBusName:s,Targets!:[" TARGET "]}", events_change_targets),
	OP("RemoveTargets", "{Rule!:s,EventBusName:s,Ids!:[s],Force:b}", events_change_targets),
	OP("ListTargetsByRule", "{Rule!:s,EventBusName:s" PAGED "}", events_list_targets),
	OP("CreateEventBus",
	   "{Name!:s,Description:s," TAGS ",EventSourceName-:s,KmsKeyIdentifier-:s,DeadLetterConfig-:<s>}", create_bus),
	OP("DescribeEventBus", "{Name:s}", describe_bus),
	{"events", NULL, "{NamePrefix:s" PAGED "}", "ListEventBuses", SUBJECT_NONE, list_buses},
	OP("DeleteEventBus", "{Name!:s}", delete_bus),
	{"events", NULL, "{EventPattern!:s,Event!:s}", "TestEventPattern", SUBJECT_NONE, test_pattern},
	OP("TagResource", "{ResourceARN!:s," TAGS "}", tags),
	OP("UntagResource", "{ResourceARN!:s,TagKeys!:[s]}", tags),
	OP("ListTagsForResource", "{ResourceARN!:s}", tags),
	{0},
};
