/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/price.h"
#include <fcntl.h>
#include <limits.h>
#include <sys/sysinfo.h>
#include "base/io.h"
#include "cli/probe.h"

#define PRICES_MAX (256 << 10)

int cli_prices(struct prices *ret, struct err *e)
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
	double cpus = (double)sysconf(_SC_NPROCESSORS_ONLN);
	struct price_here h;
	struct sysinfo si;
	auto_json j = NULL;

	if (cli_prices(&h.prices, e) < 0 || probe_ask(c, "GET", "/v1/cost?since_us=1", STR_NULL, &j, e) < 0)
		return -1;
	sysinfo(&si);
	price_machine_init(&h.machine, &h.prices, json_real(json_get(j, "machine_usd_per_hour"), 0), cpus,
			   (double)si.totalram * si.mem_unit);
	*ret = h;
	return 0;
}
