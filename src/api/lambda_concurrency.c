/* SPDX-License-Identifier: Apache-2.0 */
/* Reserved and provisioned concurrency. What they do is in sched/; the texts are AWS's. */
#include "api/lambda_concurrency.h"
#include "api/lambda_config.h"
#include "base/clock.h"
#include "store/version.h"

int lambda_unreserved(const struct store *s, const struct function *except)
{
	int left = ACCOUNT_CONCURRENCY;

	for (const struct function *f = NULL; (f = function_next(s, f));)
		if (f != except)
			left -= f->reserved >= 0 ? f->reserved : function_provisioned_all(f);
	return left;
}

/* --- reserved --- */

static int read_count(struct api_call *c, const struct json *body, const char *key, const char *member, int min,
		      int *ret)
{
	const struct json *j = json_get(body, key);
	int64_t n = json_int(j, 0);

	if (json_type(j) != JSON_INT)
		return api_invalid(&c->e, member, STR_NULL, 0, "not be null");
	if (n < min)
		return lambda_out_of_range(&c->e, member, n, min, INT64_MAX);
	*ret = n < INT32_MAX ? (int)n : INT32_MAX;
	return 0;
}

static int check_reserved(struct api_call *c, const struct function *f, int n)
{
	int provisioned = function_provisioned_all(f);

	if (n < provisioned)
		return api_fail(&c->e, API_INVALID_PARAMETER,
				" ReservedConcurrentExecutions  %d should not be lower than function's total "
				"provisioned concurrency [%d].",
				n, provisioned);
	if (n > lambda_unreserved(c->a->o.store, f) - UNRESERVED_MIN)
		return api_fail(&c->e, API_INVALID_PARAMETER,
				"Specified ReservedConcurrentExecutions for function decreases account's "
				"UnreservedConcurrentExecution below its minimum value of [%d].",
				UNRESERVED_MIN);
	return 0;
}

static void write_reserved(struct buf *b, const struct function *f)
{
	struct jw w = jw_object(b);

	if (f->reserved >= 0)
		jw_int(&w, "ReservedConcurrentExecutions", f->reserved);
	jw_end(&w, '}');
}

int lambda_put_concurrency(struct api_call *c)
{
	auto_json body = api_body(c);
	struct function *f = body ? api_function(c) : NULL;
	auto_buf b = {0};
	int n;

	if (!f || read_count(c, body, "ReservedConcurrentExecutions", "reservedConcurrentExecutions", 0, &n) < 0 ||
	    check_reserved(c, f, n) < 0)
		return -1;
	f->reserved = n;
	write_reserved(&b, f);
	return api_save(c, f, 200, buf_str(&b));
}

int lambda_get_concurrency(struct api_call *c)
{
	const struct function *f = api_function(c);
	auto_buf b = {0};

	if (!f)
		return -1;
	write_reserved(&b, f);
	return api_reply_json(c, 200, buf_str(&b));
}

int lambda_delete_concurrency(struct api_call *c)
{
	struct function *f = api_function(c);

	if (!f)
		return -1;
	f->reserved = -1;
	return api_save(c, f, 204, STR_NULL);
}

/* --- provisioned --- */

/* The function, and the version that the qualifier means: published, or an alias of one. */
static struct function *find(struct api_call *c, struct revision **ret)
{
	const char *q = c->name.qualifier;
	struct function *f = function_get(c->a->o.store, str_of(c->name.name));
	char arn[API_ARN_BYTES];

	*ret = f ? function_resolve(f, str_of(q), 1) : NULL;
	if (!q[0])
		api_fail(&c->e, API_INVALID_PARAMETER,
			 "The function resource provided must be an alias or a published version.");
	else if (!strcmp(q, "$LATEST") || (*ret && !(*ret)->version))
		api_fail(&c->e, API_INVALID_PARAMETER,
			 "Provisioned Concurrency Configs cannot be applied to unpublished function versions.");
	else if (*ret)
		return f;
	else if (f && function_version_number(str_of(q)) < 0)
		api_fail(&c->e, API_NOT_FOUND, "Cannot find alias arn: %s", api_arn(&c->a->where, f->name, q, arn));
	else
		api_no_function(c, q);
	return NULL;
}

