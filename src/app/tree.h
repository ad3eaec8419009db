/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML text as a tree that knows where each thing stands. Deliberately less than YAML: no anchors, aliases, tags,
 * second documents or keys that are not words; a key may stand once. ${VAR}, ${VAR:-default} and $$ in values are
 * replaced here. The text is hostile: its size, depth and number of nodes are bounded by LIM_YAML_*. Errors read
 * "FILE:LINE:COLUMN: sentence". The only user of yaml.h. Fuzz: tests/fuzz/yaml.c.
 */
#pragma once
#include <stdbool.h>
#include "base/err.h"
#include "base/str.h"
enum node_kind { NODE_SCALAR, NODE_MAP, NODE_LIST };
struct node {
	enum node_kind kind;
	bool plain;	    /* a scalar without quotes: it may be a number, or nothing at all */
	unsigned line, col; /* from 1 */
	char *key;	    /* in a map; NULL otherwise */
	unsigned key_line, key_col;
	char *text;	    /* of a scalar; holds no NUL inside */
	struct node *child; /* of map and list, in order */
	size_t n;
};
/* The value of a variable, borrowed, or NULL. */
typedef const char *tree_lookup(void *arg, const char *name);
struct tree_opts {
	const char *file;    /* for messages */
	const char *dir;     /* absolute: where it lies; NULL: nobody said */
	tree_lookup *lookup; /* NULL: there are none */
	void *arg;
	const char *where; /* of the names of what is declared: REGION:ACCOUNT */
};
int tree_parse(const struct tree_opts *o, struct str text, struct node **ret, struct err *e);
void tree_free(struct node *root);
static inline void tree_free_p(struct node **n)
{
	tree_free(*n);
}
const struct node *tree_get(const struct node *map, const char *key); /* NULL: not there */
int tree_error(const struct tree_opts *o, unsigned line, unsigned col, struct err *e, const char *fmt, ...)
	PRINTF(5, 6);
/* Always -1: c stands where only the keys that key() tells of may stand (NULL after the last). */
int tree_unknown_key(const struct tree_opts *o, const struct node *c, const char *(*key)(const void *keys, size_t i),
		     const void *keys, struct err *e);
