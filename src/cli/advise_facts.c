/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/advise_facts.h"
#include <fcntl.h>
#include <math.h>
#include "advise/measure.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/lane.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "cli/call.h"
#include "sched/lane_model.h"

#define BUSIEST 10 /* functions of a trace, when no names are said */

static bool wanted(const struct advise_from *from, struct str name)
{
	for (size_t i = 0; i < from->n; i++)
		if (str_eqc(name, from->names[i]))
			return true;
	return !from->n;
}

static struct facts *one_more(struct facts_list *l, const char *name)
{
	l->v = xrealloc(l->v, (l->n + 1) * sizeof(*l->v));
	l->v[l->n] = (struct facts){.now = LANE_N};
	strlcpy_(l->v[l->n].name, name, sizeof(l->v[l->n].name));
	return &l->v[l->n++];
}

static struct facts *find(const struct facts_list *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (!strcmp(l->v[i].name, name))
			return &l->v[i];
	return NULL;
}

/* ---- what ran here ---- */

enum { SEEN_MAX = 1000 }; /* the last calls of a workload */
struct seen {
	double at_s, duration_s, cpu_s; /* -1: it was not answered well, and says nothing of others */
	double held_bytes, start_s;	/* 0: it has none */
	double failed;			/* 1 */
};
struct workload {
	char *name;
	size_t n;      /* in seen: the last SEEN_MAX of them */
	bool consumer; /* of queues or streams alone */
	struct seen *seen;
};
struct rows {
	struct map workloads;
	struct buf line;
	double now_s;
	bool bad;
};

static void rows_done(struct rows *r)
{
	struct workload *w;

	for (size_t pos = 0; (w = map_next(&r->workloads, &pos)); free(w)) {
		free(w->name);
		free(w->seen);
	}
	map_done(&r->workloads);
	buf_done(&r->line);
}

static int take_row(struct rows *r, struct str line)
{
	auto_json j = json_parse(line, NULL);
	struct str name = json_get_str(j, "workload");
	struct str outcome = json_get_str(j, "outcome");
	struct seen seen = {(double)json_get_int(j, "at_us", 0) / 1e6, -1, -1, 0, 0, 0};
	struct workload *w;

	if (!name.n)
		return -1;
	if (str_eqc(outcome, "throttled"))
		return 0;
	w = map_get(&r->workloads, name);
	if (!w) {
		w = xcalloc(1, sizeof(*w));
		*w = (struct workload){str_dup(name), 0, true, NULL};
		map_put(&r->workloads, str_of(w->name), w);
	}
	if (w->n < SEEN_MAX && !(w->n & (w->n - 1)))
		w->seen = xrealloc(w->seen, (w->n ? 2 * w->n : 1) * sizeof(*w->seen));
	w->consumer &= str_eqc(json_get_str(j, "trigger"), "queue") || str_eqc(json_get_str(j, "trigger"), "stream");
	seen.failed = !str_eqc(outcome, "ok") && !str_eqc(outcome, "canceled");
	if (str_eqc(outcome, "ok")) {
		seen.duration_s = (double)json_get_int(j, "handler_us", 0) / 1e6;
		seen.cpu_s = (double)json_get_int(j, "cpu_us", 0) / 1e6;
		seen.held_bytes = (double)json_get_int(j, "mem_peak_bytes", 0);
		if (json_get_bool(j, "cold", false))
			seen.start_s = (double)(json_get_int(j, "start_us", 0) + json_get_int(j, "init_us", 0)) / 1e6;
	}
	w->seen[w->n++ % SEEN_MAX] = seen;
	return 0;
}

static int take_piece(void *arg, struct str piece)
{
	struct rows *r = arg;
	struct str rest, line;

	buf_addstr(&r->line, piece);
	rest = buf_str(&r->line);
	while (!r->bad && str_cut(rest, '\n', &line, &rest))
		r->bad = take_row(r, line) < 0;
	buf_drop(&r->line, r->line.n - rest.n);
	return r->bad;
}

static int read_rows(struct cli *c, const struct advise_from *from, struct rows *r)
{
	int64_t now_us = clock_wall_us();
	auto_buf target = {0};

	r->now_s = (double)now_us / 1e6;
	buf_adds(&target, "/v1/rows");
	call_query_int(&target, "since_wall_us", now_us - from->since_us);
	if (call_stream(c, "GET", target.p, STR_NULL, take_piece, r) < 0)
		return -1;
	return r->bad || r->line.n ? (cli_failf("the daemon's ledger is no list of calls"), -1) : 0;
}

