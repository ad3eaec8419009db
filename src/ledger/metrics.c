/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/metrics.h"
#include <stdio.h>
#include "base/mem.h"
#include "ledger/names.h"

static const uint32_t bucket_us[METRICS_BUCKETS] = {
	100,   250,    500,    1000,   2500,	5000,	 10000,	  25000,
	50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000,
};
static const char *const phase_name[COLD_N] = {"queue", "start", "init"};

int metrics_bucket(uint32_t us)
{
	int i = 0;

	while (i < METRICS_BUCKETS && us > bucket_us[i])
		i++;
	return i;
}

int histogram_add(struct histogram *h, uint32_t us)
{
	int i = metrics_bucket(us);

	h->n[i]++;
	h->sum_s += us / 1e6;
	return i;
}

/* Parts of a bucket: equal ones; those of the last, up to the longest time-out, are wider and wider. */
static uint32_t part_upto(int bucket, int part)
{
	static const uint16_t last_s[TOOK_PARTS] = {12, 30, 120, 900};
	uint32_t from;

	if (bucket == METRICS_BUCKETS)
		return last_s[part] * 1000000u;
	from = bucket ? bucket_us[bucket - 1] : 0;
	return from + (uint32_t)((uint64_t)(bucket_us[bucket] - from) * (uint64_t)(part + 1) / TOOK_PARTS);
}

void took_add(struct took *t, int bucket, uint32_t us)
{
	int part = 0;

	while (part < TOOK_PARTS - 1 && us > part_upto(bucket, part))
		part++;
	t->n[bucket * TOOK_PARTS + part]++;
}

uint32_t took_upto_us(int i)
{
	return part_upto(i / TOOK_PARTS, i % TOOK_PARTS);
}

static void add_invoke(struct metrics *m, const struct ledger_row *r)
{
	uint64_t **count = &m->count[r->lane][r->trigger];

	if (!*count)
		*count = xcalloc(OUTCOME_N, sizeof(**count));
	(*count)[r->outcome]++;
	if (r->trigger != TRIGGER_CHECK) {
		m->calls++;
		m->errors += r->outcome != OUTCOME_OK;
	}
	took_add(&m->took, histogram_add(&m->handler, r->handler_us), r->handler_us);
	if (!r->cold)
		return;
	if (!m->cold)
		m->cold = xcalloc(COLD_N, sizeof(*m->cold));
	m->cold_starts++;
	histogram_add(&m->cold[COLD_QUEUE], r->queue_us);
	histogram_add(&m->cold[COLD_START], r->start_us);
	histogram_add(&m->cold[COLD_INIT], r->init_us);
}

void metrics_add(struct metrics **mp, const struct ledger_row *r)
{
	struct metrics *m = *mp;

	if (!m)
		m = *mp = xcalloc(1, sizeof(*m));
	if (r->kind == LEDGER_INVOKE)
		add_invoke(m, r);
	m->cpu_us += r->cpu_us;
	m->usd_aws += r->usd_aws;
	m->usd_machine += r->usd_machine;
}

void metrics_free(struct metrics *m)
{
	if (!m)
		return;
	for (int l = 0; l < LANE_N; l++)
		for (int t = 0; t < TRIGGER_N; t++)
			free(m->count[l][t]);
	free(m->cold);
	free(m);
}

static void label(struct buf *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '\n') {
			buf_adds(out, "\\n");
			continue;
		}
		if (*text == '"' || *text == '\\')
			buf_addc(out, '\\');
		buf_addc(out, *text);
	}
}

static void family(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_addf(out, "# HELP tandem_%s %s\n# TYPE tandem_%s %s\n", name, help, name, type);
}

/* "tandem_<name>{workload="..." */
static void series(struct buf *out, const char *name, const struct name *w)
{
	buf_addf(out, "tandem_%s{workload=\"", name);
	label(out, w->text);
	buf_addc(out, '"');
}

static void histogram_text(struct buf *out, const char *name, const struct name *w, const char *phase,
			   const struct histogram *h)
{
	char bucket[64], part[64], extra[32] = "";
	uint64_t sum = 0, all = 0;

	for (int i = 0; i <= METRICS_BUCKETS; i++)
		all += h->n[i];
	if (!all)
		return;
	if (phase)
		snprintf(extra, sizeof(extra), ",phase=\"%s\"", phase);
	snprintf(bucket, sizeof(bucket), "%s_bucket", name);
	for (int i = 0; i <= METRICS_BUCKETS; i++) {
		sum += h->n[i];
		series(out, bucket, w);
		if (i < METRICS_BUCKETS)
			buf_addf(out, "%s,le=\"%g\"} %lu\n", extra, bucket_us[i] / 1e6, (unsigned long)sum);
		else
			buf_addf(out, "%s,le=\"+Inf\"} %lu\n", extra, (unsigned long)sum);
	}
	snprintf(part, sizeof(part), "%s_sum", name);
	series(out, part, w);
	buf_addf(out, "%s} %.9g\n", extra, h->sum_s);
	snprintf(part, sizeof(part), "%s_count", name);
	series(out, part, w);
	buf_addf(out, "%s} %lu\n", extra, (unsigned long)sum);
}

/* Each workload that had a row. */
#define EACH(names, w)                                                                                                 \
	for (uint32_t i_ = 0; i_ < (names)->n; i_++)                                                                   \
		for (const struct name *w = (names)->v[i_]; w && w->metrics; w = NULL)

static void count_text(struct buf *out, const struct name *w)
{
	for (int l = 0; l < LANE_N; l++)
		for (int t = 0; t < TRIGGER_N; t++)
			for (int o = 0; w->metrics->count[l][t] && o < OUTCOME_N; o++) {
				uint64_t n = w->metrics->count[l][t][o];

				if (!n)
					continue;
				series(out, "invocations_total", w);
				buf_addf(out, ",lane=\"%s\",trigger=\"%s\",outcome=\"%s\"} %lu\n", lane_name[l],
					 ledger_trigger_name[t], ledger_outcome_name[o], (unsigned long)n);
			}
}

static void cost_text(struct buf *out, const struct name *w)
{
	series(out, "cost_usd_total", w);
	buf_addf(out, ",price=\"aws\"} %.9g\n", w->metrics->usd_aws);
	series(out, "cost_usd_total", w);
	buf_addf(out, ",price=\"machine\"} %.9g\n", w->metrics->usd_machine);
}

void metrics_text(const struct names *names, struct buf *out)
{
	family(out, "invocations_total", "counter", "Finished invocations.");
	EACH(names, w)
	count_text(out, w);
	family(out, "invocation_duration_seconds", "histogram", "Time in the handler.");
	EACH(names, w)
	histogram_text(out, "invocation_duration_seconds", w, NULL, &w->metrics->handler);
	family(out, "cold_starts_total", "counter", "Invocations that started an instance.");
	EACH(names, w)
	{
		series(out, "cold_starts_total", w);
		buf_addf(out, "} %lu\n", (unsigned long)w->metrics->cold_starts);
	}
	family(out, "cold_start_seconds", "histogram", "Cold starts by phase: waiting, sandbox, runtime and import.");
	EACH(names, w)
	for (int p = 0; w->metrics->cold && p < COLD_N; p++)
		histogram_text(out, "cold_start_seconds", w, phase_name[p], &w->metrics->cold[p]);
	family(out, "cost_usd_total", "counter",
	       "What AWS Lambda would have taken, and the share of this machine's price.");
	EACH(names, w)
	cost_text(out, w);
}
