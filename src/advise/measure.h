/* SPDX-License-Identifier: Apache-2.0 */
/* Facts from what was measured: calls of the ledger, or a recorded day. Tests: tests/advise/test_facts.c. */
#pragma once
#include "advise/facts.h"
#include "advise/trace.h"

/* The mean of n values (known_mean); of what so many instances hold, instances > 0 (known_held). n 0: nothing is known. */
void measure_mean(struct facts *f, enum fact what, const double *v, size_t n, double instances);
/* Duration, longest, and how they are spread, of n calls (s). Sorts v. */
void measure_durations(struct facts *f, double *v, size_t n);
/* Rate, and whether it comes in bursts, from when n calls began (s). All that there were from from_s (or the first) to now_s. */
void measure_times(struct facts *f, double *at_s, size_t n, double from_s, double now_s);
/* Of n calls only sums are known: how much they differ is taken to be as much as they are long. */
void measure_sums(struct facts *f, double n, double duration_s, double cpu_s, double time_s);
void measure_none(struct facts *f, double time_s); /* no call in so long */
void measure_trace(struct facts *f, const struct trace_function *t);
