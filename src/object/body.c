/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes on their way into the store:
 *
 *      COME ──► SYNC ──► over      small ones go from COME to over
 *        └────────┴────► failed
 *
 *   COME  more, or threads that write and digest what came
 *   SYNC  the file to be safe on disk, and its name
 *
 * Each piece is written and digested at the same time, by two threads; what is between the client and them is bounded
 * for each body and for all of them together.
 */
#include <errno.h>
#include <fcntl.h>
#include "base/enc.h"
#include "base/io.h"
#include "base/mem.h"
#include "object/object_int.h"

#define BODY_IN_FLIGHT (12 << 20) /* on a busy machine threads run seldom: each time there is to be enough */
#define ALL_IN_FLIGHT  (32 << 20)
#define WRITE_BACK                                                                                                     \
	(64 << 20) /* the disk begins while the rest still comes; in smaller pieces the writer waits for it */

struct object_body {
	struct objects *o; /* NULL: the store is gone */
	struct object_body_opts how;
	struct list node, full;
	struct buf small;
	struct hash_state *hash;
	struct loop_thread *writer, *hasher;
	int dirfd;
	bool filed; /* in a file, or to be */
	int fd;	    /* -1: its first piece, or the sync, makes it; the threads' until it is over */
	char file[FILE_NAME_MAX];
	int64_t size, in_flight, written; /* written: the writer's */
	unsigned pieces;
	bool ended, over, dropped, kept, linked;
	struct loop_work sync;
	struct loop_defer later;
	struct err e;
	struct object_read *from; /* copied */
	char old[FILE_NAME_MAX];  /* linked */
	uint8_t md5[16];	  /* of that */
	bool whole;
};
struct piece {
	struct object_body *b;
	struct loop_work write, hash;
	struct err e;
	int left; /* threads that have it */
	size_t n;
	char data[];
};

static void destroy(struct object_body *b);

struct object_body *object_body_new(struct objects *o, const struct object_body_opts *how)
{
	struct object_body *b = xcalloc(1, sizeof(*b));

	b->o = o;
	b->how = *how;
	b->fd = -1;
	b->dirfd = o->dirfd;
	b->hash = hash_new(how->hashes | 1u << HASH_MD5);
	list_init(&b->full);
	list_push(&o->bodies, &b->node);
	return b;
}

static void close_work(struct loop_work *w)
{
	struct object_body *b = container_of(w, struct object_body, sync);

	close(take_fd(b->fd));
}

static void closed(struct loop_work *w)
{
	destroy(container_of(w, struct object_body, sync));
}

static void destroy(struct object_body *b)
{
	auto_buf name = {0};

	if (b->linked && !b->kept && b->o) {
		buf_addf(&name, "%s:0", b->file);
		files_doom(b->o, &name);
	}
	/* With its last descriptor a file without a name goes, which takes its time. */
	if (b->fd >= 0 && !b->linked && b->o) {
		b->sync = (struct loop_work){.work = close_work, .done = closed};
		loop_thread_push(objects_thread(b->o, THREAD_REMOVE), &b->sync);
		return;
	}
	list_del(&b->node);
	list_del(&b->full);
	buf_done(&b->small);
	hash_free(b->hash);
	close_p(&b->fd);
	free(b);
}

void object_body_drop(struct object_body *b)
{
	if (!b)
		return;
	b->dropped = b->over = true;
	list_del(&b->full);
	if (b->o)
		loop_defer_cancel(b->o->opts.loop, &b->later);
	if (!b->pieces && !b->sync.work)
		destroy(b);
}

void object_body_orphan(struct list *node)
{
	struct object_body *b = container_of(node, struct object_body, node);

	list_del(node);
	loop_defer_cancel(b->o->opts.loop, &b->later);
	b->over = true;
	b->o = NULL;
}

static void tell(void *arg)
{
	struct object_body *b = arg;

	b->over = true;
	b->how.done(b->how.arg, &b->e);
}

