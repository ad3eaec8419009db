/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is due: all schedules in one heap by their next time, one timer, nothing that ticks. A firing and the schedule's new
 * state (record "due/KEY": base and last time) are one transaction, so that kill -9 neither loses one nor fires it twice.
 *
 * Times are by the wall clock; when somebody sets it, everything is looked at again. What came due while nobody looked
 * (the daemon was down, the clock was set forward): of each schedule the last time counts, once, unless it is older than
 * max_age_s; earlier ones are skipped. A clock set back by up to an hour repeats nothing; by more, schedules go on from what
 * it says now. A firing that cannot be committed is tried again, after 1 s doubling to a minute.
 *
 * Costs O(log n) a firing. Tests: tests/trigger/test_due.c, tests/e2e/test_scheduler.py.
 */
#pragma once
#include "ledger/journal.h"
#include "store/tx.h"
#include "trigger/cron.h"

struct dues;
struct due { /* embedded in what is due; zeroed, then filled in down to fire */
	char *key;
	struct cron cron;
	const struct zone *zone;
	int64_t base_s;		/* where a rate begins */
	int64_t last_s;		/* the last time that is over; for a new one */
	int64_t start_s, end_s; /* 0: none */
	int64_t window_s;	/* each time is put off by less than this, always by the same */
	int64_t max_age_s;
	/* Adds what the time due_s starts to tx; final: there will be no other. */
	void (*fire)(struct due *d, int64_t due_s, bool final, struct store_tx *tx);
	void (*over)(struct due *d); /* the final one is durable: may free d. NULL: nothing to do */

	struct dues *dues; /* due.c's from here */
	struct firing *firing;
	int64_t next_s, at_us; /* next_s -1: never */
	size_t place;	       /* in the heap, from 1; 0: not in it */
	int failures;
};
struct dues *dues_new(struct loop *l, struct store *s);
void dues_journal(struct dues *ds, struct journal *j); /* what is missed or late is written there */
void dues_start(struct dues *ds);		       /* nothing fires before */
void dues_free(struct dues *ds);		       /* after those in it were removed */
void dues_look(struct dues *ds);		       /* the clock was set: at everything again */
/* Puts d in. anew: with the base and last time that it has, durable with tx; else with those of its record. */
void due_put(struct dues *ds, struct due *d, bool anew, struct store_tx *tx);
void due_remove(struct due *d); /* takes it out. A firing on its way is durable or not, and tells nobody */
void due_forget(struct dues *ds, const char *key, struct store_tx *tx); /* its record */
