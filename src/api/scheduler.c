/* SPDX-License-Identifier: Apache-2.0 */
/* EventBridge Scheduler: schedules and groups as trigger/schedule.h has them. */

#include "api/api_int.h"
#include "api/shape.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "store/record.h"

#define GROUP "schedule-group/"

static const char schedule_shape[] =
	"{GroupName:s,ScheduleExpression!:s,ScheduleExpressionTimezone=\"UTC\":s,StartDate:t,EndDate:t,Description:s,"
	"State=\"ENABLED\":s(ENABLED|DISABLED),KmsKeyArn-:s,ActionAfterCompletion=\"NONE\":s(NONE|DELETE),ClientToken:"
	"s,"
	"FlexibleTimeWindow!:{Mode!:s(OFF|FLEXIBLE),MaximumWindowInMinutes:i(1..1440)},"
	"Target!:{Arn!:s,RoleArn!:s,Input:s,SqsParameters:{MessageGroupId:s},KinesisParameters:{PartitionKey!:s},"
	"EventBridgeParameters:{DetailType!:s,Source!:s},EcsParameters:" API_ECS_PARAMETERS
	",RetryPolicy:" API_RETRY_POLICY ",DeadLetterConfig:{Arn:s},SageMakerPipelineParameters-:<s>}}";

/* The body by its shape, into c->in. */
static int body(struct api_call *c, const char *shape)
{
	auto_json j = api_body(c);
	auto_buf copy = {0};

	if (!j)
		return -1;
	if (shape_copy(shape, j, &copy, &c->e) < 0) {
		c->e.code = API_VALIDATION;
		return -1;
	}
	c->in = json_parse(buf_str(&copy), NULL);
	return 0;
}

static int fail(struct api_call *c, const struct err *e)
{
	return api_fail(&c->e,
			e->kind == ERR_NOT_FOUND ? API_NOT_FOUND
			: e->kind == ERR_LIMIT	 ? API_SCHEDULER_QUOTA
						 : API_VALIDATION,
			"%s", e->text);
}

static char *arn_of(const struct api_call *c, const char *key)
{
	return xasprintf("arn:aws:scheduler:%s:%s:%s", c->a->where.region, c->a->where.account, key);
}

/* A parameter of the query; caller frees. */
static char *query(const struct api_call *c, const char *name, const char *otherwise)
{
	struct buf b = {0};

	if (api_query(c->r, name, &b) && b.n)
		return buf_take(&b);
	buf_done(&b);
	return xstrdup(otherwise);
}

/* Of the schedule c->item in that group, if it may be used; NULL: c->e. Caller frees. */
static char *schedule_key(struct api_call *c, const char *group)
{
	char *key = xasprintf("schedule/%.64s/%s", group, c->item);
	auto_free char *arn = arn_of(c, key);

	if (api_allowed(c, arn) == 0)
		return key;
	free(key);
	return NULL;
}

static int no_schedule(struct api_call *c)
{
	return api_fail(&c->e, API_NOT_FOUND, "Schedule %s does not exist.", c->item);
}

