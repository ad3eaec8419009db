/* SPDX-License-Identifier: Apache-2.0 */
#include "image.h"
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/mman.h>

const size_t snap_table_size[TABLE_N] = {
	[TABLE_MAPS] = sizeof(struct snap_map),
	[TABLE_RUNS] = sizeof(struct snap_run),
	[TABLE_FILES] = sizeof(struct snap_file),
	[TABLE_FDS] = sizeof(struct snap_fd),
	[TABLE_WATCHES] = sizeof(struct snap_watch),
	[TABLE_THREADS] = sizeof(struct snap_thread),
	[TABLE_TEXT] = 1,
	[TABLE_XSTATE] = 1,
};
static const uint32_t table_max[TABLE_N] = {
	[TABLE_MAPS] = SNAP_MAPS_MAX,	  [TABLE_RUNS] = SNAP_RUNS_MAX,
	[TABLE_FILES] = SNAP_FILES_MAX,	  [TABLE_FDS] = SNAP_FDS_MAX,
	[TABLE_WATCHES] = SNAP_WATCH_MAX, [TABLE_THREADS] = SNAP_THREADS_MAX,
	[TABLE_TEXT] = SNAP_TEXT_MAX,	  [TABLE_XSTATE] = SNAP_THREADS_MAX * SNAP_XSTATE_MAX,
};

static int bad(struct err *e, const char *what)
{
	return err_set(e, ERR_CORRUPT, "the image is damaged: %s", what);
}

int view_tables_bytes(const struct snap_head *h, uint64_t bytes, size_t *ret, struct err *e)
{
	if (h->magic != SNAP_MAGIC)
		return bad(e, "not an image");
	if (h->version != SNAP_VERSION || h->head_bytes != sizeof(*h))
		return err_set(e, ERR_CONFLICT, "the image has another version");
	if (bytes < SNAP_TAIL || h->file_bytes != bytes - SNAP_TAIL)
		return bad(e, "length");
	if (h->tables_at < SNAP_PAGES_AT || h->tables_at % SNAP_PAGE || h->tables_at > h->file_bytes ||
	    h->file_bytes - h->tables_at > SNAP_TABLES_MAX)
		return bad(e, "size of the tables");
	*ret = (size_t)(h->file_bytes - h->tables_at);
	return 0;
}

static bool page_range(uint64_t start, uint64_t end)
{
	return start % SNAP_PAGE == 0 && end % SNAP_PAGE == 0 && start < end && start >= SNAP_ADDR_MIN &&
	       end <= SNAP_ADDR_END;
}

static int check_tables(const struct snap_head *h, size_t n, struct err *e)
{
	uint64_t at = 0;

	for (unsigned t = 0; t < TABLE_N; t++) {
		uint64_t bytes = (uint64_t)h->table[t].n * snap_table_size[t];

		if (h->table[t].n > table_max[t])
			return bad(e, "count of a table");
		if (h->table[t].at < at || h->table[t].at % 16 || h->table[t].at > n || bytes > n - h->table[t].at)
			return bad(e, "place of a table");
		at = h->table[t].at + bytes;
	}
	return 0;
}

static int check_text(const struct snap_view *v, uint32_t at, struct err *e)
{
	uint32_t n = view_n(v, TABLE_TEXT);

	/* The table's last byte is NUL (checked once), so every text in it ends. */
	if (at >= n || v->text[at] != '/')
		return bad(e, "path");
	return 0;
}

static int check_runs(const struct snap_view *v, const struct snap_map *m, uint32_t first, struct err *e)
{
	uint64_t addr = m->start, pages_end = v->head->tables_at;

	if (m->run != first || m->n_runs > view_n(v, TABLE_RUNS) - first)
		return bad(e, "runs of a mapping");
	for (uint32_t i = 0; i < m->n_runs; i++) {
		const struct snap_run *r = &v->run[m->run + i];
		uint64_t bytes = (uint64_t)r->pages * SNAP_PAGE;

		if (r->addr % SNAP_PAGE || r->addr < addr || r->addr > m->end || !r->pages || r->zero ||
		    bytes > m->end - r->addr)
			return bad(e, "address of a run");
		if (r->at % SNAP_PAGE || r->at < SNAP_PAGES_AT || r->at > pages_end || bytes > pages_end - r->at)
			return bad(e, "offset of a run");
		addr = r->addr + bytes;
	}
	if (m->n_runs && (m->flags & MAP_F_SHARED || m->advice & 1u << ADVICE_WIPEONFORK))
		return bad(e, "runs where none can be");
	return 0;
}

