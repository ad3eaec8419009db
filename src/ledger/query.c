/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queries. The first piece opens every segment and reads names and sums, so that a query sees one moment whatever is
 * folded meanwhile; each further piece reads a few megabytes; rows that were added meanwhile are written between
 * pieces.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/mem.h"
#include "ledger/query_int.h"

#define PIECE_ROWS 49152u /* some milliseconds of the file thread */
#define BLOCK_ROWS 1024u

static const char *const by_name[BY_N] = {"workload", "lane", "tag", "trigger", "hour", "disk", "rows"};
static const char *const split_name[SPLIT_N] = {"none", "use", "even"};

static void scan_free(struct ledger_scan *s)
{
	for (size_t i = 0; i < s->n_parts; i++)
		close(s->parts[i].fd);
	free(s->parts);
	free(s->last);
	free(s->wanted);
	name_table_done(&s->names);
	sums_done(&s->sums);
	free(s);
}

static bool wanted(struct ledger_scan *s, uint32_t workload)
{
	char room[16];

	if (!s->q->workload[0])
		return true;
	if (workload >= s->names.n)
		return false;
	if (!s->wanted[workload])
		s->wanted[workload] = strcmp(name_table_text(&s->names, workload, room), s->q->workload) == 0 ? 1 : 2;
	return s->wanted[workload] == 1;
}

/* ---- the first piece ---- */

static int open_part(struct ledger_scan *s, const char *name, struct err *e)
{
	auto_close int fd = openat(s->files->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct row_head h;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, errno, "open %s", name);
	if (pread(fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) || row_head_check(&h, ROW_MAGIC, NULL) < 0) {
		s->bad += (uint64_t)st.st_size / ROW_BYTES;
		return 0;
	}
	s->parts[s->n_parts++] = (struct part){take_fd(fd), h.created_wall_us, st.st_size / ROW_BYTES - 1};
	return 0;
}

static void add_folded(struct ledger_scan *s, const struct sums *folded)
{
	for (size_t i = 0; i < folded->n; i++) {
		const struct sum *f = &folded->v[i];
		struct sum_key key = query_key(s, &f->key);

		if (f->key.hour_us + HOUR_US <= s->q->since_wall_us || !wanted(s, f->key.workload))
			continue;
		sum_add(sums_at(&s->sums, &key), f);
		if (f->key.hour_us < s->first_wall_us)
			s->first_wall_us = f->key.hour_us;
	}
}

static int scan_open(struct ledger_scan *s, struct err *e)
{
	auto_free struct segment_name *v = NULL;
	auto_(sums_done) struct sums folded = {0};
	uint64_t upto = 0;
	size_t n = 0;

	s->opened = true;
	if (name_table_load(&s->names, s->files->dirfd, e) < 0 ||
	    ledger_sums_load(s->files->dirfd, &folded, &upto, &s->bad, e) < 0 ||
	    segment_list(s->files->dirfd, "ledger-", ".seg", &v, &n, e) < 0)
		return -1;
	s->wanted = xcalloc(s->names.n + 1u, 1);
	s->parts = xcalloc(n + 1, sizeof(*s->parts));
	for (size_t i = 0; i < n; i++)
		if (v[i].number > upto && open_part(s, v[i].name, e) < 0)
			return -1;
	if (s->by != BY_ROWS)
		add_folded(s, &folded);
	/* Rows are added after they began: what was written before the next segment's creation is older than it. */
	while (s->by != BY_ROWS && s->part + 1 < s->n_parts &&
	       s->parts[s->part + 1].created_wall_us <= s->q->since_wall_us)
		s->part++;
	if (s->by == BY_ROWS) {
		s->last = xcalloc(LAST_ROWS, sizeof(*s->last));
		s->part = s->n_parts;
	}
	s->dropped += atomic_load(&s->files->lost_rows);
	return 0;
}

/* ---- the pieces ---- */

static ssize_t read_rows(const struct part *p, int64_t first, struct row *rows, size_t n, struct err *e)
{
	ssize_t got = pread(p->fd, rows, n * ROW_BYTES, (first + 1) * ROW_BYTES);

	return got < 0 ? err_sys(e, errno, "read segment") : got / ROW_BYTES;
}