/* Both: what is said takes the place of all that was said before. */
static int put_schedule(struct api_call *c)
{
	static const char *const members[] = {"ScheduleExpression", "ScheduleExpressionTimezone",
					      "StartDate",	    "EndDate",
					      "Description",	    "State",
					      "ClientToken",	    "ActionAfterCompletion",
					      "FlexibleTimeWindow", "Target"};
	bool create = c->op->name[0] == 'C';
	double now = (double)(clock_wall_us() / 1000) / 1000;
	const struct json *old, *made;
	auto_free char *key = NULL, *arn = NULL;
	auto_buf text = {0};
	auto_object(w, out);
	struct jw d = jw_object(&text);
	struct store_tx parts;
	struct str group;
	struct err e;

	if (body(c, schedule_shape) < 0)
		return -1;
	group = json_get_str(c->in, "GroupName").n ? json_get_str(c->in, "GroupName") : STR("default");
	if (!(key = schedule_key(c, group.p)) ||
	    authz_start(&c->who, &c->a->where, json_get(c->in, "Target"), "Arn", &c->e) < 0)
		return -1;
	old = schedule_doc(c->a->o.schedules, group.p, c->item);
	arn = arn_of(c, key);
	jw_strc(&w, "ScheduleArn", arn);
	jw_end(&w, '}');
	if (!create && !old)
		return no_schedule(c);
	if (create && old && json_get(c->in, "ClientToken") && /* the same request once more */
	    str_eq(json_get_str(old, "ClientToken"), json_get_str(c->in, "ClientToken")))
		return api_reply_json(c, 200, buf_str(&out));
	if (create && old)
		return api_fail(&c->e, API_SCHEDULER_CONFLICT, "Schedule %s already exists.", c->item);
	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		api_put_member(&d, c->in, members[i]);
	made = json_get(old, "CreationDate");
	jw_real(&d, "CreationDate", json_real(made, now));
	jw_real(&d, "LastModificationDate", now);
	api_put_member(&d, old, "project");
	jw_end(&d, '}');
	auto_json doc = json_parse(buf_str(&text), NULL);

	store_tx_init(&parts);
	if (schedule_put(c->a->o.schedules, group, str_of(c->item), doc, NULL, &parts, &e) < 0)
		return fail(c, &e);
	return api_commit(c, &parts, 200, buf_str(&out));
}

static void put_facts(struct api_call *c, struct jw *w, const char *group, const char *name, const struct json *doc,
		      bool whole)
{
	static const char *const members[] = {"State",
					      "CreationDate",
					      "LastModificationDate", /* of a list no more */
					      "ScheduleExpression",
					      "ScheduleExpressionTimezone",
					      "StartDate",
					      "EndDate",
					      "Description",
					      "ActionAfterCompletion",
					      "FlexibleTimeWindow",
					      "Target"};
	auto_free char *key = xasprintf("schedule/%s/%s", group, name), *arn = arn_of(c, key);

	jw_strc(w, "Arn", arn);
	jw_strc(w, "GroupName", group);
	jw_strc(w, "Name", name);
	for (size_t i = 0; i < (whole ? ARRAY_SIZE(members) : 3); i++)
		api_put_member(w, doc, members[i]);
}

static int get_schedule(struct api_call *c)
{
	auto_free char *group = query(c, "groupName", "default"), *key = schedule_key(c, group);
	const struct json *doc = key ? schedule_doc(c->a->o.schedules, group, c->item) : NULL;
	auto_object(w, out);

	if (!key)
		return -1;
	if (!doc)
		return no_schedule(c);
	put_facts(c, &w, group, c->item, doc, true);
	return api_reply_object(c, 200, &w);
}

static int delete_schedule(struct api_call *c)
{
	auto_free char *group = query(c, "groupName", "default"), *key = schedule_key(c, group);
	struct store_tx parts;

	if (!key)
		return -1;
	store_tx_init(&parts);
	if (!schedule_delete(c->a->o.schedules, group, c->item, &parts))
		return no_schedule(c);
	return api_commit(c, &parts, 200, STR("{}"));
}

static bool list_one(struct api_call *c, struct jw *w, const char *path, const struct json *doc)
{
	auto_free char *prefix = query(c, "NamePrefix", ""), *state = query(c, "State", ""), *g = NULL, *only = NULL;
	struct str group = STR_NULL, name = str_of(path);

	if (!str_cut(name, '/', &group, &name)) {
		only = query(c, "ScheduleGroup", "default");
		group = str_of(only);
	}
	if (!str_starts(name, prefix) || (*state && !str_eqc(json_get_str(doc, "State"), state)))
		return false;
	g = str_dup(group);
	jw_obj(w, NULL);
	put_facts(c, w, g, name.p, doc, false);
	jw_obj(w, "Target");
	api_put_member(w, json_get(doc, "Target"), "Arn");
	jw_end(w, '}');
	jw_end(w, '}');
	return true;
}

