/* SPDX-License-Identifier: Apache-2.0 */
/* A page of keys. What lies below a common prefix is not read but skipped by one seek. */
#include "base/mem.h"
#include "object/object_int.h"

static struct object_row *add(struct object_list *l)
{
	struct object_row *r = &l->rows[l->n++];

	*r = (struct object_row){0};
	return r;
}

/* Of what is "PREFIX...DELIMITER" in the key so much; 0: it has none. */
static size_t common(const struct object_list *l, const char *key)
{
	size_t n = strlen(l->prefix);
	const char *at = *l->delimiter && str_starts(str_of(key), l->prefix) ? strstr(key + n, l->delimiter) : NULL;

	return at ? (size_t)(at - key) + strlen(l->delimiter) : 0;
}

/* The first that does not begin with those bytes. UTF-8 has no byte 0xff: one more is always there. */
static char *beyond(const char *key, size_t n)
{
	char *s = xstrndup(key, n);

	s[n - 1]++;
	return s;
}

static int each(void *arg, struct object_row *r)
{
	struct object_list *l = arg;
	size_t n = common(l, r->key);

	if (!str_starts(str_of(r->key), l->prefix))
		return 1;
	if (l->n == l->max) {
		l->truncated = true;
		return 1;
	}
	if (n) {
		add(l)->key = xstrndup(r->key, n);
		l->skip = beyond(r->key, n);
		return 1;
	}
	*add(l) = *r;
	*r = (struct object_row){0};
	return 0;
}

static void clear(struct object_list *l)
{
	for (int i = 0; i < l->n; i++)
		object_row_done(&l->rows[i]);
	l->n = 0;
	l->truncated = false;
}

static int read_page(struct store_part *p, struct db *d, struct err *e)
{
	struct object_list *l = container_of(p, struct object_list, part);
	size_t n = common(l, l->after);
	bool more = strcmp(l->after, l->prefix) >= 0 && *l->after && (!n || l->after[n]);
	auto_free char *from = n && !l->after[n] ? beyond(l->after, n) : more ? xstrdup(l->after) : xstrdup(l->prefix);

	clear(l);
	do {
		free(take_ptr(l->skip));
		if (object_row_each(d, l->bucket, from, more, l->max - l->n + 1, each, l, e) < 0)
			return -1;
		if (l->skip) {
			free(from);
			from = xstrdup(l->skip);
			more = false;
		}
	} while (l->skip);
	return 0;
}

static void listed(struct store_op *op, const struct err *e)
{
	struct object_list *l = container_of(op, struct object_list, tx.op);

	l->done(l, object_heard(op, e));
}

void object_list_start(struct objects *o, struct object_list *l)
{
	const char **text[] = {&l->bucket, &l->prefix, &l->delimiter, &l->after};

	for (int i = 0; i < 4; i++)
		*text[i] = l->own[i] = xstrdup(*text[i] ? *text[i] : "");
	l->rows = xcalloc((size_t)l->max + 1, sizeof(*l->rows));
	l->n = 0;
	l->skip = NULL;
	store_tx_init(&l->tx);
	l->tx.op.done = listed;
	l->part = (struct store_part){.apply = read_page};
	store_tx_add(&l->tx, &l->part);
	store_tx_read(o->opts.store, &l->tx);
}

void object_list_done(struct object_list *l)
{
	clear(l);
	free(take_ptr(l->rows));
	free(take_ptr(l->skip));
	for (int i = 0; i < 4; i++)
		free(take_ptr(l->own[i]));
}
