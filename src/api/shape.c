/* SPDX-License-Identifier: Apache-2.0 */
#include "api/shape.h"
#include <stdio.h>
#include <math.h>
#include "base/clock.h"

struct walk {
	const char *at; /* in the shape */
	struct jw *w;
	struct api_err *e;
	bool text; /* what is no string may come as one */
	char path[200];
};

static int value(struct walk *k, const char *key, const struct json *j);

static int wrong(struct walk *k, const char *must)
{
	return api_fail(k->e, API_INVALID_MEMBER, "Invalid type for parameter %s: it must be %s.",
			*k->path ? k->path : "of the request", must);
}

static bool empty(const struct json *j)
{
	switch (json_type(j)) {
	case JSON_STRING:
		return !json_str(j).n;
	case JSON_INT:
	case JSON_REAL:
		return json_real(j, 0) == 0;
	case JSON_BOOL:
		return !json_bool(j, false);
	case JSON_ARRAY:
	case JSON_OBJECT:
		return !json_len(j);
	default:
		return true;
	}
}

static int member(struct walk *k, const struct json *obj)
{
	size_t n = strcspn(k->at, "!=-^:"), path_n = strlen(k->path);
	char name[64], mark;
	const char *dflt = NULL;
	const struct json *j;
	int r;

	snprintf(name, sizeof(name), "%.*s", (int)n, k->at);
	j = obj ? json_get(obj, name) : NULL;
	if (json_type(j) == JSON_NULL)
		j = NULL;
	snprintf(k->path + path_n, sizeof(k->path) - path_n, "%s%s", path_n ? "." : "", name);
	k->at += n;
	mark = *k->at;
	if (mark == '=')
		dflt = k->at + 1;
	k->at = strchr(k->at, ':') + 1;
	if (obj && mark == '!' && (!j || (empty(j) && json_type(j) != JSON_INT)))
		return api_fail(k->e, API_ECS_CLIENT, "%s should not be null or empty.", k->path);
	if ((mark == '-' || mark == '^') && !empty(j))
		return api_fail(
			k->e, API_ECS_CLIENT,
			mark == '-' ? "%s is not supported by this Tandem."
				    : "%s is for the owner of the machine to say: it can be set in tandem.yaml only.",
			k->path);
	if (obj && !j && dflt)
		jw_raw(k->w, name, (struct str){dflt, strcspn(dflt, ":")});
	r = value(k, name, j);
	k->path[path_n] = 0;
	return r;
}

static int object(struct walk *k, const char *key, const struct json *j)
{
	if (j)
		jw_obj(k->w, key);
	while (*k->at++ != '}' && k->at[-1]) /* "{" and "," before a member */
		if (*k->at != '}' && member(k, j) < 0)
			return -1;
	if (j)
		jw_end(k->w, '}');
	return 0;
}

struct each {
	struct walk *k;
	const char *type;
};

static int one(void *arg, const char *key, const struct json *j)
{
	struct each *a = arg;
	size_t n = strlen(a->k->path);
	int r;

	if (j && key)
		snprintf(a->k->path + n, sizeof(a->k->path) - n, ".%.60s", key);
	a->k->at = a->type;
	r = value(a->k, key, j);
	a->k->path[n] = 0;
	return r;
}

static int many(struct walk *k, const char *key, const struct json *j, bool list)
{
	struct each a = {k, k->at + 1};
	size_t n = strlen(k->path);

	if (j && list)
		jw_arr(k->w, key);
	else if (j)
		jw_obj(k->w, key);
	for (size_t i = 0; j && list && i < json_len(j); i++) {
		snprintf(k->path + n, sizeof(k->path) - n, "[%zu]", i);
		if (one(&a, NULL, json_at(j, i)) < 0)
			return -1;
	}
	k->path[n] = 0;
	if (j && !list && json_each(j, one, &a))
		return -1;
	if (j)
		jw_end(k->w, list ? ']' : '}');
	k->at = a.type; /* and past it, also when there was none */
	(void)value(k, NULL, NULL);
	k->at++;
	return 0;
}

static int text(struct walk *k, const char *key, struct str s, const char *choice, size_t choice_n)
{
	struct str all = {choice, choice_n}, c;
	bool found = !choice_n;

	while (!found && str_next(&all, '|', &c))
		found = str_eq(c, s);
	if (!found)
		return api_fail(k->e, API_INVALID_MEMBER, "%s is %.*s, and must be one of %.*s.", k->path,
				(int)(s.n < 80 ? s.n : 80), s.p, (int)choice_n, choice);
	jw_str(k->w, key, s);
	return 0;
}

