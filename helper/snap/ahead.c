/* SPDX-License-Identifier: Apache-2.0 */
#include "ahead.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include "plan.h"

#define PM_PRESENT   (1ull << 63)
#define PM_SWAPPED   (1ull << 62)
#define COUNT	     (SNAP_PAGE - 1ull) /* the bits of a range that are its number of pages */
#define STEP	     4096u		/* entries of pagemap at a time */
#define TEXT	     16384u		/* of maps at a time: several lines */
#define SCAN_MAX     (16ull << 30)	/* bytes of address space that are looked at; a mapping of more is left out */
#define GAP_MAX	     (1u << 16)
#define TABLES_GUESS (128u << 10)
#define ASK_MAX	     (128u << 10) /* the kernel may cut off what is larger: the least read-ahead of a device */
#define NEAR	     (2u * SNAP_PAGE)
#define PROBES	     8u

/* --- the list --- */

static uint64_t start_of(uint64_t range)
{
	return range & ~COUNT;
}

static uint64_t end_of(uint64_t range)
{
	return start_of(range) + (range & COUNT) * SNAP_PAGE;
}

/* Joins what is no further apart than the gap. */
static void join(struct snap_ahead *a, uint64_t gap_pages)
{
	uint64_t n = 0;

	for (uint64_t i = 1; i < a->n; i++) {
		uint64_t *last = &a->range[n], pages = (end_of(a->range[i]) - start_of(*last)) / SNAP_PAGE;

		if (start_of(a->range[i]) - end_of(*last) <= gap_pages * SNAP_PAGE && pages <= COUNT)
			*last = start_of(*last) | pages;
		else
			a->range[++n] = a->range[i];
	}
	a->n = n + 1;
}

void ahead_note(struct snap_ahead *a, uint64_t *gap_pages, uint64_t from, uint64_t to)
{
	while (from < to) {
		uint64_t pages = (to - from) / SNAP_PAGE;

		for (; a->n == AHEAD_RANGES && *gap_pages < GAP_MAX; *gap_pages *= 2)
			join(a, *gap_pages);
		if (a->n == AHEAD_RANGES)
			return;
		if (pages > COUNT)
			pages = COUNT;
		a->range[a->n++] = from | pages;
		from += pages * SNAP_PAGE;
	}
}

/* --- looking at a process --- */

struct look {
	int pagemap;
	struct snap_ahead *list;
	uint64_t gap_pages, scanned;
	uint64_t entry[STEP];
	char text[TEXT];
};

static int look_at(struct look *l, uint64_t at, uint64_t end)
{
	if (end - at > SCAN_MAX - l->scanned)
		return 0;
	l->scanned += end - at;
	while (at < end) {
		uint64_t n = (end - at) / SNAP_PAGE, from;

		if (n > STEP)
			n = STEP;
		if (pread(l->pagemap, l->entry, n * 8, (off_t)(at / SNAP_PAGE * 8)) != (ssize_t)(n * 8))
			return -1;
		for (uint64_t i = 0; i < n; i++) {
			for (from = i; i < n && l->entry[i] & (PM_PRESENT | PM_SWAPPED); i++)
				continue;
			ahead_note(l->list, &l->gap_pages, at + from * SNAP_PAGE, at + i * SNAP_PAGE);
		}
		at += n * SNAP_PAGE;
	}
	return 0;
}

static int look_at_all(struct look *l, int maps)
{
	size_t have = 0;
	ssize_t got;

	while ((got = read(maps, l->text + have, TEXT - have)) > 0) {
		char *line = l->text, *next;

		have += (size_t)got;
		for (; (next = memchr(line, '\n', have)); line = next + 1) {
			uint64_t start, end;
			char right;

			*next = 0;
			if (sscanf(line, "%lx-%lx %c", &start, &end, &right) == 3 && right == 'r' &&
			    end <= SNAP_ADDR_END && look_at(l, start, end) < 0)
				return -1;
			have -= (size_t)(next + 1 - line);
		}
		memmove(l->text, line, have);
	}
	return got < 0 || have ? -1 : 0;
}

ssize_t ahead_look(pid_t pid, uint64_t ino, struct snap_ahead *ret, struct err *e)
{
	struct snap_mem mem;
	struct look *l;
	char path[64];
	auto_close int maps = -1, pagemap = -1;
	int rc;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (maps < 0 || pagemap < 0)
		return err_sys(e, errno, "open %s", path);
	if (mem_init(&mem, sizeof(*l) + SNAP_PAGE, e) < 0)
		return -1;
	l = mem_take(&mem, sizeof(*l));
	l->pagemap = pagemap;
	l->list = ret;
	l->gap_pages = 1;
	ret->magic = AHEAD_MAGIC;
	ret->ino = ino;
	ret->n = 0;
	rc = look_at_all(l, maps);
	mem_done(&mem);
	if (rc < 0)
		return err_set(e, ERR_UNAVAILABLE, "the pages of process %d are not to be seen", (int)pid);
	return (ssize_t)(AHEAD_BYTES - (AHEAD_RANGES - ret->n) * 8);
}

/* --- asking for it --- */

static bool in_memory(int fd, uint64_t at)
{
	char byte;
	struct iovec v = {&byte, 1};

	return preadv2(fd, &v, 1, (off_t)at, RWF_NOWAIT) >= 0 || errno != EAGAIN;
}

static void want(int fd, uint64_t from, uint64_t to)
{
	for (; from < to; from += ASK_MAX)
		(void)posix_fadvise(fd, (off_t)from, (off_t)(to - from < ASK_MAX ? to - from : ASK_MAX),
				    POSIX_FADV_WILLNEED);
}

