/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What bench and tune have measured: figures in rows, by phase, with a column for each way in which they were measured (lanes,
 * sizes), and plots. Shown as a table, as JSON, or as a page. Texts are copied; those that come from outside are escaped
 * where they are shown.
 */
#pragma once
#include "base/err.h"
#include "cli/cli.h"
#include "cli/sample.h"
#include "json/write.h"

#define REPORT_COLUMNS 8
#define REPORT_ROWS    96
#define REPORT_PLOTS   8
#define PLOT_POINTS    400 /* of one line: more cannot be seen */

struct report_row {
	char *phase, *name, *unit; /* "start-up", "p50", "ms" */
	struct estimate column[REPORT_COLUMNS];
};
struct report_line {
	char *name;
	struct sample x, y;
};
struct report_plot {
	char *title, *x, *y; /* what the axes are, with units */
	double mark;	     /* an x to be seen; 0: none */
	bool log_x, log_y, steps, dots;
	struct report_line line[REPORT_COLUMNS];
	unsigned n_lines;
};
struct report {
	char *verb, *workload, *kind; /* "bench", "shop/iris", "function" */
	char *column[REPORT_COLUMNS], *cannot[REPORT_COLUMNS];
	unsigned n_columns;
	struct report_row row[REPORT_ROWS];
	unsigned n_rows;
	struct report_plot plot[REPORT_PLOTS];
	unsigned n_plots;
	struct {
		char *key, *text;
	} fact[32]; /* how it was measured, and what is concluded */
	unsigned n_facts;
};
unsigned report_column(struct report *r, const char *name); /* its number */
void report_cannot(struct report *r, unsigned column, const char *why);
void report_figure(struct report *r, unsigned column, const char *phase, const char *name, const char *unit,
		   struct estimate v);
void report_fact(struct report *r, const char *key, const char *fmt, ...) PRINTF(3, 4);
/* Its title is its name: a second call with it gives the same. */
struct report_plot *report_plot(struct report *r, const char *title, const char *x, const char *y);
struct report_line *plot_line(struct report_plot *p, const char *name);
void line_add(struct report_line *l, double x, double y);
void line_quantiles(struct report_line *l, const struct sample *s); /* its distribution; s sorted */
char *report_number(double v); /* three digits that mean something; the caller frees */
void report_table(const struct report *r, struct cli *c);
void report_json(const struct report *r, struct jw *w);			  /* members of an object */
int report_page(const struct report *r, const char *path, struct err *e); /* page.c */
void report_done(struct report *r);
