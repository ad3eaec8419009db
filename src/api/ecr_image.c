/* SPDX-License-Identifier: Apache-2.0 */
/* ECR: images of a repository. */

#include "api/api_int.h"
#include "base/io.h"
#include "base/map.h"
#include "base/mem.h"
#include "image/manifest.h"
#include "image/reference.h"
#include "image/registry.h"

static const char *name_of(const struct api_call *c)
{
	return json_get_str(c->in, "repositoryName").p;
}

/* --- which --- */

/* The tags of each image, as a JSON array that is not closed: one pass for all of them. */
struct tags_of {
	char hex[65];
	struct buf json;
};

static void collect_tags(const struct images *t, const char *repository, struct map *ret)
{
	for (const char *tag = NULL; (tag = registry_next_tag(t, repository, tag));) {
		struct tags_of *of;
		char hex[65];

		if (!registry_find(t, repository, str_of(tag), hex))
			continue;
		of = map_get(ret, str_of(hex));
		if (!of) {
			of = xcalloc(1, sizeof(*of));
			strlcpy_(of->hex, hex, sizeof(of->hex));
			map_put(ret, str_of(of->hex), of);
		}
		buf_adds(&of->json, of->json.n ? "," : "[");
		jw_quote(&of->json, str_of(tag));
	}
}

static void free_tags(struct map *tags)
{
	struct tags_of *of;
	size_t pos = 0;

	while ((of = map_next(tags, &pos))) {
		buf_done(&of->json);
		free(of);
	}
	map_done(tags);
}
#define auto_tags auto_(free_tags) struct map

/* What filter.tagStatus leaves. */
static bool shown(const struct api_call *c, bool tagged)
{
	struct str only = json_get_str(json_get(c->in, "filter"), "tagStatus");

	return !only.n || str_eqc(only, "ANY") || str_eqc(only, tagged ? "TAGGED" : "UNTAGGED");
}

/* An imageId: both members must mean the same. */
static bool find(struct api_call *c, const struct json *id, char ret_hex[65])
{
	struct str digest = json_get_str(id, "imageDigest"), tag = json_get_str(id, "imageTag");
	const struct images *t = c->a->o.images;
	char by_tag[65];

	if (!digest.n)
		return tag.n && !str_starts(tag, "sha256:") && registry_find(t, name_of(c), tag, ret_hex);
	return str_starts(digest, "sha256:") && registry_find(t, name_of(c), digest, ret_hex) &&
	       (!tag.n || (registry_find(t, name_of(c), tag, by_tag) && !strcmp(by_tag, ret_hex)));
}

static void put_id(struct jw *w, const char *key, const char *hex, struct str tag)
{
	auto_free char *digest = hex ? xasprintf("sha256:%s", hex) : NULL;

	jw_obj(w, key);
	if (digest)
		jw_strc(w, "imageDigest", digest);
	if (tag.n)
		jw_str(w, "imageTag", tag);
	jw_end(w, '}');
}

static void put_failure(struct jw *w, const struct json *id)
{
	auto_free char *text = json_text(id);
	bool empty = !json_len(id);

	jw_obj(w, NULL);
	jw_raw(w, "imageId", str_of(text));
	jw_strc(w, "failureCode", empty ? "MissingDigestAndTag" : "ImageNotFound");
	jw_strc(w, "failureReason",
		empty ? "Invalid request parameters: both tag and digest cannot be null" : "Requested image not found");
	jw_end(w, '}');
}

/* --- reading --- */

static void put_detail(struct jw *w, const struct api_call *c, const char *hex, const struct tags_of *of)
{
	auto_json image = registry_image(c->a->o.images, name_of(c), hex);
	auto_free char *digest = xasprintf("sha256:%s", hex);
	struct str artifact = json_get_str(image, "config_type");

	jw_obj(w, NULL);
	jw_strc(w, "registryId", c->a->where.account);
	jw_strc(w, "repositoryName", name_of(c));
	jw_strc(w, "imageDigest", digest);
	if (of) {
		auto_free char *tags = xasprintf("%s]", of->json.p);

		jw_raw(w, "imageTags", str_of(tags));
	}
	jw_int(w, "imageSizeInBytes", json_get_int(image, "bytes", 0));
	jw_real(w, "imagePushedAt", (double)json_get_int(image, "pushed_us", 0) / 1e6);
	jw_str(w, "imageManifestMediaType", json_get_str(image, "type"));
	if (artifact.n)
		jw_str(w, "artifactMediaType", artifact);
	jw_end(w, '}');
}

