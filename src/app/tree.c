/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <yaml.h>
#include "app/interpolate.h"
#include "app/tree.h"
#include "base/limits.h"
#include "base/mem.h"

struct build {
	const struct tree_opts *o;
	struct str text;
	yaml_parser_t parser;
	size_t nodes, bytes;
	struct err *e;
};

int tree_error(const struct tree_opts *o, unsigned line, unsigned col, struct err *e, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(e, ERR_INVALID, "%s:%u:%u: %s", o->file, line, col, text);
}

static int fail_at(struct build *b, yaml_mark_t m, const char *what)
{
	return tree_error(b->o, (unsigned)m.line + 1, (unsigned)m.column + 1, b->e, "%s", what);
}

/* Does the line (from 0) hold a tab before its first other character? */
static bool tab_indents(struct str text, size_t line, unsigned *ret_col)
{
	struct str one, rest = text;

	for (size_t i = 0; i <= line; i++) {
		if (!str_cut(rest, '\n', &one, &rest)) {
			if (i < line)
				return false;
			one = rest;
		}
	}
	for (size_t i = 0; i < one.n && (one.p[i] == ' ' || one.p[i] == '\t'); i++)
		if (one.p[i] == '\t') {
			*ret_col = (unsigned)i + 1;
			return true;
		}
	return false;
}

static int fail_syntax(struct build *b)
{
	yaml_parser_t *p = &b->parser;
	yaml_mark_t m = p->problem_mark;
	unsigned col;

	if (p->error == YAML_READER_ERROR)
		return tree_error(b->o, (unsigned)p->mark.line + 1, (unsigned)p->mark.column + 1, b->e,
				  "the file is not UTF-8 text (%s)", p->problem);
	if (tab_indents(b->text, m.line, &col))
		return tree_error(b->o, (unsigned)m.line + 1, col, b->e, "a tab; indent with spaces");
	return tree_error(b->o, (unsigned)m.line + 1, (unsigned)m.column + 1, b->e, "%s%s%s",
			  p->problem ? p->problem : "not YAML", p->context ? " " : "", p->context ? p->context : "");
}

static int next(struct build *b, yaml_event_t *ev)
{
	if (!yaml_parser_parse(&b->parser, ev))
		return fail_syntax(b);
	return 0;
}

/* What this file does not need and what makes small files large. */
static int refuse_extras(struct build *b, const yaml_event_t *ev)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;

	switch (ev->type) {
	case YAML_ALIAS_EVENT:
		return fail_at(b, ev->start_mark,
			       "aliases (*name) are not taken here; write the value out, or use ${VAR}");
	case YAML_SCALAR_EVENT:
		anchor = ev->data.scalar.anchor, tag = ev->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = ev->data.sequence_start.anchor, tag = ev->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = ev->data.mapping_start.anchor, tag = ev->data.mapping_start.tag;
		break;
	default:
		break;
	}
	if (anchor)
		return fail_at(b, ev->start_mark,
			       "anchors (&name) are not taken here; write the value out, or use ${VAR}");
	if (tag)
		return fail_at(b, ev->start_mark, "tags (!name) are not taken here");
	if (++b->nodes > LIM_YAML_NODES)
		return fail_at(b, ev->start_mark, "the file holds too many values");
	return 0;
}

static int take_scalar(struct build *b, const yaml_event_t *ev, struct node *n)
{
	struct str raw = {(const char *)ev->data.scalar.value, ev->data.scalar.length};
	auto_buf out = {0};
	unsigned quote;

	n->kind = NODE_SCALAR;
	n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	quote = n->plain ? 0 : 1;
	if (memchr(raw.p, 0, raw.n))
		return fail_at(b, ev->start_mark, "a NUL byte inside a value");
	if (interpolate(b->o, raw, n->line, n->col + quote, &out, b->e) < 0)
		return -1;
	b->bytes += out.n;
	if (b->bytes > 4 * LIM_YAML_BYTES)
		return fail_at(b, ev->start_mark, "the values of variables make the file too large");
	n->text = buf_take(&out);
	return 0;
}

static int build(struct build *b, const yaml_event_t *ev, struct node *n, int depth);

static struct node *new_child(struct node *n)
{
	/* Grown by doubling: n->n is a power of two exactly when it is full. */
	if (!(n->n & (n->n - 1)))
		n->child = xrealloc(n->child, sizeof(*n->child) * (n->n ? 2 * n->n : 1));
	n->child[n->n] = (struct node){0};
	return &n->child[n->n++];
}

static int take_key(struct build *b, const yaml_event_t *ev, struct node *map, struct node *c)
{
	struct str key;

	if (ev->type != YAML_SCALAR_EVENT)
		return fail_at(b, ev->start_mark, "a key must be a word");
	key = (struct str){(const char *)ev->data.scalar.value, ev->data.scalar.length};
	if (memchr(key.p, 0, key.n) || !key.n || key.n > 256)
		return fail_at(b, ev->start_mark, "a key must be a word of 1 to 256 bytes");
	c->key_line = (unsigned)ev->start_mark.line + 1;
	c->key_col = (unsigned)ev->start_mark.column + 1;
	for (size_t i = 0; i + 1 < map->n; i++)
		if (map->child[i].key && str_eqc(key, map->child[i].key))
			return tree_error(b->o, c->key_line, c->key_col, b->e,
					  "the key \"%s\" stands here twice (first in line %u)", map->child[i].key,
					  map->child[i].key_line);
	c->key = str_dup(key);
	return 0;
}

