/* SPDX-License-Identifier: Apache-2.0 */
/* Logs on the loop: streams, limits, followers. The files are logfile.c's. */
#include "ledger/logs.h"
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "ledger/logs_int.h"

enum { FN, PLATFORM };
static const struct {
	int64_t bytes_per_us, burst_bytes;
} limit[2] = {
	[FN] = {2, 8 << 20},
	[PLATFORM] = {64, 64 << 20},
};
/* Once dry, a bucket gives nothing until this much is in it: one "dropped" line for many lines, not for each. More than
 * a line. */
#define RESUME_BYTES (512 << 10)
#define RECORD_BYTES (64u << 10) /* a record is not extended beyond */
#define STREAM_BYTES 16
#define ID_BYTES     64
static_assert(RESUME_BYTES > LIM_LOG_LINE_BYTES + 256, "a line must fit into a bucket that gives");

struct logs {
	struct loop *loop;
	struct spool *spool;
	struct log_files files;
	struct map by_name;
	struct list followers; /* of all workloads */
	struct list reads;     /* running */
	struct buf piece;      /* for followers */
	/* where the last record is, so that the next line of the same stream joins it */
	struct spool_batch *last_batch;
	struct log_stream *last_stream;
	size_t last_at;
	int64_t second; /* stamp is of this one */
	char stamp[LOG_STAMP + 1];
	uint64_t dropped_lines;
};

/* ---- time ---- */

static void stamp_us(char *stamp, uint32_t us)
{
	for (int i = LOG_STAMP - 2; i > LOG_STAMP - 8; i--, us /= 10)
		stamp[i] = (char)('0' + us % 10);
}

void log_stamp(int64_t wall_us, char out[LOG_STAMP + 1])
{
	char iso[32];

	if (wall_us < 0)
		wall_us = 0;
	clock_fmt_iso(wall_us - wall_us % 1000000, iso);
	memcpy(out, iso, 20);
	memcpy(out + 20, "000000Z", 8);
	stamp_us(out, (uint32_t)(wall_us % 1000000));
}

/* The daemon's lines of one second share all but the microseconds. */
static const char *stamp(struct logs *lg, int64_t now)
{
	int64_t second = now / 1000000;

	if (second != lg->second) {
		log_stamp(now, lg->stamp);
		lg->second = second;
	} else {
		stamp_us(lg->stamp, (uint32_t)(now % 1000000));
	}
	return lg->stamp;
}

/* ---- life ---- */

struct log_files *logs_files(struct logs *lg)
{
	return &lg->files;
}

static void spool_writes(void *arg, struct spool_batch *b)
{
	struct logs *lg = arg;

	log_files_write(&lg->files, b);
}

int logs_open(struct loop *l, int daemon_dirfd, struct logs **ret, struct err *e)
{
	struct logs *lg = xcalloc(1, sizeof(*lg));

	if (log_files_open(&lg->files, daemon_dirfd, e) < 0) {
		free(lg);
		return err_wrap(e, "open logs");
	}
	lg->loop = l;
	lg->second = -1;
	list_init(&lg->followers);
	list_init(&lg->reads);
	lg->spool = spool_new(&(struct spool_opts){
		.loop = l,
		.name = "logs",
		.delay_us = LOG_DELAY_US,
		.flush_bytes = LOG_FLUSH_BYTES,
		.max_bytes = LOG_MAX_BYTES,
		.write = spool_writes,
		.arg = lg,
	});
	*ret = lg;
	return 0;
}

static void stream_free(struct log_stream *s)
{
	list_each(&s->followers, it) list_del(it);
	free(s->name);
	free(s);
}

