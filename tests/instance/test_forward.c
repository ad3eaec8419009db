/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/forward.h"

#include <arpa/inet.h>

#include "tests/test.h"

#define QUESTION                                                                                                       \
	"\x07"                                                                                                         \
	"Example\x03"                                                                                                  \
	"com\0\0\x01\0\x01"
#define END (12 + sizeof(QUESTION) - 1)

/* A question of ours with something behind it; returns its size. */
static size_t question(uint8_t *q, const void *more, size_t n_more, uint8_t additional)
{
	memcpy(q, "\xab\xcd\x01\x30\0\1\0\0\0\0\0", 11);
	q[11] = additional;
	memcpy(q + 12, QUESTION, sizeof(QUESTION) - 1);
	memcpy(q + END, more, n_more);
	return END + n_more;
}

/* Nothing of the sandbox's goes on but the question, three bits, and how much it takes, within bounds. */
TEST(what_goes_on)
{
	static const struct {
		const char *more;
		size_t n;
		uint8_t additional;
		unsigned takes; /* 0: without OPT */
		bool dnssec;
	} t[] = {
		{"", 0, 0, 0, false},
		{"garbage behind it", 17, 0, 0, false},
		{"garbage behind it", 17, 1, 0, false},
		{"\0\0\x29\x10\0\0\0\x80\0\0\0", 11, 1, FORWARD_ANSWER_MAX, true},
		{"\0\0\x29\x02\x58\0\0\0\0\0\0", 11, 1, 600, false},
		{"\0\0\x29\0\x01\0\0\0\0\0\0", 11, 1, 512, false},
		{"\0\0\x29\x02\x58\0\0\0\0\0\x04\0\x08\0\0", 15, 1, 600, false}, /* options are left out */
		{"\0\0\x29\x02\x58\0\0\0\0\0", 10, 1, 0, false},		 /* cut off */
		{"\0\0\x29\x02\x58\0\0\0\0\0\0", 11, 2, 0, false},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		uint8_t q[512], out[523];
		size_t n = question(q, t[k].more, t[k].n, t[k].additional), m = forward_query(q, n, END, 0x1234, out);

		CHECK(m == END + (t[k].takes ? 11 : 0));
		CHECK(!memcmp(out, "\x12\x34\x01\x30\0\1\0\0\0\0\0", 11) && out[11] == (t[k].takes != 0));
		CHECK(!memcmp(out + 12, QUESTION, END - 12));
		if (!t[k].takes)
			continue;
		CHECK(!memcmp(out + END, "\0\0\x29", 3) && (out[END + 3] << 8 | out[END + 4]) == (int)t[k].takes);
		CHECK(out[END + 7] == (t[k].dnssec ? 0x80 : 0));
		CHECK(!out[END + 5] && !out[END + 6] && !out[END + 8] && !out[END + 9] && !out[END + 10]);
	}
}

TEST(only_the_answer_to_it_is_taken)
{
	uint8_t q[512], sent[523], a[523];

	(void)forward_query(q, question(q, "", 0, 0), END, 0x1234, sent);
	memcpy(a, sent, END);
	CHECK(!forward_matches(sent, END, a, END)); /* our own question */
	a[2] |= 0x80;
	CHECK(forward_matches(sent, END, a, END));
	a[13] = 'e';
	CHECK(forward_matches(sent, END, a, END));
	for (size_t k = 0; k < END; k++) {
		uint8_t was = a[k];

		if (k == 3 || (k >= 6 && k < 12)) /* how it ended, and what it holds */
			continue;
		a[k] ^= k == 2 ? 0x08 : 0x01;
		CHECK(!forward_matches(sent, END, a, END));
		a[k] = was;
	}
	for (size_t cut = 0; cut < END; cut++)
		CHECK(!forward_matches(sent, END, a, cut));
}

TEST(servers)
{
	static const struct {
		const char *text, *want;
	} t[] = {
		{"", "::ffff:127.0.0.1"},
		{"nameserver", "::ffff:127.0.0.1"},
		{"# nameserver 1.2.3.4\nsearch example.com\nnameserver nobody\n", "::ffff:127.0.0.1"},
		{"nameserver 192.0.2.1\nnameserver  fd00::1 \r\nnameserver\t127.0.0.53",
		 "::ffff:192.0.2.1 fd00::1 ::ffff:127.0.0.53"},
		{"nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4\n",
		 "::ffff:1.1.1.1 ::ffff:1.1.1.2 ::ffff:1.1.1.3"},
		{"nameserver fe80::1%eth0\nnameserver 9.9.9.9\n", "::ffff:9.9.9.9"},
	};

	for (size_t k = 0; k < ARRAY_SIZE(t); k++) {
		struct sockaddr_in6 s[FORWARD_SERVERS];
		unsigned n = forward_servers(str_of(t[k].text), s);
		char got[256] = "", one[64];

		for (unsigned i = 0; i < n; i++) {
			inet_ntop(AF_INET6, &s[i].sin6_addr, one, sizeof(one));
			snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", i ? " " : "", one);
			CHECK(ntohs(s[i].sin6_port) == 53);
		}
		CHECK_STR(got, t[k].want);
	}
}
