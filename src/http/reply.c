/* SPDX-License-Identifier: Apache-2.0 */
#include "http/server_int.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include "base/clock.h"

/* Up to here copying is cheaper than a second piece for the kernel. */
#define COPY_BODY_BYTES 2048

static const struct {
	int status;
	const char *text;
} texts[] = {
	{100, "Continue"},
	{101, "Switching Protocols"},
	{200, "OK"},
	{201, "Created"},
	{202, "Accepted"},
	{204, "No Content"},
	{206, "Partial Content"},
	{301, "Moved Permanently"},
	{302, "Found"},
	{303, "See Other"},
	{304, "Not Modified"},
	{307, "Temporary Redirect"},
	{308, "Permanent Redirect"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{406, "Not Acceptable"},
	{408, "Request Timeout"},
	{409, "Conflict"},
	{410, "Gone"},
	{411, "Length Required"},
	{412, "Precondition Failed"},
	{413, "Content Too Large"},
	{414, "URI Too Long"},
	{415, "Unsupported Media Type"},
	{416, "Range Not Satisfiable"},
	{417, "Expectation Failed"},
	{422, "Unprocessable Content"},
	{424, "Failed Dependency"},
	{429, "Too Many Requests"},
	{431, "Request Header Fields Too Large"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
	{505, "HTTP Version Not Supported"},
	{507, "Insufficient Storage"},
};

const char *http_status_text(int status)
{
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (texts[i].status == status)
			return texts[i].text;
	return "Unknown";
}

struct str http_header(const struct http_req *r, const char *name)
{
	struct str wanted = str_of(name);

	for (unsigned i = 0; i < r->n_headers; i++)
		if (str_caseeq(r->headers[i].name, wanted))
			return r->headers[i].value;
	return STR_NULL;
}

const char *http_trace(const struct http_req *r, char out[TRACE_HEADER_BYTES])
{
	struct str w3c = STR_NULL, aws = STR_NULL;
	struct trace_context t;
	unsigned said = 0;

	if (r->trace) {
		strlcpy_(out, r->trace, TRACE_HEADER_BYTES);
		return out;
	}
	for (unsigned i = 0; i < r->n_headers; i++) {
		if (str_caseeqc(r->headers[i].name, "traceparent"))
			w3c = r->headers[i].value, said++;
		else if (str_caseeqc(r->headers[i].name, "x-amzn-trace-id"))
			aws = r->headers[i].value;
	}
	if ((said != 1 || trace_from_w3c(w3c, &t) < 0) && trace_from_aws(aws, &t) < 0)
		return NULL;
	return trace_to_aws(&t, out);
}

static struct str date_line(struct http_server *s)
{
	time_t now = (time_t)(clock_wall_us() / 1000000);
	struct tm tm;

	if (now != s->date_s) {
		s->date_s = now;
		s->date_n = gmtime_r(&now, &tm)
				    ? strftime(s->date, sizeof(s->date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm)
				    : 0;
	}
	return (struct str){s->date, s->date_n};
}

static bool bodiless(int status)
{
	return status < 200 || status == 204 || status == 304;
}

/* Status line and headers, without the last empty line, appended to what is queued. */
static void put_head(struct conn *c, int status, const char *content_type, struct str headers)
{
	struct buf *o = &c->out;

	assert(status >= 200 && status <= 999);
	c->status = status;
	buf_reserve(o, 256 + headers.n);
	if (status == 200) {
		buf_addstr(o, STR("HTTP/1.1 200 OK\r\n"));
	} else {
		buf_addstr(o, STR("HTTP/1.1 "));
		buf_add_i64(o, status);
		buf_addc(o, ' ');
		buf_adds(o, http_status_text(status));
		buf_addstr(o, STR("\r\n"));
	}
	buf_addstr(o, date_line(c->hl->s));
	if (content_type) {
		buf_addstr(o, STR("Content-Type: "));
		buf_adds(o, content_type);
		buf_addstr(o, STR("\r\n"));
	}
	buf_addstr(o, headers);
	if (c->close_after || c->hl->draining) {
		c->close_after = true;
		buf_addstr(o, STR("Connection: close\r\n"));
	} else if (c->p.hp.http_minor == 0) {
		buf_addstr(o, STR("Connection: keep-alive\r\n"));
	}
}

/* What the handler has not pulled by now: nobody wants it, and it must not be taken for a request. */
static void body_given_up(struct conn *c)
{
	conn_body_over(c);
	if (conn_body_open(c))
		c->close_after = c->linger = true;
}

static void answer(struct conn *c, const struct http_reply *a)
{
	bool head_only = c->p.head_done && c->p.hp.method == HTTP_HEAD;
	struct str body = head_only || bodiless(a->status) ? STR_NULL : a->body;

	body_given_up(c);
	put_head(c, a->status, a->content_type, a->headers);
	if (!bodiless(a->status)) {
		buf_addstr(&c->out, STR("Content-Length: "));
		buf_add_i64(&c->out, (int64_t)a->body.n);
		buf_addstr(&c->out, STR("\r\n"));
	}
	buf_addstr(&c->out, STR("\r\n"));
	if (body.n <= COPY_BODY_BYTES) {
		buf_addstr(&c->out, body);
		body.n = 0;
	}
	/* The request must be over before the connection ends: nobody is to be told that it is gone. */
	c->gone = NULL;
	c->held = !body.n && conn_may_hold(c);
	if (a->together && !body.n && !c->held && !c->blocked)
		return conn_answered_later(c);
	if (!c->held && conn_send(c, &body, 1) < 0) {
		conn_lost(c);
		conn_release(c);
		return;
	}
	conn_answered(c);
}

void http_reply(struct http_req *r, const struct http_reply *a)
{
	struct conn *c = container_of(r, struct conn, req);

	if (c->state == CONN_GONE)
		return conn_release(c);
	assert(c->state == CONN_PENDING && !c->streaming);
	answer(c, a);
}

void reply_refuse(struct conn *c, int status)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "%d %s\n", status, http_status_text(status));

	c->close_after = true;
	c->linger = true;
	answer(c, &(struct http_reply){.status = status, .content_type = "text/plain", .body = {text, (size_t)n}});
}

void http_stream_begin(struct http_req *r, int status, const char *content_type, struct str headers)
{
	http_stream_begin_sized(r, status, content_type, headers, -1);
}

void http_stream_begin_sized(struct http_req *r, int status, const char *content_type, struct str headers,
			     int64_t length)
{
	struct conn *c = container_of(r, struct conn, req);

	if (c->state == CONN_GONE)
		return;
	assert(c->state == CONN_PENDING && !c->streaming);
	c->streaming = true;
	c->no_body = c->p.hp.method == HTTP_HEAD || bodiless(status);
	c->left = length;
	c->chunked = length < 0 && c->p.hp.http_minor > 0 && !bodiless(status);
	/* To HTTP/1.0 the end of the connection is the end of the body. */
	if (length < 0 && !c->chunked && !bodiless(status))
		c->close_after = true;
	put_head(c, status, content_type, headers);
	if (c->chunked)
		buf_addstr(&c->out, STR("Transfer-Encoding: chunked\r\n"));
	else if (length >= 0)
		buf_addf(&c->out, "Content-Length: %" PRId64 "\r\n", length);
	buf_addstr(&c->out, STR("\r\n"));
	/* Not sent at once: most often the first piece of the body follows in this very turn. */
	conn_queue(c);
}

bool http_stream_write(struct http_req *r, struct str data)
{
	struct conn *c = container_of(r, struct conn, req);
	struct str parts[3] = {STR_NULL, data, STR("\r\n")};
	char size[24];

	if (c->state == CONN_GONE)
		return false;
	assert(c->streaming);
	if (!data.n || c->no_body)
		return true;
	if (c->chunked) {
		parts[0] = (struct str){size, (size_t)snprintf(size, sizeof(size), "%zx\r\n", data.n)};
	} else {
		parts[2] = STR_NULL;
		assert(c->left < 0 || (size_t)c->left >= data.n);
		c->left -= c->left < 0 ? 0 : (int64_t)data.n;
	}
	if (conn_send(c, parts, 3) < 0) {
		conn_lost(c);
		return false;
	}
	return true;
}

void http_on_drained(struct http_req *r, void (*drained)(void *arg), void *arg)
{
	struct conn *c = container_of(r, struct conn, req);

	c->drained = drained;
	c->drained_arg = arg;
}

size_t http_stream_queued(const struct http_req *r)
{
	const struct conn *c = container_of(r, struct conn, req);

	return c->out.n - c->out_at;
}

void http_stream_abort(struct http_req *r)
{
	struct conn *c = container_of(r, struct conn, req);

	c->gone = NULL;
	if (c->state != CONN_GONE)
		conn_lost(c);
	conn_release(c);
}

void http_stream_end(struct http_req *r)
{
	struct conn *c = container_of(r, struct conn, req);
	struct str last = STR("0\r\n\r\n");

	if (c->state == CONN_GONE)
		return conn_release(c);
	assert(c->streaming);
	c->gone = c->drained = NULL;
	body_given_up(c);
	if (!c->chunked || c->no_body)
		last = STR_NULL;
	if ((c->left > 0 && !c->no_body) || conn_send(c, &last, 1) < 0) {
		conn_lost(c);
		conn_release(c);
		return;
	}
	conn_answered(c);
}
