/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simulate --check: some of the calls made for real, beside what the simulation says of them. A project with one
 * function, which works and sleeps for as long as it is told to, is applied; copies of it (api/admin_copy.c), one for each function
 * of the slice, are called as the slice says. First it is measured what a start and a call take here beyond that.
 */
#include <math.h>
#include <time.h>
#include "base/clock.h"
#include "base/mem.h"
#include "cli/probe.h"
#include "cli/sample.h"
#include "cli/simulate.h"
#include "cli/table.h"
#include "json/write.h"
#include "sched/policy.h"

#define REPLAYS 3
#define STARTS	12
#define TOLD	8
#define WARM	60
#define RESTED	30
/*
 * Of the calls that show what one takes beyond its sleep: as those of a slice, whose caches are somebody else's when it
 * goes on (220 to 270 us of CPU). One after the other, asleep for 5 ms each, they take 85.
 */
#define SLEEP_US    20000
#define BETWEEN_US  20000
#define FROZEN_US   50000 /* after so long an instance is frozen, and the next call thaws it */
#define REST_US	    80000
#define LOOK_BACK   64
#define CONNECTIONS 256
#define WITHIN	    0.1	  /* p50 and cost */
#define GRAIN	    0.032 /* of the simulation's percentiles */

/* What a call takes here beyond its sleep, measured. */
struct costs {
	struct dist start, warm, thawed; /* us, as the client sees it */
	double warm_cpu_us, thawed_cpu_us, start_cpu_us;
	double held_bytes; /* by an instance, in the mean of some */
	int64_t start_us;  /* as the daemon counts it */
};
struct sums {
	double usd, cpu_us, calls, cold;
};
struct outcome {
	double p50_ms, p99_ms, usd, cold;
};
struct check {
	struct sim *m;
	struct sim_slice slice;
	struct probe *probes; /* one for each function */
	unsigned n_probes;
	struct costs costs;
	struct outcome predicted, measured[REPLAYS];
	int64_t failed;
};

static void says(struct check *k, const char *what)
{
	if (!k->m->c->quiet && isatty(2))
		fprintf(stderr, "\r\033[K%s", what);
}

static void pause_us(int64_t us)
{
	nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL);
}

/* ---- calls ---- */

static void put_request(struct buf *b, const char *name, int64_t us, double share, bool told)
{
	auto_free char *body = xasprintf("{\"us\":%lld,\"work_us\":%.0f}", (long long)us, (double)us * share);

	buf_addf(b, "POST /v1/functions/%s/invoke%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s", name,
		 told ? "" : "?row=0", strlen(body), body);
}

/* Some calls one after the other, each after a rest; what they took beyond their sleep. */
static int some(struct probe *p, unsigned n, int64_t us, int64_t rest_us, bool told, struct load_call *ret,
		struct err *e)
{
	auto_buf request = {0};
	struct load_due due = {0};

	put_request(&request, p->name, us, 0, told);
	due.request = buf_str(&request);
	for (unsigned i = 0; i < n; i++) {
		struct load_opts o = {.connections = 1, .calls = 1, .duration_us = INT64_MAX / 4, .due = &due};
		struct load l;

		pause_us(rest_us);
		if (probe_load(p, told, &o, &l, e) < 0)
			return -1;
		ret[i] = l.calls[0];
		if (!ret[i].ok)
			err_set(e, ERR_INVALID, "a call failed: %s", l.why.p ? l.why.p : "");
		load_done(&l);
		if (!ret[i].ok)
			return -1;
	}
	return 0;
}

static void dist_of(struct dist *d, const struct load_call *calls, size_t n, double less_us)
{
	double us[WARM];

	for (size_t i = 0; i < n; i++)
		us[i] = fmax(0, (double)calls[i].us - less_us);
	dist_samples(d, us, n);
}

/* What the ledger has for all copies until now. */
static int ledger_sums(struct check *k, struct sums *ret, struct err *e)
{
	auto_json j = NULL;
	const struct json *sums, *x;

	*ret = (struct sums){0};
	if (probe_ask(k->m->c, "GET", "/v1/cost?by=workload", STR_NULL, &j, e) < 0)
		return -1;
	sums = json_get(j, "sums");
	for (size_t i = 0; (x = json_at(sums, i)); i++)
		for (unsigned f = 0; f < k->n_probes; f++)
			if (str_ends(json_get_str(x, "key"), k->probes[f].name)) {
				ret->usd += json_real(json_get(x, "usd_machine"), 0);
				ret->cpu_us += (double)json_get_int(x, "cpu_us", 0);
				ret->calls += (double)json_get_int(x, "invocations", 0);
				ret->cold += (double)json_get_int(x, "cold", 0);
			}
	return 0;
}

