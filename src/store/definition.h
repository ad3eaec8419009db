/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Definitions: what a task is made of, immutable, by family and revision (ECS's task definitions). They come from ECS's
 * RegisterTaskDefinition and from tandem.yaml, where the family is the workload's name. A revision's number is never
 * given a second time. Records (store/record.h): "definition/FAMILY:REVISION", and "family/FAMILY", its last number.
 */
#pragma once
#include "base/str.h"
#include "store/record.h"

#define DEFINITION_FAMILY_MAX 255 /* letters, digits, "-" and "_" */

struct definition {
	const char *family;
	int revision;
	bool active;
	const char *project; /* "": by the API */
	const char *doc;     /* what task_run takes, JSON; strictly checked there */
	const char *source;  /* the request of ECS, JSON; NULL: from tandem.yaml */
	const char *tags;    /* a JSON array as ECS has it, or NULL */
	int64_t registered_wall_us, deregistered_wall_us;
};
/* A copy, the caller frees it with definition_free. revision 0: the latest that is active. NULL: none. */
struct definition *definition_get(const struct store *s, struct str family, int revision);
void definition_free(struct definition *d);
static inline void definition_free_p(struct definition **d)
{
	definition_free(*d);
}
#define auto_definition auto_(definition_free_p) struct definition *

/* A new revision of d->family, whose number is returned; of d the numbers, active and the times are not looked at. It is
 * durable when op is done. */
int definition_put(struct store *s, struct store_op *op, const struct definition *d);
/* The first half of it: fills those members in, and d->family is kept as it is given. The second is definition_update. */
void definition_number(struct store *s, struct definition *d);
/* Writes it (again), with what may change of it: active, deregistered_wall_us, tags. */
void definition_update(struct store *s, struct store_op *op, const struct definition *d);
void definition_del(struct store *s, struct store_op *op, const char *family, int revision);

/* By family, then by revision; a copy, as from definition_get. family NULL: of all. after_family NULL: the first. */
struct definition *definition_next(const struct store *s, const char *family, const char *after_family,
				   int after_revision);
