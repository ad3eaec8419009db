/* SPDX-License-Identifier: Apache-2.0 */
/* What happens when something goes wrong on purpose: a quota that is full, an event that always fails, a killed daemon. */
#include <math.h>
#include <signal.h>
#include "base/clock.h"
#include "base/mem.h"
#include "cli/bench.h"

#define QUOTA_CALLS	20
#define RETRY_EVENTS	5
#define RETRY_SLICE_US	2000000
#define RETRY_US	300000000ll /* more than the two retries of a failing event take, a minute and two later */
#define NEIGHBOUR_RATE	50
#define DAEMON_KILLS	3
#define DAEMON_LOAD_US	1000000
#define DAEMON_AFTER_US 500000

/* ---- a quota ---- */

/* So many calls at once, of a copy that may do one at a time: who waits, who is refused. */
static int over_quota(struct bench *b, const char *limit, const char *phase, struct err *e)
{
	struct probe was = b->p;
	struct sample s = {0};
	struct load l;
	int rc = bench_copy(b, limit, &b->p, e);

	if (rc == 0) {
		rc = bench_load(b, true, (struct load_opts){.connections = QUOTA_CALLS, .calls = QUOTA_CALLS}, &l, e);
		probe_close(&b->p);
	}
	b->p = was;
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < l.n; i++)
		if (l.calls[i].ok)
			sample_add(&s, (double)l.calls[i].us / 1e3);
	sample_sort(&s);
	bench_figure(b, phase, "answered", "calls", bench_count((double)s.n, l.n));
	bench_figure(b, phase, "the last after", "ms", sample_quantile(&s, 1));
	bench_figure(b, phase, "refused", "calls", bench_count((double)l.failed, l.n));
	if (l.failed)
		report_fact(&b->r, phase, "%s, to who is refused: %s", b->lane, l.why.p ? l.why.p : "");
	sample_done(&s);
	load_done(&l);
	return 0;
}

int drill_quota(struct bench *b, struct err *e)
{
	if (over_quota(b, "\"max\":1", "20 calls, max: 1", e) < 0)
		return -1;
	return b->p.service ? 0 : over_quota(b, "\"reserved\":1", "20 calls, reserved concurrency 1", e);
}

/* ---- an event that always fails ---- */

static int neighbour(struct bench *b, int64_t duration_us, struct sample *s, struct err *e)
{
	struct load l;

	if (bench_load(b, false,
		       (struct load_opts){.connections = 8, .rate = NEIGHBOUR_RATE, .duration_us = duration_us}, &l,
		       e) < 0)
		return -1;
	for (size_t i = 0; i < l.n; i++)
		if (l.calls[i].ok)
			sample_add(s, (double)l.calls[i].us / 1e3);
	load_done(&l);
	return 0;
}

/* Events of a function that are not over; -1. */
static int64_t waiting(struct bench *b, const char *name, struct err *e)
{
	auto_free char *target = xasprintf("/v1/functions/%s", name);
	auto_json j = NULL;

	if (probe_ask(b->c, "GET", target, STR_NULL, &j, e) < 0)
		return -1;
	return json_get_int(json_get(j, "asynchronous"), "waiting", 0);
}

static int count_tries(struct bench *b, const char *name, struct err *e)
{
	auto_free char *target = xasprintf("/v1/cost?by=workload&workload=bench/%s", name);
	auto_json j = NULL;
	const struct json *sum;

	if (probe_ask(b->c, "GET", target, STR_NULL, &j, e) < 0)
		return -1;
	sum = json_get(j, "total");
	bench_figure(b, "runaway retry", "tries of an event", "",
		     bench_count((double)json_get_int(sum, "invocations", 0) / RETRY_EVENTS, RETRY_EVENTS));
	bench_figure(b, "runaway retry", "cost of an event", "USD",
		     bench_count(json_real(json_get(sum, "usd_machine"), 0) / RETRY_EVENTS, RETRY_EVENTS));
	return 0;
}

