/* SPDX-License-Identifier: Apache-2.0 */
/* JSON out: streams into a buf, commas by itself. Strings are made valid UTF-8 (bad bytes become U+FFFD). */
#pragma once
#include <stdbool.h>
#include "base/buf.h"
struct jw {
	struct buf *out;
	uint32_t depth;
	bool need_comma;
};
void jw_init(struct jw *w, struct buf *out);
struct jw jw_object(struct buf *out); /* with an object begun: the most common start */
/* Declares both: what is written with w stands in out, which ends with its block. */
#define auto_object(w, out)                                                                                            \
	auto_buf out = {0};                                                                                            \
	struct jw w = jw_object(&out)
void jw_obj(struct jw *w, const char *key); /* key NULL inside arrays and at the top */
void jw_arr(struct jw *w, const char *key);
void jw_end(struct jw *w, char close); /* '}' or ']' */
void jw_str(struct jw *w, const char *key, struct str v);
void jw_strc(struct jw *w, const char *key, const char *v); /* NULL writes null */
void jw_int(struct jw *w, const char *key, int64_t v);
void jw_real(struct jw *w, const char *key, double v); /* shortest form that reads back */
void jw_bool(struct jw *w, const char *key, bool v);
void jw_null(struct jw *w, const char *key);
void jw_raw(struct jw *w, const char *key, struct str json); /* already JSON */
void jw_quote(struct buf *out, struct str v);		     /* only the quoted string */
/* A whole text by its pattern: ' stands for ", %s is a C string, quoted, %d an int64_t, %r text that is JSON already. */
void jw_fmt(struct buf *out, const char *fmt, ...);
/* An object with the members of both; those of over in place of those of under, null takes one away. project: a member
 * of that name, NULL: none is added. Either may be NULL. */
struct json;
void json_merge(struct buf *out, const struct json *under, const struct json *over, const char *project);
