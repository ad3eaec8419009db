/* SPDX-License-Identifier: Apache-2.0 */
/* Log segments, on the file thread: gathered writes per workload, rotation, reading back. At most LOG_OPEN_FILES
 * descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "ledger/logs_int.h"

#define GATHER 64

struct log_file {
	struct log_stream *stream;
	struct segment seg;
	uint32_t number;
	bool known;	      /* number was found on disk, the tail was cut */
	uint32_t first, last; /* chain in the batch being written: offsets + 1, 0: none */
	struct log_file *next_dirty;
	struct list lru;
};

bool log_name_ok(const char *name)
{
	struct str rest = str_of(name), part;

	if (rest.n == 0 || rest.n >= LOG_NAME_BYTES)
		return false;
	for (bool more = true; more;) {
		more = str_cut(rest, '/', &part, &rest);
		if (!more)
			part = rest;
		if (!str_name_ok(part, LOG_NAME_BYTES, "._:$-") || part.p[0] == '.' || str_ends(part, ".log"))
			return false;
	}
	return true;
}

int log_files_open(struct log_files *f, int daemon_dirfd, struct err *e)
{
	*f = (struct log_files){.dirfd = -1, .segment_bytes = LOG_SEGMENT_BYTES};
	list_init(&f->open);
	if (mkdirat(daemon_dirfd, "logs", 0750) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make logs");
	f->dirfd = openat(daemon_dirfd, "logs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->dirfd < 0)
		return err_sys(e, errno, "open logs");
	if (faccessat(f->dirfd, ".", W_OK | X_OK, AT_EACCESS) < 0) {
		int sys = errno;

		log_files_close(f);
		return err_sys(e, sys, "logs cannot be written");
	}
	return 0;
}

void log_files_close(struct log_files *f)
{
	if (f->dirfd >= 0)
		close(f->dirfd);
	f->dirfd = -1;
}

/* The directory of a workload. */
static int open_dir(const struct log_files *f, const char *name, bool make, int *ret, struct err *e)
{
	auto_close int dir = dup(f->dirfd);
	struct str rest = str_of(name), part;
	char buf[LOG_NAME_BYTES];

	for (bool more = true; more && dir >= 0;) {
		int next;

		more = str_cut(rest, '/', &part, &rest);
		if (!more)
			part = rest;
		memcpy(buf, part.p, part.n);
		buf[part.n] = 0;
		if (make && mkdirat(dir, buf, 0750) < 0 && errno != EEXIST)
			return err_sys(e, errno, "make log directory %s", name);
		next = openat(dir, buf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			return errno == ENOENT ? err_set(e, ERR_NOT_FOUND, "no log of %s", name)
					       : err_sys(e, errno, "open log directory %s", name);
		close(dir);
		dir = next;
	}
	if (dir < 0)
		return err_sys(e, errno, "open log directory %s", name);
	*ret = take_fd(dir);
	return 0;
}

static void file_name(uint32_t number, char out[SEGMENT_NAME_BYTES])
{
	snprintf(out, SEGMENT_NAME_BYTES, "%06u.log", number);
}

static void file_close(struct log_files *f, struct log_file *file)
{
	if (file->seg.fd < 0)
		return;
	segment_close(&file->seg);
	list_del(&file->lru);
	f->n_open--;
}

static int find_last(struct log_file *file, int dir, struct err *e)
{
	auto_free struct segment_name *v = NULL;
	size_t n = 0;

	if (segment_list(dir, "", ".log", &v, &n, e) < 0)
		return -1;
	file->number = n ? v[n - 1].number : 1;
	for (size_t i = 0; i < n; i++)
		if (v[i].number + LOG_SEGMENTS <= file->number)
			unlinkat(dir, v[i].name, 0);
	return 0;
}

/* Opens the current segment, or with step the next one, whose oldest sibling goes. */
static int file_open(struct log_files *f, struct log_file *file, bool step, struct err *e)
{
	char name[SEGMENT_NAME_BYTES];
	auto_close int dir = -1;
	bool cut = !file->known;

	if (open_dir(f, file->stream->name, true, &dir, e) < 0 || (!file->known && find_last(file, dir, e) < 0))
		return -1;
	file_close(f, file);
	file_name(file->number + step, name);
	if (segment_open(&file->seg, dir, name, e) < 0)
		return -1;
	file->number += step;
	file->known = true;
	list_push_front(&f->open, &file->lru);
	f->n_open++;
	if (cut && segment_cut_line(&file->seg, e) < 0)
		return -1;
	if (step && file->number > LOG_SEGMENTS) {
		file_name(file->number - LOG_SEGMENTS, name);
		unlinkat(dir, name, 0);
	}
	if (f->n_open > LOG_OPEN_FILES)
		file_close(f, list_last(&f->open, struct log_file, lru));
	return 0;
}

static int file_append(struct log_files *f, struct log_file *file, struct iovec *iov, size_t n, struct err *e)
{
	int64_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		bytes += (int64_t)iov[i].iov_len;
	if (file->seg.fd < 0) {
		if (file_open(f, file, false, e) < 0)
			return -1;
	} else {
		list_del(&file->lru);
		list_push_front(&f->open, &file->lru);
	}
	if (file->seg.bytes && file->seg.bytes + bytes > f->segment_bytes && file_open(f, file, true, e) < 0)
		return -1;
	if (segment_append(&file->seg, iov, n, e) < 0)
		return -1;
	atomic_fetch_add(&f->bytes, (uint64_t)bytes);
	return 0;
}

static void lost(struct log_files *f, const struct log_file *file, const struct iovec *iov, size_t n,
		 const struct err *e)
{
	uint64_t lines = 0;

	for (size_t i = 0; i < n; i++)
		for (const char *p = iov[i].iov_base, *end = p + iov[i].iov_len; p && p < end; lines++) {
			p = memchr(p, '\n', (size_t)(end - p));
			if (p)
				p++;
		}
	atomic_fetch_add(&f->lost_lines, lines);
	if (!f->failing)
		log_error("logs", "lines of %s are lost: %s", file->stream->name, e->text);
	f->failing = true;
}

/* One workload's records of this batch, in pieces that fit a segment. */
static void file_write(struct log_files *f, struct log_file *file, const struct buf *data)
{
	struct iovec iov[GATHER], copy[GATHER];
	uint32_t at = file->first;

	file->first = file->last = 0;
	while (at) {
		int64_t bytes = 0;
		struct err e = {0};
		size_t n = 0;

		for (; at && n < GATHER; n++) {
			struct log_record rec;

			memcpy(&rec, data->p + at - 1, sizeof(rec));
			if (n && bytes + rec.n > f->segment_bytes / 4)
				break;
			iov[n] = (struct iovec){data->p + at - 1 + sizeof(rec), rec.n};
			bytes += rec.n;
			at = rec.next;
		}
		memcpy(copy, iov, n * sizeof(*iov));
		if (file_append(f, file, copy, n, &e) < 0)
			lost(f, file, iov, n, &e);
		else
			f->failing = false;
	}
}

static struct log_file *file_of(struct log_stream *s)
{
	if (!s->file) {
		s->file = xcalloc(1, sizeof(*s->file));
		s->file->stream = s;
		s->file->seg.fd = -1;
	}
	return s->file;
}

void log_files_write(struct log_files *f, struct spool_batch *b)
{
	struct log_record rec;

	/* Chains first: one write a workload, however its lines were mixed with others'. */
	for (size_t at = 0; b->data.n - at >= sizeof(rec); at += sizeof(rec) + rec.n) {
		struct log_file *file;
		uint32_t here = (uint32_t)at + 1;

		memcpy(&rec, b->data.p + at, sizeof(rec));
		file = file_of(rec.stream);
		if (!file->first) {
			file->first = here;
			file->next_dirty = f->dirty;
			f->dirty = file;
		} else {
			memcpy(b->data.p + file->last - 1 + offsetof(struct log_record, next), &here, sizeof(here));
		}
		file->last = here;
	}
	while (f->dirty) {
		struct log_file *file = f->dirty;

		f->dirty = file->next_dirty;
		file_write(f, file, &b->data);
	}
}

void log_file_end(struct log_files *f, struct log_stream *s)
{
	if (!s->file)
		return;
	file_close(f, s->file);
	free(take_ptr(s->file));
}

int log_files_remove(struct log_files *f, struct log_stream *s, const char *name, struct err *e)
{
	auto_free struct segment_name *v = NULL;
	auto_free char *path = NULL;
	struct err why = {0};
	auto_close int dir = -1;
	size_t n = 0;

	if (s)
		log_file_end(f, s);
	if (open_dir(f, name, false, &dir, &why) < 0)
		return why.kind == ERR_NOT_FOUND ? 0 : err_set(e, why.kind, "%s", why.text);
	if (segment_list(dir, "", ".log", &v, &n, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		unlinkat(dir, v[i].name, 0);
	/* Its directory, and the project's when this was the last: refused by the kernel as long as anything is in
	 * there. */
	path = xstrdup(name);
	for (char *slash = path; slash && unlinkat(f->dirfd, path, AT_REMOVEDIR) == 0;) {
		slash = strrchr(path, '/');
		if (slash)
			*slash = 0;
	}
	return 0;
}

/* ---- reading back ---- */

/* "time stream id text". False: not a line of ours. */
static bool split(struct str line, struct log_line *ret)
{
	struct str rest;

	return line.n > LOG_STAMP && line.p[LOG_STAMP] == ' ' && line.p[LOG_STAMP - 1] == 'Z' &&
	       str_cut(line, ' ', &ret->when, &rest) && str_cut(rest, ' ', &ret->stream, &rest) &&
	       str_cut(rest, ' ', &ret->id, &ret->text);
}

/* The lines of one segment, from a byte of it on, or those before it. False: it was enough. */
static bool scan_text(struct str text, struct log_pos from, bool backward, log_visit *visit, void *arg)
{
	size_t at = from.offset < text.n ? from.offset : text.n;

	while (backward ? at > 0 : at < text.n) {
		const char *nl = backward ? memrchr(text.p, '\n', at - 1) : memchr(text.p + at, '\n', text.n - at);
		size_t begin = !backward ? at : nl ? (size_t)(nl - text.p) + 1 : 0;
		size_t end = backward ? at : (size_t)(nl - text.p) + 1;
		struct log_line line = {.at = {from.segment, (uint32_t)begin}, .end = {from.segment, (uint32_t)end}};

		at = backward ? begin : end;
		if (split((struct str){text.p + begin, end - 1 - begin}, &line) && !visit(arg, &line))
			return false;
	}
	return true;
}

int log_files_scan(struct log_files *f, const char *name, struct log_pos from, bool backward, log_visit *visit,
		   void *arg, struct err *e)
{
	auto_free struct segment_name *v = NULL;
	struct err why = {0};
	auto_close int dir = -1;
	size_t n = 0;
	bool more = true;

	if (open_dir(f, name, false, &dir, &why) < 0)
		return why.kind == ERR_NOT_FOUND ? 0 : err_set(e, why.kind, "%s", why.text);
	if (segment_list(dir, "", ".log", &v, &n, e) < 0)
		return -1;
	for (size_t k = 0; more && k < n; k++) {
		const struct segment_name *seg = &v[backward ? n - 1 - k : k];
		struct log_pos at = {seg->number, backward ? UINT32_MAX : 0};
		auto_buf text = {0};

		if (backward ? seg->number > from.segment : seg->number < from.segment)
			continue;
		if (seg->number == from.segment)
			at.offset = from.offset;
		if (io_read_file(dir, seg->name, 2 * LOG_SEGMENT_BYTES, &text, e) < 0)
			return -1;
		/* What is behind the last newline was not written whole. */
		while (text.n && text.p[text.n - 1] != '\n')
			text.n--;
		more = scan_text(buf_str(&text), at, backward, visit, arg);
	}
	return 0;
}

struct last { /* lines */
	struct log_read *r;
	char since[LOG_STAMP + 1];
	unsigned left;
	bool any;
	struct log_pos at;
};

static bool left_out(const struct last *l, const struct log_line *line)
{
	return l->r->wanted && !l->r->wanted(l->r, line);
}

static bool walk_back(void *arg, const struct log_line *line)
{
	struct last *l = arg;

	if (!l->left || memcmp(line->when.p, l->since, LOG_STAMP) < 0)
		return false;
	if (left_out(l, line))
		return true;
	l->left--;
	l->any = true;
	l->at = line->at;
	return true;
}

/* As it is shown: without the stream. */
static bool show(void *arg, const struct log_line *line)
{
	struct last *l = arg;
	struct str rest = {line->id.p, line->id.n + 1 + line->text.n};

	if (left_out(l, line))
		return true;
	buf_addstr(&l->r->out, line->when);
	buf_addc(&l->r->out, ' ');
	buf_addstr(&l->r->out, rest);
	buf_addc(&l->r->out, '\n');
	return true;
}

int log_files_read(struct log_files *f, struct log_read *r)
{
	struct last l = {.r = r, .left = r->max_lines};

	log_stamp(r->since_wall_us, l.since);
	if (log_files_scan(f, r->workload, (struct log_pos){UINT32_MAX, UINT32_MAX}, true, walk_back, &l, &r->e) < 0)
		return -1;
	return l.any ? log_files_scan(f, r->workload, l.at, false, show, &l, &r->e) : 0;
}
