/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/cron.h"

#include "tests/test.h"

static int64_t utc(const char *text)
{
	struct cron c;
	char at[40];

	snprintf(at, sizeof(at), "at(%s)", text);
	CHECK(cron_parse(str_of(at), false, &c) == 0);
	return cron_next(&c, NULL, 0, -1);
}

static const char *show(int64_t s, char out[40])
{
	int64_t year;
	int month, day, rest = (int)(s % 86400);

	if (s < 0)
		return "never";
	civil_of(s / 86400, &year, &month, &day);
	snprintf(out, 40, "%04d-%02d-%02dT%02d:%02d:%02d", (int)year, month, day, rest / 3600, rest / 60 % 60,
		 rest % 60);
	return out;
}

TEST(next_times)
{
	static const struct {
		const char *expr, *zone, *after, *next[4];
	} table[] = {
		{"cron(0 10 * * ? *)", NULL, "2026-11-21T09:59:59", {"2026-11-21T10:00:00", "2026-11-22T10:00:00"}},
		{"cron(0 18 ? * MON-FRI *)", NULL, "2026-11-20T18:00:00", {"2026-11-23T18:00:00"}},
		{"cron(0 8 1 * ? *)", NULL, "2026-12-01T08:00:00", {"2027-01-01T08:00:00", "2027-02-01T08:00:00"}},
		{"cron(0/15 * * * ? *)", NULL, "2026-12-31T23:44:59", {"2026-12-31T23:45:00", "2027-01-01T00:00:00"}},
		{"cron(*/15 * * * ? *)", NULL, "2026-01-01T00:00:00", {"2026-01-01T00:15:00"}},
		{"cron(5,35 14 * * ? *)", NULL, "2026-01-01T14:05:00", {"2026-01-01T14:35:00", "2026-01-02T14:05:00"}},
		{"cron(0/5 8-17 ? * MON-FRI *)", NULL, "2026-11-20T17:55:00", {"2026-11-23T08:00:00"}},
		{"cron(0 22-1 * * ? *)", NULL, "2026-01-01T01:00:00", {"2026-01-01T22:00:00", "2026-01-01T23:00:00"}},
		{"cron(0 9 ? * FRI-MON *)",
		 NULL,
		 "2026-11-23T09:00:00",
		 {"2026-11-27T09:00:00", "2026-11-28T09:00:00"}},
		{"cron(0 2 ? * SAT#3 *)", NULL, "2026-11-01T00:00:00", {"2026-11-21T02:00:00", "2026-12-19T02:00:00"}},
		{"cron(0 0 ? * 2#5 *)", NULL, "2026-01-01T00:00:00", {"2026-03-30T00:00:00", "2026-06-29T00:00:00"}},
		{"cron(15 10 ? * 6L 2002-2005)",
		 NULL,
		 "2002-01-01T00:00:00",
		 {"2002-01-25T10:15:00", "2002-02-22T10:15:00"}},
		{"cron(15 10 ? * 6L 2002-2005)", NULL, "2006-01-01T00:00:00", {"never"}},
		{"cron(0/5 5 ? JAN 1-5 2022)", NULL, "2022-01-06T05:55:00", {"2022-01-09T05:00:00"}},
		{"cron(0 12 L * ? *)", NULL, "2028-02-01T00:00:00", {"2028-02-29T12:00:00", "2028-03-31T12:00:00"}},
		{"cron(0 12 LW * ? *)", NULL, "2026-01-15T00:00:00", {"2026-01-30T12:00:00", "2026-02-27T12:00:00"}},
		{"cron(0 12 1W * ? *)", NULL, "2026-07-15T00:00:00", {"2026-08-03T12:00:00"}}, /* 1st is a Saturday */
		{"cron(0 12 31W * ? *)", NULL, "2026-05-01T00:00:00", {"2026-05-29T12:00:00", "2026-07-31T12:00:00"}},
		{"cron(0 12 15W * ? *)", NULL, "2026-11-01T00:00:00", {"2026-11-16T12:00:00"}}, /* 15th is a Sunday */
		{"cron(0 0 ? * L *)", NULL, "2026-11-19T00:00:00", {"2026-11-21T00:00:00"}},
		{"cron(0 0 29 2 ? *)", NULL, "2096-03-01T00:00:00", {"2104-02-29T00:00:00"}},
		{"cron(0 0 30 FEB ? *)", NULL, "2026-01-01T00:00:00", {"never"}},
		{"cron(59 23 31 12 ? 2199)", NULL, "2026-01-01T00:00:00", {"2199-12-31T23:59:00", "never"}},
		{"cron(0 0 1 1/3 ? 2026/2)",
		 NULL,
		 "2026-07-01T00:00:00",
		 {"2026-10-01T00:00:00", "2028-01-01T00:00:00"}},
		{"cron(30  9 ? *  2,4,6  *)",
		 NULL,
		 "2026-11-21T00:00:00",
		 {"2026-11-23T09:30:00", "2026-11-25T09:30:00"}},
		/* Berlin leaves out 02:00 to 03:00 on 29 March, and has it twice on 25 October */
		{"cron(30 2 * * ? *)",
		 "Europe/Berlin",
		 "2026-03-27T12:00:00",
		 {"2026-03-28T01:30:00", "2026-03-30T00:30:00"}},
		{"cron(30 2 * * ? *)",
		 "Europe/Berlin",
		 "2026-10-24T12:00:00",
		 {"2026-10-25T00:30:00", "2026-10-26T01:30:00"}},
		{"cron(0/30 * * * ? *)",
		 "Europe/Berlin",
		 "2026-03-29T00:29:00",
		 {"2026-03-29T00:30:00", "2026-03-29T01:00:00", "2026-03-29T01:30:00"}},
		{"cron(0/30 * * * ? *)",
		 "Europe/Berlin",
		 "2026-10-25T00:00:00",
		 {"2026-10-25T00:30:00", "2026-10-25T02:00:00", "2026-10-25T02:30:00"}},
		{"cron(30 2 * * ? *)", "Europe/Berlin", "2026-10-25T01:10:00", {"2026-10-26T01:30:00"}},
		{"cron(0 9 * * ? *)", "America/New_York", "2026-03-07T20:00:00", {"2026-03-08T13:00:00"}},
		{"cron(0 0 * * ? *)", "Asia/Kolkata", "2026-01-01T00:00:00", {"2026-01-01T18:30:00"}},
		{"cron(15 2 * * ? *)",
		 "Australia/Lord_Howe",
		 "2026-10-02T00:00:00",
		 {"2026-10-02T15:45:00", "2026-10-04T15:15:00"}}, /* half an hour left out */
		{"cron(0 12 * * ? *)", "Europe/Berlin", "2150-07-01T00:00:00", {"2150-07-01T10:00:00"}},
		{"at(2026-11-21T18:00:00)", NULL, "2026-11-21T17:59:59", {"2026-11-21T18:00:00", "never"}},
		{"at(2026-07-01T18:00:00)", "Europe/Berlin", "2026-01-01T00:00:00", {"2026-07-01T16:00:00"}},
		{"at(2026-03-29T02:30:00)", "Europe/Berlin", "2026-01-01T00:00:00", {"2026-03-29T01:00:00", "never"}},
		{"at(2026-10-25T02:30:00)", "Europe/Berlin", "2026-01-01T00:00:00", {"2026-10-25T00:30:00", "never"}},
		{"rate(1 minute)", NULL, "1970-01-01T00:01:40", {"1970-01-01T00:01:55", "1970-01-01T00:02:55"}},
		{"rate(2 hours)", NULL, "1970-01-01T00:00:01", {"1970-01-01T00:00:55", "1970-01-01T02:00:55"}},
		{"rate(1 day)", "Europe/Berlin", "2026-03-28T00:01:00", {"2026-03-29T00:00:55", "2026-03-30T00:00:55"}},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		struct zone *z = table[i].zone ? zone_open(table[i].zone, NULL) : NULL;
		int64_t at = utc(table[i].after);
		struct cron c;
		char text[40];

		CHECK(!table[i].zone || z);
		CHECK(cron_parse(str_of(table[i].expr), false, &c) == 0);
		for (int k = 0; k < 4 && table[i].next[k]; k++) {
			at = cron_next(&c, z, 55, at);
			if (strcmp(show(at, text), table[i].next[k]) != 0)
				printf("%s, %d:\n", table[i].expr, k);
			CHECK_STR(show(at, text), table[i].next[k]);
		}
		zone_free(z);
	}
}

