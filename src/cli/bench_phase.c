/* SPDX-License-Identifier: Apache-2.0 */
/* The phases of a bench in one lane: each asks something of b->p, the copy, and writes down what came of it. */
#include <math.h>
#include <signal.h>
#include <time.h>
#include "base/clock.h"
#include "base/mem.h"
#include "cli/bench.h"
#include "cli/price.h"

#define PAUSE_NS	20000000 /* before a start in the function lane: sandboxes are made ahead of need */
#define CONNECTIONS_MAX 32
#define SEATS_UNBOUND	100  /* of an instance that one does not bound: more are hardly open at once */
#define SAME_AGAIN	1.05 /* two looks at what one instance holds agree so well, once it has grown: assumed */
#define SLICES		10
#define REPEATS		5

enum lane bench_lane(const struct bench *b)
{
	return strcmp(b->lane, lane_name[LANE_CONTAINER]) ? LANE_FUNCTION : LANE_CONTAINER;
}

struct estimate bench_count(double v, size_t n)
{
	return (struct estimate){v, v, v, n};
}

void bench_figure(struct bench *b, const char *phase, const char *name, const char *unit, struct estimate v)
{
	report_figure(&b->r, b->col, phase, name, unit, v);
}

void bench_quantiles(struct bench *b, const char *phase, struct sample *s)
{
	sample_sort(s);
	bench_figure(b, phase, "p50", "ms", sample_quantile(s, 0.5));
	bench_figure(b, phase, "p95", "ms", sample_quantile(s, 0.95));
	bench_figure(b, phase, "p99", "ms", sample_quantile(s, 0.99));
}

int bench_copy(struct bench *b, const char *more, struct probe *ret, struct err *e)
{
	auto_free char *all = xasprintf("\"lane\":\"%s\"%s%s", b->lane, *more ? "," : "", more);

	return probe_open(
		b->c,
		&(struct probe_what){.of = b->of, .more = all, .payload = buf_str(&b->payload), .path = b->o.path}, ret,
		e);
}

int bench_load(struct bench *b, bool told, struct load_opts o, struct load *ret, struct err *e)
{
	if (!o.duration_us)
		o.duration_us = INT64_MAX / 4;
	if (probe_load(&b->p, told, &o, ret, e) < 0)
		return -1;
	b->calls += ret->n;
	return 0;
}

/* Whoever interrupts finds a line of his own below. */
static void end_line(int sig)
{
	(void)!write(2, "\n", 1);
	raise(sig);
}

void bench_says(struct bench *b, const char *what)
{
	enum { WIDTH = 24 };
	unsigned n = b->step < b->steps ? WIDTH * b->step / b->steps : WIDTH;

	if (b->c->quiet || !isatty(2))
		return;
	sigaction(SIGINT, &(struct sigaction){.sa_handler = end_line, .sa_flags = (int)SA_RESETHAND}, NULL);
	if (what)
		fprintf(stderr, "\r\033[K[%.*s%*s] %s: %s", (int)n, "========================", (int)(WIDTH - n), "",
			b->label, what);
	else
		fputs("\r\033[K", stderr);
	b->step += what != NULL;
}

/* ---- phases ---- */

static void add_ms(struct sample *s, const struct load *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->calls[i].ok)
			sample_add(s, (double)l->calls[i].us / 1e3);
}

static void plot_quantiles(struct bench *b, const char *title, const char *y, const struct sample *s)
{
	struct report_plot *p = report_plot(&b->r, title, "milliseconds", y);

	p->log_x = true;
	line_quantiles(plot_line(p, b->label), s);
}

/* An instance of the container lane comes back by itself: its start is to be seen. */
static void pause_for(const struct bench *b)
{
	if (bench_lane(b) == LANE_FUNCTION)
		nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
}

