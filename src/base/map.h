/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hash map from byte strings to pointers. Keys are borrowed: they must live in
 * the value for as long as it is in the map. The hash is seeded, so that names
 * chosen by outsiders cannot collide on purpose. O(1) amortised.
 */
#pragma once
#include "base/str.h"
struct map_slot;
struct map {
	struct map_slot *slots;
	size_t n, cap;
};
void map_done(struct map *m);				  /* frees the table, not the values */
void *map_get(const struct map *m, struct str key);	  /* NULL: none */
void map_put(struct map *m, struct str key, void *value); /* key must not be there (assert) */
void *map_del(struct map *m, struct str key);		  /* the value, or NULL */
/* Iteration in no order; the map must not change meanwhile. *pos starts at 0; NULL ends it. */
void *map_next(const struct map *m, size_t *pos);
