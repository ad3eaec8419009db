/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AWS Signature Version 4, verified: the Authorization header and the presigned query (AWS: "Create a signed AWS API
 * request"). Everything in the request is hostile. The comparison takes the same time whatever differs; signing keys
 * are cached by key, date, region and service. Not safe for threads. Test vectors: tests/api/vectors; fuzz:
 * tests/fuzz/sigv4.c.
 */
#pragma once
#include "api/errors.h"
#include "http/server.h"

struct sigv4;
struct sigv4_scope { /* what the request says of itself; borrowed from it (header form) or from the sigv4 (query form)
			until the next call */
	struct str access_key, date, region, service;
	bool presigned;
};
struct sigv4 *sigv4_new(const char *region);
void sigv4_free(struct sigv4 *v);

/* Reads the scope without believing it: 0, 1 when the request is not signed at all, -1 when it is signed badly. */
int sigv4_scope(struct sigv4 *v, const struct http_req *r, struct sigv4_scope *ret, struct api_err *e);

/* What the signatures of a body's chunks go on from (S3: STREAMING-AWS4-HMAC-SHA256-PAYLOAD). */
struct sigv4_chain {
	uint8_t key[32];
	char date[17], scope[192], last[65];
};
/* kind: "PAYLOAD" or "TRAILER"; hex: of the chunk, or of the trailer. Whether that is its signature; the next one follows it. */
bool sigv4_chain_next(struct sigv4_chain *c, const char *kind, const char hex[65], struct str signature);
bool sigv4_equal(struct str a, const char *b, size_t n); /* in the same time whatever differs */

struct sigv4_check {
	int64_t now_wall_us;
	/* NULL: nobody has that key. The secret is borrowed until sigv4_verify returns. */
	const char *(*secret)(void *arg, struct str access_key);
	void *arg;
	const char *service;	   /* what the request must be scoped to; NULL: any */
	struct sigv4_chain *chain; /* filled in; NULL: not wanted */
};
/* 0: what r says was signed with the secret of ret->access_key. */
int sigv4_verify(struct sigv4 *v, const struct http_req *r, const struct sigv4_check *c, struct sigv4_scope *ret,
		 struct api_err *e);
