/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger's files, from the file thread: names before rows, rotation, the tail that a crash left. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include "base/clock.h"
#include "base/log.h"
#include "ledger/ledger_int.h"

static int open_dir(int daemon_dirfd, int *ret, struct err *e)
{
	if (mkdirat(daemon_dirfd, "ledger", 0750) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make ledger");
	*ret = openat(daemon_dirfd, "ledger", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret < 0 ? err_sys(e, errno, "open ledger") : 0;
}

/* Goes on with the last segment when its head is good; what does not make whole rows at its end is cut. */
static int reopen(struct ledger_files *f, const struct segment_name *last, struct err *e)
{
	struct row_head h;
	struct err why = {0};

	if (segment_open(&f->rows, f->dirfd, last->name, e) < 0)
		return -1;
	if (pread(f->rows.fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) || row_head_check(&h, ROW_MAGIC, &why) < 0) {
		/* Left alone for who wants to look; queries skip it, and a new one begins. */
		log_warn("ledger", "segment %s is not used: %s", last->name, why.kind ? why.text : "it has no head");
		segment_close(&f->rows);
		return 0;
	}
	return segment_truncate(&f->rows, f->rows.bytes - f->rows.bytes % ROW_BYTES, e);
}

int ledger_files_open(struct ledger_files *f, int daemon_dirfd, struct err *e)
{
	auto_free struct segment_name *v = NULL;
	size_t n = 0;

	*f = (struct ledger_files){.dirfd = -1,
				   .names.fd = -1,
				   .rows.fd = -1,
				   .segment_bytes = LEDGER_SEGMENT_BYTES,
				   .segments = LEDGER_SEGMENTS};
	if (open_dir(daemon_dirfd, &f->dirfd, e) < 0 || segment_open(&f->names, f->dirfd, NAMES_FILE, e) < 0 ||
	    segment_cut_line(&f->names, e) < 0 || segment_list(f->dirfd, "ledger-", ".seg", &v, &n, e) < 0 ||
	    (n && reopen(f, &v[n - 1], e) < 0)) {
		ledger_files_close(f);
		return err_wrap(e, "open ledger");
	}
	f->number = n ? v[n - 1].number : 0;
	/* After a fold all segments may be gone: their numbers must not come again. */
	if (!n) {
		struct sums s = {0};
		uint64_t upto = 0, bad = 0;

		if (ledger_sums_load(f->dirfd, &s, &upto, &bad, e) == 0)
			f->number = (uint32_t)upto;
		sums_done(&s);
	}
	return 0;
}

void ledger_files_close(struct ledger_files *f)
{
	if (f->rows.fd >= 0)
		fdatasync(f->rows.fd);
	segment_close(&f->rows);
	segment_close(&f->names);
	buf_done(&f->owed);
	if (f->dirfd >= 0)
		close(f->dirfd);
	f->dirfd = -1;
}

static int append_head(struct ledger_files *f, int64_t now, struct err *e)
{
	struct row_head h;
	struct iovec iov = {&h, sizeof(h)};

	row_head_init(&h, ROW_MAGIC, now, 0);
	return segment_append(&f->rows, &iov, 1, e);
}

static int rotate(struct ledger_files *f, struct err *e)
{
	int64_t now = clock_wall_us();
	char name[SEGMENT_NAME_BYTES];
	struct err why = {0};
	struct tm tm = {0};
	time_t t = (time_t)(now / 1000000);

	gmtime_r(&t, &tm);
	if (f->rows.fd >= 0)
		fdatasync(f->rows.fd);
	segment_close(&f->rows);
	if (f->number && ledger_fold(f, now, &why) < 0)
		log_warn("ledger", "old segments stay: %s", why.text);
	snprintf(name, sizeof(name), "ledger-%04u%02u%02u-%06u.seg", (unsigned)(tm.tm_year + 1900) % 10000,
		 (unsigned)(tm.tm_mon + 1) % 100, (unsigned)tm.tm_mday % 100, f->number + 1);
	if (segment_open(&f->rows, f->dirfd, name, e) < 0)
		return -1;
	f->number++;
	if (f->rows.bytes == 0 && append_head(f, now, e) < 0) {
		segment_close(&f->rows);
		return -1;
	}
	return 0;
}

static int write_batch(struct ledger_files *f, struct spool_batch *b, struct err *e)
{
	struct iovec names, rows = {b->data.p, b->data.n};

	/* A row must never outlive a power cut without its name. Rare: only names that are new. */
	buf_addstr(&f->owed, buf_str(&b->head));
	if (f->owed.n) {
		names = (struct iovec){f->owed.p, f->owed.n};
		if (segment_append(&f->names, &names, 1, e) < 0)
			return -1;
		if (fdatasync(f->names.fd) < 0)
			return err_sys(e, errno, "sync names");
		buf_done(&f->owed);
	}
	if (!b->data.n)
		return 0;
	if ((f->rows.fd < 0 || f->rows.bytes + (int64_t)b->data.n > f->segment_bytes) && rotate(f, e) < 0)
		return -1;
	return segment_append(&f->rows, &rows, 1, e);
}

void ledger_files_write(struct ledger_files *f, struct spool_batch *b)
{
	struct err e = {0};

	for (size_t i = 0; i + ROW_BYTES <= b->data.n; i += ROW_BYTES)
		row_seal(b->data.p + i);
	if (write_batch(f, b, &e) == 0) {
		if (f->failing)
			log_info("ledger", "rows are written again");
		f->failing = false;
		return;
	}
	atomic_fetch_add(&f->lost_rows, b->items);
	if (!f->failing)
		log_error("ledger", "rows are lost: %s", e.text);
	f->failing = true;
}