void logs_free(struct logs *lg)
{
	struct log_stream *s;
	size_t pos = 0;

	if (!lg)
		return;
	spool_free(lg->spool);
	list_each(&lg->reads, it)
	{
		container_of(it, struct log_read, node)->lg = NULL;
		list_del(it);
	}
	list_each(&lg->followers, it) list_del(it);
	/* The thread is gone: its half of the streams is ours now. */
	while ((s = map_next(&lg->by_name, &pos))) {
		log_file_end(&lg->files, s);
		stream_free(s);
	}
	map_done(&lg->by_name);
	log_files_close(&lg->files);
	buf_done(&lg->piece);
	free(lg);
}

struct log_stream *logs_get(struct logs *lg, const char *workload)
{
	struct log_stream *s = map_get(&lg->by_name, str_of(workload));

	if (!s) {
		assert(log_name_ok(workload));
		s = xcalloc(1, sizeof(*s));
		s->lg = lg;
		s->name = xstrdup(workload);
		s->bucket[FN].tokens = limit[FN].burst_bytes;
		s->bucket[PLATFORM].tokens = limit[PLATFORM].burst_bytes;
		list_init(&s->followers);
		map_put(&lg->by_name, str_of(s->name), s);
	}
	s->refs++;
	return s;
}

/* Works of the thread that end or remove a stream; they stand alone, since the logs may be gone when done comes. */
struct file_op {
	struct loop_work work;
	struct log_files *files;
	struct log_stream *stream;
	char name[LOG_NAME_BYTES];
};

static void end_work(struct loop_work *w)
{
	struct file_op *op = container_of(w, struct file_op, work);

	log_file_end(op->files, op->stream);
}

static void end_done(struct loop_work *w)
{
	struct file_op *op = container_of(w, struct file_op, work);

	stream_free(op->stream);
	free(op);
}

void log_stream_release(struct log_stream *s)
{
	struct file_op *op;

	if (!s || --s->refs)
		return;
	map_del(&s->lg->by_name, str_of(s->name));
	op = xcalloc(1, sizeof(*op));
	op->work = (struct loop_work){.work = end_work, .done = end_done};
	op->files = &s->lg->files;
	op->stream = s;
	spool_push(s->lg->spool, &op->work);
}

static void remove_work(struct loop_work *w)
{
	struct file_op *op = container_of(w, struct file_op, work);
	struct err e = {0};

	if (log_files_remove(op->files, op->stream, op->name, &e) < 0)
		log_warn("logs", "remove %s: %s", op->name, e.text);
}

static void remove_done(struct loop_work *w)
{
	free(container_of(w, struct file_op, work));
}

void log_stream_remove(struct logs *lg, const char *workload)
{
	struct file_op *op;

	if (!log_name_ok(workload))
		return;
	op = xcalloc(1, sizeof(*op));
	op->work = (struct loop_work){.work = remove_work, .done = remove_done};
	op->files = &lg->files;
	op->stream = map_get(&lg->by_name, str_of(workload));
	strlcpy_(op->name, workload, sizeof(op->name));
	spool_push(lg->spool, &op->work);
}

