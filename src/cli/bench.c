/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench: a workload in each lane that it can run in, by copies of it that live as long as this process. The client is this
 * process: it asks over the admin socket, on the same processors as what it measures.
 */
#include "cli/bench.h"
#include <math.h>
#include "base/mem.h"
#include "cli/call.h"
#include "cli/price.h"
#include "cli/verbs.h"

#define AT(f) offsetof(struct bench_opts, f)
const struct opt bench_options[] = {
	{0, "lanes", OPT_TEXT, "LANE,...", "only these: function, container", AT(lanes)},
	{0, "only", OPT_TEXT, "PHASE,...", "start, warm, steady, burst, recovery, idle, quota, retry, daemon",
	 AT(only)},
	{'p', "payload", OPT_TEXT, "JSON|@FILE|-", "each call's event, or each request's body ({}; none)", AT(payload)},
	{0, "path", OPT_TEXT, "PATH", "of a service's requests (/)", AT(path)},
	{0, "starts", OPT_COUNT, "N", "starts from zero (20)", AT(starts)},
	{0, "burst", OPT_COUNT, "N", "calls at once (50)", AT(burst)},
	{0, "duration", OPT_DURATION, "TIME", "of each load (2s)", AT(duration_us)},
	{0, "rate", OPT_COUNT, "N", "also this many calls a second, at random", AT(rate)},
	{0, "drills", OPT_FLAG, NULL,
	 "also: a full quota, what fails again and again (3 minutes), a killed daemon (root)", AT(drills)},
	{0, "html", OPT_TEXT, "FILE", "a page with plots", AT(html)},
	{'y', "yes", OPT_FLAG, NULL, "do not ask", AT(yes)},
	{0},
};

#define WARM_CALLS_MAX 5000
#define CURVE_FROM     1e-3 /* requests a second */
#define CURVE_POINTS   60
#define SAY_FROM_S     30

static const struct phase {
	const char *name, *says;
	bench_run_phase *run;
	bool drill, once;     /* once: of the workload itself, not of each lane */
	uint8_t loads, calls; /* at least, one after the other: of half of the duration; of no set time */
} phases[] = {
	{"start", "starting from zero", bench_start, false, false, 0, 0},
	{"warm", "calls one after the other", bench_warm, false, false, 1, BENCH_TOLD_CALLS},
	{"steady", "more and more at once", bench_steady, false, false, 6, 0},
	{"steady", "calls at the rate", bench_rate, false, false, 0, 0},
	{"burst", "many at once from zero", bench_burst, false, false, 0, 3},
	{"recovery", "killing the instance", bench_recovery, false, false, 5, 0},
	{"idle", "nothing to do", bench_idle, false, false, 0, 0},
	{"quota", "a full quota", drill_quota, true, false, 0, 0},
	{"retry", "an event that always fails: three minutes", drill_retry, true, true, 0, 0},
	{"daemon", "killing the daemon", drill_daemon, true, true, 0, 0},
};

/* Is word one of a list with commas? */
static bool listed(const char *list, const char *word)
{
	struct str rest = str_of(list), one;

	while (str_next(&rest, ',', &one))
		if (str_eqc(one, word))
			return true;
	return false;
}

static bool wanted(const struct bench *b, const struct phase *p)
{
	return b->o.only ? listed(b->o.only, p->name) : !p->drill || b->o.drills;
}

int bench_find(const struct bench *b, char ret_lane[16], struct err *e)
{
	auto_buf target = {0};
	auto_json j = NULL;
	const char *slash = strchr(b->of, '/');

	call_target(&target, "/v1/functions/", slash ? slash + 1 : b->of, "");
	if (probe_ask(b->c, "GET", target.p, STR_NULL, &j, e) < 0)
		return -1;
	if (slash && !str_eq(json_get_str(j, "project"), (struct str){b->of, (size_t)(slash - b->of)}))
		return err_set(e, ERR_NOT_FOUND,
			       "there is no function and no service \"%.160s\"; tandem ls lists those that are there",
			       b->of);
	snprintf(ret_lane, 16, STR_FMT, STR_ARG(json_get_str(j, "lane")));
	return 0;
}

/* One call before all: with a payload that makes it fail there is nothing to measure. */
int bench_first_call(struct bench *b, struct err *e)
{
	struct load l;
	int rc = bench_load(b, true, (struct load_opts){.connections = 1, .calls = 1}, &l, e);

	if (rc < 0)
		return rc;
	b->call_s = (double)(l.calls->handler_us >= 0 ? l.calls->handler_us : l.calls->us) / 1e6;
	if (l.failed)
		rc = err_set(e, ERR_INVALID, "the first call failed: %s; --payload gives %s, --path says where",
			     l.why.p, b->p.service ? "the body" : "the event");
	load_done(&l);
	return rc;
}

