/* SPDX-License-Identifier: Apache-2.0 */
#include "app/field.h"
#include <stdio.h>
#include "app/value.h"
#include "base/mem.h"

int field_fail(const struct field_reader *r, const struct node *v, const char *what)
{
	return tree_error(r->o, v->line, v->col, r->e, "%s", what);
}

/* ---- names ---- */

static const struct {
	const char *service, *prefix;
} arns[KIND_N] = {
	[RESOURCE_BUCKET] = {"s3", ""},
	[RESOURCE_QUEUE] = {"sqs", ""},
	[RESOURCE_STREAM] = {"kinesis", "stream/"},
	[RESOURCE_TOPIC] = {"sns", ""},
	[RESOURCE_BUS] = {"events", "event-bus/"},
	[KIND_FUNCTION] = {"lambda", "function:"},
	[KIND_TASK] = {"ecs", "task-definition/"},
};
const char *const resource_word[KIND_N] = {
	[RESOURCE_BUCKET] = "bucket", [RESOURCE_QUEUE] = "queue", [RESOURCE_STREAM] = "stream",
	[RESOURCE_TOPIC] = "topic",   [RESOURCE_BUS] = "bus",	  [KIND_FUNCTION] = "function",
	[KIND_TASK] = "task",
};

char *field_arn(const struct field_reader *r, int kind, const char *name)
{
	return xasprintf("arn:aws:%s:%s:%s%s", arns[kind].service, kind == RESOURCE_BUCKET ? ":" : r->o->where,
			 arns[kind].prefix, name);
}

int resource_of_arn(struct str arn, struct str *ret_name)
{
	struct str part[5];

	for (size_t i = 0; i < ARRAY_SIZE(part); i++)
		if (!str_cut(arn, ':', &part[i], &arn))
			return -1;
	for (int k = 0; k < KIND_N; k++)
		if (str_eqc(part[2], arns[k].service) && str_starts(arn, arns[k].prefix)) {
			size_t n = strlen(arns[k].prefix);

			*ret_name = (struct str){arn.p + n, arn.n - n};
			return k;
		}
	return -1;
}

/* "queue failed"; only where results may go. */
static char *arn_of_target(const struct field_reader *r, const struct node *v)
{
	static const char how[] = "this is where it goes, like queue failed; also topic, function or bus and a name";
	static const int may[] = {RESOURCE_QUEUE, RESOURCE_TOPIC, RESOURCE_BUS, KIND_FUNCTION};
	auto_free char *text = NULL;
	struct str word, name;

	if (value_text(r->o, v, 200, &text, r->e) < 0)
		return NULL;
	if (str_cut(str_of(text), ' ', &word, &name) && str_name_ok(name, 80, "-_."))
		for (size_t i = 0; i < ARRAY_SIZE(may); i++)
			if (str_eqc(word, resource_word[may[i]]))
				return field_arn(r, may[i], name.p);
	field_fail(r, v, how);
	return NULL;
}

/* ---- values ---- */

static void put_number(const struct field_reader *r, const struct field *f, int n, struct jw *w)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", n);
	if (n == FIELD_NOTHING)
		jw_null(w, f->member);
	else if (r->quote)
		jw_strc(w, f->member, text);
	else
		jw_int(w, f->member, n);
}

int field_count(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	int n = f->dflt;

	if (v && value_count(r->o, v, f->key, f->min, f->max, &n, r->e) < 0)
		return -1;
	put_number(r, f, n, w);
	return 0;
}

int field_seconds(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	int n = f->dflt;

	if (v && value_seconds(r->o, v, f->key, f->min, f->max, &n, r->e) < 0)
		return -1;
	put_number(r, f, n, w);
	return 0;
}

int field_hours(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	int n = f->dflt;

	if (v && value_seconds(r->o, v, f->key, f->min, f->max, &n, r->e) < 0)
		return -1;
	put_number(r, f, (n + 3600 - 1) / 3600, w);
	return 0;
}

int field_bool(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	bool yes = false;

	if (v && value_bool(r->o, v, &yes, r->e) < 0)
		return -1;
	if (r->quote)
		jw_strc(w, f->member, yes ? "true" : "false");
	else
		jw_bool(w, f->member, yes);
	return 0;
}

int field_text(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	auto_free char *text = NULL;

	if (v && value_text(r->o, v, 1024, &text, r->e) < 0)
		return -1;
	jw_strc(w, f->member, text);
	return 0;
}

int field_words(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	const struct field item = {.key = f->key};

	if (v && v->kind != NODE_LIST)
		return tree_error(r->o, v->line, v->col, r->e, "%s is a list", v->key);
	jw_arr(w, f->member);
	for (size_t i = 0; v && i < v->n; i++)
		if (field_text(r, &item, &v->child[i], w) < 0)
			return -1;
	jw_end(w, ']');
	return 0;
}

static int json_of(const struct field_reader *r, const struct node *v, struct buf *out)
{
	struct jw w;

	jw_init(&w, out);
	return value_json(r->o, v, NULL, &w, r->e);
}

