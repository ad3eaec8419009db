/* SPDX-License-Identifier: Apache-2.0 */
/* ECR: the repositories of this machine's registry (image/registry.h), as the AWS API has them. */
#include <stdio.h>
#include "api/api_int.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "image/reference.h"
#include "image/registry.h"

/* What a repository's record holds. */
static const char *const members[] = {"created_us", "immutable", "scan_on_push", "tags", "policy", "lifecycle"};

static api_run create, describe, delete, authorization, policy, mutability, scanning, list_tags, tag, untag;

#define REPO   "registryId:s,repositoryName!:s"
#define PAGE   "maxResults:i,nextToken:s"
#define IDS    "imageIds:[{imageDigest:s,imageTag:s}]"
#define FILTER "filter:{tagStatus:s(TAGGED|UNTAGGED|ANY)}"
#define TAGS   "tags:[{Key!:s,Value=\"\":s}]"
#define SCAN   "imageScanningConfiguration:{scanOnPush:b}"
#define MUTE   "imageTagMutability=\"MUTABLE\":s(MUTABLE|IMMUTABLE)"

/* Their bodies as shape.h says. */
const struct api_op ecr_ops[] = {
	{"ecr", NULL, "{" REPO "," TAGS "," MUTE "," SCAN "}", "CreateRepository", SUBJECT_OWN, create},
	{"ecr", NULL, "{registryId:s,repositoryNames:[s]," PAGE "}", "DescribeRepositories", SUBJECT_NONE, describe},
	{"ecr", NULL, "{" REPO ",force:b}", "DeleteRepository", SUBJECT_OWN, delete},
	{"ecr", NULL, "{registryIds:[s]}", "GetAuthorizationToken", SUBJECT_NONE, authorization},
	{"ecr", NULL, "{" REPO "," IDS "," FILTER "," PAGE "}", "DescribeImages", SUBJECT_OWN, ecr_describe_images},
	{"ecr", NULL, "{" REPO "," FILTER "," PAGE "}", "ListImages", SUBJECT_OWN, ecr_list_images},
	{"ecr", NULL, "{" REPO "," IDS ",acceptedMediaTypes:[s]}", "BatchGetImage", SUBJECT_OWN, ecr_get_images},
	{"ecr", NULL, "{" REPO "," IDS "}", "BatchDeleteImage", SUBJECT_OWN, ecr_delete_images},
	{"ecr", NULL, "{" REPO ",imageManifest!:s,imageManifestMediaType:s,imageTag:s,imageDigest:s}", "PutImage",
	 SUBJECT_OWN, ecr_put_image},
	{"ecr", NULL, "{" REPO "}", "GetRepositoryPolicy", SUBJECT_OWN, policy},
	{"ecr", NULL, "{" REPO ",policyText!:s,force:b}", "SetRepositoryPolicy", SUBJECT_OWN, policy},
	{"ecr", NULL, "{" REPO "}", "DeleteRepositoryPolicy", SUBJECT_OWN, policy},
	{"ecr", NULL, "{" REPO "}", "GetLifecyclePolicy", SUBJECT_OWN, policy},
	{"ecr", NULL, "{" REPO ",lifecyclePolicyText!:s}", "PutLifecyclePolicy", SUBJECT_OWN, policy},
	{"ecr", NULL, "{" REPO "}", "DeleteLifecyclePolicy", SUBJECT_OWN, policy},
	{"ecr", NULL, "{" REPO "," MUTE "}", "PutImageTagMutability", SUBJECT_OWN, mutability},
	{"ecr", NULL, "{" REPO "," SCAN "}", "PutImageScanningConfiguration", SUBJECT_OWN, scanning},
	{"ecr", NULL, "{resourceArn!:s}", "ListTagsForResource", SUBJECT_OWN, list_tags},
	{"ecr", NULL, "{resourceArn!:s," TAGS "}", "TagResource", SUBJECT_OWN, tag},
	{"ecr", NULL, "{resourceArn!:s,tagKeys:[s]}", "UntagResource", SUBJECT_OWN, untag},
	{0},
};

char *ecr_arn(const struct api *a, const char *repository)
{
	return xasprintf("arn:aws:ecr:%s:%s:repository/%s", a->where.region, a->where.account, repository);
}

/* --- the record --- */

