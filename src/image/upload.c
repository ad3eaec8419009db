/* SPDX-License-Identifier: Apache-2.0 */
#include "image/upload.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "base/mem.h"
#include "image/image_int.h"
#include "image/reference.h"

#define IDLE_US (300 * 1000000ll)

struct upload {
	struct list node;
	struct images *t;
	char name[24];
	int image_fd;
	struct loop_timer *idle;
};

struct upload_put {
	struct loop_work work;
	int fd;
	int64_t offset;
	struct str data; /* owned */
	struct err e;
	void (*done)(void *arg, const struct err *e); /* NULL: canceled */
	void *arg;
};

static struct upload *find(const struct images *t, const char *name)
{
	list_each((struct list *)&t->uploads, it)
	{
		struct upload *u = container_of(it, struct upload, node);

		if (!strcmp(u->name, name))
			return u;
	}
	return NULL;
}

bool upload_names(const struct images *t, const char *incoming)
{
	return find(t, incoming) != NULL;
}

static void upload_free(struct upload *u)
{
	list_del(&u->node);
	loop_timer_free(u->idle);
	close_p(&u->image_fd);
	free(u);
}

void uploads_free(struct images *t)
{
	list_each(&t->uploads, it) upload_free(container_of(it, struct upload, node));
}

/* Its files are the next sweep's. */
static void forsaken(void *arg)
{
	struct upload *u = arg;
	struct images *t = u->t;

	upload_free(u);
	images_sweep(t);
}

int upload_new(struct images *t, char ret_name[24], struct err *e)
{
	struct upload *u;
	unsigned n = 0;
	auto_close int dir = -1;

	list_each(&t->uploads, it) n++;
	if (n >= LIM_UPLOADS)
		return err_set(e, ERR_UNAVAILABLE, "%u images are being sent already; try again later", n);
	u = xcalloc(1, sizeof(*u));
	list_init(&u->node);
	u->t = t;
	u->image_fd = -1;
	dir = incoming_new(t, u->name, e);
	if (dir >= 0 && mkdirat(dir, "image", 0755) == 0)
		u->image_fd = openat(dir, "image", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (u->image_fd < 0) {
		if (dir >= 0)
			err_sys(e, errno, "make incoming/%s/image", u->name);
		upload_free(u);
		return -1;
	}
	list_push(&t->uploads, &u->node);
	u->idle = loop_timer_new(t->loop, forsaken, u);
	loop_timer_in(u->idle, IDLE_US);
	strlcpy_(ret_name, u->name, 24);
	return 0;
}

static void put_work(struct loop_work *w)
{
	struct upload_put *p = container_of(w, struct upload_put, work);

	for (size_t at = 0; at < p->data.n;) {
		ssize_t n = pwrite(p->fd, p->data.p + at, p->data.n - at, p->offset + (int64_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err_sys(&p->e, errno, "write what was sent");
			return;
		}
		at += (size_t)n;
	}
}

static void put_done(struct loop_work *w)
{
	struct upload_put *p = container_of(w, struct upload_put, work);

	if (p->done)
		p->done(p->arg, &p->e);
	close_p(&p->fd);
	free((char *)p->data.p);
	free(p);
}

int upload_put_start(struct images *t, const char *name, const char *file, int64_t offset, struct str data,
		     void (*done)(void *arg, const struct err *e), void *arg, struct upload_put **ret, struct err *e)
{
	struct upload *u = find(t, name);
	struct upload_put *p;
	int fd;

	if (!u)
		return err_set(e, ERR_NOT_FOUND, "nothing is being sent as \"%.40s\"", name);
	if (strcmp(file, "manifest.json") && !reference_digest_ok(str_of(file)))
		return err_set(e, ERR_INVALID, "an image has no file \"%.80s\"", file);
	if (data.n > LIM_UPLOAD_PIECE || offset > LIM_IMAGE_BYTES - (int64_t)data.n)
		return err_set(e, ERR_LIMIT, "a piece has at most %d bytes, a file %lld", LIM_UPLOAD_PIECE,
			       (long long)LIM_IMAGE_BYTES);
	fd = openat(u->image_fd, file, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(e, errno, "open %.12s", file);
	loop_timer_in(u->idle, IDLE_US);
	p = xcalloc(1, sizeof(*p));
	*p = (struct upload_put){.work = {.work = put_work, .done = put_done},
				 .fd = fd,
				 .offset = offset,
				 .data = {xmemdup(data.p ? data.p : "", data.n ? data.n : 1), data.n},
				 .done = done,
				 .arg = arg};
	loop_thread_push(t->thread, &p->work);
	*ret = p;
	return 0;
}

void upload_put_cancel(struct upload_put *p)
{
	p->done = NULL;
}

int upload_take(struct images *t, const char *name, struct err *e)
{
	struct upload *u = find(t, name);

	if (!u)
		return err_set(e, ERR_NOT_FOUND, "nothing is being sent as \"%.40s\"", name);
	upload_free(u);
	return 0;
}