static void say_how(struct bench *b, const char *how)
{
	auto_free char *other = xasprintf("%s begins", b->label);
	bool any = false;

	for (unsigned i = 0; i < b->r.n_facts; i++) {
		any |= !strcmp(b->r.fact[i].key, "begins");
		if (any && !strcmp(b->r.fact[i].text, how))
			return;
	}
	report_fact(&b->r, any ? other : "begins", "%s", how);
}

/* What each instance of the copy holds now, on average; 0: there is none. */
static int look_at_memory(struct bench *b, double *ret_bytes, struct probe_use *ret, struct err *e)
{
	if (probe_usage(&b->p, ret, e) < 0)
		return -1;
	*ret_bytes = ret->instances ? (double)ret->memory_bytes / ret->instances : 0;
	return 0;
}

int bench_start(struct bench *b, struct err *e)
{
	static const char *const part[] = {"waiting", "sandbox", "initialisation or restore", "handler"};
	struct sample all = {0}, ready = {0}, cpu = {0}, parts[4] = {{0}};
	auto_free char *how = NULL;
	struct known start;
	int64_t until_us = clock_now_us() + BENCH_SLOW_US;
	int rc = probe_settle(&b->p, &how, e);

	for (int64_t i = 0; i < b->o.starts && !rc; i++) {
		struct probe_use use;
		struct load l;
		double held;

		if (i >= BENCH_STARTS_LEAST && clock_now_us() > until_us)
			break;
		rc = probe_stop(&b->p, e);
		pause_for(b);
		if (rc < 0 || (rc = bench_load(b, true, (struct load_opts){.connections = 1, .calls = 1}, &l, e)) < 0)
			break;
		add_ms(&all, &l);
		if (!l.failed && l.calls->wait_us >= 0) {
			int64_t us[] = {l.calls->wait_us, l.calls->start_us, l.calls->init_us, l.calls->handler_us};

			for (size_t k = 0; k < ARRAY_SIZE(us); k++)
				sample_add(&parts[k], (double)us[k] / 1e3);
			sample_add(&ready, (double)(us[0] + us[1] + us[2]) / 1e6);
			sample_add(&cpu, (double)l.calls->cpu_us / 1e6);
		}
		if (l.failed)
			rc = err_set(e, ERR_INVALID, "a start failed: %s", l.why.p ? l.why.p : "");
		else if (!(rc = look_at_memory(b, &held, &use, e)) && held > 0)
			moments_add(&b->started, held);
		load_done(&l);
	}
	bench_quantiles(b, "start-up", &all);
	sample_sort(&ready);
	/* Without the call. Of a service nobody tells the parts: its call is taken off when it is known, too. */
	start = estimate_known(sample_quantile(ready.n ? &ready : &all, 0.5));
	*(bench_lane(b) == LANE_FUNCTION ? &b->facts.start_s : &b->facts.c_start_s) =
		ready.n ? start : (struct known){start.v / 1e3, start.low / 1e3, start.high / 1e3, start.from};
	sample_done(&ready);
	if (bench_lane(b) == LANE_FUNCTION && cpu.n) /* the call's own is taken off when it is known */
		b->facts.start_cpu_s = estimate_known(sample_mean(&cpu));
	sample_done(&cpu);
	for (size_t k = 0; k < ARRAY_SIZE(part); k++) {
		sample_sort(&parts[k]);
		if (parts[k].n)
			bench_figure(b, "start-up", part[k], "ms", sample_quantile(&parts[k], 0.5));
		sample_done(&parts[k]);
	}
	plot_quantiles(b, "Starting from zero", "% of starts", &all);
	sample_done(&all);
	if (how)
		say_how(b, how);
	return rc;
}

