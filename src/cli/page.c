/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A report as a page that stands alone: no script, nothing from elsewhere; plots as SVG with their figures in tooltips and
 * their meaning in a sentence below; light and dark; it prints. All text is escaped here, whoever it came from.
 */
#include <fcntl.h>
#include <math.h>
#include <time.h>
#include "base/io.h"
#include "base/mem.h"
#include "cli/report.h"

enum { WIDTH = 640, HEIGHT = 320, LEFT = 70, RIGHT = 30, TOP = 26, BOTTOM = 46, TICKS = 5 };

static const char style[] =
	":root{color-scheme:light "
	"dark;--ink:#1b1f24;--soft:#5b6470;--rule:#d5dae0;--paper:#fff;--c0:#0b6bcb;--c1:#c2410c;"
	"--c2:#15803d;--c3:#7c3aed;--c4:#b45309;--c5:#0e7490;--c6:#be185d;--c7:#4d7c0f}"
	"@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#9aa4b0;--rule:#3a424c;--paper:#14181d;--c0:#"
	"6cb6ff;"
	"--c1:#ff9e64;--c2:#7ee2a0;--c3:#c4a7ff;--c4:#f2c66d;--c5:#67d6e8;--c6:#ff8fbd;--c7:#b7e07a}}"
	"body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:72rem;margin:2rem "
	"auto;"
	"padding:0 1rem}h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}table{border-collapse:collapse}"
	"th,td{text-align:left;padding:.2rem .8rem .2rem 0;border-bottom:1px solid var(--rule);vertical-align:top}"
	"td.v{font-variant-numeric:tabular-nums}small,figcaption,dt{color:var(--soft)}figure{margin:0 0 "
	"1.5rem;max-width:"
	"640px;break-inside:avoid}main{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));"
	"gap:"
	"0 2rem}svg{width:100%;height:auto}svg text{fill:var(--soft);font-size:12px}.g{stroke:var(--rule)}.l{fill:none;"
	"stroke-width:2.2}dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem "
	"1rem}dd{margin:0}.tall{overflow-x:"
	"auto}@media print{body{margin:0;max-width:none}}";

static void esc(struct buf *out, const char *s)
{
	for (; *s; s++) {
		unsigned char ch = (unsigned char)*s;

		if (strchr("&<>\"'", ch))
			buf_addf(out, "&#%d;", ch);
		else
			buf_addc(out, ch < 0x20 && ch != '\n' ? ' ' : (char)ch);
	}
}

/* fmt has one %s, which is escaped. */
static void put(struct buf *out, const char *before, const char *text, const char *after)
{
	buf_adds(out, before);
	esc(out, text);
	buf_adds(out, after);
}

/* ---- axes ---- */

struct axis {
	double low, high;
	bool log;
	double from, to; /* on the paper */
};

static double place(const struct axis *a, double v)
{
	double low = a->log ? log10(a->low) : a->low, high = a->log ? log10(a->high) : a->high;
	double x = a->log ? log10(v > a->low ? v : a->low) : v;

	return a->from + (a->to - a->from) * (x - low) / (high - low);
}

static struct axis axis_of(const struct report_plot *p, bool x, double from, double to)
{
	bool is_log = x ? p->log_x : p->log_y;
	struct axis a = {.low = INFINITY, .high = -INFINITY, .log = is_log, .from = from, .to = to};

	for (unsigned k = 0; k < p->n_lines; k++) {
		const struct sample *s = x ? &p->line[k].x : &p->line[k].y;

		for (size_t i = 0; i < s->n; i++)
			if (!is_log || s->v[i] > 0) {
				a.low = fmin(a.low, s->v[i]);
				a.high = fmax(a.high, s->v[i]);
			}
	}
	if (!(a.low <= a.high))
		a.low = a.high = 1;
	if (is_log) {
		a.low = pow(10, floor(log10(a.low) + 1e-9));
		a.high = pow(10, fmax(ceil(log10(a.high) - 1e-9), log10(a.low) + 1));
	} else {
		a.low = fmin(a.low, 0);
		a.high = a.high > a.low ? a.high : a.low + 1;
	}
	return a;
}

/* Round steps: 1, 2 or 5 times a power of ten. */
static double step_of(const struct axis *a)
{
	double raw = (a->high - a->low) / TICKS, ten = pow(10, floor(log10(raw)));

	return ten * (raw > 5 * ten ? 10 : raw > 2 * ten ? 5 : raw > ten ? 2 : 1);
}

