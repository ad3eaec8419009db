/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/zone.h"
#include <fcntl.h>
#include <stdio.h>
#include "base/buf.h"
#include "base/io.h"
#include "base/mem.h"

#define ZONES	   "/usr/share/zoneinfo/"
#define DAY_S	   86400
#define FILE_BYTES 65536

/* One end of summer time in a year: RFC 9636, section 3.3.2, and POSIX. */
struct turn {
	char kind; /* M: the week-th weekday of the month; J: that day of the year without 29 February; 0: with it */
	int month, week, day;
	int64_t time_s;
};
struct zone {
	size_t n, types;
	int64_t *at_s; /* n; from there on type[i] */
	uint8_t *type;
	int64_t *offset_s; /* of each type */
	bool rule, summer;
	int64_t std_s, dst_s;
	struct turn begin, end;
};

/* Howard Hinnant's way: years that begin in March, eras of 400. */
int64_t civil_days(int64_t year, int month, int day)
{
	int64_t y = year - (month <= 2), era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400,
		of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

void civil_of(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day)
{
	int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, d = z - era * 146097,
		y = (d - d / 1460 + d / 36524 - d / 146096) / 365, of_year = d - (365 * y + y / 4 - y / 100),
		m = (5 * of_year + 2) / 153;

	*ret_day = (int)(of_year - (153 * m + 2) / 5 + 1);
	*ret_month = (int)(m < 10 ? m + 3 : m - 9);
	*ret_year = y + era * 400 + (*ret_month <= 2);
}

int civil_weekday(int64_t days)
{
	return (int)(((days + 4) % 7 + 7) % 7);
}

int civil_month_days(int64_t year, int month)
{
	return (int)(civil_days(year + (month == 12), month % 12 + 1, 1) - civil_days(year, month, 1));
}

/* --- the rule --- */

static bool number(const char **p, int max, int *ret)
{
	const char *s = *p;
	int v = 0;

	while (*s >= '0' && *s <= '9' && v <= max)
		v = v * 10 + (*s++ - '0');
	if (s == *p || v > max)
		return false;
	*p = s;
	*ret = v;
	return true;
}

static bool name(const char **p)
{
	const char *s = *p;

	if (*s == '<')
		s += strcspn(s, ">") + 1;
	else
		while ((*s | 32) >= 'a' && (*s | 32) <= 'z')
			s++;
	if (s - *p < 3 || s[-1] == 0)
		return false;
	*p = s;
	return true;
}

static bool clock_time(const char **p, int64_t *ret_s)
{
	int sign = **p == '-' ? -1 : 1, part[3] = {0};

	*p += **p == '-' || **p == '+';
	for (int i = 0; i < 3 && (!i || **p == ':'); i++) {
		*p += i > 0;
		if (!number(p, i ? 59 : 167, &part[i]))
			return false;
	}
	*ret_s = sign * (part[0] * 3600ll + part[1] * 60 + part[2]);
	return true;
}

static bool turn(const char **p, struct turn *t)
{
	bool ok;

	t->kind = **p == 'M' || **p == 'J' ? *(*p)++ : 0;
	if (t->kind == 'M')
		ok = number(p, 12, &t->month) && t->month && *(*p)++ == '.' && number(p, 5, &t->week) && t->week &&
		     *(*p)++ == '.' && number(p, 6, &t->day);
	else
		ok = number(p, 365, &t->day) && (t->day || !t->kind);
	t->time_s = 7200;
	if (ok && **p == '/') {
		++*p;
		ok = clock_time(p, &t->time_s);
	}
	return ok;
}

/* "CET-1CEST,M3.5.0,M10.5.0/3"; what stands east of Greenwich is negative there. */
static bool parse_rule(struct zone *z, const char *p)
{
	if (!name(&p) || !clock_time(&p, &z->std_s))
		return false;
	z->std_s = -z->std_s;
	z->rule = true;
	if (!*p)
		return true;
	if (!name(&p))
		return false;
	z->dst_s = z->std_s + 3600;
	if (*p != ',') {
		if (!clock_time(&p, &z->dst_s))
			return false;
		z->dst_s = -z->dst_s;
	}
	z->summer = true;
	return *p++ == ',' && turn(&p, &z->begin) && *p++ == ',' && turn(&p, &z->end) && !*p;
}

/* Seconds of local time. */
static int64_t turn_s(const struct turn *t, int64_t year)
{
	int64_t days = civil_days(year, 1, 1) + t->day - (t->kind == 'J');
	bool leap = civil_month_days(year, 2) == 29;

	if (t->kind == 'J' && leap && t->day >= 60)
		days++;
	if (t->kind == 'M') {
		int64_t first = civil_days(year, t->month, 1);
		int day = (t->day - civil_weekday(first) + 7) % 7 + 7 * (t->week - 1);

		days = first + (day >= civil_month_days(year, t->month) ? day - 7 : day);
	}
	return days * DAY_S + t->time_s;
}

static int64_t rule_offset_s(const struct zone *z, int64_t utc_s)
{
	int64_t year, days = (utc_s + z->std_s) / DAY_S - ((utc_s + z->std_s) % DAY_S < 0), begin, end;
	int month, day;
	bool summer;

	if (!z->summer)
		return z->std_s;
	civil_of(days, &year, &month, &day);
	begin = turn_s(&z->begin, year) - z->std_s;
	end = turn_s(&z->end, year) - z->dst_s;
	summer = begin < end ? utc_s >= begin && utc_s < end : utc_s >= begin || utc_s < end;
	return summer ? z->dst_s : z->std_s;
}

/* --- the file --- */

static int64_t big_endian(const char *p, int n)
{
	uint64_t v = (uint8_t)*p & 0x80 ? UINT64_MAX : 0;

	while (n--)
		v = v << 8 | (uint8_t)*p++;
	return (int64_t)v;
}

enum { UTS, STDS, LEAPS, TIMES, TYPES, CHARS, COUNTS };
#define HEAD_BYTES 44

/* The counts of the block at *p, and past its header; its bytes when times have so many. -1: it does not fit. */
static int64_t block(struct str *p, size_t time_bytes, int64_t count[COUNTS])
{
	int64_t size, word = (int64_t)time_bytes;

	if (p->n < HEAD_BYTES || memcmp(p->p, "TZif", 4) != 0 || p->p[4] < '2')
		return -1;
	for (int i = 0; i < COUNTS; i++) {
		count[i] = big_endian(p->p + 20 + 4 * i, 4);
		if (count[i] < 0 || count[i] > FILE_BYTES)
			return -1;
	}
	size = count[TIMES] * (word + 1) + count[TYPES] * 6 + count[CHARS] + count[LEAPS] * (word + 4) + count[STDS] +
	       count[UTS];
	*p = (struct str){p->p + HEAD_BYTES, p->n - HEAD_BYTES};
	return size <= (int64_t)p->n ? size : -1;
}

static bool parse(struct zone *z, struct str p)
{
	int64_t count[COUNTS], size = block(&p, 4, count);
	const char *types;
	char rule[128];

	if (size < 0)
		return false;
	p = (struct str){p.p + size, p.n - (size_t)size};
	size = block(&p, 8, count);
	if (size < 0 || !count[TYPES] || count[LEAPS])
		return false;
	z->n = (size_t)count[TIMES];
	z->types = (size_t)count[TYPES];
	z->at_s = xcalloc(z->n + 1, sizeof(*z->at_s));
	z->type = xcalloc(z->n + 1, 1);
	z->offset_s = xcalloc(z->types, sizeof(*z->offset_s));
	types = p.p + 9 * z->n;
	for (size_t i = 0; i < z->types; i++) {
		z->offset_s[i] = big_endian(types + 6 * i, 4);
		if (z->offset_s[i] <= -DAY_S || z->offset_s[i] >= DAY_S * 2)
			return false;
	}
	for (size_t i = 0; i < z->n; i++) {
		z->at_s[i] = big_endian(p.p + 8 * i, 8);
		z->type[i] = (uint8_t)p.p[8 * z->n + i];
		if (z->type[i] >= z->types || (i && z->at_s[i] <= z->at_s[i - 1]))
			return false;
	}
	p = (struct str){p.p + size, p.n - (size_t)size};
	if (p.n < 2 || p.p[0] != '\n' || p.p[p.n - 1] != '\n' || p.n > sizeof(rule))
		return false;
	snprintf(rule, sizeof(rule), "%.*s", (int)p.n - 2, p.p + 1);
	return !*rule || parse_rule(z, rule);
}

struct zone *zone_parse(struct str tzif, struct err *e)
{
	struct zone *z = xcalloc(1, sizeof(*z));

	if (parse(z, tzif))
		return z;
	zone_free(z);
	err_set(e, ERR_CORRUPT, "not a time zone of version 2 or later without leap seconds");
	return NULL;
}

struct zone *zone_open(const char *zone, struct err *e)
{
	char path[128];
	auto_buf text = {0};
	struct zone *z;

	if (!str_name_ok(str_of(zone), 64, "_+-/") || *zone == '/' ||
	    snprintf(path, sizeof(path), ZONES "%s", zone) >= (int)sizeof(path) ||
	    io_read_file(AT_FDCWD, path, FILE_BYTES, &text, NULL) < 0) {
		err_set(e, ERR_NOT_FOUND, "there is no time zone %.64s; names are like Europe/Berlin", zone);
		return NULL;
	}
	z = zone_parse(buf_str(&text), e);
	if (!z)
		err_wrap(e, "%s", path);
	return z;
}

void zone_free(struct zone *z)
{
	if (!z)
		return;
	free(z->at_s);
	free(z->type);
	free(z->offset_s);
	free(z);
}

int64_t zone_offset_s(const struct zone *z, int64_t utc_s)
{
	size_t lo = 0, hi;

	if (!z)
		return 0;
	if (z->rule && (!z->n || utc_s >= z->at_s[z->n - 1]))
		return rule_offset_s(z, utc_s);
	for (hi = z->n; lo < hi;) { /* lo: how many are not after utc_s */
		size_t mid = (lo + hi) / 2;

		if (z->at_s[mid] <= utc_s)
			lo = mid + 1;
		else
			hi = mid;
	}
	return z->offset_s[lo ? z->type[lo - 1] : 0];
}

int64_t zone_utc_s(const struct zone *z, int64_t local_s, bool *ret_left_out)
{
	int64_t before = zone_offset_s(z, local_s - DAY_S), after = zone_offset_s(z, local_s + DAY_S),
		lo = local_s - (before > after ? before : after), hi = local_s - (before > after ? after : before);

	*ret_left_out = false;
	if (zone_offset_s(z, lo) == local_s - lo)
		return lo;
	if (zone_offset_s(z, hi) == local_s - hi)
		return hi;
	*ret_left_out = true;
	while (hi - lo > 1) { /* the turn lies between: offset before it up to lo, after it from hi */
		int64_t mid = lo + (hi - lo) / 2;

		*(zone_offset_s(z, mid) == before ? &lo : &hi) = mid;
	}
	return hi;
}
