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
struct jw jw_object(struct buf *out);	    /* with an object begun: the most common start */
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
