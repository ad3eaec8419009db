/* SPDX-License-Identifier: Apache-2.0 */
/* Building all parts, in the order of who needs whom. */
#include <fcntl.h>
#include <stdio.h>

#include "base/io.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/daemon.h"

#define PRICES_MAX 65536

static int read_prices(struct tandemd *d, struct buf *ret, struct err *e)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/spec/prices.json", d->config.libexec_dir);
	return io_read_file(AT_FDCWD, path, PRICES_MAX, ret, e);
}

static void settings(struct tandemd *d)
{
	const char *account = store_setting(d->store, "account"), *region = store_setting(d->store, "region");

	if (account)
		strlcpy_(d->account, account, sizeof(d->account));
	if (region)
		strlcpy_(d->region, region, sizeof(d->region));
}

static int open_state(struct tandemd *d, struct err *e)
{
	int dir = d->listeners[SL_STATE_DIR];
	auto_buf prices = {0};

	if (dir < 0)
		return err_set(e, ERR_CORRUPT, "the spawner gave no state directory");
	if (store_open(d->loop, dir, &d->store, e) < 0 || logs_open(d->loop, dir, &d->logs, e) < 0 ||
	    read_prices(d, &prices, e) < 0 || ledger_open(d->loop, dir, prices.p, &d->ledger, e) < 0)
		return err_wrap(e, "state");
	settings(d);
	return 0;
}

int tandemd_open(struct tandemd *d, struct err *e)
{
	if (open_state(d, e) < 0)
		return -1;
	d->http = http_server_new(d->loop);

	struct sched_opts so = {.loop = d->loop,
				.store = d->store,
				.ledger = d->ledger,
				.logs = d->logs,
				.spawn = d->spawn,
				.http = d->http,
				.account = d->account,
				.region = d->region,
				.sandbox_api = api_handle_sandbox,
				.creds = api_handle_credentials};

	d->sched = sched_new(&so);
	d->gateway = gateway_new(d->sched, d->store, d->account);

	struct api_opts ao = {.loop = d->loop,
			      .store = d->store,
			      .sched = d->sched,
			      .ledger = d->ledger,
			      .logs = d->logs,
			      .account = d->account,
			      .region = d->region,
			      .auth_none = d->config.auth_none};

	d->api = api_new(&ao);

	struct admin_opts mo = {.loop = d->loop,
				.store = d->store,
				.sched = d->sched,
				.ledger = d->ledger,
				.logs = d->logs,
				.http = d->http,
				.account = d->account,
				.region = d->region,
				.config = &d->config};

	d->admin = admin_new(&mo);
	return 0;
}
