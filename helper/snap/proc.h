/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel tells about a stopped process in /proc, and the reasons there not to take it. */
#pragma once
#include "remote.h"

/* An image while it is made. */
struct snap_draft {
	const struct snap_take *take;
	struct remotes remotes;
	struct snap_mem mem;
	struct snap_head head;
	struct snap_map *map; /* head.table[].n of each */
	struct snap_run *run;
	struct snap_file *file;
	struct snap_fd *fd;
	uint64_t object[SNAP_FDS_MAX]; /* per descriptor: the number of its pipe or event */
	struct snap_watch *watch;
	char *text;
	struct snap_thread thread[SNAP_THREADS_MAX];
	uint8_t *xstate;
	uint8_t *whole; /* per map: save all of its pages */
};

int proc_alloc(struct snap_draft *d, struct err *e);
int proc_text(struct snap_draft *d, const char *text, uint32_t *ret_at, struct err *e);
/* Files of /proc/PID as text that ends with NUL, in d->mem. */
int proc_read(struct snap_draft *d, const char *name, char **ret, size_t *ret_n, struct err *e);

int proc_write(const struct snap_draft *d, const void *from, size_t n, uint64_t at, struct err *e); /* into the image */

int proc_status(struct snap_draft *d, struct err *e); /* threads, signals, filters, session, other processes */
int proc_maps(struct snap_draft *d, struct err *e);   /* maps.c */
int proc_fds(struct snap_draft *d, struct err *e);    /* fds.c */
int proc_channel(pid_t pid, int ours, struct err *e); /* its number of the same socket, or -1 */
/* The file at path, which has to have this inode. */
int proc_file(struct snap_draft *d, const char *path, uint64_t ino, uint32_t *ret_index, struct err *e);
int proc_inside(struct snap_draft *d, struct err *e); /* inside.c: what only calls in its place tell */
int proc_pages(struct snap_draft *d, struct err *e);  /* pages.c: runs, and the pages themselves */
