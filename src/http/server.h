/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 server on the loop; the grammar is llhttp's. Knows nothing of Tandem.
 *
 * - Takes listeners that are already bound (also unix and in-sandbox ones); never closes the listening descriptor.
 * - One request of a connection is with the handler at a time; pipelined ones wait in the buffer, reading stops
 * meanwhile.
 * - The body is whole when the handler is called (limit by listener: 413 with Connection: close beyond it); Expect:
 * 100-continue is answered. Or it is pulled, where the listener says so: then it has no limit, and no more of it is
 * held than one piece.
 * - Exactly one of http_reply or http_stream_begin..end per request, now or later. Every request must be answered
 * unless gone() was called.
 * - Keep-alive, HEAD (body left out), chunked requests, 400/408/413/414/417/431/501/505 for bad ones. Conflicting
 * framing (two lengths, length and chunked) is refused.
 * - Idle connections are closed after idle_us; a request that does not arrive whole in head/body time gets 408. No
 * timer runs when no connection is open. Limits: LIM_HTTP_*. A guest is one of many listeners whose clients are
 * hostile: what it can hold is bounded, and it cannot keep others from being accepted. Nor can those who come over TCP;
 * what they hold is bounded, too (503), but for small requests, which are always taken. Tests: tests/http, fuzz:
 * tests/fuzz/http.c.
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/trace_context.h"
#include "loop/loop.h"
struct http_server;
struct tls_server;
struct http_header {
	struct str name, value; /* name as sent; compare without case */
};
struct http_req {
	void *user;			/* the handler's */
	void *listener_arg;		/* of the listener it came in by */
	struct str method;		/* "GET" */
	struct str target, path, query; /* raw, still percent-encoded; query without '?' */
	const struct http_header *headers;
	unsigned n_headers;
	struct str body;
	bool streams;  /* body is empty: it is to be pulled, http_body_start */
	char peer[56]; /* address of the client, "" for unix */
	bool tls;
	int peer_uid;	   /* unix sockets: SO_PEERCRED uid; -1 otherwise */
	int64_t start_us;  /* clock_now_us when its first byte was seen */
	const char *trace; /* of a span made of it, until it is over; NULL: none */
};			   /* valid until the reply; all strings borrowed */
typedef void http_handler(void *listener_arg, struct http_req *r);
typedef bool http_streams(void *listener_arg, const struct http_req *r);

struct http_listener_opts {
	size_t body_max;
	int64_t idle_us; /* 0: 75 s */
	http_handler *handler;
	/* Whether the handler is to be called before the body is here. Asked only when it does not come with the head:
	 * others are whole. NULL: no. */
	http_streams *streams;
	void *arg;
	bool guest;
	struct tls_server *tls; /* http/tls.h; borrowed; NULL: none */
};
struct http_listener;
struct http_server *http_server_new(struct loop *l);
void http_server_close(struct http_server *s); /* closes all connections; pending requests get gone(); listeners stay,
						  deaf, for their owners to free */
void http_server_free(struct http_server *s);  /* the same, and frees the listeners that are left */
struct http_listener *http_listen(struct http_server *s, int fd, const struct http_listener_opts *o);
void http_listener_free(struct http_listener *hl); /* stops accepting, closes its connections (gone() for pending) */
/* Stop accepting, close idle connections, others after their answer; guests go on. drained (never at once): no request is on
 * its way to us any more, nor an answer of known length to its client, or within_us have passed. Who has connected and
 * not asked yet is about to, and would not try again: such connections count as requests on their way. */
void http_server_drain(struct http_server *s, int64_t within_us, void (*drained)(void *arg), void *arg);
size_t http_server_conns(const struct http_server *s);

/* The trace that it is part of: of its span, or else by its one traceparent or X-Amzn-Trace-Id, as the latter. NULL: of none. */
const char *http_trace(const struct http_req *r, char out[TRACE_HEADER_BYTES]);
struct str http_header(const struct http_req *r, const char *name); /* first value, or {NULL,0} */
void http_on_gone(
	struct http_req *r, void (*gone)(void *arg),
	void *arg); /* client left (or shut down its sending side) before the answer; r is invalid after gone returns */

/* over: once, when the answer is given to the connection, or either was cut off. status: as it was said; 0: none was. */
void http_on_over(struct http_req *r, void (*over)(void *arg, int status), void *arg);
void http_on_gone_clear(struct http_req **r); /* sets *r, the request itself, to NULL then */

struct http_reply {
	int status;
	const char *content_type; /* NULL: none */
	struct str headers;	  /* more header lines, each with CRLF, or empty */
	struct str body;	  /* written from where it lies; what the socket does not take at once is copied */
	bool together;		  /* may leave a little later, with others: a client is woken once for them */
};
void http_reply(struct http_req *r, const struct http_reply *a); /* r is invalid after */

/*
 * The body of a request that streams. piece: all of it is to be taken; at most 64 KiB. end: that was all. Neither comes
 * before http_body_start returns, while paused, or after the request was answered. A body that is malformed, or of which
 * nothing comes for a minute, is a client that left: gone(). To answer before the end is fine: the connection closes.
 * Who waits for 100 Continue gets it when the body is asked for.
 */
struct http_sink {
	void (*piece)(struct http_sink *s, struct str piece);
	void (*end)(struct http_sink *s);
};
void http_body_start(struct http_req *r, struct http_sink *s);
void http_body_pause(struct http_req *r);
void http_body_resume(struct http_req *r);

/* Chunked answer. write returns false when the client is gone (then call nothing more but end). */
void http_stream_begin(struct http_req *r, int status, const char *content_type, struct str headers);
/* With a Content-Length, which must come true: with less the connection closes. -1: chunked, the same as above. */
void http_stream_begin_sized(struct http_req *r, int status, const char *content_type, struct str headers,
			     int64_t length);
bool http_stream_write(struct http_req *r, struct str data);
size_t http_stream_queued(const struct http_req *r); /* bytes the client has not taken yet */
/* drained: the client has taken all that was queued; until the end of the answer. */
void http_on_drained(struct http_req *r, void (*drained)(void *arg), void *arg);
void http_stream_abort(
	struct http_req *r);		  /* instead of an answer or its end: cuts the connection. r is invalid after */
void http_stream_end(struct http_req *r); /* r is invalid after */
const char *http_status_text(int status);
