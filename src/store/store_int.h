/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of store/ share. Memory (maps, counters) belongs to the loop, db to its thread once store_open has
 * returned. */
#pragma once
#include <dirent.h>
#include "base/list.h"
#include "base/map.h"
#include "store/db.h"
#include "store/function.h"
#include "store/image.h"
#include "store/record.h"
#include "store/tx.h"

struct setting {
	char *name, *value;
};

/* Where a function stands in the indexes. The route is a copy: the function's own may be changed before the next put.
 */
struct entry {
	struct function *f;
	char *route;
	struct revision *saved; /* what the last put wrote, a reference */
};

struct table {
	struct map by_name, by_route, by_key; /* of struct entry */
	struct entry **sorted;		      /* by name */
	size_t n, cap, n_star;		      /* n_star: routes that end in a star */
	struct revision **retired;	      /* replaced, perhaps still run by instances: their code must stay */
	size_t n_retired, cap_retired;
	int64_t next_serial;
	void (*changed)(void *arg, struct function *f);
	void *changed_arg;
};

/* One write on its way: all that the thread needs, in copies. */
enum change_kind {
	CHANGE_SETTING,
	CHANGE_FUNCTION_PUT,
	CHANGE_NAME_TAKEN,
	CHANGE_FUNCTION_DEL,
	CHANGE_VERSION_PUT,
	CHANGE_VERSION_DEL,
	CHANGE_IMAGE_PUT,
	CHANGE_IMAGE_DEL, /* name: its reference */
	CHANGE_RECORD_PUT,
	CHANGE_RECORD_DEL,
	CHANGE_TX,
	CHANGE_TIDY
};
struct change {
	enum change_kind kind;
	struct list node;	   /* store.pending */
	struct store_op *op, *own; /* own: op was made by us because nobody waits */
	char *name, *value;	   /* setting, record; function's name */
	struct function *f;	   /* FUNCTION_PUT, VERSION_PUT: a reference */
	struct revision *rev;	   /* a reference; immutable, so the thread may read it */
	bool inserted;
	int state;
	char *project, *reason, *reason_code, *tags, *env, *route, *allow, *access_key, *secret_key;
	char *aliases, *provisioned; /* JSON */
	int last_version, reserved;
	struct scale scale;
	enum lane lane;
	int64_t created_us;
	struct store_image *image; /* a copy in one piece of memory */
	struct store_tx *tx;	   /* the caller's */
};

struct records {
	struct record *sorted; /* by key */
	size_t n, cap;
};

struct store {
	struct loop *loop;
	struct loop_thread *db_thread, *file_thread, *read_thread;
	struct db db, read_db; /* read_db: opened by its thread when it is first needed */
	int dirfd, blobs_fd, code_fd;
	struct map settings; /* of struct setting */
	struct table table;
	struct records records;
	struct map unwritten; /* keys of records whose last write failed, as strings of their own */
	struct list pending;  /* changes whose done has not run */
	struct list reading;  /* and reads */
	int64_t next_event;
	struct gc *gc;		     /* under way, or NULL */
	struct loop_timer *gc_timer; /* armed: wanted soon */
	bool gc_again;
	struct snapshots *snapshots;
	void (*swept)(void *arg, struct buf *out);
	void *swept_arg;
	struct store_trouble {
		uint64_t n; /* writes that failed since the last that went well */
		int64_t since_wall_us;
		void (*said)(void *arg, const struct err *e, uint64_t n, int64_t since_wall_us);
		void *arg;
	} trouble;
	_Atomic unsigned backups; /* under way: nothing is swept */
};

/* db_rows on a connection of its own. */
int store_each(struct store *s, const char *sql, int (*row)(void *arg, sqlite3_stmt *st, struct err *e), void *arg,
	       struct err *e);
/* The change is taken. */
void store_change_start(struct store *s, struct store_op *op, struct change *c);
struct change *change_new(enum change_kind kind);
int change_apply(struct db *d, const struct change *c, struct err *e); /* on the thread, inside a transaction */
void change_free(struct change *c);
/* snapshot.c */
int snapshots_open(struct store *s, struct err *e);
void snapshots_done(struct store *s);
void snapshots_sweep(struct store *s, struct map *live); /* keys: serials whose images stay */
/* reserve.c */
void reserve_fill(int dirfd); /* on a thread */
bool reserve_take(int dirfd); /* true: there is more room than before */
/* table.c */
int table_load(struct store *s, struct err *e);
void table_done(struct store *s);
void table_insert_failed(struct store *s, struct function *f);
struct entry *table_insert(struct table *t, struct function *f);
void table_retire(struct table *t, struct revision *r);			      /* takes the reference */
void table_number(struct table *t, struct revision *r, const char *function); /* gives it its serial and id */
void table_tell(struct store *s, struct function *f);
/* version.c */
void version_insert(struct function *f, struct revision *r); /* takes the reference */
void version_take_out(struct store *s, struct function *f, struct revision *r);
/* tx.c */
int tx_apply(struct store_tx *tx, struct db *d, struct err *e);
void tx_tell(struct store_tx *tx, const struct err *e); /* the parts */
/* It failed. Documents on their own are written later; those of more must not come apart from that. */
void tx_unwritten(struct store *s, const struct store_tx *tx);
/* record.c */
struct change *record_put_change(struct store *s, const char *key, const char *value); /* counts now */
struct change *record_del_change(struct store *s, const char *key);
void record_unwritten(struct store *s, const char *key); /* its write failed; what counts is in memory */
void records_mend(struct store *s);			 /* such are written, before what comes next */
int records_load(struct store *s, struct err *e);
void records_done(struct store *s);
/* rows.c */
struct change *rows_change(enum change_kind kind, struct function *f, struct revision *r);
int rows_apply(struct db *d, const struct change *c, struct err *e);
/* blob.c */
int blob_open_dirs(struct store *s, struct err *e);
DIR *list_dir(int dirfd, const char *name);
bool blob_any(const struct store *s);
void blob_done(struct store *s);
void gc_free(struct store *s);
void gc_start(struct store *s);
