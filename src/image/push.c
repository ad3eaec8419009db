/* SPDX-License-Identifier: Apache-2.0 */
#include "image/push.h"

#include "base/io.h"
#include "base/mem.h"
#include "base/rand.h"
#include "image/image_int.h"
#include "image/registry.h"
#include "store/digest.h"

#define PIECE_BYTES (1 << 20) /* is written at once; as much again comes meanwhile */
#define IDLE_US	    (900 * 1000000ll)

struct push {
	struct list node;
	struct images *t;	   /* NULL: dropped while the thread was busy */
	const struct store *store; /* for the thread */
	char id[37];
	char *repository;
	int fd;
	struct digest *digest;
	int64_t bytes, written; /* come; the thread's */
	struct buf in, out;	/* out: the thread's */
	struct loop_work work;
	struct loop_timer *idle;
	struct push_user user;
	char want[65]; /* ending: the digest that it must have, or "": it goes on */
	bool taken, ending, full, busy;
	struct err e; /* the first; the thread's while busy */
};

struct push *push_find(const struct images *t, const char *repository, struct str id)
{
	list_each((struct list *)&t->pushes, it)
	{
		struct push *p = container_of(it, struct push, node);

		if (str_eqc(id, p->id) && !strcmp(p->repository, repository))
			return p;
	}
	return NULL;
}

static void push_free(struct push *p)
{
	if (p->fd >= 0)
		close(p->fd);
	digest_free(p->digest);
	buf_done(&p->in);
	buf_done(&p->out);
	free(p->repository);
	free(p);
}

void push_drop(struct push *p)
{
	list_del(&p->node);
	loop_timer_free(take_ptr(p->idle));
	p->t = NULL;
	if (!p->busy)
		push_free(p);
}

int push_give_up(struct push *p, struct err *e)
{
	if (p->taken)
		return err_set(e, ERR_CONFLICT, "another request sends this blob just now");
	push_drop(p);
	return 0;
}

void pushes_free(struct images *t)
{
	list_each(&t->pushes, it) push_drop(container_of(it, struct push, node));
}

static void forsaken(void *arg)
{
	push_drop(arg);
}

int push_new(struct images *t, const char *repository, struct push **ret, struct err *e)
{
	struct push *p;
	unsigned n = 0;
	int fd;

	list_each(&t->pushes, it) n++;
	if (n >= LIM_PUSHES)
		return err_set(e, ERR_UNAVAILABLE, "%u blobs are being sent already; try again later", n);
	fd = store_blob_new(t->store, e);
	if (fd < 0)
		return -1;
	p = *ret = xcalloc(1, sizeof(*p));
	p->t = t;
	p->store = t->store;
	p->fd = fd;
	id_uuid(p->id);
	p->repository = xstrdup(repository);
	p->digest = digest_new();
	p->idle = loop_timer_new(t->loop, forsaken, p);
	loop_timer_in(p->idle, IDLE_US);
	list_push(&t->pushes, &p->node);
	return 0;
}

const char *push_id(const struct push *p)
{
	return p->id;
}

int64_t push_bytes(const struct push *p)
{
	return p->bytes;
}

int push_take(struct push *p, const struct push_user *u, struct err *e)
{
	if (p->taken)
		return err_set(e, ERR_CONFLICT, "another request sends this blob just now");
	p->taken = true;
	p->user = *u;
	loop_timer_stop(p->idle);
	return 0;
}

/* --- the thread's part --- */

static int keep(struct push *p, struct err *e)
{
	char hex[65];

	digest_hex(p->digest, hex);
	if (strcmp(hex, p->want))
		return err_set(e, ERR_CORRUPT, "what came has the digest sha256:%s, not sha256:%s", hex, p->want);
	return store_blob_keep(p->store, p->fd, hex, e);
}

static void write_work(struct loop_work *w)
{
	struct push *p = container_of(w, struct push, work);

	digest_add(p->digest, p->out.p, p->out.n);
	p->written += (int64_t)p->out.n;
	if (p->written > LIM_LAYER_BYTES)
		err_set(&p->e, ERR_LIMIT, "a blob has at most %lld bytes", (long long)LIM_LAYER_BYTES);
	if (!p->e.kind)
		io_write_all(p->fd, p->out.p, p->out.n, &p->e);
}

static void keep_work(struct loop_work *w)
{
	struct push *p = container_of(w, struct push, work);

	if (!p->e.kind)
		keep(p, &p->e);
}

static void step(struct push *p);

static void worked(struct loop_work *w)
{
	struct push *p = container_of(w, struct push, work);

	p->busy = false;
	buf_clear(&p->out);
	if (!p->t)
		push_free(p);
	else
		step(p);
}

static void begin(struct push *p, void (*work)(struct loop_work *))
{
	p->busy = true;
	p->work = (struct loop_work){.work = work, .done = worked};
	loop_thread_push(p->t->thread, &p->work);
}

/* --- the loop's --- */

static void finish(struct push *p)
{
	struct push_user u = p->user;
	struct err e = p->e;
	bool over = p->want[0] || e.kind;

	if (p->want[0] && !e.kind)
		registry_hold(p->t, p->repository, p->want);
	p->taken = p->ending = false;
	if (over)
		push_drop(p);
	else
		loop_timer_in(p->idle, IDLE_US);
	u.done(u.arg, &e);
}

static void flush(struct push *p)
{
	struct buf swap = p->out;

	p->out = p->in;
	p->in = swap;
	begin(p, write_work);
}

static void step(struct push *p)
{
	if (p->e.kind && p->taken)
		return finish(p);
	if (p->in.n >= PIECE_BYTES || (p->ending && p->in.n)) {
		flush(p);
	} else if (p->ending && p->want[0] && p->work.work != keep_work) {
		begin(p, keep_work);
		return;
	} else if (p->ending) {
		finish(p);
		return;
	}
	if (p->full && p->in.n < PIECE_BYTES) {
		p->full = false;
		p->user.drained(p->user.arg);
	}
}

bool push_add(struct push *p, struct str data)
{
	p->bytes += (int64_t)data.n;
	buf_addstr(&p->in, data);
	if (!p->busy && p->in.n >= PIECE_BYTES)
		flush(p);
	p->full = p->in.n >= PIECE_BYTES;
	return !p->full;
}

void push_end(struct push *p, const char *digest)
{
	if (digest)
		strlcpy_(p->want, digest, sizeof(p->want));
	p->ending = true;
	if (!p->busy)
		flush(p); /* also when nothing is left: never back before we return */
}
