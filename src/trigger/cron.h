/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a schedule is due: rate(5 minutes), cron(minutes hours day-of-month month day-of-week year), at(2026-11-21T18:00:00).
 * Pure. Fields of cron take lists, ranges, steps and names; one of the two days is ?; L, LW, 15W, 6L and SAT#3 stand
 * alone. Years 1970 to 2199.
 *
 * In a time zone, as Scheduler documents it: a time that the clock leaves out in spring is skipped, one that comes twice
 * in autumn counts once, the first time. at() of a time that is left out is the first instant after it. A rate counts real
 * time from its base. To find the next time costs at most some thousand steps.
 */
#pragma once
#include "trigger/zone.h"
struct cron {
	enum { CRON_RATE, CRON_AT, CRON_FIELDS } kind;
	int64_t s; /* of RATE how long, of AT the local time */
	uint64_t minutes, years[4];
	uint64_t hours, days, months, weekdays; /* a bit each; weekdays from 1, Sunday */
	enum {
		DAYS_PLAIN,
		DAYS_LAST,
		DAYS_LAST_WORKDAY,
		DAYS_NEAREST_WORKDAY,
		DAYS_LAST_WEEKDAY,
		DAYS_NTH_WEEKDAY
	} which;
	int day, nth;
};
/* strict: a rule's, which has no at(), and whose units are singular for 1 alone. -1: it is not one. */
int cron_parse(struct str text, bool strict, struct cron *ret);
/* The first time after after_s, in seconds since the epoch; -1: there is none. base_s: where a rate begins. */
int64_t cron_next(const struct cron *c, const struct zone *z, int64_t base_s, int64_t after_s);