/* Never from inside of a call of the owner's. */
static void tell_later(struct object_body *b)
{
	b->over = true;
	loop_defer(b->o->opts.loop, &b->later, tell, b);
}

/* On the thread that has it. */
static int make_file(struct object_body *b, struct err *e)
{
	if (b->fd < 0)
		b->fd = openat(b->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return b->fd < 0 ? err_sys(e, errno, "make a file in objects/") : 0;
}

static void sync_work(struct loop_work *w)
{
	struct object_body *b = container_of(w, struct object_body, sync);

	b->linked = make_file(b, &b->e) == 0 && file_keep(b->dirfd, b->fd, b->file, &b->e) == 0;
}

static void link_work(struct loop_work *w)
{
	struct object_body *b = container_of(w, struct object_body, sync);

	b->linked = linkat(b->dirfd, b->old, b->dirfd, b->file, 0) == 0;
	if (!b->linked || fsync(b->dirfd) < 0)
		err_sys(&b->e, errno, "link objects/%s", b->old);
}

static void copy_bytes(struct object_body *b, int64_t at, int64_t n);

static void synced(struct loop_work *w)
{
	struct object_body *b = container_of(w, struct object_body, sync);

	b->sync.work = NULL;
	if (b->dropped || !b->o)
		destroy(b);
	else if (b->whole && b->e.sys == EMLINK) /* 65,000 of them: this one gets bytes of its own */
		copy_bytes(b, 0, b->from->row.size);
	else
		tell(b);
}

static void all_written(struct object_body *b)
{
	hash_end(b->hash);
	b->sync = (struct loop_work){.work = sync_work, .done = synced};
	loop_thread_push(objects_thread(b->o, THREAD_SYNC), &b->sync);
}

/* --- pieces --- */

static void write_work(struct loop_work *w)
{
	struct piece *p = container_of(w, struct piece, write);
	struct object_body *b = p->b;
	int64_t before = b->written / WRITE_BACK * WRITE_BACK, now;

	if (make_file(b, &p->e) < 0 || io_write_all(b->fd, p->data, p->n, &p->e) < 0)
		return;
	b->written += (int64_t)p->n;
	now = b->written / WRITE_BACK * WRITE_BACK;
	if (now > before)
		(void)sync_file_range(b->fd, before, now - before, SYNC_FILE_RANGE_WRITE);
}

static void hash_work(struct loop_work *w)
{
	struct piece *p = container_of(w, struct piece, hash);

	hash_add(p->b->hash, p->data, p->n);
}

static void wake_full(struct objects *o)
{
	list_each(&o->full, it)
	{
		struct object_body *b = container_of(it, struct object_body, full);

		if (o->in_flight >= ALL_IN_FLIGHT)
			break;
		if (b->in_flight > BODY_IN_FLIGHT / 2)
			continue;
		list_del(it);
		if (b->from)
			object_pump_more(b->from);
		else
			b->how.drained(b->how.arg);
	}
}

static void go_on(struct object_body *b)
{
	if (b->e.kind)
		tell(b);
	else if (b->ended && !b->pieces)
		all_written(b);
}

static void piece_done(struct piece *p)
{
	struct object_body *b = p->b;
	struct objects *o = b->o;

	if (--p->left)
		return;
	b->pieces--;
	b->in_flight -= (int64_t)p->n;
	if (p->e.kind && !b->e.kind)
		b->e = p->e;
	if (o)
		o->in_flight -= (int64_t)p->n;
	free(p);
	if ((b->dropped || !o) && !b->pieces)
		destroy(b);
	else if (!b->dropped && o && !b->over)
		go_on(b);
	if (o)
		wake_full(o);
}

static void written(struct loop_work *w)
{
	piece_done(container_of(w, struct piece, write));
}

static void hashed(struct loop_work *w)
{
	piece_done(container_of(w, struct piece, hash));
}

static void push(struct object_body *b, struct str data)
{
	struct piece *p = xmalloc(sizeof(*p) + data.n);

	*p = (struct piece){.b = b,
			    .write = {.work = write_work, .done = written},
			    .hash = {.work = hash_work, .done = hashed},
			    .left = 2,
			    .n = data.n};
	memcpy(p->data, data.p, data.n);
	b->pieces++;
	b->in_flight += (int64_t)data.n;
	b->o->in_flight += (int64_t)data.n;
	loop_thread_push(b->writer, &p->write);
	loop_thread_push(b->hasher, &p->hash);
}

static void to_file(struct object_body *b)
{
	b->filed = true;
	file_name(b->o, b->file);
	b->writer = objects_thread(b->o, THREAD_WRITE);
	b->hasher = objects_thread(b->o, THREAD_HASH);
	if (b->small.n)
		push(b, buf_str(&b->small));
	buf_done(&b->small);
}

bool object_body_add(struct object_body *b, struct str data)
{
	if (b->over || b->ended || !data.n)
		return !b->over;
	b->size += (int64_t)data.n;
	if (!b->filed && b->size <= OBJECT_SMALL && !b->how.file) {
		buf_addstr(&b->small, data);
		return true;
	}
	if (!b->filed)
		to_file(b);
	push(b, data);
	if (b->in_flight < BODY_IN_FLIGHT && b->o->in_flight < ALL_IN_FLIGHT)
		return true;
	if (list_empty(&b->full))
		list_push(&b->o->full, &b->full);
	return false;
}

void object_body_end(struct object_body *b)
{
	if (b->over || b->ended)
		return;
	b->ended = true;
	list_del(&b->full);
	if (!b->filed && b->how.file)
		to_file(b);
	if (!b->filed) {
		hash_add(b->hash, b->small.p, b->small.n);
		hash_end(b->hash);
		tell_later(b);
	} else if (!b->pieces) {
		all_written(b);
	}
}

int64_t object_body_size(const struct object_body *b)
{
	return b->size;
}

const uint8_t *object_body_hash(const struct object_body *b, enum hash which)
{
	return b->whole && which == HASH_MD5 ? b->md5 : hash_value(b->hash, which);
}

void object_body_keep(struct object_body *b)
{
	b->kept = true;
}

bool object_body_small(const struct object_body *b, struct buf *ret)
{
	if (b->filed)
		return false;
	*ret = b->small;
	((struct object_body *)b)->small = (struct buf){0};
	return true;
}

const char *object_body_file(const struct object_body *b)
{
	return b->file;
}

/* --- from another object --- */

static bool copied(void *arg, struct str data)
{
	return object_body_add(arg, data);
}

static void copy_ended(void *arg, const struct err *e)
{
	struct object_body *b = arg;

	if (e->kind && !b->over) {
		b->e = *e;
		tell_later(b);
	} else {
		object_body_end(b);
	}
}

static void copy_bytes(struct object_body *b, int64_t at, int64_t n)
{
	b->e = (struct err){0};
	b->whole = b->filed = b->ended = false;
	b->size = 0;
	object_pump(b->from, at, n, copied, copy_ended, b);
}

void object_body_copy(struct object_body *b, struct object_read *from, int64_t at, int64_t n)
{
	struct str rest = str_of(from->row.files), name;
	int64_t size;

	b->from = from; /* from now on it is who waits to give more */
	if (at || n != from->row.size || !file_next(&rest, &name, &size) || name.n >= FILE_NAME_MAX ||
	    dec_hex(str_of(from->row.etag), b->md5, 16) < 0)
		return copy_bytes(b, at, n);
	/* Files never change: another name is a copy. */
	b->whole = b->filed = b->ended = true;
	b->size = n;
	memcpy(b->old, name.p, name.n);
	file_name(b->o, b->file);
	b->sync = (struct loop_work){.work = link_work, .done = synced};
	loop_thread_push(objects_thread(b->o, THREAD_SYNC), &b->sync);
}
