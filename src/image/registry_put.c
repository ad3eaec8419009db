/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manifest comes in: BLOB (durable) -> UNPACK (pull.h, from the blobs; passed through by what is no image for this
 * machine, or has no tag) -> SAVE (the records).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "image/image_int.h"
#include "image/manifest.h"
#include "image/pull.h"
#include "image/registry.h"
#include "json/write.h"
#include "store/digest.h"

/* --- reading it --- */

struct parts {
	const struct images *t;
	const char *repository;
	struct jw w; /* of the record: its parts are being written */
	unsigned n;
	int64_t bytes;
};

static int take_part(struct parts *p, const struct json *j, bool manifest, struct err *e)
{
	struct str digest = json_get_str(j, "digest");
	int64_t bytes = json_get_int(j, "size", -1);
	char hex[65];

	if (!str_starts(digest, "sha256:") || !reference_digest_ok((struct str){digest.p + 7, digest.n - 7}) ||
	    bytes < 0 || bytes > LIM_LAYER_BYTES)
		return err_set(e, ERR_INVALID,
			       "a part of the manifest has no size or no digest that is known here (sha256:...)");
	if (++p->n > LIM_MANIFEST_PARTS)
		return err_set(e, ERR_LIMIT, "a manifest has at most %d parts", LIM_MANIFEST_PARTS);
	if (json_len(json_get(j, "urls"))) /* kept elsewhere */
		return 0;
	strlcpy_(hex, digest.p + 7, sizeof(hex));
	if (manifest ? !registry_find(p->t, p->repository, digest, hex) : !registry_has_blob(p->t, p->repository, hex))
		return err_set(e, ERR_NOT_FOUND, "the manifest names sha256:%s, which was not pushed to %s", hex,
			       p->repository);
	p->bytes += bytes;
	jw_strc(&p->w, NULL, hex);
	return 0;
}

static int take_parts(struct parts *p, const struct json *list, bool manifests, struct err *e)
{
	for (size_t i = 0; i < json_len(list); i++)
		if (take_part(p, json_at(list, i), manifests, e) < 0)
			return -1;
	return 0;
}

static bool for_this_machine(struct str os, struct str arch)
{
	return (!os.n || str_eqc(os, "linux")) && (!arch.n || str_eqc(arch, image_host_arch()));
}

/* Of a container, and for this machine: then it can be unpacked. */
static bool is_image(const struct images *t, const struct json *config)
{
	struct str type = json_get_str(config, "mediaType"), digest = json_get_str(config, "digest");
	auto_close int fd = -1;
	auto_buf text = {0};

	if (!str_eqc(type, "application/vnd.oci.image.config.v1+json") &&
	    !str_eqc(type, "application/vnd.docker.container.image.v1+json"))
		return false;
	fd = store_blob_open(t->store, digest.p + 7, NULL);
	if (fd < 0 || io_read_all(fd, "configuration", CONFIG_BYTES_MAX, &text, NULL) < 0)
		return false;
	auto_json j = json_parse(buf_str(&text), NULL);
	return !j || for_this_machine(json_get_str(j, "os"), json_get_str(j, "architecture"));
}

/* Which of an index's is for this machine. */
static void choose(struct registry_put *p, const struct json *manifests)
{
	for (size_t i = 0; i < json_len(manifests) && !p->here[0]; i++) {
		const struct json *m = json_at(manifests, i), *on = json_get(m, "platform");
		char hex[65];

		if (!registry_find(p->t, p->repository, json_get_str(m, "digest"), hex) || !on ||
		    !for_this_machine(json_get_str(on, "os"), json_get_str(on, "architecture")))
			continue;
		auto_json j = registry_image(p->t, p->repository, hex);
		if (json_get_str(j, "here").n)
			strlcpy_(p->here, hex, sizeof(p->here));
	}
}

