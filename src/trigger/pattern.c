/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/pattern.h"
#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>
#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"

enum op { OP_EQUAL, OP_PREFIX, OP_SUFFIX, OP_WILDCARD, OP_NUMERIC, OP_CIDR, OP_EXISTS, OP_BUT };
struct test {
	enum op op;
	bool fold;		  /* letters of both cases are the same */
	bool no_lo, no_hi;	  /* NUMERIC: the limit itself is outside */
	const struct json *value; /* EQUAL, EXISTS */
	struct str text;	  /* PREFIX, SUFFIX, WILDCARD */
	double lo, hi;		  /* NUMERIC */
	uint8_t addr[16];	  /* CIDR */
	int family, bits;
	struct test *but; /* BUT: none of these */
	size_t n;
};
/* A member: a list of tests, an object (one sub), or $or (several). Paths begin at the top, so that what follows the
 * parent's place in it is the name relative to any object on the way: that is how dots in keys are met. */
struct member {
	char *path;
	size_t path_n;
	struct test *tests;
	struct pattern *subs;
	size_t n;
	bool may_lack; /* a test is exists: false */
};
struct pattern {
	struct member *members;
	size_t n;
	struct json *root; /* of the outermost: what tests point into */
};

/* --- parse --- */

struct parse {
	size_t parts;
	struct buf path;
	struct err *e;
};

static int invalid(struct parse *k, const char *what)
{
	return err_set(k->e, ERR_INVALID, "%s", what);
}

static bool number(const struct json *j)
{
	return json_type(j) == JSON_INT || json_type(j) == JSON_REAL;
}

static int count(struct parse *k)
{
	return ++k->parts > LIM_PATTERN_PARTS || k->path.n > LIM_PATTERN_PATH_BYTES
		       ? invalid(k, "Rule is too complex - try using fewer match values and fewer keys")
		       : 0;
}

static int parse_wildcard(struct parse *k, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\' && (++i == s.n || !strchr("*\\", s.p[i])))
			return err_set(k->e, ERR_INVALID, "Invalid escape character at pos %zu", i - 1);
		if (s.p[i] == '*' && i + 1 < s.n && s.p[i + 1] == '*' && (!i || s.p[i - 1] != '\\'))
			return err_set(k->e, ERR_INVALID, "Consecutive wildcard characters at pos %zu", i + 1);
	}
	return 0;
}

static int parse_cidr(struct parse *k, struct str s, struct test *t)
{
	struct str addr, mask;
	int64_t bits;
	char text[64];

	if (!str_cut(s, '/', &addr, &mask) || memchr(mask.p, '/', mask.n))
		return invalid(k, "Malformed CIDR, one '/' required");
	if (str_to_i64(mask, 0, 128, &bits) < 0)
		return invalid(k, "Malformed CIDR, mask bits must be an integer");
	snprintf(text, sizeof(text), STR_FMT, STR_ARG(addr));
	t->family = memchr(addr.p, ':', addr.n) ? AF_INET6 : AF_INET;
	t->bits = (int)bits;
	if (inet_pton(t->family, text, t->addr) != 1)
		return err_set(k->e, ERR_INVALID, "Nonstandard IP address: %s", text);
	return bits > (t->family == AF_INET ? 32 : 128) ? invalid(k, "Malformed CIDR, too many mask bits") : 0;
}

