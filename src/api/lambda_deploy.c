/* SPDX-License-Identifier: Apache-2.0 */
/* CreateFunction, UpdateFunctionCode, UpdateFunctionConfiguration: a revision is made and given to the deploy. */

#include "api/lambda_config.h"
#include "base/enc.h"
#include "base/mem.h"
#include "sched/deploy.h"

/*
 * The answer waits until the deploy is over, and then says Pending (or InProgress), as AWS's does: the first look of a
 * client's waiter, a moment later, already sees Active or Failed, so nobody waits for the second look.
 */
struct deploying {
	struct deploy d;
	struct api_call c;
	struct buf zip;
	struct function *f; /* a reference of our own */
	enum config_view view;
	bool publish, image;
};

static void refuse(struct deploying *g, const struct err *e)
{
	struct api_call *c = &g->c;

	if (g->image && e->kind != ERR_CONFLICT && e->kind != ERR_EXISTS && !g->f->deleted)
		return api_reply_fail(c, API_INVALID_PARAMETER,
				      "Source image cannot be used: %s. Provide a valid source image.", e->text);
	switch (e->kind) {
	case ERR_LIMIT:
		api_fail(&c->e, API_INVALID_PARAMETER, "Unzipped size must be smaller than %d bytes",
			 LIM_UNZIPPED_BYTES);
		break;
	case ERR_INVALID:
	case ERR_CORRUPT:
		api_fail(&c->e, API_INVALID_PARAMETER,
			 "Could not unzip uploaded file. Please check your file, then try to upload again.");
		break;
	case ERR_EXISTS:
		api_fail(&c->e, API_CONFLICT, "Function already exist: %s", g->f->name);
		break;
	case ERR_CONFLICT:
		api_in_update(c, g->f);
		break;
	case ERR_NOT_FOUND:
		if (g->f->deleted) {
			api_no_function(c, NULL);
			break;
		}
		/* fallthrough */
	default:
		api_fail(&c->e, API_SERVICE, "%s", e->text);
	}
	api_reply_err(c);
}

static void deployed(struct deploy *d, const struct err *e)
{
	struct deploying *g = container_of(d, struct deploying, d);
	struct store *s = g->c.a->o.store;
	auto_buf b = {0};
	struct jw w;

	if (e->kind) {
		refuse(g, e);
		/* A new one that never came into the table still has the reference that it was made with. */
		if (d->is_new && !g->f->deleted && function_get(s, str_of(g->f->name)) != g->f)
			function_unref(g->f);
	} else {
		int status = g->view == CONFIG_CREATED ? 201 : 200;

		if (g->publish && g->f->state == FUNCTION_ACTIVE) {
			if (lambda_publish(&g->c, g->f, NULL, status, g->view, g->view == CONFIG_UPDATED) < 0)
				api_reply_err(&g->c);
		} else {
			jw_init(&w, &b);
			api_function_config(&w, NULL, g->c.a, g->f, g->f->latest, g->view, NULL);
			api_reply_json(&g->c, status, buf_str(&b));
		}
		if (!d->is_new)
			store_gc(s);
	}
	function_unref(g->f);
	buf_done(&g->zip);
	free(g);
}

/* Takes zip and r. */
static int start(struct api_call *c, struct function *f, struct revision *r, struct buf *zip, struct pairs *tags,
		 enum config_view view, bool publish)
{
	struct deploying *g = xcalloc(1, sizeof(*g));

	g->c = *c;
	g->view = view;
	g->publish = publish;
	g->image = r->image;
	g->f = function_ref(f);
	if (zip) {
		g->zip = *zip;
		*zip = (struct buf){0};
	}
	g->d.function = f;
	g->d.revision = r;
	g->d.archive = buf_str(&g->zip);
	g->d.is_new = view == CONFIG_CREATED;
	g->d.tags = tags;
	g->d.done = deployed;
	http_on_gone_clear(&g->c.r); /* what was asked for is done all the same, as at AWS */
	deploy_start(c->a->o.sched, &g->d);
	return 0;
}

