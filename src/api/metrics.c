/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CloudWatch's metrics, from rows of the ledger, as far back as single rows are kept (ledger/ledger.h). A call counts when it
 * began to run. A service's task counts in each period in which it ran, with what it took over its life: of processors on average,
 * of memory at most. Rows are looked at on the file thread, once for all series of a request.
 */
#include <math.h>
#include <stdio.h>
#include "api/api_int.h"
#include "base/mem.h"

#define SERIES_MAX  500
#define POINTS_MAX  100800 /* of one request */
#define STATISTICS  1440   /* points of GetMetricStatistics */
#define SAMPLES_MAX 200000 /* that percentiles of a request are made of; what is left out makes its data partial */
#define PAGE	    500
#define US	    1000000ll

struct metric {
	const char *space, *name, *dimension, *unit; /* without the dimension: of all */
	double (*value)(const struct ledger_row *r); /* what a row is to it; NAN: nothing */
};

static bool throttled(const struct ledger_row *r)
{
	return r->outcome == OUTCOME_THROTTLED;
}

static double invocations(const struct ledger_row *r)
{
	return throttled(r) ? NAN : 1;
}

static double errors(const struct ledger_row *r)
{
	return throttled(r) ? NAN : r->outcome != OUTCOME_OK && r->outcome != OUTCOME_CANCELED;
}

static double throttles(const struct ledger_row *r)
{
	return throttled(r);
}

static double duration(const struct ledger_row *r)
{
	return throttled(r) ? NAN : r->handler_us / 1e3;
}

static double cpu(const struct ledger_row *r) /* version: thousandths of a vCPU */
{
	return r->idle_ms && r->version ? 100.0 * (double)r->cpu_us / ((double)r->idle_ms * r->version) : NAN;
}

static double memory(const struct ledger_row *r)
{
	return r->memory_mb ? 100.0 * (double)r->mem_peak_bytes / ((double)r->memory_mb * 1048576) : NAN;
}

static const struct metric metrics[] = {
	{"AWS/Lambda", "Invocations", "FunctionName", "Count", invocations},
	{"AWS/Lambda", "Errors", "FunctionName", "Count", errors},
	{"AWS/Lambda", "Throttles", "FunctionName", "Count", throttles},
	{"AWS/Lambda", "Duration", "FunctionName", "Milliseconds", duration},
	{"AWS/ECS", "CPUUtilization", "ServiceName", "Percent", cpu},
	{"AWS/ECS", "MemoryUtilization", "ServiceName", "Percent", memory},
};

struct point {
	double n, sum, min, max;
};
struct sample {
	uint32_t point;
	float value;
};
struct series {			     /* one metric over time */
	const struct metric *metric; /* NULL: none that there is */
	char of[130];		     /* "": all; else what names of workloads end with */
	int64_t from_us, until_us, period_us;
	struct point *points;
	struct sample *samples; /* where a percentile is asked for */
	size_t n_samples, cap;
	bool percentile, partial;
	const struct json *query; /* GetMetricData: in k->in */
	struct str stat;
};
struct reading {
	struct api_call c;
	struct ledger_query q;
	struct json *in;
	struct series *v;
	size_t n, points, samples;
	bool tasks;
	void (*answer)(struct reading *k);
};

static void reading_free(struct reading *k)
{
	for (size_t i = 0; i < k->n; i++) {
		free(k->v[i].points);
		free(k->v[i].samples);
	}
	free(k->v);
	json_free(k->in);
	free(k);
}

static size_t points_of(const struct series *s)
{
	return (size_t)((s->until_us - s->from_us + s->period_us - 1) / s->period_us);
}

/* --- what is asked for --- */

static bool stat_ok(struct str stat, double *ret_percentile)
{
	static const char *const names[] = {"SampleCount", "Average", "Sum", "Minimum", "Maximum"};
	char *end;

	*ret_percentile = -1;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (str_eqc(stat, names[i]))
			return true;
	if (stat.n < 2 || stat.n > 8 || *stat.p != 'p' || stat.p[1] < '0' || stat.p[1] > '9')
		return false;
	*ret_percentile = strtod(stat.p + 1, &end);
	return end == stat.p + stat.n && *ret_percentile <= 100;
}

