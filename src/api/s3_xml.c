/* SPDX-License-Identifier: Apache-2.0 */
#include "api/s3_xml.h"
#include <expat.h>
#include <stdio.h>
#include "api/api_int.h"
#include "base/mem.h"

/* --- shapes --- */

struct member {
	struct str element, name;
	char mark; /* '!', '-' or ':' */
	const char *type;
};

/* The end of the type at at. */
static const char *past(const char *at)
{
	unsigned depth = 0;

	for (; *at; at++) {
		if (strchr("{[<(", *at))
			depth++;
		else if (strchr("}]>)", *at) && !depth--)
			break;
		else if (*at == ',' && !depth)
			break;
	}
	return at;
}

/* The member after at, which is a shape's '{' or what the last call returned; NULL: no more. */
static const char *member_next(const char *at, struct member *m)
{
	if (*at == '}' || at[1] == '}')
		return NULL;
	m->element = m->name = (struct str){at + 1, strcspn(at + 1, "=!-:")};
	at += 1 + m->element.n;
	if (*at == '=') {
		m->name = (struct str){at + 1, strcspn(at + 1, "!-:")};
		at += 1 + m->name.n;
	}
	m->mark = *at;
	m->type = at + (*at == ':' ? 1 : 2);
	return past(m->type);
}

/* --- expat's calls to a tree --- */

/* Of the text, name and what stands between its tags; children as a list. Places in arrays, 0: none. */
struct node {
	size_t name, name_n, text, text_n;
	uint32_t parent, child, last, next;
};
struct doc {
	XML_Parser parser;
	struct node *nodes; /* [0] is above the root */
	size_t n, cap, depth;
	uint32_t at;
	struct buf text;
	const char *wrong;
};

static void stop(struct doc *d, const char *why)
{
	d->wrong = why;
	XML_StopParser(d->parser, XML_FALSE);
}

static void on_start(void *arg, const char *name, const char **attributes)
{
	struct doc *d = arg;
	const char *prefix = strrchr(name, ':');
	struct node *parent;
	uint32_t i = (uint32_t)d->n;

	if (d->n == LIM_XML_NODES || ++d->depth > LIM_XML_DEPTH)
		return stop(d, "it has too many elements, or too deep ones");
	if (d->n == d->cap) {
		d->cap *= 2;
		d->nodes = xrealloc(d->nodes, d->cap * sizeof(*d->nodes));
	}
	name = prefix ? prefix + 1 : name;
	d->nodes[d->n++] = (struct node){.name = d->text.n, .name_n = strlen(name), .parent = d->at};
	buf_adds(&d->text, name);
	d->nodes[i].text = d->text.n;
	parent = &d->nodes[d->at];
	*(parent->last ? &d->nodes[parent->last].next : &parent->child) = i;
	parent->last = d->at = i;
}

static void on_end(void *arg, const char *name)
{
	struct doc *d = arg;

	d->at = d->nodes[d->at].parent;
	d->depth--;
}

/* What stands beside elements means nothing. */
static void on_text(void *arg, const char *p, int n)
{
	struct doc *d = arg;

	if (d->nodes[d->at].child)
		return;
	buf_add(&d->text, p, (size_t)n);
	d->nodes[d->at].text_n += (size_t)n;
}

static void on_doctype(void *arg, const char *name, const char *system_id, const char *public_id, int internal)
{
	stop(arg, "it has a document type");
}

static int doc_parse(struct doc *d, struct str xml, struct api_err *e)
{
	*d = (struct doc){.n = 1, .cap = 32};
	d->nodes = xcalloc(d->cap, sizeof(*d->nodes));
	if (xml.n > LIM_XML_BYTES)
		return api_fail(e, API_S3_MALFORMED_XML, "The XML has more than %d bytes.", LIM_XML_BYTES);
	d->parser = XML_ParserCreate(NULL);
	XML_SetUserData(d->parser, d);
	XML_SetElementHandler(d->parser, on_start, on_end);
	XML_SetCharacterDataHandler(d->parser, on_text);
	XML_SetStartDoctypeDeclHandler(d->parser, on_doctype);
	if (XML_Parse(d->parser, xml.p, (int)xml.n, XML_TRUE) == XML_STATUS_OK)
		return 0;
	return api_fail(e, API_S3_MALFORMED_XML, "The XML you provided was not well-formed: line %lu: %s.",
			XML_GetCurrentLineNumber(d->parser),
			d->wrong ? d->wrong : XML_ErrorString(XML_GetErrorCode(d->parser)));
}