static int read_manifest(struct registry_put *p, struct str type, struct err *e)
{
	auto_json j = json_parse((struct str){p->text, p->n}, e);
	const struct json *config = json_get(j, "config"), *manifests = json_get(j, "manifests");
	struct str said = json_get_str(j, "mediaType");
	auto_buf out = {0};
	struct parts parts = {.t = p->t, .repository = p->repository, .w = jw_object(&out)};

	if (!j)
		return err_wrap(e, "the manifest");
	if (json_get_int(j, "schemaVersion", 0) != 2)
		return err_set(e, ERR_INVALID, "the manifest is of no kind that is known here (schema %lld)",
			       (long long)json_get_int(j, "schemaVersion", 0));
	type = type.n ? type : said;
	if (!str_name_ok(type, MANIFEST_TEXT, "/.+-") || (said.n && !str_eq(said, type)))
		return err_set(e, ERR_INVALID, "the manifest's type is not what the request says, or none");
	jw_arr(&parts.w, "parts");
	if ((config && take_part(&parts, config, false, e) < 0) ||
	    take_parts(&parts, json_get(j, "layers"), false, e) < 0 ||
	    take_parts(&parts, json_get(j, "blobs"), false, e) < 0 || take_parts(&parts, manifests, true, e) < 0)
		return -1;
	jw_end(&parts.w, ']');
	if (is_image(p->t, config))
		strlcpy_(p->here, p->digest, sizeof(p->here));
	else
		choose(p, manifests);
	jw_str(&parts.w, "type", type);
	jw_str(&parts.w, "config_type", json_get_str(config, "mediaType"));
	jw_strc(&parts.w, "here", p->here);
	jw_int(&parts.w, "bytes", parts.bytes);
	jw_int(&parts.w, "manifest_bytes", (int64_t)p->n);
	jw_int(&parts.w, "pushed_us", clock_wall_us());
	jw_end(&parts.w, '}');
	p->record = buf_take(&out);
	return 0;
}

/* --- what can be unpacked --- */