/* CPU time is the ledger's, so that what freezing and thawing took is in it. */
static int measure(struct check *k, unsigned n, int64_t rest_us, struct dist *ret, double *ret_cpu_us, struct err *e)
{
	struct load_call calls[WARM];
	struct sums before, after;
	struct probe *p = k->probes;

	if (some(p, 1, SLEEP_US, rest_us, true, calls, e) < 0 || ledger_sums(k, &before, e) < 0 ||
	    some(p, n - 1, SLEEP_US, rest_us, false, calls, e) < 0 ||
	    some(p, 1, SLEEP_US, rest_us, true, &calls[n - 1], e) < 0 || ledger_sums(k, &after, e) < 0)
		return -1;
	dist_of(ret, calls, n - 1, SLEEP_US); /* who is told waits for the row */
	*ret_cpu_us = (after.cpu_us - before.cpu_us) / n;
	return 0;
}

/* Who reads an image first is charged its pages, and who prepares one is not measured beside. */
static int settle(struct check *k, struct err *e)
{
	struct load_call call;

	for (unsigned f = 0; f < k->n_probes; f++) {
		auto_free char *how = NULL;

		if (probe_settle(&k->probes[f], &how, e) < 0 || some(&k->probes[f], 1, 0, 0, false, &call, e) < 0)
			return -1;
	}
	return 0;
}

/* What an instance holds once it has had some calls and rests. */
static int held(struct probe *p, double *ret, struct err *e)
{
	struct load_call calls[2];
	struct probe_use use;

	if (some(p, 2, SLEEP_US, REST_US, false, calls, e) < 0)
		return -1;
	pause_us(REST_US);
	if (probe_usage(p, &use, e) < 0)
		return -1;
	*ret = (double)use.memory_bytes / (use.instances ? use.instances : 1);
	return 0;
}

static int calibrate(struct check *k, struct err *e)
{
	struct costs *c = &k->costs;
	struct load_call starts[STARTS], told[TOLD];
	double cold_cpu_us = 0, bytes[TOLD];
	struct probe *p = k->probes;
	struct dist d;

	says(k, "measuring starts and calls");
	if (settle(k, e) < 0 || measure(k, WARM, BETWEEN_US, &c->warm, &c->warm_cpu_us, e) < 0 ||
	    measure(k, RESTED, REST_US, &c->thawed, &c->thawed_cpu_us, e) < 0)
		return -1;
	for (int i = 0; i < STARTS; i++)
		if (probe_stop(p, e) < 0 || some(p, 1, SLEEP_US, REST_US, false, &starts[i], e) < 0)
			return -1;
	dist_of(&c->start, starts, STARTS, SLEEP_US + dist_percentile(&c->warm, 50));
	for (int i = 0; i < TOLD; i++) {
		if (probe_stop(p, e) < 0 || some(p, 1, SLEEP_US, REST_US, true, &told[i], e) < 0 ||
		    held(p, &bytes[i], e) < 0)
			return -1;
		c->start_us += (told[i].start_us + told[i].init_us) / TOLD;
		cold_cpu_us += (double)told[i].cpu_us / TOLD;
	}
	dist_samples(&d, bytes, TOLD);
	c->held_bytes = dist_percentile(&d, 50); /* pages that several share are counted for one of them */
	c->start_cpu_us = fmax(0, cold_cpu_us - c->warm_cpu_us);
	return 0;
}

/* ---- said before ---- */

/* Whether the instance that takes this call has been idle for long enough to be frozen: it is the one that was free last. */
static bool is_frozen(const struct sim_slice *s, size_t call)
{
	int64_t free_us = INT64_MIN / 2;

	for (size_t i = call, n = 0; i-- > 0 && n < LOOK_BACK;) {
		int64_t over_us = s->calls[i].at_us + s->calls[i].us;

		if (s->calls[i].function != s->calls[call].function)
			continue;
		n++;
		if (over_us <= s->calls[call].at_us && over_us > free_us)
			free_us = over_us;
	}
	return s->calls[call].at_us - free_us >= FROZEN_US;
}

