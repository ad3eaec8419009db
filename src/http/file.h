/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run of a file's bytes into an answer that was begun with a length: by sendfile(2) on a thread, which waits for the
 * disk and never for the client (its socket does not block); the loop waits for that. Over TLS the thread reads instead.
 * One piece after another; no memory but one piece over TLS.
 */
#pragma once
#include "http/server.h"

struct http_file { /* zeroed, then filled in; the caller's again when done is called */
	/* Exactly once, never before the start returned. False: the client is gone (and the request with it), or the file
	 * is shorter: then http_stream_end cuts the answer. */
	void (*done)(struct http_file *f, bool sent);
	struct loop_thread *thread;
	int fd; /* the caller's */
	int64_t at, n;

	struct http_req *r; /* NULL: gone */
	struct loop *l;
	int sock; /* a descriptor of our own: the connection may end while the thread uses it */
	bool busy;
	ssize_t got;
	int error;
	char *piece; /* TLS */
	struct loop_work work;
	struct loop_defer later;
};
/* Takes over what http_on_gone and http_on_drained were given. */
void http_file_start(struct http_req *r, struct http_file *f);
