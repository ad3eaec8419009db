/* SPDX-License-Identifier: Apache-2.0 */
#include "advise/trace.h"
#include <errno.h>
#include <fcntl.h>
#include "base/buf.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"

enum { COLUMNS_MAX = 2048, READ_BYTES = 65536 };
#define WORDS_MAX 9 /* columns that a file must have, besides minutes */

const double trace_percent[TRACE_POINTS] = {0, 1, 25, 50, 75, 99, 100};

/* One file: its columns and its present row. */
struct csv {
	const char *name;
	const char *const *words; /* the columns that it must have */
	int n_words, n_columns, n_minutes;
	int fd;
	int64_t line;
	bool end;
	struct buf b;
	size_t used;		    /* of b: lines that were given out */
	uint16_t slot[COLUMNS_MAX]; /* where a column's value goes: 0 nowhere, else 1 + its place in value */
	struct str value[WORDS_MAX + TRACE_MINUTES_MAX];
};

static const char *const inv_words[] = {"HashFunction", "HashApp"};
static const char *const run_words[] = {"HashFunction",		 "Average",
					"percentile_Average_0",	 "percentile_Average_1",
					"percentile_Average_25", "percentile_Average_50",
					"percentile_Average_75", "percentile_Average_99",
					"percentile_Average_100"};
static const char *const mem_words[] = {"HashApp", "AverageAllocatedMb"};

/* A row of run.csv or mem.csv: numbers in thousandths. */
struct entry {
	char *name;
	int64_t number[WORDS_MAX - 1];
};

struct trace {
	struct csv inv;
	struct map run, mem;
	int64_t left_out;
};

static int wrong(const struct csv *c, struct err *e, const char *what)
{
	return err_set(e, ERR_CORRUPT, "%s, line %lld: %s", c->name, (long long)c->line, what);
}

/* 1: *ret is the next line without its end, until the next call; 0: none is left; -1. */
static int next_line(struct csv *c, struct str *ret, struct err *e)
{
	for (size_t seen = 0;;) {
		size_t n = c->b.n - c->used;
		char *p = c->b.p + c->used, *end = n > seen ? memchr(p + seen, '\n', n - seen) : NULL;
		ssize_t got;

		if (end) {
			c->line++;
			c->used += (size_t)(end - p) + 1;
			if (end > p && end[-1] == '\r')
				end--;
			*ret = (struct str){p, (size_t)(end - p)};
			return 1;
		}
		if (n >= LIM_TRACE_LINE_BYTES)
			return err_set(e, ERR_LIMIT, "%s, line %lld: longer than %d bytes", c->name,
				       (long long)c->line + 1, LIM_TRACE_LINE_BYTES);
		if (c->end && n)
			return err_set(e, ERR_CORRUPT, "%s was cut off: line %lld has no end", c->name,
				       (long long)c->line + 1);
		if (c->end)
			return 0;
		buf_drop(&c->b, c->used);
		c->used = 0;
		seen = n;
		buf_reserve(&c->b, READ_BYTES);
		do
			got = read(c->fd, c->b.p + c->b.n, READ_BYTES);
		while (got < 0 && errno == EINTR);
		if (got < 0)
			return err_sys(e, errno, "read %s", c->name);
		c->end = !got;
		c->b.n += (size_t)got;
	}
}

/* Column "minute_7" or "7" is 7; others are 0. */
static int minute_of(struct str name)
{
	static const struct str prefix = STR("minute_");
	int64_t n;

	if (str_starts(name, prefix.p))
		name = (struct str){name.p + prefix.n, name.n - prefix.n};
	return str_to_i64(name, 1, TRACE_MINUTES_MAX, &n) < 0 ? 0 : (int)n;
}

/* Where the value of a column of this name goes, one more; 0: nowhere. */
static int slot_of(const struct csv *c, struct str name)
{
	int minute;

	for (int k = 0; k < c->n_words; k++)
		if (str_eqc(name, c->words[k]))
			return k + 1;
	minute = minute_of(name);
	return minute ? c->n_words + minute : 0;
}

/* Cuts a line at its commas. */
static struct str field(struct str *rest)
{
	struct str f, after;

	if (str_cut(*rest, ',', &f, &after)) {
		*rest = after;
		return f;
	}
	f = *rest;
	*rest = STR_NULL;
	return f;
}

static int read_heading(struct csv *c, struct err *e)
{
	bool have[WORDS_MAX + TRACE_MINUTES_MAX + 1] = {0};
	struct str rest;
	int r = next_line(c, &rest, e), last = c->n_words;

	if (r < 0)
		return -1;
	if (!r)
		return err_set(e, ERR_CORRUPT, "%s is empty", c->name);
	while (rest.p) {
		int s = slot_of(c, field(&rest));

		if (c->n_columns == COLUMNS_MAX)
			return wrong(c, e, "too many columns");
		if (s && have[s])
			return wrong(c, e, "a column stands there twice");
		have[s] = true;
		c->slot[c->n_columns++] = (uint16_t)s;
		last = s > last ? s : last;
	}
	c->n_minutes = last - c->n_words;
	for (int k = 0; k < last; k++)
		if (!have[k + 1] && k < c->n_words)
			return err_set(e, ERR_CORRUPT, "%s has no column %s", c->name, c->words[k]);
		else if (!have[k + 1])
			return err_set(e, ERR_CORRUPT, "%s has no column of minute %d", c->name, k - c->n_words + 1);
	return 0;
}

