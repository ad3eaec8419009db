/* SPDX-License-Identifier: Apache-2.0 */
/* Reading, listing and deleting functions. */
#include <stdio.h>

#include "api/api_int.h"
#include "api/code_url.h"
#include "base/mem.h"

#define PAGE_MAX 50

void lambda_get_function_configuration(struct api_call *c)
{
	const struct function *f = api_function(c);
	auto_buf b = {0};
	struct jw w;

	if (!f) {
		api_reply_err(c);
		return;
	}
	jw_init(&w, &b);
	api_function_config(&w, NULL, c->a, f, CONFIG_NOW, c->name.qualifier[0]);
	api_reply_json(c, 200, buf_str(&b));
}

void lambda_get_function(struct api_call *c)
{
	const struct function *f = api_function(c);
	struct str host = http_header(c->r, "host");
	auto_buf b = {0}, at = {0};
	struct jw w;

	if (!f) {
		api_reply_err(c);
		return;
	}
	jw_init(&w, &b);
	jw_obj(&w, NULL);
	api_function_config(&w, "Configuration", c->a, f, CONFIG_NOW, c->name.qualifier[0]);
	jw_obj(&w, "Code");
	jw_strc(&w, "RepositoryType", "S3");
	code_url_write(c->a, host, f->latest->code_sha256, &at);
	jw_str(&w, "Location", buf_str(&at));
	jw_end(&w, '}');
	if (f->tags.n) {
		jw_obj(&w, "Tags");
		for (unsigned i = 0; i < f->tags.n; i++)
			jw_strc(&w, f->tags.p[i].name, f->tags.p[i].value);
		jw_end(&w, '}');
	}
	jw_end(&w, '}');
	api_reply_json(c, 200, buf_str(&b));
}

/* MaxItems as AWS takes it: 1 to 10,000 may be asked for, never more than 50 come. */
static int page_size(struct api_call *c, int64_t *ret)
{
	auto_buf v = {0};

	*ret = PAGE_MAX;
	if (!api_query(c->r, "MaxItems", &v))
		return 0;
	if (str_to_i64(buf_str(&v), 1, 10000, ret) < 0)
		return api_fail(&c->e, API_VALIDATION,
				"1 validation error detected: Value '%.32s' at 'maxItems' failed to satisfy "
				"constraint: Member must have value between 1 "
				"and 10000",
				v.p ? v.p : "");
	if (*ret > PAGE_MAX)
		*ret = PAGE_MAX;
	return 0;
}

void lambda_list_functions(struct api_call *c)
{
	bool qualified = false;
	const struct function *f;
	auto_buf b = {0}, marker = {0}, version = {0};
	int64_t left;
	struct jw w;

	if (page_size(c, &left) < 0) {
		api_reply_err(c);
		return;
	}
	qualified = api_query(c->r, "FunctionVersion", &version) && str_eqc(buf_str(&version), "ALL");
	f = function_after(c->a->o.store, api_query(c->r, "Marker", &marker) && marker.n ? marker.p : NULL);
	jw_init(&w, &b);
	jw_obj(&w, NULL);
	jw_arr(&w, "Functions");
	for (; f && left; left--) {
		const struct function *next = function_next(c->a->o.store, f);

		api_function_config(&w, NULL, c->a, f, CONFIG_NOW, qualified);
		if (left == 1 && next) {
			jw_end(&w, ']');
			jw_strc(&w, "NextMarker", f->name);
			jw_end(&w, '}');
			api_reply_json(c, 200, buf_str(&b));
			return;
		}
		f = next;
	}
	jw_end(&w, ']');
	jw_end(&w, '}');
	api_reply_json(c, 200, buf_str(&b));
}

struct deleting {
	struct api_call c;
	struct store_op op;
};

static void delete_gone(void *arg)
{
	((struct deleting *)arg)->c.r = NULL;
}

static void deleted(struct store_op *op, const struct err *e)
{
	struct deleting *d = container_of(op, struct deleting, op);

	if (e->kind)
		api_reply_fail(&d->c, API_SERVICE, "The function is gone until the next start only: %s", e->text);
	else
		api_reply_empty(&d->c, 204);
	if (op->s)
		store_gc(op->s);
	free(d);
}

void lambda_delete_function(struct api_call *c)
{
	struct function *f = api_function(c);
	char arn[API_ARN_BYTES];
	struct deleting *d;

	if (!f) {
		api_reply_err(c);
		return;
	}
	if (c->name.qualifier[0]) {
		api_reply_fail(c, API_INVALID_PARAMETER,
			       "$LATEST version cannot be deleted without deleting the function.");
		return;
	}
	if (f->updating) {
		api_reply_fail(
			c, API_CONFLICT,
			"The operation cannot be performed at this time. An update is in progress for resource: %s",
			api_arn(&c->a->where, f->name, NULL, arn));
		return;
	}
	d = xcalloc(1, sizeof(*d));
	d->c = *c;
	d->op.done = deleted;
	http_on_gone(c->r, delete_gone, d);
	function_del(c->a->o.store, &d->op, f);
}
