/* SPDX-License-Identifier: Apache-2.0 */
#include "image/image.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "image/image_int.h"
#include "image/manifest.h"
#include "image/reference.h"

static_assert(IMAGE_REF_MAX >= REFERENCE_MAX, "a reference fits");
static_assert(IMAGE_REF_MAX < SPAWNER_REF, "a reference fits into its message");

void image_free(struct image *im)
{
	if (!im)
		return;
	image_config_done(&im->config);
	free(im->layers);
	free(im->config_json);
	free(im);
}

/* --- rows --- */

static int read_layers(struct image *im, const char *text, struct err *e)
{
	struct str rest = str_of(text), one, hex, bytes;

	while (str_next(&rest, ' ', &one)) {
		struct image_layer *l;

		im->layers = xrealloc(im->layers, (im->n_layers + 1) * sizeof(*im->layers));
		l = &im->layers[im->n_layers++];
		if (!str_cut(one, ':', &hex, &bytes) || !reference_digest_ok(hex) ||
		    str_to_i64(bytes, 0, INT64_MAX, &l->bytes) < 0)
			return err_set(e, ERR_CORRUPT, "its layers cannot be read");
		snprintf(l->diff_id, sizeof(l->diff_id), STR_FMT, STR_ARG(hex));
		im->bytes += l->bytes;
	}
	return 0;
}

struct image *image_of_row(const struct store_image *row, struct err *e)
{
	struct image *im = xcalloc(1, sizeof(*im));

	strlcpy_(im->reference, row->reference, sizeof(im->reference));
	strlcpy_(im->digest, row->digest, sizeof(im->digest));
	strlcpy_(im->config_digest, row->config_digest, sizeof(im->config_digest));
	strlcpy_(im->arch, image_host_arch(), sizeof(im->arch));
	im->created_wall_us = row->created_wall_us;
	im->pulled_wall_us = row->pulled_wall_us;
	im->moved = row->moved;
	im->config_json = xstrdup(row->config);
	if (read_layers(im, row->layers, e) == 0 && image_config_parse(str_of(row->config), &im->config, e) == 0)
		return im;
	image_free(im);
	return NULL;
}

void image_save(struct images *t, struct store_op *op, const struct image *im)
{
	auto_buf layers = {0};
	struct store_image row = {
		.reference = im->reference,
		.digest = im->digest,
		.config_digest = im->config_digest,
		.config = im->config_json,
		.created_wall_us = im->created_wall_us,
		.pulled_wall_us = im->pulled_wall_us,
		.moved = im->moved,
	};

	for (unsigned i = 0; i < im->n_layers; i++)
		buf_addf(&layers, "%s%s:%lld", i ? " " : "", im->layers[i].diff_id, (long long)im->layers[i].bytes);
	row.layers = layers.n ? layers.p : "";
	store_image_put(t->store, op, &row);
}

/* --- table --- */

static void add(struct images *t, struct image *im)
{
	unsigned i = t->n;

	if (t->n == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 16;
		t->sorted = xrealloc(t->sorted, t->cap * sizeof(*t->sorted));
	}
	for (; i && strcmp(t->sorted[i - 1]->reference, im->reference) > 0; i--)
		t->sorted[i] = t->sorted[i - 1];
	t->sorted[i] = im;
	t->n++;
	map_put(&t->by_reference, str_of(im->reference), im);
}

void image_take_out(struct images *t, struct image *im)
{
	unsigned i = 0;

	while (t->sorted[i] != im)
		i++;
	memmove(&t->sorted[i], &t->sorted[i + 1], (--t->n - i) * sizeof(*t->sorted));
	map_del(&t->by_reference, str_of(im->reference));
}

/* Its name is another's from now on; who uses it finds it by its digest. */
static void move_away(struct images *t, struct image *im)
{
	char name[sizeof(im->reference)];
	const char *at = strstr(im->reference, "@sha256:"), *colon = strrchr(im->reference, ':');
	int n = (int)((at ? at : colon) - im->reference);

	snprintf(name, sizeof(name), "%.*s@sha256:%s", n, im->reference, im->digest);
	for (unsigned i = 2; map_get(&t->by_reference, str_of(name)); i++)
		snprintf(name, sizeof(name), "%.*s@sha256:%s+%u", n, im->reference, im->digest, i);
	image_take_out(t, im);
	strlcpy_(im->reference, name, sizeof(im->reference));
	im->moved = true;
	add(t, im);
	image_save(t, NULL, im);
}

struct image *image_insert(struct images *t, struct image *im)
{
	struct image *old = map_get(&t->by_reference, str_of(im->reference));

	if (old && !strcmp(old->digest, im->digest)) { /* nothing new; who uses it goes on with it */
		old->pulled_wall_us = im->pulled_wall_us;
		old->moved = false;
		image_free(im);
		return old;
	}
	if (old && image_used(t, old)) {
		move_away(t, old);
	} else if (old) {
		image_take_out(t, old);
		image_free(old);
	}
	add(t, im);
	return im;
}

