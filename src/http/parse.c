/* SPDX-License-Identifier: Apache-2.0 */
#include "http/parse.h"
#include <assert.h>
#include "base/limits.h"
#include "base/mem.h"

#define IN_FIRST_BYTES 4096
#define IN_KEEP_BYTES  65536
#define IN_STEP_BYTES  1048576

static struct parse *of(llhttp_t *hp)
{
	return container_of(hp, struct parse, hp);
}

static int refuse(struct parse *p, int status)
{
	if (!p->fail)
		p->fail = status;
	return -1;
}

static uint32_t offset(const struct parse *p, const char *at)
{
	return (uint32_t)(at - p->in.p);
}

static struct str name_of(const struct parse *p, const struct parse_span *s)
{
	return (struct str){p->in.p + s->name, s->name_n};
}

static struct str value_of(const struct parse *p, const struct parse_span *s)
{
	return str_trim((struct str){s->value ? p->in.p + s->value : "", s->value_n});
}

/* From the end of a line's last token to the next line there is a CRLF and nothing else but blanks. Returns 0 or where
 * the next line begins. */
static uint32_t line_end(const struct parse *p, uint32_t at)
{
	const char *t = p->in.p;

	while (at < p->in.n && (t[at] == ' ' || t[at] == '\t'))
		at++;
	return p->in.n - at >= 2 && t[at] == '\r' && t[at + 1] == '\n' ? at + 2 : 0;
}

/* The line before the one that begins at `next` was not folded and ended as it must. next 0: it is not known yet, and
 * returned. */
static uint32_t check_line(const struct parse *p, uint32_t next)
{
	static const char version[] = " HTTP/1.";
	const struct parse_span *s;
	uint32_t at, end;

	if (p->n_spans) {
		s = &p->spans[p->n_spans - 1];
		at = s->name + s->name_n;
		if (!s->name_n || at >= p->in.n || p->in.p[at] != ':')
			return 0;
		end = line_end(p, s->value_n ? s->value + s->value_n : at + 1);
	} else if (p->answer) {
		for (at = 0; at < p->in.n && p->in.p[at] != '\r' && p->in.p[at] != '\n'; at++)
			continue;
		end = line_end(p, at);
	} else {
		/* One space on either side of the target; " HTTP/1.x" has fixed length. */
		if (p->url != strlen(llhttp_method_name((llhttp_method_t)p->hp.method)) + 1)
			return 0;
		at = p->url + p->url_n;
		if (p->in.n - at < sizeof(version) + 2 || memcmp(p->in.p + at, version, sizeof(version) - 1))
			return 0;
		at += sizeof(version);
		end = p->in.p[at] == '\r' ? line_end(p, at) : 0;
	}
	return next && end != next ? 0 : end;
}

static int on_url(llhttp_t *hp, const char *at, size_t n)
{
	struct parse *p = of(hp);

	if (!p->url_n)
		p->url = offset(p, at);
	p->url_n += (uint32_t)n;
	return 0;
}

static int on_name(llhttp_t *hp, const char *at, size_t n)
{
	struct parse *p = of(hp);

	if (p->head_done) /* trailers are not kept */
		return 0;
	if (p->in_name) {
		p->spans[p->n_spans - 1].name_n += (uint32_t)n;
		return 0;
	}
	if (!check_line(p, offset(p, at)))
		return refuse(p, 400);
	if (p->n_spans == LIM_HTTP_HEADERS)
		return refuse(p, 431);
	if (p->n_spans == p->cap_spans) {
		p->cap_spans = p->cap_spans ? p->cap_spans * 2 : 16;
		p->spans = xrealloc(p->spans, p->cap_spans * sizeof(*p->spans));
		p->headers = xrealloc(p->headers, p->cap_spans * sizeof(*p->headers));
	}
	p->spans[p->n_spans++] = (struct parse_span){.name = offset(p, at), .name_n = (uint32_t)n};
	p->in_name = true;
	return 0;
}

static int on_value(llhttp_t *hp, const char *at, size_t n)
{
	struct parse *p = of(hp);
	struct parse_span *s;

	if (p->head_done || !n)
		return 0;
	assert(p->n_spans);
	s = &p->spans[p->n_spans - 1];
	p->in_name = false;
	if (!s->value_n)
		s->value = offset(p, at);
	/* Anything but blanks before it, or between two pieces of it, is a fold. */
	for (uint32_t i = s->value_n ? s->value + s->value_n : s->name + s->name_n + 1; i < offset(p, at); i++)
		if (s->value_n || (p->in.p[i] != ' ' && p->in.p[i] != '\t'))
			return refuse(p, 400);
	s->value_n += (uint32_t)n;
	return memchr(at, 0, n) ? refuse(p, 400) : 0;
}

