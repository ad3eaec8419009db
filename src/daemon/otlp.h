/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who takes spans (ledger/spans.h), as OpenTelemetry's environment variables say: OTLP over HTTP, in JSON, to
 * OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or OTEL_EXPORTER_OTLP_ENDPOINT and /v1/traces, by http alone: a collector beside the
 * daemon takes them on by TLS. A thread of its own sends, so that a collector that hangs delays nobody; what it does not take
 * is said in the journal. Without an
 * endpoint spans are kept for `tandem trace` alone, of traces that somebody else has sampled.
 */
#pragma once
#include "ledger/journal.h"
#include "ledger/spans.h"
struct otlp;
/* Reads the environment; what is wrong in it is logged, and spans are not sent. */
struct otlp *otlp_new(struct loop *l, struct journal *j);
void otlp_free(struct otlp *o);
struct spans *otlp_spans(struct otlp *o);
