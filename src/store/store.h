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
	void *priv; /* the store's own while it runs */
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
/* Asked when blobs are swept: adds NUL-terminated digests that stay, beside those of functions. */
void store_on_sweep(struct store *s, void (*names)(void *arg, struct buf *out), void *arg);
int store_code_dir(const struct store *s); /* dirfd of code/, where spawn_unpack makes <sha256>/ */
int store_code_open(const struct store *s, const char sha256_hex[65],
		    struct err *e); /* O_PATH dirfd, ERR_NOT_FOUND when not unpacked */
/* Soon removes blobs and code directories that nobody names (no function, nor a replaced revision that somebody still holds)
 * and that nobody asked for in the last minute; what is too young goes a minute later. At start and after deletes.
 * Deleting is the file thread's. */
void store_gc(struct store *s);

/* Asynchronous events: committed before 202. */
struct store_event {
	int64_t id; /* by the store */
	char request_id[37];
	char function[65];
	char qualifier[LIM_QUALIFIER_BYTES + 1]; /* as the caller gave it */
	int64_t accepted_wall_us, not_before_wall_us;
	int attempts;
	char *payload; /* owned */
	size_t payload_n;
};
void store_event_done(struct store_event *ev); /* frees its memory */
void store_event_put(struct store *s, struct store_op *op,
		     struct store_event *ev); /* sets ev->id; ev borrowed until done */
void store_event_retry(struct store *s, struct store_op *op, int64_t id, int attempts, int64_t not_before_wall_us);
void store_event_del(struct store *s, struct store_op *op, int64_t id);
/* At start: every event that is not done yet, oldest first. Blocking. ev is borrowed by each. */
int store_event_each(struct store *s, void (*each)(void *arg, const struct store_event *ev), void *arg, struct err *e);

/* backup: a consistent copy of the database and links to all blobs in a new directory of the same file system
 * (ERR_EXISTS otherwise). Runs on the file thread. */
void store_backup(struct store *s, struct store_op *op, const char *dir);