static const char *skip(const char *p, const char *end, const char *what)
{
	while (p < end && strchr(what, *p))
		p++;
	return p;
}

/*
 * The body, and apart from it the archive as text: a tree of JSON with it inside takes 10 ms for each megabyte to be
 * made, in which nobody else is served. An archive that is not found this way stays in the tree: with escapes in it,
 * or beside another member of that name, say a variable of the environment.
 */
static struct json *body_and_zip(struct api_call *c, struct str *ret_zip)
{
	static const char key[] = "\"ZipFile\"";
	struct str body = c->r->body;
	const char *at = body.n ? memmem(body.p, body.n, key, sizeof(key) - 1) : NULL, *end = body.p + body.n, *to;
	auto_buf rest = {0};
	struct json *j;

	at = at ? skip(at + sizeof(key) - 1, end, " \t\r\n:") : end;
	to = at < end && *at == '"' ? memchr(at + 1, '"', (size_t)(end - at - 1)) : NULL;
	if (!to || memchr(at, '\\', (size_t)(to - at)) || memmem(to, (size_t)(end - to), key, sizeof(key) - 1))
		return api_body(c);
	buf_add(&rest, body.p, (size_t)(at + 1 - body.p));
	buf_add(&rest, to, (size_t)(end - to));
	*ret_zip = (struct str){at + 1, (size_t)(to - at - 1)};
	c->r->body = buf_str(&rest);
	j = api_body(c);
	c->r->body = body;
	return j;
}

static int read_zip(const struct json *code, struct str apart, struct buf *zip, struct api_err *e)
{
	const struct json *j = json_get(code, "ZipFile");
	struct str text = json_str(j);

	if (json_get(code, "S3Bucket"))
		return api_fail(e, API_INVALID_PARAMETER,
				"This Tandem takes function code as ZipFile or ImageUri, not from S3.");
	if (json_type(j) != JSON_STRING)
		return api_fail(e, API_INVALID_PARAMETER, "Please provide a source for function code.");
	if (!text.n)
		text = apart;
	if (text.n / 4 > LIM_ZIP_BYTES / 3 + 1)
		return api_fail(e, API_ENTITY_TOO_LARGE, "Zipped size must be smaller than %d bytes", LIM_ZIP_BYTES);
	if (dec_b64(zip, text) < 0)
		return api_fail(e, API_SERIALIZATION, "ZipFile is not valid base64");
	if (!zip->n)
		return api_fail(e, API_INVALID_PARAMETER, "Uploaded file must be a non-empty zip");
	if (zip->n > LIM_ZIP_BYTES)
		return api_fail(e, API_ENTITY_TOO_LARGE, "Zipped size must be smaller than %d bytes", LIM_ZIP_BYTES);
	return 0;
}

static int read_tags(const struct json *body, struct pairs *ret, struct api_err *e)
{
	const struct json *tags = json_get(body, "Tags");

	if (json_type(tags) == JSON_OBJECT && json_each(tags, lambda_add_tag, ret) != 0)
		return api_fail(e, API_INVALID_PARAMETER, LAMBDA_BAD_TAGS);
	return 0;
}

/* Whose creation it is: the name in the body, free to be taken, and the caller allowed to. */
static int read_name(struct api_call *c, const struct json *body)
{
	struct str name = json_get_str(body, "FunctionName");
	char arn[API_ARN_BYTES];

	if (!name.p)
		return api_invalid(&c->e, "functionName", STR_NULL, 0, "not be null");
	if (api_name_parse(name, &c->a->where, &c->name, &c->e) < 0 ||
	    api_allowed(c, api_arn(&c->a->where, c->name.name, NULL, arn)) < 0)
		return -1;
	if (c->name.qualifier[0])
		return api_fail(&c->e, API_INVALID_PARAMETER, "The function name must not have a qualifier.");
	if (function_get(c->a->o.store, str_of(c->name.name)))
		return api_fail(&c->e, API_CONFLICT, "Function already exist: %s", c->name.name);
	if (function_count(c->a->o.store) >= LIM_FUNCTIONS)
		return api_fail(&c->e, API_INVALID_PARAMETER, "There are %d functions already, which is the limit.",
				LIM_FUNCTIONS);
	return 0;
}