/* Of what a Metric, or a GetMetricStatistics, says; dimensions that we do not know have no data. */
static void choose(struct series *s, const struct json *j)
{
	const struct json *dimensions = json_get(j, "Dimensions"), *d = json_at(dimensions, 0);

	for (size_t i = 0; i < ARRAY_SIZE(metrics); i++)
		if (str_eqc(json_get_str(j, "Namespace"), metrics[i].space) &&
		    str_eqc(json_get_str(j, "MetricName"), metrics[i].name))
			s->metric = &metrics[i];
	for (size_t i = 0; s->metric && i < json_len(dimensions); i++) {
		struct str name = json_get_str(json_at(dimensions, i), "Name");

		if (str_eqc(name, s->metric->dimension))
			d = json_at(dimensions, i);
		else if (!str_eqc(name, "ClusterName") && !str_eqc(name, "Resource"))
			s->metric = NULL;
	}
	if (s->metric && d)
		snprintf(s->of, sizeof(s->of), "/%.127s", json_get_str(d, "Value").p);
}

static int add_series(struct reading *k, struct series *s, int64_t period_s, struct api_err *e)
{
	int64_t from = (int64_t)(json_real(json_get(k->in, "StartTime"), 0) * 1e6),
		until = (int64_t)(json_real(json_get(k->in, "EndTime"), 0) * 1e6);

	if (until <= from)
		return api_fail(e, API_INVALID_PARAMETER,
				"The parameter StartTime must be less than the parameter EndTime.");
	if (period_s < 1 || (period_s % 60 && period_s != 1 && period_s != 5 && period_s != 10 && period_s != 30))
		return api_fail(e, API_INVALID_PARAMETER,
				"The parameter Period must be 1, 5, 10, 30 or a multiple of 60.");
	s->period_us = period_s * US;
	s->from_us = from - (from % s->period_us + s->period_us) % s->period_us;
	s->until_us = until;
	if ((s->until_us - s->from_us) / s->period_us >= (int64_t)(POINTS_MAX - k->points) || k->n == SERIES_MAX)
		return api_fail(e, API_INVALID_PARAMETER, "The request is for more than %d metrics or %d data points.",
				SERIES_MAX, POINTS_MAX);
	k->points += points_of(s);
	s->points = xcalloc(points_of(s), sizeof(*s->points));
	if (s->metric && str_eqc(str_of(s->metric->space), "AWS/ECS"))
		k->tasks = true;
	k->v = xrealloc(k->v, (k->n + 1) * sizeof(*k->v));
	k->v[k->n++] = *s;
	return 0;
}

/* --- rows, on the file thread --- */

static void count(struct reading *k, struct series *s, size_t at, double v)
{
	struct point *p = &s->points[at];

	p->min = p->n && p->min < v ? p->min : v;
	p->max = p->n && p->max > v ? p->max : v;
	p->n++;
	p->sum += v;
	if (!s->percentile)
		return;
	if (k->samples == SAMPLES_MAX) {
		s->partial = true;
		return;
	}
	if (s->n_samples == s->cap)
		s->samples = xrealloc(s->samples, (s->cap = s->cap ? 2 * s->cap : 64) * sizeof(*s->samples));
	s->samples[s->n_samples++] = (struct sample){(uint32_t)at, (float)v};
	k->samples++;
}

static void visit(struct ledger_query *q, const struct ledger_row *r, const char *workload)
{
	struct reading *k = container_of(q, struct reading, q);
	bool call = r->kind == LEDGER_INVOKE && r->trigger != TRIGGER_CHECK;
	bool task = r->kind == LEDGER_TASK && str_starts(str_of(workload), "service/");

	for (size_t i = 0; (call || task) && i < k->n; i++) {
		struct series *s = &k->v[i];
		int64_t from = r->start_wall_us, until = from + (task ? r->idle_ms * 1000ll : 0);
		double v;

		if (!s->metric || task != (*s->metric->dimension == 'S') ||
		    (*s->of && !str_ends(str_of(workload), s->of)) || until < s->from_us || from >= s->until_us)
			continue;
		v = s->metric->value(r);
		from = from < s->from_us ? 0 : (from - s->from_us) / s->period_us;
		until = until >= s->until_us ? (int64_t)points_of(s) - 1 : (until - s->from_us) / s->period_us;
		for (int64_t at = from; !isnan(v) && at <= until; at++)
			count(k, s, (size_t)at, v);
	}
}

