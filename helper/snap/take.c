/* SPDX-License-Identifier: Apache-2.0 */
#include "proc.h"
#include <errno.h>
#include <string.h>

/* The head goes last: a file without it is no image. */
static int write_tables(struct snap_draft *d, struct err *e)
{
	const void *from[TABLE_N] = {
		[TABLE_MAPS] = d->map,	     [TABLE_RUNS] = d->run,	 [TABLE_FILES] = d->file,
		[TABLE_FDS] = d->fd,	     [TABLE_WATCHES] = d->watch, [TABLE_TEXT] = d->text,
		[TABLE_THREADS] = d->thread, [TABLE_XSTATE] = d->xstate,
	};
	struct snap_head *h = &d->head;
	uint64_t at = 0, n = 0;

	for (unsigned t = 0; t < TABLE_N; t++) {
		h->table[t].at = (uint32_t)at;
		n = (uint64_t)h->table[t].n * snap_table_size[t];
		if (at + n > SNAP_TABLES_MAX || h->tables_at + at + n > d->take->max_bytes)
			return err_set(e, ERR_LIMIT, "its image is larger than %llu MB",
				       (unsigned long long)(d->take->max_bytes >> 20));
		if (proc_write(d, from[t], n, h->tables_at + at, e) < 0)
			return -1;
		at += n;
		h->file_bytes = h->tables_at + at;
		at = (at + 15) & ~15ull;
	}
	if (ftruncate(d->take->image, (off_t)(h->file_bytes + SNAP_TAIL)) < 0)
		return err_sys(e, errno, "make the image longer");
	return proc_write(d, h, sizeof(*h), 0, e);
}

static int draw(struct snap_draft *d, struct err *e)
{
	const struct snap_take *t = d->take;
	int channel = proc_channel(t->pid, t->channel, e);

	if (channel < 0 || remote_stop(&d->remotes, t->pid, channel, t->deadline_us, e) < 0)
		return -1;
	if (proc_status(d, e) < 0 || proc_maps(d, e) < 0 || proc_fds(d, e) < 0 || proc_inside(d, e) < 0 ||
	    proc_pages(d, e) < 0)
		return -1;
	return write_tables(d, e);
}

int snap_take(const struct snap_take *t, struct snap_stats *ret, struct err *e)
{
	int64_t began_us = remote_now_us();
	struct snap_mem room;
	struct snap_draft *d;
	struct err why = {0};
	int rc;

	if (mem_init(&room, sizeof(*d) + 4096, e) < 0)
		return -1;
	d = mem_take(&room, sizeof(*d));
	d->take = t;
	d->remotes.mem = -1;
	d->head.magic = SNAP_MAGIC;
	d->head.version = SNAP_VERSION;
	d->head.head_bytes = sizeof(d->head);
	d->head.ident = *t->ident;
	rc = proc_alloc(d, &why);
	if (rc == 0)
		rc = draw(d, &why);
	remote_release(&d->remotes);
	if (rc == 0) {
		*ret = (struct snap_stats){.bytes = d->head.file_bytes,
					   .mappings = d->head.table[TABLE_MAPS].n,
					   .files = d->head.table[TABLE_FILES].n,
					   .took_us = (uint32_t)(remote_now_us() - began_us)};
		for (uint32_t i = 0; i < d->head.table[TABLE_RUNS].n; i++)
			ret->pages += d->run[i].pages;
	} else if (e) {
		*e = why;
	}
	mem_done(&d->mem);
	mem_done(&room);
	return rc;
}
