/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"
#include "base/mem.h"

void table_init(struct table *t, const char *const *heads, unsigned cols)
{
	char *cells[TABLE_COLS];

	*t = (struct table){.cols = cols};
	for (unsigned i = 0; i < cols; i++) {
		t->right[i] = heads[i][0] == '>';
		cells[i] = xstrdup(heads[i] + t->right[i]);
	}
	table_row(t, cells);
}

void table_row(struct table *t, char **cells)
{
	if (t->rows == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 16;
		t->cells = xrealloc(t->cells, sizeof(char *) * t->cap * t->cols);
	}
	for (unsigned i = 0; i < t->cols; i++)
		t->cells[t->rows * t->cols + i] = cells[i] ? cli_clean(cells[i]) : xstrdup("-");
	t->rows++;
}

/* Columns on the screen: one per code point, good enough for names. */
static int width(const char *s)
{
	int n = 0;

	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

void table_print(struct table *t, struct cli *c)
{
	int w[TABLE_COLS] = {0};

	for (unsigned r = 0; r < t->rows; r++)
		for (unsigned i = 0; i < t->cols; i++) {
			int n = width(t->cells[r * t->cols + i]);

			if (n > w[i])
				w[i] = n;
		}
	for (unsigned r = 0; r < t->rows; r++) {
		fputs(cli_tint(c, r ? TINT_NONE : TINT_DIM), stdout);
		for (unsigned i = 0; i < t->cols; i++) {
			const char *s = t->cells[r * t->cols + i];
			int pad = w[i] - width(s);
			bool last = i + 1 == t->cols;

			printf("%*s%s%*s", t->right[i] ? pad : 0, "", s, t->right[i] || last ? 0 : pad, "");
			if (!last)
				fputs("  ", stdout);
		}
		fputs(r ? "" : cli_plain(c), stdout);
		putchar('\n');
	}
}

void table_done(struct table *t)
{
	for (unsigned i = 0; i < t->rows * t->cols; i++)
		free(t->cells[i]);
	free(t->cells);
	*t = (struct table){0};
}

bool table_list(struct cli *c, const struct json *list, const char *const *heads, unsigned cols,
		void (*row)(struct table *t, const struct json *item))
{
	struct table t;

	if (!json_len(list))
		return false;
	table_init(&t, heads, cols);
	for (size_t i = 0; i < json_len(list); i++)
		row(&t, json_at(list, i));
	table_print(&t, c);
	table_done(&t);
	return true;
}

char *table_text(const struct json *j, const char *key)
{
	struct str s = json_get_str(j, key);

	return s.n ? str_dup(s) : NULL;
}

char *table_int(const struct json *j, const char *key, const char *unit)
{
	return cli_cell("%lld%s", (long long)json_get_int(j, key, 0), unit);
}
