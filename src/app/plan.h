/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has to happen so that the store holds what a manifest says: decided and checked as a whole before anything is
 * done. Only functions of the same project are touched; a name or a route that belongs to somebody else is an error
 * that says to whom. A plan holds references on functions and is valid for as long as nobody else changes them; apply
 * runs right after.
 */
#pragma once
#include "app/manifest.h"
#include "base/buf.h"
#include "service/service.h"
enum plan_action { PLAN_CREATE, PLAN_UPDATE, PLAN_UNCHANGED, PLAN_DELETE, PLAN_ACTION_N };
extern const char *const plan_action_name[PLAN_ACTION_N];
struct plan_entry {
	enum plan_action action;
	char name[LIM_NAME_BYTES + 1];
	const struct manifest_function *want; /* NULL: delete */
	struct function *have;		      /* a reference; NULL: create */
	enum runtime_kind runtime;
	const char *code_sha256; /* of want; borrowed from the digests below, or: */
	char image_sha256[65];
	const char *layer_sha256[LIM_LAYERS];
	char *changes[20]; /* update: names of what differs */
	unsigned n_changes;
	/* A service or task: declare.c */
	bool is_workload;
	const struct workload *workload; /* NULL: delete */
	char *doc;			 /* to become a revision; NULL: the latest has it */
	int revision;			 /* the latest; 0: none */
	/* What holds or leads events: provide.c */
	bool is_resource;
	enum resource_kind kind;
	const struct resource *resource; /* NULL: delete */
	char *key, *title;
};
struct plan_digest {
	char *folder;
	char sha256[65];
};
struct plan {
	char project[LIM_NAME_BYTES + 1];
	struct manifest *manifest;   /* owned; NULL for down */
	struct plan_digest *digests; /* owned */
	size_t n_digests;
	struct plan_entry *entries; /* in order of the file, then deletions */
	size_t n;
};
struct plan_world { /* what is there; borrowed */
	struct store *store;
	struct services *services;
	const struct images *images;
	struct queues *queues;
	struct objects *objects;
	struct streams *streams;
	struct deliver *deliver;
	struct notify *notify;
	struct mappings *mappings;
	struct topics *topics;
	struct buses *buses;
	struct schedules *schedules;
	struct urls *urls;
	struct budgets *budgets;
};
/* Takes manifest and digests at once, also when it fails. */
int plan_up(const struct plan_world *is, struct manifest *m, struct plan_digest *digests, size_t n_digests,
	    struct plan **ret, struct err *e);
struct plan *plan_down(const struct plan_world *is, const char *project);
/* Each digest that the plan needs and the store lacks, once. */
void plan_missing(const struct plan *p, const struct store *s, void (*each)(void *arg, const char *sha256), void *arg);
void plan_free(struct plan *p);

/* declare.c: workloads. Their deletions come from their definitions, which are the project's. */
int plan_workload(struct plan *p, const struct plan_world *is, const struct workload *w, struct err *e);
void plan_workload_deletions(struct plan *p, const struct plan_world *is);
size_t plan_workloads(const struct plan_world *is, const char *project); /* so many it has */
/* provide.c */
int plan_resource(struct plan *p, const struct plan_world *is, const struct resource *x, struct err *e);
int plan_arn(const struct plan *p, const struct plan_world *is, struct str arn,
	     struct err *e);						   /* there, or in the file */
void plan_resource_deletions(struct plan *p, const struct plan_world *is); /* after all else: entries move */
void plan_changed(struct plan_entry *en, char *what);			   /* takes it */
int plan_fail(const struct plan *p, const char *name, unsigned line, unsigned col, struct err *e, const char *text);
static inline const char *plan_title(const struct plan_entry *en) /* for people */
{
	return en->title ? en->title : en->name;
}
static inline void plan_free_p(struct plan **p)
{
	plan_free(*p);
}