/* Who would have to wait for long is told how long before. */
static void say_least(struct bench *b)
{
	double half_s = (double)b->o.duration_us / 2e6, least_s = 0;

	for (size_t i = 0; i < ARRAY_SIZE(phases); i++) {
		double calls = phases[i].run == bench_start ? (double)b->o.starts : phases[i].calls;

		if (wanted(b, &phases[i]))
			least_s += phases[i].loads * fmax(half_s, b->call_s) +
				   fmin(calls * b->call_s, BENCH_SLOW_US / 1e6);
	}
	if (least_s < SAY_FROM_S)
		return;
	bench_says(b, NULL);
	cli_note(b->c, "%s: a call takes %.3g s, all of this %.0f s at least", b->label, b->call_s, least_s);
}

static int run_lane(struct bench *b, struct err *e)
{
	int rc = bench_first_call(b, e);

	if (!rc)
		say_least(b);
	for (size_t i = 0; i < ARRAY_SIZE(phases) && !rc; i++) {
		if (!wanted(b, &phases[i]) || (phases[i].once && b->col))
			continue;
		bench_says(b, phases[i].says);
		rc = phases[i].run(b, e);
		if (rc < 0)
			err_wrap(e, "%s", phases[i].says);
	}
	b->measured[bench_lane(b)] = !rc;
	return rc;
}

/* For advise. */
static int measured(const struct bench *b, const char *method, struct str body, struct json **ret, struct err *e)
{
	const char *slash = strchr(b->of, '/');
	auto_buf target = {0};

	call_target(&target, "/v1/measured/", slash ? slash + 1 : b->of, "");
	return probe_ask(b->c, method, target.p, body, ret, e);
}

static void keep_facts(struct bench *b)
{
	const struct lane_facts *f = &b->facts;
	struct known seats = {f->seats, f->seats, f->seats, KNOWN_MEASURED};
	struct err e = {0};
	auto_object(w, body);

	jw_strc(&w, "of", b->measures);
	jw_obj(&w, "facts");
	for (unsigned i = 0; i < LANE_FACT_N; i++) {
		const struct known *k = i == LANE_FACT_SEATS ? &seats : &f->all[i];

		if (k->from != KNOWN_MEASURED || !(k->high > 0))
			continue;
		jw_obj(&w, lane_fact_name[i]);
		jw_real(&w, "value", k->v);
		jw_real(&w, "low", fmax(k->low, 0));
		jw_real(&w, "high", k->high);
		jw_end(&w, '}');
	}
	jw_end(&w, '}');
	jw_end(&w, '}');
	if (measured(b, "PUT", buf_str(&body), NULL, &e) < 0)
		report_fact(&b->r, "advise", "does not know of it: %s", e.text);
}

/* The cost of both lanes over the rate, and where they cross: sched/lane_model.h with what was measured here. */
static int add_costs(struct bench *b, struct err *e)
{
	struct lane_facts *f = &b->facts;
	struct lane_break_even be;
	auto_buf even = {0};
	struct price_here h;
	struct report_plot *plot;
	struct lane_price price;
	double most;

	f->start_cpu_s = known_less(f->start_cpu_s, f->cpu_s);
	if (b->r.kind && !strcmp(b->r.kind, "service")) {
		f->start_s = known_less(f->start_s, f->wall_s);
		f->c_start_s = known_less(f->c_start_s, f->wall_s);
	}
	keep_facts(b);
	if (!(f->wall_s.v > 0) || !(f->start_s.v > 0))
		return 0;
	if (cli_price_here(b->c, &h, e) < 0)
		return -1;
	price = (struct lane_price){.usd_per_cpu_s = h.machine.usd_per_cpu_us * 1e6,
				    .usd_per_byte_s = h.machine.usd_per_byte_us * 1e6};
	f->keep_s = -1;
	lane_facts_settle(f);
	plot = report_plot(&b->r, "Cost over rate", "calls per second", "USD per hour of this machine");
	plot->log_x = plot->log_y = true;
	most = fmax(1, 2 / fmax(f->cpu_s.v, 1e-4));
	for (enum lane lane = 0; lane <= LANE_CONTAINER; lane++) {
		struct report_line *line = b->measured[lane] ? plot_line(plot, lane_name[lane]) : NULL;

		for (int i = 0; line && i <= CURVE_POINTS; i++) {
			double rate = CURVE_FROM * pow(most / CURVE_FROM, (double)i / CURVE_POINTS);

			line_add(line, rate, lane_cost_hour(f, &price, lane, rate));
		}
	}
	report_fact(&b->r, "prices", "this machine, %g USD an hour; list prices of %s", h.machine.usd_hour,
		    h.prices.as_of);
	if (!b->measured[LANE_FUNCTION] || !b->measured[LANE_CONTAINER])
		return 0;
	lane_break_even(f, &price, &price, &be);
	plot->mark = be.crosses ? be.rate : 0;
	lane_break_even_text(&even, &be);
	if (be.crosses || be.low < be.high)
		report_fact(&b->r, "break-even", "%s calls/s: above it the container lane costs less", even.p);
	else
		report_fact(&b->r, "break-even", "none: the %s lane costs less at any rate",
			    be.rate > 0 ? "function" : "container");
	return 0;
}

