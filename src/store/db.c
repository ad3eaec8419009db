/* SPDX-License-Identifier: Apache-2.0 */
#include "store/db.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>

static const char *const query_sql[DB_QUERY_N] = {
	[DB_BEGIN] = "BEGIN IMMEDIATE",
	[DB_COMMIT] = "COMMIT",
	[DB_ROLLBACK] = "ROLLBACK",
	[DB_SETTING_PUT] = "INSERT INTO setting VALUES (?,?) ON CONFLICT(name) DO UPDATE SET value=excluded.value",
	[DB_REVISION_PUT] = "INSERT INTO revision VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON "
			    "CONFLICT(serial) DO NOTHING",
	[DB_REVISION_DEL_OF] =
		"DELETE FROM revision WHERE serial=(SELECT revision FROM function WHERE name=?) AND serial<>?",
	[DB_REVISION_DEL] = "DELETE FROM revision WHERE serial=?",
	[DB_VERSION_DEL_ALL] = "DELETE FROM revision WHERE function=? AND version>0",
	[DB_VERSION_LAST] = "UPDATE function SET last_version=?2 WHERE name=?1",
	[DB_FUNCTION_PUT] = "INSERT OR REPLACE INTO function VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[DB_FUNCTION_DEL] = "DELETE FROM function WHERE name=?",
	[DB_EVENT_PUT] = "INSERT INTO event VALUES (?,?,?,?,?,?,?,?)",
	[DB_EVENT_RETRY] = "UPDATE event SET attempts=?2, not_before_us=?3 WHERE id=?1",
	[DB_EVENT_DEL] = "DELETE FROM event WHERE id=?",
	[DB_IMAGE_PUT] = "INSERT OR REPLACE INTO image VALUES (?,?,?,?,?,?,?,?)",
	[DB_IMAGE_DEL] = "DELETE FROM image WHERE reference=?",
	[DB_RECORD_PUT] = "INSERT OR REPLACE INTO record VALUES (?,?)",
	[DB_RECORD_DEL] = "DELETE FROM record WHERE key=?",
};

/* SQLite would resolve /proc/self/fd/N to the directory's full path, which we may have no right to walk. */
static int full_pathname(sqlite3_vfs *vfs, const char *path, int size, char *out)
{
	size_t n = strlen(path);

	if (size <= 0 || n >= (size_t)size)
		return SQLITE_CANTOPEN;
	memcpy(out, path, n + 1);
	return SQLITE_OK;
}

int db_path(const struct db *d, const char *name, char *ret, size_t size)
{
	int n = snprintf(ret, size, "/proc/self/fd/%d/%s", d->dirfd, name);

	return n < 0 || (size_t)n >= size ? -1 : 0;
}

int db_fail(struct db *d, const char *what, struct err *e)
{
	int code = d->h ? sqlite3_extended_errcode(d->h) : SQLITE_NOMEM;
	int sys = d->h ? sqlite3_system_errno(d->h) : 0;
	enum err_kind kind = ERR_SYS;

	switch (code & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		kind = ERR_CORRUPT;
		break;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_FULL:
		kind = ERR_UNAVAILABLE;
		break;
	case SQLITE_CONSTRAINT:
		kind = ERR_EXISTS;
		break;
	}
	err_set(e, kind, "%s: %s (%d)", what, d->h ? sqlite3_errmsg(d->h) : "no memory", code);
	if (e && kind == ERR_SYS)
		e->sys = sys;
	return -1;
}

