/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A form that a browser sends to upload a file (multipart/form-data), read in pieces, and the policy that its signer
 * gave. What comes before the file is kept, at most LIM_FORM_BYTES (S3's); of the file no more than one piece. What
 * comes after it is passed over. Tests: tests/api/test_s3_form.c, fuzz: tests/fuzz/form.c.
 */
#pragma once
#include "api/errors.h"
#include "base/buf.h"
#include "json/read.h"

struct form;
struct form_reader {
	int (*begin)(void *arg, struct api_err *e); /* the file's bytes follow; -1: no more is read */
	int (*file)(void *arg, struct str data, struct api_err *e);
	void *arg;
};
/* boundary: of the request's Content-Type; NULL: e, there is none. */
struct form *form_new(struct str content_type, const struct form_reader *reader, struct api_err *e);
void form_free(struct form *f);
int form_add(struct form *f, struct str piece, struct api_err *e);
int form_end(const struct form *f, struct api_err *e); /* the body is over: -1 when it may not be */

/* A field that came before the file, by its name without case; STR_NULL: none. */
struct str form_field(const struct form *f, const char *name);
/* The i-th field; false: no more. */
bool form_at(const struct form *f, size_t i, struct str *ret_name, struct str *ret_value);
struct str form_filename(const struct form *f); /* of the file, without a path; empty: none */
/* Whether the policy lets these fields be, and its time is not over. size: of the file; -1: not known yet. */
int form_allowed(const struct form *f, const struct json *policy, const char *bucket, int64_t now_wall_us,
		 struct api_err *e);
int form_size_allowed(const struct json *policy, int64_t size, bool whole, struct api_err *e);
