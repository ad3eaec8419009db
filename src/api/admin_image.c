/* SPDX-License-Identifier: Apache-2.0 */
/* Admin API: container images. */
#include "api/admin_int.h"
#include "base/clock.h"
#include "image/image.h"
#include "image/pull.h"
#include "image/upload.h"

static void put_image(struct jw *w, const char *key, const struct image *im)
{
	auto_free char *digest = xasprintf("sha256:%s", im->digest);
	char when[32];

	jw_obj(w, key);
	jw_strc(w, "reference", im->reference);
	jw_strc(w, "digest", digest);
	if (im->created_wall_us)
		jw_strc(w, "created", clock_fmt_iso(im->created_wall_us, when));
	jw_strc(w, "pulled", clock_fmt_iso(im->pulled_wall_us, when));
	jw_int(w, "bytes", im->bytes);
	jw_int(w, "uses", im->uses);
	jw_bool(w, "moved", im->moved);
	jw_arr(w, "layers");
	for (unsigned i = 0; i < im->n_layers; i++) {
		auto_free char *id = xasprintf("sha256:%s", im->layers[i].diff_id);

		jw_obj(w, NULL);
		jw_strc(w, "diff_id", id);
		jw_int(w, "bytes", im->layers[i].bytes);
		jw_end(w, '}');
	}
	jw_end(w, ']');
	jw_end(w, '}');
}

void admin_images(struct admin *a, struct http_req *r, struct str name)
{
	auto_object(w, out);

	jw_arr(&w, "images");
	for (unsigned i = 0; image_at(a->o.images, i); i++)
		put_image(&w, NULL, image_at(a->o.images, i));
	jw_end(&w, ']');
	admin_object(r, 200, &w);
}

/* What has nothing to say but that it is done. */
static void answer(struct http_req *r, const struct err *e)
{
	auto_object(w, out);

	if (e->kind)
		admin_error(r, e);
	else
		admin_object(r, 200, &w);
}

/* --- rm --- */

struct removal {
	struct store_op op;
	struct http_req *r; /* NULL: gone */
};

static void removal_done(struct store_op *op, const struct err *e)
{
	struct removal *x = container_of(op, struct removal, op);
	if (x->r)
		answer(x->r, e);
	free(x);
}

void admin_image_remove(struct admin *a, struct http_req *r, struct str name)
{
	auto_buf reference = {0};
	struct image *im = admin_query(r, "reference", &reference) ? image_find(a->o.images, reference.p) : NULL;
	struct err e = {0};
	struct removal *x;

	if (!im)
		return admin_errorf(r, ERR_NOT_FOUND,
				    "there is no image \"%.200s\"; tandem images lists those that are there",
				    reference.n ? reference.p : "");
	x = xcalloc(1, sizeof(*x));
	x->r = r;
	x->op.done = removal_done;
	if (image_remove_start(a->o.images, im, &x->op, &e) < 0) {
		free(x);
		admin_error(r, &e);
		return;
	}
	http_on_gone_clear(&x->r);
}

/* --- gc --- */

struct sweep_run {
	struct image_sweep sweep;
	struct admin *a;
	struct http_req *r;
};

static void sweep_left(void *arg)
{
	struct sweep_run *x = arg;

	image_sweep_cancel(x->a->o.images, &x->sweep);
	free(x);
}

static void sweep_done(struct image_sweep *s, const struct err *e)
{
	struct sweep_run *x = container_of(s, struct sweep_run, sweep);
	auto_object(w, out);

	jw_int(&w, "images", s->images);
	jw_int(&w, "layers", s->layers);
	if (e->kind)
		admin_error(x->r, e);
	else
		admin_object(x->r, 200, &w);
	free(x);
}

void admin_image_sweep(struct admin *a, struct http_req *r, struct str name)
{
	struct sweep_run *x = xcalloc(1, sizeof(*x));

	x->a = a;
	x->r = r;
	x->sweep.done = sweep_done;
	http_on_gone(r, sweep_left, x);
	image_sweep_start(a->o.images, &x->sweep);
}

/* --- pull --- */