static bool good(const struct snap_ahead *l, uint64_t ino)
{
	uint64_t at = SNAP_ADDR_MIN;

	if (l->magic != AHEAD_MAGIC || l->ino != ino || !l->n || l->n > AHEAD_RANGES)
		return false;
	for (uint64_t i = 0; i < l->n; i++) {
		if (!(l->range[i] & COUNT) || l->range[i] < at || l->range[i] >= SNAP_ADDR_END)
			return false;
		at = end_of(l->range[i]);
	}
	return true;
}

void ahead_begin(struct ahead *a, struct snap_mem *mem, int image, const struct stat *st)
{
	struct snap_ahead *l = mem_take(mem, sizeof(*l));
	uint64_t used = (uint64_t)st->st_size - SNAP_TAIL, at = (uint64_t)st->st_size - AHEAD_BYTES;

	*a = (struct ahead){.image = image, .fd = -1};
	if ((uint64_t)st->st_size <= SNAP_TAIL)
		return;
	if (!in_memory(image, at)) { /* what is read next, at once */
		want(image, at, at + AHEAD_BYTES);
		want(image, 0, SNAP_PAGES_AT);
		want(image, used < TABLES_GUESS ? 0 : used - TABLES_GUESS, used);
	}
	if (pread(image, l, sizeof(*l), (off_t)at) == sizeof(*l) && good(l, st->st_ino)) {
		a->list = l;
		return;
	}
	a->disk = !in_memory(image, used / 2);
	if (a->disk && used <= AHEAD_WHOLE_MAX)
		want(image, 0, used);
}

static void flush(struct ahead *a)
{
	if (a->fd >= 0)
		want(a->fd, a->from, a->to);
	a->fd = -1;
}

static void ask(struct ahead *a, int fd, uint64_t from, uint64_t bytes)
{
	if (a->probes) {
		a->disk |= !in_memory(fd, from);
		return;
	}
	if (bytes / SNAP_PAGE > AHEAD_PAGES_MAX - a->pages)
		bytes = (AHEAD_PAGES_MAX - a->pages) * SNAP_PAGE;
	if (!bytes)
		return;
	a->pages += bytes / SNAP_PAGE;
	if (fd == a->fd && from >= a->from && from <= a->to + NEAR) {
		if (from + bytes > a->to)
			a->to = from + bytes;
		return;
	}
	flush(a);
	a->fd = fd, a->from = from, a->to = from + bytes;
}

/* The first of the mapping's runs that ends above an address, as an index; n_runs: none does. */
static uint32_t first_run(const struct snap_view *v, const struct snap_map *m, uint64_t addr)
{
	uint32_t low = 0, high = m->n_runs;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		const struct snap_run *r = &v->run[m->run + mid];

		if (r->addr + (uint64_t)r->pages * SNAP_PAGE > addr)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* A part of a mapping: what of it lies in the image, or, with its file given, what lies in that. */
static void ask_part(struct ahead *a, const struct snap_map *m, uint64_t from, uint64_t to, int file)
{
	for (uint32_t i = first_run(a->view, m, from); i < m->n_runs && from < to; i++) {
		const struct snap_run *r = &a->view->run[m->run + i];
		uint64_t end = r->addr + (uint64_t)r->pages * SNAP_PAGE, start = r->addr > from ? r->addr : from;

		if (start >= to)
			break;
		if (file < 0)
			ask(a, a->image, r->at + (start - r->addr), (end < to ? end : to) - start);
		else if (plan_reads(a->view, m, r)) /* copied from the file by the kernel, then written over */
			continue;
		else if (start > from)
			ask(a, file, m->offset + (from - m->start), start - from);
		from = end;
	}
	if (file >= 0 && from < to)
		ask(a, file, m->offset + (from - m->start), to - from);
}

/* The first mapping that ends above an address. */
static const struct snap_map *first_map(const struct snap_view *v, uint64_t addr)
{
	uint32_t low = 0, high = view_n(v, TABLE_MAPS);

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (v->map[mid].end > addr)
			high = mid;
		else
			low = mid + 1;
	}
	return &v->map[low];
}

static void ask_ranges(struct ahead *a, uint64_t first, uint64_t n, const int *file_fd)
{
	const struct snap_map *m = first_map(a->view, start_of(a->list->range[first]));
	const struct snap_map *end = a->view->map + view_n(a->view, TABLE_MAPS);

	for (uint64_t i = first; i < first + n; i++) {
		uint64_t from = start_of(a->list->range[i]), to = end_of(a->list->range[i]);

		while (m < end && m->end <= from)
			m++;
		for (const struct snap_map *k = m; k < end && k->start < to; k++)
			if (!file_fd || (k->file && file_fd[k->file - 1] >= 0))
				ask_part(a, k, from > k->start ? from : k->start, to < k->end ? to : k->end,
					 file_fd ? file_fd[k->file - 1] : -1);
	}
	flush(a);
}

void ahead_image(struct ahead *a, const struct snap_view *v)
{
	a->view = v;
	if (!a->list)
		return;
	a->probes = true;
	for (uint64_t i = 0; i < PROBES && !a->disk; i++)
		ask_ranges(a, a->list->n * i / PROBES, 1, NULL);
	a->probes = false;
	if (a->disk)
		ask_ranges(a, 0, a->list->n, NULL);
}

void ahead_files(struct ahead *a, const int *file_fd)
{
	if (a->list && a->disk)
		ask_ranges(a, 0, a->list->n, file_fd);
}
