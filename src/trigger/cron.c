/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/cron.h"

#define DAY_S	   86400
#define YEAR_FIRST 1970
#define YEAR_LAST  2199

static const char *const month_names[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN",
					  "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"};
static const char *const day_names[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"};

struct field {
	int min, max;
	const char *const *names; /* of the values from min on */
	uint64_t *bits;		  /* of min the lowest of years, else bit min */
};

static int value(const struct field *f, struct str s)
{
	int64_t v;

	for (int i = 0; f->names && i <= f->max - f->min; i++)
		if (str_caseeqc(s, f->names[i]))
			return f->min + i;
	return str_to_i64(s, f->min, f->max, &v) == 0 ? (int)v : -1;
}

static bool add(const struct field *f, int from, int to, int step)
{
	int base = f->min >= YEAR_FIRST ? YEAR_FIRST : 0;

	if (from > to && base)
		return false;
	if (from > to) /* FRI-MON */
		to += f->max - f->min + 1;
	for (int v = from; v <= to; v += step) {
		int bit = (v > f->max ? v - (f->max - f->min + 1) : v) - base;

		f->bits[bit / 64] |= 1ull << (bit % 64);
	}
	return true;
}

/* "1,5-10,0/15,*": -1 when it is not that. */
static int parse_field(const struct field *f, struct str text)
{
	struct str item, range, step, from, to;

	if (!text.n || text.p[text.n - 1] == ',')
		return -1;
	while (str_next(&text, ',', &item)) {
		int64_t every = 1;
		int a = f->min, b = f->max;
		bool has_step = str_cut(item, '/', &range, &step);

		if (has_step && str_to_i64(step, 1, f->max, &every) < 0)
			return -1;
		if (!has_step)
			range = item;
		if (!str_eqc(range, "*")) {
			bool is_range = str_cut(range, '-', &from, &to);

			a = value(f, is_range ? from : range);
			if (is_range)
				b = value(f, to);
			else if (!has_step)
				b = a;
		}
		if (a < 0 || b < 0 || !add(f, a, b, (int)every))
			return -1;
	}
	return 0;
}

static struct str without_last(struct str s)
{
	return (struct str){s.p, s.n ? s.n - 1 : 0};
}

static int parse_days(struct cron *c, struct str dom, struct str dow)
{
	const struct field days = {1, 31, NULL, &c->days}, weekdays = {1, 7, day_names, &c->weekdays};
	struct str day, nth;
	int64_t n;

	if (str_eqc(dom, "?") == str_eqc(dow, "?"))
		return -1;
	if (str_eqc(dow, "?")) {
		c->weekdays = ~0ull;
		c->which = str_caseeqc(dom, "L") ? DAYS_LAST : str_caseeqc(dom, "LW") ? DAYS_LAST_WORKDAY : DAYS_PLAIN;
		if (c->which != DAYS_PLAIN)
			return 0;
		if (str_ends(dom, "W") || str_ends(dom, "w")) {
			c->which = DAYS_NEAREST_WORKDAY;
			c->day = value(&days, without_last(dom));
			return c->day < 0 ? -1 : 0;
		}
		return parse_field(&days, dom);
	}
	c->days = ~0ull;
	if (str_caseeqc(dow, "L"))
		dow = STR("7");
	if (str_cut(dow, '#', &day, &nth)) {
		c->which = DAYS_NTH_WEEKDAY;
		c->day = value(&weekdays, day);
		if (str_to_i64(nth, 1, 5, &n) < 0)
			return -1;
		c->nth = (int)n;
		return c->day < 0 ? -1 : 0;
	}
	if (dow.n > 1 && (str_ends(dow, "L") || str_ends(dow, "l"))) {
		c->which = DAYS_LAST_WEEKDAY;
		c->day = value(&weekdays, without_last(dow));
		return c->day < 0 ? -1 : 0;
	}
	return parse_field(&weekdays, dow);
}

static int parse_cron(struct cron *c, struct str body)
{
	const struct field minutes = {0, 59, NULL, &c->minutes}, hours = {0, 23, NULL, &c->hours},
			   months = {1, 12, month_names, &c->months}, years = {YEAR_FIRST, YEAR_LAST, NULL, c->years};
	struct str f[6], one;
	size_t n = 0;

	while (str_next(&body, ' ', &one)) {
		if (one.n && n == ARRAY_SIZE(f))
			return -1;
		if (one.n)
			f[n++] = one;
	}
	if (n != ARRAY_SIZE(f) || parse_field(&minutes, f[0]) < 0 || parse_field(&hours, f[1]) < 0 ||
	    parse_field(&months, f[3]) < 0 || parse_field(&years, f[5]) < 0)
		return -1;
	return parse_days(c, f[2], f[4]);
}

static int parse_rate(struct cron *c, struct str body, bool strict)
{
	static const struct {
		const char *one, *many;
		int64_t s;
	} units[] = {{"minute", "minutes", 60}, {"hour", "hours", 3600}, {"day", "days", DAY_S}};
	struct str number, unit;
	int64_t n;

	if (!str_cut(body, ' ', &number, &unit) || str_to_i64(number, 1, 36500, &n) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (strict ? str_eqc(unit, n == 1 ? units[i].one : units[i].many)
			   : str_caseeqc(unit, units[i].one) || str_caseeqc(unit, units[i].many))
			c->s = n * units[i].s;
	return c->s ? 0 : -1;
}

static int parse_at(struct cron *c, struct str body)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:dd";
	int64_t v[6] = {0};
	size_t n = 0;

	for (size_t i = 0; i < sizeof(shape) - 1; i++) {
		if (body.n != sizeof(shape) - 1 ||
		    (shape[i] == 'd' ? body.p[i] < '0' || body.p[i] > '9' : body.p[i] != shape[i]))
			return -1;
		if (shape[i] == 'd')
			v[n] = v[n] * 10 + (body.p[i] - '0');
		else
			n++;
	}
	if (v[0] < YEAR_FIRST || v[0] > YEAR_LAST || v[1] < 1 || v[1] > 12 || v[2] < 1 ||
	    v[2] > civil_month_days(v[0], (int)v[1]) || v[3] > 23 || v[4] > 59 || v[5] > 59)
		return -1;
	c->s = civil_days(v[0], (int)v[1], (int)v[2]) * DAY_S + v[3] * 3600 + v[4] * 60 + v[5];
	return 0;
}

int cron_parse(struct str text, bool strict, struct cron *ret)
{
	struct cron c = {0};
	struct str kind, body;
	int r = -1;

	if (!str_cut(text, '(', &kind, &body) || !str_ends(body, ")"))
		return -1;
	body.n--;
	if (str_eqc(kind, "rate"))
		c.kind = CRON_RATE, r = parse_rate(&c, body, strict);
	else if (str_eqc(kind, "cron"))
		c.kind = CRON_FIELDS, r = parse_cron(&c, body);
	else if (str_eqc(kind, "at") && !strict)
		c.kind = CRON_AT, r = parse_at(&c, body);
	if (r == 0)
		*ret = c;
	return r;
}

/* The days of a month on which it may be, a bit each from 1. */
static uint64_t month_days(const struct cron *c, int64_t year, int month)
{
	int n = civil_month_days(year, month), first = civil_weekday(civil_days(year, month, 1)), day = 0;
	uint64_t ret = 0;

	switch (c->which) {
	case DAYS_PLAIN:
		for (int d = 1; d <= n; d++)
			if (c->days >> d & 1 && c->weekdays >> ((first + d - 1) % 7 + 1) & 1)
				ret |= 1ull << d;
		return ret;
	case DAYS_LAST:
		day = n;
		break;
	case DAYS_LAST_WORKDAY:
	case DAYS_NEAREST_WORKDAY: {
		int weekday;

		day = c->which == DAYS_LAST_WORKDAY ? n : c->day;
		if (day > n)
			return 0;
		weekday = (first + day - 1) % 7;
		if (weekday == 6) /* never into another month */
			day += day > 1 ? -1 : 2;
		else if (weekday == 0)
			day += day < n ? 1 : -2;
		break;
	}
	case DAYS_LAST_WEEKDAY:
	case DAYS_NTH_WEEKDAY:
		day = 1 + (c->day - 1 - first + 7) % 7;
		if (c->which == DAYS_LAST_WEEKDAY)
			day += (n - day) / 7 * 7;
		else
			day += 7 * (c->nth - 1);
		break;
	}
	return day <= n ? 1ull << day : 0;
}

/* The first minute of a day from that one on; -1: none. */
static int next_minute(const struct cron *c, int from)
{
	for (int hour = from / 60; hour < 24; hour++) {
		uint64_t left = hour == from / 60 ? c->minutes >> (from % 60) << (from % 60) : c->minutes;

		if (c->hours >> hour & 1 && left)
			return hour * 60 + __builtin_ctzll(left);
	}
	return -1;
}

static int64_t next_of_fields(const struct cron *c, const struct zone *z, int64_t after_s)
{
	int64_t local = after_s + zone_offset_s(z, after_s), day = local / DAY_S, year, at;
	int minute = (int)(local % DAY_S / 60), month, of_month;
	uint64_t days;
	bool left_out;

	for (;;) {
		civil_of(day, &year, &month, &of_month);
		if (year > YEAR_LAST)
			return -1;
		days = c->years[(year - YEAR_FIRST) / 64] >> ((year - YEAR_FIRST) % 64) & 1 && c->months >> month & 1
			       ? month_days(c, year, month) >> of_month
			       : 0;
		if (!days) {
			day += civil_month_days(year, month) - of_month + 1;
			minute = 0;
			continue;
		}
		if (!(days & 1)) {
			day += __builtin_ctzll(days);
			minute = 0;
		}
		minute = next_minute(c, minute);
		if (minute >= 0) {
			at = zone_utc_s(z, day * DAY_S + minute * 60, &left_out);
			if (at > after_s && !left_out)
				return at;
		}
		if (minute < 0 || ++minute == 24 * 60) {
			day++;
			minute = 0;
		}
	}
}

int64_t cron_next(const struct cron *c, const struct zone *z, int64_t base_s, int64_t after_s)
{
	bool left_out;
	int64_t at;

	if (after_s < -1)
		after_s = -1;
	switch (c->kind) {
	case CRON_RATE:
		return after_s < base_s ? base_s : base_s + ((after_s - base_s) / c->s + 1) * c->s;
	case CRON_AT:
		at = zone_utc_s(z, c->s, &left_out);
		return at > after_s ? at : -1;
	default:
		return next_of_fields(c, z, after_s < DAY_S ? DAY_S : after_s);
	}
}
