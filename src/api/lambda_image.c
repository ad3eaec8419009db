/* SPDX-License-Identifier: Apache-2.0 */
/* Functions that are container images: Code.ImageUri and ImageConfig, as the revision's image (store/function.h). */
#include "api/lambda_config.h"
#include "base/mem.h"
#include "image/reference.h"

#define WORDS_MAX   1500 /* AWS's, as the next one */
#define WORKDIR_MAX 1000

static const struct {
	const char *aws, *ours;
} lists[] = {{"EntryPoint", "entrypoint"}, {"Command", "command"}};

static int put_words(struct jw *w, const char *key, const struct json *words, struct api_err *e)
{
	if (json_type(words) == JSON_NONE || json_type(words) == JSON_NULL || !json_len(words))
		return 0;
	if (json_type(words) != JSON_ARRAY || json_len(words) > WORDS_MAX)
		return api_fail(e, API_INVALID_PARAMETER, "ImageConfig: %s is a list of at most %d strings.", key,
				WORDS_MAX);
	jw_arr(w, key);
	for (size_t i = 0; i < json_len(words); i++) {
		if (json_type(json_at(words, i)) != JSON_STRING)
			return api_fail(e, API_SERIALIZATION, "ImageConfig: %s is a list of strings.", key);
		jw_str(w, NULL, json_str(json_at(words, i)));
	}
	jw_end(w, ']');
	return 0;
}

static int put_overrides(struct jw *w, const struct json *config, bool ours, struct api_err *e)
{
	struct str dir = json_get_str(config, ours ? "workdir" : "WorkingDirectory");

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		if (put_words(w, lists[i].ours, json_get(config, ours ? lists[i].ours : lists[i].aws), e) < 0)
			return -1;
	if (dir.n && (dir.p[0] != '/' || dir.n > WORKDIR_MAX))
		return api_fail(e, API_INVALID_PARAMETER, "ImageConfig: WorkingDirectory begins with \"/\".");
	if (dir.n)
		jw_str(w, "workdir", dir);
	return 0;
}

int lambda_image_read(const struct json *body, struct str uri, struct revision *r, struct api_err *e)
{
	const struct json *config = json_get(body, "ImageConfig");
	bool anew = json_type(config) == JSON_OBJECT;
	auto_json old = r->image ? json_parse(str_of(r->image), NULL) : NULL;
	struct reference ref;
	auto_object(w, out);

	if (uri.p && reference_parse(uri.p, &ref, NULL) < 0)
		return api_fail(e, API_INVALID_PARAMETER,
				"Source image %.300s is not valid. Provide a valid source image.", uri.p);
	jw_str(&w, "uri", uri.p ? uri : json_get_str(old, "uri"));
	if (put_overrides(&w, anew ? config : old, !anew, e) < 0)
		return -1;
	jw_end(&w, '}');
	free(r->image);
	r->image = buf_take(&out);
	if (uri.p)
		r->code_sha256[0] = 0; /* the deploy finds it */
	return 0;
}

void lambda_image_config(struct jw *w, const struct revision *r)
{
	auto_json image = json_parse(str_of(r->image), NULL);
	struct str dir = json_get_str(image, "workdir");

	if (json_len(image) < 2)
		return;
	jw_obj(w, "ImageConfigResponse");
	jw_obj(w, "ImageConfig");
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		put_words(w, lists[i].aws, json_get(image, lists[i].ours), NULL);
	if (dir.n)
		jw_str(w, "WorkingDirectory", dir);
	jw_end(w, '}');
	jw_end(w, '}');
}

void lambda_image_code(struct jw *w, const struct revision *r)
{
	auto_json image = json_parse(str_of(r->image), NULL);
	struct str uri = json_get_str(image, "uri");
	struct reference ref;

	jw_strc(w, "RepositoryType", "ECR");
	jw_str(w, "ImageUri", uri);
	if (reference_parse(uri.p, &ref, NULL) < 0)
		return;
	auto_free char *resolved = xasprintf("%s@sha256:%s", ref.name, r->code_sha256);

	jw_strc(w, "ResolvedImageUri", resolved);
}
