/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a process image: refused with a reason, or a list of system calls that stays within its arena, and advice
 * for no more pages than a list may ask for. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "snap/ahead.c"
#include "snap/image.c"
#include "snap/plan.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void try_plan(const struct snap_view *v)
{
	static int fds[SNAP_FILES_MAX];
	struct plan p = {.view = v, .image = 300, .file_fd = fds, .told = 301};
	uint64_t at = plan_arena(v, &p.arena_bytes);
	struct err e = {.kind = ERR_NONE};

	if (!at || p.arena_bytes > 64u << 20)
		return;
	p.arena = aligned_alloc(SNAP_PAGE, p.arena_bytes);
	assert(p.arena);
	if (plan_make(&p, &e) < 0)
		assert(e.kind != ERR_NONE && e.text[0]);
	else
		assert(p.job->n <= p.room && p.job->start == (uint64_t)(uintptr_t)p.arena);
	free(p.arena);
}

/* Never called: they belong to what looks at processes. */
int mem_init(struct snap_mem *m, size_t room, struct err *e)
{
	abort();
}

void mem_done(struct snap_mem *m)
{
	abort();
}

void *mem_take(struct snap_mem *m, size_t n)
{
	abort();
}

/* The input's end as a list of pages; and, for that is hardly ever a good one, one in order: a part of each mapping. */
static void try_ahead(const struct snap_view *v, const uint8_t *data, size_t n)
{
	struct snap_ahead *l = calloc(1, sizeof(*l));
	struct ahead a = {.view = v, .image = 300, .list = l, .fd = -1};
	static int fds[SNAP_FILES_MAX];
	size_t some = n < sizeof(*l) ? n : sizeof(*l);
	uint64_t gap = 1, at = 0;

	assert(l);
	for (unsigned i = 0; i < SNAP_FILES_MAX; i++)
		fds[i] = 301;
	memcpy(l, data + n - some, some);
	l->magic = AHEAD_MAGIC;
	l->ino = 1;
	for (unsigned round = 0; round < 2; round++, l->n = 0, a.pages = 0) {
		for (uint32_t i = 0; round && i < view_n(v, TABLE_MAPS); i++) {
			uint64_t from = v->map[i].start + data[i % n] * (uint64_t)SNAP_PAGE;
			uint64_t to = from + (1 + data[n - 1 - i % n]) * (uint64_t)SNAP_PAGE;

			if (from >= at && to <= SNAP_ADDR_END)
				ahead_note(l, &gap, from, at = to);
		}
		if (!good(l, 1))
			continue;
		ahead_image(&a, v);
		a.disk = true;
		ask_ranges(&a, 0, l->n, NULL);
		ahead_files(&a, fds);
		assert(a.pages <= AHEAD_PAGES_MAX && a.fd < 0);
	}
	free(l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct snap_head *h;
	struct snap_view v;
	struct err e = {.kind = ERR_NONE};
	size_t tables_n;
	char *tables = NULL;
	int rc;

	if (n < sizeof(*h))
		return 0;
	h = malloc(sizeof(*h));
	assert(h);
	memcpy(h, data, sizeof(*h));
	rc = view_tables_bytes(h, n + SNAP_TAIL, &tables_n, &e);
	if (rc == 0) {
		tables = malloc(tables_n ? tables_n : 1);
		assert(tables);
		memcpy(tables, data + h->tables_at, tables_n);
		rc = view_parse(h, tables, tables_n, n + SNAP_TAIL, &v, &e);
	}
	if (rc == 0)
		try_plan(&v), try_ahead(&v, data, n);
	else
		assert(e.kind != ERR_NONE && e.text[0]);
	free(tables);
	free(h);
	return 0;
}
