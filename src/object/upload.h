/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uploads in parts: rows beside those of objects, each part a file. To complete one moves no byte: object_put (object.h)
 * with .upload makes its files the object's.
 */
#pragma once
#include "object/object.h"

#define UPLOAD_PARTS_MAX 10000
#define UPLOAD_ID_MAX	 40

enum upload_what {
	UPLOAD_CREATE, /* id is made; row.meta: taken */
	UPLOAD_PART,   /* part and body: taken, part's file and size are filled in */
	UPLOAD_ABORT,
	UPLOAD_PARTS, /* row; parts after that number, at most max */
	UPLOAD_LIST   /* of the bucket, keys that begin with prefix, after (key, id), at most max */
};
struct upload_op {
	void (*done)(struct upload_op *u, const struct err *e); /* ERR_NOT_FOUND: there is no such upload */
	enum upload_what what;
	char id[UPLOAD_ID_MAX];
	struct upload_part_row part;
	struct object_body *body;
	const char *prefix; /* borrowed until done */
	int64_t after, max;
	/* Out, until upload_op_done: */
	struct upload_row row, *rows;
	struct upload_part_row *parts;
	int n;
	bool truncated;
	/* The owner's no more: */
	struct objects *o;
	char *bucket, *key;
	struct buf doomed;
	struct err e;
	struct store_tx tx;
	struct store_part in;
};
void upload_start(struct objects *o, struct upload_op *u, const char *bucket, const char *key);
void upload_op_done(struct upload_op *u);