static void tick(struct buf *out, const struct axis *a, double v, bool x)
{
	double at = place(a, v);

	if (x)
		buf_addf(out,
			 "<path class=\"g\" d=\"M%.1f %d V%d\"/><text x=\"%.1f\" y=\"%d\" "
			 "text-anchor=\"middle\">%.6g</text>",
			 at, TOP, HEIGHT - BOTTOM, at, HEIGHT - BOTTOM + 16, v);
	else
		buf_addf(out,
			 "<path class=\"g\" d=\"M%d %.1f H%d\"/><text x=\"%d\" y=\"%.1f\" "
			 "text-anchor=\"end\">%.6g</text>",
			 LEFT, at, WIDTH - RIGHT, LEFT - 6, at + 4, v);
}

static void put_axis(struct buf *out, const struct axis *a, const char *name, bool x)
{
	double step = a->log ? 0 : step_of(a);

	if (a->log)
		for (double v = a->low; v <= a->high * 1.0001; v *= 10)
			tick(out, a, v, x);
	else
		for (double v = ceil(a->low / step) * step; v <= a->high + step / 1e6; v += step)
			tick(out, a, fabs(v) < step / 1e6 ? 0 : v, x);
	if (x)
		buf_addf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", (LEFT + WIDTH - RIGHT) / 2,
			 HEIGHT - 8);
	else
		buf_addf(out, "<text transform=\"translate(14 %d) rotate(-90)\" text-anchor=\"middle\">",
			 (TOP + HEIGHT - BOTTOM) / 2);
	put(out, "", name, "</text>");
}

/* ---- plots ---- */

static void put_line(struct buf *out, const struct report_plot *p, unsigned k, const struct axis *x,
		     const struct axis *y)
{
	const struct report_line *l = &p->line[k];
	size_t step = l->x.n / PLOT_POINTS + 1;

	buf_addf(out, "<path class=\"l\" style=\"stroke:var(--c%u)\" d=\"", k % REPORT_COLUMNS);
	for (size_t i = 0; i < l->x.n; i += step) {
		double px = place(x, l->x.v[i]), py = place(y, l->y.v[i]);

		if (i && p->steps)
			buf_addf(out, "H%.1f V%.1f", px, py);
		else
			buf_addf(out, "%c%.1f %.1f", i ? 'L' : 'M', px, py);
	}
	put(out, "\"><title>", l->name, "</title></path>");
	for (size_t i = 0; p->dots && i < l->x.n; i += step) {
		buf_addf(out, "<circle r=\"4\" style=\"fill:var(--c%u)\" cx=\"%.1f\" cy=\"%.1f\">", k % REPORT_COLUMNS,
			 place(x, l->x.v[i]), place(y, l->y.v[i]));
		put(out, "<title>", l->name, "");
		buf_addf(out, ": %.4g at %.4g</title></circle>", l->y.v[i], l->x.v[i]);
	}
	/* Who cannot tell the colours finds the same order below the plot. */
	buf_addf(out, "<text x=\"%d\" y=\"14\" style=\"fill:var(--c%u);font-weight:600\">",
		 LEFT + (int)k * (WIDTH - LEFT) / (p->n_lines > 4 ? (int)p->n_lines : 4), k % REPORT_COLUMNS);
	put(out, "", l->name, "</text>");
}

/* What can be read off it, for those who cannot see it. */
static void put_words(struct buf *out, const struct report_plot *p)
{
	put(out, "<figcaption>", p->y, " over ");
	put(out, "", p->x, ". ");
	for (unsigned k = 0; k < p->n_lines; k++) {
		const struct report_line *l = &p->line[k];

		if (!l->x.n)
			continue;
		put(out, "", l->name, "");
		buf_addf(out, ": from %.4g at %.4g to %.4g at %.4g, %zu points. ", l->y.v[0], l->x.v[0],
			 l->y.v[l->y.n - 1], l->x.v[l->x.n - 1], l->x.n);
	}
	if (p->mark > 0)
		buf_addf(out, "The dashed line is at %.3g.", p->mark);
	buf_adds(out, "</figcaption>");
}

