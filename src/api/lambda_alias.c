/* SPDX-License-Identifier: Apache-2.0 */
/* Aliases: create, read, list, change, delete. */
#include "api/api_int.h"
#include "base/rand.h"
#include "store/version.h"

#define PATTERN "(?!^[0-9]+$)([a-zA-Z0-9-_]+)"

/* What a request says of an alias; what it does not say is as in the alias that is there. */
struct wish {
	int version, other;
	double weight;
	struct str description;
};

static void write_alias(struct jw *w, const struct api_call *c, const struct function *f, const struct alias *a)
{
	char arn[API_ARN_BYTES], number[VERSION_TEXT];

	jw_obj(w, NULL);
	jw_strc(w, "AliasArn", api_arn(&c->a->where, f->name, a->name, arn));
	jw_strc(w, "Name", a->name);
	jw_strc(w, "FunctionVersion", version_name(a->version, number));
	jw_strc(w, "Description", a->description ? a->description : "");
	if (a->other) {
		jw_obj(w, "RoutingConfig");
		jw_obj(w, "AdditionalVersionWeights");
		jw_real(w, version_name(a->other, number), a->weight);
		jw_end(w, '}');
		jw_end(w, '}');
	}
	jw_strc(w, "RevisionId", a->id);
	jw_end(w, '}');
}

static int reply_alias(struct api_call *c, struct function *f, const struct alias *a, int status, bool changed)
{
	auto_buf b = {0};
	struct jw w;

	jw_init(&w, &b);
	write_alias(&w, c, f, a);
	return changed ? api_save(c, f, status, buf_str(&b)) : api_reply_json(c, status, buf_str(&b));
}

struct routing {
	struct api_call *c;
	struct wish *wish;
};

static int read_weight(void *arg, const char *key, const struct json *value)
{
	struct routing *r = arg;
	double weight = json_real(value, -1);

	r->wish->other = function_version_number(str_of(key));
	r->wish->weight = weight;
	if (r->wish->other <= 0)
		return api_fail(&r->c->e, API_VALIDATION,
				"1 validation error detected: Value '{%.64s=%g}' at "
				"'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map keys must "
				"satisfy constraint: [Member must have length less than or equal to 1024, Member must "
				"have length greater than or equal to 1, Member must satisfy regular expression "
				"pattern: [0-9]+]",
				key, weight);
	if (!(weight >= 0 && weight <= 1))
		return api_fail(&r->c->e, API_VALIDATION,
				"1 validation error detected: Value '{%.64s=%g}' at "
				"'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map value must "
				"satisfy constraint: [Member must have value less than or equal to 1.0, Member must "
				"have value greater than or equal to 0.0]",
				key, weight);
	return 0;
}

static int read_routing(struct api_call *c, const struct json *body, struct wish *wish)
{
	const struct json *routing = json_get(body, "RoutingConfig");
	const struct json *weights = json_get(routing, "AdditionalVersionWeights");

	if (json_type(routing) == JSON_OBJECT) { /* {} and no weights take them away */
		wish->other = 0;
		wish->weight = 0;
	}
	if (json_len(weights) > 1)
		return api_fail(&c->e, API_INVALID_PARAMETER,
				"Number of items in AdditionalVersionWeights cannot be greater than 1");
	if (json_type(weights) != JSON_OBJECT)
		return 0;
	return json_each(weights, read_weight, &(struct routing){c, wish}) ? -1 : 0;
}

static int read_wish(struct api_call *c, const struct function *f, const struct json *body, struct wish *wish)
{
	struct str version = json_get_str(body, "FunctionVersion");
	char number[VERSION_TEXT];

	if (version.n)
		wish->version = function_version_number(version);
	if (wish->version < 0)
		return api_invalid(&c->e, "functionVersion", version.p ? version : STR(""), 100,
				   "satisfy regular expression pattern: (\\$LATEST|[0-9]+)");
	if (!function_version(f, wish->version))
		return api_no_function(c, version.p);
	if (read_routing(c, body, wish) < 0)
		return -1;
	if (wish->other && !wish->version)
		return api_fail(&c->e, API_INVALID_PARAMETER,
				"$LATEST is not supported for an alias pointing to more than 1 version");
	if (wish->other && wish->other == wish->version)
		return api_fail(&c->e, API_INVALID_PARAMETER,
				"Invalid function version %d. Function version %d is already included in routing "
				"configuration.",
				wish->other, wish->other);
	if (wish->other && !function_version(f, wish->other))
		return api_no_function(c, version_name(wish->other, number));
	if (json_get_str(body, "Description").p)
		wish->description = json_get_str(body, "Description");
	return lambda_check_description(c, wish->description);
}

