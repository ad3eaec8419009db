/* SPDX-License-Identifier: Apache-2.0 */
/* Payload format 2.0, both ways, as tables. What a client sees over a socket is in tests/e2e/test_gateway.py. */
#include "json/read.h"
#include "tests/test.h"
#include "trigger/event.h"

#define N_HEADERS 4

struct request {
	const char *name; /* what is shown when it fails */
	const char *method, *path, *query, *route;
	const char *headers[N_HEADERS][2];
	struct str body;
	const char *want; /* JSON: every member must be in the event, with this value; null: it must not be there */
};

static struct http_req request_of(const struct request *q, struct http_header *headers)
{
	struct http_req r = {
		.method = str_of(q->method ? q->method : "GET"),
		.path = str_of(q->path ? q->path : "/f"),
		.query = str_of(q->query ? q->query : ""),
		.headers = headers,
		.body = q->body,
		.peer = "192.0.2.7",
	};

	for (size_t i = 0; i < N_HEADERS && q->headers[i][0]; i++)
		headers[r.n_headers++] = (struct http_header){str_of(q->headers[i][0]), str_of(q->headers[i][1])};
	return r;
}

static bool same(const struct json *want, const struct json *got);

static int same_member(void *arg, const char *key, const struct json *want)
{
	const struct json *got = json_get(arg, key);

	if (json_type(want) == JSON_NULL ? json_type(got) == JSON_NONE : same(want, got))
		return 0;
	printf("member %s differs\n", key);
	return 1;
}

static bool same(const struct json *want, const struct json *got)
{
	if (json_type(want) != json_type(got))
		return false;
	switch (json_type(want)) {
	case JSON_OBJECT:
		return !json_each(want, same_member, (void *)got);
	case JSON_ARRAY:
		if (json_len(want) != json_len(got))
			return false;
		for (size_t i = 0; i < json_len(want); i++)
			if (!same(json_at(want, i), json_at(got, i)))
				return false;
		return true;
	case JSON_STRING:
		return str_eq(json_str(want), json_str(got));
	case JSON_BOOL:
		return json_bool(want, false) == json_bool(got, true);
	default:
		return json_real(want, 0) == json_real(got, 1);
	}
}