static void put_value(struct jw *w, const char *key, const struct json *j)
{
	auto_free char *text = NULL;

	switch (json_type(j)) {
	case JSON_INT:
		jw_int(w, key, json_int(j, 0));
		break;
	case JSON_BOOL:
		jw_bool(w, key, json_bool(j, false));
		break;
	case JSON_STRING:
		jw_str(w, key, json_str(j));
		break;
	case JSON_ARRAY:
		text = json_text(j);
		jw_raw(w, key, str_of(text));
		break;
	default:
		break;
	}
}

/* old with another value of one member, or without it. */
static char *record_with(const struct json *old, const char *key, const struct json *value)
{
	struct buf doc = {0};
	struct jw w = jw_object(&doc);

	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		put_value(&w, members[i], strcmp(members[i], key) ? json_get(old, members[i]) : value);
	jw_end(&w, '}');
	return buf_take(&doc);
}

static char *first_record(const struct json *in)
{
	struct buf doc = {0};
	struct jw w = jw_object(&doc);

	jw_int(&w, "created_us", clock_wall_us());
	jw_bool(&w, "immutable", str_eqc(json_get_str(in, "imageTagMutability"), "IMMUTABLE"));
	jw_bool(&w, "scan_on_push", json_get_bool(json_get(in, "imageScanningConfiguration"), "scanOnPush", false));
	put_value(&w, "tags", json_get(in, "tags"));
	jw_end(&w, '}');
	return buf_take(&doc);
}

int ecr_make_repository(struct api *a, const char *name, struct err *e)
{
	auto_free char *doc = first_record(NULL);

	if (repository_room(a->o.images, e) < 0)
		return -1;
	repository_put(a->o.images, NULL, name, doc);
	return 0;
}

/* --- what is asked for --- */

static int no_repository(struct api_call *c, struct str name)
{
	return api_fail(&c->e, API_ECR_NO_REPOSITORY,
			"The repository with name '" STR_FMT "' does not exist in the registry with id '%s'",
			(int)(name.n < 256 ? name.n : 256), name.p ? name.p : "", c->a->where.account);
}

struct json *ecr_repository(struct api_call *c)
{
	struct str name = json_get_str(c->in, "repositoryName");
	auto_free char *arn = ecr_arn(c->a, name.n ? name.p : "");
	const char *doc;

	if (api_allowed(c, arn) < 0)
		return NULL;
	doc = repository_name_ok(name) ? repository_get(c->a->o.images, name.p) : NULL;
	if (!doc)
		no_repository(c, name);
	return doc ? json_parse(str_of(doc), NULL) : NULL;
}

static const char *name_of(const struct api_call *c)
{
	return json_get_str(c->in, "repositoryName").p;
}

/* Where this client finds it: by the address that it has for us, where that is this machine's own. Elsewhere by our
 * name at AWS, which the sandboxes' resolver knows. */
static void registry_host(const struct api_call *c, char out[300], bool *ret_plain)
{
	auto_free char *text = xasprintf(STR_FMT "/ab", STR_ARG(http_header(c->r, "host")));
	struct reference r;

	*ret_plain = reference_parse(text, &r, NULL) == 0 && r.loopback;
	if (*ret_plain)
		snprintf(out, 300, "%s", r.host);
	else
		snprintf(out, 300, "%s.dkr.ecr.%s.amazonaws.com", c->a->where.account, c->a->where.region);
}

static void put_repository(struct jw *w, const char *key, const struct api_call *c, const char *name,
			   const struct json *doc)
{
	auto_free char *arn = ecr_arn(c->a, name), *uri = NULL;
	char host[300];
	bool plain;

	registry_host(c, host, &plain);
	uri = xasprintf("%s/%s", host, name);
	jw_obj(w, key);
	jw_strc(w, "repositoryArn", arn);
	jw_strc(w, "registryId", c->a->where.account);
	jw_strc(w, "repositoryName", name);
	jw_strc(w, "repositoryUri", uri);
	jw_real(w, "createdAt", (double)json_get_int(doc, "created_us", 0) / 1e6);
	jw_strc(w, "imageTagMutability", json_get_bool(doc, "immutable", false) ? "IMMUTABLE" : "MUTABLE");
	jw_obj(w, "imageScanningConfiguration");
	jw_bool(w, "scanOnPush", json_get_bool(doc, "scan_on_push", false));
	jw_end(w, '}');
	jw_obj(w, "encryptionConfiguration");
	jw_strc(w, "encryptionType", "AES256");
	jw_end(w, '}');
	jw_end(w, '}');
}

/* --- repositories --- */

