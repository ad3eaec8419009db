/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/event.h"
#include <stdio.h>
#include <strings.h>
#include <time.h>
#include "base/clock.h"
#include "base/enc.h"
#include "json/read.h"
#include "json/write.h"

static void lower(struct buf *b, struct str s)
{
	buf_clear(b);
	buf_addstr(b, s);
	for (size_t i = 0; i < s.n; i++)
		if (b->p[i] >= 'A' && b->p[i] <= 'Z')
			b->p[i] |= 32;
}

/* Names lower-case; values of repeated names joined by commas; cookies have their own list. */
static void put_headers(struct jw *w, const struct http_req *r)
{
	auto_buf name = {0};
	auto_buf value = {0};
	bool any_cookie = false;

	jw_obj(w, "headers");
	for (unsigned i = 0; i < r->n_headers; i++) {
		const struct http_header *h = &r->headers[i];
		bool seen = false;

		if (str_caseeq(h->name, STR("cookie"))) {
			any_cookie = true;
			continue;
		}
		for (unsigned k = 0; k < i && !seen; k++)
			seen = str_caseeq(r->headers[k].name, h->name);
		if (seen)
			continue;
		buf_clear(&value);
		buf_addstr(&value, h->value);
		for (unsigned k = i + 1; k < r->n_headers; k++)
			if (str_caseeq(r->headers[k].name, h->name)) {
				buf_addc(&value, ',');
				buf_addstr(&value, r->headers[k].value);
			}
		lower(&name, h->name);
		jw_str(w, name.p, buf_str(&value));
	}
	jw_end(w, '}');
	if (!any_cookie)
		return;
	jw_arr(w, "cookies");
	for (unsigned i = 0; i < r->n_headers; i++) {
		struct str rest = r->headers[i].value, one;

		if (!str_caseeq(r->headers[i].name, STR("cookie")))
			continue;
		while (str_next(&rest, ';', &one)) {
			one = str_trim(one);
			if (one.n)
				jw_str(w, NULL, one);
		}
	}
	jw_end(w, ']');
}

struct query_item {
	struct buf name, value;
	uint32_t hash; /* of name: thousands of them are compared with hundreds */
};

static uint32_t hash_of(struct str s)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (uint8_t)s.p[i]) * 16777619u;
	return h;
}

static void add_query(struct query_item *items, size_t *n, size_t max, struct str raw)
{
	struct str name, value;
	auto_buf dn = {0};
	auto_buf dv = {0};
	uint32_t hash;

	if (!str_cut(raw, '=', &name, &value))
		name = raw, value = STR_NULL;
	if (dec_percent(&dn, name, true) < 0 || (dn.n && memchr(dn.p, 0, dn.n))) { /* with a NUL: no key of ours */
		buf_clear(&dn);
		buf_addstr(&dn, name);
	}
	if (dec_percent(&dv, value, true) < 0) {
		buf_clear(&dv);
		buf_addstr(&dv, value);
	}
	hash = hash_of(buf_str(&dn));
	for (size_t i = 0; i < *n; i++)
		if (items[i].hash == hash && str_eq(buf_str(&items[i].name), buf_str(&dn))) {
			buf_addc(&items[i].value, ',');
			buf_addstr(&items[i].value, buf_str(&dv));
			return;
		}
	if (*n == max)
		return;
	items[*n] = (struct query_item){dn, dv, hash};
	(*n)++;
	dn = (struct buf){0};
	dv = (struct buf){0};
}

#define QUERY_MAX 256

static void put_query(struct jw *w, struct str query)
{
	struct query_item items[QUERY_MAX];
	struct str one;
	size_t n = 0;

	if (!query.n)
		return;
	while (str_next(&query, '&', &one))
		if (one.n)
			add_query(items, &n, QUERY_MAX, one);
	jw_obj(w, "queryStringParameters");
	for (size_t i = 0; i < n; i++) {
		jw_str(w, buf_str(&items[i].name).p, buf_str(&items[i].value));
		buf_done(&items[i].name);
		buf_done(&items[i].value);
	}
	jw_end(w, '}');
}

/* What a star at the end of the route stands for, under the name that {proxy+} has on AWS. */
static void put_rest_of_path(struct jw *w, struct str path, struct str route)
{
	size_t fixed = route.n - 1;

	if (!route.n || route.p[fixed] != '*' || path.n <= fixed)
		return;
	jw_obj(w, "pathParameters");
	jw_str(w, "proxy", (struct str){path.p + fixed, path.n - fixed});
	jw_end(w, '}');
}

