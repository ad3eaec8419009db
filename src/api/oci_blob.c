/* SPDX-License-Identifier: Apache-2.0 */
/* /v2/: blobs that are read, and those that come. */
#include <stdio.h>
#include <sys/stat.h>
#include "api/oci_int.h"
#include "base/mem.h"
#include "image/push.h"
#include "image/reference.h"

#define READ_BYTES 262144

/* --- reading blobs --- */

struct reading {
	struct loop_work work;
	struct images *images;
	struct http_req *r; /* NULL: gone */
	int fd;
	int64_t at, end;
	ssize_t got;
	bool busy;
	char piece[READ_BYTES];
};

static void reading_end(struct reading *x)
{
	close(x->fd);
	free(x);
}

static void reader_left(void *arg)
{
	struct reading *x = arg;

	x->r = NULL;
	if (!x->busy)
		reading_end(x);
}

static void read_work(struct loop_work *w)
{
	struct reading *x = container_of(w, struct reading, work);
	int64_t left = x->end - x->at;

	x->got = pread(x->fd, x->piece, left < READ_BYTES ? (size_t)left : READ_BYTES, x->at);
}

static void read_next(void *arg);

static void has_read(struct loop_work *w)
{
	struct reading *x = container_of(w, struct reading, work);

	x->busy = false;
	if (x->r && x->got > 0) {
		x->at += x->got;
		http_stream_write(x->r, (struct str){x->piece, (size_t)x->got});
		read_next(x);
		return;
	}
	if (x->r) /* cut off: the length that was promised does not come true */
		http_stream_end(x->r);
	reading_end(x);
}

static void read_next(void *arg)
{
	struct reading *x = arg;

	if (x->busy || (x->at < x->end && http_stream_queued(x->r)))
		return;
	if (x->at == x->end) {
		http_stream_end(x->r);
		reading_end(x);
		return;
	}
	x->busy = true;
	x->work = (struct loop_work){.work = read_work, .done = has_read};
	registry_work(x->images, &x->work);
}

/* "bytes=A-B", "bytes=A-", "bytes=-N"; false: not one range of this file. Others are not looked at. */
static bool one_range(struct str range, int64_t size, int64_t *at, int64_t *end)
{
	struct str from, to;
	int64_t a = 0, b = size - 1;

	if (!str_starts(range, "bytes=") || !str_cut((struct str){range.p + 6, range.n - 6}, '-', &from, &to))
		return false;
	if (from.n && (str_to_i64(from, 0, size - 1, &a) < 0 || (to.n && str_to_i64(to, a, INT64_MAX, &b) < 0)))
		return false;
	if (!from.n && str_to_i64(to, 1, INT64_MAX, &b) == 0)
		a = b < size ? size - b : 0, b = size - 1;
	else if (!from.n)
		return false;
	*at = a;
	*end = b < size ? b + 1 : size;
	return true;
}

void oci_get_blob(struct oci *o)
{
	struct str range = http_header(o->r, "range");
	char lines[300], part[100] = "";
	struct reading *x;
	struct stat st;
	int fd = o->hex[0] && registry_has_blob(o->images, o->name, o->hex)
			 ? store_blob_open(o->c->a->o.store, o->hex, NULL)
			 : -1;

	if (fd < 0 || fstat(fd, &st) < 0) {
		close_p(&fd);
		oci_fail(o->r, 404, "BLOB_UNKNOWN", "blob unknown to registry");
		return;
	}
	x = xmalloc(sizeof(*x));
	*x = (struct reading){.images = o->images, .r = o->r, .fd = fd, .end = st.st_size};
	if (range.p && !one_range(range, st.st_size, &x->at, &x->end)) {
		reading_end(x);
		snprintf(lines, sizeof(lines), "Content-Range: bytes */%lld\r\n", (long long)st.st_size);
		oci_reply(o->r, 416, NULL, STR_NULL, "%s", lines);
		return;
	}
	if (range.p)
		snprintf(part, sizeof(part), "Content-Range: bytes %lld-%lld/%lld\r\n", (long long)x->at,
			 (long long)x->end - 1, (long long)st.st_size);
	snprintf(lines, sizeof(lines), "Docker-Content-Digest: sha256:%s\r\nAccept-Ranges: bytes\r\n%s", o->hex, part);
	http_on_gone(x->r, reader_left, x);
	http_on_drained(x->r, read_next, x);
	http_stream_begin_sized(x->r, range.p ? 206 : 200, "application/octet-stream", str_of(lines), x->end - x->at);
	if (str_eqc(o->r->method, "HEAD"))
		x->at = x->end;
	read_next(x);
}

/* --- pushing blobs --- */

struct sending {
	struct http_sink sink;
	struct http_req *r;
	struct push *push;
	char name[256], want[65]; /* want "": more will follow with another request */
};

static void tell_blob(struct http_req *r, const char *name, const char *hex)
{
	oci_reply(r, 201, NULL, STR_NULL, "Location: /v2/%s/blobs/sha256:%s\r\nDocker-Content-Digest: sha256:%s\r\n",
		  name, hex, hex);
}

