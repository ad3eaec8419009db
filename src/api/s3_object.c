/* SPDX-License-Identifier: Apache-2.0 */
/* Put, Get, Head, Copy and Delete of objects. */
#include "api/s3.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"

/* --- get, head --- */

struct get {
	struct s3 *q;
	struct object_read read;
	int64_t at, n;
	bool part;
};

static void get_over(struct get *g)
{
	object_read_done(&g->read);
	s3_end(g->q);
	free(g);
}

static void get_fail(struct get *g)
{
	struct s3 *q = g->q;

	object_read_done(&g->read);
	free(g);
	s3_fail(q);
}

/* 1: a part of it; 0; -1. */
static int get_run(struct get *g)
{
	struct s3 *q = g->q;
	auto_free char *part = s3_query(q, "partNumber");
	struct str range = http_header(q->c.r, "range"), if_range = http_header(q->c.r, "if-range");
	int64_t number;

	if (part) {
		g->part = true;
		if (range.p || str_to_i64(str_of(part), 1, 10000, &number) < 0)
			return api_fail(&q->c.e, API_S3_INVALID_ARGUMENT,
					"partNumber is a number from 1 to 10000, and goes with no Range.");
		if (object_part(&g->read.row, (int)number, &g->at, &g->n) < 0)
			return api_fail(&q->c.e, API_S3_INVALID_RANGE, "The requested partnumber is not satisfiable");
		return g->read.row.size > 0;
	}
	if (if_range.p && !s3_etag_in(if_range, g->read.row.etag))
		range = STR_NULL;
	return s3_range(q, range, g->read.row.size, &g->at, &g->n);
}

static void get_head(struct get *g, int status, const struct json *meta, struct buf *h)
{
	const struct object_row *row = &g->read.row;
	char date[40];

	s3_http_date(row->modified_us, date);
	buf_addf(h, "Last-Modified: %s\r\nETag: \"%s\"\r\nAccept-Ranges: bytes\r\n", date, row->etag);
	if (status == 206)
		buf_addf(h, "Content-Range: bytes %lld-%lld/%lld\r\n", (long long)g->at, (long long)(g->at + g->n - 1),
			 (long long)row->size);
	if (g->part && object_parts(row))
		buf_addf(h, "x-amz-mp-parts-count: %d\r\n", object_parts(row));
	if (json_get(meta, "class"))
		buf_addf(h, "x-amz-storage-class: " STR_FMT "\r\n", STR_ARG(json_get_str(meta, "class")));
	if (json_len(json_get(meta, "tags")))
		buf_addf(h, "x-amz-tagging-count: %zu\r\n", json_len(json_get(meta, "tags")));
	if (status == 200 && str_caseeqc(http_header(g->q->c.r, "x-amz-checksum-mode"), "enabled"))
		s3_sum_headers(h, meta);
}

static void get_sent(struct object_read *r)
{
	get_over(container_of(r, struct get, read));
}

static void get_answer(struct get *g, int status, const char *type, const char *lines)
{
	struct s3 *q = g->q;

	s3_begin(q, status, type, lines, g->n);
	if (str_eqc(q->c.r->method, "HEAD")) {
		http_on_gone(q->c.r, NULL, NULL);
		http_stream_end(take_ptr(q->c.r));
		get_over(g);
	} else {
		object_read_send(&g->read, take_ptr(q->c.r), g->at, g->n, get_sent);
	}
}

static void got(struct object_read *r, const struct err *e)
{
	struct get *g = container_of(r, struct get, read);
	struct s3 *q = g->q;
	auto_json meta = e->kind ? NULL : json_parse(str_of(r->row.meta), NULL);
	auto_free char *type = NULL;
	auto_buf lines = {0};
	int part;

	if (!q->c.r)
		return get_over(g);
	if (e->kind) {
		s3_err(q, e);
		get_fail(g);
		return;
	}
	if (s3_read_conditions(q, "", &r->row) < 0) {
		if (q->c.e.code == API_S3_NOT_MODIFIED)
			get_head(g, 304, meta, &q->head);
		get_fail(g);
		return;
	}
	part = get_run(g);
	if (part < 0)
		buf_addf(&q->head, "Content-Range: bytes */%lld\r\n", (long long)r->row.size);
	get_head(g, part ? 206 : 200, meta, &lines);
	type = part < 0 ? NULL : s3_meta_headers(q, meta, &lines);
	if (!type)
		get_fail(g);
	else
		get_answer(g, part ? 206 : 200, type, lines.p);
}

static int get_object(struct s3 *q)
{
	struct get *g = xcalloc(1, sizeof(*g));

	g->q = q;
	g->read.done = got;
	object_read_start(q->c.a->o.objects, &g->read, q->bucket, str_of(q->key), true);
	return 0;
}

