/* SPDX-License-Identifier: Apache-2.0 */
/* Aligned columns on standard output. Cells are owned by the table. The last column is not padded. */
#pragma once
#include "cli/cli.h"
#define TABLE_COLS 12
struct table {
	unsigned cols, rows, cap;
	char **cells; /* row by row; the heading first */
	bool right[TABLE_COLS];
};
void table_init(struct table *t, const char *const *heads,
		unsigned cols);		       /* a head that begins with '>' is aligned right */
void table_row(struct table *t, char **cells); /* cols of them, each from malloc or NULL (shown as -) */
void table_print(struct table *t, struct cli *c);
void table_done(struct table *t);
/* A table with a row for each of list, printed; false: the list is empty, and nothing was. */
bool table_list(struct cli *c, const struct json *list, const char *const *heads, unsigned cols,
		void (*row)(struct table *t, const struct json *item));
/* Cells of an object's member. */
char *table_text(const struct json *j, const char *key); /* NULL when it is empty */
char *table_int(const struct json *j, const char *key, const char *unit);
