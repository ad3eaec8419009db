/* SPDX-License-Identifier: Apache-2.0 */
/* tune: how long calls take and what they cost at several sizes of memory and CPU. */
#include <math.h>
#include "base/mem.h"
#include "cli/bench.h"
#include "cli/call.h"
#include "cli/price.h"
#include "cli/verbs.h"

struct tune_opts {
	const char *memory, *payload, *path, *html;
	int64_t calls;
	bool no_quota, yes;
};
#define AT(f) offsetof(struct tune_opts, f)
const struct opt tune_options[] = {
	{0, "memory", OPT_TEXT, "MB,...", "up to 8 sizes (128,256,512,1024,1769,3008)", AT(memory)},
	{0, "no-quota", OPT_FLAG, NULL, "without the share of a CPU that the memory buys at Lambda", AT(no_quota)},
	{'n', "calls", OPT_COUNT, "N", "calls of each size (100)", AT(calls)},
	{'p', "payload", OPT_TEXT, "JSON|@FILE|-", "each call's event, or each request's body ({}; none)", AT(payload)},
	{0, "path", OPT_TEXT, "PATH", "of a service's requests (/)", AT(path)},
	{0, "html", OPT_TEXT, "FILE", "a page with plots", AT(html)},
	{'y', "yes", OPT_FLAG, NULL, "do not ask", AT(yes)},
	{0},
};

#define TUNE_US	   600000000ll /* of one size's calls, at most */
#define STARTS	   5
#define MILLION	   1e6
#define SAME	   0.98 /* what is not better by 2 % is not better */
#define BAR	   30
#define SIZES	   REPORT_COLUMNS
#define MEMORY_MAX 10240

struct size {
	char label[24];
	int64_t mb;
	double cpu; /* 0: no quota */
	bool worked;
	double ms, here, aws; /* a call; a million of them, aws 0: it is no function */
};
struct tune {
	struct bench b;
	struct size size[SIZES];
	unsigned n;
	struct price_here price;
};

static int read_sizes(struct tune *t, const struct tune_opts *o)
{
	struct str rest = str_of(o->memory), one;

	while (str_next(&rest, ',', &one)) {
		struct size *s = &t->size[t->n];

		if (t->n == SIZES || str_to_i64(one, 4, MEMORY_MAX, &s->mb) < 0 || (t->n && s->mb <= s[-1].mb))
			return cli_usage(t->b.c, "--memory is up to %d numbers of MB, rising, each at most %d", SIZES,
					 MEMORY_MAX);
		/* Two digits mean the same here and in the file. */
		s->cpu = o->no_quota ? 0 : fmax(round((double)s->mb / PRICE_LAMBDA_VCPU_MB * 100) / 100, 0.01);
		snprintf(s->label, sizeof(s->label), "%lld MB", (long long)s->mb);
		t->n++;
	}
	return t->n ? CLI_OK : cli_usage(t->b.c, "--memory names no size");
}

static void add_costs(struct tune *t, struct size *s)
{
	const struct lane_facts *f = &t->b.facts;
	struct price_use use = {
		.requests = MILLION, .billed_s = f->wall_s.v * MILLION, .memory_mb = (double)s->mb, .vcpu = s->cpu};

	s->ms = f->wall_s.v * 1e3;
	s->here = MILLION * price_machine_use(&t->price.machine, f->cpu_s.v * 1e6, f->held_bytes.v, f->wall_s.v * 1e6);
	bench_figure(&t->b, "a million calls", "here", "USD", bench_count(s->here, t->b.told));
	if (t->b.p.service)
		return;
	s->aws = price_offer_usd(&t->price.prices, PRICE_LAMBDA, CLI_ARCH, &use);
	bench_figure(&t->b, "a million calls", "at AWS Lambda", "USD", bench_count(s->aws, t->b.told));
}

static int run_size(struct tune *t, struct size *s, struct err *e)
{
	auto_free char *more = s->cpu > 0 ? xasprintf("\"memory\":%lld,\"cpu\":%g", (long long)s->mb, s->cpu)
					  : xasprintf("\"memory\":%lld", (long long)s->mb);
	struct bench *b = &t->b;

	b->label = s->label;
	b->col = report_column(&b->r, s->label);
	b->facts = (struct lane_facts){0};
	bench_says(b, "starts");
	if (bench_copy(b, more, &b->p, e) < 0 || bench_first_call(b, e) < 0 || bench_start(b, e) < 0)
		return -1;
	bench_says(b, "calls");
	if (bench_warm(b, e) < 0)
		return -1;
	if (!(b->facts.held_bytes.v > 0))
		b->facts.held_bytes = b->facts.base_bytes;
	add_costs(t, s);
	s->worked = true;
	return 0;
}

/* ---- what follows ---- */

static double cost(const struct size *s)
{
	return s->aws > 0 ? s->aws : s->here;
}

/* The smallest of those that are as good as the best. */
static const struct size *best(const struct tune *t, double (*value)(const struct tune *, const struct size *))
{
	const struct size *least = NULL;

	for (const struct size *s = t->size; s < t->size + t->n; s++)
		if (s->worked && (!least || value(t, s) < value(t, least) * SAME))
			least = s;
	return least;
}

static double by_cost(const struct tune *t, const struct size *s)
{
	return cost(s);
}

static double by_time(const struct tune *t, const struct size *s)
{
	return s->ms;
}