static const struct request requests[] = {
	{"plain", .want = "{\"version\":\"2.0\",\"routeKey\":\"ANY /f\",\"rawPath\":\"/f\",\"rawQueryString\":\"\","
			  "\"cookies\":null,\"queryStringParameters\":null,\"pathParameters\":null,\"body\":null,"
			  "\"isBase64Encoded\":false,\"requestContext\":{\"accountId\":\"000000000000\","
			  "\"routeKey\":\"ANY /f\",\"stage\":\"$default\",\"requestId\":\"id-1\","
			  "\"http\":{\"method\":\"GET\",\"path\":\"/f\",\"sourceIp\":\"192.0.2.7\"}}}"},
	{"headers are lower-case, repeated ones joined",
	 .headers = {{"X-One", "a"}, {"Host", "shop.example:8080"}, {"x-ONE", "b, c"}, {"User-Agent", "t/1"}},
	 .want = "{\"headers\":{\"x-one\":\"a,b, c\",\"host\":\"shop.example:8080\"},"
		 "\"requestContext\":{\"domainName\":\"shop.example\",\"http\":{\"userAgent\":\"t/1\"}}}"},
	{"an address as host keeps its brackets", .headers = {{"Host", "[::1]:8080"}},
	 .want = "{\"requestContext\":{\"domainName\":\"[::1]:8080\"}}"},
	{"cookies have their own list", .headers = {{"Cookie", "a=1; b=\"2;\""}, {"cookie", " c=3 ;;"}},
	 .want = "{\"cookies\":[\"a=1\",\"b=\\\"2\",\"\\\"\",\"c=3\"],\"headers\":{\"cookie\":null}}"},
	{"query: decoded, repeated ones joined, the raw one kept", .query = "a=1&b=%20x+y&a=2&c&=e&&d=%zz",
	 .want = "{\"rawQueryString\":\"a=1&b=%20x+y&a=2&c&=e&&d=%zz\",\"queryStringParameters\":"
		 "{\"a\":\"1,2\",\"b\":\" x y\",\"c\":\"\",\"\":\"e\",\"d\":\"%zz\"}}"},
	{"query: what is no UTF-8, and a NUL in a name", .query = "x=%ff&n%00m=1&n=2",
	 .want = "{\"queryStringParameters\":{\"x\":\"\xef\xbf\xbd\",\"n%00m\":\"1\",\"n\":\"2\"}}"},
	{"the path stays as it came", .path = "/shop/a%2Fb//../c", .route = "/shop/*",
	 .want = "{\"rawPath\":\"/shop/a%2Fb//../c\",\"routeKey\":\"ANY /shop/*\","
		 "\"pathParameters\":{\"proxy\":\"a%2Fb//../c\"}}"},
	{"nothing behind the star", .path = "/shop/", .route = "/shop/*", .want = "{\"pathParameters\":null}"},
	{"a body of text", .method = "POST", .headers = {{"Content-Type", "Text/Plain; charset=utf-8"}},
	 .body = STR("gr\xc3\xbc\xc3\x9f\x65\n"),
	 .want = "{\"body\":\"gr\xc3\xbc\xc3\x9f\x65\\n\",\"isBase64Encoded\":false}"},
	{"JSON, however it is spelled", .headers = {{"content-type", "Application/Problem+JSON"}}, .body = STR("{}"),
	 .want = "{\"body\":\"{}\",\"isBase64Encoded\":false}"},
	{"a form", .headers = {{"content-type", "application/x-www-form-urlencoded;charset=UTF-8"}}, .body = STR("a=1"),
	 .want = "{\"body\":\"a=1\",\"isBase64Encoded\":false}"},
	{"text that is no UTF-8", .headers = {{"content-type", "application/json"}}, .body = STR("\xff\xfe"),
	 .want = "{\"body\":\"//4=\",\"isBase64Encoded\":true}"},
	{"a picture", .headers = {{"content-type", "image/png"}}, .body = STR("ab"),
	 .want = "{\"body\":\"YWI=\",\"isBase64Encoded\":true}"},
	{"text in a coding", .headers = {{"content-type", "text/plain"}, {"Content-Encoding", "gzip"}},
	 .body = STR("ab"), .want = "{\"body\":\"YWI=\",\"isBase64Encoded\":true}"},
	{"no type, but text", .body = STR("ab"), .want = "{\"body\":\"ab\",\"isBase64Encoded\":false}"},
	{"no type and no text", .body = STR("a\xc0"), .want = "{\"body\":\"YcA=\",\"isBase64Encoded\":true}"},
};

TEST(to_event)
{
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		const struct request *q = &requests[i];
		struct http_header headers[N_HEADERS];
		struct http_req r = request_of(q, headers);
		struct gateway_time time = {0};
		struct gateway_facts f = {.account = "000000000000",
					  .route = q->route ? q->route : "/f",
					  .request_id = "id-1",
					  .time = &time};
		auto_buf out = {0};
		struct err e = {0};
		auto_json want = json_parse(str_of(q->want), &e);
		int before = test_failures;

		event_from_http(&out, &r, &f);
		auto_json got = json_parse(buf_str(&out), &e);
		CHECK(want && got && same(want, got));
		if (test_failures > before)
			printf("  %s: " STR_FMT "\n  %s\n", q->name, STR_ARG(buf_str(&out)), e.text);
	}
}

struct answer {
	const char *json;
	int status; /* 0: malformed */
	const char *type, *headers, *body;
};

