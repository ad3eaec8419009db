/* SPDX-License-Identifier: Apache-2.0 */
/* The table of images: names, holders, what a sweep may take; this test plays the spawner. */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "image/image_int.h"
#include "tests/test.h"
#include "wire/fds.h"

struct fix {
	char dir[96];
	int fd, spawner;
	struct loop *loop;
	struct store *store;
	struct spawn *spawn;
	struct images *t;
	struct loop_fd *watch;
	unsigned removed;
	struct image_sweep sweep;
	bool swept;
};

static void on_nothing(void *arg)
{
}

static void on_lost(void *arg, const struct err *e)
{
	CHECK(!"the spawner is there");
}

static const struct spawn_events events = {.drain = on_nothing, .handover = on_nothing, .lost = on_lost};

/* Takes away what it is asked to take away, and nothing else is asked. */
static void play_spawner(void *arg, int ev)
{
	struct fix *f = arg;
	struct spawner_msg m = {0}, answer;
	unsigned n = FDS_MAX;
	int fds[FDS_MAX];

	CHECK(fds_recv(f->spawner, &m, sizeof(m), fds, &n, 0) == sizeof(m));
	CHECK(m.verb == SPAWNER_UNPACK && m.u.unpack.how == UNPACK_REMOVE && n == 2);
	CHECK(io_rm_tree(fds[1], m.u.unpack.name, NULL) == 0);
	f->removed++;
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
	spawner_msg_init(&answer, SPAWNER_UNPACKED, m.id);
	CHECK(fds_send(f->spawner, &answer, sizeof(answer), NULL, 0, 0) == sizeof(answer));
}

static void fix_open(struct fix *f)
{
	struct err e = {0};
	int p[2];

	f->loop = loop_new();
	f->fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p) == 0);
	f->spawner = p[0];
	f->spawn = spawn_new(f->loop, p[1], &events, f);
	f->watch = loop_fd_new(f->loop, f->spawner, LOOP_READ, play_spawner, f);
	CHECK(store_open(f->loop, f->fd, &f->store, &e) == 0);
	CHECK(images_open(f->loop, f->store, f->spawn, &f->t, &e) == 0);
}

static void fix_close(struct fix *f)
{
	images_free(f->t);
	store_free(f->store);
	spawn_free(f->spawn);
	loop_fd_free(f->watch);
	loop_free(f->loop);
	close(f->spawner);
	close(f->fd);
}

static void fix_init(struct fix *f)
{
	*f = (struct fix){0};
	strlcpy_(f->dir, "/tmp/tandem-images-XXXXXX", sizeof(f->dir));
	CHECK(mkdtemp(f->dir) != NULL);
	fix_open(f);
}

static void fix_done(struct fix *f)
{
	fix_close(f);
	io_rm_tree(AT_FDCWD, f->dir, NULL);
}

static void on_swept(struct image_sweep *s, const struct err *e)
{
	struct fix *f = container_of(s, struct fix, sweep);

	CHECK(!e->kind);
	f->swept = true;
	loop_stop(f->loop);
}

static void sweep(struct fix *f)
{
	f->swept = false;
	f->sweep = (struct image_sweep){.done = on_swept};
	image_sweep_start(f->t, &f->sweep);
	CHECK(!f->swept);
	loop_run(f->loop);
	CHECK(f->swept);
}

/* A digest made of one letter. */
static const char *hex(char c)
{
	static char text[128][65];

	memset(text[c & 127], c, 64);
	return text[c & 127];
}

static bool layer_there(const struct fix *f, char c)
{
	auto_close int fd = image_layer_open(f->t, hex(c), NULL);

	return fd >= 0;
}

/* An image as a pull leaves it: its layers are the letters of layers. */
static struct image *put(struct fix *f, const char *reference, char digest, const char *layers)
{
	struct image *im;
	auto_buf text = {0};
	struct store_image row = {reference, hex(digest), hex('0'), "", "{\"config\": {\"Cmd\": [\"x\"]}}",
				  0,	     1,		  false};
	struct err e = {0};

	for (const char *c = layers; *c; c++) {
		buf_addf(&text, "%s%s:%d", text.n ? " " : "", hex(*c), 10);
		if (!layer_there(f, *c))
			CHECK(mkdirat(f->t->layers_fd, hex(*c), 0755) == 0);
	}
	row.layers = text.p;
	im = image_of_row(&row, &e);
	CHECK(im != NULL);
	im = image_insert(f->t, im);
	image_save(f->t, NULL, im);
	return im;
}

static struct loop *waiting;

static void on_removed(struct store_op *op, const struct err *e)
{
	CHECK(!e->kind);
	loop_stop(waiting);
}

static int forget(struct fix *f, struct image *im)
{
	struct store_op op = {.done = on_removed};
	struct err e = {0};

	waiting = f->loop;
	if (image_remove_start(f->t, im, &op, &e) < 0)
		return e.kind;
	loop_run(f->loop);
	return 0;
}

TEST(found_by_every_name)
{
	struct fix f;
	struct image *im;

	fix_init(&f);
	im = put(&f, "docker.io/library/app:latest", 'a', "1");
	CHECK(image_find(f.t, "app") == im);
	CHECK(image_find(f.t, "docker.io/library/app:latest") == im);
	CHECK(image_find(f.t, "sha256:aaaaaaaa") == im);
	CHECK(!image_find(f.t, "sha256:aaa"));
	CHECK(!image_find(f.t, "sha256:bbbbbbbb"));
	CHECK(!image_find(f.t, "app:2"));
	CHECK(!image_find(f.t, "App!"));
	CHECK(image_at(f.t, 0) == im && !image_at(f.t, 1));
	CHECK_STR(im->config.cmd[0], "x");
	fix_done(&f);
}

