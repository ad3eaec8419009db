/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of a simulation: a recorded day, traffic that is drawn, or what ran here. */
#include <math.h>
#include "advise/traffic.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "cli/call.h"
#include "cli/simulate.h"

#define TELL_AFTER_US 1000000
#define MB	      1048576.0
#define COPIES	      "bench/" /* of tandem bench and tune: calls that nobody needed; no project may be named so */

const enum price_offer sim_offers[SIM_OFFERS] = {PRICE_LAMBDA, PRICE_CLOUD_RUN_REQUEST, PRICE_AZURE_FUNCTIONS};

static void tell(struct sim *m)
{
	int64_t now = clock_now_us();

	if (m->c->quiet || now - m->began_us < TELL_AFTER_US || now - m->told_us < TELL_AFTER_US / 4 || !isatty(2))
		return;
	m->told_us = now;
	fprintf(stderr, "\r%lld functions, %.1f M calls under %zu policies ", (long long)m->functions,
		(double)m->calls / 1e6, m->n);
}

void sim_function_over(struct sim *m, int64_t held_bytes, double cpu_us)
{
	struct simulate_use use;
	struct price_use u;

	simulate_last(m->s, 0, &use);
	u = (struct price_use){.requests = (double)use.calls,
			       .billed_s = use.busy_s +
					   (use.starts ? use.start_s / (double)use.starts * (double)use.cold : 0),
			       .memory_mb = fmax(ceil((double)held_bytes / MB), 128)};
	for (int k = 0; use.calls && k < SIM_OFFERS; k++) {
		double usd = price_offer_usd(&m->price.prices, sim_offers[k], CLI_ARCH, &u);

		m->offers[k].cannot += isnan(usd);
		m->offers[k].usd += isnan(usd) ? 0 : usd;
	}
	m->cpu_us += cpu_us;
	m->calls += use.calls;
	m->functions++;
	tell(m);
}

static void trace_free_p(struct trace **t)
{
	trace_free(*t);
}

int sim_folder(struct sim *m, const char *folder, struct err *e)
{
	auto_(trace_free_p) struct trace *t = NULL;
	auto_free struct trace_function *f = xmalloc(sizeof(*f));
	int r = trace_open(folder, &t, e);

	while (!r && (r = trace_next(t, f, e)) > 0) {
		struct simulate_use u;

		simulate_function(m->s, f);
		simulate_last(m->s, 0, &u);
		sim_function_over(m, f->held_bytes, u.busy_s * 1e6 * m->cpu_share);
		m->end_us = f->minutes * 60000000ll;
		r = 0;
	}
	if (r < 0)
		return -1;
	m->left_out = trace_left_out(t);
	m->source = "durations and memory recorded; start times, CPU time and times within a minute declared";
	return m->functions ? 0 : err_set(e, ERR_INVALID, "%s: no function with calls, durations and memory", folder);
}

int sim_service(const char *text, struct dist *ret, struct err *e)
{
	static const double percent[] = {0, 50, 99};
	double us[3];
	char *end, *more;

	us[1] = us[2] = strtod(text, &end) * 1000;
	if (end > text && *end == ',') {
		us[2] = strtod(end + 1, &more) * 1000;
		end = more > end + 1 ? more : end;
	}
	if (end == text || *end || !(us[1] > 0 && us[2] >= us[1] && us[2] <= LIM_TRACE_NUMBER * 1e3))
		return err_set(e, ERR_INVALID, "\"%.60s\" is not MS or P50,P99 in ms, like 100 or 100,400", text);
	us[0] = us[1] == us[2] ? us[1] : us[1] / 2;
	dist_points(ret, percent, us, 3);
	return 0;
}

static void traffic_free_p(struct traffic **t)
{
	traffic_free(*t);
}

int sim_traffic(struct sim *m, const char *spec, struct err *e)
{
	auto_(traffic_free_p) struct traffic *t = NULL;
	uint64_t random = (uint64_t)m->o.seed;
	int64_t held = m->o.memory_mb << 20, at;
	struct simulate_use u;
	struct dist service;

	if (traffic_parse(spec, ~random, &t, e) < 0 || sim_service(m->o.service, &service, e) < 0)
		return -1;
	if (traffic_mean(t) * (double)m->o.for_us / 1e6 > 1e10)
		return err_set(e, ERR_LIMIT, "%s for so long is more than 10,000 million calls; --for says how long",
			       spec);
	simulate_open(m->s, held);
	while (traffic_next(t, &at) && at < m->o.for_us) {
		simulate_call(m->s, at, dist_draw(&service, &random));
		if (!(++m->calls & 0xfffff))
			tell(m);
	}
	simulate_close(m->s, m->o.for_us);
	m->calls = 0;
	simulate_last(m->s, 0, &u);
	sim_function_over(m, held, u.busy_s * 1e6 * m->cpu_share);
	m->end_us = m->o.for_us;
	m->source = "all of it declared";
	return 0;
}

/* ---- the own ledger ---- */

