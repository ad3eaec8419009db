/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

static int64_t read_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

#if TANDEM_DEBUG
/* What a test did: both clocks go on from here, or stand, shifted by the same; never back. The wall clock may be set. */
static _Atomic bool test_stopped;
static _Atomic int64_t test_mono_us, test_wall_us, test_shift_us, test_set_us;

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

void clock_test_set(int64_t us)
{
	test_set_us += us;
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
	return (test_stopped ? test_wall_us : read_us(CLOCK_REALTIME)) + test_shift_us + test_set_us;
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

int64_t clock_cpu_us(const struct rusage *u)
{
	return (u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1000000ll + u->ru_utime.tv_usec + u->ru_stime.tv_usec;
}

int64_t clock_steady_us(void)
{
	static _Atomic int64_t ahead_us; /* of the monotonic clock: one fact of the process */

	if (!ahead_us)
		ahead_us = clock_wall_us() - clock_now_us();
	return clock_now_us() + ahead_us;
}

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

/* Takes so many digits; -1: they are not there, or stand for more than max. */
static int take(struct str *s, size_t n, int max)
{
	int v = 0;

	if (s->n < n)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (s->p[i] < '0' || s->p[i] > '9')
			return -1;
		v = v * 10 + s->p[i] - '0';
	}
	*s = (struct str){s->p + n, s->n - n};
	return v > max ? -1 : v;
}

static bool take_char(struct str *s, char c)
{
	if (!s->n || *s->p != c)
		return false;
	*s = (struct str){s->p + 1, s->n - 1};
	return true;
}

int clock_parse_iso(struct str s, int64_t *ret_wall_us)
{
	struct tm tm = {0};
	int64_t part = 0, unit = 100000, zone = 0, sign;

	tm.tm_year = take(&s, 4, 9999) - 1900;
	if (tm.tm_year < -1900 + 1 || !take_char(&s, '-') || (tm.tm_mon = take(&s, 2, 12) - 1) < 0 ||
	    !take_char(&s, '-') || (tm.tm_mday = take(&s, 2, 31)) < 1 || !take_char(&s, 'T') ||
	    (tm.tm_hour = take(&s, 2, 23)) < 0 || !take_char(&s, ':') || (tm.tm_min = take(&s, 2, 59)) < 0 ||
	    !take_char(&s, ':') || (tm.tm_sec = take(&s, 2, 60)) < 0)
		return -1;
	for (bool more = take_char(&s, '.'); more && s.n && *s.p >= '0' && *s.p <= '9'; unit /= 10)
		part += take(&s, 1, 9) * unit;
	if (!take_char(&s, 'Z') && s.n) {
		int hours, minutes;

		sign = take_char(&s, '-') ? -1 : take_char(&s, '+') ? 1 : 0;
		hours = take(&s, 2, 23);
		take_char(&s, ':');
		minutes = take(&s, 2, 59);
		if (!sign || hours < 0 || minutes < 0)
			return -1;
		zone = sign * (hours * 60 + minutes) * 60;
	}
	if (s.n)
		return -1;
	*ret_wall_us = ((int64_t)timegm(&tm) - zone) * 1000000 + part;
	return 0;
}
