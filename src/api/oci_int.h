/* SPDX-License-Identifier: Apache-2.0 */
/* What oci.c (who asks for what; manifests, tags) and oci_blob.c share. */
#pragma once
#include "api/api_int.h"
#include "image/registry.h"

enum oci_what { OCI_BASE, OCI_MANIFEST, OCI_BLOB, OCI_UPLOADS, OCI_UPLOAD, OCI_TAGS, OCI_REFERRERS };
struct oci { /* one request, while it is looked at */
	struct api_call *c;
	struct images *images;
	struct http_req *r;
	enum oci_what what;
	char name[256], last[256]; /* of the repository; tag, digest, or the push's id */
	char hex[65];		   /* last is that digest; "": it is none */
};
typedef void oci_run(struct oci *o); /* answers o->r, now or later */
oci_run oci_get_blob, oci_begin_push, oci_go_on_push;

/* fmt: more lines of the head. */
void oci_reply(struct http_req *r, int status, const char *type, struct str body, const char *fmt, ...) PRINTF(5, 6);
void oci_fail(struct http_req *r, int status, const char *code, const char *text);
void oci_fail_err(struct http_req *r, const struct err *e, const char *invalid, const char *unknown);
bool oci_may(struct oci *o, const char *action, const char *repository); /* false: c->e */
