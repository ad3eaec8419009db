/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dictionary: numbers for workloads and tags. On disk names.txt, lines "<number> <percent-encoded text>\n",
 * appended with the first row that carries the number and synced before that row; a number is never given to another
 * text once it is there. In memory (struct names, the loop's) are the names in use and those of earlier runs; queries
 * read the file (struct name_table, the thread's).
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/map.h"
#define NAMES_FILE	 "names.txt"
#define NAMES_FILE_BYTES (256u << 20) /* more is not read */
#define NAMES_TAGS_BYTES                                                                                               \
	(16 << 20) /* from here on it takes no further tags: who runs a million tasks may tag each anew */
struct metrics;
struct name {
	char *text;
	uint32_t number, refs;
	bool saved;		 /* in the file, or in the batch that goes there */
	bool deleted;		 /* goes with the last reference */
	bool watched;		 /* ledger_watch */
	struct metrics *metrics; /* ledger/metrics.h; NULL until its first row */
};
struct names {
	struct map by_text;
	struct name **v;  /* by number; NULL: free or forgotten */
	uint32_t n, cap;  /* v[0] is never used */
	uint32_t *unused; /* numbers that never reached the file */
	uint32_t n_unused, cap_unused;
	int64_t file_bytes; /* as of what is saved */
};
int names_load(struct names *n, int dirfd, struct err *e); /* cuts nothing; an absent file is empty */
void names_done(struct names *n);
uint32_t names_ref(struct names *n, const char *text);
void names_unref(struct names *n, uint32_t number);
void names_forget(struct names *n, const char *text);
static inline struct name *names_at(const struct names *n, uint32_t number)
{
	return number < n->n ? n->v[number] : NULL;
}
void names_line(struct buf *out, uint32_t number, const char *text);

struct name_table {
	char **v; /* NULL: unknown */
	uint32_t n;
};
int name_table_load(struct name_table *t, int dirfd, struct err *e);
void name_table_done(struct name_table *t);
/* "" for 0; "?7" (in room) when the file does not know it. */
const char *name_table_text(const struct name_table *t, uint32_t number, char room[16]);
