/* SPDX-License-Identifier: Apache-2.0 */
/* One call, as the operations see it. */
#pragma once
#include "api/api.h"
#include "api/authz.h"
#include "api/errors.h"
#include "api/names.h"
#include "api/sigv4.h"
#include "json/read.h"
#include "json/write.h"
#include "store/function.h"
#include "store/tx.h"

struct api {
	struct api_opts o;
	struct api_where where;
	struct sigv4 *sigv4;
	struct buf scratch; /* decoded path; valid inside one turn */
	struct ecs *ecs;
};

/* How an answer is written. */
enum api_form { FORM_REST_JSON, FORM_JSON, FORM_QUERY, FORM_S3 };
enum api_subject {
	SUBJECT_NONE,	  /* resource "*" */
	SUBJECT_FUNCTION, /* {F} of the path */
	SUBJECT_OWN,	  /* in the body: the operation itself asks api_allowed */
	SUBJECT_OPEN,	  /* everybody who is known may */
};
struct api_call;
typedef int api_run(struct api_call *c); /* -1: c->e is the answer */
struct api_op {
	const char *service, *method, *path; /* path segments, {F}: a function's name; method NULL: the body's shape */
	const char *name;		     /* as permissions have it */
	enum api_subject subject;
	api_run *run; /* NULL: known, and not there yet */
};
struct api_call {
	struct api *a;
	struct http_req *r; /* NULL: the client has gone */
	const struct api_op *op;
	struct principal who;
	enum api_form form;
	bool json_1_0;			   /* FORM_JSON: what the client sent, and is to get */
	const struct query_service *query; /* FORM_QUERY: whose answer becomes XML */
	char request_id[37];
	char trace
		[TRACE_HEADER_BYTES]; /* what it is part of: said, or known of the sandbox it comes from; "": nothing */
	struct api_name name;	      /* SUBJECT_FUNCTION: with the query's Qualifier */
	char item[LIM_QUALIFIER_BYTES + 1]; /* {X} of the path */
	struct api_err e;
	struct json *in; /* of operations of json: the body as its shape lets it through; not there after run() */
};

/* Answers a request; inside: whose sandbox it comes from, NULL: from outside. */
void api_dispatch(struct api *a, struct http_req *r, const struct principal *inside);
/* What the SDKs' container provider reads (AWS_CONTAINER_CREDENTIALS_*). Keys do not expire; clients want a date in the
 * future. */
void api_reply_credentials(const struct api *a, struct http_req *r, const char *name, const char *key,
			   const char *secret);

/* Answers; each ends the call: c->r is invalid after. With the client gone they do nothing. Those that return something
 * return 0. */
int api_reply_json(struct api_call *c, int status, struct str json);
int api_reply_object(struct api_call *c, int status, struct jw *w); /* closes the object first */
int api_reply_xml(struct api_call *c, int status, struct str xml);
int api_reply_empty(struct api_call *c, int status);
void api_reply_err(struct api_call *c);		/* c->e */
const char *api_query_code(enum api_code code); /* what clients of the query protocol know it as */
void api_reply_fail(struct api_call *c, enum api_code code, const char *fmt, ...) PRINTF(3, 4);
void api_xml_text(struct buf *out, struct str s);

const char *api_trace(const struct api_call *c); /* c->trace, NULL when it is empty */
/* Its span, of a trace that is sampled, and c->trace below that; Invoke begins one. */
void api_traced(struct api_call *c, const char *service, const char *name);
/* The secret of an access key, and whose it is; NULL: nobody's. */
const char *api_secret(const struct api *a, struct str key, struct principal *ret);
/* Who asks, where that needs no signature: 1 when it does; -1: c->e. */
int api_identify(struct api_call *c,
		 const struct principal *inside); /* with a signature where it needs one; -1: c->e */
int api_identify_unsigned(struct api_call *c, const struct principal *inside);
int api_allowed(struct api_call *c, const char *resource); /* authz for c->op; -1: c->e */
/* The function that c->name names, without a qualifier but $LATEST; NULL: c->e says so. */
struct function *api_function(struct api_call *c);
/* The same with any qualifier, and the revision that it means for one call. */
struct function *api_target(struct api_call *c, struct revision **ret);
/* MaxItems of the query, 1 to 50; -1: c->e. */
int api_page_size(struct api_call *c, int64_t *ret);
/* Answers with what is kept of a function, records "KIND/FUNCTION:QUALIFIER", a page from Marker on: 0; -1: c->e. */
int api_list_kept(struct api_call *c, const char *kind, const char *member,
		  void (*put)(struct jw *w, struct api_call *c, const char *qualifier, const struct json *doc));
/* For a write to the store: when it is durable the call is answered with json (copied; empty: no body). sweep: code may
 * be left that nobody names. */
struct store_op *api_saving(struct api_call *c, int status, struct str json, bool sweep);
/* The same for parts, which are taken from a tx of the caller's, and started. 0. */
int api_commit(struct api_call *c, struct store_tx *parts, int status, struct str json);
int api_save(struct api_call *c, struct function *f, int status, struct str json); /* function_put with that; 0 */
int api_no_function(struct api_call *c, const char *qualifier);	 /* -1, c->e: none of c->name, or of that qualifier */
int api_in_update(struct api_call *c, const struct function *f); /* -1, c->e: another change of it is under way */
int api_stale(struct api_call *c); /* -1, c->e: the RevisionId that the caller gave is not the present one */
/* The body as a JSON object (an empty body is {}); NULL: c->e. Caller frees. */
struct json *api_body(struct api_call *c);
/* A member of the query string, decoded (percent and +) into out; false: not there or not decodable. */
bool api_query(const struct http_req *r, const char *name, struct buf *out);

