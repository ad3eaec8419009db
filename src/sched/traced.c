/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spans of an event whose trace is sampled (ledger/spans.h), with the attributes of OpenTelemetry's conventions for FaaS:
 *
 *      FUNCTION ──┬── wait      for an instance
 *                 ├── start     of one: its sandbox, then its runtime and code, or its image
 *                 └── handler   what the function itself says to be below
 */
#include <stdio.h>
#include <string.h>
#include "sched/sched_int.h"

void traced_begin(struct sched *s, const struct invocation *inv, struct traced *ret)
{
	ret->on = spans_sampled(s->o.spans, inv->trace_id, &ret->at);
	if (!ret->on)
		return;
	spans_id(ret->span);
	spans_id(ret->handler);
}

const char *traced_header(const struct traced *t, char out[TRACE_HEADER_BYTES])
{
	struct trace_context below = t->at;

	memcpy(below.parent, t->handler, sizeof(below.parent));
	return trace_to_aws(&below, out);
}

struct spans *sched_spans(const struct sched *s)
{
	return s->o.spans;
}

static void add_text(struct span *sp, const char *key, const char *text)
{
	sp->attrs[sp->n_attrs++] = (struct span_attr){.key = key, .text = text};
}

static void add_int(struct span *sp, const char *key, int64_t n)
{
	sp->attrs[sp->n_attrs++] = (struct span_attr){.key = key, .n = n};
}

static void phase(struct sched *s, const struct traced *t, const uint8_t *id, const char *name, int64_t from,
		  int64_t us)
{
	struct span sp = {
		.at = t->at, .name = name, .kind = SPAN_INTERNAL, .start_wall_us = from, .end_wall_us = from + us};

	memcpy(sp.at.parent, t->span, 8);
	if (id)
		memcpy(sp.id, id, 8);
	else
		spans_id(sp.id);
	spans_add(s->o.spans, &sp);
}

void traced_end(struct workload *w, const struct traced *t, const struct ledger_row *row, const char *request_id)
{
	static const char *const trigger[TRIGGER_N] = {
		[TRIGGER_HTTP] = "http", [TRIGGER_QUEUE] = "pubsub", [TRIGGER_STREAM] = "pubsub"};
	int64_t handler = row->start_wall_us, init = handler - row->init_us, start = init - row->start_us;
	bool http = row->trigger == TRIGGER_HTTP || row->trigger == TRIGGER_API;
	char version[VERSION_TEXT], instance[24];
	struct span sp = {.at = t->at,
			  .name = w->f->name,
			  .kind = http ? SPAN_SERVER : SPAN_CONSUMER,
			  .start_wall_us = start - row->queue_us,
			  .end_wall_us = handler + row->handler_us,
			  .error = row->outcome == OUTCOME_OK ? NULL : ledger_outcome_name[row->outcome]};

	if (!t->on)
		return;
	memcpy(sp.id, t->span, 8);
	snprintf(instance, sizeof(instance), "%llu", (unsigned long long)row->instance);
	add_text(&sp, "faas.name", w->f->name);
	add_text(&sp, "faas.version", w->published ? revision_version(w->published, version) : "$LATEST");
	if (row->instance)
		add_text(&sp, "faas.instance", instance);
	add_text(&sp, "faas.trigger", trigger[row->trigger] ? trigger[row->trigger] : "other");
	add_text(&sp, "faas.invocation_id", request_id);
	add_text(&sp, "faas.coldstart", row->cold ? "true" : "false");
	add_int(&sp, "faas.max_memory", (int64_t)row->memory_mb << 20);
	add_text(&sp, "tandem.project", w->f->project);
	add_text(&sp, "tandem.lane", lane_name[row->lane]);
	add_int(&sp, "tandem.cpu_us", (int64_t)row->cpu_us);
	if (row->queue_us)
		phase(w->s, t, NULL, "wait", sp.start_wall_us, row->queue_us);
	if (row->cold) {
		phase(w->s, t, NULL, "start: sandbox", start, row->start_us);
		phase(w->s, t, NULL, row->cold == LEDGER_RESTORED ? "start: restore" : "start: init", init,
		      row->init_us);
	}
	if (row->handler_us)
		phase(w->s, t, t->handler, "handler", handler, row->handler_us);
	spans_add(w->s->o.spans, &sp);
}

void traced_refused(struct workload *w, const struct invocation *inv, const struct ledger_row *row)
{
	struct traced t;

	traced_begin(w->s, inv, &t);
	traced_end(w, &t, row, inv->request_id);
}
