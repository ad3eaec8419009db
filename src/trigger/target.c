/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/target.h"
#include "base/clock.h"

#define PREDEFINED "aws.events."

const struct json *target_path(const struct json *root, struct str path)
{
	const struct json *j = root;
	struct str p = path;

	if (!str_starts(p, "$"))
		return NULL;
	p = (struct str){p.p + 1, p.n - 1};
	while (p.n && j) {
		size_t skip = str_starts(p, "['") ? 2 : 1, n = 0;
		int64_t i;

		if (p.p[0] != '.' && p.p[0] != '[')
			return NULL;
		while (skip + n < p.n && !strchr(p.p[0] == '.' ? ".[" : "]'", p.p[skip + n]))
			n++;
		struct str name = {p.p + skip, n};
		auto_free char *key = str_dup(name);

		if (p.p[0] == '[' && skip == 1)
			j = str_to_i64(name, 0, INT32_MAX, &i) == 0 ? json_at(j, (size_t)i) : NULL;
		else
			j = json_get(j, key);
		if (p.p[0] == '[')
			n += skip; /* the closing ' and ] */
		p = skip + n <= p.n ? (struct str){p.p + skip + n, p.n - skip - n} : STR_NULL;
	}
	return j;
}

/* The name in "<name>..."; empty: it is none. */
static struct str placeholder(struct str s)
{
	const char *end = s.n ? memchr(s.p, '>', s.n) : NULL;
	struct str name = end ? (struct str){s.p + 1, (size_t)(end - s.p) - 1} : STR_NULL;

	return str_name_ok(name, 256, "-_.") ? name : STR_NULL;
}

void target_fill(struct str template, target_value *value, void *arg, struct buf *out)
{
	bool quoted = false;
	auto_buf json = {0};

	for (size_t i = 0; i < template.n && out->n <= LIM_ASYNC_PAYLOAD_BYTES; i++) { /* more has no target */
		char ch = template.p[i];
		struct str name = ch == '<' ? placeholder((struct str){template.p + i, template.n - i}) : STR_NULL;

		buf_clear(&json);
		if (!name.n || !value(arg, name, &json)) {
			buf_addc(out, ch);
			if (ch == '\\' && quoted && i + 1 < template.n)
				buf_addc(out, template.p[++i]);
			quoted ^= ch == '"';
			continue;
		}
		i += name.n + 1;
		if (!quoted)
			buf_addstr(out, json.n ? buf_str(&json) : STR("\"\""));
		else if (json.n && json.p[0] == '"')
			buf_add(out, json.p + 1, json.n - 2);
		else
			for (size_t k = 0; k < json.n; k++)
				if (json.p[k] != '"' && json.p[k] != '\\')
					buf_addc(out, json.p[k]);
	}
}

static bool any_name(void *arg, struct str name, struct buf *json)
{
	struct {
		const struct json *paths;
		struct str missing;
	} *c = arg;
	auto_free char *key = str_dup(name);

	if (!str_starts(name, PREDEFINED) && !json_get(c->paths, key))
		c->missing = name;
	return true;
}

int target_check(const struct json *target, struct err *e)
{
	const struct json *tr = json_get(target, "InputTransformer");
	struct str id = json_get_str(target, "Id"), arn = json_get_str(target, "Arn"), rest = arn, part;
	int parts = 0;
	auto_buf out = {0};
	struct {
		const struct json *paths;
		struct str missing;
	} c = {json_get(tr, "InputPathsMap"), STR_NULL};

	while (str_next(&rest, ':', &part))
		parts++;
	if (!str_starts(arn, "arn:") || parts < 6)
		return err_set(e, ERR_INVALID,
			       "Parameter %.200s is not valid. Reason: Provided Arn is not in correct format.",
			       arn.n ? arn.p : "Arn");
	if (!!tr + !!json_get(target, "Input") + !!json_get(target, "InputPath") > 1)
		return err_set(e, ERR_INVALID,
			       "Only one of Input, InputPath, or InputTransformer must be provided for target %s.",
			       id.p);
	if (json_get(target, "InputPath") && !str_starts(json_get_str(target, "InputPath"), "$"))
		return err_set(e, ERR_INVALID, "Parameter InputPath for target %s is not valid.", id.p);
	if (!tr)
		return 0;
	target_fill(json_get_str(tr, "InputTemplate"), any_name, &c, &out);
	return !c.missing.n ? 0
			    : err_set(e, ERR_INVALID,
				      "InputTemplate for target %s contains invalid placeholder " STR_FMT ".", id.p,
				      STR_ARG(c.missing));
}

/* --- what it is given --- */

struct variables {
	const struct target_event *ev;
	const struct json *paths;
};

static void put_json(struct buf *out, const struct json *j)
{
	auto_free char *text = j ? json_text(j) : NULL;

	if (text)
		buf_adds(out, text);
}

