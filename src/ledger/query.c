/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queries. The first piece opens every segment and reads names and sums, so that a query sees one moment whatever is
 * folded meanwhile; each further piece reads a few megabytes; rows that were added meanwhile are written between
 * pieces.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "json/write.h"
#include "ledger/ledger_int.h"
#include "ledger/sums.h"

#define PIECE_ROWS 49152u /* some milliseconds of the file thread */
#define BLOCK_ROWS 1024u
#define LAST_ROWS  100

enum by { BY_WORKLOAD, BY_TAG, BY_TRIGGER, BY_HOUR, BY_ROWS, BY_N };
static const char *const by_name[BY_N] = {"workload", "tag", "trigger", "hour", "rows"};

struct part {
	int fd;
	int64_t created_wall_us;
	int64_t rows;
};
struct ledger_scan {
	struct ledger_scan *next; /* the ledger's list, loop only */
	struct ledger_query *q;
	struct ledger_files *files;
	enum by by;
	bool opened, finished;
	struct name_table names;
	struct part *parts;
	size_t n_parts, part;
	int64_t at; /* row in the part; by rows: rows left before it */
	struct sums sums;
	struct sum total[2]; /* [1] of tasks */
	struct row *last;    /* by rows: newest first */
	size_t n_last;
	uint8_t *wanted; /* by number: 1 this workload, 2 another; 0 not looked at yet */
	uint64_t bad, dropped;
	int64_t until_wall_us;
	double machine_usd_hour;
	char as_of[16];
};

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

static struct sum_key key_of(enum by by, const struct sum_key *full)
{
	struct sum_key k = {.kind = full->kind == LEDGER_TASK ? LEDGER_TASK : 0}; /* its sums have another meaning */

	if (by == BY_WORKLOAD)
		k.workload = full->workload;
	else if (by == BY_TAG)
		k.tags = full->tags;
	else if (by == BY_TRIGGER)
		k.trigger = full->trigger;
	else
		k.hour_us = full->hour_us;
	return k;
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
		struct sum_key key = key_of(s->by, &f->key);

		if (f->key.hour_us + HOUR_US <= s->q->since_wall_us || !wanted(s, f->key.workload))
			continue;
		sum_add(sums_at(&s->sums, &key), f);
		sum_add(&s->total[f->key.kind == LEDGER_TASK], f);
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
	return row->r.start_wall_us >= s->q->since_wall_us && wanted(s, row->r.workload);
}

