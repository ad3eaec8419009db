/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/price.h"
#include <fcntl.h>
#include <limits.h>
#include "base/io.h"
#include "cli/call.h"
#include "cli/probe.h"

#define PRICES_MAX (256 << 10)

/* spec/prices.json beside the helpers. */
static int read_prices(struct prices *ret, struct err *e)
{
	char dir[PATH_MAX], path[PATH_MAX + 32];
	auto_buf text = {0};

	if (cli_libexec(dir, sizeof(dir), e) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/spec/prices.json", dir);
	return io_read_file(AT_FDCWD, path, PRICES_MAX, &text, e) < 0 ? -1 : prices_parse(buf_str(&text), ret, e);
}

int cli_price_here(struct cli *c, struct price_here *ret, struct err *e)
{
	struct price_here h = {.vcpus = (double)sysconf(_SC_NPROCESSORS_ONLN),
			       .memory_bytes = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE)};
	auto_json j = NULL;

	if (read_prices(&h.prices, e) < 0 || (call_alive(c) && probe_ask(c, "GET", "/v1/top", STR_NULL, &j, e) < 0))
		return -1;
	price_machine_init(&h.machine, &h.prices, json_real(json_get(j, "usd_hour"), h.prices.machine_usd_hour),
			   h.vcpus, h.memory_bytes);
	*ret = h;
	return 0;
}
