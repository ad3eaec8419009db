/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request passed on to an upstream, and its answer back (RFC 9110 7.6, 9112).
 *
 *      CONNECT ──► ANSWER ──► BODY ──► over
 *         └───────────┴─────────┴────► over     error, deadline, the client left, or cancel
 *
 *   CONNECT  a socket, and the other side to accept
 *   ANSWER   the head of the answer; the request's body is on its way meanwhile
 *   BODY     the rest of the answer, and the client to take it
 *   TUNNEL   both sides of an upgraded connection to close it; has no deadline
 *
 * Both bodies stream with at most 64 KiB held of each; a request whose body is small is passed on, and answered, with
 * one read and one write for each side. Headers of one hop (also those that Connection names) stay behind, Host goes on,
 * X-Forwarded-For, -Proto and -Host are added: the latter two are believed only when they come from this machine, where a
 * proxy in front would be. Upgrade passes for WebSocket alone. What could be read in two ways is refused from both
 * sides (parse.h). A connection that was kept and died is tried once more over a new one, when that is harmless.
 */
#pragma once
#include "http/parse.h"
#include "http/tunnel.h"
#include "http/upstream.h"

enum proxy_result {
	PROXY_DONE,	/* the client has, or is about to have, the whole answer */
	PROXY_NOT_SENT, /* nothing was answered, and the request can be sent elsewhere: it is the caller's again */
	PROXY_FAILED,	/* answered with 502 or 504, or cut in the middle */
	PROXY_GONE,	/* the client left */
	PROXY_N
};
enum proxy_state { PROXY_OVER, PROXY_CONNECT, PROXY_ANSWER, PROXY_BODY, PROXY_TUNNEL };

struct proxy_opts { /* 0: 60 s, connect 5 s */
	int64_t connect_us;
	int64_t answer_us; /* to the head of the answer, from when the request, or the last of its body, was sent */
	int64_t idle_us;   /* between two pieces of the answer */
	const char *traceparent; /* in place of the request's own, borrowed for the call; NULL: that goes on as it is */
};

/* Zeroed before the first use; after done it can be used again. */
struct proxy {
	void (*done)(struct proxy *p, enum proxy_result r); /* the caller's; exactly once, last, may free */
	/* For done. */
	int status;			     /* of the upstream's answer; 0: none */
	const char *reason;		     /* NOT_SENT, FAILED */
	int64_t request_bytes, answer_bytes; /* of the bodies */
	int64_t first_byte_us;		     /* from the start to the answer's first byte */

	struct list node, waiting; /* upstream.c's */
	struct upstream *u;
	struct upstream_conn *c;
	struct http_req *r;
	struct proxy_opts o;
	enum proxy_state state;
	struct loop_timer *timer;
	struct loop_defer later;
	int64_t start_us;
	struct buf out; /* the request's head, then what the upstream has not taken of its body */
	size_t out_at;
	struct str body; /* of one that is whole, what is not sent */
	struct http_sink sink;
	struct parse in;
	struct tunnel tunnel;
	bool fresh, again, expecting, pulling, pulled, chunked, upgrade, full, deaf;
};
/* Never calls back before it returns. r must not have been answered; what the caller asked for by http_on_gone is
 * over. */
void proxy_start(struct proxy *p, struct http_req *r, struct upstream *u, const struct proxy_opts *o);
void proxy_cancel(struct proxy *p);  /* NOT_SENT or FAILED, before it returns; harmless when it is over */
void proxy_release(struct proxy *p); /* over: gives its memory back */

/* For upstream.c. */
void proxy_connect(struct proxy *p);
void proxy_event(struct proxy *p, int events);

/* proxy_head.c: what is passed on of the heads. */
void proxy_request_head(struct proxy *p, struct buf *o);
void proxy_answer_head(struct proxy *p, struct buf *o);
