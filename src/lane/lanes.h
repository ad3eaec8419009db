/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workloads with lane: auto, each brought to the lane that costs less on this machine.
 *
 * What a request takes and what an instance holds comes from rows of the ledger, as they are added (ledger_watch); the cost in
 * each lane and the break-even from sched/lane_model.h, the decision from sched/lane_policy.h. Who has no requests has no
 * timer, unless it has still to leave the container lane. Each move is a line of the journal, kind "lane"; the reason for
 * being where it is can be asked for. lane: auto-dry stays in the function lane, and is told of as if it had moved.
 *
 * Durable (record "auto/SUBJECT"): what was measured, and how often it moved lately; written with a move, and when much was
 * added before it falls asleep. The lane itself is the workload's own (function->lane, the service's record).
 * Tests: tests/lane, tests/e2e/test_lane_auto.py; docs/deciding.md.
 */
#pragma once
#include "ledger/journal.h"
#include "ledger/ledger.h"
#include "sched/sched.h"
#include "service/service.h"
#include "store/store.h"
struct lanes;
struct lanes_opts { /* borrowed */
	struct loop *loop;
	struct store *store;
	struct ledger *ledger;
	struct sched *sched;
	struct services *services;
	struct journal *journal; /* or NULL */
};
struct lanes *lanes_new(const struct lanes_opts *o);
void lanes_free(struct lanes *l);
/* Why it is where it is, one sentence, or NULL: it does not decide for itself, or nothing is known. subject: as in the ledger,
 * "shop/iris" or "service/web". Borrowed until the loop goes on. */
const char *lanes_why(const struct lanes *l, const char *subject);
#if TANDEM_DEBUG
/* From now on its break-even is that, whatever was measured; -1: there is no such workload yet. */
int lanes_break_even(struct lanes *l, const char *subject, double rate);
#endif
