/* SPDX-License-Identifier: Apache-2.0 */
/* Event source mappings: create, read, list, change, delete. What they do is trigger/mapping.h's. */
#include "api/api_int.h"
#include "api/shape.h"
#include "base/mem.h"
#include "base/rand.h"

#define CHANGES                                                                                                        \
	"FunctionName:s,Enabled:b,BatchSize:i,MaximumBatchingWindowInSeconds:i,MaximumRetryAttempts:i,"                \
	"MaximumRecordAgeInSeconds:i,BisectBatchOnFunctionError:b,ParallelizationFactor:i,TumblingWindowInSeconds:i,"  \
	"FunctionResponseTypes:[s],FilterCriteria:{Filters:[{Pattern:s}]},ScalingConfig:{MaximumConcurrency:i},"       \
	"DestinationConfig:{OnFailure:{Destination:s}}"

static int failed(struct api_call *c, const struct err *e)
{
	static const enum api_code codes[ERR_N] = {[ERR_NOT_FOUND] = API_NOT_FOUND,
						   [ERR_EXISTS] = API_CONFLICT,
						   [ERR_LIMIT] = API_VALIDATION,
						   [ERR_INVALID] = API_INVALID_PARAMETER};

	return api_fail(&c->e, codes[e->kind] ? codes[e->kind] : API_SERVICE, "%s", e->text);
}

/* The body as its shape lets it through; NULL: c->e. */
static struct json *read_body(struct api_call *c, const char *shape)
{
	auto_json body = api_body(c);
	auto_buf copy = {0};

	if (!body)
		return NULL;
	if (shape_copy(shape, body, &copy, &c->e) < 0) {
		c->e.code = API_VALIDATION;
		return NULL;
	}
	return json_parse(buf_str(&copy), NULL);
}

static int may(struct api_call *c, const char *uuid)
{
	auto_free char *arn = xasprintf("arn:aws:lambda:%s:%s:event-source-mapping:%s", c->a->where.region,
					c->a->where.account, uuid);

	return api_allowed(c, arn);
}

/* The one of the path; NULL: c->e. */
static struct mapping *find(struct api_call *c)
{
	struct mapping *m = may(c, c->item) < 0 ? NULL : mapping_get(c->a->o.mappings, str_of(c->item));

	if (!m && !c->e.code)
		api_fail(&c->e, API_NOT_FOUND, "The resource you requested does not exist.");
	return m;
}

struct merge {
	struct jw *w;
	const struct json *over; /* its members instead */
};

static int keep(void *arg, const char *key, const struct json *v)
{
	struct merge *g = arg;
	auto_free char *text = NULL;

	if (g->over && json_get(g->over, key))
		return 0;
	switch (json_type(v)) {
	case JSON_STRING:
		jw_str(g->w, key, json_str(v));
		break;
	case JSON_BOOL:
		jw_bool(g->w, key, json_bool(v, false));
		break;
	case JSON_INT:
		jw_int(g->w, key, json_int(v, 0));
		break;
	case JSON_REAL:
		jw_real(g->w, key, json_real(v, 0));
		break;
	default:
		text = json_text(v);
		jw_raw(g->w, key, str_of(text));
	}
	return 0;
}

/* doc with what the request says; in it FunctionName is an ARN. NULL: c->e. */
static struct json *merged(struct api_call *c, const struct json *doc, const struct json *in)
{
	struct str function = json_get_str(in, "FunctionName");
	struct api_name name;
	char arn[API_ARN_BYTES];
	auto_buf over = {0};
	auto_object(w, b);
	struct jw ow = jw_object(&over);
	auto_json said = NULL;

	json_each(in, keep, &(struct merge){.w = &ow});
	if (function.n) {
		if (api_name_parse(function, &c->a->where, &name, &c->e) < 0)
			return NULL;
		jw_strc(&ow, "FunctionArn", api_arn(&c->a->where, name.name, name.qualifier, arn));
	}
	jw_end(&ow, '}');
	said = json_parse(buf_str(&over), NULL);
	json_each(doc, keep, &(struct merge){&w, said});
	json_each(said, keep, &(struct merge){.w = &w});
	jw_end(&w, '}');
	return json_parse(buf_str(&b), NULL);
}