static int page(struct api_call *c, struct api_list *l)
{
	auto_free char *text = query(c, "MaxResults", "0");

	return str_to_i64(str_of(text), 0, 100, &l->limit) == 0
		       ? 0
		       : api_fail(&c->e, API_VALIDATION, "MaxResults must be from 1 to 100.");
}

static int list_schedules(struct api_call *c)
{
	auto_free char *group = query(c, "ScheduleGroup", ""), *token = query(c, "NextToken", ""),
		       *prefix = *group ? xasprintf("schedule/%s/", group) : xstrdup("schedule/");
	struct api_list l = {.member = "Schedules", .prefix = prefix, .token = str_of(token), .put = list_one};
	auto_object(w, out);

	if (page(c, &l) < 0)
		return -1;
	if (*group && !schedule_group_exists(c->a->o.schedules, group))
		return api_fail(&c->e, API_NOT_FOUND, "Schedule group %.64s does not exist.", group);
	api_list(c, &l, &w);
	return api_reply_object(c, 200, &w);
}

/* --- groups --- */

/* Its record's text; NULL: c->e. */
static const char *group_record(struct api_call *c, const char *name)
{
	auto_free char *key = xasprintf(GROUP "%.64s", name), *arn = arn_of(c, key);
	const char *text;

	if (api_allowed(c, arn) < 0)
		return NULL;
	text = record_get(c->a->o.store, key);
	if (!text)
		api_fail(&c->e, API_NOT_FOUND, "Schedule group %.64s does not exist.", name);
	return text;
}

static int save_group(struct api_call *c, const char *name, struct str text, struct str answer)
{
	auto_json doc = json_parse(text, NULL);
	struct store_tx parts;
	struct err e;

	store_tx_init(&parts);
	if (schedule_group_put(c->a->o.schedules, str_of(name), doc, NULL, &parts, &e) < 0)
		return fail(c, &e);
	return api_commit(c, &parts, 200, answer);
}

static int create_group(struct api_call *c)
{
	auto_free char *key = xasprintf(GROUP "%s", c->item), *arn = arn_of(c, key);
	double now = (double)(clock_wall_us() / 1000) / 1000;
	auto_buf text = {0};
	auto_object(w, out);
	struct jw d = jw_object(&text);

	if (body(c, "{Tags:[{Key!:s,Value:s}],ClientToken:s}") < 0 || api_allowed(c, arn) < 0)
		return -1;
	if (record_get(c->a->o.store, key))
		return api_fail(&c->e, API_SCHEDULER_CONFLICT, "Schedule group %s already exists.", c->item);
	api_put_member(&d, c->in, "Tags");
	jw_real(&d, "CreationDate", now);
	jw_real(&d, "LastModificationDate", now);
	jw_end(&d, '}');
	jw_strc(&w, "ScheduleGroupArn", arn);
	jw_end(&w, '}');
	return save_group(c, c->item, buf_str(&text), buf_str(&out));
}

static void put_group(struct api_call *c, struct jw *w, const char *name, const struct json *doc)
{
	auto_free char *key = xasprintf(GROUP "%s", name), *arn = arn_of(c, key);

	jw_strc(w, "Arn", arn);
	jw_strc(w, "Name", name);
	jw_strc(w, "State", "ACTIVE");
	api_put_member(w, doc, "CreationDate");
	api_put_member(w, doc, "LastModificationDate");
}

static int get_group(struct api_call *c)
{
	const char *text = group_record(c, c->item);
	auto_json doc = text ? json_parse(str_of(text), NULL) : NULL;
	auto_object(w, out);

	if (!doc)
		return -1;
	put_group(c, &w, c->item, doc);
	return api_reply_object(c, 200, &w);
}

