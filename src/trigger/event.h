/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP to Lambda and back: payload format 2.0 (AWS: "Create AWS Lambda proxy integrations for HTTP APIs"; reference
 * section 7).
 */
#pragma once
#include "http/server.h"
struct gateway_time {
	int64_t second;
	char text[40]; /* "01/Jan/2025:00:00:00 +0000" */
};
struct gateway_facts {
	const char *account,
		*route; /* route as declared: becomes routeKey "ANY /predict"; NULL: of a function's URL: */
	const char *url_id;
	struct str path;       /* as the function is to see it */
	struct str authorizer; /* JSON, or empty */
	const char *request_id;
	struct gateway_time *time; /* of the event before; all events of one second share it */
};
void event_from_http(struct buf *out, const struct http_req *r, const struct gateway_facts *f);

/* What a function gave back, ready for http_reply. body and headers are owned here; event_answer_done frees. */
struct event_answer_parts {
	int status;
	struct buf headers; /* lines with CRLF */
	struct buf body;
	char content_type[128];
};
/* Objects with statusCode are taken apart; any other JSON is a 200 with itself as application/json. -1: malformed
 * (502). */
int event_to_http(struct event_answer_parts *ret, struct str json, struct err *e);
void event_drop_headers(struct event_answer_parts *p, const char *begin); /* whose names begin so, without case */
void event_parts_done(struct event_answer_parts *p);