static int build_inside(struct build *b, struct node *n, int depth)
{
	for (;;) {
		yaml_event_t ev;
		struct node *c;
		int r;

		if (next(b, &ev) < 0)
			return -1;
		if (ev.type == YAML_MAPPING_END_EVENT || ev.type == YAML_SEQUENCE_END_EVENT) {
			yaml_event_delete(&ev);
			return 0;
		}
		c = new_child(n);
		r = refuse_extras(b, &ev);
		if (!r && n->kind == NODE_MAP) {
			r = n->n > 4096 ? fail_at(b, ev.start_mark, "more than 4096 keys in one place")
					: take_key(b, &ev, n, c);
			yaml_event_delete(&ev);
			if (r || next(b, &ev) < 0)
				return -1;
			r = refuse_extras(b, &ev);
		}
		if (!r)
			r = build(b, &ev, c, depth + 1);
		yaml_event_delete(&ev);
		if (r)
			return -1;
	}
}

static int build(struct build *b, const yaml_event_t *ev, struct node *n, int depth)
{
	n->line = (unsigned)ev->start_mark.line + 1;
	n->col = (unsigned)ev->start_mark.column + 1;
	if (depth > LIM_YAML_DEPTH)
		return fail_at(b, ev->start_mark, "too many levels inside each other");
	if (ev->type == YAML_SCALAR_EVENT)
		return take_scalar(b, ev, n);
	n->kind = ev->type == YAML_MAPPING_START_EVENT ? NODE_MAP : NODE_LIST;
	return build_inside(b, n, depth);
}

static int run(struct build *b, struct node *root)
{
	bool have = false;

	for (;;) {
		yaml_event_t ev;
		yaml_event_type_t type;
		int r = 0;

		if (next(b, &ev) < 0)
			return -1;
		type = ev.type;
		if (type == YAML_DOCUMENT_START_EVENT) {
			if (have)
				r = fail_at(b, ev.start_mark, "a second document begins here; one file holds one");
			have = true;
		} else if (type != YAML_STREAM_START_EVENT && type != YAML_STREAM_END_EVENT &&
			   type != YAML_DOCUMENT_END_EVENT) {
			r = refuse_extras(b, &ev);
			if (!r)
				r = build(b, &ev, root, 1);
		}
		yaml_event_delete(&ev);
		if (r)
			return -1;
		if (type == YAML_STREAM_END_EVENT)
			break;
	}
	return have ? 0 : tree_error(b->o, 1, 1, b->e, "the file is empty; it begins with: name: my-project");
}

int tree_parse(const struct tree_opts *o, struct str text, struct node **ret, struct err *e)
{
	struct build b = {.o = o, .text = text, .e = e};
	struct node *root;
	int r;

	if (text.n > LIM_YAML_BYTES)
		return err_set(e, ERR_LIMIT, "%s: the file is larger than %d bytes", o->file, LIM_YAML_BYTES);
	if (!yaml_parser_initialize(&b.parser))
		return err_set(e, ERR_BUG, "out of memory");
	yaml_parser_set_input_string(&b.parser, (const unsigned char *)(text.p ? text.p : ""), text.n);
	yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
	root = xcalloc(1, sizeof(*root));
	r = run(&b, root);
	yaml_parser_delete(&b.parser);
	if (r < 0) {
		tree_free(root);
		return -1;
	}
	*ret = root;
	return 0;
}

static void node_done(struct node *n)
{
	for (size_t i = 0; i < n->n; i++)
		node_done(&n->child[i]);
	free(n->child);
	free(n->key);
	free(n->text);
}

void tree_free(struct node *root)
{
	if (!root)
		return;
	node_done(root);
	free(root);
}

const struct node *tree_get(const struct node *map, const char *key)
{
	for (size_t i = 0; map && map->kind == NODE_MAP && i < map->n; i++)
		if (!strcmp(map->child[i].key, key))
			return &map->child[i];
	return NULL;
}

int tree_unknown_key(const struct tree_opts *o, const struct node *c, const char *(*key)(const void *keys, size_t i),
		     const void *keys, struct err *e)
{
	const char *best = str_nearest(c->key, key, keys), *name;
	auto_buf known = {0};

	for (size_t i = 0; (name = key(keys, i)); i++)
		buf_addf(&known, "%s%s", i ? ", " : "", name);
	if (best)
		return tree_error(o, c->key_line, c->key_col, e, "unknown key \"%.80s\"; did you mean \"%s\"?", c->key,
				  best);
	return tree_error(o, c->key_line, c->key_col, e, "unknown key \"%.80s\"; known here are: %s", c->key, known.p);
}