int field_json(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	auto_buf text = {0};

	if (!v)
		jw_null(w, f->member);
	else if (json_of(r, v, &text) < 0)
		return -1;
	else
		jw_str(w, f->member, buf_str(&text));
	return 0;
}

int field_pattern(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	return !v || v->kind == NODE_MAP
		       ? field_json(r, f, v, w)
		       : field_fail(r, v, "a pattern is members with lists of what they may be, like source: [shop]");
}

int field_filters(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	const struct field item = {.key = f->key, .member = "Pattern"};

	if (v && v->kind != NODE_LIST)
		return field_fail(r, v, "filter is a list of patterns, like [{body: {kind: [order]}}]");
	jw_obj(w, f->member);
	jw_arr(w, "Filters");
	for (size_t i = 0; v && i < v->n; i++) {
		jw_obj(w, NULL);
		if (field_pattern(r, &item, &v->child[i], w) < 0)
			return -1;
		jw_end(w, '}');
	}
	jw_end(w, ']');
	jw_end(w, '}');
	return 0;
}

int field_partial(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	bool yes = false;

	if (v && value_bool(r->o, v, &yes, r->e) < 0)
		return -1;
	jw_arr(w, f->member);
	if (yes)
		jw_strc(w, NULL, "ReportBatchItemFailures");
	jw_end(w, ']');
	return 0;
}

int field_scaling(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	const struct field inner = {f->key, "MaximumConcurrency", field_count, f->min, f->max, FIELD_NOTHING};

	jw_obj(w, f->member);
	if (field_count(r, &inner, v, w) < 0)
		return -1;
	jw_end(w, '}');
	return 0;
}

int field_from(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	auto_free char *text = v ? NULL : xstrdup("latest");

	if (v && value_text(r->o, v, 16, &text, r->e) < 0)
		return -1;
	if (strcmp(text, "latest") && strcmp(text, "start"))
		return field_fail(r, v, "from is latest (what comes after now) or start (all that is there)");
	jw_strc(w, f->member, *text == 'l' ? "LATEST" : "TRIM_HORIZON");
	return 0;
}

/* on_failure, and on_success beside it. */
int field_destinations(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	static const char *const keys[][2] = {{"on_success", "OnSuccess"}, {"on_failure", "OnFailure"}};

	jw_obj(w, f->member);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const struct node *to = tree_get(r->map, keys[i][0]);
		auto_free char *arn = to ? arn_of_target(r, to) : NULL;

		if (to && !arn)
			return -1;
		jw_obj(w, keys[i][1]);
		jw_strc(w, "Destination", arn);
		jw_end(w, '}');
	}
	jw_end(w, '}');
	return 0;
}

/* dead_letter, and max_receives beside it. */
int field_redrive(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	const struct node *max = tree_get(r->map, "max_receives");
	auto_free char *name = NULL, *arn = NULL;
	auto_buf text = {0};
	struct jw inner;
	int n = f->dflt;

	if (max && !v)
		return field_fail(
			r, max, "max_receives says after how many a message goes to the queue that dead_letter names");
	if ((v && value_text(r->o, v, 80, &name, r->e) < 0) ||
	    (max && value_count(r->o, max, "max_receives", f->min, f->max, &n, r->e) < 0))
		return -1;
	if (!v) {
		jw_null(w, f->member);
		return 0;
	}
	arn = field_arn(r, RESOURCE_QUEUE, name);
	inner = jw_object(&text);
	jw_strc(&inner, "deadLetterTargetArn", arn);
	jw_int(&inner, "maxReceiveCount", n);
	jw_end(&inner, '}');
	jw_str(w, f->member, buf_str(&text));
	return 0;
}

int field_auth(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w)
{
	auto_free char *text = v ? NULL : xstrdup("iam");

	if (v && value_text(r->o, v, 16, &text, r->e) < 0)
		return -1;
	if (strcmp(text, "none") && strcmp(text, "iam"))
		return field_fail(r, v, "auth is iam (requests are signed) or none (everybody may)");
	jw_strc(w, f->member, *text == 'n' ? "NONE" : "AWS_IAM");
	return 0;
}

/* ---- tables ---- */

const char *field_key(const void *fields, size_t i)
{
	return ((const struct field *)fields)[i].key;
}

int field_check_keys(const struct field_reader *r, const struct node *map, const struct field *fields)
{
	if (map->kind != NODE_MAP)
		return field_fail(r, map, "here stand keys with values; {} when nothing is to be said");
	for (size_t i = 0; i < map->n; i++) {
		const struct field *f = fields;

		while (f->key && strcmp(f->key, map->child[i].key))
			f++;
		if (!f->key)
			return tree_unknown_key(r->o, &map->child[i], field_key, fields, r->e);
	}
	return 0;
}

int field_put_all(struct field_reader *r, const struct field *f, const struct node *map, struct jw *w)
{
	const struct node *outer = r->map;
	int ret = 0;

	for (r->map = map; !ret && f->key; f++)
		if (f->put)
			ret = f->put(r, f, tree_get(map, f->key), w);
	r->map = outer;
	return ret;
}