static bool row_wanted(struct ledger_scan *s, const struct row *row)
{
	if (!row_ok(row)) {
		s->bad++;
		return false;
	}
	return (row->r.start_wall_us >= s->q->since_wall_us || row_end_wall_us(&row->r) > s->q->since_wall_us) &&
	       wanted(s, row->r.workload);
}

void query_add(struct ledger_scan *s, const struct ledger_row *r, uint32_t workload)
{
	struct ledger_row piece;

	for (int64_t at = s->q->since_wall_us; row_piece(r, &at, HOUR_US, &piece);) {
		struct sum_key full = ledger_key(&piece, HOUR_US), key;

		full.workload = workload;
		key = query_key(s, &full);
		sum_add_row(sums_at(&s->sums, &key), &piece);
		if (piece.start_wall_us < s->first_wall_us)
			s->first_wall_us = piece.start_wall_us;
	}
}

static int piece_sums(struct ledger_scan *s, struct row *rows, struct err *e)
{
	for (size_t done = 0; done < PIECE_ROWS && s->part < s->n_parts;) {
		const struct part *p = &s->parts[s->part];
		int64_t left = p->rows - s->at;
		ssize_t n = left > 0 ? read_rows(p, s->at, rows, left < BLOCK_ROWS ? (size_t)left : BLOCK_ROWS, e) : 0;
		char room[16];

		if (n < 0)
			return -1;
		if (n == 0) {
			s->part++, s->at = 0;
			continue;
		}
		for (ssize_t i = 0; i < n; i++) {
			const struct ledger_row *r = &rows[i].r;

			if (!row_wanted(s, &rows[i]))
				continue;
			if (s->q->visit)
				s->q->visit(s->q, r, name_table_text(&s->names, r->workload, room));
			else
				query_add(s, r, r->workload);
		}
		s->at += n;
		done += (size_t)n;
	}
	s->finished = s->part == s->n_parts;
	return 0;
}

/* From the end backwards, until enough were found. */
static int piece_rows(struct ledger_scan *s, struct row *rows, struct err *e)
{
	for (size_t done = 0; done < PIECE_ROWS;) {
		int64_t take;
		ssize_t n;

		if (s->at == 0) {
			if (s->part == 0)
				break;
			s->at = s->parts[--s->part].rows;
			continue;
		}
		take = s->at < BLOCK_ROWS ? s->at : BLOCK_ROWS;
		n = read_rows(&s->parts[s->part], s->at - take, rows, (size_t)take, e);
		if (n < 0)
			return -1;
		for (ssize_t i = n; i-- > 0 && s->n_last < LAST_ROWS;)
			if (row_wanted(s, &rows[i]))
				s->last[s->n_last++] = rows[i];
		s->at -= take;
		done += (size_t)take;
		if (s->n_last == LAST_ROWS)
			s->part = 0, s->at = 0;
	}
	s->finished = s->part == 0 && s->at == 0;
	return 0;
}

