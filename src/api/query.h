/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The query protocol in front of operations that are written for JSON: a form (A.member.1.B=x, or C.1.Name=x&C.1.Value=y
 * where a service has its lists flat) becomes a JSON body whose leaves are all strings, of which shape_copy_text makes
 * what the operation's shape says; the JSON answer becomes XML. What a service calls its lists and maps is a table.
 *
 * The form is hostile: at most QUERY_PARAMS_MAX parameters, QUERY_DEPTH_MAX parts in a name; indexes only order. Names
 * that no shape knows are passed over there. Costs a sort of the parameters.
 */
#pragma once
#include "api/errors.h"
#include "base/buf.h"
#define QUERY_PARAMS_MAX 20000
#define QUERY_DEPTH_MAX	 12

struct query_service;
/* name: as signatures have it, or empty; version: the parameter of that name. NULL: speaks no query protocol. */
const struct query_service *query_service(struct str name, struct str version);
const char *query_name(const struct query_service *q);
const char *query_namespace(const struct query_service *q); /* of NULL STS's: clients do not look */
/* query, form: of the address and of the body, still encoded. */
int query_read(const struct query_service *q, const char *operation, struct str query, struct str form,
	       struct buf *ret_json, struct api_err *e);
/* json: the answer, or empty. */
void query_write(const struct query_service *q, const char *operation, const char *request_id, struct str json,
		 struct buf *out);