static int run_all(struct bench *b)
{
	static const char *const lanes[] = {"function", "container"};
	auto_json before = NULL;
	struct err e = {0};
	int worked = 0;

	if (measured(b, "GET", STR_NULL, &before, &e) < 0)
		return cli_fail(&e);
	b->measures = json_get_str(before, "measures").p;
	for (size_t k = 0; k < ARRAY_SIZE(phases); k++)
		b->steps += wanted(b, &phases[k]);
	b->steps = (b->steps + 1) * (listed(b->o.lanes, lanes[0]) + listed(b->o.lanes, lanes[1]));
	for (size_t i = 0; i < ARRAY_SIZE(lanes); i++) {
		if (!listed(b->o.lanes, lanes[i]))
			continue;
		b->lane = b->label = lanes[i];
		b->col = report_column(&b->r, lanes[i]);
		b->started = (struct moments){0};
		bench_says(b, "making a copy");
		if (bench_copy(b, "", &b->p, &e) < 0 || run_lane(b, &e) < 0)
			report_cannot(&b->r, b->col, e.text);
		else
			worked++;
		if (!b->r.kind)
			b->r.kind = xstrdup(b->p.service ? "service" : "function");
		probe_close(&b->p);
	}
	bench_says(b, NULL);
	if (worked && add_costs(b, &e) < 0)
		return cli_fail(&e);
	return worked ? CLI_OK : CLI_FAILED;
}

static int check(struct bench *b)
{
	struct str rest = str_of(b->o.only ? b->o.only : ""), one;
	const struct bench_opts *o = &b->o;
	bool lanes = true;

	while (str_next(&rest, ',', &one)) {
		bool known = false;

		for (size_t i = 0; i < ARRAY_SIZE(phases); i++)
			known |= str_eqc(one, phases[i].name);
		if (!known)
			return cli_usage(b->c, "there is no phase \"" STR_FMT "\"", STR_ARG(one));
	}
	rest = str_of(o->lanes);
	while (str_next(&rest, ',', &one))
		lanes = lanes && (str_eqc(one, lane_name[LANE_FUNCTION]) || str_eqc(one, lane_name[LANE_CONTAINER]));
	if (!lanes || !*o->lanes)
		return cli_usage(b->c, "--lanes names function, container or both");
	if (o->starts < 1 || o->starts > 10000 || o->burst < 1 || o->burst > LOAD_CONNECTIONS_MAX)
		return cli_usage(b->c, "--starts is from 1 to 10000, --burst from 1 to %d", LOAD_CONNECTIONS_MAX);
	if (o->duration_us < 50000 || o->duration_us > 3600000000ll)
		return cli_usage(b->c, "--duration is from 50ms to 1h");
	if (o->rate > 100000)
		return cli_usage(b->c, "--rate is at most 100000");
	if (o->path[0] != '/' || strpbrk(o->path, " \r\n"))
		return cli_usage(b->c, "--path begins with / and has no spaces");
	return CLI_OK;
}

/* On a terminal: what it writes elsewhere is written as often. */
bool bench_agreed(struct bench *b)
{
	int answer;

	if (b->o.yes || !isatty(0) || !isatty(2))
		return true;
	fprintf(stderr,
		"Copies of %s are called thousands of times with %s: whatever a call writes elsewhere is written as "
		"often.\nGo on? [y/N] ",
		b->of, b->o.payload ? b->o.payload : "{}");
	answer = getchar();
	return answer == 'y' || answer == 'Y';
}

int bench_show(struct bench *b, int rc)
{
	struct err e = {0};
	auto_buf out = {0};

	report_fact(&b->r, "calls", "%zu in all, from this machine, over the admin socket", b->calls);
	if (b->c->json) {
		struct jw w = jw_object(&out);

		report_json(&b->r, &w);
		jw_end(&w, '}');
		puts(out.p);
	} else {
		report_table(&b->r, b->c);
	}
	if (b->o.html && report_page(&b->r, b->o.html, &e) < 0)
		rc = cli_fail(&e);
	report_done(&b->r);
	buf_done(&b->payload);
	return rc;
}

int bench_run(struct cli *c, int argc, char **argv)
{
	struct bench b = {.c = c, .p = {.fd = -1}, .lane = "", .label = ""};
	struct err e = {0};
	char lane[16];

	b.o = (struct bench_opts){.lanes = "function,container",
				  .path = "/",
				  .starts = 20,
				  .burst = 50,
				  .duration_us = 2000000,
				  .calls = WARM_CALLS_MAX};
	if (!cli_options(c, &b.o, &argc, argv, 1, 1))
		return c->exit;
	b.of = argv[0];
	if (check(&b) != CLI_OK)
		return CLI_USAGE;
	if ((b.o.html && cli_can_write(b.o.html, &e) < 0) ||
	    (b.o.payload && call_payload(b.o.payload, &b.payload, &e) < 0) || bench_find(&b, lane, &e) < 0)
		return cli_fail(&e);
	if (!bench_agreed(&b))
		return CLI_FAILED;
	if ((b.o.drills || (b.o.only && listed(b.o.only, "daemon"))) && drill_daemon_check(&b, &e) < 0)
		return cli_fail(&e);
	b.r.verb = xstrdup("bench");
	b.r.workload = xstrdup(b.of);
	return bench_show(&b, run_all(&b));
}
