/* SPDX-License-Identifier: Apache-2.0 */
/* Reading, listing and deleting functions. */

#include "api/api_int.h"
#include "api/code_url.h"
#include "api/lambda_config.h"
#include "base/mem.h"
#include "store/version.h"

#define PAGE_MAX 50

int lambda_get_function_configuration(struct api_call *c)
{
	struct revision *r;
	const struct function *f = api_target(c, &r);
	auto_buf b = {0};
	struct jw w;

	if (!f)
		return -1;
	jw_init(&w, &b);
	api_function_config(&w, NULL, c->a, f, r, CONFIG_NOW, c->name.qualifier);
	return api_reply_json(c, 200, buf_str(&b));
}

int lambda_get_function(struct api_call *c)
{
	struct revision *r;
	const struct function *f = api_target(c, &r);
	struct str host = http_header(c->r, "host");
	auto_buf at = {0};
	auto_object(w, b);

	if (!f)
		return -1;
	api_function_config(&w, "Configuration", c->a, f, r, CONFIG_NOW, c->name.qualifier);
	jw_obj(&w, "Code");
	if (r->image) {
		lambda_image_code(&w, r);
	} else {
		jw_strc(&w, "RepositoryType", "S3");
		code_url_write(c->a, host, r->code_sha256, &at);
		jw_str(&w, "Location", buf_str(&at));
	}
	jw_end(&w, '}');
	if (f->tags.n)
		pairs_write(&w, "Tags", &f->tags);
	if (f->reserved >= 0) {
		jw_obj(&w, "Concurrency");
		jw_int(&w, "ReservedConcurrentExecutions", f->reserved);
		jw_end(&w, '}');
	}
	return api_reply_object(c, 200, &w);
}

/* MaxItems as AWS takes it: 1 to 10,000 may be asked for, never more than 50 come. */
int api_page_size(struct api_call *c, int64_t *ret)
{
	auto_buf v = {0};

	*ret = PAGE_MAX;
	if (!api_query(c->r, "MaxItems", &v))
		return 0;
	if (str_to_i64(buf_str(&v), 1, 10000, ret) < 0)
		return api_invalid(&c->e, "maxItems", buf_str(&v), 32, "have value between 1 and 10000");
	if (*ret > PAGE_MAX)
		*ret = PAGE_MAX;
	return 0;
}

int api_list_kept(struct api_call *c, const char *kind, const char *member,
		  void (*put)(struct jw *w, struct api_call *c, const char *qualifier, const struct json *doc))
{
	auto_free char *prefix = xasprintf("%s/%s:", kind, c->name.name);
	auto_buf marker = {0};
	const struct record *r = NULL;
	int64_t left;
	auto_object(w, b);

	if (api_page_size(c, &left) < 0)
		return -1;
	if (api_query(c->r, "Marker", &marker) && marker.n && !str_starts(buf_str(&marker), prefix))
		return api_fail(&c->e, API_INVALID_PARAMETER, "Marker is not one that was given out here.");
	jw_arr(&w, member);
	for (const char *after = marker.n ? marker.p : NULL; left && (r = record_next(c->a->o.store, prefix, after));
	     left--, after = r->key) {
		auto_json doc = json_parse(str_of(r->value), NULL);

		jw_obj(&w, NULL);
		put(&w, c, r->key + strlen(prefix), doc);
		jw_end(&w, '}');
	}
	jw_end(&w, ']');
	if (r && record_next(c->a->o.store, prefix, r->key))
		jw_strc(&w, "NextMarker", r->key);
	return api_reply_object(c, 200, &w);
}

/* The place behind "NAME" or "NAME:VERSION", which was the last one given. */
static const struct function *continue_at(const struct store *s, struct str marker, unsigned *ret_version)
{
	struct str name = marker, number = STR_NULL;
	const struct function *f;
	int64_t n = 0;

	*ret_version = 0;
	str_cut(marker, ':', &name, &number);
	f = function_get(s, name);
	if (!number.n || !f || str_to_i64(number, 0, INT32_MAX, &n) < 0) {
		auto_free char *text = str_dup(name);

		return function_after(s, text);
	}
	while (*ret_version < f->n_versions && f->versions[*ret_version]->version <= n)
		++*ret_version;
	if (*ret_version < f->n_versions) {
		++*ret_version; /* 0 is $LATEST */
		return f;
	}
	*ret_version = 0;
	return function_next(s, f);
}

int lambda_list_functions(struct api_call *c)
{
	const struct store *s = c->a->o.store;
	auto_buf marker = {0}, which = {0};
	char number[VERSION_TEXT];
	const struct function *f;
	unsigned v = 0;
	int64_t left;
	bool all;
	auto_object(w, b);

	if (api_page_size(c, &left) < 0)
		return -1;
	all = api_query(c->r, "FunctionVersion", &which) && str_eqc(buf_str(&which), "ALL");
	f = api_query(c->r, "Marker", &marker) && marker.n ? continue_at(s, buf_str(&marker), &v)
							   : function_next(s, NULL);
	buf_clear(&marker);
	jw_arr(&w, "Functions");
	for (; f && left; left--) {
		const struct revision *r = v ? f->versions[v - 1] : f->latest;

		api_function_config(&w, NULL, c->a, f, r, CONFIG_NOW, all ? revision_version(r, number) : NULL);
		buf_clear(&marker);
		buf_adds(&marker, f->name);
		if (all)
			buf_addf(&marker, ":%d", r->version);
		if (!all || v == f->n_versions)
			f = function_next(s, f), v = 0;
		else
			v++;
	}
	jw_end(&w, ']');
	if (f)
		jw_str(&w, "NextMarker", buf_str(&marker));
	return api_reply_object(c, 200, &w);
}

static int delete_version(struct api_call *c, struct function *f)
{
	int number = function_version_number(str_of(c->name.qualifier));
	struct revision *r = number > 0 ? function_version(f, number) : NULL;
	const struct alias *a = r ? function_alias_to(f, number) : NULL;

	if (!number)
		return api_fail(&c->e, API_INVALID_PARAMETER,
				"$LATEST version cannot be deleted without deleting the function.");
	if (number < 0)
		return api_fail(&c->e, API_INVALID_PARAMETER, "Deletion of aliases is not currently supported.");
	if (a)
		return api_fail(&c->e, API_CONFLICT,
				"Version %d cannot be deleted: it is referenced by the alias %s. Point that to another "
				"version, or delete it.",
				number, a->name);
	if (!r)
		return api_reply_empty(c, 204); /* what was asked for is so */
	function_forget(c->a->o.store, f, c->name.qualifier);
	version_del(c->a->o.store, api_saving(c, 204, STR_NULL, true), f, r);
	return 0;
}

int lambda_delete_function(struct api_call *c)
{
	struct function *f = function_get(c->a->o.store, str_of(c->name.name));

	if (!f)
		return api_no_function(c, c->name.qualifier);
	if (c->name.qualifier[0])
		return delete_version(c, f);
	if (f->updating)
		return api_in_update(c, f);
	function_del(c->a->o.store, api_saving(c, 204, STR_NULL, true), f);
	return 0;
}
