/* SPDX-License-Identifier: Apache-2.0 */
#include "api/logs_filter.h"

#include "api/authz.h"
#include "base/mem.h"
#include "json/read.h"

enum part_kind { ALL, ANY, NONE }; /* words */
enum part_op { OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_N };
struct part {
	enum part_kind kind;
	struct str text; /* the word; the path behind "$"; in f->text */
	enum part_op op;
	struct str value;
	double number;
	bool is_number;
};
struct log_filter {
	char *text;
	struct part parts[FILTER_PARTS];
	unsigned n;
	bool json, any; /* any: joined by || */
};

void log_filter_free(struct log_filter *f)
{
	if (f)
		free(f->text);
	free(f);
}

static void log_filter_free_p(struct log_filter **f)
{
	log_filter_free(*f);
}

static void skip(struct str *s, size_t n)
{
	*s = (struct str){s->p + n, s->n - n};
	while (s->n && (*s->p == ' ' || *s->p == '\t'))
		*s = (struct str){s->p + 1, s->n - 1};
}

/* "in quotes", or up to one of stop; a backslash is part of it. */
static int word(struct str *s, const char *stop, struct str *ret, struct err *e)
{
	size_t n = 0;

	if (s->n && *s->p == '"') {
		const char *end = memchr(s->p + 1, '"', s->n - 1);

		if (!end)
			return err_set(e, ERR_INVALID, "a quote is not closed");
		*ret = (struct str){s->p + 1, (size_t)(end - s->p) - 1};
		skip(s, ret->n + 2);
		return 0;
	}
	while (n < s->n && !strchr(stop, s->p[n]))
		n++;
	*ret = (struct str){s->p, n};
	skip(s, n);
	return n ? 0 : err_set(e, ERR_INVALID, "something is missing before \"%.20s\"", s->n ? s->p : "the end");
}

static struct part *take_part(struct log_filter *f, struct err *e)
{
	if (f->n < FILTER_PARTS)
		return &f->parts[f->n++];
	err_set(e, ERR_INVALID, "it has more than %d terms", FILTER_PARTS);
	return NULL;
}

static int parse_words(struct log_filter *f, struct str s, struct err *e)
{
	while (s.n) {
		struct part *p = take_part(f, e);

		if (!p)
			return -1;
		p->kind = *s.p == '-' ? NONE : *s.p == '?' ? ANY : ALL;
		if (p->kind != ALL)
			s = (struct str){s.p + 1, s.n - 1};
		if (word(&s, " \t", &p->text, e) < 0)
			return -1;
	}
	return 0;
}

static int take_op(struct str *s, enum part_op *ret, struct err *e)
{
	static const char *const ops[OP_N] = {
		[OP_EQ] = "=", [OP_NE] = "!=", [OP_LE] = "<=", [OP_GE] = ">=", [OP_LT] = "<", [OP_GT] = ">"};
	static const enum part_op order[] = {OP_NE, OP_LE, OP_GE, OP_LT, OP_GT, OP_EQ};

	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		if (str_starts(*s, ops[order[i]])) {
			*ret = order[i];
			skip(s, strlen(ops[order[i]]));
			return 0;
		}
	return err_set(e, ERR_INVALID, "after a selector comes =, !=, <, <=, > or >=");
}

static int parse_comparison(struct log_filter *f, struct str *s, struct err *e)
{
	struct part *p = take_part(f, e);
	char *end;

	if (!p)
		return -1;
	if (!s->n || *s->p != '$')
		return err_set(e, ERR_INVALID, "a comparison begins with a selector like $.level (no parentheses)");
	s->p++, s->n--;
	if (word(s, " \t=!<>", &p->text, e) < 0 || take_op(s, &p->op, e) < 0)
		return -1;
	p->is_number = s->n && *s->p != '"';
	if (word(s, " \t&|}", &p->value, e) < 0)
		return -1;
	p->number = strtod(p->value.p, &end);
	p->is_number = p->is_number && end == p->value.p + p->value.n;
	if (p->op > OP_NE && !p->is_number)
		return err_set(e, ERR_INVALID, "<, <=, > and >= compare numbers");
	return 0;
}