static void predict(struct check *k)
{
	const struct costs *c = &k->costs;
	struct simulate_way way = {.rule = SIMULATE_KEEP,
				   .keep_us = policy_keep_us(c->start_us, llround(c->held_bytes)),
				   .starts = &c->start};
	struct simulate *s = simulate_new(&way, 1, (uint64_t)k->m->o.seed);
	uint64_t random = (uint64_t)k->m->o.seed;
	struct simulate_result r;
	double cpu_us = 0;

	for (unsigned f = 0; f < k->slice.functions; f++) {
		simulate_open(s, llround(c->held_bytes));
		for (size_t i = 0; i < k->slice.n; i++) {
			const struct sim_call *call = &k->slice.calls[i];
			bool frozen;

			if (call->function != f)
				continue;
			frozen = is_frozen(&k->slice, i);
			simulate_call(s, call->at_us, call->us + dist_draw(frozen ? &c->thawed : &c->warm, &random));
			cpu_us += (double)call->us * k->m->cpu_share + (frozen ? c->thawed_cpu_us : c->warm_cpu_us);
		}
		simulate_close(s, k->m->o.for_us);
	}
	simulate_result(s, 0, &r);
	simulate_free(s);
	k->predicted = (struct outcome){
		.p50_ms = (double)r.latency.p50_us / 1e3,
		.p99_ms = (double)r.latency.p99_us / 1e3,
		.usd = price_machine_use(&k->m->price.machine, cpu_us + (double)r.use.starts * c->start_cpu_us,
					 r.use.held_byte_s, 1e6),
		.cold = (double)r.use.cold,
	};
}

/* ---- and done ---- */

/* Until nothing of it runs, and its last rows are there. */
static int stop_all(struct check *k, struct err *e)
{
	for (unsigned f = 0; f < k->n_probes; f++) {
		struct probe_use use = {.instances = 1};

		if (probe_stop(&k->probes[f], e) < 0)
			return -1;
		for (int turn = 0; use.instances && turn < 1000; turn++) {
			if (probe_usage(&k->probes[f], &use, e) < 0)
				return -1;
			pause_us(10000);
		}
	}
	return 0;
}

static void sum_up(struct check *k, const struct load *l, struct outcome *ret)
{
	struct sample s = {0};

	for (size_t i = 0; i < l->n; i++)
		if (l->calls[i].ok)
			sample_add(&s, (double)l->calls[i].us / 1e3);
	sample_sort(&s);
	ret->p50_ms = sample_quantile(&s, 0.5).value;
	ret->p99_ms = sample_quantile(&s, 0.99).value;
	sample_done(&s);
	k->failed += (int64_t)l->failed;
}

static int replay(struct check *k, const struct load_due *due, struct outcome *ret, struct err *e)
{
	struct load_opts o = {
		.connections = CONNECTIONS, .calls = (int64_t)k->slice.n, .duration_us = INT64_MAX / 4, .due = due};
	struct sums before, after;
	int64_t began;
	struct load l;

	if (stop_all(k, e) < 0 || ledger_sums(k, &before, e) < 0)
		return -1;
	began = clock_now_us();
	if (probe_load(&k->probes[0], false, &o, &l, e) < 0)
		return -1;
	sum_up(k, &l, ret);
	load_done(&l);
	if (clock_now_us() < began + k->m->o.for_us)
		pause_us(began + k->m->o.for_us - clock_now_us());
	/* Rows come after the answers. */
	for (int turn = 0; turn < 500; turn++) {
		if (ledger_sums(k, &after, e) < 0)
			return -1;
		if (after.calls - before.calls >= (double)k->slice.n)
			break;
		pause_us(10000);
	}
	ret->usd = after.usd - before.usd;
	ret->cold = after.cold - before.cold;
	return 0;
}

static int replay_all(struct check *k, struct err *e)
{
	auto_free struct load_due *due = xcalloc(k->slice.n, sizeof(*due));
	auto_free size_t *at = xcalloc(k->slice.n + 1, sizeof(*at));
	auto_buf requests = {0};
	char what[64];

	for (size_t i = 0; i < k->slice.n; i++) {
		put_request(&requests, k->probes[k->slice.calls[i].function].name, k->slice.calls[i].us,
			    k->m->cpu_share, false);
		at[i + 1] = requests.n;
	}
	for (size_t i = 0; i < k->slice.n; i++)
		due[i] = (struct load_due){k->slice.calls[i].at_us, {requests.p + at[i], at[i + 1] - at[i]}};
	for (int i = 0; i < REPLAYS; i++) {
		snprintf(what, sizeof(what), "replay %d of %d: %lld s", i + 1, REPLAYS,
			 (long long)(k->m->o.for_us / 1000000));
		says(k, what);
		if (replay(k, due, &k->measured[i], e) < 0)
			return -1;
	}
	return 0;
}

/* ---- the answer ---- */

enum may { MAY_TENTH, MAY_SPREAD, MAY_ANY };
static const struct figure {
	const char *name, *key;
	double per; /* of what is shown, in one of the unit of struct outcome */
	size_t at;
	enum may may;
} figures[] = {
	{"p50 ms", "p50_ms", 1, offsetof(struct outcome, p50_ms), MAY_TENTH},
	{"p99 ms", "p99_ms", 1, offsetof(struct outcome, p99_ms), MAY_SPREAD},
	{"nano-USD here", "usd_machine", 1e9, offsetof(struct outcome, usd), MAY_TENTH},
	{"began cold", "cold", 1, offsetof(struct outcome, cold), MAY_ANY},
};