static int create(struct api_call *c)
{
	struct str name = json_get_str(c->in, "repositoryName");
	auto_free char *arn = ecr_arn(c->a, name.p), *text = first_record(c->in);
	auto_json doc = json_parse(str_of(text), NULL);
	auto_object(w, out);
	struct err e = {0};

	if (api_allowed(c, arn) < 0)
		return -1;
	if (!repository_name_ok(name))
		return api_fail(&c->e, API_INVALID_MEMBER,
				"Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy "
				"regular expression "
				"'(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*''");
	if (repository_get(c->a->o.images, name.p))
		return api_fail(&c->e, API_ECR_EXISTS,
				"The repository with name '%s' already exists in the registry with id '%s'", name.p,
				c->a->where.account);
	if (repository_room(c->a->o.images, &e) < 0)
		return api_fail(&c->e, API_ECR_LIMIT, "%s", e.text);
	put_repository(&w, "repository", c, name.p, doc);
	jw_end(&w, '}');
	repository_put(c->a->o.images, api_saving(c, 200, buf_str(&out), false), name.p, text);
	return 0;
}

static int describe(struct api_call *c)
{
	const struct json *names = json_get(c->in, "repositoryNames");
	auto_object(w, out);

	jw_arr(&w, "repositories");
	for (size_t i = 0; i < json_len(names); i++) {
		struct str name = json_str(json_at(names, i));
		const char *text = repository_name_ok(name) ? repository_get(c->a->o.images, name.p) : NULL;
		auto_json doc = text ? json_parse(str_of(text), NULL) : NULL;

		if (!doc)
			return no_repository(c, name);
		put_repository(&w, NULL, c, name.p, doc);
	}
	for (const struct record *r = NULL;
	     !json_len(names) && (r = record_next(c->a->o.store, REPOSITORY, r ? r->key : NULL));) {
		auto_json doc = json_parse(str_of(r->value), NULL);

		put_repository(&w, NULL, c, r->key + sizeof(REPOSITORY) - 1, doc);
	}
	jw_end(&w, ']');
	return api_reply_object(c, 200, &w);
}

static int delete (struct api_call *c)
{
	auto_json doc = ecr_repository(c);
	auto_object(w, out);

	if (!doc)
		return -1;
	if (!json_get_bool(c->in, "force", false) && registry_next_image(c->a->o.images, name_of(c), NULL))
		return api_fail(&c->e, API_ECR_NOT_EMPTY,
				"The repository with name '%s' in registry with id '%s' cannot be deleted because it "
				"still contains images",
				name_of(c), c->a->where.account);
	put_repository(&w, "repository", c, name_of(c), doc);
	jw_end(&w, '}');
	repository_del(c->a->o.images, api_saving(c, 200, buf_str(&out), true), name_of(c));
	return 0;
}

static int authorization(struct api_call *c)
{
	const struct function *f =
		c->who.kind == PRINCIPAL_WORKLOAD ? function_get(c->a->o.store, str_of(c->who.name)) : NULL;
	const char *key = f ? f->access_key : store_setting(c->a->o.store, "operator_access_key");
	auto_buf plain = {0}, token = {0};
	auto_object(w, out);
	struct principal who;
	char host[300];
	bool is_plain;
	int64_t until_s;

	if (!f && c->who.kind == PRINCIPAL_WORKLOAD)
		return api_fail(&c->e, API_ACCESS_DENIED, "This workload has no key of its own.");
	registry_host(c, host, &is_plain);
	auto_free char *endpoint = xasprintf("%s://%s", is_plain ? "http" : "https", host);

	buf_adds(&plain, "AWS:");
	until_s = oci_password(str_of(key), api_secret(c->a, str_of(key), &who), &plain);
	enc_b64(&token, plain.p, plain.n);
	jw_arr(&w, "authorizationData");
	jw_obj(&w, NULL);
	jw_str(&w, "authorizationToken", buf_str(&token));
	jw_int(&w, "expiresAt", until_s);
	jw_strc(&w, "proxyEndpoint", endpoint);
	jw_end(&w, '}');
	jw_end(&w, ']');
	return api_reply_object(c, 200, &w);
}

/* Another value of one member of the record, and the answer once that is durable. */
static int change(struct api_call *c, const char *name, const struct json *doc, const char *key,
		  const struct json *value, struct jw *w)
{
	auto_free char *text = record_with(doc, key, value);

	jw_end(w, '}');
	repository_put(c->a->o.images, api_saving(c, 200, buf_str(w->out), false), name, text);
	return 0;
}

