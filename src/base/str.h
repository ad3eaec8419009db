/* SPDX-License-Identifier: Apache-2.0 */
/* A borrowed run of bytes: not owned, not NUL-terminated. And the few string helpers everybody needs. */
#pragma once
#include <stdbool.h>
#include <string.h>
#include "base/def.h"

struct str {
	const char *p;
	size_t n;
};
#define STR(lit)   ((struct str){"" lit, sizeof(lit) - 1})
#define STR_NULL   ((struct str){NULL, 0})
#define STR_FMT	   "%.*s"
#define STR_ARG(s) (int)(s).n, (s).p ? (s).p : ""

struct str str_of(const char *c); /* NULL gives the empty str */
bool str_eq(struct str a, struct str b);
bool str_eqc(struct str a, const char *c);
bool str_caseeq(struct str a, struct str b); /* ASCII case */
bool str_caseeqc(struct str a, const char *c);
bool str_starts(struct str s, const char *prefix);
bool str_ends(struct str s, const char *suffix);
bool str_cut(struct str s, char sep, struct str *ret_before, struct str *ret_after); /* false: no sep */
/* Takes the next of the pieces that sep parts; false: nothing is left. No empty piece comes after a sep at the end. */
bool str_next(struct str *rest, char sep, struct str *ret);
struct str str_trim(struct str s);				      /* spaces and tabs */
char *str_dup(struct str s);					      /* NUL-terminated copy; caller frees */
int str_to_i64(struct str s, int64_t min, int64_t max, int64_t *ret); /* whole str, decimal; -1 when not */
bool str_name_ok(struct str s, size_t max, const char *extra);	      /* [A-Za-z0-9] and extra, 1..max */
/* The name that word is a slip of the finger away from, or NULL. name gives NULL after the last. */
const char *str_nearest(const char *word, const char *(*name)(const void *names, size_t i), const void *names);
size_t strlcpy_(char *dst, const char *src, size_t size); /* always terminates; returns strlen(src) */
