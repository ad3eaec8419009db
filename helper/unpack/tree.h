/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory that grows: ".tmp-NAME" below a parent, renamed to NAME when whole. Every component is resolved by
 * openat2 beneath the root and without following links, so nothing an archive says can touch what lies outside. One
 * writer at a time per NAME (flock on the temporary directory); a temporary directory that a killed unpacker left is
 * removed by the next.
 *
 * Counted against the limits: entries and the directories they imply; bytes by their place in the file, so holes count
 * like data.
 */
#pragma once
#include "base/buf.h"
#include "unpack/path.h"
#define TREE_LINK_TEXT_MAX (4 << 20) /* names of symbolic links, remembered for the check at the end */

struct tree {
	int parent; /* borrowed */
	int root;   /* holds the lock */
	char name[80], temp[88];
	uint64_t max_bytes, max_files, bytes, files;
	bool layer;			   /* of an image: layer.h; set before tree_start */
	struct buf links;		   /* NUL-terminated paths */
	char dir_text[PATH_BYTES_MAX + 1]; /* the directory opened last, and its descriptor */
	int dir;
};
/* Enters the directory of p, counts p, removes what bears its name already unless that is a directory. The leaf is then
 * to be made in t->dir. */
int tree_make_room(struct tree *t, const struct path *p, const char **ret_leaf, struct err *e);
int tree_enter(struct tree *t, const char *text, size_t n, struct err *e); /* t->dir becomes that directory */
int tree_count(struct tree *t, struct err *e); /* one more entry, also of one that leaves nothing */
int tree_entry_err(struct err *e, const char *name, int sys, const char *what);
int tree_start(struct tree *t, int parent, const char *name, uint64_t max_bytes, uint64_t max_files, struct err *e);
int tree_dir(struct tree *t, const struct path *p, struct err *e);
/* An empty file, write-only, whatever had this name (but a directory) replaced; give it to tree_file_done in the end.
 */
int tree_file(struct tree *t, const struct path *p, int *ret_fd, struct err *e);
int tree_write(struct tree *t, int fd, uint64_t *size, int64_t offset, const void *data, size_t n, struct err *e);
int tree_file_done(int fd, unsigned mode, struct err *e); /* closes fd in any case */
int tree_symlink(struct tree *t, const struct path *p, const char *target, struct err *e);
int tree_hardlink(struct tree *t, const struct path *p, const struct path *target, struct err *e);
/* Checks links, makes durable, gives the final name. An equal name that exists wins: the own tree is removed. */
int tree_finish(struct tree *t, struct err *e);
void tree_done(struct tree *t); /* removes what has not been finished */