/* --- answers --- */

static int by_value(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	return x->point != y->point ? (x->point < y->point ? -1 : 1) : (x->value > y->value) - (x->value < y->value);
}

static double percentile(const struct series *s, size_t point, double p)
{
	size_t lo = 0, end = s->n_samples, n = 0, rank;

	while (lo < end) {
		size_t mid = (lo + end) / 2;

		if (s->samples[mid].point < point)
			lo = mid + 1;
		else
			end = mid;
	}
	while (lo + n < s->n_samples && s->samples[lo + n].point == point)
		n++;
	rank = (size_t)ceil(p / 100 * (double)n);
	return n ? s->samples[lo + (rank ? rank - 1 : 0)].value : 0;
}

static double statistic(const struct series *s, size_t at, struct str stat)
{
	const struct point *p = &s->points[at];
	double percent;

	stat_ok(stat, &percent);
	if (percent >= 0)
		return percentile(s, at, percent);
	switch (stat.p[1]) {
	case 'u':
		return p->sum;
	case 'v':
		return p->sum / p->n;
	case 'i':
		return p->min;
	default:
		return *stat.p == 'M' ? p->max : p->n;
	}
}

static void done(struct ledger_query *q, struct buf *json, const struct err *e)
{
	struct reading *k = container_of(q, struct reading, q);

	for (size_t i = 0; i < k->n; i++)
		if (k->v[i].n_samples)
			qsort(k->v[i].samples, k->v[i].n_samples, sizeof(*k->v[i].samples), by_value);
	if (e->kind)
		api_reply_fail(&k->c, API_SERVICE, "The ledger cannot be read: %s", e->text);
	else
		k->answer(k);
	reading_free(k);
}

static int start(struct api_call *c, struct reading *k)
{
	k->c = *c;
	k->c.in = NULL;
	k->q.visit = visit;
	k->q.done = done;
	strlcpy_(k->q.by, "hour", sizeof(k->q.by));
	k->q.since_wall_us = INT64_MAX;
	for (size_t i = 0; i < k->n; i++)
		if (k->v[i].from_us < k->q.since_wall_us)
			k->q.since_wall_us = k->v[i].from_us;
	if (k->tasks) { /* a task's row has the time when it began */
		k->q.since_wall_us = 0;
		tasks_so_far(c->a->o.tasks, &k->q);
	}
	if (c->r)
		http_on_gone_clear(&k->c.r);
	ledger_query_start(c->a->o.ledger, &k->q);
	return 0;
}

static void put_result(struct jw *w, const struct series *s, bool down)
{
	struct str label = json_get_str(s->query, "Label");
	const struct json *metric = json_get(json_get(s->query, "MetricStat"), "Metric");
	size_t n = points_of(s);

	jw_obj(w, NULL);
	jw_str(w, "Id", json_get_str(s->query, "Id"));
	jw_str(w, "Label", label.p ? label : json_get_str(metric, "MetricName"));
	for (int values = 0; values < 2; values++) {
		jw_arr(w, values ? "Values" : "Timestamps");
		for (size_t i = 0; i < n; i++) {
			size_t at = down ? n - 1 - i : i;

			if (s->points[at].n && values)
				jw_real(w, NULL, statistic(s, at, s->stat));
			else if (s->points[at].n)
				jw_int(w, NULL, (s->from_us + (int64_t)at * s->period_us) / US);
		}
		jw_end(w, ']');
	}
	jw_strc(w, "StatusCode", s->partial ? "PartialData" : "Complete");
	jw_end(w, '}');
}

static void answer_data(struct reading *k)
{
	bool down = str_eqc(json_get_str(k->in, "ScanBy"), "TimestampDescending");
	auto_object(w, out);

	jw_arr(&w, "MetricDataResults");
	for (size_t i = 0; i < k->n; i++)
		if (json_get_bool(k->v[i].query, "ReturnData", true))
			put_result(&w, &k->v[i], down);
	jw_end(&w, ']');
	jw_raw(&w, "Messages", STR("[]"));
	api_reply_object(&k->c, 200, &w);
}

