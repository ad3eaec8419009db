/* SPDX-License-Identifier: Apache-2.0 */
#include "json/read.h"

/* jansson uses some of our names for other things; under these spellings the two live in one file. */
#define json_type   jansson_type
#define json_real   jansson_real
#define JSON_OBJECT JANSSON_OBJECT
#define JSON_ARRAY  JANSSON_ARRAY
#define JSON_STRING JANSSON_STRING
#define JSON_REAL   JANSSON_REAL
#define JSON_NULL   JANSSON_NULL
#include <jansson.h>
#undef json_type
#undef json_real
#undef JSON_OBJECT
#undef JSON_ARRAY
#undef JSON_STRING
#undef JSON_REAL
#undef JSON_NULL

#include "json/check.h"

static json_t *unwrap(const struct json *j)
{
	return (json_t *)(uintptr_t)j;
}

static struct json *wrap(json_t *j)
{
	return (struct json *)j;
}

/* A byte offset is of little use in a file that a person edits. */
static int fail_at(struct str text, size_t at, const char *what, struct err *e)
{
	size_t line = 1, column = 1;

	for (size_t i = 0; i < at && i < text.n; i++) {
		if (text.p[i] == '\n')
			line++, column = 1;
		else
			column++;
	}
	return err_set(e, ERR_INVALID, "JSON line %zu column %zu: %s", line, column, what);
}

struct json *json_parse(struct str text, struct err *e)
{
	size_t at = 0;
	const char *what = json_check_at(text, &at);
	json_error_t je;
	json_t *j;

	/* First, because jansson's own limit on depth is fixed, and far from ours. */
	if (what) {
		fail_at(text, at, what, e);
		return NULL;
	}
	j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
	if (!j)
		err_set(e, ERR_INVALID, "JSON line %d column %d: %s", je.line, je.column, je.text);
	return wrap(j);
}

void json_free(struct json *root)
{
	json_decref(unwrap(root));
}

struct json *json_ref(const struct json *j)
{
	return wrap(json_incref(unwrap(j)));
}

enum json_type json_type(const struct json *j)
{
	if (!j)
		return JSON_NONE;
	switch (json_typeof(unwrap(j))) {
	case JANSSON_OBJECT:
		return JSON_OBJECT;
	case JANSSON_ARRAY:
		return JSON_ARRAY;
	case JANSSON_STRING:
		return JSON_STRING;
	case JSON_INTEGER:
		return JSON_INT;
	case JANSSON_REAL:
		return JSON_REAL;
	case JSON_TRUE:
	case JSON_FALSE:
		return JSON_BOOL;
	case JANSSON_NULL:
		return JSON_NULL;
	}
	return JSON_NONE;
}

const struct json *json_get(const struct json *obj, const char *key)
{
	return wrap(json_object_get(unwrap(obj), key));
}

struct str json_str(const struct json *j)
{
	if (json_type(j) != JSON_STRING)
		return STR_NULL;
	return (struct str){json_string_value(unwrap(j)), json_string_length(unwrap(j))};
}

struct str json_get_str(const struct json *obj, const char *key)
{
	return json_str(json_get(obj, key));
}

bool json_bool(const struct json *j, bool dflt)
{
	return json_type(j) == JSON_BOOL ? json_is_true(unwrap(j)) : dflt;
}

bool json_get_bool(const struct json *obj, const char *key, bool dflt)
{
	return json_bool(json_get(obj, key), dflt);
}

int64_t json_int(const struct json *j, int64_t dflt)
{
	return json_type(j) == JSON_INT ? json_integer_value(unwrap(j)) : dflt;
}

int64_t json_get_int(const struct json *obj, const char *key, int64_t dflt)
{
	return json_int(json_get(obj, key), dflt);
}

double json_real(const struct json *j, double dflt)
{
	return j && json_is_number(unwrap(j)) ? json_number_value(unwrap(j)) : dflt;
}

char *json_text(const struct json *j)
{
	return json_dumps(unwrap(j), JSON_COMPACT | JSON_ENCODE_ANY);
}

size_t json_len(const struct json *j)
{
	return json_type(j) == JSON_ARRAY ? json_array_size(unwrap(j)) : json_object_size(unwrap(j));
}

const struct json *json_at(const struct json *arr, size_t i)
{
	return wrap(json_array_get(unwrap(arr), i));
}

const char *json_first(const struct json *obj)
{
	return json_object_iter_key(json_object_iter(unwrap(obj)));
}

int json_each(const struct json *obj, json_member *f, void *arg)
{
	json_t *o = unwrap(obj);

	for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it)) {
		int r = f(arg, json_object_iter_key(it), wrap(json_object_iter_value(it)));

		if (r)
			return r;
	}
	return 0;
}