static int delete_group(struct api_call *c)
{
	struct store_tx parts;

	if (!group_record(c, c->item))
		return -1;
	if (!strcmp(c->item, "default"))
		return api_fail(&c->e, API_VALIDATION, "The default schedule group cannot be deleted.");
	store_tx_init(&parts);
	schedule_group_delete(c->a->o.schedules, c->item, &parts);
	return api_commit(c, &parts, 200, STR("{}"));
}

static bool list_group(struct api_call *c, struct jw *w, const char *name, const struct json *doc)
{
	jw_obj(w, NULL);
	put_group(c, w, name, doc);
	jw_end(w, '}');
	return true;
}

static int list_groups(struct api_call *c)
{
	auto_free char *names = query(c, "NamePrefix", ""), *token = query(c, "NextToken", "");
	struct api_list l = {.member = "ScheduleGroups",
			     .prefix = GROUP,
			     .names = str_of(names),
			     .token = str_of(token),
			     .put = list_group};
	auto_object(w, out);

	if (page(c, &l) < 0)
		return -1;
	api_list(c, &l, &w);
	return api_reply_object(c, 200, &w);
}

/* Of groups; schedules have none. */
static int tags(struct api_call *c)
{
	auto_free char *begin = arn_of(c, GROUP);
	const char *text, *name;
	auto_json doc = NULL;
	auto_json without = NULL;
	auto_json changed = NULL;
	auto_buf merged = {0}, gone = {0};
	auto_object(w, out);
	struct jw g;
	struct str rest = c->r->query, one, value;

	if (!str_starts(str_of(c->item), begin))
		return api_fail(&c->e, API_NOT_FOUND, "Resource %s does not exist.", c->item);
	name = c->item + strlen(begin);
	if (c->op->name[0] == 'T' && body(c, "{Tags!:[{Key!:s,Value:s}]}") < 0)
		return -1;
	if (!(text = group_record(c, name)))
		return -1;
	doc = json_parse(str_of(text), NULL);
	jw_init(&g, &gone);
	jw_arr(&g, NULL);
	while (str_next(&rest, '&', &one)) { /* TagKeys=a&TagKeys=b */
		auto_buf v = {0};

		if (dec_form_value(one, "TagKeys", &value) && dec_percent(&v, value, true) == 0)
			jw_str(&g, NULL, buf_str(&v));
	}
	jw_end(&g, ']');
	without = json_parse(buf_str(&gone), NULL);
	api_tags(&w, "Tags", json_get(doc, "Tags"), json_get(c->in, "Tags"), without);
	if (c->op->name[0] == 'L')
		return api_reply_object(c, 200, &w);
	jw_end(&w, '}');
	changed = json_parse(buf_str(&out), NULL);
	json_merge(&merged, doc, changed, NULL);
	return save_group(c, name, buf_str(&merged), STR("{}"));
}

#define OP(name, method, path, run)                                                                                    \
	{                                                                                                              \
		"scheduler", method, path, name, SUBJECT_OWN, run                                                      \
	}
const struct api_op scheduler_ops[] = {
	OP("CreateSchedule", "POST", "/schedules/{X}", put_schedule),
	OP("UpdateSchedule", "PUT", "/schedules/{X}", put_schedule),
	OP("GetSchedule", "GET", "/schedules/{X}", get_schedule),
	OP("DeleteSchedule", "DELETE", "/schedules/{X}", delete_schedule),
	{"scheduler", "GET", "/schedules", "ListSchedules", SUBJECT_NONE, list_schedules},
	OP("CreateScheduleGroup", "POST", "/schedule-groups/{X}", create_group),
	OP("GetScheduleGroup", "GET", "/schedule-groups/{X}", get_group),
	OP("DeleteScheduleGroup", "DELETE", "/schedule-groups/{X}", delete_group),
	{"scheduler", "GET", "/schedule-groups", "ListScheduleGroups", SUBJECT_NONE, list_groups},
	OP("TagResource", "POST", "/tags/{X}", tags),
	OP("UntagResource", "DELETE", "/tags/{X}", tags),
	OP("ListTagsForResource", "GET", "/tags/{X}", tags),
	{0},
};
