/* SPDX-License-Identifier: Apache-2.0 */
#include "api/query.h"
#include <stdio.h>
#include "api/api_int.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "json/read.h"
#include "json/write.h"

/* How a member of JSON is written: in elements of that name without one around them ("*" stands for the operation), else
 * in "member" or "entry" elements; of a map what its keys and values are in; of a time nothing else. */
struct query_name {
	const char *member, *flat, *key, *value, *operation; /* operation: in that one only, or NULL */
	bool time;
};
struct query_service {
	const char *name, *xmlns;
	const struct query_name *names;
};

#define LIST(m, f)                                                                                                     \
	{                                                                                                              \
		m, f, NULL, NULL, NULL, false                                                                          \
	}
#define MAP(m, f, k, v)                                                                                                \
	{                                                                                                              \
		m, f, k, v, NULL, false                                                                                \
	}
#define TIME(m)                                                                                                        \
	{                                                                                                              \
		m, NULL, NULL, NULL, NULL, true                                                                        \
	}
static const struct query_name sqs_names[] = {
	LIST("Entries", "*RequestEntry"),
	LIST("Successful", "*ResultEntry"),
	LIST("Failed", "BatchResultErrorEntry"),
	LIST("Messages", "Message"),
	LIST("Results", "*ResultEntry"),
	LIST("QueueUrls", "QueueUrl"),
	LIST("queueUrls", "QueueUrl"),
	LIST("AttributeNames", "AttributeName"),
	LIST("MessageAttributeNames", "MessageAttributeName"),
	LIST("MessageSystemAttributeNames", "MessageSystemAttributeName"),
	LIST("AWSAccountIds", "AWSAccountId"),
	LIST("Actions", "ActionName"),
	LIST("TagKeys", "TagKey"),
	MAP("Attributes", "Attribute", "Name", "Value"),
	MAP("MessageAttributes", "MessageAttribute", "Name", "Value"),
	MAP("MessageSystemAttributes", "MessageSystemAttribute", "Name", "Value"),
	{"tags", "Tag", "Key", "Value", "CreateQueue", false},
	MAP("Tags", "Tag", "Key", "Value"),
	{0},
};
static const struct query_name sns_names[] = {
	MAP("Attributes", NULL, "key", "value"),
	MAP("MessageAttributes", NULL, "Name", "Value"),
	{0},
};
static const struct query_name cloudwatch_names[] = {
	TIME("Timestamp"),
	TIME("Timestamps"),
	MAP("ExtendedStatistics", NULL, "key", "value"),
	{0},
};
static const struct query_service services[] = {
	{"sts", "https://sts.amazonaws.com/doc/2011-06-15/", (const struct query_name[]){{0}}},
	{"sqs", "http://queue.amazonaws.com/doc/2012-11-05/", sqs_names},
	{"sns", "http://sns.amazonaws.com/doc/2010-03-31/", sns_names},
	{"monitoring", "http://monitoring.amazonaws.com/doc/2010-08-01/", cloudwatch_names},
};

const struct query_service *query_service(struct str name, struct str version)
{
	for (size_t i = 0; i < ARRAY_SIZE(services); i++)
		if (name.n ? str_eqc(name, services[i].name)
			   : version.n == 10 && memmem(services[i].xmlns, strlen(services[i].xmlns), version.p, 10))
			return &services[i];
	return NULL;
}

const char *query_name(const struct query_service *q)
{
	return q->name;
}

const char *query_namespace(const struct query_service *q)
{
	return (q ? q : &services[0])->xmlns;
}

/* Whether a member is that one: by its name of JSON, or by the one that its elements have. */
static bool is(const struct query_name *n, const char *operation, struct str word, bool flat)
{
	const char *name = flat ? n->flat : n->member;

	if (!name || (n->operation && strcmp(n->operation, operation) != 0))
		return false;
	if (*name != '*')
		return str_eqc(word, name);
	return str_starts(word, operation) &&
	       str_eqc((struct str){word.p + strlen(operation), word.n - strlen(operation)}, name + 1);
}

