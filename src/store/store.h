/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State: SQLite (WAL, synchronous=FULL) on a thread of its own, the only user of sqlite3.h; and blobs, files named by
 * SHA-256. The functions are also held in memory (store/function.h): reading never waits, writing is done when it is
 * durable. Layout below <state>/daemon/: tandem.db, blobs/<hex>, code/<hex>/ (unpacked), keys, logs/, ledger/.
 * Migrations: spec/migrations/NNN.sql, compiled in; one transaction, after a copy tandem.db.before-N; a newer database
 * is refused with one sentence that names both versions.
 */
#pragma once
#include <stdbool.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"
#include "loop/loop.h"
struct store;
int store_open(struct loop *l, int state_dirfd, struct store **ret,
	       struct err *e);	  /* blocking: start-up only. state_dirfd: <state>/daemon */
void store_free(struct store *s); /* finishes what was accepted; the last done callbacks come from the loop afterwards,
				     op->s is NULL then */
int store_dirfd(const struct store *s);

/* A write that waits: embedded; done on the loop, exactly once, never before _start returned, after commit (group
 * commit of what is queued). Where nobody waits (settings, functions, events) op may be NULL: a failure is then logged.
 */
struct store_op {
	struct loop_work work;
	struct store *s;
	struct err e;
	void (*done)(struct store_op *op, const struct err *e);
	void *priv;	     /* the store's own while it runs */
	struct list reading; /* the same */
};

/* Small settings: keys, account id. Durable. Values are text. get is from memory. */
const char *store_setting(const struct store *s, const char *name); /* NULL: none */
void store_setting_put(struct store *s, struct store_op *op, const char *name, const char *value);

/* Blobs. put: writes <blobs>/<sha256> whole or not at all, fsynced, off the loop; p is borrowed until done. */
void store_blob_put(struct store *s, struct store_op *op, const char sha256_hex[65], const void *p, size_t n);
bool store_blob_has(const struct store *s, const char sha256_hex[65]);
int store_blob_open(const struct store *s, const char sha256_hex[65], struct err *e); /* read-only fd */
/* For one that is too big for memory: a file without a name, which goes when it is closed. keep: blocking, for a thread;
 * it is the blob of that digest from then on (the caller has checked it), fsynced, also when it was there before. */
int store_blob_new(const struct store *s, struct err *e);
int store_blob_keep(const struct store *s, int fd, const char sha256_hex[65], struct err *e);
int store_blob_link(const struct store *s, const char sha256_hex[65], int dirfd, const char *name, struct err *e);
/* Told when writes begin to fail, as on a full disk (e), and when they go well again (NULL; n failed since since_wall_us). */
void store_on_trouble(struct store *s, void (*said)(void *arg, const struct err *e, uint64_t n, int64_t since_wall_us),
		      void *arg);
/* Asked when blobs are swept: adds NUL-terminated digests that stay, beside those of functions. */
void store_on_sweep(struct store *s, void (*names)(void *arg, struct buf *out), void *arg);
int store_code_dir(const struct store *s); /* dirfd of code/, where spawn_unpack makes <sha256>/ */
int store_code_open(const struct store *s, const char sha256_hex[65],
		    struct err *e); /* O_PATH dirfd, ERR_NOT_FOUND when not unpacked */
/* Soon removes blobs and code directories that nobody names (no function, nor a replaced revision that somebody still holds)
 * and that nobody asked for in the last minute; what is too young goes a minute later. At start and after deletes.
 * Deleting is the file thread's. */
void store_gc(struct store *s);

/* backup: a consistent copy of the database and links to all blobs in a new directory of the same file system
 * (ERR_EXISTS otherwise). Runs on the file thread. */
bool store_backing_up(const struct store *s);
void store_backup(struct store *s, struct store_op *op, const char *dir);
