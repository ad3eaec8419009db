/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of tandem.yaml that become members of a document, by tables: a line says how a key is read and what it is called there. */
#pragma once
#include <limits.h>
#include "app/resource.h"
#include "json/write.h"

#define FIELD_NOTHING INT_MIN /* as a default: null stands in the document */

enum { KIND_FUNCTION = RESOURCE_LEADS, KIND_TASK, KIND_N };
struct field_reader {
	const struct tree_opts *o;
	struct manifest *m;
	const struct node *root; /* the whole file, where a field asks for it */
	const struct node *map;	 /* where the fields stand that are being read */
	const char *of;		 /* the function or task that is started, */
	char *target;		 /* its ARN */
	bool is_task, quote;	 /* numbers are strings: SQS */
	unsigned nth[RESOURCE_N];
	struct err *e;
};
struct field;
/* Writes the member; v NULL: nothing is said. */
typedef int field_put(struct field_reader *r, const struct field *f, const struct node *v, struct jw *w);
struct field {
	const char *key, *member;
	field_put *put; /* NULL: read together with others */
	int min, max, dflt;
};
field_put field_count, field_seconds, field_hours, field_bool, field_text, field_words, field_pattern, field_filters,
	field_partial, field_scaling, field_from, field_destinations, field_redrive, field_auth;
field_put field_json; /* a JSON text as a string */

int field_fail(const struct field_reader *r, const struct node *v, const char *what);
/* All that the table has, each said or not; what else stands there is an error. */
int field_put_all(struct field_reader *r, const struct field *fields, const struct node *map, struct jw *w);
int field_check_keys(const struct field_reader *r, const struct node *map, const struct field *fields);
const char *field_key(const void *fields, size_t i);
/* kind: of a resource that holds, or KIND_FUNCTION, KIND_TASK. The caller frees. */
char *field_arn(const struct field_reader *r, int kind, const char *name);
extern const char *const resource_word[KIND_N];
