/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sweep: LIST (thread: all names) -> the loop decides and gives what goes the name gone-..., which is quick and, being
 * on the loop, cannot race with who counts on it -> REMOVE (the spawner's tandem-unpack, one after another: the trees
 * belong to ids that are not ours).
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "image/image_int.h"
#include "image/reference.h"

#define TMP  ".tmp-"
#define GONE "gone-"

struct sweep {
	struct loop_work work;
	struct images *t;	   /* NULL: the table went away meanwhile */
	struct image_sweep *asked; /* whom it is for */
	bool first;		   /* nobody unpacks yet: what is half-done is nobody's */
	int layers_fd, incoming_fd;
	struct buf layers, incoming; /* NUL-terminated names */
	struct buf gone;	     /* of layers/, to remove; at: how far */
	size_t gone_at, incoming_at;
	struct spawn_req req;
	unsigned n_images, n_layers;
	struct err e; /* the first */
};

static void list_names(int fd, struct buf *ret)
{
	int dup = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = dup < 0 ? NULL : fdopendir(dup);
	struct dirent *de;

	while (d && (de = readdir(d)))
		if (strcmp(de->d_name, ".") && strcmp(de->d_name, ".."))
			buf_add(ret, de->d_name, strlen(de->d_name) + 1);
	if (d)
		closedir(d);
	else if (dup >= 0)
		close(dup);
}

static void list_work(struct loop_work *w)
{
	struct sweep *s = container_of(w, struct sweep, work);

	list_names(s->layers_fd, &s->layers);
	list_names(s->incoming_fd, &s->incoming);
}

static void sweep_end(struct sweep *s)
{
	buf_done(&s->layers);
	buf_done(&s->incoming);
	buf_done(&s->gone);
	free(s);
}

static void drop_moved(struct sweep *s)
{
	struct images *t = s->t;

	for (unsigned i = 0; i < t->n;) {
		struct image *im = t->sorted[i];

		if (!im->moved || image_used(t, im)) {
			i++;
			continue;
		}
		s->n_images++;
		image_take_out(t, im);
		store_image_del(t->store, NULL, im->reference);
		image_free(im);
	}
}

/* The new name is one that the spawner takes: no dot first, and short. */
static bool let_go(struct sweep *s, const char *name, const char *prefix, size_t skip)
{
	char to[sizeof(((struct spawner_msg *)0)->u.unpack.name)];

	snprintf(to, sizeof(to), "%s%.64s", prefix, name + skip);
	if (strcmp(name, to) && renameat(s->layers_fd, name, s->layers_fd, to) < 0)
		return false;
	buf_add(&s->gone, to, strlen(to) + 1);
	return true;
}

static void decide_layers(struct sweep *s)
{
	const char *end = s->layers.p + s->layers.n;

	for (const char *name = s->layers.p; name < end; name += strlen(name) + 1) {
		if (!strncmp(name, GONE, sizeof(GONE) - 1)) {
			let_go(s, name, GONE, sizeof(GONE) - 1);
		} else if (!strncmp(name, TMP, sizeof(TMP) - 1)) {
			if (s->first)
				let_go(s, name, GONE "t", sizeof(TMP) - 1);
		} else if (reference_digest_ok(str_of(name)) && image_layer_bytes(s->t, name) < 0 &&
			   !pull_names(s->t, name)) {
			s->n_layers += let_go(s, name, GONE, 0);
		}
	}
}

static void remove_next(struct sweep *s);

static void removed(struct spawn_req *r, const struct err *e)
{
	struct sweep *s = container_of(r, struct sweep, req);

	if (e->kind) {
		log_warn("image", "removing what nobody names: %s", e->text);
		if (!s->e.kind)
			s->e = *e;
	}
	remove_next(s);
}

static void tell_all(struct sweep *s)
{
	struct images *t = s->t;
	struct image_sweep *asked = s->asked;
	struct err e = s->e;

	t->sweep = NULL;
	for (struct image_sweep *a = asked, *next; a; a = next) {
		next = a->next;
		a->images = s->n_images;
		a->layers = s->n_layers;
		a->done(a, &e);
	}
	sweep_end(s);
}

static void sweep_begin(struct images *t, bool first);

static void remove_next(struct sweep *s)
{
	struct images *t = s->t;
	const char *name;

	while (s->incoming_at < s->incoming.n) {
		name = s->incoming.p + s->incoming_at;
		s->incoming_at += strlen(name) + 1;
		if (pull_names(t, name) || upload_names(t, name))
			continue;
		s->req = (struct spawn_req){.done = removed};
		spawn_layer_start(t->spawn, &s->req, UNPACK_REMOVE, t->incoming_fd, t->incoming_fd, name, 1, 1);
		return;
	}
	if (s->gone_at < s->gone.n) {
		name = s->gone.p + s->gone_at;
		s->gone_at += strlen(name) + 1;
		s->req = (struct spawn_req){.done = removed};
		spawn_layer_start(t->spawn, &s->req, UNPACK_REMOVE, t->layers_fd, t->layers_fd, name, 1, 1);
		return;
	}
	tell_all(s);
	if (t->again && !t->sweep)
		sweep_begin(t, false);
}

static void decide(struct loop_work *w)
{
	struct sweep *s = container_of(w, struct sweep, work);

	if (!s->t)
		return sweep_end(s);
	drop_moved(s);
	decide_layers(s);
	remove_next(s);
}

static void sweep_begin(struct images *t, bool first)
{
	struct sweep *s = t->sweep = xcalloc(1, sizeof(*s));

	s->t = t;
	s->first = first;
	s->asked = take_ptr(t->asked);
	t->again = false;
	s->layers_fd = t->layers_fd;
	s->incoming_fd = t->incoming_fd;
	s->work = (struct loop_work){.work = list_work, .done = decide};
	loop_thread_push(t->thread, &s->work);
}

void images_ready(struct images *t)
{
	sweep_begin(t, true);
}

void images_sweep(struct images *t)
{
	if (t->sweep)
		t->again = true;
	else
		sweep_begin(t, false);
}

void image_sweep_start(struct images *t, struct image_sweep *a)
{
	registry_tidy(t);
	a->next = t->asked;
	t->asked = a;
	images_sweep(t);
}

static void forget(struct image_sweep **at, const struct image_sweep *a)
{
	for (; *at; at = &(*at)->next)
		if (*at == a) {
			*at = a->next;
			return;
		}
}

void image_sweep_cancel(struct images *t, struct image_sweep *a)
{
	forget(&t->asked, a);
	if (t->sweep)
		forget(&t->sweep->asked, a);
}

void sweep_free(struct images *t)
{
	struct sweep *s = t->sweep;

	if (!s)
		return;
	t->sweep = NULL;
	s->t = NULL;
	if (s->req.s) {
		spawn_cancel(&s->req);
		sweep_end(s);
	}
}
