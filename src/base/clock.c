/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

static int64_t read_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

#if TANDEM_DEBUG
/* What a test did: both clocks go on from here, or stand, shifted by the same. Never back. */
static _Atomic bool test_stopped;
static _Atomic int64_t test_mono_us, test_wall_us, test_shift_us;

void clock_test_stop(void)
{
	if (test_stopped)
		return;
	test_mono_us = read_us(CLOCK_MONOTONIC);
	test_wall_us = read_us(CLOCK_REALTIME);
	test_stopped = true;
}

void clock_test_step(int64_t us)
{
	test_shift_us += us;
}

void clock_test_resume(void)
{
	if (!test_stopped)
		return;
	test_shift_us += test_mono_us - read_us(CLOCK_MONOTONIC);
	test_stopped = false;
}

bool clock_test_stopped(void)
{
	return test_stopped;
}

int64_t clock_now_us(void)
{
	return (test_stopped ? test_mono_us : read_us(CLOCK_MONOTONIC)) + test_shift_us;
}

int64_t clock_wall_us(void)
{
	return (test_stopped ? test_wall_us : read_us(CLOCK_REALTIME)) + test_shift_us;
}
#else
int64_t clock_now_us(void)
{
	return read_us(CLOCK_MONOTONIC);
}

int64_t clock_wall_us(void)
{
	return read_us(CLOCK_REALTIME);
}
#endif

static char *fmt(int64_t wall_us, const char *zone, char out[32])
{
	int64_t ms = wall_us / 1000 - (wall_us % 1000 < 0);
	int64_t part = ((ms % 1000) + 1000) % 1000;
	time_t s = (time_t)((ms - part) / 1000);
	struct tm tm = {0};
	size_t n;

	/* Beyond the years a tm can hold, or that fit in four digits: the last moment that does. */
	if (!gmtime_r(&s, &tm) || tm.tm_year > 8099 || tm.tm_year < -1900) {
		s = 253402300799;
		gmtime_r(&s, &tm);
	}
	n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, 32 - n, ".%03d%s", (int)part, zone);
	return out;
}

char *clock_fmt_lambda(int64_t wall_us, char out[32])
{
	return fmt(wall_us, "+0000", out);
}

char *clock_fmt_iso(int64_t wall_us, char out[32])
{
	return fmt(wall_us, "Z", out);
}