#define TEXT "text/plain;charset=utf-8"
#define JSON "application/json"
static const struct answer answers[] = {
	/* without a statusCode: the value itself */
	{"\"hi\"", 200, JSON, "", "hi"},
	{"null", 200, JSON, "", "null"},
	{"[1, 2]", 200, JSON, "", "[1, 2]"},
	{"{\"body\": \"x\", \"headers\": {\"a\": \"b\"}}", 200, JSON, "",
	 "{\"body\": \"x\", \"headers\": {\"a\": \"b\"}}"},
	{"", 0, NULL, NULL, NULL},
	{"{\"a\": NaN}", 0, NULL, NULL, NULL},
	/* the status */
	{"{\"statusCode\": 200, \"body\": \"ok\"}", 200, TEXT, "", "ok"},
	{"{\"statusCode\": \"201\", \"body\": \"ok\"}", 201, TEXT, "", "ok"},
	{"{\"statusCode\": 404.0}", 404, TEXT, "", ""},
	{"{\"statusCode\": 599}", 599, TEXT, "", ""},
	{"{\"statusCode\": 100}", 0, NULL, NULL, NULL},
	{"{\"statusCode\": 101}", 0, NULL, NULL, NULL},
	{"{\"statusCode\": 199.9}", 0, NULL, NULL, NULL},
	{"{\"statusCode\": 600}", 0, NULL, NULL, NULL},
	{"{\"statusCode\": 4294967496}", 0, NULL, NULL, NULL},
	{"{\"statusCode\": -200}", 0, NULL, NULL, NULL},
	{"{\"statusCode\": 1e300}", 0, NULL, NULL, NULL},
	{"{\"statusCode\": null}", 0, NULL, NULL, NULL},
	{"{\"statusCode\": true}", 0, NULL, NULL, NULL},
	{"{\"statusCode\": \"ok\"}", 0, NULL, NULL, NULL},
	{"{\"statusCode\": \"101\"}", 0, NULL, NULL, NULL},
	/* headers */
	{"{\"statusCode\": 200, \"headers\": {\"X-A\": \"1\", \"content-TYPE\": \"text/html\", \"n\": 5, \"r\": 1.5, "
	 "\"b\": true}}",
	 200, "text/html", "X-A: 1\r\nn: 5\r\nr: 1.5\r\nb: true\r\n", ""},
	{"{\"statusCode\": 200, \"headers\": {\"x\": \"a\\r\\nSet-Cookie: evil=1\", \"x y\": \"v\", \"x\\r\\ny\": "
	 "\"v\", \"\": \"v\","
	 " \"o\": {}, \"z\": null}}",
	 200, TEXT, "", ""},
	{"{\"statusCode\": 200, \"headers\": {\"Content-Length\": \"3\", \"transfer-encoding\": \"chunked\", "
	 "\"CONNECTION\": \"close\","
	 " \"Keep-Alive\": \"x\", \"Upgrade\": \"h2c\", \"Date\": \"now\"}}",
	 200, TEXT, "", ""},
	{"{\"statusCode\": 200, \"headers\": \"x\", \"cookies\": \"y\"}", 200, TEXT, "", ""},
	{"{\"statusCode\": 302, \"headers\": {\"Location\": \"/x\"}, \"cookies\": [\"a=1; Path=/\", 5, \"c\\r\\nd: "
	 "e\", \"b=2\"]}",
	 302, TEXT, "Location: /x\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\n", ""},
	/* the body */
	{"{\"statusCode\": 200, \"body\": \"aGk=\", \"isBase64Encoded\": true}", 200, TEXT, "", "hi"},
	{"{\"statusCode\": 200, \"body\": \"aGk=\", \"isBase64Encoded\": false}", 200, TEXT, "", "aGk="},
	{"{\"statusCode\": 200, \"body\": \"\", \"isBase64Encoded\": true}", 200, TEXT, "", ""},
	{"{\"statusCode\": 200, \"body\": \"!!!\", \"isBase64Encoded\": true}", 0, NULL, NULL, NULL},
	{"{\"statusCode\": 200, \"body\": null}", 200, TEXT, "", ""},
	{"{\"statusCode\": 200, \"body\": {\"a\": 1}}", 0, NULL, NULL, NULL},
	{"{\"statusCode\": 200, \"body\": 5}", 0, NULL, NULL, NULL},
	{"{\"statusCode\": 200, \"body\": \"a\\u0000b\"}", 0, NULL, NULL, NULL},
};

TEST(from_answer)
{
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		const struct answer *a = &answers[i];
		struct event_answer_parts p = {0};
		struct err e = {0};
		int before = test_failures, rc = event_to_http(&p, str_of(a->json), &e);

		CHECK(rc == (a->status ? 0 : -1));
		CHECK(p.status == a->status);
		if (rc == 0 && a->status) {
			CHECK_STR(p.content_type, a->type);
			CHECK(str_eqc(buf_str(&p.headers), a->headers));
			CHECK(str_eqc(buf_str(&p.body), a->body));
		} else {
			CHECK(e.text[0]);
		}
		if (test_failures > before)
			printf("  %s\n  " STR_FMT "\n", a->json, STR_ARG(buf_str(&p.headers)));
		event_parts_done(&p);
	}
}
