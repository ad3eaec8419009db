/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandem.yaml: what a project declares. Read, checked, with defaults filled in; nothing here knows what is deployed
 * (app/plan.h). The keys are tables in manifest.c; spec/tandem.schema.json says the same (tests/app/test_manifest.c
 * compares them). Hostile text is fine: see app/tree.h for the limits.
 */
#pragma once
#include "app/resource.h"
#include "app/workload.h"
#include "base/limits.h"
#include "store/function.h"
struct manifest_function {
	char name[LIM_NAME_BYTES + 1];
	unsigned line, col;	     /* where it is declared */
	char *code;		     /* folder or .zip, relative to the file; NULL: it is an image */
	struct workload_image image; /* reference NULL: it is none */
	char *runtime, *handler;
	char *description, *route; /* NULL: none */
	char *allow;		   /* JSON array of {"action","resource"}, or NULL */
	char *egress;		   /* store/egress.h; NULL: internet */
	char *dead_letter;	   /* ARN, or NULL */
	char *layers[LIM_LAYERS];
	unsigned n_layers;
	int memory_mb, timeout_s, tmp_mb;
	uint32_t cpu_quota_us; /* per 100 ms; 0: none */
	struct scale scale;
	struct pairs env, tags; /* in order of name */
};
struct manifest {
	char name[LIM_NAME_BYTES + 1];
	char *file;
	struct manifest_function *functions; /* in order of the file */
	size_t n;
	struct workload *workloads; /* services, then tasks */
	size_t n_workloads;
	struct resources resources;
};
int manifest_parse(const struct tree_opts *o, struct str text, struct manifest **ret, struct err *e);
void manifest_free(struct manifest *m);
static inline void manifest_free_p(struct manifest **m)
{
	manifest_free(*m);
}
/* Names of known keys: table 0 the top, 1 a function, 2 an item of allow; NULL ends. Others: workload_key. */
const char *manifest_key(int table, size_t i);
/* Values that functions and workloads have alike; the caller frees. NULL: what is so when nothing is said. */
int manifest_allow(const struct tree_opts *o, const struct node *v, char **ret, struct err *e);
int manifest_tags(const struct tree_opts *o, const struct node *v, struct pairs *ret, struct err *e); /* adds */
int manifest_egress(const struct tree_opts *o, const struct node *v, char **ret, struct err *e);
