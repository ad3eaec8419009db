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
	DB_SAVEPOINT,
	DB_ROLLBACK_TO,
	DB_RELEASE,
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
	DB_EVENT_DEL_OF,
	DB_EVENT_LOAD,
	DB_IMAGE_PUT,
	DB_IMAGE_DEL,
	DB_RECORD_PUT,
	DB_RECORD_DEL,
	DB_STREAM_PUT,
	DB_STREAM_READ,
	DB_STREAM_SHARD_AFTER,
	DB_STREAM_TRIM,
	DB_OBJECT_GET,
	DB_OBJECT_BODY_GET,
	DB_OBJECT_PUT,
	DB_OBJECT_BODY_PUT,
	DB_OBJECT_FILES,
	DB_OBJECT_BODY_DEL,
	DB_OBJECT_DEL,
	DB_OBJECT_META,
	DB_OBJECT_FROM,
	DB_OBJECT_AFTER,
	DB_UPLOAD_PUT,
	DB_UPLOAD_GET,
	DB_UPLOAD_AFTER,
	DB_UPLOAD_DEL,
	DB_UPLOAD_FILES,
	DB_UPLOAD_PARTS,
	DB_UPLOAD_PART_FILE,
	DB_UPLOAD_PART_PUT,
	DB_UPLOAD_PART_DEL,
	DB_MESSAGE_PUT,
	DB_MESSAGE_NEXT,
	DB_MESSAGE_NEXT_OF_GROUP,
	DB_MESSAGE_FIRST_DUE,
	DB_MESSAGE_RECEIVED,
	DB_MESSAGE_MOVED,
	DB_MESSAGE_STATE,
	DB_MESSAGE_VISIBLE,
	DB_MESSAGE_DEL,
	DB_MESSAGE_GROUP,
	DB_MESSAGE_DUE,
	DB_MESSAGE_SWEEP,
	DB_DEDUP_GET,
	DB_DEDUP_PUT,
	DB_DEDUP_TRIM,
	DB_QUERY_N
};
struct db {
	sqlite3 *h;
	sqlite3_vfs vfs;
	char vfs_name[40];
	int dirfd;   /* borrowed */
	bool unsure; /* whether all of the log is on disk: db_begin makes sure */
	sqlite3_stmt *stmt[DB_QUERY_N];
};
int db_open(struct db *d, int dirfd, const char *name, bool create, struct err *e); /* d zeroed before */
void db_close(struct db *d);							    /* any half-opened one too */
int db_path(const struct db *d, const char *name, char *ret, size_t size);
int db_exec(struct db *d, const char *sql, struct err *e);
/* What an fsync that failed has lost the next one does not know of, and takes for written (fsync(2), errors): what is then
 * appended to the log would be durable behind a gap, where nobody finds it, and a checkpoint would be of more than the log
 * has. So before a transaction all of the log is written once more, after an error and after a process that may have died of one. */
int db_begin(struct db *d, struct err *e);
int db_fail(struct db *d, const char *what, struct err *e); /* the connection's last error; -1 */
/* migrate.c: from the version that the file has to n; sql[i] leads from version i to i + 1. All of it or nothing. */
int db_migrate(struct db *d, const char *const *sql, size_t n, struct err *e);
int db_version(struct db *d, int64_t *ret, struct err *e);
int db_prepare(struct db *d,
	       struct err *e); /* all of enum db_query at once: for tests, they are made when first used */
/* Runs a statement that gives no rows. types: i int64_t, t const char * or NULL, s struct str (NULL when its p is), b const
 * void * and size_t. */
int db_run(struct db *d, enum db_query q, struct err *e, const char *types, ...);
/* Each row of a statement; what it was given stays bound to it only during the call. row() is not 0: the rest is not read,
 * and that is what is returned. row() may not run the same statement. */
typedef int db_row(void *arg, sqlite3_stmt *st, struct err *e);
int db_query(struct db *d, enum db_query q, db_row *row, void *arg, struct err *e, const char *types, ...);
int64_t db_changed(const struct db *d); /* rows that the last db_run changed */
/* The same of SQL text. */
int db_rows(struct db *d, const char *sql, db_row *row, void *arg, struct err *e);
/* Whole consistent copy into a file of that path, which must not be there. */
int db_copy(struct db *d, const char *path, struct err *e);