static int no_image(struct api_call *c, const struct json *id)
{
	struct str digest = json_get_str(id, "imageDigest"), tag = json_get_str(id, "imageTag");

	return api_fail(&c->e, API_ECR_NO_IMAGE,
			"The image with imageId {imageDigest:'%.80s', imageTag:'%.130s'} does not exist within the "
			"repository with name '%s' in the registry with id '%s'",
			digest.n ? digest.p : "null", tag.n ? tag.p : "null", name_of(c), c->a->where.account);
}

int ecr_describe_images(struct api_call *c)
{
	const struct json *ids = json_get(c->in, "imageIds");
	auto_json doc = ecr_repository(c);
	auto_tags tags = {0};
	auto_object(w, out);

	if (!doc)
		return -1;
	collect_tags(c->a->o.images, name_of(c), &tags);
	jw_arr(&w, "imageDetails");
	for (size_t i = 0; i < json_len(ids); i++) {
		char hex[65];

		if (!find(c, json_at(ids, i), hex))
			return no_image(c, json_at(ids, i));
		put_detail(&w, c, hex, map_get(&tags, str_of(hex)));
	}
	for (const char *hex = NULL; !json_len(ids) && (hex = registry_next_image(c->a->o.images, name_of(c), hex));) {
		const struct tags_of *of = map_get(&tags, str_of(hex));

		if (shown(c, of))
			put_detail(&w, c, hex, of);
	}
	jw_end(&w, ']');
	return api_reply_object(c, 200, &w);
}

int ecr_list_images(struct api_call *c)
{
	const struct images *t = c->a->o.images;
	auto_json doc = ecr_repository(c);
	auto_tags tags = {0};
	auto_object(w, out);
	char leads_to[65];

	if (!doc)
		return -1;
	collect_tags(t, name_of(c), &tags);
	jw_arr(&w, "imageIds");
	for (const char *tag = NULL; shown(c, true) && (tag = registry_next_tag(t, name_of(c), tag));)
		if (registry_find(t, name_of(c), str_of(tag), leads_to))
			put_id(&w, NULL, leads_to, str_of(tag));
	for (const char *hex = NULL; shown(c, false) && (hex = registry_next_image(t, name_of(c), hex));)
		if (!map_get(&tags, str_of(hex)))
			put_id(&w, NULL, hex, STR_NULL);
	jw_end(&w, ']');
	return api_reply_object(c, 200, &w);
}

static int put_manifest(struct jw *w, const char *key, struct api_call *c, const char *hex, struct str tag)
{
	auto_json image = registry_image(c->a->o.images, name_of(c), hex);
	auto_close int fd = store_blob_open(c->a->o.store, hex, NULL);
	auto_buf text = {0};

	if (fd < 0 || io_read_all(fd, "manifest", MANIFEST_BYTES_MAX, &text, NULL) < 0)
		return api_fail(&c->e, API_SERVICE, "The manifest sha256:%s cannot be read.", hex);
	jw_obj(w, key);
	jw_strc(w, "registryId", c->a->where.account);
	jw_strc(w, "repositoryName", name_of(c));
	put_id(w, "imageId", hex, tag);
	jw_str(w, "imageManifest", buf_str(&text));
	jw_str(w, "imageManifestMediaType", json_get_str(image, "type"));
	jw_end(w, '}');
	return 0;
}

#define IDS_MAX 100 /* AWS's */

static int too_many(struct api_call *c)
{
	size_t n = json_len(json_get(c->in, "imageIds"));

	return n && n <= IDS_MAX ? 0
				 : api_fail(&c->e, API_INVALID_MEMBER,
					    "Invalid parameter at 'imageIds' failed to satisfy constraint: 'Member "
					    "must have length from 1 to %d'",
					    IDS_MAX);
}

int ecr_get_images(struct api_call *c)
{
	const struct json *ids = json_get(c->in, "imageIds");
	auto_json doc = ecr_repository(c);
	auto_buf failed = {0};
	auto_object(w, out);
	struct jw f;
	char hex[65];

	if (!doc || too_many(c) < 0)
		return -1;
	jw_init(&f, &failed);
	jw_arr(&f, NULL);
	jw_arr(&w, "images");
	for (size_t i = 0; i < json_len(ids); i++) {
		if (!find(c, json_at(ids, i), hex))
			put_failure(&f, json_at(ids, i));
		else if (put_manifest(&w, NULL, c, hex, json_get_str(json_at(ids, i), "imageTag")) < 0)
			return -1;
	}
	jw_end(&w, ']');
	jw_end(&f, ']');
	jw_raw(&w, "failures", buf_str(&failed));
	return api_reply_object(c, 200, &w);
}