static void doc_done(struct doc *d)
{
	if (d->parser)
		XML_ParserFree(d->parser);
	free(d->nodes);
	buf_done(&d->text);
}

/* --- the tree to JSON --- */

struct walk {
	const struct doc *d;
	struct jw *w;
	struct api_err *e;
};

static int element(const struct walk *k, const char *type, const char *key, const struct node *n);

static struct str node_name(const struct walk *k, const struct node *n)
{
	return (struct str){k->d->text.p + n->name, n->name_n};
}

/* The next element of that name, from i on. */
static const struct node *named(const struct walk *k, uint32_t i, struct str name)
{
	while (i && !str_eq(node_name(k, &k->d->nodes[i]), name))
		i = k->d->nodes[i].next;
	return i ? &k->d->nodes[i] : NULL;
}

static int bad(const struct walk *k, const struct node *n, const char *what)
{
	return api_fail(k->e, API_S3_MALFORMED_XML,
			"The XML you provided did not validate against our published schema: " STR_FMT " %s.",
			STR_ARG(node_name(k, n)), what);
}

static int list(const struct walk *k, const char *type, const char *key, const struct node *n, struct str name)
{
	jw_arr(k->w, key);
	for (; n; n = named(k, n->next, name))
		if (element(k, type, NULL, n) < 0)
			return -1;
	jw_end(k->w, ']');
	return 0;
}

static int object(const struct walk *k, const char *at, const char *key, const struct node *n)
{
	struct member m;
	char name[64], what[100];

	jw_obj(k->w, key);
	while ((at = member_next(at, &m))) {
		const struct node *c = named(k, n->child, m.element);

		snprintf(name, sizeof(name), STR_FMT, STR_ARG(m.name));
		snprintf(what, sizeof(what), "needs " STR_FMT, STR_ARG(m.element));
		if (!c && m.mark == '!')
			return bad(k, n, what);
		if (!c)
			continue;
		if (m.mark == '-')
			return api_fail(k->e, API_NOT_IMPLEMENTED, "This Tandem has no %s.", name);
		if (*m.type != '[' && named(k, c->next, m.element))
			return bad(k, c, "is there twice");
		if ((*m.type == '[' ? list(k, m.type + 1, name, c, m.element) : element(k, m.type, name, c)) < 0)
			return -1;
	}
	jw_end(k->w, '}');
	return 0;
}

static int text(const struct walk *k, const char *rule, const char *key, const struct node *n, struct str s)
{
	bool ours = rule[0] == '(' && rule[1] == '~', found = rule[0] != '(';
	struct str all = {rule + 1 + ours, found ? 0 : strcspn(rule, ")") - 1 - ours}, rest = all, one;
	char what[200];

	while (!found && str_next(&rest, '|', &one))
		found = str_eq(one, s);
	if (!found && ours)
		return api_fail(k->e, API_NOT_IMPLEMENTED,
				STR_FMT " %.*s is not to be had: this Tandem has only " STR_FMT ".",
				STR_ARG(node_name(k, n)), (int)(s.n < 80 ? s.n : 80), s.p, STR_ARG(all));
	snprintf(what, sizeof(what), "must be one of " STR_FMT, STR_ARG(all));
	if (!found)
		return bad(k, n, what);
	jw_str(k->w, key, s);
	return 0;
}