/* What one call takes: the daemon's own figures of functions, the difference of two looks of services. */
static int take_facts(struct bench *b, struct err *e)
{
	struct sample cpu = {0}, wall = {0};
	struct probe_use before, after;
	struct estimate c, w;
	struct known held;
	struct load l;
	double bytes;

	if (probe_usage(&b->p, &before, e) < 0 ||
	    bench_load(b, true,
		       (struct load_opts){.connections = 1,
					  .calls = b->o.calls < BENCH_TOLD_CALLS ? b->o.calls : BENCH_TOLD_CALLS,
					  .duration_us = BENCH_SLOW_US},
		       &l, e) < 0)
		return -1;
	for (size_t i = 0; i < l.n; i++) {
		const struct load_call *k = &l.calls[i];

		sample_add(&wall, (double)(k->handler_us >= 0 ? k->handler_us : k->us) / 1e6);
		if (k->cpu_us >= 0)
			sample_add(&cpu, (double)k->cpu_us / 1e6);
	}
	load_done(&l);
	if (look_at_memory(b, &bytes, &after, e) < 0)
		return -1;
	c = sample_mean(&cpu), w = sample_mean(&wall);
	if (b->p.service) { /* of the sum: as if they were exponential */
		double each = (double)(after.cpu_us - before.cpu_us) / 1e6 / (double)wall.n;
		double wide = exp(KNOWN_Z_95 / sqrt((double)wall.n));

		c = (struct estimate){each, each / wide, each * wide, wall.n};
	}
	sample_done(&cpu);
	sample_done(&wall);
	bench_figure(b, "warm", "CPU time of a call", "ms",
		     (struct estimate){c.value * 1e3, c.low * 1e3, c.high * 1e3, c.n});
	bench_figure(b, "warm", "memory of an instance", "MB", bench_count(bytes / CLI_MB, 1));
	/* Of one that has worked; others would differ from it as those did that were started. */
	if (!b->started.n)
		moments_add(&b->started, bytes);
	held = known_held(&b->started, 1);
	*(bench_lane(b) == LANE_FUNCTION ? &b->facts.held_bytes : &b->facts.base_bytes) =
		known_within(bytes, held.v > 0 ? held.high / held.v : 1, KNOWN_MEASURED);
	if (bench_lane(b) == LANE_CONTAINER && b->measured[LANE_FUNCTION])
		return 0; /* of the two the one that is measured one call at a time */
	b->told = w.n;
	b->facts.cpu_s = estimate_known(c);
	b->facts.wall_s = estimate_known(w);
	return 0;
}

int bench_warm(struct bench *b, struct err *e)
{
	struct sample s = {0};
	struct load l;

	if (bench_load(b, false,
		       (struct load_opts){.connections = 1, .duration_us = b->o.duration_us, .calls = b->o.calls}, &l,
		       e) < 0)
		return -1;
	add_ms(&s, &l);
	bench_figure(b, "warm", "errors", "calls", bench_count((double)l.failed, l.n));
	load_done(&l);
	bench_quantiles(b, "warm", &s);
	plot_quantiles(b, "Warm latency", "% of calls", &s);
	sample_done(&s);
	return take_facts(b, e);
}

/* Answers a second, with what it varied by over the run. */
static struct estimate throughput(const struct load *l)
{
	struct sample s = {0};
	double in[SLICES] = {0}, slice = (double)l->took_us / SLICES;
	struct estimate v;

	for (size_t i = 0; i < l->n; i++)
		if (l->calls[i].ok)
			in[(int)fmin((double)(l->calls[i].at_us + l->calls[i].us) / slice, SLICES - 1)]++;
	for (int i = 0; i < SLICES; i++)
		sample_add(&s, in[i] / slice * 1e6);
	v = sample_mean(&s);
	v.n = l->n;
	sample_done(&s);
	return v;
}

