/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names out of an archive. What path_clean lets through is relative, has no ".", ".." or empty component, is UTF-8
 * without control characters, and fits the limits below: it can be given to openat2 below the destination. Pure
 * functions, tests/unpack/test_path.c.
 */
#pragma once
#include <stdbool.h>
#include "base/err.h"
#define PATH_BYTES_MAX	   4000 /* leaves room in PATH_MAX for the place where the tree is mounted */
#define PATH_DEPTH_MAX	   64
#define PATH_COMPONENT_MAX 255 /* NAME_MAX */
#define PATH_SHOWN_MAX	   128

struct path {
	char text[PATH_BYTES_MAX + 1]; /* "a/b/c"; empty: the root itself */
	size_t n;
	unsigned depth; /* number of components */
};
int path_clean(const char *name, struct path *ret, struct err *e);
/* Would target, read in the directory that holds link, climb out? Looks at the text only: other links are tree.c's
 * affair. */
int path_check_target(const struct path *link, const char *target, struct err *e);
/* Splits at the last slash: *ret_dir_bytes of text are the directory, the result is the last component. */
const char *path_leaf(const struct path *p, size_t *ret_dir_bytes);
/* Printable form for messages: other bytes as \xNN, cut after PATH_SHOWN_MAX. */
const char *path_show(const char *name, char out[PATH_SHOWN_MAX + 1]);