static const struct query_name *find(const struct query_service *q, const char *operation, struct str word, bool flat)
{
	for (const struct query_name *n = q->names; n->member; n++)
		if (is(n, operation, word, flat))
			return n;
	return NULL;
}

/* --- in: sorted by name, what belongs together stands together, and a node of the tree is a run of parameters --- */

struct param {
	struct str path, value;
};
struct run {
	const struct param *p;
	size_t n, at; /* their paths are the same before that byte */
};
struct reader {
	const struct query_service *q;
	const char *operation;
	struct jw w;
	struct api_err *e;
};

static struct str segment(const struct param *p, size_t at)
{
	struct str s = {p->path.p + at, p->path.n - at}, rest;

	str_cut(s, '.', &s, &rest);
	return s;
}

static bool digits(struct str s)
{
	size_t i = 0;

	while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
		i++;
	return s.n && i == s.n;
}

/* Part by part, numbers by their size. */
static int by_path(const void *a, const void *b)
{
	const struct param *x = a, *y = b;

	for (size_t at = 0; at <= x->path.n && at <= y->path.n;) {
		struct str s = segment(x, at), t = segment(y, at);
		int c;

		if (s.n != t.n && digits(s) && digits(t))
			return s.n < t.n ? -1 : 1;
		c = memcmp(s.p, t.p, s.n < t.n ? s.n : t.n);
		if (c || s.n != t.n)
			return c ? c : s.n < t.n ? -1 : 1;
		at += s.n + 1;
	}
	return (x->path.n > y->path.n) - (x->path.n < y->path.n);
}

/* Takes the first of the runs that differ in their next part; false: nothing is left. */
static bool next_run(struct run *rest, struct str *ret_name, struct run *ret)
{
	if (!rest->n)
		return false;
	*ret_name = segment(rest->p, rest->at);
	*ret = (struct run){rest->p, 1, rest->at + ret_name->n + 1};
	while (ret->n < rest->n && str_eq(segment(rest->p + ret->n, rest->at), *ret_name))
		ret->n++;
	rest->p += ret->n;
	rest->n -= ret->n;
	return true;
}

static int refuse(struct reader *k, const struct run *r, const char *what)
{
	struct str path = r->p->path;

	return api_fail(k->e, API_SERIALIZATION, "The parameter %.*s %s.", (int)(path.n < 200 ? path.n : 200), path.p,
			what);
}

static int node(struct reader *k, const char *key, const struct query_name *name, struct run r);

static int one_of(struct reader *k, const struct query_name *map, struct run r)
{
	char key[300] = "";
	struct str word;
	struct run child, value = {0}, rest = r;

	if (!map)
		return node(k, NULL, NULL, r);
	if (r.p->path.n < r.at)
		return refuse(k, &r, "has a value where a key and a value belong");
	while (next_run(&rest, &word, &child))
		if (!str_eqc(word, map->key))
			value = str_eqc(word, map->value) ? child : value;
		else if (child.p->path.n >= child.at || child.p->value.n >= sizeof(key))
			return refuse(k, &child, "is no key, or a longer one than there are");
		else
			snprintf(key, sizeof(key), STR_FMT, STR_ARG(child.p->value));
	if (!*key || !value.n)
		return refuse(k, &r, "belongs to an entry without a key or without a value");
	return node(k, key, NULL, value);
}

/* The elements of a list or map: r's next parts are their indexes. */
static int many(struct reader *k, const char *key, const struct query_name *map, struct run r)
{
	struct str word;
	struct run child;

	if (map)
		jw_obj(&k->w, key);
	else
		jw_arr(&k->w, key);
	while (next_run(&r, &word, &child))
		if (!digits(word) || word.n > 9 || *word.p == '0')
			return refuse(k, &child, "has no number from 1 on where one belongs");
		else if (one_of(k, map, child) < 0)
			return -1;
	jw_end(&k->w, map ? '}' : ']');
	return 0;
}