static bool is_text(const struct http_req *r)
{
	static const char *const known[] = {"", "application/json", "application/x-www-form-urlencoded",
					    "application/xml", "application/javascript"};
	struct str type = http_header(r, "content-type"), rest;
	bool text = false;

	if (http_header(r, "content-encoding").n)
		return false;
	str_cut(type, ';', &type, &rest);
	type = str_trim(type);
	for (size_t i = 0; i < ARRAY_SIZE(known) && !text; i++)
		text = str_caseeqc(type, known[i]);
	if (type.n > 5)
		text |= !strncasecmp(type.p, "text/", 5) || !strncasecmp(type.p + type.n - 5, "+json", 5);
	return text && enc_utf8_ok(r->body);
}

static void put_body(struct jw *w, const struct http_req *r)
{
	auto_buf b64 = {0};

	if (!r->body.n) {
		jw_bool(w, "isBase64Encoded", false);
		return;
	}
	if (is_text(r)) {
		jw_str(w, "body", r->body);
		jw_bool(w, "isBase64Encoded", false);
		return;
	}
	enc_b64(&b64, r->body.p, r->body.n);
	jw_str(w, "body", buf_str(&b64));
	jw_bool(w, "isBase64Encoded", true);
}

static const char *time_text(struct gateway_time *t, int64_t wall_us)
{
	time_t second = (time_t)(wall_us / 1000000);
	struct tm tm;

	if (second != t->second) {
		t->second = second;
		strftime(t->text, sizeof(t->text), "%d/%b/%Y:%H:%M:%S +0000", gmtime_r(&second, &tm));
	}
	return t->text;
}

static void put_context(struct jw *w, const struct http_req *r, const struct gateway_facts *f, struct str path,
			const char *route_key)
{
	struct str host = http_header(r, "host"), name = host, agent = http_header(r, "user-agent");
	int64_t now = clock_wall_us();

	for (size_t i = 0; i < host.n; i++)
		if (host.p[i] == ':' && host.p[0] != '[') {
			name.n = i;
			break;
		}
	jw_obj(w, "requestContext");
	jw_strc(w, "accountId", f->account);
	jw_strc(w, "apiId", f->route ? "tandem" : f->url_id);
	if (f->authorizer.n)
		jw_raw(w, "authorizer", f->authorizer);
	jw_str(w, "domainName", name);
	jw_strc(w, "domainPrefix", f->route ? "tandem" : f->url_id);
	jw_obj(w, "http");
	jw_str(w, "method", r->method);
	jw_str(w, "path", path);
	jw_strc(w, "protocol", "HTTP/1.1");
	jw_strc(w, "sourceIp", r->peer);
	jw_str(w, "userAgent", agent);
	jw_end(w, '}');
	jw_strc(w, "requestId", f->request_id);
	jw_strc(w, "routeKey", route_key);
	jw_strc(w, "stage", "$default");
	jw_strc(w, "time", time_text(f->time, now));
	jw_int(w, "timeEpoch", now / 1000);
	jw_end(w, '}');
}

void event_from_http(struct buf *out, const struct http_req *r, const struct gateway_facts *f)
{
	struct str path = f->route ? r->path : f->path;
	char route_key[300] = "$default";
	struct jw w = jw_object(out);

	if (f->route) {
		memcpy(route_key, "ANY ", 4);
		strlcpy_(route_key + 4, f->route, sizeof(route_key) - 4);
	}
	jw_strc(&w, "version", "2.0");
	jw_strc(&w, "routeKey", route_key);
	jw_str(&w, "rawPath", path);
	jw_str(&w, "rawQueryString", r->query);
	put_headers(&w, r);
	put_query(&w, r->query);
	put_rest_of_path(&w, r->path, str_of(f->route));
	put_context(&w, r, f, path, route_key);
	put_body(&w, r);
	jw_end(&w, '}');
}

/* --- back --- */

static bool token_ok(struct str s)
{
	return str_name_ok(s, 256, "!#$%&'*+-.^_`|~");
}

static bool value_ok(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (((unsigned char)s.p[i] < 32 && s.p[i] != '\t') || s.p[i] == 127)
			return false;
	return true;
}