/* 1: c->value is the next row, until the next call. */
static int next_row(struct csv *c, struct err *e)
{
	struct str rest;
	int r = next_line(c, &rest, e), n;

	if (r <= 0)
		return r;
	for (n = 0; rest.p && n < c->n_columns; n++) {
		struct str f = field(&rest);

		if (c->slot[n])
			c->value[c->slot[n] - 1] = f;
	}
	if (n < c->n_columns || rest.p)
		return wrong(c, e, "not as many columns as in the heading");
	return 1;
}

static int csv_open(struct csv *c, int dirfd, const char *name, const char *const *words, size_t n, struct err *e)
{
	*c = (struct csv){.name = name, .words = words, .n_words = (int)n};
	c->fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	if (c->fd < 0)
		return err_sys(e, errno, "open %s", name);
	buf_reserve(&c->b, READ_BYTES);
	return read_heading(c, e);
}

static void csv_close(struct csv *c)
{
	close_p(&c->fd);
	buf_done(&c->b);
}

/* "12", "12.5": thousandths. */
static int thousandths(struct str s, int64_t max, int64_t *ret)
{
	struct str whole = s, part = STR_NULL;
	int64_t n, unit = 100;

	str_cut(s, '.', &whole, &part);
	if (str_to_i64(whole, 0, max, &n) < 0)
		return -1;
	n *= 1000;
	for (size_t i = 0; i < part.n; i++, unit /= 10) {
		if (part.p[i] < '0' || part.p[i] > '9')
			return -1;
		n += unit * (part.p[i] - '0');
	}
	*ret = n;
	return 0;
}

static void entry_free(struct entry *n)
{
	if (n)
		free(n->name);
	free(n);
}

static void entry_free_p(struct entry **n)
{
	entry_free(*n);
}

static int read_entry(struct csv *c, struct entry *n, struct err *e)
{
	n->name = str_dup(c->value[0]);
	for (int k = 1; k < c->n_words; k++)
		if (thousandths(c->value[k], LIM_TRACE_NUMBER, &n->number[k - 1]) < 0)
			return err_set(e, ERR_CORRUPT, "%s, line %lld: %s is no number from 0 to %lld", c->name,
				       (long long)c->line, c->words[k], LIM_TRACE_NUMBER);
	for (int k = 3; k < c->n_words; k++)
		if (n->number[k - 1] < n->number[k - 2])
			return wrong(c, e, "a percentile is less than the one before");
	return 0;
}

/* A whole file into a map by its first word. */
static int read_table(int dirfd, const char *name, const char *const *words, size_t n, struct map *into, struct err *e)
{
	auto_(csv_close) struct csv c;
	int r = csv_open(&c, dirfd, name, words, n, e);

	while (!r && (r = next_row(&c, e)) > 0) {
		auto_(entry_free_p) struct entry *one = xcalloc(1, sizeof(*one));

		if (into->n == LIM_TRACE_ROWS)
			return err_set(e, ERR_LIMIT, "%s has more than %d rows", name, LIM_TRACE_ROWS);
		r = read_entry(&c, one, e);
		if (!r && map_get(into, str_of(one->name)))
			r = wrong(&c, e, "stands there twice");
		if (r < 0)
			return -1;
		map_put(into, str_of(one->name), one);
		take_ptr(one);
	}
	return r;
}

int trace_open(const char *folder, struct trace **ret, struct err *e)
{
	auto_close int dirfd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct trace *t;

	if (dirfd < 0)
		return err_sys(e, errno, "open %s", folder);
	t = xcalloc(1, sizeof(*t));
	t->inv.fd = -1;
	if (read_table(dirfd, "run.csv", run_words, ARRAY_SIZE(run_words), &t->run, e) < 0 ||
	    read_table(dirfd, "mem.csv", mem_words, ARRAY_SIZE(mem_words), &t->mem, e) < 0 ||
	    csv_open(&t->inv, dirfd, "inv.csv", inv_words, ARRAY_SIZE(inv_words), e) < 0) {
		trace_free(t);
		return err_wrap(e, "%s", folder);
	}
	*ret = t;
	return 0;
}

static int read_calls(struct csv *c, struct trace_function *f, struct err *e)
{
	f->minutes = c->n_minutes;
	for (int k = 0; k < c->n_minutes; k++) {
		int64_t n;

		if (str_to_i64(c->value[c->n_words + k], 0, LIM_TRACE_CALLS, &n) < 0)
			return err_set(e, ERR_CORRUPT, "inv.csv, line %lld: minute %d is no number from 0 to %d",
				       (long long)c->line, k + 1, LIM_TRACE_CALLS);
		f->calls[k] = (uint32_t)n;
	}
	return 0;
}

int trace_next(struct trace *t, struct trace_function *ret, struct err *e)
{
	int r;

	while ((r = next_row(&t->inv, e)) > 0) {
		const struct entry *run = map_get(&t->run, t->inv.value[0]), *mem = map_get(&t->mem, t->inv.value[1]);

		if (read_calls(&t->inv, ret, e) < 0)
			return -1;
		if (!run || !mem) {
			t->left_out++;
			continue;
		}
		ret->name = t->inv.value[0];
		ret->average_us = run->number[0];
		memcpy(ret->duration_us, run->number + 1, sizeof(ret->duration_us));
		ret->held_bytes = mem->number[0] * 1048576 / 1000;
		return 1;
	}
	return r;
}

int64_t trace_left_out(const struct trace *t)
{
	return t->left_out;
}

static void map_free(struct map *m)
{
	struct entry *n;
	size_t pos = 0;

	while ((n = map_next(m, &pos)))
		entry_free(n);
	map_done(m);
}

void trace_free(struct trace *t)
{
	if (!t)
		return;
	map_free(&t->run);
	map_free(&t->mem);
	csv_close(&t->inv);
	free(t);
}
