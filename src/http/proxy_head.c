/* SPDX-License-Identifier: Apache-2.0 */
/* Which headers go on to the next hop. */

#include "http/proxy.h"
#include "http/server_int.h"

enum { REQUEST = 1, ANSWER = 2, IF_NEAR = 4 /* believed from this machine */ };

/* Not passed on as they are: of one hop (RFC 9110 7.6.1), made anew, or not to be believed. */
static const struct {
	struct str name;
	int of;
} ours[] = {
	{STR("connection"), REQUEST | ANSWER},
	{STR("content-length"), REQUEST | ANSWER},
	{STR("date"), ANSWER},
	{STR("expect"), REQUEST},
	{STR("forwarded"), REQUEST},
	{STR("keep-alive"), REQUEST | ANSWER},
	{STR("proxy"), REQUEST}, /* CGI programs would take it for HTTP_PROXY */
	{STR("proxy-connection"), REQUEST | ANSWER},
	{STR("te"), REQUEST},
	{STR("trailer"), REQUEST | ANSWER},
	{STR("transfer-encoding"), REQUEST | ANSWER},
	{STR("upgrade"), REQUEST | ANSWER},
	{STR("x-forwarded-for"), REQUEST},
	{STR("x-forwarded-host"), REQUEST | IF_NEAR},
	{STR("x-forwarded-proto"), REQUEST | IF_NEAR},
};

struct headers {
	const struct http_header *h;
	unsigned n;
};

/* One of the words that headers of this name list. */
static bool listed(const struct headers *a, const char *name, struct str word)
{
	struct str rest, one;

	for (unsigned i = 0; i < a->n; i++) {
		if (!str_caseeqc(a->h[i].name, name))
			continue;
		for (rest = a->h[i].value; str_next(&rest, ',', &one);)
			if (str_caseeq(str_trim(one), word))
				return true;
	}
	return false;
}

static bool stays(struct str name, int of, bool near)
{
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		if (ours[i].of & of && ours[i].name.n == name.n && str_caseeq(ours[i].name, name))
			return !(near && ours[i].of & IF_NEAR);
	return false;
}

static void put_line(struct buf *o, struct str name, struct str value)
{
	buf_reserve(o, name.n + value.n + 4);
	buf_addstr(o, name);
	buf_addstr(o, STR(": "));
	buf_addstr(o, value);
	buf_addstr(o, STR("\r\n"));
}

static void pass(struct buf *o, const struct headers *a, int of, bool near, bool traced)
{
	bool connection = false;

	for (unsigned i = 0; i < a->n && !connection; i++)
		connection = str_caseeqc(a->h[i].name, "connection") && !str_caseeqc(a->h[i].value, "keep-alive") &&
			     !str_caseeqc(a->h[i].value, "close");
	for (unsigned i = 0; i < a->n; i++) {
		struct str name = a->h[i].name;

		if (stays(name, of, near) || (traced && str_caseeqc(name, "traceparent")))
			continue;
		/* Nobody may take away whom the request is for. */
		if (connection && !str_caseeqc(name, "host") && listed(a, "connection", name))
			continue;
		put_line(o, name, a->h[i].value);
	}
}

/* From a program of this machine, and not out of a sandbox, where everything looks like that. */
static bool is_near(const struct conn *c)
{
	return !c->hl->o.guest &&
	       (!c->req.peer[0] || str_starts(str_of(c->req.peer), "127.") || !strcmp(c->req.peer, "::1"));
}

static void put_forwarded(struct buf *o, const struct conn *c, bool near)
{
	const struct http_req *r = &c->req;

	if (r->peer[0]) {
		buf_addstr(o, STR("X-Forwarded-For: "));
		for (unsigned i = 0; i < r->n_headers; i++) {
			if (!str_caseeqc(r->headers[i].name, "x-forwarded-for"))
				continue;
			buf_addstr(o, r->headers[i].value);
			buf_addstr(o, STR(", "));
		}
		buf_adds(o, r->peer);
		buf_addstr(o, STR("\r\n"));
	}
	if (!near || !http_header(r, "x-forwarded-proto").p)
		put_line(o, STR("X-Forwarded-Proto"), c->tls ? STR("https") : STR("http"));
	if ((!near || !http_header(r, "x-forwarded-host").p) && http_header(r, "host").p)
		put_line(o, STR("X-Forwarded-Host"), http_header(r, "host"));
}

static void put_framing(struct proxy *p, struct buf *o, const struct conn *c)
{
	bool length = http_header(p->r, "content-length").p != NULL;

	p->chunked = p->r->streams && c->p.te_seen;
	if (p->chunked) {
		buf_addstr(o, STR("Transfer-Encoding: chunked\r\n"));
	} else if (length || p->r->body.n || c->p.te_seen) {
		buf_addstr(o, STR("Content-Length: "));
		buf_add_i64(o, p->r->streams ? c->p.length : (int64_t)p->r->body.n);
		buf_addstr(o, STR("\r\n"));
	}
	p->expecting = p->r->streams && c->p.wants_continue;
	if (p->expecting)
		buf_addstr(o, STR("Expect: 100-continue\r\n"));
}

void proxy_request_head(struct proxy *p, struct buf *o)
{
	struct conn *c = container_of(p->r, struct conn, req);
	struct headers a = {p->r->headers, p->r->n_headers};
	bool near = is_near(c);

	buf_reserve(o, 512);
	buf_addstr(o, p->r->method);
	buf_addc(o, ' ');
	buf_addstr(o, p->r->path);
	if (p->r->query.n) {
		buf_addc(o, '?');
		buf_addstr(o, p->r->query);
	}
	buf_addstr(o, STR(" HTTP/1.1\r\n"));
	if (!http_header(p->r, "host").p) /* HTTP/1.0 */
		buf_addstr(o, STR("Host: localhost\r\n"));
	pass(o, &a, REQUEST, near, p->o.traceparent != NULL);
	if (p->o.traceparent)
		put_line(o, STR("traceparent"), str_of(p->o.traceparent));
	put_forwarded(o, c, near);
	put_framing(p, o, c);
	/* WebSocket alone: whoever else changes the protocol would pass requests by us. */
	p->upgrade = !c->tls && c->p.hp.http_minor && !p->r->streams && !p->r->body.n &&
		     listed(&a, "connection", STR("upgrade")) && str_caseeqc(http_header(p->r, "upgrade"), "websocket");
	if (p->upgrade)
		buf_addstr(o, STR("Connection: Upgrade\r\nUpgrade: websocket\r\n"));
	buf_addstr(o, STR("\r\n"));
}

void proxy_answer_head(struct proxy *p, struct buf *o)
{
	struct headers a;

	parse_headers(&p->in);
	a = (struct headers){p->in.headers, p->in.n_spans};
	pass(o, &a, ANSWER, false, false);
}
