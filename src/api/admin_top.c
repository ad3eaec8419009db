/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every workload does, for `tandem top`: gauges, and counters since the daemon began, of which the tool takes the
 * difference. Nothing of it is computed or kept when nobody asks.
 */
#include <sys/resource.h>
#include "api/admin_int.h"
#include "base/clock.h"
#include "ledger/metrics.h"

struct line {
	const char *name, *kind, *lane, *why;
	int instances, busy, starting, waiting;
	int64_t cpu_us, mem_bytes;
	struct ledger_counts counts;
	const struct took *took;
};

static void put_took(const struct took *t, struct jw *w)
{
	jw_arr(w, "took"); /* [more than so many us, at most so many, how many]: the last wraps at 2^32 */
	for (int i = 0; t && i < TOOK_N; i++) {
		if (!t->n[i])
			continue;
		jw_arr(w, NULL);
		jw_int(w, NULL, i ? took_upto_us(i - 1) : 0);
		jw_int(w, NULL, took_upto_us(i));
		jw_int(w, NULL, t->n[i]);
		jw_end(w, ']');
	}
	jw_end(w, ']');
}

/* One that has done nothing since the daemon began, and does nothing, is left out. */
static void put_line(const struct line *l, struct jw *w)
{
	if (!l->instances && !l->waiting && !l->counts.calls && !l->counts.cpu_us)
		return;
	jw_obj(w, NULL);
	jw_strc(w, "name", l->name);
	jw_strc(w, "kind", l->kind);
	jw_strc(w, "lane", l->lane);
	jw_int(w, "instances", l->instances);
	jw_int(w, "busy", l->busy);
	jw_int(w, "starting", l->starting);
	jw_int(w, "waiting", l->waiting);
	jw_strc(w, "waiting_for", l->waiting ? l->why : NULL);
	jw_int(w, "requests", (int64_t)l->counts.calls);
	jw_int(w, "errors", (int64_t)l->counts.errors);
	jw_int(w, "cold", (int64_t)l->counts.cold);
	jw_int(w, "cpu_us", (int64_t)l->counts.cpu_us + l->cpu_us);
	jw_int(w, "mem_bytes", l->mem_bytes);
	put_took(l->took, w);
	jw_end(w, '}');
}

static void put_functions(struct admin *a, struct jw *w)
{
	for (const struct function *f = function_next(a->o.store, NULL); f; f = function_next(a->o.store, f)) {
		auto_free char *name = xasprintf("%s/%s", f->project, f->name);
		struct line l = {.name = name, .kind = "function", .lane = lane_name[f->lane]};
		struct sched_use u;

		ledger_counts(a->o.ledger, name, &l.counts);
		l.took = l.counts.took;
		sched_function_status(a->o.sched, f, &l.instances, &l.busy, &l.waiting, &l.why);
		sched_function_use(f, &u);
		l.starting = u.starting;
		l.cpu_us = u.cpu_us;
		l.mem_bytes = u.mem_bytes;
		put_line(&l, w);
	}
}

/* What its containers take now; cpu_us of one that has ended is in its row. */
static void add_task(struct task *k, const struct task_info *i, struct line *l)
{
	for (unsigned n = 0; n < i->n_containers; n++) {
		struct task_usage u;

		if (!task_usage(k, n, &u))
			continue;
		l->cpu_us += u.cpu_us > 0 ? u.cpu_us : 0;
		l->mem_bytes += u.mem_bytes > 0 ? u.mem_bytes : 0;
	}
}

static void put_tasks(struct admin *a, struct jw *w)
{
	for (struct task *k = task_next(a->o.tasks, NULL); k; k = task_next(a->o.tasks, k)) {
		char name[160];
		struct line l = {.name = name, .kind = "task", .lane = lane_name[LANE_CONTAINER], .instances = 1};
		struct task_info i;

		task_info(k, &i);
		if (i.state == TASK_STOPPED || service_of_task(a->o.services, k, &(const char *){NULL}))
			continue;
		task_ledger_name(k, name, sizeof(name));
		l.busy = i.started_wall_us != 0;
		l.starting = !l.busy;
		add_task(k, &i, &l);
		put_line(&l, w);
	}
}

static void put_services(struct admin *a, struct jw *w)
{
	for (struct service *sv = service_next(a->o.services, NULL); sv; sv = service_next(a->o.services, sv)) {
		auto_free char *name = xasprintf("service/%s", service_spec_of(sv)->name);
		struct line l = {.name = name, .kind = "service"};
		struct service_lane_info lane;
		struct service_info i;

		service_info(sv, &i);
		if (i.state == SERVICE_INACTIVE)
			continue;
		ledger_counts(a->o.ledger, name, &l.counts);
		service_lane_info(sv, &lane);
		l.lane = lane_name[lane.lane];
		l.counts.calls = i.requests;
		l.counts.errors = i.errors;
		l.took = service_took(sv);
		l.instances = i.running + i.pending;
		l.starting = i.pending;
		l.busy = i.open < i.running ? i.open : i.running;
		l.waiting = i.held;
		l.why = i.waits_for;
		service_usage(sv, &l.cpu_us, &l.mem_bytes);
		put_line(&l, w);
	}
}

/* tandemd, and the sandboxes that it holds ready for anybody. */
static void put_platform(struct admin *a, struct jw *w)
{
	struct rusage ru;
	int64_t cpu_us = 0, bytes = 0;
	int ready, missing;

	getrusage(RUSAGE_SELF, &ru);
	sched_blanks(a->o.sched, &ready, &missing);
	sched_blanks_use(a->o.sched, &cpu_us, &bytes);
	jw_obj(w, "platform");
	jw_int(w, "cpu_us", cpu_us + clock_cpu_us(&ru));
	jw_int(w, "mem_bytes", bytes + admin_resident_bytes());
	jw_int(w, "blanks", ready);
	jw_end(w, '}');
}

void admin_top(struct admin *a, struct http_req *r, struct str name)
{
	const struct ledger_prices *p = ledger_prices(a->o.ledger);
	auto_object(w, out);

	jw_int(&w, "at_us", clock_now_us());
	jw_int(&w, "began_us", a->started_us);
	jw_real(&w, "usd_hour", p->machine.usd_hour);
	jw_real(&w, "usd_per_cpu_us", p->machine.usd_per_cpu_us);
	jw_real(&w, "usd_per_byte_us", p->machine.usd_per_byte_us);
	put_platform(a, &w);
	jw_arr(&w, "workloads");
	put_functions(a, &w);
	put_services(a, &w);
	put_tasks(a, &w);
	jw_end(&w, ']');
	admin_object(r, 200, &w);
}
