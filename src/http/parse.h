/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For this folder: one request, or one answer, out of a growing run of bytes. The bytes of the
 * message begin at in.p; everything is kept as an offset until the message is
 * whole, so the buffer may move while it grows. llhttp does the grammar; what
 * two parsers could read differently (folds, bare line ends, spaces around
 * names, two framings) is refused here besides. The body of one that streams
 * lies there only until parse_drop_body.
 */
#pragma once
#include <llhttp.h>
#include "base/buf.h"
#include "http/server.h"

enum parse_result { PARSE_MORE, PARSE_WHOLE, PARSE_FAIL };

struct parse_span {
	uint32_t name, name_n, value, value_n; /* value 0: none seen yet */
};

struct parse {
	llhttp_t hp;
	struct buf in;
	size_t fed; /* bytes of in that llhttp has seen; the whole message when PARSE_WHOLE */
	uint32_t url, url_n;
	struct parse_span *spans;
	struct http_header *headers;
	unsigned n_spans, cap_spans;
	size_t head_n, body_n, body_max;
	int64_t length;			  /* as Content-Length has it; -1: none */
	int fail;			  /* HTTP status to refuse with */
	bool (*streams)(struct parse *p); /* asked for a message whose body is not all there; NULL: none does */
	bool streamed;			  /* it said so: the body has no limit, and is taken out as it comes */
	bool answer, head_only;
	bool in_name, head_done, whole, keep_alive, wants_continue, host_seen, te_seen;
};

void parse_init(struct parse *p);
void parse_done(struct parse *p);
void parse_begin(struct parse *p, size_t body_max); /* a message at in.p; bytes may be there already */
/* The same for an answer, streamed. head_only: to HEAD. */
void parse_begin_answer(struct parse *p, bool head_only);
bool parse_eof(struct parse *p);	      /* the other side has closed: whether its answer is whole by that */
void parse_next(struct parse *p);	      /* drops the whole message, and memory that it alone needed */
enum parse_result parse_run(struct parse *p); /* PARSE_FAIL: p->fail is set */
size_t parse_room(const struct parse *p);     /* how many bytes to make room for before the next read */
void parse_drop_body(struct parse *p);	      /* streamed: what is there of it was used */
void parse_drop_head(struct parse *p);	      /* and head_done: the headers were used */
void parse_headers(struct parse *p);	      /* head_done: p->headers */
void parse_fill(struct parse *p, struct http_req *r); /* after PARSE_WHOLE: the borrowed strings */
