/* SPDX-License-Identifier: Apache-2.0 */
/* Groups of CloudWatch Logs, and the table of its operations. */
#include <stdio.h>
#include "api/ecs_int.h"
#include "api/logs_int.h"
#include "base/clock.h"
#include "base/mem.h"
#include "store/record.h"

#define KEY   "loggroup/"
#define TIME  "i(0..9223372036854775807)"
#define GROUP "logGroupName:s,logGroupIdentifier:s"

void logs_group_done(struct logs_group *g)
{
	json_free(g->doc);
}

static bool name_ok(struct str name)
{
	return str_name_ok(name, LOGS_NAME_BYTES, "_-/.#");
}

bool logs_stream_name_ok(struct str name)
{
	return name.n && name.n <= LOGS_STREAM_BYTES && !memchr(name.p, ':', name.n) && !memchr(name.p, '*', name.n);
}

/* Of what is made here: characters that names of groups do not have stand for those that names of files cannot have. */
static void own_log(const char *name, char ret[160])
{
	int n = snprintf(ret, 160, "group:%s$", name);

	for (int i = 6; i < n - 1; i++)
		ret[i] = (char)(ret[i] == '/' ? ':' : ret[i] == '#' ? '$' : ret[i]);
}

bool logs_wanted(const struct store *s, const char *log)
{
	char key[200], made[160];

	if (strncmp(log, "group:", 6) != 0 || strlen(log) > LOGS_NAME_BYTES + 7)
		return false;
	snprintf(key, sizeof(key), KEY "%s", log + 6);
	key[strlen(key) - 1] = 0;
	for (char *p = key + strlen(KEY); *p; p++)
		*p = (char)(*p == ':' ? '/' : *p == '$' ? '#' : *p);
	own_log(key + strlen(KEY), made);
	return record_get(s, key) && strcmp(made, log) == 0;
}

/* Which log a name of one of ours stands for; false: of none that there is. */
static bool find_log(const struct api *a, struct logs_group *g)
{
	struct str name = str_of(g->name), cluster, service;

	if (str_starts(name, "/aws/lambda/")) {
		g->kind = LOGS_FUNCTION;
		snprintf(g->log, sizeof(g->log), "%s", g->name + 12);
		return function_get(a->o.store, str_of(g->log)) != NULL;
	}
	if (!str_starts(name, "/ecs/") || !str_cut(str_of(g->name + 5), '/', &cluster, &service))
		return false;
	g->kind = LOGS_TASK;
	snprintf(g->log, sizeof(g->log), "service:" STR_FMT ":" STR_FMT, STR_ARG(cluster), STR_ARG(service));
	if (services_log_wanted(a->o.services, g->log))
		return true;
	snprintf(g->log, sizeof(g->log), "task-" STR_FMT, STR_ARG(service));
	return str_eqc(cluster, "task") && tasks_log_wanted(a->o.tasks, g->log);
}

/* false: there is no such group. name is a good one. */
static bool load(const struct api *a, struct str name, struct logs_group *ret)
{
	auto_free char *key = xasprintf(KEY STR_FMT, STR_ARG(name));
	const char *text = record_get(a->o.store, key);

	*ret = (struct logs_group){0};
	snprintf(ret->name, sizeof(ret->name), STR_FMT, STR_ARG(name));
	if (!find_log(a, ret)) {
		if (!text)
			return false;
		ret->kind = LOGS_OWN;
		own_log(ret->name, ret->log);
	}
	ret->doc = text ? json_parse(str_of(text), NULL) : NULL;
	return true;
}

static int allowed(struct api_call *c, const char *name)
{
	auto_free char *arn =
		xasprintf("arn:aws:logs:%s:%s:log-group:%s:*", c->a->where.region, c->a->where.account, name);

	if (api_allowed(c, arn) == 0)
		return 0;
	arn[strlen(arn) - 2] = 0;
	return api_allowed(c, arn);
}

/* Also "arn:aws:logs:REGION:ACCOUNT:log-group:NAME" and that with ":*". */
static struct str bare(const struct api *a, struct str given)
{
	auto_free char *begin = xasprintf("arn:aws:logs:%s:%s:log-group:", a->where.region, a->where.account);
	size_t n = strlen(begin);

	if (!str_starts(given, begin))
		return given;
	given = (struct str){given.p + n, given.n - n};
	return str_ends(given, ":*") ? (struct str){given.p, given.n - 2} : given;
}

static int asked_name(struct api_call *c, struct str *ret)
{
	static const char *const members[] = {"logGroupName", "logGroupIdentifier", "resourceArn"};
	struct str name = STR_NULL;

	for (size_t i = 0; i < ARRAY_SIZE(members) && !name.n; i++)
		name = bare(c->a, json_get_str(c->in, members[i]));
	if (!name_ok(name))
		return api_fail(&c->e, API_INVALID_MEMBER,
				"A log group's name has 1 to %d characters: letters, digits, '_', '-', '/', '.', '#'.",
				LOGS_NAME_BYTES);
	*ret = name;
	return 0;
}

