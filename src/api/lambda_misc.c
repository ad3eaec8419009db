/* SPDX-License-Identifier: Apache-2.0 */
/* Tags, account settings, and what Terraform and the SDKs read beside a function. */

#include "api/api_int.h"
#include "api/lambda_concurrency.h"
#include "base/enc.h"
#include "base/limits.h"

static int reply_object(struct api_call *c,
			void (*fill)(struct jw *w, const struct api_call *c, const struct function *f),
			const struct function *f)
{
	auto_object(w, b);

	fill(&w, c, f);
	return api_reply_object(c, 200, &w);
}

static int with_function(struct api_call *c,
			 void (*fill)(struct jw *w, const struct api_call *c, const struct function *f))
{
	const struct function *f = api_function(c);

	return f ? reply_object(c, fill, f) : -1;
}

static void fill_tags(struct jw *w, const struct api_call *c, const struct function *f)
{
	pairs_write(w, "Tags", &f->tags);
}

int lambda_list_tags(struct api_call *c)
{
	return with_function(c, fill_tags);
}

static void fill_signing(struct jw *w, const struct api_call *c, const struct function *f)
{
	jw_strc(w, "FunctionName", f->name);
}

int lambda_get_code_signing(struct api_call *c)
{
	return with_function(c, fill_signing);
}

static void fill_account(struct jw *w, const struct api_call *c, const struct function *unused)
{
	const struct store *s = c->a->o.store;
	int64_t bytes = 0;

	for (const struct function *f = NULL; (f = function_next(s, f));)
		bytes += f->latest->code_bytes;
	jw_obj(w, "AccountLimit");
	jw_int(w, "TotalCodeSize", 80530636800);
	jw_int(w, "CodeSizeUnzipped", LIM_UNZIPPED_BYTES);
	jw_int(w, "CodeSizeZipped", LIM_ZIP_BYTES);
	jw_int(w, "ConcurrentExecutions", ACCOUNT_CONCURRENCY);
	jw_int(w, "UnreservedConcurrentExecutions", lambda_unreserved(s, NULL));
	jw_end(w, '}');
	jw_obj(w, "AccountUsage");
	jw_int(w, "TotalCodeSize", bytes);
	jw_int(w, "FunctionCount", (int64_t)function_count(s));
	jw_end(w, '}');
}

int lambda_get_account_settings(struct api_call *c)
{
	return reply_object(c, fill_account, NULL);
}

/* --- changing tags --- */

static void remove_tag(struct pairs *p, const char *name)
{
	for (unsigned i = 0; i < p->n; i++) {
		if (strcmp(p->p[i].name, name) != 0)
			continue;
		free(p->p[i].name);
		free(p->p[i].value);
		memmove(p->p + i, p->p + i + 1, (--p->n - i) * sizeof(*p->p));
		return;
	}
}

int lambda_add_tag(void *arg, const char *key, const struct json *value)
{
	struct pairs *p = arg;
	size_t n = strlen(key);

	if (json_type(value) != JSON_STRING || !n || n > LIM_TAG_NAME_BYTES || json_str(value).n > LIM_TAG_VALUE_BYTES)
		return -1;
	remove_tag(p, key);
	pairs_add(p, str_of(key), json_str(value));
	return p->n > LIM_TAGS ? -1 : 0;
}

int lambda_tag_resource(struct api_call *c)
{
	struct function *f = api_function(c);
	auto_json body = f ? api_body(c) : NULL;
	const struct json *tags = json_get(body, "Tags");
	struct pairs all = {0};

	if (!f || !body)
		return -1;
	pairs_copy(&all, &f->tags);
	if (json_type(tags) != JSON_OBJECT || json_each(tags, lambda_add_tag, &all) != 0) {
		pairs_done(&all);
		return api_fail(&c->e, API_INVALID_PARAMETER, LAMBDA_BAD_TAGS);
	}
	pairs_done(&f->tags);
	f->tags = all;
	return api_save(c, f, 204, STR_NULL);
}

int lambda_untag_resource(struct api_call *c)
{
	struct function *f = api_function(c);
	struct str rest = c->r->query, pair, k, v;
	unsigned n = 0;

	if (!f)
		return -1;
	while (str_next(&rest, '&', &pair)) {
		auto_buf key = {0};

		if (!str_cut(pair, '=', &k, &v) || !str_eqc(k, "tagKeys") || dec_percent(&key, v, true) < 0 || !key.n)
			continue;
		remove_tag(&f->tags, key.p);
		n++;
	}
	if (n)
		return api_save(c, f, 204, STR_NULL);
	return api_invalid(&c->e, "tagKeys", STR_NULL, 0, "not be null");
}
