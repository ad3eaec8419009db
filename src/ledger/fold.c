/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folding: the oldest segments become sums by hour (by day when older than a month), so that the ledger is bounded and
 * still adds up. SUMS_FILE is replaced whole and says up to which segment it counts: a crash between replacing it and
 * removing the segment counts nothing twice, because segments up to that number are then only removed.
 */
#include <errno.h>
#include <fcntl.h>
#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "ledger/ledger_int.h"
#include "ledger/sums.h"

#define BLOCK_ROWS 4096

struct sum_key ledger_key(const struct ledger_row *r, int64_t span_us)
{
	return (struct sum_key){
		.hour_us = r->start_wall_us - r->start_wall_us % span_us,
		.workload = r->workload,
		.tags = r->tags,
		.kind = r->kind,
		.lane = r->lane,
		.trigger = r->trigger,
		.outcome = r->outcome,
	};
}

int ledger_sums_load(int dirfd, struct sums *ret, uint64_t *ret_upto, uint64_t *ret_bad, struct err *e)
{
	auto_buf file = {0};
	struct err why = {0};
	struct row_head h;
	struct sum s;

	if (io_read_file(dirfd, SUMS_FILE, SUMS_FILE_BYTES, &file, &why) < 0)
		return why.kind == ERR_NOT_FOUND ? 0 : err_set(e, why.kind, "%s", why.text);
	if (file.n < sizeof(h))
		return err_set(e, ERR_CORRUPT, SUMS_FILE " has no head");
	memcpy(&h, file.p, sizeof(h));
	if (row_head_check(&h, SUM_MAGIC, e) < 0)
		return err_wrap(e, SUMS_FILE);
	for (size_t at = ROW_BYTES; file.n - at >= ROW_BYTES; at += ROW_BYTES) {
		memcpy(&s, file.p + at, sizeof(s));
		if (row_sum_ok(&s))
			sum_add(sums_at(ret, &s.key), &s);
		else
			++*ret_bad;
	}
	*ret_upto = h.upto;
	return 0;
}

static void fold_row(const struct ledger_row *r, int64_t span_us, struct sums *to)
{
	struct ledger_row piece;

	for (int64_t at = r->start_wall_us; row_piece(r, &at, span_us, &piece);) {
		struct sum_key key = ledger_key(&piece, span_us);

		sum_add_row(sums_at(to, &key), &piece);
	}
}

static int fold_segment(int dirfd, const char *name, int64_t fine_wall_us, struct sums *to, uint64_t *ret_bad,
			struct err *e)
{
	auto_close int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	auto_free struct row *rows = xmalloc(BLOCK_ROWS * ROW_BYTES);
	ssize_t got;

	if (fd < 0)
		return err_sys(e, errno, "open %s", name);
	for (int64_t at = ROW_BYTES; (got = pread(fd, rows, BLOCK_ROWS * ROW_BYTES, at)) >= ROW_BYTES;
	     at += got - got % ROW_BYTES)
		for (ssize_t i = 0; i < got / ROW_BYTES; i++) {
			const struct ledger_row *r = &rows[i].r;

			if (!row_ok(&rows[i])) {
				++*ret_bad;
				continue;
			}
			fold_row(r, r->start_wall_us < fine_wall_us ? DAY_US : HOUR_US, to);
		}
	return got < 0 ? err_sys(e, errno, "read %s", name) : 0;
}

/* Hours that have become old join their day. */
static void coarsen(struct sums *s, int64_t fine_wall_us)
{
	struct sums out = {0};

	for (size_t i = 0; i < s->n; i++) {
		struct sum_key key = s->v[i].key;

		if (key.hour_us < fine_wall_us)
			key.hour_us -= key.hour_us % DAY_US;
		sum_add(sums_at(&out, &key), &s->v[i]);
	}
	sums_done(s);
	*s = out;
}

static int save(int dirfd, struct sums *s, uint64_t upto, struct err *e)
{
	auto_buf file = {0};
	struct row_head h;

	row_head_init(&h, SUM_MAGIC, clock_wall_us(), upto);
	buf_add(&file, &h, sizeof(h));
	for (size_t i = 0; i < s->n; i++) {
		row_seal(&s->v[i]);
		buf_add(&file, &s->v[i], sizeof(s->v[i]));
	}
	return io_write_file(dirfd, SUMS_FILE, file.p, file.n, 0640, e);
}

int ledger_fold(struct ledger_files *f, int64_t now_wall_us, struct err *e)
{
	int64_t fine = (now_wall_us - LEDGER_FINE_DAYS * DAY_US) / DAY_US * DAY_US;
	auto_free struct segment_name *v = NULL;
	auto_(sums_done) struct sums s = {0};
	uint64_t upto = 0, bad = 0;
	size_t n = 0, fold;

	if (segment_list(f->dirfd, "ledger-", ".seg", &v, &n, e) < 0)
		return -1;
	if (n <= f->segments)
		return 0;
	fold = n - f->segments;
	if (ledger_sums_load(f->dirfd, &s, &upto, &bad, e) < 0)
		return -1;
	for (size_t i = 0; i < fold; i++)
		if (v[i].number > upto && fold_segment(f->dirfd, v[i].name, fine, &s, &bad, e) < 0)
			return -1;
	coarsen(&s, fine);
	if (v[fold - 1].number > upto && save(f->dirfd, &s, v[fold - 1].number, e) < 0)
		return -1;
	for (size_t i = 0; i < fold; i++)
		unlinkat(f->dirfd, v[i].name, 0);
	if (bad)
		log_warn("ledger", "folded %zu segments; %lu damaged rows were left out", fold, (unsigned long)bad);
	return 0;
}