/* One of seen of all of them, in v; how many have it. */
static size_t column(const struct workload *w, size_t offset, double least, double *v)
{
	size_t n = 0, all = w->n < SEEN_MAX ? w->n : SEEN_MAX;

	for (size_t i = 0; i < all; i++) {
		v[n] = *(const double *)((const char *)&w->seen[i] + offset);
		n += v[n] >= least;
	}
	return n;
}
#define COLUMN(member, least) v, column(w, offsetof(struct seen, member), least, v)

static void measure(struct facts *f, const struct workload *w, double looked_s, double now_s)
{
	auto_free double *v = xcalloc(SEEN_MAX, sizeof(*v));
	size_t starts = column(w, offsetof(struct seen, start_s), 1e-9, v);

	measure_mean(f, FACT_START, v, starts, 0);
	if (w->consumer) {
		f->word[WORD_KIND] = KIND_BATCH;
		f->said |= 1u << WORD_KIND;
	}
	measure_durations(f, COLUMN(duration_s, 0));
	measure_mean(f, FACT_CPU, COLUMN(cpu_s, 0), 0);
	measure_mean(f, FACT_MEMORY, COLUMN(held_bytes, 1), fmax((double)starts, 1));
	f->failed = (double)column(w, offsetof(struct seen, failed), 1, v);
	f->events = (double)column(w, offsetof(struct seen, at_s), 0, v);
	measure_times(f, v, (size_t)f->events, w->n > SEEN_MAX ? now_s : now_s - looked_s, now_s);
}

struct ran {
	struct json *cost, *sums, *kept; /* sums: as cost, since the workload was made */
};

/* For so long the ledger would know of its calls: a workload of today was not idle yesterday. */
static double looked(const struct json *cost, const struct json *item, double now_s)
{
	double age_s = now_s - (double)json_get_int(item, "created_us", 0) / 1e6;

	return fmin(json_real(json_get(json_get(cost, "machine"), "seconds"), 0), fmax(age_s, 0));
}

/* What the ledger has of a service: sums. */
static void measure_service(struct facts *f, const struct json *cost, struct str name, double looked_s)
{
	const struct json *sums = json_get(cost, "sums"), *s;
	auto_free char *key = xasprintf("service/" STR_FMT, STR_ARG(name));
	double held;

	for (size_t i = 0; i < json_len(sums); i++) {
		s = json_at(sums, i);
		if (!str_eqc(json_get_str(s, "key"), key))
			continue;
		measure_sums(f, (double)json_get_int(s, "invocations", 0),
			     (double)json_get_int(s, "handler_us", 0) / 1e6, (double)json_get_int(s, "cpu_us", 0) / 1e6,
			     looked_s);
		held = (double)json_get_int(s, "mem_peak_bytes", 0);
		if (held > 0)
			facts_set(f, FACT_MEMORY, held, held / 1.5, held, KNOWN_MEASURED);
	}
}

/* In the container lane calls have no memory of their own: what its instances held at most, and how many they take. */
static void measure_kept(struct facts *f, const struct json *instances, struct str name)
{
	const struct json *x;
	double held = 0, n = 0, seats = 0;

	for (size_t i = 0; (x = json_at(instances, i)); i++)
		if (str_eq(json_get_str(x, "function"), name) && str_eqc(json_get_str(x, "lane"), "container")) {
			held += (double)json_get_int(x, "mem_peak_bytes", 0), n++;
			seats = (double)json_get_int(x, "seats", 1);
		}
	if (!(held > 0))
		return;
	facts_set(f, FACT_MEMORY, held / n, held / n / 1.5, held / n, KNOWN_MEASURED);
	facts_set(f, FACT_SEATS, fmax(seats, 1), fmax(seats, 1), fmax(seats, 1), KNOWN_MEASURED);
}

#define OWN_WITHIN 3 /* a factor: of own traffic so well known, nothing else counts */

static void offer(struct facts *f, enum fact what, const struct known *k)
{
	const struct known *own = &f->n[what];

	if (k->from != KNOWN_MEASURED || !(k->v > 0 || what == FACT_SEAT))
		return;
	if (f->known & 1u << what && own->from == KNOWN_MEASURED && own->high <= OWN_WITHIN * OWN_WITHIN * own->low)
		return;
	facts_set(f, what, k->v, k->low, k->high, KNOWN_MEASURED);
	if (what == FACT_DURATION)
		memset(f->spread_s, 0, sizeof(f->spread_s));
}

