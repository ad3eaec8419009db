/* SPDX-License-Identifier: Apache-2.0 */
#include "store/db.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>

#define LOG_PAGES 1000 /* a commit that leaves it longer puts it into the database */

static const char *const query_sql[DB_QUERY_N] = {
	[DB_BEGIN] = "BEGIN IMMEDIATE",
	[DB_COMMIT] = "COMMIT",
	[DB_ROLLBACK] = "ROLLBACK",
	[DB_SAVEPOINT] = "SAVEPOINT one",
	[DB_ROLLBACK_TO] = "ROLLBACK TO one",
	[DB_RELEASE] = "RELEASE one",
	[DB_SETTING_PUT] = "INSERT INTO setting VALUES (?,?) ON CONFLICT(name) DO UPDATE SET value=excluded.value",
	[DB_REVISION_PUT] = "INSERT INTO revision VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON "
			    "CONFLICT(serial) DO NOTHING",
	[DB_REVISION_DEL_OF] =
		"DELETE FROM revision WHERE serial=(SELECT revision FROM function WHERE name=?) AND serial<>?",
	[DB_REVISION_DEL] = "DELETE FROM revision WHERE serial=?",
	[DB_VERSION_DEL_ALL] = "DELETE FROM revision WHERE function=? AND version>0",
	[DB_VERSION_LAST] = "UPDATE function SET last_version=?2 WHERE name=?1",
	[DB_FUNCTION_PUT] = "INSERT OR REPLACE INTO function VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[DB_FUNCTION_DEL] = "DELETE FROM function WHERE name=?",
	[DB_EVENT_PUT] = "INSERT INTO event VALUES (?,?,?,?,?,?,?,?,?)",
	[DB_EVENT_RETRY] = "UPDATE event SET attempts=?2, not_before_us=?3 WHERE id=?1",
	[DB_EVENT_DEL] = "DELETE FROM event WHERE id=?",
	[DB_EVENT_DEL_OF] = "DELETE FROM event WHERE function=?",
	[DB_EVENT_LOAD] =
		"SELECT id,not_before_us,accepted_us,attempts,payload,request_id,qualifier,trace FROM event WHERE "
		"function=? ORDER BY not_before_us,id",
	[DB_IMAGE_PUT] = "INSERT OR REPLACE INTO image VALUES (?,?,?,?,?,?,?,?)",
	[DB_IMAGE_DEL] = "DELETE FROM image WHERE reference=?",
	[DB_RECORD_PUT] = "INSERT OR REPLACE INTO record VALUES (?,?)",
	[DB_RECORD_DEL] = "DELETE FROM record WHERE key=?",
	[DB_STREAM_PUT] = "INSERT INTO stream_record VALUES (max(?, 1 + ifnull((SELECT seq FROM sqlite_sequence WHERE "
			  "name='stream_record'), 0)), ?, ?, ?, ?) RETURNING id",
	[DB_STREAM_READ] = "SELECT id,key,data,trace FROM stream_record WHERE shard=? AND id>=? ORDER BY id LIMIT ?",
	[DB_STREAM_SHARD_AFTER] = "SELECT min(shard) FROM stream_record WHERE shard>?",
	[DB_STREAM_TRIM] = "DELETE FROM stream_record WHERE id IN (SELECT id FROM stream_record WHERE shard=? AND id<? "
			   "ORDER BY id LIMIT ?)",
	[DB_OBJECT_GET] = "SELECT key,id,size,etag,modified_us,meta FROM object WHERE bucket=? AND key=?",
	[DB_OBJECT_BODY_GET] = "SELECT files,data FROM object_body WHERE id=?",
	[DB_OBJECT_PUT] = "INSERT OR REPLACE INTO object VALUES (?,?,?,?,?,?,?)",
	[DB_OBJECT_BODY_PUT] = "INSERT INTO object_body VALUES (?,?,?)",
	[DB_OBJECT_FILES] = "SELECT files FROM object_body WHERE id=(SELECT id FROM object WHERE bucket=? AND key=?)",
	[DB_OBJECT_BODY_DEL] = "DELETE FROM object_body WHERE id=(SELECT id FROM object WHERE bucket=? AND key=?)",
	[DB_OBJECT_DEL] = "DELETE FROM object WHERE bucket=? AND key=?",
	[DB_OBJECT_META] = "UPDATE object SET meta=?4 WHERE bucket=?1 AND key=?2 AND id=?3",
	[DB_OBJECT_FROM] =
		"SELECT key,id,size,etag,modified_us,meta FROM object WHERE bucket=? AND key>=? ORDER BY key "
		"LIMIT ?",
	[DB_OBJECT_AFTER] =
		"SELECT key,id,size,etag,modified_us,meta FROM object WHERE bucket=? AND key>? ORDER BY key "
		"LIMIT ?",
	[DB_UPLOAD_PUT] = "INSERT INTO upload VALUES (?,?,?,?,?)",
	[DB_UPLOAD_GET] = "SELECT key,id,created_us,meta FROM upload WHERE bucket=? AND key=? AND id=?",
	[DB_UPLOAD_AFTER] =
		"SELECT key,id,created_us,meta FROM upload WHERE bucket=? AND (key,id)>(?,?) ORDER BY key,id "
		"LIMIT ?",
	[DB_UPLOAD_DEL] = "DELETE FROM upload WHERE bucket=? AND key=? AND id=?",
	[DB_UPLOAD_FILES] = "SELECT file||':0' FROM upload_part WHERE upload=?",
	[DB_UPLOAD_PARTS] = "SELECT number,file,size,etag,modified_us,checksum FROM upload_part WHERE upload=? AND "
			    "number>? ORDER BY number LIMIT ?",
	[DB_UPLOAD_PART_FILE] = "SELECT file||':0' FROM upload_part WHERE upload=? AND number=?",
	[DB_UPLOAD_PART_PUT] = "INSERT OR REPLACE INTO upload_part VALUES (?,?,?,?,?,?,?)",
	[DB_UPLOAD_PART_DEL] = "DELETE FROM upload_part WHERE upload=?",
	[DB_MESSAGE_PUT] = "INSERT INTO message VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[DB_MESSAGE_NEXT] = "SELECT * FROM message WHERE queue=? AND due_us<=? ORDER BY due_us,id LIMIT 1",
	[DB_MESSAGE_NEXT_OF_GROUP] = "SELECT * FROM message WHERE queue=? AND grp=? AND id>? ORDER BY id LIMIT 1",
	[DB_MESSAGE_FIRST_DUE] = "SELECT due_us FROM message WHERE queue=? ORDER BY due_us LIMIT 1",
	[DB_MESSAGE_RECEIVED] = "UPDATE message SET due_us=?2, visible_us=?2, receives=receives+1, "
				"first_us=iif(first_us, first_us, ?3) WHERE id=?1",
	[DB_MESSAGE_MOVED] = "UPDATE message SET queue=?2, due_us=?3, visible_us=?4, receives=0, first_us=0, source=?5 "
			     "WHERE id=?1",
	[DB_MESSAGE_STATE] = "SELECT visible_us,receives,grp FROM message WHERE id=? AND queue=?",
	[DB_MESSAGE_VISIBLE] = "UPDATE message SET due_us=?2, visible_us=?2, receives=receives-?3 WHERE id=?1",
	[DB_MESSAGE_DEL] = "DELETE FROM message WHERE id=?",
	[DB_MESSAGE_GROUP] =
		"SELECT id,visible_us,due_us,receives FROM message WHERE queue=? AND grp=? ORDER BY id LIMIT ?",
	[DB_MESSAGE_DUE] = "UPDATE message SET due_us=?2 WHERE id=?1",
	[DB_MESSAGE_SWEEP] = "DELETE FROM message WHERE id IN (SELECT id FROM message WHERE queue=? LIMIT ?)",
	[DB_DEDUP_GET] = "SELECT id,uuid FROM dedup WHERE queue=? AND key=? AND sent_us>?",
	[DB_DEDUP_PUT] = "INSERT OR REPLACE INTO dedup VALUES (?,?,?,?,?)",
	[DB_DEDUP_TRIM] =
		"DELETE FROM dedup WHERE queue=(SELECT queue FROM dedup WHERE sent_us<=?1 ORDER BY sent_us LIMIT 1) "
		"AND key=(SELECT key FROM dedup WHERE sent_us<=?1 ORDER BY sent_us LIMIT 1)",
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

/* SQLite calls what the disk could not read malformed, as if it had come so. */
static bool unreadable(struct db *d)
{
	int of_db = 0, of_log = 0;
	sqlite3_file *log = NULL;

	sqlite3_file_control(d->h, NULL, SQLITE_FCNTL_LAST_ERRNO, &of_db);
	sqlite3_file_control(d->h, NULL, SQLITE_FCNTL_JOURNAL_POINTER, &log);
	if (log && log->pMethods)
		log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &of_log);
	return of_db == EIO || of_log == EIO;
}