static int on_value_complete(llhttp_t *hp)
{
	of(hp)->in_name = false;
	return 0;
}

/* The few headers that decide about framing. */
static int check_header(struct parse *p, const struct parse_span *s)
{
	struct str name = name_of(p, s), value = value_of(p, s);

	if (str_caseeqc(name, "host")) {
		if (p->host_seen)
			return refuse(p, 400);
		p->host_seen = true;
	} else if (str_caseeqc(name, "transfer-encoding")) {
		/* Codings that we would have to undo, or a second header: no. */
		if (p->te_seen || p->hp.http_minor == 0)
			return refuse(p, 400);
		if (!str_caseeqc(value, "chunked"))
			return refuse(p, 501);
		p->te_seen = true;
	} else if (str_caseeqc(name, "expect")) {
		if (!str_caseeqc(value, "100-continue"))
			return refuse(p, 417);
		p->wants_continue = p->hp.http_minor > 0;
	}
	return 0;
}

static int on_head(llhttp_t *hp)
{
	struct parse *p = of(hp);
	uint32_t end = check_line(p, 0);
	bool here;

	if (hp->http_major != 1 || hp->http_minor > 1)
		return refuse(p, 505);
	if (!end || p->in.n - end < 2 || memcmp(p->in.p + end, "\r\n", 2))
		return refuse(p, 400);
	p->head_n = end + 2;
	if (p->head_n > LIM_HTTP_HEAD_BYTES)
		return refuse(p, p->url_n > LIM_HTTP_HEAD_BYTES / 2 ? 414 : 431);
	for (unsigned i = 0; i < p->n_spans; i++)
		if (check_header(p, &p->spans[i]) < 0)
			return -1;
	if (hp->method == HTTP_CONNECT)
		return refuse(p, 501);
	if (!p->answer && !p->host_seen && hp->http_minor > 0)
		return refuse(p, 400);
	if (p->te_seen && (hp->flags & F_CONTENT_LENGTH))
		return refuse(p, 400);
	here = !p->te_seen && hp->content_length <= p->in.n - p->head_n && hp->content_length <= p->body_max;
	p->length = hp->flags & F_CONTENT_LENGTH && hp->content_length <= INT64_MAX ? (int64_t)hp->content_length : -1;
	/* These have no body, whatever they say of its length. */
	if (p->answer && (p->head_only || hp->status_code < 200 || hp->status_code == 204 || hp->status_code == 304))
		hp->flags |= F_SKIPBODY;
	if (!here && p->streams && p->streams(p)) {
		p->streamed = true;
		p->body_max = SIZE_MAX;
	}
	if ((hp->flags & F_CONTENT_LENGTH) && hp->content_length > p->body_max)
		return refuse(p, 413);
	p->head_done = true;
	p->keep_alive = llhttp_should_keep_alive(hp);
	return 0;
}

/* Pieces of a chunked body are moved together, over the chunk sizes between them. */
static int on_body(llhttp_t *hp, const char *at, size_t n)
{
	struct parse *p = of(hp);
	char *to = p->in.p + p->head_n + p->body_n;

	if (n > p->body_max - p->body_n)
		return refuse(p, 413);
	assert(to <= at);
	if (to != at)
		memmove(to, at, n);
	p->body_n += n;
	return 0;
}

static int on_chunk(llhttp_t *hp)
{
	struct parse *p = of(hp);

	return hp->content_length > p->body_max - p->body_n ? refuse(p, 413) : 0;
}

static int on_whole(llhttp_t *hp)
{
	of(hp)->whole = true;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_url = on_url,
	.on_header_field = on_name,
	.on_header_value = on_value,
	.on_header_value_complete = on_value_complete,
	.on_headers_complete = on_head,
	.on_chunk_header = on_chunk,
	.on_body = on_body,
	.on_message_complete = on_whole,
};

void parse_init(struct parse *p)
{
	*p = (struct parse){0};
}

void parse_done(struct parse *p)
{
	buf_done(&p->in);
	free(p->spans);
	free(p->headers);
}

void parse_begin(struct parse *p, size_t body_max)
{
	llhttp_init(&p->hp, HTTP_REQUEST, &settings);
	p->fed = p->head_n = p->body_n = 0;
	p->url = p->url_n = p->n_spans = 0;
	p->body_max = body_max;
	p->fail = 0;
	p->streamed = p->in_name = p->head_done = p->whole = p->keep_alive = p->wants_continue = p->host_seen =
		p->te_seen = false;
}