/* What bench measured, in both lanes, where what ran says nothing. */
static void take_bench(struct facts *f, const struct json *item)
{
	const struct json *m = json_get(item, "measured"), *facts = json_get(m, "facts"), *x;
	struct lane_facts l = {0};
	struct known seats = {0}, more;
	double times;

	if (!m)
		return;
	f->bench_stale = !str_eq(json_get_str(m, "of"), json_get_str(item, "measures"));
	snprintf(f->bench, sizeof(f->bench), "measured by bench at " STR_FMT "%s", STR_ARG(json_get_str(m, "at")),
		 f->bench_stale ? ", which counts no more: the code or the size is another one" : "");
	for (unsigned i = 0; i < LANE_FACT_N && !f->bench_stale; i++)
		if ((x = json_get(facts, lane_fact_name[i])))
			*(i == LANE_FACT_SEATS ? &seats : &l.all[i]) =
				(struct known){json_real(json_get(x, "value"), 0), json_real(json_get(x, "low"), 0),
					       json_real(json_get(x, "high"), 0), KNOWN_MEASURED};
	offer(f, FACT_CPU, &l.cpu_s);
	offer(f, FACT_DURATION, &l.wall_s);
	offer(f, FACT_MEMORY, f->now == LANE_CONTAINER ? &l.base_bytes : &l.held_bytes);
	offer(f, FACT_SEAT, &l.seat_bytes);
	offer(f, FACT_SEATS, &seats);
	offer(f, FACT_START, l.start_s.v > 0 ? &l.start_s : &l.c_start_s);
	f->start_cpu_s = l.start_cpu_s;
	f->container_start_s = l.c_start_s;
	if (!(l.held_bytes.v > 0 && l.base_bytes.v > 0))
		return;
	/* As many times what it holds as it was there: what ran may hold another amount. */
	more = known_less(l.base_bytes, l.held_bytes);
	times = f->n[FACT_MEMORY].v / l.held_bytes.v;
	facts_set(f, FACT_BASE, more.v * times, more.low * times, more.high * times, KNOWN_MEASURED);
}

/* A function or a service of the daemon's list. */
static void look_at(const struct json *item, bool service, const struct rows *r, const struct ran *ran,
		    struct facts_list *l)
{
	struct str name = json_get_str(item, "name"), project = json_get_str(item, "project");
	auto_free char *of = xasprintf(STR_FMT "/" STR_FMT, STR_ARG(project), STR_ARG(name));
	double memory = (double)json_get_int(item, "memory_mb", 0) * 1048576,
	       looked_s = looked(ran->cost, item, r->now_s);
	const struct workload *w = map_get(&r->workloads, str_of(of));
	struct facts *f;

	f = one_more(l, name.p ? name.p : "");
	f->now = 0;
	while (f->now < LANE_N && !str_eqc(json_get_str(item, "lane"), lane_name[f->now]))
		f->now++;
	f->configured_bytes = memory;
	if (memory > 0)
		facts_set(f, FACT_MEMORY, memory, memory / 2, memory, KNOWN_DECLARED);
	if (service && !json_get_str(item, "route").n) {
		f->word[WORD_LISTENER] = LISTENER_TCP;
		f->said |= 1u << WORD_LISTENER;
	}
	if (service) /* begins from no image: the same in both lanes */
		facts_set(f, FACT_BASE, 0, 0, 0, KNOWN_ASSUMED);
	if (service)
		measure_service(f, ran->sums, name, looked_s);
	else if (w)
		measure(f, w, looked_s, r->now_s);
	if (!service && f->now == LANE_CONTAINER)
		measure_kept(f, json_get(ran->kept, "instances"), name);
	take_bench(f, item);
	if (!(f->known & 1u << FACT_RATE))
		measure_none(f, looked_s);
}

static bool asked_for(const struct advise_from *from, const struct json *item)
{
	struct str name = json_get_str(item, "name"), project = json_get_str(item, "project");
	auto_free char *of = xasprintf(STR_FMT "/" STR_FMT, STR_ARG(project), STR_ARG(name));

	return wanted(from, name) || wanted(from, str_of(of));
}

static int ask_sums(struct cli *c, int64_t since_us, struct json **ret)
{
	auto_buf target = {0}, body = {0};

	buf_adds(&target, "/v1/cost?by=workload");
	call_query_int(&target, "since_us", since_us);
	return call_json(c, "GET", target.p, STR_NULL, &body, ret);
}

static int from_daemon(struct cli *c, const struct advise_from *from, struct facts_list *l)
{
	static const char *const lists[] = {"functions", "services"};
	auto_buf body = {0}, list = {0};
	auto_(rows_done) struct rows r = {0};
	auto_json cost = NULL;
	auto_json kept = NULL;
	auto_json j = NULL;

	if (call_json(c, "GET", "/v1/functions", STR_NULL, &body, &j) < 0 || ask_sums(c, from->since_us, &cost) < 0 ||
	    call_json(c, "GET", "/v1/instances", STR_NULL, &list, &kept) < 0 || read_rows(c, from, &r) < 0)
		return -1;
	for (size_t k = 0; k < ARRAY_SIZE(lists); k++)
		for (size_t i = 0; i < json_len(json_get(j, lists[k])); i++) {
			const struct json *item = json_at(json_get(j, lists[k]), i);
			int64_t age_us = (int64_t)(r.now_s * 1e6) - json_get_int(item, "created_us", 0);
			auto_json own = NULL;

			if (!asked_for(from, item))
				continue;
			/* Sums of a whole day may be of another one of its name: it was down, and is up again. */
			if (k == 1 && age_us < from->since_us && ask_sums(c, age_us > 1 ? age_us : 1, &own) < 0)
				return -1;
			look_at(item, k == 1, &r, &(struct ran){cost, own ? own : cost, kept}, l);
		}
	return 0;
}

