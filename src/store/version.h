/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published versions and aliases of a function. A version is a revision with a number that is never given twice; it is
 * immutable and shares its code with the revision that it was made of. An alias is a name for one version, or for two
 * of which the second gets a share of the calls. $LATEST has number 0.
 */
#pragma once
#include "store/function.h"

bool revision_same(const struct revision *a,
		   const struct revision *b); /* code and configuration, not the description */
struct revision *function_version(const struct function *f, int number);	/* 0: $LATEST; NULL: not there */
struct revision *function_by_serial(const struct function *f, uint64_t serial); /* $LATEST or a version; or NULL */
int function_version_number(struct str text);				 /* "$LATEST": 0; -1: no version's name */
struct alias *function_alias(const struct function *f, struct str name); /* NULL: not there */
struct alias *function_alias_add(struct function *f, struct str name);	 /* in order of name; no other has it */
void function_alias_del(struct function *f, struct alias *a);
const struct alias *function_alias_to(const struct function *f, int version); /* one that names it, or NULL */
/* The revision that a qualifier means for one call; "": $LATEST. dice: 0 to 1, excluding 1, decides between the two of
 * an alias. NULL: there is no such version or alias. */
struct revision *function_resolve(const struct function *f, struct str qualifier, double dice);

struct provisioned *function_provisioned(const struct function *f, struct str qualifier); /* NULL: none */
struct provisioned *function_provisioned_add(struct function *f, struct str qualifier);
void function_provisioned_del(struct function *f, struct provisioned *p);
/* Instances to hold ready of a version: by its own number or through an alias, which moves them along. 0: none. */
int function_provisioned_of(const struct function *f, int version);
int function_provisioned_all(const struct function *f);

/* Makes $LATEST a version, visible at once; version_put, right after, makes it durable, and takes it back when that
 * fails. description NULL: $LATEST's own. */
struct revision *version_publish(struct store *s, struct function *f, const char *description);
void version_put(struct store *s, struct store_op *op, struct function *f, struct revision *r);
/* Nothing may name it any more: ask function_alias_to first. Its provisioned concurrency goes with it. */
void version_del(struct store *s, struct store_op *op, struct function *f, struct revision *r);