/* <aws.events.event>: without its detail, and a name without a dash. */
static void put_head(struct buf *out, const struct json *event)
{
	static const char *const names[][2] = {
		{"id", "id"},	      {"account", "account"}, {"detail-type", "detailType"}, {"time", "time"},
		{"source", "source"}, {"region", "region"},   {"resources", "resources"},    {"version", "version"}};
	struct jw w = jw_object(out);

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		auto_buf text = {0};

		put_json(&text, json_get(event, names[i][0]));
		if (text.n)
			jw_raw(&w, names[i][1], buf_str(&text));
	}
	jw_end(&w, '}');
}

static bool variable(void *arg, struct str name, struct buf *json)
{
	const struct variables *v = arg;
	auto_free char *key = str_dup(name);
	char iso[32];

	if (json_get(v->paths, key))
		put_json(json, target_path(v->ev->json, json_get_str(v->paths, key)));
	else if (!strcmp(key, PREDEFINED "rule-arn"))
		jw_quote(json, str_of(v->ev->rule_arn));
	else if (!strcmp(key, PREDEFINED "rule-name"))
		jw_quote(json, str_of(v->ev->rule_name));
	else if (!strcmp(key, PREDEFINED "event.ingestion-time"))
		jw_quote(json, str_of(clock_fmt_iso(v->ev->ingested_us, iso)));
	else if (!strcmp(key, PREDEFINED "event"))
		put_head(json, v->ev->json);
	else if (!strcmp(key, PREDEFINED "event.json"))
		buf_addstr(json, v->ev->text);
	else
		return false;
	return true;
}

static void put_string(struct jw *w, const char *name, const struct json *from, const char *member)
{
	if (json_get_str(from, member).n)
		jw_str(w, name, json_get_str(from, member));
}

/* What the kind of target needs beside the payload (deliver.h). */
static struct json *params(const struct json *t, const struct target_event *ev)
{
	const struct json *stream = json_get(t, "KinesisParameters"), *bus = json_get(t, "EventBridgeParameters"),
			  *key = target_path(ev->json, json_get_str(stream, "PartitionKeyPath")),
			  *ecs = json_get(t, "EcsParameters");
	auto_buf b = {0}, text = {0};
	struct jw w = jw_object(&b);

	put_string(&w, "MessageGroupId", json_get(t, "SqsParameters"), "MessageGroupId");
	put_string(&w, "PartitionKey", stream, "PartitionKey");
	put_json(&text, key);
	if (key)
		jw_str(&w, "PartitionKey", json_type(key) == JSON_STRING ? json_str(key) : buf_str(&text));
	put_string(&w, "DetailType", bus, "DetailType");
	put_string(&w, "Source", bus, "Source");
	buf_clear(&text);
	put_json(&text, ecs);
	if (ecs)
		jw_raw(&w, "EcsParameters", buf_str(&text));
	jw_end(&w, '}');
	return json_parse(buf_str(&b), NULL);
}

int target_add_payload(struct deliver *d, struct store_tx *tx, const struct json *target, struct str payload,
		       const struct target_event *ev, struct err *e)
{
	const struct json *retry = json_get(target, "RetryPolicy");
	auto_json more = params(target, ev);
	struct delivery what = {
		.target = json_get_str(target, "Arn").p,
		.payload = payload,
		.params = more,
		.dead_letter = json_get_str(json_get(target, "DeadLetterConfig"), "Arn").p,
		.retries = (int)json_get_int(retry, "MaximumRetryAttempts", -1),
		.max_age_us = json_get_int(retry, "MaximumEventAgeInSeconds", 0) * 1000000,
		.trace_id = ev->trace_id,
	};

	if (str_starts(str_of(what.target), "arn:aws:lambda:") && json_check(payload, e) < 0)
		return err_wrap(e, "what a function is given must be JSON");
	return deliver_add(d, tx, &what, e);
}

int target_add(struct deliver *d, struct store_tx *tx, const struct json *target, const struct target_event *ev,
	       struct err *e)
{
	const struct json *input = json_get(target, "Input"), *path = json_get(target, "InputPath"),
			  *tr = json_get(target, "InputTransformer");
	struct variables v = {ev, json_get(tr, "InputPathsMap")};
	auto_buf made = {0};

	if (path) {
		const struct json *part = target_path(ev->json, json_str(path));

		put_json(&made, part);
		if (!part)
			buf_adds(&made, "null");
	} else if (tr) {
		target_fill(json_get_str(tr, "InputTemplate"), variable, &v, &made);
	}
	return target_add_payload(d, tx, target,
				  input	       ? json_str(input)
				  : path || tr ? buf_str(&made)
					       : ev->text,
				  ev, e);
}
