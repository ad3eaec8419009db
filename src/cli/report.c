/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/report.h"
#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include "base/mem.h"
#include "cli/table.h"

#define WIDE_COLUMNS 3 /* with intervals beside the figures: more would not fit */

unsigned report_column(struct report *r, const char *name)
{
	assert(r->n_columns < REPORT_COLUMNS);
	r->column[r->n_columns] = xstrdup(name);
	return r->n_columns++;
}

void report_cannot(struct report *r, unsigned column, const char *why)
{
	free(r->cannot[column]);
	r->cannot[column] = xstrdup(why);
}

void report_figure(struct report *r, unsigned column, const char *phase, const char *name, const char *unit,
		   struct estimate v)
{
	unsigned i = 0;

	while (i < r->n_rows && (strcmp(r->row[i].phase, phase) || strcmp(r->row[i].name, name)))
		i++;
	if (i == r->n_rows) {
		assert(i < REPORT_ROWS);
		r->row[r->n_rows++] = (struct report_row){xstrdup(phase), xstrdup(name), xstrdup(unit), {{0, 0, 0, 0}}};
	}
	r->row[i].column[column] = v;
}

void report_fact(struct report *r, const char *key, const char *fmt, ...)
{
	va_list ap;
	char *text;

	assert(r->n_facts < ARRAY_SIZE(r->fact));
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	r->fact[r->n_facts].key = xstrdup(key);
	r->fact[r->n_facts++].text = text;
}

struct report_plot *report_plot(struct report *r, const char *title, const char *x, const char *y)
{
	for (unsigned i = 0; i < r->n_plots; i++)
		if (!strcmp(r->plot[i].title, title))
			return &r->plot[i];
	assert(r->n_plots < REPORT_PLOTS);
	r->plot[r->n_plots] = (struct report_plot){.title = xstrdup(title), .x = xstrdup(x), .y = xstrdup(y)};
	return &r->plot[r->n_plots++];
}

struct report_line *plot_line(struct report_plot *p, const char *name)
{
	assert(p->n_lines < REPORT_COLUMNS);
	p->line[p->n_lines].name = xstrdup(name);
	return &p->line[p->n_lines++];
}

void line_add(struct report_line *l, double x, double y)
{
	sample_add(&l->x, x);
	sample_add(&l->y, y);
}

void line_quantiles(struct report_line *l, const struct sample *s)
{
	size_t step = s->n / PLOT_POINTS + 1;

	for (size_t i = 0; i < s->n; i++)
		if (i % step == 0 || i + 20 > s->n) /* the tail is what one looks for */
			line_add(l, s->v[i], 100.0 * (double)(i + 1) / (double)s->n);
}

char *report_number(double v)
{
	double a = fabs(v);

	if (a != 0 && a < 1e-3)
		return xasprintf("%.2e", v);
	return xasprintf("%.*f", a == floor(a) || a >= 100 ? 0 : a < 0.1 ? 4 : a < 1 ? 3 : a < 10 ? 2 : 1, v);
}

static char *cell(const struct estimate *v, bool wide)
{
	auto_free char *value = report_number(v->value), *low = report_number(v->low), *high = report_number(v->high);

	if (!v->n)
		return NULL;
	return !wide || !(v->low < v->high) ? take_ptr(value) : xasprintf("%s (%s .. %s)", value, low, high);
}

void report_table(const struct report *r, struct cli *c)
{
	const char *heads[REPORT_COLUMNS + 4] = {"PHASE", "FIGURE", "UNIT"};
	struct table t;
	unsigned last = 3;

	for (unsigned k = 0; k < r->n_columns; k++)
		heads[last++] = r->column[k];
	heads[last++] = ">N";
	table_init(&t, heads, last);
	for (unsigned i = 0; i < r->n_rows; i++) {
		const struct report_row *row = &r->row[i];
		char *cells[REPORT_COLUMNS + 4] = {xstrdup(row->phase), xstrdup(row->name), xstrdup(row->unit)};
		size_t n = 0;

		for (unsigned k = 0; k < r->n_columns; k++) {
			cells[3 + k] = cell(&row->column[k], r->n_columns <= WIDE_COLUMNS);
			n = row->column[k].n > n ? row->column[k].n : n;
		}
		cells[last - 1] = xasprintf("%zu", n);
		table_row(&t, cells);
	}
	if (r->n_rows)
		table_print(&t, c);
	table_done(&t);
	for (unsigned k = 0; k < r->n_columns; k++)
		if (r->cannot[k]) {
			auto_free char *why = cli_clean(xstrdup(r->cannot[k]));

			printf("%s: %s\n", r->column[k], why);
		}
	for (unsigned i = 0; i < r->n_facts; i++) {
		auto_free char *text = cli_clean(xstrdup(r->fact[i].text));

		printf("%s: %s\n", r->fact[i].key, text);
	}
}

void report_json(const struct report *r, struct jw *w)
{
	jw_strc(w, "workload", r->workload);
	jw_strc(w, "kind", r->kind);
	jw_obj(w, "about");
	for (unsigned i = 0; i < r->n_facts; i++)
		jw_strc(w, r->fact[i].key, r->fact[i].text);
	jw_end(w, '}');
	jw_arr(w, "columns");
	for (unsigned k = 0; k < r->n_columns; k++) {
		jw_obj(w, NULL);
		jw_strc(w, "name", r->column[k]);
		if (r->cannot[k])
			jw_strc(w, "cannot", r->cannot[k]);
		jw_arr(w, "figures");
		for (unsigned i = 0; i < r->n_rows; i++) {
			const struct estimate *v = &r->row[i].column[k];

			if (!v->n)
				continue;
			jw_obj(w, NULL);
			jw_strc(w, "phase", r->row[i].phase);
			jw_strc(w, "name", r->row[i].name);
			jw_strc(w, "unit", r->row[i].unit);
			jw_real(w, "value", v->value);
			jw_real(w, "low", v->low);
			jw_real(w, "high", v->high);
			jw_int(w, "n", (int64_t)v->n);
			jw_end(w, '}');
		}
		jw_end(w, ']');
		jw_end(w, '}');
	}
	jw_end(w, ']');
}

void report_done(struct report *r)
{
	for (unsigned i = 0; i < r->n_rows; i++)
		free(r->row[i].phase), free(r->row[i].name), free(r->row[i].unit);
	for (unsigned k = 0; k < r->n_columns; k++)
		free(r->column[k]), free(r->cannot[k]);
	for (unsigned i = 0; i < r->n_facts; i++)
		free(r->fact[i].key), free(r->fact[i].text);
	for (unsigned i = 0; i < r->n_plots; i++) {
		struct report_plot *p = &r->plot[i];

		for (unsigned k = 0; k < p->n_lines; k++) {
			free(p->line[k].name);
			sample_done(&p->line[k].x);
			sample_done(&p->line[k].y);
		}
		free(p->title), free(p->x), free(p->y);
	}
	free(r->verb), free(r->workload), free(r->kind);
}
