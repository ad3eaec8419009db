/* SPDX-License-Identifier: Apache-2.0 */
/* Tags and attributes, as the services have them: an object of names with values, or a list of {"Key","Value"}. */
#include "api/api_int.h"

bool api_has(const struct json *list, const char *word)
{
	for (size_t i = 0; i < json_len(list); i++)
		if (str_eqc(json_str(json_at(list, i)), word))
			return true;
	return false;
}

struct edit {
	struct jw *w;
	const struct json *over, *without;
};

static int keep(void *arg, const char *key, const struct json *j)
{
	const struct edit *e = arg;

	if (json_get(e->over, key) || api_has(e->without, key))
		return 0;
	if (json_type(j) == JSON_STRING)
		jw_str(e->w, key, json_str(j));
	else
		jw_int(e->w, key, json_int(j, 0));
	return 0;
}

void api_edit(struct jw *w, const char *key, const struct json *old, const struct json *over,
	      const struct json *without)
{
	jw_obj(w, key);
	json_each(old, keep, &(struct edit){w, over, without});
	json_each(over, keep, &(struct edit){w, NULL, NULL});
	jw_end(w, '}');
}

void api_tags(struct jw *w, const char *member, const struct json *old, const struct json *more,
	      const struct json *without)
{
	jw_arr(w, member);
	for (size_t i = 0; i < json_len(old) + json_len(more); i++) {
		const struct json *one = i < json_len(old) ? json_at(old, i) : json_at(more, i - json_len(old));
		struct str key = json_get_str(one, "Key");
		auto_free char *text = json_text(one);
		bool gone = api_has(without, key.p ? key.p : "");

		for (size_t k = 0; i < json_len(old) && k < json_len(more); k++)
			gone |= str_eq(json_get_str(json_at(more, k), "Key"), key);
		if (!gone)
			jw_raw(w, NULL, str_of(text));
	}
	jw_end(w, ']');
}

static int put_tag(void *arg, const char *key, const struct json *value)
{
	jw_obj(arg, NULL);
	jw_strc(arg, "Key", key);
	jw_str(arg, "Value", json_str(value));
	jw_end(arg, '}');
	return 0;
}

void api_tags_of(struct jw *w, const struct json *map)
{
	jw_arr(w, "Tags");
	json_each(map, put_tag, w);
	jw_end(w, ']');
}

struct json *api_tags_object(const struct json *list, struct err *e)
{
	auto_object(w, text);

	for (size_t i = 0; i < json_len(list); i++) {
		auto_free char *key = str_dup(json_get_str(json_at(list, i), "Key"));

		jw_str(&w, key, json_get_str(json_at(list, i), "Value"));
	}
	jw_end(&w, '}');
	return json_parse(buf_str(&text), e);
}
