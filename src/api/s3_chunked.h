/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content coding aws-chunked, taken apart as it comes: "SIZE[;chunk-signature=HEX]" CRLF, so many bytes, CRLF, and
 * after a chunk of size 0 lines "name:value". Signatures are verified when there is a chain. What comes is hostile: no
 * line is longer than LINE_MAX, no size greater than 2^40. Fuzz: tests/fuzz/chunked.c.
 */
#pragma once
#include "api/sigv4.h"
#include "store/digest.h"

struct s3_chunked {		   /* zeroed, then chain and trailer set */
	struct sigv4_chain *chain; /* NULL: nothing is signed, or nobody looks */
	struct str trailer;	   /* the name that is wanted of the lines at the end, or empty */
	/* Out: */
	char value[100]; /* of that */

	enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_END, CHUNK_TRAILER, CHUNK_BAD } state;
	int64_t left;
	char line[512];
	size_t line_n;
	char signature[65];
	struct digest *digest;
	bool trailer_signed;
	char trailer_line[200];
};
/* Calls piece for what data holds; -1: e (and from then on). */
int s3_chunked_add(struct s3_chunked *k, struct str data, void (*piece)(void *arg, struct str data), void *arg,
		   struct api_err *e);
int s3_chunked_end(struct s3_chunked *k, struct api_err *e); /* nothing comes any more: whether it was whole */
void s3_chunked_done(struct s3_chunked *k);
