/* SPDX-License-Identifier: Apache-2.0 */
#include "image/pull.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/moves.h"
#include "image/copied.h"
#include "image/image_int.h"
#include "image/reference.h"
#include "image/said.h"

#define LOOK_US	 300000		    /* at what has come */
#define AGAIN_US 50000		    /* another one unpacks the same layer, or too many run at once */
#define STALL_US (60 * 1000000ll)   /* without a byte */
#define TURN_US	 (3600 * 1000000ll) /* that others may keep us waiting */

static const char *const state_name[PULL_N] = {"COPY", "CHECK", "UNPACK", "SAVE", "CLEAN"};

struct pull {
	struct list node;
	struct images *t; /* NULL: the table went away while the thread was busy */
	struct pull_opts o;
	enum pull_state state;
	struct reference ref;
	char dir[24];
	int dir_fd;
	struct said said;
	struct spawn_req req;
	uint64_t asked; /* id of what the spawner is busy with in COPY */
	struct loop_timer *tick;
	struct loop_defer defer;
	struct loop_work work;
	struct copied f;  /* the thread's in CHECK */
	struct image *im; /* UNPACK: grows by its layers */
	int64_t bytes, grew_us;
	int64_t since_us; /* in this state, or at this layer */
	struct store_op save;
	bool busy, canceled;
	struct err e; /* the first */
};

static void step(struct pull *p);

static void pull_free(struct pull *p)
{
	if (p->t) {
		list_del(&p->node);
		loop_defer_cancel(p->t->loop, &p->defer);
	}
	loop_timer_free(p->tick);
	said_free(&p->said);
	close_p(&p->dir_fd);
	copied_done(&p->f);
	image_free(p->im);
	free(p);
}

static void fail(struct pull *p, const struct err *e)
{
	if (!p->e.kind)
		p->e = *e;
}

static void tell(struct pull *p)
{
	struct pull_progress now = {.state = p->state, .bytes = p->bytes};

	if (p->canceled || !p->o.progress)
		return;
	if (p->state == PULL_UNPACK) {
		now.layer = p->im->n_layers + 1;
		now.layers = p->f.m.n_layers;
		now.layer_digest = p->f.diff_ids[p->im->n_layers];
	}
	p->o.progress(p->o.arg, &now);
}

static void move(struct pull *p, enum pull_state to)
{
	p->state = to;
	p->since_us = clock_now_us();
	move_note("pull", 0, state_name[to]);
}

/* Others are before us: a little later again, but not for ever. */
static void wait_turn(struct pull *p)
{
	struct err e = {0};

	if (clock_now_us() - p->since_us < TURN_US)
		return loop_timer_in(p->tick, AGAIN_US);
	err_set(&e, ERR_TIMEOUT, "others have kept it waiting for %d s", (int)(TURN_US / 1000000));
	fail(p, &e);
	step(p);
}

/* --- COPY --- */