static double figure(const struct figure *f, const struct outcome *o)
{
	return *(const double *)((const char *)o + f->at);
}

/* By how much the prediction is off the replays' median. */
static bool compare(const struct check *k, const struct figure *f, double *ret_off)
{
	double p = figure(f, &k->predicted), least = INFINITY, most = 0, sum = 0, is;

	for (int i = 0; i < REPLAYS; i++) {
		double v = figure(f, &k->measured[i]);

		least = fmin(least, v);
		most = fmax(most, v);
		sum += v;
	}
	is = sum - least - most; /* of three */
	*ret_off = p == is ? 0 : p / is - 1;
	if (f->may == MAY_SPREAD)
		return p >= least * (1 - GRAIN) && p <= most * (1 + GRAIN);
	return f->may == MAY_ANY || fabs(*ret_off) <= WITHIN;
}

static void print_json(const struct check *k, bool ok)
{
	auto_object(w, out);

	jw_bool(&w, "ok", ok);
	jw_int(&w, "calls", (int64_t)k->slice.n);
	jw_int(&w, "functions", k->slice.functions);
	jw_int(&w, "failed", k->failed);
	jw_real(&w, "seconds", (double)k->m->o.for_us / 1e6);
	jw_arr(&w, "outcomes");
	for (int i = -1; i < REPLAYS; i++) {
		jw_obj(&w, NULL);
		jw_strc(&w, "what", i < 0 ? "predicted" : "measured");
		for (size_t f = 0; f < ARRAY_SIZE(figures); f++)
			jw_real(&w, figures[f].key, figure(&figures[f], i < 0 ? &k->predicted : &k->measured[i]));
		jw_end(&w, '}');
	}
	jw_end(&w, ']');
	jw_end(&w, '}');
	puts(out.p);
}

static char *cell(const struct figure *f, const struct outcome *o)
{
	double v = figure(f, o) * f->per;

	return f->may == MAY_ANY ? cli_cell("%.0f", v) : cli_cell("%.2f", v);
}

static bool report(struct check *k)
{
	static const char *const heads[] = {"", ">PREDICTED", ">REPLAY 1", ">2", ">3", ">OFF", "MAY BE"};
	static const char *const may[] = {"10 %", "the replays' spread", "any"};
	bool ok = !k->failed, one;
	struct table t;
	double off;

	table_init(&t, heads, ARRAY_SIZE(heads));
	for (const struct figure *f = figures; f < figures + ARRAY_SIZE(figures); f++) {
		one = compare(k, f, &off);
		ok &= one;
		table_row(&t, (char *[]){cli_cell("%s", f->name), cell(f, &k->predicted), cell(f, &k->measured[0]),
					 cell(f, &k->measured[1]), cell(f, &k->measured[2]),
					 cli_cell("%+.1f %%", 100 * off),
					 cli_cell("%s%s", may[f->may], one ? "" : ": it is off")});
	}
	if (k->m->c->json)
		print_json(k, ok);
	else
		table_print(&t, k->m->c);
	table_done(&t);
	cli_note(k->m->c,
		 "%zu calls of %u functions in %.0f s, three times; a start took %.2f ms, a call %.2f ms more than it "
		 "slept",
		 k->slice.n, k->slice.functions, (double)k->m->o.for_us / 1e6,
		 dist_percentile(&k->costs.start, 50) / 1e3, dist_percentile(&k->costs.warm, 50) / 1e3);
	return ok;
}

static int check(void *arg)
{
	struct check *k = arg;
	struct probe_what of = {.of = SIM_PROJECT "/" SIM_PROJECT, .more = ""};
	struct err e = {0};
	int rc = cli_price_here(k->m->c, &k->m->price, &e);

	k->probes = xcalloc(k->slice.functions, sizeof(*k->probes));
	says(k, "copies of the function that is called");
	for (; !rc && k->n_probes < k->slice.functions; k->n_probes += !rc)
		rc = probe_open(k->m->c, &of, &k->probes[k->n_probes], &e);
	if (!rc)
		rc = calibrate(k, &e);
	if (!rc) {
		predict(k);
		rc = replay_all(k, &e);
	}
	says(k, "");
	rc = rc ? cli_fail(&e) : report(k) ? CLI_OK : CLI_FAILED;
	fflush(stdout);
	return rc; /* what it holds goes with the process */
}

int sim_check(struct sim *m, const char *what)
{
	struct check k = {.m = m};
	struct err e = {0};
	int rc = strchr(what, ':') ? sim_slice_traffic(m, what, &k.slice, &e) : sim_slice_folder(m, what, &k.slice, &e);

	rc = rc < 0 ? cli_fail(&e) : sim_project(m->c, check, &k);
	free(k.slice.calls);
	return rc;
}