static void grant(struct alias *a, const struct wish *wish)
{
	char *description = str_dup(wish->description); /* may be the alias's own */

	a->version = wish->version;
	a->other = wish->other;
	a->weight = wish->weight;
	free(a->description);
	a->description = description;
	id_uuid(a->id);
}

static int read_name(struct api_call *c, const struct function *f, struct str name)
{
	char arn[API_ARN_BYTES];

	if (!str_name_ok(name, LIM_QUALIFIER_BYTES, "-_") || api_all_digits(name))
		return api_invalid(&c->e, "name", name.p ? name : STR(""), 140,
				   "satisfy regular expression pattern: " PATTERN);
	if (function_alias(f, name))
		return api_fail(&c->e, API_CONFLICT, "Alias already exists: %s",
				api_arn(&c->a->where, f->name, name.p, arn));
	if (f->n_aliases >= LIM_ALIASES)
		return api_fail(&c->e, API_INVALID_PARAMETER, "There are %d aliases already, which is the limit.",
				LIM_ALIASES);
	return 0;
}

int lambda_create_alias(struct api_call *c)
{
	auto_json body = api_body(c);
	struct function *f = body ? api_function(c) : NULL;
	struct str name = json_get_str(body, "Name");
	struct wish wish = {.version = -1};
	struct alias *a;

	if (!f || read_name(c, f, name) < 0 || read_wish(c, f, body, &wish) < 0)
		return -1;
	a = function_alias_add(f, name);
	grant(a, &wish);
	return reply_alias(c, f, a, 201, true);
}

static struct alias *find(struct api_call *c, struct function **ret)
{
	struct alias *a;
	char arn[API_ARN_BYTES];

	*ret = api_function(c);
	a = *ret ? function_alias(*ret, str_of(c->item)) : NULL;
	if (*ret && !a)
		api_fail(&c->e, API_NOT_FOUND, "Cannot find alias arn: %s",
			 api_arn(&c->a->where, (*ret)->name, c->item, arn));
	return a;
}

int lambda_get_alias(struct api_call *c)
{
	struct function *f;
	struct alias *a = find(c, &f);

	return a ? reply_alias(c, f, a, 200, false) : -1;
}

static int keeps_version(struct api_call *c, const struct function *f, const struct alias *a, const struct wish *wish)
{
	if (wish->version || !function_provisioned(f, str_of(a->name)))
		return 0;
	return api_fail(&c->e, API_INVALID_PARAMETER,
			"An alias with Provisioned Concurrency must point to a published version, not to $LATEST.");
}

int lambda_update_alias(struct api_call *c)
{
	auto_json body = api_body(c);
	struct function *f = NULL;
	struct alias *a = body ? find(c, &f) : NULL;
	struct str id = json_get_str(body, "RevisionId");
	struct wish wish = {0};

	if (a)
		wish = (struct wish){a->version, a->other, a->weight, str_of(a->description)};
	if (!a || (id.n && !str_eqc(id, a->id) && api_stale(c) < 0) || read_wish(c, f, body, &wish) < 0 ||
	    keeps_version(c, f, a, &wish) < 0)
		return -1;
	grant(a, &wish);
	return reply_alias(c, f, a, 200, true);
}

int lambda_delete_alias(struct api_call *c)
{
	struct function *f = api_function(c);
	struct alias *a = f ? function_alias(f, str_of(c->item)) : NULL;

	if (!f)
		return -1;
	if (!a)
		return api_reply_empty(c, 204);
	function_alias_del(f, a);
	function_forget(c->a->o.store, f, c->item);
	return api_save(c, f, 204, STR_NULL);
}

int lambda_list_aliases(struct api_call *c)
{
	const struct function *f = api_function(c);
	auto_buf marker = {0}, version = {0};
	const struct alias *last = NULL;
	unsigned i = 0;
	int64_t left;
	int only = -1;
	auto_object(w, b);

	if (!f || api_page_size(c, &left) < 0)
		return -1;
	if (api_query(c->r, "FunctionVersion", &version) && version.n)
		only = function_version_number(buf_str(&version));
	if (api_query(c->r, "Marker", &marker) && marker.n)
		while (i < f->n_aliases && strcmp(f->aliases[i].name, marker.p) <= 0)
			i++;
	jw_arr(&w, "Aliases");
	for (; i < f->n_aliases && left; i++) {
		const struct alias *a = &f->aliases[i];

		if (version.n && a->version != only && (!a->other || a->other != only))
			continue;
		write_alias(&w, c, f, a);
		last = a;
		left--;
	}
	jw_end(&w, ']');
	if (i < f->n_aliases && last)
		jw_strc(&w, "NextMarker", last->name);
	return api_reply_object(c, 200, &w);
}