/* ---- a recorded day ---- */

static void trace_free_p(struct trace **t)
{
	trace_free(*t);
}

static double calls_of(const struct facts *f)
{
	return f->events;
}

static int from_trace(struct cli *c, const struct advise_from *from, struct facts_list *l)
{
	auto_(trace_free_p) struct trace *t = NULL;
	auto_free struct trace_function *row = xmalloc(sizeof(*row));
	struct err e = {0};
	int r = trace_open(from->trace, &t, &e);

	while (!r && (r = trace_next(t, row, &e)) > 0) {
		struct facts f = {.now = LANE_N}, *least;

		r = 0;
		if (!wanted(from, row->name))
			continue;
		measure_trace(&f, row);
		if (from->n || l->n < BUSIEST) {
			*one_more(l, "") = f;
			continue;
		}
		least = l->v;
		for (size_t i = 1; i < l->n; i++)
			if (calls_of(&l->v[i]) < calls_of(least))
				least = &l->v[i];
		if (calls_of(&f) > calls_of(least))
			*least = f;
	}
	return r < 0 ? (cli_fail(&e), -1) : 0;
}

/* ---- a file ---- */

static const char *variable(void *arg, const char *name)
{
	return getenv(name);
}

static int from_file(struct cli *c, const char *file, struct facts_list *ret)
{
	bool standard = !strcmp(file, "-");
	struct tree_opts o = {.file = standard ? "standard input" : file, .lookup = variable};
	auto_buf text = {0};
	struct err e = {0};
	int r = standard ? io_read_all(STDIN_FILENO, o.file, LIM_YAML_BYTES, &text, &e)
			 : io_read_file(AT_FDCWD, file, LIM_YAML_BYTES, &text, &e);

	if (r < 0 || facts_read(&o, buf_str(&text), ret, &e) < 0)
		return cli_fail(&e), -1;
	return 0;
}

/* What the file says goes before what was measured. */
static void overrule(struct facts *f, const struct facts *said)
{
	if (said->known & 1u << FACT_DURATION) { /* then those that were measured say nothing */
		memset(f->spread_s, 0, sizeof(f->spread_s));
		f->known &= ~(1u << FACT_LONGEST | 1u << FACT_CPU);
	}
	if (said->known & 1u << FACT_START)
		f->start_cpu_s = f->container_start_s = (struct known){0};
	for (enum fact i = 0; i < FACT_N; i++)
		if (said->known & 1u << i)
			f->n[i] = said->n[i];
	for (enum fact_word i = 0; i < WORD_N; i++)
		if (said->said & 1u << i)
			f->word[i] = said->word[i];
	f->known |= said->known;
	f->said |= said->said;
	f->flags |= said->flags;
	f->lanes = said->lanes ? said->lanes : f->lanes;
}

int advise_facts(struct cli *c, const struct advise_from *from, struct facts_list *ret)
{
	auto_(facts_list_done) struct facts_list declared = {0};
	bool known = false;

	if (from->declare && from_file(c, from->declare, &declared) < 0)
		return -1;
	if (from->declare && !from->trace && !from->n) {
		*ret = declared;
		declared = (struct facts_list){0};
		return 0;
	}
	if ((from->trace ? from_trace(c, from, ret) : from_daemon(c, from, ret)) < 0)
		return -1;
	for (size_t i = 0; i < from->n; i++)
		known |= find(&declared, from->names[i]) != NULL;
	if (from->declare && from->n && !known)
		return cli_failf("%s says nothing of what is asked for; it is of %s%s", from->declare,
				 declared.v[0].name, declared.n > 1 ? " and others" : ""),
		       -1;
	for (size_t i = 0; i < from->n; i++) {
		const struct facts *said = find(&declared, from->names[i]);
		struct facts *f = find(ret, from->names[i]);
		const char *slash = strchr(from->names[i], '/');

		if (!f && slash)
			f = find(ret, slash + 1);
		if (!f && !said)
			return cli_failf("there is no \"%s\" %s; %s", from->names[i],
					 from->trace ? "in the trace" : "here",
					 from->trace ? "names are those of the column HashFunction"
						     : "tandem ls shows what is"),
			       -1;
		if (!f)
			*one_more(ret, "") = *said;
		else if (said)
			overrule(f, said);
	}
	return 0;
}
