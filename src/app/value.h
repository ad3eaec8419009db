/* SPDX-License-Identifier: Apache-2.0 */
/* Single values of tandem.yaml: text, sizes, times, maps of text. Errors carry line and column. */
#pragma once
#include "app/tree.h"
#include "json/write.h"
#include "store/function.h"
int value_text(const struct tree_opts *o, const struct node *v, size_t max, char **ret,
	       struct err *e); /* not empty; caller frees */
int value_mb(const struct tree_opts *o, const struct node *v, const char *what, int min, int max, int *ret,
	     struct err *e);
int value_seconds(const struct tree_opts *o, const struct node *v, const char *what, int min, int max, int *ret,
		  struct err *e);
int value_count(const struct tree_opts *o, const struct node *v, const char *what, int min, int max, int *ret,
		struct err *e);
int value_cpu(const struct tree_opts *o, const struct node *v, uint32_t *ret_quota_us, struct err *e);
int value_pairs(const struct tree_opts *o, const struct node *v, const char *what, struct pairs *ret,
		struct err *e); /* sorted */
int value_bool(const struct tree_opts *o, const struct node *v, bool *ret, struct err *e);
/* As it stands there: plain numbers, true, false, and null in lists, are such; all else is text. */
int value_json(const struct tree_opts *o, const struct node *v, const char *member, struct jw *w, struct err *e);
