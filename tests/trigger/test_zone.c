/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/zone.h"

#include <string.h>

#include "base/buf.h"
#include "tests/test.h"

/* A file without transitions: all is the rule at its end. */
static struct zone *of_rule(const char *rule)
{
	static const char head[] = "TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" /* no UTC or standard marks */
				   "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\1";
	static const char type[] = "\0\0\0\0\0\0\0";
	auto_buf b = {0};

	for (int i = 0; i < 2; i++) {
		buf_add(&b, head, 44);
		buf_add(&b, type, 7);
	}
	buf_addf(&b, "\n%s\n", rule);
	return zone_parse(buf_str(&b), NULL);
}

static int64_t at(int64_t year, int month, int day, int hour)
{
	return civil_days(year, month, day) * 86400 + hour * 3600;
}

TEST(rules)
{
	static const struct {
		const char *rule;
		int month, day, hour;
		int64_t offset_s;
	} table[] = {
		{"UTC0", 6, 1, 0, 0},
		{"<+0530>-5:30", 6, 1, 0, 19800},
		{"CET-1CEST,M3.5.0,M10.5.0/3", 3, 29, 0, 3600},
		{"CET-1CEST,M3.5.0,M10.5.0/3", 3, 29, 1, 7200},
		{"CET-1CEST,M3.5.0,M10.5.0/3", 10, 25, 0, 7200},
		{"CET-1CEST,M3.5.0,M10.5.0/3", 10, 25, 1, 3600},
		{"EST5EDT,M3.2.0,M11.1.0", 3, 8, 6, -18000},
		{"EST5EDT,M3.2.0,M11.1.0", 3, 8, 7, -14400},
		{"AEST-10AEDT,M10.1.0,M4.1.0/3", 1, 1, 0, 39600}, /* summer over the new year */
		{"AEST-10AEDT,M10.1.0,M4.1.0/3", 6, 1, 0, 36000},
		{"<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", 1, 1, 0, 39600},
		{"IST-1GMT0,M10.5.0,M3.5.0/1", 1, 1, 0, 0}, /* Dublin: "summer" in winter */
		{"IST-1GMT0,M10.5.0,M3.5.0/1", 7, 1, 0, 3600},
		{"A0BBBB", 1, 1, 0, -1},
		{"AAA0BBB,J60/0,J300/0", 2, 28, 23, 0},
		{"AAA0BBB,J60/0,J300/0", 3, 1, 0, 3600},
		{"AAA0BBB,59/0,299/0", 3, 1, 0, 3600},
		{"<-02>2<-01>,M3.5.0/-1,M10.5.0/0", 3, 29, 0, -7200}, /* Nuuk: the evening before */
		{"<-02>2<-01>,M3.5.0/-1,M10.5.0/0", 3, 29, 1, -3600},
		{"AAA0BBB,M13.1.0,M10.1.0", 1, 1, 0, -1},
		{"AAA0BBB,M3.1.7,M10.1.0", 1, 1, 0, -1},
		{"AAA0BBB", 1, 1, 0, -1},
		{"<AAA", 1, 1, 0, -1},
		{"AAA200", 1, 1, 0, -1},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		struct zone *z = of_rule(table[i].rule);
		int64_t is = z ? zone_offset_s(z, at(2026, table[i].month, table[i].day, table[i].hour)) : -1;

		if (is != table[i].offset_s)
			printf("%s, row %zu: %lld\n", table[i].rule, i, (long long)is);
		CHECK(is == table[i].offset_s);
		zone_free(z);
	}
}

TEST(names)
{
	static const char *const bad[] = {"",
					  "/etc/passwd",
					  "../../../etc/passwd",
					  "Europe/../Europe/Berlin",
					  "Nowhere/City",
					  "tzdata.zi",
					  "Europe",
					  "UTC UTC",
					  "right/UTC"};
	struct err e;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct zone *z = zone_open(bad[i], &e);

		if (z)
			printf("%s\n", bad[i]);
		CHECK(!z);
		zone_free(z);
	}
}

/* Every hour of some years: a local time leads back, to the first of two; what is left out leads past the gap. */
TEST(there_and_back)
{
	static const char *const names[] = {"Europe/Berlin",  "America/New_York", "Australia/Lord_Howe",
					    "Asia/Kathmandu", "Pacific/Apia",	  "Africa/Casablanca"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		struct zone *z = zone_open(names[i], NULL);
		bool left_out;

		CHECK(z);
		for (int64_t t = at(2010, 1, 1, 0); z && t < at(2045, 1, 1, 0); t += 1800) {
			int64_t back = zone_utc_s(z, t + zone_offset_s(z, t), &left_out);

			if (left_out || (back != t && (back > t || t - back > 7200))) {
				printf("%s %lld\n", names[i], (long long)t);
				CHECK(0);
				break;
			}
			back = zone_utc_s(z, t, &left_out); /* t as a local time */
			if ((back + zone_offset_s(z, back) == t) == left_out) {
				printf("%s local %lld\n", names[i], (long long)t);
				CHECK(0);
				break;
			}
		}
		zone_free(z);
	}
}