/* The server writes these itself; a function that set them would desynchronise the connection. */
static bool is_servers(struct str name)
{
	static const char *const names[] = {"content-length", "transfer-encoding", "connection", "keep-alive",
					    "upgrade",	      "trailer",	   "te",	 "date"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (str_caseeqc(name, names[i]))
			return true;
	return false;
}

static int put_header(void *arg, const char *key, const struct json *value)
{
	struct event_answer_parts *p = arg;
	struct str name = str_of(key), v = json_str(value);
	char number[32];

	if (!v.p && (json_type(value) == JSON_INT || json_type(value) == JSON_REAL)) {
		snprintf(number, sizeof(number), "%.15g", json_real(value, 0));
		v = str_of(number);
	} else if (json_type(value) == JSON_BOOL) {
		v = str_of(json_bool(value, false) ? "true" : "false");
	}
	if (!v.p || !token_ok(name) || !value_ok(v) || is_servers(name))
		return 0;
	if (str_caseeqc(name, "content-type")) {
		if (v.n < sizeof(p->content_type))
			snprintf(p->content_type, sizeof(p->content_type), STR_FMT, STR_ARG(v));
		return 0;
	}
	buf_addstr(&p->headers, name);
	buf_adds(&p->headers, ": ");
	buf_addstr(&p->headers, v);
	buf_adds(&p->headers, "\r\n");
	return 0;
}

static void put_cookies(struct event_answer_parts *p, const struct json *cookies)
{
	for (size_t i = 0; i < json_len(cookies); i++) {
		struct str c = json_str(json_at(cookies, i));

		if (!c.p || !value_ok(c))
			continue;
		buf_adds(&p->headers, "Set-Cookie: ");
		buf_addstr(&p->headers, c);
		buf_adds(&p->headers, "\r\n");
	}
}

static int put_answer_body(struct event_answer_parts *p, const struct json *j, struct err *e)
{
	const struct json *b = json_get(j, "body");
	struct str text = json_str(b);

	if (json_type(b) == JSON_NONE || json_type(b) == JSON_NULL)
		return 0;
	if (!text.p)
		return err_set(e, ERR_INVALID, "body is not a string");
	if (!json_get_bool(j, "isBase64Encoded", false)) {
		buf_addstr(&p->body, text);
		return 0;
	}
	if (dec_b64(&p->body, text) < 0)
		return err_set(e, ERR_INVALID, "body is not base64 although isBase64Encoded is true");
	return 0;
}

/* 0: none that can be sent; 1xx would announce another answer. */
static int status_of(const struct json *j)
{
	double real = json_real(j, 0);
	int64_t n = 0;

	if (json_str(j).p)
		str_to_i64(json_str(j), 200, 599, &n);
	else if (real >= 200 && real < 600)
		n = (int64_t)real;
	return (int)n;
}

int event_to_http(struct event_answer_parts *ret, struct str text, struct err *e)
{
	struct event_answer_parts p = {.status = 200};
	auto_json j = json_parse(text, e);
	const struct json *status;

	if (!j)
		return err_wrap(e, "answer of the function");
	snprintf(p.content_type, sizeof(p.content_type), "application/json");
	status = json_get(j, "statusCode");
	if (json_type(j) != JSON_OBJECT || json_type(status) == JSON_NONE) {
		struct str s = json_str(j);

		buf_addstr(&p.body, s.p ? s : text);
		*ret = p;
		return 0;
	}
	p.status = status_of(status);
	if (!p.status)
		return err_set(e, ERR_INVALID, "statusCode is not a number from 200 to 599");
	snprintf(p.content_type, sizeof(p.content_type), "text/plain;charset=utf-8");
	json_each(json_get(j, "headers"), put_header, &p);
	put_cookies(&p, json_get(j, "cookies"));
	if (put_answer_body(&p, j, e) < 0) {
		event_parts_done(&p);
		return -1;
	}
	*ret = p;
	return 0;
}

void event_drop_headers(struct event_answer_parts *p, const char *begin)
{
	size_t n = strlen(begin);
	struct str rest = buf_str(&p->headers), line;
	auto_buf kept = {0};

	while (str_next(&rest, '\n', &line))
		if (line.n < n || strncasecmp(line.p, begin, n) != 0)
			buf_add(&kept, line.p, line.n + 1);
	buf_done(&p->headers);
	p->headers = kept;
	kept = (struct buf){0};
}

void event_parts_done(struct event_answer_parts *p)
{
	buf_done(&p->headers);
	buf_done(&p->body);
}
