/* SPDX-License-Identifier: Apache-2.0 */
/* For this folder: apply.c (functions, and the order of all), declare.c (services and tasks), provide.c (what holds and
 * leads events). */
#pragma once
#include "app/apply.h"
#include "json/write.h"
#include "store/tx.h"

enum apply_stage { APPLY_HOLD, APPLY_DEPLOY, APPLY_LEAD, APPLY_DELETE, APPLY_RELEASE, APPLY_STAGE_N };
struct apply {
	struct apply_opts o;
	size_t next; /* entry to look at */
	unsigned running;
	const struct plan_entry *deploying[APPLY_PARALLEL]; /* NULL: free */
	enum apply_stage stage;
	bool failed;
	struct loop_defer defer;
};
int64_t apply_begin(struct apply *a, const struct plan_entry *en);
/* reason NULL: it is done. apply_tick must follow, which may free a. */
void apply_told(struct apply *a, const struct plan_entry *en, const char *reason, int64_t started_us);
void apply_tick(struct apply *a);
void apply_kept(struct apply *a, const struct plan_entry *en, const char *why, int64_t started_us);
bool apply_waits(struct apply *a, const struct plan_entry *en, const char *why, int64_t started_us);
/* declare.c */
void declare_start(struct apply *a, struct plan_entry *en);
/* provide.c */
void provide_start(struct apply *a, struct plan_entry *en);

/* provider.c: by kind. put: doc without what is null. del: ERR_CONFLICT says why it stays; NULL: provide.c's own. */
struct what {
	const struct plan_world *is;
	const char *project, *key, *name;
	const struct json *doc;
	struct store_tx *tx;
	struct err *e;
};
struct provider {
	int (*put)(const struct what *w), (*del)(const struct what *w);
};
extern const struct provider provider[RESOURCE_N];
int provider_nulls(void *jw, const char *key, const struct json *v); /* writes all of v but these */
struct str provider_end(const struct json *doc, const char *member); /* what an ARN names, without the kind */