static int parse_numeric(struct parse *k, const struct json *j, struct test *t)
{
	size_t n = json_len(j), end = 2;

	if (json_type(j) != JSON_ARRAY || !n)
		return invalid(k, "Value of numeric must be an array.");
	t->lo = -INFINITY, t->hi = INFINITY;
	for (size_t i = 0; i < n && i < end; i += 2) {
		struct str op = json_str(json_at(j, i));
		bool below = str_starts(op, "<"), open = op.n == 1;

		if (!str_eqc(op, "=") && !str_eqc(op, "<") && !str_eqc(op, "<=") && !str_eqc(op, ">") &&
		    !str_eqc(op, ">="))
			return err_set(k->e, ERR_INVALID, "Unrecognized numeric range operator: " STR_FMT, STR_ARG(op));
		if (i && !below)
			return err_set(k->e, ERR_INVALID, "Bad numeric range operator: " STR_FMT, STR_ARG(op));
		if (!number(json_at(j, i + 1)))
			return err_set(k->e, ERR_INVALID, "Value of " STR_FMT " must be numeric", STR_ARG(op));
		if (below || op.p[0] == '=')
			t->hi = json_real(json_at(j, i + 1), 0), t->no_hi = below && open;
		if (!below)
			t->lo = json_real(json_at(j, i + 1), 0), t->no_lo = op.p[0] != '=' && open;
		end = op.p[0] == '>' ? 4 : end;
	}
	if (n > end)
		return invalid(k, "Too many elements in numeric expression");
	return t->lo > t->hi || (t->lo == t->hi && (t->no_lo || t->no_hi)) ? invalid(k, "Bottom must be less than top")
									   : 0;
}

static int parse_but(struct parse *k, const struct json *j, struct test *t);

static const struct match_type {
	const char *name;
	enum op op;
	bool fold;
	const char *no_string, *no_string_but; /* AWS's words where a string must stand; the second in anything-but */
} types[] = {
	{"prefix", OP_PREFIX, false, "prefix match pattern must be a string",
	 "prefix/suffix match pattern must be a string"},
	{"suffix", OP_SUFFIX, false, "suffix match pattern must be a string",
	 "prefix/suffix match pattern must be a string"},
	{"wildcard", OP_WILDCARD, false, "wildcard match pattern must be a string",
	 "wildcard match pattern must be a string"},
	{"equals-ignore-case", OP_EQUAL, true, "equals-ignore-case match pattern must be a string",
	 "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported."},
	{"cidr", OP_CIDR, false, "prefix match pattern must be a string", NULL},
	{"numeric", OP_NUMERIC, false, NULL, NULL},
	{"exists", OP_EXISTS, false, NULL, NULL},
	{"anything-but", OP_BUT, false, NULL, NULL},
};