static int open_file(struct db *d, const char *name, bool create, struct err *e)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
	sqlite3_vfs *base = sqlite3_vfs_find(NULL);
	char path[128];

	if (!base || db_path(d, name, path, sizeof(path)) < 0)
		return err_set(e, ERR_BUG, "no place for %s", name);
	if (create) {
		/* SQLite would create it readable by all; -wal and -shm take their mode from it. */
		auto_close int fd = openat(d->dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

		if (fd < 0)
			return err_sys(e, errno, "open %s", name);
	}
	d->vfs = *base;
	d->vfs.pNext = NULL;
	d->vfs.xFullPathname = full_pathname;
	snprintf(d->vfs_name, sizeof(d->vfs_name), "tandem-%p", (void *)d);
	d->vfs.zName = d->vfs_name;
	if (sqlite3_vfs_register(&d->vfs, 0) != SQLITE_OK)
		return err_set(e, ERR_BUG, "register the file layer of SQLite");
	if (sqlite3_open_v2(path, &d->h, flags, d->vfs_name) != SQLITE_OK)
		return db_fail(d, name, e);
	return 0;
}

int db_open(struct db *d, int dirfd, const char *name, bool create, struct err *e)
{
	d->dirfd = dirfd;
	if (open_file(d, name, create, e) < 0)
		return -1;
	sqlite3_busy_timeout(d->h, 5000); /* during an upgrade the one before us is still closing */
	return db_exec(d,
		       "PRAGMA synchronous=FULL; PRAGMA cache_size=-512; PRAGMA temp_store=MEMORY;"
		       "PRAGMA journal_size_limit=1048576; PRAGMA trusted_schema=OFF;",
		       e);
}

void db_close(struct db *d)
{
	for (int i = 0; i < DB_QUERY_N; i++)
		sqlite3_finalize(d->stmt[i]);
	memset(d->stmt, 0, sizeof(d->stmt));
	if (d->h)
		sqlite3_close(d->h);
	d->h = NULL;
	if (d->vfs.zName)
		sqlite3_vfs_unregister(&d->vfs);
	d->vfs.zName = NULL;
}

int db_exec(struct db *d, const char *sql, struct err *e)
{
	if (sqlite3_exec(d->h, sql, NULL, NULL, NULL) != SQLITE_OK)
		return db_fail(d, "database", e);
	return 0;
}

int db_prepare(struct db *d, struct err *e)
{
	for (int i = 0; i < DB_QUERY_N; i++)
		if (sqlite3_prepare_v3(d->h, query_sql[i], -1, SQLITE_PREPARE_PERSISTENT, &d->stmt[i], NULL) !=
		    SQLITE_OK)
			return db_fail(d, query_sql[i], e);
	return 0;
}

static int bind_all(sqlite3_stmt *st, const char *types, va_list ap)
{
	int rc = SQLITE_OK;

	for (int i = 1; *types && rc == SQLITE_OK; types++, i++) {
		const void *p;

		switch (*types) {
		case 'i':
			rc = sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
			break;
		case 't':
			rc = sqlite3_bind_text(st, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
			break;
		case 'b':
			p = va_arg(ap, const void *);
			rc = sqlite3_bind_blob64(st, i, p ? p : "", va_arg(ap, size_t), SQLITE_STATIC);
			break;
		default:
			assert(!"type");
		}
	}
	return rc;
}

int db_run(struct db *d, enum db_query q, struct err *e, const char *types, ...)
{
	sqlite3_stmt *st = d->stmt[q];
	va_list ap;
	int rc;

	va_start(ap, types);
	rc = bind_all(st, types, ap);
	va_end(ap);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc != SQLITE_DONE)
		db_fail(d, "database", e);
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return rc == SQLITE_DONE ? 0 : -1;
}

int db_rows(struct db *d, const char *sql, int (*row)(void *arg, sqlite3_stmt *st, struct err *e), void *arg,
	    struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(d->h, sql, -1, &st, NULL), failed = 0;

	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(st);
		if (rc == SQLITE_ROW && (failed = row(arg, st, e)) < 0)
			break;
	}
	if (!failed && rc != SQLITE_DONE)
		failed = db_fail(d, "read the database", e);
	sqlite3_finalize(st);
	return failed;
}

int db_copy(struct db *d, const char *path, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(d->h, "VACUUM INTO ?", -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(st, 1, path, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc != SQLITE_DONE)
		db_fail(d, "copy the database", e);
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? 0 : -1;
}
