/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include "base/log.h"
#include "store/db.h"

int db_version(struct db *d, int64_t *ret, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(d->h, "PRAGMA user_version", -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int64(st, 0);
	else
		db_fail(d, "read the database's version", e);
	sqlite3_finalize(st);
	return rc == SQLITE_ROW ? 0 : -1;
}

/* The state as it was, before anything of it is changed. A copy left by an attempt that failed is made anew. */
static int copy_before(struct db *d, int64_t version, int64_t to, struct err *e)
{
	char name[64], path[128];

	snprintf(name, sizeof(name), "tandem.db.before-%lld", (long long)to);
	if (db_path(d, name, path, sizeof(path)) < 0)
		return err_set(e, ERR_BUG, "path too long");
	if (unlinkat(d->dirfd, name, 0) < 0 && errno != ENOENT)
		return err_sys(e, errno, "remove an older %s", name);
	if (db_copy(d, path, e) < 0)
		return -1;
	if (fchmodat(d->dirfd, name, 0600, 0) < 0)
		return err_sys(e, errno, "chmod %s", name);
	log_info("store", "state of version %lld is kept as %s", (long long)version, name);
	return 0;
}

static int migrate_from(struct db *d, int64_t version, const char *const *sql, int64_t n, struct err *e)
{
	char last[64];

	if (db_begin(d, e) < 0)
		return -1;
	for (int64_t i = version; i < n; i++) {
		if (db_exec(d, sql[i], e) < 0) {
			sqlite3_exec(d->h, "ROLLBACK", NULL, NULL, NULL);
			return err_wrap(e, "migration %lld", (long long)i + 1);
		}
	}
	snprintf(last, sizeof(last), "PRAGMA user_version=%lld; COMMIT", (long long)n);
	if (db_exec(d, last, e) < 0) {
		sqlite3_exec(d->h, "ROLLBACK", NULL, NULL, NULL);
		return -1;
	}
	return 0;
}

int db_migrate(struct db *d, const char *const *sql, size_t n, struct err *e)
{
	int64_t version, mine = (int64_t)n;

	if (db_version(d, &version, e) < 0)
		return -1;
	if (version < 0 || version > mine)
		return err_set(
			e, ERR_INVALID,
			"The state was written by a newer Tandem (its version is %lld, this program knows %lld): "
			"use that program, or restore the backup made before the upgrade.",
			(long long)version, (long long)mine);
	/* auto_vacuum first: it is only heard before the first table; deleting must give the space back. */
	if (db_exec(d, "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL;", e) < 0)
		return -1;
	if (version == mine)
		return 0;
	if (version > 0 && copy_before(d, version, mine, e) < 0)
		return -1;
	return migrate_from(d, version, sql, mine, e);
}