struct call {
	int64_t at_us, us;
};
struct workload {
	char *name;
	struct call *calls;
	size_t n, cap;
	int64_t cpu_us, held_bytes, starts, start_us; /* sums; held: the most of any call */
};
struct rows {
	struct map workloads;
	struct buf line;
	int64_t n, since_us;
	struct err e;
};

static void rows_done(struct rows *r)
{
	struct workload *w;

	for (size_t pos = 0; (w = map_next(&r->workloads, &pos)); free(w)) {
		free(w->name);
		free(w->calls);
	}
	map_done(&r->workloads);
	buf_done(&r->line);
}

static int add_row(struct rows *r, struct str line)
{
	auto_json j = json_parse(line, &r->e);
	struct str name = json_get_str(j, "workload"), outcome = json_get_str(j, "outcome");
	int64_t start_us = json_get_int(j, "start_us", 0) + json_get_int(j, "init_us", 0), held, at;
	struct workload *w;

	if (!j || !name.n)
		return err_set(&r->e, ERR_CORRUPT, "this is no row of a ledger: " STR_FMT,
			       (int)(line.n < 80 ? line.n : 80), line.p);
	if (str_eqc(outcome, "throttled") || str_starts(name, COPIES))
		return 0;
	if (r->n++ == SIM_CALLS_MAX)
		return err_set(&r->e, ERR_LIMIT, "more than %d calls; --since and --workload ask for fewer",
			       SIM_CALLS_MAX);
	w = map_get(&r->workloads, name);
	if (!w) {
		w = xcalloc(1, sizeof(*w));
		w->name = str_dup(name);
		map_put(&r->workloads, str_of(w->name), w);
	}
	if (w->n == w->cap) {
		w->cap = w->cap ? 2 * w->cap : 16;
		w->calls = xrealloc(w->calls, w->cap * sizeof(*w->calls));
	}
	at = json_get_int(j, "at_us", 0) - r->since_us;
	w->calls[w->n++] = (struct call){at > 0 ? at : 0, json_get_int(j, "handler_us", 0)};
	w->cpu_us += json_get_int(j, "cpu_us", 0);
	held = json_get_int(j, "mem_peak_bytes", 0);
	w->held_bytes = held > w->held_bytes ? held : w->held_bytes;
	if (json_get_bool(j, "cold", false) && start_us > 0) {
		w->starts++;
		w->start_us += start_us;
	}
	return 0;
}

static int take_rows(void *arg, struct str piece)
{
	struct rows *r = arg;
	struct str text, line;
	size_t used = 0;
	int rc = 0;

	buf_addstr(&r->line, piece);
	text = buf_str(&r->line);
	while (!rc && str_cut(text, '\n', &line, &text)) {
		rc = add_row(r, line);
		used += line.n + 1;
	}
	buf_drop(&r->line, used);
	return rc;
}

static int by_time(const void *a, const void *b)
{
	const struct call *x = a, *y = b;

	return (x->at_us > y->at_us) - (x->at_us < y->at_us);
}

static void replay_workload(struct sim *m, struct workload *w)
{
	struct simulate_start declared = m->ways[0].start;

	/* What starts took here, unless somebody asks what another time would do. */
	for (size_t k = 0; k < m->n_restore && w->starts && !m->o.restore; k++)
		m->ways[k].start = (struct simulate_start){(double)w->start_us / (double)w->starts / 1e3, 0};
	qsort(w->calls, w->n, sizeof(*w->calls), by_time);
	simulate_open(m->s, w->held_bytes);
	for (size_t i = 0; i < w->n; i++)
		simulate_call(m->s, w->calls[i].at_us, w->calls[i].us);
	simulate_close(m->s, m->end_us);
	for (size_t k = 0; k < m->n_restore; k++)
		m->ways[k].start = declared;
	sim_function_over(m, w->held_bytes, (double)w->cpu_us);
}

int sim_ledger(struct sim *m, struct err *e)
{
	auto_(rows_done) struct rows r = {.since_us = clock_wall_us() - m->o.since_us};
	auto_buf target = {0};
	struct workload *w;

	m->end_us = m->o.since_us;
	buf_adds(&target, "/v1/rows");
	call_query_int(&target, "since_wall_us", r.since_us);
	call_query_int(&target, "until_wall_us", r.since_us + m->end_us);
	if (m->o.workload)
		call_query(&target, "workload", m->o.workload);
	if (call_stream(m->c, "GET", target.p, STR_NULL, take_rows, &r) < 0)
		return m->c->exit;
	if (r.e.kind) {
		*e = r.e;
		return -1;
	}
	if (r.line.n)
		return err_set(e, ERR_UNAVAILABLE, "the daemon ended in the middle of its ledger");
	for (size_t pos = 0; (w = map_next(&r.workloads, &pos));)
		replay_workload(m, w);
	m->source = "calls, durations, CPU time, memory and starts measured here";
	return m->functions ? 0
			    : err_set(e, ERR_NOT_FOUND,
				      "no call stands in the ledger for this time; --since says since when");
}
