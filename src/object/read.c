/* SPDX-License-Identifier: Apache-2.0 */
/* What there is by a key, and its bytes: sent to a client, or given piece by piece to whoever copies them. */
#include <errno.h>
#include <fcntl.h>
#include "base/mem.h"
#include "object/object_int.h"

#define PIECE_BYTES 262144

/* One run of an object's bytes, file after file. */
struct object_pump {
	struct objects *o;     /* NULL: the store is gone */
	struct object_read *r; /* NULL: nobody wants it any more */
	int64_t at, left;
	struct loop_thread *thread;
	struct loop_work work;
	struct loop_defer later;
	int dirfd, fd; /* -1: the file is not open */
	char name[FILE_NAME_MAX];
	int64_t file_at, file_n; /* what is wanted of the file that is open */
	bool busy, waiting;
	struct err e;
	ssize_t got;
	/* sent */
	struct http_req *req;
	struct http_file file;
	void (*sent)(struct object_read *r);
	/* or copied */
	bool (*piece)(void *arg, struct str data);
	void (*done)(void *arg, const struct err *e);
	void *arg;
	char data[];
};

static void step(struct object_pump *p);

/* --- looking it up --- */

static int look_up(struct store_part *p, struct db *d, struct err *e)
{
	struct object_read *r = container_of(p, struct object_read, part);
	int found = object_row_get(d, r->bucket, r->key, r->body, &r->row, e);

	return found > 0 ? 0 : found < 0 ? -1 : err_set(e, ERR_NOT_FOUND, "The specified key does not exist.");
}

static void looked_up(struct store_op *op, const struct err *e)
{
	struct object_read *r = container_of(op, struct object_read, tx.op);

	if (!op->s)
		r->o = NULL; /* we are being closed */
	r->pinned = true;
	if (r->o)
		files_undoom(r->o);
	r->done(r, object_heard(op, e));
}

void object_read_start(struct objects *o, struct object_read *r, const char *bucket, struct str key, bool body)
{
	void (*done)(struct object_read *, const struct err *) = r->done;

	*r = (struct object_read){.done = done, .o = o, .bucket = xstrdup(bucket), .key = str_dup(key), .body = body};
	r->turn = ++o->turn;
	list_push(&o->reads, &r->node);
	store_tx_init(&r->tx);
	r->tx.op.done = looked_up;
	r->part.apply = look_up;
	store_tx_add(&r->tx, &r->part);
	store_tx_read(o->opts.store, &r->tx);
}

static void pump_free(struct object_pump *p)
{
	if (p->o)
		loop_defer_cancel(p->o->opts.loop, &p->later);
	close_p(&p->fd);
	free(p);
}

void object_read_done(struct object_read *r)
{
	struct object_pump *p = take_ptr(r->pump);

	if (p) {
		p->r = NULL;
		if (p->busy)
			p->o = NULL; /* which may be gone when it comes back */
		else
			pump_free(p);
	}
	list_del(&r->node);
	object_row_done(&r->row);
	free(take_ptr(r->bucket));
	free(take_ptr(r->key));
	if (r->o)
		files_undoom(r->o);
}

void object_read_orphan(struct list *node)
{
	struct object_read *r = container_of(node, struct object_read, node);

	list_del(node);
	if (r->pump) {
		loop_defer_cancel(r->o->opts.loop, &r->pump->later);
		r->pump->o = NULL;
	}
	r->o = NULL;
}

int object_parts(const struct object_row *row)
{
	struct str rest = str_of(row->files), name;
	int64_t size;
	int n = 0;

	if (!strchr(row->etag, '-'))
		return 0;
	while (file_next(&rest, &name, &size))
		n++;
	return n;
}

int object_part(const struct object_row *row, int number, int64_t *ret_at, int64_t *ret_n)
{
	struct str rest = str_of(row->files), name;

	*ret_at = 0;
	*ret_n = row->size;
	if (!object_parts(row))
		return number == 1 ? 0 : -1;
	for (int i = 1; file_next(&rest, &name, ret_n); i++, *ret_at += *ret_n)
		if (i == number)
			return 0;
	return -1;
}

/* --- file after file --- */