static int add_query(struct reading *k, const struct json *query, struct api_err *e)
{
	const struct json *stat = json_get(query, "MetricStat");
	struct series s = {.query = query, .stat = json_get_str(stat, "Stat")};
	double percent;

	if (!stat)
		return api_fail(e, API_MISSING_PARAMETER,
				"Each of MetricDataQueries has a MetricStat here; there are no expressions.");
	if (!stat_ok(s.stat, &percent))
		return api_fail(e, API_INVALID_PARAMETER,
				"Stat is SampleCount, Average, Sum, Minimum, Maximum, or a percentile like p99.9.");
	s.percentile = percent >= 0;
	choose(&s, json_get(stat, "Metric"));
	return add_series(k, &s, json_get_int(stat, "Period", 0), e);
}

static int get_data(struct api_call *c)
{
	struct reading *k = xcalloc(1, sizeof(*k));
	const struct json *queries = json_get(c->in, "MetricDataQueries");

	k->in = json_ref(c->in);
	k->answer = answer_data;
	for (size_t i = 0; i < json_len(queries); i++)
		if (add_query(k, json_at(queries, i), &c->e) < 0) {
			reading_free(k);
			return -1;
		}
	return start(c, k);
}

static void put_statistics(struct jw *w, const struct series *s, size_t at, const struct json *names)
{
	for (size_t i = 0; i < json_len(names); i++) {
		struct str name = json_str(json_at(names, i));
		bool again = false;

		for (size_t k = 0; k < i; k++)
			again |= str_eq(name, json_str(json_at(names, k)));
		if (!again)
			jw_real(w, name.p, statistic(s, at, name));
	}
}

static void answer_statistics(struct reading *k)
{
	const struct json *plain = json_get(k->in, "Statistics"), *more = json_get(k->in, "ExtendedStatistics");
	const struct series *s = k->v;
	auto_object(w, out);

	jw_str(&w, "Label", json_get_str(k->in, "MetricName"));
	jw_arr(&w, "Datapoints");
	for (size_t at = 0; at < points_of(s); at++) {
		if (!s->points[at].n)
			continue;
		jw_obj(&w, NULL);
		jw_int(&w, "Timestamp", (s->from_us + (int64_t)at * s->period_us) / US);
		jw_strc(&w, "Unit", s->metric->unit);
		put_statistics(&w, s, at, plain);
		if (json_len(more)) {
			jw_obj(&w, "ExtendedStatistics");
			put_statistics(&w, s, at, more);
			jw_end(&w, '}');
		}
		jw_end(&w, '}');
	}
	jw_end(&w, ']');
	api_reply_object(&k->c, 200, &w);
}

static int get_statistics(struct api_call *c)
{
	struct reading *k = xcalloc(1, sizeof(*k));
	const struct json *more = json_get(c->in, "ExtendedStatistics");
	struct series s = {.percentile = json_len(more) > 0};
	int rc = json_len(more) || json_len(json_get(c->in, "Statistics"))
			 ? 0
			 : api_fail(&c->e, API_MISSING_PARAMETER, "Statistics or ExtendedStatistics must be there.");
	double percent;

	k->in = json_ref(c->in);
	k->answer = answer_statistics;
	choose(&s, c->in);
	for (size_t i = 0; rc == 0 && i < json_len(more); i++)
		if (!stat_ok(json_str(json_at(more, i)), &percent) || percent < 0)
			rc = api_fail(&c->e, API_INVALID_PARAMETER, "ExtendedStatistics are percentiles like p99.9.");
	if (rc == 0)
		rc = add_series(k, &s, json_get_int(c->in, "Period", 0), &c->e);
	if (rc == 0 && k->points > STATISTICS)
		rc = api_fail(
			&c->e, API_COMBINATION,
			"You have requested up to %zu datapoints, which exceeds the limit of 1,440. You may reduce the "
			"datapoints requested by increasing Period, or decreasing the time range.",
			k->points);
	if (rc == 0)
		return start(c, k);
	reading_free(k);
	return -1;
}

/* --- ListMetrics: each metric of each function, then of each service --- */

struct listing {
	const struct json *in;
	struct jw w;
	int64_t at, from;
};