/* --- put, copy --- */

struct put {
	struct s3 *q;
	struct s3_body *body;
	struct object_put put;
	char *meta;
	/* copied */
	struct object_read read;
	struct object_body *copy;
	bool reading, replace, retag;
};

static void put_free(struct put *p)
{
	s3_body_free(p->body);
	object_body_drop(p->copy);
	if (p->reading)
		object_read_done(&p->read);
	free(p->meta);
	free(p);
}

static void put_fail(struct put *p)
{
	struct s3 *q = p->q;

	put_free(p);
	s3_fail(q);
}

static void put_left(struct s3 *q)
{
	put_free(q->op_data);
	s3_end(q);
}

static void put_done(struct object_put *o, const struct err *e)
{
	struct put *p = container_of(o, struct put, put);
	struct s3 *q = p->q;
	auto_json meta = json_parse(str_of(p->meta), NULL);
	auto_buf h = {0}, xml = {0};
	bool copied = p->reading;
	char date[32];

	if (e->kind) {
		s3_err(q, e);
		put_fail(p);
		return;
	}
	if (copied) {
		xml_begin(&xml, "CopyObjectResult");
		xml_str(&xml, "LastModified", str_of(clock_fmt_iso(o->modified_us, date)));
		buf_addf(&xml, "<ETag>&quot;%s&quot;</ETag>", o->etag);
		xml_end(&xml, "CopyObjectResult");
	} else {
		buf_addf(&h, "ETag: \"%s\"\r\n", o->etag);
	}
	s3_sum_headers(&h, meta);
	put_free(p);
	s3_reply(q, 200, h.p, buf_str(&xml));
}

static void put_commit(struct put *p, struct object_body *body, const char *what)
{
	struct s3 *q = p->q;

	q->left = NULL; /* from here on it comes to its end */
	p->put.done = put_done;
	p->put.body = body;
	p->put.meta = xstrdup(p->meta);
	p->put.ev = s3_event(q, what);
	object_put_start(q->c.a->o.objects, &p->put, q->bucket, str_of(q->key));
}

static void put_stored(struct s3_body *b, struct s3 *q)
{
	struct put *p = s3_body_arg(b);
	enum hash h = s3_body_checksum(b);
	struct object_body *body;
	auto_buf b64 = {0};
	char *meta;

	if (q->c.e.code)
		return put_fail(p);
	body = s3_body_take(b);
	enc_b64(&b64, object_body_hash(body, h), hash_bytes(h));
	meta = s3_meta_sum(p->meta, h, b64.p, "FULL_OBJECT");
	free(p->meta);
	p->meta = meta;
	put_commit(p, body, "Put");
}

static int copy_object(struct s3 *q);

static int put_object(struct s3 *q)
{
	struct put *p;

	if (http_header(q->c.r, "x-amz-copy-source").p)
		return copy_object(q);
	p = xcalloc(1, sizeof(*p));
	p->q = q;
	p->meta = s3_meta_new(q);
	if (!p->meta || s3_put_condition(q, &p->put.when) < 0) {
		put_free(p);
		return -1;
	}
	q->op_data = p;
	q->left = put_left;
	if (s3_body_start(q, false, put_stored, p, &p->body) == 0)
		return 0;
	q->left = NULL;
	put_free(p);
	return -1;
}

int s3_copy_source(struct s3 *q, char **ret_bucket, char **ret_key)
{
	struct str v = http_header(q->c.r, "x-amz-copy-source"), version, bucket, key;
	auto_buf text = {0};

	str_cut(v, '?', &v, &version);
	if (dec_percent(&text, v, false) < 0)
		text.n = 0;
	v = buf_str(&text);
	if (v.n && *v.p == '/')
		v.p++, v.n--;
	if (!str_cut(v, '/', &bucket, &key) || !bucket_name_ok(bucket) || !object_key_ok(key))
		return api_fail(&q->c.e, API_S3_INVALID_ARGUMENT,
				"Copy Source must mention the source bucket and key: sourcebucket/sourcekey");
	*ret_bucket = str_dup(bucket);
	*ret_key = str_dup(key);
	if (!s3_allowed(q, "GetObject", *ret_bucket, *ret_key))
		return -1;
	return bucket_get(q->c.a->o.objects, bucket)
		       ? 0
		       : api_fail(&q->c.e, API_S3_NO_BUCKET, "The specified bucket does not exist");
}

static void copy_stored(void *arg, const struct err *e)
{
	struct put *p = arg;

	if (e->kind) {
		s3_err(p->q, e);
		put_fail(p);
	} else {
		put_commit(p, take_ptr(p->copy), "Copy");
	}
}

