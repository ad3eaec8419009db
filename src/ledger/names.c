/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/names.h"
#include <stdio.h>
#include "base/enc.h"
#include "base/io.h"
#include "base/mem.h"
#include "ledger/metrics.h"

#define JUMP_MAX 1000000 /* numbers are handed out one by one: a line far beyond the others is damaged */

typedef void name_each(void *arg, uint32_t number, struct str text);

/* Each good line of the file, whose bytes it returns. */
static int64_t each_line(int dirfd, name_each *f, void *arg, struct err *e)
{
	auto_buf file = {0}, text = {0};
	struct str rest, line, number, coded;
	struct err why = {0};
	int64_t highest = 0;

	if (io_read_file(dirfd, NAMES_FILE, NAMES_FILE_BYTES, &file, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return 0;
		return err_set(e, why.kind, "%s", why.text);
	}
	for (rest = buf_str(&file); str_cut(rest, '\n', &line, &rest);) {
		int64_t v;

		if (!str_cut(line, ' ', &number, &coded) || str_to_i64(number, 1, highest + JUMP_MAX, &v) < 0)
			continue;
		buf_clear(&text);
		if (dec_percent(&text, coded, false) < 0 || memchr(text.p ? text.p : "", 0, text.n))
			continue;
		if (highest < v)
			highest = v;
		f(arg, (uint32_t)v, buf_str(&text));
	}
	return (int64_t)file.n;
}

static void room(struct names *n, uint32_t number)
{
	uint32_t cap = n->cap ? n->cap : 64;

	while (cap <= number)
		cap *= 2;
	if (cap != n->cap) {
		n->v = xrealloc(n->v, cap * sizeof(*n->v));
		memset(n->v + n->cap, 0, (cap - n->cap) * sizeof(*n->v));
		n->cap = cap;
	}
	if (n->n <= number)
		n->n = number + 1;
}

static struct name *add(struct names *n, uint32_t number, struct str text)
{
	struct name *name = xcalloc(1, sizeof(*name));

	room(n, number);
	name->text = str_dup(text);
	name->number = number;
	n->v[number] = name;
	map_put(&n->by_text, str_of(name->text), name);
	return name;
}

static void drop(struct names *n, struct name *name)
{
	map_del(&n->by_text, str_of(name->text));
	n->v[name->number] = NULL;
	metrics_free(name->metrics);
	free(name->text);
	free(name);
}

static void load_line(void *arg, uint32_t number, struct str text)
{
	struct names *n = arg;
	struct name *old = map_get(&n->by_text, text);

	if (old)
		drop(n, old);
	room(n, number);
	if (n->v[number])
		drop(n, n->v[number]);
	add(n, number, text)->saved = true;
}

int names_load(struct names *n, int dirfd, struct err *e)
{
	*n = (struct names){0};
	room(n, 0);
	n->file_bytes = each_line(dirfd, load_line, n, e);
	return n->file_bytes < 0 ? -1 : 0;
}

void names_done(struct names *n)
{
	for (uint32_t i = 0; i < n->n; i++)
		if (n->v[i])
			drop(n, n->v[i]);
	map_done(&n->by_text);
	free(n->v);
	free(n->unused);
	*n = (struct names){0};
}

uint32_t names_ref(struct names *n, const char *text)
{
	struct name *name = map_get(&n->by_text, str_of(text));

	if (!name)
		name = add(n, n->n_unused ? n->unused[--n->n_unused] : n->n, str_of(text));
	name->refs++;
	name->deleted = false;
	return name->number;
}

void names_unref(struct names *n, uint32_t number)
{
	struct name *name = names_at(n, number);

	if (!name || name->refs == 0 || --name->refs)
		return;
	/* What is in the file keeps its number: sleeping and waking again must not add a line. */
	if (name->saved && !name->deleted)
		return;
	if (!name->saved) {
		if (n->n_unused == n->cap_unused) {
			n->cap_unused = n->cap_unused ? n->cap_unused * 2 : 64;
			n->unused = xrealloc(n->unused, n->cap_unused * sizeof(*n->unused));
		}
		n->unused[n->n_unused++] = number;
	}
	drop(n, name);
}

void names_forget(struct names *n, const char *text)
{
	struct name *name = map_get(&n->by_text, str_of(text));

	if (!name)
		return;
	metrics_free(take_ptr(name->metrics));
	name->deleted = true;
	if (name->refs == 0)
		drop(n, name);
}

void names_line(struct buf *out, uint32_t number, const char *text)
{
	buf_add_i64(out, number);
	buf_addc(out, ' ');
	enc_percent(out, str_of(text), true);
	buf_addc(out, '\n');
}

static void table_line(void *arg, uint32_t number, struct str text)
{
	struct name_table *t = arg;

	if (number >= t->n) {
		uint32_t n = t->n ? t->n : 64;

		while (n <= number)
			n *= 2;
		t->v = xrealloc(t->v, n * sizeof(*t->v));
		memset(t->v + t->n, 0, (n - t->n) * sizeof(*t->v));
		t->n = n;
	}
	free(t->v[number]);
	t->v[number] = str_dup(text);
}

int name_table_load(struct name_table *t, int dirfd, struct err *e)
{
	*t = (struct name_table){0};
	return each_line(dirfd, table_line, t, e) < 0 ? -1 : 0;
}

void name_table_done(struct name_table *t)
{
	for (uint32_t i = 0; i < t->n; i++)
		free(t->v[i]);
	free(t->v);
	*t = (struct name_table){0};
}

const char *name_table_text(const struct name_table *t, uint32_t number, char spare[16])
{
	if (number == 0)
		return "";
	if (number < t->n && t->v[number])
		return t->v[number];
	snprintf(spare, 16, "?%u", number);
	return spare;
}