static int check_provisioned(struct api_call *c, const struct function *f, const struct revision *r, int n)
{
	const struct provisioned *p = function_provisioned(f, str_of(c->name.qualifier));
	int mine = p ? p->wanted : 0, left = lambda_unreserved(c->a->o.store, f);
	int all = function_provisioned_all(f) - mine + n;

	if (function_provisioned_of(f, r->version) > mine)
		return api_fail(&c->e, API_CONFLICT,
				function_version_number(str_of(c->name.qualifier)) < 0
					? "Alias can't be used for Provisioned Concurrency configuration on an already "
					  "Provisioned version"
					: "Version is pointed by a Provisioned Concurrency alias");
	if (f->reserved >= 0)
		return all <= f->reserved ? 0
					  : api_fail(&c->e, API_INVALID_PARAMETER,
						     "Requested Provisioned Concurrency should not be greater than the "
						     "reservedConcurrentExecution for function");
	if (all > left)
		return api_fail(&c->e, API_INVALID_PARAMETER,
				"Specified ConcurrentExecutions for function is greater than account's unreserved "
				"concurrency [%d].",
				left);
	if (all > left - UNRESERVED_MIN)
		return api_fail(&c->e, API_INVALID_PARAMETER,
				"Specified ConcurrentExecutions for function decreases account's "
				"UnreservedConcurrentExecution below its minimum value of [%d].",
				UNRESERVED_MIN);
	return 0;
}

static void write_provisioned(struct jw *w, const struct api_call *c, const struct function *f,
			      const struct provisioned *p, bool fresh)
{
	struct revision *r = function_resolve(f, str_of(p->qualifier), 1);
	char when[32];
	struct sched_kept k = {.wanted = p->wanted};

	if (r && !fresh)
		sched_kept(c->a->o.sched, f, r, &k);
	jw_int(w, "RequestedProvisionedConcurrentExecutions", p->wanted);
	jw_int(w, "AvailableProvisionedConcurrentExecutions", k.ready);
	jw_int(w, "AllocatedProvisionedConcurrentExecutions", k.ready);
	jw_strc(w, "Status", k.ready >= p->wanted ? "READY" : k.reason ? "FAILED" : "IN_PROGRESS");
	if (k.ready < p->wanted && k.reason)
		jw_strc(w, "StatusReason", k.reason);
	jw_strc(w, "LastModified", clock_fmt_lambda(p->modified_wall_us, when));
}

int lambda_put_provisioned(struct api_call *c)
{
	auto_json body = api_body(c);
	struct provisioned *p;
	struct function *f;
	struct revision *r;
	int n;
	auto_object(w, b);

	if (!body ||
	    read_count(c, body, "ProvisionedConcurrentExecutions", "provisionedConcurrentExecutions", 1, &n) < 0 ||
	    !(f = find(c, &r)) || check_provisioned(c, f, r, n) < 0)
		return -1;
	p = function_provisioned(f, str_of(c->name.qualifier));
	if (!p)
		p = function_provisioned_add(f, str_of(c->name.qualifier));
	p->wanted = n;
	p->modified_wall_us = clock_wall_us();
	write_provisioned(&w, c, f, p, true);
	jw_end(&w, '}');
	return api_save(c, f, 202, buf_str(&b));
}

static int list(struct api_call *c)
{
	const struct function *f = api_function(c);
	auto_buf marker = {0};
	char arn[API_ARN_BYTES];
	int64_t left;
	unsigned i = 0;
	auto_object(w, b);

	if (!f || api_page_size(c, &left) < 0)
		return -1;
	if (api_query(c->r, "Marker", &marker) && marker.n)
		while (i < f->n_provisioned && strcmp(f->provisioned[i].qualifier, marker.p) <= 0)
			i++;
	jw_arr(&w, "ProvisionedConcurrencyConfigs");
	for (; i < f->n_provisioned && left; i++, left--) {
		jw_obj(&w, NULL);
		jw_strc(&w, "FunctionArn", api_arn(&c->a->where, f->name, f->provisioned[i].qualifier, arn));
		write_provisioned(&w, c, f, &f->provisioned[i], false);
		jw_end(&w, '}');
	}
	jw_end(&w, ']');
	if (i < f->n_provisioned)
		jw_strc(&w, "NextMarker", f->provisioned[i - 1].qualifier);
	return api_reply_object(c, 200, &w);
}

int lambda_get_provisioned(struct api_call *c)
{
	const struct provisioned *p;
	struct function *f;
	struct revision *r;
	auto_buf all = {0};
	auto_object(w, b);

	if (api_query(c->r, "List", &all))
		return list(c);
	f = find(c, &r);
	if (!f)
		return -1;
	p = function_provisioned(f, str_of(c->name.qualifier));
	if (!p)
		return api_fail(&c->e, API_NO_PROVISIONED, "No Provisioned Concurrency Config found for this function");
	write_provisioned(&w, c, f, p, false);
	return api_reply_object(c, 200, &w);
}

int lambda_delete_provisioned(struct api_call *c)
{
	struct revision *r;
	struct function *f = find(c, &r);
	struct provisioned *p = f ? function_provisioned(f, str_of(c->name.qualifier)) : NULL;

	if (!f)
		return -1;
	if (!p)
		return api_reply_empty(c, 204);
	function_provisioned_del(f, p);
	return api_save(c, f, 204, STR_NULL);
}