static void open_work(struct loop_work *w)
{
	struct object_pump *p = container_of(w, struct object_pump, work);

	p->fd = openat(p->dirfd, p->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (p->fd < 0)
		err_sys(&p->e, errno, "open objects/%s", p->name);
}

static void read_work(struct loop_work *w)
{
	struct object_pump *p = container_of(w, struct object_pump, work);

	p->got = pread(p->fd, p->data, p->file_n < PIECE_BYTES ? (size_t)p->file_n : PIECE_BYTES, p->file_at);
	if (p->got <= 0)
		err_sys(&p->e, p->got ? errno : EIO, "read objects/%s", p->name);
}

static void over(struct object_pump *p)
{
	struct object_read *r = p->r;
	struct err e = p->e;

	if (p->req) {
		http_on_gone(p->req, NULL, NULL);
		http_stream_end(take_ptr(p->req)); /* with less than was promised the connection is cut */
	}
	r->pump = NULL;
	if (p->sent) {
		void (*sent)(struct object_read *) = p->sent;

		pump_free(p);
		sent(r);
	} else {
		void (*done)(void *, const struct err *) = p->done;
		void *arg = p->arg;

		pump_free(p);
		done(arg, &e);
	}
}

static void worked(struct loop_work *w)
{
	struct object_pump *p = container_of(w, struct object_pump, work);

	p->busy = false;
	if (!p->r || !p->r->o)
		return pump_free(p);
	if (w->work == read_work && p->got > 0) {
		p->file_at += p->got;
		p->file_n -= p->got;
		p->at += p->got;
		p->left -= p->got;
		p->waiting = !p->piece(p->arg, (struct str){p->data, (size_t)p->got});
	}
	step(p);
}

static void work(struct object_pump *p, void (*what)(struct loop_work *))
{
	p->busy = true;
	p->work = (struct loop_work){.work = what, .done = worked};
	loop_thread_push(p->thread, &p->work);
}

static void file_sent(struct http_file *f, bool sent)
{
	struct object_pump *p = container_of(f, struct object_pump, file);

	p->busy = false;
	if (!f->r)
		p->req = NULL;
	if (!p->r || !p->r->o)
		return pump_free(p);
	p->at += p->file_n - f->n;
	p->left = sent ? p->left - p->file_n : 0;
	p->file_n = 0;
	step(p);
}

/* The file that holds the next byte. */
static bool find_file(struct object_pump *p)
{
	struct str rest = str_of(p->r->row.files), name;
	int64_t begin = 0, size;

	for (; file_next(&rest, &name, &size); begin += size) {
		if (p->at >= begin + size || name.n >= FILE_NAME_MAX)
			continue;
		memcpy(p->name, name.p, name.n);
		p->name[name.n] = 0;
		p->file_at = p->at - begin;
		p->file_n = size - p->file_at < p->left ? size - p->file_at : p->left;
		return true;
	}
	err_set(&p->e, ERR_CORRUPT, "an object is shorter than its row says");
	return false;
}

static void small(struct object_pump *p)
{
	struct str data = {p->r->row.data.p + p->at, (size_t)p->left};

	if (p->req)
		http_stream_write(p->req, data);
	else
		p->piece(p->arg, data);
	p->left = 0;
}

static void step(struct object_pump *p)
{
	if (p->waiting)
		return;
	if (p->left && !p->e.kind && !p->r->row.files)
		small(p);
	if (!p->file_n)
		close_p(&p->fd), p->fd = -1;
	if (!p->left || p->e.kind || (p->fd < 0 && !find_file(p))) {
		over(p);
	} else if (p->fd < 0) {
		work(p, open_work);
	} else if (!p->req) {
		work(p, read_work);
	} else {
		p->busy = true;
		p->file = (struct http_file){
			.done = file_sent, .thread = p->thread, .fd = p->fd, .at = p->file_at, .n = p->file_n};
		http_file_start(p->req, &p->file);
	}
}

static void begin(void *arg)
{
	step(arg);
}

static struct object_pump *pump_new(struct object_read *r, int64_t at, int64_t n, size_t memory)
{
	struct object_pump *p = xcalloc(1, sizeof(*p) + memory);

	p->o = r->o;
	p->r = r;
	p->fd = -1;
	p->dirfd = r->o->dirfd;
	p->at = at;
	p->left = n;
	p->thread = objects_thread(r->o, THREAD_READ);
	r->pump = p;
	loop_defer(r->o->opts.loop, &p->later, begin, p);
	return p;
}

void object_pump(struct object_read *r, int64_t at, int64_t n, bool (*piece)(void *arg, struct str data),
		 void (*done)(void *arg, const struct err *e), void *arg)
{
	struct object_pump *p = pump_new(r, at, n, r->row.files ? PIECE_BYTES : 0);

	p->piece = piece;
	p->done = done;
	p->arg = arg;
}

void object_pump_more(struct object_read *r)
{
	if (r->pump && r->pump->waiting) {
		r->pump->waiting = false;
		step(r->pump);
	}
}

static void client_left(void *arg)
{
	struct object_pump *p = arg;

	p->req = NULL;
	p->left = 0;
	if (!p->busy) { /* what is busy comes back to step() */
		loop_defer_cancel(p->o->opts.loop, &p->later);
		over(p);
	}
}

void object_read_send(struct object_read *r, struct http_req *req, int64_t at, int64_t n,
		      void (*sent)(struct object_read *r))
{
	struct object_pump *p = pump_new(r, at, n, 0);

	p->req = req;
	p->sent = sent;
	http_on_gone(req, client_left, p);
}
