/* SPDX-License-Identifier: Apache-2.0 */
/* What the ECS operations share. Names in requests are plain, or ARNs of this account and region. */
#pragma once
#include "api/api_int.h"
#include "store/definition.h"

#define ECS_NAME_MAX 255
#ifdef __aarch64__
#define ECS_ARCH      "ARM64"
#define ECS_ARCH_NAME "arm64"
#else
#define ECS_ARCH      "X86_64"
#define ECS_ARCH_NAME "x86_64"
#endif

/* "arn:aws:ecs:REGION:ACCOUNT:" and the rest as the format says. */
char *ecs_arn(const struct api *a, const char *fmt, ...) PRINTF(2, 3); /* the caller frees */
void ecs_put_arn(struct jw *w, const char *key, const struct api *a, const char *fmt, ...) PRINTF(4, 5);
void ecs_put_time(struct jw *w, const char *key, int64_t wall_us); /* seconds; 0: nothing */
void ecs_put_json(struct jw *w, const char *key, const struct json *j);
/* All members of obj but one (NULL: all). */
void ecs_put_members(struct jw *w, const struct json *obj, const char *but);
/* What follows "arn:...:KIND/" in an ARN of ours; anything else as it is. */
struct str ecs_name(const struct api *a, const char *kind, struct str given);
/* The caller's own: api_allowed for what KIND/NAME[:REVISION] is called; -1: c->e. */
int ecs_allowed(struct api_call *c, const char *fmt, ...) PRINTF(2, 3);
/* "tags": those of old that neither more nor less names, and more. */
void ecs_put_tags(struct jw *w, const struct json *old, const struct json *more, const struct json *less);
int ecs_check_tags(struct api_call *c, const struct json *tags); /* -1: c->e */

/* One page of a list; tokens are places in it. */
struct ecs_page {
	int64_t at, from, max;
};
int ecs_page(struct api_call *c, struct ecs_page *ret); /* maxResults, nextToken; -1: c->e */
bool ecs_page_has(struct ecs_page *p);			/* the next one of the list is of this page */
void ecs_page_end(struct ecs_page *p, struct jw *w);

void ecs_fail(struct jw *w, const char *arn, const char *reason); /* one of failures[] */

/* ecs_cluster.c: into ret; -1: c->e. "default" is always there. */
int ecs_cluster(struct api_call *c, struct str given, char ret[ECS_NAME_MAX + 1]);
const char *ecs_cluster_record(const struct api *a, const char *name); /* what was said of it; NULL: there is none */
/* An object: the members of over, but one (NULL: all), and those of before that it does not have. */
void ecs_merge(struct buf *ret, const char *before, const struct json *over, const char *but);

/* ecs_definition.c */
/* "family", "family:revision", or an ARN; NULL: there is none. The caller frees. */
struct definition *ecs_definition(const struct api *a, struct str given);
/* ecs_translate.c: the doc of a checked request; -1: c->e. */
extern const char ecs_definition_shape[];
int ecs_translate(struct api_call *c, struct buf *ret);
int ecs_translate_overrides(struct api_call *c, const struct json *over, const struct json *doc, struct buf *ret);
/* vCPU units and MB of "256", ".5 vCPU", "0.5GB"; -1: neither. */
int64_t ecs_units(struct str text, const char *unit);
bool ecs_fargate_size(int64_t cpu, int64_t memory_mb);

api_run ecs_register_definition, ecs_describe_definition, ecs_list_definitions, ecs_list_families,
	ecs_deregister_definition, ecs_delete_definitions;
/* ecs_service.c */
int ecs_service_count(const struct api *a, const char *cluster); /* that are active */
bool ecs_service_uses(const struct api *a, const char *family, int revision);
const char *ecs_service_source(const struct api *a,
			       struct str name); /* CLUSTER/NAME; what was said of it; NULL: none */
int ecs_service_tag(struct api_call *c, struct str name, const struct json *tags); /* {"tags": [...]}; answers */

api_run ecs_create_service, ecs_update_service, ecs_delete_service, ecs_describe_services, ecs_list_services,
	ecs_list_service_deployments, ecs_describe_service_deployments, ecs_tag, ecs_list_tags;
api_run ecs_run_task, ecs_describe_tasks, ecs_list_tasks, ecs_stop_task;
api_run ecs_create_cluster, ecs_describe_clusters, ecs_list_clusters, ecs_update_cluster, ecs_delete_cluster;