static int check_maps(const struct snap_view *v, struct err *e)
{
	uint64_t at = 0, vdso = v->head->proc.vdso, vdso_end = vdso + v->head->ident.vdso_bytes;
	uint32_t runs = 0;

	if (!page_range(vdso, vdso_end))
		return bad(e, "place of the vdso");
	for (uint32_t i = 0; i < view_n(v, TABLE_MAPS); i++) {
		const struct snap_map *m = &v->map[i];

		if (!page_range(m->start, m->end) || m->start < at)
			return bad(e, "place of a mapping");
		if (m->start < vdso_end && m->end > vdso)
			return bad(e, "a mapping lies on the vdso");
		if (m->file > view_n(v, TABLE_FILES) || m->offset % SNAP_PAGE || m->offset > INT64_MAX / 2 ||
		    m->prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC) || m->flags & ~31 || m->key > v->head->proc.keys)
			return bad(e, "mapping");
		if (m->flags & MAP_F_SHARED && (!m->file || m->prot & PROT_WRITE))
			return bad(e, "shared mapping");
		if (m->flags & (MAP_F_STACK | MAP_F_DROPPABLE | MAP_F_BRK) && m->file)
			return bad(e, "mapping of a file that cannot be one");
		if (check_runs(v, m, runs, e) < 0)
			return -1;
		runs += m->n_runs;
		at = m->end;
	}
	return runs == view_n(v, TABLE_RUNS) ? 0 : bad(e, "runs of no mapping");
}

static int check_files(const struct snap_view *v, struct err *e)
{
	uint32_t n = view_n(v, TABLE_TEXT);

	if (!n || v->text[n - 1])
		return bad(e, "texts");
	if (check_text(v, v->head->proc.cwd, e) < 0)
		return -1;
	for (uint32_t i = 0; i < view_n(v, TABLE_FILES); i++)
		if (check_text(v, v->file[i].path, e) < 0)
			return -1;
	return 0;
}

static int check_fd(const struct snap_view *v, uint32_t i, struct err *e)
{
	const struct snap_fd *f = &v->fd[i], *first = f->of && f->of <= i + 1 ? &v->fd[f->of - 1] : NULL;
	uint32_t n = view_n(v, TABLE_TEXT);

	if (f->fd >= SNAP_FD_END || (i && f->fd <= f[-1].fd) || f->kind >= FD_KIND_N)
		return bad(e, "descriptor");
	if (f->kind == FD_FILE && (!f->of || f->of > view_n(v, TABLE_FILES) || f->offset > INT64_MAX))
		return bad(e, "file of a descriptor");
	if ((f->kind == FD_EVENT || f->kind == FD_PIPE) && (!first || first->kind != f->kind || first->of != f->of))
		return bad(e, "descriptor of a pipe or an event");
	if (f->kind == FD_PIPE && (f->held > SNAP_PIPE_MAX || f->offset > n || f->held > n - f->offset))
		return bad(e, "what a pipe holds");
	if (f->flags & (O_CREAT | O_TRUNC | O_EXCL))
		return bad(e, "flags of a descriptor");
	return 0;
}

static int check_fds(const struct snap_view *v, struct err *e)
{
	bool is[SNAP_FD_END] = {false}, epoll[SNAP_FD_END] = {false};
	unsigned channels = 0;

	for (uint32_t i = 0; i < view_n(v, TABLE_FDS); i++) {
		if (check_fd(v, i, e) < 0)
			return -1;
		is[v->fd[i].fd] = true;
		epoll[v->fd[i].fd] = v->fd[i].kind == FD_EPOLL;
		channels += v->fd[i].kind == FD_CHANNEL;
	}
	for (uint32_t i = 0; i < view_n(v, TABLE_WATCHES); i++) {
		const struct snap_watch *w = &v->watch[i];

		if (w->epoll >= SNAP_FD_END || w->fd >= SNAP_FD_END || !epoll[w->epoll] || !is[w->fd])
			return bad(e, "what an epoll set waits for");
	}
	return channels == 1 ? 0 : bad(e, "the channel");
}

