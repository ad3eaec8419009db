/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spans of traces that are sampled: what one request, wait, start or handler took, in the words of OpenTelemetry. The
 * last SPANS_KEPT are there to be read (tandem trace ID); if somebody takes them (daemon/otlp.h), up to SPANS_QUEUED wait
 * for that, in batches, after a second or when a batch is full; a batch that is refused for now is tried again, after 1 s
 * doubling to 30 s or what was asked for. What is beyond, or refused for good, is dropped, counted and shown. Nothing here
 * waits, and what is not sampled costs the question whether it is. All calls on the loop's thread.
 */
#pragma once
#include "base/buf.h"
#include "base/trace_context.h"
#include "loop/loop.h"
#define SPANS_KEPT   1024
#define SPANS_QUEUED 2048
#define SPANS_BATCH  512
#define SPANS_ATTRS  16
#define SPANS_LINKS  128 /* OTEL_SPAN_LINK_COUNT_LIMIT's default */
enum span_kind { SPAN_INTERNAL = 1, SPAN_SERVER, SPAN_CLIENT, SPAN_PRODUCER, SPAN_CONSUMER }; /* OTLP's numbers */
struct span {
	struct trace_context at; /* parent: all zero: the trace begins here */
	uint8_t id[8];
	const char *name;
	enum span_kind kind;
	int64_t start_wall_us, end_wall_us;
	const char *error; /* NULL: it went well */
	struct span_attr {
		const char *key, *text; /* text NULL: n; "true" and "false" are no strings */
		int64_t n;
	} attrs[SPANS_ATTRS];
	unsigned n_attrs;
	const struct trace_context *links; /* of what else led to it: id and parent */
	unsigned n_links;
};
struct spans;
struct spans_opts {
	struct loop *loop;
	double ratio;				   /* of traces that begin here, those that are sampled */
	bool ignore_parent;			   /* of others too: else what their parent says counts */
	const char *service;			   /* the resource's service.name; borrowed for the call */
	void (*send)(void *arg, struct buf *body); /* one at a time: spans_sent. NULL: nobody takes them */
	void *arg;
};
struct spans *spans_new(const struct spans_opts *o);
void spans_free(struct spans *s);
/* Part of a trace that is sampled? header: AWS's form, or NULL: one is drawn. *ret is where; all zero: not sampled, and not
 * drawn. Of one that was drawn for the first time, say it on: who is asked again without a header draws again. */
bool spans_sampled(struct spans *s, const char *header, struct trace_context *ret);
void spans_id(uint8_t ret[8]);
void spans_add(struct spans *s, const struct span *sp);
/* What became of the batch: taken; refused for now (again in retry_us, 0: as said above); or for good. */
enum spans_verdict { SPANS_TAKEN, SPANS_LATER, SPANS_NEVER };
void spans_sent(struct spans *s, enum spans_verdict v, int64_t retry_us);
void spans_read(const struct spans *s, const uint8_t id[16],
		struct buf *out); /* a JSON array of OTLP's spans, as they ended */
uint64_t spans_dropped(const struct spans *s);
void spans_metrics(const struct spans *s, struct buf *out); /* Prometheus text */