/* Of EventBridge's rules and of Scheduler, as recorded at AWS; and ours. */
TEST(refused)
{
	static const char *const both[] = {
		"cron(0 1 * * * *)",
		"cron(7 20 * * NOT *)",
		"cron(INVALID)",
		"cron(0 dummy ? * MON-FRI *)",
		"cron(71 8 1 * ? *)",
		"cron()",
		"rate(10 seconds)",
		"rate(10 years)",
		"rate()",
		"rate(10)",
		"rate(10 minutess)",
		"rate(foo minutes)",
		"rate(-10 minutes)",
		"rate( 10 minutes )",
		" rate(10 minutes)",
		"rate(0 minutes)",
		"at(2021-12-31T23:59:59Z)",
		"at(2021-12-31)",
		"",
		"rate",
		"cron(",
		"cron)",
		"cron(0 10 ? * ? *)",
		"cron(0 10 * * ? * *)",
		"cron(0 10 * * ?)",
		"cron(60 * * * ? *)",
		"cron(* 24 * * ? *)",
		"cron(* * 0 * ? *)",
		"cron(* * 32 * ? *)",
		"cron(* * * 13 ? *)",
		"cron(* * ? * 8 *)",
		"cron(* * ? * 0 *)",
		"cron(* * * * ? 1969)",
		"cron(* * * * ? 2200)",
		"cron(0 0 ? * 2#6 *)",
		"cron(0 0 ? * #2 *)",
		"cron(0 0 32W * ? *)",
		"cron(0 0 W * ? *)",
		"cron(0 0 1,L * ? *)",
		"cron(1, * * * ? *)",
		"cron(,1 * * * ? *)",
		"cron(1-2-3 * * * ? *)",
		"cron(*/0 * * * ? *)",
		"cron(1/ * * * ? *)",
		"cron(- * * * ? *)",
		"cron(* * * * ? 2030-2020)",
		"at(2026-02-29T00:00:00)",
		"at(2026-13-01T00:00:00)",
		"at(2026-01-01T24:00:00)",
		"at(1969-12-31T00:00:00)",
		"rate(99999999999999999999 days)",
	};
	static const char *const strict[] = {"rate(1 minutes)", "rate(1 hours)",    "rate(1 days)",
					     "rate(10 minute)", "rate(10 MINUTES)", "at(2026-11-21T18:00:00)"};
	struct cron c;

	for (size_t i = 0; i < sizeof(both) / sizeof(*both); i++) {
		if (!cron_parse(str_of(both[i]), false, &c) || !cron_parse(str_of(both[i]), true, &c))
			printf("%s:\n", both[i]);
		CHECK(cron_parse(str_of(both[i]), false, &c) < 0 && cron_parse(str_of(both[i]), true, &c) < 0);
	}
	for (size_t i = 0; i < sizeof(strict) / sizeof(*strict); i++)
		CHECK(cron_parse(str_of(strict[i]), false, &c) == 0 && cron_parse(str_of(strict[i]), true, &c) < 0);
}