TEST(what_is_used_is_not_removed)
{
	struct fix f;
	struct image *im;

	fix_init(&f);
	im = image_use(put(&f, "localhost/a:1", 'a', "12"));
	CHECK(forget(&f, im) == ERR_CONFLICT);
	sweep(&f);
	CHECK(f.removed == 0 && layer_there(&f, '1') && layer_there(&f, '2'));
	image_unuse(im);
	CHECK(forget(&f, im) == 0);
	CHECK(layer_there(&f, '1'));
	sweep(&f);
	CHECK(f.sweep.layers == 2 && f.removed == 2 && !layer_there(&f, '1') && !layer_there(&f, '2'));
	fix_done(&f);
}

TEST(layers_stay_as_long_as_one_image_has_them)
{
	struct fix f;

	fix_init(&f);
	put(&f, "localhost/a:1", 'a', "12");
	put(&f, "localhost/b:1", 'b', "13");
	CHECK(forget(&f, image_find(f.t, "localhost/a:1")) == 0);
	sweep(&f);
	CHECK(f.sweep.layers == 1 && layer_there(&f, '1') && !layer_there(&f, '2') && layer_there(&f, '3'));
	fix_done(&f);
}

/* Pulled anew while somebody runs from the old one: it goes on under its digest, and goes when nobody uses it. */
TEST(a_name_that_moves)
{
	struct fix f;
	struct image *old, *new;

	fix_init(&f);
	old = image_use(put(&f, "localhost/a:1", 'a', "12"));
	new = put(&f, "localhost/a:1", 'b', "13");
	CHECK(image_find(f.t, "localhost/a:1") == new);
	CHECK(old->moved && image_find(f.t, "sha256:aaaaaaaaaaaa") == old);
	CHECK(!strncmp(old->reference, "localhost/a@sha256:aaaa", 23));
	sweep(&f);
	CHECK(f.sweep.images == 0 && layer_there(&f, '2'));

	/* The same once more, with the first still there. */
	image_use(new);
	put(&f, "localhost/a:1", 'a', "12");
	CHECK(f.t->n == 3 && new->moved);

	/* The same name, the same image: nothing moves. */
	CHECK(put(&f, "localhost/a:1", 'a', "12") == image_find(f.t, "localhost/a:1") && f.t->n == 3);

	image_unuse(old);
	image_unuse(new);
	sweep(&f);
	CHECK(f.sweep.images == 2 && f.t->n == 1);
	CHECK(layer_there(&f, '1') && layer_there(&f, '2') && !layer_there(&f, '3'));
	fix_done(&f);
}

TEST(found_again_after_a_restart)
{
	struct fix f;
	struct image *im;

	fix_init(&f);
	im = image_use(put(&f, "localhost/a:1", 'a', "12"));
	put(&f, "localhost/a:1", 'b', "13");
	put(&f, "localhost/c:1", 'c', "");
	fix_close(&f);
	fix_open(&f);
	CHECK(f.t->n == 3);
	/* Who runs from the old one takes it again before the sweep. */
	im = image_find(f.t, "sha256:aaaaaaaaaaaa");
	CHECK(im && im->moved && im->n_layers == 2 && im->bytes == 20 && im->uses == 0);
	image_use(im);
	sweep(&f);
	CHECK(f.removed == 0 && f.t->n == 3);
	image_unuse(im);
	sweep(&f);
	CHECK(f.t->n == 2 && !layer_there(&f, '2'));
	fix_done(&f);
}

/* The first sweep of a daemon takes what its predecessor left half-done; a later one leaves who unpacks just now
 * alone. */
TEST(leftovers)
{
	char tmp[80];
	struct fix f;
	struct stat st;

	fix_init(&f);
	snprintf(tmp, sizeof(tmp), ".tmp-%.64s", hex('7'));
	CHECK(mkdirat(f.t->layers_fd, tmp, 0755) == 0 && mkdirat(f.t->layers_fd, hex('8'), 0755) == 0);
	CHECK(mkdirat(f.t->layers_fd, "gone-x", 0755) == 0 && mkdirat(f.t->incoming_fd, "in-1", 0755) == 0);
	sweep(&f);
	CHECK(f.sweep.layers == 1 && f.removed == 3);
	CHECK(fstatat(f.t->layers_fd, tmp, &st, 0) == 0);
	CHECK(fstatat(f.t->incoming_fd, "in-1", &st, 0) < 0);
	images_ready(f.t);
	sweep(&f);
	CHECK(f.removed == 4 && fstatat(f.t->layers_fd, tmp, &st, 0) < 0);
	fix_done(&f);
}

TEST(a_sweep_that_nobody_waits_for)
{
	struct fix f;

	fix_init(&f);
	put(&f, "localhost/a:1", 'a', "1");
	f.sweep = (struct image_sweep){.done = on_swept};
	image_sweep_start(f.t, &f.sweep);
	image_sweep_cancel(f.t, &f.sweep);
	image_sweep_cancel(f.t, &f.sweep);
	sweep(&f);
	image_sweep_start(f.t, &f.sweep); /* and one that the end of the table cuts off */
	fix_done(&f);
}