/* oci.c: registry clients */
bool oci_is(const struct http_req *r);
bool oci_streams(const struct http_req *r);			     /* blobs on their way to the registry */
void oci_handle(struct api_call *c, const struct principal *inside); /* answers c->r */
/* A password for an access key, added to out; how long it is good, in seconds since the epoch. */
int64_t oci_password(struct str key, const char *secret, struct buf *out);
/* ecr.c: a repository that is pushed to for the first time. */
int ecr_make_repository(struct api *a, const char *name, struct err *e);
/* The record of the repository that c->in names; NULL: c->e. The caller frees. */
struct json *ecr_repository(struct api_call *c);
api_run ecr_describe_images, ecr_list_images, ecr_get_images, ecr_delete_images, ecr_put_image;
char *ecr_arn(const struct api *a, const char *repository); /* the caller frees */

/* function_config.c: Lambda's FunctionConfiguration of a revision of f, all members of one object. qualifier: how the
 * ARN names it, or NULL. */
enum config_view { CONFIG_NOW, CONFIG_CREATED, CONFIG_UPDATED };
void api_function_config(struct jw *w, const char *key, const struct api *a, const struct function *f,
			 const struct revision *r, enum config_view view, const char *qualifier);
void api_code_digest(const struct revision *r, struct buf *out); /* of its archive, in base64; of its image, in hex */
/* lambda_version.c: publishes $LATEST unless the newest version is the same, and answers with it. */
int lambda_publish(struct api_call *c, struct function *f, const char *description, int status, enum config_view view,
		   bool qualified);

#define LAMBDA_DESCRIPTION_MAX 256				   /* of a function, a version, an alias */
int lambda_check_description(struct api_call *c, struct str text); /* of a version or an alias; -1: c->e */
/* lambda_misc.c: a member of Tags into struct pairs; not 0: LAMBDA_BAD_TAGS. */
int lambda_add_tag(void *pairs, const char *key, const struct json *value);
#define LAMBDA_BAD_TAGS                                                                                                \
	"Tags must be an object of strings, at most 50 in all; a key has 1 to 128 bytes, a value at most 256."

/* events.c: a list of records, a page of it. */
struct api_list {
	const char *member, *prefix; /* of the answer; of the keys */
	struct str names, token;     /* what names must begin with; NextToken of the page before */
	int64_t limit;		     /* 0: the default */
	/* What stands behind the prefix, and the document. false: not one of these, nothing was written. */
	bool (*put)(struct api_call *c, struct jw *w, const char *name, const struct json *doc);
};
void api_list(struct api_call *c, const struct api_list *l, struct jw *w); /* NextToken too */
/* tags.c: [{"Key","Value"}]: those of old but the keys of without, those of more in their place. */
void api_tags(struct jw *w, const char *member, const struct json *old, const struct json *more,
	      const struct json *without);
void api_tags_of(struct jw *w, const struct json *map); /* "Tags" in that form, of {key: value} */
/* The other way; NULL: a key stands there twice. The caller frees. */
struct json *api_tags_object(const struct json *list, struct err *e);
/* An object of strings or numbers: old, with what over has in its place, but the names in without. */
void api_edit(struct jw *w, const char *key, const struct json *old, const struct json *over,
	      const struct json *without);
bool api_has(const struct json *list, const char *word);		     /* a list of strings */
void api_put_member(struct jw *w, const struct json *doc, const char *name); /* as it is there; nothing if it is not */
#define API_RETRY_POLICY "{MaximumRetryAttempts:i(0..185),MaximumEventAgeInSeconds:i(60..86400)}"
#define API_ECS_PARAMETERS                                                                                             \
	"{TaskDefinitionArn!:s,TaskCount:i(1..10),LaunchType:s,NetworkConfiguration:{awsvpcConfiguration:{Subnets:[s]" \
	","                                                                                                            \
	"SecurityGroups:[s],AssignPublicIp:s}},PlatformVersion:s,Group:s,EnableECSManagedTags:b,"                      \
	"EnableExecuteCommand:b,PropagateTags:s,ReferenceId:s}"

/* Tables of operations, each ended by one without a name. */
extern const struct api_op lambda_ops[], ecs_ops[], ecr_ops[], kinesis_ops[], sts_ops[], logs_ops[], sns_ops[],
	cloudwatch_ops[];
extern const struct api_op events_ops[], scheduler_ops[];
extern const struct api_op sqs_ops[];

/* Operations, a file each for a group. */
api_run lambda_create_function, lambda_update_function_code, lambda_update_function_configuration, lambda_get_function,
	lambda_get_function_configuration, lambda_list_functions, lambda_delete_function, lambda_invoke,
	lambda_list_tags, lambda_tag_resource, lambda_untag_resource, lambda_get_account_settings,
	lambda_get_code_signing, lambda_put_concurrency, lambda_get_concurrency, lambda_delete_concurrency,
	lambda_put_provisioned, lambda_get_provisioned, lambda_delete_provisioned, lambda_publish_version,
	lambda_list_versions, lambda_create_alias, lambda_get_alias, lambda_update_alias, lambda_delete_alias,
	lambda_list_aliases, lambda_invoke_async, lambda_invoke_stream, lambda_put_invoke_config,
	lambda_update_invoke_config, lambda_get_invoke_config, lambda_delete_invoke_config, lambda_list_invoke_configs,
	lambda_add_permission, lambda_get_policy, lambda_remove_permission, lambda_create_url, lambda_get_url,
	lambda_update_url, lambda_delete_url, lambda_list_urls;
/* lambda_mapping.c */
api_run lambda_create_mapping, lambda_get_mapping, lambda_update_mapping, lambda_delete_mapping, lambda_list_mappings;