/* Both count alike, each beside the most that it is. */
static double by_both(const struct tune *t, const struct size *s)
{
	double ms = 0, usd = 0;

	for (const struct size *k = t->size; k < t->size + t->n; k++)
		if (k->worked)
			ms = fmax(ms, k->ms), usd = fmax(usd, cost(k));
	return s->ms / ms + cost(s) / usd;
}

static void choose(struct tune *t)
{
	static const struct {
		const char *name;
		double (*value)(const struct tune *, const struct size *);
	} ways[] = {{"cheapest", by_cost}, {"fastest", by_time}, {"balanced", by_both}};

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		const struct size *s = best(t, ways[i].value);
		auto_free char *cpu = s->cpu > 0 ? xasprintf(", cpu: %g", s->cpu) : xstrdup("");
		auto_free char *ms = report_number(s->ms), *usd = report_number(cost(s));

		report_fact(&t->b.r, ways[i].name, "memory: %lld%s  (%s ms; a million calls %s USD %s)",
			    (long long)s->mb, cpu, ms, usd, s->aws > 0 ? "at Lambda" : "here");
	}
}

static void add_plots(struct tune *t)
{
	struct report_plot *time = report_plot(&t->b.r, "Duration over memory", "MB", "milliseconds of a call");
	struct report_plot *usd = report_plot(&t->b.r, "Cost over memory", "MB", "USD of a million calls");
	struct report_line *ms = plot_line(time, "mean"), *here = plot_line(usd, "here");
	struct report_line *aws = t->size[0].aws > 0 ? plot_line(usd, "at AWS Lambda") : NULL;

	time->dots = usd->dots = usd->log_y = true;
	for (const struct size *s = t->size; s < t->size + t->n; s++) {
		if (!s->worked)
			continue;
		line_add(ms, (double)s->mb, s->ms);
		line_add(here, (double)s->mb, s->here);
		if (aws && s->aws > 0)
			line_add(aws, (double)s->mb, s->aws);
	}
}

static void put_bars(const struct tune *t)
{
	double ms = 0, usd = 0;

	for (const struct size *s = t->size; s < t->size + t->n; s++)
		if (s->worked)
			ms = fmax(ms, s->ms), usd = fmax(usd, cost(s));
	for (const struct size *s = t->size; s < t->size + t->n; s++) {
		auto_free char *time = report_number(s->ms), *price = report_number(cost(s));
		int a = s->worked ? (int)ceil(BAR * s->ms / ms) : 0, b = s->worked ? (int)ceil(BAR * cost(s) / usd) : 0;

		printf("%9s  %-*.*s %8s ms  %-*.*s %s USD\n", s->label, BAR, a, "##############################", time,
		       BAR, b, "==============================", price);
	}
	putchar('\n');
}

static int run_sizes(struct tune *t)
{
	struct err e = {0};
	unsigned worked = 0;

	t->b.steps = 2 * t->n;
	for (unsigned i = 0; i < t->n; i++) {
		if (run_size(t, &t->size[i], &e) < 0)
			report_cannot(&t->b.r, t->b.col, e.text);
		else
			worked++;
		if (!t->b.r.kind)
			t->b.r.kind = xstrdup(t->b.p.service ? "service" : "function");
		probe_close(&t->b.p);
	}
	bench_says(&t->b, NULL);
	if (!worked)
		return CLI_FAILED;
	add_plots(t);
	choose(t);
	report_fact(&t->b.r, "prices", "list prices of %s without a free tier; this machine %g USD an hour",
		    t->price.prices.as_of, t->price.machine.usd_hour);
	report_fact(&t->b.r, "CPU", t->size[0].cpu > 0 ? "a quota: as at Lambda, 1,769 MB are one" : "no quota");
	if (!t->b.c->json)
		put_bars(t);
	return CLI_OK;
}

int tune_run(struct cli *c, int argc, char **argv)
{
	struct tune_opts o = {.memory = "128,256,512,1024,1769,3008", .path = "/", .calls = 100};
	struct tune t = {.b = {.c = c, .p = {.fd = -1}, .label = ""}};
	struct bench *b = &t.b;
	struct err e = {0};
	char lane[16];

	if (!cli_options(c, &o, &argc, argv, 1, 1))
		return c->exit;
	if (read_sizes(&t, &o) != CLI_OK)
		return CLI_USAGE;
	if (o.calls < 1 || o.calls > LOAD_CALLS_MAX || o.path[0] != '/' || strpbrk(o.path, " \r\n"))
		return cli_usage(c, "--calls is from 1 to %d; --path begins with / and has no spaces", LOAD_CALLS_MAX);
	b->of = argv[0];
	b->lane = lane; /* sizes are compared in the one that it is in */
	b->o = (struct bench_opts){.payload = o.payload,
				   .path = o.path,
				   .html = o.html,
				   .yes = o.yes,
				   .starts = STARTS,
				   .calls = o.calls,
				   .duration_us = TUNE_US};
	if ((o.html && cli_can_write(o.html, &e) < 0) || (o.payload && call_payload(o.payload, &b->payload, &e) < 0) ||
	    bench_find(b, lane, &e) < 0 || cli_price_here(c, &t.price, &e) < 0)
		return cli_fail(&e);
	if (!bench_agreed(b))
		return CLI_FAILED;
	b->r.verb = xstrdup("tune");
	b->r.workload = xstrdup(b->of);
	return bench_show(b, run_sizes(&t));
}