static int element(const struct walk *k, const char *type, const char *key, const struct node *n)
{
	struct str s = {k->d->text.p + n->text, n->child ? 0 : n->text_n}, item;
	int64_t v;

	switch (*type) {
	case '{':
		return object(k, type, key, n);
	case '<':
		item = (struct str){type + 1, strcspn(type + 1, ":")};
		return list(k, item.p + item.n + 1, key, named(k, n->child, item), item);
	case 'i':
		if (str_to_i64(str_trim(s), 0, INT64_MAX, &v) < 0)
			return bad(k, n, "must be a number from 0");
		jw_int(k->w, key, v);
		return 0;
	case 'b':
		if (!str_caseeqc(s, "true") && !str_caseeqc(s, "false"))
			return bad(k, n, "must be true or false");
		jw_bool(k->w, key, str_caseeqc(s, "true"));
		return 0;
	default:
		return text(k, type + 1, key, n, s);
	}
}

int xml_read(const char *root, const char *shape, struct str xml, struct buf *ret, struct api_err *e)
{
	struct doc d;
	struct jw w;
	struct walk k = {&d, &w, e};
	auto_buf json = {0};
	int rc = doc_parse(&d, xml, e);

	jw_init(&w, &json);
	if (rc == 0 && !str_eqc(node_name(&k, &d.nodes[1]), root))
		rc = api_fail(e, API_S3_MALFORMED_XML,
			      "The XML you provided did not validate against our published schema: it must be a %s.",
			      root);
	if (rc == 0)
		rc = element(&k, shape, NULL, &d.nodes[1]);
	if (rc == 0)
		buf_addstr(ret, buf_str(&json));
	doc_done(&d);
	return rc;
}

struct json *xml_parse(const char *root, const char *shape, struct str xml, struct api_err *e)
{
	auto_buf b = {0};

	return xml_read(root, shape, xml, &b, e) < 0 ? NULL : json_parse(buf_str(&b), NULL);
}

/* --- out --- */

static void tag(struct buf *out, const char *open, struct str name)
{
	buf_adds(out, open);
	buf_addstr(out, name);
	buf_addc(out, '>');
}

void xml_start(struct buf *out, const char *name)
{
	tag(out, "<", str_of(name));
}

void xml_end(struct buf *out, const char *name)
{
	tag(out, "</", str_of(name));
}

void xml_begin(struct buf *out, const char *root)
{
	buf_addf(out,
		 "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<%s xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
		 root);
}

void xml_str(struct buf *out, const char *name, struct str text)
{
	xml_start(out, name);
	api_xml_text(out, text);
	xml_end(out, name);
}

void xml_int(struct buf *out, const char *name, int64_t v)
{
	xml_start(out, name);
	buf_add_i64(out, v);
	xml_end(out, name);
}

static void put(struct buf *out, const char *type, const struct json *j);

static void put_element(struct buf *out, struct str name, const char *type, const struct json *j)
{
	tag(out, "<", name);
	put(out, type, j);
	tag(out, "</", name);
}

static void put(struct buf *out, const char *type, const struct json *j)
{
	struct member m;
	char name[64];

	if (*type == '{') {
		while ((type = member_next(type, &m))) {
			const struct json *v;

			snprintf(name, sizeof(name), STR_FMT, STR_ARG(m.name));
			v = json_get(j, name);
			for (size_t i = 0; *m.type == '[' && i < json_len(v); i++)
				put_element(out, m.element, m.type + 1, json_at(v, i));
			if (v && *m.type != '[')
				put_element(out, m.element, m.type, v);
		}
	} else if (*type == '<') {
		struct str item = {type + 1, strcspn(type + 1, ":")};

		for (size_t i = 0; i < json_len(j); i++)
			put_element(out, item, item.p + item.n + 1, json_at(j, i));
	} else if (*type == 'i') {
		buf_add_i64(out, json_int(j, 0));
	} else if (*type == 'b') {
		buf_adds(out, json_bool(j, false) ? "true" : "false");
	} else {
		api_xml_text(out, json_str(j));
	}
}

void xml_write(struct buf *out, const char *root, const char *shape, const struct json *j)
{
	xml_begin(out, root);
	put(out, shape, j);
	xml_end(out, root);
}