static void put_plot(struct buf *out, const struct report_plot *p, unsigned n)
{
	struct axis x = axis_of(p, true, LEFT, WIDTH - RIGHT), y = axis_of(p, false, HEIGHT - BOTTOM, TOP);

	put(out, "<figure><h2>", p->title, "</h2>");
	buf_addf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-labelledby=\"t%u\">", WIDTH, HEIGHT, n);
	buf_addf(out, "<title id=\"t%u\">", n);
	put(out, "", p->title, "</title>");
	put_axis(out, &x, p->x, true);
	put_axis(out, &y, p->y, false);
	for (unsigned k = 0; k < p->n_lines; k++)
		put_line(out, p, k, &x, &y);
	if (p->mark >= x.low && p->mark <= x.high && p->mark > 0)
		buf_addf(out,
			 "<path style=\"stroke:var(--soft)\" stroke-dasharray=\"4 3\" d=\"M%.1f %d "
			 "V%d\"><title>%.3g</title></path>",
			 place(&x, p->mark), TOP, HEIGHT - BOTTOM, p->mark);
	buf_adds(out, "</svg>");
	put_words(out, p);
	buf_adds(out, "</figure>");
}

/* ---- the rest ---- */

static void put_table(struct buf *out, const struct report *r)
{
	buf_adds(out, "<div class=\"tall\"><table><thead><tr><th>phase</th><th>figure</th>");
	for (unsigned k = 0; k < r->n_columns; k++)
		put(out, "<th>", r->column[k], "</th>");
	buf_adds(out, "</tr></thead><tbody>");
	for (unsigned i = 0; i < r->n_rows; i++) {
		const struct report_row *row = &r->row[i];

		put(out, "<tr><td>", i && !strcmp(row->phase, r->row[i - 1].phase) ? "" : row->phase, "</td>");
		put(out, "<td>", row->name, "");
		put(out, *row->unit ? ", " : "", row->unit, "</td>");
		for (unsigned k = 0; k < r->n_columns; k++) {
			const struct estimate *v = &row->column[k];
			auto_free char *text = v->n ? report_number(v->value) : xstrdup("-");
			auto_free char *low = report_number(v->low), *high = report_number(v->high);

			buf_addf(out, "<td class=\"v\">%s", text);
			if (v->n && v->low < v->high)
				buf_addf(out, " <small>%s to %s</small>", low, high);
			if (v->n > 1)
				buf_addf(out, " <small>n %zu</small>", v->n);
			buf_adds(out, "</td>");
		}
		buf_adds(out, "</tr>");
	}
	buf_adds(out, "</tbody></table></div>");
}

static void put_facts(struct buf *out, const struct report *r)
{
	buf_adds(out, "<dl>");
	for (unsigned k = 0; k < r->n_columns; k++)
		if (r->cannot[k]) {
			put(out, "<dt>", r->column[k], "</dt>");
			put(out, "<dd>", r->cannot[k], "</dd>");
		}
	for (unsigned i = 0; i < r->n_facts; i++) {
		put(out, "<dt>", r->fact[i].key, "</dt>");
		put(out, "<dd>", r->fact[i].text, "</dd>");
	}
	buf_adds(out, "</dl>");
}

int report_page(const struct report *r, const char *path, struct err *e)
{
	auto_buf out = {0};
	time_t now = time(NULL);
	struct tm tm;
	char when[32];

	strftime(when, sizeof(when), "%Y-%m-%d %H:%M UTC", gmtime_r(&now, &tm));
	put(&out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><title>tandem ", r->verb, ": ");
	put(&out, "", r->workload, "</title><meta name=\"viewport\" content=\"width=device-width\"/>");
	buf_addf(&out, "<style>%s</style></head><body>", style);
	put(&out, "<h1>tandem ", r->verb, " ");
	put(&out, "", r->workload, "</h1><p>");
	buf_addf(&out, "%s, %s. Intervals hold the value in 95 of 100 cases.</p>", when, r->kind ? r->kind : "");
	put_facts(&out, r);
	buf_adds(&out, "<main>");
	for (unsigned i = 0; i < r->n_plots; i++)
		put_plot(&out, &r->plot[i], i);
	buf_adds(&out, "</main>");
	put_table(&out, r);
	buf_adds(&out, "</body></html>\n");
	return io_write_file(AT_FDCWD, path, out.p, out.n, 0644, e);
}