static bool wanted(const struct listing *l, const struct metric *m, const char *of)
{
	const struct json *dimensions = json_get(l->in, "Dimensions");
	struct str space = json_get_str(l->in, "Namespace"), name = json_get_str(l->in, "MetricName");

	if ((space.n && !str_eqc(space, m->space)) || (name.n && !str_eqc(name, m->name)))
		return false;
	for (size_t i = 0; i < json_len(dimensions); i++) {
		struct str value = json_get_str(json_at(dimensions, i), "Value");

		if (!str_eqc(json_get_str(json_at(dimensions, i), "Name"), m->dimension) ||
		    (value.n && !str_eqc(value, of)))
			return false;
	}
	return true;
}

static void put_metrics(struct listing *l, char dimension, const char *of)
{
	for (size_t i = 0; i < ARRAY_SIZE(metrics); i++) {
		const struct metric *m = &metrics[i];

		if (*m->dimension != dimension || !wanted(l, m, of) || l->at++ < l->from || l->at > l->from + PAGE)
			continue;
		jw_obj(&l->w, NULL);
		jw_strc(&l->w, "Namespace", m->space);
		jw_strc(&l->w, "MetricName", m->name);
		jw_arr(&l->w, "Dimensions");
		jw_obj(&l->w, NULL);
		jw_strc(&l->w, "Name", m->dimension);
		jw_strc(&l->w, "Value", of);
		jw_end(&l->w, '}');
		jw_end(&l->w, ']');
		jw_end(&l->w, '}');
	}
}

static int list_metrics(struct api_call *c)
{
	struct str token = json_get_str(c->in, "NextToken");
	struct listing l = {.in = c->in};
	struct api *a = c->a;
	auto_buf out = {0};
	char next[24];

	if (token.n && str_to_i64(token, 0, INT32_MAX, &l.from) < 0)
		return api_fail(&c->e, API_INVALID_PARAMETER, "NextToken is not one that an answer before had.");
	l.w = jw_object(&out);
	jw_arr(&l.w, "Metrics");
	for (struct function *f = function_next(a->o.store, NULL); f; f = function_next(a->o.store, f))
		put_metrics(&l, 'F', f->name);
	for (struct service *sv = service_next(a->o.services, NULL); sv; sv = service_next(a->o.services, sv))
		put_metrics(&l, 'S', service_spec_of(sv)->name);
	jw_end(&l.w, ']');
	snprintf(next, sizeof(next), "%lld", (long long)(l.from + PAGE));
	if (l.at > l.from + PAGE)
		jw_strc(&l.w, "NextToken", next);
	return api_reply_object(c, 200, &l.w);
}

#define DIMENSIONS "Dimensions:[{Name!:s,Value:s}]"
#define OP(name, shape, run)                                                                                           \
	{                                                                                                              \
		"cloudwatch", NULL, shape, name, SUBJECT_NONE, run                                                     \
	}
const struct api_op cloudwatch_ops[] = {
	OP("GetMetricData",
	   "{MetricDataQueries!:[{Id!:s,MetricStat:{Metric!:{Namespace!:s,MetricName!:s," DIMENSIONS
	   "},Period!:i(1..31536000),Stat!:s,Unit:s},Expression-:s,Label:s,ReturnData:b,Period:i,AccountId:s}],"
	   "StartTime!:t,EndTime!:t,NextToken-:s,ScanBy=\"TimestampDescending\":s(TimestampDescending|"
	   "TimestampAscending),"
	   "MaxDatapoints:i(1..100800),LabelOptions:{Timezone:s}}",
	   get_data),
	OP("GetMetricStatistics",
	   "{Namespace!:s,MetricName!:s," DIMENSIONS ",StartTime!:t,EndTime!:t,Period!:i(1..31536000),"
	   "Statistics:[s(SampleCount|Average|Sum|Minimum|Maximum)],ExtendedStatistics:[s],Unit:s}",
	   get_statistics),
	OP("ListMetrics", "{Namespace:s,MetricName:s," DIMENSIONS ",NextToken:s,RecentlyActive:s(PT3H)}", list_metrics),
	{"cloudwatch", NULL, "{}", "PutMetricData", SUBJECT_NONE, NULL},
	{0},
};
