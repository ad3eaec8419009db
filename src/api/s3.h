/* SPDX-License-Identifier: Apache-2.0 */
/*
 * S3, rest-xml: which bucket and key a request is for (path, or host), who asks (SigV4 and the older V2, each in a header
 * or presigned), and which row of the tables does it. A call lives on the heap until s3_reply or s3_fail; what a row's
 * function needs of the request later it must copy, for the client may leave.
 */
#pragma once
#include "api/api_int.h"
#include "api/s3_xml.h"
#include "object/object.h"

struct s3;
typedef int s3_run(struct s3 *q); /* 0: it was answered, or will be; -1: q->c.e is the answer */
enum {
	S3_OPEN = 1,	 /* also without a signature: c.who is ANONYMOUS then */
	S3_NO_BUCKET = 2 /* it need not be there */
};
struct s3_op {
	const char *method, *query; /* query: the member that selects it, NULL: none of those that select */
	char on;		    /* 's' the service, 'b' a bucket, 'k' an object */
	const char *action;	    /* as permissions have it; NULL: the operation itself asks s3_allowed */
	s3_run *run;
	unsigned flags;
};
struct s3 {
	struct api_call c; /* c.r NULL: the client left */
	const struct s3_op *op;
	char bucket[64]; /* "": the service */
	char *key;
	struct buf head; /* more lines of every answer's head */
	struct sigv4_chain chain;
	bool unsigned_;		      /* of an operation that is open: nobody was asked for */
	bool chained;		      /* chunks of the body are signed, and chain is there */
	struct loop *loop;	      /* c.a may go before the call */
	void *op_data;		      /* the operation's own */
	void (*left)(struct s3 *q);   /* the client has left, c.r is NULL; NULL: the operation goes on to its end */
	char peer[56], principal[80]; /* for events */
};
/* Tables, each ended by a row without a method. */
extern const struct s3_op s3_object_ops[], s3_multipart_ops[], s3_bucket_ops[], s3_about_ops[], s3_list_ops[],
	s3_post_ops[];

bool s3_streams(const struct http_req *r); /* of a request for S3: its body is to be pulled */
int s3_handle(struct api_call *c, const struct principal *inside);
/* End the call, q is gone. body: XML, or empty. Return 0. */
int s3_reply(struct s3 *q, int status, const char *more_head, struct str body);
int s3_fail(struct s3 *q);			    /* q->c.e */
void s3_err(struct s3 *q, const struct err *e);	    /* q->c.e: what src/object said */
int s3_fail_err(struct s3 *q, const struct err *e); /* both */
void s3_begin(struct s3 *q, int status, const char *type, const char *more_head,
	      int64_t length); /* then http_stream_... */
void s3_end(struct s3 *q);     /* the request was answered otherwise, or its client is gone */
bool s3_allowed(struct s3 *q, const char *action, const char *bucket, const char *key); /* false: q->c.e */
/* The value of a member of the query, decoded; "" where it has none; NULL: it is not there. The caller frees. */
char *s3_query(const struct s3 *q, const char *name);
struct object_event s3_event(const struct s3 *q, const char *what); /* borrowed from q */

/* s3_sign.c: Signature Version 2. */
bool s3_v2_is(const struct http_req *r);
/* HMAC-SHA1 in base64, added to out. */
void s3_v2_sign(const char *secret, struct str text, struct buf *out);
int s3_v2_verify(struct api_call *c, const char *bucket_of_host); /* c->who; -1: c->e */

/* s3_body.c: the body of a request on its way into the store. */
struct s3_body;
/* done: it is there and what the client says of it is true (c.e.code API_OK), or q->c.e says why not; then it is ended. */
int s3_body_start(struct s3 *q, bool file, void (*done)(struct s3_body *b, struct s3 *q), void *arg,
		  struct s3_body **ret);
void *s3_body_arg(const struct s3_body *b);
struct object_body *s3_body_take(struct s3_body *b); /* of one that is there */
void s3_body_free(struct s3_body *b);		     /* from done or later; also cancels */
/* The checksum that was asked for or given: HASH_MD5 when none. */
enum hash s3_body_checksum(const struct s3_body *b);
int s3_checksum_name(struct str name, enum hash *ret);			/* "CRC32"; -1 */
void s3_checksum_header(struct buf *out, enum hash h, const char *b64); /* x-amz-checksum-...: line */

/* s3_meta.c: what is said of an object beside its bytes (object_row.meta), as JSON: headers {}, class, sum {}, tags {}. */
char *s3_meta_new(struct s3 *q); /* of the request's headers; NULL: q->c.e */
char *s3_meta_set(const char *meta, const char *name,
		  const char *value); /* value: JSON; NULL: not there. The caller frees */
char *s3_meta_sum(const char *meta, enum hash h, const char *b64, const char *type); /* HASH_MD5: none */
/* Lines of an answer, and its Content-Type; the query may have others (response-...). NULL: q->c.e. The caller frees. */
char *s3_meta_headers(struct s3 *q, const struct json *meta, struct buf *out);
/* prefix: "", or "x-amz-copy-source-" of what is copied; -1: q->c.e */
int s3_read_conditions(struct s3 *q, const char *prefix, const struct object_row *row);
void s3_sum_headers(struct buf *out, const struct json *meta); /* lines x-amz-checksum-... */
bool s3_etag_in(struct str list, const char *etag);	       /* of If-Match and its kin */
void s3_http_date(int64_t wall_us, char out[40]);
int s3_put_condition(struct s3 *q, struct object_condition *ret);			     /* -1: q->c.e */
int s3_range(struct s3 *q, struct str range, int64_t size, int64_t *ret_at, int64_t *ret_n); /* 1 a range, 0 all, -1 */
int s3_copy_source(struct s3 *q, char **ret_bucket,
		   char **ret_key); /* which may be read; -1: q->c.e. The caller frees */

/* s3_bucket.c */
struct bucket *s3_bucket(const struct s3 *q);
/* Nobody but the owner has anything: what would give others something is refused, as with S3 where ACLs are off. */
int s3_check_acl(struct s3 *q);
/* What is durable before the call is answered: parts are added to its tx. */
struct s3_change {
	struct store_tx tx;
	struct s3 *q;
	int status;
};
struct s3_change *s3_change_new(struct s3 *q, int status);
int s3_change_end(struct s3_change *x, int rc,
		  const struct err *e); /* rc: of the last part; -1: q->c.e, and x is gone */
/* s3_about.c: to the answer's head what the bucket's CORS rules say to the Origin that asks. */
void s3_cors(struct s3 *q);