int logs_group(struct api_call *c, struct logs_group *ret)
{
	char text[LOGS_NAME_BYTES + 1];
	struct str name;

	if (asked_name(c, &name) < 0)
		return -1;
	snprintf(text, sizeof(text), STR_FMT, STR_ARG(name));
	if (allowed(c, text) < 0)
		return -1;
	if (!load(c->a, name, ret))
		return api_fail(&c->e, API_NOT_FOUND, "The specified log group does not exist.");
	return 0;
}

int64_t logs_stream_created_ms(const struct logs_group *g, struct str name)
{
	auto_free char *key = str_dup(name);

	return json_get_int(json_get(g->doc, "streams"), key, -1);
}

int64_t logs_shown_since_ms(const struct logs_group *g)
{
	int64_t days = json_get_int(g->doc, "retentionInDays", 0);

	return days ? clock_wall_us() / 1000 - days * LOGS_DAY_MS : 0;
}

/* --- changes: the record is written anew --- */

struct edit {
	const struct json *over, *without; /* members that come instead; names that go */
};

/* retention -1: as it is; tags and streams: what comes instead, names of what goes. Answers. */
static int save(struct api_call *c, const struct logs_group *g, int64_t retention, const struct edit *tags,
		const struct edit *streams)
{
	auto_free char *key = xasprintf(KEY "%s", g->name);
	auto_object(w, out);

	if (retention < 0)
		retention = json_get_int(g->doc, "retentionInDays", 0);
	jw_int(&w, "creationTime", json_get_int(g->doc, "creationTime", clock_wall_us() / 1000));
	if (retention)
		jw_int(&w, "retentionInDays", retention);
	api_edit(&w, "tags", json_get(g->doc, "tags"), tags ? tags->over : NULL, tags ? tags->without : NULL);
	api_edit(&w, "streams", json_get(g->doc, "streams"), streams ? streams->over : NULL,
		 streams ? streams->without : NULL);
	jw_end(&w, '}');
	record_put(c->a->o.store, api_saving(c, 200, STR("{}"), false), key, out.p);
	return 0;
}

static int check_tags(struct api_call *c, const struct json *tags)
{
	return json_len(tags) <= LIM_TAGS
		       ? 0
		       : api_fail(&c->e, API_INVALID_MEMBER, "At most %d tags are possible.", LIM_TAGS);
}

static int create_group(struct api_call *c)
{
	auto_(logs_group_done) struct logs_group g = {0};
	struct edit tags = {.over = json_get(c->in, "tags")};
	struct str name;

	if (asked_name(c, &name) < 0 || check_tags(c, tags.over) < 0)
		return -1;
	snprintf(g.name, sizeof(g.name), STR_FMT, STR_ARG(name));
	if (allowed(c, g.name) < 0)
		return -1;
	/* That of a function is there with the function: tools that make both may say so once. */
	if (load(c->a, name, &g) && (g.doc || g.kind == LOGS_TASK))
		return api_fail(&c->e, API_LOGS_EXISTS, "The specified log group already exists");
	return save(c, &g, 0, &tags, NULL);
}

static int delete_group(struct api_call *c)
{
	auto_(logs_group_done) struct logs_group g = {0};
	auto_free char *key = NULL;

	if (logs_group(c, &g) < 0)
		return -1;
	key = xasprintf(KEY "%s", g.name);
	log_stream_remove(c->a->o.logs, g.log);
	record_del(c->a->o.store, api_saving(c, 200, STR("{}"), false), key);
	return 0;
}

static int put_retention(struct api_call *c)
{
	static const int days[] = {1,	3,   5,	  7,   14,   30,   60,	 90,   120,  150,  180,
				   365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653};
	auto_(logs_group_done) struct logs_group g = {0};
	int64_t wanted = json_get_int(c->in, "retentionInDays", 0);
	bool known = strcmp(c->op->name, "DeleteRetentionPolicy") == 0;

	if (logs_group(c, &g) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(days); i++)
		known |= wanted == days[i];
	if (!known)
		return api_fail(
			&c->e, API_INVALID_MEMBER,
			"retentionInDays is %lld, and must be one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, "
			"400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653.",
			(long long)wanted);
	return save(c, &g, wanted, NULL, NULL);
}