int64_t image_layer_bytes(const struct images *t, const char *diff_id)
{
	for (unsigned i = 0; i < t->n; i++)
		for (unsigned k = 0; k < t->sorted[i]->n_layers; k++)
			if (!strcmp(t->sorted[i]->layers[k].diff_id, diff_id))
				return t->sorted[i]->layers[k].bytes;
	return -1;
}

static struct image *by_digest(const struct images *t, struct str hex)
{
	for (unsigned i = 0; hex.n >= 8 && hex.n <= 64 && i < t->n; i++)
		if (!strncmp(t->sorted[i]->digest, hex.p, hex.n))
			return t->sorted[i];
	return NULL;
}

struct image *image_find(const struct images *t, const char *reference)
{
	struct image *im = map_get(&t->by_reference, str_of(reference));
	struct reference r;

	if (!im && !strncmp(reference, "sha256:", 7))
		return by_digest(t, str_of(reference + 7));
	if (im || reference_parse(reference, &r, NULL) < 0)
		return im;
	im = map_get(&t->by_reference, str_of(r.text));
	if (!im && registry_owns(t, reference, &r))
		im = map_get(&t->by_reference, str_of(r.text));
	return im || !*r.digest ? im : by_digest(t, str_of(r.digest));
}

struct image *image_at(const struct images *t, unsigned i)
{
	return i < t->n ? t->sorted[i] : NULL;
}

struct image *image_use(struct image *im)
{
	im->uses++;
	return im;
}

void image_unuse(struct image *im)
{
	assert(im->uses);
	im->uses--;
}

bool image_used(const struct images *t, const struct image *im)
{
	return im->uses || store_names_image(t->store, im->digest);
}

int image_layer_open(const struct images *t, const char diff_id[65], struct err *e)
{
	int fd = openat(t->layers_fd, diff_id, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "layer %.12s is not there; pull the image again", diff_id);
	return fd < 0 ? err_sys(e, errno, "open layer %.12s", diff_id) : fd;
}

int image_remove_start(struct images *t, struct image *im, struct store_op *op, struct err *e)
{
	if (im->uses)
		return err_set(e, ERR_CONFLICT, "%s is in use %u times; end what runs from it first", im->reference,
			       im->uses);
	if (image_used(t, im))
		return err_set(e, ERR_CONFLICT, "a function is made of %s", im->reference);
	image_take_out(t, im);
	store_image_del(t->store, op, im->reference);
	image_free(im);
	return 0;
}

/* --- life --- */

static int open_dir(int at, const char *name, int *ret, struct err *e)
{
	if (mkdirat(at, name, 0711) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make %s", name);
	*ret = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return *ret < 0 ? err_sys(e, errno, "open %s", name) : 0;
}

static void load(void *arg, const struct store_image *row)
{
	struct err e = {0};
	struct image *im = image_of_row(row, &e);

	if (im)
		add(arg, im);
	else
		log_error("image", "%s is left out: %s", row->reference, e.text);
}

int images_open(struct loop *l, struct store *st, struct spawn *sp, struct images **ret, struct err *e)
{
	struct images *t = xcalloc(1, sizeof(*t));

	t->loop = l;
	t->store = st;
	t->spawn = sp;
	t->layers_fd = t->incoming_fd = -1;
	t->next_incoming = rand_u64();
	list_init(&t->pulls);
	list_init(&t->uploads);
	list_init(&t->pushes);
	registry_open(t);
	if (open_dir(store_dirfd(st), "layers", &t->layers_fd, e) < 0 ||
	    open_dir(store_dirfd(st), "incoming", &t->incoming_fd, e) < 0 || store_image_each(st, load, t, e) < 0) {
		images_free(t);
		return err_wrap(e, "images");
	}
	t->thread = loop_thread_new(l, "images");
	*ret = t;
	return 0;
}

void images_free(struct images *t)
{
	if (!t)
		return;
	registry_close(t);
	pulls_free(t);
	pushes_free(t);
	uploads_free(t);
	sweep_free(t);
	if (t->thread)
		loop_thread_free(t->thread);
	for (unsigned i = 0; i < t->n; i++)
		image_free(t->sorted[i]);
	free(t->sorted);
	map_done(&t->by_reference);
	if (t->layers_fd >= 0)
		close(t->layers_fd);
	if (t->incoming_fd >= 0)
		close(t->incoming_fd);
	free(t);
}

int incoming_new(struct images *t, char ret_name[24], struct err *e)
{
	int fd;

	snprintf(ret_name, 24, "in-%016llx", (unsigned long long)t->next_incoming++);
	if (mkdirat(t->incoming_fd, ret_name, 0700) < 0)
		return err_sys(e, errno, "make incoming/%s", ret_name);
	fd = openat(t->incoming_fd, ret_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	/* Open to skopeo, which has an id of its own; to nobody else, for the directory above is closed. */
	if (fd < 0 || fchmod(fd, 0777) < 0) {
		err_sys(e, errno, "open incoming/%s", ret_name);
		close_p(&fd);
		return -1;
	}
	return fd;
}
