/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spans of what brings events, in traces that are sampled (ledger/spans.h): a request, from its first byte to its answer
 * (OpenTelemetry's conventions for HTTP servers and RPC), and a batch of messages or records, which is below the first of
 * them that is part of a trace and linked to all others. What they lead to is below them, or not sampled as they are not.
 */
#pragma once
#include "base/buf.h"
#include "http/server.h"
#include "sched/sched.h"
/* Of a request that has no span yet, of the trace that its head says, or else of one that begins here. */
void door_route(struct sched *s, struct http_req *r, const char *route);
/* "sqs", "SendMessage"; header: the trace, AWS's form; NULL: one begins here. */
void door_operation(struct sched *s, struct http_req *r, const char *header, const char *service,
		    const char *operation);

struct door_batch {
	struct buf members; /* struct trace_context: the first that differ, SPANS_LINKS at most */
	struct trace_context at;
	uint8_t id[8];
	int64_t begun_wall_us;
	bool on;
};
void door_batch_add(struct door_batch *b, struct str header); /* of the next in it; empty: of no trace */
/* All are added; ret: what it leads to, "" when none is part of a trace. */
void door_batch_begin(struct door_batch *b, struct sched *s, char ret[TRACE_HEADER_BYTES]);
/* system: "aws_sqs"; source: an ARN; error: NULL: it went well. Frees what is in b, as does _done without a span. */
void door_batch_end(struct door_batch *b, struct sched *s, const char *system, const char *source, unsigned n,
		    const char *error);
void door_batch_done(struct door_batch *b);