static int members(struct reader *k, struct run r)
{
	struct str word;
	struct run child;

	while (next_run(&r, &word, &child)) {
		bool alone = child.p->path.n < child.at; /* QueueUrl is one, QueueUrl.1 one of QueueUrls */
		const struct query_name *flat = alone ? NULL : find(k->q, k->operation, word, true);
		const struct query_name *name = flat ? flat : find(k->q, k->operation, word, false);
		char key[64];

		if (!word.n || word.n >= sizeof(key)) /* nothing has such a name */
			continue;
		snprintf(key, sizeof(key), STR_FMT, STR_ARG(word));
		if (node(k, flat ? flat->member : key, name, child) < 0)
			return -1;
	}
	return 0;
}

/* name: what the service's table says of it, or NULL. */
static int node(struct reader *k, const char *key, const struct query_name *name, struct run r)
{
	struct str word;

	if (r.p->path.n < r.at) {
		if (r.n > 1)
			return refuse(k, &r, "is there twice, or has a value and members");
		jw_str(&k->w, key, r.p->value);
		return 0;
	}
	word = segment(r.p, r.at);
	if (name && name->flat && digits(word))
		return many(k, key, name->key ? name : NULL, r);
	if (str_eqc(word, "member") || str_eqc(word, "entry")) {
		static const struct query_name plain = {.key = "key", .value = "value"};
		struct run all = r, child;
		bool map = *word.p == 'e';

		next_run(&all, &word, &child);
		if (all.n || child.p->path.n < child.at)
			return refuse(k, &r,
				      "is an element of a list, and has no number or stands beside what is none");
		return many(k, key, !map ? NULL : name && name->key ? name : &plain, child);
	}
	jw_obj(&k->w, key);
	if (members(k, r) < 0)
		return -1;
	jw_end(&k->w, '}');
	return 0;
}

static size_t count(struct str s, char c)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += s.p[i] == c;
	return n;
}

/* text has room for all of it. */
static int decode(struct buf *text, struct str in, struct str *ret, struct api_err *e)
{
	size_t from = text->n;

	if (dec_percent(text, in, true) < 0)
		return api_fail(e, API_SERIALIZATION, "The request has a percent escape that is not one.");
	*ret = (struct str){text->p + from, text->n - from};
	return 0;
}

static int params(struct str in, struct buf *text, struct param *p, size_t *n, struct api_err *e)
{
	struct str pair;

	while (str_next(&in, '&', &pair)) {
		struct str name = pair, value = STR_NULL;

		str_cut(pair, '=', &name, &value);
		if (!name.n)
			continue;
		if (*n == QUERY_PARAMS_MAX)
			return api_fail(e, API_SERIALIZATION, "The request has more than %d parameters.",
					QUERY_PARAMS_MAX);
		if (decode(text, name, &p[*n].path, e) < 0 || decode(text, value, &p[*n].value, e) < 0)
			return -1;
		if (count(p[*n].path, '.') >= QUERY_DEPTH_MAX)
			return api_fail(e, API_SERIALIZATION, "The name of a parameter has more than %d parts.",
					QUERY_DEPTH_MAX);
		++*n;
	}
	return 0;
}

int query_read(const struct query_service *q, const char *operation, struct str query, struct str form,
	       struct buf *ret_json, struct api_err *e)
{
	struct reader k = {q, operation, .e = e};
	size_t n = 0, most = count(query, '&') + count(form, '&') + 2;
	auto_free struct param *p = xcalloc(most < QUERY_PARAMS_MAX ? most : QUERY_PARAMS_MAX, sizeof(*p));
	auto_buf text = {0};

