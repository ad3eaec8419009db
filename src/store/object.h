/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of objects and of uploads that are not complete; what they mean is src/object's business. Keys are text without
 * NUL, ordered by byte. All of these run on a thread of the store, inside of a part (store/tx.h).
 */
#pragma once
#include "base/buf.h"
#include "store/tx.h"

#define OBJECT_ETAG_MAX 48

struct object_row {
	char *key;
	int64_t id, size, modified_us;
	char etag[OBJECT_ETAG_MAX]; /* without quotes */
	char *meta;		    /* JSON */
	char *files;		    /* NULL: small, in data */
	struct buf data;
};
void object_row_done(struct object_row *r);
/* 1: it is there, 0: not, -1: e. body: files or data too. */
int object_row_get(struct db *d, const char *bucket, const char *key, bool body, struct object_row *ret, struct err *e);
int object_row_put(struct db *d, const char *bucket, const struct object_row *r, struct err *e);
/* The row and its body; files: of that body, added as "NAME:SIZE ". */
int object_row_del(struct db *d, const char *bucket, const char *key, struct buf *files, struct err *e);
int object_row_meta(struct db *d, const char *bucket, const char *key, int64_t id, const char *meta, struct err *e);
/* Keys from there on (more: not that key itself), each as a row without a body, until each() is not 0. */
int object_row_each(struct db *d, const char *bucket, const char *from, bool more, int64_t max,
		    int (*each)(void *arg, struct object_row *r), void *arg, struct err *e);
/* The greatest id of a body; blocking: start-up only. */
int object_last_id(struct store *s, int64_t *ret, struct err *e);
/* All names of files, in the form of "files", one list after another. */
int object_rows_files(struct db *d, struct buf *ret, struct err *e);

struct upload_row {
	char *key, *id, *meta;
	int64_t created_us;
};
struct upload_part_row {
	int number;
	char file[OBJECT_ETAG_MAX], etag[OBJECT_ETAG_MAX];
	char checksum[100];
	int64_t size, modified_us;
};
void upload_row_done(struct upload_row *r);
int upload_row_put(struct db *d, const char *bucket, const struct upload_row *r, struct err *e);
int upload_row_get(struct db *d, const char *bucket, const char *key, const char *id, struct upload_row *ret,
		   struct err *e); /* 1, 0, -1 */
/* It and its parts; files: as above. */
int upload_row_del(struct db *d, const char *bucket, const char *key, const char *id, struct buf *files, struct err *e);
/* Uploads of a bucket after (key, id), in that order. */
int upload_row_each(struct db *d, const char *bucket, const char *key, const char *id, int64_t max,
		    int (*each)(void *arg, struct upload_row *r), void *arg, struct err *e);
int upload_part_put(struct db *d, const char *id, const struct upload_part_row *r, struct buf *files, struct err *e);
/* Parts whose number is greater than that. */
int upload_part_each(struct db *d, const char *id, int64_t after, int64_t max,
		     int (*each)(void *arg, const struct upload_part_row *r), void *arg, struct err *e);