int db_fail(struct db *d, const char *what, struct err *e)
{
	int code = d->h ? sqlite3_extended_errcode(d->h) : SQLITE_NOMEM;
	int sys = d->h ? sqlite3_system_errno(d->h) : 0;
	enum err_kind kind = ERR_SYS;

	switch (code & 0xff) {
	case SQLITE_IOERR:
		d->unsure = true;
		break;
	case SQLITE_CORRUPT:
		if (unreadable(d))
			return err_sys(e, EIO, "%s: read the disk", what);
		kind = ERR_CORRUPT;
		break;
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

/* Instead of SQLite's own, which tells nobody that the log could not be synced. */
static int after_commit(void *arg, sqlite3 *h, const char *name, int pages)
{
	struct db *d = arg;
	int rc = pages < LOG_PAGES ? SQLITE_OK
				   : sqlite3_wal_checkpoint_v2(h, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);

	d->unsure |= rc != SQLITE_OK && rc != SQLITE_BUSY;
	return SQLITE_OK;
}

int db_open(struct db *d, int dirfd, const char *name, bool create, struct err *e)
{
	d->dirfd = dirfd;
	d->unsure = true; /* what became of the one that wrote before us? */
	if (open_file(d, name, create, e) < 0)
		return -1;
	sqlite3_wal_hook(d->h, after_commit, d);
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
	if (d->h) {
		sqlite3_db_config(d->h, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, (int)d->unsure, NULL);
		sqlite3_close(d->h);
	}
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

/* Each page is to be written again, whatever the kernel thinks of it. Nobody else writes: the lock is ours. */
static int rewrite_log(struct db *d)
{
	sqlite3_file *log = NULL;
	sqlite3_int64 size = 0;
	char piece[16384];
	int rc, n;

	sqlite3_file_control(d->h, NULL, SQLITE_FCNTL_JOURNAL_POINTER, &log);
	if (!log || !log->pMethods)
		return SQLITE_OK; /* a new database */
	rc = log->pMethods->xFileSize(log, &size);
	for (sqlite3_int64 at = 0; rc == SQLITE_OK && at < size; at += n) {
		n = size - at < (int)sizeof(piece) ? (int)(size - at) : (int)sizeof(piece);
		rc = log->pMethods->xRead(log, piece, n, at);
		if (rc == SQLITE_OK)
			rc = log->pMethods->xWrite(log, piece, n, at);
	}
	return rc == SQLITE_OK ? log->pMethods->xSync(log, SQLITE_SYNC_NORMAL) : rc;
}

int db_begin(struct db *d, struct err *e)
{
	int rc;

	if (db_run(d, DB_BEGIN, e, "") < 0)
		return -1;
	rc = d->unsure ? rewrite_log(d) : SQLITE_OK;
	d->unsure = rc != SQLITE_OK;
	if (!d->unsure)
		return 0;
	db_run(d, DB_ROLLBACK, NULL, "");
	return err_set(e, rc == SQLITE_FULL ? ERR_UNAVAILABLE : ERR_SYS, "database: %s (%d)", sqlite3_errstr(rc), rc);
}

static sqlite3_stmt *prepared(struct db *d, enum db_query q)
{
	if (!d->stmt[q])
		sqlite3_prepare_v3(d->h, query_sql[q], -1, SQLITE_PREPARE_PERSISTENT, &d->stmt[q], NULL);
	return d->stmt[q];
}

int db_prepare(struct db *d, struct err *e)
{
	for (int i = 0; i < DB_QUERY_N; i++)
		if (!prepared(d, i))
			return db_fail(d, query_sql[i], e);
	return 0;
}

static int bind_all(sqlite3_stmt *st, const char *types, va_list ap)
{
	int rc = SQLITE_OK;

	for (int i = 1; *types && rc == SQLITE_OK; types++, i++) {
		const void *p;
		struct str v;

		switch (*types) {
		case 'i':
			rc = sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
			break;
		case 't':
			rc = sqlite3_bind_text(st, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
			break;
		case 's':
			v = va_arg(ap, struct str);
			rc = sqlite3_bind_text64(st, i, v.p, v.n, SQLITE_STATIC, SQLITE_UTF8);
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

/* Steps to the end, or until row() has had enough. */
static int step_all(struct db *d, sqlite3_stmt *st, int rc, db_row *row, void *arg, struct err *e)
{
	int stopped = 0;

	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(st);
		if (rc == SQLITE_ROW && (stopped = row ? row(arg, st, e) : err_set(e, ERR_BUG, "a row")) != 0)
			return stopped;
	}
	return rc == SQLITE_DONE ? 0 : db_fail(d, "database", e);
}

static int run(struct db *d, enum db_query q, db_row *row, void *arg, struct err *e, const char *types, va_list ap)
{
	sqlite3_stmt *st = prepared(d, q);
	int ret;

	if (!st)
		return db_fail(d, query_sql[q], e);
	ret = step_all(d, st, bind_all(st, types, ap), row, arg, e);
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return ret;
}

int db_run(struct db *d, enum db_query q, struct err *e, const char *types, ...)
{
	va_list ap;
	int ret;

	va_start(ap, types);
	ret = run(d, q, NULL, NULL, e, types, ap);
	va_end(ap);
	return ret;
}

int db_query(struct db *d, enum db_query q, db_row *row, void *arg, struct err *e, const char *types, ...)
{
	va_list ap;
	int ret;

	va_start(ap, types);
	ret = run(d, q, row, arg, e, types, ap);
	va_end(ap);
	return ret;
}

int64_t db_changed(const struct db *d)
{
	return sqlite3_changes64(d->h);
}

int db_rows(struct db *d, const char *sql, db_row *row, void *arg, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(d->h, sql, -1, &st, NULL), ret = step_all(d, st, rc, row, arg, e);

	sqlite3_finalize(st);
	return ret;
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