	buf_reserve(&text, query.n + form.n + 1); /* what is decoded is no longer: it stays where it is */
	if (params(query, &text, p, &n, e) < 0 || params(form, &text, p, &n, e) < 0)
		return -1;
	qsort(p, n, sizeof(*p), by_path);
	jw_init(&k.w, ret_json);
	jw_obj(&k.w, NULL);
	if (members(&k, (struct run){p, n, 0}) < 0)
		return -1;
	jw_end(&k.w, '}');
	return 0;
}

/* --- out --- */

struct writer {
	const struct query_service *q;
	const char *operation;
	struct buf *out;
	const struct query_name *map; /* whose members are written, or NULL */
};

static void open_tag(struct writer *w, const char *tag)
{
	buf_addf(w->out, "<%s%s>", *tag == '*' ? w->operation : "", tag + (*tag == '*'));
}

static void close_tag(struct writer *w, const char *tag)
{
	buf_addf(w->out, "</%s%s>", *tag == '*' ? w->operation : "", tag + (*tag == '*'));
}

static void scalar(struct buf *out, const struct json *j, bool time)
{
	struct jw v;
	char iso[32];

	jw_init(&v, out);
	if (time)
		buf_adds(out, clock_fmt_iso((int64_t)(json_real(j, 0) * 1e6), iso));
	else if (json_type(j) == JSON_STRING)
		api_xml_text(out, json_str(j));
	else if (json_type(j) == JSON_INT)
		jw_int(&v, NULL, json_int(j, 0));
	else if (json_type(j) == JSON_REAL)
		jw_real(&v, NULL, json_real(j, 0));
	else
		jw_bool(&v, NULL, json_bool(j, false));
}

static int put_member(void *arg, const char *key, const struct json *j);

static void content(struct writer *w, const struct json *j, bool time)
{
	struct writer inside = {w->q, w->operation, w->out, NULL};

	if (json_type(j) == JSON_OBJECT)
		json_each(j, put_member, &inside);
	else
		scalar(w->out, j, time);
}

static int put_entry(void *arg, const char *key, const struct json *j)
{
	struct writer *w = arg;
	const char *tag = w->map->flat ? w->map->flat : "entry";

	open_tag(w, tag);
	buf_addf(w->out, "<%s>", w->map->key);
	api_xml_text(w->out, str_of(key));
	buf_addf(w->out, "</%s><%s>", w->map->key, w->map->value);
	content(w, j, false);
	buf_addf(w->out, "</%s>", w->map->value);
	close_tag(w, tag);
	return 0;
}

static int put_member(void *arg, const char *key, const struct json *j)
{
	struct writer *w = arg;
	const struct query_name *name = find(w->q, w->operation, str_of(key), false);
	bool list = json_type(j) == JSON_ARRAY, map = json_type(j) == JSON_OBJECT && name && name->key;
	bool around = !name || !name->flat || !(list || map), time = name && name->time;
	struct writer entries = {w->q, w->operation, w->out, name};

	if (json_type(j) == JSON_NULL)
		return 0;
	if (around)
		open_tag(w, key);
	for (size_t i = 0; list && i < json_len(j); i++) {
		open_tag(w, around ? "member" : name->flat);
		content(w, json_at(j, i), time);
		close_tag(w, around ? "member" : name->flat);
	}
	if (map)
		json_each(j, put_entry, &entries);
	else if (!list)
		content(w, j, time);
	if (around)
		close_tag(w, key);
	return 0;
}

void query_write(const struct query_service *q, const char *operation, const char *request_id, struct str json,
		 struct buf *out)
{
	struct writer w = {q, operation, out, NULL};
	auto_json j = json.n ? json_parse(json, NULL) : NULL;

	buf_addf(out, "<?xml version=\"1.0\"?>\n<%sResponse xmlns=\"%s\"><%sResult>", operation, q->xmlns, operation);
	json_each(j, put_member, &w);
	buf_addf(out, "</%sResult><ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata></%sResponse>",
		 operation, request_id, operation);
}