void logs_sweep(struct logs *lg, bool (*wanted)(void *arg, const char *workload), void *arg)
{
	int fd = openat(lg->files.dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	while (dir && (d = readdir(dir)))
		if (log_name_ok(d->d_name) && !wanted(arg, d->d_name))
			log_stream_remove(lg, d->d_name);
	if (dir)
		closedir(dir);
	else if (fd >= 0)
		close(fd);
}

/* ---- adding ---- */

static bool bucket_take(struct log_bucket *b, int class, int64_t now, size_t n)
{
	int64_t us = now - b->at_us, full = limit[class].burst_bytes;

	b->at_us = now;
	if (us > 0)
		b->tokens = us > full / limit[class].bytes_per_us ? full : b->tokens + us * limit[class].bytes_per_us;
	if (b->tokens > full)
		b->tokens = full;
	if (b->tokens < (b->dry ? RESUME_BYTES : (int64_t)n)) {
		b->dry = true;
		return false;
	}
	b->dry = false;
	b->tokens -= (int64_t)n;
	return true;
}

bool log_stream_room(struct log_stream *s, size_t bytes)
{
	struct log_bucket b = s->bucket[FN]; /* only looked at */

	return bucket_take(&b, FN, clock_wall_us(), bytes) && spool_room(s->lg->spool, bytes);
}

/* Room for n bytes of s at the end of the active batch, in the last record or a new one; NULL: the bound is reached. */
static char *record(struct log_stream *s, size_t n)
{
	struct logs *lg = s->lg;
	struct spool_batch *b = spool_room(lg->spool, n + sizeof(struct log_record));
	struct log_record rec = {.stream = s, .n = (uint32_t)n};
	char *at;

	if (!b)
		return NULL;
	if (b->data.n && lg->last_batch == b && lg->last_stream == s) {
		memcpy(&rec, b->data.p + lg->last_at, sizeof(rec));
		if (rec.n + n <= RECORD_BYTES) {
			rec.n += (uint32_t)n;
			memcpy(b->data.p + lg->last_at, &rec, sizeof(rec));
			at = b->data.p + b->data.n;
			b->data.n += n;
			return at;
		}
		rec.n = (uint32_t)n;
	}
	lg->last_batch = b, lg->last_stream = s, lg->last_at = b->data.n;
	at = b->data.p + b->data.n;
	memcpy(at, &rec, sizeof(rec));
	b->data.n += sizeof(rec) + n;
	return at + sizeof(rec);
}

struct prefix {
	char text[LOG_STAMP + STREAM_BYTES + ID_BYTES + 4];
	size_t n, id_at;
};

static size_t put(char *to, const char *text, size_t max)
{
	size_t n = strnlen(text, max);

	memcpy(to, text, n);
	to[n] = ' ';
	return n + 1;
}

static void prefix_make(struct prefix *p, const char *when, const char *stream, const char *id)
{
	p->n = put(p->text, when, LOG_STAMP);
	p->n += put(p->text + p->n, stream, STREAM_BYTES);
	p->id_at = p->n;
	p->n += put(p->text + p->n, id && id[0] ? id : "-", ID_BYTES);
}

static bool line_add(struct log_stream *s, const struct prefix *p, const char *text, size_t n)
{
	char *to = record(s, p->n + n + 1);

	if (!to)
		return false;
	memcpy(to, p->text, p->n);
	memcpy(to + p->n, text, n);
	to[p->n + n] = '\n';
	return true;
}

static void dropped_line(struct log_stream *s)
{
	char text[64];
	struct prefix p;
	int n = snprintf(text, sizeof(text), "dropped %llu lines", (unsigned long long)s->dropped);

	prefix_make(&p, s->lg->stamp, "platform", NULL);
	if (line_add(s, &p, text, (size_t)n))
		s->dropped = 0;
}

static bool followed(const struct log_stream *s)
{
	return !list_empty(&s->followers) || !list_empty(&s->lg->followers);
}

static void follow_line(struct logs *lg, const struct prefix *p, const char *text, size_t n)
{
	buf_add(&lg->piece, p->text, LOG_STAMP + 1);
	buf_add(&lg->piece, p->text + p->id_at, p->n - p->id_at);
	buf_add(&lg->piece, text, n);
	buf_addc(&lg->piece, '\n');
}

static void follow_tell(struct log_stream *s)
{
	struct list *heads[] = {&s->followers, &s->lg->followers};
	struct str text = buf_str(&s->lg->piece);

	for (size_t i = 0; text.n && i < ARRAY_SIZE(heads); i++) {
		list_each(heads[i], it)
		{
			struct log_follow *f = container_of(it, struct log_follow, node);

			f->workload = s->name;
			f->line(f, text);
		}
	}
	buf_done(&s->lg->piece);
}

void log_stream_add(struct log_stream *s, const char *stream, const char *request_id, struct str lines)
{
	struct logs *lg = s->lg;
	int64_t now = clock_wall_us();
	int class = strcmp(stream, "fn") == 0 ? FN : PLATFORM;
	bool tell = followed(s);
	struct prefix p;

	prefix_make(&p, stamp(lg, now), stream, request_id);
	for (const char *at = lines.p, *end = at + lines.n; at < end;) {
		size_t left = (size_t)(end - at), most = left < LIM_LOG_LINE_BYTES ? left : LIM_LOG_LINE_BYTES;
		const char *nl = memchr(at, '\n', most);
		size_t n = nl ? (size_t)(nl - at) : most;

		if (!bucket_take(&s->bucket[class], class, now, p.n + n + 1)) {
			s->dropped++, lg->dropped_lines++;
		} else {
			/* Only where this line fits too: else each line that does not would be told of by one that
			 * does. */
			if (s->dropped && spool_room(lg->spool, 2 * sizeof(struct log_record) + 256 + p.n + n))
				dropped_line(s);
			if (!line_add(s, &p, at, n))
				s->dropped++, lg->dropped_lines++;
			else if (tell)
				follow_line(lg, &p, at, n);
		}
		at += n + (nl != NULL);
	}
	spool_added(lg->spool);
	if (tell)
		follow_tell(s);
}

void logs_flush(struct logs *lg)
{
	spool_flush(lg->spool);
}

/* ---- reading, following ---- */

static void read_work(struct loop_work *w)
{
	struct log_read *r = container_of(w, struct log_read, work);

	if (r->scan)
		r->scan(r, &r->lg->files, &r->e);
	else
		log_files_read(&r->lg->files, r);
}

static void read_end(void *arg)
{
	struct log_read *r = arg;
	struct buf out = r->out;

	r->out = (struct buf){0};
	/* done may free r. */
	r->done(r, &out, &r->e);
	buf_done(&out);
}

static void read_done(struct loop_work *w)
{
	struct log_read *r = container_of(w, struct log_read, work);

	if (r->lg)
		list_del(&r->node);
	else
		err_set(&r->e, ERR_CANCELED, "the logs were closed");
	read_end(r);
}

void log_read_start(struct logs *lg, struct log_read *r)
{
	r->lg = lg;
	r->out = (struct buf){0};
	r->e = (struct err){0};
	if (!memchr(r->workload, 0, sizeof(r->workload)) || !log_name_ok(r->workload)) {
		err_set(&r->e, ERR_INVALID, "not the name of a workload");
		r->defer.queued = false;
		loop_defer(lg->loop, &r->defer, read_end, r);
		return;
	}
	list_push(&lg->reads, &r->node);
	r->work = (struct loop_work){.work = read_work, .done = read_done};
	spool_push(lg->spool, &r->work);
}

void log_follow_start(struct logs *lg, const char *workload, struct log_follow *f)
{
	f->stream = workload ? logs_get(lg, workload) : NULL;
	list_push(f->stream ? &f->stream->followers : &lg->followers, &f->node);
}

void log_follow_stop(struct log_follow *f)
{
	if (!f->node.next || list_empty(&f->node))
		return;
	list_del(&f->node);
	log_stream_release(take_ptr(f->stream));
}

void logs_metrics(struct logs *lg, struct buf *out)
{
	uint64_t lost = atomic_load(&lg->files.lost_lines);

	buf_addf(
		out,
		"# HELP tandem_log_bytes_total Bytes of log written.\n# TYPE tandem_log_bytes_total counter\n"
		"tandem_log_bytes_total %lu\n"
		"# HELP tandem_log_lines_dropped_total Lines over a limit, or lost because the disk was slow or full.\n"
		"# TYPE tandem_log_lines_dropped_total counter\ntandem_log_lines_dropped_total %lu\n",
		(unsigned long)atomic_load(&lg->files.bytes), (unsigned long)(lg->dropped_lines + lost));
}