/* Who makes a mapping must be allowed what it does: to read its source, to invoke, and to send what failed. */
static int may_map(struct api_call *c, const struct json *in, const struct json *doc)
{
	struct str source = json_get_str(in, "EventSourceArn");
	const struct json *failed_to = json_get(json_get(in, "DestinationConfig"), "OnFailure");

	if (source.n && authz_check(&c->who, c->a->where.account,
				    str_starts(source, "arn:aws:sqs:") ? "sqs:ReceiveMessage" : "kinesis:GetRecords",
				    source.p, &c->e) < 0)
		return -1;
	if (json_get(in, "FunctionName") && authz_start(&c->who, &c->a->where, doc, "FunctionArn", &c->e) < 0)
		return -1;
	return authz_start(&c->who, &c->a->where, failed_to, "Destination", &c->e);
}

static int put(struct api_call *c, struct str uuid, const struct json *doc, const char *state)
{
	struct store_tx parts;
	auto_buf b = {0};
	struct jw w;
	struct err e;

	store_tx_init(&parts);
	if (mapping_put(c->a->o.mappings, uuid, doc, NULL, &parts, &e) < 0)
		return failed(c, &e);
	jw_init(&w, &b);
	mapping_write(&w, NULL, mapping_get(c->a->o.mappings, uuid), state);
	return api_commit(c, &parts, 202, buf_str(&b));
}

int lambda_create_mapping(struct api_call *c)
{
	auto_json in = read_body(c, "{EventSourceArn:s,StartingPosition:s,StartingPositionTimestamp:t," CHANGES "}");
	auto_json doc = NULL;
	char uuid[37];

	if (!in)
		return -1;
	if (!json_get_str(in, "FunctionName").n)
		return api_invalid(&c->e, "functionName", STR_NULL, 0, "not be null");
	doc = merged(c, NULL, in);
	id_uuid(uuid);
	return doc && may_map(c, in, doc) == 0
		       ? put(c, str_of(uuid), doc, json_get_bool(doc, "Enabled", true) ? "Creating" : "Disabled")
		       : -1;
}

int lambda_update_mapping(struct api_call *c)
{
	struct mapping *m = find(c);
	auto_json in = m ? read_body(c, "{" CHANGES "}") : NULL;
	auto_json doc = in ? merged(c, mapping_doc(m), in) : NULL;
	bool was = m && json_get_bool(mapping_doc(m), "Enabled", true), is = json_get_bool(doc, "Enabled", true);

	return doc && may_map(c, in, doc) == 0 ? put(c, str_of(c->item), doc,
						     was == is ? "Updating"
						     : is      ? "Enabling"
							       : "Disabling")
					       : -1;
}

int lambda_get_mapping(struct api_call *c)
{
	const struct mapping *m = find(c);
	auto_buf b = {0};
	struct jw w;

	if (!m)
		return -1;
	jw_init(&w, &b);
	mapping_write(&w, NULL, m, NULL);
	return api_reply_json(c, 200, buf_str(&b));
}

int lambda_delete_mapping(struct api_call *c)
{
	struct mapping *m = find(c);
	struct store_tx parts;
	auto_buf b = {0};
	struct jw w;

	if (!m)
		return -1;
	jw_init(&w, &b);
	mapping_write(&w, NULL, m, "Deleting");
	store_tx_init(&parts);
	mapping_delete(m, &parts);
	return api_commit(c, &parts, 202, buf_str(&b));
}

int lambda_list_mappings(struct api_call *c)
{
	auto_buf source = {0}, function = {0}, marker = {0};
	const struct mapping *m = NULL;
	struct api_name name = {0};
	char arn[API_ARN_BYTES] = "";
	struct str last = STR_NULL;
	int64_t left;
	auto_object(w, b);

	if (api_page_size(c, &left) < 0)
		return -1;
	api_query(c->r, "EventSourceArn", &source);
	api_query(c->r, "Marker", &marker);
	if (api_query(c->r, "FunctionName", &function) && function.n) {
		if (api_name_parse(buf_str(&function), &c->a->where, &name, &c->e) < 0)
			return -1;
		api_arn(&c->a->where, name.name, name.qualifier, arn);
	}
	jw_arr(&w, "EventSourceMappings");
	while ((m = mapping_next(c->a->o.mappings, m))) {
		const struct json *doc = mapping_doc(m);

		if ((marker.n && strcmp(mapping_uuid(m), marker.p) <= 0) ||
		    (source.n && !str_eqc(json_get_str(doc, "EventSourceArn"), source.p)) ||
		    (arn[0] && !str_eqc(json_get_str(doc, "FunctionArn"), arn)))
			continue;
		if (!left--)
			break;
		mapping_write(&w, NULL, m, NULL);
		last = str_of(mapping_uuid(m));
	}
	jw_end(&w, ']');
	if (m)
		jw_str(&w, "NextMarker", last);
	return api_reply_object(c, 200, &w);
}
