/* SPDX-License-Identifier: Apache-2.0 */
/* For this folder: what server.c (listeners, time), conn.c (one connection), body.c (bodies that are pulled), send.c (what it sends) and reply.c
 * (answers) share. */
#pragma once
#include "base/list.h"
#include "http/parse.h"
#include "http/server.h"
#include "http/tls.h"

struct http_listener {
	struct list node, conns;
	struct http_server *s;
	struct http_listener_opts o;
	struct loop_fd *w;
	int fd;
	bool tcp;
	bool draining; /* accepts no more; each connection ends with its answer */
	bool full;     /* not accepting until a connection ends, or for RETRY_US */
	/* guests */
	size_t n_conns, bytes;
	int64_t shakes_since_us;
	unsigned shakes;
};

struct http_server {
	struct loop *l;
	struct list listeners;
	struct loop_timer *sweep, *retry;
	int64_t sweep_us;		 /* when sweep fires; INT64_MAX: not armed */
	size_t n_conns, n_guests, n_tcp; /* all; of guests; others over TCP */
	size_t max_conns;		 /* of each of the latter */
	size_t tcp_bytes, max_bytes;	 /* in the buffers of n_tcp; LIM_HTTP_BYTES */
	bool paused, retrying;
	struct list together; /* connections whose answers wait for each other */
	struct loop_defer later;
	unsigned together_turns;
	void (*drained)(void *arg); /* NULL: nobody waits for the end */
	void *drained_arg;
	struct loop_timer *drain_by;
	struct loop_defer drain_later;
	int64_t date_s; /* the second that date stands for */
	char date[48];	/* "Date: ...\r\n" */
	size_t date_n;
};

/*
 *   IDLE ──► RECV ──► PENDING ──► FLUSH ──► IDLE, or closed
 *     any of the first two ──► FLUSH (refused) ──► LINGER ──► closed
 *     PENDING ──► GONE     closed, but the handler still holds the request
 */
enum conn_state {
	CONN_IDLE,    /* the first byte of a request */
	CONN_RECV,    /* the rest of it */
	CONN_PENDING, /* the handler's answer */
	CONN_FLUSH,   /* the client to take what is queued */
	CONN_LINGER,  /* the client to close: closing first would destroy an answer that is still on its way */
	CONN_GONE,    /* the handler to let go of the request */
	CONN_N
};

struct conn {
	struct http_req req;
	struct list node, together;
	struct loop *l;
	struct http_listener *hl; /* NULL when GONE */
	struct loop_fd *w;
	int fd;
	struct tls *tls; /* NULL: none */
	enum conn_state state;
	struct parse p;
	struct buf out;
	size_t out_at;	  /* bytes of out that are sent */
	size_t counted;	  /* in hl->bytes */
	int64_t since_us; /* of the last move or progress; deadlines count from here */
	struct loop_defer later;
	void (*gone)(void *arg);
	void *gone_arg;
	void (*drained)(void *arg);
	void *drained_arg;
	void (*over)(void *arg, int status);
	void *over_arg;
	int status;		/* of the answer, as far as there is one */
	struct http_sink *sink; /* of a body that is not over */
	struct loop_defer body_later;
	int64_t left;	  /* of a streamed answer's Content-Length; -1: none */
	bool served;	  /* one request at least */
	bool close_after; /* no other request after this answer */
	bool linger;	  /* the request was not read to its end */
	bool blocked;	  /* the socket takes no more for now */
	bool streaming, chunked, no_body;
	bool paused;  /* the sink takes no more for now */
	bool busy;    /* conn_run is on the stack: it frees */
	bool pumping; /* the same of body.c */
	bool held;    /* the answer is in out only, see conn_may_hold */
	bool freed;
};

/* conn.c */
void conn_new(struct http_listener *hl, int fd, const char *peer, int peer_uid);
void conn_close(struct conn *c);   /* from outside a reply: tells the handler at once */
void conn_lost(struct conn *c);	   /* from inside a reply: tells it on the next turn, unless it lets go before */
void conn_release(struct conn *c); /* the handler is done with a GONE one */
void conn_next(struct conn *c);	   /* after an answer: the next request, or the end; may free c */
void conn_move(struct conn *c, enum conn_state to);
void conn_over(struct conn *c);	 /* the request is: tells who wants to know */
void conn_touch(struct conn *c); /* there was progress */
void conn_want(struct conn *c);	 /* says what we wait for to the loop; it asks the kernel only when that has changed */
int64_t conn_deadline_us(const struct conn *c);
void conn_timeout(struct conn *c);		/* never calls the handler's code */
void conn_unref(struct conn *c);		/* frees, if it is to be freed */
ssize_t conn_recv(struct conn *c, size_t room); /* into p.in */
#define BODY_PIECE_BYTES 65536

/* body.c */
void conn_body_read(struct conn *c);	      /* there may be more of it */
void conn_body_over(struct conn *c);	      /* the sink hears no more */
bool conn_body_awaited(const struct conn *c); /* from the client */
static inline bool conn_body_open(const struct conn *c)
{
	return c->p.streamed && !c->p.whole;
}

/* The socket is the caller's; the connection counts until http_stream_abort. unsent: what was to leave before, appended;
 * ret_early: what came after the request, borrowed. */
int http_take_socket(struct http_req *r, struct buf *unsent, struct str *ret_early);

/* send.c */
/* What clients other than the operator's own make us keep in memory is bounded. False: this one asks for too much. */
bool conn_count_bytes(struct conn *c);
void conn_uncount_bytes(struct conn *c, size_t n);
/* True when the client has asked again already: the answer may travel with the next one, at the latest when conn_run
 * ends. */
bool conn_may_hold(const struct conn *c);
void conn_answered(struct conn *c);				    /* the whole answer is given to conn_send */
int conn_send(struct conn *c, const struct str *parts, unsigned n); /* -1: the client is gone */
void conn_queue(struct conn *c);				    /* out is to be sent no later than the next turn */
void conn_answered_later(struct conn *c); /* the whole answer is in out; it leaves with others */

/* server.c */
void server_no_network_between(int fd); /* both ends of the TCP connection are on this machine */
void server_conn_closed(struct http_listener *hl);
void server_drain_look(struct http_server *s); /* a connection has moved */
void server_sweep_by(struct http_server *s, int64_t when_us);

/* reply.c */
void reply_refuse(struct conn *c, int status); /* a whole answer to a request that never reached the handler */
