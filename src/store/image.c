/* SPDX-License-Identifier: Apache-2.0 */
#include "store/image.h"

#include "base/mem.h"
#include "store/store_int.h"

static const char *append(char **at, const char *text)
{
	size_t n = strlen(text) + 1;
	char *to = memcpy(*at, text, n);

	*at += n;
	return to;
}

static struct store_image *copy(const struct store_image *im)
{
	size_t n = strlen(im->reference) + strlen(im->digest) + strlen(im->config_digest) + strlen(im->layers) +
		   strlen(im->config) + 5;
	struct store_image *ret = xmalloc(sizeof(*ret) + n);
	char *at = (char *)(ret + 1);

	*ret = *im;
	ret->reference = append(&at, im->reference);
	ret->digest = append(&at, im->digest);
	ret->config_digest = append(&at, im->config_digest);
	ret->layers = append(&at, im->layers);
	ret->config = append(&at, im->config);
	return ret;
}

void store_image_put(struct store *s, struct store_op *op, const struct store_image *im)
{
	struct change *c = change_new(CHANGE_IMAGE_PUT);

	c->image = copy(im);
	store_change_start(s, op, c);
}

void store_image_del(struct store *s, struct store_op *op, const char *reference)
{
	struct change *c = change_new(CHANGE_IMAGE_DEL);

	c->name = xstrdup(reference);
	store_change_start(s, op, c);
}

static const char *text_at(sqlite3_stmt *st, int i)
{
	const char *t = (const char *)sqlite3_column_text(st, i);

	return t ? t : "";
}

struct each_image {
	void (*each)(void *arg, const struct store_image *im);
	void *arg;
};

static int image_row(void *arg, sqlite3_stmt *st, struct err *e)
{
	const struct each_image *to = arg;
	struct store_image im = {
		text_at(st, 0),
		text_at(st, 1),
		text_at(st, 2),
		text_at(st, 5),
		text_at(st, 6),
		sqlite3_column_int64(st, 3),
		sqlite3_column_int64(st, 4),
		sqlite3_column_int(st, 7) != 0,
	};

	to->each(to->arg, &im);
	return 0;
}

int store_image_each(struct store *s, void (*each)(void *arg, const struct store_image *im), void *arg, struct err *e)
{
	return store_each(s, "SELECT * FROM image ORDER BY reference", image_row, &(struct each_image){each, arg}, e);
}
