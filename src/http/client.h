/* SPDX-License-Identifier: Apache-2.0 */
/* A blocking HTTP/1.1 client, for the CLI and for threads: one request on a socket. */
#pragma once
#include "base/buf.h"
#include "base/err.h"
struct http_answer {
	int status;
	struct buf head, body; /* head: raw header lines */
};
void http_answer_done(struct http_answer *a);
struct str http_answer_header(const struct http_answer *a, const char *name); /* p NULL: there is none */
/* fd, which does not block */
int http_connect_tcp(const char *host, const char *port, int64_t timeout_us, struct err *e);
int http_connect_unix(const char *path, struct err *e); /* fd */
/* fd stays the caller's, and may serve another call unless the answer said Connection: close. headers: "Name:
 * value\r\n"... or NULL. timeout_us for the whole; 0: none. */
int http_call(int fd, const char *method, const char *target, const char *headers, struct str body, int64_t timeout_us,
	      struct http_answer *ret, struct err *e);
/* The same without the body, which is not read: the connection serves no other call. */
int http_call_head(int fd, const char *method, const char *target, const char *headers, struct str body,
		   int64_t timeout_us, struct http_answer *ret, struct err *e);
/* The same with the body handed over as it arrives (chunked or not), after one empty piece that says the status; sink
 * non-zero stops (0). */
int http_call_stream(int fd, const char *method, const char *target, const char *headers, struct str body,
		     int (*sink)(void *arg, int status, struct str piece), void *arg, struct err *e);
