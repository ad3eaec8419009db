/* SPDX-License-Identifier: Apache-2.0 */
#include "app/value.h"
#include "base/mem.h"
#include "json/read.h"

static const char *kind_name(const struct node *v)
{
	return v->kind == NODE_MAP ? "keys with values" : "a list";
}

/* Plain nothing, ~ and null are YAML's "no value". */
static bool is_null(const struct node *v)
{
	return v->plain && (!*v->text || !strcmp(v->text, "~") || !strcmp(v->text, "null"));
}

static int need_text(const struct tree_opts *o, const struct node *v, struct err *e)
{
	if (v->kind != NODE_SCALAR)
		return tree_error(o, v->line, v->col, e, "%s%s%s takes one value, not %s", v->key ? "\"" : "",
				  v->key ? v->key : "an item", v->key ? "\"" : "", kind_name(v));
	if (is_null(v))
		return tree_error(o, v->key ? v->key_line : v->line, v->key ? v->key_col : v->col, e,
				  "%s%s%s has no value", v->key ? "\"" : "", v->key ? v->key : "an item",
				  v->key ? "\"" : "");
	return 0;
}

int value_text(const struct tree_opts *o, const struct node *v, size_t max, char **ret, struct err *e)
{
	if (need_text(o, v, e) < 0)
		return -1;
	if (!*v->text)
		return tree_error(o, v->line, v->col, e, "\"%s\" is empty", v->key ? v->key : "an item");
	if (strlen(v->text) > max)
		return tree_error(o, v->line, v->col, e, "\"%s\" has more than %zu bytes", v->key ? v->key : "an item",
				  max);
	*ret = xstrdup(v->text);
	return 0;
}

/* Digits, then a unit. -1: not that. */
static int number_unit(const char *text, int64_t *ret, const char **ret_unit)
{
	size_t d = strspn(text, "0123456789");

	*ret_unit = text + d;
	return str_to_i64((struct str){text, d}, 0, 1000000000, ret);
}

int value_mb(const struct tree_opts *o, const struct node *v, const char *what, int min, int max, int *ret,
	     struct err *e)
{
	static const struct {
		const char *unit;
		int64_t mb;
	} units[] = {{"", 1}, {"Mi", 1}, {"MB", 1}, {"M", 1}, {"Gi", 1024}, {"GB", 1024}, {"G", 1024}};
	const char *unit;
	int64_t n, mb = 0;

	if (need_text(o, v, e) < 0)
		return -1;
	if (number_unit(v->text, &n, &unit) == 0)
		for (size_t i = 0; i < ARRAY_SIZE(units); i++)
			if (!strcmp(unit, units[i].unit))
				mb = units[i].mb;
	if (!mb)
		return tree_error(o, v->line, v->col, e,
				  "\"%.40s\" is no size: %s is megabytes, like 256, or 256Mi, or 1Gi", v->text, what);
	if (n * mb < min || n * mb > max)
		return tree_error(o, v->line, v->col, e, "%s is from %d to %d MB, not %lld", what, min, max,
				  (long long)(n * mb));
	*ret = (int)(n * mb);
	return 0;
}

int value_count(const struct tree_opts *o, const struct node *v, const char *what, int min, int max, int *ret,
		struct err *e)
{
	int64_t n;

	if (need_text(o, v, e) < 0)
		return -1;
	if (str_to_i64(str_of(v->text), min, max, &n) < 0)
		return tree_error(o, v->line, v->col, e, "%s is a whole number from %d to %d, not %.40s", what, min,
				  max, v->text);
	*ret = (int)n;
	return 0;
}

int value_seconds(const struct tree_opts *o, const struct node *v, const char *what, int min, int max, int *ret,
		  struct err *e)
{
	const char *p = v->text, *unit;
	int64_t sum = 0, n;

	if (need_text(o, v, e) < 0)
		return -1;
	for (p = v->text; *p;) {
		if (number_unit(p, &n, &unit) < 0)
			goto bad;
		p = unit + (*unit ? 1 : 0);
		if (*unit == 'm' && *p != 's')
			n *= 60;
		else if (*unit == 'h')
			n *= 3600;
		else if (*unit == 'd')
			n *= 86400;
		else if (*unit && *unit != 's')
			goto bad;
		sum += n;
		if (sum > 1000000000)
			break;
	}
	if (!*v->text)
		goto bad;
	if (sum < min || sum > max)
		return tree_error(o, v->line, v->col, e, "%s is from %ds to %ds, not %.40s", what, min, max, v->text);
	*ret = (int)sum;
	return 0;
bad:
	return tree_error(o, v->line, v->col, e,
			  "\"%.40s\" is no length of time: %s is whole seconds, like 30, or 30s, or 5m", v->text, what);
}

int value_cpu(const struct tree_opts *o, const struct node *v, uint32_t *ret_quota_us, struct err *e)
{
	char *end = NULL;
	double n;

	if (need_text(o, v, e) < 0)
		return -1;
	n = strspn(v->text, "0123456789.") ? strtod(v->text, &end) : -1;
	if (end && !strcmp(end, "m"))
		n /= 1000;
	else if (!end || *end)
		n = -1;
	/* Below 1 ms in 100 the kernel refuses a quota. */
	if (!(n >= 0.01 && n <= 64))
		return tree_error(o, v->line, v->col, e,
				  "\"%.40s\": cpu is a number of CPUs from 0.01 to 64, like 0.5 or 500m", v->text);
	*ret_quota_us = (uint32_t)(n * 100000 + 0.5);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct pair *)a)->name, ((const struct pair *)b)->name);
}

int value_pairs(const struct tree_opts *o, const struct node *v, const char *what, struct pairs *ret, struct err *e)
{
	if (v->kind != NODE_MAP)
		return tree_error(o, v->line, v->col, e, "%s is names with values, like NAME: value", what);
	for (size_t i = 0; i < v->n; i++) {
		const struct node *c = &v->child[i];

		if (c->kind == NODE_SCALAR && is_null(c))
			return tree_error(o, c->key_line, c->key_col, e,
					  "\"%s\" has no value; write \"\" for an empty one", c->key);
		if (need_text(o, c, e) < 0)
			return -1;
		pairs_add(ret, str_of(c->key), str_of(c->text));
	}
	if (ret->n)
		qsort(ret->p, ret->n, sizeof(*ret->p), by_name);
	return 0;
}

int value_bool(const struct tree_opts *o, const struct node *v, bool *ret, struct err *e)
{
	bool yes = v->kind == NODE_SCALAR && !strcmp(v->text, "true");

	if (!yes && (v->kind != NODE_SCALAR || strcmp(v->text, "false") != 0))
		return tree_error(o, v->line, v->col, e, "this is true or false");
	*ret = yes;
	return 0;
}

int value_json(const struct tree_opts *o, const struct node *v, const char *member, struct jw *w, struct err *e)
{
	bool list = v->kind == NODE_LIST;

	if (v->kind == NODE_SCALAR) {
		if (v->plain && json_check(str_of(v->text), NULL) == 0 && (!v->key || !is_null(v)))
			jw_raw(w, member, str_of(v->text));
		else if (!*v->text && !v->plain)
			jw_strc(w, member, "");
		else if (need_text(o, v, e) < 0)
			return -1;
		else
			jw_strc(w, member, v->text);
		return 0;
	}
	(list ? jw_arr : jw_obj)(w, member);
	for (size_t i = 0; i < v->n; i++)
		if (value_json(o, &v->child[i], list ? NULL : v->child[i].key, w, e) < 0)
			return -1;
	jw_end(w, list ? ']' : '}');
	return 0;
}
