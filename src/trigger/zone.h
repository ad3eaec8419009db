/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A time zone of the host's tzdata, immutable: what its TZif file says, and the rule at its end for the time after. No
 * environment, no locale. NULL is UTC. A local time that occurs twice means its first; one that is left out means
 * the first instant after the gap, and says so.
 */
#pragma once
#include <stdbool.h>
#include "base/err.h"
#include "base/str.h"
struct zone;
struct zone *zone_open(const char *name, struct err *e); /* reads a small file; ERR_NOT_FOUND */
struct zone *zone_parse(struct str tzif, struct err *e);
void zone_free(struct zone *z);
int64_t zone_offset_s(const struct zone *z, int64_t utc_s); /* local is UTC and this */
int64_t zone_utc_s(const struct zone *z, int64_t local_s, bool *ret_left_out);

/* Gregorian, days since 1970-01-01; month and day from 1. */
int64_t civil_days(int64_t year, int month, int day);
void civil_of(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day);
int civil_weekday(int64_t days); /* 0: Sunday */
int civil_month_days(int64_t year, int month);
