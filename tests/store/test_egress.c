/* SPDX-License-Identifier: Apache-2.0 */
#include "store/egress.h"

#include "tests/test.h"

TEST(words)
{
	static const struct {
		const char *word, *error; /* NULL: taken */
	} t[] = {
		{"internet", NULL},
		{"10.1.0.0/16", NULL},
		{"10.1.2.3", NULL},
		{"0.0.0.0/0", NULL},
		{"169.254.169.254/32", NULL},
		{"169.254.0.0/16", NULL},
		{"none", "\"none\" is neither internet nor an address or a range like 10.1.0.0/16"},
		{"10.1", "\"10.1\" is neither internet nor an address or a range like 10.1.0.0/16"},
		{"10.1.0.0/33", "\"10.1.0.0/33\" is neither internet nor an address or a range like 10.1.0.0/16"},
		{"10.1.0.0/", "\"10.1.0.0/\" is neither internet nor an address or a range like 10.1.0.0/16"},
		{"10.1.0.0/-1", "\"10.1.0.0/-1\" is neither internet nor an address or a range like 10.1.0.0/16"},
		{"/8", "\"/8\" is neither internet nor an address or a range like 10.1.0.0/16"},
		{"1111.1111.1111.1111",
		 "\"1111.1111.1111.1111\" is neither internet nor an address or a range like 10.1.0.0/16"},
		{"10.1.2.3/16", "10.1.2.3/16 has bits behind its prefix; the range is 10.1.0.0/16"},
		{"10.0.0.1/0", "10.0.0.1/0 has bits behind its prefix; the range is 0.0.0.0/0"},
		{"fd00::/8", "fd00::/8 is IPv6: there is a way out over IPv4 only"},
		{"::ffff:10.0.0.1", "::ffff:10.0.0.1 is IPv6: there is a way out over IPv4 only"},
		{"127.0.0.1", "127.0.0.1 cannot be reached from a sandbox, whatever is declared"},
		{"0.0.0.0/8", "0.0.0.0/8 cannot be reached from a sandbox, whatever is declared"},
		{"224.0.0.0/4", "224.0.0.0/4 cannot be reached from a sandbox, whatever is declared"},
		{"240.0.0.0/4", "240.0.0.0/4 cannot be reached from a sandbox, whatever is declared"},
		{"255.255.255.255", "255.255.255.255 cannot be reached from a sandbox, whatever is declared"},
		{"169.254.100.2", "169.254.100.2 cannot be reached from a sandbox, whatever is declared"},
		{"169.254.170.2/32", "169.254.170.2/32 cannot be reached from a sandbox, whatever is declared"},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct spawner_egress g = {0};
		struct err e = {0};

		CHECK((egress_add(&g, str_of(t[k].word), &e) < 0) == (t[k].error != NULL));
		CHECK_STR(e.text, t[k].error ? t[k].error : "");
		CHECK(!t[k].error || (!g.internet && !g.n));
	}
}

/* As text and back; what stands twice counts once. */
TEST(text)
{
	static const char *const t[][2] = {
		{"internet", NULL},
		{"10.1.0.0/16 internet 10.1.0.0/16", "internet 10.1.0.0/16"},
		{"10.1.2.3 0.0.0.0/0", "10.1.2.3/32 0.0.0.0/0"},
		{"", "none"},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct spawner_egress g = {0}, back;
		char words[64], *save, *text;

		strlcpy_(words, t[k][0], sizeof(words));
		for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
			CHECK(egress_add(&g, str_of(w), NULL) == 0);
		text = egress_text(&g);
		CHECK_STR(text ? text : "-", t[k][1] ? t[k][1] : "-");
		egress_of(text, &back);
		CHECK(!memcmp(&g, &back, sizeof(g)));
		free(text);
	}
}

TEST(too_many)
{
	struct spawner_egress g = {0};
	struct err e;
	char word[32];

	for (int k = 0; k < SPAWNER_RANGES; k++) {
		snprintf(word, sizeof(word), "10.0.%d.0/24", k);
		CHECK(egress_add(&g, str_of(word), &e) == 0);
	}
	CHECK(egress_add(&g, str_of(word), &e) == 0); /* again */
	CHECK(egress_add(&g, STR("10.1.0.0/24"), &e) < 0);
	CHECK_STR(e.text, "more than 16 addresses and ranges");
}

TEST(what_nobody_wrote_is_no_way_out)
{
	static const char *const t[] = {"none", "everywhere", "internet everywhere", "10.0.0.0/8,internet",
					"internet  10.0.0.0/8"};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct spawner_egress g = {.internet = 1};

		egress_of(t[k], &g);
		CHECK(!g.internet && !g.n);
	}
}