void parse_begin_answer(struct parse *p, bool head_only)
{
	parse_begin(p, SIZE_MAX);
	llhttp_init(&p->hp, HTTP_RESPONSE, &settings);
	p->answer = p->streamed = true;
	p->head_only = head_only;
}

bool parse_eof(struct parse *p)
{
	llhttp_finish(&p->hp);
	return p->whole;
}

void parse_next(struct parse *p)
{
	if (p->in.n > p->fed)
		buf_drop(&p->in, p->fed);
	else if (p->in.cap > IN_KEEP_BYTES)
		buf_done(&p->in);
	else
		buf_clear(&p->in);
	p->fed = 0;
}

static int status_of(const struct parse *p, llhttp_errno_t no)
{
	if (p->fail)
		return p->fail;
	if (no == HPE_INVALID_METHOD)
		return p->in.p[0] >= 'A' && p->in.p[0] <= 'Z' ? 501 : 400;
	return no == HPE_INVALID_VERSION ? 505 : 400;
}

enum parse_result parse_run(struct parse *p)
{
	llhttp_errno_t no;
	size_t blank = 0;

	if (!p->fed && !p->head_done) {
		/* Empty lines before a request are allowed, and nothing of it. */
		while (blank < p->in.n && (p->in.p[blank] == '\r' || p->in.p[blank] == '\n'))
			blank++;
		if (blank)
			buf_drop(&p->in, blank);
	}
	if (p->fed == p->in.n)
		return PARSE_MORE;
	no = llhttp_execute(&p->hp, p->in.p + p->fed, p->in.n - p->fed);
	if (p->whole && !p->fail) {
		p->fed = (size_t)(llhttp_get_error_pos(&p->hp) - p->in.p);
		return PARSE_WHOLE;
	}
	if (no != HPE_OK) {
		p->fail = status_of(p, no);
		return PARSE_FAIL;
	}
	p->fed = p->in.n;
	if (!p->head_done && p->in.n >= LIM_HTTP_HEAD_BYTES) {
		p->fail = p->n_spans ? 431 : 414;
		return PARSE_FAIL;
	}
	/* Chunk sizes that were read are of no more use. */
	if (p->te_seen && p->head_done)
		p->in.n = p->fed = p->head_n + p->body_n;
	return PARSE_MORE;
}

void parse_drop_head(struct parse *p)
{
	buf_drop(&p->in, p->head_n);
	p->fed -= p->head_n;
	p->head_n = p->n_spans = 0;
}

void parse_drop_body(struct parse *p)
{
	p->body_n = 0;
	if (!p->whole)
		p->in.n = p->fed = p->head_n;
}

size_t parse_room(const struct parse *p)
{
	size_t left;

	if (!p->in.cap)
		return IN_FIRST_BYTES - 1;
	if (!p->head_done || p->te_seen)
		return p->in.n < 65536 ? p->in.n / 2 + 512 : 65536;
	left = (size_t)p->hp.content_length;
	/* What was promised is not believed before as much has come. */
	if (left > p->in.n && left > 65536)
		left = p->in.n > 65536 ? p->in.n : 65536;
	return left < IN_STEP_BYTES ? left : IN_STEP_BYTES;
}

static void fill_target(struct http_req *r)
{
	struct str t = r->target, rest;
	const char *at;

	/* "http://host/path" means the same as "/path"; "http://host?query" has no path. */
	if (t.n && t.p[0] != '/' && t.p[0] != '*') {
		at = memmem(t.p, t.n, "://", 3);
		for (at = at ? at + 3 : t.p; at < t.p + t.n && !strchr("/?#", *at); at++)
			continue;
		t = (struct str){at, t.n - (size_t)(at - t.p)};
	}
	if (!str_cut(t, '#', &t, &rest))
		rest = STR_NULL;
	r->query = STR("");
	r->path = t;
	str_cut(t, '?', &r->path, &r->query);
	if (!r->path.n)
		r->path = STR("/");
}

void parse_headers(struct parse *p)
{
	for (unsigned i = 0; i < p->n_spans; i++)
		p->headers[i] = (struct http_header){name_of(p, &p->spans[i]), value_of(p, &p->spans[i])};
}

void parse_fill(struct parse *p, struct http_req *r)
{
	r->method = str_of(llhttp_method_name((llhttp_method_t)p->hp.method));
	r->target = (struct str){p->in.p + p->url, p->url_n};
	fill_target(r);
	parse_headers(p);
	r->headers = p->headers;
	r->n_headers = p->n_spans;
	r->body = (struct str){p->in.p + p->head_n, p->body_n};
}