static int parse_json(struct log_filter *f, struct str s, struct err *e)
{
	bool all = false;

	f->json = true;
	skip(&s, 1);
	for (;;) {
		if (parse_comparison(f, &s, e) < 0)
			return -1;
		if (str_eqc(s, "}"))
			return 0;
		if (!str_starts(s, "&&") && !str_starts(s, "||"))
			return err_set(e, ERR_INVALID, "comparisons are joined by && or ||, and } ends them");
		*(*s.p == '&' ? &all : &f->any) = true;
		if (all && f->any)
			return err_set(e, ERR_INVALID, "&& and || in one pattern are not supported");
		skip(&s, 2);
	}
}

int log_filter_parse(struct str pattern, struct log_filter **ret, struct err *e)
{
	auto_(log_filter_free_p) struct log_filter *f = xcalloc(1, sizeof(*f));
	struct str s;

	if (pattern.n > FILTER_BYTES)
		return err_set(e, ERR_INVALID, "it is longer than %d bytes", FILTER_BYTES);
	f->text = str_dup(pattern);
	s = str_trim(str_of(f->text));
	if (s.n && (*s.p == '[' || *s.p == '%'))
		return err_set(e, ERR_INVALID, "patterns of columns and regular expressions are not supported");
	if ((s.n && *s.p == '{' ? parse_json(f, s, e) : parse_words(f, s, e)) < 0)
		return -1;
	*ret = take_ptr(f);
	return 0;
}

/* Along .name and [0]; NULL: there is none. */
static const struct json *select_(const struct json *j, struct str path)
{
	while (j && path.n) {
		char name[FILTER_BYTES];
		size_t n = 1;
		int64_t i;

		while (n < path.n && path.p[n] != '.' && path.p[n] != '[')
			n++;
		if (*path.p == '[' && path.p[n - 1] == ']') {
			if (str_to_i64((struct str){path.p + 1, n - 2}, 0, INT32_MAX, &i) < 0)
				return NULL;
			j = json_type(j) == JSON_ARRAY ? json_at(j, (size_t)i) : NULL;
		} else {
			memcpy(name, path.p + 1, n - 1);
			name[n - 1] = 0;
			j = *path.p == '.' ? json_get(j, name) : NULL;
		}
		path = (struct str){path.p + n, path.n - n};
	}
	return j;
}

static bool compare(const struct part *p, const struct json *root)
{
	const struct json *j = select_(root, p->text);
	enum json_type type = json_type(j);
	double v = json_real(j, 0);
	struct str text = type == JSON_BOOL   ? json_bool(j, false) ? STR("true") : STR("false")
			    : type == JSON_NULL ? STR("null")
					      : json_str(j);
	bool number = p->is_number && (type == JSON_INT || type == JSON_REAL);
	bool same = number ? v == p->number : text.p && authz_match(p->value, text);

	switch (p->op) {
	case OP_EQ:
		return same;
	case OP_NE:
		return type != JSON_NONE && !same;
	case OP_LT:
		return number && v < p->number;
	case OP_LE:
		return number && v <= p->number;
	case OP_GT:
		return number && v > p->number;
	default:
		return number && v >= p->number;
	}
}

static bool match_json(const struct log_filter *f, struct str message)
{
	auto_json j = message.n && *message.p == '{' ? json_parse(message, NULL) : NULL;
	unsigned yes = 0;

	for (unsigned i = 0; j && i < f->n; i++)
		yes += compare(&f->parts[i], j);
	return f->any ? yes > 0 : yes == f->n;
}

bool log_filter_match(const struct log_filter *f, struct str message)
{
	bool any = false, wanted = false;

	if (f->json)
		return match_json(f, message);
	for (unsigned i = 0; i < f->n; i++) {
		const struct part *p = &f->parts[i];
		bool has = !p->text.n || (message.n && memmem(message.p, message.n, p->text.p, p->text.n));

		if (p->kind == ANY)
			any |= has, wanted = true;
		else if (has != (p->kind == ALL))
			return false;
	}
	return any || !wanted;
}