/* One line of what is on disk; false: there is none left. */
static bool piece_disk(struct ledger_scan *s)
{
	auto_close int daemon = s->wants_disk ? openat(s->files->dirfd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;

	if (daemon < 0 || s->disk_at == DISK_LINE_N)
		return false;
	disk_look(daemon, s->disk_at, &s->disk[s->disk_at]);
	s->disk_at++;
	return true;
}

/* ---- between loop and thread ---- */

static void scan_work(struct loop_work *work)
{
	struct ledger_query *q = container_of(work, struct ledger_query, work);
	struct ledger_scan *s = q->scan;
	auto_free struct row *rows = xmalloc(BLOCK_ROWS * ROW_BYTES);
	int r = s->opened ? 0 : scan_open(s, &q->e);

	if (r == 0)
		r = s->by == BY_ROWS ? piece_rows(s, rows, &q->e) : piece_sums(s, rows, &q->e);
	if (r < 0)
		s->finished = true;
	else if (s->finished && piece_disk(s))
		s->finished = false;
	else if (s->finished)
		query_answer(s, by_name[s->by]);
}

static void query_end(struct ledger_query *q)
{
	struct buf out = q->out;

	q->out = (struct buf){0};
	free(take_ptr(q->so_far));
	if (q->scan)
		scan_free(take_ptr(q->scan));
	/* done may free q. */
	q->done(q, &out, &q->e);
	buf_done(&out);
}

static void scan_done(struct loop_work *work)
{
	struct ledger_query *q = container_of(work, struct ledger_query, work);

	if (!q->lg) {
		err_set(&q->e, ERR_CANCELED, "the ledger was closed");
		query_end(q);
		return;
	}
	if (!q->scan->finished) {
		q->rests = q->rest && q->rest(q);
		if (!q->rests)
			spool_push_behind(q->lg->spool, &q->work);
		return;
	}
	for (struct ledger_scan **p = &q->lg->scans; *p; p = &(*p)->next) {
		if (*p == q->scan) {
			*p = q->scan->next;
			break;
		}
	}
	query_end(q);
}

void ledger_query_go(struct ledger_query *q)
{
	if (!q->rests)
		return;
	q->rests = false;
	spool_push_behind(q->lg->spool, &q->work);
}

void ledger_queries_cancel(struct ledger *lg)
{
	for (struct ledger_scan *s = lg->scans, *next; s; s = next) {
		next = s->next;
		s->q->lg = NULL;
		if (s->q->rests) /* nothing else would end it */
			scan_done(&s->q->work);
	}
	lg->scans = NULL;
}

static void refused(void *arg)
{
	query_end(arg);
}

void ledger_query_so_far(struct ledger_query *q, const struct ledger_row *row, const char *workload)
{
	struct ledger_so_far *so;

	q->so_far = xrealloc(q->so_far, (q->n_so_far + 1) * sizeof(*so));
	so = &q->so_far[q->n_so_far++];
	so->row = *row;
	strlcpy_(so->workload, workload, sizeof(so->workload));
}

void ledger_query_start(struct ledger *lg, struct ledger_query *q)
{
	struct ledger_scan *s;
	int by = 0, split = 0;

	q->lg = lg;
	q->out = (struct buf){0};
	q->e = (struct err){0};
	q->scan = NULL;
	q->rests = false;
	while (by < BY_N && strncmp(q->by, by_name[by], sizeof(q->by)) != 0)
		by++;
	while (*q->split && split < SPLIT_N && strncmp(q->split, split_name[split], sizeof(q->split)) != 0)
		split++;
	if (by == BY_N || split == SPLIT_N || !memchr(q->workload, 0, sizeof(q->workload))) {
		err_set(&q->e, ERR_INVALID,
			"by is one of workload, lane, tag, trigger, hour, disk, rows; split one of none, use, even");
		q->defer.queued = false;
		loop_defer(lg->loop, &q->defer, refused, q);
		return;
	}
	for (size_t i = 0; i < q->n_so_far; i++)
		ledger_fill(lg, &q->so_far[i].row);
	ledger_names_save(lg, q->so_far, q->n_so_far);
	s = q->scan = xcalloc(1, sizeof(*s));
	s->q = q;
	s->by = (enum by)by;
	s->split = (enum split)split;
	s->files = &lg->files;
	s->first_wall_us = s->until_wall_us = clock_wall_us();
	s->prices = &lg->prices;
	for (enum ledger_price p = 0; p < LEDGER_PRICE_N; p++)
		s->usd[p] = ledger_price_of(lg, p);
	s->wants_disk =
		by == BY_DISK || (s->usd[LEDGER_PRICE_DISK] > 0 && by != BY_ROWS && !q->workload[0] && !q->visit);
	s->disk[DISK_LAYERS].bytes = q->layer_bytes;
	s->disk[DISK_SNAPSHOTS].bytes = q->snapshot_bytes;
	s->dropped = lg->dropped_rows;
	s->dropped_tags = lg->dropped_tags;
	strlcpy_(s->as_of, lg->prices.book.as_of, sizeof(s->as_of));
	s->next = lg->scans;
	lg->scans = s;
	q->work = (struct loop_work){.work = scan_work, .done = scan_done};
	spool_push(lg->spool, &q->work);
}