static int link_parts(struct images *t, const struct json *record, const char *hex, int dir, struct err *e)
{
	const struct json *parts = json_get(record, "parts");

	if (store_blob_link(t->store, hex, dir, "manifest.json", e) < 0)
		return -1;
	for (size_t i = 0; i < json_len(parts); i++) {
		const char *part = json_str(json_at(parts, i)).p;

		if (faccessat(dir, part, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
		    store_blob_link(t->store, part, dir, part, e) < 0)
			return -1;
	}
	return 0;
}

static int stage(struct images *t, const struct json *record, const char *hex, char ret_name[24], struct err *e)
{
	auto_close int dir = incoming_new(t, ret_name, e), image = -1;

	if (dir < 0)
		return -1;
	if (mkdirat(dir, "image", 0755) < 0 ||
	    (image = openat(dir, "image", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)) < 0)
		err_sys(e, errno, "make incoming/%s/image", ret_name);
	else if (link_parts(t, record, hex, image, e) == 0)
		return 0;
	images_sweep(t);
	return -1;
}

int registry_stage(struct images *t, const struct reference *r, char ret_name[24], struct err *e)
{
	const char *repository = r->name + strlen(r->host) + 1;
	auto_free char *by_digest = xasprintf("sha256:%s", r->digest);
	char hex[65];

	if (!registry_find(t, repository, str_of(r->tag[0] ? r->tag : by_digest), hex))
		return err_set(e, ERR_NOT_FOUND, "it was not pushed to this machine's registry");
	auto_json image = registry_image(t, repository, hex);
	struct str here = json_get_str(image, "here");

	if (!here.n)
		return err_set(e, ERR_INVALID, "it is no image of a container for linux/%s", image_host_arch());
	auto_json record = registry_image(t, repository, here.p);
	return stage(t, record, here.p, ret_name, e);
}

/* --- the operation --- */

static void finish(struct registry_put *p)
{
	struct err e = p->e;

	list_del(&p->node);
	free(p->repository);
	free(p->tag);
	free(p->text);
	free(p->record);
	p->done(p, &e);
}

static void saved(struct store_op *op, const struct err *e)
{
	struct registry_put *p = container_of(op, struct registry_put, op);

	p->e = *e;
	finish(p);
}

static void save(struct registry_put *p)
{
	auto_free char *key = xasprintf("manifest/%s@%s", p->repository, p->digest);
	auto_free char *tag = xasprintf("tag/%s:%s", p->repository, p->tag);

	p->op = (struct store_op){.done = saved};
	if (!repository_get(p->t, p->repository)) { /* deleted meanwhile */
		err_set(&p->e, ERR_NOT_FOUND, "there is no repository %s any more", p->repository);
		finish(p);
		return;
	}
	record_put(p->t->store, p->tag ? NULL : &p->op, key, p->record);
	if (p->tag)
		record_put(p->t->store, &p->op, tag, p->digest);
}

static void unpacked(void *arg, struct image *im, const struct err *e)
{
	struct registry_put *p = arg;

	p->pull = NULL;
	p->e = *e;
	if (e->kind)
		finish(p);
	else
		save(p);
}

static int unpack(struct registry_put *p)
{
	auto_free char *reference = xasprintf("%s/%s:%s", p->t->own, p->repository, p->tag);
	auto_json index = strcmp(p->here, p->digest) ? registry_image(p->t, p->repository, p->here) : NULL;
	auto_json own = json_parse(str_of(p->record), NULL);
	char dir[24];

	if (stage(p->t, index ? index : own, p->here, dir, &p->e) < 0)
		return -1;
	return pull_start(p->t, &(struct pull_opts){.reference = reference, .upload = dir, .done = unpacked, .arg = p},
			  &p->pull, &p->e);
}

static void is_blob(struct store_op *op, const struct err *e)
{
	struct registry_put *p = container_of(op, struct registry_put, op);

	if (!p->t)
		err_set(&p->e, ERR_CANCELED, "the daemon ends");
	else if (e->kind)
		p->e = *e;
	else
		registry_hold(p->t, p->repository, p->digest);
	if (p->e.kind)
		finish(p);
	else if (!p->here[0] || !p->tag)
		save(p);
	else if (unpack(p) < 0)
		finish(p);
}

static int count(const struct images *t, const char *repository, struct err *e)
{
	unsigned n = 0;

	for (const char *hex = NULL; (hex = registry_next_image(t, repository, hex));)
		n++;
	return n < LIM_REPOSITORY_IMAGES
		       ? 0
		       : err_set(e, ERR_LIMIT, "repository %s has %u images; delete some first", repository, n);
}

int registry_put_start(struct images *t, struct registry_put *p, const char *repository, const char *tag,
		       const char *digest, struct str type, struct str text, struct err *e)
{
	auto_json doc = json_parse(str_of(repository_get(t, repository)), NULL);
	char old[65];

	*p = (struct registry_put){.done = p->done, .t = t, .n = text.n};
	digest_sha256_hex(text.p, text.n, p->digest);
	if (text.n > MANIFEST_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "a manifest has at most %d bytes", MANIFEST_BYTES_MAX);
	if (digest && strcmp(digest, p->digest))
		return err_set(e, ERR_CORRUPT, "the manifest has the digest sha256:%s, not sha256:%s", p->digest,
			       digest);
	if (tag && json_get_bool(doc, "immutable", false) && registry_find(t, repository, str_of(tag), old) &&
	    strcmp(old, p->digest))
		return err_set(e, ERR_EXISTS,
			       "The image tag '%s' already exists in the '%s' repository and cannot be overwritten "
			       "because the repository is immutable.",
			       tag, repository);
	p->repository = xstrdup(repository);
	p->tag = xstrdup(tag);
	p->text = xmemdup(text.n ? text.p : "", text.n ? text.n : 1);
	if (count(t, repository, e) < 0 || read_manifest(p, type, e) < 0) {
		free(p->repository);
		free(p->tag);
		free(p->text);
		return -1;
	}
	list_push(&t->puts, &p->node);
	p->op = (struct store_op){.done = is_blob};
	store_blob_put(t->store, &p->op, p->digest, p->text, p->n);
	return 0;
}

/* A pull says nothing when the daemon ends; what the store does, it tells later. */
void registry_puts_end(struct images *t)
{
	list_each(&t->puts, it)
	{
		struct registry_put *p = container_of(it, struct registry_put, node);

		list_del(it);
		p->t = NULL;
		if (!p->pull)
			continue;
		err_set(&p->e, ERR_CANCELED, "the daemon ends");
		finish(p);
	}
}