static int run_retry(struct bench *b, struct probe *bad, struct err *e)
{
	auto_free char *target = xasprintf("/v1/functions/%s/invoke?async=1", bad->name);
	int64_t slice_us = fmin((double)b->o.duration_us, RETRY_SLICE_US), left = 1;
	struct sample before = {0}, during = {0};
	int rc = neighbour(b, slice_us, &before, e);

	for (int i = 0; i < RETRY_EVENTS && !rc; i++)
		rc = probe_ask(b->c, "POST", target, STR("{}"), NULL, e);
	for (int64_t until_us = clock_now_us() + RETRY_US; !rc && left && clock_now_us() < until_us;) {
		rc = neighbour(b, slice_us, &during, e);
		left = rc ? 0 : waiting(b, bad->name, e);
		rc = left < 0 ? -1 : rc;
	}
	sample_sort(&before);
	sample_sort(&during);
	bench_figure(b, "runaway retry", "p99 of a neighbour before", "ms", sample_quantile(&before, 0.99));
	bench_figure(b, "runaway retry", "p99 of a neighbour meanwhile", "ms", sample_quantile(&during, 0.99));
	sample_done(&before);
	sample_done(&during);
	return rc < 0 ? -1 : count_tries(b, bad->name, e);
}

int drill_retry(struct bench *b, struct err *e)
{
	struct probe bad;
	int rc;

	if (b->p.service)
		return 0;
	if (bench_copy(b, "\"fails\":true", &bad, e) < 0)
		return -1;
	rc = run_retry(b, &bad, e);
	probe_close(&bad);
	return rc;
}

/* ---- a killed daemon ---- */

static bool any(const struct json *list, const char *member)
{
	for (size_t i = 0; i < json_len(list); i++)
		if (json_get_int(json_at(list, i), member, 0))
			return true;
	return false;
}

int drill_daemon_check(struct bench *b, struct err *e)
{
	auto_json j = NULL;

	if (geteuid() != 0)
		return err_set(e, ERR_DENIED,
			       "only root can kill the daemon: --drills as root, or --only without daemon");
	if (probe_ask(b->c, "GET", "/v1/functions", STR_NULL, &j, e) < 0)
		return -1;
	if (!b->o.yes && (any(json_get(j, "functions"), "busy") || any(json_get(j, "services"), "open")))
		return err_set(e, ERR_CONFLICT,
			       "the daemon is to be killed, and others have calls under way that would fail; --yes "
			       "does it all the same");
	cli_note(b->c,
		 "The daemon will be killed %d times, last of all, while %s itself is called. Its successor takes over "
		 "what runs; calls that are under way fail.",
		 DAEMON_KILLS, b->of);
	return 0;
}

static void kill_daemon(void *arg)
{
	struct bench *b = arg;
	struct err e = {0};
	auto_json j = NULL;

	if (probe_ask(b->c, "GET", "/v1/version", STR_NULL, &j, &e) == 0 && json_get_int(j, "pid", 0) > 1)
		kill((pid_t)json_get_int(j, "pid", 0), SIGKILL);
}

/* The copy would die with it: the workload itself is called, wherever it is now. */
int drill_daemon(struct bench *b, struct err *e)
{
	struct probe was = b->p;
	struct sample gap = {0};
	double lost = 0;
	int rc = 0;

	probe_original(b->c, &(struct probe_what){.of = b->of, .payload = buf_str(&b->payload), .path = b->o.path},
		       was.service, &b->p);
	for (int k = 0; k < DAEMON_KILLS && !rc; k++) {
		struct load l;

		rc = bench_load(b, false,
				(struct load_opts){.connections = 1,
						   .duration_us = DAEMON_LOAD_US,
						   .once_us = DAEMON_AFTER_US,
						   .once = kill_daemon,
						   .arg = b},
				&l, e);
		if (rc < 0)
			break;
		bench_gap(&l, &gap);
		lost += (double)l.failed;
		load_done(&l);
	}
	sample_sort(&gap);
	bench_figure(b, "daemon killed", "answers again after, p50", "ms", sample_quantile(&gap, 0.5));
	bench_figure(b, "daemon killed", "at the latest", "ms", sample_quantile(&gap, 1));
	bench_figure(b, "daemon killed", "errors", "calls", bench_count(lost, gap.n));
	sample_done(&gap);
	probe_close(&b->p);
	b->p = was;
	return rc;
}