void file_is(struct snap_file *ret, const struct stat *st)
{
	*ret = (struct snap_file){
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.mtime_s = st->st_mtim.tv_sec,
		.mtime_ns = (uint32_t)st->st_mtim.tv_nsec,
	};
	/* A device has no content to change, its times tell of use, and its node is made anew with the root. */
	if (S_ISCHR(st->st_mode))
		*ret = (struct snap_file){.dev = st->st_rdev};
	/* Without a disk below (tmpfs, overlayfs, btrfs) the number is whatever was free when it was mounted. */
	else if (major(st->st_dev))
		ret->dev = st->st_dev;
}

/* Is every byte of it in mappings with these rights? */
static bool inside(const struct snap_view *v, uint64_t at, uint64_t n, uint8_t prot)
{
	for (uint32_t i = 0; i < view_n(v, TABLE_MAPS); i++)
		if (at >= v->map[i].start && at < v->map[i].end)
			return (v->map[i].prot & prot) == prot && n <= v->map[i].end - at;
	return false;
}

static int check_threads(const struct snap_view *v, struct err *e)
{
	uint32_t n = view_n(v, TABLE_XSTATE), threads = view_n(v, TABLE_THREADS), gaps = 0;

	if (!threads || v->thread[0].tid != v->head->proc.pid)
		return bad(e, "no thread");
	for (uint32_t i = 0; i < threads; i++) {
		const struct snap_thread *t = &v->thread[i];

		if (!memchr(t->comm, 0, sizeof(t->comm)) || (i && t->tid <= t[-1].tid))
			return bad(e, "thread");
		if (i && t->tid - t[-1].tid - 1 > SNAP_GAPS_MAX - gaps)
			return bad(e, "numbers of threads");
		gaps += i ? t->tid - t[-1].tid - 1 : 0;
		if (t->xstate > n || t->xstate_bytes > n - t->xstate || t->xstate_bytes < 576 ||
		    t->xstate_bytes > SNAP_XSTATE_MAX)
			return bad(e, "extended state");
	}
	return 0;
}

static int check_process(const struct snap_view *v, struct err *e)
{
	const struct snap_proc *p = &v->head->proc;

	if (!inside(v, p->do_syscall, 3, PROT_READ | PROT_EXEC) || !inside(v, p->do_return, 9, PROT_READ | PROT_EXEC))
		return bad(e, "code to return by");
	if (v->head->ident.frame_bytes < 576 || v->head->ident.frame_bytes > SNAP_XSTATE_MAX)
		return bad(e, "size of a signal frame");
	if (p->n_auxv > SNAP_AUXV_MAX || p->n_auxv % 2 || p->umask > 0777 || p->keys > SNAP_KEYS_MAX)
		return bad(e, "process");
	for (unsigned i = 0; i < SNAP_SIGNALS; i++)
		if ((i + 1 == SIGKILL || i + 1 == SIGSTOP) && p->action[i].handler)
			return bad(e, "signal");
	return 0;
}

int view_parse(const struct snap_head *h, const void *tables, size_t n, uint64_t bytes, struct snap_view *ret,
	       struct err *e)
{
	const char *base = tables;
	struct snap_view v;
	size_t want;

	if (view_tables_bytes(h, bytes, &want, e) < 0)
		return -1;
	if (n != want)
		return bad(e, "too short");
	if (check_tables(h, n, e) < 0)
		return -1;
	v = (struct snap_view){
		.head = h,
		.map = (const void *)(base + h->table[TABLE_MAPS].at),
		.run = (const void *)(base + h->table[TABLE_RUNS].at),
		.file = (const void *)(base + h->table[TABLE_FILES].at),
		.fd = (const void *)(base + h->table[TABLE_FDS].at),
		.watch = (const void *)(base + h->table[TABLE_WATCHES].at),
		.thread = (const void *)(base + h->table[TABLE_THREADS].at),
		.text = base + h->table[TABLE_TEXT].at,
		.xstate = (const uint8_t *)base + h->table[TABLE_XSTATE].at,
	};
	if (check_maps(&v, e) < 0 || check_files(&v, e) < 0 || check_fds(&v, e) < 0 || check_threads(&v, e) < 0 ||
	    check_process(&v, e) < 0)
		return -1;
	*ret = v;
	return 0;
}