/* Kept and given back; the owner of the machine is the only account there is. */
static int policy(struct api_call *c)
{
	bool lifecycle = strstr(c->op->name, "Lifecycle"), get = c->op->name[0] == 'G', del = c->op->name[0] == 'D';
	const char *key = lifecycle ? "lifecycle" : "policy",
		   *member = lifecycle ? "lifecyclePolicyText" : "policyText";
	auto_json doc = ecr_repository(c);
	const struct json *new = json_get(c->in, member);
	auto_object(w, out);

	if (!doc)
		return -1;
	if ((get || del) && !json_get(doc, key))
		return api_fail(
			&c->e, lifecycle ? API_ECR_NO_LIFECYCLE : API_ECR_NO_POLICY,
			"%s policy does not exist for the repository with name '%s' in the registry with id '%s'",
			lifecycle ? "Lifecycle" : "Repository", name_of(c), c->a->where.account);
	jw_strc(&w, "registryId", c->a->where.account);
	jw_strc(&w, "repositoryName", name_of(c));
	jw_str(&w, member, json_str(get || del ? json_get(doc, key) : new));
	return get ? api_reply_object(c, 200, &w) : change(c, name_of(c), doc, key, del ? NULL : new, &w);
}

static int change_flag(struct api_call *c, const char *key, bool value, struct jw *w)
{
	auto_json doc = ecr_repository(c);
	auto_json flag = json_parse(value ? STR("[true]") : STR("[false]"), NULL);

	return doc ? change(c, name_of(c), doc, key, json_at(flag, 0), w) : -1;
}

static int mutability(struct api_call *c)
{
	struct str is = json_get_str(c->in, "imageTagMutability");
	auto_object(w, out);

	jw_strc(&w, "registryId", c->a->where.account);
	jw_strc(&w, "repositoryName", name_of(c));
	jw_str(&w, "imageTagMutability", is);
	return change_flag(c, "immutable", str_eqc(is, "IMMUTABLE"), &w);
}

static int scanning(struct api_call *c)
{
	bool on = json_get_bool(json_get(c->in, "imageScanningConfiguration"), "scanOnPush", false);
	auto_object(w, out);

	jw_strc(&w, "registryId", c->a->where.account);
	jw_strc(&w, "repositoryName", name_of(c));
	jw_obj(&w, "imageScanningConfiguration");
	jw_bool(&w, "scanOnPush", on);
	jw_end(&w, '}');
	return change_flag(c, "scan_on_push", on, &w);
}

/* --- tags of repositories --- */

/* The record of what resourceArn names, and its name; NULL: c->e. */
static struct json *resource(struct api_call *c, const char **ret_name)
{
	struct str arn = json_get_str(c->in, "resourceArn");
	auto_free char *begin = ecr_arn(c->a, "");
	const char *doc = NULL;

	if (api_allowed(c, arn.p) < 0)
		return NULL;
	if (str_starts(arn, begin)) {
		*ret_name = arn.p + strlen(begin);
		doc = repository_name_ok(str_of(*ret_name)) ? repository_get(c->a->o.images, *ret_name) : NULL;
	}
	if (!doc)
		no_repository(c, str_starts(arn, begin) ? str_of(*ret_name) : arn);
	return doc ? json_parse(str_of(doc), NULL) : NULL;
}

static int list_tags(struct api_call *c)
{
	const char *name;
	auto_json doc = resource(c, &name);
	auto_free char *text = json_get(doc, "tags") ? json_text(json_get(doc, "tags")) : xstrdup("[]");
	auto_object(w, out);

	jw_raw(&w, "tags", str_of(text));
	return doc ? api_reply_object(c, 200, &w) : -1;
}

static int change_tags(struct api_call *c, const struct json *without, const struct json *more)
{
	const char *name;
	auto_json doc = resource(c, &name);
	auto_buf list = {0};
	auto_object(w, out);
	struct jw l;

	if (!doc)
		return -1;
	jw_init(&l, &list);
	api_tags(&l, NULL, json_get(doc, "tags"), more, without);
	auto_json tags = json_parse(buf_str(&list), NULL);

	if (json_len(tags) > LIM_TAGS)
		return api_fail(&c->e, API_ECR_LIMIT, "A repository has at most %d tags.", LIM_TAGS);
	return change(c, name, doc, "tags", tags, &w);
}

static int tag(struct api_call *c)
{
	return change_tags(c, NULL, json_get(c->in, "tags"));
}

static int untag(struct api_call *c)
{
	return change_tags(c, json_get(c->in, "tagKeys"), NULL);
}
