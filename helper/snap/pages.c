/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages are the process's own, and how they come into the image. */
#include "proc.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define PM_PRESENT (1ull << 63)
#define PM_SWAPPED (1ull << 62)
#define PM_FILE	   (1ull << 61) /* of a file, or shared */
#define PM_GUARD   (1ull << 58) /* Linux 6.15 */
#define MAP_STEP   4096u	/* entries of pagemap at a time */
#define OUT_PAGES  256u
#define GAP_PAGES  4u /* holes up to this size do not end a run: a mapping costs more than they do */
#define RANGE_MAX  (1ull << 40)
#define WHOLE_MAX  64u /* pages: a private mapping of a file up to this size is all in the image, or not at all */

struct writer {
	struct snap_draft *d;
	int pagemap;
	uint64_t at;	  /* where the next page goes in the image */
	uint32_t pending; /* pages in out that belong right before at */
	uint8_t *out, *in;
	uint64_t entry[MAP_STEP];
	uint64_t pages;
	struct snap_map *map;
};

static int flush(struct writer *w, struct err *e)
{
	size_t n = (size_t)w->pending * SNAP_PAGE;

	w->pending = 0;
	return proc_write(w->d, w->out, n, w->at - n, e);
}

static int put_page(struct writer *w, const uint8_t *page, struct err *e)
{
	if (w->at + SNAP_PAGE > w->d->take->max_bytes)
		return err_set(e, ERR_LIMIT, "its image is larger than %llu MB",
			       (unsigned long long)(w->d->take->max_bytes >> 20));
	memcpy(w->out + (size_t)w->pending * SNAP_PAGE, page, SNAP_PAGE);
	w->at += SNAP_PAGE;
	w->pages++;
	return ++w->pending == OUT_PAGES ? flush(w, e) : 0;
}

/* Between two runs: of a file its own pages, otherwise a hole in the image. */
static int bridge(struct writer *w, uint64_t from, uint64_t to, struct err *e)
{
	uint8_t page[SNAP_PAGE];

	if (!w->map->file) {
		if (flush(w, e) < 0)
			return -1;
		w->at += to - from;
		return 0;
	}
	for (; from < to; from += SNAP_PAGE)
		if (remote_read(&w->d->remotes.thread[0], from, page, sizeof(page), e) < 0 || put_page(w, page, e) < 0)
			return -1;
	return 0;
}

static int add_page(struct writer *w, uint64_t addr, const uint8_t *page, struct err *e)
{
	uint32_t *n = &w->d->head.table[TABLE_RUNS].n;
	struct snap_run *r = w->map->n_runs ? &w->d->run[*n - 1] : NULL;
	uint64_t end = r ? r->addr + (uint64_t)r->pages * SNAP_PAGE : 0;

	if (r && addr - end <= GAP_PAGES * SNAP_PAGE) {
		if (addr > end && bridge(w, end, addr, e) < 0)
			return -1;
		r->pages += (uint32_t)((addr - end) / SNAP_PAGE) + 1;
		return put_page(w, page, e);
	}
	if (*n >= SNAP_RUNS_MAX)
		return err_set(e, ERR_LIMIT, "its memory is in more than %u pieces", SNAP_RUNS_MAX);
	w->d->run[(*n)++] = (struct snap_run){addr, w->at, 1, 0};
	w->map->n_runs++;
	return put_page(w, page, e);
}

static bool all_zero(const uint8_t *page)
{
	return !page[0] && !memcmp(page, page + 1, SNAP_PAGE - 1);
}

static int save(struct writer *w, uint64_t addr, uint64_t pages, struct err *e)
{
	while (pages) {
		uint64_t n = pages < OUT_PAGES ? pages : OUT_PAGES;

		if (remote_read(&w->d->remotes.thread[0], addr, w->in, n * SNAP_PAGE, e) < 0)
			return -1;
		for (uint64_t i = 0; i < n; i++, addr += SNAP_PAGE)
			if ((w->map->file || !all_zero(w->in + i * SNAP_PAGE)) &&
			    add_page(w, addr, w->in + i * SNAP_PAGE, e) < 0)
				return -1;
		pages -= n;
		if (remote_now_us() > w->d->take->deadline_us)
			return err_set(e, ERR_TIMEOUT, "writing its memory takes too long");
	}
	return 0;
}

