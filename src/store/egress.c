/* SPDX-License-Identifier: Apache-2.0 */
#include "store/egress.h"
#include <arpa/inet.h>
#include <stdio.h>
#include "base/buf.h"
#include "base/mem.h"

#define IP(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

static uint32_t mask(unsigned bits)
{
	return bits ? ~0u << (32 - bits) : 0;
}

/* Never beyond the sandbox's own namespace, or nowhere at all. */
static bool unreachable(uint32_t ip, unsigned bits)
{
	static const struct {
		uint32_t ip;
		unsigned bits;
	} of[] = {{IP(0, 0, 0, 0), 8},
		  {IP(127, 0, 0, 0), 8},
		  {IP(224, 0, 0, 0), 3},
		  {IP(169, 254, 100, 0), 24},
		  {IP(169, 254, 170, 2), 32}};

	for (size_t i = 0; i < ARRAY_SIZE(of); i++)
		if (bits >= of[i].bits && (ip & mask(of[i].bits)) == of[i].ip)
			return true;
	return false;
}

static int read_range(const char *text, uint32_t *ret_ip, uint8_t *ret_bits, struct err *e)
{
	char address[INET_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	int64_t bits = 32;
	struct in_addr a;

	if (strchr(text, ':'))
		return err_set(e, ERR_INVALID, "%s is IPv6: there is a way out over IPv4 only", text);
	snprintf(address, sizeof(address), "%.*s", (int)n, text);
	if (n >= sizeof(address) || inet_pton(AF_INET, address, &a) != 1 ||
	    (slash && str_to_i64(str_of(slash + 1), 0, 32, &bits) < 0))
		return err_set(e, ERR_INVALID, "\"%s\" is neither internet nor an address or a range like 10.1.0.0/16",
			       text);
	*ret_ip = ntohl(a.s_addr);
	*ret_bits = (uint8_t)bits;
	if (*ret_ip & ~mask(*ret_bits)) {
		a.s_addr = htonl(*ret_ip & mask(*ret_bits));
		inet_ntop(AF_INET, &a, address, sizeof(address));
		return err_set(e, ERR_INVALID, "%s has bits behind its prefix; the range is %s/%u", text, address,
			       *ret_bits);
	}
	if (unreachable(*ret_ip, *ret_bits))
		return err_set(e, ERR_INVALID, "%s cannot be reached from a sandbox, whatever is declared", text);
	return 0;
}

int egress_add(struct spawner_egress *to, struct str word, struct err *e)
{
	char text[64];
	uint32_t ip = 0;
	uint8_t bits = 0;

	if (str_eqc(word, "internet")) {
		to->internet = 1;
		return 0;
	}
	snprintf(text, sizeof(text), STR_FMT, STR_ARG(word));
	if (read_range(text, &ip, &bits, e) < 0)
		return -1;
	for (unsigned i = 0; i < to->n; i++)
		if (to->range[i].ip == ip && to->range[i].bits == bits)
			return 0;
	if (to->n == SPAWNER_RANGES)
		return err_set(e, ERR_LIMIT, "more than %d addresses and ranges", SPAWNER_RANGES);
	to->range[to->n].ip = ip;
	to->range[to->n++].bits = bits;
	return 0;
}

char *egress_text(const struct spawner_egress *g)
{
	auto_buf out = {0};

	if (g->internet && !g->n)
		return NULL;
	if (g->internet)
		buf_addstr(&out, STR("internet"));
	for (unsigned i = 0; i < g->n; i++) {
		struct in_addr a = {htonl(g->range[i].ip)};
		char address[INET_ADDRSTRLEN];

		inet_ntop(AF_INET, &a, address, sizeof(address));
		buf_addf(&out, "%s%s/%u", out.n ? " " : "", address, g->range[i].bits);
	}
	return out.n ? buf_take(&out) : xstrdup("none");
}

void egress_of(const char *text, struct spawner_egress *ret)
{
	struct str rest = str_of(text ? text : "internet"), word;

	*ret = (struct spawner_egress){0};
	if (str_eqc(rest, "none"))
		return;
	while (str_next(&rest, ' ', &word))
		if (egress_add(ret, word, NULL) < 0) {
			*ret = (struct spawner_egress){0};
			return;
		}
}