/* Of {"prefix": ...}. */
static const struct match_type *match_type(struct parse *k, const struct json *j)
{
	const char *key = json_first(j);

	if (json_len(j) != 1) {
		invalid(k, json_len(j) ? "Only one key allowed in match expression" : "Empty match expression");
		return NULL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (!strcmp(types[i].name, key))
			return &types[i];
	err_set(k->e, ERR_INVALID, "Unrecognized match type %.100s", key);
	return NULL;
}

static int parse_text(struct parse *k, const struct match_type *type, const struct json *v, struct test *t)
{
	const struct json *fold = json_get(v, "equals-ignore-case");

	*t = (struct test){.op = type->op, .fold = type->fold, .value = v, .text = json_str(v)};
	if ((type->op == OP_PREFIX || type->op == OP_SUFFIX) && fold && json_len(v) == 1)
		t->fold = true, t->text = json_str(fold);
	if (!t->text.p)
		return invalid(k, type->no_string);
	if (type->op == OP_WILDCARD)
		return parse_wildcard(k, t->text);
	return type->op == OP_CIDR ? parse_cidr(k, t->text, t) : 0;
}

static int parse_test(struct parse *k, const struct json *j, struct test *t)
{
	const struct match_type *type;

	*t = (struct test){.op = OP_EQUAL, .value = j};
	if (count(k) < 0)
		return -1;
	if (json_type(j) == JSON_ARRAY)
		return invalid(k, "Match value must be String, number, true, false, or null");
	if (json_type(j) != JSON_OBJECT)
		return 0;
	if (!(type = match_type(k, j)))
		return -1;
	t->op = type->op;
	t->value = json_get(j, type->name);
	switch (type->op) {
	case OP_NUMERIC:
		return parse_numeric(k, t->value, t);
	case OP_EXISTS:
		return json_type(t->value) == JSON_BOOL
			       ? 0
			       : invalid(k, "exists match pattern must be either true or false.");
	case OP_BUT:
		return parse_but(k, t->value, t);
	default:
		return parse_text(k, type, t->value, t);
	}
}

/* What stands in anything-but: one value or a list of them, of a type (NULL: compared as they are). */
static int parse_but_one(struct parse *k, const struct match_type *type, const struct json *v, struct test *t)
{
	if (count(k) < 0)
		return -1;
	*t = (struct test){.op = OP_EQUAL, .value = v};
	if (json_type(v) != JSON_STRING && !(number(v) && !type))
		return invalid(k, type ? type->no_string_but
				       : "Inside anything but list, start|null|boolean is not supported.");
	if (!type)
		return 0;
	if ((type->op == OP_PREFIX || type->op == OP_SUFFIX) && !json_str(v).n)
		return invalid(k, "Null prefix/suffix not allowed");
	return parse_text(k, type, v, t);
}

static int parse_but(struct parse *k, const struct json *j, struct test *t)
{
	const struct match_type *type = NULL;
	const struct json *v = j;

	if (json_type(j) == JSON_OBJECT && !(type = match_type(k, j)))
		return -1;
	if (type && !type->no_string_but)
		return err_set(k->e, ERR_INVALID, "Unsupported anything-but pattern: %s", type->name);
	if (type)
		v = json_get(j, type->name);
	if (json_type(v) == JSON_OBJECT ||
	    (!type && !number(v) && json_type(v) != JSON_STRING && json_type(v) != JSON_ARRAY))
		return invalid(k, "Value of anything-but must be an array or single string/number value.");
	if (json_type(v) == JSON_ARRAY && !json_len(v))
		return invalid(k, "Empty arrays are not allowed");
	t->n = json_type(v) == JSON_ARRAY ? json_len(v) : 1;
	t->but = xcalloc(t->n, sizeof(*t->but));
	for (size_t i = 0; i < t->n; i++)
		if (parse_but_one(k, type, json_type(v) == JSON_ARRAY ? json_at(v, i) : v, &t->but[i]) < 0)
			return -1;
	return 0;
}

static int parse_object(struct parse *k, const struct json *j, struct pattern *p);

struct object {
	struct parse *k;
	struct pattern *p;
};

static int parse_or(struct parse *k, const struct json *j, struct member *m)
{
	if (json_len(j) < 2)
		return invalid(k, "There must have at least 2 Objects in $or relationship.");
	m->subs = xcalloc(json_len(j), sizeof(*m->subs));
	for (; m->n < json_len(j); m->n++) {
		if (json_type(json_at(j, m->n)) != JSON_OBJECT)
			return invalid(k, "Only objects are allowed in $or relationship.");
		if (parse_object(k, json_at(j, m->n), &m->subs[m->n]) < 0)
			return m->n++, -1; /* what is half there is freed with the rest */
	}
	return 0;
}

/* A key with a dot is an object in an object: the member in there. */
static struct member *inner(struct member *m, struct parse *k)
{
	m->path = str_dup(buf_str(&k->path));
	m->path_n = k->path.n;
	m->subs = xcalloc(1, sizeof(*m->subs));
	m->subs->members = xcalloc(1, sizeof(*m->subs->members));
	m->n = m->subs->n = 1;
	buf_addc(&k->path, '.');
	return m->subs->members;
}

static int parse_member(void *arg, const char *key, const struct json *j)
{
	struct object *o = arg;
	struct parse *k = o->k;
	struct member *m = &o->p->members[o->p->n++];
	size_t before = k->path.n;
	const char *dot;

	if (!strcmp(key, "$or") && json_type(j) == JSON_ARRAY && json_type(json_at(j, 0)) == JSON_OBJECT)
		return parse_or(k, j, m);
	if (json_type(j) != JSON_OBJECT && json_type(j) != JSON_ARRAY)
		return err_set(k->e, ERR_INVALID, "\"%.100s\" must be an object or an array", key);
	if (!json_len(j))
		return invalid(k, json_type(j) == JSON_ARRAY ? "Empty arrays are not allowed"
							     : "Empty objects are not allowed");
	for (; (dot = strchr(key, '.')); key = dot + 1) {
		buf_add(&k->path, key, (size_t)(dot - key));
		m = inner(m, k);
		if (count(k) < 0)
			return -1;
	}
	buf_adds(&k->path, key);
	if (count(k) < 0)
		return -1;
	m->path = str_dup(buf_str(&k->path));
	m->path_n = k->path.n;
	if (json_type(j) == JSON_OBJECT) {
		buf_addc(&k->path, '.');
		m->subs = xcalloc(1, sizeof(*m->subs));
		m->n = 1;
		if (parse_object(k, j, m->subs) < 0)
			return -1;
	} else {
		m->tests = xcalloc(json_len(j), sizeof(*m->tests));
		for (; m->n < json_len(j); m->n++) {
			struct test *t = &m->tests[m->n];

			if (parse_test(k, json_at(j, m->n), t) < 0)
				return m->n++, -1;
			m->may_lack |= t->op == OP_EXISTS && !json_bool(t->value, true);
		}
	}
	k->path.n = before;
	return 0;
}

static int parse_object(struct parse *k, const struct json *j, struct pattern *p)
{
	struct object o = {k, p};

	if (!json_len(j))
		return invalid(k, "Empty objects are not allowed");
	p->members = xcalloc(json_len(j), sizeof(*p->members));
	return json_each(j, parse_member, &o) ? -1 : 0;
}

struct pattern *pattern_parse(const struct json *j, struct err *e)
{
	struct parse k = {.e = e};
	struct pattern *p = xcalloc(1, sizeof(*p));
	int r;

	p->root = json_ref(j);
	if (json_type(j) != JSON_OBJECT)
		r = invalid(&k, "Filter is not an object");
	else
		r = parse_object(&k, j, p);
	buf_done(&k.path);
	if (r == 0)
		return p;
	pattern_free(p);
	return NULL;
}

static void object_done(struct pattern *p)
{
	for (size_t i = 0; i < p->n; i++) {
		struct member *m = &p->members[i];

		for (size_t k = 0; k < m->n; k++) {
			if (m->tests)
				free(m->tests[k].but);
			else
				object_done(&m->subs[k]);
		}
		free(m->tests);
		free(m->subs);
		free(m->path);
	}
	free(p->members);
}

void pattern_free(struct pattern *p)
{
	if (!p)
		return;
	object_done(p);
	json_free(p->root);
	free(p);
}

/* --- match --- */

/* Each * takes as little as it can; when the rest does not follow, only the last one takes more: linear for each *. */
static bool wildcard(struct str w, struct str s)
{
	size_t i = 0, j = 0, star = SIZE_MAX, from = 0;

	while (j < s.n) {
		size_t escaped = i < w.n && w.p[i] == '\\';

		if (i < w.n && w.p[i] == '*') {
			star = ++i;
			from = j;
		} else if (i + escaped < w.n && w.p[i + escaped] == s.p[j]) {
			i += 1 + escaped;
			j++;
		} else if (star != SIZE_MAX) {
			i = star;
			j = ++from;
		} else {
			return false;
		}
	}
	return i == w.n || (i + 1 == w.n && w.p[i] == '*');
}

static bool in_network(const struct test *t, struct str s)
{
	char text[64];
	uint8_t addr[16];
	int whole = t->bits / 8, rest = t->bits % 8;

	if (s.n >= sizeof(text))
		return false;
	snprintf(text, sizeof(text), STR_FMT, STR_ARG(s));
	return inet_pton(t->family, text, addr) == 1 && !memcmp(addr, t->addr, (size_t)whole) &&
	       (!rest || (addr[whole] ^ t->addr[whole]) >> (8 - rest) == 0);
}

static bool equal(const struct test *t, const struct json *v)
{
	if (number(t->value))
		return number(v) && json_real(v, 0) == json_real(t->value, 0);
	if (json_type(v) != json_type(t->value))
		return false;
	if (json_type(v) == JSON_BOOL)
		return json_bool(v, false) == json_bool(t->value, false);
	return t->fold ? str_caseeq(json_str(v), json_str(t->value)) : str_eq(json_str(v), json_str(t->value));
}

static bool holds(const struct test *t, const struct json *v)
{
	struct str s = json_str(v), part = s;
	double d = json_real(v, NAN);

	switch (t->op) {
	case OP_EQUAL:
		return equal(t, v);
	case OP_PREFIX:
	case OP_SUFFIX:
		if (!s.p || s.n < t->text.n)
			return false;
		part.n = t->text.n;
		if (t->op == OP_SUFFIX)
			part.p += s.n - part.n;
		return t->fold ? str_caseeq(part, t->text) : str_eq(part, t->text);
	case OP_WILDCARD:
		return s.p && wildcard(t->text, s);
	case OP_NUMERIC:
		return (d > t->lo || (d == t->lo && !t->no_lo)) && (d < t->hi || (d == t->hi && !t->no_hi));
	case OP_CIDR:
		return s.p && in_network(t, s);
	case OP_EXISTS:
		return json_bool(t->value, false);
	case OP_BUT:
		for (size_t i = 0; i < t->n; i++)
			if (holds(&t->but[i], v))
				return false;
		return true;
	}
	return false;
}

/* 1: a test holds for a value; 0: none does; -1: there is no value. Only strings, numbers, booleans and nulls are. */
static int any_holds(const struct member *m, const struct json *v)
{
	int found = -1;

	if (json_type(v) == JSON_ARRAY) {
		for (size_t i = 0; i < json_len(v) && found < 1; i++) {
			int one = any_holds(m, json_at(v, i));

			found = one > found ? one : found;
		}
		return found;
	}
	if (json_type(v) == JSON_NONE || json_type(v) == JSON_OBJECT)
		return -1;
	for (size_t i = 0; i < m->n; i++)
		if (holds(&m->tests[i], v))
			return 1;
	return 0;
}

/* Members that must not exist must not in any element of an array: one bit each for those that do. */
static uint64_t existing(const struct pattern *p, const struct json *array, size_t at)
{
	uint64_t ret = 0;

	for (size_t i = 0; i < p->n && i < 64; i++)
		for (size_t k = 0; p->members[i].may_lack && k < json_len(array) && !(ret >> i & 1); k++)
			if (any_holds(&p->members[i], json_get(json_at(array, k), p->members[i].path + at)) >= 0)
				ret |= 1ull << i;
	return ret;
}

/* at: how much of the paths has led to v. */
static bool match_object(const struct pattern *p, const struct json *v, size_t at, uint64_t exist);

static bool match(const struct pattern *p, const struct json *v, size_t at)
{
	uint64_t exist;

	if (json_type(v) != JSON_ARRAY || !json_len(v))
		return match_object(p, v, at, 0);
	exist = existing(p, v, at);
	for (size_t i = 0; i < json_len(v); i++) {
		const struct json *one = json_at(v, i);

		if (json_type(one) == JSON_ARRAY ? match(p, one, at) : match_object(p, one, at, exist))
			return true;
	}
	return false;
}

static bool match_object(const struct pattern *p, const struct json *v, size_t at, uint64_t exist)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct member *m = &p->members[i];
		const struct json *inner = m->path ? json_get(v, m->path + at) : NULL;
		bool ok = false;

		if (m->tests) {
			int found = any_holds(m, inner);

			ok = found > 0 || (found < 0 && m->may_lack && !(i < 64 && exist >> i & 1));
		} else if (m->path) {
			/* Not there: an event's key may be this name, a dot and the next. */
			ok = match(m->subs, inner ? inner : v, inner ? m->path_n + 1 : at);
		} else {
			for (size_t k = 0; k < m->n && !ok; k++)
				ok = match(&m->subs[k], v, at);
		}
		if (!ok)
			return false;
	}
	return true;
}

bool pattern_match(const struct pattern *p, const struct json *event)
{
	return match(p, event, 0);
}

bool pattern_exact(const struct pattern *p, const char *name, size_t i, struct str *ret)
{
	for (size_t k = 0; k < p->n; k++) {
		const struct member *m = &p->members[k];

		if (!m->path || strcmp(m->path, name) != 0 || !m->tests || i >= m->n)
			continue;
		for (size_t t = 0; t < m->n; t++)
			if (m->tests[t].op != OP_EQUAL || m->tests[t].fold || !json_str(m->tests[t].value).p)
				return false;
		*ret = json_str(m->tests[i].value);
		return true;
	}
	return false;
}