static int scan_step(struct writer *w, uint64_t addr, uint64_t n, bool whole, struct err *e)
{
	ssize_t got = pread(w->pagemap, w->entry, n * 8, (off_t)(addr / SNAP_PAGE * 8));

	if (got != (ssize_t)(n * 8))
		return err_sys(e, got < 0 ? errno : EIO, "read the page map");
	for (uint64_t i = 0, from; i < n;) {
		for (from = i; i < n; i++) {
			uint64_t bits = w->entry[i];

			if (bits & PM_GUARD)
				return err_set(e, ERR_CONFLICT, "guard pages at %llx",
					       (unsigned long long)(addr + i * SNAP_PAGE));
			if (!whole && (!(bits & (PM_PRESENT | PM_SWAPPED)) || bits & PM_FILE))
				break;
		}
		if (i > from && save(w, addr + from * SNAP_PAGE, i - from, e) < 0)
			return -1;
		i++;
	}
	return remote_now_us() > w->d->take->deadline_us ? err_set(e, ERR_TIMEOUT, "its memory is too large") : 0;
}

/* One mapping of the image then takes the place of one of the file, several reads and a change of protection. */
static int small_and_written(struct writer *w, bool *ret, struct err *e)
{
	const struct snap_map *m = w->map;
	uint64_t n = (m->end - m->start) / SNAP_PAGE;

	*ret = false;
	/* Behind the end of its file there is nothing to read. */
	if (!m->file || n > WHOLE_MAX || m->offset + n * SNAP_PAGE > w->d->file[m->file - 1].size + SNAP_PAGE - 1)
		return 0;
	if (pread(w->pagemap, w->entry, n * 8, (off_t)(m->start / SNAP_PAGE * 8)) != (ssize_t)(n * 8))
		return err_sys(e, errno, "read the page map");
	for (uint64_t i = 0; i < n; i++)
		if (w->entry[i] & (PM_PRESENT | PM_SWAPPED) && !(w->entry[i] & PM_FILE))
			*ret = true;
	return 0;
}

static int scan(struct writer *w, bool whole, struct err *e)
{
	struct snap_map *m = w->map;

	m->run = w->d->head.table[TABLE_RUNS].n;
	if (m->flags & (MAP_F_SHARED | MAP_F_DROPPABLE) || m->advice & 1u << ADVICE_WIPEONFORK)
		return 0; /* their owners expect to find them empty */
	if (!whole && small_and_written(w, &whole, e) < 0)
		return -1;
	for (uint64_t at = m->start; at < m->end;) {
		uint64_t n = (m->end - at) / SNAP_PAGE;

		if (n > MAP_STEP)
			n = MAP_STEP;
		if (scan_step(w, at, n, whole, e) < 0)
			return -1;
		at += n * SNAP_PAGE;
	}
	return 0;
}

int proc_pages(struct snap_draft *d, struct err *e)
{
	struct writer *w = mem_take(&d->mem, sizeof(*w));
	char path[64];
	uint64_t all = 0;
	int rc = 0;

	if (!w || !(w->out = mem_take(&d->mem, OUT_PAGES * SNAP_PAGE)) ||
	    !(w->in = mem_take(&d->mem, OUT_PAGES * SNAP_PAGE)))
		return err_set(e, ERR_LIMIT, "too little memory");
	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)d->take->pid);
	w->d = d;
	w->at = SNAP_PAGES_AT;
	w->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (w->pagemap < 0)
		return err_sys(e, errno, "open %s", path);
	for (uint32_t i = 0; i < d->head.table[TABLE_MAPS].n && rc == 0; i++) {
		w->map = &d->map[i];
		all += w->map->end - w->map->start;
		if (all > RANGE_MAX)
			rc = err_set(e, ERR_LIMIT, "its address space is larger than 1 TB");
		else
			rc = scan(w, d->whole[i], e);
	}
	if (rc == 0)
		rc = flush(w, e);
	close(w->pagemap);
	d->head.tables_at = w->at;
	return rc < 0 ? -1 : 0;
}