static int tag(struct api_call *c)
{
	auto_(logs_group_done) struct logs_group g = {0};
	const struct json *keys = json_get(c->in, "tagKeys"), *tags = json_get(c->in, "tags");
	bool add = json_type(tags) == JSON_OBJECT;
	struct edit e = {.over = add ? tags : NULL, .without = add ? NULL : keys ? keys : tags};

	if (logs_group(c, &g) < 0 || check_tags(c, e.over) < 0)
		return -1;
	if (json_len(json_get(g.doc, "tags")) + json_len(e.over) > 2 * LIM_TAGS)
		return api_fail(&c->e, API_ECR_LIMIT, "At most %d tags are possible.", LIM_TAGS);
	return save(c, &g, -1, &e, NULL);
}

static int list_tags(struct api_call *c)
{
	auto_(logs_group_done) struct logs_group g = {0};
	auto_object(w, out);

	if (logs_group(c, &g) < 0)
		return -1;
	api_edit(&w, "tags", json_get(g.doc, "tags"), NULL, NULL);
	return api_reply_object(c, 200, &w);
}

static int change_stream(struct api_call *c)
{
	bool create = strcmp(c->op->name, "CreateLogStream") == 0;
	auto_(logs_group_done) struct logs_group g = {0};
	struct str name = json_get_str(c->in, "logStreamName");
	auto_buf text = {0};
	auto_json j = NULL;
	struct edit e = {0};
	bool there;

	if (logs_group(c, &g) < 0)
		return -1;
	if (!logs_stream_name_ok(name))
		return api_fail(&c->e, API_INVALID_MEMBER,
				"A log stream's name has 1 to %d bytes, none of them ':' or '*'.", LOGS_STREAM_BYTES);
	if (g.kind != LOGS_OWN)
		return api_fail(&c->e, API_INVALID_MEMBER, "The log streams of %s are those of what runs.", g.name);
	there = logs_stream_created_ms(&g, name) >= 0;
	if (create && there)
		return api_fail(&c->e, API_LOGS_EXISTS, "The specified log stream already exists");
	if (!create && !there)
		return api_fail(&c->e, API_NOT_FOUND, "The specified log stream does not exist.");
	if (create && json_len(json_get(g.doc, "streams")) >= LOGS_STREAMS)
		return api_fail(&c->e, API_ECR_LIMIT, "A log group has at most %d log streams here.", LOGS_STREAMS);
	buf_adds(&text, create ? "{" : "[");
	jw_quote(&text, name);
	buf_addf(&text, create ? ":%lld}" : "]", (long long)(clock_wall_us() / 1000));
	j = json_parse(buf_str(&text), NULL);
	*(create ? &e.over : &e.without) = j;
	return save(c, &g, -1, NULL, &e);
}

/* --- the list: from each source the first ones behind the token --- */

struct names {
	const char *after;
	struct str prefix, part;
	unsigned max;
	char **v;
	unsigned n;
};

