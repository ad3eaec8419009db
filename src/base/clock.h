/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one clock. Everything inside is int64_t microseconds.
 * In debug builds a test may stop and step it (clock_test_*): POST /v1/debug/clock on the admin socket. Timers follow
 * (loop_clock_changed).
 */
#pragma once
#include <stdbool.h>
#include "base/str.h"
int64_t clock_now_us(void);  /* monotonic */
int64_t clock_wall_us(void); /* since the epoch */
/* The wall clock of the moment when this process first asked, going on evenly: for what waits and is written down, so that
 * nothing waits longer, or comes to its end too soon, because somebody sets the clock. Not to be shown. */
int64_t clock_steady_us(void);
struct rusage;
int64_t clock_cpu_us(const struct rusage *u);
#if TANDEM_DEBUG
void clock_test_stop(void);
void clock_test_step(int64_t us);
void clock_test_set(int64_t us); /* the wall clock alone, by so much; also back */
void clock_test_resume(void);	 /* goes on from where it stands: never back */
bool clock_test_stopped(void);
#endif
/* "2025-11-24T23:08:00.000+0000", Lambda's LastModified; buf of 32. "2025-11-24T23:08:00.000Z" for the second. */
char *clock_fmt_lambda(int64_t wall_us, char out[32]);
char *clock_fmt_iso(int64_t wall_us, char out[32]);
/* "2026-11-21T10:00:00", a fraction or none, then "Z", "+01:00", "+0100" or nothing (UTC). -1: not one. */
int clock_parse_iso(struct str s, int64_t *ret_wall_us);
