/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One SQLite connection and its prepared statements; the store's own. Used by one thread at a time.
 * The database is named by directory descriptor, so that it opens also where the directories above are closed to us.
 */
#pragma once
#include <sqlite3.h>
#include "base/err.h"
#include "base/str.h"

enum db_query {
	DB_BEGIN,
	DB_COMMIT,
	DB_ROLLBACK,
	DB_SETTING_PUT,
	DB_REVISION_PUT,
	DB_REVISION_DEL,
	DB_REVISION_DEL_OF,
	DB_VERSION_DEL_ALL,
	DB_VERSION_LAST,
	DB_FUNCTION_PUT,
	DB_FUNCTION_DEL,
	DB_EVENT_PUT,
	DB_EVENT_RETRY,
	DB_EVENT_DEL,
	DB_IMAGE_PUT,
	DB_IMAGE_DEL,
	DB_RECORD_PUT,
	DB_RECORD_DEL,
	DB_QUERY_N
};
struct db {
	sqlite3 *h;
	sqlite3_vfs vfs;
	char vfs_name[40];
	int dirfd; /* borrowed */
	sqlite3_stmt *stmt[DB_QUERY_N];
};
int db_open(struct db *d, int dirfd, const char *name, bool create, struct err *e); /* d zeroed before */
void db_close(struct db *d);							    /* any half-opened one too */
int db_path(const struct db *d, const char *name, char *ret, size_t size);
int db_exec(struct db *d, const char *sql, struct err *e);
int db_fail(struct db *d, const char *what, struct err *e); /* the connection's last error; -1 */
/* migrate.c: from the version that the file has to n; sql[i] leads from version i to i + 1. All of it or nothing. */
int db_migrate(struct db *d, const char *const *sql, size_t n, struct err *e);
int db_version(struct db *d, int64_t *ret, struct err *e);
int db_prepare(struct db *d, struct err *e); /* all of enum db_query; after db_migrate */
/* Runs a statement that gives no rows. types: i int64_t, t const char * or NULL, b const void * and size_t. */
int db_run(struct db *d, enum db_query q, struct err *e, const char *types, ...);
/* Each row of a query of its own; row() fails: the rest is not read. */
int db_rows(struct db *d, const char *sql, int (*row)(void *arg, sqlite3_stmt *st, struct err *e), void *arg,
	    struct err *e);
/* Whole consistent copy into a file of that path, which must not be there. */
int db_copy(struct db *d, const char *path, struct err *e);