static void add(struct names *l, char *name)
{
	struct str s = str_of(name);

	if (strcmp(name, l->after) > 0 && s.n <= LOGS_NAME_BYTES && str_starts(s, l->prefix.p ? l->prefix.p : "") &&
	    (!l->part.n || memmem(s.p, s.n, l->part.p, l->part.n))) {
		l->v = xrealloc(l->v, (l->n + 1) * sizeof(*l->v));
		l->v[l->n++] = name;
	} else {
		free(name);
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void gather(const struct api *a, struct names *l)
{
	const char *functions = "/aws/lambda/";
	const char *after = strncmp(l->after, functions, 12) == 0 ? l->after + 12
			    : strcmp(l->after, functions) < 0	  ? ""
								  : NULL;
	unsigned before = l->n;
	auto_free char *key = xasprintf(KEY "%s", l->after);

	for (struct function *f = after ? function_after(a->o.store, after) : NULL; f && l->n - before < l->max;
	     f = function_after(a->o.store, f->name))
		add(l, xasprintf("%s%s", functions, f->name));
	before = l->n;
	for (const struct record *r = record_next(a->o.store, KEY, key); r && l->n - before < l->max;
	     r = record_next(a->o.store, KEY, r->key))
		add(l, xstrdup(r->key + strlen(KEY)));
	for (struct service *sv = service_next(a->o.services, NULL); sv; sv = service_next(a->o.services, sv))
		add(l, xasprintf("/ecs/%s/%s", service_spec_of(sv)->cluster, service_spec_of(sv)->name));
	for (struct task *k = task_next(a->o.tasks, NULL); k; k = task_next(a->o.tasks, k)) {
		bool shared;
		const char *log = task_log_name(k, &shared);

		if (!shared)
			add(l, xasprintf("/ecs/task/%s", log + strlen("task-")));
	}
	if (l->n)
		qsort(l->v, l->n, sizeof(*l->v), by_name);
}

static void put_group(struct jw *w, const struct api *a, const char *name)
{
	auto_(logs_group_done) struct logs_group g = {0};
	auto_free char *arn = xasprintf("arn:aws:logs:%s:%s:log-group:%s:*", a->where.region, a->where.account, name);
	struct function *f;
	int64_t days;

	if (!load(a, str_of(name), &g))
		return;
	f = g.kind == LOGS_FUNCTION ? function_get(a->o.store, str_of(g.log)) : NULL;
	days = json_get_int(g.doc, "retentionInDays", 0);
	jw_obj(w, NULL);
	jw_strc(w, "logGroupName", name);
	jw_int(w, "creationTime", json_get_int(g.doc, "creationTime", f ? f->latest->modified_wall_us / 1000 : 0));
	if (days)
		jw_int(w, "retentionInDays", days);
	jw_int(w, "metricFilterCount", 0);
	jw_strc(w, "arn", arn);
	jw_end(w, '}');
}

static int describe_groups(struct api_call *c)
{
	struct str token = json_get_str(c->in, "nextToken");
	struct names l = {.after = token.p ? token.p : "",
			  .prefix = json_get_str(c->in, "logGroupNamePrefix"),
			  .part = json_get_str(c->in, "logGroupNamePattern"),
			  .max = (unsigned)json_get_int(c->in, "limit", 50) + 1};
	const char *last = NULL;
	auto_object(w, out);

	if (token.n && !name_ok(token))
		return api_fail(&c->e, API_INVALID_MEMBER, "The specified nextToken is invalid.");
	if (l.prefix.n && l.part.n)
		return api_fail(&c->e, API_INVALID_MEMBER,
				"LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.");
	gather(c->a, &l);
	jw_arr(&w, "logGroups");
	for (unsigned i = 0, shown = 0; i < l.n; i++) {
		if (i && strcmp(l.v[i], l.v[i - 1]) == 0) /* with a record of its own */
			continue;
		if (++shown == l.max)
			break;
		put_group(&w, c->a, last = l.v[i]);
		if (i + 1 == l.n)
			last = NULL;
	}
	jw_end(&w, ']');
	if (last)
		jw_strc(&w, "nextToken", last);
	for (unsigned i = 0; i < l.n; i++)
		free(l.v[i]);
	free(l.v);
	return api_reply_object(c, 200, &w);
}

#define OP(name, shape, run)                                                                                           \
	{                                                                                                              \
		"logs", NULL, shape, name, SUBJECT_OWN, run                                                            \
	}
const struct api_op logs_ops[] = {
	OP("FilterLogEvents",
	   "{" GROUP ",logStreamNames=[]:[s],logStreamNamePrefix:s,startTime=0:" TIME
	   ",endTime=9223372036854775807:" TIME
	   ",filterPattern:s,nextToken:s,limit=10000:i(1..10000),interleaved:b,unmask-:b}",
	   logs_filter_events),
	OP("GetLogEvents",
	   "{" GROUP ",logStreamName!:s,startTime=0:" TIME ",endTime=9223372036854775807:" TIME
	   ",nextToken:s,limit=10000:i(1..10000),startFromHead:b,unmask-:b}",
	   logs_get_events),
	OP("PutLogEvents",
	   "{logGroupName!:s,logStreamName!:s,logEvents!:[{timestamp!:" TIME ",message!:s}],sequenceToken:s}",
	   logs_put_events),
	OP("DescribeLogStreams",
	   "{" GROUP ",logStreamNamePrefix:s,orderBy=\"LogStreamName\":s(LogStreamName|LastEventTime),descending:b,"
	   "nextToken:s,limit=50:i(1..50)}",
	   logs_describe_streams),
	{"logs", NULL, "{logGroupNamePrefix:s,logGroupNamePattern:s,nextToken:s,limit=50:i(1..50)}",
	 "DescribeLogGroups", SUBJECT_NONE, describe_groups},
	OP("CreateLogGroup", "{logGroupName!:s,kmsKeyId-:s,tags:<s>,logGroupClass:s(STANDARD)}", create_group),
	OP("DeleteLogGroup", "{logGroupName!:s}", delete_group),
	OP("CreateLogStream", "{logGroupName!:s,logStreamName!:s}", change_stream),
	OP("DeleteLogStream", "{logGroupName!:s,logStreamName!:s}", change_stream),
	OP("PutRetentionPolicy", "{logGroupName!:s,retentionInDays!:i}", put_retention),
	OP("DeleteRetentionPolicy", "{logGroupName!:s}", put_retention),
	OP("TagLogGroup", "{logGroupName!:s,tags!:<s>}", tag),
	OP("UntagLogGroup", "{logGroupName!:s,tags!:[s]}", tag),
	OP("ListTagsLogGroup", "{logGroupName!:s}", list_tags),
	OP("TagResource", "{resourceArn!:s,tags!:<s>}", tag),
	OP("UntagResource", "{resourceArn!:s,tagKeys!:[s]}", tag),
	OP("ListTagsForResource", "{resourceArn!:s}", list_tags),
	{0},
};