/* What the function is made of: an archive into zip, or the image of r. is_image: what it is, or is to be. */
static int read_source(const struct json *body, const struct json *code, bool is_image, struct str apart,
		       struct revision *r, struct buf *zip, struct api_err *e)
{
	const char *doing = code == body ? "updating" : "creating";
	struct str uri = json_get_str(code, "ImageUri");

	if (uri.p && !is_image)
		return api_fail(e, API_INVALID_PARAMETER,
				"Please don't provide ImageUri when %s a function with packageType Zip.", doing);
	if (!is_image)
		return read_zip(code, apart, zip, e);
	if (!uri.n)
		return api_fail(e, API_INVALID_PARAMETER,
				"Please provide ImageUri when %s a function with packageType Image.", doing);
	return lambda_image_read(body, uri, r, e);
}

/* A caller names a dead-letter target only where he could send himself. */
static int read_config(struct api_call *c, const struct json *body, struct revision *r)
{
	return authz_start(&c->who, &c->a->where, json_get(body, "DeadLetterConfig"), "TargetArn", &c->e) < 0
		       ? -1
		       : lambda_config_read(body, c->a->o.deliver, r, &c->e);
}

int lambda_create_function(struct api_call *c)
{
	struct str text = STR_NULL;
	auto_json body = body_and_zip(c, &text);
	bool image = str_eqc(json_get_str(body, "PackageType"), "Image");
	struct revision *r = revision_new();
	struct pairs tags = {0};
	auto_buf zip = {0};
	int rc = -1;

	r->timeout_s = 3;
	r->memory_mb = 128;
	r->tmp_mb = 512;
	if (!body || read_name(c, body) < 0 ||
	    (image && read_source(body, json_get(body, "Code"), true, text, r, &zip, &c->e) < 0) ||
	    read_config(c, body, r) < 0 || read_tags(body, &tags, &c->e) < 0 ||
	    (!image && read_source(body, json_get(body, "Code"), false, text, r, &zip, &c->e) < 0))
		revision_unref(r);
	else
		rc = start(c, function_new(c->name.name, "api"), r, &zip, &tags, CONFIG_CREATED,
			   json_get_bool(body, "Publish", false));
	pairs_done(&tags);
	return rc;
}

/* The function to change, if it still has the revision that the caller means. */
static struct function *to_update(struct api_call *c, const struct json *body)
{
	struct function *f = body ? api_function(c) : NULL;
	struct str revision = json_get_str(body, "RevisionId");

	if (!f || !revision.n || str_eqc(revision, f->latest->id))
		return f;
	api_stale(c);
	return NULL;
}

int lambda_update_function_code(struct api_call *c)
{
	struct str text = STR_NULL;
	auto_json body = body_and_zip(c, &text);
	struct function *f = to_update(c, body);
	struct revision *r;
	auto_buf zip = {0}, b = {0};
	struct jw w;

	r = f ? revision_clone(f->latest) : NULL;
	if (!r || read_source(body, body, r->image, text, r, &zip, &c->e) < 0) {
		revision_unref(r);
		return -1;
	}
	if (!json_get_bool(body, "DryRun", false))
		return start(c, f, r, &zip, NULL, CONFIG_UPDATED, json_get_bool(body, "Publish", false));
	revision_unref(r);
	jw_init(&w, &b);
	api_function_config(&w, NULL, c->a, f, f->latest, CONFIG_NOW, NULL);
	return api_reply_json(c, 200, buf_str(&b));
}

int lambda_update_function_configuration(struct api_call *c)
{
	auto_json body = api_body(c);
	struct function *f = to_update(c, body);
	struct revision *r = f ? revision_clone(f->latest) : NULL;

	if (r && (!r->image || lambda_image_read(body, STR_NULL, r, &c->e) == 0) && read_config(c, body, r) == 0)
		return start(c, f, r, NULL, NULL, CONFIG_UPDATED, false);
	revision_unref(r);
	return -1;
}