static void tell_push(struct http_req *r, int status, const char *name, const struct push *p)
{
	int64_t n = push_bytes(p);

	oci_reply(r, status, NULL, STR_NULL,
		  "Location: /v2/%s/blobs/uploads/%s\r\nRange: 0-%lld\r\nDocker-Upload-UUID: %s\r\n", name, push_id(p),
		  (long long)(n ? n - 1 : 0), push_id(p));
}

static void sender_left(void *arg)
{
	struct sending *x = arg;

	push_drop(x->push);
	free(x);
}

static void sent(void *arg, const struct err *e)
{
	struct sending *x = arg;

	if (e->kind)
		oci_fail_err(x->r, e, "DIGEST_INVALID", "BLOB_UPLOAD_UNKNOWN");
	else if (x->want[0])
		tell_blob(x->r, x->name, x->want);
	else
		tell_push(x->r, 202, x->name, x->push);
	free(x);
}

static void sink_piece(struct http_sink *s, struct str piece)
{
	struct sending *x = container_of(s, struct sending, sink);

	if (!push_add(x->push, piece))
		http_body_pause(x->r);
}

static void sink_end(struct http_sink *s)
{
	struct sending *x = container_of(s, struct sending, sink);

	push_end(x->push, x->want[0] ? x->want : NULL);
}

static void drained(void *arg)
{
	http_body_resume(((struct sending *)arg)->r);
}

/* The digest that the request names, or "". False: it is none. */
static bool wanted(const struct http_req *r, const char *key, char ret[65])
{
	auto_buf digest = {0};

	ret[0] = 0;
	if (!api_query(r, key, &digest))
		return true;
	if (!str_starts(buf_str(&digest), "sha256:") || !reference_digest_ok((struct str){digest.p + 7, digest.n - 7}))
		return false;
	memcpy(ret, digest.p + 7, 65);
	return true;
}

static void send_blob(struct oci *o, struct push *p, const char *want)
{
	struct sending *x = xcalloc(1, sizeof(*x));
	struct push_user u = {.drained = drained, .done = sent, .arg = x};
	struct err e = {0};

	*x = (struct sending){.sink = {sink_piece, sink_end}, .r = o->r, .push = p};
	strlcpy_(x->name, o->name, sizeof(x->name));
	strlcpy_(x->want, want, sizeof(x->want));
	if (push_take(p, &u, &e) < 0) {
		free(x);
		oci_fail_err(o->r, &e, "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN");
		return;
	}
	http_on_gone(x->r, sender_left, x);
	if (o->r->streams)
		return http_body_start(x->r, &x->sink);
	push_add(p, o->r->body);
	push_end(p, want[0] ? want : NULL);
}

void oci_begin_push(struct oci *o)
{
	char want[65], mount[65];
	auto_buf from = {0};
	struct err e = {0};
	struct push *p;

	if (!wanted(o->r, "digest", want) || !wanted(o->r, "mount", mount)) {
		oci_fail(o->r, 400, "DIGEST_INVALID", "a digest is sha256: and 64 digits of 0-9 and a-f");
	} else if (mount[0] && api_query(o->r, "from", &from) && repository_name_ok(buf_str(&from)) &&
		   oci_may(o, "BatchGetImage", from.p) && registry_has_blob(o->images, from.p, mount)) {
		registry_hold(o->images, o->name, mount);
		tell_blob(o->r, o->name, mount);
	} else if (push_new(o->images, o->name, &p, &e) < 0) {
		oci_fail_err(o->r, &e, "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN");
	} else if (want[0]) {
		send_blob(o, p, want);
	} else {
		tell_push(o->r, 202, o->name, p);
	}
}

void oci_go_on_push(struct oci *o)
{
	struct push *p = push_find(o->images, o->name, str_of(o->last));
	struct str range = http_header(o->r, "content-range"), from, to;
	struct err e = {0};
	char want[65];
	int64_t at;

	if (!p) {
		oci_fail(o->r, 404, "BLOB_UPLOAD_UNKNOWN", "this upload is not known (any more): begin again");
	} else if (str_eqc(o->r->method, "GET")) {
		tell_push(o->r, 204, o->name, p);
	} else if (str_eqc(o->r->method, "DELETE")) {
		if (push_give_up(p, &e) < 0)
			oci_fail_err(o->r, &e, "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN");
		else
			oci_reply(o->r, 204, NULL, STR_NULL, "%s", "");
	} else if (range.p && (!str_cut(range, '-', &from, &to) || str_to_i64(from, 0, INT64_MAX, &at) < 0 ||
			       at != push_bytes(p))) {
		tell_push(o->r, 416, o->name, p);
	} else if (!wanted(o->r, "digest", want) || (str_eqc(o->r->method, "PUT") && !want[0])) {
		oci_fail(o->r, 400, "DIGEST_INVALID", "?digest= is sha256: and 64 digits of 0-9 and a-f");
	} else {
		send_blob(o, p, str_eqc(o->r->method, "PUT") ? want : "");
	}
}
