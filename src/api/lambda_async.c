/* SPDX-License-Identifier: Apache-2.0 */
/* EventInvokeConfig: how asynchronous events of a function are tried, and where their results go. The texts are AWS's. */
#include <string.h>
#include "api/lambda_config.h"
#include "store/record.h"
#include "store/version.h"
#include "trigger/outcome.h"

static const struct {
	const char *name, *member;
	int64_t min, max;
} numbers[] = {{"MaximumRetryAttempts", "maximumRetryAttempts", 0, 2},
	       {"MaximumEventAgeInSeconds", "maximumEventAgeInSeconds", 60, 21600}};

/* The function, if it has what the qualifier names. */
static struct function *find(struct api_call *c)
{
	struct function *f = function_get(c->a->o.store, str_of(c->name.name));

	if (f && function_resolve(f, str_of(c->name.qualifier), 0))
		return f;
	api_fail(&c->e, API_NOT_FOUND, "The function doesn't exist.");
	return NULL;
}

static struct json *stored(struct api_call *c)
{
	auto_free char *key = outcome_key(c->name.name, c->name.qualifier);
	const char *text = record_get(c->a->o.store, key);

	return text ? json_parse(str_of(text), NULL) : NULL;
}

static int none(struct api_call *c)
{
	const char *q = c->name.qualifier;
	char arn[API_ARN_BYTES];

	return api_fail(&c->e, API_NOT_FOUND, "The function %s doesn't have an EventInvokeConfig",
			api_arn(&c->a->where, c->name.name, q[0] ? q : "$LATEST", arn));
}

static void write_config(struct jw *w, struct api_call *c, const char *qualifier, const struct json *doc)
{
	const char *q = qualifier[0] ? qualifier : "$LATEST";
	auto_free char *to = json_text(json_get(doc, "DestinationConfig"));
	char arn[API_ARN_BYTES];

	jw_real(w, "LastModified", json_real(json_get(doc, "LastModified"), 0));
	jw_strc(w, "FunctionArn", api_arn(&c->a->where, c->name.name, q, arn));
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (json_get(doc, numbers[i].name))
			jw_int(w, numbers[i].name, json_get_int(doc, numbers[i].name, 0));
	jw_raw(w, "DestinationConfig", to ? str_of(to) : STR("{}"));
}

static int check(struct api_call *c, const struct json *body)
{
	const struct json *to = json_get(body, "DestinationConfig");
	bool any = json_len(json_get(to, "OnSuccess")) || json_len(json_get(to, "OnFailure"));

	if (authz_start(&c->who, &c->a->where, json_get(to, "OnSuccess"), "Destination", &c->e) < 0 ||
	    authz_start(&c->who, &c->a->where, json_get(to, "OnFailure"), "Destination", &c->e) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		const struct json *j = json_get(body, numbers[i].name);
		int64_t n = json_int(j, 0);

		if (json_type(j) == JSON_NONE || json_type(j) == JSON_NULL)
			continue;
		any = true;
		if (json_type(j) != JSON_INT)
			return api_fail(&c->e, API_SERIALIZATION, "%s must be a whole number", numbers[i].name);
		if (n < numbers[i].min || n > numbers[i].max)
			return lambda_out_of_range(&c->e, numbers[i].member, n, numbers[i].min, numbers[i].max);
	}
	return any ? 0
		   : api_fail(&c->e, API_INVALID_PARAMETER,
			      "You must specify at least one of error handling or destination setting.");
}

static void merge_member(struct jw *w, const char *name, const struct json *fresh, const struct json *old)
{
	const struct json *j = json_get(fresh, name);

	if (json_type(j) == JSON_NONE || json_type(j) == JSON_NULL)
		j = json_get(old, name);
	if (json_type(j) == JSON_INT) {
		jw_int(w, name, json_int(j, 0));
	} else if (json_type(j) == JSON_OBJECT) {
		auto_free char *text = json_text(j);

		jw_raw(w, name, str_of(text));
	}
}

/* What the request says, and where it says nothing, what there is. */
static struct json *merge(const struct json *fresh, const struct json *old)
{
	const struct json *to = json_get(fresh, "DestinationConfig"), *was = json_get(old, "DestinationConfig");
	auto_object(w, b);

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		merge_member(&w, numbers[i].name, fresh, old);
	jw_obj(&w, "DestinationConfig");
	merge_member(&w, "OnSuccess", to, was);
	merge_member(&w, "OnFailure", to, was);
	jw_end(&w, '}');
	jw_end(&w, '}');
	return json_parse(buf_str(&b), NULL);
}

static int put(struct api_call *c, bool keep)
{
	struct function *f = find(c);
	auto_json body = f ? api_body(c) : NULL;
	auto_json old = NULL;
	auto_json doc = NULL;
	auto_json now = NULL;
	struct store_tx tx;
	struct err e = {0};
	auto_object(w, b);

	if (!f || !body || check(c, body) < 0)
		return -1;
	if (keep && !(old = stored(c)))
		return none(c);
	doc = merge(body, old);
	store_tx_init(&tx);
	if (outcome_put(c->a->o.deliver, c->a->o.store, f->name, c->name.qualifier, doc, json_get_str(old, "project").p,
			&tx, &e) < 0)
		return api_fail(&c->e, API_INVALID_PARAMETER, "%s", e.text);
	now = stored(c);
	write_config(&w, c, c->name.qualifier, now);
	jw_end(&w, '}');
	return api_commit(c, &tx, 200, buf_str(&b));
}

int lambda_put_invoke_config(struct api_call *c)
{
	return put(c, false);
}

int lambda_update_invoke_config(struct api_call *c)
{
	return put(c, true);
}

int lambda_get_invoke_config(struct api_call *c)
{
	auto_json doc = find(c) ? stored(c) : NULL;
	auto_object(w, b);

	if (!doc)
		return c->e.code ? -1 : none(c);
	write_config(&w, c, c->name.qualifier, doc);
	return api_reply_object(c, 200, &w);
}

int lambda_delete_invoke_config(struct api_call *c)
{
	auto_free char *key = outcome_key(c->name.name, c->name.qualifier);

	if (!find(c))
		return -1;
	if (!record_get(c->a->o.store, key))
		return none(c);
	record_del(c->a->o.store, api_saving(c, 204, STR_NULL, false), key);
	return 0;
}

int lambda_list_invoke_configs(struct api_call *c)
{
	return find(c) ? api_list_kept(c, "async", "FunctionEventInvokeConfigs", write_config) : -1;
}