static int piece_sums(struct ledger_scan *s, struct row *rows, struct err *e)
{
	for (size_t done = 0; done < PIECE_ROWS && s->part < s->n_parts;) {
		const struct part *p = &s->parts[s->part];
		int64_t left = p->rows - s->at;
		ssize_t n = left > 0 ? read_rows(p, s->at, rows, left < BLOCK_ROWS ? (size_t)left : BLOCK_ROWS, e) : 0;

		if (n < 0)
			return -1;
		if (n == 0) {
			s->part++, s->at = 0;
			continue;
		}
		for (ssize_t i = 0; i < n; i++) {
			struct sum_key full, key;

			if (!row_wanted(s, &rows[i]))
				continue;
			full = ledger_key(&rows[i].r, HOUR_US);
			key = key_of(s->by, &full);
			sum_add_row(sums_at(&s->sums, &key), &rows[i].r);
			sum_add_row(&s->total[full.kind == LEDGER_TASK], &rows[i].r);
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

/* ---- the answer ---- */

/* Of any kinds. */
struct tally {
	struct sum sum;
	uint64_t vcpu_us;
};

static void tally_add(struct tally *t, const struct sum *from, enum ledger_kind kind)
{
	struct sum s = *from;

	if (kind == LEDGER_TASK) {
		t->vcpu_us += s.handler_us;
		s.handler_us = 0;
	}
	sum_add(&t->sum, &s);
}

static void tally_json(struct jw *w, const struct tally *t)
{
	const struct sum *s = &t->sum;

	jw_int(w, "invocations", (int64_t)s->invocations);
	jw_int(w, "cold", (int64_t)s->cold);
	jw_int(w, "errors", (int64_t)s->errors);
	jw_int(w, "queue_us", (int64_t)s->queue_us);
	jw_int(w, "start_us", (int64_t)s->start_us);
	jw_int(w, "init_us", (int64_t)s->init_us);
	jw_int(w, "handler_us", (int64_t)s->handler_us);
	jw_int(w, "idle_ms", (int64_t)s->idle_ms);
	jw_int(w, "billed_ms", (int64_t)s->billed_ms);
	jw_real(w, "gb_s", s->gb_s);
	jw_int(w, "cpu_us", (int64_t)s->cpu_us);
	jw_int(w, "mem_peak_bytes", (int64_t)s->mem_peak_bytes);
	jw_int(w, "bytes_in", (int64_t)s->bytes_in);
	jw_int(w, "bytes_out", (int64_t)s->bytes_out);
	jw_real(w, "vcpu_s", (double)t->vcpu_us / 1e6);
	jw_real(w, "usd_aws", s->usd_aws);
	jw_real(w, "usd_machine", s->usd_machine);
}

static void row_json(struct ledger_scan *s, struct jw *w, const struct ledger_row *r)
{
	char when[32], room[16], id[40], hex[33];

	jw_obj(w, NULL);
	jw_strc(w, "time", clock_fmt_iso(r->start_wall_us, when));
	jw_strc(w, "workload", name_table_text(&s->names, r->workload, room));
	jw_strc(w, "tags", name_table_text(&s->names, r->tags, room));
	jw_int(w, "revision", (int64_t)r->revision);
	if (r->kind == LEDGER_TASK)
		jw_real(w, "vcpu", r->version / 1000.0);
	else
		jw_int(w, "version", r->version);
	jw_int(w, "instance", (int64_t)r->instance);
	jw_strc(w, "kind", ledger_kind_name[r->kind]);
	jw_strc(w, "lane", ledger_lane_name[r->lane]);
	jw_strc(w, "trigger", ledger_trigger_name[r->trigger]);
	jw_strc(w, "outcome", ledger_outcome_name[r->outcome]);
	jw_bool(w, "cold", r->cold);
	jw_bool(w, "restored", r->cold == LEDGER_RESTORED);
	enc_hex(r->request_id, sizeof(r->request_id), hex);
	snprintf(id, sizeof(id), "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
	jw_strc(w, "request_id", r->kind == LEDGER_INVOKE ? id : "");
	jw_int(w, "queue_us", r->queue_us);
	jw_int(w, "start_us", r->start_us);
	jw_int(w, "init_us", r->init_us);
	jw_int(w, "handler_us", r->handler_us);
	jw_int(w, "idle_ms", r->idle_ms);
	jw_int(w, "billed_ms", r->billed_ms);
	jw_int(w, "cpu_us", (int64_t)r->cpu_us);
	jw_int(w, "memory_mb", r->memory_mb);
	jw_int(w, "mem_peak_bytes", (int64_t)r->mem_peak_bytes);
	jw_int(w, "bytes_in", r->bytes_in);
	jw_int(w, "bytes_out", r->bytes_out);
	jw_real(w, "usd_aws", r->usd_aws);
	jw_real(w, "usd_machine", r->usd_machine);
	jw_end(w, '}');
}

struct line {
	char *key;
	struct tally tally;
};
struct lines {
	struct map by_key;
	struct line **v;
	size_t n, cap;
};

static void line_add(struct lines *l, struct str key, const struct sum *sum)
{
	struct line *line = map_get(&l->by_key, key);

	if (!line) {
		line = xcalloc(1, sizeof(*line));
		line->key = str_dup(key);
		map_put(&l->by_key, str_of(line->key), line);
		if (l->n == l->cap)
			l->v = xrealloc(l->v, (l->cap = l->cap ? l->cap * 2 : 32) * sizeof(*l->v));
		l->v[l->n++] = line;
	}
	tally_add(&line->tally, sum, sum->key.kind);
}

/* Numbers become texts here: several may stand for one (a workload that was deleted and made again), and one tag text
 * for several tags. */
static void lines_of(struct ledger_scan *s, const char *workload, const struct sum *sum, struct lines *l)
{
	char room[16], when[32];
	struct str rest, tag;

	switch (s->by) {
	case BY_WORKLOAD:
		line_add(l, str_of(workload ? workload : name_table_text(&s->names, sum->key.workload, room)), sum);
		break;
	case BY_TRIGGER:
		line_add(l, str_of(ledger_trigger_name[sum->key.trigger]), sum);
		break;
	case BY_HOUR:
		clock_fmt_iso(sum->key.hour_us, when);
		strlcpy_(when + 19, "Z", sizeof(when) - 19);
		line_add(l, str_of(when), sum);
		break;
	default:
		rest = str_of(name_table_text(&s->names, sum->key.tags, room));
		for (bool more = true; more;) {
			more = str_cut(rest, ',', &tag, &rest);
			line_add(l, more ? tag : rest, sum);
		}
	}
}

static int by_cost(const void *a, const void *b)
{
	const struct line *x = *(struct line *const *)a, *y = *(struct line *const *)b;

	double a_usd = x->tally.sum.usd_aws, b_usd = y->tally.sum.usd_aws;

	if (a_usd != b_usd)
		return a_usd > b_usd ? -1 : 1;
	return strcmp(x->key, y->key);
}

static int by_key(const void *a, const void *b)
{
	return strcmp((*(struct line *const *)a)->key, (*(struct line *const *)b)->key);
}

static void add_so_far(struct ledger_scan *s, struct lines *l)
{
	for (size_t i = 0; i < s->q->n_so_far; i++) {
		const struct ledger_so_far *so = &s->q->so_far[i];
		struct sum sum = {.key = ledger_key(&so->row, HOUR_US)};

		if (s->q->workload[0] && strcmp(s->q->workload, so->workload) != 0)
			continue;
		sum_add_row(&sum, &so->row);
		sum_add_row(&s->total[so->row.kind == LEDGER_TASK], &so->row);
		lines_of(s, so->workload, &sum, l);
	}
}

static void sums_json(struct ledger_scan *s, struct jw *w)
{
	struct lines l = {0};
	struct tally total = {0};

	for (size_t i = 0; i < s->sums.n; i++)
		lines_of(s, NULL, &s->sums.v[i], &l);
	add_so_far(s, &l);
	tally_add(&total, &s->total[0], 0);
	tally_add(&total, &s->total[1], LEDGER_TASK);
	if (l.n)
		qsort(l.v, l.n, sizeof(*l.v), s->by == BY_HOUR ? by_key : by_cost);
	jw_obj(w, "total");
	tally_json(w, &total);
	jw_end(w, '}');
	jw_arr(w, "sums");
	for (size_t i = 0; i < l.n; i++) {
		jw_obj(w, NULL);
		jw_strc(w, "key", l.v[i]->key);
		tally_json(w, &l.v[i]->tally);
		jw_end(w, '}');
		free(l.v[i]->key);
		free(l.v[i]);
	}
	jw_end(w, ']');
	map_done(&l.by_key);
	free(l.v);
}

static void answer(struct ledger_scan *s)
{
	char when[32];
	struct jw w = jw_object(&s->q->out);

	jw_strc(&w, "by", by_name[s->by]);
	jw_strc(&w, "since", clock_fmt_iso(s->q->since_wall_us, when));
	jw_strc(&w, "until", clock_fmt_iso(s->until_wall_us, when));
	jw_real(&w, "machine_usd_per_hour", s->machine_usd_hour);
	jw_strc(&w, "prices_as_of", s->as_of);
	jw_int(&w, "bad_rows", (int64_t)s->bad);
	jw_int(&w, "dropped_rows", (int64_t)s->dropped);
	if (s->by == BY_ROWS) {
		jw_arr(&w, "rows");
		for (size_t i = s->n_last; i-- > 0;)
			row_json(s, &w, &s->last[i].r);
		jw_end(&w, ']');
	} else {
		sums_json(s, &w);
	}
	jw_end(&w, '}');
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
	else if (s->finished)
		answer(s);
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

void ledger_queries_cancel(struct ledger *lg)
{
	for (; lg->scans; lg->scans = lg->scans->next)
		lg->scans->q->lg = NULL;
}

static void refused(void *arg)
{
	query_end(arg);
}

void ledger_query_start(struct ledger *lg, struct ledger_query *q)
{
	struct ledger_scan *s;
	int by = 0;

	q->lg = lg;
	q->out = (struct buf){0};
	q->e = (struct err){0};
	q->scan = NULL;
	while (by < BY_N && strncmp(q->by, by_name[by], sizeof(q->by)) != 0)
		by++;
	if (by == BY_N || !memchr(q->workload, 0, sizeof(q->workload))) {
		err_set(&q->e, ERR_INVALID, "by is one of workload, tag, trigger, hour, rows");
		q->defer.queued = false;
		loop_defer(lg->loop, &q->defer, refused, q);
		return;
	}
	for (size_t i = 0; i < q->n_so_far; i++)
		ledger_fill(lg, &q->so_far[i].row);
	s = q->scan = xcalloc(1, sizeof(*s));
	s->q = q;
	s->by = (enum by)by;
	s->files = &lg->files;
	s->until_wall_us = clock_wall_us();
	s->machine_usd_hour = lg->machine.usd_hour;
	s->dropped = lg->dropped_rows;
	strlcpy_(s->as_of, lg->prices.as_of, sizeof(s->as_of));
	s->next = lg->scans;
	lg->scans = s;
	q->work = (struct loop_work){.work = scan_work, .done = scan_done};
	spool_push(lg->spool, &q->work);
}