static int open_image(const struct pull *p)
{
	return openat(p->dir_fd, "image", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* skopeo says nothing of bytes, so look at its files. */
static int64_t bytes_there(const struct pull *p)
{
	int fd = open_image(p);

	return fd < 0 ? 0 : said_bytes(fd);
}

static void look(void *arg)
{
	struct pull *p = arg;
	int64_t now = clock_now_us(), bytes;
	struct err e = {0};

	if (p->state != PULL_COPY || !p->busy)
		return step(p);
	bytes = bytes_there(p);
	if (bytes != p->bytes)
		p->grew_us = now;
	p->bytes = bytes;
	if (bytes > LIM_IMAGE_BYTES)
		err_set(&e, ERR_LIMIT, "more than %lld bytes", (long long)LIM_IMAGE_BYTES);
	else if (now - p->grew_us > STALL_US)
		err_set(&e, ERR_TIMEOUT, "nothing came for %d s", (int)(STALL_US / 1000000));
	if (e.kind) {
		fail(p, &e);
		spawn_pull_end(p->t->spawn, p->asked);
		return;
	}
	tell(p);
	loop_timer_in(p->tick, LOOK_US);
}

static void skopeo_ended(struct spawn_req *r, const struct err *e)
{
	struct pull *p = container_of(r, struct pull, req);

	p->busy = false;
	loop_timer_stop(p->tick);
	if (e->kind == ERR_UNAVAILABLE) { /* too many at once: a little later */
		said_done(&p->said);
		p->asked = 0;
		wait_turn(p);
		return;
	}
	if (e->kind)
		fail(p, e);
	else if (!WIFEXITED(r->wait_status) || WEXITSTATUS(r->wait_status))
		said_error(&p->said, &p->e);
	p->bytes = bytes_there(p);
	move(p, PULL_CHECK);
	step(p);
}

static int auth_file(const char *text, struct err *e)
{
	int fd = memfd_create("auth", MFD_CLOEXEC);

	if (fd < 0)
		return err_sys(e, errno, "hand over the credentials");
	if (io_write_all(fd, text, strlen(text), e) < 0 || lseek(fd, 0, SEEK_SET) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void copy(struct pull *p)
{
	int words = said_open(p->t->loop, &p->said, &p->e);

	if (words < 0)
		return move(p, PULL_CLEAN);
	p->busy = true;
	p->req = (struct spawn_req){.done = skopeo_ended};
	spawn_pull_start(p->t->spawn, &p->req, p->ref.text, p->ref.loopback, p->dir_fd, words, p->said.auth);
	p->asked = p->req.id;
	close(words);
	p->grew_us = clock_now_us();
	tell(p);
	loop_timer_in(p->tick, LOOK_US);
}

/* --- CHECK --- */

static void check_work(struct loop_work *w)
{
	struct pull *p = container_of(w, struct pull, work);

	auto_close int dir = open_image(p);

	if (dir < 0)
		err_sys(&p->e, errno, "what was copied is not there");
	else
		copied_read(dir, &p->f, &p->e);
}

static struct image *begin_image(struct pull *p)
{
	struct image *im = xcalloc(1, sizeof(*im));

	strlcpy_(im->reference, p->ref.text, sizeof(im->reference));
	strlcpy_(im->digest, p->f.digest, sizeof(im->digest));
	strlcpy_(im->config_digest, p->f.m.config.digest, sizeof(im->config_digest));
	strlcpy_(im->arch, image_host_arch(), sizeof(im->arch));
	im->created_wall_us = p->f.created_wall_us;
	im->pulled_wall_us = clock_wall_us();
	im->config = p->f.parsed;
	p->f.parsed = (struct image_config){0};
	im->config_json = buf_take(&p->f.config);
	im->layers = xcalloc(p->f.m.n_layers + 1, sizeof(*im->layers));
	return im;
}

static void checked(struct loop_work *w)
{
	struct pull *p = container_of(w, struct pull, work);

	p->busy = false;
	if (!p->t)
		return pull_free(p);
	if (!p->e.kind) {
		p->im = begin_image(p);
		move(p, PULL_UNPACK);
	}
	step(p);
}

/* --- UNPACK --- */

static void have_layer(struct pull *p, int64_t bytes)
{
	struct image_layer *l = &p->im->layers[p->im->n_layers];

	memcpy(l->diff_id, p->f.diff_ids[p->im->n_layers], sizeof(l->diff_id));
	l->bytes = bytes;
	p->im->bytes += bytes;
	p->im->n_layers++;
	p->since_us = clock_now_us();
}

static void unpacked(struct spawn_req *r, const struct err *e)
{
	struct pull *p = container_of(r, struct pull, req);

	p->busy = false;
	if (e->kind == ERR_CONFLICT || e->kind == ERR_UNAVAILABLE)
		return wait_turn(p);
	if (e->kind) {
		fail(p, e);
		err_wrap(&p->e, "layer %u of %u", p->im->n_layers + 1, p->f.m.n_layers);
	} else {
		have_layer(p, r->bytes);
	}
	step(p);
}

/* true: the spawner is asked; false: the next one may be looked at. */
static bool unpack(struct pull *p)
{
	const char *diff_id = p->f.diff_ids[p->im->n_layers];
	int64_t known = -1;
	auto_close int dir = image_layer_open(p->t, diff_id, NULL), blob = -1;
	struct err e = {0};

	for (unsigned i = 0; i < p->im->n_layers && known < 0; i++)
		if (!strcmp(p->im->layers[i].diff_id, diff_id))
			known = p->im->layers[i].bytes;
	if (known < 0)
		known = image_layer_bytes(p->t, diff_id);
	if (dir >= 0 && known >= 0) {
		have_layer(p, known);
		return false;
	}
	tell(p);
	close_p(&dir);
	dir = open_image(p);
	blob = dir < 0 ? -1
		       : openat(dir, p->f.m.layers[p->im->n_layers].digest,
				O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (blob < 0) {
		err_sys(&e, errno, "layer %u of %u is not among what was copied", p->im->n_layers + 1, p->f.m.n_layers);
		fail(p, &e);
		return false;
	}
	p->busy = true;
	p->req = (struct spawn_req){.done = unpacked};
	spawn_layer_start(p->t->spawn, &p->req, UNPACK_LAYER, blob, p->t->layers_fd, diff_id, LIM_LAYER_BYTES,
			  LIM_LAYER_FILES);
	return true;
}

/* --- SAVE, CLEAN --- */

static void saved(struct store_op *op, const struct err *e)
{
	struct pull *p = container_of(op, struct pull, save);

	p->busy = false;
	if (!p->t)
		return pull_free(p);
	if (e->kind)
		fail(p, e);
	move(p, PULL_CLEAN);
	step(p);
}

/* In memory at once, so that there is no moment in which the name leads nowhere. */
static void save(struct pull *p)
{
	struct image *im = take_ptr(p->im);

	p->busy = true;
	im = image_insert(p->t, im);
	p->save = (struct store_op){.done = saved};
	image_save(p->t, &p->save, im);
}

static void cleaned(struct spawn_req *r, const struct err *e)
{
	struct pull *p = container_of(r, struct pull, req);
	struct image *im = p->e.kind ? NULL : image_find(p->t, p->ref.text);
	struct pull_opts o = p->o;
	struct err why = p->e;
	bool tell_it = !p->canceled;

	if (e->kind)
		log_warn("image", "what was copied for %s stays until the next start: %s", p->ref.text, e->text);
	if (!why.kind && !im)
		err_set(&why, ERR_CONFLICT, "the image was removed at once");
	if (why.kind)
		err_wrap(&why, "%s", p->ref.text);
	pull_free(p);
	if (tell_it)
		o.done(o.arg, im, &why);
}

static void clean(struct pull *p)
{
	p->busy = true;
	p->req = (struct spawn_req){.done = cleaned};
	spawn_layer_start(p->t->spawn, &p->req, UNPACK_REMOVE, p->t->incoming_fd, p->t->incoming_fd, p->dir, 1, 1);
}

static void step(struct pull *p)
{
	while (!p->busy) {
		if ((p->e.kind || p->canceled) && p->state != PULL_CLEAN)
			move(p, PULL_CLEAN);
		switch (p->state) {
		case PULL_COPY:
			copy(p);
			break;
		case PULL_CHECK:
			tell(p);
			p->busy = true;
			p->work = (struct loop_work){.work = check_work, .done = checked};
			loop_thread_push(p->t->thread, &p->work);
			break;
		case PULL_UNPACK:
			if (p->im->n_layers == p->f.m.n_layers)
				move(p, PULL_SAVE);
			else if (unpack(p))
				return;
			break;
		case PULL_SAVE:
			save(p);
			break;
		default:
			clean(p);
		}
	}
}

static void begin(void *arg)
{
	step(arg);
}

int pull_start(struct images *t, const struct pull_opts *o, struct pull **ret, struct err *e)
{
	struct pull *p = xcalloc(1, sizeof(*p));
	bool own;

	p->t = t;
	p->o = *o;
	p->since_us = clock_now_us();
	said_init(&p->said);
	list_init(&p->node);
	p->tick = loop_timer_new(t->loop, look, p);
	p->dir_fd = -1;
	if (t->n >= LIM_IMAGES) {
		err_set(e, ERR_LIMIT, "there are %u images; remove some first", t->n);
		goto failed;
	}
	if (reference_parse(o->reference, &p->ref, e) < 0)
		goto failed;
	own = registry_owns(t, NULL, &p->ref);
	if (own || o->upload)
		p->state = PULL_CHECK;
	if (o->upload)
		strlcpy_(p->dir, o->upload, sizeof(p->dir));
	else if (own && registry_stage(t, &p->ref, p->dir, e) < 0)
		goto failed;
	if (p->dir[0]) {
		p->dir_fd = openat(t->incoming_fd, p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (p->dir_fd < 0)
			err_sys(e, errno, "open what was uploaded");
	} else {
		p->dir_fd = incoming_new(t, p->dir, e);
	}
	if (p->dir_fd < 0)
		goto failed;
	if (o->auth) {
		p->said.auth = auth_file(o->auth, e);
		if (p->said.auth < 0)
			goto failed;
	}
	list_push(&t->pulls, &p->node);
	p->o.reference = p->o.auth = p->o.upload = NULL;
	loop_defer(t->loop, &p->defer, begin, p);
	*ret = p;
	return 0;
failed:
	if (p->dir[0] || o->upload) /* a directory that was made, or taken over, is nobody's now */
		images_sweep(t);
	pull_free(p);
	return -1;
}

void pull_cancel(struct pull *p)
{
	p->canceled = true;
	if (p->state == PULL_COPY && p->busy)
		spawn_pull_end(p->t->spawn, p->asked);
}

bool pull_names(const struct images *t, const char *name)
{
	list_each((struct list *)&t->pulls, it)
	{
		const struct pull *p = container_of(it, struct pull, node);

		if (!strcmp(p->dir, name))
			return true;
		for (unsigned i = 0; p->f.diff_ids && p->state != PULL_CHECK && i < p->f.m.n_layers; i++)
			if (!strcmp(p->f.diff_ids[i], name))
				return true;
	}
	return false;
}

/* What thread and store still hold is theirs until they say so; what the spawner does finds nobody. */
void pulls_free(struct images *t)
{
	list_each(&t->pulls, it)
	{
		struct pull *p = container_of(it, struct pull, node);

		if (p->req.s)
			spawn_cancel(&p->req);
		else if (p->busy) {
			list_del(&p->node);
			loop_defer_cancel(t->loop, &p->defer);
			p->t = NULL;
			continue;
		}
		pull_free(p);
	}
}