/* What the new one is called, of what the old one was and what the request says. */
static int copy_meta(struct put *p)
{
	struct s3 *q = p->q;
	auto_free char *mine = s3_meta_new(q);
	auto_json new = json_parse(str_of(mine), NULL);
	auto_json old = json_parse(str_of(p->read.row.meta), NULL);
	auto_free char *class = json_get(new, "class") ? json_text(json_get(new, "class")) : NULL;
	auto_free char *sum = json_get(old, "sum") ? json_text(json_get(old, "sum")) : NULL;
	const struct json *tags = json_get(p->retag ? new : old, "tags");
	auto_free char *tags_text = tags ? json_text(tags) : NULL;
	bool same = !strcmp(p->read.bucket, q->bucket) && !strcmp(p->read.key, q->key);

	if (!mine)
		return -1;
	if (same && !p->replace && !p->retag && !class)
		return api_fail(&q->c.e, API_S3_INVALID_REQUEST,
				"This copy request is illegal because it is trying to copy an object to itself without "
				"changing the object's metadata, storage class, website redirect location or "
				"encryption attributes.");
	auto_free char *a = s3_meta_set(p->replace ? mine : p->read.row.meta, "tags", tags_text);
	auto_free char *b = s3_meta_set(a, "class", class);

	p->meta = s3_meta_set(b, "sum", sum && !strchr(sum, '-') && !strchr(p->read.row.etag, '-') ? sum : NULL);
	return 0;
}

static void copy_found(struct object_read *r, const struct err *e)
{
	struct put *p = container_of(r, struct put, read);
	struct s3 *q = p->q;
	struct object_body_opts how = {.done = copy_stored, .arg = p};

	if (!q->c.r) {
		put_free(p);
		s3_end(q);
		return;
	}
	if (e->kind)
		s3_err(q, e);
	else if (r->row.size > OBJECT_PUT_MAX)
		api_fail(&q->c.e, API_S3_INVALID_REQUEST,
			 "The specified copy source is larger than the maximum allowable size for a copy source: %lld",
			 (long long)OBJECT_PUT_MAX);
	else if (s3_read_conditions(q, "x-amz-copy-source-", &r->row) == 0)
		copy_meta(p);
	if (q->c.e.code)
		return put_fail(p);
	p->copy = object_body_new(q->c.a->o.objects, &how);
	object_body_copy(p->copy, r, 0, r->row.size);
	q->left = put_left;
}

static int directive(struct s3 *q, const char *name, bool *ret_replace)
{
	struct str v = http_header(q->c.r, name);

	*ret_replace = str_eqc(v, "REPLACE");
	return !v.p || *ret_replace || str_eqc(v, "COPY")
		       ? 0
		       : api_fail(&q->c.e, API_S3_INVALID_ARGUMENT, "Unknown directive: %s is COPY or REPLACE.", name);
}

static int copy_object(struct s3 *q)
{
	struct put *p = xcalloc(1, sizeof(*p));
	auto_free char *bucket = NULL, *key = NULL;

	p->q = q;
	if (s3_copy_source(q, &bucket, &key) < 0 || directive(q, "x-amz-metadata-directive", &p->replace) < 0 ||
	    directive(q, "x-amz-tagging-directive", &p->retag) < 0 || s3_put_condition(q, &p->put.when) < 0) {
		put_free(p);
		return -1;
	}
	q->op_data = p;
	p->reading = true;
	p->read.done = copy_found;
	object_read_start(q->c.a->o.objects, &p->read, bucket, str_of(key), true);
	return 0;
}

/* --- delete --- */

struct del {
	struct s3 *q;
	struct object_del del;
};

static void deleted(struct object_del *x, const struct err *e)
{
	struct del *d = container_of(x, struct del, del);

	if (e->kind)
		s3_fail_err(d->q, e);
	else
		s3_reply(d->q, 204, NULL, STR_NULL);
	free(d); /* e is its own */
}

static int delete_object(struct s3 *q)
{
	struct del *d = xcalloc(1, sizeof(*d));

	d->q = q;
	d->del.done = deleted;
	d->del.n = 1;
	d->del.keys = xcalloc(1, sizeof(char *));
	d->del.keys[0] = xstrdup(q->key);
	d->del.ev = s3_event(q, "Delete");
	object_del_start(q->c.a->o.objects, &d->del, q->bucket);
	return 0;
}

const struct s3_op s3_object_ops[] = {
	{"GET", NULL, 'k', "GetObject", get_object, 0},
	{"HEAD", NULL, 'k', "GetObject", get_object, 0},
	{"PUT", NULL, 'k', "PutObject", put_object, 0},
	{"DELETE", NULL, 'k', "DeleteObject", delete_object, 0},
	{0},
};