static int number(struct walk *k, const char *key, int64_t v, const char *range, size_t range_n)
{
	char *end;
	long long lo = INT32_MIN, hi = INT32_MAX;

	if (range_n) {
		lo = strtoll(range, &end, 10);
		hi = strtoll(end + 2, NULL, 10);
	}
	if (v < lo || v > hi)
		return api_fail(k->e, API_INVALID_MEMBER, "%s is %lld, and must be from %lld to %lld.", k->path,
				(long long)v, lo, hi);
	jw_int(k->w, key, v);
	return 0;
}

/* Of a string what it stands for; that of no type that a shape knows: it stands for nothing. */
static enum json_type read_text(struct str s, char type, int64_t *ret_i, double *ret_d)
{
	char *end;

	if (type == 't' && clock_parse_iso(s, ret_i) == 0) {
		*ret_d = (double)*ret_i / 1e6;
		return JSON_REAL;
	}
	if (type == 'b' && (str_eqc(s, "true") || str_eqc(s, "false"))) {
		*ret_i = *s.p == 't';
		return JSON_BOOL;
	}
	if (type == 'b' || !s.n || s.n > 40 || !strchr("-.0123456789", *s.p))
		return JSON_NONE;
	if (type == 'i')
		return str_to_i64(s, INT64_MIN, INT64_MAX, ret_i) == 0 ? JSON_INT : JSON_NONE;
	*ret_d = strtod(s.p, &end);
	return end == s.p + s.n ? JSON_REAL : JSON_NONE;
}

static int scalar(struct walk *k, const char *key, const struct json *j)
{
	enum json_type is = json_type(j);
	int64_t i = json_int(j, 0);
	double d = json_real(j, 0);
	char type = *k->at++;
	const char *rule = k->at + 1;
	size_t n = *k->at == '(' ? strcspn(rule, ")") : 0;

	if (n)
		k->at += n + 2;
	if (!j)
		return 0;
	if (type == 's')
		return json_type(j) == JSON_STRING ? text(k, key, json_str(j), rule, n) : wrong(k, "a string");
	if (k->text && is == JSON_STRING)
		is = read_text(json_str(j), type, &i, &d);
	else if (is == JSON_BOOL)
		i = json_bool(j, false);
	if (type == 'i')
		return is == JSON_INT ? number(k, key, i, rule, n) : wrong(k, "an integer");
	if (type == 'b') {
		if (is != JSON_BOOL)
			return wrong(k, "a boolean");
		jw_bool(k->w, key, i);
		return 0;
	}
	if ((is != JSON_INT && is != JSON_REAL) || !isfinite(d) || (type == 't' && fabs(d) > 1e11))
		return wrong(k, type == 't' ? "a time" : "a number");
	jw_real(k->w, key, d);
	return 0;
}

/* Of j NULL nothing is written: only the shape is passed. */
static int value(struct walk *k, const char *key, const struct json *j)
{
	if (k->text && json_type(j) == JSON_STRING && !json_str(j).n && strchr("{[<", *k->at))
		j = NULL; /* how an empty list or map comes */
	switch (*k->at) {
	case '{':
		return j && json_type(j) != JSON_OBJECT ? wrong(k, "an object") : object(k, key, j);
	case '[':
		return j && json_type(j) != JSON_ARRAY ? wrong(k, "a list") : many(k, key, j, true);
	case '<':
		return j && json_type(j) != JSON_OBJECT ? wrong(k, "an object") : many(k, key, j, false);
	default:
		return scalar(k, key, j);
	}
}

static int copy(const char *shape, bool text, const struct json *j, struct buf *ret, struct api_err *e)
{
	struct jw w;
	struct walk k = {.at = shape, .w = &w, .e = e, .text = text};

	jw_init(&w, ret);
	return value(&k, NULL, j);
}

int shape_copy(const char *shape, const struct json *j, struct buf *ret, struct api_err *e)
{
	return copy(shape, false, j, ret, e);
}

int shape_copy_text(const char *shape, const struct json *j, struct buf *ret, struct api_err *e)
{
	return copy(shape, true, j, ret, e);
}