struct pull_run {
	struct http_req *r;
	struct pull *pull;
};

static void pull_line(struct pull_run *x, struct buf *line)
{
	buf_addc(line, '\n');
	http_stream_write(x->r, buf_str(line));
}

static void on_progress(void *arg, const struct pull_progress *p)
{
	static const char *const words[PULL_N] = {
		[PULL_COPY] = "copy", [PULL_CHECK] = "check", [PULL_UNPACK] = "unpack"};
	struct pull_run *x = arg;
	auto_object(w, line);

	jw_strc(&w, "state", words[p->state]);
	jw_int(&w, "bytes", p->bytes);
	if (p->state == PULL_UNPACK) {
		jw_int(&w, "layer", p->layer);
		jw_int(&w, "layers", p->layers);
		jw_strc(&w, "diff_id", p->layer_digest);
	}
	jw_end(&w, '}');
	pull_line(x, &line);
}

static void on_done(void *arg, struct image *im, const struct err *e)
{
	struct pull_run *x = arg;
	auto_object(w, line);

	if (im) {
		jw_strc(&w, "state", "done");
		put_image(&w, "image", im);
	} else {
		jw_strc(&w, "error", e->text);
		jw_strc(&w, "kind", err_kind_name(e->kind));
	}
	jw_end(&w, '}');
	pull_line(x, &line);
	http_stream_end(x->r);
	free(x);
}

/* Who asked is gone: what nobody waits for is not gone on with. */
static void on_left(void *arg)
{
	struct pull_run *x = arg;

	pull_cancel(x->pull);
	free(x);
}

void admin_pull(struct admin *a, struct http_req *r, struct str name)
{
	auto_free char *reference = NULL, *auth = NULL, *upload = NULL;
	auto_json body = NULL;
	struct err e = {0};
	struct pull_run *x = xcalloc(1, sizeof(*x));
	struct pull_opts o = {.progress = on_progress, .done = on_done, .arg = x};

	body = json_parse(r->body, &e);
	reference = str_dup(json_get_str(body, "reference"));
	auth = json_get(body, "auth") ? str_dup(json_get_str(body, "auth")) : NULL;
	upload = json_get(body, "upload") ? str_dup(json_get_str(body, "upload")) : NULL;
	o.reference = reference, o.auth = auth, o.upload = upload;
	if (!body || (upload && upload_take(a->o.images, upload, &e) < 0) ||
	    pull_start(a->o.images, &o, &x->pull, &e) < 0) {
		admin_error(r, &e);
		free(x);
	} else {
		x->r = r;
		http_on_gone(r, on_left, x);
		http_stream_begin(r, 200, "application/x-ndjson", STR_NULL);
	}
	if (auth)
		explicit_bzero(auth, strlen(auth));
}

/* --- upload --- */

void admin_upload(struct admin *a, struct http_req *r, struct str name)
{
	auto_buf out = {0};
	struct err e = {0};
	char upload[24];
	struct jw w;

	if (upload_new(a->o.images, upload, &e) < 0)
		return admin_error(r, &e);
	w = jw_object(&out);
	jw_strc(&w, "upload", upload);
	admin_object(r, 200, &w);
}

struct piece {
	struct upload_put *put;
	struct http_req *r;
};

static void piece_left(void *arg)
{
	struct piece *x = arg;

	upload_put_cancel(x->put);
	free(x);
}

static void piece_done(void *arg, const struct err *e)
{
	struct piece *x = arg;
	answer(x->r, e);
	free(x);
}

void admin_upload_put(struct admin *a, struct http_req *r, struct str name)
{
	auto_free char *upload = str_dup(name);
	struct piece *x = xcalloc(1, sizeof(*x));
	auto_buf file = {0};
	struct err e = {0};

	admin_query(r, "file", &file);
	if (upload_put_start(a->o.images, upload, file.n ? file.p : "", admin_query_int(r, "offset", 0), r->body,
			     piece_done, x, &x->put, &e) < 0) {
		free(x);
		admin_error(r, &e);
		return;
	}
	x->r = r;
	http_on_gone(r, piece_left, x);
}
