/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a process image: refused with a reason, or a list of system calls that stays within its arena. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
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
		try_plan(&v);
	else
		assert(e.kind != ERR_NONE && e.text[0]);
	free(tables);
	free(h);
	return 0;
}
