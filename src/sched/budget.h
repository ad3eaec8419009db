/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Budgets: what workloads with a tag, or one workload, may cost in an hour, day or month (UTC), by this machine's price or by AWS's.
 * At 80 and 100 % the journal says so; from 100 % on a budget that is to throttle or stop is closed until its next period
 * begins, by itself. Who is closed out gets no new synchronous call (429, with the sentence of budgets_closed); asynchronous events and
 * what queues and streams hold stay where they are; `stop` also ends what is idle or held ready.
 *
 * Sums come from rows of the ledger as they are added: no scan, and no timer but for the end of the period of what is closed and
 * for containers that run, which have their row at their end: these are looked at as fast as they spend. A
 * period's sum is asked of the ledger once, at the start and when a budget is declared; until it is there, a budget is
 * open. Rows that a kill -9 loses (the last 200 ms) are not counted again.
 *
 * Each is a record "budget/NAME", by which it is declared (app/): {"Tag" or "Workload", "Usd", "Per", "On", "Then", "project"}.
 * All calls on the loop's thread. Tests: tests/sched/test_budget.c, tests/e2e/test_budgets.py.
 */
#pragma once
#include "json/write.h"
#include "ledger/journal.h"
#include "ledger/ledger.h"
#include "store/tx.h"

#define BUDGETS_MAX 64
enum budget_per { BUDGET_HOUR, BUDGET_DAY, BUDGET_MONTH, BUDGET_PER_N };
enum budget_on { BUDGET_MACHINE, BUDGET_AWS, BUDGET_ON_N };
enum budget_then { BUDGET_WARN, BUDGET_THROTTLE, BUDGET_STOP, BUDGET_THEN_N };
extern const char *const budget_per_name[BUDGET_PER_N], *const budget_on_name[BUDGET_ON_N],
								*const budget_then_name[BUDGET_THEN_N];

/* Where the period begins that wall_us is in; *ret_end: where the next one does. */
int64_t budget_period(enum budget_per per, int64_t wall_us, int64_t *ret_end_wall_us);

struct budgets;
struct budgets_opts {
	struct loop *loop;
	struct store *store;
	struct ledger *ledger;
	struct journal *journal; /* may be NULL */
	/* Rows of the tasks that run, as they would be now; may be NULL. A container's row comes when it ends. */
	void (*running)(void *arg, struct ledger_query *q);
	void (*changed)(void *arg); /* one has closed or opened */
	void *arg;
};
struct budgets *budgets_new(const struct budgets_opts *o); /* those of the store */
void budgets_free(struct budgets *b);			   /* before ledger and store */
int budget_put(struct budgets *b, struct str name, const struct json *doc, const char *project, struct store_tx *tx,
	       struct err *e);
void budget_delete(struct budgets *b, struct str name, struct store_tx *tx);
void budgets_began(struct budgets *b);				   /* a container did */
void budgets_row(struct budgets *b, const struct ledger_row *row); /* one was added */

struct budget_stop {
	bool stops;	      /* nothing of it is to be kept either */
	int64_t open_wall_us; /* when that ends */
	char why[320];
};
bool budgets_any_closed(
	const struct budgets *b); /* or may be. false for NULL: cheap enough to be asked for each call */
/* Whether one is closed to the workload ("shop/iris", its tags "k=v,k2=v2"), or_unknown: or may be; ret may be NULL. */
bool budgets_closed(const struct budgets *b, const char *workload, const char *tags, bool or_unknown,
		    struct budget_stop *ret);
void budgets_json(struct budgets *b, struct jw *w); /* {"budgets": [...]} */
/* What should be said of the workload: a budget that is closed to it, or else one that is used to 80 %; NULL: neither. */
const char *budgets_note(const struct budgets *b, const char *workload, const char *tags, char ret[320]);
