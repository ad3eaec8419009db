/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Function URLs: an address of its own for a function, or for an alias. A request is for one when its Host begins with
 * <id>.lambda-url. (AWS's form), or its path with /lambda-url/<id>/, which needs no name that resolves. The event is that
 * of the gateway (payload 2.0), without the prefix.
 *
 * Record "url/FUNCTION:QUALIFIER" (qualifier "": $LATEST), AWS's document: AuthType, InvokeMode, Cors, UrlId, CreationTime,
 * LastModifiedTime, with "project". Who may call is the caller's to ask (api/lambda_url.c). Tests: tests/e2e/test_function_urls.py.
 */
#pragma once
#include "json/read.h"
#include "sched/sched.h"
#include "store/tx.h"

#define URL_ID_BYTES 32
#define URL_PREFIX   "/lambda-url/"

struct urls;
struct urls *urls_new(struct sched *s, struct store *st, const char *account); /* reads the records */
void urls_free(struct urls *us);					       /* after the http server; NULL is fine */

/* Makes it, or puts doc in its place; the id stays. ERR_INVALID: e says what is wrong. */
int url_put(struct urls *us, const char *function, const char *qualifier, const struct json *doc, const char *project,
	    struct store_tx *tx, struct err *e);
bool url_delete(struct urls *us, const char *function, const char *qualifier, struct store_tx *tx); /* false: none */
struct json *url_get(const struct urls *us, const char *function, const char *qualifier); /* NULL: none; caller frees */

/* What a request is for. */
struct url_target {
	struct function *function; /* borrowed */
	char qualifier[LIM_QUALIFIER_BYTES + 1], id[URL_ID_BYTES + 1];
	struct json *doc; /* url_target_done frees */
	struct str path;  /* as the function sees it */
};
bool url_is(const struct http_req *r); /* it looks like one; there may be none of that id */
bool url_find(struct urls *us, const struct http_req *r, struct url_target *ret);
void url_target_done(struct url_target *t);
/* Answers what a browser asks before a request; false: it is none, or the URL says nothing of CORS. */
bool url_preflight(const struct url_target *t, struct http_req *r);
/* Runs the function and answers. authorizer: JSON of who signed, or empty. */
void url_call(struct urls *us, const struct url_target *t, struct http_req *r, struct str authorizer);
