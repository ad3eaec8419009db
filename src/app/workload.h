/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `services:` and `tasks:` of tandem.yaml: what runs from images, turned into the document of task/doc.h. The workload's
 * own keys are its first container's, with its name; memory, cpu, egress, uses and allow are of the whole task. Further
 * ones stand under `containers:`. Errors carry line and column.
 */
#pragma once
#include "app/tree.h"
#include "base/buf.h"
#include "base/limits.h"
#include "service/service.h"

struct workload_image {
	char *reference; /* where there is a folder: what its image is called here */
	char *build;	 /* a folder with a Dockerfile, relative to the file; NULL: none */
};
struct workload {
	char name[LIM_NAME_BYTES + 1];
	unsigned line, col;
	bool is_service;
	char *doc;
	char *tags; /* JSON, as ECS lists them; NULL: none. A service has them in the source of its spec, too */
	struct workload_image *images; /* of its containers, in order */
	unsigned n_images;
	struct service_spec spec; /* of a service: all but cluster, project, family and revision */
};
int workload_read(const struct tree_opts *o, const char *project, const struct node *v, bool is_service,
		  struct workload *ret, struct err *e);
void workload_done(struct workload *w);
const char *workload_key(int table,
			 size_t i); /* 0 a task, 1 a container beside its first, 2 a health check, 3 a service */