/* What instances hold beyond what they held with one call open is their seats'. */
static int take_seats(struct bench *b, struct err *e)
{
	auto_free char *target = xasprintf("/v1/functions/%s", b->p.name);
	struct probe_use u;
	auto_json j = NULL;
	int64_t seats;
	double held;

	if (look_at_memory(b, &held, &u, e) < 0 || probe_ask(b->c, "GET", target, STR_NULL, &j, e) < 0)
		return -1;
	seats = json_get_int(b->p.service ? json_get(j, "declared") : j, "concurrency", 0);
	b->facts.seats = seats ? (int)seats : SEATS_UNBOUND;
	seats = b->facts.seats < CONNECTIONS_MAX ? b->facts.seats : CONNECTIONS_MAX;
	if (held > 0 && b->facts.base_bytes.v > 0) {
		/* Of the same instance: it grew, by what is less than other instances differ. */
		struct known more = known_less(known_within(held, SAME_AGAIN, KNOWN_MEASURED),
					       known_within(b->facts.base_bytes.v, SAME_AGAIN, KNOWN_MEASURED));

		b->facts.seat_bytes = (struct known){more.v / (double)seats, more.low / (double)seats,
						     more.high / (double)seats, KNOWN_MEASURED};
	}
	return 0;
}

int bench_steady(struct bench *b, struct err *e)
{
	struct report_plot *plot = report_plot(&b->r, "Throughput", "calls open at once", "answers per second");
	struct report_line *line = plot_line(plot, b->label);
	struct estimate best = {0};
	struct sample at_best = {0};
	size_t errors = 0, n = 0;
	unsigned at = 0;

	plot->log_x = plot->dots = true;
	for (unsigned k = 1; k <= CONNECTIONS_MAX; k *= 2) {
		struct estimate v;
		struct load l;

		if (bench_load(b, false, (struct load_opts){.connections = k, .duration_us = b->o.duration_us / 2}, &l,
			       e) < 0)
			return -1;
		v = throughput(&l);
		line_add(line, k, v.value);
		errors += l.failed, n += l.n;
		if (v.value > best.value) {
			best = v, at = k;
			sample_done(&at_best);
			add_ms(&at_best, &l);
		}
		load_done(&l);
	}
	if (bench_lane(b) == LANE_CONTAINER && take_seats(b, e) < 0)
		return -1;
	bench_figure(b, "steady", "most answers", "1/s", best);
	bench_figure(b, "steady", "with so many open", "calls", bench_count(at, 1));
	sample_sort(&at_best);
	bench_figure(b, "steady", "p99 then", "ms", sample_quantile(&at_best, 0.99));
	bench_figure(b, "steady", "errors", "calls", bench_count((double)errors, n));
	sample_done(&at_best);
	return 0;
}

int bench_rate(struct bench *b, struct err *e)
{
	struct sample s = {0};
	struct load l;

	if (!b->o.rate)
		return 0;
	if (bench_load(b, false,
		       (struct load_opts){.connections = LOAD_CONNECTIONS_MAX / 4,
					  .rate = (double)b->o.rate,
					  .duration_us = b->o.duration_us},
		       &l, e) < 0)
		return -1;
	add_ms(&s, &l);
	bench_quantiles(b, "at the rate", &s);
	bench_figure(b, "at the rate", "errors", "calls", bench_count((double)l.failed, l.n));
	sample_done(&s);
	load_done(&l);
	return 0;
}

