/* SPDX-License-Identifier: Apache-2.0 */
/* JSON in: jansson, strict (duplicate keys refused, depth limited by LIM_JSON_DEPTH). The only user of jansson.h is
 * this folder; values are seen through these calls. A struct json is borrowed from its root; free the root once. */
#pragma once
#include <stdbool.h>
#include "base/err.h"
#include "base/str.h"
struct json;						 /* is a json_t */
struct json *json_parse(struct str text, struct err *e); /* caller json_frees; err has line and column */
void json_free(struct json *root);			 /* NULL is fine */
static inline void json_free_p(struct json **j)
{
	json_free(*j);
}
struct json *json_ref(const struct json *j); /* its part of a tree for one's own: json_free; NULL gives NULL */
#define auto_json auto_(json_free_p) struct json *
enum json_type { JSON_NONE, JSON_NULL, JSON_BOOL, JSON_INT, JSON_REAL, JSON_STRING, JSON_ARRAY, JSON_OBJECT };
enum json_type json_type(const struct json *j);			      /* NULL gives JSON_NONE */
const struct json *json_get(const struct json *obj, const char *key); /* NULL: not there or not an object */
struct str json_str(const struct json *j);			      /* {NULL,0} when not a string; NUL-terminated */
struct str json_get_str(const struct json *obj, const char *key);
bool json_bool(const struct json *j, bool dflt);
bool json_get_bool(const struct json *obj, const char *key, bool dflt);
int64_t json_int(const struct json *j, int64_t dflt);
int64_t json_get_int(const struct json *obj, const char *key, int64_t dflt);
double json_real(const struct json *j,
		 double dflt) __asm__("json_read_real"); /* ints too; jansson exports the plain symbol */
size_t json_len(const struct json *j);			 /* array or object */
const struct json *json_at(const struct json *arr, size_t i);
const char *json_first(const struct json *obj);				       /* the first member's key; NULL: none */
typedef int json_member(void *arg, const char *key, const struct json *value); /* non-zero stops */
int json_each(const struct json *obj, json_member *f, void *arg);	       /* members in order of the text */
char *json_text(const struct json *j); /* compact, of an object or array; the caller frees */
/* Checks that text is one JSON value, without building it (what Invoke needs). Fast; depth-limited. */
int json_check(struct str text, struct err *e);
