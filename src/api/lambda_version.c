/* SPDX-License-Identifier: Apache-2.0 */
/* PublishVersion, ListVersionsByFunction. */
#include "api/api_int.h"
#include "store/version.h"

int lambda_publish(struct api_call *c, struct function *f, const char *description, int status, enum config_view view,
		   bool qualified)
{
	struct store *s = c->a->o.store;
	struct revision *r = f->n_versions ? f->versions[f->n_versions - 1] : NULL;
	bool same = r && revision_same(r, f->latest);
	char number[VERSION_TEXT];
	auto_buf b = {0};
	struct jw w;

	if (!same && f->n_versions >= LIM_VERSIONS)
		return api_fail(&c->e, API_INVALID_PARAMETER, "There are %d versions already, which is the limit.",
				LIM_VERSIONS);
	if (!same)
		r = version_publish(s, f, description);
	jw_init(&w, &b);
	api_function_config(&w, NULL, c->a, f, r, view, qualified ? revision_version(r, number) : NULL);
	if (same)
		api_reply_json(c, status, buf_str(&b));
	else
		version_put(s, api_saving(c, status, buf_str(&b), false), f, r);
	if (r->snapstart)
		sched_prepare(c->a->o.sched, f, r);
	return 0;
}

int lambda_check_description(struct api_call *c, struct str text)
{
	if (text.n <= LAMBDA_DESCRIPTION_MAX)
		return 0;
	return api_fail(&c->e, API_VALIDATION,
			"1 validation error detected: Value at 'description' failed to satisfy constraint: "
			"Member must have length less than or equal to %d",
			LAMBDA_DESCRIPTION_MAX);
}

/* What the caller believes $LATEST to be. */
static int check_latest(struct api_call *c, const struct function *f, const struct json *body)
{
	struct str sha = json_get_str(body, "CodeSha256"), id = json_get_str(body, "RevisionId");
	auto_buf have = {0};

	if (f->updating)
		return api_in_update(c, f);
	if (f->state != FUNCTION_ACTIVE)
		return api_fail(&c->e, API_CONFLICT,
				"The operation cannot be performed at this time. The function is currently in the "
				"following state: %s",
				f->state == FUNCTION_FAILED ? "Failed" : "Pending");
	if (id.n && !str_eqc(id, f->latest->id))
		return api_stale(c);
	api_code_digest(f->latest, &have);
	if (sha.n && !str_eq(sha, buf_str(&have)))
		return api_fail(&c->e, API_INVALID_PARAMETER,
				"CodeSHA256 (" STR_FMT ") is different from current CodeSHA256 in $LATEST (" STR_FMT
				"). Please try again with the CodeSHA256 in $LATEST.",
				(int)(sha.n < 100 ? sha.n : 100), sha.p, STR_ARG(buf_str(&have)));
	return 0;
}

int lambda_publish_version(struct api_call *c)
{
	auto_json body = api_body(c);
	struct function *f = body ? api_function(c) : NULL;
	struct str description = json_get_str(body, "Description");

	if (lambda_check_description(c, description) < 0 || !f || check_latest(c, f, body) < 0)
		return -1;
	return lambda_publish(c, f, description.n ? description.p : NULL, 201, CONFIG_NOW, true);
}

int lambda_list_versions(struct api_call *c)
{
	const struct function *f = api_function(c);
	int64_t left, after = -1;
	char number[VERSION_TEXT];
	auto_buf marker = {0};
	unsigned i = 0;
	auto_object(w, b);

	if (!f || api_page_size(c, &left) < 0)
		return -1;
	if (api_query(c->r, "Marker", &marker))
		str_to_i64(buf_str(&marker), 0, INT32_MAX, &after);
	while (i < f->n_versions && f->versions[i]->version <= after)
		i++;
	jw_arr(&w, "Versions");
	if (after < 0 && left--)
		api_function_config(&w, NULL, c->a, f, f->latest, CONFIG_NOW, "$LATEST");
	for (; i < f->n_versions && left; i++, left--)
		api_function_config(&w, NULL, c->a, f, f->versions[i], CONFIG_NOW,
				    revision_version(f->versions[i], number));
	jw_end(&w, ']');
	if (i < f->n_versions)
		jw_strc(&w, "NextMarker", i ? revision_version(f->versions[i - 1], number) : "0");
	return api_reply_object(c, 200, &w);
}