int bench_burst(struct bench *b, struct err *e)
{
	struct report_plot *plot = report_plot(&b->r, "A burst from zero", "milliseconds", "calls answered");
	struct report_line *line = plot_line(plot, b->label);
	struct sample all = {0}, done = {0}, started = {0}, ready = {0};
	size_t errors = 0, n = 0;
	int rc = 0;

	plot->steps = true;
	for (int k = 0; k < 3 && !rc; k++) {
		double cold = 0, ready_ms = 0;
		struct load l;

		if ((rc = probe_stop(&b->p, e)) < 0)
			break;
		pause_for(b);
		rc = bench_load(b, true, (struct load_opts){.connections = (unsigned)b->o.burst, .calls = b->o.burst},
				&l, e);
		if (rc < 0)
			break;
		for (size_t i = 0; i < l.n; i++) {
			const struct load_call *c = &l.calls[i];

			cold += c->cold;
			if (c->cold)
				ready_ms = fmax(ready_ms,
						(double)(c->at_us + c->wait_us + c->start_us + c->init_us) / 1e3);
			if (!k)
				line_add(line, (double)(c->at_us + c->us) / 1e3, (double)(i + 1));
		}
		add_ms(&all, &l);
		sample_add(&done, (double)l.took_us / 1e3);
		if (!b->p.service && bench_lane(b) == LANE_FUNCTION) {
			sample_add(&started, cold);
			sample_add(&ready, ready_ms);
		}
		errors += l.failed, n += l.n;
		load_done(&l);
	}
	bench_figure(b, "burst", "all answered after", "ms", sample_mean(&done));
	if (started.n) {
		bench_figure(b, "burst", "instances started", "", sample_mean(&started));
		bench_figure(b, "burst", "the last of them ready after", "ms", sample_mean(&ready));
	}
	bench_quantiles(b, "burst", &all);
	bench_figure(b, "burst", "errors", "calls", bench_count((double)errors, n));
	sample_done(&all), sample_done(&done), sample_done(&started), sample_done(&ready);
	return rc;
}

static void kill_it(void *arg)
{
	(void)probe_kill(&((struct bench *)arg)->p, &(struct err){0});
}

void bench_gap(const struct load *l, struct sample *ret_ms)
{
	int64_t first = INT64_MAX;

	for (size_t i = 0; i < l->n; i++)
		if (l->calls[i].ok && l->calls[i].at_us >= l->once_us && l->calls[i].at_us + l->calls[i].us < first)
			first = l->calls[i].at_us + l->calls[i].us;
	if (l->once_us && first < INT64_MAX)
		sample_add(ret_ms, (double)(first - l->once_us) / 1e3);
}

int bench_recovery(struct bench *b, struct err *e)
{
	struct sample gap = {0};
	size_t errors = 0, n = 0;

	for (int k = 0; k < REPEATS; k++) {
		struct load l;

		if (bench_load(b, false,
			       (struct load_opts){.connections = 1,
						  .duration_us = b->o.duration_us / 2,
						  .once_us = b->o.duration_us / 8,
						  .once = kill_it,
						  .arg = b},
			       &l, e) < 0)
			return -1;
		bench_gap(&l, &gap);
		errors += l.failed, n += l.n;
		load_done(&l);
	}
	sample_sort(&gap);
	bench_figure(b, "instance killed", "answers again after, p50", "ms", sample_quantile(&gap, 0.5));
	bench_figure(b, "instance killed", "at the latest", "ms", sample_quantile(&gap, 1));
	bench_figure(b, "instance killed", "errors", "calls", bench_count((double)errors, n));
	sample_done(&gap);
	return 0;
}

/* Of the function lane nothing is there when nothing is to do: what is kept for a while after a call is in the costs. */
int bench_idle(struct bench *b, struct err *e)
{
	struct price_use fargate = {.instance_s = 3600};
	struct probe_use u = {0};
	struct price_here price;
	double aws = 0;

	if (cli_price_here(b->c, &price, e) < 0 || (bench_lane(b) == LANE_CONTAINER && probe_usage(&b->p, &u, e) < 0))
		return -1;
	fargate.memory_mb = (double)u.memory_mb;
	if (u.memory_mb)
		aws = price_offer_usd(&price.prices, PRICE_FARGATE, CLI_ARCH, &fargate);
	bench_figure(b, "idle", "memory", "MB", bench_count((double)u.memory_bytes / CLI_MB, 1));
	bench_figure(b, "idle", "cost here", "USD/h",
		     bench_count(price_machine_use(&price.machine, 0, (double)u.memory_bytes, 3600e6), 1));
	bench_figure(b, "idle", "cost at AWS (Lambda, Fargate)", "USD/h", bench_count(aws, 1));
	return 0;
}
