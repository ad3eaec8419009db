/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When requests come, drawn from a description; the same seed draws the same. Rates are requests per second, up to a
 * million; times are written as 30s, 10m, 2h, 1d.
 *
 *   steady:20              one every 50 ms
 *   poisson:20             independent ones, 20/s on average
 *   burst:5,200,30s/10m    independent ones, 5/s, and 200/s for the first 30 s of every 10 minutes
 *   daily:2,40             independent ones, 2/s at midnight and 40/s at noon, a cosine between (in steps of a minute)
 *
 * Or recorded times. Tests: tests/advise.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

struct traffic;
int traffic_parse(const char *spec, uint64_t seed, struct traffic **ret, struct err *e);
struct traffic *traffic_recorded(const int64_t *at_us, size_t n); /* in order of time; borrowed */
bool traffic_next(struct traffic *t, int64_t *ret_at_us);	  /* from 0 on, never back; false: no more come */
void traffic_again(struct traffic *t);				  /* from the beginning, as it was */
double traffic_mean(const struct traffic *t);			  /* requests per second in the long run */
void traffic_free(struct traffic *t);				  /* NULL is fine */