/* --- changing --- */

/* A tag alone goes by itself, an image by its digest with all its tags. The last of it is what is waited for: writes are
 * durable in their order. */
int ecr_delete_images(struct api_call *c)
{
	const struct json *ids = json_get(c->in, "imageIds");
	struct images *t = c->a->o.images;
	auto_json doc = ecr_repository(c);
	auto_buf failed = {0};
	auto_object(w, out);
	struct jw f;
	char hex[65];

	if (!doc || too_many(c) < 0)
		return -1;
	jw_init(&f, &failed);
	jw_arr(&f, NULL);
	jw_arr(&w, "imageIds");
	for (size_t i = 0; i < json_len(ids); i++) {
		struct str tag = json_get_str(json_at(ids, i), "imageTag");

		if (!find(c, json_at(ids, i), hex)) {
			put_failure(&f, json_at(ids, i));
			continue;
		}
		put_id(&w, NULL, hex, tag);
		if (json_get_str(json_at(ids, i), "imageDigest").n)
			registry_del_image(t, NULL, name_of(c), hex);
		else
			registry_untag(t, NULL, name_of(c), tag.p);
	}
	jw_end(&w, ']');
	jw_end(&f, ']');
	jw_raw(&w, "failures", buf_str(&failed));
	jw_end(&w, '}');
	auto_free char *same = xstrdup(repository_get(t, name_of(c)));

	repository_put(t, api_saving(c, 200, buf_str(&out), true), name_of(c), same);
	return 0;
}

struct putting {
	struct registry_put put;
	struct api_call c; /* in is not its own */
	char *repository, *tag;
};

static void put_done(struct registry_put *p, const struct err *e)
{
	static const enum api_code codes[ERR_N] = {[ERR_EXISTS] = API_ECR_TAG_EXISTS,
						   [ERR_NOT_FOUND] = API_ECR_NO_PART,
						   [ERR_INVALID] = API_INVALID_MEMBER,
						   [ERR_CORRUPT] = API_INVALID_MEMBER,
						   [ERR_LIMIT] = API_ECR_LIMIT};
	struct putting *x = container_of(p, struct putting, put);
	auto_object(w, out);

	jw_obj(&w, "image");
	jw_strc(&w, "registryId", x->c.a->where.account);
	jw_strc(&w, "repositoryName", x->repository);
	put_id(&w, "imageId", p->digest, str_of(x->tag));
	jw_end(&w, '}');
	if (e->kind)
		api_reply_fail(&x->c, codes[e->kind] ? codes[e->kind] : API_SERVICE, "%s", e->text);
	else
		api_reply_object(&x->c, 200, &w);
	free(x->repository);
	free(x->tag);
	free(x);
}

int ecr_put_image(struct api_call *c)
{
	struct str tag = json_get_str(c->in, "imageTag"), digest = json_get_str(c->in, "imageDigest");
	auto_json doc = ecr_repository(c);
	struct putting *x;
	struct err e = {0};

	if (!doc)
		return -1;
	if ((tag.n && !reference_tag_ok(tag)) ||
	    (digest.n &&
	     (!str_starts(digest, "sha256:") || !reference_digest_ok((struct str){digest.p + 7, digest.n - 7}))))
		return api_fail(&c->e, API_INVALID_MEMBER, "imageTag or imageDigest is not one.");
	x = xcalloc(1, sizeof(*x));
	x->put.done = put_done;
	x->c = *c;
	x->repository = xstrdup(name_of(c));
	x->tag = tag.n ? str_dup(tag) : NULL;
	c->r = NULL;
	if (registry_put_start(c->a->o.images, &x->put, x->repository, x->tag, digest.n ? digest.p + 7 : NULL,
			       json_get_str(c->in, "imageManifestMediaType"), json_get_str(c->in, "imageManifest"),
			       &e) < 0)
		put_done(&x->put, &e);
	else
		http_on_gone_clear(&x->c.r);
	return 0;
}
